"""The likelihood of many damped random walks in one pass over the points, and that of white noise.

The walk is Markovian, so that a Kalman filter gives the likelihood in O(N) (Kelly et al. 2009; the same recursion as
that of celerite, Foreman-Mackey et al. 2017, AJ 154, 220, for a single real term). The filter runs over the magnitudes and
over a column of ones: what it leaves of both gives the best constant. Its chain of divisions along the points is long,
so `LANES` trials at a time go side by side.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

__all__ = ["FLOATS", "LANES", "POINTS", "VECTOR", "filter_walks", "prepare", "white_noise", "white_noise_slope"]

FLOATS = types.Array(types.float64, 1, "C", readonly=True)
VECTOR = types.float64[::1]
POINTS = types.float64[:, ::1]

#: Trials that are filtered side by side, and numbers kept of each: variance, its prediction, the two predictions, three
#: sums, and the determinant.
LANES = 8
KEPT = 9

#: A determinant is multiplied up until it may have this many decimal digits, then its logarithm is taken.
DIGITS = 250.0


@njit(types.Tuple((POINTS, types.float64, types.int64))(FLOATS, FLOATS, FLOATS), nogil=True, cache=True)
def prepare(
    t: NDArray[np.float64], m: NDArray[np.float64], e: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float, int]:
    """Return what the filter takes of each point, what all likelihoods have in common, and how long determinants grow.

    The rows (4, n_obs) are the time since the point before, the magnitude from the mean, the error squared, and one
    over a variance of that size, by which the determinant is divided lest it leave the range of a float64.
    """
    n = m.size
    points = np.empty((4, n))
    points[1] = m - np.mean(m)
    scale = np.mean(points[1] ** 2)
    common = n * math.log(2.0 * math.pi)
    smallest = 1.0
    for i in range(n):
        points[0, i] = t[i] - t[i - 1] if i > 0 else 0.0
        points[2, i] = e[i] * e[i]
        total = points[2, i] + scale
        points[3, i] = 1.0 / total
        common += math.log(total)
        smallest = min(smallest, points[2, i] / total)
    # The largest factor is the largest variance tried: a few hundred times the scale.
    digits = max(-math.log10(max(smallest, 1e-300)), 4.0)
    return points, common, max(int(DIGITS / digits), 1)


@njit(
    types.void(VECTOR, types.float64, types.float64, types.float64),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _step(s: NDArray[np.float64], value: float, noise: float, inverse: float) -> None:
    """Filter one point in `LANES` trials; `s` holds `KEPT` numbers of each.

    These are the variance of the walk, its variance given the points so far, its mean given them for the magnitudes and
    for ones, the three weighted sums of what was not foreseen, the determinant, and the decay since the last point.
    """
    for k in range(LANES):
        a = s[8 * LANES + k]
        predicted = a * a * s[LANES + k] + s[k] * (1.0 - a * a)
        total = predicted + noise
        weight = 1.0 / total
        gain = predicted * weight
        mean = a * s[2 * LANES + k]
        share = a * s[3 * LANES + k]
        left = value - mean
        unit = 1.0 - share
        s[LANES + k] = gain * noise
        s[2 * LANES + k] = mean + gain * left
        s[3 * LANES + k] = share + gain * unit
        s[4 * LANES + k] += left * left * weight
        s[5 * LANES + k] += left * unit * weight
        s[6 * LANES + k] += unit * unit * weight
        s[7 * LANES + k] *= total * inverse


@njit(
    types.void(
        POINTS,
        types.float64,
        types.int64,
        VECTOR,
        POINTS,
        POINTS,
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def filter_walks(
    points: NDArray[np.float64],
    common: float,
    block: int,
    rate: NDArray[np.float64],
    variance: NDArray[np.float64],
    logs: NDArray[np.float64],
) -> None:
    """Write ln L of each trial into `logs`, of the shape (n_rows, width) of `variance` [mag^2].

    The first three are those of `prepare`. Column l of the trials has the rate ``rate[l % n_rates]`` [1/d]; the width is
    a multiple of `LANES`.
    """
    n, n_rows, n_groups = points.shape[1], variance.shape[0], variance.shape[1] // LANES
    # One array, rows of which are taken at fixed places: so the compiler sees that nothing overlaps, and takes vectors.
    work = np.zeros((n_rows, n_groups, KEPT * LANES))
    trials = variance.reshape(n_rows, n_groups, LANES)
    found = logs.reshape(n_rows, n_groups, LANES)
    work[:, :, :LANES] = trials
    work[:, :, 7 * LANES : 8 * LANES] = 1.0
    found[:] = common
    column = np.arange(variance.shape[1]) % rate.size
    decay = np.zeros(rate.size)
    for i in range(n):
        if i > 0:
            for k in range(rate.size):
                decay[k] = math.exp(-points[0, i] * rate[k])
        # All decays first: a value that was just stored in pieces is slow to load as a vector.
        for j in range(n_rows):
            for g in range(n_groups):
                for k in range(LANES):
                    work[j, g, 8 * LANES + k] = decay[column[g * LANES + k]]
        for j in range(n_rows):
            for g in range(n_groups):
                _step(work[j, g], points[1, i], points[2, i], points[3, i])
        if (i + 1) % block == 0 or i + 1 == n:
            found += np.log(work[:, :, 7 * LANES : 8 * LANES])
            work[:, :, 7 * LANES : 8 * LANES] = 1.0
    both = work[:, :, 5 * LANES : 6 * LANES]
    found += work[:, :, 4 * LANES : 5 * LANES] - both * both / work[:, :, 6 * LANES : 7 * LANES]
    found *= -0.5


@njit(types.float64(POINTS, types.float64, types.float64), nogil=True, cache=True)
def white_noise(points: NDArray[np.float64], common: float, variance: float) -> float:
    """Return ln L of white noise of a variance besides the errors."""
    weights = 0.0
    sums = 0.0
    for i in range(points.shape[1]):
        weight = 1.0 / (points[2, i] + variance)
        weights += weight
        sums += points[1, i] * weight
    mean = sums / weights
    total = common
    for i in range(points.shape[1]):
        here = points[2, i] + variance
        total += (points[1, i] - mean) ** 2 / here + math.log(here * points[3, i])
    return -0.5 * total


@njit(types.float64(POINTS, types.float64), nogil=True, cache=True)
def white_noise_slope(points: NDArray[np.float64], variance: float) -> float:
    """Return twice the derivative of ln L of white noise by its variance."""
    weights = 0.0
    sums = 0.0
    for i in range(points.shape[1]):
        weight = 1.0 / (points[2, i] + variance)
        weights += weight
        sums += points[1, i] * weight
    mean = sums / weights
    slope = -weights
    for i in range(points.shape[1]):
        slope += ((points[1, i] - mean) / (points[2, i] + variance)) ** 2
    return slope
