"""The nested search over any three methods: `cpu` and `reference` fill in their own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.curve import Curve, check_points, make_curve
from scope_ml.kernels.grid import FrequencyGrid, excluded_mask
from scope_ml.kernels.nested import COMPONENTS, merge_candidates, sample_frequencies
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions, SearchStatus
from scope_ml.kernels.search import Found, Method, Statistic, refine_peaks, scan, store

__all__ = ["Components", "search_nested"]


@dataclass(frozen=True, kw_only=True)
class Components:
    """The three methods: `ls` and `ce` propose, `aov` decides."""

    ls: Method
    ce: Method
    aov: Method

    @property
    def min_n_obs(self) -> int:
        """Fewest points that all three need."""
        return max(self.ls.min_n_obs, self.ce.min_n_obs, self.aov.min_n_obs)


def search_nested(
    methods: Components, batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions
) -> PeriodogramPeaks:
    """Search each light curve; the arguments and the result are those of `search.search_batch`.

    The statistic is that of analysis of variance at the refined candidate. `components` holds the peaks of all three,
    and a spectrum is that of aov over the grid. Without ``options.aov_everywhere`` aov is computed at the candidates and
    at a sample of the grid: its component then repeats the candidates, and the significance is larger than in the other
    mode, for a sample misses most of the few high values that make the scatter of a strongly periodic star.
    """
    if options.return_spectrum:
        options = replace(options, aov_everywhere=True)
    peaks = PeriodogramPeaks.empty(len(batch), options.n_peaks, dict.fromkeys(COMPONENTS, options.n_peaks))
    for index in range(len(batch)):
        status = check_points(batch, index, methods.min_n_obs)
        if status == SearchStatus.OK:
            status = SearchStatus(int(grid.status[index]))
        spectrum = None
        if status == SearchStatus.OK:
            curve = make_curve(batch, index)
            spectrum = _search_one(methods, curve, grid, index, options, peaks).spectrum
            if np.isnan(peaks.frequency[index, 0]):
                status = SearchStatus.NO_PEAK
        for row in (peaks, *peaks.components.values()):
            row.status[index] = status
        if options.return_spectrum:
            peaks.spectra.append(spectrum)
    return peaks


def _search_one(
    methods: Components,
    curve: Curve,
    grid: FrequencyGrid,
    index: int,
    options: SearchOptions,
    peaks: PeriodogramPeaks,
) -> Found:
    """Write the peaks of one light curve into row `index`; return what aov found."""
    step = float(grid.step[index])
    proposed = []
    quiet = replace(options, return_spectrum=False)
    for name, method in (("ls", methods.ls), ("ce", methods.ce)):
        n_peaks = max(options.n_candidates, options.n_peaks)
        found = scan(method.prepare(curve, options), grid, index, quiet, best=method.best, n_peaks=n_peaks)
        refined = refine_peaks(curve, found, grid, index, method, options.exclude)
        store(peaks.components[name], index, found, refined)
        proposed.append(refined[: options.n_candidates])
    candidates = merge_candidates(proposed[0], proposed[1], step * grid.samples_per_peak)
    aov = methods.aov.prepare(curve, options)
    if options.aov_everywhere:
        whole = scan(aov, grid, index, options, best=methods.aov.best)
        refined = refine_peaks(curve, whole, grid, index, methods.aov, options.exclude)
        store(peaks.components["aov"], index, whole, refined)
        decided = _decide(aov, candidates, step, (whole.mean, whole.scatter))
        decided = replace(decided, spectrum=whole.spectrum)
    else:
        decided = _decide(aov, candidates, step, _sampled_moments(aov, grid, index, options))
        store(peaks.components["aov"], index, decided, decided.frequency)
    store(peaks, index, decided, decided.frequency)
    return decided


def _decide(aov: Statistic, candidates: NDArray[np.float64], step: float, moments: tuple[float, float]) -> Found:
    """Return the candidates by falling statistic, with significances by the mean and the scatter given."""
    statistic = np.empty(candidates.size)
    for i, frequency in enumerate(candidates):
        aov.evaluate(float(frequency), step, statistic[i : i + 1])
    mean, scatter = moments
    order = np.argsort(-statistic, kind="stable")
    significance = (statistic - mean) / scatter if scatter > 0 else np.full(statistic.size, np.nan)
    return Found(
        frequency=candidates[order],
        statistic=statistic[order],
        significance=significance[order],
        mean=mean,
        scatter=scatter,
    )


def _sampled_moments(aov: Statistic, grid: FrequencyGrid, index: int, options: SearchOptions) -> tuple[float, float]:
    """Return mean and scatter of the statistic at frequencies spread over the grid."""
    first, spacing, count = sample_frequencies(grid, index)
    sample = np.empty(count)
    aov.evaluate(first, spacing, sample)
    if options.exclude:
        sample = sample[~excluded_mask(first + spacing * np.arange(count, dtype=np.float64), options.exclude)]
    return (float(sample.mean()), float(sample.std())) if sample.size else (0.0, 0.0)
