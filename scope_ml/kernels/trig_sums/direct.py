"""Sums over few points on a lattice of frequencies: a product of two matrices of cosines and sines.

The lattice is cut into panels. With ``a_i`` the phase of point i at the centre of a panel and ``b_ik`` the phase
between centre and the k-th frequency beside it,

    sum_i s_i exp(i (a_i +- b_ik)) = (A - B) + i (E + C)    and    (A + B) + i (E - C),

where A, B, C and E are the sums of ``s cos a cos b``, ``s sin a sin b``, ``s cos a sin b`` and ``s sin a cos b``: two
multiplications per point and frequency. The matrix of ``b`` is the same for all panels.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scope_ml.kernels.trig_sums.phasor import fill_phasors, whole_phases

__all__ = ["PANEL", "DirectSummer"]

#: Frequencies of a panel; three points' rows of the matrix and the sums fit into the first cache.
PANEL = 256


@njit("void(f8[::1], f8[::1], f8[:, ::1])", nogil=True, cache=True)
def _fill_matrix(high: NDArray[np.float64], low: NDArray[np.float64], matrix: NDArray[np.float64]) -> None:
    """Write cosine and sine of the phases between the centre of a panel and the frequencies above it, per point."""
    half = matrix.shape[1] // 2
    phase = np.empty(half)
    for i in range(high.size):
        step = high[i] + low[i]
        for k in range(half):
            phase[k] = (k + 0.5) * step
        fill_phasors(phase, matrix[i, :half], matrix[i, half:])


@njit("void(f8[:, ::1], f8[:, ::1], f8[:, ::1])", nogil=True, cache=True, fastmath={"contract"})
def _multiply(rows: NDArray[np.float64], matrix: NDArray[np.float64], sums: NDArray[np.float64]) -> None:
    """Write the product of four rows and the matrix, whose points are a multiple of three; measured as the fastest."""
    sums0, sums1, sums2, sums3 = sums[0], sums[1], sums[2], sums[3]
    n = matrix.shape[1]
    for k in range(n):
        sums0[k] = sums1[k] = sums2[k] = sums3[k] = 0.0
    for i in range(0, rows.shape[1], 3):
        a0, a1, a2 = rows[0, i], rows[0, i + 1], rows[0, i + 2]
        b0, b1, b2 = rows[1, i], rows[1, i + 1], rows[1, i + 2]
        c0, c1, c2 = rows[2, i], rows[2, i + 1], rows[2, i + 2]
        d0, d1, d2 = rows[3, i], rows[3, i + 1], rows[3, i + 2]
        m0, m1, m2 = matrix[i], matrix[i + 1], matrix[i + 2]
        for k in range(n):
            x0, x1, x2 = m0[k], m1[k], m2[k]
            sums0[k] += a0 * x0 + a1 * x1 + a2 * x2
            sums1[k] += b0 * x0 + b1 * x1 + b2 * x2
            sums2[k] += c0 * x0 + c1 * x1 + c2 * x2
            sums3[k] += d0 * x0 + d1 * x1 + d2 * x2


@njit("void(f8[:, ::1], f8[::1], f8[::1])", nogil=True, cache=True, fastmath={"contract"})
def _unfold(sums: NDArray[np.float64], real: NDArray[np.float64], imaginary: NDArray[np.float64]) -> None:
    """Write the sums of a panel from its two rows of products, centre outwards to both sides."""
    half = real.size // 2
    for k in range(half):
        real[half + k] = sums[0, k] - sums[1, half + k]
        imaginary[half + k] = sums[1, k] + sums[0, half + k]
    for k in range(half):
        real[k] = sums[0, half - 1 - k] + sums[1, 2 * half - 1 - k]
        imaginary[k] = sums[1, half - 1 - k] - sums[0, 2 * half - 1 - k]


@njit("void(f8[:, ::1], f8[:, ::1], f8[:, ::1])", nogil=True, cache=True, fastmath={"contract"})
def _turn(phasors: NDArray[np.float64], turn: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write phasors (2, n), cosine and sine, turned by others."""
    for i in range(turn.shape[1]):
        c, s = phasors[0, i], phasors[1, i]
        out[0, i] = c * turn[0, i] - s * turn[1, i]
        out[1, i] = s * turn[0, i] + c * turn[1, i]


@njit("void(i8, f8[::1], f8[::1], f8[:, ::1], f8[:, ::1], f8[:, ::1], f8[:, :, ::1])", nogil=True, cache=True)
def _sum(
    start: int,
    high: NDArray[np.float64],
    low: NDArray[np.float64],
    turn: NDArray[np.float64],
    matrix: NDArray[np.float64],
    strengths: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Write the sums at ``start`` and the following lattice frequencies, an even number of panels."""
    n, panel = high.size, matrix.shape[1]
    phase, phasors = np.empty(n), np.empty((4, n))
    whole_phases(float(start + panel // 2), high, low, phase)
    for i in range(n):
        phase[i] -= 0.5 * (high[i] + low[i])
    fill_phasors(phase, phasors[0], phasors[1])
    rows, sums = np.empty((4, n)), np.empty((4, panel))
    for begin in range(0, out.shape[2], 2 * panel):
        _turn(phasors[:2], turn, phasors[2:])
        for row in range(strengths.shape[0]):
            for part in range(4):
                for i in range(n):
                    rows[part, i] = strengths[row, i] * phasors[part, i]
            _multiply(rows, matrix, sums)
            for half in range(2):
                at = begin + half * panel
                _unfold(sums[2 * half : 2 * half + 2], out[row, 0, at : at + panel], out[row, 1, at : at + panel])
        _turn(phasors[2:], turn, phasors[:2])


class DirectSummer:
    """Sums of one light curve on a lattice of frequencies."""

    def __init__(self, high: NDArray[np.float64], low: NDArray[np.float64]) -> None:
        """Prepare.

        Parameters
        ----------
        high, low
            Phase of each point per lattice step, float64 (n_obs,), from `phasor.split`.
        """
        n_padded = -(-high.size // 3) * 3
        self._high, self._low = np.zeros(n_padded), np.zeros(n_padded)
        self._high[: high.size], self._low[: high.size] = high, low
        self._matrix = np.empty((n_padded, PANEL))
        _fill_matrix(self._high, self._low, self._matrix)
        phase = np.empty(n_padded)
        whole_phases(float(PANEL), self._high, self._low, phase)
        self._turn = np.empty((2, n_padded))
        fill_phasors(phase, self._turn[0], self._turn[1])

    def sum(self, start: int, strengths: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        """Write the sums at lattice frequencies `start` and following into `out`.

        It is float64 (n_sums, 2, multiple of two `PANEL`), real and imaginary parts.

        Strengths are float64 (n_sums, n_obs).
        """
        padded = np.zeros((strengths.shape[0], self._high.size))
        padded[:, : strengths.shape[1]] = strengths
        _sum(start, self._high, self._low, self._turn, self._matrix, padded, out)
