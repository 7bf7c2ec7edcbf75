"""Definition of box least squares: float64, a frequency and a length of box at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.bands import normalise
from scope_ml.kernels.box_least_squares import box_lengths, method
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.search import defined_by, search_batch

__all__ = ["METHOD", "run", "statistic"]

#: Least share of the weight inside and outside of a box: below it the difference of two sums is rounding.
LEAST_WEIGHT = 1e-12


def statistic(curve: Curve, frequency: NDArray[np.float64], options: SearchOptions) -> NDArray[np.float64]:
    """Return p (n_frequencies,) at trial frequencies [1/d]; see the package for the formula.

    Parameters
    ----------
    curve
        Light curve.
    frequency
        Trial frequencies [1/d], float64 (n_frequencies,).
    options
        Number of bins and lengths of boxes.
    """
    n_bins = options.n_box_bins
    shortest, longest = box_lengths(options)
    scaled = normalise(curve)
    weight = scaled.mag_err**-2.0
    weight /= weight.sum()
    mag = scaled.mag - np.sum(weight * scaled.mag)
    variance = np.sum(weight * mag**2)
    result = np.zeros(frequency.size)
    for k, trial in enumerate(frequency):
        phase_bin = (trial * curve.time % 1.0 * n_bins).astype(np.int64)
        weight_of_bin = np.bincount(phase_bin, weight, minlength=n_bins)
        sum_of_bin = np.bincount(phase_bin, weight * mag, minlength=n_bins)
        # Sums of the bins before each, over two cycles: a box may go around the end.
        weight_before = np.concatenate(([0.0], np.cumsum(np.tile(weight_of_bin, 2))))
        sum_before = np.concatenate(([0.0], np.cumsum(np.tile(sum_of_bin, 2))))
        for length in range(shortest, longest + 1):
            r = weight_before[length : length + n_bins] - weight_before[:n_bins]
            s = sum_before[length : length + n_bins] - sum_before[:n_bins]
            split = (r > LEAST_WEIGHT) & (r < 1.0 - LEAST_WEIGHT)
            power = s[split] ** 2 / (r[split] * (1.0 - r[split]))
            result[k] = max(result[k], power.max(initial=0.0) / variance)
    return np.minimum(result, 1.0)


#: What the driver needs of the definition.
METHOD = method(defined_by(statistic))


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see `search.search_batch`."""
    return search_batch(METHOD, batch, grid, options)
