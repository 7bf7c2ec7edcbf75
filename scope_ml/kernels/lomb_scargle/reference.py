"""Definition of the generalised Lomb-Scargle search: direct sums over the points, float64, whole periodogram."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.bands import normalise
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.lomb_scargle import MIN_N_OBS, SINGULAR, false_alarm_probability
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.search import Method, defined_by, search_batch

__all__ = ["METHOD", "run", "statistic"]


def statistic(curve: Curve, frequency: NDArray[np.float64], options: SearchOptions) -> NDArray[np.float64]:
    """Return the power (n_frequencies,) of one light curve: equations 4 to 15 of Zechmeister & Kuerster 2009.

    With several bands the means are those of the band of each point.

    Parameters
    ----------
    curve
        Light curve.
    frequency
        Trial frequencies [1/d].
    options
        Nothing of them is used.
    """
    scaled = normalise(curve)
    weight = scaled.mag_err**-2.0
    weight /= weight.sum()
    # Weights by which each band takes its mean, (n_bands, n_obs).
    average = (scaled.band == np.arange(scaled.n_bands)[:, None]) * weight
    average /= average.sum(axis=1, keepdims=True)
    variance = weight @ scaled.mag**2
    result = np.empty(frequency.size)
    for k, trial in enumerate(frequency):
        phase = 2.0 * np.pi * (trial * scaled.time % 1.0)
        cosine = np.cos(phase)
        sine = np.sin(phase)
        cosine -= (average @ cosine)[scaled.band]
        sine -= (average @ sine)[scaled.band]
        yc, ys = weight @ (scaled.mag * cosine), weight @ (scaled.mag * sine)
        cc, ss, cs = weight @ cosine**2, weight @ sine**2, weight @ (cosine * sine)
        determinant = cc * ss - cs * cs
        singular = determinant < SINGULAR
        result[k] = 0.0 if singular else (ss * yc * yc + cc * ys * ys - 2.0 * cs * yc * ys) / (variance * determinant)
    return np.clip(result, 0.0, 1.0)


METHOD = Method(prepare=defined_by(statistic), min_n_obs=MIN_N_OBS, n_harmonics=1, false_alarm=false_alarm_probability)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see the package for the statistic, `search` for peaks."""
    return search_batch(METHOD, batch, grid, options)
