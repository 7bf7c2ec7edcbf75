from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.core.sphere import separation_arcsec
from scope_ml.errors import ConfigError, DataError, MissingColumnError
from scope_ml.selection import friends as friends_room
from scope_ml.selection.friends import friends, mean_positions, nearest
from scope_ml.selection.stars import find_stars, id_columns, survey_keys

ARCSEC = 1 / 3600


def table(**columns: object) -> pa.Table:
    return pa.table(columns)


def groups(stars, ids) -> set[frozenset]:
    return {frozenset(members) for members in stars.members(pa.array(ids)).to_pylist()}


# -- what is a star


def test_gaia_counts_before_allwise_and_allwise_before_ps1() -> None:
    rows = table(
        id=[1, 2, 3, 4, 5],
        PS1_DR1___id=[9, 9, 9, 9, 8],
        AllWISE___id=[7, 7, 7, 0, 0],
        Gaia_EDR3___id=[5, 5, 0, 0, None],
        ra=[10.0, 10.0, 50.0, 90.0, 130.0],
        dec=[0.0] * 5,
    )
    stars = find_stars(rows)
    assert stars.by == "survey_id"
    assert stars.key.to_pylist() == ["Gaia_EDR3___5", "AllWISE___7", "PS1_DR1___9", "PS1_DR1___8"]
    assert stars.star.tolist() == [0, 0, 1, 2, 3]
    assert id_columns(rows.column_names) == ("Gaia_EDR3___id", "AllWISE___id", "PS1_DR1___id")


@pytest.mark.parametrize("name", ["Gaia_EDR3___id", "Gaia_DR3__id", "Gaia___id", "AllWISE___id", "PS1_DR1___id"])
def test_columns_of_ids_are_known_by_their_names(name: str) -> None:
    assert id_columns([name]) == (name,)


@pytest.mark.parametrize(
    "name", ["Gaia_EDR3__parallax", "id", "_id", "Gaia_EDR3__phot_g_mean_mag", "PS1_DR1_id", "xGaia___id"]
)
def test_other_columns_are_none(name: str) -> None:
    assert id_columns([name]) == ()


def test_ids_that_no_float_can_tell_apart_are_two_stars() -> None:
    first = 4_295_806_720_012_345_678
    rows = table(id=[1, 2], Gaia_EDR3___id=[first, first + 1], ra=[10.0, 10.0], dec=[0.0, 0.0])
    assert float(first) == float(first + 1)
    assert len(find_stars(rows)) == 2


def test_ids_that_went_through_floats_are_refused() -> None:
    rows = table(id=[1], Gaia_EDR3___id=[4.2e18], ra=[10.0], dec=[0.0])
    with pytest.raises(DataError, match=r"Gaia_EDR3___id.*double"):
        find_stars(rows)


@pytest.mark.parametrize("none", [None, 0, -1])
def test_rows_without_an_id_are_kept_by_their_place(none: int | None) -> None:
    rows = table(
        id=[1, 2, 3, 4],
        Gaia_EDR3___id=pa.array([none, none, none, 77], pa.int64()),
        ra=[10.0, 10.0 + 0.5 * ARCSEC, 20.0, 30.0],
        dec=[0.0] * 4,
    )
    stars = find_stars(rows, by="survey_id", radius_arcsec=1)
    assert groups(stars, [1, 2, 3, 4]) == {frozenset({1, 2}), frozenset({3}), frozenset({4})}
    assert stars.by_place == 2
    assert stars.counts.sum() == 4


@pytest.mark.parametrize("none", ["", "0", " ", "nan", "None", None])
def test_text_without_an_id_is_none(none: str | None) -> None:
    assert survey_keys(table(survey_id=["Gaia_EDR3___5", none, "PS1_DR1___7"])).to_pylist() == [
        "Gaia_EDR3___5",
        None,
        "PS1_DR1___7",
    ]


def test_a_row_without_an_id_belongs_to_the_nearest_star_that_has_one() -> None:
    rows = table(
        id=[1, 2, 3, 4],
        Gaia_EDR3___id=[100, 200, 0, 0],
        ra=[10.0, 10.0 + 2 * ARCSEC, 10.0 + 1.4 * ARCSEC, 10.0 + 9 * ARCSEC],
        dec=[0.0] * 4,
    )
    stars = find_stars(rows, radius_arcsec=1.0)
    assert groups(stars, [1, 2, 3, 4]) == {frozenset({1}), frozenset({2, 3}), frozenset({4})}
    apart = find_stars(rows, radius_arcsec=0.0)
    assert len(apart) == 4


def test_stars_with_ids_are_two_however_near() -> None:
    rows = table(id=[1, 2], Gaia_EDR3___id=[100, 200], ra=[10.0, 10.0], dec=[0.0, 0.0])
    assert len(find_stars(rows, radius_arcsec=5)) == 2


def test_our_own_source_ids_and_names() -> None:
    rows = table(id=[1, 2, 3], source_id=[5, 5, 6], obj_id=["a", "b", "b"], ra=[1.0, 1.0, 1.0], dec=[0.0, 0.0, 0.0])
    assert find_stars(rows).by == "source_id"
    assert find_stars(rows).star.tolist() == [0, 0, 1]
    assert find_stars(rows, by="obj_id").star.tolist() == [0, 1, 1]
    assert find_stars(rows, by="position", radius_arcsec=1).star.tolist() == [0, 0, 0]


def test_a_table_that_cannot_tell_is_refused() -> None:
    with pytest.raises(MissingColumnError, match="tell stars apart"):
        find_stars(table(id=[1]))
    with pytest.raises(MissingColumnError, match="Gaia_EDR3___id"):
        find_stars(table(id=[1], ra=[1.0], dec=[1.0]), by="survey_id")
    with pytest.raises(ConfigError, match="one of auto, survey_id"):
        find_stars(table(id=[1]), by="name")
    with pytest.raises(ConfigError, match="below 0"):
        find_stars(table(ra=[1.0], dec=[1.0]), radius_arcsec=-1)


@pytest.mark.parametrize(("ra", "dec"), [(361.0, 0.0), (-1.0, 0.0), (1.0, 91.0), (np.nan, 0.0), (1.0, np.inf)])
def test_a_place_that_is_none_is_named(ra: float, dec: float) -> None:
    with pytest.raises(DataError, match=r"row 2 .*\(1 such rows\)"):
        find_stars(table(ra=[1.0, ra], dec=[1.0, dec]), by="position")


def test_a_row_with_an_id_needs_no_place() -> None:
    rows = table(id=[1, 2, 3], source_id=[4, 4, 0], ra=[10.0, np.nan, np.nan], dec=[0.0, np.nan, np.nan])
    stars = find_stars(rows)
    assert stars.star.tolist() == [0, 0, 1]
    assert stars.ra[0] == 10.0
    assert np.isnan(stars.ra[1])


def test_an_empty_table_has_no_stars() -> None:
    rows = table(id=pa.array([], pa.int64()), ra=pa.array([], pa.float64()), dec=pa.array([], pa.float64()))
    stars = find_stars(rows)
    assert len(stars) == 0
    assert stars.counts.tolist() == []


def test_the_representative_has_the_smallest_id_and_the_spread_is_told() -> None:
    rows = table(id=[30, 10, 20], source_id=[1, 1, 2], ra=[10.0, 10.0 + 4 * ARCSEC, 50.0], dec=[0.0, 0.0, 0.0])
    stars = find_stars(rows)
    assert stars.representative.tolist() == [1, 2]
    assert stars.spread_arcsec(np.array([10.0, 10.0 + 4 * ARCSEC, 50.0]), np.zeros(3)) == pytest.approx([2.0, 0.0])


# -- places


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (0.0, 45.0), (180.0, -30.0), (77.0, 89.99999), (5.0, -90.0)])
def test_mean_directions_have_no_seam(ra: float, dec: float) -> None:
    step = 0.4 * ARCSEC
    given_dec = np.clip([dec - step, dec + step, dec], -90, 90)
    given_ra = np.mod([ra - step, ra + step, ra], 360.0)
    mean_ra, mean_dec = mean_positions(np.zeros(3, dtype=np.int64), 1, given_ra, given_dec)
    assert 0 <= mean_ra[0] < 360
    assert separation_arcsec(mean_ra, mean_dec, ra, dec)[0] < 0.3
    # To a microarcsecond: the mean of the unit vectors in extended precision.
    lon, lat = np.radians(given_ra.astype(np.longdouble)), np.radians(given_dec.astype(np.longdouble))
    x, y, z = (np.cos(lat) * np.cos(lon)).sum(), (np.cos(lat) * np.sin(lon)).sum(), np.sin(lat).sum()
    true_ra, true_dec = float(np.degrees(np.arctan2(y, x))), float(np.degrees(np.arctan2(z, np.hypot(x, y))))
    assert separation_arcsec(mean_ra, mean_dec, true_ra, true_dec)[0] < 1e-6


def test_a_shared_place_comes_back_as_it_was() -> None:
    ra, dec = np.array([284.61770643899996] * 3), np.array([5.6632294258956355] * 3)
    assert [axis[0] for axis in mean_positions(np.zeros(3, dtype=np.int64), 1, ra, dec)] == [ra[0], dec[0]]


def test_friends_across_the_seam_and_over_the_poles() -> None:
    ra = np.array([359.9999, 0.0001, 10.0, 190.0, 90.0])
    dec = np.array([0.0, 0.0, 89.9999, 89.9999, -89.0])
    assert friends(ra, dec, 1.0).tolist() == [0, 0, 1, 1, 2]
    assert friends(ra, dec, 0.5).tolist() == [0, 1, 2, 3, 4]


def test_the_radius_itself_counts() -> None:
    ra, dec = np.array([10.0, 10.0]), np.array([0.0, 1.5 * ARCSEC])
    assert friends(ra, dec, 1.5).tolist() == [0, 0]
    assert nearest(ra[:1], dec[:1], ra[1:], dec[1:], 1.5).tolist() == [0]
    assert friends(ra, dec, 1.4999).tolist() == [0, 1]
    assert nearest(ra[:1], dec[:1], ra[1:], dec[1:], 1.4999).tolist() == [-1]


def brute(ra: np.ndarray, dec: np.ndarray, radius: float) -> set[frozenset[int]]:
    near = separation_arcsec(ra[:, None], dec[:, None], ra[None], dec[None]) <= radius
    found: list[set[int]] = [{row} for row in range(len(ra))]
    for one in range(len(ra)):
        for other in np.flatnonzero(near[one]):
            if found[one] is not found[other]:
                found[one] |= found[other]
                for row in found[other]:
                    found[row] = found[one]
    return {frozenset(group) for group in found}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), pole=st.sampled_from([0.0, 89.9995, -89.9995]), strip=st.sampled_from([1, 3, 1000]))
def test_friends_are_those_of_all_pairs(seed: int, pole: float, strip: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    ra = np.mod(rng.normal(0, 3 * ARCSEC, n) / max(np.cos(np.radians(pole)), 1e-3), 360)
    dec = np.clip(pole + rng.normal(0, 3 * ARCSEC, n), -90, 90)
    kept = friends_room.STRIP
    friends_room.STRIP = strip
    try:
        group = friends(ra, dec, 1.7)
    finally:
        friends_room.STRIP = kept
    assert {frozenset(np.flatnonzero(group == one)) for one in range(group.max() + 1)} == brute(ra, dec, 1.7)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), by=st.sampled_from(["survey_id", "source_id", "position"]))
def test_the_order_of_rows_does_not_matter(seed: int, by: str) -> None:
    rng = np.random.default_rng(seed)
    n = 30
    rows = table(
        id=np.arange(n) + 10**15,
        source_id=rng.integers(0, 8, n),
        Gaia_EDR3___id=rng.integers(0, 6, n) * 10**18,
        AllWISE___id=rng.integers(0, 3, n) * 10**17,
        ra=np.mod(rng.normal(0, 3 * ARCSEC, n), 360),
        dec=rng.normal(0, 3 * ARCSEC, n),
    )
    shuffled = rng.permutation(n)
    first, second = find_stars(rows, by=by), find_stars(rows.take(pa.array(shuffled)), by=by)
    assert second.star.tolist() == first.star[shuffled].tolist()
    assert second.key.to_pylist() == first.key.to_pylist()
    # To the last bit.
    assert np.array_equal(first.ra, second.ra)
    assert np.array_equal(first.dec, second.dec)
    assert first.counts.sum() == n


def test_floats_without_a_number_are_no_ids() -> None:
    rows = pa.table({"id": [1, 2], "AllWISE___id": [np.nan, None], "ra": [1.0, 2.0], "dec": [0.0, 0.0]})
    assert find_stars(rows, by="survey_id").by_place == 2


@pytest.mark.parametrize("name", ["field", "ccd", "quad"])
def test_light_curves_of_one_id_are_in_the_order_of_their_place_on_the_camera(name: str) -> None:
    rows = pa.table({"id": [1, 1, 1], "band": ["g"] * 3, "source_id": [7] * 3, name: [3, 1, 2]})
    assert find_stars(rows).order.tolist() == [1, 2, 0]
