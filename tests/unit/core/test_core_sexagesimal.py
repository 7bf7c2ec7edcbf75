"""Coordinates as people write them, and names made of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scope_ml.core.sexagesimal import degrees, iau_name
from scope_ml.errors import DataError


@pytest.mark.parametrize(
    ("text", "axis", "value"),
    [
        ("19:52:00.6", "ra", 298.0025),
        ("19 52 00.6", "ra", 298.0025),
        ("298.0025", "ra", 298.0025),
        (298.0025, "ra", 298.0025),
        (360, "ra", 0.0),
        ("+29:52:17.292", "dec", 29.87147),
        ("-00:30:00", "dec", -0.5),
        ("\N{MINUS SIGN}05 23 28", "dec", -5.391111111),
        (" 0:0:36 ", "dec", 0.01),
        (-90, "dec", -90.0),
    ],
)
def test_every_way_to_write_a_coordinate(text, axis, value):
    assert degrees(text, axis) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("24:00:01", "ra"),
        (360.1, "ra"),
        (-0.1, "ra"),
        ("-01:00:00", "ra"),
        ("12:60:00", "ra"),
        ("12:00:60", "ra"),
        ("12:30", "ra"),
        ("12h30m00s", "ra"),
        ("nan", "ra"),
        ("", "ra"),
        (90.0001, "dec"),
        ("90:00:01", "dec"),
        (math.inf, "dec"),
        ("1e9", "dec"),
    ],
)
def test_what_is_no_coordinate_is_refused_with_an_example(text, axis):
    example = "19:52:00.6" if axis == "ra" else r"\+29:52:17.3"
    with pytest.raises(DataError, match=f"^{axis}=.* is not a .*{example}"):
        degrees(text, axis)


@pytest.mark.parametrize(
    ("ra", "dec", "name"),
    [
        # Made by SCoPe.
        (255.907093, 12.570278, "ZTFJ170337.70+123413.0"),
        (10.684708, 41.26875, "ZTFJ004244.33+411607.5"),
        (83.633083, -5.391111, "ZTFJ053431.94-052328.0"),
        (123.456789, -45.6789, "ZTFJ081349.63-454044.0"),
        (0, 0, "ZTFJ000000.00+000000.0"),
        (180, 90, "ZTFJ120000.00+900000.0"),
        # SCoPe leaves 60 seconds standing here.
        (359.999999, -0.0001, "ZTFJ000000.00-000000.4"),
        (299.9999, -29.99999, "ZTFJ195959.98-300000.0"),
        (14.99999999, -0.99999999, "ZTFJ010000.00-010000.0"),
    ],
)
def test_names_are_those_of_scope_with_seconds_carried(ra, dec, name):
    assert iau_name(ra, dec) == name


@given(st.floats(0, 359.9999), st.floats(-90, 90))
def test_a_name_says_the_place(ra, dec):
    name = iau_name(ra, dec).removeprefix("ZTFJ")
    assert len(name) == 18
    there = (f"{name[:2]}:{name[2:4]}:{name[4:9]}", f"{name[9:12]}:{name[12:14]}:{name[14:]}")
    assert math.remainder(degrees(there[0], "ra") - ra, 360) == pytest.approx(0, abs=0.006 * 15 / 3600)
    assert degrees(there[1], "dec") == pytest.approx(dec, abs=0.051 / 3600)
