"""The dm-dt image in numba: validity and order of each light curve, the cheaper way to count it, the norm."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.dmdt import DmDtOptions
from scope_ml.kernels.dmdt.ordered import count_ordered
from scope_ml.kernels.dmdt.pairs import count_pairs, n_pairs_within
from scope_ml.kernels.dmdt.tables import MAX_STEPS, SHIFT, TABLES, Tables, tables_of

__all__ = ["counts", "run"]

FLOATS = types.Array(types.float64, 1, "C", readonly=True)
INTEGERS = types.Array(types.int64, 1, "C", readonly=True)
STEPS = types.int32[::1]
PADDED = types.uint32[::1]
ROW = types.int64[:, ::1]
TABLE = types.int64[:, :, ::1]

#: Light curves whose counts are held at a time.
CHUNK = 64

#: Cost of one point, one edge in time and one in magnitude in `ordered`, in pairs of `pairs`; measured: the two are
#: even at some 2800 points with the default edges.
PAIRS_PER_QUESTION = 1.9

#: Pairs that 32-bit counters hold.
MAX_PAIRS = (1 << 32) - 1


def run(batch: LightCurveBatch, options: DmDtOptions) -> dict[str, NDArray[np.float32]]:
    """Return ``{"dmdt": images}``, float32 (n_sources, n_dm, n_dt); see the package."""
    images = np.empty((len(batch), *options.shape), np.float32)
    # A few at a time, in the same place: counts are twice as large as images, and stay in the caches.
    table = np.empty((min(len(batch), CHUNK), *options.shape), np.int64)
    for start in range(0, len(batch), CHUNK):
        piece = batch.slice(start, start + CHUNK)
        is_sound = _write_counts(piece, options, table[: len(piece)])
        _normalise(table, is_sound, images[start : start + CHUNK])
    return {"dmdt": images}


def counts(batch: LightCurveBatch, options: DmDtOptions) -> NDArray[np.int64]:
    """Return the number of pairs in each bin, int64 (n_sources, n_dm, n_dt); see the package."""
    table = np.empty((len(batch), *options.shape), np.int64)
    _write_counts(batch, options, table)
    return table


def _write_counts(batch: LightCurveBatch, options: DmDtOptions, table: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Write the counts; return for each light curve whether all its values are sound."""
    is_sound = np.empty(len(batch), np.bool_)
    _fill(
        batch.offsets,
        batch.time,
        batch.mag.astype(np.float64, copy=False),
        batch.mag_err.astype(np.float64, copy=False),
        tables_of(options),
        table,
        is_sound,
    )
    return is_sound


@njit(types.UniTuple(types.int64, 2)(FLOATS, FLOATS, FLOATS), nogil=True, cache=True)
def _defects(t: NDArray[np.float64], m: NDArray[np.float64], e: NDArray[np.float64]) -> tuple[int, int]:
    """Return how many points are not finite or have no positive error, and how many are earlier than the one before."""
    n_bad = n_earlier = 0
    for i in range(np.uint64(t.size)):
        # A difference of equals is 0 only of what is finite; unlike isfinite, it makes a loop without branches.
        n_bad += (t[i] - t[i] != 0.0) | (m[i] - m[i] != 0.0) | (e[i] - e[i] != 0.0) | (not e[i] > 0.0)
    for i in range(np.uint64(1), np.uint64(t.size)):
        n_earlier += t[i] < t[i - np.uint64(1)]
    return n_bad, n_earlier


@njit(types.UniTuple(types.float64, 2)(FLOATS), nogil=True, cache=True)
def _extremes(m: NDArray[np.float64]) -> tuple[float, float]:
    """Return the least and the greatest of finite magnitudes."""
    least = greatest = m[0]
    for i in range(np.uint64(m.size)):
        least = m[i] if m[i] < least else least
        greatest = m[i] if m[i] > greatest else greatest
    return least, greatest


@njit(types.boolean(FLOATS, types.float64, TABLES), nogil=True, cache=True)
def _is_for_pairs(t: NDArray[np.float64], mag_range: float, tables: Tables) -> bool:
    """Return whether the tables hold this light curve and visiting its pairs is the cheaper way."""
    if tables.dm_codes.size == 0 or not (t[-1] - t[0]) * tables.dt_scale < MAX_STEPS:
        return False
    if not mag_range * tables.dm_scale < tables.dm_reach - 1:
        return False
    n = t.size
    n_affordable = min(PAIRS_PER_QUESTION * n * tables.dm_edges.size * tables.dt_edges.size, MAX_PAIRS)
    return n * (n - 1) / 2 <= n_affordable or n_pairs_within(t, tables.dt_edges[-1]) <= n_affordable


@njit(types.void(FLOATS, FLOATS, TABLES, STEPS, STEPS, PADDED, ROW), nogil=True, cache=True)
def _count(
    t: NDArray[np.float64],
    m: NDArray[np.float64],
    tables: Tables,
    t_steps: NDArray[np.int32],
    m_steps: NDArray[np.int32],
    padded: NDArray[np.uint32],
    row: NDArray[np.int64],
) -> None:
    """Write the counts of one sound light curve of two points or more, in order, into `row` (n_dm, n_dt)."""
    least, greatest = _extremes(m)
    if not _is_for_pairs(t, greatest - least, tables):
        count_ordered(t, m, tables, row)
        return
    for i in range(t.size):
        t_steps[i] = np.int32((t[i] - t[0]) * tables.dt_scale)
        m_steps[i] = np.int32((m[i] - least) * tables.dm_scale)
    padded[:] = 0
    count_pairs(t, m, tables, t_steps, m_steps, padded)
    for b in range(row.shape[1]):
        first = ((b + 1) << SHIFT) + 1
        for k in range(row.shape[0]):
            row[k, b] = padded[first + k]


@njit(types.void(INTEGERS, FLOATS, FLOATS, FLOATS, TABLES, TABLE, types.boolean[::1]), nogil=True, cache=True)
def _fill(
    offsets: NDArray[np.int64],
    time: NDArray[np.float64],
    mag: NDArray[np.float64],
    mag_err: NDArray[np.float64],
    tables: Tables,
    table: NDArray[np.int64],
    is_sound: NDArray[np.bool_],
) -> None:
    """Write the counts of each light curve into `table`, and whether its values are sound."""
    longest = np.diff(offsets).max() if offsets.size > 1 else 0
    t_steps, m_steps = np.empty(longest, np.int32), np.empty(longest, np.int32)
    padded = np.empty((tables.dt_edges.size + 1) << SHIFT, np.uint32)
    for index in range(offsets.size - 1):
        first, last = offsets[index], offsets[index + 1]
        t, m = time[first:last], mag[first:last]
        n_bad, n_earlier = _defects(t, m, mag_err[first:last])
        is_sound[index] = n_bad == 0
        if n_bad > 0 or t.size < 2:
            table[index] = 0
            continue
        if n_earlier > 0:
            order = np.argsort(t, kind="mergesort")
            t, m = t[order], m[order]
        _count(t, m, tables, t_steps, m_steps, padded, table[index])


@njit(types.void(TABLE, types.boolean[::1], types.float32[:, :, ::1]), nogil=True, cache=True)
def _normalise(table: NDArray[np.int64], is_sound: NDArray[np.bool_], images: NDArray[np.float32]) -> None:
    """Write counts over their Frobenius norm; zeros where there is none, NaN for what is not sound."""
    for index in range(is_sound.size):
        if not is_sound[index]:
            images[index] = np.nan
            continue
        pairs, image = table[index].ravel(), images[index].ravel()
        squares = 0.0
        for k in range(pairs.size):
            squares += float(pairs[k]) * float(pairs[k])
        norm = math.sqrt(squares) if squares > 0.0 else 1.0
        for k in range(pairs.size):
            image[k] = pairs[k] / norm
