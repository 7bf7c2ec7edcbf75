from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.selection.star_members import bands_of, crowded, distinct_values, magnitudes
from scope_ml.selection.stars import find_stars


def rows(**columns):
    """Return a table of two stars (rows 1-3, 4-5) and these."""
    table = pa.table({"id": range(5), "source_id": [7, 7, 7, 8, 8], **columns})
    return table, find_stars(table, by="source_id")


def test_bands_are_names():
    assert bands_of(pa.table({"band": ["g", None]})).to_pylist() == ["g", None]
    assert bands_of(pa.table({"filter": pa.array([1, 2, 3, None, 7], pa.int32())})).to_pylist() == [
        "g",
        "r",
        "i",
        None,
        "7",
    ]
    assert bands_of(pa.table({"filter": ["zg"]})).to_pylist() == ["zg"]
    assert bands_of(pa.table({"band": pa.array(["g", "r"]).dictionary_encode()})).to_pylist() == ["g", "r"]
    assert bands_of(pa.table({"id": [1]})) is None


def test_each_value_once_and_sorted():
    table, stars = rows(field=pa.array([300, 296, 300, None, None], pa.int32()))
    assert distinct_values(stars, table["field"], pa.int32()).to_pylist() == [[296, 300], []]
    assert distinct_values(stars, None, pa.string()).to_pylist() == [[], []]


def test_distinct_values_of_many_stars_are_those_of_sets():
    rng = np.random.default_rng(1)
    star, value = rng.integers(0, 400, 3000), rng.integers(0, 9, 3000)
    table = pa.table({"id": range(3000), "source_id": star + 1, "value": value})
    stars = find_stars(table, by="source_id")
    found = distinct_values(stars, table["value"], pa.int64()).to_pylist()
    assert found == [sorted(set(value[stars.star == number].tolist())) for number in range(len(stars))]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, [True, False]),
        ({"quad": [1, 2, 3, 1, 1]}, [False, False]),
        ({"field": [1, 2, 1, 1, 1]}, [True, False]),
        ({"field": [1, 2, 3, 1, 1]}, [False, False]),
        ({"band": ["g", "r", "i", "g", "r"]}, [False, False]),
        ({"band": ["g", "r", "i", "g", "g"]}, [False, True]),
        # What is not known is like nothing else.
        ({"ccd": [None, None, None, 1, 1], "band": ["g"] * 5}, [False, True]),
    ],
)
def test_two_light_curves_of_one_place_on_the_camera_are_two_stars(change, expected):
    columns = {"band": ["g", "r", "g", "g", "r"], "field": [1] * 5, "ccd": [1] * 5, "quad": [1] * 5}
    assert crowded(*rows(**columns | change)).to_pylist() == expected


def test_without_fields_nobody_knows():
    assert crowded(*rows(band=["g"] * 5)).to_pylist() == [None, None]
    assert crowded(*rows(field=[1] * 5)).to_pylist() == [None, None]


def test_neighbours_do_not_make_a_star_crowded():
    # One light curve each, all in the same place of the camera.
    table = pa.table({"id": [1, 2], "source_id": [1, 2], "field": [1, 1], "band": ["g", "g"]})
    assert crowded(table, find_stars(table)).to_pylist() == [False, False]


def test_magnitudes_are_means_by_band():
    found = magnitudes(*rows(band=["g", "g", "r", "i", "z"], median=[18.0, 18.5, 17.0, float("nan"), 15.0]))
    assert {name: column.to_pylist() for name, column in found.items()} == {
        "mag_g": [18.25, None],
        "mag_r": [17.0, None],
        "mag_i": [None, None],
    }
    assert magnitudes(*rows(band=["g"] * 5))["mag_g"].to_pylist() == [None, None]
