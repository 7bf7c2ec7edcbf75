"""Sorting of a few dozen to a few thousand floats without the interpreter lock, and what is read off a sorted vector.

Magnitudes are spread over their range without much structure, so they are dealt into twice as many buckets as there
are values, and what is out of order within a bucket is mended by insertion: a tenth of the time of quicksort at 1000 values.
A crowded bucket (an outlier squeezes the rest into a few) is dealt once more, and then left to quicksort.
May import numba and numpy only.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

__all__ = ["COUNTS", "FLOATS", "VECTOR", "extremes", "median_abs_dev", "percentile", "slots_size", "sort_into"]

#: Read-only float64 vector: takes a writable one too, so each function is compiled once.
FLOATS = types.Array(types.float64, 1, "C", readonly=True)
VECTOR = types.float64[::1]
COUNTS = types.int32[::1]

LOOP = {"nogil": True, "cache": True, "error_model": "numpy"}

#: Buckets with more values than this are not left to insertion.
CROWDED = 16
#: Buckets a value.
BUCKETS = 2
#: So many are left when `extremes` compares them one by one.
FINAL = 12


@njit(types.void(VECTOR), **LOOP)
def _order_pairs(values: NDArray[np.float64]) -> None:
    """Order the first value and the second, the third and the fourth, and so on."""
    for i in range(values.size // 2):
        left, right = values[2 * i], values[2 * i + 1]
        values[2 * i] = left if left < right else right
        values[2 * i + 1] = right if left < right else left


@njit(types.UniTuple(types.float64, 2)(FLOATS, FLOATS, VECTOR, VECTOR), **LOOP)
def extremes(
    lower: NDArray[np.float64], upper: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the smallest of `lower` and the largest of `upper`, both float64 (n,), n >= 1; `low`, `high` is room.

    A knock-out in rounds: the compiler makes vectors of a round, but not of a running smallest.
    """
    n = lower.size
    size = (n + 1) // 2
    # Where n is odd, the one in the middle meets itself.
    lower_rest, upper_rest = lower[n - size :], upper[n - size :]
    for i in range(size):
        low[i] = lower[i] if lower[i] < lower_rest[i] else lower_rest[i]
        high[i] = upper[i] if upper[i] > upper_rest[i] else upper_rest[i]
    while size > FINAL:
        half = size // 2
        low_rest, high_rest = low[half : 2 * half], high[half : 2 * half]
        for i in range(half):
            low[i] = low[i] if low[i] < low_rest[i] else low_rest[i]
            high[i] = high[i] if high[i] > high_rest[i] else high_rest[i]
        if size > 2 * half:
            low[half] = low[size - 1]
            high[half] = high[size - 1]
        size -= half
    smallest, largest = low[0], high[0]
    for i in range(1, size):
        smallest = min(smallest, low[i])
        largest = max(largest, high[i])
    return smallest, largest


@njit(types.int64(FLOATS, types.float64, types.float64, VECTOR, COUNTS, COUNTS), **LOOP)
def _deal(
    values: NDArray[np.float64],
    low: float,
    high: float,
    dealt: NDArray[np.float64],
    bucket: NDArray[np.int32],
    ends: NDArray[np.int32],
) -> int:
    """Write `values` into `dealt` bucket by bucket, where each ends into `ends`; return the size of the fullest."""
    n = values.size
    n_buckets = BUCKETS * n
    scale = n_buckets / (high - low)
    # The range may be 0, too small to divide by, or overflow: one bucket takes all.
    if not 0.0 < scale < np.inf:
        for i in range(n):
            dealt[i] = values[i]
        for k in range(n_buckets + 1):
            ends[k] = n
        return n
    for k in range(n_buckets + 1):
        ends[k] = 0
    # Rounding keeps order: of two values the larger is never in the lower bucket.
    for i in range(n):
        bucket[i] = np.int32((values[i] - low) * scale)
    for i in range(n):
        ends[bucket[i]] += 1
    fullest = 0
    before = 0
    for k in range(n_buckets + 1):
        count = ends[k]
        ends[k] = before
        before += count
        fullest = max(fullest, count)
    for i in range(n):
        k = bucket[i]
        place = ends[k]
        dealt[place] = values[i]
        ends[k] = place + 1
    return fullest


@njit(types.void(VECTOR, VECTOR, COUNTS, COUNTS), **LOOP)
def _deal_again(
    values: NDArray[np.float64], spare: NDArray[np.float64], bucket: NDArray[np.int32], ends: NDArray[np.int32]
) -> None:
    """Deal the values of a crowded bucket into buckets of their own; sort them where that does not help either."""
    n = values.size
    copy = spare[:n]
    low = high = values[0]
    for i in range(n):
        copy[i] = values[i]
        low = min(low, values[i])
        high = max(high, values[i])
    if low < high and _deal(copy, low, high, values, bucket, ends) > CROWDED:
        values.sort()


@njit(types.void(VECTOR), **LOOP)
def _insert(values: NDArray[np.float64]) -> None:
    """Sort by insertion; quick where few values are out of place."""
    previous = values[0]
    for i in range(1, values.size):
        value = values[i]
        if value < previous:
            j = i
            while j > 0 and values[j - 1] > value:
                values[j] = values[j - 1]
                j -= 1
            values[j] = value
        else:
            previous = value


@njit(types.void(FLOATS, VECTOR, VECTOR, COUNTS), **LOOP)
def sort_into(
    values: NDArray[np.float64], ordered: NDArray[np.float64], spare: NDArray[np.float64], slots: NDArray[np.int32]
) -> None:
    """Write `values` in ascending order into `ordered`.

    Parameters
    ----------
    values
        float64 (n,), n >= 1, without NaN.
    ordered
        Result, float64 (n,).
    spare, slots
        Room to work in: float64 (n,) and int32 (`slots_size(n)`,), or longer.
    """
    n = values.size
    size = BUCKETS * n + 1
    bucket, ends, inner_ends = slots[:n], slots[n : n + size], slots[n + size :]
    low, high = extremes(values, values, ordered, spare)
    if _deal(values, low, high, ordered, bucket, ends) > CROWDED:
        first = 0
        for k in range(size):
            last = ends[k]
            if last - first > CROWDED:
                _deal_again(ordered[first:last], spare, bucket, inner_ends)
            first = last
    # Two neighbours out of order are nearly always alone: rounds without branches leave little to insertion.
    _order_pairs(ordered)
    _order_pairs(ordered[1:])
    _insert(ordered)


@njit(types.int64(types.int64), nogil=True, cache=True)
def slots_size(n: int) -> int:
    """Return the length of `slots` that `sort_into` needs for n values."""
    return n + 2 * (BUCKETS * n + 1)


@njit(types.float64(VECTOR, types.float64), nogil=True, cache=True)
def percentile(ordered: NDArray[np.float64], percent: float) -> float:
    """Return a percentile of a sorted vector by linear interpolation."""
    position = percent / 100.0 * (ordered.size - 1)
    below = int(position)
    if below >= ordered.size - 1:
        return float(ordered[ordered.size - 1])
    return float(ordered[below] + (ordered[below + 1] - ordered[below]) * (position - below))


@njit(types.float64(VECTOR, types.float64), nogil=True, cache=True)
def median_abs_dev(ordered: NDArray[np.float64], median: float) -> float:
    """Return the median distance from the median of a sorted vector, n >= 1.

    Distances grow outwards from the middle to both sides: the half that is nearest takes `taken` values from the
    left and the rest from the right, and a binary search finds how many.
    """
    n = ordered.size
    half = n // 2
    # Nearest to the median on the left is ordered[half - 1], on the right ordered[half]; we want half + 1 values.
    low = max(0, half + 1 - (n - half))
    high = half
    while low < high:
        taken = (low + high) // 2
        # One more from the left, if it is nearer than the last one taken from the right.
        if median - ordered[half - 1 - taken] < ordered[2 * half - taken] - median:
            low = taken + 1
        else:
            high = taken
    left, right = half - low, 2 * half - low
    # The two largest of those taken: the last and the last but one of either side.
    largest = -1.0
    second = -1.0
    for i in range(left, min(left + 2, half)):
        second = max(second, min(largest, median - ordered[i]))
        largest = max(largest, median - ordered[i])
    for i in range(max(right - 1, half), right + 1):
        second = max(second, min(largest, ordered[i] - median))
        largest = max(largest, ordered[i] - median)
    return largest if n % 2 == 1 else 0.5 * (second + largest)
