"""The group search: light curves that share their exposures in tiles, all others as usual.

Worth it from about a hundred light curves of a quadrant in one batch; memory is `SOURCES_AT_ONCE` x `PIECE` x 4 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels import analysis_of_variance
from scope_ml.kernels.analysis_of_variance import cpu as aov
from scope_ml.kernels.curve import Curve, check_points, make_curve
from scope_ml.kernels.grid import FrequencyGrid, excluded_mask
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions, SearchStatus, Spectrum
from scope_ml.kernels.peaks.cpu import PeakCollector
from scope_ml.kernels.search import PIECE, Found, Method, refine_peaks, search_batch, store
from scope_ml.kernels.shared_epochs.groups import Group, find_groups
from scope_ml.kernels.shared_epochs.lanes import SUM_LANES
from scope_ml.kernels.shared_epochs.tiles import MOST_EPOCHS, VarianceTiles

__all__ = ["LEAST_SOURCES", "count_shared", "run", "take_grids"]

#: Fewest light curves of a group; with fewer the lanes are too empty.
LEAST_SOURCES = 32

#: Light curves of a group that are searched at once.
SOURCES_AT_ONCE = 384


@dataclass(kw_only=True)
class _Lane:
    """The search of one light curve of a group, piece by piece; what `search.scan` does for one alone."""

    source: int
    curve: Curve
    method: Method
    grid: FrequencyGrid
    options: SearchOptions

    def __post_init__(self) -> None:
        self.n_frequencies = int(self.grid.n_frequencies[self.source])
        self.statistic = self.method.prepare(self.curve, self.options)
        self.sign = 1.0 if self.method.best == "max" else -1.0
        self.whole = np.empty(self.n_frequencies if self.options.return_spectrum else 0)
        self.collector = PeakCollector(
            n_frequencies=self.n_frequencies, n_peaks=self.options.n_peaks, separation=self.grid.samples_per_peak
        )

    def add(self, first: int, values: NDArray[np.float32], limit: float) -> None:
        """Take the values of a piece that begins at trial frequency `first`; from `limit` on they are computed again."""
        exact = values[: max(self.n_frequencies - first, 0)].astype(np.float64)
        if exact.size == 0:
            return
        minimum, step = float(self.grid.minimum[self.source]), float(self.grid.step[self.source])
        if exact.max() >= limit:
            for begin, end in _runs(exact >= limit):
                self.statistic.evaluate(minimum + (first + begin) * step, step, exact[begin:end])
        if self.options.return_spectrum:
            self.whole[first : first + exact.size] = exact
        excluded = None
        if self.options.exclude:
            frequency = self.grid.frequencies(self.source, first, first + exact.size)
            excluded = excluded_mask(frequency, self.options.exclude)
        self.collector.add(exact if self.sign > 0 else -exact, excluded)

    def found(self) -> Found:
        """Return the peaks on grid points."""
        position, height, significance = self.collector.peaks()
        minimum, step = float(self.grid.minimum[self.source]), float(self.grid.step[self.source])
        frequency = self.grid.frequencies(self.source) if self.options.return_spectrum else None
        return Found(
            frequency=minimum + np.rint(position) * step,
            statistic=self.sign * height,
            significance=significance,
            mean=self.sign * self.collector.mean,
            scatter=self.collector.scatter,
            spectrum=None if frequency is None else Spectrum(frequency=frequency, statistic=self.whole),
        )


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve, those that share their exposures searched together.

    Parameters
    ----------
    batch
        Light curves of one band, best all of one or a few quadrants.
    grid
        One grid per light curve, from its own baseline.
    options
        As for the method's own kernel.
    """
    method = analysis_of_variance.method(aov.prepare, options)
    groups, curves = _groups(method, batch, grid, options)
    shared = {int(index) for group in groups for index in group.source}
    alone = np.array([index for index in range(len(batch)) if index not in shared], dtype=np.int64)
    peaks = PeriodogramPeaks.empty(len(batch), options.n_peaks)
    spectra: list[Spectrum | None] = [None] * len(batch)
    if alone.size:
        rest = search_batch(method, batch.take(alone), take_grids(grid, alone), options)
        for column in ("frequency", "statistic", "significance", "false_alarm_probability", "status"):
            getattr(peaks, column)[alone] = getattr(rest, column)
        for index, spectrum in zip(alone, rest.spectra, strict=False):
            spectra[index] = spectrum
    for group in groups:
        for part in _parts(group):
            for lane in _search(method, part, curves, grid, options):
                spectra[lane.source] = _store(peaks, lane)
    if options.return_spectrum:
        peaks.spectra.extend(spectra)
    return peaks


def count_shared(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> int:
    """Return how many light curves of the batch `run` searches together with others; see there."""
    groups, _ = _groups(analysis_of_variance.method(aov.prepare, options), batch, grid, options)
    return sum(group.source.size for group in groups)


def take_grids(grid: FrequencyGrid, indices: NDArray[np.int64]) -> FrequencyGrid:
    """Return the grids of some light curves."""
    columns = {name: getattr(grid, name)[indices] for name in ("minimum", "step", "n_frequencies", "status")}
    return replace(grid, **columns)


def _groups(
    method: Method, batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions
) -> tuple[list[Group], dict[int, Curve]]:
    """Return the groups and the light curves that can be searched."""
    curves = {}
    first_epoch = np.full(len(batch), np.nan)
    for index in range(len(batch)):
        if check_points(batch, index, method.min_n_obs) == SearchStatus.OK and grid.status[index] == SearchStatus.OK:
            curves[index] = make_curve(batch, index)
            first_epoch[index] = batch.time[batch.offsets[index] : batch.offsets[index + 1]].min()
    groups = find_groups(curves, first_epoch, grid, least=LEAST_SOURCES, n_bins=options.n_phase_bins)
    return [group for group in groups if group.epoch.size <= MOST_EPOCHS], curves


def _parts(group: Group) -> list[Group]:
    """Return the group cut into parts that fit into memory."""
    n_parts = -(-group.source.size // SOURCES_AT_ONCE)
    return [
        replace(
            group,
            source=group.source[part],
            deviation=group.deviation[:, part],
            point=group.point[:, part],
        )
        for part in np.array_split(np.arange(group.source.size), n_parts)
    ]


def _search(
    method: Method,
    group: Group,
    curves: Mapping[int, Curve],
    grid: FrequencyGrid,
    options: SearchOptions,
) -> Sequence[_Lane]:
    """Search the light curves of a group."""
    members = [curves[int(index)] for index in group.source]
    lanes = [
        _Lane(source=int(index), curve=curve, method=method, grid=grid, options=options)
        for index, curve in zip(group.source, members, strict=True)
    ]
    tiles = VarianceTiles.of(group, members, options)
    longest = max(lane.n_frequencies for lane in lanes)
    n_lanes = -(-len(lanes) // SUM_LANES) * SUM_LANES
    buffer = np.empty(n_lanes * min(PIECE, longest), dtype=np.float32)
    for first in range(0, longest, PIECE):
        width = min(PIECE, longest - first)
        values = buffer[: n_lanes * width].reshape(n_lanes, width)
        tiles.evaluate(first, values)
        for j, lane in enumerate(lanes):
            lane.add(first, values[j], tiles.limit(j))
    return lanes


def _store(peaks: PeriodogramPeaks, lane: _Lane) -> Spectrum | None:
    """Write the result of one light curve and return its periodogram."""
    found = lane.found()
    frequency = refine_peaks(lane.curve, found, lane.grid, lane.source, lane.method, lane.options.exclude)
    store(peaks, lane.source, found, frequency)
    if lane.method.false_alarm is not None:
        width = float(lane.n_frequencies * lane.grid.step[lane.source])
        alarm = lane.method.false_alarm(found.statistic, lane.curve, width)
        peaks.false_alarm_probability[lane.source, : alarm.size] = alarm
    if found.frequency.size == 0:
        peaks.status[lane.source] = SearchStatus.NO_PEAK
    return found.spectrum


def _runs(chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return begin and end of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], chosen, [False])).astype(np.int8)))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]
