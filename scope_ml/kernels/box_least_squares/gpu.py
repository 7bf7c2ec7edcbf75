"""Box least squares on a GPU: float32 sums by phase bin, all boxes tried; see `gpu/source/weighted.cu`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.binned_sums import check_bins
from scope_ml.kernels.box_least_squares import box_lengths
from scope_ml.kernels.box_least_squares.cpu import METHOD
from scope_ml.kernels.gpu.binned import pack_weighted, weighted_program
from scope_ml.kernels.gpu.chunk import Chunk
from scope_ml.kernels.gpu.columns import Columns, Variant, stack
from scope_ml.kernels.gpu.device import Program
from scope_ml.kernels.gpu.search import search
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.search import Method

__all__ = ["BoxLeastSquares", "run"]


@dataclass(frozen=True)
class BoxLeastSquares:
    """The method as the driver of the GPU takes it.

    Attributes
    ----------
    options
        Number of bins and lengths of boxes.
    """

    options: SearchOptions
    method: Method = METHOD

    def pack(self, chunk: Chunk) -> Columns:
        """Return weights and weighted magnitudes, and the lengths of boxes [bins]."""
        lengths = box_lengths(self.options)
        return stack([replace(pack_weighted(curve)[0], whole=lengths) for curve in chunk.curves])

    def programs(self, variant: Variant) -> tuple[Program, ...]:
        """Return the kernel, the same for all light curves."""
        return (weighted_program(self.options.n_box_bins, boxes=True),)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see `kernels.gpu.search`."""
    check_bins("n_box_bins", options.n_box_bins)
    return search(BoxLeastSquares(options), batch, grid, options)
