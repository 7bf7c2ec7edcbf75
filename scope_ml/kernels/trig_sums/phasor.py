"""Phases exact at any frequency and baseline, and their cosine and sine, in numba.

A product of frequency and time has 20 to 30 bits of whole cycles that no one needs; here it is formed in two parts,
so that the fraction of a cycle keeps all its bits (Dekker 1971, Numerische Mathematik 18, 224).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["fill_phasors", "phases", "split", "two_product", "whole_phases"]

#: Veltkamp's constant: halves the 53 bits of a float64.
SPLITTER = 134217729.0

#: Bits after the point of the first part of a phase per lattice step; lattice indices below 2**27 multiply it exactly.
FRACTION = 67108864.0


@njit("void(f8, f8[::1], f8[::1])", nogil=True, cache=True, error_model="numpy")
def phases(frequency: float, time: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write ``frequency * time`` less whole cycles, in [-0.5, 0.5] cycles up to rounding, for each time [d]."""
    y = frequency * SPLITTER
    f_high = y - (y - frequency)
    f_low = frequency - f_high
    for i in range(time.size):
        t = time[i]
        product = frequency * t
        z = t * SPLITTER
        t_high = z - (z - t)
        t_low = t - t_high
        error = ((f_high * t_high - product) + f_high * t_low + f_low * t_high) + f_low * t_low
        out[i] = (product - np.rint(product)) + error


@njit("void(f8, f8[::1], f8[::1], f8[::1])", nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def whole_phases(index: float, high: NDArray[np.float64], low: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write ``index * (high + low)`` less whole cycles, for a whole number `index` and phases from `split`."""
    for i in range(high.size):
        product = index * high[i]
        out[i] = (product - np.rint(product)) + index * low[i]


@njit("void(f8[::1], f8[::1], f8[::1])", nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def fill_phasors(phase: NDArray[np.float64], cosine: NDArray[np.float64], sine: NDArray[np.float64]) -> None:
    """Write cosine and sine of phases [cycles], within 4e-16: Taylor series over half a cycle, no branch."""
    for i in range(phase.size):
        half = np.rint(2.0 * phase[i])
        # Whole cycles of what is taken away do not matter, half ones change the sign.
        sign = 1.0 - 2.0 * abs(half - 2.0 * np.rint(0.5 * half))
        x = (phase[i] - 0.5 * half) * 6.283185307179586476925
        y = x * x
        c = -8.896791392450573e-22
        c = c * y + 4.110317623312165e-19
        c = c * y - 1.5619206968586226e-16
        c = c * y + 4.779477332387385e-14
        c = c * y - 1.1470745597729725e-11
        c = c * y + 2.08767569878681e-09
        c = c * y - 2.755731922398589e-07
        c = c * y + 2.48015873015873e-05
        c = c * y - 0.001388888888888889
        c = c * y + 0.041666666666666664
        c = c * y - 0.5
        s = -3.868170170630684e-23
        s = s * y + 1.9572941063391263e-20
        s = s * y - 8.22063524662433e-18
        s = s * y + 2.8114572543455206e-15
        s = s * y - 7.647163731819816e-13
        s = s * y + 1.6059043836821613e-10
        s = s * y - 2.505210838544172e-08
        s = s * y + 2.7557319223985893e-06
        s = s * y - 0.0001984126984126984
        s = s * y + 0.008333333333333333
        s = s * y - 0.16666666666666666
        cosine[i] = sign * (c * y + 1.0)
        sine[i] = sign * (x + x * y * s)


def two_product(
    a: float | NDArray[np.float64], b: float | NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rounded product and what rounding left out: together they are ``a * b`` exactly."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    product = a * b
    a_high = a * SPLITTER - (a * SPLITTER - a)
    b_high = b * SPLITTER - (b * SPLITTER - b)
    a_low, b_low = a - a_high, b - b_high
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def split(spacing: float, time: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``spacing * time`` [cycles] in two parts, of which the first has `FRACTION`'s bits only."""
    product, error = two_product(spacing, time)
    high = np.rint(product * FRACTION) / FRACTION
    return high, (product - high) + error
