"""Analysis of variance of phase bins on a GPU: integer sums, exact in any order; see `gpu/source/variance.cu`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.analysis_of_variance import LEAST_WITHIN, false_alarm_probabilities, method
from scope_ml.kernels.analysis_of_variance.cpu import prepare
from scope_ml.kernels.binned_sums import check_bins
from scope_ml.kernels.gpu.binned import pack_plain, variance_program
from scope_ml.kernels.gpu.chunk import Chunk
from scope_ml.kernels.gpu.columns import Columns, Variant
from scope_ml.kernels.gpu.device import Program
from scope_ml.kernels.gpu.flat import Flat
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
        return pack_plain(chunk, factor=np.maximum(chunk.n_obs - n_bins, 0) / (n_bins - 1), least=LEAST_WITHIN)

    def programs(self, variant: Variant) -> tuple[Program, ...]:
        """Return the kernel."""
        return (variance_program(variant, self.options.n_phase_bins, dispersion=False),)

    def false_alarms(
        self, statistic: NDArray[np.float64], chunk: Chunk, flat: Flat, width: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the probabilities of all peaks of light curves of one band."""
        n_independent = np.maximum(1.0, width * flat.time[flat.start + flat.n_obs - 1])
        n_bins = self.options.n_phase_bins
        return false_alarm_probabilities(statistic, flat.n_obs[:, None], n_independent[:, None], n_bins=n_bins)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see `kernels.gpu.search`."""
    check_bins("n_phase_bins", options.n_phase_bins)
    return search(AnalysisOfVariance(options), batch, grid, options)
