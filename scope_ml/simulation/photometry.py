"""What the camera makes of a star: noise, limits, saturation, flags, outliers.

The error of a point is a floor of the calibration, the star's own photons and the sky's; it grows to a fifth of a magnitude at
the 5-sigma limit of the exposure. Reported errors are near the true ones, but not equal to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scope_ml.simulation.cadence import Cadence
from scope_ml.simulation.variation import FloatArray

__all__ = ["Photometry", "photograph", "true_error"]

#: Error of the brightest stars [mag].
ERROR_FLOOR = 0.012

#: Error of a point at the 5-sigma limit that is due to the sky [mag]: 2.5 / ln(10) / 5.
ERROR_AT_LIMIT = 0.2171

#: Error at the limit that is due to the star's own photons [mag].
PHOTON_ERROR_AT_LIMIT = 0.10

#: Magnitude at which stars begin to saturate in good seeing.
SATURATION_MAG = 12.6

#: catflags bits that single points get, and that all points of a bad exposure get.
POINT_FLAGS, EXPOSURE_FLAG = np.array([1, 2, 4, 16, 64, 512, 2048], dtype=np.int32), 32768


@dataclass(frozen=True, kw_only=True, slots=True)
class Photometry:
    """The measured points of one star, all bands, sorted by time.

    Attributes
    ----------
    visit
        (k,) int64, index of the visit in the quadrant's cadence.
    mag, mag_err
        (k,) float64 [mag].
    flags
        (k,) int32, 0 for a clean point.
    """

    visit: NDArray[np.int64]
    mag: FloatArray
    mag_err: FloatArray
    flags: NDArray[np.int32]


def true_error(mag: FloatArray, limit: FloatArray) -> FloatArray:
    """Return the standard deviation of a measurement [mag] of a star of magnitude `mag` at a 5-sigma `limit`."""
    faintness = 10.0 ** (0.4 * np.clip(mag - limit, -12.0, 3.0))
    variance = ERROR_FLOOR**2 + PHOTON_ERROR_AT_LIMIT**2 * faintness + (ERROR_AT_LIMIT * faintness) ** 2
    saturated = np.clip(SATURATION_MAG - mag, 0.0, 3.0)
    return np.sqrt(variance + (0.05 * saturated) ** 2)


def photograph(rng: np.random.Generator, cadence: Cadence, mag: FloatArray, crowding: float) -> Photometry:
    """Measure a star whose true magnitude at each visit is `mag`.

    Parameters
    ----------
    mag
        (n,) float64, true magnitudes at the visits of `cadence` [mag].
    crowding
        Additional scatter by neighbours [mag].
    """
    n = mag.size
    error = true_error(mag, cadence.limit)
    noise, skill = rng.standard_normal((2, n))
    luck = rng.random((3, n))
    flagged = cadence.bad | (luck[0] < 0.045)
    scatter = np.hypot(error, crowding) * np.where(flagged, 2.5, 1.0)
    measured = mag + cadence.zero_point + scatter * noise
    outliers = np.flatnonzero(luck[1] < np.where(flagged, 0.15, 0.004))
    measured[outliers] += rng.standard_t(2.0, outliers.size) * 0.25
    # The catalogue keeps what stands 5 sigma above the sky; a point near the limit is as likely kept as not.
    kept = (measured < cadence.limit + 0.12 * skill) & (luck[2] > 0.01)
    estimate = float(np.exp(rng.normal(0.0, 0.10)))
    reported = np.maximum(true_error(measured, cadence.limit) * estimate * np.exp(0.06 * skill), 0.006)
    bits = POINT_FLAGS[rng.integers(0, POINT_FLAGS.size, n)]
    flags = np.where(flagged, np.where(cadence.bad, EXPOSURE_FLAG, bits), 0).astype(np.int32)
    visit = np.flatnonzero(kept)
    return Photometry(visit=visit, mag=measured[visit], mag_err=reported[visit], flags=flags[visit])
