"""Replies are read exactly as MongoDB's own package reads them, and points of other programmes go no further."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from bson import ObjectId, json_util
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.errors import ReplyError
from scope_ml.services.kowalski.replies import data_of, light_curves, plain, sky_position, table

ALL = (1, 2, 3)


def reply(data, **changed):
    return json_util.dumps(
        {"status": "success", "message": "Successfully executed query", "data": data} | changed
    ).encode()


def point(hjd, mag=17.0, magerr=0.01, **further):
    return {"hjd": hjd, "mag": mag, "magerr": magerr, "catflags": 0, "programid": 1} | further


def document(key, points, **further):
    return {
        "_id": key,
        "ra": 10.5,
        "dec": -3.0,
        "field": 245,
        "ccd": 9,
        "quad": 1,
        "filter": 2,
        "data": points,
    } | further


numbers = st.one_of(st.floats(width=64), st.integers(-(2**63), 2**63 - 1))
leaves = st.one_of(
    st.none(), st.booleans(), numbers, st.text(max_size=6), st.datetimes(timezones=st.just(UTC)), st.binary(max_size=5)
)
documents = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_d", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


def same(ours, theirs):
    if isinstance(ours, float) and isinstance(theirs, float):
        return ours == theirs or (math.isnan(ours) and math.isnan(theirs))
    if isinstance(ours, dict):
        return isinstance(theirs, dict) and ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(theirs) and ours == theirs


@settings(max_examples=150, deadline=None)
@given(documents)
def test_data_are_read_as_mongodb_reads_them(value):
    body = reply(value)
    expected = json_util.loads(body.decode(), json_options=json_util.JSONOptions(tz_aware=True, tzinfo=UTC))["data"]
    # json_util has a class of its own for 64-bit numbers; in relaxed form they are plain.
    assert same(data_of(body), expected)


def test_wrapped_values():
    body = reply(
        {
            "nan": float("nan"),
            "up": float("inf"),
            "down": float("-inf"),
            "object": ObjectId("0123456789ab0123456789ab"),
            "old": datetime(1950, 1, 2, tzinfo=UTC),
            "new": datetime(2024, 1, 17, 3, 4, 5, 678000, tzinfo=UTC),
        }
    )
    data = data_of(body)
    assert math.isnan(data["nan"])
    assert (data["up"], data["down"]) == (math.inf, -math.inf)
    assert data["object"] == "0123456789ab0123456789ab"
    assert data["old"] == datetime(1950, 1, 2, tzinfo=UTC)
    assert data["new"] == datetime(2024, 1, 17, 3, 4, 5, 678000, tzinfo=UTC)
    assert plain({"$numberLong": "9223372036854775807"}) == 2**63 - 1
    assert plain([{"$numberInt": "-7"}, {"$numberDouble": "1.5"}]) == [-7, 1.5]
    assert plain({"$regularExpression": {"pattern": "a"}}) == {"$regularExpression": {"pattern": "a"}}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Bad gateway</body></html>",
        b"[]",
        b'{"data": []}',
        reply([{"_id": 1, "data": [point(1.0)]}])[:-9],
        reply([{"_id": 1}])[:-1],
        b'{"status": "error", "message": "something broke"}',
        b'{"status": "success", "data": [{"$numberDouble": "much"}]}',
        b'{"status": "success", "data": [{"$date": {"$numberLong": "soon"}}]}',
        b'{"status": "success", "data": ' + b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_an_error_of_one_line(body):
    with pytest.raises(ReplyError) as caught:
        data_of(body)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    with pytest.raises(ReplyError):
        light_curves(body, programids=ALL)


def test_an_answer_without_data_is_nothing():
    assert data_of(b'{"status": "success", "message": "ok"}') is None
    assert len(light_curves(b'{"status": "success", "message": "ok"}', programids=ALL).chunk.batch) == 0
    assert light_curves(reply([]), programids=ALL).chunk.rows.schema.field("id").type == pa.int64()


def test_bare_nan_is_read_too():
    assert math.isnan(data_of(b'{"status": "success", "data": NaN}'))


points = st.fixed_dictionaries(
    {},
    optional={
        "hjd": st.one_of(st.none(), numbers),
        "mag": st.one_of(st.none(), numbers),
        "magerr": numbers,
        "catflags": st.one_of(st.none(), st.just(math.nan), st.integers(0, 2**40)),
        "programid": st.one_of(st.none(), st.integers(1, 4)),
    },
)
curves = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.none() | st.lists(points, max_size=5)), max_size=5)


def expected_points(one):
    """The definition, point by point."""
    one = one or []
    says = any(p.get("programid") is not None for p in one)
    one = [p | {"catflags": None} if p.get("catflags") != p.get("catflags") else p for p in one]
    flagged = any(p.get("catflags") is not None for p in one)
    for p in one:
        programme = p.get("programid")
        if says and programme not in (1, 3):
            continue
        flag = p.get("catflags")
        yield (
            *(float("nan") if p.get(name) is None else float(p[name]) for name in ("hjd", "mag", "magerr")),
            (-1 if flagged else 0) if flag is None else flag,
            -1 if programme is None else programme,
        )


@settings(max_examples=100, deadline=None)
@given(curves)
def test_light_curves_are_their_definition(given_curves):
    body = reply([document(key, one) for key, one in given_curves])
    found = light_curves(body, programids=(1, 3))
    batch = found.chunk.batch
    assert [int(key) for key in batch.id] == [key for key, _ in given_curves]
    assert batch.time.dtype == batch.mag.dtype == batch.mag_err.dtype == np.float64
    assert batch.flags.dtype == batch.programid.dtype == np.int64
    for (_, one), curve, trimmed in zip(given_curves, batch, found.points_trimmed, strict=True):
        wanted = list(expected_points(one))
        got = list(zip(curve.time, curve.mag, curve.mag_err, curve.flags, curve.programid, strict=True))
        np.testing.assert_array_equal(np.array(got).reshape(-1, 5), np.array(wanted).reshape(-1, 5))
        assert trimmed == len(one or []) - len(wanted)


def test_facts_of_light_curves():
    rows = light_curves(
        reply([document(2**62 + 1, []), document(5, [point(1)], filter=1, ra=7, field=float("nan")), {"_id": 6}]),
        programids=ALL,
    ).chunk.rows
    assert rows.to_pylist() == [
        dict(id=2**62 + 1, source_id=2**62 + 1, band="r", ra=10.5, dec=-3.0, field=245, ccd=9, quad=1, filter=2),
        dict(id=5, source_id=5, band="g", ra=7.0, dec=-3.0, field=None, ccd=9, quad=1, filter=1),
        dict(id=6, source_id=6, band=None, ra=None, dec=None, field=None, ccd=None, quad=None, filter=None),
    ]


def test_points_keep_the_order_they_came_in():
    times = [3.0, 1.0, 2.0]
    batch = light_curves(reply([document(1, [point(t) for t in times])]), programids=ALL).chunk.batch
    assert batch.time.tolist() == times


@pytest.mark.parametrize(
    "data",
    [
        [{"data": []}],
        ["text"],
        {"a": 1},
        [document(1, "text")],
        [document(1, [1.5])],
        [document(1, [point("soon")])],
        [document(1, [point(1.0, catflags="many")])],
        [document(1, [point(1.0, catflags={"$x": 1})])],
        [document(1.5, [])],
        [document({"a": 1}, [])],
        [document(1, [], ra="north")],
        [document(1, []), document("a", [])],
    ],
)
def test_documents_that_are_no_light_curves(data):
    body = json.dumps({"status": "success", "data": data}).encode()
    with pytest.raises(ReplyError):
        light_curves(body, programids=ALL)


def test_a_table_of_documents():
    given_documents = [
        {"_id": "2305843009213693953", "a": 1, "classifications": {"braai": 0.5}, "big": 2**62 + 1},
        {"_id": "2", "a": 2.5, "classifications": None, "b.c": 4},
        {"_id": "3", "a": None, "b": {"c": 5}},
    ]
    found = table(given_documents, ("_id", "a", "classifications.braai", "big", "nothing"), ("b.c", "no.thing"))
    assert found.to_pydict() == {
        "_id": ["2305843009213693953", "2", "3"],
        "a": [1.0, 2.5, None],
        "classifications.braai": [0.5, None, None],
        "big": [2**62 + 1, None, None],
        "nothing": [None, None, None],
        "b.c": [None, 4, 5],
    }
    assert found["big"].type == pa.int64()
    assert table([], ("_id", "a")).num_rows == 0
    with pytest.raises(ReplyError, match="several kinds in 'a'"):
        table([{"a": 1}, {"a": "x"}], ("a",))


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_ids_stay_exact(ids):
    assert table([{"_id": key} for key in ids], ("_id",))["_id"].to_pylist() == ids


def test_positions():
    stored = {"coordinates": {"radec_geojson": {"type": "Point", "coordinates": [-170.0, 4.0]}}}
    assert sky_position(stored) == (10.0, 4.0)
    assert sky_position(stored | {"ra": 11, "dec": 5.0}) == (11.0, 5.0)
    assert sky_position({"coordinates": {"radec_geojson": {"coordinates": [180.0, -90.0]}}}) == (0.0, -90.0)
    assert sky_position({"_id": 1}) is None
