"""Multi-harmonic analysis of variance on a GPU: the least-squares fit of `gpu/source/harmonics.cu`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.gpu.chunk import Chunk
from scope_ml.kernels.gpu.columns import Columns, Variant, numbers
from scope_ml.kernels.gpu.device import Program
from scope_ml.kernels.gpu.fits import harmonic_programs
from scope_ml.kernels.gpu.search import search
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.multiharmonic import LARGEST_POWER, check_harmonics, degrees_of_freedom
from scope_ml.kernels.multiharmonic.cpu import make_method, prepare
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.search import Method

__all__ = ["Multiharmonic", "run"]


@dataclass(frozen=True)
class Multiharmonic:
    """The method as the driver of the GPU takes it.

    Attributes
    ----------
    n_harmonics
        Sinusoids of the fit.
    """

    n_harmonics: int

    @property
    def method(self) -> Method:
        """What the driver of the CPU knows of it."""
        return make_method(prepare, self.n_harmonics)

    def pack(self, chunk: Chunk) -> Columns:
        """Return weights and weighted magnitudes, and what makes theta of the power."""
        free = np.array([degrees_of_freedom(curve, self.n_harmonics) for curve in chunk.curves])
        factor = np.maximum(free, 0) / (2.0 * self.n_harmonics)
        return replace(chunk.fits, real=numbers(free.size, factor, 1.0 - LARGEST_POWER, dtype=np.float64))

    def programs(self, variant: Variant) -> tuple[Program, ...]:
        """Return the kernels of a fit."""
        return harmonic_programs(variant, n_harmonics=self.n_harmonics, ratio=True)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see `kernels.gpu.search`."""
    return search(Multiharmonic(check_harmonics(options.n_harmonics)), batch, grid, options)
