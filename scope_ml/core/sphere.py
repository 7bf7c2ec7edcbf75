"""Places on the sky: unit vectors, separations exact at any distance, no seam at 0/360 deg and none at the poles.

May import numpy only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["ARCSEC_PER_DEGREE", "angle_arcsec", "chord", "on_sky", "separation_arcsec", "unit_vectors"]

FloatArray = npt.NDArray[np.float64]

ARCSEC_PER_DEGREE = 3600.0


def on_sky(ra: FloatArray, dec: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which positions [deg] are places on the sky: finite, |dec| at most 90, |ra| at most 360."""
    with np.errstate(invalid="ignore"):
        valid: npt.NDArray[np.bool_] = (np.abs(dec) <= 90.0) & (np.abs(ra) <= 360.0)
    return valid


def unit_vectors(ra: FloatArray, dec: FloatArray) -> FloatArray:
    """Return positions [deg] as points of the unit sphere, float64 (n, 3)."""
    longitude, latitude = np.radians(ra), np.radians(dec)
    return np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=-1
    )


def chord(radius_arcsec: float) -> float:
    """Return the straight distance between two points of the unit sphere `radius_arcsec` [arcsec] apart."""
    return float(2 * np.sin(np.radians(radius_arcsec / ARCSEC_PER_DEGREE) / 2))


def angle_arcsec(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the angles [arcsec] between unit vectors (..., 3), exact for the closest and for opposite ones alike."""
    # Component by component: a row's result must not depend on how many rows are summed together.
    apart, together = first - second, first + second
    across, along = (np.sqrt(v[..., 0] ** 2 + v[..., 1] ** 2 + v[..., 2] ** 2) for v in (apart, together))
    angle: FloatArray = np.degrees(2.0 * np.arctan2(across, along)) * ARCSEC_PER_DEGREE
    return angle


def separation_arcsec(
    ra: FloatArray | float, dec: FloatArray | float, other_ra: FloatArray | float, other_dec: FloatArray | float
) -> FloatArray:
    """Return the angles [arcsec] between positions [deg], with broadcasting; NaN where one of them is NaN."""
    first = unit_vectors(np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64))
    second = unit_vectors(np.asarray(other_ra, dtype=np.float64), np.asarray(other_dec, dtype=np.float64))
    return angle_arcsec(first, second)
