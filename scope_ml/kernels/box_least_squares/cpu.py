"""Box least squares on the CPU: bins as in `binned_sums.weighted`, boxes as differences of integer sums.

The sums of the bins before each are kept as integers in units of 2^-29 of the light curve's own, for `GROUP`
frequencies side by side: their differences are exact, and one box costs 11 vector instructions for 8 frequencies. The
ratio is taken in float32, good to 3e-7 of the statistic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.bands import normalise
from scope_ml.kernels.binned_sums import check_bins
from scope_ml.kernels.binned_sums.weighted import GROUP, room_for_bins, sum_group
from scope_ml.kernels.box_least_squares import box_lengths, method
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.search import search_batch

__all__ = ["METHOD", "BoxLeastSquares", "prepare", "run"]

#: The whole weight as an integer, and the sum of absolute weighted magnitudes: twice it fits into 32 bits.
WHOLE = float(1 << 29)
#: Least product of the weights inside and outside of a box: half that of one unit inside. Without weight there is no
#: signal either, up to the rounding of a unit.
LEAST_SPLIT = np.float32(1 << 28)


@njit("void(float64[::1], int64, int32[:, :, ::1])", nogil=True, cache=True, boundscheck=False)
def _accumulate(rows: NDArray[np.float64], n_bins: int, before: NDArray[np.int32]) -> None:
    """Write the sums of the bins before each, over two cycles, as ``before[weight or signal, bin, frequency]``."""
    for k in range(GROUP):
        for which in range(2):
            running = 0.0
            for b in range(n_bins):
                before[which, b, k] = np.int32(np.rint(running * WHOLE))
                running += rows[2 * (k * n_bins + b) + which]
            whole = np.int32(np.rint(running * WHOLE))
            for b in range(n_bins):
                before[which, n_bins + b, k] = np.int32(before[which, b, k] + whole)


@njit(
    "void(int32[:, :, ::1], int64, int64, int64, float32[::1])",
    nogil=True,
    cache=True,
    boundscheck=False,
    error_model="numpy",
    # Nothing here is NaN: a maximum is then one instruction and no branch.
    fastmath={"nnan", "nsz"},
)
def _best_box(before: NDArray[np.int32], n_bins: int, shortest: int, longest: int, best: NDArray[np.float32]) -> None:
    """Write the largest ``s^2 / (r (whole - r))`` of all boxes, for `GROUP` frequencies."""
    best[:] = 0.0
    for start in range(n_bins):
        for stop in range(start + shortest, start + longest + 1):
            for k in range(GROUP):
                inside = np.int32(before[0, stop, k] - before[0, start, k])
                outside = np.int32(before[0, n_bins, k] - inside)
                signal = np.float32(np.int32(before[1, stop, k] - before[1, start, k]))
                split = np.float32(inside) * np.float32(outside)
                best[k] = max(best[k], signal * signal / max(split, LEAST_SPLIT))


@njit(
    "void(float64[:, ::1], UniTuple(float64, 2), UniTuple(int64, 3), float64, uint8[:, ::1], float64[:])",
    nogil=True,
    cache=True,
    boundscheck=False,
)
def _evaluate(
    points: NDArray[np.float64],
    grid: tuple[float, float],
    boxes: tuple[int, int, int],
    unit: float,
    bins: NDArray[np.uint8],
    out: NDArray[np.float64],
) -> None:
    """Fill `out`, a group of frequencies at a time; `boxes` is the number of bins, shortest and longest box."""
    n_bins, shortest, longest = boxes
    rows = np.empty(GROUP * n_bins * 2)
    before = np.empty((2, 2 * n_bins, GROUP), dtype=np.int32)
    best = np.empty(GROUP, dtype=np.float32)
    for place in range(0, out.size, GROUP):
        sum_group(points, grid, place, n_bins, False, bins, rows)
        _accumulate(rows, n_bins, before)
        _best_box(before, n_bins, shortest, longest, best)
        for k in range(min(GROUP, out.size - place)):
            out[place + k] = min(unit * best[k], 1.0)


@dataclass(frozen=True, kw_only=True)
class BoxLeastSquares:
    """p of one light curve.

    Attributes
    ----------
    points
        Time from the first epoch [d], weight, and weight times magnitude, float64 (3, n_obs); weights and absolute
        products sum to one.
    boxes
        Number of phase bins, shortest and longest box in bins.
    unit
        What the ratio of those sums is multiplied with: one over the variance in the same units.
    """

    points: NDArray[np.float64]
    boxes: tuple[int, int, int]
    unit: float

    def evaluate(self, frequency: float, step: float, out: NDArray[np.float64]) -> None:
        """Write p at ``frequency + k * step`` [1/d] into ``out[k]``, float64 (n,)."""
        bins = room_for_bins(self.points.shape[1], out.size)
        _evaluate(self.points, (frequency, step), self.boxes, self.unit, bins, out)


def prepare(curve: Curve, options: SearchOptions) -> BoxLeastSquares:
    """Make the search ready for one light curve.

    Raises
    ------
    ConfigError
        If the number of phase bins or the lengths of the boxes cannot be used.
    """
    n_bins = check_bins("n_box_bins", options.n_box_bins)
    scaled = normalise(curve)
    weight = scaled.mag_err**-2.0
    weight /= weight.sum()
    mag = scaled.mag - np.sum(weight * scaled.mag)
    product = weight * mag
    scale = float(np.abs(product).sum())
    variance = float(np.sum(product * mag))
    return BoxLeastSquares(
        points=np.stack((curve.time, weight, product / scale if scale > 0 else product)),
        boxes=(n_bins, *box_lengths(options)),
        unit=scale * scale / variance if variance > 0 else 0.0,
    )


#: What the driver needs.
METHOD = method(prepare)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see `search.search_batch`."""
    return search_batch(METHOD, batch, grid, options)
