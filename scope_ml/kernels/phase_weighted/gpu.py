"""Phase-folding weighted on a GPU: float32 sums by phase bin; see `gpu/source/weighted.cu`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.binned_sums import check_bins
from scope_ml.kernels.gpu.binned import pack_weighted, weighted_program
from scope_ml.kernels.gpu.chunk import Chunk
from scope_ml.kernels.gpu.columns import Columns, Variant, stack
from scope_ml.kernels.gpu.device import Program
from scope_ml.kernels.gpu.search import search
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.phase_weighted import method
from scope_ml.kernels.phase_weighted.cpu import prepare
from scope_ml.kernels.search import Method

__all__ = ["PhaseWeighted", "run"]


@dataclass(frozen=True)
class PhaseWeighted:
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
        """Return weights and weighted magnitudes, and the scale of the signal."""
        packed = [pack_weighted(curve) for curve in chunk.curves]
        return stack([replace(one, real=(half,)) for one, half in packed])

    def programs(self, variant: Variant) -> tuple[Program, ...]:
        """Return the kernel, the same for all light curves."""
        return (weighted_program(self.options.n_phase_bins, boxes=False),)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see `kernels.gpu.search`."""
    check_bins("n_phase_bins", options.n_phase_bins)
    return search(PhaseWeighted(options), batch, grid, options)
