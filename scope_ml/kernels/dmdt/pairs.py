"""Counting pair by pair: whole numbers are subtracted and looked up, an edge within a step is compared exactly.

Both loops are left for the pairs that need the comparison, so that what they need stays in registers.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.kernels.dmdt.tables import SHIFT, TABLES, UNSURE, Tables

__all__ = ["count_pairs", "n_pairs_within"]

FLOATS = types.Array(types.float64, 1, "C", readonly=True)
STEPS = types.int32[::1]
PADDED = types.uint32[::1]
POINTS = types.UniTuple(types.int64, 2)
RUN = types.UniTuple(types.int64, 3)

#: Index arithmetic is unsigned throughout: numba looks for negative indices otherwise, which costs a third of the time.
MASK = np.uint64(UNSURE - 1)
LIMIT = np.uint32(UNSURE)
ONE = np.uint64(1)
COLUMN = np.uint64(SHIFT)

#: Partners in a bin of time that pay for a pointer to its end; 20 to 60 cost the same.
LONG = 60


@njit(types.int64(FLOATS, types.float64), nogil=True, cache=True)
def n_pairs_within(t: NDArray[np.float64], longest: float) -> int:
    """Return the number of pairs less than `longest` [d] apart; `t` ascends."""
    total = 0
    end = 0
    for i in range(t.size):
        while end < t.size and t[end] - t[i] < longest:
            end += 1
        total += end - i - 1
    return total


@njit(types.uint64(types.float64, types.uint64, FLOATS), nogil=True, cache=True)
def _exactly(difference: float, below: np.uint64, edges: NDArray[np.float64]) -> np.uint64:
    """Return the number of edges not above a difference, of which `below` are known."""
    found = below
    while found < np.uint64(edges.size) and difference >= edges[found]:
        found += ONE
    return found


@njit(types.void(FLOATS, FLOATS, TABLES, STEPS, STEPS, POINTS, PADDED), nogil=True, cache=True, inline="always")
def _look_up(
    t: NDArray[np.float64],
    m: NDArray[np.float64],
    tables: Tables,
    t_steps: NDArray[np.int32],
    m_steps: NDArray[np.int32],
    points: tuple[int, int],
    padded: NDArray[np.uint32],
) -> None:
    """Count the pairs of a point with those after it, up to another: ``points`` are both."""
    i = points[0]
    dm_codes, dt_codes = tables.dm_codes, tables.dt_codes
    m_origin, t_origin = tables.dm_reach - m_steps[i], np.int64(t_steps[i])
    j, stop = np.uint64(i + 1), np.uint64(points[1])
    while j < stop:
        while j < stop:
            dm_code = dm_codes[np.uint64(m_steps[j] + m_origin)]
            dt_code = dt_codes[np.uint64(t_steps[j] - t_origin)]
            place = np.uint32(dm_code) + np.uint32(dt_code)
            if place >= LIMIT:
                break
            padded[np.uint64(place)] += np.uint32(1)
            j += ONE
        if j < stop:
            n_dm = dm_codes[np.uint64(m_steps[j] + m_origin)] & MASK
            n_dt = (dt_codes[np.uint64(t_steps[j] - t_origin)] & MASK) >> COLUMN
            n_dm = _exactly(m[j] - m[i], n_dm, tables.dm_edges)
            n_dt = _exactly(t[j] - t[i], n_dt, tables.dt_edges)
            padded[(n_dt << COLUMN) + n_dm] += np.uint32(1)
            j += ONE


@njit(types.void(FLOATS, TABLES, STEPS, RUN, PADDED), nogil=True, cache=True, inline="always")
def _look_up_dm(
    m: NDArray[np.float64],
    tables: Tables,
    m_steps: NDArray[np.int32],
    points: tuple[int, int, int],
    column: NDArray[np.uint32],
) -> None:
    """Count the pairs of a point with those from one to another, all in one bin of time: ``points`` are the three."""
    i = points[0]
    dm_codes = tables.dm_codes
    m_origin = tables.dm_reach - m_steps[i]
    j, stop = np.uint64(points[1]), np.uint64(points[2])
    while j < stop:
        while j < stop:
            dm_code = dm_codes[np.uint64(m_steps[j] + m_origin)]
            if np.uint32(dm_code) >= LIMIT:
                break
            column[np.uint64(dm_code)] += np.uint32(1)
            j += ONE
        if j < stop:
            n_dm = dm_codes[np.uint64(m_steps[j] + m_origin)] & MASK
            column[_exactly(m[j] - m[i], n_dm, tables.dm_edges)] += np.uint32(1)
            j += ONE


@njit(types.int64(FLOATS, FLOATS), nogil=True, cache=True)
def _first_long(t: NDArray[np.float64], edges: NDArray[np.float64]) -> int:
    """Return the edge in time above which bins hold `LONG` partners of a point or more, were times spread evenly."""
    first = edges.size - 1
    while first > 1 and (edges[first] - edges[first - 1]) * t.size > LONG * (t[-1] - t[0]):
        first -= 1
    return first


@njit(types.void(FLOATS, FLOATS, TABLES, STEPS, STEPS, PADDED), nogil=True, cache=True)
def count_pairs(
    t: NDArray[np.float64],
    m: NDArray[np.float64],
    tables: Tables,
    t_steps: NDArray[np.int32],
    m_steps: NDArray[np.int32],
    padded: NDArray[np.uint32],
) -> None:
    """Add the pairs of one light curve to the `padded` counts; those beyond the last edge in time are not visited.

    Partners of a point in a bin of time stand side by side. Where there are many, the bin's end is a pointer that moves
    with the point; shorter differences are looked up pair by pair.

    Parameters
    ----------
    t, m
        Times [d], ascending, and magnitudes, float64 (n_obs,), finite.
    tables
        Of the edges, with codes.
    t_steps, m_steps
        ``floor((t - t[0]) * tables.dt_scale)``, below `tables.MAX_STEPS`, and ``floor((m - min(m)) * tables.dm_scale)``,
        below ``tables.dm_reach``; n_obs or more.
    padded
        uint32, (n_dt_edges + 1) << SHIFT: see `Tables`.
    """
    n = t.size
    first_long, n_edges = _first_long(t, tables.dt_edges), tables.dt_edges.size
    ends = np.zeros(n_edges, np.int64)
    for i in range(n):
        for edge in range(first_long, n_edges):
            end = ends[edge]
            while end < n and t[np.uint64(end)] - t[i] < tables.dt_edges[edge]:
                end += 1
            ends[edge] = end
        _look_up(t, m, tables, t_steps, m_steps, (i, ends[first_long]), padded)
        for edge in range(first_long + 1, n_edges):
            _look_up_dm(m, tables, m_steps, (i, ends[edge - 1], ends[edge]), padded[edge << SHIFT :])
