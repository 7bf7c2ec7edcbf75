"""The definition of a peak and of its significance, on a whole periodogram. Plain NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["find_peaks", "refine", "select_distinct"]


def find_peaks(
    statistic: NDArray[np.float64], excluded: NDArray[np.bool_], *, n_peaks: int, separation: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the best distinct peaks of one periodogram.

    A peak is a grid point above its left neighbour and not below its right one (a missing neighbour counts as lower),
    outside the excluded windows; the neighbours may lie inside, so the shoulder of an excluded peak is no peak. Peaks
    are taken by falling height, each at least `separation` grid steps from those taken before.

    Parameters
    ----------
    statistic
        Periodogram, finite, larger is better, float64 (n_frequencies,).
    excluded
        Grid points that do not count, bool (n_frequencies,).
    n_peaks
        How many to return at most.
    separation
        Least distance of two peaks, in grid steps.

    Returns
    -------
    position, height, significance
        Position in grid steps (refined), value at the grid point, and ``(height - mean) / std`` of the points that
        count; each float64 with as many entries as peaks were found. Significance is NaN where the scatter is zero.
    """
    left = np.concatenate(([-np.inf], statistic[:-1]))
    right = np.concatenate((statistic[1:], [-np.inf]))
    candidates = np.flatnonzero((statistic > left) & (statistic >= right) & ~excluded)
    chosen = candidates[select_distinct(candidates, statistic[candidates], n_peaks=n_peaks, separation=separation)]
    counted = statistic[~excluded]
    height = statistic[chosen]
    scatter = float(counted.std()) if counted.size else 0.0
    significance = (height - counted.mean()) / scatter if scatter > 0 else np.full(height.size, np.nan)
    return chosen + refine(left[chosen], height, right[chosen]), height, significance


def select_distinct(
    index: NDArray[np.int64], height: NDArray[np.float64], *, n_peaks: int, separation: int
) -> NDArray[np.int64]:
    """Return the candidates to take: highest first (ties: lowest index), each `separation` steps from the others."""
    taken: list[int] = []
    for candidate in np.lexsort((index, -height)):
        if len(taken) == n_peaks:
            break
        if all(abs(int(index[candidate]) - int(index[other])) >= separation for other in taken):
            taken.append(int(candidate))
    return np.array(taken, dtype=np.int64)


def refine(left: NDArray[np.float64], centre: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vertex of the parabola through three points, in steps from the middle one; 0 at the grid's ends."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = 0.5 * (left - right) / (left - 2.0 * centre + right)
    return np.where(np.isfinite(left) & np.isfinite(right) & np.isfinite(shift), shift, 0.0)
