"""The features group of the configuration, and what a run measures: groups, period search, device, names.

May import `registry`, `legacy`, `period_search`, `kernels`, `core` and `errors`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from scope_ml.core.configuration import option
from scope_ml.errors import ConfigError
from scope_ml.features.crossmatch import CrossMatch, crossmatch_columns
from scope_ml.features.external import DEFAULT as LIGHT_CURVE_DEFAULT
from scope_ml.features.external import check_names, light_curve_columns, require
from scope_ml.features.legacy import check_methods, legacy_columns
from scope_ml.features.period_search import PeriodSearch
from scope_ml.features.registry import GROUPS, STANDARD_GROUPS, feature_columns
from scope_ml.kernels.dmdt import DM_EDGES, DT_EDGES, DmDtOptions

__all__ = ["Extraction", "FeatureChoice"]


@dataclass(frozen=True, kw_only=True)
class FeatureChoice:
    """The features group of the configuration."""

    groups: tuple[str, ...] = option(STANDARD_GROUPS, doc=f"groups of features: {', '.join(GROUPS)}")
    dt_edges: tuple[float, ...] = option(DT_EDGES, unit="d", doc="dmdt: edges of the bins in time")
    dm_edges: tuple[float, ...] = option(DM_EDGES, unit="mag", doc="dmdt: edges of the bins in magnitude")
    light_curve: tuple[str, ...] = option(
        LIGHT_CURVE_DEFAULT, doc="light_curve: features of the package light-curve, by their names there"
    )
    saturation_mag: float = option(12.5, unit="mag", doc="quality: brighter medians are flagged as saturated")
    colour_radius_arcsec: float = option(
        1.5,
        unit="arcsec",
        doc="colour: light curves of other bands this close are of the same star, where files do not name stars",
        more_than=0,
        at_most=60,
    )

    def __post_init__(self) -> None:
        """Check that there is something to measure.

        Raises
        ------
        ConfigError
            If no group is named, or edges do not rise, or the package light-curve has no feature of a name.
        BackendUnavailableError
            If a group needs a package that is not installed.
        """
        if not self.groups:
            raise ConfigError(
                f"features.groups=[] names no group; known are {', '.join(GROUPS)}", key="features.groups"
            )
        self.dmdt_options()
        for group in self.groups:
            if group in ("cesium", "light_curve"):
                require(group)
        if "light_curve" in self.groups:
            check_names(self.light_curve)

    def dmdt_options(self) -> DmDtOptions:
        """Return the bins of the dm-dt image."""
        return DmDtOptions(dt_edges=self.dt_edges, dm_edges=self.dm_edges)

    @property
    def n_pixels(self) -> int:
        """Return the number of bins of the dm-dt image."""
        return (len(self.dt_edges) - 1) * (len(self.dm_edges) - 1)


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What is measured and where.

    Attributes
    ----------
    choice, search
        The groups `features` and `period_search` of the configuration.
    device
        ``"cpu"`` or ``"gpu"``, resolved.
    crossmatch
        The group `crossmatch` of the configuration.
    names
        ``"ours"``, or ``"legacy"`` for the columns of SCoPe 0.9.5 (`legacy`).

    Raises
    ------
    ConfigError
        For an unknown group, one without a group that it needs, a search that SCoPe has no name for.
    """

    choice: FeatureChoice
    search: PeriodSearch
    device: str
    crossmatch: CrossMatch = field(default_factory=CrossMatch)
    names: Literal["ours", "legacy"] = "ours"

    def __post_init__(self) -> None:
        """Check the groups, and that nothing is left to be settled."""
        if self.search.scale_min_period:
            raise ConfigError(
                "period_search.scale_min_period=true is settled by the cleaning, which is not known here; use"
                " PeriodSearch.scaled(min_cadence_minutes)",
                key="period_search.scale_min_period",
            )
        if self.names == "legacy":
            check_methods((*self.search.methods, *self.search.components))
        self._our_columns()

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the feature columns in order."""
        ours = self._our_columns()
        return legacy_columns(ours) if self.names == "legacy" else ours

    @property
    def groups(self) -> tuple[str, ...]:
        """Return the groups that are measured, in the order of the table."""
        return tuple(name for name in GROUPS if name in self.choice.groups)

    def _our_columns(self) -> tuple[str, ...]:
        search = self.search
        return feature_columns(
            self.choice.groups,
            search.method,
            n_peaks=search.n_peaks,
            also=search.also,
            components=search.components,
            compared=search.compared,
            named={
                "crossmatch": [spec.name for spec in crossmatch_columns(self.crossmatch.catalogs)],
                "light_curve": [spec.name for spec in light_curve_columns(self.choice.light_curve)],
            },
        )
