"""The basic statistics in numba: two sorts and a few passes a light curve, without the interpreter lock.

Inner functions return NaN where the package says a statistic is undefined.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.statistics import COLUMNS

__all__ = ["run"]

#: Read-only float64 vector: takes a writable one too, so each function is compiled once.
FLOATS = types.Array(types.float64, 1, "C", readonly=True)
INTEGERS = types.Array(types.int64, 1, "C", readonly=True)

#: z below which ln(Phi(z)) comes from its asymptotic series: erfc underflows at z = -38.
FAR_TAIL = -25.0


def run(batch: LightCurveBatch, options: None = None) -> dict[str, NDArray[np.float64]]:
    """Return each of `COLUMNS` as float64 (n_sources,); [mag] or dimensionless, see the package."""
    table = np.full((len(COLUMNS), len(batch)), np.nan)
    _fill(
        batch.offsets,
        batch.time,
        batch.mag.astype(np.float64, copy=False),
        batch.mag_err.astype(np.float64, copy=False),
        table,
    )
    return dict(zip(COLUMNS, table, strict=True))


@njit(types.float64(types.float64[::1], types.float64), nogil=True, cache=True)
def _percentile(ordered: NDArray[np.float64], percent: float) -> float:
    """Return a percentile of a sorted vector by linear interpolation."""
    position = percent / 100.0 * (ordered.size - 1)
    below = int(position)
    if below >= ordered.size - 1:
        return float(ordered[-1])
    return float(ordered[below] + (ordered[below + 1] - ordered[below]) * (position - below))


@njit(types.float64(types.float64[::1], types.float64), nogil=True, cache=True)
def _median_abs_dev(ordered: NDArray[np.float64], median: float) -> float:
    """Return the median distance from the median of a sorted vector, merging its two halves outwards."""
    n = ordered.size
    right = np.searchsorted(ordered, median)
    left = right - 1
    previous = 0.0
    current = 0.0
    for _ in range(n // 2 + 1):
        previous = current
        if right >= n or (left >= 0 and median - ordered[left] <= ordered[right] - median):
            current = median - ordered[left]
            left -= 1
        else:
            current = ordered[right] - median
            right += 1
    return current if n % 2 == 1 else 0.5 * (previous + current)


@njit(types.float64(types.float64), nogil=True, cache=True)
def _log_normal_cdf(z: float) -> float:
    """Return ln(Phi(z)) to full relative precision."""
    if z > 0.0:
        return math.log1p(-0.5 * math.erfc(z / math.sqrt(2.0)))
    if z > FAR_TAIL:
        return math.log(0.5 * math.erfc(-z / math.sqrt(2.0)))
    inverse = 1.0 / (z * z)
    series = 1.0 - inverse * (1.0 - 3.0 * inverse * (1.0 - 5.0 * inverse * (1.0 - 7.0 * inverse)))
    return -0.5 * z * z - math.log(-z) - 0.5 * math.log(2.0 * math.pi) + math.log(series)


@njit(types.float64(types.float64[::1]), nogil=True, cache=True)
def _anderson_darling(ordered: NDArray[np.float64]) -> float:
    """Return A^2 of a sorted vector against a normal with its own mean and scatter (n - 1); n >= 2, not all equal."""
    n = ordered.size
    mean = ordered[0] + np.mean(ordered - ordered[0])
    squares = 0.0
    for value in ordered:
        squares += (value - mean) ** 2
    scatter = math.sqrt(squares / (n - 1))
    total = 0.0
    for i in range(n):
        # Terms for Phi(z_i) and 1 - Phi(z_i), whose weights are 2i - 1 and 2(n - i) + 1 with i from 1.
        z = (ordered[i] - mean) / scatter
        total += (2 * i + 1) * _log_normal_cdf(z) + (2 * (n - 1 - i) + 1) * _log_normal_cdf(-z)
    return -n - total / n


@njit(types.float64(types.float64), nogil=True, cache=True)
def _normal_quantile_upper(p: float) -> float:
    """Return -Phi^-1(p), 0 < p <= 0.5, by AS 111 (Beasley & Springer 1977): the precision on which AS R94 was built."""
    q = p - 0.5
    if -q <= 0.42:
        r = q * q
        above = ((-25.44106049637 * r + 41.39119773534) * r - 18.61500062529) * r + 2.50662823884
        below = (((3.13082909833 * r - 21.06224101826) * r + 23.08336743743) * r - 8.47351093090) * r + 1.0
        return -q * above / below
    r = math.sqrt(-math.log(p))
    above = ((2.32121276858 * r + 4.85014127135) * r - 2.29796479134) * r - 2.78718931138
    return above / ((1.63706781897 * r + 3.54388924762) * r + 1.0)


@njit(types.float64(types.float64[::1]), nogil=True, cache=True)
def _shapiro_wilk(ordered: NDArray[np.float64]) -> float:
    """Return W of a sorted vector by AS R94 (Royston 1995); n >= 3, not all equal."""
    n = ordered.size
    half = n // 2
    weights = np.empty(half)
    if n == 3:
        weights[0] = math.sqrt(0.5)
    else:
        norm = 0.0
        for i in range(half):
            weights[i] = _normal_quantile_upper((i + 1 - 0.375) / (n + 0.25))
            norm += 2.0 * weights[i] ** 2
        u = 1.0 / math.sqrt(n)
        last = weights[0] / math.sqrt(norm)
        last += u * (0.221157 + u * (-0.147981 + u * (-2.071190 + u * (4.434685 - u * 2.706056))))
        if n > 5:
            second = weights[1] / math.sqrt(norm)
            second += u * (0.042981 + u * (-0.293762 + u * (-1.752461 + u * (5.682633 - u * 3.582633))))
            left = norm - 2.0 * weights[0] ** 2 - 2.0 * weights[1] ** 2
            scale = math.sqrt(left / (1.0 - 2.0 * last**2 - 2.0 * second**2))
            weights /= scale
            weights[1] = second
        else:
            weights /= math.sqrt((norm - 2.0 * weights[0] ** 2) / (1.0 - 2.0 * last**2))
        weights[0] = last
    centre = ordered[half]
    mean = np.mean(ordered - centre)
    squares = 0.0
    for value in ordered:
        squares += (value - centre - mean) ** 2
    # The weights are antisymmetric, so the mean drops out of the covariance.
    spread = 0.0
    norm = 0.0
    for i in range(half):
        spread += weights[i] * (ordered[n - 1 - i] - ordered[i])
        norm += 2.0 * weights[i] ** 2
    return spread * spread / (norm * squares)


@njit(types.void(FLOATS, FLOATS, FLOATS, types.float64, types.float64, types.float64[:]), nogil=True, cache=True)
def _of_residuals(
    t: NDArray[np.float64],
    m: NDArray[np.float64],
    e: NDArray[np.float64],
    mean: float,
    variance: float,
    row: NDArray[np.float64],
) -> None:
    """Write the statistics of residuals and of consecutive pairs (chi2red, skew to stetson_k); n >= 2."""
    n = m.size
    second = 0.0
    third = 0.0
    fourth = 0.0
    absolute = 0.0
    welch = 0.0
    stetson = 0.0
    inverse = 0.0
    change = 0.0
    bessel = n / (n - 1.0)
    for i in range(n):
        d = (m[i] - mean) / e[i]
        second += d * d
        third += d * d * d
        fourth += d * d * d * d
        absolute += abs(d)
        if i + 1 < n:
            pair = bessel * d * (m[i + 1] - mean) / e[i + 1]
            welch += pair
            stetson += math.copysign(math.sqrt(abs(pair)), pair)
            dt = t[i + 1] - t[i]
            if dt != 0.0:
                inverse += 1.0 / (dt * dt)
                change += (m[i + 1] - m[i]) ** 2 / (dt * dt)
    row[3] = second / (n - 1)
    if n >= 3:
        row[14] = n / ((n - 1.0) * (n - 2.0)) * third
    if n >= 4:
        row[15] = n * (n + 1.0) / ((n - 1.0) * (n - 2.0) * (n - 3.0)) * fourth
        row[15] -= 3.0 * (n - 1.0) ** 2 / ((n - 2.0) * (n - 3.0))
    if change > 0.0 and variance > 0.0:
        row[16] = inverse * variance / change
    row[17] = welch
    row[18] = stetson
    if second > 0.0:
        row[19] = absolute / n / math.sqrt(second / n)


@njit(types.void(FLOATS, FLOATS, FLOATS, types.float64[:]), nogil=True, cache=True)
def _statistics(
    t: NDArray[np.float64], m: NDArray[np.float64], e: NDArray[np.float64], row: NDArray[np.float64]
) -> None:
    """Write the statistics of one light curve, in the order of `COLUMNS`, into `row`, which is NaN before."""
    n = m.size
    row[0] = n
    for i in range(n):
        if not (math.isfinite(t[i]) and math.isfinite(m[i]) and math.isfinite(e[i]) and e[i] > 0.0):
            return
    if n == 0:
        return
    ordered = np.sort(m)
    median = _percentile(ordered, 50.0)
    total = 0.0
    offset = 0.0
    faint = -np.inf
    bright = np.inf
    distance = 0.0
    for i in range(n):
        w = 1.0 / (e[i] * e[i])
        total += w
        offset += w * (m[i] - median)
        faint = max(faint, m[i] - e[i])
        bright = min(bright, m[i] + e[i])
        distance += abs(m[i] - median) / e[i]
    mean = median if ordered[0] == ordered[n - 1] else median + offset / total
    variance = 0.0
    excess = 0.0
    for i in range(n):
        square = (m[i] - mean) ** 2
        variance += square / (e[i] * e[i])
        excess += square - e[i] * e[i]
    variance /= total
    row[1] = median
    row[2] = mean
    row[5] = math.sqrt(variance)
    if faint + bright != 0.0:
        row[6] = (faint - bright) / (faint + bright)
    if mean != 0.0:
        row[7] = excess / (n * mean * mean)
    row[8] = _median_abs_dev(ordered, median)
    row[9] = _percentile(ordered, 75.0) - _percentile(ordered, 25.0)
    for k in range(4):
        row[10 + k] = _percentile(ordered, 80.0 + 5.0 * k) - _percentile(ordered, 20.0 - 5.0 * k)
    if n >= 2:
        row[4] = distance / (n - 1)
        _of_residuals(t, m, e, mean, variance, row)
        ratio = np.sort(m / e)
        if ratio[0] != ratio[n - 1]:
            row[20] = _anderson_darling(ratio)
            if n >= 3:
                row[21] = _shapiro_wilk(ratio)


@njit(types.void(INTEGERS, FLOATS, FLOATS, FLOATS, types.float64[:, ::1]), nogil=True, cache=True)
def _fill(
    offsets: NDArray[np.int64],
    time: NDArray[np.float64],
    mag: NDArray[np.float64],
    mag_err: NDArray[np.float64],
    table: NDArray[np.float64],
) -> None:
    """Write the statistics of each light curve into its column of `table` (n_columns, n_sources)."""
    for i in range(offsets.size - 1):
        first, last = offsets[i], offsets[i + 1]
        _statistics(time[first:last], mag[first:last], mag_err[first:last], table[:, i])
