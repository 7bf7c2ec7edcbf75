"""Phase-folding weighted statistic on the CPU; see `binned_sums.weighted`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.bands import normalise
from scope_ml.kernels.binned_sums import check_bins
from scope_ml.kernels.binned_sums.pairs import can_join
from scope_ml.kernels.binned_sums.weighted import GROUP, room_for_bins, sum_group
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.phase_weighted import method
from scope_ml.kernels.search import search_batch

__all__ = ["METHOD", "PhaseWeighted", "prepare", "run"]

#: Points from which on it pays to take frequencies in pairs and part their sums afterwards.
PAIRED_FROM = 256


@njit(
    "void(float64[:, ::1], UniTuple(float64, 2), int64, boolean, uint8[:, ::1], float64[:])",
    nogil=True,
    cache=True,
    boundscheck=False,
    error_model="numpy",
    # Without it the sum over bins would be taken one after the other; nothing here is infinite or NaN.
    fastmath={"reassoc"},
)
def _evaluate(
    points: NDArray[np.float64],
    grid: tuple[float, float],
    n_bins: int,
    is_paired: bool,
    bins: NDArray[np.uint8],
    out: NDArray[np.float64],
) -> None:
    """Fill `out`, a group of frequencies at a time."""
    rows = np.empty(GROUP * n_bins * 2)
    for place in range(0, out.size, GROUP):
        sum_group(points, grid, place, n_bins, is_paired, bins, rows)
        for k in range(min(GROUP, out.size - place)):
            signal = 0.0
            for cell in range(k * n_bins, (k + 1) * n_bins):
                weight, product = rows[2 * cell], rows[2 * cell + 1]
                signal += product * product / (weight if weight > 0.0 else 1.0)
            out[place + k] = 0.5 * signal


@dataclass(frozen=True, kw_only=True)
class PhaseWeighted:
    """S of one light curve.

    Attributes
    ----------
    points
        Time from the first epoch [d], weight, and weight times magnitude, float64 (3, n_obs).
    n_bins
        Bins of a cycle.
    """

    points: NDArray[np.float64]
    n_bins: int

    def evaluate(self, frequency: float, step: float, out: NDArray[np.float64]) -> None:
        """Write S at ``frequency + k * step`` [1/d] into ``out[k]``, float64 (n,)."""
        n_obs = self.points.shape[1]
        bins = room_for_bins(n_obs, out.size)
        is_paired = n_obs >= PAIRED_FROM and can_join(step * float(self.points[0, -1]), self.n_bins)
        _evaluate(self.points, (frequency, step), self.n_bins, is_paired, bins, out)


def prepare(curve: Curve, options: SearchOptions) -> PhaseWeighted:
    """Make the search ready for one light curve.

    Raises
    ------
    ConfigError
        If the number of phase bins cannot be used.
    """
    n_bins = check_bins("n_phase_bins", options.n_phase_bins)
    scaled = normalise(curve)
    weight = scaled.mag_err**-2.0
    return PhaseWeighted(points=np.stack((curve.time, weight, weight * scaled.mag)), n_bins=n_bins)


#: What the driver needs, for the default number of bins.
METHOD = method(prepare)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see `search.search_batch`."""
    return search_batch(method(prepare, options), batch, grid, options)
