"""Phase dispersion minimisation on the CPU: the sums of the analysis of variance with another last step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.bands import normalise
from scope_ml.kernels.binned_sums import check_bins
from scope_ml.kernels.binned_sums.plain import PackedMagnitudes, between_bins, pack
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.phase_dispersion import method
from scope_ml.kernels.search import search_batch

__all__ = ["METHOD", "PhaseDispersion", "prepare", "run"]


@njit("void(float64[:, ::1], float64, int64, float64[:])", nogil=True, cache=True, error_model="numpy")
def _dispersion(sums: NDArray[np.float64], total: float, n_obs: int, out: NDArray[np.float64]) -> None:
    """Write theta; 1 where no degree of freedom is left."""
    for k in range(out.size):
        freedom = n_obs - sums[1, k]
        within = max(total - sums[0, k], 0.0)
        out[k] = within / freedom * (n_obs - 1) / total if total > 0.0 and freedom > 0.0 else 1.0


@dataclass(frozen=True, kw_only=True)
class PhaseDispersion:
    """theta of one light curve.

    Attributes
    ----------
    time
        Times from the first epoch [d], float64 (n_obs,).
    packed
        Magnitudes in the same order.
    n_bins
        Bins of a cycle.
    """

    time: NDArray[np.float64]
    packed: PackedMagnitudes
    n_bins: int

    def evaluate(self, frequency: float, step: float, out: NDArray[np.float64]) -> None:
        """Write theta at ``frequency + k * step`` [1/d] into ``out[k]``, float64 (n,)."""
        sums = between_bins(self.time, self.packed, frequency, step, self.n_bins, out.size)
        _dispersion(sums, self.packed.total, self.time.size, out)


def prepare(curve: Curve, options: SearchOptions) -> PhaseDispersion:
    """Make the search ready for one light curve.

    Raises
    ------
    ConfigError
        If the number of phase bins cannot be used.
    """
    mag = normalise(curve).mag if curve.n_bands > 1 else curve.mag
    n_bins = check_bins("n_phase_bins", options.n_phase_bins)
    return PhaseDispersion(time=curve.time, packed=pack(mag), n_bins=n_bins)


#: What the driver needs, for the default number of bins.
METHOD = method(prepare)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see `search.search_batch`."""
    return search_batch(method(prepare, options), batch, grid, options)
