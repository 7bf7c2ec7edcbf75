"""One light curve as the search methods take it.

May import `core`, `errors` and `kernels.peaks`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.peaks import SearchStatus

__all__ = ["LARGEST", "LEAST_SPREAD", "SMALLEST_ERROR", "Curve", "check_points", "make_curve"]

#: Magnitudes and errors beyond these are no photometry, and their squares leave the range of float64.
LARGEST = 1e30
SMALLEST_ERROR = 1e-30
#: Magnitudes that differ by less than this [mag] are the same.
LEAST_SPREAD = 1e-30


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The points of one light curve in order of time.

    Attributes
    ----------
    time
        Time [d] since the first epoch, float64 (n_obs,), ascending.
    mag
        Magnitude [mag] relative to that of the first epoch, float64 (n_obs,): nothing is lost to the mean of a star.
    mag_err
        Error [mag], float64 (n_obs,), positive.
    band
        Code of the band, int64 (n_obs,), 0 to ``n_bands - 1``.
    n_bands
        Bands that are searched together.
    """

    time: NDArray[np.float64]
    mag: NDArray[np.float64]
    mag_err: NDArray[np.float64]
    band: NDArray[np.int64]
    n_bands: int = 1


def check_points(batch: LightCurveBatch, index: int, min_n_obs: int) -> SearchStatus:
    """Return why light curve `index` cannot be searched whatever the grid, or OK; the first of the list that applies.

    Parameters
    ----------
    batch, index
        Light curve.
    min_n_obs
        Fewest points, at as many different times, that the method needs.
    """
    points = slice(int(batch.offsets[index]), int(batch.offsets[index + 1]))
    time, mag, mag_err = batch.time[points], batch.mag[points], batch.mag_err[points]
    valid = np.isfinite(time) & (np.abs(mag) < LARGEST) & (mag_err > SMALLEST_ERROR) & (mag_err < LARGEST)
    if not valid.all():
        return SearchStatus.INVALID_POINTS
    if time.size < min_n_obs:
        return SearchStatus.TOO_FEW_POINTS
    if time.max() == time.min():
        return SearchStatus.ZERO_BASELINE
    if np.unique(time).size < min_n_obs:
        return SearchStatus.TOO_FEW_POINTS
    if batch.band is None:
        return SearchStatus.CONSTANT if np.ptp(mag) < LEAST_SPREAD else SearchStatus.OK
    bands = batch.band[points]
    constant = all(np.ptp(mag[bands == band]) < LEAST_SPREAD for band in np.unique(bands))
    return SearchStatus.CONSTANT if constant else SearchStatus.OK


def make_curve(batch: LightCurveBatch, index: int) -> Curve:
    """Return light curve `index` in order of time; its points must have passed `check_points`."""
    points = slice(int(batch.offsets[index]), int(batch.offsets[index + 1]))
    # Of several points at one time the order is kept.
    order = np.argsort(batch.time[points], kind="stable")
    time = batch.time[points][order]
    mag = batch.mag[points][order].astype(np.float64)
    band = np.zeros(time.size, dtype=np.int64)
    n_bands = 1
    if batch.band is not None:
        names, band = np.unique(batch.band[points][order], return_inverse=True)
        n_bands = names.size
    return Curve(
        time=time - time[0],
        mag=mag - mag[0],
        mag_err=batch.mag_err[points][order].astype(np.float64),
        band=band.astype(np.int64),
        n_bands=n_bands,
    )
