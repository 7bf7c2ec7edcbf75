"""Normal equations of a periodic curve at one frequency, from trigonometric sums over the points of a series.

Products of harmonics are harmonics, so the sums at h = 1 to 2 H give all of them: the cost is that of H, not of H
squared, multiplications a point. May import `best.series`.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.kernels.best.series import SERIES, Series

__all__ = ["fill_normal", "fill_residuals"]

LOOP = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract", "reassoc"}}


@njit("f8(f8[::1], f8[::1])", **LOOP)
def _dot(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Return the scalar product."""
    total = 0.0
    for i in range(left.size):
        total += left[i] * right[i]
    return total


@njit("void(f8[::1], f8[::1], f8[::1], f8[::1])", **LOOP)
def _turn(
    cosine: NDArray[np.float64],
    sine: NDArray[np.float64],
    first_cosine: NDArray[np.float64],
    first_sine: NDArray[np.float64],
) -> None:
    """Go from one harmonic to the next."""
    for i in range(cosine.size):
        turned = cosine[i] * first_cosine[i] - sine[i] * first_sine[i]
        sine[i] = cosine[i] * first_sine[i] + sine[i] * first_cosine[i]
        cosine[i] = turned


@njit("void(f8[::1], f8, f8[:, ::1])", nogil=True, cache=True)
def _start(time: NDArray[np.float64], frequency: float, work: NDArray[np.float64]) -> None:
    """Write cosine and sine of the first harmonic, twice."""
    for i in range(time.size):
        cycles = frequency * time[i]
        angle = 2.0 * np.pi * (cycles - np.floor(cycles))
        work[0, i] = work[2, i] = np.cos(angle)
        work[1, i] = work[3, i] = np.sin(angle)


@njit(types.void(SERIES, types.float64, types.float64[:, ::1], types.float64[::1]), nogil=True, cache=True)
def fill_normal(series: Series, frequency: float, matrix: NDArray[np.float64], right: NDArray[np.float64]) -> None:
    """Write the lower triangle of the normal equations of the centred harmonics, and their right side.

    Parameters
    ----------
    series
        Points.
    frequency
        Of the first harmonic [1/d].
    matrix, right
        Float64 (2 H, 2 H) and (2 H,): cosine and sine, harmonic by harmonic.
    """
    n_harmonics = right.size // 2
    sums = np.empty((2 * n_harmonics + 1, 2))
    work = np.empty((4, series.time.size))
    weighted = series.weight * series.value
    _start(series.time, frequency, work)
    whole = series.weight.sum()
    sums[0, 0], sums[0, 1] = whole, 0.0
    for h in range(1, 2 * n_harmonics + 1):
        if h <= n_harmonics:
            right[2 * h - 2] = series.share * _dot(weighted, work[0])
            right[2 * h - 1] = series.share * _dot(weighted, work[1])
        sums[h, 0] = _dot(series.weight, work[0])
        sums[h, 1] = _dot(series.weight, work[1])
        _turn(work[0], work[1], work[2], work[3])
    for a in range(1, n_harmonics + 1):
        for b in range(1, a + 1):
            less, more = sums[a - b], sums[a + b]
            i, j = 2 * a - 2, 2 * b - 2
            matrix[i, j] = 0.5 * (less[0] + more[0]) - sums[a, 0] * sums[b, 0] / whole
            matrix[i, j + 1] = 0.5 * (more[1] - less[1]) - sums[a, 0] * sums[b, 1] / whole
            matrix[i + 1, j] = 0.5 * (more[1] + less[1]) - sums[a, 1] * sums[b, 0] / whole
            matrix[i + 1, j + 1] = 0.5 * (less[0] - more[0]) - sums[a, 1] * sums[b, 1] / whole
    matrix *= series.share


@njit(types.void(SERIES, types.float64, types.float64[::1], types.float64[::1]), nogil=True, cache=True)
def fill_residuals(series: Series, frequency: float, amplitude: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write the values less a curve of given amplitudes (2 H,), about their weighted mean, (n_obs,)."""
    work = np.empty((4, series.time.size))
    _start(series.time, frequency, work)
    out[:] = series.value
    for h in range(amplitude.size // 2):
        for i in range(out.size):
            out[i] -= amplitude[2 * h] * work[0, i] + amplitude[2 * h + 1] * work[1, i]
        _turn(work[0], work[1], work[2], work[3])
    out -= _dot(series.weight, out) / series.weight.sum()
