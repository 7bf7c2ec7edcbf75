"""The frequency of a peak between the points of the grid.

Binned statistics are jagged: a point that crosses the edge of a bin moves their maximum by several grid steps, whatever
the star does. So every peak is refined by the same smooth measure, the weighted least-squares fit of a few harmonics
around it, whose maximum is as good as the data allow. May import `curve` and `bands`.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scope_ml.kernels.bands import normalise
from scope_ml.kernels.curve import Curve

__all__ = ["fit_power", "refine_frequency"]

#: Half width of the range searched around a peak, and its first spacing, in units of ``1 / baseline``: a peak of h
#: harmonics is about 1/h wide, so the spacing finds its top and the parabola the rest.
REACH = 0.25
FIRST_SPACING = 0.05
#: Spacing of the last three points, through which the parabola goes.
LAST_SPACING = 0.005
#: Points that each harmonic must have.
POINTS_PER_HARMONIC = 4


def refine_frequency(
    curve: Curve, frequency: NDArray[np.float64], step: float, n_harmonics: int, bounds: tuple[float, float]
) -> NDArray[np.float64]:
    """Return the frequencies [1/d] of peaks, each moved to the best fit within a quarter of ``1 / baseline``.

    Parameters
    ----------
    curve
        Light curve, with several bands or one.
    frequency
        Peaks on the grid [1/d], float64 (n,).
    step
        Spacing of the grid [1/d]; a peak is searched at least this far.
    n_harmonics
        Sinusoids to fit; fewer where there are not enough points.
    bounds
        First and last frequency [1/d] of the grid, which no peak leaves.
    """
    baseline = float(curve.time[-1])
    order = max(1, min(n_harmonics, curve.time.size // POINTS_PER_HARMONIC))
    scaled = normalise(curve)
    offsets = np.arange(-round(REACH / FIRST_SPACING), round(REACH / FIRST_SPACING) + 1) * FIRST_SPACING / baseline
    offsets *= max(1.0, step * baseline / REACH)
    refined = frequency.copy()
    for i, peak in enumerate(frequency):
        trial = peak + offsets
        power = fit_power(scaled, trial, order)
        top = int(np.argmax(power))
        centre = trial[top]
        if 0 < top < trial.size - 1:
            centre += _vertex(power[top - 1 : top + 2]) * (trial[top + 1] - trial[top])
            last = LAST_SPACING / baseline
            power = fit_power(scaled, centre + np.array([-last, 0.0, last]), order)
            centre += np.clip(_vertex(power), -1.0, 1.0) * last
        refined[i] = centre
    return np.clip(refined, *bounds)


def _vertex(power: NDArray[np.float64]) -> float:
    """Return the place of the vertex of the parabola through three values, in steps from the middle one."""
    curvature = power[0] - 2.0 * power[1] + power[2]
    return float(0.5 * (power[0] - power[2]) / curvature) if curvature < 0 else 0.0


@njit(nogil=True, cache=True)
def _sums(
    time: NDArray[np.float64],
    weight: NDArray[np.float64],
    residual: NDArray[np.float64],
    band: NDArray[np.int64],
    frequency: float,
    window: NDArray[np.complex128],
    signal: NDArray[np.complex128],
) -> None:
    """Write ``sum w e^(i h phase)`` per band into window[band, h] and ``sum w r e^(i h phase)`` into signal[h]."""
    window[:] = 0.0
    signal[:] = 0.0
    for i in range(time.size):
        cycles = frequency * time[i]
        phase = 2.0 * np.pi * (cycles - np.floor(cycles))
        rotation = complex(np.cos(phase), np.sin(phase))
        turned = complex(weight[i], 0.0)
        row = band[i]
        for h in range(window.shape[1]):
            window[row, h] += turned
            if h < signal.size:
                signal[h] += turned * residual[i]
            turned *= rotation


@njit(nogil=True, cache=True, error_model="numpy")
def _explained(window: NDArray[np.complex128], signal: NDArray[np.complex128], n_harmonics: int) -> float:
    """Return the weighted sum of squares that the harmonics explain beside the constants of the bands.

    Normal equations by Cholesky; a column that the ones before it already explain (all epochs at the same phase) is
    left out.
    """
    size = 2 * n_harmonics
    factor = np.zeros((size, size))
    solved = np.zeros(size)
    explained = 0.0
    for a in range(size):
        j, sine_a = a // 2 + 1, a % 2 == 1
        for b in range(a + 1):
            h, sine_b = b // 2 + 1, b % 2 == 1
            value = 0.0
            for row in range(window.shape[0]):
                value += _product(window[row], j, sine_a, h, sine_b)
            for c in range(b):
                value -= factor[a, c] * factor[b, c]
            if b < a:
                factor[a, b] = value / factor[b, b] if factor[b, b] > 0 else 0.0
            else:
                factor[a, a] = np.sqrt(value) if value > 1e-10 else 0.0
        right = signal[j].imag if sine_a else signal[j].real
        for c in range(a):
            right -= factor[a, c] * solved[c]
        solved[a] = right / factor[a, a] if factor[a, a] > 0 else 0.0
        explained += solved[a] ** 2
    return explained


@njit(nogil=True, cache=True, error_model="numpy")
def _product(window: NDArray[np.complex128], j: int, sine_j: bool, h: int, sine_h: bool) -> float:
    """Return the weighted product of two harmonics, j >= h, with a band's constant projected out of both."""
    added, apart = window[j + h], window[j - h]
    first = window[j].imag if sine_j else window[j].real
    second = window[h].imag if sine_h else window[h].real
    if sine_j and sine_h:
        raw = 0.5 * (apart.real - added.real)
    elif sine_j:
        raw = 0.5 * (added.imag + apart.imag)
    elif sine_h:
        raw = 0.5 * (added.imag - apart.imag)
    else:
        raw = 0.5 * (added.real + apart.real)
    return raw - first * second / window[0].real if window[0].real > 0 else 0.0


@njit(
    "void(float64[::1], float64[::1], float64[::1], int64[::1], int64, float64[::1], int64, float64[::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _fit_power(
    time: NDArray[np.float64],
    weight: NDArray[np.float64],
    mag: NDArray[np.float64],
    band: NDArray[np.int64],
    n_bands: int,
    frequency: NDArray[np.float64],
    n_harmonics: int,
    power: NDArray[np.float64],
) -> None:
    """Fill `power`; weights sum to one."""
    band_weight = np.zeros(n_bands)
    band_mean = np.zeros(n_bands)
    for i in range(time.size):
        band_weight[band[i]] += weight[i]
        band_mean[band[i]] += weight[i] * mag[i]
    residual = np.empty(time.size)
    variance = 0.0
    for i in range(time.size):
        residual[i] = mag[i] - band_mean[band[i]] / band_weight[band[i]]
        variance += weight[i] * residual[i] ** 2
    window = np.empty((n_bands, 2 * n_harmonics + 1), dtype=np.complex128)
    signal = np.empty(n_harmonics + 1, dtype=np.complex128)
    for k in range(frequency.size):
        _sums(time, weight, residual, band, frequency[k], window, signal)
        explained = _explained(window, signal, n_harmonics)
        power[k] = min(max(explained / variance, 0.0), 1.0) if variance > 0 else 0.0


def fit_power(curve: Curve, frequency: NDArray[np.float64], n_harmonics: int) -> NDArray[np.float64]:
    """Return the share of the weighted variance that a sum of harmonics explains, by direct sums, in [0, 1].

    The model has a constant for each band and `n_harmonics` sinusoids that all bands share; with one harmonic and one
    band it is the Lomb-Scargle power.

    Parameters
    ----------
    curve
        Light curve; see `bands.normalise` for several bands.
    frequency
        Trial frequencies [1/d], float64 (n,), evenly spaced or not.
    n_harmonics
        Sinusoids, 1 to 10.
    """
    weight = curve.mag_err**-2.0
    weight /= weight.sum()
    power = np.empty(frequency.size)
    _fit_power(curve.time, weight, curve.mag, curve.band, curve.n_bands, frequency, n_harmonics, power)
    return power
