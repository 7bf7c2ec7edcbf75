"""The passes over the points in time order: ratios, weighted sums about the median, residuals, consecutive pairs.

Loops of plain arithmetic that the compiler turns into vector instructions: sums may be taken in any order. May
import `sorting`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.kernels.statistics.sorting import FLOATS, VECTOR

__all__ = ["about_median", "are_valid", "divide", "pairs", "residuals"]

LOOP = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract", "reassoc"}}


@njit(types.boolean(FLOATS, FLOATS, FLOATS), nogil=True, cache=True)
def are_valid(t: NDArray[np.float64], m: NDArray[np.float64], e: NDArray[np.float64]) -> bool:
    """Return whether all values are finite and all errors positive."""
    n_valid = 0
    for i in range(m.size):
        n_valid += (abs(t[i]) < np.inf) & (abs(m[i]) < np.inf) & (e[i] > 0.0) & (e[i] < np.inf)
    return n_valid == m.size


@njit(types.void(FLOATS, FLOATS, VECTOR, VECTOR, VECTOR, VECTOR), **LOOP)
def divide(
    m: NDArray[np.float64],
    e: NDArray[np.float64],
    inverse: NDArray[np.float64],
    ratio: NDArray[np.float64],
    above: NDArray[np.float64],
    below: NDArray[np.float64],
) -> None:
    """Write 1/e, m/e, m + e and m - e into the last four vectors, float64 (n,)."""
    for i in range(m.size):
        inverse[i] = 1.0 / e[i]
        # Not m times the inverse: equal ratios must come out equal.
        ratio[i] = m[i] / e[i]
        above[i] = m[i] + e[i]
        below[i] = m[i] - e[i]


@njit(types.UniTuple(types.float64, 3)(FLOATS, VECTOR, types.float64), **LOOP)
def about_median(m: NDArray[np.float64], inverse: NDArray[np.float64], median: float) -> tuple[float, float, float]:
    """Return the sum of weights, the weighted sum of m - median and the sum of its size over e."""
    total = 0.0
    offset = 0.0
    distance = 0.0
    for i in range(m.size):
        w = inverse[i] * inverse[i]
        d = m[i] - median
        total += w
        offset += w * d
        distance += abs(d) * inverse[i]
    return total, offset, distance


@njit(types.UniTuple(types.float64, 5)(FLOATS, FLOATS, VECTOR, types.float64), **LOOP)
def residuals(
    m: NDArray[np.float64], e: NDArray[np.float64], inverse: NDArray[np.float64], mean: float
) -> tuple[float, float, float, float, float]:
    """Return the sums of d^2, d^3, d^4 and abs(d) with d = (m - mean)/e, and of (m - mean)^2 - e^2."""
    second = 0.0
    third = 0.0
    fourth = 0.0
    absolute = 0.0
    excess = 0.0
    for i in range(m.size):
        r = m[i] - mean
        d = r * inverse[i]
        square = d * d
        second += square
        third += square * d
        fourth += square * square
        absolute += abs(d)
        excess += r * r - e[i] * e[i]
    return second, third, fourth, absolute, excess


@njit(types.UniTuple(types.float64, 4)(FLOATS, FLOATS, VECTOR, types.float64), **LOOP)
def pairs(
    t: NDArray[np.float64], m: NDArray[np.float64], inverse: NDArray[np.float64], mean: float
) -> tuple[float, float, float, float]:
    """Return sums over consecutive points: of P = d d', of sign(P) sqrt(abs(P)), of 1/dt^2 and of (dm/dt)^2.

    d = (m - mean)/e; pairs at equal times are left out of the last two.
    """
    welch = 0.0
    stetson = 0.0
    steepness = 0.0
    change = 0.0
    for i in range(m.size - 1):
        pair = ((m[i] - mean) * inverse[i]) * ((m[i + 1] - mean) * inverse[i + 1])
        welch += pair
        stetson += math.copysign(math.sqrt(abs(pair)), pair)
        dt = t[i + 1] - t[i]
        dm = m[i + 1] - m[i]
        # An infinite separation counts for nothing.
        apart = dt if dt != 0.0 else np.inf
        weight = 1.0 / (apart * apart)
        steepness += weight
        change += dm * dm * weight
    return welch, stetson, steepness, change
