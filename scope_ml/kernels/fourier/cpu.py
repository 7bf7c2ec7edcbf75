"""The Fourier fit in numba: one orthogonalisation of all 12 terms gives chi2 and solution of every order.

Gram-Schmidt with each column orthogonalised twice, which keeps the columns orthogonal to rounding (Giraud et al. 2005,
Computers & Mathematics with Applications 50, 1069), rather than normal equations: periods near the baseline make
the fit ill-conditioned, and squaring the condition number would cost the digits that BIC needs.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.fourier import COLUMNS, MAX_HARMONICS, SINGULAR, FourierOptions

__all__ = ["run"]

FLOATS = types.Array(types.float64, 1, "C", readonly=True)
INTEGERS = types.Array(types.int64, 1, "C", readonly=True)

#: Terms of the highest order: constant, slope, and a cosine and a sine per harmonic.
N_TERMS = 2 + 2 * MAX_HARMONICS


def run(batch: LightCurveBatch, options: FourierOptions) -> dict[str, NDArray[np.float64]]:
    """Return each of `COLUMNS` as float64 (n_sources,); units in the package."""
    table = np.full((len(COLUMNS), len(batch)), np.nan)
    _fill(
        batch.offsets,
        batch.time,
        batch.mag.astype(np.float64, copy=False),
        batch.mag_err.astype(np.float64, copy=False),
        np.ascontiguousarray(options.period, dtype=np.float64),
        table,
    )
    return dict(zip(COLUMNS, table, strict=True))


@njit(types.void(FLOATS, FLOATS, types.float64, types.float64[:, ::1]), nogil=True, cache=True)
def _design(t: NDArray[np.float64], e: NDArray[np.float64], period: float, terms: NDArray[np.float64]) -> None:
    """Write the weighted terms (12, n_obs): 1, elapsed time in baselines, then cosine and sine of each harmonic."""
    start, end = t.min(), t.max()
    start_phase = np.fmod(start, period) / period
    for i in range(t.size):
        elapsed = t[i] - start
        phase = start_phase + elapsed / period
        angle = 2.0 * math.pi * (phase - math.floor(phase))
        weight = 1.0 / e[i]
        terms[0, i] = weight
        terms[1, i] = weight * elapsed / (end - start)
        cosine, sine = math.cos(angle), math.sin(angle)
        c, s = weight * cosine, weight * sine
        for n in range(MAX_HARMONICS):
            terms[2 + 2 * n, i] = c
            terms[3 + 2 * n, i] = s
            c, s = c * cosine - s * sine, s * cosine + c * sine


@njit(
    types.int64(
        types.float64[:, ::1], types.float64[::1], types.float64[:, ::1], types.float64[::1], types.float64[::1]
    ),
    nogil=True,
    cache=True,
)
def _orthogonalise(
    terms: NDArray[np.float64],
    residual: NDArray[np.float64],
    upper: NDArray[np.float64],
    projection: NDArray[np.float64],
    chi2: NDArray[np.float64],
) -> int:
    """Turn `terms` into orthonormal rows, `residual` into what no term explains; return how many orders are solvable.

    Fills `upper` (12, 12), the triangular factor, `projection` (12,) and `chi2` (6,), one per order.
    """
    n = residual.size
    for j in range(N_TERMS):
        if j % 2 == 0 and n <= j + 2:
            return j // 2
        column = terms[j]
        length = math.sqrt(np.sum(column * column))
        for _ in range(2):
            for k in range(j):
                along = 0.0
                for i in range(n):
                    along += terms[k, i] * column[i]
                upper[k, j] += along
                for i in range(n):
                    column[i] -= along * terms[k, i]
        left = math.sqrt(np.sum(column * column))
        if left < SINGULAR * length:
            return j // 2
        upper[j, j] = left
        along = 0.0
        for i in range(n):
            column[i] /= left
            along += column[i] * residual[i]
        projection[j] = along
        for i in range(n):
            residual[i] -= along * column[i]
        if j % 2 == 1:
            chi2[j // 2] = np.sum(residual * residual)
    return MAX_HARMONICS + 1


@njit(
    types.void(types.float64[::1], types.float64[::1], types.int64, types.int64, types.float64[:]),
    nogil=True,
    cache=True,
)
def _summarise(
    coefficients: NDArray[np.float64], chi2: NDArray[np.float64], order: int, n_obs: int, row: NDArray[np.float64]
) -> None:
    """Write the values of `COLUMNS`; the definition is `fourier.summarise`."""
    row[0] = (chi2[0] - chi2[order]) / chi2[0] if order > 0 and chi2[0] > 0.0 else 0.0
    row[1] = chi2[order] + math.log(n_obs) * (2 + 2 * order)
    row[2] = coefficients[0]
    row[3] = coefficients[1]
    row[4] = 0.0
    first_amplitude = 0.0
    first_phase = 0.0
    for n in range(1, order + 1):
        a, b = coefficients[2 * n], coefficients[2 * n + 1]
        amplitude, phase = math.hypot(a, b), math.atan2(a, b)
        if n == 1:
            first_amplitude, first_phase = amplitude, phase
            row[4] = amplitude
            row[5] = phase
        else:
            if first_amplitude > 0.0:
                row[2 + 2 * n] = amplitude / first_amplitude
            turns = (phase / n - first_phase) * n / (2.0 * math.pi)
            row[3 + 2 * n] = turns - math.floor(turns)
    for n in range(max(order, 1) + 1, MAX_HARMONICS + 1):
        row[2 + 2 * n] = 0.0


@njit(types.void(FLOATS, FLOATS, FLOATS, types.float64, types.float64[:]), nogil=True, cache=True)
def _fit(
    t: NDArray[np.float64], m: NDArray[np.float64], e: NDArray[np.float64], period: float, row: NDArray[np.float64]
) -> None:
    """Write the values of `COLUMNS` of one light curve into `row`, which is NaN before."""
    n = t.size
    if n < 3 or not (math.isfinite(period) and period > 0.0):
        return
    for i in range(n):
        if not (math.isfinite(t[i]) and math.isfinite(m[i]) and math.isfinite(e[i]) and e[i] > 0.0):
            return
    baseline = t.max() - t.min()
    if baseline <= 0.0:
        return
    terms = np.empty((N_TERMS, n))
    _design(t, e, period, terms)
    middle = np.median(m)
    residual = (m - middle) / e
    upper = np.zeros((N_TERMS, N_TERMS))
    projection = np.zeros(N_TERMS)
    chi2 = np.zeros(MAX_HARMONICS + 1)
    n_orders = _orthogonalise(terms, residual, upper, projection, chi2)
    if n_orders == 0:
        return
    best = 0
    for order in range(1, n_orders):
        if chi2[order] + math.log(n) * 2 * order < chi2[best] + math.log(n) * 2 * best:
            best = order
    coefficients = np.zeros(N_TERMS)
    for j in range(2 * best + 1, -1, -1):
        value = projection[j]
        for k in range(j + 1, 2 * best + 2):
            value -= upper[j, k] * coefficients[k]
        coefficients[j] = value / upper[j, j]
    coefficients[0] += middle
    coefficients[1] /= baseline
    _summarise(coefficients, chi2, best, n, row)


@njit(types.void(INTEGERS, FLOATS, FLOATS, FLOATS, FLOATS, types.float64[:, ::1]), nogil=True, cache=True)
def _fill(
    offsets: NDArray[np.int64],
    time: NDArray[np.float64],
    mag: NDArray[np.float64],
    mag_err: NDArray[np.float64],
    period: NDArray[np.float64],
    table: NDArray[np.float64],
) -> None:
    """Write the fit of each light curve into its column of `table` (n_columns, n_sources)."""
    for i in range(offsets.size - 1):
        first, last = offsets[i], offsets[i + 1]
        _fit(time[first:last], mag[first:last], mag_err[first:last], period[i], table[:, i])
