"""Generalised Lomb-Scargle search on a GPU: direct sums in float32 at float64-exact phases; see `gpu/source/harmonics.cu`.

Where the phases are so bunched together that float32 sums do not carry the power, it is computed again in float64; the
error of the power stays below 1e-5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.gpu.chunk import Chunk
from scope_ml.kernels.gpu.columns import Columns, Variant
from scope_ml.kernels.gpu.device import Program
from scope_ml.kernels.gpu.fits import harmonic_programs
from scope_ml.kernels.gpu.flat import Flat
from scope_ml.kernels.gpu.search import search
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.lomb_scargle import false_alarm_probabilities
from scope_ml.kernels.lomb_scargle.cpu import METHOD
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.search import Method

__all__ = ["LombScargle", "run"]


@dataclass(frozen=True)
class LombScargle:
    """The method as the driver of the GPU takes it."""

    method: Method = METHOD

    def pack(self, chunk: Chunk) -> Columns:
        """Return weights and weighted magnitudes."""
        return chunk.fits

    def programs(self, variant: Variant) -> tuple[Program, ...]:
        """Return the kernels of a fit of one sinusoid."""
        return harmonic_programs(variant, n_harmonics=1, ratio=False)

    def false_alarms(
        self, statistic: NDArray[np.float64], chunk: Chunk, flat: Flat, width: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the probabilities of all peaks of light curves of one band."""
        weight = chunk.fits.arrays[2][:, 0]
        centred = flat.time - flat.spread(flat.sum(weight * flat.time))
        spread = flat.sum(weight * centred**2)
        return false_alarm_probabilities(statistic, flat.n_obs[:, None], spread[:, None], width[:, None])


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see `kernels.gpu.search`."""
    return search(LombScargle(), batch, grid, options)
