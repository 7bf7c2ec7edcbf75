"""From cleaned light curves to rows of the feature table: one pass per group of features.

A group's function stands in `MEASURES` under its name in `registry.GROUPS`. A row depends on its own light curve alone.
May import `kernels`, `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scope_ml.core.configuration import option
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError
from scope_ml.features.registry import GROUPS, IDENTITY, arrow_fields, feature_columns, group_columns
from scope_ml.kernels.fourier import FourierOptions
from scope_ml.kernels.grid import TERRESTRIAL_WINDOWS, make_grid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions, SearchStatus
from scope_ml.kernels.registry import load

__all__ = [
    "MEASURES",
    "Extraction",
    "FeatureChoice",
    "PeriodSearch",
    "extract_features",
    "needed_kernels",
    "table_schema",
]

Columns = dict[str, NDArray[np.float64]]

FACT_FIELDS = (
    pa.field("n_obs", pa.int32()),
    pa.field("n_obs_raw", pa.int32()),
    pa.field("baseline", pa.float64(), metadata={b"unit": b"d"}),
    pa.field("status", pa.string()),
)
ROW_UNITS = {"ra": b"deg", "dec": b"deg"}


@dataclass(frozen=True, kw_only=True)
class PeriodSearch:
    """The period_search group of the configuration."""

    method: Literal["ls"] = option("ls", doc="ls: generalised Lomb-Scargle with weights and a floating mean")
    max_frequency: float = option(48.0, unit="1/d", doc="highest trial frequency", more_than=0, at_most=1e5)
    samples_per_peak: int = option(10, doc="trial frequencies per 1/baseline", at_least=2, at_most=1000)
    n_peaks: int = option(1, doc="peaks to write; ranks above 1 go to period_2_ls, ...", at_least=1, at_most=100)
    exclude_terrestrial: bool = option(False, doc="take no period from within terrestrial_windows")
    terrestrial_windows: tuple[tuple[float, ...], ...] = option(
        TERRESTRIAL_WINDOWS, unit="1/d", doc="[low, high] frequencies where the rotation and orbit of the Earth show"
    )

    def __post_init__(self) -> None:
        """Check the windows.

        Raises
        ------
        ConfigError
            If one is not a pair of ascending frequencies.
        """
        for window in self.terrestrial_windows:
            if len(window) != 2 or not 0 <= window[0] <= window[1]:
                raise ConfigError(
                    f"period_search.terrestrial_windows has {list(window)}; each window is [low, high] in 1/d",
                    key="period_search.terrestrial_windows",
                )

    @property
    def excluded(self) -> tuple[tuple[float, float], ...]:
        """Return the windows in which no peak counts."""
        return tuple((low, high) for low, high in self.terrestrial_windows) if self.exclude_terrestrial else ()


@dataclass(frozen=True, kw_only=True)
class FeatureChoice:
    """The features group of the configuration."""

    groups: tuple[str, ...] = option(tuple(GROUPS), doc=f"groups of features: {', '.join(GROUPS)}")

    def __post_init__(self) -> None:
        """Check that there is something to measure.

        Raises
        ------
        ConfigError
            If no group is named.
        """
        if not self.groups:
            raise ConfigError(
                f"features.groups=[] names no group; known are {', '.join(GROUPS)}", key="features.groups"
            )


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What is measured and where.

    Attributes
    ----------
    choice, search
        The groups `features` and `period_search` of the configuration.
    device
        ``"cpu"`` or ``"gpu"``, resolved.

    Raises
    ------
    ConfigError
        For an unknown group, or one without a group that it needs.
    """

    choice: FeatureChoice
    search: PeriodSearch
    device: str

    def __post_init__(self) -> None:
        """Check the groups."""
        feature_columns(self.choice.groups, self.search.method)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the feature columns in order."""
        return feature_columns(self.choice.groups, self.search.method, n_peaks=self.search.n_peaks)


@dataclass(frozen=True)
class _Work:
    """One batch being measured; the period search is done once, when first asked for."""

    batch: LightCurveBatch
    extraction: Extraction
    _found: list[PeriodogramPeaks] = field(default_factory=list)

    # No cached_property: before Python 3.12 its one lock for the class lets a single thread search at a time.
    @property
    def peaks(self) -> PeriodogramPeaks:
        if not self._found:
            self._found.append(self._search())
        return self._found[0]

    def _search(self) -> PeriodogramPeaks:
        search = self.extraction.search
        grid = make_grid(self.batch, max_frequency=search.max_frequency, samples_per_peak=search.samples_per_peak)
        options = SearchOptions(n_peaks=search.n_peaks, exclude=search.excluded)
        peaks: PeriodogramPeaks = load(search.method, self.extraction.device)(self.batch, grid, options)
        return peaks

    @property
    def period(self) -> NDArray[np.float64]:
        """Return the best period [d] of each light curve; NaN without one."""
        return 1.0 / self.peaks.frequency[:, 0]


def _measure_basic(work: _Work) -> Columns:
    columns: Columns = load("statistics", work.extraction.device)(work.batch, None)
    return columns


def _measure_period(work: _Work) -> Columns:
    columns: Columns = {}
    for rank in range(work.extraction.search.n_peaks):
        mark = f"_{rank + 1}" if rank else ""
        columns[f"period{mark}"] = 1.0 / work.peaks.frequency[:, rank]
        columns[f"significance{mark}"] = work.peaks.significance[:, rank]
    return columns


def _measure_fourier(work: _Work) -> Columns:
    columns: Columns = load("fourier", work.extraction.device)(work.batch, FourierOptions(period=work.period))
    return columns


@dataclass(frozen=True)
class _Measure:
    """How a group is measured: `run` gives feature name (with its rank, without method) to values."""

    run: Callable[[_Work], Columns]
    kernels: tuple[str, ...] = ()
    searches: bool = False


#: How each group of `registry.GROUPS` is measured.
MEASURES: Mapping[str, _Measure] = {
    "basic": _Measure(_measure_basic, kernels=("statistics",)),
    "period": _Measure(_measure_period, searches=True),
    "fourier": _Measure(_measure_fourier, kernels=("fourier",), searches=True),
}


def needed_kernels(choice: FeatureChoice, search: PeriodSearch) -> tuple[str, ...]:
    """Return the kernels that the chosen groups need, for resolving the device before any work."""
    measures = [MEASURES[group] for group in choice.groups if group in MEASURES]
    names = [name for measure in measures for name in measure.kernels]
    return (*names, search.method) if any(measure.searches for measure in measures) else tuple(names)


def table_schema(rows: pa.Schema, extraction: Extraction) -> pa.Schema:
    """Return the schema, units in its fields, of the table for light curves whose facts have the schema `rows`."""
    identity = [
        rows.field(name).with_metadata({b"unit": ROW_UNITS[name]} if name in ROW_UNITS else {}) for name in IDENTITY
    ]
    return pa.schema([*identity, *FACT_FIELDS, *arrow_fields(extraction.columns)])


def extract_features(
    batch: LightCurveBatch, rows: pa.Table, extraction: Extraction, *, n_obs_raw: NDArray[np.int64] | None = None
) -> pa.Table:
    """Measure cleaned light curves.

    Parameters
    ----------
    batch
        Light curves sorted by time without bad points (`cleaning.clean`).
    rows
        Facts about each light curve, in the same order: the columns `IDENTITY`.
    extraction
        What to measure.
    n_obs_raw
        Points of each light curve before cleaning; those of `batch` if None.

    Returns
    -------
    pyarrow.Table
        One row a light curve with the columns of `table_schema`. `status` says ``ok`` or why there is no period.
    """
    work = _Work(batch, extraction)
    measured: Columns = {}
    chosen = [group for group in GROUPS if group in extraction.choice.groups]
    for group in chosen:
        suffix = f"_{extraction.search.method}" if any(spec.periodic for spec in group_columns(group)) else ""
        measured |= {f"{name}{suffix}": values for name, values in MEASURES[group].run(work).items()}
    searched = any(MEASURES[group].searches for group in chosen)
    status = work.peaks.status if searched else np.zeros(len(batch), dtype=np.uint8)
    labels = np.array([SearchStatus(code).label for code in SearchStatus])
    facts = {
        "n_obs": batch.n_obs.astype(np.int32),
        "n_obs_raw": (batch.n_obs if n_obs_raw is None else n_obs_raw).astype(np.int32),
        "baseline": _baseline(batch),
        "status": labels[status].tolist(),
    }
    schema = table_schema(rows.schema, extraction)
    values = {**{name: rows[name] for name in IDENTITY}, **facts, **measured}
    return pa.table(
        [values[name] if name in IDENTITY else pa.array(values[name]) for name in schema.names], schema=schema
    )


def _baseline(batch: LightCurveBatch) -> NDArray[np.float64]:
    """Return last minus first time [d] of sorted light curves; 0 for one without points."""
    baseline = np.zeros(len(batch))
    filled = batch.n_obs > 0
    baseline[filled] = batch.time[batch.offsets[1:][filled] - 1] - batch.time[batch.offsets[:-1][filled]]
    return baseline
