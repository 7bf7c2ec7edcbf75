"""Analysis of variance of a group of light curves, piece by piece of the grid.

A tile is as many sources as a vector has lanes; the last one is filled up with sources that have no point. Exposures
are sorted into phase bins once for all tiles. Sums are float32: the error of F is below 1e-5 as long as the bins explain
less than nine tenths of the scatter; the few frequencies where they explain more are left to the usual kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scope_ml.kernels.analysis_of_variance import LEAST_WITHIN
from scope_ml.kernels.bands import normalise
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.peaks import SearchOptions
from scope_ml.kernels.shared_epochs.entries import BLOCK, fill_entries
from scope_ml.kernels.shared_epochs.groups import Group
from scope_ml.kernels.shared_epochs.lanes import SUM_LANES, add_bin

__all__ = ["MOST_EPOCHS", "MOST_EXPLAINED", "VarianceTiles"]


Number = TypeVar("Number", np.float32, np.uint8, np.uint16)

#: Most exposures: float32 sums keep their error, and 16 bits count them.
MOST_EPOCHS = 4096

#: Share of the sum of squares between bins above which float32 sums are not enough for F.
MOST_EXPLAINED = 0.9

#: Exposures in order of phase bin; see `entries.fill_entries`.
_ENTRIES = "i4[:, ::1], f4[:, ::1], i8[:, ::1]"


@njit(
    [f"void(f4[:, ::1], {count}[:, ::1], {_ENTRIES}, f4[:, ::1])" for count in ("u1", "u2")],
    nogil=True,
    cache=True,
    boundscheck=False,
)
def _sum_bins(
    rows: NDArray[np.float32],
    present: NDArray[np.uint8],
    order: NDArray[np.int32],
    threshold: NDArray[np.float32],
    bounds: NDArray[np.int64],
    sums: NDArray[np.float32],
) -> None:
    """Write the sum of ``sum**2 / count`` over the bins of a tile for a block of frequencies, (n, 64)."""
    sums[:] = 0.0
    for k in range(sums.shape[0]):
        entries, edges, limits, out = order[k], threshold[k], bounds[k], sums[k]
        for first in range(0, limits.size - 1, 3):
            if limits[first] < limits[first + 3]:
                add_bin(rows, present, entries, edges, limits, first, out)


@njit("void(f4[:, ::1], f8[::1], f8[::1], f8)", nogil=True, cache=True, error_model="numpy")
def _variance_ratio(
    out: NDArray[np.float32], total: NDArray[np.float64], factor: NDArray[np.float64], least: float
) -> None:
    """Turn sums between bins into F."""
    for lane in range(out.shape[0]):
        for k in range(out.shape[1]):
            between = np.float64(out[lane, k])
            within = max(total[lane] - between, least * total[lane])
            out[lane, k] = factor[lane] * between / within if total[lane] > 0.0 else 0.0


@njit("void(f4[:, ::1], f4[:, :])", nogil=True, cache=True)
def _transpose(sums: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write a tile's values, one frequency a row, into rows of one source each."""
    for lane in range(out.shape[0]):
        for k in range(out.shape[1]):
            out[lane, k] = sums[k, lane]


def folded(
    group: Group, n_bins: int, first: int, n_frequencies: int
) -> Iterator[tuple[int, int, tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]]]:
    """Yield begin and end of each block of trial frequencies from `first` on, and its entries."""
    order = np.empty((BLOCK, 2 * group.epoch.size), dtype=np.int32)
    threshold = np.empty((BLOCK, 2 * group.epoch.size), dtype=np.float32)
    bounds = np.empty((BLOCK, 3 * n_bins + 1), dtype=np.int64)
    for begin in range(0, n_frequencies, BLOCK):
        end = min(begin + BLOCK, n_frequencies)
        entries = order[: end - begin], threshold[: end - begin], bounds[: end - begin]
        start = group.start + (first + begin) * group.step
        fill_entries(group.epoch, group.reach, start, group.step, n_bins, *entries)
        yield begin, end, entries


def _tiled(table: NDArray[Number], n_lanes: int) -> NDArray[Number]:
    """Return ``table[epoch, source]`` as (n_tiles, n_epochs, n_lanes), filled up with zeros."""
    n_epochs, n_sources = table.shape
    n_tiles = -(-n_sources // n_lanes)
    padded = np.zeros((n_epochs, n_tiles * n_lanes), dtype=table.dtype)
    padded[:, :n_sources] = table
    return np.ascontiguousarray(padded.reshape(n_epochs, n_tiles, n_lanes).transpose(1, 0, 2))


def _spread(group: Group, columns: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return values of points in order of time as ``[epoch, source]``, NaN where there is no point."""
    table = np.full(group.point.shape, np.nan)
    for j, values in enumerate(columns):
        here = group.point[:, j] >= 0
        table[here, j] = values[group.point[here, j]]
    return table


@dataclass(frozen=True, kw_only=True)
class VarianceTiles:
    """F of the analysis of variance for the sources of a group.

    Attributes
    ----------
    group
        What is shared.
    n_bins
        Phase bins.
    rows
        Scaled magnitudes and then deviations, float32 (n_tiles, 2 * n_epochs, 64).
    present
        Whether there is a point, uint8 or uint16 (n_tiles, n_epochs, 64).
    total, factor
        Sum of squares and degrees of freedom of each lane, float64.
    """

    group: Group
    n_bins: int
    rows: NDArray[np.float32]
    present: NDArray[np.uint8] | NDArray[np.uint16]
    total: NDArray[np.float64]
    factor: NDArray[np.float64]

    @classmethod
    def of(cls, group: Group, curves: Sequence[Curve], options: SearchOptions) -> VarianceTiles:
        """Make the tiles of a group from its light curves, in the order of ``group.source``."""
        columns = []
        for curve in curves:
            mag = normalise(curve).mag if curve.n_bands > 1 else curve.mag
            mag = mag - mag.mean()
            columns.append(mag / (mag.std() or 1.0))
        values = np.nan_to_num(_spread(group, columns)).astype(np.float32)
        n_lanes = -(-values.shape[1] // SUM_LANES) * SUM_LANES
        total, factor = np.zeros(n_lanes), np.zeros(n_lanes)
        here = group.point >= 0
        n_obs = here.sum(axis=0)
        total[: n_obs.size] = np.sum(values.astype(np.float64) ** 2, axis=0)
        factor[: n_obs.size] = np.maximum(n_obs - options.n_phase_bins, 0) / (options.n_phase_bins - 1)
        narrow = group.epoch.size < 256
        return cls(
            group=group,
            n_bins=options.n_phase_bins,
            rows=np.concatenate((_tiled(values, SUM_LANES), _tiled(group.deviation, SUM_LANES)), axis=1),
            present=_tiled(here.astype(np.uint8), SUM_LANES) if narrow else _tiled(here.astype(np.uint16), SUM_LANES),
            total=total,
            factor=factor,
        )

    def evaluate(self, first: int, out: NDArray[np.float32]) -> None:
        """Write F at trial frequencies `first` and following into `out`, float32 (n_lanes, n)."""
        sums = np.empty((BLOCK, SUM_LANES), dtype=np.float32)
        for begin, end, entries in folded(self.group, self.n_bins, first, out.shape[1]):
            for tile in range(self.rows.shape[0]):
                part = sums[: end - begin]
                _sum_bins(self.rows[tile], self.present[tile], *entries, part)
                _transpose(part, out[tile * SUM_LANES : (tile + 1) * SUM_LANES, begin:end])
        _variance_ratio(out, self.total, self.factor, LEAST_WITHIN)

    def limit(self, lane: int) -> float:
        """Return the value of a lane from which on float32 is not enough."""
        return float(self.factor[lane]) * MOST_EXPLAINED / (1.0 - MOST_EXPLAINED)
