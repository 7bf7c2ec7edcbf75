"""Conditional entropy on a GPU: byte counters in shared memory, one magnitude bin at a time; see `gpu/source/entropy.cu`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.conditional_entropy import check_bins, magnitude_bins
from scope_ml.kernels.conditional_entropy.cpu import METHOD
from scope_ml.kernels.gpu.chunk import Chunk
from scope_ml.kernels.gpu.columns import Columns, Variant, numbers
from scope_ml.kernels.gpu.device import Program
from scope_ml.kernels.gpu.flat import Flat
from scope_ml.kernels.gpu.search import search
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.search import Method

__all__ = ["ConditionalEntropy", "run"]

THREADS = 128
#: Frequencies of a thread: bytes of a word.
LANES = 4
#: Bytes of a staged point, and of the table in shared memory.
POINT_BYTES, TABLE_BYTES = 16, 1024
#: Points that a byte and a 16-bit word can count.
BYTE, WORD = 255, 65535
#: Widths of counters [bit].
COUNTERS = (8, 16, 32)
#: Blocks at once on a multiprocessor for the default of 20 phase bins and fewer, by width of counter; 7 measured on an H100.
BLOCKS = {8: 7, 16: 4, 32: 2}
USUAL_BINS = 20


@lru_cache(maxsize=1024)
def _entries(n_obs: int, n_mag_bins: int) -> tuple[NDArray[np.uint32], float]:
    """Return ``c ln c`` for c up to `n_obs` as integers modulo 2^32, and what one unit is in entropy.

    The entropy itself, at most ``ln n_mag_bins``, fits into 31 bits with room for the rounding of all cells.
    """
    scale = 2.0 ** np.floor(np.log2((2.0**31 - 2.0**13) / (n_obs * np.log(max(n_mag_bins, 2)))))
    count = np.arange(n_obs + 1, dtype=np.float64)
    whole = np.rint(count * np.log(np.maximum(count, 1.0)) * scale)
    return np.mod(whole, 2.0**32).astype(np.uint32), float(1.0 / (scale * n_obs))


def _magnitude_bins(flat: Flat, options: SearchOptions) -> NDArray[np.int64]:
    """Return the magnitude bin of each point as `magnitude_bins` has it, int64 (n_points,)."""
    check_bins(options)
    low = np.minimum.reduceat(flat.mag, flat.start)
    spread = np.maximum.reduceat(flat.mag, flat.start) - low
    scaled = (flat.mag - flat.spread(low)) / flat.spread(spread)
    bins = np.floor(scaled * options.n_mag_bins).astype(np.int64)
    result: NDArray[np.int64] = bins % options.n_mag_bins if options.wrap else np.minimum(bins, options.n_mag_bins - 1)
    return result


def _runs(
    count: NDArray[np.int64], n_obs: NDArray[np.int64], n_bins: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the coded runs of all light curves, and the first run of each.

    Parameters
    ----------
    count
        Points in each magnitude bin, int64 (n_rows * n_bins,).
    n_obs, n_bins
        Points of each light curve, and magnitude bins.
    """
    n_runs = -(-count // BYTE)
    run_bin = np.repeat(np.arange(count.size), n_runs)
    number = np.arange(run_bin.size) - np.repeat(np.cumsum(n_runs) - n_runs, n_runs)
    last = number == n_runs[run_bin] - 1
    begin = np.cumsum(count) - count - np.repeat(np.cumsum(n_obs) - n_obs, n_bins)
    end = begin[run_bin] + np.where(last, count[run_bin], (number + 1) * BYTE)
    of_curve = n_runs.reshape(-1, n_bins).sum(axis=1)
    return (2 * end + last).astype(np.int32), np.cumsum(of_curve) - of_curve


@dataclass(frozen=True)
class ConditionalEntropy:
    """The method as the driver of the GPU takes it.

    Attributes
    ----------
    options
        Numbers of bins, and `wrap`.
    """

    options: SearchOptions
    method: Method = METHOD

    def pack(self, chunk: Chunk) -> Columns:
        """Return the times by rising magnitude bin, in runs of points that a counter can hold."""
        n_bins = self.options.n_mag_bins
        n_obs = chunk.n_obs
        n_rows = n_obs.size
        if chunk.flat is None:
            time = np.concatenate([curve.time for curve in chunk.curves])
            mag_bin = np.concatenate([magnitude_bins(curve, self.options) for curve in chunk.curves])
        else:
            time, mag_bin = chunk.flat.time, _magnitude_bins(chunk.flat, self.options)
        cell = np.repeat(np.arange(n_rows), n_obs) * n_bins + mag_bin
        # Numbers of 16 bits are sorted by radix.
        order = np.argsort(cell.astype(np.uint16) if n_rows * n_bins <= WORD else cell, kind="stable")
        count = np.bincount(cell, minlength=n_rows * n_bins)
        largest = count.reshape(n_rows, n_bins).max(axis=1)
        runs, first_run = _runs(count, n_obs, n_bins)
        distinct, which = np.unique(n_obs, return_inverse=True)
        tables = [_entries(int(n), n_bins) for n in distinct]
        size = np.array([table.size for table, _ in tables])
        return Columns(
            variants=tuple((("COUNTER", width),) for width in COUNTERS),
            variant=np.select([largest <= BYTE, n_obs <= WORD], [0, 1], 2),
            n_obs=n_obs.astype(np.int32),
            arrays=(time[order], runs, np.concatenate([table for table, _ in tables])),
            real=numbers(n_rows, np.array([unit for _, unit in tables])[which], dtype=np.float64),
            whole=numbers(n_rows, first_run, (np.cumsum(size) - size)[which], dtype=np.int32),
        )

    def programs(self, variant: Variant) -> tuple[Program, ...]:
        """Return the kernel for a width of counters."""
        n_bins, counter = self.options.n_phase_bins, dict(variant)["COUNTER"]
        blocks = BLOCKS[counter] if n_bins <= USUAL_BINS else 1
        program = Program(
            sources=("task", "phase", "entropy"),
            name="conditional_entropy",
            defines=(("PHASE_BINS", n_bins), ("THREADS", THREADS), ("BLOCKS", blocks), *variant),
            per_block=THREADS * LANES,
            shared=THREADS * (POINT_BYTES + LANES * n_bins) + TABLE_BYTES,
        )
        return (program,)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see `kernels.gpu.search`."""
    return search(ConditionalEntropy(options), batch, grid, options)
