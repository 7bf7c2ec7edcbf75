"""The loops of `score_folds`, compiled: one pass over the light curves of each star.

Sums go through the light curves one by one in their canonical order, so that a star's result is the same to the last bit
whatever stands beside it. Imports numba; imported by `score_folds` inside functions only.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["MAX", "MEAN", "MEDIAN", "fold"]

#: What is made of several values.
MEAN: Final = 0
MAX: Final = 1
MEDIAN: Final = 2

#: Values that are sorted by insertion.
FEW: Final = 24

COMPILED: Final[dict[str, Any]] = {"cache": True, "nogil": True, "error_model": "numpy"}

Values = npt.NDArray[np.floating[Any]]
FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@njit(**COMPILED)
def fold(
    values: Values,
    spreads: Values,
    order: IntArray,
    bounds: IntArray,
    weights: FloatArray,
    how: int,
    out: Float32Array,
) -> None:
    """Fold one column of scores.

    Parameters
    ----------
    values
        Scores of the rows, (n_rows,); NaN does not count.
    spreads
        How far their seeds are apart, (n_rows,), or empty.
    order, bounds
        Rows star by star, and where each star begins and ends among them, int64 (n,) and (n_stars + 1,).
    weights
        In `order`, float64 (n,), above 0.
    how
        `MEAN` (weighted), `MAX` or `MEDIAN`.
    out
        Score, scatter between light curves, spread, float32 (3, n_stars): filled in, NaN where there is none.
    """
    longest = 1
    for star in range(bounds.size - 1):
        longest = max(longest, bounds[star + 1] - bounds[star])
    room = np.empty(longest)
    for star in range(bounds.size - 1):
        low, high = bounds[star], bounds[star + 1]
        mean, scatter, best = moments(values, order, weights, low, high)
        out[0, star], out[1, star], out[2, star] = mean, scatter, np.nan
        if how == MAX:
            out[0, star] = values[order[best]]
        elif how == MEDIAN:
            out[0, star] = median(values, order, low, high, room)
        if spreads.size:
            if how == MAX:
                out[2, star] = spreads[order[best]]
            elif how == MEDIAN:
                out[2, star] = median(spreads, order, low, high, room)
            else:
                out[2, star] = moments(spreads, order, weights, low, high)[0]


@njit(**COMPILED)
def moments(values: Values, order: IntArray, weights: FloatArray, low: int, high: int) -> tuple[float, float, int]:
    """Return weighted mean, scatter (not weighted, N - 1 in the denominator), and the place of the first largest value.

    Differences are taken from the first value: equal values have exactly themselves as mean, and no scatter.
    """
    n, best = 0, low
    base, largest = np.nan, -np.inf
    total = moved = added = squares = 0.0
    for place in range(low, high):
        value = np.float64(values[order[place]])
        if np.isnan(value):
            continue
        if n == 0:
            base = value
        n += 1
        apart = value - base
        total += weights[place]
        moved += weights[place] * apart
        added += apart
        squares += apart * apart
        if value > largest:
            largest, best = value, place
    scatter = np.sqrt(max((squares - added * added / n) / (n - 1), 0.0)) if n > 1 else np.nan
    return (base + moved / total if n else np.nan), scatter, best


@njit(**COMPILED)
def median(values: Values, order: IntArray, low: int, high: int, room: FloatArray) -> float:
    """Return the median of the values that are known; `room` holds them meanwhile."""
    n = 0
    for place in range(low, high):
        value = np.float64(values[order[place]])
        if np.isnan(value):
            continue
        room[n] = value
        n += 1
        # Few are sorted where they stand; many at once below.
        at = n - 1
        while n <= FEW and at > 0 and room[at - 1] > value:
            room[at], room[at - 1] = room[at - 1], value
            at -= 1
    if n == 0:
        return np.nan
    ranked = room[:n] if n <= FEW else np.sort(room[:n])
    middle: float = 0.5 * (ranked[(n - 1) // 2] + ranked[n // 2])
    return middle
