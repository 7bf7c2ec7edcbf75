"""Time scales and the distribution of magnitudes in numba. May import the package and its room `slow`, and `usable`."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.timescales import (
    COLUMNS,
    FEWEST_PAIRS,
    LAGS,
    MIN_POINTS,
    SEASON,
    SEASON_POINTS,
)
from scope_ml.kernels.timescales.slow import FLOATS, MATRIX, ROW, fill_slow
from scope_ml.kernels.usable import READ, is_usable

__all__ = ["run"]

INTEGERS = types.Array(types.int64, 1, "C", readonly=True)

#: Places of the parts of a row.
SLOW = COLUMNS.index("slow_period_1")
LAG = COLUMNS.index("lag_0")
SEASONS = COLUMNS.index("season_mean")

N_LAGS = LAGS.size + 1
EDGES = LAGS.copy()


def run(batch: LightCurveBatch, options: None = None) -> dict[str, NDArray[np.float64]]:
    """Return each of `COLUMNS` as float64 (n_sources,); units in the package."""
    table = np.full((len(COLUMNS), len(batch)), np.nan)
    _fill(
        batch.offsets,
        batch.time,
        batch.mag.astype(np.float64, copy=False),
        batch.mag_err.astype(np.float64, copy=False),
        table,
    )
    return dict(zip(COLUMNS, table, strict=True))


@njit(types.float64(FLOATS, types.float64), nogil=True, cache=True)
def _percentile(ranked: NDArray[np.float64], percent: float) -> float:
    place = percent / 100.0 * (ranked.size - 1)
    below = min(int(place), ranked.size - 2)
    value: float = ranked[below] + (place - below) * (ranked[below + 1] - ranked[below])
    return value


@njit(types.float64(types.float64, types.float64), nogil=True, cache=True)
def _ratio(value: float, over: float) -> float:
    return value / over if over > 0.0 else math.nan


@njit(types.void(FLOATS, FLOATS, ROW), nogil=True, cache=True, error_model="numpy")
def _distribution(m: NDArray[np.float64], e: NDArray[np.float64], row: NDArray[np.float64]) -> None:
    n = m.size
    mean, ranked = m.mean(), np.sort(m)
    second, third, fourth, consecutive = 0.0, 0.0, 0.0, 0.0
    total, lowest, highest = 0.0, math.inf, -math.inf
    for i in range(n):
        own = m[i] - mean
        square = own * own
        second += square
        third += square * own
        fourth += square * square
        total += own
        lowest, highest = min(lowest, total), max(highest, total)
        if i > 0:
            consecutive += (m[i] - m[i - 1]) ** 2
    scatter = math.sqrt(second / n)
    beyond = 0
    for i in range(n):
        if abs(m[i] - mean) > scatter:
            beyond += 1
    median = _percentile(ranked, 50.0)
    p2, p5, p10, p25 = (
        _percentile(ranked, 2.0),
        _percentile(ranked, 5.0),
        _percentile(ranked, 10.0),
        _percentile(ranked, 25.0),
    )
    p98, p95, p90, p75 = (
        _percentile(ranked, 98.0),
        _percentile(ranked, 95.0),
        _percentile(ranked, 90.0),
        _percentile(ranked, 75.0),
    )
    ninety = p95 - p5
    row[0] = third / n / scatter**3
    row[1] = fourth / n / scatter**4 - 3.0
    row[2] = _ratio(p98 + p2 - 2.0 * median, p98 - p2)
    row[3] = _ratio(p95 + p5 - 2.0 * median, ninety)
    row[4] = _ratio(p75 + p25 - 2.0 * median, p75 - p25)
    row[5] = _ratio(_percentile(ranked, 60.0) - _percentile(ranked, 40.0), ninety)
    row[6] = _ratio(p75 - p25, ninety)
    row[7] = _ratio(p90 - p10, ninety)
    row[8] = _ratio(ranked[-1] - ranked[0], ninety)
    row[9] = beyond / n
    row[10] = consecutive / (n - 1) / (scatter * scatter)
    row[11] = (highest - lowest) / (n * scatter)
    row[12] = _ratio(np.median(e), 1.4826 * np.median(np.abs(m - median)))


@njit(types.void(FLOATS, FLOATS, ROW), nogil=True, cache=True, error_model="numpy")
def _lags(t: NDArray[np.float64], m: NDArray[np.float64], row: NDArray[np.float64]) -> None:
    """Sum the squares of the differences of all pairs from running sums: n steps a separation, not n^2 / 2."""
    n = t.size
    y = m - m.mean()
    variance = (y * y).mean()
    sums, squares = np.zeros(n + 1), np.zeros(n + 1)
    for i in range(n):
        sums[i + 1] = sums[i] + y[i]
        squares[i + 1] = squares[i] + y[i] * y[i]
    total, count = np.zeros(N_LAGS), np.zeros(N_LAGS)
    ends = np.zeros(N_LAGS, dtype=np.int64)
    for i in range(n):
        first = i + 1
        for k in range(N_LAGS):
            end = n
            if k < N_LAGS - 1:
                end = max(ends[k], first)
                while end < n and t[end] - t[i] < EDGES[k]:
                    end += 1
                ends[k] = end
            pairs = end - first
            if pairs > 0:
                total[k] += squares[end] - squares[first] - 2.0 * y[i] * (sums[end] - sums[first]) + pairs * y[i] * y[i]
                count[k] += pairs
            first = max(first, end)
    for k in range(N_LAGS):
        if count[k] >= FEWEST_PAIRS:
            row[k] = total[k] / count[k] / (2.0 * variance)


@njit(types.void(FLOATS, FLOATS, ROW), nogil=True, cache=True, error_model="numpy")
def _seasons(t: NDArray[np.float64], m: NDArray[np.float64], row: NDArray[np.float64]) -> None:
    n = t.size
    means, scatters = np.empty(n), np.empty(n)
    found, first = 0, 0
    while first < n:
        season, last = math.floor(t[first] / SEASON), first
        while last < n and math.floor(t[last] / SEASON) == season:
            last += 1
        if last - first >= SEASON_POINTS:
            means[found], scatters[found] = m[first:last].mean(), m[first:last].std()
            found += 1
        first = last
    if found >= 3:
        row[0] = means[:found].std() / m.std()
        row[1] = _ratio(scatters[:found].std(), scatters[:found].mean())


@njit(types.void(INTEGERS, READ, READ, READ, MATRIX), nogil=True, cache=True)
def _fill(
    offsets: NDArray[np.int64],
    time: NDArray[np.float64],
    mag: NDArray[np.float64],
    mag_err: NDArray[np.float64],
    table: NDArray[np.float64],
) -> None:
    """Write each light curve's numbers into its column of `table` (n_columns, n_sources), which is NaN before."""
    longest = 1
    for i in range(offsets.size - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    work = np.empty((5, longest))
    for i in range(offsets.size - 1):
        points = slice(offsets[i], offsets[i + 1])
        if not is_usable(time[points], mag[points], mag_err[points], MIN_POINTS):
            continue
        order = np.argsort(time[points], kind="mergesort")
        t, m, e = time[points][order], mag[points][order], mag_err[points][order]
        t = t - t[0]
        row = table[:, i]
        _distribution(m, e, row)
        fill_slow(t, m, e, work, row[SLOW:])
        _lags(t, m, row[LAG:])
        _seasons(t, m, row[SEASONS:])
