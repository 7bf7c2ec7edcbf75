"""One light curve as the fits of `best` take it: series of one band each, on one scale, weighted and counted.

* The scale is the band's scatter, so that priors have no unit.
* To each error a share of the scatter is added in squares: no published error says how far a real star is from a smooth
  curve, and without it the few most precise points decide.
* Points that no candidate explains lose weight (`downweighted`).
* Points close in time are worth one: what a curve cannot describe (other modes, changes from cycle to cycle,
  calibration night by night) moves them together. As many points count as cells of `CELL` of a cycle are filled.

May import `kernels.curve` and `kernels.bands`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.kernels.bands import normalise
from scope_ml.kernels.curve import Curve

__all__ = ["CELL", "MIN_POINTS", "SERIES", "Series", "count_cells", "downweighted", "make_series", "worth"]

#: Error added to each point in squares, as a share of the band's scatter.
MODEL_ERROR = 0.15

#: Fewest points of a band that is fitted for itself; bands with fewer are fitted together.
MIN_POINTS = 8

#: Share of a cycle within which points count as one.
CELL = 0.125


class Series(NamedTuple):
    """Points of one band, or of several on one scale.

    Attributes
    ----------
    time
        Time [d], float64 (n_obs,), ascending.
    value
        Magnitude about the weighted mean in units of the scatter, float64 (n_obs,).
    weight
        Inverse variance in the same units, float64 (n_obs,).
    n_free
        Independent points that the series is worth, less one; the weights are not scaled by it.
    share
        ``worth / n_obs``, by which weights count.
    """

    time: NDArray[np.float64]
    value: NDArray[np.float64]
    weight: NDArray[np.float64]
    n_free: float
    share: float


#: Type of a `Series` for the signatures of kernels that take one.
SERIES = types.NamedTuple(
    (types.float64[::1], types.float64[::1], types.float64[::1], types.float64, types.float64), Series
)


@njit("i8(f8[::1], f8)", nogil=True, cache=True)
def count_cells(time: NDArray[np.float64], width: float) -> int:
    """Return how many cells of a width [d] hold all points: each begins with the first point after the one before."""
    count = 0
    begin = -np.inf
    for i in range(time.size):
        if time[i] - begin >= width:
            count += 1
            begin = time[i]
    return count


def make_series(curve: Curve) -> list[Series]:
    """Return the series of a light curve: one a band, and one of all bands with fewer than `MIN_POINTS` points.

    Bands in which nothing varies say nothing and are left out.
    """
    count = np.bincount(curve.band, minlength=curve.n_bands)
    parts = [
        (curve.time[of_band], curve.mag[of_band], curve.mag_err[of_band])
        for of_band in (curve.band == band for band in np.flatnonzero(count >= MIN_POINTS))
    ]
    rest = count[curve.band] < MIN_POINTS
    if rest.sum() >= MIN_POINTS:
        scaled = normalise(curve)
        parts.append((scaled.time[rest], scaled.mag[rest], scaled.mag_err[rest]))
    return [_series(*part) for part in parts if np.ptp(part[1]) > 0]


def _series(time: NDArray[np.float64], mag: NDArray[np.float64], mag_err: NDArray[np.float64]) -> Series:
    scatter = float(mag.std())
    weight = 1.0 / ((mag_err / scatter) ** 2 + MODEL_ERROR**2)
    return _centred(np.ascontiguousarray(time), (mag - mag[0]) / scatter, weight, 1.0)


def _centred(
    time: NDArray[np.float64], value: NDArray[np.float64], weight: NDArray[np.float64], share: float
) -> Series:
    """Return a series about its weighted mean."""
    centred = value - weight @ value / weight.sum()
    return Series(time=time, value=centred, weight=weight, n_free=share * (time.size - 1.0), share=share)


def downweighted(series: Series, factor: NDArray[np.float64]) -> Series:
    """Return the series with its weights multiplied by a factor (n_obs,)."""
    return _centred(series.time, series.value, series.weight * factor, series.share)


def worth(series: Series, period: float) -> Series:
    """Return the series counted for a search around a period [d]: as many points as cells of a cycle are filled."""
    share = count_cells(series.time, CELL * period) / series.time.size
    return _centred(series.time, series.value, series.weight, share)
