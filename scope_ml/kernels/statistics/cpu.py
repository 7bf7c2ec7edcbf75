"""The basic statistics in numba: two sorts and a few passes a light curve, without the interpreter lock.

Light curves are visited in the order of their number of points, so that the weights of Shapiro-Wilk are made once for
each number; nothing else is shared between light curves. Where the package says that a statistic is undefined, its
place in the row stays NaN. May import `sorting`, `sums`, `normality`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.statistics import COLUMNS
from scope_ml.kernels.statistics.normality import anderson_darling, fill_weights, moments, shapiro_wilk
from scope_ml.kernels.statistics.sorting import (
    COUNTS,
    FLOATS,
    VECTOR,
    extremes,
    median_abs_dev,
    percentile,
    slots_size,
    sort_into,
)
from scope_ml.kernels.statistics.sums import about_median, are_valid, divide, pairs, residuals

__all__ = ["run"]

LOOP = {"nogil": True, "cache": True, "error_model": "numpy"}
INTEGERS = types.Array(types.int64, 1, "C", readonly=True)
#: Vectors of room for one light curve: 1/e, m/e, sorted m or m/e, and three to work in.
N_VECTORS = 6


def run(batch: LightCurveBatch, options: None = None) -> dict[str, NDArray[np.float64]]:
    """Return each of `COLUMNS` as float64 (n_sources,); [mag] or dimensionless, see the package."""
    table = np.full((len(batch), len(COLUMNS)), np.nan)
    _fill(
        batch.offsets,
        np.argsort(batch.n_obs, kind="stable"),
        batch.time,
        batch.mag.astype(np.float64, copy=False),
        batch.mag_err.astype(np.float64, copy=False),
        table,
    )
    return dict(zip(COLUMNS, np.ascontiguousarray(table.T), strict=True))


@njit(types.UniTuple(types.float64, 2)(FLOATS, FLOATS, types.float64[:, ::1], COUNTS, VECTOR), **LOOP)
def _of_magnitudes(
    m: NDArray[np.float64],
    e: NDArray[np.float64],
    room: NDArray[np.float64],
    slots: NDArray[np.int32],
    row: NDArray[np.float64],
) -> tuple[float, float]:
    """Write what needs no residuals; return the weighted mean and the sum of weights. Fills 1/e and m/e of `room`."""
    n = m.size
    inverse, ordered, spare = room[0], room[2], room[3]
    divide(m, e, inverse, room[1], room[4], room[5])
    bright, faint = extremes(room[4], room[5], ordered, spare)
    if faint + bright != 0.0:
        row[6] = (faint - bright) / (faint + bright)
    sort_into(m, ordered, spare, slots)
    median = percentile(ordered, 50.0)
    total, offset, distance = about_median(m, inverse, median)
    # Offsets from the median: where all magnitudes are equal the mean is that magnitude to the bit.
    mean = median + offset / total
    row[1] = median
    row[2] = mean
    if n >= 2:
        row[4] = distance / (n - 1)
    row[8] = median_abs_dev(ordered, median)
    row[9] = percentile(ordered, 75.0) - percentile(ordered, 25.0)
    for k in range(4):
        row[10 + k] = percentile(ordered, 80.0 + 5.0 * k) - percentile(ordered, 20.0 - 5.0 * k)
    return mean, total


@njit(types.void(FLOATS, FLOATS, FLOATS, VECTOR, types.float64, types.float64, VECTOR), **LOOP)
def _of_residuals(
    t: NDArray[np.float64],
    m: NDArray[np.float64],
    e: NDArray[np.float64],
    inverse: NDArray[np.float64],
    mean: float,
    total: float,
    row: NDArray[np.float64],
) -> None:
    """Write what follows from residuals about the weighted mean; `total` is the sum of weights."""
    n = m.size
    second, third, fourth, absolute, excess = residuals(m, e, inverse, mean)
    variance = second / total
    row[5] = math.sqrt(variance)
    if mean != 0.0:
        row[7] = excess / (n * mean * mean)
    if n < 2:
        return
    row[3] = second / (n - 1)
    if n >= 3:
        row[14] = n / ((n - 1.0) * (n - 2.0)) * third
    if n >= 4:
        row[15] = n * (n + 1.0) / ((n - 1.0) * (n - 2.0) * (n - 3.0)) * fourth
        row[15] -= 3.0 * (n - 1.0) ** 2 / ((n - 2.0) * (n - 3.0))
    welch, stetson, steepness, change = pairs(t, m, inverse, mean)
    if change > 0.0 and variance > 0.0:
        row[16] = steepness * variance / change
    bessel = n / (n - 1.0)
    row[17] = bessel * welch
    row[18] = math.sqrt(bessel) * stetson
    if second > 0.0:
        row[19] = absolute / n / math.sqrt(second / n)


@njit(types.void(types.float64[:, ::1], COUNTS, VECTOR, VECTOR, types.float64, VECTOR), **LOOP)
def _of_ratios(
    room: NDArray[np.float64],
    slots: NDArray[np.int32],
    counting: NDArray[np.float64],
    weights: NDArray[np.float64],
    norm: float,
    row: NDArray[np.float64],
) -> None:
    """Write how far m/e, a vector of `room`, is from normal; n >= 2."""
    ordered = room[2]
    n = ordered.size
    sort_into(room[1], ordered, room[3], slots)
    if ordered[0] == ordered[n - 1]:
        return
    centre, offset, squares = moments(ordered)
    row[20] = anderson_darling(ordered, centre, offset, squares, counting)
    if n >= 3:
        row[21] = shapiro_wilk(ordered, weights, norm, squares)


@njit(types.void(VECTOR), **LOOP)
def _drop_infinities(row: NDArray[np.float64]) -> None:
    """Make NaN of what overflowed: magnitudes or errors of absurd size."""
    for k in range(row.size):
        if abs(row[k]) == np.inf:
            row[k] = np.nan


@njit(types.void(INTEGERS, types.int64[::1], FLOATS, FLOATS, FLOATS, types.float64[:, ::1]), **LOOP)
def _fill(
    offsets: NDArray[np.int64],
    order: NDArray[np.int64],
    time: NDArray[np.float64],
    mag: NDArray[np.float64],
    mag_err: NDArray[np.float64],
    table: NDArray[np.float64],
) -> None:
    """Write the statistics of each light curve, visited in `order`, into its row of `table` (n_sources, n_columns)."""
    largest = 0
    for i in order:
        largest = max(largest, offsets[i + 1] - offsets[i])
    all_room = np.empty(N_VECTORS * largest)
    slots = np.empty(slots_size(largest), np.int32)
    counting = np.arange(largest).astype(np.float64)
    weights = np.empty(largest)
    norm = 0.0
    n_of_weights = 0
    for i in order:
        first, last = offsets[i], offsets[i + 1]
        t, m, e = time[first:last], mag[first:last], mag_err[first:last]
        n, row = last - first, table[i]
        row[0] = n
        if n == 0 or not are_valid(t, m, e):
            continue
        room = all_room[: N_VECTORS * n].reshape(N_VECTORS, n)
        mean, total = _of_magnitudes(m, e, room, slots, row)
        _of_residuals(t, m, e, room[0], mean, total, row)
        if n >= 2:
            if n >= 3 and n != n_of_weights:
                norm = fill_weights(n, weights, counting)
                n_of_weights = n
            _of_ratios(room, slots, counting, weights, norm, row)
        _drop_infinities(row)
