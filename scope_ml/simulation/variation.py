"""What a shape is given and what it returns, and the few operations that all shapes share.

A shape draws one star's brightness changes at all visits of its quadrant, in all bands at once, so that what happens in one
band happens in the others too. Magnitudes grow downwards: a positive `delta` is fainter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BANDS",
    "FloatArray",
    "Shape",
    "Terms",
    "Variation",
    "Visits",
    "damped_random_walk",
    "fourier_series",
    "in_bands",
    "peak_to_peak",
    "phase",
]

FloatArray = NDArray[np.float64]

#: Amplitudes or phases of a series.
Terms = Sequence[float] | FloatArray

#: Bands by their code in `Visits.band`; ZTF's filter number is the code plus one.
BANDS = ("g", "r", "i")

#: Time from which phases are counted [d, HJD]; near the first visit, so that phases keep their digits.
PHASE_ZERO_HJD = 2458250.0

#: Phases at which a template's amplitude is measured.
TEMPLATE_GRID = np.linspace(0.0, 1.0, 128, endpoint=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Visits:
    """The visits of one star, sorted by time, all bands together.

    Attributes
    ----------
    time
        (n,) float64, heliocentric Julian date [d].
    band
        (n,) int8, index into `BANDS`.
    seeing
        (n,) float64, width of the stellar image [arcsec].
    airmass
        (n,) float64.
    """

    time: FloatArray
    band: NDArray[np.int8]
    seeing: FloatArray
    airmass: FloatArray

    def __len__(self) -> int:
        """Return the number of visits."""
        return int(self.time.size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Variation:
    """What a shape made.

    Attributes
    ----------
    delta
        (n,) float64, difference from the mean magnitude at each visit [mag], fainter is positive.
    period
        True period [d], NaN if there is none.
    tags
        Class tags that this realisation earned beside those of its population, such as ``saw``.
    """

    delta: FloatArray
    period: float = float("nan")
    tags: tuple[str, ...] = ()


#: (rng, visits, period [d], amplitude [mag, peak to peak in g]) -> variation; a law that a population lacks arrives as NaN.
Shape = Callable[[np.random.Generator, Visits, float, float], Variation]


def phase(time: FloatArray, period: float, shift: float = 0.0) -> FloatArray:
    """Return the phase of each `time` [d] in [0, 1) for a `period` [d]."""
    cycles = (time - PHASE_ZERO_HJD) / period + shift
    return cycles - np.floor(cycles)


def fourier_series(at: FloatArray, amplitudes: Terms, phases: Terms) -> FloatArray:
    """Return ``sum_k A_k cos(2 pi k at + phi_k)`` for k = 1, 2, ..., by Horner's rule on ``exp(2 pi i at)``."""
    turn = np.exp(2j * np.pi * at)
    total = np.zeros_like(turn)
    terms = np.asarray(amplitudes) * np.exp(1j * np.asarray(phases))
    for term in terms[::-1].tolist():
        total = (total + term) * turn
    series: FloatArray = total.real
    return series


def peak_to_peak(amplitudes: Terms, phases: Terms) -> float:
    """Return the full range of a Fourier series over a cycle."""
    return float(np.ptp(fourier_series(TEMPLATE_GRID, amplitudes, phases)))


def in_bands(band: NDArray[np.int8], ratios: Sequence[float]) -> FloatArray:
    """Return each visit's amplitude relative to the g band."""
    return np.asarray(ratios, dtype=np.float64)[band]


def damped_random_walk(rng: np.random.Generator, time: FloatArray, timescale: float, sigma: float) -> FloatArray:
    """Return a damped random walk (Ornstein-Uhlenbeck process) with mean 0 at sorted times.

    Kelly, Bechtold & Siemiginowska 2009, ApJ 698, 895: the autocorrelation is ``sigma^2 exp(-dt / timescale)``.

    Parameters
    ----------
    time
        (n,) float64, sorted [d].
    timescale
        Damping time [d].
    sigma
        Standard deviation over times much longer than `timescale` [mag].
    """
    decay = np.exp(-np.diff(time, prepend=time[:1]) / timescale)
    kicks = rng.standard_normal(time.size) * np.sqrt(1.0 - decay * decay)
    if time.size:
        kicks[0] = rng.standard_normal()
    # The recursion is sequential; plain floats in a list are several times faster here than array elements.
    values, last = [], 0.0
    for step, kick in zip(decay.tolist(), kicks.tolist(), strict=True):
        last = step * last + kick
        values.append(last)
    return sigma * np.asarray(values, dtype=np.float64)
