"""Normal equations of the Fourier fit and their solution: all orders from one elimination, in numba.

Terms are eliminated in their order, by pairs, which are what each order adds: chi2 of an order is less by what its
pair takes off the sum of squares. Normal equations square the condition number, hence two refusals, where rounding
would show: a term that is nearly a combination of those before it, and harmonics that take off too little of a large
sum of squares. `orthogonal` fits what is refused here. Where chi2 is a small rest of the sum of squares it is added
up point by point. May import the package and `sums`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.kernels.fourier import MAX_HARMONICS, N_TERMS
from scope_ml.kernels.fourier.sums import (
    FLOATS,
    N_ROWS,
    N_SUMS,
    ROW,
    TABLE,
    chi2_of,
    fill_points,
    fill_sums,
    padded,
)

__all__ = ["WORKSPACE", "Workspace", "fit_normal", "make_workspace"]

#: Least fraction of the square of a term that must be left when those before it are taken out. Its inverse multiplies
#: rounding; one in some thousand pairs of a real light curve and its period falls below.
NEAR_SINGULAR = 1e-3

#: Fraction of the sum of squares, times the fraction left of a term, below which chi2 is added up point by point: the
#: inverse multiplies rounding in the difference.
NEAR_PERFECT = 1e-4

#: Least fraction of the sum of squares that harmonics must take off, times the square of the fraction left of a term:
#: the root of the inverse multiplies rounding. A steep line and a weak signal have less.
HARDLY_THERE = 1e-10

#: Columns of the normal equations: the terms, the right side, the square of each term before anything is taken out,
#: which gives way to the inverse of what is left of it.
RIGHT, SQUARE = N_TERMS, N_TERMS + 1
N_COLUMNS = N_TERMS + 2

#: Float64 numbers in a cache line.
CACHE_LINE = 8


class Workspace(NamedTuple):
    """Space for the fit of one light curve after the other.

    Attributes
    ----------
    points
        For the rows of `sums.fill_points`, float64 (at least `N_ROWS` times the points of the longest light curve,).
    sums
        Sums of `sums.fill_sums`, float64 (`N_SUMS`, 12).
    matrix
        Normal equations, float64 (12, `N_COLUMNS`).
    gain
        What each order takes off the sum of squares, float64 (6,).
    """

    points: NDArray[np.float64]
    sums: NDArray[np.float64]
    matrix: NDArray[np.float64]
    gain: NDArray[np.float64]


#: Type of `Workspace` for signatures.
WORKSPACE = types.NamedTuple((ROW, TABLE, TABLE, ROW), Workspace)


@njit(WORKSPACE(types.int64), nogil=True, cache=True)
def make_workspace(n_obs: int) -> Workspace:
    """Return space for light curves of up to `n_obs` points."""
    points = np.empty(N_ROWS * padded(n_obs) + CACHE_LINE)
    # Vectors that lie across two cache lines take twice as long to load.
    first = -(points.ctypes.data // points.itemsize) % CACHE_LINE
    return Workspace(
        points[first:],
        np.empty((N_SUMS, N_TERMS)),
        np.empty((N_TERMS, N_COLUMNS)),
        np.empty(MAX_HARMONICS + 1),
    )


@njit(types.void(TABLE, TABLE), nogil=True, cache=True, fastmath={"contract"})
def _fill_matrix(sums: NDArray[np.float64], matrix: NDArray[np.float64]) -> None:
    """Write the upper triangle of the normal equations and the last two columns, (12, `N_COLUMNS`)."""
    of_x, of_mag, cosine, sine = sums[0], sums[1], sums[2], sums[3]
    constant, slope = matrix[0], matrix[1]
    constant[0], constant[1], slope[1] = cosine[0], of_x[0], of_x[1]
    for n in range(1, MAX_HARMONICS + 1):
        c, s = 2 * n, 2 * n + 1
        constant[c], constant[s] = cosine[n], sine[n]
        slope[c], slope[s] = of_x[c], of_x[s]
        of_c, of_s = matrix[c], matrix[s]
        for more in range(n, MAX_HARMONICS + 1):
            less_c, less_s, more_c, more_s = cosine[more - n], sine[more - n], cosine[more + n], sine[more + n]
            of_c[2 * more], of_c[2 * more + 1] = 0.5 * (less_c + more_c), 0.5 * (more_s + less_s)
            of_s[2 * more], of_s[2 * more + 1] = 0.5 * (more_s - less_s), 0.5 * (less_c - more_c)
    for term in range(N_TERMS):
        matrix[term, RIGHT] = of_mag[term]
        matrix[term, SQUARE] = matrix[term, term]


@njit(types.float64(TABLE, types.int64, ROW), nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _eliminate(matrix: NDArray[np.float64], n_terms: int, gain: NDArray[np.float64]) -> float:
    """Make the first `n_terms` rows triangular; return the least fraction that was left of the square of a term.

    Stops with 0 at a term that is `NEAR_SINGULAR` or NaN. Writes what the terms of each order take off the sum of
    squares into `gain` (n_orders,).
    """
    least = 1.0
    for j in range(0, n_terms, 2):
        first, second = matrix[j], matrix[j + 1]
        inverse = 1.0 / first[j]
        factor = first[j + 1] * inverse
        for k in range(j + 1, RIGHT + 1):
            second[k] -= factor * first[k]
        of_first, of_second = first[j] / first[SQUARE], second[j + 1] / second[SQUARE]
        if not (of_first > NEAR_SINGULAR and of_second > NEAR_SINGULAR):
            return 0.0
        least = min(least, of_first, of_second)
        second_inverse = 1.0 / second[j + 1]
        first[SQUARE], second[SQUARE] = inverse, second_inverse
        gain[j // 2] = first[RIGHT] * first[RIGHT] * inverse + second[RIGHT] * second[RIGHT] * second_inverse
        for i in range(j + 2, n_terms, 2):
            upper, lower = matrix[i], matrix[i + 1]
            a, b = first[i] * inverse, second[i] * second_inverse
            c, d = first[i + 1] * inverse, second[i + 1] * second_inverse
            for k in range(i, RIGHT + 1):
                x, y = first[k], second[k]
                upper[k] -= a * x + b * y
                lower[k] -= c * x + d * y
    return least


@njit(types.void(TABLE, types.int64, ROW), nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _substitute(matrix: NDArray[np.float64], n_terms: int, coefficients: NDArray[np.float64]) -> None:
    """Write the solution of the first `n_terms` rows, which are triangular, and 0 for the other coefficients."""
    coefficients[n_terms:] = 0.0
    for j in range(n_terms - 1, -1, -1):
        row = matrix[j]
        value = row[RIGHT]
        for k in range(j + 1, n_terms):
            value -= row[k] * coefficients[k]
        coefficients[j] = value * row[SQUARE]


@njit(types.int64(ROW, types.int64, types.int64), nogil=True, cache=True)
def _choose(gain: NDArray[np.float64], n_orders: int, n_obs: int) -> int:
    """Return the first order of the smallest BIC, from what each takes off chi2."""
    cost, best, order_of_best = 2.0 * math.log(n_obs), 0.0, 0
    bic = 0.0
    for order in range(1, n_orders):
        bic += cost - gain[order]
        if bic < best:
            best, order_of_best = bic, order
    return order_of_best


@njit(types.int64(FLOATS, FLOATS, FLOATS, types.float64, WORKSPACE, ROW), nogil=True, cache=True, error_model="numpy")
def fit_normal(
    time: NDArray[np.float64],
    mag: NDArray[np.float64],
    mag_err: NDArray[np.float64],
    period: float,
    work: Workspace,
    solution: NDArray[np.float64],
) -> int:
    """Fit one light curve; return the order taken, or -1 where a point is bad or the fit would lose digits.

    Parameters
    ----------
    time, mag, mag_err
        [d], [mag], [mag], float64 (n_obs,), at least 3 points.
    period
        Positive and finite [d].
    work
        Space for at least so many points.
    solution
        Takes coefficients and chi2 as `fourier.N_SOLUTION` says, float64.
    """
    n_obs = time.size
    n_padded = padded(n_obs)
    points = work.points[: N_ROWS * n_padded].reshape(N_ROWS, n_padded)
    baseline, mean = fill_points(time, mag, mag_err, period, points)
    if baseline == 0.0:
        return -1
    square = fill_sums(points, work.sums)
    _fill_matrix(work.sums, work.matrix)
    n_orders = min(MAX_HARMONICS, (n_obs - 3) // 2) + 1
    least = _eliminate(work.matrix, 2 * n_orders, work.gain)
    if least == 0.0 or not math.isfinite(square):
        return -1
    order = _choose(work.gain, n_orders, n_obs)
    harmonic = 0.0
    for k in range(1, order + 1):
        harmonic += work.gain[k]
    if order > 0 and harmonic * least**2 < HARDLY_THERE * square:
        return -1
    _substitute(work.matrix, 2 + 2 * order, solution)
    left = square - work.gain[0] - harmonic
    if left * least < NEAR_PERFECT * square:
        left = chi2_of(points, solution)
    # x is -1 at the first time and 1 at the last one.
    solution[0] += mean - solution[1]
    solution[1] *= 2.0 / baseline
    solution[N_TERMS], solution[N_TERMS + 1] = left + harmonic, left
    return int(order)
