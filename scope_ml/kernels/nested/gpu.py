"""Nested search on a GPU: two whole periodograms, and analysis of variance at their peaks alone unless asked for.

Candidates, decision and result are those of `nested.driver`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.analysis_of_variance.gpu import AnalysisOfVariance
from scope_ml.kernels.conditional_entropy.cpu import METHOD as CE
from scope_ml.kernels.conditional_entropy.gpu import ConditionalEntropy
from scope_ml.kernels.gpu.chunk import Chunk, chunks, searchable
from scope_ml.kernels.gpu.columns import Columns
from scope_ml.kernels.gpu.device import download
from scope_ml.kernels.gpu.launch import evaluate
from scope_ml.kernels.gpu.search import find
from scope_ml.kernels.gpu.tasks import pieces_of_points
from scope_ml.kernels.grid import FrequencyGrid, excluded_mask
from scope_ml.kernels.lomb_scargle.cpu import METHOD as LS
from scope_ml.kernels.lomb_scargle.gpu import LombScargle
from scope_ml.kernels.nested import COMPONENTS, merge_candidates, sample_frequencies
from scope_ml.kernels.nested.driver import Components
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions, SearchStatus, Spectrum
from scope_ml.kernels.search import Found, store

__all__ = ["run"]


@dataclass(frozen=True, kw_only=True)
class _Decision:
    """Analysis of variance on a chunk."""

    method: AnalysisOfVariance
    chunk: Chunk
    columns: Columns
    grid: FrequencyGrid

    def at(self, frequencies: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        """Return F of each light curve at its own frequencies [1/d]."""
        sizes = [frequency.size for frequency in frequencies]
        if sum(sizes) == 0:
            return [np.empty(0) for _ in sizes]
        row = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        step = self.grid.step[self.chunk.rows[row]]
        pieces = pieces_of_points(row, np.concatenate(frequencies), step, np.ones(row.size, dtype=np.int32))
        values = _floats(download(evaluate(self.method, self.columns, pieces)))
        return np.split(values, np.cumsum(sizes)[:-1])

    def sampled_moments(self, exclude: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
        """Return mean and scatter of F over each light curve's grid, from a sample of it outside the windows."""
        samples = [sample_frequencies(self.grid, row) for row in self.chunk.rows.tolist()]
        pieces = pieces_of_points(
            np.arange(len(samples), dtype=np.int32),
            np.array([first for first, _, _ in samples]),
            np.array([spacing for _, spacing, _ in samples]),
            np.array([count for _, _, count in samples], dtype=np.int32),
        )
        values = _floats(download(evaluate(self.method, self.columns, pieces)))
        result = []
        for (first, spacing, count), own in zip(samples, np.split(values, pieces.out[1:-1]), strict=True):
            frequency = first + spacing * np.arange(count, dtype=np.float64)
            counted = own[~excluded_mask(frequency, exclude)] if exclude else own
            result.append((float(counted.mean()), float(counted.std())) if counted.size else (0.0, 0.0))
        return result


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best candidates of each light curve; see the package and `nested.driver`."""
    if options.return_spectrum:
        options = replace(options, aov_everywhere=True)
    methods = Components(ls=LS, ce=CE, aov=AnalysisOfVariance(options).method)
    peaks = PeriodogramPeaks.empty(len(batch), options.n_peaks, dict.fromkeys(COMPONENTS, options.n_peaks))
    peaks.status[:] = searchable(batch, grid, methods.min_n_obs)
    spectra: dict[int, Spectrum | None] = {}
    for chunk in chunks(batch, grid, peaks.status.copy()):
        _search_chunk(chunk, grid, options, peaks, spectra)
    for component in peaks.components.values():
        component.status[:] = peaks.status
    if options.return_spectrum:
        peaks.spectra.extend(spectra.get(row) for row in range(len(batch)))
    return peaks


def _floats(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return float32 numbers as float64 ones."""
    return values.astype(np.float64)


def _search_chunk(
    chunk: Chunk,
    grid: FrequencyGrid,
    options: SearchOptions,
    peaks: PeriodogramPeaks,
    spectra: dict[int, Spectrum | None],
) -> None:
    """Write the peaks of the light curves of a chunk."""
    n_peaks = max(options.n_candidates, options.n_peaks)
    quiet = replace(options, return_spectrum=False)
    entropy, aov = ConditionalEntropy(options), AnalysisOfVariance(options)
    proposed: dict[str, list[Found]] = {
        "ls": find(LombScargle(), chunk, chunk.fits, grid, quiet, n_peaks),
        "ce": find(entropy, chunk, entropy.pack(chunk), grid, quiet, n_peaks),
    }
    columns = aov.pack(chunk)
    decision = _Decision(method=aov, chunk=chunk, columns=columns, grid=grid)
    separation = grid.step[chunk.rows] * grid.samples_per_peak
    candidates = [
        merge_candidates(
            ls.frequency[: options.n_candidates], ce.frequency[: options.n_candidates], float(separation[i])
        )
        for i, (ls, ce) in enumerate(zip(proposed["ls"], proposed["ce"], strict=True))
    ]
    statistic = decision.at(candidates)
    everywhere = find(aov, chunk, columns, grid, options, options.n_peaks) if options.aov_everywhere else None
    moments = (
        decision.sampled_moments(options.exclude)
        if everywhere is None
        else [(found.mean, found.scatter) for found in everywhere]
    )
    for i, row in enumerate(chunk.rows.tolist()):
        decided = _decided(candidates[i], statistic[i], *moments[i])
        for name in ("ls", "ce"):
            store(peaks.components[name], row, proposed[name][i], proposed[name][i].frequency)
        store(peaks, row, decided, decided.frequency)
        found = decided if everywhere is None else everywhere[i]
        store(peaks.components["aov"], row, found, found.frequency)
        spectra[row] = found.spectrum
        if decided.frequency.size == 0:
            peaks.status[row] = SearchStatus.NO_PEAK


def _decided(candidates: NDArray[np.float64], statistic: NDArray[np.float64], mean: float, scatter: float) -> Found:
    """Return the candidates by falling statistic."""
    order = np.argsort(-statistic, kind="stable")
    significance = (statistic - mean) / scatter if scatter > 0 else np.full(statistic.size, np.nan)
    return Found(
        frequency=candidates[order],
        statistic=statistic[order],
        significance=significance[order],
        mean=mean,
        scatter=scatter,
    )
