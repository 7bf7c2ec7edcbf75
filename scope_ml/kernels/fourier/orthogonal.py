"""The Fourier fit of light curves whose normal equations would lose digits: one orthogonalisation of all terms, in numba.

Modified Gram-Schmidt with the magnitudes as one more column, which is as stable as Householder's reflections (Bjorck
1967, BIT 7, 1): periods near the baseline and few points make the fit ill-conditioned. May import the package and
`sums`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.kernels.fourier import MAX_HARMONICS, N_TERMS, SINGULAR
from scope_ml.kernels.fourier.sums import FLOATS, ROW, TABLE, centre, start_and_end

__all__ = ["fit_orthogonal"]

LOOP = {"nogil": True, "cache": True, "fastmath": {"contract", "reassoc", "nsz"}}


@njit(types.void(FLOATS, FLOATS, types.float64, TABLE), nogil=True, cache=True)
def _fill_terms(
    time: NDArray[np.float64], mag_err: NDArray[np.float64], period: float, terms: NDArray[np.float64]
) -> None:
    """Write the weighted terms (12, n_obs): 1, elapsed time in baselines, then cosine and sine of each harmonic."""
    start, end = start_and_end(time)
    start_phase = np.fmod(start, period) / period
    for i in range(time.size):
        elapsed = time[i] - start
        phase = start_phase + elapsed / period
        angle = 2.0 * math.pi * (phase - math.floor(phase))
        weight = 1.0 / mag_err[i]
        terms[0, i] = weight
        terms[1, i] = weight * elapsed / (end - start)
        cosine, sine = math.cos(angle), math.sin(angle)
        c, s = weight * cosine, weight * sine
        for n in range(MAX_HARMONICS):
            terms[2 + 2 * n, i] = c
            terms[3 + 2 * n, i] = s
            c, s = c * cosine - s * sine, s * cosine + c * sine


@njit(types.float64(ROW, ROW), **LOOP)
def _dot(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Return the sum of products."""
    total = 0.0
    for i in range(left.size):
        total += left[i] * right[i]
    return total


@njit(types.void(types.float64, ROW, ROW), **LOOP)
def _subtract(factor: float, row: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Subtract a multiple of a row."""
    for i in range(out.size):
        out[i] -= factor * row[i]


@njit(types.int64(TABLE, ROW, TABLE, ROW, ROW), nogil=True, cache=True)
def _orthogonalise(
    terms: NDArray[np.float64],
    residual: NDArray[np.float64],
    upper: NDArray[np.float64],
    projection: NDArray[np.float64],
    chi2: NDArray[np.float64],
) -> int:
    """Turn `terms` into orthogonal unit rows, `residual` into what no term explains; return how many orders are solvable.

    Fills `upper` (12, 12), the triangular factor, `projection` (12,) and `chi2` (6,), one per order.
    """
    n_obs = residual.size
    for j in range(N_TERMS):
        if j % 2 == 0 and n_obs <= j + 2:
            return j // 2
        column = terms[j]
        length = math.sqrt(_dot(column, column))
        for k in range(j):
            upper[k, j] = _dot(terms[k], column)
            _subtract(upper[k, j], terms[k], column)
        left = math.sqrt(_dot(column, column))
        # Not so either where squares of the weights are beyond float64.
        if not left > SINGULAR * length:
            return j // 2
        upper[j, j] = left
        for i in range(n_obs):
            column[i] /= left
        projection[j] = _dot(column, residual)
        _subtract(projection[j], column, residual)
        if j % 2 == 1:
            chi2[j // 2] = _dot(residual, residual)
    return MAX_HARMONICS + 1


@njit(types.boolean(FLOATS, FLOATS, FLOATS), nogil=True, cache=True)
def _is_good(time: NDArray[np.float64], mag: NDArray[np.float64], mag_err: NDArray[np.float64]) -> bool:
    """Return whether all values are finite, errors positive, and times not all the same."""
    for i in range(time.size):
        if not (math.isfinite(time[i]) and math.isfinite(mag[i]) and math.isfinite(mag_err[i]) and mag_err[i] > 0.0):
            return False
    start, end = start_and_end(time)
    return bool(end > start)


@njit(types.int64(FLOATS, FLOATS, FLOATS, types.float64, ROW), nogil=True, cache=True)
def fit_orthogonal(
    time: NDArray[np.float64],
    mag: NDArray[np.float64],
    mag_err: NDArray[np.float64],
    period: float,
    solution: NDArray[np.float64],
) -> int:
    """Fit one light curve; return the order taken, or -1 where a point is bad or not even a line can be fitted.

    Parameters
    ----------
    time, mag, mag_err
        [d], [mag], [mag], float64 (n_obs,), at least 3 points.
    period
        Positive and finite [d].
    solution
        Takes coefficients and chi2 as `fourier.N_SOLUTION` says, float64.
    """
    if not _is_good(time, mag, mag_err):
        return -1
    terms = np.empty((N_TERMS, time.size))
    _fill_terms(time, mag_err, period, terms)
    residual = np.empty(time.size)
    mean = centre(mag, residual)
    for i in range(time.size):
        residual[i] /= mag_err[i]
    upper, projection, chi2 = np.empty((N_TERMS, N_TERMS)), np.empty(N_TERMS), np.empty(MAX_HARMONICS + 1)
    n_orders = _orthogonalise(terms, residual, upper, projection, chi2)
    if n_orders == 0:
        return -1
    cost = 2.0 * math.log(time.size)
    order = 0
    for k in range(1, n_orders):
        if chi2[k] + cost * k < chi2[order] + cost * order:
            order = k
    solution[2 + 2 * order : N_TERMS] = 0.0
    for j in range(2 * order + 1, -1, -1):
        value = projection[j]
        for k in range(j + 1, 2 * order + 2):
            value -= upper[j, k] * solution[k]
        solution[j] = value / upper[j, j]
    solution[0] += mean
    start, end = start_and_end(time)
    solution[1] /= end - start
    solution[N_TERMS], solution[N_TERMS + 1] = chi2[0], chi2[order]
    return order
