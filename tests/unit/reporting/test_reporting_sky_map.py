from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from scope_ml.core.sphere import separation_arcsec
from scope_ml.reporting.sky_map import (
    ACROSS,
    HALF,
    PATCH_CELLS,
    UP,
    Patch,
    SkyGrid,
    direction,
    galactic_plane,
    hammer,
    lambert,
    patch_map,
    shades,
    whole_map,
)


def sphere(n, seed=0):
    """Places evenly on the sphere."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def drawn_cells(text):
    """The cells of a map and their shades, as (row, column) -> shade, of the strokes that are drawn."""
    found = {}
    for shade, width, path in re.findall(r'class="cell shade-(\d)" stroke-width="([\d.]+)" d="([^"]+)"', text):
        pixel = float(width)
        for x, y, length in re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)", path):
            for k in range(round(float(length) / pixel)):
                found[(int(float(y) / pixel), round(float(x) / pixel) + k)] = int(shade)
    return found


def svg_of(text):
    return ET.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])


def test_the_galactic_plane_is_where_astropy_has_it() -> None:
    coordinates = pytest.importorskip("astropy.coordinates")
    ra, dec = galactic_plane(73)
    place = coordinates.SkyCoord(l=np.linspace(0, 360, 73), b=np.zeros(73), unit="deg", frame="galactic").icrs
    assert separation_arcsec(ra, dec, place.ra.deg, place.dec.deg).max() < 0.1
    # The centre of the Galaxy in Sagittarius comes first.
    assert (round(ra[0], 2), round(dec[0], 2)) == (266.40, -28.94)


def test_equal_areas_stay_equal() -> None:
    ra, dec = sphere(400_000)
    x, y = hammer(ra, dec)
    # Evenly on the sphere is evenly on the map: 160,000 of them in each tenth of the ellipse, by rings of equal area.
    ring = (x / HALF) ** 2 + (y / (HALF / 2)) ** 2
    assert np.abs(np.histogram(ring, bins=np.linspace(0, 1, 11))[0] / 40_000 - 1).max() < 0.02
    around = lambert(ra, dec, (10.0, 80.0))
    near = np.hypot(*around)
    # A cap of radius c has the area of a disc of radius 2 sin(c / 2) [rad].
    cap = np.degrees(2 * np.sin(np.radians(30.0) / 2))
    share = np.count_nonzero(near < cap) / len(ra)
    assert share == pytest.approx((1 - np.cos(np.radians(30.0))) / 2, rel=0.03)


def test_east_is_to_the_left_and_north_up() -> None:
    x, y = hammer(np.array([170.0, 180.0, 190.0, 180.0, 0.5, 359.5]), np.array([0.0, 0.0, 0.0, 50.0, 0.0, 0.0]))
    assert x[0] > 1e-3 > abs(x[1]) and x[2] < -1e-3 and y[3] > 0 and x[4] > 2.7 and x[5] < -2.7
    x, y = lambert(np.array([359.9, 0.1, 0.0]), np.array([5.0, 5.0, 5.2]), (0.0, 5.0))
    assert x[0] == pytest.approx(0.1 * np.cos(np.radians(5)), rel=1e-3) and x[1] == pytest.approx(-x[0])
    assert y[2] == pytest.approx(0.2, rel=1e-4)
    assert np.hypot(*lambert(np.array([190.0]), np.array([0.0]), (10.0, 0.0)))[0] < 1e7


def test_every_star_is_counted_once_poles_and_seam_too() -> None:
    grid = SkyGrid()
    ra, dec = sphere(10_000, 3)
    ra[:6], dec[:6] = [0, 360, 180, 0, 12, 0], [90, -90, 0, 0, 90, np.nan]
    grid.add(ra[:5000], dec[:5000])
    grid.add(ra[5000:], dec[5000:])
    assert grid.counts.sum() == grid.n_stars == 9999 and grid.n_nowhere == 1
    at_once = SkyGrid()
    at_once.add(ra, dec)
    assert (at_once.counts == grid.counts).all()


def test_the_centre_of_stars_on_both_sides_of_the_seam() -> None:
    grid = SkyGrid()
    assert grid.centre is None
    grid.add(np.array([359.0, 1.0]), np.array([20.0, 20.0]))
    assert grid.centre == (pytest.approx(0.0, abs=1e-9), pytest.approx(20.0, abs=0.01))
    grid.add(np.array([179.0, 181.0]), np.array([-20.0, -20.0]))
    for pole in (90.0, -90.0):
        grid.add(np.array([0.0]), np.array([pole]))
    assert grid.n_stars == 6 and grid.centre is None


def test_a_direction_is_never_at_360_degrees() -> None:
    assert direction(np.array([1.0, -1e-20, 0.0])) == (0.0, 0.0)
    assert direction(np.array([0.0, 0.0, -3.0])) == (0.0, -90.0)


def test_the_map_shows_the_counts() -> None:
    grid = SkyGrid()
    grid.counts[0, 0], grid.counts[10, 5:9], grid.counts[10, ACROSS - 1], grid.counts[11, 0] = 1, 40, 3, 700
    text = whole_map(grid, {})
    bounds = shades(grid.counts)
    expected = {
        (row, column): 7 - len(bounds) + int(np.searchsorted(bounds, grid.counts[row, column], side="right"))
        for row, column in np.argwhere(grid.counts).tolist()
    }
    assert drawn_cells(text) == expected
    assert expected[(11, 0)] == 7 and expected[(0, 0)] == 1
    svg_of(text)


def test_the_densest_cells_have_the_last_colour_however_few_shades_there_are() -> None:
    grid = SkyGrid()
    grid.counts[3, 3], grid.counts[3, 4] = 1, 2
    assert drawn_cells(whole_map(grid, {})) == {(3, 3): 6, (3, 4): 7}


def test_few_fields_are_named_and_many_are_not() -> None:
    places = {296: (10.0, 5.0), 297: (180.0, -5.0)}
    text = whole_map(SkyGrid(), places)
    assert text.count('class="field"') == 2 and ">296</text>" in text
    many = {number: (float(number), 0.0) for number in range(40)}
    assert 'class="field"' not in whole_map(SkyGrid(), many)
    assert "no star has a place" in text


def test_a_patch_counts_what_is_inside() -> None:
    patch = Patch(centre=(0.0, 89.5), radius=1.0)
    # Across the pole lies the other side of the sky.
    patch.add(np.array([0.0, 180.0, 90.0, 0.0, np.nan]), np.array([89.5, 89.9, 89.9, 80.0, 0.0]))
    assert patch.counts.sum() == 3 and patch.counts[PATCH_CELLS // 2, PATCH_CELLS // 2] == 1
    row, column = np.argwhere(patch.counts)[0].tolist()
    assert row < PATCH_CELLS // 2 and column <= PATCH_CELLS // 2
    text = patch_map(patch, {796: (0.0, 89.5), 1: (0.0, -80.0)})
    assert ">796</text>" in text and ">1</text>" not in text and "0.6 arcmin" in text
    assert len(drawn_cells(text)) == 3
    svg_of(text)


@pytest.mark.parametrize("most", [0, 1, 2, 5, 7, 100, 10**9])
def test_shades_rise_and_begin_with_one_star(most) -> None:
    bounds = shades(np.array([[0, most]]))
    assert (np.diff(bounds) > 0).all() and len(bounds) <= 7
    assert not most or (bounds[0] == 1 and bounds[-1] <= most)


def test_cells_lie_where_the_projection_puts_their_stars() -> None:
    grid = SkyGrid()
    grid.add(np.array([180.0]), np.array([0.01]))
    ((row, column),) = np.argwhere(grid.counts).tolist()
    assert (row, column) == (UP // 2 - 1, ACROSS // 2)
