"""Sums of squares between phase bins, all points of equal weight.

The total sum of squares of a light curve does not depend on the frequency, so counts and sums by bin are all that is
needed: both go into one 64-bit word, the count above, the magnitude as an integer below, and a point costs one addition
in memory, for two frequencies at a time where `pairs` can. With a bit length c of the number of points there are 52 - c
bits for a magnitude (less above 4095 points): 2^-42 of the range at 1,000 points, 2^-30 at 100,000. The sums are
integers and so exact, in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scope_ml.kernels.binned_sums import MAX_BINS
from scope_ml.kernels.binned_sums.pairs import (
    N_PLANES,
    add_to_pairs,
    add_to_pairs_default,
    can_join,
    fill_cells,
    take_pair,
)
from scope_ml.kernels.binned_sums.table import (
    DEFAULT_BINS,
    GROUP,
    LANES,
    add_to_rows,
    add_to_rows_default,
    take_row,
)
from scope_ml.kernels.phase_bins.cpu import block_size

__all__ = ["TABLE_SIZE", "PackedMagnitudes", "between_bins", "between_of_block", "pack"]

#: Sums stay below 2^52, so that they are exact as float64.
SUM_BITS = 52
#: Points that are binned at a time where there are more.
CHUNK = 8192
#: Words of the tables of a group for any number of bins.
TABLE_SIZE = GROUP // 2 * N_PLANES * MAX_BINS


@dataclass(frozen=True, kw_only=True)
class PackedMagnitudes:
    """Magnitudes of one light curve as words to be added up by bin.

    Attributes
    ----------
    word
        ``1 << shift`` plus the magnitude in units of a fraction of its range, uint64 (n_obs,).
    shift
        Bits of the sum; the count stands above.
    mean, total
        Mean of the integers, and their sum of squares about it.
    """

    word: NDArray[np.uint64]
    shift: int
    mean: float
    total: float

    @property
    def scale(self) -> tuple[int, float]:
        """What the kernels need to read a word."""
        return self.shift, self.mean


def pack(mag: NDArray[np.float64]) -> PackedMagnitudes:
    """Return the words of finite magnitudes (n_obs,); their zero point and unit do not matter."""
    count_bits = int(mag.size).bit_length()
    shift = min(SUM_BITS, 64 - count_bits)
    # Halved, so that the range of any finite numbers is finite.
    low = 0.5 * mag.min()
    width = 0.5 * mag.max() - low
    share = (0.5 * mag - low) / width if width > 0 else np.zeros(mag.size)
    integer = np.rint(share * float((1 << (shift - count_bits)) - 1))
    mean = float(integer.mean())
    return PackedMagnitudes(
        word=integer.astype(np.uint64) | np.uint64(1 << shift),
        shift=shift,
        mean=mean,
        total=float(((integer - mean) ** 2).sum()),
    )


@njit("void(uint8[:, ::1], uint64[::1], int64, int64, boolean, uint64[::1])", nogil=True, cache=True, boundscheck=False)
def _add_points(
    bins: NDArray[np.uint8],
    word: NDArray[np.uint64],
    column: int,
    n_bins: int,
    is_paired: bool,
    table: NDArray[np.uint64],
) -> None:
    """Add points to the tables of `GROUP` frequencies, whose bins or joined cells stand from byte `column` on."""
    block = bins.shape[1]
    if is_paired and n_bins == DEFAULT_BINS:
        for i in range(word.size):
            add_to_pairs_default(table, N_PLANES * DEFAULT_BINS, bins, i * block + column, word[i])
    elif is_paired:
        for i in range(word.size):
            add_to_pairs(table, N_PLANES * n_bins, bins, i * block + column, word[i])
    elif n_bins == DEFAULT_BINS:
        for i in range(word.size):
            add_to_rows_default(table, DEFAULT_BINS, bins, i * block + column, word[i])
    else:
        length = (n_bins + LANES - 1) // LANES * LANES
        for i in range(word.size):
            add_to_rows(table, length, bins, i * block + column, word[i])


@njit(
    "void(uint64[::1], int64, boolean, Tuple((uint64, float64)), float64[:, :])",
    nogil=True,
    cache=True,
    boundscheck=False,
)
def _take_sums(
    table: NDArray[np.uint64], n_bins: int, is_paired: bool, scale: tuple[int, float], out: NDArray[np.float64]
) -> None:
    """Write the sums of up to `GROUP` frequencies into `out`, float64 (2, n); zero the tables."""
    shift, mean = scale
    n = out.shape[1]
    if is_paired:
        for pair in range(GROUP // 2):
            first, n_first, second, n_second = take_pair(table, pair * N_PLANES * n_bins, n_bins, shift, mean)
            if 2 * pair < n:
                out[0, 2 * pair] = first
                out[1, 2 * pair] = n_first
            if 2 * pair + 1 < n:
                out[0, 2 * pair + 1] = second
                out[1, 2 * pair + 1] = n_second
    else:
        length = (n_bins + LANES - 1) // LANES * LANES
        for k in range(GROUP):
            between, filled = take_row(table, k * length, length, shift, mean)
            if k < n:
                out[0, k] = between
                out[1, k] = filled


@njit(
    "void(uint8[:, ::1], uint64[::1], Tuple((uint64, float64)), int64, boolean, uint64[::1], float64[:, :])",
    nogil=True,
    cache=True,
    boundscheck=False,
)
def between_of_block(
    bins: NDArray[np.uint8],
    word: NDArray[np.uint64],
    scale: tuple[int, float],
    n_bins: int,
    is_paired: bool,
    table: NDArray[np.uint64],
    out: NDArray[np.float64],
) -> None:
    """Fill the sums of a block of frequencies whose phase bins are known; may be called from other numba functions.

    Parameters
    ----------
    bins
        Phase bin of each point at each frequency, uint8 (n_obs, block), block a multiple of 32; rows in any order.
    word, scale
        Fields of the `PackedMagnitudes` of the same points in the same order.
    n_bins
        Bins of a cycle; all of `bins` are below it.
    is_paired
        Whether `bins` were joined to cells of pairs of frequencies.
    table
        Room to work in, all zero before and after, uint64 (TABLE_SIZE,).
    out
        Filled with the sum of squares between bins ``sum (s - n * mean)^2 / n``, in squared units of the integers, and
        the number of bins with a point, float64 (2, n), n <= block.
    """
    for column in range(0, out.shape[1], GROUP):
        _add_points(bins, word, column, n_bins, is_paired, table)
        _take_sums(table, n_bins, is_paired, scale, out[:, column : column + GROUP])


@njit(
    "void(float64[::1], uint64[::1], Tuple((uint64, float64)), UniTuple(float64, 2), int64, boolean, uint8[:, ::1],"
    "float64[:, ::1])",
    nogil=True,
    cache=True,
    boundscheck=False,
)
def _between(
    time: NDArray[np.float64],
    word: NDArray[np.uint64],
    scale: tuple[int, float],
    grid: tuple[float, float],
    n_bins: int,
    is_paired: bool,
    bins: NDArray[np.uint8],
    out: NDArray[np.float64],
) -> None:
    """Fill `out` block by block; `grid` is first frequency and step, `bins` room for one block of `CHUNK` points."""
    n_rows, block = bins.shape
    table = np.zeros(TABLE_SIZE, dtype=np.uint64)
    for start in range(0, out.shape[1], block):
        frequency = grid[0] + start * grid[1]
        part = out[:, start : start + block]
        if time.size <= n_rows:
            fill_cells(time, frequency, grid[1], n_bins, is_paired, bins)
            between_of_block(bins, word, scale, n_bins, is_paired, table, part)
        else:
            for first in range(0, time.size, n_rows):
                fill_cells(time[first : first + n_rows], frequency, grid[1], n_bins, is_paired, bins)
                _add_points(bins, word[first : first + n_rows], 0, n_bins, is_paired, table)
            _take_sums(table, n_bins, is_paired, scale, part)


def between_bins(
    time: NDArray[np.float64], packed: PackedMagnitudes, frequency: float, step: float, n_bins: int, n_frequencies: int
) -> NDArray[np.float64]:
    """Return the sum of squares between phase bins and the number of bins with a point, float64 (2, n_frequencies).

    Parameters
    ----------
    time
        Times from the first epoch [d], float64 (n_obs,), ascending.
    packed
        Magnitudes in the same order.
    frequency, step
        First trial frequency and step [1/d].
    n_bins
        Bins of a cycle.
    n_frequencies
        How many trial frequencies, at least 1.

    Notes
    -----
    Work grows as n_obs * n_frequencies. Memory: at most 0.6 MiB beside the result.
    """
    is_paired = n_bins % LANES == 0 and can_join(step * float(time[-1]), n_bins)
    out = np.empty((2, n_frequencies))
    whole = -(-n_frequencies // GROUP) * GROUP
    block = min(whole, block_size(time.size)) if time.size <= CHUNK else GROUP
    bins = np.empty((min(time.size, CHUNK), block), dtype=np.uint8)
    # numba's signatures are for arrays that may be written to.
    time = np.require(time, np.float64, ("C", "W"))
    _between(time, packed.word, packed.scale, (frequency, step), n_bins, is_paired, bins, out)
    return out
