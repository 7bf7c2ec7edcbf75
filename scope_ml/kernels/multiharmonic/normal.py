"""Normal equations of a multi-harmonic fit from trigonometric sums, and their solution, many frequencies side by side.

Every array has the frequencies as its last axis, so that each step is one loop over them without a branch.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scope_ml.kernels.multiharmonic import SINGULAR

__all__ = ["LANES", "fill_normal", "solve"]

#: Frequencies solved side by side: their matrices stay in the second cache, and loops over fewer would mostly start and end.
LANES = 256


#: Innermost loops, each a function of few arrays: the compiler checks at run time that they do not overlap, and with
#: more than a handful gives up and leaves the loop scalar.
LOOP = {"nogil": True, "cache": True, "fastmath": {"contract"}, "error_model": "numpy"}


@njit("void(f8, f8[::1], f8[::1], f8[::1], f8[::1])", **LOOP)
def _fill_constant(
    sign: float,
    more: NDArray[np.float64],
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    cell: NDArray[np.float64],
) -> None:
    """Write ``(1 +- more) / 2 - left * right`` into a cell (lanes,)."""
    for k in range(cell.size):
        cell[k] = (0.5 + 0.5 * sign * more[k]) - left[k] * right[k]


@njit("void(f8, f8[::1], f8, f8[::1], f8[::1], f8[::1], f8[::1])", **LOOP)
def _fill_cell(
    less_sign: float,
    less: NDArray[np.float64],
    more_sign: float,
    more: NDArray[np.float64],
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    cell: NDArray[np.float64],
) -> None:
    """Write ``(+- less +- more) / 2 - left * right`` into a cell (lanes,)."""
    for k in range(cell.size):
        cell[k] = 0.5 * (less_sign * less[k] + more_sign * more[k]) - left[k] * right[k]


@njit("void(f8[::1], f8[::1], f8[::1])", **LOOP)
def _subtract_product(left: NDArray[np.float64], right: NDArray[np.float64], cell: NDArray[np.float64]) -> None:
    """Subtract a product from a cell (lanes,)."""
    for k in range(cell.size):
        cell[k] -= left[k] * right[k]


@njit("void(f8[:, :, ::1], i8, i8, f8[:, :, ::1])", nogil=True, cache=True, fastmath={"contract"})
def fill_normal(sums: NDArray[np.float64], begin: int, n_harmonics: int, matrix: NDArray[np.float64]) -> None:
    """Write the lower triangle of the normal equations and as last row their right side, (n_terms + 1, n_terms, lanes).

    Terms are cosine and sine of each harmonic, centred in each band. The sums (n_sums, 2, n) are ordered as in
    `HarmonicSums`; lanes are those from `begin` on.
    """
    n_lower = (sums.shape[0] - 2 * n_harmonics) // n_harmonics
    n_terms, end = 2 * n_harmonics, begin + matrix.shape[2]
    total = n_lower * n_harmonics
    # Of a single band, the sums of all weights are those of the band.
    first, apart = (total, 1) if n_lower == 1 else (1, n_lower)
    for j in range(n_harmonics):
        c_j, s_j = sums[first + j * apart, 0, begin:end], sums[first + j * apart, 1, begin:end]
        cosine, sine = matrix[2 * j], matrix[2 * j + 1]
        for i in range(j):
            c_i, s_i = sums[first + i * apart, 0, begin:end], sums[first + i * apart, 1, begin:end]
            less_c, less_s = sums[total + j - i - 1, 0, begin:end], sums[total + j - i - 1, 1, begin:end]
            more_c, more_s = sums[total + j + i + 1, 0, begin:end], sums[total + j + i + 1, 1, begin:end]
            _fill_cell(1.0, less_c, 1.0, more_c, c_j, c_i, cosine[2 * i])
            _fill_cell(-1.0, less_s, 1.0, more_s, c_j, s_i, cosine[2 * i + 1])
            _fill_cell(1.0, less_s, 1.0, more_s, s_j, c_i, sine[2 * i])
            _fill_cell(1.0, less_c, -1.0, more_c, s_j, s_i, sine[2 * i + 1])
        twice_c, twice_s = sums[total + 2 * j + 1, 0, begin:end], sums[total + 2 * j + 1, 1, begin:end]
        _fill_constant(1.0, twice_c, c_j, c_j, cosine[2 * j])
        _fill_cell(0.0, twice_s, 1.0, twice_s, s_j, c_j, sine[2 * j])
        _fill_constant(-1.0, twice_c, s_j, s_j, sine[2 * j + 1])
        matrix[n_terms, 2 * j] = sums[j * n_lower, 0, begin:end]
        matrix[n_terms, 2 * j + 1] = sums[j * n_lower, 1, begin:end]
    for band_row in range(first + 1, first + n_lower - 1):
        for a in range(n_terms):
            left = sums[band_row + (a // 2) * apart, a % 2, begin:end]
            for b in range(a + 1):
                right = sums[band_row + (b // 2) * apart, b % 2, begin:end]
                _subtract_product(left, right, matrix[a, b])


@njit("void(f8[:, ::1], f8[:, ::1], i8, f8[::1])", **LOOP)
def _subtract(left: NDArray[np.float64], right: NDArray[np.float64], n: int, cell: NDArray[np.float64]) -> None:
    """Subtract from a cell the products of the first n rows of `left` and `right`, up to four at a time."""
    t = 0
    while t < n:
        l0, r0 = left[t], right[t]
        if n - t == 1:
            _subtract_product(l0, r0, cell)
            return
        l1, r1 = left[t + 1], right[t + 1]
        if n - t == 2:
            for k in range(cell.size):
                cell[k] -= l0[k] * r0[k] + l1[k] * r1[k]
            return
        l2, r2 = left[t + 2], right[t + 2]
        if n - t == 3:
            for k in range(cell.size):
                cell[k] -= l0[k] * r0[k] + l1[k] * r1[k] + l2[k] * r2[k]
            return
        l3, r3 = left[t + 3], right[t + 3]
        for k in range(cell.size):
            cell[k] -= (l0[k] * r0[k] + l1[k] * r1[k]) + (l2[k] * r2[k] + l3[k] * r3[k])
        t += 4


@njit("void(f8[::1], f8[::1], f8[::1])", **LOOP)
def _multiply(left: NDArray[np.float64], right: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write a product (lanes,)."""
    for k in range(out.size):
        out[k] = left[k] * right[k]


@njit("void(f8[::1], f8[::1], f8[::1], f8[::1])", **LOOP)
def _take_pivot(
    right: NDArray[np.float64], pivot: NDArray[np.float64], power: NDArray[np.float64], least: NDArray[np.float64]
) -> None:
    """Add what a term describes to the power, and replace its pivot by the inverse, 0 where the term is singular."""
    for k in range(pivot.size):
        value = pivot[k]
        least[k] = value if value < least[k] else least[k]
        inverse = 1.0 / value
        inverse = inverse if value > SINGULAR else 0.0
        power[k] += right[k] * right[k] * inverse
        pivot[k] = inverse


@njit(
    "void(f8[:, :, ::1], f8[:, ::1], f8[::1], f8[::1])",
    nogil=True,
    cache=True,
    fastmath={"contract"},
    error_model="numpy",
)
def solve(
    matrix: NDArray[np.float64], work: NDArray[np.float64], power: NDArray[np.float64], least: NDArray[np.float64]
) -> None:
    """Write the power and the least pivot of each lane: Cholesky without exchange; singular terms drop out.

    The matrix is that of `fill_normal`, and is overwritten; `work` is float64 (n_terms, lanes).
    """
    n_rows, n_terms, lanes = matrix.shape
    for k in range(lanes):
        power[k] = 0.0
        least[k] = 1.0
    for term in range(n_terms):
        # Inverse pivots have taken the place of the pivots before.
        for t in range(term):
            _multiply(matrix[term, t], matrix[t, t], work[t])
        for row in range(term, n_rows):
            _subtract(matrix[row], work, term, matrix[row, term])
        _take_pivot(matrix[n_terms, term], matrix[term, term], power, least)
    for k in range(lanes):
        power[k] = power[k] if power[k] < 1.0 else 1.0
