"""Definition of the analysis of variance of phase bins: float64, a frequency at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.analysis_of_variance import LEAST_WITHIN, method
from scope_ml.kernels.bands import normalise
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.search import defined_by, search_batch

__all__ = ["METHOD", "run", "statistic"]


def statistic(curve: Curve, frequency: NDArray[np.float64], options: SearchOptions) -> NDArray[np.float64]:
    """Return F (n_frequencies,) at trial frequencies [1/d]; see the package for the formula.

    Parameters
    ----------
    curve
        Light curve.
    frequency
        Trial frequencies [1/d], float64 (n_frequencies,).
    options
        Number of phase bins.
    """
    n_bins, n_obs = options.n_phase_bins, curve.time.size
    mag = normalise(curve).mag if curve.n_bands > 1 else curve.mag
    mag = mag - mag.mean()
    total = np.sum(mag**2)
    result = np.zeros(frequency.size)
    if n_obs <= n_bins:
        return result
    for k, trial in enumerate(frequency):
        phase_bin = (trial * curve.time % 1.0 * n_bins).astype(np.int64)
        count = np.bincount(phase_bin, minlength=n_bins)
        sum_of_bin = np.bincount(phase_bin, mag, minlength=n_bins)
        mean = sum_of_bin / np.maximum(count, 1)
        between = np.sum(count * mean**2)
        residual = mag - mean[phase_bin]
        within = max(np.sum(residual**2), LEAST_WITHIN * total)
        result[k] = (n_obs - n_bins) / (n_bins - 1) * between / within
    return result


PREPARE = defined_by(statistic)
#: What the driver needs of the definition, for the default number of bins.
METHOD = method(PREPARE)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see `search.search_batch`."""
    return search_batch(method(PREPARE, options), batch, grid, options)
