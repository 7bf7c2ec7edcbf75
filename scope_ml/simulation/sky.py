"""Where the survey looks and where the Sun and Moon are: pointings, low-precision ephemerides, heliocentric times.

Positions of the Sun are those of the Astronomical Almanac's low-precision formulae (0.01 deg), enough for seasons and for
heliocentric corrections to 0.1 s. No external ephemeris is used, so that a survey's bytes depend on its seed alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scope_ml.simulation.variation import FloatArray

__all__ = [
    "LATITUDE_DEG",
    "QUADRANTS",
    "QUADRANT_SIDE_DEG",
    "Quadrant",
    "earth_light_time",
    "moon_illumination",
    "sun_position",
    "unit_vectors",
]

#: Latitude of Palomar Observatory [deg].
LATITUDE_DEG = 33.356

#: Side of one readout quadrant of the ZTF camera on the sky [deg].
QUADRANT_SIDE_DEG = 0.86

#: Light time of one astronomical unit [d].
LIGHT_TIME_AU = 0.0057755183

#: Obliquity of the ecliptic [deg].
OBLIQUITY_DEG = 23.439

#: A new moon [JD] and the mean synodic month [d].
NEW_MOON_JD, SYNODIC_MONTH = 2458253.99, 29.530589


@dataclass(frozen=True, kw_only=True)
class Quadrant:
    """One readout quadrant that the survey watches.

    Attributes
    ----------
    field, ccd, quad
        ZTF's field number, CCD (1 to 16) and quadrant (1 to 4).
    ra, dec
        Centre [deg].
    reddening
        Typical E(B-V) of distant stars [mag].
    plane
        Whether it lies near the plane of the Galaxy (crowded, young stars).
    cadence
        Fraction of the clear nights on which the field is visited.
    continuous
        Nights of continuous r-band exposures (Kupfer et al. 2021, MNRAS 505, 1254).
    """

    field: int
    ccd: int
    quad: int
    ra: float
    dec: float
    reddening: float
    plane: bool
    cadence: float
    continuous: int = 0

    @property
    def rc(self) -> int:
        """Readout channel, 0 to 63."""
        return (self.ccd - 1) * 4 + self.quad - 1


def _quadrant(
    name: tuple[int, int, int], centre: tuple[float, float], reddening: float, cadence: float, continuous: int = 0
) -> Quadrant:
    field, ccd, quad = name
    return Quadrant(
        field=field,
        ccd=ccd,
        quad=quad,
        ra=centre[0],
        dec=centre[1],
        reddening=reddening,
        plane=reddening > 0.2,
        cadence=cadence,
        continuous=continuous,
    )


#: Twelve quadrants spread over right ascension: six near the plane of the Galaxy (Taurus, Monoceros, Aquila, Cygnus,
#: Cepheus, Cassiopeia) and six far from it.
QUADRANTS: tuple[Quadrant, ...] = (
    _quadrant((561, 3, 2), (67.8, 26.1), 0.35, 0.42),
    _quadrant((410, 11, 1), (96.2, 4.7), 0.45, 0.55),
    _quadrant((436, 7, 4), (284.6, 5.3), 0.75, 0.46, 1),
    _quadrant((683, 9, 3), (301.5, 36.4), 0.55, 0.44, 1),
    _quadrant((775, 14, 2), (333.9, 58.2), 0.45, 0.50),
    _quadrant((796, 2, 1), (12.4, 61.6), 0.50, 0.48, 1),
    _quadrant((646, 6, 3), (189.7, 28.3), 0.02, 0.58),
    _quadrant((764, 12, 4), (161.3, 54.8), 0.02, 0.46),
    _quadrant((529, 5, 2), (219.8, 20.2), 0.03, 0.45),
    _quadrant((447, 10, 1), (350.6, 10.4), 0.06, 0.38),
    _quadrant((296, 1, 1), (19.2, -5.6), 0.04, 0.30),
    _quadrant((365, 16, 3), (141.5, -8.1), 0.04, 0.22),
)


def sun_position(jd: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the Sun's right ascension [deg], declination [deg] and ecliptic longitude [deg] at each Julian date."""
    days = jd - 2451545.0
    anomaly = np.radians(357.528 + 0.9856003 * days)
    longitude = 280.460 + 0.9856474 * days + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2.0 * anomaly)
    angle, tilt = np.radians(longitude), np.radians(OBLIQUITY_DEG)
    ra = np.degrees(np.arctan2(np.cos(tilt) * np.sin(angle), np.cos(angle))) % 360.0
    dec = np.degrees(np.arcsin(np.sin(tilt) * np.sin(angle)))
    return ra, dec, longitude % 360.0


def unit_vectors(ra: FloatArray, dec: FloatArray) -> FloatArray:
    """Return (n, 3) equatorial unit vectors of positions [deg]."""
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)


def earth_light_time(jd: FloatArray) -> FloatArray:
    """Return the (n, 3) vector from the Sun to the Earth in light days; its product with a star's direction is HJD - JD."""
    ra, dec, _ = sun_position(jd)
    anomaly = np.radians(357.528 + 0.9856003 * (jd - 2451545.0))
    distance = 1.00014 - 0.01671 * np.cos(anomaly) - 0.00014 * np.cos(2.0 * anomaly)
    return -(LIGHT_TIME_AU * distance)[:, None] * unit_vectors(ra, dec)


def moon_illumination(jd: FloatArray) -> FloatArray:
    """Return the illuminated fraction of the Moon, 0 (new) to 1 (full), from its mean motion."""
    return 0.5 * (1.0 - np.cos(2.0 * np.pi * (jd - NEW_MOON_JD) / SYNODIC_MONTH))
