"""How far a sorted vector is from a normal distribution: Anderson-Darling's A^2 and Shapiro-Wilk's W.

ln(Phi(z)) and ln(Phi(-z)) of a point come together, from their even sum and odd difference, each a quotient of two
polynomials in z^2 that is good to rounding up to |z| = 4. The few points beyond take the error function; as the
vector is sorted they are its ends, so the loop over the rest has no branch. May import `sorting`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.kernels.statistics.sorting import VECTOR

__all__ = ["anderson_darling", "fill_weights", "moments", "shapiro_wilk"]

LOOP = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract", "reassoc"}}

#: |z| up to which the quotients hold.
NEAR = 4.0
#: z below which ln(Phi(z)) comes from its asymptotic series: erfc underflows at z = -38.
FAR_TAIL = -25.0
#: Up to this distance of a probability from 1/2, AS 111 takes its central form.
CENTRAL = 0.42


@njit(types.UniTuple(types.float64, 3)(VECTOR), **LOOP)
def moments(ordered: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return a value in the middle, the mean's distance from it, and the sum of squares about the mean; n >= 1."""
    n = ordered.size
    centre = ordered[n // 2]
    total = 0.0
    for i in range(n):
        total += ordered[i] - centre
    offset = total / n
    squares = 0.0
    for i in range(n):
        squares += ((ordered[i] - centre) - offset) ** 2
    return centre, offset, squares


@njit(types.float64(types.float64), nogil=True, cache=True)
def _log_normal_cdf(z: float) -> float:
    """Return ln(Phi(z)) to full relative precision."""
    if z > 0.0:
        return math.log1p(-0.5 * math.erfc(z / math.sqrt(2.0)))
    if z > FAR_TAIL:
        return math.log(0.5 * math.erfc(-z / math.sqrt(2.0)))
    inverse = 1.0 / (z * z)
    series = 1.0 - inverse * (1.0 - 3.0 * inverse * (1.0 - 5.0 * inverse * (1.0 - 7.0 * inverse)))
    return -0.5 * z * z - math.log(-z) - 0.5 * math.log(2.0 * math.pi) + math.log(series)


@njit(types.float64(types.float64, types.float64, types.float64), **LOOP, inline="always")
def _near(z: float, n: float, rank: float) -> float:
    """Return n (ln Phi(z) + ln Phi(-z)) + rank (ln Phi(z) - ln Phi(-z)) for |z| <= `NEAR`.

    Least squares of the relative error at Chebyshev points in |z|; largest error 4e-16, all terms of one sign.
    """
    u = z * z
    a = -1.092225010191213e-09 * u - 8.279706103103312e-08
    a = ((a * u - 3.0967477266878404e-06) * u - 8.08399200987345e-05) * u - 0.0014097977975516237
    a = ((a * u - 0.018535129353779392) * u - 0.15292090373011302) * u - 0.9100173122593584
    a = a * u - 1.3862943611198906
    b = 1.217759428633899e-14 * u + 2.1730108145014844e-09
    b = ((b * u + 1.5023062183474728e-07) * u + 5.373329152451217e-06) * u + 0.00013236016455473538
    b = ((b * u + 0.0021900984478044868) * u + 0.02664253036010169) * u + 0.19721463749654566
    b = b * u + 1.0
    c = 5.591761337712311e-12 * u + 3.4895791338046382e-09
    c = ((c * u + 2.7330188810982614e-07) * u + 1.0455947407336331e-05) * u + 0.00025811794472023166
    c = ((c * u + 0.004193041097787074) * u + 0.0485542244909317) * u + 0.3449026872487947
    c = c * u + 1.5957691216057306
    d = 4.1472697657041024e-10 * u + 6.880659714888744e-08
    d = ((d * u + 3.1053436290606276e-06) * u + 9.447070947094153e-05) * u + 0.0016669274929484528
    d = ((d * u + 0.022704277465020076) * u + 0.1705957828409774) * u + 1.0
    return (n * (a * d) + rank * z * (c * b)) / (b * d)


@njit(types.float64(VECTOR, types.float64, types.float64, types.float64, VECTOR), **LOOP)
def anderson_darling(
    ordered: NDArray[np.float64], centre: float, offset: float, squares: float, counting: NDArray[np.float64]
) -> float:
    """Return A^2 against a normal with the vector's own mean and scatter (n - 1); n >= 2, not all equal.

    Parameters
    ----------
    ordered
        Sorted, float64 (n,).
    centre, offset, squares
        What `moments` gives.
    counting
        0, 1, 2, ..., float64 (n,).
    """
    n = ordered.size
    inverse = 1.0 / math.sqrt(squares / (n - 1))
    # The weights of ln Phi(z_i) and ln Phi(-z_i) are 2i + 1 and 2(n - 1 - i) + 1, with i from 0.
    total = 0.0
    first = 0
    while first < n and ((ordered[first] - centre) - offset) * inverse < -NEAR:
        z = ((ordered[first] - centre) - offset) * inverse
        total += (2 * first + 1) * _log_normal_cdf(z) + (2 * (n - 1 - first) + 1) * _log_normal_cdf(-z)
        first += 1
    last = n
    while last > first and ((ordered[last - 1] - centre) - offset) * inverse > NEAR:
        last -= 1
        z = ((ordered[last] - centre) - offset) * inverse
        total += (2 * last + 1) * _log_normal_cdf(z) + (2 * (n - 1 - last) + 1) * _log_normal_cdf(-z)
    size = float(n)
    near = 0.0
    middle, ranks = ordered[first:last], counting[first:last]
    for i in range(middle.size):
        z = ((middle[i] - centre) - offset) * inverse
        near += _near(z, size, 2.0 * ranks[i] + (1.0 - size))
    return -n - (total + near) / n


@njit(types.void(types.int64, VECTOR, VECTOR), **LOOP)
def _fill_quantiles(n: int, quantiles: NDArray[np.float64], counting: NDArray[np.float64]) -> None:
    """Write -Phi^-1((i + 5/8) / (n + 1/4)), i = 0 to n // 2 - 1, by AS 111 (Beasley & Springer 1977).

    To 1e-8 only, but AS R94 was built on these.
    """
    half = n // 2
    step = 1.0 / (n + 0.25)
    first = 0
    while first < half and 0.5 - (first + 0.625) * step > CENTRAL:
        r = math.sqrt(-math.log((first + 0.625) * step))
        above = ((2.32121276858 * r + 4.85014127135) * r - 2.29796479134) * r - 2.78718931138
        quantiles[first] = above / ((1.63706781897 * r + 3.54388924762) * r + 1.0)
        first += 1
    central, ranks = quantiles[first:half], counting[first:half]
    for i in range(central.size):
        q = 0.5 - (ranks[i] + 0.625) * step
        r = q * q
        above = ((-25.44106049637 * r + 41.39119773534) * r - 18.61500062529) * r + 2.50662823884
        below = (((3.13082909833 * r - 21.06224101826) * r + 23.08336743743) * r - 8.47351093090) * r + 1.0
        central[i] = q * above / below


@njit(types.float64(VECTOR), **LOOP)
def _squares(values: NDArray[np.float64]) -> float:
    """Return the sum of squares."""
    total = 0.0
    for i in range(values.size):
        total += values[i] * values[i]
    return total


@njit(types.float64(types.int64, VECTOR, VECTOR), **LOOP)
def fill_weights(n: int, weights: NDArray[np.float64], counting: NDArray[np.float64]) -> float:
    """Write the weights of W by AS R94 (Royston 1995) into `weights` and return the sum of squares of all; n >= 3.

    Parameters
    ----------
    n
        Number of points.
    weights
        Result, float64 (n // 2,) or longer: those of the largest points; the smallest have the same with a minus.
    counting
        0, 1, 2, ..., float64 (n // 2,) or longer.
    """
    half = weights[: n // 2]
    if n == 3:
        half[0] = math.sqrt(0.5)
        return 1.0
    _fill_quantiles(n, half, counting)
    norm = 2.0 * _squares(half)
    u = 1.0 / math.sqrt(n)
    last = half[0] / math.sqrt(norm)
    last += u * (0.221157 + u * (-0.147981 + u * (-2.071190 + u * (4.434685 - u * 2.706056))))
    if n > 5:
        second = half[1] / math.sqrt(norm)
        second += u * (0.042981 + u * (-0.293762 + u * (-1.752461 + u * (5.682633 - u * 3.582633))))
        left = norm - 2.0 * half[0] ** 2 - 2.0 * half[1] ** 2
        scale = math.sqrt((1.0 - 2.0 * last**2 - 2.0 * second**2) / left)
    else:
        scale = math.sqrt((1.0 - 2.0 * last**2) / (norm - 2.0 * half[0] ** 2))
        second = half[1] * scale
    for i in range(half.size):
        half[i] *= scale
    half[0] = last
    half[1] = second
    return 2.0 * float(_squares(half))


@njit(types.float64(VECTOR, VECTOR, types.float64, types.float64), **LOOP)
def shapiro_wilk(ordered: NDArray[np.float64], weights: NDArray[np.float64], norm: float, squares: float) -> float:
    """Return W; n >= 3, not all equal.

    Parameters
    ----------
    ordered
        Sorted, float64 (n,).
    weights, norm
        What `fill_weights` gives.
    squares
        Sum of squares about the mean, from `moments`.
    """
    n = ordered.size
    # The weights are antisymmetric, so the mean drops out of the covariance.
    spread = 0.0
    for i in range(n // 2):
        spread += weights[i] * (ordered[n - 1 - i] - ordered[i])
    return float(spread * spread / (norm * squares))
