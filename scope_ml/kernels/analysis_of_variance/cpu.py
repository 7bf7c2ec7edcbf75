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
from scope_ml.kernels.binned_sums.plain import PackedMagnitudes, between_bins, pack
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.search import search_batch

__all__ = ["METHOD", "AnalysisOfVariance", "prepare", "run"]


@njit("void(float64[::1], float64, float64, float64[:])", nogil=True, cache=True, error_model="numpy")
def _variance_ratio(between: NDArray[np.float64], total: float, factor: float, out: NDArray[np.float64]) -> None:
    """Write F; 0 everywhere where nothing varies or no degree of freedom is left."""
    least = LEAST_WITHIN * total
    for k in range(out.size):
        out[k] = factor * between[k] / max(total - between[k], least) if total > 0.0 else 0.0


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
