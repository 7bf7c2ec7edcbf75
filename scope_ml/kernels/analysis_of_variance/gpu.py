"""Analysis of variance of phase bins on a GPU: integer sums, exact in any order; see `gpu/source/variance.cu`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.analysis_of_variance import LEAST_WITHIN, method
from scope_ml.kernels.analysis_of_variance.cpu import prepare
from scope_ml.kernels.binned_sums import check_bins
from scope_ml.kernels.gpu.binned import pack_plain, variance_program
from scope_ml.kernels.gpu.chunk import Chunk
from scope_ml.kernels.gpu.columns import Columns, Variant
from scope_ml.kernels.gpu.device import Program
from scope_ml.kernels.gpu.search import search
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.search import Method

__all__ = ["AnalysisOfVariance", "run"]


@dataclass(frozen=True)
class AnalysisOfVariance:
    """The method as the driver of the GPU takes it.

    Attributes
    ----------
    options
        Number of phase bins.
    """

    options: SearchOptions

    @property
    def method(self) -> Method:
        """What the driver of the CPU knows of it."""
        return method(prepare, self.options)

    def pack(self, chunk: Chunk) -> Columns:
        """Return the magnitudes as integers."""
        n_bins = self.options.n_phase_bins
        n_obs = np.array([curve.time.size for curve in chunk.curves])
        return pack_plain(chunk, factor=np.maximum(n_obs - n_bins, 0) / (n_bins - 1), least=LEAST_WITHIN)

    def programs(self, variant: Variant) -> tuple[Program, ...]:
        """Return the kernel."""
        return (variance_program(variant, self.options.n_phase_bins, dispersion=False),)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see `kernels.gpu.search`."""
    check_bins("n_phase_bins", options.n_phase_bins)
    return search(AnalysisOfVariance(options), batch, grid, options)
