"""Conditional entropy on the CPU: points in order of magnitude bin, 64 trial frequencies at a time, bytes as counters.

Of ``N * H = sum_j n_j ln n_j - sum_ij c_ij ln c_ij`` only counts below 255 occur in most light curves. For them
``T(c) = c ln(c_max / c)`` does as well as ``c ln c``, since the difference is linear in c and cancels between the two
sums; it is small and positive, so 24 bits of it are enough: the error of H is about 1e-7, and below 6e-6 whatever the
counts. Groups of frequencies in which a counter reaches 255, as in long light curves, are counted again in wide counters
and summed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.conditional_entropy import MAX_BINS, MIN_N_OBS, magnitude_bins
from scope_ml.kernels.conditional_entropy.counting import (
    add_saturated,
    count_compare,
    count_first,
    count_high,
    count_last,
    count_low,
    count_second,
    largest,
)
from scope_ml.kernels.conditional_entropy.entries import add_digits, add_pairs
from scope_ml.kernels.conditional_entropy.lanes import HAS_SHUFFLE, LANES
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions
from scope_ml.kernels.phase_bins.cpu import empty_block, fill_bins
from scope_ml.kernels.search import Method, search_batch

__all__ = ["METHOD", "ConditionalEntropy", "Tables", "entropy_from_bins", "make_tables", "prepare", "run", "sort_rows"]

#: Counters of a byte stick here.
FULL = 255
#: Rows that fit into byte counters whatever they hold.
CHUNK = 254

#: Magnitude bins of so few points are compared pair by pair, runs of them with so many points together.
FEW, RUN = 16, 240

#: Digits of T for byte shuffles, uint8 (17, 3, 32), the last plane its steps, or (0, 3, 32): compare and look up one by
#: one; T as uint32 (256,); c ln c, float64 (n_obs + 1,); what one unit of T is in H; what the steps have too much.
Tables = tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.float64], float, int]
_TABLES = "Tuple((uint8[:, :, ::1], uint32[::1], float64[::1], float64, int64))"


def make_tables(n_obs: int, *, shuffle: bool = HAS_SHUFFLE) -> Tables:
    """Return the tables of ``c ln c`` for light curves of `n_obs` points.

    Parameters
    ----------
    n_obs
        Points.
    shuffle
        Whether to count by byte shuffles (x86 with AVX2 only) or by comparisons (any machine); the result is the same.
    """
    if shuffle and not HAS_SHUFFLE:
        raise ValueError("numba compiles for a machine without AVX2: byte shuffles are not there")
    count = np.arange(max(n_obs, FULL) + 1, dtype=np.float64)
    count_log = count * np.log(np.maximum(count, 1.0))
    most = min(n_obs, FULL - 1)
    # Three bytes an entry (of T the largest is most / e, of its steps below 4), and no sum over all points (ln(most) each
    # at most) leaves 32 bits; the rest is room for rounding.
    unit = max(max(most / np.e, 4.0) / (2**24 - 2 * FULL), n_obs * np.log(most) / (2**32 - 2**18))
    # Counts of 1 and 2, by far the most common, get whole numbers of units: their roundings would add up.
    unit = 2 * np.log(2) / np.floor(2 * np.log(2) / unit)
    slope = np.ceil(np.log(most) / unit) * unit
    fixed = np.zeros(256, dtype=np.uint32)
    fixed[: most + 1] = np.rint((slope * count[: most + 1] - count_log[: most + 1]) / unit)
    steps = np.zeros(16, dtype=np.int64)
    n_steps = min(most, 16)
    steps[:n_steps] = np.diff(fixed[: n_steps + 1].astype(np.int64))
    # T falls from most / e on: what keeps its steps positive is taken away again from the sums.
    excess = max(0, -int(steps.min()))
    digits = np.empty((17 if shuffle else 0, 3, 32), dtype=np.uint8)
    if shuffle:
        entries: NDArray[np.int64] = np.concatenate((fixed.astype(np.int64), steps + excess)).reshape(17, 16)
        for byte in range(3):
            digits[:, byte] = np.tile((entries >> (8 * byte)) & 255, 2)
    return digits, fixed, count_log, float(unit / n_obs), excess


@njit("void(uint8[:, ::1], int64, int64, int64, int64, boolean, uint8[:, ::1])", nogil=True, cache=True)
def _count(
    bins: NDArray[np.uint8], row: int, lane: int, n_rows: int, n_phase: int, shuffle: bool, cells: NDArray[np.uint8]
) -> None:
    """Count rows ``row`` to ``row + n_rows`` of 64 lanes into ``cells[phase bin, lane]``."""
    stride = bins.shape[1]
    start = row * stride + lane
    if not shuffle:
        for base in range(0, n_phase, 4):
            count_compare(bins, start, stride, n_rows, base, cells)
    elif n_phase == 20:
        count_first(bins, start, stride, n_rows, 0, cells)
        count_second(bins, start, stride, n_rows, 0, cells)
        count_last(bins, start, stride, n_rows, 16, cells)
    else:
        for base in range(0, n_phase, 16):
            count_low(bins, start, stride, n_rows, base, cells)
            if base + 8 < n_phase:
                count_high(bins, start, stride, n_rows, base, cells)


@njit(f"void(uint8[:, ::1], int64, int64, {_TABLES}, uint32[::1])", nogil=True, cache=True)
def _add_entries(cells: NDArray[np.uint8], n_phase: int, top: int, tables: Tables, sums: NDArray[np.uint32]) -> None:
    """Add T of the counts in `cells`, at most `top`, to the sums of the lanes (in the order of `entries.add_digits`)."""
    if tables[0].shape[0] > 0:
        add_digits(cells, n_phase, tables[0], (top >> 4) + 1, sums)
        return
    for phase_bin in range(n_phase):
        for lane in range(LANES):
            place = (lane & 32) + 16 * (lane & 1) + ((lane & 31) >> 1)
            sums[place] += tables[1][cells[phase_bin, lane]]


@njit(f"boolean(uint8[:, ::1], int64, int64[::1], int64, {_TABLES}, float64[::1])", nogil=True, cache=True)
def _entropy_bytes(
    bins: NDArray[np.uint8],
    first: int,
    splits: NDArray[np.int64],
    n_phase: int,
    tables: Tables,
    out: NDArray[np.float64],
) -> bool:
    """Write the entropy of lanes ``first`` to ``first + out.size``; False where a byte was not enough to count."""
    cells = np.empty((MAX_BINS, LANES), np.uint8)
    marginals = np.zeros((MAX_BINS, LANES), np.uint8)
    joint, marginal = np.zeros(LANES, np.uint32), np.zeros(LANES, np.uint32)
    shuffle = tables[0].shape[0] > 0
    n_stepped = 0
    mag_bin = 0
    while mag_bin < splits.size - 1:
        start, last = splits[mag_bin], mag_bin + 1
        few = shuffle and splits[last] - start <= FEW
        while (
            few
            and last < splits.size - 1
            and splits[last + 1] - splits[last] <= FEW
            and splits[last + 1] - start <= RUN
        ):
            last += 1
        n_rows = splits[last] - start
        if n_rows > 0:
            _count(bins, start, first, n_rows, n_phase, shuffle, cells)
            add_saturated(cells, n_phase, marginals)
        if few:
            add_pairs(bins, first, splits, mag_bin, last, tables[0][16], joint)
            n_stepped += n_rows
        elif n_rows > 0:
            _add_entries(cells, n_phase, n_rows if n_rows < 16 else largest(cells, n_phase), tables, joint)
        mag_bin = last
    top = largest(marginals, n_phase)
    if top == FULL:
        return False
    _add_entries(marginals, n_phase, top, tables, marginal)
    for lane in range(out.size):
        place = (lane & 32) + 16 * (lane & 1) + ((lane & 31) >> 1)
        # Rounding of the table may leave a hair below zero.
        difference = np.int64(joint[place]) - np.int64(marginal[place]) - n_stepped * tables[4]
        out[lane] = max(difference * tables[3], 0.0)
    return True


@njit(f"void(uint8[:, ::1], int64, int64[::1], int64, {_TABLES}, float64[::1])", nogil=True, cache=True)
def _entropy_wide(
    bins: NDArray[np.uint8],
    first: int,
    splits: NDArray[np.int64],
    n_phase: int,
    tables: Tables,
    out: NDArray[np.float64],
) -> None:
    """Do the same for any number of points: bytes are moved to 32-bit counters before they can be full."""
    count_log = tables[2]
    cells = np.empty((MAX_BINS, LANES), np.uint8)
    wide = np.empty((MAX_BINS, LANES), np.uint32)
    marginals = np.zeros((MAX_BINS, LANES), np.uint32)
    out[:] = 0.0
    for mag_bin in range(splits.size - 1):
        wide[:] = 0
        for row in range(splits[mag_bin], splits[mag_bin + 1], CHUNK):
            n_rows = min(CHUNK, splits[mag_bin + 1] - row)
            _count(bins, row, first, n_rows, n_phase, tables[0].shape[0] > 0, cells)
            for phase_bin in range(n_phase):
                for lane in range(LANES):
                    wide[phase_bin, lane] += cells[phase_bin, lane]
        for phase_bin in range(n_phase):
            for lane in range(LANES):
                marginals[phase_bin, lane] += wide[phase_bin, lane]
            for lane in range(out.size):
                out[lane] -= count_log[wide[phase_bin, lane]]
    for phase_bin in range(n_phase):
        for lane in range(out.size):
            out[lane] += count_log[marginals[phase_bin, lane]]
    for lane in range(out.size):
        out[lane] = max(out[lane] / splits[-1], 0.0)


@njit(f"void(uint8[:, ::1], int64[::1], int64, {_TABLES}, float64[::1])", nogil=True, cache=True)
def entropy_from_bins(
    bins: NDArray[np.uint8], splits: NDArray[np.int64], n_phase: int, tables: Tables, out: NDArray[np.float64]
) -> None:
    """Write the conditional entropy of the first ``out.size`` columns of a block of phase bins.

    Parameters
    ----------
    bins
        Phase bins from `phase_bins.cpu.fill_bins`, uint8 (n_obs, block), block a multiple of 64; rows in the order of
        `sort_rows`, which suits any statistic that does not care about the order of points.
    splits
        First row of each magnitude bin and the number of rows, int64 (n_mag_bins + 1,).
    n_phase
        Phase bins, 2 to 64.
    tables
        From `make_tables` for this number of points.
    out
        float64 (at most block,).
    """
    # Counters of a byte are full for sure where phase bins hold more than that on average; half of it is likely.
    narrow = splits[-1] <= 128 * n_phase
    for first in range(0, out.size, LANES):
        part = out[first : min(first + LANES, out.size)]
        if not (narrow and _entropy_bytes(bins, first, splits, n_phase, tables, part)):
            _entropy_wide(bins, first, splits, n_phase, tables, part)


@njit(
    f"void(float64[::1], float64, float64, int64[::1], int64, {_TABLES}, uint8[:, ::1], float64[::1])",
    nogil=True,
    cache=True,
)
def _evaluate(
    time: NDArray[np.float64],
    frequency: float,
    step: float,
    splits: NDArray[np.int64],
    n_phase: int,
    tables: Tables,
    bins: NDArray[np.uint8],
    out: NDArray[np.float64],
) -> None:
    """Fill blocks of phase bins and write their entropies."""
    block = bins.shape[1]
    memory = bins.reshape(bins.size)
    for start in range(0, out.size, block):
        part = out[start : min(start + block, out.size)]
        width = (part.size + LANES - 1) // LANES * LANES
        view = memory[: time.size * width].reshape((time.size, width))
        fill_bins(time, frequency + start * step, step, n_phase, view)
        entropy_from_bins(view, splits, n_phase, tables, part)


def sort_rows(curve: Curve, options: SearchOptions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the order of points by magnitude bin, int64 (n_obs,), and `splits`; see `entropy_from_bins`."""
    mag_bin = magnitude_bins(curve, options)
    order = np.argsort(mag_bin, kind="stable")
    splits = np.searchsorted(mag_bin[order], np.arange(options.n_mag_bins + 1))
    return order, splits.astype(np.int64)


@dataclass(frozen=True)
class ConditionalEntropy:
    """The conditional entropy of one light curve, ready to be evaluated by one thread at a time."""

    time: NDArray[np.float64]
    splits: NDArray[np.int64]
    n_phase: int
    tables: Tables
    bins: NDArray[np.uint8]

    def evaluate(self, frequency: float, step: float, out: NDArray[np.float64]) -> None:
        """Write the entropy at ``frequency + k * step`` [1/d] into ``out[k]``, float64 (n,)."""
        _evaluate(self.time, frequency, step, self.splits, self.n_phase, self.tables, self.bins, out)


def prepare(curve: Curve, options: SearchOptions) -> ConditionalEntropy:
    """Return the statistic of one light curve; `options` gives the bins (2 to 64 of each) and `wrap`."""
    order, splits = sort_rows(curve, options)
    return ConditionalEntropy(
        time=np.ascontiguousarray(curve.time[order]),
        splits=splits,
        n_phase=options.n_phase_bins,
        tables=make_tables(curve.time.size),
        bins=empty_block(curve.time.size),
    )


METHOD = Method(prepare=prepare, min_n_obs=MIN_N_OBS, best="min")


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see the package for the statistic, `kernels.search` for peaks."""
    return search_batch(METHOD, batch, grid, options)
