"""Slow variation: sinusoids taken out one after the other, compiled. May import the package and `direct_power`."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.kernels.direct_power import fill_power
from scope_ml.kernels.timescales import (
    BANDS,
    ERROR_SHARE,
    FASTEST,
    MIN_SLOW_BASELINE,
    MIN_SLOW_POINTS,
    N_SLOW,
    SLOW_STEP,
)

__all__ = ["FLOATS", "MATRIX", "ROW", "fill_slow"]

TWO_PI = 2.0 * math.pi
FLOATS = types.float64[::1]
ROW = types.float64[:]
MATRIX = types.float64[:, ::1]
SHORTEST = np.array(BANDS, dtype=np.float64)


@njit(types.void(FLOATS, FLOATS, FLOATS, types.float64), nogil=True, cache=True, error_model="numpy")
def _take_out(t: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64], f: float) -> None:
    """Subtract from `y` (weighted mean 0) the sinusoid with a free mean that explains most."""
    n = t.size
    cosine, sine = np.empty(n), np.empty(n)
    c, s = 0.0, 0.0
    for i in range(n):
        cycles = t[i] * f
        angle = TWO_PI * (cycles - math.floor(cycles))
        cosine[i], sine[i] = math.cos(angle), math.sin(angle)
        c += weight[i] * cosine[i]
        s += weight[i] * sine[i]
    cc, ss, cs, yc, ys = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        cosine[i] -= c
        sine[i] -= s
        cc += weight[i] * cosine[i] * cosine[i]
        ss += weight[i] * sine[i] * sine[i]
        cs += weight[i] * cosine[i] * sine[i]
        yc += weight[i] * y[i] * cosine[i]
        ys += weight[i] * y[i] * sine[i]
    determinant = cc * ss - cs * cs
    if determinant > 1e-9:
        a, b = (ss * yc - cs * ys) / determinant, (cc * ys - cs * yc) / determinant
        for i in range(n):
            y[i] -= a * cosine[i] + b * sine[i]


@njit(types.void(FLOATS, types.float64, types.float64, ROW), nogil=True, cache=True)
def _fill_bands(power: NDArray[np.float64], start: float, step: float, row: NDArray[np.float64]) -> None:
    for j in range(power.size):
        f = start + step * j
        for band in range(SHORTEST.size):
            last = band == SHORTEST.size - 1
            if f <= 1.0 / SHORTEST[band] and (last or f > 1.0 / (2.0 * SHORTEST[band])) and not power[j] <= row[band]:
                row[band] = power[j]


@njit(types.void(FLOATS, FLOATS, FLOATS, MATRIX, ROW), nogil=True, cache=True, error_model="numpy")
def fill_slow(
    t: NDArray[np.float64],
    m: NDArray[np.float64],
    e: NDArray[np.float64],
    work: NDArray[np.float64],
    row: NDArray[np.float64],
) -> None:
    """Write the columns from `slow_period_1` to the last band; `work` is (5, n) or larger."""
    n, baseline = t.size, t[-1]
    if n < MIN_SLOW_POINTS or baseline < MIN_SLOW_BASELINE:
        return
    scatter = ERROR_SHARE * m.std()
    weight = 1.0 / (e * e + scatter * scatter)
    weight /= weight.sum()
    y = m - (weight * m).sum()
    start, step = 1.0 / baseline, SLOW_STEP / baseline
    power = np.empty(int((FASTEST - start) / step) + 1)
    variance = (weight * y * y).sum()
    centre, shares = 0.0, 0.0
    for k in range(N_SLOW):
        before = (weight * y * y).sum()
        fill_power(t, y, weight, start, step, power, work)
        best = power.argmax()
        period, share = 1.0 / (start + step * best), power[best] * before / variance
        row[3 * k], row[3 * k + 1], row[3 * k + 2] = period, power[best], share
        centre += share * math.log10(period)
        shares += share
        if k == 0:
            _fill_bands(power, start, step, row[3 * N_SLOW + 4 :])
        _take_out(t, y, weight, start + step * best)
    drift = 0.0
    for i in range(1, n):
        drift += (y[i] - y[i - 1]) ** 2
    row[3 * N_SLOW] = (weight * y * y).sum() / variance
    row[3 * N_SLOW + 1] = drift / (n - 1) / (2.0 * y.var())
    row[3 * N_SLOW + 2] = row[3] / row[0]
    row[3 * N_SLOW + 3] = centre / shares
