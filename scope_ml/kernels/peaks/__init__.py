"""What every period search returns: the best distinct peaks of each light curve and a status.

`reference` defines how peaks are taken from a periodogram, `cpu` does it in pieces as they are computed.
No numba here. May import `errors` only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["PeriodogramPeaks", "SearchOptions", "SearchStatus"]


class SearchStatus(IntEnum):
    """How the search of one light curve ended; anything but OK has NaN for peaks."""

    OK = 0
    #: Fewer points, or fewer distinct times, than the method needs.
    TOO_FEW_POINTS = 1
    #: A time, magnitude or error is not finite, or an error is not positive.
    INVALID_POINTS = 2
    #: All times are the same.
    ZERO_BASELINE = 3
    #: All magnitudes are the same.
    CONSTANT = 4
    #: Two cycles of the highest frequency do not fit into the baseline.
    GRID_TOO_SHORT = 5
    #: More trial frequencies than `grid.MAX_FREQUENCIES`.
    GRID_TOO_LONG = 6
    #: No local maximum outside the excluded windows.
    NO_PEAK = 7

    @property
    def label(self) -> str:
        """Name as it stands in tables."""
        return self.name.lower()


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What every search needs besides light curves and grid.

    Attributes
    ----------
    n_peaks
        Peaks to return per light curve.
    exclude
        Windows of frequency [1/d], bounds included, in which no peak counts and which mean and scatter leave out.
    """

    n_peaks: int = 1
    exclude: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class PeriodogramPeaks:
    """The best peaks of each light curve, best first; NaN where there are fewer.

    Attributes
    ----------
    frequency
        Frequency [1/d] of the peak, refined between grid points by a parabola, float64 (n_sources, n_peaks).
    statistic
        Value of the periodogram at the grid point of the peak, float64 (n_sources, n_peaks).
    significance
        ``(statistic - mean) / std`` over the periodogram outside the excluded windows, float64 (n_sources, n_peaks).
    status
        `SearchStatus` per light curve, uint8 (n_sources,).
    """

    frequency: NDArray[np.float64]
    statistic: NDArray[np.float64]
    significance: NDArray[np.float64]
    status: NDArray[np.uint8]

    @classmethod
    def empty(cls, n_sources: int, n_peaks: int) -> PeriodogramPeaks:
        """Return peaks that are all NaN with status OK, to be filled in."""
        return cls(
            frequency=np.full((n_sources, n_peaks), np.nan),
            statistic=np.full((n_sources, n_peaks), np.nan),
            significance=np.full((n_sources, n_peaks), np.nan),
            status=np.zeros(n_sources, dtype=np.uint8),
        )
