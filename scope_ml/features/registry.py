"""The table of features: one source of the Arrow schema, the model input lists, the docs and a test per feature.

To add a feature: a line here. To add a group of features: its lines here, a line in `GROUPS`, and the function that
measures it in `extract.MEASURES`. May import `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from scope_ml.core.provenance import digest_json
from scope_ml.errors import ConfigError, suggest

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "FEATURES",
    "FEATURE_SETS",
    "GROUPS",
    "IDENTITY",
    "FeatureGroup",
    "FeatureSpec",
    "arrow_fields",
    "column_spec",
    "feature_columns",
    "feature_digest",
    "feature_set",
    "group_columns",
]

#: Sets of model inputs: `phenomenological` describes the shape of the light curve, `ontological` adds what tells stars
#: of one shape apart.
FEATURE_SETS = ("phenomenological", "ontological")

#: Columns of a feature table before the features that say which light curve a row is, as the reader gives them; `id` and
#: `source_id` have the type of the file.
IDENTITY = ("id", "source_id", "band", "ra", "dec", "field", "ccd", "quad", "filter")

SCOPE = "Coughlin et al. 2021, MNRAS 505, 2954"
STETSON = "Stetson 1996, PASP 108, 851 (SCoPe's variant, not normalised)"


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """One feature.

    Attributes
    ----------
    name
        SCoPe's name; the column of a periodic feature adds ``_`` and the method of the period search.
    group
        Key of `GROUPS`: what is measured in one pass.
    unit
        ``""`` for a number without unit.
    formula
        How it is computed, N points m with errors e at times t, w = 1/e^2, wm the weighted mean.
    reference
        Paper or package that defines it.
    sets
        The `FEATURE_SETS` whose models take it.
    missing
        What a model puts for NaN: the training part's median, zero, or nothing since it is never NaN.
    periodic
        Whether it depends on the period.
    dtype
        Arrow type.
    legacy
        Column of scope-ml 0.9.5, without its period suffix.
    """

    name: str
    group: str
    unit: str
    formula: str
    reference: str = SCOPE
    sets: tuple[str, ...] = FEATURE_SETS
    missing: Literal["median", "zero", "none"] = "median"
    periodic: bool = False
    dtype: str = "double"
    legacy: str | None = None

    def column(self, method: str) -> str:
        """Return the name of the column for a period search by `method`, such as ``ls``."""
        return f"{self.name}_{method}" if self.periodic else self.name


@dataclass(frozen=True, kw_only=True)
class FeatureGroup:
    """Features that are measured together.

    Attributes
    ----------
    name, summary
        Key in the configuration and one line about it.
    needs
        Groups that must be chosen with it.
    """

    name: str
    summary: str
    needs: tuple[str, ...] = ()


GROUPS: Mapping[str, FeatureGroup] = {
    group.name: group
    for group in (
        FeatureGroup(name="basic", summary="22 basic statistics of magnitudes, errors and consecutive pairs"),
        FeatureGroup(name="period", summary="best period and its significance"),
        FeatureGroup(name="fourier", summary="Fourier fit at the best period", needs=("period",)),
    )
}


def _basic() -> tuple[FeatureSpec, ...]:
    """Return the basic statistics in SCoPe's order: name, unit, formula, reference."""
    lines = (
        ("median", "mag", "median(m)", SCOPE),
        ("wmean", "mag", "sum(w m) / sum(w)", SCOPE),
        ("chi2red", "", "sum(w (m - wm)^2) / (N - 1)", SCOPE),
        ("roms", "", "sum(|m - median| / e) / (N - 1)", "Enoch et al. 2003, AJ 126, 3006"),
        ("wstd", "mag", "sqrt(sum(w (m - wm)^2) / sum(w))", SCOPE),
        (
            "norm_peak_to_peak_amp",
            "",
            "(a - b) / (a + b), a = max(m - e), b = min(m + e)",
            "Sokolovsky et al. 2009, MNRAS 392, 1189",
        ),
        ("norm_excess_var", "", "sum((m - wm)^2 - e^2) / (N wm^2)", "Nandra et al. 1997, ApJ 476, 70"),
        ("median_abs_dev", "mag", "median(|m - median|)", SCOPE),
        ("iqr", "mag", "percentile 75 - percentile 25", SCOPE),
        ("i60r", "mag", "percentile 80 - percentile 20", SCOPE),
        ("i70r", "mag", "percentile 85 - percentile 15", SCOPE),
        ("i80r", "mag", "percentile 90 - percentile 10", SCOPE),
        ("i90r", "mag", "percentile 95 - percentile 5", SCOPE),
        ("skew", "", "N / ((N-1)(N-2)) sum(((m - wm)/e)^3): scaled by errors", SCOPE),
        (
            "smallkurt",
            "",
            "N(N+1) / ((N-1)(N-2)(N-3)) sum(((m - wm)/e)^4) - 3(N-1)^2 / ((N-2)(N-3)): scaled by errors",
            SCOPE,
        ),
        (
            "inv_vonneumannratio",
            "",
            "1/eta, eta = sum(dm^2/dt^2) / (sum(1/dt^2) wstd^2) over consecutive pairs at different times",
            "von Neumann 1941, Ann. Math. Stat. 12, 367; Kim et al. 2014, A&A 566, A43",
        ),
        (
            "welch_i",
            "",
            "sum(d_i d_{i+1}), d = sqrt(N/(N-1)) (m - wm)/e",
            "Welch & Stetson 1993, AJ 105, 1813 (SCoPe's variant, not normalised)",
        ),
        ("stetson_j", "", "sum(sign(P) sqrt(|P|)), P = d_i d_{i+1}", STETSON),
        ("stetson_k", "", "mean(|d|) / sqrt(mean(d^2))", "Stetson 1996, PASP 108, 851"),
        (
            "ad",
            "",
            "Anderson-Darling A^2 of m/e (not of residuals) against a normal of its own mean and scatter",
            "Stephens 1974, JASA 69, 730",
        ),
        ("sw", "", "Shapiro-Wilk W of m/e (not of residuals), AS R94", "Royston 1995, Applied Statistics 44, 547"),
    )
    count = FeatureSpec(name="n", group="basic", unit="", formula="N", sets=(), missing="none", legacy="n")
    return count, *(
        FeatureSpec(name=name, group="basic", unit=unit, formula=formula, reference=reference, legacy=name)
        for name, unit, formula, reference in lines
    )


def _fourier() -> tuple[FeatureSpec, ...]:
    """Return the columns of the Fourier fit; amplitudes and phases are true ones."""
    lines = [
        ("f1_power", "", "(chi2_0 - chi2_k) / chi2_0, k the order of smallest BIC, 0 the line"),
        ("f1_BIC", "", "chi2_k + ln(N) (2 + 2k)"),
        ("f1_a", "mag", "magnitude of the line at the first epoch"),
        ("f1_b", "mag/d", "slope of the line"),
        ("f1_amp", "mag", "amp_1 = sqrt(A_1^2 + B_1^2); 0 if no harmonic is taken"),
        ("f1_phi0", "rad", "phi_1 = atan2(A_1, B_1) at HJD 0; NaN if no harmonic is taken"),
    ]
    for n in range(2, 6):
        lines += [
            (f"f1_relamp{n - 1}", "", f"amp_{n} / amp_1; 0 if harmonic {n} is not taken"),
            (
                f"f1_relphi{n - 1}",
                "",
                f"((phi_{n}/{n} - phi_1) {n} / 2 pi) mod 1; NaN if harmonic {n} is not taken",
            ),
        ]
    return tuple(
        FeatureSpec(name=name, group="fourier", unit=unit, formula=formula, periodic=True, legacy=name)
        for name, unit, formula in lines
    )


def _period() -> tuple[FeatureSpec, ...]:
    return (
        FeatureSpec(
            name="period",
            group="period",
            unit="d",
            formula="1 / frequency of the highest peak, refined between grid points",
            sets=("ontological",),
            periodic=True,
            legacy="period",
        ),
        FeatureSpec(
            name="significance",
            group="period",
            unit="",
            formula="(peak - mean) / scatter of the periodogram",
            sets=("ontological",),
            periodic=True,
            legacy="significance",
        ),
    )


#: All features, in the order of the table's columns.
FEATURES: Mapping[str, FeatureSpec] = {spec.name: spec for spec in (*_basic(), *_period(), *_fourier())}


def group_columns(group: str) -> tuple[FeatureSpec, ...]:
    """Return the features of one group in the order of the table."""
    return tuple(spec for spec in FEATURES.values() if spec.group == group)


def feature_columns(groups: Iterable[str], method: str, *, n_peaks: int = 1) -> tuple[str, ...]:
    """Return the feature columns of a table, in order.

    Parameters
    ----------
    groups
        Keys of `GROUPS`; their order does not matter.
    method
        Short name of the period search, such as ``ls``.
    n_peaks
        Peaks written per light curve; rank r > 1 has columns such as ``period_2_ls``.

    Raises
    ------
    ConfigError
        For an unknown group, or one without a group that it needs.
    """
    chosen = set(groups)
    for name in chosen:
        if name not in GROUPS:
            raise ConfigError(
                f"there is no feature group '{name}'; known are {', '.join(GROUPS)}{suggest(name, GROUPS)}",
                key="features.groups",
                choices=GROUPS,
            )
        for needed in GROUPS[name].needs:
            if needed not in chosen:
                raise ConfigError(
                    f"feature group '{name}' needs group '{needed}'; add it to features.groups", key="features.groups"
                )
    columns: list[str] = []
    for group in GROUPS:
        if group in chosen:
            columns += [spec.column(method) for spec in group_columns(group)]
            if group == "period":
                for rank in range(2, n_peaks + 1):
                    columns += [f"{spec.name}_{rank}_{method}" for spec in group_columns(group)]
    return tuple(columns)


def feature_set(name: str, method: str) -> tuple[str, ...]:
    """Return the model inputs of a feature set, in SCoPe's order (by name, capitals first).

    Parameters
    ----------
    name
        ``"phenomenological"`` or ``"ontological"``.
    method
        Short name of the period search whose columns are meant.

    Raises
    ------
    ConfigError
        If there is no such set.
    """
    if name not in FEATURE_SETS:
        raise ConfigError(
            f"there is no feature set '{name}'; known are {', '.join(FEATURE_SETS)}{suggest(name, FEATURE_SETS)}",
            key="feature_set",
            choices=FEATURE_SETS,
        )
    chosen = sorted(spec.name for spec in FEATURES.values() if name in spec.sets)
    return tuple(FEATURES[key].column(method) for key in chosen)


def column_spec(column: str) -> FeatureSpec:
    """Return the feature that a column of a feature table holds, whatever its period search or rank.

    Raises
    ------
    ConfigError
        If no feature has that name.
    """
    if column in FEATURES and not FEATURES[column].periodic:
        return FEATURES[column]
    stem = column.rpartition("_")[0]
    rank_stem, _, rank = stem.rpartition("_")
    for candidate in (stem, rank_stem if rank.isdigit() else ""):
        if candidate in FEATURES and FEATURES[candidate].periodic:
            return FEATURES[candidate]
    raise ConfigError(
        f"'{column}' is not a feature; periodic features end in their method, as period_ls{suggest(column, FEATURES)}",
        key=column,
    )


def feature_digest(names: Iterable[str]) -> str:
    """Return the digest of an ordered list of feature columns: their names, types, units and formulae."""
    specs = [(name, column_spec(name)) for name in names]
    return digest_json([[name, spec.dtype, spec.unit, spec.formula] for name, spec in specs])


def arrow_fields(columns: Iterable[str]) -> list[pa.Field]:
    """Return one Arrow field per feature column, with its unit under the key ``unit``."""
    import pyarrow as pa

    return [
        pa.field(name, pa.type_for_alias(column_spec(name).dtype), metadata={b"unit": column_spec(name).unit.encode()})
        for name in columns
    ]
