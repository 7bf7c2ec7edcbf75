"""Which light curves of a batch share their exposures. Plain NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid

__all__ = ["LEAST_SHARED", "MAX_SPREAD", "Group", "find_groups"]

#: Times [d] closer than this may be the same exposure: 15 s. Surveys take 30 s or more from one to the next, and the
#: light travel time differs by 10 s across the largest field of one detector quadrant.
SAME_EXPOSURE = 15.0 / 86_400.0
#: Most that the times of one exposure may differ, in phase bins at the highest frequency.
MAX_SPREAD = 0.9
#: Least part of the exposures in which a light curve has a point, on average over the group.
LEAST_SHARED = 0.5
#: Relative difference of two grids in cycles per baseline that is rounding.
ROUNDING = 1e-13


@dataclass(frozen=True, kw_only=True)
class Group:
    """Light curves with the same first and last exposure, and what they share.

    Attributes
    ----------
    source
        Their indices in the batch, int64 (n_sources,).
    epoch
        Exposures in baselines from the first one, middle of the sources' own times, float64 (n_epochs,).
    reach
        Largest distance of a source's own time from `epoch`, float64 (n_epochs,).
    deviation
        Own time minus `epoch`, float32 (n_epochs, n_sources); 0 where there is no point.
    point
        Index of the source's point in order of time, int64 (n_epochs, n_sources); -1 where there is none.
    start, step
        First trial frequency and spacing in cycles per baseline.
    """

    source: NDArray[np.int64]
    epoch: NDArray[np.float64]
    reach: NDArray[np.float64]
    deviation: NDArray[np.float32]
    point: NDArray[np.int64]
    start: float
    step: float


def find_groups(
    curves: Mapping[int, Curve], first_epoch: NDArray[np.float64], grid: FrequencyGrid, *, least: int, n_bins: int
) -> list[Group]:
    """Return the groups of at least `least` light curves that can be searched together; each is in one at most.

    Parameters
    ----------
    curves
        Light curves by their index in the batch.
    first_epoch
        First time [d] of every light curve of the batch, float64 (n_sources,).
    grid
        One grid per light curve of the batch.
    least
        Fewest light curves of a group.
    n_bins
        Phase bins of the statistic.
    """
    indices = np.array(sorted(curves), dtype=np.int64)
    groups = []
    for same_start in _clusters(indices, first_epoch[indices]):
        last = np.array([first_epoch[index] + curves[int(index)].time[-1] for index in same_start])
        for members in _clusters(same_start, last):
            if members.size >= least:
                group = _group(members, curves, first_epoch, grid)
                if group is not None and _is_exact(group, grid, n_bins):
                    groups.append(group)
    return groups


def _clusters(indices: NDArray[np.int64], time: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Return the indices in groups whose times [d] follow each other closely, each group in ascending order."""
    if indices.size == 0:
        return []
    order = np.argsort(time, kind="stable")
    breaks = np.flatnonzero(np.diff(time[order]) > SAME_EXPOSURE) + 1
    return [np.sort(part) for part in np.split(indices[order], breaks)]


def _group(
    members: NDArray[np.int64], curves: Mapping[int, Curve], first_epoch: NDArray[np.float64], grid: FrequencyGrid
) -> Group | None:
    """Return the group of some light curves, or None where they do not share their exposures or grids."""
    baseline = np.array([curves[int(index)].time[-1] for index in members])
    cycles = np.stack((grid.minimum[members] * baseline, grid.step[members] * baseline))
    start, step = np.median(cycles, axis=1)
    if np.any(np.abs(cycles - [[start], [step]]) > ROUNDING * np.array([[start], [step]])):
        return None
    n_obs = np.array([curves[int(index)].time.size for index in members])
    source = np.repeat(np.arange(members.size), n_obs)
    elapsed = np.concatenate([curves[int(index)].time for index in members])
    exposure = _exposures(elapsed + np.repeat(first_epoch[members], n_obs), source)
    n_epochs = int(exposure.max()) + 1
    if elapsed.size < LEAST_SHARED * n_epochs * members.size:
        return None
    own = np.full((n_epochs, members.size), np.nan)
    point = np.full((n_epochs, members.size), -1, dtype=np.int64)
    own[exposure, source] = elapsed / baseline[source]
    point[exposure, source] = np.arange(elapsed.size) - np.repeat(np.cumsum(n_obs) - n_obs, n_obs)
    low, high = np.nanmin(own, axis=1), np.nanmax(own, axis=1)
    epoch = 0.5 * (low + high)
    deviation = np.where(point >= 0, own - epoch[:, None], 0.0).astype(np.float32)
    return Group(
        source=members,
        epoch=epoch,
        # Not less than any deviation as float32.
        reach=np.abs(deviation).max(axis=1).astype(np.float64) * (1.0 + 1e-6),
        deviation=deviation,
        point=point,
        start=float(start),
        step=float(step),
    )


def _exposures(time: NDArray[np.float64], source: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of the exposure of each point, int64 (n_points,), from 0 without gaps, in order of time.

    Several points of a source in one exposure (two entries of a catalogue, or exposures that cannot be told apart)
    count as several exposures.
    """
    order = np.lexsort((source, time))
    number = np.empty(time.size, dtype=np.int64)
    number[order] = np.concatenate(([0], np.cumsum(np.diff(time[order]) > SAME_EXPOSURE)))
    by_source = np.lexsort((time, source, number))
    is_new = np.ones(time.size, dtype=np.bool_)
    is_new[1:] = (np.diff(number[by_source]) != 0) | (np.diff(source[by_source]) != 0)
    start = np.maximum.accumulate(np.where(is_new, np.arange(time.size), 0))
    rank = np.empty(time.size, dtype=np.int64)
    rank[by_source] = np.arange(time.size) - start
    exposure: NDArray[np.int64] = np.unique(number * (rank.max() + 1) + rank, return_inverse=True)[1]
    return exposure


def _is_exact(group: Group, grid: FrequencyGrid, n_bins: int) -> bool:
    """Return whether no exposure spreads over more than two bins at the group's highest frequency."""
    highest = group.start + group.step * float(grid.n_frequencies[group.source].max())
    return bool(2.0 * n_bins * highest * group.reach.max() < MAX_SPREAD)
