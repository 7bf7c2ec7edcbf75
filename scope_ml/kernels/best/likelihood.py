"""Marginal likelihood of a period: how well a smooth periodic curve explains a series, less what its freedom costs.

Harmonic h of the curve has Gaussian amplitudes of standard deviation ``strength * h**-decay`` (in units of the
series' scatter and of its noise, which is unknown); they are integrated out, and so is the scale of the noise:

    log E = -1/2 log det(1 + D G D) - 1/2 n_free log(1 - g' D (1 + D G D)^-1 D g / total)

with the normal equations G, g of the centred harmonics, the weighted sum of squares `total` and the prior D = diag of
the standard deviations (MacKay 1992, Neural Computation 4, 415). 0 is a constant star. Strength and decay are those of
a short list that explain the series best. May import `best.normal` and `best.series`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.kernels.best.normal import fill_normal, fill_residuals
from scope_ml.kernels.best.series import SERIES, Series, downweighted

__all__ = ["DECAYS", "LEAST_LEFT", "N_HARMONICS", "STRENGTHS", "Fit", "evidence", "fit_curve", "unexplained"]

#: Harmonics of the curve.
N_HARMONICS = 8

#: Standard deviations of the first harmonic: from a sinusoid to the sharpest curves.
STRENGTHS = np.array([1.0, 3.0, 10.0, 30.0, 100.0])

#: Powers by which the harmonics may fall: a curve with a kink, and one without.
DECAYS = np.array([2.0, 3.0])

#: Least share of the sum of squares that a fit may leave.
LEAST_LEFT = 1e-9

#: Residual [robust standard deviations] at which a point has half its weight, and rounds of fit and weights.
HALF_WEIGHT = 2.5
N_ROUNDS = 3
TO_SIGMA = 1.4826


class Fit(NamedTuple):
    """Most probable curve of one series at one frequency.

    Attributes
    ----------
    amplitude
        Cosine and sine, harmonic by harmonic, in units of the scatter, float64 (2 H,).
    explained
        Share of the weighted sum of squares that the curve takes away.
    """

    amplitude: NDArray[np.float64]
    explained: float


@njit("f8(f8[:, ::1], f8[::1], f8[::1], f8[:, ::1], f8[::1])", nogil=True, cache=True, error_model="numpy")
def _factorise(
    matrix: NDArray[np.float64],
    right: NDArray[np.float64],
    prior: NDArray[np.float64],
    factor: NDArray[np.float64],
    solved: NDArray[np.float64],
) -> float:
    """Write the Cholesky factor of ``1 + D G D`` and the forward solution of ``D g``; return half the log det."""
    log_volume = 0.0
    for i in range(right.size):
        for j in range(i):
            value = prior[i] * matrix[i, j] * prior[j]
            for k in range(j):
                value -= factor[i, k] * factor[j, k]
            factor[i, j] = value / factor[j, j]
        pivot = 1.0 + prior[i] * matrix[i, i] * prior[i]
        value = prior[i] * right[i]
        for k in range(i):
            pivot -= factor[i, k] * factor[i, k]
            value -= factor[i, k] * solved[k]
        factor[i, i] = np.sqrt(max(pivot, 1.0))
        solved[i] = value / factor[i, i]
        log_volume += np.log(factor[i, i])
    return log_volume


@njit("void(f8, f8, f8[::1])", nogil=True, cache=True)
def _fill_prior(strength: float, decay: float, prior: NDArray[np.float64]) -> None:
    """Write the standard deviation of each amplitude."""
    for i in range(prior.size):
        prior[i] = strength * float(i // 2 + 1) ** (-decay)


@njit(
    types.void(SERIES, types.float64[::1], types.int64, types.float64[::1], types.float64[::1], types.float64[:, ::1]),
    nogil=True,
    cache=True,
)
def _scan(
    series: Series,
    frequency: NDArray[np.float64],
    n_harmonics: int,
    decays: NDArray[np.float64],
    strengths: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Write log E, and the strength and decay that give it, into `out` (n_frequencies, 3)."""
    n_terms = 2 * n_harmonics
    matrix, factor = np.empty((n_terms, n_terms)), np.empty((n_terms, n_terms))
    right, solved, prior = np.empty(n_terms), np.empty(n_terms), np.empty(n_terms)
    total = series.share * (series.weight * series.value**2).sum()
    for k in range(frequency.size):
        fill_normal(series, frequency[k], matrix, right)
        out[k, 0] = -np.inf
        for decay in decays:
            for strength in strengths:
                _fill_prior(strength, decay, prior)
                log_volume = _factorise(matrix, right, prior, factor, solved)
                left = max(1.0 - (solved * solved).sum() / total, LEAST_LEFT)
                value = -log_volume - 0.5 * series.n_free * np.log(left)
                if value > out[k, 0]:
                    out[k, 0], out[k, 1], out[k, 2] = value, strength, decay


@njit(types.void(SERIES, types.float64, types.float64, types.float64, types.float64[::1]), nogil=True, cache=True)
def _fit(series: Series, frequency: float, strength: float, decay: float, amplitude: NDArray[np.float64]) -> None:
    """Write the most probable amplitudes."""
    n_terms = amplitude.size
    matrix, factor = np.empty((n_terms, n_terms)), np.empty((n_terms, n_terms))
    right, prior = np.empty(n_terms), np.empty(n_terms)
    fill_normal(series, frequency, matrix, right)
    _fill_prior(strength, decay, prior)
    _factorise(matrix, right, prior, factor, amplitude)
    for i in range(n_terms - 1, -1, -1):
        for k in range(i + 1, n_terms):
            amplitude[i] -= factor[k, i] * amplitude[k]
        amplitude[i] /= factor[i, i]
    amplitude *= prior


def evidence(
    series: Series, frequency: NDArray[np.float64], n_harmonics: int = N_HARMONICS, decays: NDArray[np.float64] = DECAYS
) -> NDArray[np.float64]:
    """Return log E and the strength and decay that give it, float64 (n, 3), at frequencies [1/d] (n,)."""
    out = np.empty((frequency.size, 3))
    _scan(series, np.ascontiguousarray(frequency, dtype=np.float64), n_harmonics, decays, STRENGTHS, out)
    return out


def fit_curve(
    series: Series, frequency: float, n_harmonics: int = N_HARMONICS, decays: NDArray[np.float64] = DECAYS
) -> Fit:
    """Return the most probable curve at one frequency [1/d]."""
    _, strength, decay = evidence(series, np.array([frequency]), n_harmonics, decays)[0]
    amplitude, residual = np.empty(2 * n_harmonics), np.empty(series.time.size)
    _fit(series, frequency, strength, decay, amplitude)
    fill_residuals(series, frequency, amplitude, residual)
    left = float(series.weight @ residual**2) / float(series.weight @ series.value**2)
    return Fit(amplitude=amplitude, explained=max(0.0, 1.0 - left))


def unexplained(series: Series, frequency: float, strength: float, decay: float) -> NDArray[np.float64]:
    """Return the weights (n_obs,), 1 for a good point, of a fit at one frequency made robust by Cauchy's weights."""
    residual, amplitude = np.empty(series.time.size), np.empty(2 * N_HARMONICS)
    factor = np.ones(series.time.size)
    root = np.sqrt(series.weight)
    for _ in range(N_ROUNDS):
        weighed = downweighted(series, factor)
        _fit(weighed, frequency, strength, decay, amplitude)
        fill_residuals(weighed, frequency, amplitude, residual)
        size = np.abs(residual) * root
        sigma = TO_SIGMA * float(np.median(size))
        if sigma <= 0:
            break
        factor = 1.0 / (1.0 + (size / (HALF_WEIGHT * sigma)) ** 2)
    return factor
