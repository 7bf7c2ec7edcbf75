"""Analysis of variance of phase bins on the CPU: one addition in memory a point and frequency; see `binned_sums`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.analysis_of_variance import LEAST_WITHIN, method
from scope_ml.kernels.bands import normalise
from scope_ml.kernels.binned_sums import check_bins
from scope_ml.kernels.binned_sums.plain import TABLE_SIZE, PackedMagnitudes, between_bins, between_of_block, pack
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.search import search_batch

__all__ = ["METHOD", "AnalysisOfVariance", "aov_from_bins", "prepare", "run"]


@njit("void(float64[::1], float64, float64, float64[:])", nogil=True, cache=True, error_model="numpy")
def _variance_ratio(between: NDArray[np.float64], total: float, factor: float, out: NDArray[np.float64]) -> None:
    """Write F; 0 everywhere where nothing varies or no degree of freedom is left."""
    least = LEAST_WITHIN * total
    for k in range(out.size):
        out[k] = factor * between[k] / max(total - between[k], least) if total > 0.0 else 0.0


@njit("void(uint8[:, ::1], uint64[::1], Tuple((uint64, float64)), float64, int64, float64[:])", nogil=True, cache=True)
def aov_from_bins(
    bins: NDArray[np.uint8],
    word: NDArray[np.uint64],
    scale: tuple[int, float],
    total: float,
    n_bins: int,
    out: NDArray[np.float64],
) -> None:
    """Write F at a block of frequencies whose phase bins are known; may be called from other numba functions.

    Parameters
    ----------
    bins
        Phase bin of each point at each frequency, uint8 (n_obs, block), block a multiple of 32; rows in any order.
    word, scale, total
        Fields of the `PackedMagnitudes` of the same points in the same order.
    n_bins
        Bins of a cycle; all of `bins` are below it.
    out
        Filled with F, float64 (n,), n <= block.
    """
    table = np.zeros(TABLE_SIZE, dtype=np.uint64)
    sums = np.empty((2, out.size))
    between_of_block(bins, word, scale, n_bins, False, table, sums)
    _variance_ratio(sums[0], total, max(word.size - n_bins, 0) / (n_bins - 1), out)


@dataclass(frozen=True, kw_only=True)
class AnalysisOfVariance:
    """F of one light curve.

    Attributes
    ----------
    time
        Times from the first epoch [d], float64 (n_obs,).
    packed
        Magnitudes in the same order.
    n_bins
        Bins of a cycle.
    """

    time: NDArray[np.float64]
    packed: PackedMagnitudes
    n_bins: int

    def evaluate(self, frequency: float, step: float, out: NDArray[np.float64]) -> None:
        """Write F at ``frequency + k * step`` [1/d] into ``out[k]``, float64 (n,)."""
        between = between_bins(self.time, self.packed, frequency, step, self.n_bins, out.size)[0]
        factor = max(self.time.size - self.n_bins, 0) / (self.n_bins - 1)
        _variance_ratio(between, self.packed.total, factor, out)

    def evaluate_bins(self, bins: NDArray[np.uint8], out: NDArray[np.float64]) -> None:
        """Write F of phase bins, uint8 (n_obs, block), made elsewhere for the points in the order of `time`."""
        packed = self.packed
        aov_from_bins(bins, packed.word, packed.scale, packed.total, self.n_bins, out)


def prepare(curve: Curve, options: SearchOptions) -> AnalysisOfVariance:
    """Make the search ready for one light curve.

    Raises
    ------
    ConfigError
        If the number of phase bins cannot be used.
    """
    mag = normalise(curve).mag if curve.n_bands > 1 else curve.mag
    n_bins = check_bins("n_phase_bins", options.n_phase_bins)
    return AnalysisOfVariance(time=curve.time, packed=pack(mag), n_bins=n_bins)


#: What the driver needs, for the default number of bins.
METHOD = method(prepare)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see `search.search_batch`, and `shared_epochs` for that option."""
    if options.shared_epochs:
        # Imported here: that room is built on this one.
        from scope_ml.kernels.shared_epochs import cpu as shared_epochs

        return shared_epochs.run(batch, grid, options)
    return search_batch(method(prepare, options), batch, grid, options)
