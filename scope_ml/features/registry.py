"""The table of features: one source of the Arrow schema, the model input lists, the docs and a test per feature.

To add a feature: a line here. To add a group of features: its lines here, a line in `GROUPS`, and the function that
measures it in `extract.MEASURES`. May import `spec`, `legacy`, `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from scope_ml.core.provenance import digest_json
from scope_ml.errors import ConfigError, suggest
from scope_ml.features.legacy import legacy_spec
from scope_ml.features.spec import (
    FEATURE_SETS,
    METHODS,
    SCOPE,
    FeatureGroup,
    FeatureSpec,
    PeriodicColumn,
    split_suffix,
)

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
    "split_column",
]

#: Columns of a feature table before the features that say which light curve a row is, as the reader gives them; `id` and
#: `source_id` have the type of the file.
IDENTITY = ("id", "source_id", "band", "ra", "dec", "field", "ccd", "quad", "filter")

COMPARED = "SCoPe of 2026, agreement of the best periods of several algorithms"
DECIDED = "docs/period_search.md"
STETSON = "Stetson 1996, PASP 108, 851 (SCoPe's variant, not normalised)"


GROUPS: Mapping[str, FeatureGroup] = {
    group.name: group
    for group in (
        FeatureGroup(name="basic", summary="22 basic statistics of magnitudes, errors and consecutive pairs"),
        FeatureGroup(name="period", summary="best period and its significance"),
        FeatureGroup(
            name="decision",
            summary="how `best` came to its period; no columns for other methods",
            needs=("period",),
            only="best",
        ),
        FeatureGroup(
            name="agreement",
            summary="how far the best periods of several methods agree; no columns for fewer than two",
            needs=("period",),
        ),
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
            formula="1 / frequency of the best peak, refined between grid points",
            sets=("ontological",),
            periodic=True,
            legacy="period",
        ),
        FeatureSpec(
            name="significance",
            group="period",
            unit="",
            formula="|peak - mean| / scatter of the periodogram",
            sets=("ontological",),
            periodic=True,
            legacy="significance",
        ),
    )


def _agreement() -> tuple[FeatureSpec, ...]:
    """Return how far the best periods of M methods agree; see `agreement` for what a match is."""
    lines = (
        ("n_agree_pairs", "", "pairs of methods with a match between any of their best periods"),
        ("n_total_pairs", "", "M (M - 1) / 2 for the M methods compared"),
        ("agree_score", "", "n_agree_pairs / n_total_pairs"),
        ("agree_strict", "", "share of pairs whose very best periods match"),
        ("agree_weighted", "", "mean over pairs of the largest 1 / (rank_a rank_b) of a match; 0 without one"),
        ("best_agree_period", "d", "first period with a match, by pair and rank; NaN without one"),
        ("best_consensus_period", "d", "period with the most votes of the other methods; NaN without one"),
    )
    return tuple(
        FeatureSpec(name=name, group="agreement", unit=unit, formula=formula, sets=(), reference=COMPARED, legacy=name)
        for name, unit, formula in lines
    )


def _decision() -> tuple[FeatureSpec, ...]:
    """Return what `best` reports about its period; models take how much evidence there is for any."""
    lines = (
        ("log_evidence", "", "ln of the marginal likelihood of a periodic curve over that of a constant", FEATURE_SETS),
        ("doubled", "", "1 if the period is twice the best candidate, by the shape of the light curve, else 0", ()),
        ("alias_period", "d", "best candidate that the times of observation confuse with the period; NaN if none", ()),
        ("runner_up_period", "d", "next best candidate; NaN if none", ()),
    )
    return tuple(
        FeatureSpec(
            name=name, group="decision", unit=unit, formula=formula, sets=sets, periodic=True, reference=DECIDED
        )
        for name, unit, formula, sets in lines
    )


#: All features, in the order of the table's columns.
FEATURES: Mapping[str, FeatureSpec] = {
    spec.name: spec for spec in (*_basic(), *_period(), *_decision(), *_agreement(), *_fourier())
}


def group_columns(group: str) -> tuple[FeatureSpec, ...]:
    """Return the features of one group in the order of the table."""
    return tuple(spec for spec in FEATURES.values() if spec.group == group)


def feature_columns(
    groups: Iterable[str],
    method: str,
    *,
    n_peaks: int = 1,
    also: Sequence[str] = (),
    components: Sequence[str] = (),
    compared: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return the feature columns of a table, in order.

    Parameters
    ----------
    groups
        Keys of `GROUPS`; their order does not matter.
    method
        Short name of the period search, such as ``ls``.
    n_peaks
        Peaks written per light curve; rank r > 1 has columns such as ``period_2_ls``.
    also
        Further methods, with the same columns.
    components
        Methods within a nested search, with their best period and its significance only.
    compared
        Methods whose best periods are compared; fewer than two have no columns of the group `agreement`.

    Raises
    ------
    ConfigError
        For an unknown group, or one without a group that it needs.
    """
    chosen = _checked_groups(groups)
    columns: list[str] = []
    for group in (name for name in GROUPS if name in chosen):
        specs = group_columns(group)
        if group == "agreement" and len(compared) < 2:
            continue
        if not any(spec.periodic for spec in specs):
            columns += [spec.name for spec in specs]
            continue
        for name in (method, *also):
            if GROUPS[group].only not in (None, name):
                continue
            for rank in range(1, (n_peaks if group == "period" else 1) + 1):
                columns += [spec.column(name, rank) for spec in specs]
        if group == "period":
            columns += [spec.column(name) for name in components for spec in specs]
    return tuple(columns)


def _checked_groups(groups: Iterable[str]) -> set[str]:
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
    return chosen


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
    chosen = sorted(
        spec.name for spec in FEATURES.values() if name in spec.sets and GROUPS[spec.group].only in (None, method)
    )
    return tuple(FEATURES[key].column(method) for key in chosen)


def split_column(column: str) -> PeriodicColumn | None:
    """Return feature, rank and method of a periodic feature's column such as ``period_2_ls``; None for any other."""
    return split_suffix(column, [spec.name for spec in FEATURES.values() if spec.periodic], METHODS)


def column_spec(column: str) -> FeatureSpec:
    """Return the feature that a column of a feature table holds, whatever its period search, rank or naming.

    Raises
    ------
    ConfigError
        If no feature has that name.
    """
    if column in FEATURES and not FEATURES[column].periodic:
        return FEATURES[column]
    parts = split_column(column)
    if parts is not None:
        return FEATURES[parts.feature]
    named = legacy_spec(column)
    if named is not None:
        return named
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
