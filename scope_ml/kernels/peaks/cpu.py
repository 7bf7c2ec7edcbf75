"""Peaks of a periodogram that comes in pieces: memory does not grow with the grid. Gives what `reference` defines."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scope_ml.kernels.peaks.reference import refine, select_distinct

__all__ = ["PeakCollector"]

#: Candidates held, as a multiple of those that can matter: the others are weeded out when the room is full.
SLACK = 4

#: Rows of the candidates' table: place in the grid (exact in float64) and the values left of the peak, at it, right of it.
PLACE, LEFT, HEIGHT, RIGHT = 0, 1, 2, 3

#: Entries of the state of a search: candidates held, and the height that a new one must exceed.
HELD, THRESHOLD = 0, 1


@njit("Tuple((float64, float64))(float64[::1])", nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _moments(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and sum of squared deviations; two passes over what is in the cache."""
    # Counted loops: numba's loop over elements is not made into vector instructions.
    mean = 0.0
    for i in range(values.size):
        mean += values[i]
    mean /= values.size
    squares = 0.0
    for i in range(values.size):
        squares += (values[i] - mean) * (values[i] - mean)
    return mean, squares


@njit("void(float64[:, ::1], float64[::1])", nogil=True, cache=True)
def _weed(candidates: NDArray[np.float64], state: NDArray[np.float64]) -> None:
    """Keep the highest candidates of a full table, of equals the first, in order."""
    best = np.argsort(-candidates[HEIGHT], kind="mergesort")[: candidates.shape[1] // SLACK]
    state[HELD] = best.size
    state[THRESHOLD] = candidates[HEIGHT, best[-1]]
    best.sort()
    for i in range(best.size):
        for row in range(4):
            candidates[row, i] = candidates[row, best[i]]


@njit("void(float64, float64, float64, int64, float64[:, ::1], float64[::1])", nogil=True, cache=True)
def _consider(
    left: float, value: float, right: float, place: int, candidates: NDArray[np.float64], state: NDArray[np.float64]
) -> None:
    """Add a point to the candidates if it is a local maximum and high enough."""
    if value > state[THRESHOLD] and value > left and value >= right:
        if state[HELD] == candidates.shape[1]:
            _weed(candidates, state)
        if value > state[THRESHOLD]:
            at = int(state[HELD])
            candidates[PLACE, at], candidates[HEIGHT, at] = place, value
            candidates[LEFT, at], candidates[RIGHT, at] = left, right
            state[HELD] += 1


@njit(
    "void(float64[::1], float64[::1], boolean[::1], int64, boolean, boolean, float64[:, ::1], float64[::1])",
    nogil=True,
    cache=True,
)
def _take_maxima(
    before: NDArray[np.float64],
    piece: NDArray[np.float64],
    excluded: NDArray[np.bool_],
    start: int,
    before_counts: bool,
    last: bool,
    candidates: NDArray[np.float64],
    state: NDArray[np.float64],
) -> None:
    """Add the local maxima of a piece that starts at grid point `start`, and the last point of the one before.

    Parameters
    ----------
    before
        Last two values before the piece, -inf where there are none.
    piece
        Values (n,).
    excluded
        Points that do not count, (n,) or none.
    start
        Place of the piece in the grid.
    before_counts
        Whether the last value before the piece does.
    last
        Whether the grid ends with the piece; if not, its last point waits for its right neighbour.
    candidates, state
        Table and state that are added to.
    """
    n = piece.size
    if before_counts:
        _consider(before[0], before[1], piece[0], start - 1, candidates, state)
    for i in range(n if last else n - 1):
        # Nearly all points fail the first question.
        if piece[i] <= state[THRESHOLD] or (excluded.size > 0 and excluded[i]):
            continue
        left = piece[i - 1] if i > 0 else before[1]
        right = piece[i + 1] if i < n - 1 else -np.inf
        _consider(left, piece[i], right, start + i, candidates, state)


@dataclass(kw_only=True)
class PeakCollector:
    """Takes a periodogram piece by piece and gives its best distinct peaks at the end; larger is better.

    Attributes
    ----------
    n_frequencies
        Length of the whole periodogram.
    n_peaks, separation
        As in `reference.find_peaks`.
    mean
        Of the points that count.
    """

    n_frequencies: int
    n_peaks: int
    separation: int
    mean: float = 0.0
    _done: int = 0
    _count: int = 0
    _squares: float = 0.0
    _before: NDArray[np.float64] = field(default_factory=lambda: np.full(2, -np.inf))
    _before_counts: bool = False
    _candidates: NDArray[np.float64] = field(init=False)
    _state: NDArray[np.float64] = field(default_factory=lambda: np.array([0.0, -np.inf]))

    def __post_init__(self) -> None:
        """Make room: each peak taken hides fewer than ``2 * separation`` others, so no more than these can matter."""
        self._candidates = np.empty((4, SLACK * self.n_peaks * 2 * self.separation))

    @property
    def scatter(self) -> float:
        """Standard deviation of the points that count; 0 before there are any."""
        return float(np.sqrt(self._squares / self._count)) if self._count else 0.0

    def add(self, statistic: NDArray[np.float64], excluded: NDArray[np.bool_] | None = None) -> None:
        """Take the next piece: finite values (n,), n >= 1, and which of them do not count, bool (n,)."""
        counted = statistic if excluded is None else statistic[~excluded]
        if counted.size:
            self._add_moments(counted.size, *_moments(counted))
        skipped = np.empty(0, dtype=np.bool_) if excluded is None else excluded
        last = self._done + statistic.size == self.n_frequencies
        _take_maxima(
            self._before, statistic, skipped, self._done, self._before_counts, last, self._candidates, self._state
        )
        self._before = np.concatenate((self._before, statistic[-2:]))[-2:]
        self._before_counts = not (skipped.size and skipped[-1])
        self._done += statistic.size

    def peaks(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return position [grid steps], height and significance of the best peaks, as `reference.find_peaks` does."""
        held = self._candidates[:, : int(self._state[HELD])]
        place = held[PLACE].astype(np.int64)
        chosen = select_distinct(place, held[HEIGHT], n_peaks=self.n_peaks, separation=self.separation)
        _, left, height, right = held[:, chosen]
        scatter = self.scatter
        significance = (height - self.mean) / scatter if scatter > 0 else np.full(height.size, np.nan)
        return place[chosen] + refine(left, height, right), height, significance

    def _add_moments(self, count: int, mean: float, squares: float) -> None:
        """Merge a piece's mean and sum of squares (Chan et al. 1979) without loss of digits."""
        total = self._count + count
        shift = mean - self.mean
        self._squares += squares + shift * shift * self._count * count / total
        self.mean += shift * count / total
        self._count = total
