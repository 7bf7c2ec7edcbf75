"""Sums of weights and of weighted magnitudes by phase bin, as pairs of float64 that are added in one instruction."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scope_ml.kernels.binned_sums.pairs import N_PLANES, add_pair_to_pairs, fill_cells
from scope_ml.kernels.binned_sums.table import GROUP, add_pair_to_rows
from scope_ml.kernels.phase_bins.cpu import block_size

__all__ = ["GROUP", "room_for_bins", "sum_group"]

#: Points that are binned at a time where there are more.
CHUNK = 8192


def room_for_bins(n_obs: int, n_frequencies: int) -> NDArray[np.uint8]:
    """Return room for the phase bins of one block of frequencies, uint8 (at most CHUNK, a multiple of GROUP)."""
    whole = -(-n_frequencies // GROUP) * GROUP
    block = min(whole, block_size(n_obs)) if n_obs <= CHUNK else GROUP
    return np.empty((min(n_obs, CHUNK), block), dtype=np.uint8)


@njit("void(float64[::1], int64, float64[::1])", nogil=True, cache=True, boundscheck=False)
def _part_pairs(cells: NDArray[np.float64], n_bins: int, rows: NDArray[np.float64]) -> None:
    """Write the sums of single frequencies, from the cells of their pairs, into `rows`; see `pairs` for the formula."""
    length = 2 * n_bins
    for pair in range(GROUP // 2):
        planes = cells[pair * N_PLANES * length : (pair + 1) * N_PLANES * length]
        stayed, by_one, by_two = planes[:length], planes[length : 2 * length], planes[2 * length :]
        first = rows[2 * pair * length : (2 * pair + 1) * length]
        second = rows[(2 * pair + 1) * length : (2 * pair + 2) * length]
        for i in range(length):
            first[i] = stayed[i] + by_one[i] + by_two[i]
        for i in range(2):
            second[i] = stayed[i] + by_one[length - 2 + i] + by_two[length - 4 + i]
            second[i + 2] = stayed[i + 2] + by_one[i] + by_two[length - 2 + i]
        for i in range(4, length):
            second[i] = stayed[i] + by_one[i - 2] + by_two[i - 4]


@njit(
    "void(float64[:, ::1], UniTuple(float64, 2), int64, int64, boolean, uint8[:, ::1], float64[::1])",
    nogil=True,
    cache=True,
    boundscheck=False,
)
def sum_group(
    points: NDArray[np.float64],
    grid: tuple[float, float],
    place: int,
    n_bins: int,
    is_paired: bool,
    bins: NDArray[np.uint8],
    rows: NDArray[np.float64],
) -> None:
    """Sum a light curve by phase bin at `GROUP` frequencies.

    Parameters
    ----------
    points
        Time from the first epoch [d], weight, and weight times magnitude, float64 (3, n_obs).
    grid
        First frequency and step [1/d] of the whole call.
    place
        Number of the first of the `GROUP` frequencies, a multiple of it. Calls must follow one another: bins are made
        for a whole block when its first group is asked for.
    n_bins
        Bins of a cycle.
    is_paired
        Whether neighbouring frequencies are taken together; only where `pairs.can_join` says so.
    bins
        `room_for_bins`, kept between calls.
    rows
        Filled with the sum of weights and that of weighted magnitudes by frequency and bin, float64
        (GROUP * n_bins * 2,).
    """
    n_rows, block = bins.shape
    n_obs = points.shape[1]
    column = place % block
    frequency = grid[0] + (place - column) * grid[1]
    if n_obs <= n_rows and column == 0:
        fill_cells(points[0], frequency, grid[1], n_bins, is_paired, bins)
    cells = np.zeros(GROUP // 2 * N_PLANES * n_bins * 2 if is_paired else 0)
    rows[:] = 0.0
    for first in range(0, n_obs, n_rows):
        n = min(n_rows, n_obs - first)
        if n_obs > n_rows:
            fill_cells(points[0, first : first + n], frequency, grid[1], n_bins, is_paired, bins)
        weight, product = points[1, first : first + n], points[2, first : first + n]
        if is_paired:
            for i in range(n):
                add_pair_to_pairs(cells, N_PLANES * n_bins, bins, i * block + column, weight[i], product[i])
        else:
            for i in range(n):
                add_pair_to_rows(rows, n_bins, bins, i * block + column, weight[i], product[i])
    if is_paired:
        _part_pairs(cells, n_bins, rows)
