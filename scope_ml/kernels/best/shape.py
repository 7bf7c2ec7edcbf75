"""Shape of a folded light curve, and what it says about the number of humps in a cycle.

Eclipsing and ellipsoidal binaries fade twice a cycle, and a periodogram that sees two equal halves gives half of their
period. Folded with that, their curve has one minimum, the same to both sides, and is faint for the shorter part of the
cycle. Pulsating stars brighten faster than they fade and are bright for the shorter part, or are sinusoids. May import
the rooms `likelihood` and `series` of `best`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scope_ml.kernels.best.likelihood import fit_curve
from scope_ml.kernels.best.series import Series

__all__ = ["Shape", "eclipsing", "measure_shape", "one_minimum"]

#: Harmonics of the curve that is measured, and the power by which they may fall.
N_HARMONICS = 6
DECAY = np.array([2.0])

#: Phases at which the curve is looked at.
N_PHASES = 200

#: Largest part of the cycle in which an eclipsing star at half its period is faint, and largest share
#: of its variance that is not the same to both sides of the minimum.
FAINT_PART = 0.33
ASYMMETRY = 0.04

#: Cycles over which the shape must have been seen: the mean curve of a slow star that changes from cycle to cycle has
#: the shape of those that were observed.
N_CYCLES = 50

#: Amplitude of the even harmonics over that of the odd ones from which the curve has two minima a cycle. The harmonics
#: of a dip of any width fall, so that one dip a cycle has less than 1; two dips half a cycle apart add up in the even
#: harmonics and leave their difference to the odd ones.
TWO_MINIMA = 1.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A folded light curve in three numbers.

    Attributes
    ----------
    even_over_odd
        Root mean square of the even harmonics over that of the odd ones; above 1 there are two minima a cycle.
    faint_part
        Part of the cycle in which the star is fainter than the middle of its range.
    asymmetry
        Share of the variance that is odd about the axis about which it is most even.
    """

    even_over_odd: float
    faint_part: float
    asymmetry: float


def measure_shape(series: list[Series], frequency: float) -> Shape:
    """Return the shape of the curve of all series at a frequency [1/d], each counting by what it explains."""
    coefficient = np.zeros(N_HARMONICS, dtype=np.complex128)
    for part in series:
        fit = fit_curve(part, frequency, N_HARMONICS, DECAY)
        coefficient += fit.explained * part.share * part.weight.sum() * (fit.amplitude[::2] - 1j * fit.amplitude[1::2])
    harmonic = np.arange(1, N_HARMONICS + 1)
    size = np.abs(coefficient)
    odd, even = float((size[::2] ** 2).sum()), float((size[1::2] ** 2).sum())
    if not odd > 0:
        return Shape(even_over_odd=0.0, faint_part=0.5, asymmetry=0.0)
    turned = coefficient[:, None] * np.exp(2j * np.pi * harmonic[:, None] * (np.arange(N_PHASES) / N_PHASES))
    curve = turned.real.sum(axis=0)
    middle = 0.5 * (curve.max() + curve.min())
    return Shape(
        even_over_odd=float(np.sqrt(even / odd)),
        faint_part=float(np.mean(curve > middle)),
        asymmetry=float((turned.imag**2).sum(axis=0).min()) / (odd + even),
    )


def one_minimum(shape: Shape) -> bool:
    """Return whether the curve has one minimum a cycle: an eclipsing star's period is twice that of such a curve."""
    return shape.even_over_odd < TWO_MINIMA


def eclipsing(shape: Shape, n_cycles: float) -> bool:
    """Return whether a curve, the mean of so many cycles, is that of an eclipsing star folded with half its period."""
    narrow = shape.faint_part < FAINT_PART and shape.asymmetry < ASYMMETRY
    return narrow and one_minimum(shape) and n_cycles >= N_CYCLES
