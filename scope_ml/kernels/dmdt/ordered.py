"""Counting without visiting pairs, for long light curves: n sqrt(n) steps where pairs are n^2.

Magnitudes are sorted once. For point i and an edge e, the points with m_j - m_i < e are the first r(i, e) in that order,
exactly so, since rounding of a difference never reverses an order. For each edge in time the light curve is gone
through once: points enter a set while they are within that edge of i, and the set tells how many of its members are
among the first r(i, e). Adding one is sqrt(n) work, asking is two look-ups: counts before each of `BLOCK` ranks and
counts of whole blocks. Differences of the totals between neighbouring edges are the histogram.
A light curve of 100,000 points with 26 x 26 bins takes a quarter of a second and 11 MB.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.kernels.dmdt.tables import TABLES, Tables

__all__ = ["count_ordered"]

FLOATS = types.Array(types.float64, 1, "C", readonly=True)
COUNTERS = types.uint32[::1]
RANKS = types.uint32[:, ::1]

#: Binary logarithm of the ranks per block: about the square root of 100,000 points; 6 to 9 cost the same.
BLOCK = 8


@njit(types.void(FLOATS, FLOATS, types.int64[::1], RANKS), nogil=True, cache=True)
def _rank(
    m: NDArray[np.float64], edges: NDArray[np.float64], rank: NDArray[np.int64], n_below: NDArray[np.uint32]
) -> None:
    """Write each point's place among sorted magnitudes, and how many m_j have m_j - m_i < edge, (n_obs, n_edges)."""
    n = m.size
    order = np.argsort(m)
    ordered = m[order]
    for place in range(n):
        rank[order[place]] = place
    for edge in range(edges.size):
        found = 0
        for place in range(n):
            while found < n and ordered[found] - ordered[place] < edges[edge]:
                found += 1
            n_below[order[place], edge] = found


@njit(types.void(types.int64, COUNTERS, COUNTERS), nogil=True, cache=True)
def _add(rank: int, within: NDArray[np.uint32], blocks: NDArray[np.uint32]) -> None:
    """Take a point into the set: it counts for all ranks above its own."""
    block = rank >> BLOCK
    stop = min((block + 1) << BLOCK, within.size)
    for above in range(np.uint64(rank + 1), np.uint64(stop)):
        within[above] += np.uint32(1)
    for above in range(np.uint64(block + 1), np.uint64(blocks.size)):
        blocks[above] += np.uint32(1)


@njit(types.void(COUNTERS, COUNTERS, COUNTERS, types.int64[::1]), nogil=True, cache=True)
def _ask(
    n_below: NDArray[np.uint32],
    within: NDArray[np.uint32],
    blocks: NDArray[np.uint32],
    totals: NDArray[np.int64],
) -> None:
    """Add to `totals` how many members of the set are among the first `n_below`, for each edge in magnitude."""
    for edge in range(np.uint64(n_below.size)):
        first = np.uint64(n_below[edge])
        totals[edge] += np.int64(within[first] + blocks[first >> np.uint64(BLOCK)])


@njit(types.void(FLOATS, FLOATS, TABLES, types.int64[:, ::1]), nogil=True, cache=True)
def count_ordered(t: NDArray[np.float64], m: NDArray[np.float64], tables: Tables, row: NDArray[np.int64]) -> None:
    """Write the counts of one light curve.

    Parameters
    ----------
    t, m
        Times [d], ascending, and magnitudes, float64 (n_obs,), finite.
    tables
        Of the edges; the codes are not needed.
    row
        int64 (n_dm, n_dt).
    """
    n, n_edges = t.size, tables.dm_edges.size
    rank = np.empty(n, np.int64)
    n_below = np.empty((n, n_edges), np.uint32)
    _rank(m, tables.dm_edges, rank, n_below)
    within = np.zeros(n + 1, np.uint32)
    blocks = np.zeros((n >> BLOCK) + 1, np.uint32)
    # Every sweep holds the points up to i too, which come after it in no pair: what they give is taken off once.
    not_later = np.zeros(n_edges, np.int64)
    for i in range(n):
        _add(rank[i], within, blocks)
        _ask(n_below[i], within, blocks, not_later)
    before = np.zeros(n_edges, np.int64)
    totals = np.zeros(n_edges, np.int64)
    for edge in range(tables.dt_edges.size):
        before[:] = totals
        # Once an edge is beyond the baseline, all pairs are within it, and within those that follow.
        if edge == 0 or tables.dt_edges[edge - 1] <= t[n - 1] - t[0]:
            totals[:] = -not_later
            within[:] = 0
            blocks[:] = 0
            end = 0
            for i in range(n):
                while end < n and (end <= i or t[end] - t[i] < tables.dt_edges[edge]):
                    _add(rank[end], within, blocks)
                    end += 1
                _ask(n_below[i], within, blocks, totals)
        if edge > 0:
            for k in range(n_edges - 1):
                row[k, edge - 1] = (totals[k + 1] - totals[k]) - (before[k + 1] - before[k])
