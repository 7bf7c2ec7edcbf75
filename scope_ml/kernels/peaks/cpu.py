"""Peaks of a periodogram that comes in pieces: memory does not grow with the grid. Gives what `reference` defines."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scope_ml.kernels.peaks.reference import refine, select_distinct

__all__ = ["PeakCollector"]


@njit(
    "Tuple((int64, int64, float64, float64))(float64[::1], boolean[::1], boolean, boolean, int64[::1])",
    nogil=True,
    cache=True,
)
def _scan(
    statistic: NDArray[np.float64], excluded: NDArray[np.bool_], first: bool, last: bool, found: NDArray[np.int64]
) -> tuple[int, int, float, float]:
    """Find the peaks among the inner points (and the ends of the grid) and the moments of the points from 2 on.

    Unless `first`, the first two points are the last two of the piece before, already counted in the moments.
    """
    n = statistic.size
    n_found = 0
    for i in range(n):
        if (i == 0 and not first) or (i == n - 1 and not last):
            continue
        if excluded[i]:
            continue
        value = statistic[i]
        if (i == 0 or value > statistic[i - 1]) and (i == n - 1 or value >= statistic[i + 1]):
            found[n_found] = i
            n_found += 1
    begin = 0 if first else 2
    count = 0
    total = 0.0
    for i in range(begin, n):
        if not excluded[i]:
            count += 1
            total += statistic[i]
    mean = total / count if count > 0 else 0.0
    squares = 0.0
    for i in range(begin, n):
        if not excluded[i]:
            squares += (statistic[i] - mean) ** 2
    return n_found, count, mean, squares


@dataclass(kw_only=True)
class PeakCollector:
    """Takes a periodogram piece by piece and gives its best distinct peaks at the end.

    Attributes
    ----------
    n_frequencies
        Length of the whole periodogram.
    n_peaks, separation
        As in `reference.find_peaks`.
    """

    n_frequencies: int
    n_peaks: int
    separation: int
    _done: int = 0
    _count: int = 0
    _mean: float = 0.0
    _squares: float = 0.0
    _tail: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    _tail_excluded: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=np.bool_))
    _index: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    _values: NDArray[np.float64] = field(default_factory=lambda: np.empty((3, 0)))

    def add(self, statistic: NDArray[np.float64], excluded: NDArray[np.bool_]) -> None:
        """Take the next piece: finite values (n,) and which of them do not count, bool (n,); n >= 2 but at the end."""
        first = self._done == 0
        values = np.concatenate((self._tail, statistic))
        skipped = np.concatenate((self._tail_excluded, excluded))
        start = self._done - self._tail.size
        self._done += statistic.size
        found = np.empty(values.size, dtype=np.int64)
        n_found, count, mean, squares = _scan(values, skipped, first, self._done == self.n_frequencies, found)
        self._add_moments(count, mean, squares)
        padded = np.concatenate(([-np.inf], values, [-np.inf]))
        at = found[:n_found]
        self._index = np.concatenate((self._index, at + start))
        self._values = np.concatenate((self._values, np.stack((padded[at], padded[at + 1], padded[at + 2]))), axis=1)
        self._prune()
        self._tail, self._tail_excluded = values[-2:], skipped[-2:]

    def peaks(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return position [grid steps], height and significance of the best peaks, as `reference.find_peaks` does."""
        chosen = select_distinct(self._index, self._values[1], n_peaks=self.n_peaks, separation=self.separation)
        left, height, right = self._values[:, chosen]
        scatter = float(np.sqrt(self._squares / self._count)) if self._count else 0.0
        significance = (height - self._mean) / scatter if scatter > 0 else np.full(height.size, np.nan)
        return self._index[chosen] + refine(left, height, right), height, significance

    def _add_moments(self, count: int, mean: float, squares: float) -> None:
        """Merge a piece's mean and sum of squares (Chan et al. 1979) without loss of digits."""
        if count == 0:
            return
        total = self._count + count
        shift = mean - self._mean
        self._squares += squares + shift * shift * self._count * count / total
        self._mean += shift * count / total
        self._count = total

    def _prune(self) -> None:
        """Keep the highest candidates only: each taken peak can hide fewer than ``2 * separation`` others."""
        limit = self.n_peaks * 2 * self.separation
        if self._index.size > limit:
            keep = np.sort(np.lexsort((self._index, -self._values[1]))[:limit])
            self._index, self._values = self._index[keep], self._values[:, keep]
