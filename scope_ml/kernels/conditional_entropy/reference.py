"""Definition of the conditional entropy: histograms of the folded light curve, float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.conditional_entropy import MIN_N_OBS, magnitude_bins
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.search import Method, defined_by, search_batch

__all__ = ["METHOD", "run", "statistic"]


def statistic(curve: Curve, frequency: NDArray[np.float64], options: SearchOptions) -> NDArray[np.float64]:
    """Return the conditional entropy, float64 (n_frequencies,), natural logarithm: Graham et al. 2013, equation 5.

    Parameters
    ----------
    curve
        Points of one light curve.
    frequency
        Trial frequencies [1/d].
    options
        `n_phase_bins`, `n_mag_bins`, `wrap`.
    """
    n_phase = options.n_phase_bins
    mag_bin = magnitude_bins(curve, options)
    result = np.empty(frequency.size)
    for k, trial in enumerate(frequency):
        phase_bin = np.floor(trial * curve.time % 1.0 * n_phase).astype(np.int64)
        cells = np.bincount(mag_bin * n_phase + phase_bin, minlength=options.n_mag_bins * n_phase)
        joint = cells.reshape(options.n_mag_bins, n_phase) / curve.time.size
        marginal = np.broadcast_to(joint.sum(axis=0), joint.shape)
        filled = joint > 0
        result[k] = np.sum(joint[filled] * np.log(marginal[filled] / joint[filled]))
    return result


METHOD = Method(prepare=defined_by(statistic), min_n_obs=MIN_N_OBS, best="min")


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see the package for the statistic, `kernels.search` for peaks."""
    return search_batch(METHOD, batch, grid, options)
