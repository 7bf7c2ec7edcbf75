"""Generalised Lomb-Scargle search on the CPU in float64: trigonometric sums from `trig_sums`, one thread a light curve.

A few frequencies, and those of a grid at which the fit is so near singular that the error of the sums would show, are
summed over the points one by one. The error of the power stays below 5e-8, and is
1e-9 from 30 points on.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.lomb_scargle import MIN_N_OBS, SINGULAR, false_alarm_probability
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.search import Method, search_batch
from scope_ml.kernels.trig_sums.cpu import BLOCK, WINDOW, HarmonicSums, Window, fill_sums
from scope_ml.kernels.trig_sums.phasor import fill_phasors, phases
from scope_ml.kernels.trig_sums.points import POINTS, Points, lower_strengths, make_points

__all__ = ["METHOD", "Power", "prepare", "run"]

#: Fewer frequencies than this are summed over the points one by one.
FEW_FREQUENCIES = 64

#: Determinant of the normalised 2 x 2 normal matrix, 0.25 for well spread phases, below which the error of the sums may
#: show in the power.
NEAR_SINGULAR = 1e-3


#: What the compiler may do to sums over points: change their order, never ignore NaN.
SUMMED = {"contract", "reassoc"}


@njit(types.float64(types.float64, POINTS, types.float64[:, ::1]), nogil=True, cache=True, fastmath=SUMMED)
def _power_at(frequency: float, points: Points, work: NDArray[np.float64]) -> float:
    """Return the power at one frequency from two passes over the points, which loses nothing to cancellation."""
    phase, cosine, sine = work[0], work[1], work[2]
    phases(frequency, points.time, phase)
    fill_phasors(phase, cosine, sine)
    yc = ys = cc = ss = cs = 0.0
    for band in range(points.bounds.size - 1):
        begin, end = points.bounds[band], points.bounds[band + 1]
        total = mean_cosine = mean_sine = 0.0
        for i in range(begin, end):
            total += points.weight[i]
            mean_cosine += points.weight[i] * cosine[i]
            mean_sine += points.weight[i] * sine[i]
        mean_cosine /= total
        mean_sine /= total
        for i in range(begin, end):
            c, s, w = cosine[i] - mean_cosine, sine[i] - mean_sine, points.weight[i]
            yc += points.weighted[i] * c
            ys += points.weighted[i] * s
            cc += w * c * c
            ss += w * s * s
            cs += w * c * s
    determinant = cc * ss - cs * cs
    if determinant < SINGULAR:
        return 0.0
    power = (ss * yc * yc + cc * ys * ys - 2.0 * cs * yc * ys) / determinant
    return min(max(power, 0.0), 1.0)


@njit("i8(f8[:, :, ::1], i8, f8[:, ::1])", nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _power_block(sums: NDArray[np.float64], n: int, work: NDArray[np.float64]) -> int:
    """Write power and determinant into `work` (4, >= n); return at how many the determinant is not near zero.

    The sums (n_sums, 2, >= n) are Y(f), W(f) of each band over the root of its weight, and as the last one W(2f).
    """
    value, singular, cc, ss = work[0], work[1], work[2], work[3]
    y_re, y_im = sums[0, 0], sums[0, 1]
    v_re, v_im = sums[-1, 0], sums[-1, 1]
    n_bands = sums.shape[0] - 2 if sums.shape[0] == 3 else sums.shape[0] - 3
    c_first, s_first = sums[1, 0], sums[1, 1]
    for k in range(n):
        cc[k] = (0.5 + 0.5 * v_re[k]) - c_first[k] * c_first[k]
        ss[k] = (0.5 - 0.5 * v_re[k]) - s_first[k] * s_first[k]
        singular[k] = 0.5 * v_im[k] - c_first[k] * s_first[k]
    for band in range(1, n_bands):
        c_band, s_band = sums[1 + band, 0], sums[1 + band, 1]
        for k in range(n):
            cc[k] -= c_band[k] * c_band[k]
            ss[k] -= s_band[k] * s_band[k]
            singular[k] -= c_band[k] * s_band[k]
    n_sound = 0
    for k in range(n):
        yc, ys, cs = y_re[k], y_im[k], singular[k]
        determinant = cc[k] * ss[k] - cs * cs
        power = (ss[k] * yc * yc + cc[k] * ys * ys - 2.0 * cs * yc * ys) / determinant
        power = power if power > 0.0 else 0.0
        value[k] = power if power < 1.0 else 1.0
        singular[k] = determinant
        n_sound += determinant >= NEAR_SINGULAR
    return n_sound


@njit(types.void(WINDOW, types.float64, types.float64, POINTS, types.float64[::1]), nogil=True, cache=True)
def _fill(window: Window, frequency: float, step: float, points: Points, out: NDArray[np.float64]) -> None:
    """Write the power at ``frequency + k * step`` into ``out[k]`` from the sums of a window."""
    ratio = window.offset.shape[1]
    sums = np.empty((window.base.shape[0], 2, BLOCK))
    power = np.empty((4, BLOCK))
    work = np.empty((3, points.time.size))
    n_cells = (out.size + ratio - 1) // ratio
    for first in range(0, n_cells, BLOCK):
        for phase in range(ratio):
            n = min(BLOCK, (out.size - phase + ratio - 1) // ratio - first)
            fill_sums(window, phase, first, n, sums)
            n_sound = _power_block(sums, n, power)
            begin = first * ratio + phase
            for k in range(n):
                out[begin + k * ratio] = power[0, k]
            if n_sound < n:
                for k in range(n):
                    if not power[1, k] >= NEAR_SINGULAR:
                        at = begin + k * ratio
                        out[at] = _power_at(frequency + at * step, points, work)


@njit(types.void(types.float64, types.float64, POINTS, types.float64[::1]), nogil=True, cache=True)
def _fill_few(frequency: float, step: float, points: Points, out: NDArray[np.float64]) -> None:
    """Write the power at ``frequency + k * step`` into ``out[k]`` point by point."""
    work = np.empty((3, points.time.size))
    for k in range(out.size):
        out[k] = _power_at(frequency + k * step, points, work)


class Power:
    """Power of one light curve."""

    def __init__(self, curve: Curve) -> None:
        """Take the points apart into weights and residuals; bands on one scale."""
        self._points = make_points(curve)
        strengths = lower_strengths(self._points)
        self._sums = HarmonicSums(self._points.time, strengths, self._points.weight, 1)

    def evaluate(self, frequency: float, step: float, out: NDArray[np.float64]) -> None:
        """Write the power at ``frequency + k * step`` [1/d] into ``out[k]``, float64 (n,)."""
        if out.size < FEW_FREQUENCIES or not step > 0:
            _fill_few(frequency, step, self._points, out)
        else:
            _fill(self._sums.window(frequency, step, out.size), frequency, step, self._points, out)


def prepare(curve: Curve, options: SearchOptions) -> Power:
    """Return the power of a light curve, ready to be evaluated."""
    return Power(curve)


METHOD = Method(prepare=prepare, min_n_obs=MIN_N_OBS, n_harmonics=1, false_alarm=false_alarm_probability)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see the package for the statistic, `search` for peaks."""
    return search_batch(METHOD, batch, grid, options)
