"""The trial frequencies of a period search: each light curve has its own grid, made from its own baseline.

SCoPe takes one grid for a whole quadrant, from the longest baseline in it, so a star's period depends on its
neighbours; here a light curve's result does not depend on its batch. May import `core` and `errors`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.peaks import SearchStatus

__all__ = [
    "MAX_BASELINE",
    "MAX_FREQUENCIES",
    "TERRESTRIAL_WINDOWS",
    "FrequencyGrid",
    "excluded_mask",
    "is_inside",
    "make_grid",
    "outside",
]

#: Longest grid that is searched: places in a grid are counted by 32-bit integers on some devices.
MAX_FREQUENCIES = 2**31 - 1

#: Longest baseline [d] that can be true: photographic plates span 150 years, one time stamp of 0 among Julian dates
#: makes 6,700.
MAX_BASELINE = 500 * 365.25

#: Cycles of the lowest frequency that fit into the baseline.
MIN_CYCLES = 2.0

#: Frequencies [1/d] where the day, the year and the month leave power in ground-based data (SCoPe's list, inclusive).
TERRESTRIAL_WINDOWS: tuple[tuple[float, float], ...] = (
    (0.0005, 0.0006),
    (0.000625, 0.00075),
    (0.000833, 0.001),
    (0.00125, 0.0015),
    (0.0025, 0.003),
    (0.005, 0.006),
    (0.03, 0.04),
    (0.32, 0.34),
    (0.48, 0.52),
    (0.95, 1.05),
    (1.95, 2.05),
    (2.95, 3.05),
    (3.95, 4.05),
)


@dataclass(frozen=True, kw_only=True)
class FrequencyGrid:
    """Evenly spaced trial frequencies, one grid per light curve: ``f_k = minimum + k * step``, ``k < n_frequencies``.

    Attributes
    ----------
    minimum, step
        Lowest frequency and spacing [1/d], float64 (n_sources,); NaN where there is no grid.
    n_frequencies
        Length, int64 (n_sources,); 0 where there is no grid.
    status
        `SearchStatus`, uint8 (n_sources,): why there is no grid, or OK.
    samples_per_peak
        Trial frequencies per ``1 / baseline``; peaks closer than this many steps are one peak.
    """

    minimum: NDArray[np.float64]
    step: NDArray[np.float64]
    n_frequencies: NDArray[np.int64]
    status: NDArray[np.uint8]
    samples_per_peak: int

    def frequencies(self, index: int, start: int = 0, stop: int | None = None) -> NDArray[np.float64]:
        """Return trial frequencies `start` to `stop` [1/d] of light curve `index`."""
        last = int(self.n_frequencies[index]) if stop is None else stop
        frequency: NDArray[np.float64] = self.minimum[index] + np.arange(start, last) * self.step[index]
        return frequency

    def bounds(self, index: int) -> tuple[float, float]:
        """Return the first and the last trial frequency [1/d] of light curve `index`."""
        first = float(self.minimum[index])
        return first, first + int(self.n_frequencies[index] - 1) * float(self.step[index])


def make_grid(
    batch: LightCurveBatch, *, max_frequency: float, samples_per_peak: int, min_frequency: float | None = None
) -> FrequencyGrid:
    """Return the grid of each light curve: from ``2 / baseline`` in steps of ``1 / (samples_per_peak * baseline)``.

    Parameters
    ----------
    batch
        Light curves; `time` in days, in any order.
    max_frequency
        Upper end [1/d], not reached exactly.
    samples_per_peak
        Trial frequencies per ``1 / baseline``, the width of a peak.
    min_frequency
        Lower end [1/d] instead of ``2 / baseline``.

    Returns
    -------
    FrequencyGrid
        With ``ceil((max_frequency - minimum) / step)`` frequencies each; none, and a status, where the baseline is
        zero, not finite, too short for the range, or so long that it must be wrong.
    """
    n = len(batch)
    baseline = _baseline(batch)
    status = np.zeros(n, dtype=np.uint8)
    status[~np.isfinite(baseline)] = SearchStatus.INVALID_POINTS
    status[np.diff(batch.offsets) == 0] = SearchStatus.TOO_FEW_POINTS
    status[(status == 0) & (baseline <= 0)] = SearchStatus.ZERO_BASELINE
    usable = status == 0
    minimum = np.full(n, np.nan)
    step = np.full(n, np.nan)
    minimum[usable] = MIN_CYCLES / baseline[usable] if min_frequency is None else min_frequency
    step[usable] = 1.0 / (samples_per_peak * baseline[usable])
    length = np.zeros(n)
    length[usable] = np.ceil((max_frequency - minimum[usable]) / step[usable])
    status[usable & (length < 1)] = SearchStatus.GRID_TOO_SHORT
    too_long = usable & ((length > MAX_FREQUENCIES) | (baseline > MAX_BASELINE))
    status[too_long] = SearchStatus.GRID_TOO_LONG
    length[status != 0] = 0
    return FrequencyGrid(
        minimum=minimum,
        step=step,
        n_frequencies=length.astype(np.int64),
        status=status,
        samples_per_peak=samples_per_peak,
    )


def excluded_mask(frequency: NDArray[np.float64], windows: tuple[tuple[float, float], ...]) -> NDArray[np.bool_]:
    """Return which of the ascending frequencies [1/d] lie in a window; both bounds belong to it."""
    mask = np.zeros(frequency.size, dtype=np.bool_)
    for low, high in windows:
        mask[np.searchsorted(frequency, low, "left") : np.searchsorted(frequency, high, "right")] = True
    return mask


def is_inside(frequency: float, windows: tuple[tuple[float, float], ...]) -> bool:
    """Return whether a frequency [1/d] lies in a window; both bounds belong to it."""
    return any(low <= frequency <= high for low, high in windows)


def outside(frequency: NDArray[np.float64], windows: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """Return frequencies [1/d], float64 (n,), with those that lie in a window moved just beyond its nearer bound."""
    result = frequency.copy()
    for low, high in windows:
        inside = (frequency >= low) & (frequency <= high)
        nearer = np.where(frequency - low < high - frequency, np.nextafter(low, -np.inf), np.nextafter(high, np.inf))
        result[inside] = nearer[inside]
    return result


def _baseline(batch: LightCurveBatch) -> NDArray[np.float64]:
    """Return last minus first time [d] of each light curve; NaN without points or where a time is not finite."""
    baseline = np.full(len(batch), np.nan)
    filled = np.flatnonzero(np.diff(batch.offsets) > 0)
    if filled.size:
        # Empty light curves share their offset with the next one, so the filled ones alone partition the points.
        starts = batch.offsets[filled]
        points = batch.time[starts[0] : batch.offsets[-1]]
        latest = np.maximum.reduceat(points, starts - starts[0])
        earliest = np.minimum.reduceat(points, starts - starts[0])
        with np.errstate(invalid="ignore"):
            baseline[filled] = latest - earliest
    return baseline
