"""Cells of the sky: the whole sphere, cut where it is full, and what is near an edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.core.sphere import separation_arcsec
from scope_ml.errors import ConfigError
from scope_ml.io.healpix import FINEST, Cells, cells_around, cells_at, cut_sky, finest_cells, order_wider_than

pytest.importorskip("cdshealpix")


def test_cells_are_those_of_hats() -> None:
    from hats.pixel_math.spatial_index import compute_spatial_index

    rng = np.random.default_rng(1)
    ra = np.concatenate([rng.uniform(0, 360, 500), [0.0, 360.0, 45.0, 10.0, 200.0]])
    dec = np.concatenate([np.degrees(np.arcsin(rng.uniform(-1, 1, 500))), [0.0, 0.0, 41.8, 90.0, -90.0]])
    cells = finest_cells(ra, dec)
    assert cells.tolist() == compute_spatial_index(ra, dec).tolist()
    assert cells[-5] == cells[-4]
    assert finest_cells(np.zeros(0), np.zeros(0)).dtype == np.int64


@pytest.mark.parametrize("lowest", [0, 2])
def test_the_whole_sky_is_cut_where_it_is_full(lowest: int) -> None:
    rng = np.random.default_rng(2)
    counts = np.zeros(12 * 4**6, dtype=np.int64)
    counts[rng.integers(0, 900, 3000)] += 1
    counts[77] = 10_000
    cells = cut_sky(counts, 100, lowest)
    assert cells.first[0] == 0
    assert (cells.first[1:] == cells.last[:-1] + 1).all()
    assert cells.last[-1] == 12 * 4**FINEST - 1
    rows = np.array([counts[low:high].sum() for low, high in zip(*ends(cells, 6), strict=True)])
    # Only what cannot be cut further is fuller.
    assert (cells.order[rows > 100] == 6).all()
    assert rows.sum() == counts.sum()
    # No four cells that could be one.
    parents = np.stack([cells.order, cells.pixel >> 2], axis=1)[cells.order > lowest]
    groups, which = np.unique(parents, axis=0, return_inverse=True)
    of = rows[cells.order > lowest]
    for number, group in enumerate(groups):
        inside = counts.reshape(-1, 4 ** (7 - int(group[0])))[int(group[1])].sum()
        assert inside > 100, (group, of[which == number])


def ends(cells: Cells, order: int) -> tuple[np.ndarray, np.ndarray]:
    shift = 2 * (FINEST - order)
    return cells.first >> shift, (cells.last + 1) >> shift


def test_a_full_neighbour_cuts_no_cell() -> None:
    """Whether a cell is cut depends on its own rows: new fields leave the others' partitions as they are."""
    counts = np.zeros(12 * 4**5, dtype=np.int64)
    counts[:64] = 5
    before = cut_sky(counts, 100)
    counts[-64:] = 50
    after = cut_sky(counts, 100)
    pairs = set(zip(after.order.tolist(), after.pixel.tolist(), strict=True))
    for order, pixel, low, high in zip(before.order, before.pixel, *ends(before, 5), strict=True):
        if high <= 12 * 4**5 - 1024 and low < 64:
            assert (order, pixel) in pairs


@settings(max_examples=40, deadline=None)
@given(
    ra=st.floats(0, 360),
    dec=st.floats(-90, 90),
    size=st.integers(1, 9),
    angle=st.floats(0, 2 * np.pi),
    share=st.floats(0, 1),
)
def test_a_place_within_the_margin_is_near(ra: float, dec: float, size: int, angle: float, share: float) -> None:
    """Whoever is within the margin of a place in another cell is near that cell, at poles and corners too."""
    margin = 20.0
    order = order_wider_than(margin)
    cells = Cells(order=np.full(12 * 4**size, size), pixel=np.arange(12 * 4**size))
    d, a = np.radians(dec), np.radians(ra)
    distance = np.radians(share * margin / 3600)
    north = np.array([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)])
    east = np.array([-np.sin(a), np.cos(a), 0.0])
    centre = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    v = np.cos(distance) * centre + np.sin(distance) * (np.cos(angle) * east + np.sin(angle) * north)
    other_ra, other_dec = np.degrees(np.arctan2(v[1], v[0])) % 360, np.degrees(np.arctan2(v[2], np.hypot(v[0], v[1])))
    assert separation_arcsec(ra, dec, other_ra, other_dec) <= margin + 1e-6
    finest = finest_cells(np.array([ra, other_ra]), np.array([dec, other_dec]))
    home = cells.of(finest)
    place, near = cells.near(finest, order)
    if home[0] != home[1]:
        assert home[1] in near[place == 0]
        assert home[0] in near[place == 1]


def test_places_in_the_middle_are_near_nothing() -> None:
    cells = Cells(order=np.full(12, 0), pixel=np.arange(12))
    place, near = cells.near(finest_cells(np.array([45.0, 90.0]), np.array([10.0, 41.8103])), 12)
    # The second is where three base cells meet.
    assert set(place.tolist()) == {1}
    assert len(near) == len(set(near.tolist())) >= 2


def test_neighbours_touch() -> None:
    cells = np.array([0, 4**5 - 1, 7 * 4**5, 12 * 4**5 - 1])
    around = cells_around(cells, 5)
    assert around.shape == (4, 8)
    assert ((around == -1).sum(axis=1) <= 1).all()
    assert not (around == cells[:, None]).any()
    back = [cells_around(row[row >= 0], 5) for row in around]
    assert all((of == cell).any(axis=1).all() for of, cell in zip(back, cells, strict=True))
    assert cells_around(np.zeros(0, dtype=np.int64), 5).shape == (0, 8)


def test_the_order_of_a_margin() -> None:
    assert order_wider_than(20) == 12
    assert order_wider_than(15) == 13
    with pytest.raises(ConfigError, match="wider than a twelfth of the sky"):
        order_wider_than(10**6)
    assert cells_at(np.array([4**29 - 1]), 0).tolist() == [0]
