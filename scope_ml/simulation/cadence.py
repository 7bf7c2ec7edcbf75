"""When a quadrant is visited, how deep, in which band: nights, seasons, weather, moonlight.

All stars of a quadrant share its visits. Seasons are not imposed: a visit needs a dark sky, a clear night and the field at an
airmass below 2.2, and what remains is the seasonal coverage of its right ascension.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scope_ml.simulation.seeds import Stream, random_stream
from scope_ml.simulation.sky import LATITUDE_DEG, QUADRANTS, Quadrant, earth_light_time, moon_illumination, sun_position
from scope_ml.simulation.variation import FloatArray

__all__ = ["FIRST_NIGHT_JD", "Cadence", "quadrant_cadence"]

#: UT midnight before the first night [JD]; ZTF's survey began in spring 2018.
FIRST_NIGHT_JD = 2458250.5

#: Local midnight at Palomar after UT midnight [d].
MIDNIGHT_AFTER_UT = 0.325

#: The longest survey [nights]; quadrants are watched between 3 years and this.
MAX_NIGHTS = 1800

#: The highest airmass at which a field is visited.
MAX_AIRMASS = 2.2

#: Median 5-sigma limiting magnitude of a 30 s exposure in a dark sky (g, r, i), after Bellm et al. 2019, PASP 131, 018002.
DARK_LIMIT = np.array([20.95, 20.75, 20.05])

#: Magnitudes that the full Moon takes from the limit (g, r, i).
MOONLIGHT = np.array([1.0, 0.65, 0.30])

#: Time between the two visits of a night [d], and its scatter.
PAIR_GAP, PAIR_GAP_SCATTER = 0.0245, 0.003

#: Exposures of a continuous run, and the time between them [d].
N_CONTINUOUS, CONTINUOUS_STEP = 45, 48.0 / 86400.0


@dataclass(frozen=True, kw_only=True)
class Cadence:
    """The visits of a quadrant, sorted by time; arrays of length n unless said otherwise.

    Attributes
    ----------
    jd
        float64, Julian date of mid-exposure at the telescope [d].
    band
        int8, 0 g, 1 r, 2 i.
    limit
        float64, 5-sigma limiting magnitude [mag].
    seeing, airmass
        float64, image width [arcsec], airmass.
    zero_point
        float64, calibration error that all stars of the exposure share [mag].
    bad
        bool, exposure with a flaw that flags every star in it.
    programid
        int32, 1 public, 2 partnership, 3 Caltech.
    light_time
        (n, 3) float64, `sky.earth_light_time` of each visit [d].
    in_band
        Three int64 arrays: the visits of each band.
    """

    jd: FloatArray
    band: NDArray[np.int8]
    limit: FloatArray
    seeing: FloatArray
    airmass: FloatArray
    zero_point: FloatArray
    bad: NDArray[np.bool_]
    programid: NDArray[np.int32]
    light_time: FloatArray
    in_band: tuple[NDArray[np.int64], ...]


@lru_cache(maxsize=4)
def _clear_nights(seed: int) -> NDArray[np.bool_]:
    """Return which of the survey's nights are clear: a Markov chain, worse in winter, with a shutdown each year."""
    rng = random_stream(seed, Stream.WEATHER)
    night = np.arange(MAX_NIGHTS)
    season = 2.0 * np.pi * ((FIRST_NIGHT_JD + night - 2451545.0) % 365.25) / 365.25
    fair = 0.66 - 0.20 * np.cos(season - 0.5)
    draws = rng.random(MAX_NIGHTS)
    clear, state = np.zeros(MAX_NIGHTS, dtype=bool), True
    for index in range(MAX_NIGHTS):
        state = bool(draws[index] < (0.55 + 0.45 * fair[index] if state else 0.55 * fair[index]))
        clear[index] = state
    for year in range(MAX_NIGHTS // 365 + 1):
        start = year * 365 + int(rng.integers(0, 340))
        clear[start : start + int(rng.integers(8, 22))] = False
    return clear


def _dark_windows(jd_midnight: FloatArray, quadrant: Quadrant) -> tuple[FloatArray, FloatArray]:
    """Return first and last usable time of each night relative to midnight [d]; first > last where there is none."""
    sun_ra, sun_dec, _ = sun_position(jd_midnight)
    latitude, sun, field = np.radians(LATITUDE_DEG), np.radians(sun_dec), np.radians(quadrant.dec)
    dark = (np.sin(np.radians(-14.0)) - np.sin(latitude) * np.sin(sun)) / (np.cos(latitude) * np.cos(sun))
    half_night = (180.0 - np.degrees(np.arccos(np.clip(dark, -1.0, 1.0)))) / 360.0
    high = (1.0 / MAX_AIRMASS - np.sin(latitude) * np.sin(field)) / (np.cos(latitude) * np.cos(field))
    reach = float(np.degrees(np.arccos(np.clip(high, -1.0, 1.0))))
    hour_angle = (sun_ra + 180.0 - quadrant.ra + 180.0) % 360.0 - 180.0
    first = np.maximum(-half_night, (-reach - hour_angle) / 360.9856)
    last = np.minimum(half_night, (reach - hour_angle) / 360.9856)
    return first, last


def _airmass(jd: FloatArray, quadrant: Quadrant) -> FloatArray:
    midnight = np.floor(jd - 0.5) + 0.5 + MIDNIGHT_AFTER_UT
    sun_ra, _, _ = sun_position(midnight)
    hour_angle = np.radians(sun_ra + 180.0 - quadrant.ra + 360.9856 * (jd - midnight))
    latitude, field = np.radians(LATITUDE_DEG), np.radians(quadrant.dec)
    altitude = np.sin(latitude) * np.sin(field) + np.cos(latitude) * np.cos(field) * np.cos(hour_angle)
    airmass: FloatArray = 1.0 / np.maximum(altitude, 0.3)
    return airmass


def _visit_times(rng: np.random.Generator, seed: int, quadrant: Quadrant) -> tuple[FloatArray, NDArray[np.int8]]:
    """Return times [JD] and bands of all visits, unsorted."""
    n_nights = int(rng.integers(1150, MAX_NIGHTS))
    midnight = FIRST_NIGHT_JD + MIDNIGHT_AFTER_UT + np.arange(n_nights, dtype=np.float64)
    first, last = _dark_windows(midnight, quadrant)
    room = last - first - 0.035
    usable = (room > 0.0) & _clear_nights(seed)[:n_nights]
    moon = moon_illumination(midnight)
    begin = midnight + first + rng.random(n_nights) * np.maximum(room, 0.0)
    pair = usable & (rng.random(n_nights) < quadrant.cadence * (1.0 - 0.25 * moon**4))
    gap = PAIR_GAP + PAIR_GAP_SCATTER * np.clip(rng.standard_normal(n_nights), -2.0, 2.0)
    order = rng.random(n_nights) < 0.5
    kind = rng.random(n_nights)
    # Most nights give one visit in g and one in r; some give r twice (bright nights), some lose the second visit.
    first_band = np.where(order, 0, 1)
    second_band = np.where(kind < 0.12 + 0.15 * moon, 1, 1 - first_band)
    first_band = np.where(kind < 0.12 + 0.15 * moon, 1, first_band)
    second = pair & (kind < 0.93)
    i_night = usable & (rng.random(n_nights) < rng.uniform(0.04, 0.16) * (0.7 + 0.6 * moon))
    i_time = midnight + first + rng.random(n_nights) * np.maximum(room, 0.0)
    times = [begin[pair], (begin + gap)[second], i_time[i_night]]
    bands = [first_band[pair], second_band[second], np.full(int(i_night.sum()), 2)]
    best = np.flatnonzero(usable & ~pair & (room > 0.06))
    for night in rng.choice(best, min(quadrant.continuous, best.size), replace=False):
        times.append(begin[night] - 0.01 + np.arange(N_CONTINUOUS) * CONTINUOUS_STEP)
        bands.append(np.full(N_CONTINUOUS, 1))
    return np.concatenate(times), np.concatenate(bands).astype(np.int8)


@lru_cache(maxsize=64)
def quadrant_cadence(seed: int, which: int) -> Cadence:
    """Return the visits of quadrant number `which` of `sky.QUADRANTS` in the survey with this `seed`."""
    quadrant = QUADRANTS[which]
    rng = random_stream(seed, Stream.QUADRANT, which)
    jd, band = _visit_times(rng, seed, quadrant)
    order = np.argsort(jd, kind="stable")
    jd, band = jd[order], band[order]
    n = jd.size
    airmass = _airmass(jd, quadrant)
    seeing = 1.55 * airmass**0.6 * np.exp(0.16 * rng.standard_normal(n)) * np.array([1.1, 1.0, 0.95])[band]
    haze = np.where(rng.random(n) < 0.06, rng.exponential(0.6, n), 0.0)
    limit = (
        DARK_LIMIT[band]
        - MOONLIGHT[band] * moon_illumination(jd) ** 2 * np.clip(rng.normal(0.8, 0.3, n), 0.0, 1.4)
        - 0.25 * (airmass - 1.0)
        - 1.6 * np.log10(seeing / 1.7)
        - haze
    )
    zero_point = rng.normal(0.0, 0.006, n) + np.where(rng.random(n) < 0.02, rng.normal(0.0, 0.04, n), 0.0)
    return Cadence(
        jd=jd,
        band=band,
        limit=limit,
        seeing=seeing,
        airmass=airmass,
        zero_point=zero_point,
        bad=rng.random(n) < 0.03 + 0.25 * (haze > 0.5),
        programid=rng.choice(np.array([1, 2, 3], dtype=np.int32), n, p=[0.55, 0.37, 0.08]),
        light_time=earth_light_time(jd),
        in_band=tuple(np.flatnonzero(band == code) for code in range(3)),
    )
