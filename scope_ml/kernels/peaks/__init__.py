"""What every period search returns: the best distinct peaks of each light curve and a status.

`reference` defines how peaks are taken from a periodogram, `cpu` does it in pieces as they are computed.
No numba here. May import `errors` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["PeriodogramPeaks", "SearchOptions", "SearchStatus", "Spectrum"]


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
    #: More trial frequencies than `grid.MAX_FREQUENCIES`, or a baseline above `grid.MAX_BASELINE`.
    GRID_TOO_LONG = 6
    #: No local maximum outside the excluded windows, or the same value everywhere.
    NO_PEAK = 7
    #: No search was asked for.
    NOT_SEARCHED = 8

    @property
    def label(self) -> str:
        """Name as it stands in tables."""
        return self.name.lower()


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What searches need besides light curves and grid; each method reads what concerns it.

    Attributes
    ----------
    n_peaks
        Peaks to return per light curve.
    exclude
        Windows of frequency [1/d], bounds included, in which no peak counts and which mean and scatter leave out.
    n_phase_bins
        Bins in phase: ce, aov, pdm, fpw.
    n_mag_bins, wrap
        ce: bins in magnitude; whether the faintest point falls into the brightest bin, as in SCoPe's periodfind.
    n_harmonics
        mhaov: sinusoids fitted together.
    n_box_bins, q_min, q_max
        bls: bins in phase, and the shortest and longest box as a fraction of the period.
    n_candidates, aov_everywhere
        ls_ce_aov: peaks that ls and ce propose each; whether aov is computed over the whole grid, as SCoPe does, or at
        the candidates and a sample of it alone.
    shared_epochs
        aov: fold the exposures that light curves of a batch share once for all of them (`kernels.shared_epochs`).
    return_spectrum
        Keep the whole periodogram of each light curve.
    """

    n_peaks: int = 1
    exclude: tuple[tuple[float, float], ...] = ()
    n_phase_bins: int = 20
    n_mag_bins: int = 10
    wrap: bool = False
    n_harmonics: int = 3
    n_box_bins: int = 50
    q_min: float = 0.01
    q_max: float = 0.5
    n_candidates: int = 10
    aov_everywhere: bool = True
    shared_epochs: bool = False
    return_spectrum: bool = False


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """A whole periodogram of one light curve.

    Attributes
    ----------
    frequency
        Trial frequencies [1/d], float64 (n_frequencies,).
    statistic
        Float64 (n_frequencies,).
    """

    frequency: NDArray[np.float64]
    statistic: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PeriodogramPeaks:
    """The best peaks of each light curve, best first; NaN where there are fewer.

    Attributes
    ----------
    frequency
        Frequency [1/d] of the peak, refined between grid points, float64 (n_sources, n_peaks).
    statistic
        Value of the periodogram at the grid point of the peak, float64 (n_sources, n_peaks).
    significance
        Distance of the statistic from the mean of the periodogram outside the excluded windows, in its standard
        deviations; positive, whether the method looks for maxima or minima. Float64 (n_sources, n_peaks).
    false_alarm_probability
        Probability that noise alone gives such a peak somewhere in the grid; NaN where no theory gives it. Float64
        (n_sources, n_peaks).
    status
        `SearchStatus` per light curve, uint8 (n_sources,).
    spectra
        Whole periodograms, None for light curves without one; empty unless asked for.
    components
        Peaks of the searches that this one is made of, by short name: ls, ce and aov for ls_ce_aov.
    """

    frequency: NDArray[np.float64]
    statistic: NDArray[np.float64]
    significance: NDArray[np.float64]
    false_alarm_probability: NDArray[np.float64]
    status: NDArray[np.uint8]
    spectra: list[Spectrum | None] = field(default_factory=list)
    components: Mapping[str, PeriodogramPeaks] = field(default_factory=dict)

    @classmethod
    def empty(cls, n_sources: int, n_peaks: int, components: Mapping[str, int] | None = None) -> PeriodogramPeaks:
        """Return peaks that are all NaN with status OK, to be filled in; `components` gives their n_peaks."""
        return cls(
            frequency=np.full((n_sources, n_peaks), np.nan),
            statistic=np.full((n_sources, n_peaks), np.nan),
            significance=np.full((n_sources, n_peaks), np.nan),
            false_alarm_probability=np.full((n_sources, n_peaks), np.nan),
            status=np.zeros(n_sources, dtype=np.uint8),
            components={name: cls.empty(n_sources, count) for name, count in (components or {}).items()},
        )
