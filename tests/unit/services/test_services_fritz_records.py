"""What Fritz tells, read tolerantly."""

from __future__ import annotations

from datetime import datetime

import pytest

from scope_ml.errors import DataError, ReplyError
from scope_ml.services.fritz.checks import checked_obj_id
from scope_ml.services.fritz.paths import api_path
from scope_ml.services.fritz.records import (
    Annotation,
    Classification,
    Comment,
    Group,
    Instrument,
    Point,
    Source,
    Taxonomy,
    time_of,
)

CLASS = {"id": 5, "obj_id": "Z", "classification": "RRab", "taxonomy_id": 3}


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-22T10:05:40.778369", datetime(2026, 11, 22, 10, 5, 40, 778369)),
        ("2026-11-22T10:05:40", datetime(2026, 11, 22, 10, 5, 40)),
        ("2026-11-22 10:05:40", datetime(2026, 11, 22, 10, 5, 40)),
        ("2026-11-22T10:05:40+02:00", datetime(2026, 11, 22, 8, 5, 40)),
        ("2026-11-22T10:05:40.5Z", datetime(2026, 11, 22, 10, 5, 40, 500000)),
        ("yesterday", None),
        (None, None),
    ],
)
def test_times_are_naive_utc_with_or_without_a_fraction(text, time):
    assert time_of(text) == time


def test_a_source_alone_and_in_a_list():
    row = {
        "id": "Z",
        "ra": 1,
        "dec": -2.5,
        "created_at": "2026-11-22T10:05:40",
        "groups": [{"id": 3, "active": True}, {"id": 4, "active": False, "requested": True}, {"id": 6}],
        "classifications": [CLASS | {"obj_id": None, "probability": None}],
        "annotations": [{"id": 1, "origin": "o", "data": None}],
        "new key": {},
    }
    alone = Source.from_json(row | {"labellers": [{"id": 7, "username": "a"}, {"id": 9, "username": "b"}]})
    listed = Source.from_json(
        row | {"labellers": [{"id": 70, "labeller_id": 7}, {"id": 71, "labeller_id": 9}, {"id": 72, "labeller_id": 7}]}
    )
    assert alone == listed
    assert alone.labeller_ids == (7, 9)
    assert (alone.group_ids, alone.ra, alone.dec) == ((3, 6), 1.0, -2.5)
    assert alone.annotations == (Annotation(id=1, obj_id="Z", origin="o", data={}),)
    assert Source.from_json(row).labeller_ids is None
    assert Source.from_json(row | {"labellers": []}).labeller_ids == ()


def test_a_classification_with_and_without_votes_and_probability():
    votes = [
        {"id": 1, "voter_id": 7, "vote": 1},
        {"id": 2, "voter_id": 8, "vote": -1},
        {"id": 3, "voter_id": 9, "vote": -1},
    ]
    full = Classification.from_json(
        CLASS
        | {"probability": 1, "ml": True, "votes": votes, "groups": [{"id": 2}, {"id": 1}, {"id": 2}], "author_id": 7}
    )
    assert (full.net_votes, full.probability, full.ml, full.group_ids, full.author_id) == (-1, 1.0, True, (2, 1), 7)
    empty = Classification.from_json(CLASS | {"probability": None, "votes": None})
    assert (empty.net_votes, empty.probability, empty.ml, empty.group_ids, empty.origin) == (0, None, False, (), None)


def test_the_others():
    assert Group.from_json({"id": 1, "name": "g", "single_user_group": True}).single_user
    comment = Comment.from_json({"id": 1, "text": "hi", "attachment_name": None, "bot": True, "obj_id": "Z"})
    assert (comment.bot, comment.attachment_name) == (True, None)
    point = {
        "id": 1,
        "mjd": 58000,
        "mag": None,
        "magerr": None,
        "limiting_mag": 20.5,
        "filter": "ztfg",
        "origin": "None",
    }
    assert Point.from_json(point) == Point(id=1, mjd=58000.0, mag=None, magerr=None, limiting_mag=20.5, filter="ztfg")
    assert Instrument.from_json({"id": 2, "name": "ZTF", "filters": ["ztfg"]}).filters == ("ztfg",)
    taxonomy = Taxonomy.from_json(
        {"id": 2, "name": "t", "version": 1, "hierarchy": None, "isLatest": True, "groups": None}
    )
    assert (taxonomy.version, taxonomy.hierarchy, taxonomy.is_latest) == ("1", {}, True)


@pytest.mark.parametrize(
    ("kind", "row", "words"),
    [
        (Source, {"ra": 1, "dec": 2}, "source without its id"),
        (Source, {"id": "Z", "ra": None, "dec": 2}, "source Z without its ra or dec"),
        (Source, {"id": "Z", "ra": 1, "dec": float("nan")}, "ra or dec"),
        (Source, {"id": "Z", "ra": 1, "dec": 2, "groups": {"id": 1}}, "no list of groups"),
        (Source, {"id": "Z", "ra": 1, "dec": 2, "classifications": [1]}, "no list of classifications"),
        (Classification, CLASS | {"id": True}, "classification without its id"),
        (Classification, CLASS | {"classification": None}, "without its classification"),
        (Classification, CLASS | {"taxonomy_id": "3"}, "without its taxonomy_id"),
        (Classification, CLASS | {"votes": [{"vote": 1}]}, "vote without its voter_id"),
        (Point, {"id": 1, "mjd": None}, "point without its mjd"),
        (Group, {"name": "x"}, "group without its id"),
    ],
)
def test_what_has_to_be_there(kind, row, words):
    with pytest.raises(ReplyError, match=words):
        kind.from_json(row)


def test_ids_in_addresses():
    assert api_path("sources", "ZTFJ1+2.3", "annotations", 4) == "/api/sources/ZTFJ1+2.3/annotations/4"
    assert api_path("sources", "a b/c?d#e%2B;f:é") == "/api/sources/a%20b%2Fc%3Fd%23e%252B%3Bf%3A%C3%A9"
    for wrong in ("", ".", ".."):
        with pytest.raises(DataError, match="no id of anything"):
            api_path("sources", wrong)
        with pytest.raises(DataError, match="cannot be the id"):
            checked_obj_id(wrong)
    assert checked_obj_id("ZTFJ1-2_3;4:5+6.7") == "ZTFJ1-2_3;4:5+6.7"
    for wrong in ("a b", "a/b", "a\n", "é"):
        with pytest.raises(DataError, match="letters, digits"):
            checked_obj_id(wrong)
