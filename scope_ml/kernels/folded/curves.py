"""The penalised curve of a few harmonics by its normal equations, compiled. Imports the package."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.kernels.folded import HARMONICS, LEAST_NOISE

__all__ = ["FLOATS", "ROW", "evaluate", "fit", "make_normal"]

TWO_PI = 2.0 * math.pi
MOST = HARMONICS[2]
N_ROUNDS = 3

FLOATS = types.float64[::1]
ROW = types.float64[:]
MATRIX = types.float64[:, ::1]


@njit(MATRIX(), nogil=True, cache=True)
def make_normal() -> NDArray[np.float64]:
    """Return room for the normal equations and their factor."""
    return np.empty((2 * (2 * MOST + 1) + 6, 2 * MOST + 1))


@njit(types.void(FLOATS, FLOATS, FLOATS, types.float64, types.int64, MATRIX), nogil=True, cache=True)
def _sums(
    t: NDArray[np.float64],
    y: NDArray[np.float64],
    weight: NDArray[np.float64],
    f: float,
    n_harmonics: int,
    room: NDArray[np.float64],
) -> None:
    """Write the normal matrix into the first rows of `room` and the right side into the row `2 K`, K the number of terms."""
    n_terms = 2 * n_harmonics + 1
    c0, s0 = room[2 * n_terms + 1], room[2 * n_terms + 2]
    right = room[2 * n_terms]
    c0[:n_terms] = 0.0
    s0[:n_terms] = 0.0
    right[:n_terms] = 0.0
    for i in range(t.size):
        cycles = t[i] * f
        angle = TWO_PI * (cycles - math.floor(cycles))
        turn_c, turn_s = math.cos(angle), math.sin(angle)
        c, s = weight[i], 0.0
        for h in range(n_terms):
            c0[h] += c
            s0[h] += s
            if h <= n_harmonics:
                right[h] += c * y[i]
                if h > 0:
                    right[n_harmonics + h] += s * y[i]
            c, s = c * turn_c - s * turn_s, s * turn_c + c * turn_s
    room[0, 0] = c0[0]
    for j in range(1, n_harmonics + 1):
        room[j, 0] = c0[j]
        room[n_harmonics + j, 0] = s0[j]
        for k in range(1, n_harmonics + 1):
            apart = abs(j - k)
            sign = 1.0 if j >= k else -1.0
            if k <= j:
                room[j, k] = 0.5 * (c0[apart] + c0[j + k])
                room[n_harmonics + j, n_harmonics + k] = 0.5 * (c0[apart] - c0[j + k])
            # sin(j x) cos(k x)
            room[n_harmonics + j, k] = 0.5 * (s0[j + k] + sign * s0[apart])


@njit(types.void(MATRIX, types.int64, types.float64, FLOATS), nogil=True, cache=True)
def _solve(room: NDArray[np.float64], n_harmonics: int, strength: float, solution: NDArray[np.float64]) -> None:
    """Solve the penalised normal equations by Cholesky's factor, kept in the second block of rows."""
    k = 2 * n_harmonics + 1
    for i in range(k):
        for j in range(i + 1):
            value = room[i, j]
            if i == j and i > 0:
                h = i if i <= n_harmonics else i - n_harmonics
                value += strength * h**3
            for m in range(j):
                value -= room[k + i, m] * room[k + j, m]
            room[k + i, j] = math.sqrt(max(value, 1e-300)) if i == j else value / room[k + j, j]
    for i in range(k):
        value = room[2 * k, i]
        for m in range(i):
            value -= room[k + i, m] * solution[m]
        solution[i] = value / room[k + i, i]
    for i in range(k - 1, -1, -1):
        value = solution[i]
        for m in range(i + 1, k):
            value -= room[k + m, i] * solution[m]
        solution[i] = value / room[k + i, i]


@njit(types.float64(FLOATS, FLOATS, FLOATS, types.float64, FLOATS, FLOATS), nogil=True, cache=True)
def evaluate(
    t: NDArray[np.float64],
    y: NDArray[np.float64],
    weight: NDArray[np.float64],
    f: float,
    solution: NDArray[np.float64],
    residual: NDArray[np.float64],
) -> float:
    """Write the residuals from a solution (2 H + 1,); return their weighted mean square."""
    n_harmonics = (solution.size - 1) // 2
    total = 0.0
    for i in range(t.size):
        cycles = t[i] * f
        angle = TWO_PI * (cycles - math.floor(cycles))
        turn_c, turn_s = math.cos(angle), math.sin(angle)
        c, s, value = turn_c, turn_s, solution[0]
        for h in range(1, n_harmonics + 1):
            value += solution[h] * c + solution[n_harmonics + h] * s
            c, s = c * turn_c - s * turn_s, s * turn_c + c * turn_s
        residual[i] = y[i] - value
        total += weight[i] * residual[i] * residual[i]
    return total


@njit(types.float64(FLOATS, FLOATS, FLOATS, types.float64, types.int64, MATRIX, FLOATS, FLOATS), nogil=True, cache=True)
def fit(
    t: NDArray[np.float64],
    y: NDArray[np.float64],
    weight: NDArray[np.float64],
    f: float,
    n_harmonics: int,
    room: NDArray[np.float64],
    solution: NDArray[np.float64],
    residual: NDArray[np.float64],
) -> float:
    """Write the constant, cosines and sines, and the residuals; return the variance of the noise.

    Parameters
    ----------
    t, y, weight
        Times [d], magnitudes less their weighted mean, weights of sum 1, float64 (n,).
    f, n_harmonics
        Frequency [1/d] and number of harmonics.
    room
        Of `make_normal`.
    solution, residual
        Filled: float64 (2 H + 1,) or longer, and (n,).
    """
    _sums(t, y, weight, f, n_harmonics, room)
    n_terms = 2 * n_harmonics + 1
    variance = 0.0
    for i in range(t.size):
        variance += weight[i] * y[i] * y[i]
    noise = 0.5 * variance
    for _ in range(N_ROUNDS):
        _solve(room, n_harmonics, noise / (t.size * variance), solution)
        noise = max(evaluate(t, y, weight, f, solution[:n_terms], residual), LEAST_NOISE * variance)
    return noise
