"""How each group of features is measured: one function a group, listed in `MEASURES` under its name in `registry.GROUPS`.

A row depends on its own light curve and on catalogues alone, never on the other rows. May import `choice`,
`surroundings`, `kernels`, `core` and `errors`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.sphere import on_sky
from scope_ml.features.agreement import agreement
from scope_ml.features.choice import Extraction, FeatureChoice
from scope_ml.features.external import measure_cesium, measure_light_curve
from scope_ml.features.period_search import COMPONENTS, PeriodSearch
from scope_ml.features.quality import quality_flags
from scope_ml.features.registry import FEATURES, group_columns
from scope_ml.kernels.folded import FoldedOptions
from scope_ml.kernels.fourier import FourierOptions
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchStatus
from scope_ml.kernels.registry import load

if TYPE_CHECKING:
    from scope_ml.features.crossmatch import Matches
    from scope_ml.features.surroundings import Surroundings
    from scope_ml.kernels.best import BestPeaks

__all__ = ["MEASURES", "Column", "Columns", "Work", "measure", "measure_groups", "searches"]

Column: TypeAlias = NDArray[Any] | pa.Array
Columns: TypeAlias = dict[str, Column]

#: Frequency [1/d], so period [d] too, and significance without a search, as SCoPe has them.
UNSEARCHED = 1.0


@dataclass
class Work:
    """One batch being measured; each period search and each match is done once, when first asked for.

    Attributes
    ----------
    batch, rows, n_obs_raw
        Cleaned light curves, the facts about each, and how many points each had before cleaning.
    extraction
        What is measured.
    surroundings
        What catalogues give; None where no group takes any.
    seconds
        CPU seconds of this thread by group, searches apart as ``search_<method>``; added to.
    """

    batch: LightCurveBatch
    rows: pa.Table
    n_obs_raw: NDArray[np.int64]
    extraction: Extraction
    surroundings: Surroundings | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    _found: dict[str, PeriodogramPeaks] = field(default_factory=dict)
    _basic: Columns = field(default_factory=dict)
    _matches: Matches | None = None

    # No cached_property: before Python 3.12 its one lock for the class lets a single thread search at a time.
    def peaks(self, method: str) -> PeriodogramPeaks:
        """Return what one of the searches found."""
        if method not in self._found:
            started = time.thread_time()
            self._found[method] = self._search(method)
            self.spend(f"search_{method}", time.thread_time() - started)
        return self._found[method]

    def best(self, method: str) -> PeriodogramPeaks:
        """Return what a search found, whether it ran by itself or within a nested one."""
        search = self.extraction.search
        if method in search.methods:
            return self.peaks(method)
        nested = next(name for name in search.methods if method in COMPONENTS.get(name, ()))
        return self.peaks(nested).components[method]

    def basic(self) -> Columns:
        """Return the basic statistics."""
        if not self._basic:
            self._basic = load("statistics", "cpu")(self.batch, None)
        return self._basic

    def position(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return right ascension and declination [deg]; NaN where the files have none."""
        ra, dec = (self.rows[name].to_numpy().astype(np.float64, copy=False) for name in ("ra", "dec"))
        return ra, dec

    def matches(self) -> Matches:
        """Return the nearest objects of the catalogues; the group `crossmatch` is measured."""
        if self._matches is None:
            crossmatch = None if self.surroundings is None else self.surroundings.crossmatch
            assert crossmatch is not None, "surroundings were opened for other groups"
            started = time.thread_time()
            self._matches = crossmatch.match(*self.position())
            self.spend("crossmatch", time.thread_time() - started)
        return self._matches

    def blended(self) -> NDArray[np.bool_] | None:
        """Return where a catalogue has more than one object, bool (n,); None where none is matched."""
        if "crossmatch" not in self.extraction.groups:
            return None
        found: NDArray[np.bool_] = np.any([count > 1 for count in self.matches().n_within.values()], axis=0)
        return found

    def spend(self, what: str, seconds: float) -> None:
        """Add to the time that something took [s]."""
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds

    def _search(self, method: str) -> PeriodogramPeaks:
        search = self.extraction.search
        if method == "none":
            return _unsearched(len(self.batch), search.n_peaks)
        options = search.options(_n_peaks(search, self.extraction.choice))
        peaks: PeriodogramPeaks = load(method, self.extraction.device)(self.batch, search.grid(self.batch), options)
        return peaks


def _n_peaks(search: PeriodSearch, choice: FeatureChoice) -> int:
    compares = "agreement" in choice.groups and len(search.compared) > 1
    return max(search.n_peaks, search.n_agreement_peaks if compares else 1)


def _unsearched(n_sources: int, n_peaks: int) -> PeriodogramPeaks:
    peaks = PeriodogramPeaks.empty(n_sources, n_peaks)
    for values in (peaks.frequency, peaks.statistic, peaks.significance):
        values[:, 0] = UNSEARCHED
    peaks.status[:] = SearchStatus.NOT_SEARCHED
    return peaks


def _measure_basic(work: Work) -> Columns:
    return work.basic()


def _measure_period(work: Work) -> Columns:
    search = work.extraction.search
    columns: Columns = {}
    for method in (*search.methods, *search.components):
        peaks = work.best(method)
        for rank in range(1, (search.n_peaks if method in search.methods else 1) + 1):
            columns[FEATURES["period"].column(method, rank)] = 1.0 / peaks.frequency[:, rank - 1]
            columns[FEATURES["significance"].column(method, rank)] = peaks.significance[:, rank - 1]
    return columns


def _measure_decision(work: Work) -> Columns:
    if "best" not in work.extraction.search.methods:
        return {}
    peaks = cast("BestPeaks", work.peaks("best"))
    nothing = {name: np.nan for name in ("log_evidence", "doubled", "alias_period", "runner_up_period")}
    rows = [nothing if decision is None else asdict(decision) for decision in peaks.decisions]
    return {
        FEATURES[name].column("best"): np.array([float(row[name]) for row in rows], dtype=np.float64)
        for name in nothing
    }


def _measure_agreement(work: Work) -> Columns:
    search = work.extraction.search
    if len(search.compared) < 2:
        return {}
    periods = [1.0 / work.best(name).frequency[:, : search.n_agreement_peaks] for name in search.compared]
    return dict(agreement(periods))


def _measure_fourier(work: Work) -> Columns:
    fit = load("fourier", "cpu")
    columns: Columns = {}
    for method in work.extraction.search.methods:
        fitted: Columns = fit(work.batch, FourierOptions(period=1.0 / work.peaks(method).frequency[:, 0]))
        columns |= {FEATURES[name].column(method): values for name, values in fitted.items()}
    return columns


def _measure_folded(work: Work) -> Columns:
    measured = load("folded", "cpu")
    columns: Columns = {}
    for method in work.extraction.search.methods:
        found: Columns = measured(work.batch, FoldedOptions(cycle=_cycle(work.peaks(method))))
        columns |= {FEATURES[name].column(method): values for name, values in found.items()}
    return columns


def _cycle(peaks: PeriodogramPeaks) -> NDArray[np.float64]:
    """Return the best period [d], half of it where it was doubled by its shape."""
    cycle: NDArray[np.float64] = 1.0 / peaks.frequency[:, 0]
    decisions = getattr(peaks, "decisions", [])
    doubled = [row for row, decision in enumerate(decisions) if decision is not None and decision.doubled]
    cycle[doubled] *= 0.5
    return cycle


def _measure_timescales(work: Work) -> Columns:
    columns: Columns = load("timescales", "cpu")(work.batch, None)
    return columns


def _measure_dmdt(work: Work) -> Columns:
    choice = work.extraction.choice
    images = load("dmdt", "cpu")(work.batch, choice.dmdt_options())["dmdt"]
    flat = pa.array(np.ascontiguousarray(images, dtype=np.float32).ravel())
    return {"dmdt": pa.FixedSizeListArray.from_arrays(flat, choice.n_pixels)}


def _measure_drw(work: Work) -> Columns:
    columns: Columns = load("damped_random_walk", "cpu")(work.batch, None)
    return columns


def _measure_colour(work: Work) -> Columns:
    """Return missing values: the light curves of the star in other bands may be anywhere (`colour.ColourIndex`)."""
    return {spec.name: np.full(len(work.batch), np.nan) for spec in group_columns("colour")}


def _measure_quality(work: Work) -> Columns:
    extraction = work.extraction
    searched = any(MEASURES[group].searches for group in extraction.groups) and extraction.search.method != "none"
    ra, dec = work.position()
    flags = quality_flags(
        work.batch,
        n_obs_raw=work.n_obs_raw,
        median=np.asarray(work.basic()["median"]),
        saturation_mag=extraction.choice.saturation_mag,
        frequency=work.peaks(extraction.search.method).frequency[:, 0] if searched else None,
        without_position=~on_sky(ra, dec),
        blended=work.blended(),
    )
    return {"quality": flags}


def _measure_alerts(work: Work) -> Columns:
    alerts = None if work.surroundings is None else work.surroundings.alerts
    assert alerts is not None, "surroundings were opened for other groups"
    return dict(alerts.columns(*work.position()))


def _measure_crossmatch(work: Work) -> Columns:
    return dict(work.matches().columns)


def _measure_cesium(work: Work) -> Columns:
    return dict(measure_cesium(work.batch))


def _measure_light_curve(work: Work) -> Columns:
    return dict(measure_light_curve(work.batch, work.extraction.choice.light_curve))


@dataclass(frozen=True)
class _Measure:
    """How a group is measured: `run` gives column to values."""

    run: Callable[[Work], Columns]
    searches: bool = False


#: How each group of `registry.GROUPS` is measured.
MEASURES: Mapping[str, _Measure] = {
    "basic": _Measure(_measure_basic),
    "period": _Measure(_measure_period, searches=True),
    "decision": _Measure(_measure_decision, searches=True),
    "agreement": _Measure(_measure_agreement, searches=True),
    "fourier": _Measure(_measure_fourier, searches=True),
    "folded": _Measure(_measure_folded, searches=True),
    "timescales": _Measure(_measure_timescales),
    "dmdt": _Measure(_measure_dmdt),
    "drw": _Measure(_measure_drw),
    "colour": _Measure(_measure_colour),
    "quality": _Measure(_measure_quality),
    "alerts": _Measure(_measure_alerts),
    "crossmatch": _Measure(_measure_crossmatch),
    "cesium": _Measure(_measure_cesium),
    "light_curve": _Measure(_measure_light_curve),
}


def searches(choice: FeatureChoice, search: PeriodSearch) -> tuple[str, ...]:
    """Return the period searches that the chosen groups need, for resolving the device before any work."""
    needed = any(MEASURES[group].searches for group in choice.groups if group in MEASURES)
    return tuple(name for name in search.methods if name != "none") if needed else ()


def measure(work: Work) -> Columns:
    """Return the columns of all chosen groups, in the order of the table."""
    return measure_groups(work, work.extraction.groups)


def measure_groups(work: Work, groups: Iterable[str]) -> Columns:
    """Return the columns of some groups, in their order."""
    columns: Columns = {}
    for group in groups:
        searched = sum(work.seconds.values())
        started = time.thread_time()
        columns |= MEASURES[group].run(work)
        # What its searches took stands under their names.
        within = sum(work.seconds.values()) - searched
        work.spend(group, max(0.0, time.thread_time() - started - within))
    return columns
