"""Visits come in seasons, nights and pairs; photometry gets worse with magnitude."""

from __future__ import annotations

import numpy as np
import pytest

from scope_ml.simulation.cadence import quadrant_cadence
from scope_ml.simulation.photometry import photograph, true_error
from scope_ml.simulation.sky import QUADRANTS, earth_light_time, moon_illumination, sun_position, unit_vectors

ALL = range(len(QUADRANTS))


@pytest.mark.parametrize("which", ALL)
def test_visits_are_sorted_and_as_many_as_in_ztf(which: int) -> None:
    cadence = quadrant_cadence(1, which)
    assert np.all(np.diff(cadence.jd) > 0)
    n_g, n_r, n_i = (len(visits) for visits in cadence.in_band)
    assert 50 <= n_g <= 600
    assert 50 <= n_r <= 700
    assert 20 <= n_i <= 120
    assert 1000 < np.ptp(cadence.jd) < 1850
    assert cadence.jd[0] >= 2458250.0


@pytest.mark.parametrize("which", ALL)
def test_every_quadrant_has_a_gap_each_year(which: int) -> None:
    jd = quadrant_cadence(1, which).jd
    gaps = np.diff(jd)
    n_years = np.ptp(jd) / 365.25
    assert (gaps > 40.0).sum() >= int(n_years) - 1


@pytest.mark.parametrize("which", ALL)
def test_no_visit_is_near_the_sun_or_the_horizon(which: int) -> None:
    cadence, quadrant = quadrant_cadence(1, which), QUADRANTS[which]
    ra, dec, _ = sun_position(cadence.jd)
    cosine = unit_vectors(ra, dec) @ unit_vectors(np.array([quadrant.ra]), np.array([quadrant.dec]))[0]
    assert np.degrees(np.arccos(cosine)).min() > 40.0
    assert cadence.airmass.min() >= 1.0
    assert cadence.airmass.max() < 2.9


def test_visits_come_in_pairs_of_a_night() -> None:
    jd = quadrant_cadence(1, 6).jd
    gaps = np.diff(jd) * 24.0 * 60.0
    assert ((gaps > 20.0) & (gaps < 50.0)).mean() > 0.3


def test_the_moon_takes_depth() -> None:
    cadence = quadrant_cadence(1, 7)
    g = cadence.in_band[0]
    light = moon_illumination(cadence.jd[g])
    assert np.median(cadence.limit[g][light > 0.8]) < np.median(cadence.limit[g][light < 0.2]) - 0.3


def test_heliocentric_correction_is_within_eight_minutes_and_changes_sign_over_the_year() -> None:
    jd = 2458250.0 + np.arange(365.0)
    direction = unit_vectors(np.array([QUADRANTS[6].ra]), np.array([QUADRANTS[6].dec]))[0]
    minutes = earth_light_time(jd) @ direction * 1440.0
    assert 5.0 < np.abs(minutes).max() < 8.5
    assert minutes.min() < 0.0 < minutes.max()
    # When the star is opposite to the Sun the Earth is between them: light reaches the Earth first.
    sun_ra, _, _ = sun_position(jd)
    opposition = np.argmin(np.abs((sun_ra - QUADRANTS[6].ra) % 360.0 - 180.0))
    assert minutes[opposition] > 5.0


def test_sun_stands_at_the_equinox_when_it_should() -> None:
    ra, dec, longitude = sun_position(np.array([2459293.9007]))
    assert ra[0] == pytest.approx(360.0, abs=0.05) or ra[0] == pytest.approx(0.0, abs=0.05)
    assert dec[0] == pytest.approx(0.0, abs=0.02)
    assert min(longitude[0], 360.0 - longitude[0]) < 0.05


def test_cadence_depends_on_its_seed() -> None:
    one, other = quadrant_cadence(1, 3), quadrant_cadence(2, 3)
    assert one.jd.size != other.jd.size or not np.array_equal(one.jd, other.jd)


def test_errors_grow_with_magnitude_to_a_fifth_at_the_limit() -> None:
    mag = np.linspace(13.0, 20.5, 40)
    error = true_error(mag, np.full(40, 20.5))
    assert np.all(np.diff(error) > 0)
    assert error[0] == pytest.approx(0.012, abs=0.001)
    assert error[-1] == pytest.approx(0.24, abs=0.03)


@pytest.mark.parametrize("mag", [14.0, 17.0, 19.5])
def test_reported_errors_are_near_the_scatter_of_clean_points(mag: float) -> None:
    cadence = quadrant_cadence(1, 7)
    ratios = []
    for seed in range(12):
        points = photograph(np.random.default_rng(seed), cadence, np.full(cadence.jd.size, mag), 0.0)
        clean = (points.flags == 0) & (cadence.band[points.visit] == 1)
        pull = (points.mag[clean] - mag) / points.mag_err[clean]
        ratios.append(1.4826 * np.median(np.abs(pull)))
    assert 0.8 < np.median(ratios) < 1.3
    assert np.ptp(ratios) > 0.05


def test_flagged_points_are_few_and_worse() -> None:
    cadence = quadrant_cadence(1, 7)
    points = photograph(np.random.default_rng(0), cadence, np.full(cadence.jd.size, 17.0), 0.0)
    flagged = points.flags != 0
    assert 0.04 < flagged.mean() < 0.15
    assert np.std(points.mag[flagged]) > 1.5 * np.std(points.mag[~flagged])


def test_faint_stars_lose_epochs() -> None:
    cadence = quadrant_cadence(1, 7)
    kept = [
        photograph(np.random.default_rng(0), cadence, np.full(cadence.jd.size, mag), 0.0).visit.size
        for mag in (16.0, 20.3, 21.2)
    ]
    assert kept[0] > 0.97 * cadence.jd.size
    assert kept[0] > kept[1] > kept[2]
