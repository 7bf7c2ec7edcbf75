"""Definition of the recommended search: the marginal likelihood by plain least squares, float64, in a few lines.

Proposals come from normal equations summed point by point at every frequency of the grid; candidates, weights and the
decision are those of the package.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.bands import normalise
from scope_ml.kernels.best import BestPeaks
from scope_ml.kernels.best.decide import Tools
from scope_ml.kernels.best.driver import search_best
from scope_ml.kernels.best.likelihood import DECAYS, LEAST_LEFT, N_HARMONICS, STRENGTHS
from scope_ml.kernels.best.nested_power import SINGULAR
from scope_ml.kernels.best.proposals import Powers
from scope_ml.kernels.best.series import Series
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import SearchOptions

__all__ = ["TOOLS", "log_evidence", "nested_power", "run"]

#: Frequencies fitted side by side.
PIECE = 256


def log_evidence(series: Series, frequency: float, strength: float, decay: float) -> float:
    """Return the log marginal likelihood of one frequency [1/d] and prior, over that of a constant star."""
    root = np.sqrt(series.share * series.weight)
    harmonic = np.repeat(np.arange(1, N_HARMONICS + 1), 2)
    angle = 2.0 * np.pi * harmonic * (frequency * series.time % 1.0)[:, None]
    terms = np.where(np.arange(harmonic.size) % 2 == 0, np.cos(angle), np.sin(angle))
    terms = (terms - series.weight @ terms / series.weight.sum()) * root[:, None] * strength * harmonic**-decay
    target = series.value * root
    matrix = np.eye(harmonic.size) + terms.T @ terms
    explained = float((terms.T @ target) @ np.linalg.solve(matrix, terms.T @ target) / (target @ target))
    log_determinant = float(np.linalg.slogdet(matrix)[1])
    return -0.5 * log_determinant - 0.5 * series.n_free * float(np.log(max(1.0 - explained, LEAST_LEFT)))


def _evidence(series: Series, frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the highest log evidence of all priors, and the strength and decay that give it, (n, 3)."""
    rows = [
        max(((log_evidence(series, trial, s, d), s, d) for d in DECAYS for s in STRENGTHS), key=lambda row: row[0])
        for trial in frequency
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def nested_power(curve: Curve, frequency: NDArray[np.float64], n_harmonics: int) -> NDArray[np.float64]:
    """Return the powers of the fits of 1 to `n_harmonics` harmonics, float64 (n_harmonics, n_frequencies).

    Gaussian elimination of the normal equations, one harmonic after another; terms that those before them describe
    drop out.
    """
    scaled = normalise(curve)
    weight = scaled.mag_err**-2.0 / (scaled.mag_err**-2.0).sum()
    bands = (scaled.band == np.arange(scaled.n_bands)[:, None]) * weight
    harmonic = np.arange(1, n_harmonics + 1)
    angle = 2.0 * np.pi * (frequency[:, None] * scaled.time % 1.0)[:, None, :] * harmonic[:, None]
    terms = np.stack((np.cos(angle), np.sin(angle)), axis=2).reshape(frequency.size, -1, weight.size)
    mag = np.broadcast_to(scaled.mag / np.sqrt(weight @ scaled.mag**2), (frequency.size, 1, weight.size))
    terms = np.concatenate((terms, mag), axis=1)
    means = terms @ bands.T / bands.sum(axis=1)
    terms -= means @ (bands > 0)
    matrix = (terms * weight) @ terms.swapaxes(1, 2)
    power = np.zeros(frequency.size)
    result = np.empty((n_harmonics, frequency.size))
    for term in range(2 * n_harmonics):
        pivot = matrix[:, term, term]
        inverse = np.where(pivot > SINGULAR, 1.0 / np.where(pivot > SINGULAR, pivot, 1.0), 0.0)
        power += matrix[:, -1, term] ** 2 * inverse
        row = matrix[:, :, term] * inverse[:, None]
        matrix -= row[:, :, None] * matrix[:, None, term, :]
        result[term // 2] = power
    return np.minimum(result, 1.0)


def _powers(curve: Curve, n_harmonics: int) -> Powers:
    def evaluate(frequency: float, step: float, n_frequencies: int) -> NDArray[np.float64]:
        trial = frequency + step * np.arange(n_frequencies, dtype=np.float64)
        pieces = np.array_split(trial, -(-n_frequencies // PIECE))
        return np.concatenate([nested_power(curve, piece, n_harmonics) for piece in pieces], axis=1)

    return evaluate


#: The definitions.
TOOLS = Tools(powers=_powers, evidence=_evidence)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> BestPeaks:
    """Return the best periods of each light curve and how they were decided; see `driver.search_best`."""
    return search_best(TOOLS, batch, grid, options)
