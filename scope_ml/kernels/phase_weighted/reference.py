"""Definition of the phase-folding weighted statistic: float64, a frequency at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.bands import normalise
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.phase_weighted import method
from scope_ml.kernels.search import defined_by, search_batch

__all__ = ["METHOD", "run", "statistic"]


def statistic(curve: Curve, frequency: NDArray[np.float64], options: SearchOptions) -> NDArray[np.float64]:
    """Return S (n_frequencies,) at trial frequencies [1/d]; see the package for the formula.

    Parameters
    ----------
    curve
        Light curve.
    frequency
        Trial frequencies [1/d], float64 (n_frequencies,).
    options
        Number of phase bins.
    """
    n_bins = options.n_phase_bins
    scaled = normalise(curve)
    weight = scaled.mag_err**-2.0
    product = weight * scaled.mag
    result = np.empty(frequency.size)
    for k, trial in enumerate(frequency):
        phase_bin = (trial * curve.time % 1.0 * n_bins).astype(np.int64)
        weight_of_bin = np.bincount(phase_bin, weight, minlength=n_bins)
        sum_of_bin = np.bincount(phase_bin, product, minlength=n_bins)
        filled = weight_of_bin > 0
        result[k] = 0.5 * np.sum(sum_of_bin[filled] ** 2 / weight_of_bin[filled])
    return result


PREPARE = defined_by(statistic)
#: What the driver needs of the definition, for the default number of bins.
METHOD = method(PREPARE)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see `search.search_batch`."""
    return search_batch(method(PREPARE, options), batch, grid, options)
