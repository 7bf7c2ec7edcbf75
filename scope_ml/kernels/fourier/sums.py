"""Sums over the points of a light curve of which the normal equations of its Fourier fit consist, in numba.

The terms are 1, a time x from -1 to 1, and cosine and sine of n times the phase angle for n up to 5. Products of two
of them are, by the product formulae, cosines and sines of up to 10 times the angle, whose weighted sums are all that
the points are needed for. Multiples of the angle follow from one another by Chebyshev's recurrence. Each loop takes
few arrays and keeps its sums in registers, so that the compiler runs it on vectors. May import `trig_sums`.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.kernels.trig_sums.phasor import SPLITTER, fill_phasors

__all__ = [
    "FLOATS",
    "N_ROWS",
    "N_SUMS",
    "ROW",
    "TABLE",
    "centre",
    "chi2_of",
    "fill_points",
    "fill_sums",
    "padded",
    "start_and_end",
]

#: Input columns; a batch is read-only.
FLOATS = types.Array(types.float64, 1, "C", readonly=True)
#: Rows of a workspace, and workspaces.
ROW = types.float64[::1]
TABLE = types.float64[:, ::1]

#: Rows of weighted sums: of x times each term, of the magnitude times each term, of the cosines of 0, 1, ... 10 times
#: the angle, of the sines.
N_SUMS = 4

#: Rows of the points of a light curve: weight, magnitude less the mean [mag], x, cosine, sine, phase [cycles].
N_ROWS = 6

#: Points are filled up with points of weight 0 to a multiple of this: loops on vectors have no rest.
LANES = 8

#: No NaN is assumed away: one in a light curve must show in its sums.
LOOP = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}


@njit("i8(i8)", nogil=True, cache=True)
def padded(n: int) -> int:
    """Return how many points a light curve of `n` points is filled up to."""
    return (n + LANES - 1) // LANES * LANES


@njit(types.UniTuple(types.float64, 2)(types.float64, types.float64), nogil=True, cache=True)
def _two_product(a: float, b: float) -> tuple[float, float]:
    """Return the rounded product and what rounding left out (Dekker 1971, Numerische Mathematik 18, 224)."""
    product = a * b
    a_high = a * SPLITTER - (a * SPLITTER - a)
    b_high = b * SPLITTER - (b * SPLITTER - b)
    a_low, b_low = a - a_high, b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


@njit(types.int64(FLOATS, ROW), **LOOP)
def _weigh(mag_err: NDArray[np.float64], weight: NDArray[np.float64]) -> int:
    """Write the weights; return how many of them and of the errors are positive."""
    n_good = 0
    for i in range(mag_err.size):
        inverse = 1.0 / (mag_err[i] * mag_err[i])
        weight[i] = inverse
        n_good += 1 if (mag_err[i] > 0.0) & (inverse > 0.0) else 0
    return n_good


@njit(types.int64(FLOATS), **LOOP)
def _n_falls(time: NDArray[np.float64]) -> int:
    """Return how many times are before the one before them."""
    n = 0
    for i in range(1, time.size):
        n += 1 if time[i] < time[i - 1] else 0
    return n


@njit(types.UniTuple(types.float64, 2)(FLOATS), nogil=True, cache=True)
def start_and_end(time: NDArray[np.float64]) -> tuple[float, float]:
    """Return the first and the last of finite times, which as a rule are in order."""
    start, end = time[0], time[time.size - 1]
    if _n_falls(time) > 0:
        for i in range(time.size):
            start, end = min(start, time[i]), max(end, time[i])
    return start, end


@njit(types.float64(FLOATS, ROW), **LOOP)
def centre(mag: NDArray[np.float64], out: NDArray[np.float64]) -> float:
    """Write the magnitudes less their mean; return it. The mean of equal magnitudes is exact."""
    first, total = mag[0], 0.0
    for i in range(mag.size):
        total += mag[i] - first
    mean = first + total / mag.size
    for i in range(mag.size):
        out[i] = mag[i] - mean
    return float(mean)


@njit(
    types.void(FLOATS, types.float64, types.float64, types.float64, ROW, ROW),
    nogil=True,
    cache=True,
    error_model="numpy",
    fastmath={"contract"},
)
def _place(
    time: NDArray[np.float64],
    start: float,
    baseline: float,
    period: float,
    x: NDArray[np.float64],
    phase: NDArray[np.float64],
) -> None:
    """Write x and the phase [cycles], which is as exact as `fourier.phase_of`."""
    per_half, frequency = 2.0 / baseline, 1.0 / period
    product, error = _two_product(frequency, period)
    # What rounding took from the frequency; reassociation would add the two and lose it.
    rest = ((1.0 - product) - error) / period
    start_phase = np.fmod(start, period) / period
    for i in range(time.size):
        elapsed = time[i] - start
        x[i] = elapsed * per_half - 1.0
        phase[i] = start_phase + (elapsed * frequency + elapsed * rest)


@njit(types.UniTuple(types.float64, 2)(FLOATS, FLOATS, FLOATS, types.float64, TABLE), nogil=True, cache=True)
def fill_points(
    time: NDArray[np.float64],
    mag: NDArray[np.float64],
    mag_err: NDArray[np.float64],
    period: float,
    points: NDArray[np.float64],
) -> tuple[float, float]:
    """Write the points of a light curve, float64 (`N_ROWS`, n_padded); return its baseline and mean magnitude.

    The baseline is 0 where there is nothing to fit, or an error is not positive or too large for a weight; a value
    that is not finite shows in the sums.
    """
    n = time.size
    weight, centred, x, phase = points[0], points[1], points[2], points[5]
    if _weigh(mag_err, weight) < n:
        return 0.0, 0.0
    start, end = start_and_end(time)
    baseline = end - start
    if not (0.0 < baseline < np.inf):
        return 0.0, 0.0
    mean = centre(mag, centred)
    _place(time, start, baseline, period, x, phase)
    for i in range(n, weight.size):
        weight[i] = centred[i] = x[i] = phase[i] = 0.0
    fill_phasors(phase, points[3], points[4])
    return baseline, mean


@njit(types.UniTuple(types.float64, 11)(ROW, ROW, ROW, ROW), **LOOP)
def _sum_terms(
    weight: NDArray[np.float64],
    factor: NDArray[np.float64],
    cosine: NDArray[np.float64],
    sine: NDArray[np.float64],
) -> tuple[float, ...]:
    """Return the weighted sums of a factor, and of it times cosine and sine of 1, 2, ... 5 times the angle."""
    total = c1 = s1 = c2 = s2 = c3 = s3 = c4 = s4 = c5 = s5 = 0.0
    for i in range(weight.size):
        twice = 2.0 * cosine[i]
        u0 = weight[i] * factor[i]
        u1, v1 = u0 * cosine[i], u0 * sine[i]
        u2, v2 = twice * u1 - u0, twice * v1
        u3, v3 = twice * u2 - u1, twice * v2 - v1
        u4, v4 = twice * u3 - u2, twice * v3 - v2
        u5, v5 = twice * u4 - u3, twice * v4 - v3
        total += u0
        c1 += u1
        s1 += v1
        c2 += u2
        s2 += v2
        c3 += u3
        s3 += v3
        c4 += u4
        s4 += v4
        c5 += u5
        s5 += v5
    return total, c1, s1, c2, s2, c3, s3, c4, s4, c5, s5


@njit(types.UniTuple(types.float64, 11)(ROW, ROW, ROW), **LOOP)
def _sum_even(weight: NDArray[np.float64], cosine: NDArray[np.float64], sine: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the sums of weights, and of them times cosine and sine of 2, 4, ... 10 times the angle."""
    total = c1 = s1 = c2 = s2 = c3 = s3 = c4 = s4 = c5 = s5 = 0.0
    for i in range(weight.size):
        u0, c, s = weight[i], cosine[i], sine[i]
        doubled = 1.0 - 2.0 * s * s
        twice = 2.0 * doubled
        u1, v1 = u0 * doubled, u0 * (2.0 * c * s)
        u2, v2 = twice * u1 - u0, twice * v1
        u3, v3 = twice * u2 - u1, twice * v2 - v1
        u4, v4 = twice * u3 - u2, twice * v3 - v2
        u5, v5 = twice * u4 - u3, twice * v4 - v3
        total += u0
        c1 += u1
        s1 += v1
        c2 += u2
        s2 += v2
        c3 += u3
        s3 += v3
        c4 += u4
        s4 += v4
        c5 += u5
        s5 += v5
    return total, c1, s1, c2, s2, c3, s3, c4, s4, c5, s5


@njit(types.UniTuple(types.float64, 10)(ROW, ROW, ROW), **LOOP)
def _sum_odd(weight: NDArray[np.float64], cosine: NDArray[np.float64], sine: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the sums of weights times cosine and sine of 1, 3, ... 9 times the angle."""
    c1 = s1 = c3 = s3 = c5 = s5 = c7 = s7 = c9 = s9 = 0.0
    for i in range(weight.size):
        # Of -1 times the angle the cosine is the same, the sine the opposite.
        u0, c, s = weight[i], cosine[i], sine[i]
        twice = 2.0 - 4.0 * s * s
        u1, v1 = u0 * c, u0 * s
        u3, v3 = twice * u1 - u1, twice * v1 + v1
        u5, v5 = twice * u3 - u1, twice * v3 - v1
        u7, v7 = twice * u5 - u3, twice * v5 - v3
        u9, v9 = twice * u7 - u5, twice * v7 - v5
        c1 += u1
        s1 += v1
        c3 += u3
        s3 += v3
        c5 += u5
        s5 += v5
        c7 += u7
        s7 += v7
        c9 += u9
        s9 += v9
    return c1, s1, c3, s3, c5, s5, c7, s7, c9, s9


@njit(types.UniTuple(types.float64, 3)(ROW, ROW, ROW), **LOOP)
def _sum_squares(
    weight: NDArray[np.float64], x: NDArray[np.float64], centred: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return the weighted sums of x^2, of x times magnitude, of magnitude^2."""
    of_x = of_both = of_mag = 0.0
    for i in range(weight.size):
        weighted_x, weighted = weight[i] * x[i], weight[i] * centred[i]
        of_x += weighted_x * x[i]
        of_both += weighted_x * centred[i]
        of_mag += weighted * centred[i]
    return of_x, of_both, of_mag


@njit(types.float64(TABLE, TABLE), nogil=True, cache=True)
def fill_sums(points: NDArray[np.float64], sums: NDArray[np.float64]) -> float:
    """Write `sums`, float64 (`N_SUMS`, 12); return the weighted sum of the squares of the magnitudes."""
    weight, centred, x, cosine, sine = points[0], points[1], points[2], points[3], points[4]
    for row in range(2):
        out, factor = sums[row], x if row == 0 else centred
        total, c1, s1, c2, s2, c3, s3, c4, s4, c5, s5 = _sum_terms(weight, factor, cosine, sine)
        out[0], out[2], out[3], out[4], out[5], out[6] = total, c1, s1, c2, s2, c3
        out[7], out[8], out[9], out[10], out[11] = s3, c4, s4, c5, s5
    sums[0, 1], sums[1, 1], square = _sum_squares(weight, x, centred)
    of_c, of_s = sums[2], sums[3]
    total, c1, s1, c2, s2, c3, s3, c4, s4, c5, s5 = _sum_even(weight, cosine, sine)
    of_c[0], of_c[2], of_c[4], of_c[6], of_c[8], of_c[10] = total, c1, c2, c3, c4, c5
    of_s[0], of_s[2], of_s[4], of_s[6], of_s[8], of_s[10] = 0.0, s1, s2, s3, s4, s5
    c1, s1, c2, s2, c3, s3, c4, s4, c5, s5 = _sum_odd(weight, cosine, sine)
    of_c[1], of_c[3], of_c[5], of_c[7], of_c[9] = c1, c2, c3, c4, c5
    of_s[1], of_s[3], of_s[5], of_s[7], of_s[9] = s1, s2, s3, s4, s5
    return float(square)


@njit(types.float64(TABLE, ROW), **LOOP)
def chi2_of(points: NDArray[np.float64], coefficients: NDArray[np.float64]) -> float:
    """Return chi2 of the points about the curve of the coefficients, of which those of all 12 terms are given."""
    weight, centred, x, cosine, sine = points[0], points[1], points[2], points[3], points[4]
    constant, slope = coefficients[0], coefficients[1]
    a1, b1, a2, b2, a3 = coefficients[2], coefficients[3], coefficients[4], coefficients[5], coefficients[6]
    b3, a4, b4, a5, b5 = coefficients[7], coefficients[8], coefficients[9], coefficients[10], coefficients[11]
    chi2 = 0.0
    for i in range(weight.size):
        c1, s1 = cosine[i], sine[i]
        twice = 2.0 * c1
        c2, s2 = twice * c1 - 1.0, twice * s1
        c3, s3 = twice * c2 - c1, twice * s2 - s1
        c4, s4 = twice * c3 - c2, twice * s3 - s2
        c5, s5 = twice * c4 - c3, twice * s4 - s3
        line = constant + slope * x[i]
        curve = a1 * c1 + b1 * s1 + a2 * c2 + b2 * s2 + a3 * c3 + b3 * s3 + a4 * c4 + b4 * s4 + a5 * c5 + b5 * s5
        left = centred[i] - line - curve
        chi2 += weight[i] * left * left
    return chi2
