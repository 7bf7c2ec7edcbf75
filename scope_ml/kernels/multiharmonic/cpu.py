"""Multi-harmonic search on the CPU: normal equations from `trig_sums`, solved for many frequencies side by side.

A few frequencies, and those of a grid at which the normal equations are so near singular or the fit so near perfect
that the error of the sums would show, are fitted point by point (`exact`). The error of the power stays below 1e-6, and is 1e-8 as a rule.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.multiharmonic import (
    LARGEST_POWER,
    check_harmonics,
    degrees_of_freedom,
    false_alarm_probability,
)
from scope_ml.kernels.multiharmonic.exact import fill_few, power_at, workspace_rows
from scope_ml.kernels.multiharmonic.normal import LANES, fill_normal, solve
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.search import Method, Statistic, search_batch
from scope_ml.kernels.trig_sums.cpu import BLOCK, WINDOW, HarmonicSums, Window, fill_sums
from scope_ml.kernels.trig_sums.points import POINTS, Points, lower_strengths, make_points

__all__ = ["METHOD", "Power", "Ratio", "fit_power", "make_method", "prepare", "run"]

#: Fewer frequencies than this are fitted point by point.
FEW_FREQUENCIES = 64

#: Square norm of a term less what the terms before it describe, below which the error of the sums may show.
NEAR_SINGULAR = 1e-3

#: Power above which the error of the sums may show in theta, whose denominator is what the fit leaves.
NEAR_PERFECT = 0.99


@njit(types.void(WINDOW, types.float64, types.float64, POINTS, types.int64, types.float64[::1]), nogil=True, cache=True)
def _fill(
    window: Window, frequency: float, step: float, points: Points, n_harmonics: int, out: NDArray[np.float64]
) -> None:
    """Write the power at ``frequency + k * step`` into ``out[k]`` from the sums of a window."""
    ratio = window.offset.shape[1]
    n_terms = 2 * n_harmonics
    sums = np.zeros((window.base.shape[0], 2, BLOCK))
    # The last row is the right side.
    matrix, work = np.empty((n_terms + 1, n_terms, LANES)), np.empty((n_terms, LANES))
    power, least = np.empty(LANES), np.empty(LANES)
    terms = np.empty((workspace_rows(n_harmonics), points.time.size))
    n_cells = (out.size + ratio - 1) // ratio
    for first in range(0, n_cells, BLOCK):
        for phase in range(ratio):
            n = min(BLOCK, (out.size - phase + ratio - 1) // ratio - first)
            fill_sums(window, phase, first, n, sums)
            for begin in range(0, n, LANES):
                fill_normal(sums, begin, n_harmonics, matrix)
                solve(matrix, work, power, least)
                for k in range(min(LANES, n - begin)):
                    at = (first + begin + k) * ratio + phase
                    out[at] = power[k]
                    if not (least[k] >= NEAR_SINGULAR and power[k] <= NEAR_PERFECT):
                        out[at] = power_at(frequency + at * step, points, terms)


@njit("void(f8[::1], f8)", nogil=True, cache=True)
def _to_ratio(values: NDArray[np.float64], factor: float) -> None:
    """Replace the power by theta, ``factor * p / (1 - p)``."""
    for k in range(values.size):
        limited = min(values[k], LARGEST_POWER)
        values[k] = factor * limited / (1.0 - limited)


class Power:
    """Power of the multi-harmonic fit of one light curve."""

    def __init__(self, curve: Curve, n_harmonics: int) -> None:
        """Take the points apart into weights and residuals; bands on one scale."""
        self._n_harmonics = check_harmonics(n_harmonics)
        self._points = make_points(curve)
        self._sums = HarmonicSums(
            self._points.time, lower_strengths(self._points), self._points.weight, self._n_harmonics
        )

    def evaluate(self, frequency: float, step: float, out: NDArray[np.float64]) -> None:
        """Write the power at ``frequency + k * step`` [1/d] into ``out[k]``, float64 (n,)."""
        if out.size < FEW_FREQUENCIES or not step > 0:
            fill_few(frequency + step * np.arange(out.size), self._points, self._n_harmonics, out)
        else:
            window = self._sums.window(frequency, step, out.size)
            _fill(window, frequency, step, self._points, self._n_harmonics, out)


class Ratio:
    """Theta of the multi-harmonic fit of one light curve."""

    def __init__(self, curve: Curve, n_harmonics: int) -> None:
        """Prepare the power, and the degrees of freedom by which theta follows from it."""
        self._n_free = degrees_of_freedom(curve, check_harmonics(n_harmonics))
        self._factor = self._n_free / (2.0 * n_harmonics)
        self._power = Power(curve, n_harmonics)

    def evaluate(self, frequency: float, step: float, out: NDArray[np.float64]) -> None:
        """Write theta at ``frequency + k * step`` [1/d] into ``out[k]``, float64 (n,)."""
        if self._n_free < 1:
            out[:] = 0.0
            return
        self._power.evaluate(frequency, step, out)
        _to_ratio(out, self._factor)


def fit_power(curve: Curve, frequency: NDArray[np.float64], n_harmonics: int) -> NDArray[np.float64]:
    """Return the power (n,) of the fit at any frequencies [1/d], float64 (n,), point by point."""
    trial = np.ascontiguousarray(frequency, dtype=np.float64)
    result = np.empty(trial.size)
    fill_few(trial, make_points(curve), check_harmonics(n_harmonics), result)
    return result


def prepare(curve: Curve, options: SearchOptions) -> Ratio:
    """Return theta of a light curve, ready to be evaluated."""
    return Ratio(curve, options.n_harmonics)


def make_method(prepared: Callable[[Curve, SearchOptions], Statistic], n_harmonics: int) -> Method:
    """Return what the driver must know of the method with so many harmonics."""
    return Method(
        prepare=prepared,
        # One more than a fit of a single band has parameters.
        min_n_obs=2 * n_harmonics + 2,
        n_harmonics=n_harmonics,
        false_alarm=lambda ratio, curve, width: false_alarm_probability(ratio, curve, width, n_harmonics),
    )


#: With the default number of harmonics.
METHOD = make_method(prepare, SearchOptions().n_harmonics)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see the package for the statistic, `search` for peaks."""
    return search_batch(make_method(prepare, check_harmonics(options.n_harmonics)), batch, grid, options)
