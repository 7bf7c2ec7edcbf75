"""Lomb-Scargle power of few frequencies, evaluated one after the other with phasors that are turned: no transform.

For parts of a grid, where setting up the fast sums of `trig_sums` would cost more than they save. Imports numpy and numba.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

__all__ = ["fill_power"]

TWO_PI = 2.0 * math.pi
#: Determinant of cosine and sine below which a light curve does not tell them apart.
SINGULAR = 1e-9

FLOATS = types.float64[::1]


@njit(
    types.void(FLOATS, FLOATS, FLOATS, types.float64, types.float64, FLOATS, types.float64[:, ::1]),
    nogil=True,
    cache=True,
    fastmath={"reassoc", "contract", "nsz"},
    error_model="numpy",
)
def fill_power(
    t: NDArray[np.float64],
    y: NDArray[np.float64],
    weight: NDArray[np.float64],
    start: float,
    step: float,
    power: NDArray[np.float64],
    work: NDArray[np.float64],
) -> None:
    """Write the generalised Lomb-Scargle power (Zechmeister & Kuerster 2009) at evenly spaced frequencies.

    Parameters
    ----------
    t, y, weight
        Times [d], magnitudes less their weighted mean, weights of sum 1, float64 (n,).
    start, step
        First frequency and spacing [1/d].
    power
        Filled, float64 (n_frequencies,), in [0, 1]; 0 where cosine and sine cannot be told apart.
    work
        float64 (5, n) or larger.
    """
    n = t.size
    cosine, sine, turn_c, turn_s, weighted = work[0, :n], work[1, :n], work[2, :n], work[3, :n], work[4, :n]
    yy = 0.0
    for i in range(n):
        weighted[i] = weight[i] * y[i]
        yy += weighted[i] * y[i]
        cycles = t[i] * start
        angle = TWO_PI * (cycles - math.floor(cycles))
        cosine[i], sine[i] = math.cos(angle), math.sin(angle)
        cycles = t[i] * step
        angle = TWO_PI * (cycles - math.floor(cycles))
        turn_c[i], turn_s[i] = math.cos(angle), math.sin(angle)
    for j in range(power.size):
        c, s, cc, cs, yc, ys = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(n):
            ci, si = cosine[i], sine[i]
            wc = weight[i] * ci
            c += wc
            s += weight[i] * si
            cc += wc * ci
            cs += wc * si
            yc += weighted[i] * ci
            ys += weighted[i] * si
            cosine[i] = ci * turn_c[i] - si * turn_s[i]
            sine[i] = si * turn_c[i] + ci * turn_s[i]
        ss = 1.0 - cc - s * s
        cc -= c * c
        cs -= c * s
        determinant = cc * ss - cs * cs
        if determinant > SINGULAR and yy > 0.0:
            power[j] = (ss * yc * yc + cc * ys * ys - 2.0 * cs * yc * ys) / (determinant * yy)
        else:
            power[j] = 0.0
