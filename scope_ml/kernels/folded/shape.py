"""Numbers that describe a curve: at the cycle, and as that of a binary; compiled. Imports the package and `curves`."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.kernels.folded import N_DIPS, N_PHASES, N_SHAPE
from scope_ml.kernels.folded.curves import FLOATS, ROW

__all__ = ["describe", "describe_binary", "describe_phases", "draw"]

TWO_PI = 2.0 * math.pi
PHASE = TWO_PI * np.arange(N_PHASES) / N_PHASES
COSINE, SINE = np.cos(PHASE), np.sin(PHASE)


@njit(types.void(FLOATS, FLOATS), nogil=True, cache=True)
def draw(solution: NDArray[np.float64], curve: NDArray[np.float64]) -> None:
    """Write the curve of a solution without its constant at `N_PHASES` phases."""
    n_harmonics = (solution.size - 1) // 2
    for j in range(N_PHASES):
        curve[j] = 0.0
        for h in range(1, n_harmonics + 1):
            place = (j * h) % N_PHASES
            curve[j] += solution[h] * COSINE[place] + solution[n_harmonics + h] * SINE[place]


@njit(types.float64(FLOATS, FLOATS, ROW), nogil=True, cache=True, error_model="numpy")
def describe(solution: NDArray[np.float64], curve: NDArray[np.float64], row: NDArray[np.float64]) -> float:
    """Write the 16 numbers from the amplitude to the steepness; return the even over the odd harmonics."""
    n_harmonics = (solution.size - 1) // 2
    c, s = solution[1 : n_harmonics + 1], solution[n_harmonics + 1 :]
    first, angle = math.hypot(c[0], s[0]), math.atan2(-s[0], c[0])
    odd, even = 0.0, 0.0
    for h in range(n_harmonics):
        square = c[h] * c[h] + s[h] * s[h]
        if h % 2 == 0:
            odd += square
        else:
            even += square
    for h in range(1, 5):
        row[h] = math.hypot(c[h], s[h]) / first
    for h in range(1, 4):
        turned = math.atan2(-s[h], c[h]) - (h + 1) * angle
        row[3 + 2 * h] = math.cos(turned)
        row[4 + 2 * h] = math.sin(turned)
    lowest, highest = curve.min(), curve.max()
    span = highest - lowest
    faint, steepest, least_odd = 0, 0.0, math.inf
    for j in range(N_PHASES):
        if curve[j] > 0.5 * (highest + lowest):
            faint += 1
        steepest = max(steepest, abs(curve[(j + 1) % N_PHASES] - curve[j]))
        unlike = 0.0
        for h in range(n_harmonics):
            place = (j * (h + 1)) % N_PHASES
            # The imaginary part of the turned amplitude c - i s.
            part = c[h] * SINE[place] - s[h] * COSINE[place]
            unlike += part * part
        least_odd = min(least_odd, unlike)
    row[0] = span
    row[11] = math.sqrt(even / odd)
    row[12] = faint / N_PHASES
    row[13] = least_odd / (odd + even)
    row[14] = ((curve.argmin() - curve.argmax()) % N_PHASES) / N_PHASES
    row[15] = steepest * N_PHASES / span
    ratio: float = row[11]
    return ratio


@njit(types.void(FLOATS, FLOATS, ROW), nogil=True, cache=True, error_model="numpy")
def describe_binary(curve: NDArray[np.float64], room: NDArray[np.float64], row: NDArray[np.float64]) -> None:
    """Write the numbers from the depth to the top; `room` is (2 N_PHASES,)."""
    quarter = N_PHASES // 4
    start = curve.argmax()
    lowest = curve.min()
    span = curve[start] - lowest
    relative, folded = room[:N_PHASES], room[N_PHASES : 2 * N_PHASES]
    for j in range(N_PHASES):
        relative[j] = (curve[(start + j) % N_PHASES] - lowest) / span
    bright = np.sort(relative)[: N_PHASES // 8].mean()
    for j in range(N_PHASES):
        folded[j] = 0.5 * (relative[j] + relative[(N_PHASES - j) % N_PHASES])
    second = quarter
    for j in range(quarter, 3 * quarter + 1):
        if relative[j] > relative[second]:
            second = j
    row[0] = (relative[0] - bright) * span
    row[1] = (relative[second] - bright) / (relative[0] - bright)
    row[2] = abs(second / N_PHASES - 0.5)
    row[3] = abs(relative[:second].min() - relative[second:].min())
    for k in range(N_DIPS):
        row[4 + k] = folded[k * N_PHASES // 24]
    half_way = 0.5 * (folded[0] + bright)
    width = 0
    while width < quarter and folded[width] > half_way:
        width += 1
    faint, dim, top = 0, 0, 0
    for j in range(N_PHASES):
        faint += relative[j] > 0.5
        dim += relative[j] < 0.2
        top += relative[j] < 0.1
    row[4 + N_DIPS] = width / N_PHASES
    row[5 + N_DIPS] = faint / N_PHASES
    row[6 + N_DIPS] = dim / N_PHASES
    row[7 + N_DIPS] = top / N_PHASES


@njit(types.void(FLOATS, ROW), nogil=True, cache=True, error_model="numpy")
def describe_phases(curve: NDArray[np.float64], row: NDArray[np.float64]) -> None:
    """Write the curve at `N_SHAPE` phases from the brightest, 0 to 1."""
    start = curve.argmin()
    lowest, span = curve[start], curve.max() - curve[start]
    for k in range(N_SHAPE):
        row[k] = (curve[(start + k * N_PHASES // N_SHAPE) % N_PHASES] - lowest) / span
