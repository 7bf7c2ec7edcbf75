"""Power of the fits of 1 to H harmonics at once: what the fit of H harmonics finds on its way.

The Cholesky factor of the normal equations takes the harmonics one after another, and the power that they explain
together is known after each. So the periodograms of all orders cost what that of the highest does. Values near singular
frequencies are approximate (1e-5): they propose candidates and decide nothing.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.kernels.curve import Curve
from scope_ml.kernels.multiharmonic.cpu import fit_power
from scope_ml.kernels.multiharmonic.normal import fill_normal
from scope_ml.kernels.trig_sums.cpu import BLOCK, WINDOW, HarmonicSums, Window, fill_sums
from scope_ml.kernels.trig_sums.points import lower_strengths, make_points

__all__ = ["SINGULAR", "NestedPower"]

#: Frequencies solved side by side.
LANES = 128

#: Square norm of a term less what the terms before it describe, below which it is left out: the error of the sums is
#: 1e-10 of it.
SINGULAR = 1e-5

#: Fewer frequencies than this are fitted point by point.
FEW_FREQUENCIES = 64

LOOP = {"nogil": True, "cache": True, "fastmath": {"contract"}, "error_model": "numpy"}


@njit("void(f8[::1], f8[::1], f8[::1], f8[::1])", **LOOP)
def _eliminate(
    row: NDArray[np.float64], other: NDArray[np.float64], inverse: NDArray[np.float64], cell: NDArray[np.float64]
) -> None:
    """Subtract ``row * other * inverse`` from a cell (lanes,)."""
    for k in range(cell.size):
        cell[k] -= row[k] * other[k] * inverse[k]


@njit("void(f8[::1], f8[::1], f8[::1])", **LOOP)
def _take(pivot: NDArray[np.float64], right: NDArray[np.float64], power: NDArray[np.float64]) -> None:
    """Replace a pivot by its inverse, 0 where singular, and add what its term explains to the power."""
    for k in range(pivot.size):
        value = pivot[k]
        inverse = 1.0 / value
        inverse = inverse if value > SINGULAR else 0.0
        power[k] += right[k] * right[k] * inverse
        pivot[k] = inverse


@njit("void(f8[:, :, ::1], f8[::1], f8[:, ::1])", **LOOP)
def _solve(matrix: NDArray[np.float64], power: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write the power of the fits of 1 to H harmonics, (H, lanes); the matrix is overwritten."""
    n_rows, n_terms, _ = matrix.shape
    power[:] = 0.0
    for term in range(n_terms):
        _take(matrix[term, term], matrix[n_terms, term], power)
        inverse = matrix[term, term]
        for column in range(term + 1, n_terms):
            for row in range(column, n_rows):
                _eliminate(matrix[row, term], matrix[column, term], inverse, matrix[row, column])
        if term % 2 == 1:
            out[term // 2] = power


@njit(types.void(WINDOW, types.int64, types.float64[:, ::1]), nogil=True, cache=True)
def _fill(window: Window, n_frequencies: int, out: NDArray[np.float64]) -> None:
    """Write the power of all orders at the frequencies of a window into `out` (H, n_frequencies)."""
    ratio, n_harmonics = window.offset.shape[1], out.shape[0]
    sums = np.zeros((window.base.shape[0], 2, BLOCK))
    matrix = np.empty((2 * n_harmonics + 1, 2 * n_harmonics, LANES))
    power, lanes = np.empty(LANES), np.empty((n_harmonics, LANES))
    n_cells = (n_frequencies + ratio - 1) // ratio
    for first in range(0, n_cells, BLOCK):
        for phase in range(ratio):
            n = min(BLOCK, (n_frequencies - phase + ratio - 1) // ratio - first)
            fill_sums(window, phase, first, n, sums)
            for begin in range(0, n, LANES):
                fill_normal(sums, begin, n_harmonics, matrix)
                _solve(matrix, power, lanes)
                for h in range(n_harmonics):
                    for k in range(min(LANES, n - begin)):
                        out[h, (first + begin + k) * ratio + phase] = min(lanes[h, k], 1.0)


class NestedPower:
    """Power of the fits of 1 to `n_harmonics` harmonics of one light curve."""

    def __init__(self, curve: Curve, n_harmonics: int) -> None:
        """Prepare the trigonometric sums; bands on one scale."""
        self._curve, self._n_harmonics = curve, n_harmonics
        points = make_points(curve)
        self._sums = HarmonicSums(points.time, lower_strengths(points), points.weight, n_harmonics)

    def evaluate(self, frequency: float, step: float, n_frequencies: int) -> NDArray[np.float64]:
        """Return the powers at ``frequency + k * step`` [1/d], float64 (n_harmonics, n_frequencies)."""
        if n_frequencies < FEW_FREQUENCIES:
            trial = frequency + step * np.arange(n_frequencies, dtype=np.float64)
            return np.stack([fit_power(self._curve, trial, h) for h in range(1, self._n_harmonics + 1)])
        out = np.empty((self._n_harmonics, n_frequencies))
        _fill(self._sums.window(frequency, step, n_frequencies), n_frequencies, out)
        return out
