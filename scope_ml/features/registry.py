"""The table of features: one source of the Arrow schema, the model input lists, the docs and a test per feature.

To add a feature: a line in its group's table (`light_curve_specs`, `shape_specs`, `crossmatch`, `alerts`, `external`). To add a group:
its table, a line in `GROUPS` and one in `FEATURES`, and the function that measures it in `measures.MEASURES`.
May import the rooms with the tables, `legacy`, `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from scope_ml.core.provenance import digest_json
from scope_ml.errors import ConfigError, suggest
from scope_ml.features.alerts import alert_columns
from scope_ml.features.crossmatch import crossmatch_columns
from scope_ml.features.external import cesium_columns, light_curve_columns, light_curve_spec
from scope_ml.features.legacy import legacy_spec
from scope_ml.features.light_curve_specs import (
    agreement_columns,
    basic_columns,
    colour_columns,
    decision_columns,
    dmdt_columns,
    drw_columns,
    fourier_columns,
    period_columns,
    quality_columns,
)
from scope_ml.features.shape_specs import folded_columns, timescales_columns
from scope_ml.features.spec import (
    FEATURE_SETS,
    METHODS,
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
    "STANDARD_GROUPS",
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

GROUPS: Mapping[str, FeatureGroup] = {
    group.name: group
    for group in (
        FeatureGroup(
            name="basic",
            summary="22 basic statistics of magnitudes, errors and consecutive pairs",
            models_need=True,
        ),
        FeatureGroup(name="period", summary="best period and its significance", models_need=True),
        FeatureGroup(
            name="decision",
            summary="how `best` came to its period; no columns for other methods",
            needs=("period",),
            only="best",
            models_need=True,
        ),
        FeatureGroup(
            name="agreement",
            summary="how far the best periods of several methods agree; no columns for fewer than two",
            needs=("period",),
        ),
        FeatureGroup(name="fourier", summary="Fourier fit at the best period", needs=("period",), models_need=True),
        FeatureGroup(
            name="folded",
            summary="shape of the folded light curve, at the cycle and twice it, and second modes",
            needs=("period",),
        ),
        FeatureGroup(
            name="timescales",
            summary="distribution of magnitudes without errors, slow variation, differences by separation in time",
        ),
        FeatureGroup(name="dmdt", summary="image of all pairs of points in time and magnitude"),
        FeatureGroup(name="drw", summary="damped random walk with measurement errors"),
        FeatureGroup(
            name="colour", summary="colours of the star, from its light curves in other bands", needs=("basic",)
        ),
        FeatureGroup(name="quality", summary="flags that say what to beware of"),
        FeatureGroup(
            name="alerts",
            summary="alerts at the position: how many, how real",
            standard=False,
            from_catalogs=True,
        ),
        FeatureGroup(
            name="crossmatch",
            summary="nearest objects of AllWISE, Gaia EDR3 and Pan-STARRS1",
            standard=False,
            from_catalogs=True,
        ),
        FeatureGroup(name="cesium", summary="what the package cesium measures, as SCoPe takes it", standard=False),
        FeatureGroup(name="light_curve", summary="features of the package light-curve, chosen by name", standard=False),
    )
}

#: The groups that are measured unless something else is said.
STANDARD_GROUPS: tuple[str, ...] = tuple(name for name, group in GROUPS.items() if group.standard)

#: All features, in the order of the table's columns.
FEATURES: Mapping[str, FeatureSpec] = {
    spec.name: spec
    for spec in (
        *basic_columns(),
        *period_columns(),
        *decision_columns(),
        *agreement_columns(),
        *fourier_columns(),
        *folded_columns(),
        *timescales_columns(),
        *dmdt_columns(),
        *drw_columns(),
        *colour_columns(),
        *quality_columns(),
        *alert_columns(),
        *crossmatch_columns(),
        *cesium_columns(),
        *light_curve_columns(),
    )
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
    named: Mapping[str, Sequence[str]] | None = None,
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
    named
        Columns of groups that have them by choice, such as those of some catalogues.

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
            columns += (named or {}).get(group, [spec.name for spec in specs])
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


def feature_set(name: str, method: str, there: Collection[str] | None = None) -> tuple[str, ...]:
    """Return the model inputs of a feature set, in SCoPe's order (by name, capitals first, those of catalogues last).

    Parameters
    ----------
    name
        ``"phenomenological"`` or ``"ontological"``.
    method
        Short name of the period search whose columns are meant.
    there
        Columns of a table. Groups that models can do without and of which it has no column are left out; none are if
        None.

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
    groups = [
        group.name
        for group in GROUPS.values()
        if group.only in (None, method) and (there is None or group.models_need or _has_any(there, group.name, method))
    ]
    chosen = (spec for spec in FEATURES.values() if name in spec.sets and spec.group in groups)
    return tuple(spec.column(method) for spec in sorted(chosen, key=lambda spec: ("__" in spec.name, spec.name)))


def _has_any(columns: Collection[str], group: str, method: str) -> bool:
    return any(spec.column(method) in columns for spec in group_columns(group))


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
    named = legacy_spec(column) or light_curve_spec(column)
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


def arrow_fields(columns: Iterable[str], *, n_pixels: int = 26 * 26) -> list[pa.Field]:
    """Return one Arrow field per feature column, with its unit under the key ``unit``; images have `n_pixels`."""
    import pyarrow as pa

    def arrow_type(dtype: str) -> pa.DataType:
        item = dtype.removesuffix("[]")
        return pa.type_for_alias(dtype) if item == dtype else pa.list_(pa.type_for_alias(item), n_pixels)

    specs = [(name, column_spec(name)) for name in columns]
    return [pa.field(name, arrow_type(spec.dtype), metadata={b"unit": spec.unit.encode()}) for name, spec in specs]
