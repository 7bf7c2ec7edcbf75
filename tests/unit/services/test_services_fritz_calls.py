"""The calls: what exactly is asked, and answers that a SkyPortal does not give. Without a server."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from scope_ml.errors import (
    ConfigError,
    DataError,
    NotAllowedError,
    NotFoundError,
    QueryRefusedError,
    ReplyError,
    ServiceUnavailableError,
    UnsureError,
)
from scope_ml.services.fritz.annotations import annotations_of, post_annotation
from scope_ml.services.fritz.classifications import NewClassification, delete_classification, post_classifications
from scope_ml.services.fritz.comments import Attachment, post_comment
from scope_ml.services.fritz.directory import Directory
from scope_ml.services.fritz.photometry import NewPhotometry, put_photometry
from scope_ml.services.fritz.points import missing_points
from scope_ml.services.fritz.records import Point
from scope_ml.services.fritz.rights import PROBES, check_rights
from scope_ml.services.fritz.sources import (
    Localization,
    find_source,
    pages_of_sources,
    post_source,
    save_to_groups,
    sources_near,
)

POINT = {"mjd": [1.0], "mag": [18.0], "magerr": [0.1], "filter": ["ztfg"], "limiting_mag": 23.9, "group_ids": (1,)}
CLASS = {
    "obj_id": "Z",
    "classification": "RRab",
    "taxonomy_id": 3,
    "probability": 0.5,
    "origin": "SCoPe",
    "ml": True,
    "vote": False,
    "label": False,
    "group_ids": (1, 2, 1),
}


class Fake:
    """Gives prepared answers, or raises them; remembers what was asked."""

    page = 2

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def get(self, path, params=None):
        return self._next("GET", path, dict(params or {}))

    def change(self, method, path, body, **how):
        return self._next(method, path, body)

    def _next(self, *asked):
        self.asked.append(asked)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def source(name):
    return {"id": name, "ra": 1.0, "dec": 2.0}


def listing(names, total, per_page=2):
    return {"sources": [source(name) for name in names], "totalMatches": total, "numPerPage": per_page}


# ---- Sources


def test_a_source_that_is_not_there_is_none_and_other_refusals_are_not():
    assert find_source(Fake(NotFoundError("no")), "Z") is None
    with pytest.raises(QueryRefusedError):
        find_source(Fake(QueryRefusedError("Invalid API endpoint")), "Z")
    with pytest.raises(ReplyError, match="no source for Z"):
        find_source(Fake([]), "Z")


def test_what_is_asked_of_sources():
    fritz = Fake(source("Z"), listing(["Z"], 1), listing([], 0), {"saved_to_groups": [3]}, {})
    find_source(fritz, "Z+1", labellers=True)
    sources_near(fritz, 0.0, 90.0, radius_arcsec=3.6)
    assert next(iter(pages_of_sources(fritz, group_ids=[4, 3], labellers=True))).total_matches == 0
    assert post_source(fritz, obj_id="Z", ra=0.0, dec=0.0, group_ids=[3, 3], origin="o") == (3,)
    save_to_groups(fritz, "Z", (4,))
    page = {"pageNumber": 1, "numPerPage": 2}
    assert fritz.asked == [
        ("GET", "/api/sources/Z+1", {"includeLabellers": True}),
        ("GET", "/api/sources", {"ra": 0.0, "dec": 90.0, "radius": 0.001} | page),
        ("GET", "/api/sources", {"group_ids": "4,3", "includeLabellers": True} | page),
        ("POST", "/api/sources", {"id": "Z", "ra": 0.0, "dec": 0.0, "group_ids": [3], "origin": "o"}),
        ("POST", "/api/source_groups", {"objId": "Z", "inviteGroupIds": [4], "unsaveGroupIds": []}),
    ]


@pytest.mark.parametrize(
    ("ra", "dec"), [(360.0, 0.0), (-1e-9, 0.0), (0.0, 90.1), (float("nan"), 0.0), (0.0, float("inf"))]
)
def test_no_position_is_asked_for_or_posted(ra, dec):
    with pytest.raises(DataError, match="is no position"):
        sources_near(Fake(), ra, dec, radius_arcsec=2.0)
    with pytest.raises(DataError, match="is no position"):
        post_source(Fake(), obj_id="Z", ra=ra, dec=dec, group_ids=[1], origin="o")


def test_other_wrong_requests_are_not_sent():
    with pytest.raises(ConfigError, match="radius"):
        sources_near(Fake(), 0.0, 0.0, radius_arcsec=0.0)
    with pytest.raises(DataError, match="cannot be the id"):
        post_source(Fake(), obj_id="a b", ra=0.0, dec=0.0, group_ids=[1], origin="o")
    for call in (
        lambda: post_source(Fake(), obj_id="Z", ra=0.0, dec=0.0, group_ids=[], origin="o"),
        lambda: save_to_groups(Fake(), "Z", []),
        lambda: NewClassification(**CLASS | {"group_ids": ()}),
        lambda: post_annotation(Fake(), "Z", origin="o", data={}, group_ids=[]),
        lambda: post_comment(Fake(), "Z", "hi", group_ids=[]),
        lambda: NewPhotometry(obj_id="Z", instrument_id=1, **POINT | {"group_ids": ()}),
    ):
        with pytest.raises(DataError, match="give at least one group"):
            call()
    with pytest.raises(DataError, match="without text"):
        post_comment(Fake(), "Z", " ", group_ids=[1])


def test_pages_by_the_length_that_the_service_gives():
    # Two were asked for, and pages have one.
    fritz = Fake(*(listing([f"S{n}"], 3, per_page=1) for n in range(3)))
    pages = list(pages_of_sources(fritz))
    assert [(page.number, page.sources[0].id) for page in pages] == [(1, "S0"), (2, "S1"), (3, "S2")]
    assert not any(page.notes for page in pages)


def test_a_source_that_slipped_away_between_pages_is_found_in_a_second_reading():
    first = [listing(["A", "B"], 4), listing(["D"], 4)]
    fritz = Fake(*first, listing(["B", "C"], 4), listing(["A", "D"], 4))
    pages = list(pages_of_sources(fritz))
    assert [one.id for page in pages for one in page.sources] == ["A", "B", "D", "C"]
    assert pages[1].notes == ("1 of 4 sources have not come when the pages were read 1 times",)
    assert pages[2].notes == pages[3].notes == ()


def test_a_shrinking_total_ends_the_pages_and_a_lasting_lack_is_told():
    fritz = Fake(listing(["A", "B"], 5), listing(["C", "D"], 4))
    pages = list(pages_of_sources(fritz))
    assert pages[-1].notes == ("page 2: 4 sources match, and 5 did before",)
    fritz = Fake(*[listing(["A", "B"], 4), listing([], 4)] * 2)
    pages = list(pages_of_sources(fritz))
    assert pages[-1].notes == ("2 of 4 sources have not come when the pages were read 2 times",)
    assert len(fritz.asked) == 4


@pytest.mark.parametrize(
    "wrong", [{}, [], None, {"sources": [], "totalMatches": "3"}, {"sources": {}, "totalMatches": 3}]
)
def test_pages_that_are_none(wrong):
    with pytest.raises(ReplyError, match="SkyPortal"):
        list(pages_of_sources(Fake(wrong)))


def test_a_localization_as_the_service_takes_it():
    event, end = datetime(2019, 8, 14, 21, 10, 39), datetime(2019, 8, 21, 21, 10, 39, 500000)
    localization = Localization(dateobs=event, start=event, end=end, cumprob=0.9)
    fritz = Fake(listing([], 0))
    list(pages_of_sources(fritz, localization=localization))
    assert fritz.asked[0][2] == {
        "group_ids": None,
        "localizationDateobs": "2019-08-14T21:10:39",
        "localizationName": None,
        "localizationCumprob": 0.9,
        "startDate": "2019-08-14T21:10:39",
        "endDate": "2019-08-21T21:10:39.500000",
        "requireDetections": True,
        "pageNumber": 1,
        "numPerPage": 2,
    }
    for wrong in ({"end": event}, {"end": datetime(2030, 1, 1)}, {"cumprob": 0.0}, {"cumprob": 95.0}):
        with pytest.raises(ConfigError):
            Localization(**{"dateobs": event, "start": event, "end": end} | wrong)


# ---- Classifications, annotations, comments


def test_all_of_a_classification_stands_in_the_request():
    fritz = Fake({"classification_ids": [9, 8]})
    new = NewClassification(**CLASS)
    none = NewClassification(**CLASS | {"probability": None, "ml": False, "vote": True, "label": True})
    assert post_classifications(fritz, [new, none]) == (9, 8)
    body = CLASS | {"group_ids": [1, 2]}
    assert fritz.asked == [
        (
            "POST",
            "/api/classification",
            {"classifications": [body, body | {"probability": None, "ml": False, "vote": True, "label": True}]},
        )
    ]
    assert post_classifications(Fake(), []) == ()


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan"), float("inf")])
def test_no_probability(wrong):
    with pytest.raises(DataError, match=r"Z: RRab=.* is no probability"):
        NewClassification(**CLASS | {"probability": wrong})


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"classification_ids": []},
        {"classification_ids": [1, 2]},
        {"classification_id": 1},
        {"classification_ids": ["1"]},
    ],
)
def test_ids_that_do_not_come_make_a_change_unsure(answer):
    with pytest.raises(UnsureError, match="look before posting"):
        post_classifications(Fake(answer), [NewClassification(**CLASS)])


@pytest.mark.parametrize("answer", [{}, None, {"annotation_id": None, "comment_id": True}])
def test_an_id_that_does_not_come_makes_a_change_unsure(answer):
    with pytest.raises(UnsureError, match="annotation_id"):
        post_annotation(Fake(answer), "Z", origin="o", data={"a": 1}, group_ids=[1])
    with pytest.raises(UnsureError, match="comment_id"):
        post_comment(Fake(answer), "Z", "hi", group_ids=[1])
    with pytest.raises(UnsureError, match="which groups"):
        post_source(Fake(answer), obj_id="Z", ra=0.0, dec=0.0, group_ids=[1], origin="o")


def test_a_classification_that_is_gone_is_not_found_and_another_refusal_stays():
    with pytest.raises(NotFoundError):
        delete_classification(
            Fake(QueryRefusedError("x refuses: Cannot find a classification with ID: 3.")), 3, label=False
        )
    with pytest.raises(QueryRefusedError) as caught:
        delete_classification(Fake(QueryRefusedError("x refuses: label must be a bool")), 3, label=False)
    assert not isinstance(caught.value, NotFoundError)


def test_a_comment_with_a_file():
    fritz = Fake({"comment_id": 4})
    attachment = Attachment(name="a.png", body=b"\x00\xff")
    assert post_comment(fritz, "Z", "hi", group_ids=[1], attachment=attachment) == 4
    assert fritz.asked[0][2] == {"text": "hi", "group_ids": [1], "attachment": {"name": "a.png", "body": "AP8="}}
    assert "xff" not in repr(attachment)
    with pytest.raises(ReplyError, match="no list of annotations"):
        annotations_of(Fake({"a": 1}), "Z")


# ---- Photometry


def test_photometry_of_arrays_becomes_plain_numbers():
    points = NewPhotometry(
        obj_id="Z",
        instrument_id=4,
        mjd=np.arange(3, dtype=float),
        mag=np.float32([18.1, 18.2, 18.3]),
        magerr=np.full(3, 0.1),
        filter=np.array(["ztfg"] * 3),
        limiting_mag=np.float32(21.0),
        group_ids=(1,),
        ra=np.zeros(3),
        dec=np.zeros(3),
        origin="o",
    )
    fritz = Fake({"ids": [3, 1, 2]})
    assert put_photometry(fritz, points) == (3, 1, 2)
    body = fritz.asked[0][2]
    assert body["mag"] == [float(np.float32(one)) for one in (18.1, 18.2, 18.3)]
    assert all(type(one) is float for name in ("mjd", "mag", "magerr", "ra", "dec") for one in body[name])
    assert {type(one) for one in body["filter"]} == {str}
    assert (type(body["limiting_mag"]), body["magsys"], body["origin"], body["group_ids"]) == (float, "ab", "o", [1])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"mag": [18.0, 19.0]}, "1 points, but 2 of mag"),
        ({"mag": [float("nan")]}, "mag of a point is no number"),
        ({"limiting_mag": float("nan")}, "limiting_mag=nan"),
        ({"limiting_mag": [20.0, 21.0]}, "2 of limiting_mag"),
        ({"ra": []}, "0 of ra"),
    ],
)
def test_photometry_that_is_none(wrong, words):
    with pytest.raises(DataError, match=words):
        NewPhotometry(obj_id="Z", instrument_id=4, **POINT | wrong)


def test_no_points_are_no_request_and_missing_ids_are_unsure():
    empty = POINT | {name: [] for name in ("mjd", "mag", "magerr", "filter")}
    assert put_photometry(Fake(), NewPhotometry(obj_id="Z", instrument_id=4, **empty)) == ()
    with pytest.raises(UnsureError, match="put them again"):
        put_photometry(Fake({"ids": []}), NewPhotometry(obj_id="Z", instrument_id=4, **POINT))


@pytest.mark.parametrize(
    ("there", "is_missing"),
    [
        ({}, False),
        ({"mag": 18.0 + 1e-9, "filter": "ztfr"}, False),
        ({"group_ids": (1, 2)}, False),
        ({"group_ids": (2,)}, True),
        ({"mag": 18.01}, False),
        ({"mag": 18.01, "filter": "ztfr"}, True),
        ({"mag": None, "filter": "ztfr"}, True),
        ({"mjd": 1.1}, True),
        ({"instrument_id": 5}, True),
        ({"origin": "o"}, False),
    ],
)
def test_points_that_are_there_are_not_missing(there, is_missing):
    wanted = NewPhotometry(obj_id="Z", instrument_id=4, **POINT)
    point = {"id": 1, "mjd": 1.0, "mag": 18.0, "magerr": 0.1, "limiting_mag": 23.9, "filter": "ztfg"}
    point |= {"instrument_id": 4, "group_ids": (1,)} | there
    found, _ = missing_points(wanted, [Point(**point)], (1,))
    assert (found == wanted) if is_missing else (found is None)


# ---- Directory, rights

GROUPS = {
    "user_groups": [
        {"id": 3, "name": "Ours", "single_user_group": False},
        {"id": 4, "name": "me", "single_user_group": True},
    ],
    "user_accessible_groups": [{"id": 3, "name": "Ours"}, {"id": 8, "name": "12"}],
    "all_groups": [{"id": 3, "name": "Ours"}, {"id": 7, "name": "Theirs"}, {"id": 12, "name": "Twelve"}],
}


def test_groups_by_id_and_name_asked_for_once():
    fritz = Fake(GROUPS)
    directory = Directory(fritz)
    assert [one.id for one in directory.groups(["Ours", 3, "3", "me", "12"])] == [3, 4, 8]
    assert len(fritz.asked) == 1
    for given, words in [
        ("Theirs", "is not in the group Theirs .7."),
        (12, "is not in the group Twelve"),
        ("ours", "no group 'ours'.*it has Ours .3., me .4., 12 .8.; did you mean 'Ours'"),
        (99, "no group '99'"),
        (-3, "no group '-3'"),
    ]:
        with pytest.raises(ConfigError, match=words):
            directory.group(given)
    assert len(fritz.asked) == 1
    assert Directory(Fake(GROUPS | {"all_groups": None})).group("Ours").id == 3
    with pytest.raises(ReplyError):
        Directory(Fake([])).group("Ours")


def test_instruments_by_name_and_id():
    rows = [{"id": 1, "name": "ZTF"}, {"id": 2, "name": "SEDM"}, {"id": 3, "name": "SEDM"}]
    directory = Directory(Fake(rows))
    assert directory.instrument("ZTF").id == 1
    assert directory.instrument(3).name == "SEDM"
    with pytest.raises(ConfigError, match=r"has 2 of the instrument 'SEDM'; give one of the ids 2, 3"):
        directory.instrument("SEDM")
    with pytest.raises(ConfigError, match=r"no instrument 'ztf'.*ZTF"):
        directory.instrument("ztf")


def test_a_directory_that_failed_is_asked_again():
    directory = Directory(Fake(ServiceUnavailableError("down"), [{"id": 1, "name": "t", "version": "1"}]))
    with pytest.raises(ServiceUnavailableError):
        _ = directory.taxonomies
    assert directory.taxonomies[0].id == 1


def test_no_probe_of_a_right_names_anything_that_can_be():
    for path, body in PROBES.values():
        # An address with a blank is not known to the service, and would be refused before rights are looked at.
        assert "%" not in path
        assert not path.startswith("/api/sources/Z")
        assert not body.get("inviteGroupIds")
        assert not body.get("unsaveGroupIds")
        assert not body.get("text")
        assert not body.get("origin")
        assert not body.get("classification")
        assert body.get("taxonomy_id", -1) < 0
        assert " " in body.get("objId", " ")
        assert " " in body.get("obj_id", " ")
        assert "name" not in body


def test_what_the_answers_to_probes_mean():
    fritz = Fake(NotAllowedError("401"), NotFoundError("403"), QueryRefusedError("400"), NotAllowedError("401"), {})
    with pytest.raises(NotAllowedError, match=r"right\(s\) Upload data, Comment on"):
        check_rights(fritz, tuple(PROBES)[:2] + tuple(PROBES)[2:])
    assert [path for _, path, _ in fritz.asked] == [path for path, _ in PROBES.values()]
    check_rights(Fake(), [])
    with pytest.raises(ServiceUnavailableError, match="cannot be found out"):
        check_rights(Fake(UnsureError("504")), ["Classify"])
