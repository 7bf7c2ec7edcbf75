"""Separations against astropy's, everywhere on the sky."""

from __future__ import annotations

import numpy as np
from astropy.coordinates import angular_separation

from scope_ml.core.sphere import angle_arcsec, chord, on_sky, separation_arcsec, unit_vectors


def places(n=4000, seed=0):
    """Pairs of positions from 1e-6 arcsec to 180 deg apart, many at poles and at the seam."""
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    ra[: n // 4] = rng.choice([0.0, 360.0, 359.9999999], n // 4)
    dec[n // 4 : n // 2] = rng.choice([-90.0, 90.0, 89.9999999, -89.99999], n // 4)
    step = 10.0 ** rng.uniform(-9, 2, n)
    return ra, dec, ra + step * rng.normal(size=n), np.clip(dec + step * rng.normal(size=n), -90, 90)


def test_separations_are_astropys():
    ra, dec, other_ra, other_dec = places()
    ours = separation_arcsec(ra, dec, other_ra, other_dec)
    theirs = np.degrees(angular_separation(*np.radians([ra, dec, other_ra, other_dec]))) * 3600
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_opposite_places_and_the_same_place():
    np.testing.assert_allclose(separation_arcsec(10.0, 20.0, 190.0, -20.0), 180 * 3600, rtol=1e-15)
    np.testing.assert_allclose(separation_arcsec(10.0, 20.0, 190.0, -20.0 + 1e-7), (180 - 1e-7) * 3600, rtol=1e-14)
    assert separation_arcsec(10.0, 20.0, 10.0, 20.0) == 0
    assert separation_arcsec(0.0, 90.0, 123.0, 90.0) < 1e-9
    assert np.isnan(separation_arcsec(np.nan, 20.0, 10.0, 20.0))


def test_chord_is_the_distance_of_what_lies_the_angle_apart():
    ra, dec, other_ra, other_dec = places(200, seed=1)
    first, second = unit_vectors(ra, dec), unit_vectors(other_ra, other_dec)
    straight = np.linalg.norm(first - second, axis=1)
    np.testing.assert_allclose([chord(angle) for angle in angle_arcsec(first, second)], straight, rtol=1e-9, atol=1e-15)


def test_a_pair_does_not_depend_on_the_others():
    ra, dec, other_ra, other_dec = places(257, seed=2)
    together = separation_arcsec(ra, dec, other_ra, other_dec)
    alone = [float(separation_arcsec(*one)) for one in zip(ra, dec, other_ra, other_dec, strict=True)]
    assert together.tolist() == alone


def test_what_is_on_the_sky():
    ra = np.array([0.0, 360.0, -180.0, np.nan, 10.0, 10.0, np.inf, -999.0, 361.0])
    dec = np.array([90.0, -90.0, 0.0, 0.0, np.nan, 90.1, 0.0, -999.0, 0.0])
    assert on_sky(ra, dec).tolist() == [True, True, True] + [False] * 6
