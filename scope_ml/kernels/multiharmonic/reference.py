"""Definition of the multi-harmonic search: a least-squares fit by orthogonal terms for each frequency, float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.bands import normalise
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.multiharmonic import SINGULAR, check_harmonics, degrees_of_freedom, to_ratio
from scope_ml.kernels.multiharmonic.cpu import make_method
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.search import defined_by, search_batch

__all__ = ["power", "run", "statistic"]


def power(curve: Curve, frequency: NDArray[np.float64], n_harmonics: int) -> NDArray[np.float64]:
    """Return the share of the variance about the means of the bands that the fit describes, float64 (n_frequencies,).

    Parameters
    ----------
    curve
        Light curve.
    frequency
        Trial frequencies [1/d].
    n_harmonics
        Harmonics of the fit.
    """
    scaled = normalise(curve)
    weight = scaled.mag_err**-2.0
    weight /= weight.sum()
    root = np.sqrt(weight)
    constants = (scaled.band == np.arange(scaled.n_bands)[:, None]) * root
    constants /= np.linalg.norm(constants, axis=1)[:, None]
    target = scaled.mag * root
    target /= np.linalg.norm(target)
    result = np.empty(frequency.size)
    for k, trial in enumerate(frequency):
        described = 0.0
        kept = list(constants)
        for j in range(1, n_harmonics + 1):
            angle = 2.0 * np.pi * (j * (trial * scaled.time % 1.0))
            for term in (np.cos(angle) * root, np.sin(angle) * root):
                # Twice, which leaves the terms orthogonal to rounding (Giraud et al. 2005).
                for other in kept * 2:
                    term -= (other @ term) * other  # noqa: PLW2901
                if term @ term > SINGULAR:
                    kept.append(term / np.linalg.norm(term))
                    described += (kept[-1] @ target) ** 2
        result[k] = min(described, 1.0)
    return result


def statistic(curve: Curve, frequency: NDArray[np.float64], options: SearchOptions) -> NDArray[np.float64]:
    """Return theta (n_frequencies,) of one light curve at trial frequencies [1/d]."""
    n_harmonics = check_harmonics(options.n_harmonics)
    return to_ratio(power(curve, frequency, n_harmonics), n_harmonics, degrees_of_freedom(curve, n_harmonics))


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see the package for the statistic, `search` for peaks."""
    return search_batch(make_method(defined_by(statistic), check_harmonics(options.n_harmonics)), batch, grid, options)
