"""Fritz's client against the test server: what it asks again, what it never does, and that no fault shows the token."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

import pytest

from scope_ml.core.configuration import build
from scope_ml.errors import (
    CredentialError,
    DataError,
    NotAllowedError,
    NotFoundError,
    QueryRefusedError,
    QueryTooLargeError,
    ReplyError,
    ScopeError,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
    UnsureError,
)
from scope_ml.services.fritz.annotations import annotations_of, delete_annotation, post_annotation, put_annotation
from scope_ml.services.fritz.classifications import (
    NewClassification,
    classifications_of,
    delete_classification,
    post_classifications,
)
from scope_ml.services.fritz.client import FritzClient
from scope_ml.services.fritz.comments import Attachment, comments_of, post_comment
from scope_ml.services.fritz.directory import Directory
from scope_ml.services.fritz.photometry import NewPhotometry, photometry_of, put_photometry
from scope_ml.services.fritz.points import missing_points
from scope_ml.services.fritz.rights import PROBES, check_rights
from scope_ml.services.fritz.settings import FritzConfig
from scope_ml.services.fritz.sources import (
    find_source,
    pages_of_sources,
    post_source,
    save_to_groups,
    sources_near,
)
from scope_ml.services.http import Clock

NAME = "ZTFJ170337.70+123413.0"
PASSING = [
    {"kind": "error", "status": 500},
    {"kind": "error", "status": 503},
    {"kind": "html", "status": 429},
    {"kind": "html", "status": 502},
    {"kind": "html", "status": 504},
    {"kind": "html", "status": 405},
    {"kind": "not_json"},
    {"kind": "reset"},
    {"kind": "cut"},
]
SPEED = 300.0


@pytest.fixture
def fritz(skyportal):
    with client(skyportal) as fritz:
        yield fritz


def client(server, **values):
    return FritzClient(build(FritzConfig, {**server.config, **values}), environment={"FRITZ_TOKEN": server.token})


def new_class(server, name="RRab", **values):
    given = {
        "obj_id": NAME,
        "classification": name,
        "taxonomy_id": server.taxonomies["Sitewide Taxonomy"],
        "probability": 0.75,
        "origin": "SCoPe",
        "ml": True,
        "vote": False,
        "label": False,
        "group_ids": (server.groups["Variables"],),
    }
    return NewClassification(**{**given, **values})


def paths(server, began):
    return [f"{one['method']} {one['path'].removeprefix('/api/')}" for one in server.requests_since(began)]


# ---- All calls


def test_a_source_with_all_that_belongs_to_it(skyportal, fritz):
    group, other = (skyportal.groups[name] for name in ("Variables", "Follow-up"))
    assert find_source(fritz, NAME) is None
    assert post_source(fritz, obj_id=NAME, ra=255.907093, dec=12.570278, group_ids=[group], origin="ours") == (group,)
    assert post_source(fritz, obj_id=NAME, ra=1.0, dec=1.0, group_ids=[group], origin="ours") == (group,)
    save_to_groups(fritz, NAME, [other])
    with pytest.raises(QueryRefusedError, match="already saved"):
        save_to_groups(fritz, NAME, [other])
    found = find_source(fritz, NAME, labellers=True)
    assert (found.ra, found.dec, found.labeller_ids) == (255.907093, 12.570278, ())
    assert set(found.group_ids) == {group, other}
    assert found.created_at is not None

    ids = post_classifications(
        fritz, [new_class(skyportal), new_class(skyportal, "RRc", probability=None, ml=False, vote=True, label=True)]
    )
    first, second = classifications_of(fritz, NAME)
    assert (first.id, second.id) == ids
    assert (first.classification, first.probability, first.ml, first.net_votes) == ("RRab", 0.75, True, 0)
    assert (second.classification, second.probability, second.ml, second.net_votes) == ("RRc", None, False, 1)
    assert first.group_ids == second.group_ids == (group,)
    delete_classification(fritz, ids[0], label=False)
    with pytest.raises(NotFoundError):
        delete_classification(fritz, ids[0], label=False)
    me = skyportal.users["scope"]
    assert find_source(fritz, NAME, labellers=True).labeller_ids == (me,)
    assert sources_near(fritz, 255.907, 12.5702, radius_arcsec=2.0, labellers=True)[0].labeller_ids == (me,)
    assert sources_near(fritz, 255.9, 12.5, radius_arcsec=2.0) == ()

    number = post_annotation(fritz, NAME, origin="x", data={"survey_id": 2**62 + 1, "period": 0.5}, group_ids=[group])
    put_annotation(fritz, NAME, number, data={"survey_id": 2**62 + 1})
    (annotation,) = annotations_of(fritz, NAME)
    assert (annotation.id, annotation.origin, annotation.data) == (number, "x", {"survey_id": 2**62 + 1})
    assert annotation.group_ids == (group,)
    with pytest.raises(QueryRefusedError, match="already exists"):
        post_annotation(fritz, NAME, origin="x", data={"a": 1}, group_ids=[group])
    delete_annotation(fritz, NAME, number)
    for change in (
        lambda: delete_annotation(fritz, NAME, number),
        lambda: put_annotation(fritz, NAME, number, data={}),
    ):
        with pytest.raises(NotFoundError):
            change()

    picture = Attachment(name="a.png", body=b"\x89PNG")
    number = post_comment(fritz, NAME, "a light curve", group_ids=[group], attachment=picture)
    assert post_comment(fritz, NAME, "a light curve", group_ids=[group], attachment=picture) == number
    (comment,) = comments_of(fritz, NAME)
    assert (comment.id, comment.text, comment.attachment_name, comment.bot) == (number, "a light curve", "a.png", True)


def test_photometry_in_pieces_and_again(skyportal, fritz, monkeypatch):
    monkeypatch.setattr("scope_ml.services.fritz.photometry.LARGEST_PIECE", 40)
    group = skyportal.groups["Variables"]
    skyportal.add("source", obj_id=NAME, ra=1.0, dec=2.0)
    points = NewPhotometry(
        obj_id=NAME,
        instrument_id=Directory(fritz).instrument("ZTF").id,
        mjd=[58000.0 + day / 7 for day in range(100)],
        mag=[18.0 + day / 300 for day in range(100)],
        magerr=[0.05] * 100,
        filter=["ztfg", "ztfr"] * 50,
        limiting_mag=23.9,
        group_ids=(group,),
        origin="ours",
    )
    assert missing_points(points, photometry_of(fritz, NAME), [group]) == (points.some(range(100)), ())
    began = skyportal.n_requests
    ids = put_photometry(fritz, points)
    assert paths(skyportal, began) == ["PUT photometry"] * 3
    assert len(set(ids)) == 100
    assert put_photometry(fritz, points) == ids
    there = photometry_of(fritz, NAME)
    assert {one.id: (one.mjd, one.filter, one.origin) for one in there} == {
        number: (mjd, band, "ours") for number, mjd, band in zip(ids, points.mjd, points.filter, strict=True)
    }
    assert missing_points(points, there, [group]) == (None, ids)
    assert len(missing_points(points, there[:60], [group])[0]) == 40
    assert len(missing_points(points, there, [group, skyportal.groups["Follow-up"]])[0]) == 100


def test_all_sources_of_several_groups_page_by_page(skyportal):
    skyportal.add_many(
        "source",
        [
            {
                "obj_id": f"S{n}",
                "ra": 1.0,
                "dec": 1.0,
                "groups": [["Variables"], ["Follow-up"], ["Sitewide Group"]][n % 3],
            }
            for n in range(30)
        ],
    )
    with client(skyportal, page=6) as fritz:
        groups = [group.id for group in Directory(fritz).groups(["Variables", "Follow-up", "Variables"])]
        began = skyportal.n_requests
        pages = list(pages_of_sources(fritz, group_ids=groups, labellers=True))
        assert [page.number for page in pages] == [1, 2, 3, 4]
        assert {page.total_matches for page in pages} == {20}
        assert sorted(one.id for page in pages for one in page.sources) == sorted(
            f"S{n}" for n in range(30) if n % 3 < 2
        )
        assert all(one.labeller_ids == () for page in pages for one in page.sources)
        assert not any(page.notes for page in pages)
        assert skyportal.n_requests - began == 4
        assert skyportal.requests_since(began)[0]["query"]["group_ids"] == ",".join(map(str, groups))
        later = list(pages_of_sources(fritz, group_ids=groups, first_page=4))
        assert [one.id for page in later for one in page.sources] == [one.id for one in pages[3].sources]
        (beyond,) = pages_of_sources(fritz, group_ids=groups, first_page=9)
        assert (beyond.sources, beyond.total_matches) == ((), 20)


def test_sources_that_move_between_pages_come_once_and_all(skyportal, caplog):
    skyportal.add_many("source", [{"obj_id": f"S{n}", "ra": 1.0, "dec": 1.0} for n in range(12)])
    caplog.set_level(logging.INFO)
    with client(skyportal, page=4) as fritz:
        group = skyportal.groups["Variables"]
        pages = pages_of_sources(fritz, group_ids=[group])
        names = [one.id for one in next(pages).sources]
        # The newest come first: one more pushes another one from the first page to the second.
        skyportal.add("source", obj_id="new", ra=1.0, dec=1.0)
        rest = list(pages)
    names += [one.id for page in rest for one in page.sources]
    assert sorted(names) == sorted([f"S{n}" for n in range(12)] + ["new"])
    notes = [note for page in rest for note in page.notes]
    assert any("13 sources match, and 12 did before" in note for note in notes)
    assert any("1 of its sources had come before" in note for note in notes)
    assert "1 of 13 sources have not come" in caplog.text


# ---- Who asks


@pytest.mark.parametrize(("token", "words"), [("", "is not set"), ("12 34", "a blank"), ("naïve", "a blank")])
def test_without_a_token_nothing_is_asked(skyportal, token, words):
    began = skyportal.n_requests
    with FritzClient(build(FritzConfig, skyportal.config), environment={"FRITZ_TOKEN": token}) as fritz:
        with pytest.raises(CredentialError, match=f"FRITZ_TOKEN.*{words}.*export FRITZ_TOKEN=") as caught:
            find_source(fritz, NAME)
        assert token == "" or token not in str(caught.value)
    assert skyportal.n_requests == began


def test_an_unknown_or_expired_token_is_tried_once(skyportal):
    gone = skyportal.add("user", username="gone", is_expired=True)["token"]
    for token in ("11111111-2222-3333-4444-555555555555", gone):
        began = skyportal.n_requests
        with FritzClient(build(FritzConfig, skyportal.config), environment={"FRITZ_TOKEN": token}) as fritz:
            for _ in range(2):
                with pytest.raises(CredentialError, match="does not take the token in FRITZ_TOKEN") as caught:
                    find_source(fritz, NAME)
                assert token not in str(caught.value)
        assert paths(skyportal, began) == ["GET groups"]


def test_a_right_that_is_lost_and_a_token_that_is_lost(skyportal, fritz):
    skyportal.add("source", obj_id=NAME, ra=1.0, dec=1.0)
    assert len(post_classifications(fritz, [new_class(skyportal)])) == 1
    skyportal.faults.add(kind="lost_right", right="Classify", times=1)
    with pytest.raises(NotAllowedError, match="api/classification is not allowed"):
        post_classifications(fritz, [new_class(skyportal, "RRc")])
    assert find_source(fritz, NAME) is not None
    skyportal.faults.add(kind="lost_token", times=1)
    with pytest.raises(CredentialError, match="FRITZ_TOKEN"):
        find_source(fritz, NAME)
    began = skyportal.n_requests
    with pytest.raises(CredentialError, match="FRITZ_TOKEN"):
        find_source(fritz, NAME)
    assert skyportal.n_requests == began


@pytest.mark.parametrize("missing", [(), ("Classify",), ("Annotate", "Comment"), tuple(PROBES)])
def test_missing_rights_are_all_named_and_nothing_is_changed(skyportal, fritz, missing):
    skyportal.add("source", obj_id=NAME, ra=1.0, dec=1.0)
    skyportal.add("rights", user="scope", rights=[one for one in PROBES if one not in missing])
    before = skyportal.state(raw=True)
    if missing:
        with pytest.raises(NotAllowedError, match=rf"lacks the right\(s\) {', '.join(missing)} on") as caught:
            check_rights(fritz, tuple(PROBES))
        assert not any(one in str(caught.value) for one in PROBES if one not in missing)
        check_rights(fritz, [one for one in PROBES if one not in missing])
    else:
        check_rights(fritz, tuple(PROBES))
    assert skyportal.state(raw=True) == before


def test_rights_of_a_service_in_trouble_are_not_missing(skyportal):
    with client(skyportal, retries=1) as fritz:
        find_source(fritz, NAME)
        skyportal.faults.add(kind="html", status=504, method="POST")
        with pytest.raises(ServiceUnavailableError, match="whether the token has the right Classify"):
            check_rights(fritz, ["Classify"])


# ---- Faults of questions


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_a_question_is_asked_again(skyportal, fritz, fault):
    skyportal.add("source", obj_id=NAME, ra=1.0, dec=1.0)
    find_source(fritz, NAME)
    skyportal.faults.add(**fault, path="sources/", times=3)
    began = skyportal.n_requests
    assert find_source(fritz, NAME).id == NAME
    assert skyportal.n_requests - began == 4


def test_a_question_is_given_up(skyportal):
    with client(skyportal, retries=2, timeout_s=0.15) as fritz:
        find_source(fritz, NAME)
        skyportal.faults.add(kind="html", status=504)
        with pytest.raises(ServiceUnavailableError, match="after 3 tries: status 504, 504 Gateway"):
            find_source(fritz, NAME)
        skyportal.faults.clear()
        skyportal.faults.add(kind="hang")
        with pytest.raises(ServiceTimeoutError, match=r"silent for 0\.15 s"):
            find_source(fritz, NAME)


def test_a_web_page_for_a_first_answer_means_a_wrong_address(skyportal, fritz):
    skyportal.faults.add(kind="not_json")
    began = skyportal.n_requests
    with pytest.raises(ReplyError, match=r"is service\.fritz\.url right\?"):
        find_source(fritz, NAME)
    assert skyportal.n_requests - began == 1


def test_an_address_that_the_service_does_not_know(skyportal):
    with client(skyportal, url=f"{skyportal.url}/nothing") as fritz, pytest.raises(ReplyError, match="url right"):
        find_source(fritz, NAME)
    with (
        client(skyportal) as fritz,
        pytest.raises(QueryRefusedError, match=r"is no address there .* check service\.fritz"),
    ):
        fritz.get("/api/archives")
    with client(skyportal, url="http://127.0.0.1:9", retries=1) as fritz:
        with pytest.raises(ServiceUnavailableError, match="connection refused"):
            find_source(fritz, NAME)
        with pytest.raises(ServiceUnavailableError, match="connection refused"):
            post_classifications(fritz, [new_class(skyportal)])


# ---- Faults of changes


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "error", "status": 500},
        {"kind": "html", "status": 502},
        {"kind": "html", "status": 504},
        {"kind": "html", "status": 405},
        {"kind": "not_json"},
        {"kind": "reset"},
        {"kind": "cut"},
        {"kind": "hang"},
    ],
    ids=str,
)
@pytest.mark.parametrize("stored", ["never", "before"])
def test_a_change_without_an_answer_is_unsure_and_asked_for_once(skyportal, fault, stored):
    skyportal.add("source", obj_id=NAME, ra=1.0, dec=1.0)
    with client(skyportal, timeout_s=0.15) as fritz:
        find_source(fritz, NAME)
        skyportal.faults.add(**fault, stored=stored, method="POST")
        began = skyportal.n_requests
        with pytest.raises(UnsureError, match=r"api/classification.*may have been made"):
            post_classifications(fritz, [new_class(skyportal)])
        assert paths(skyportal, began) == ["POST classification"]
    is_stored = stored == "before" or fault["kind"] == "cut"
    assert len(skyportal.state()["sources"][NAME]["classifications"]) == is_stored


def test_a_change_that_was_turned_away_is_asked_for_again(skyportal, fritz):
    skyportal.add("source", obj_id=NAME, ra=1.0, dec=1.0)
    skyportal.faults.add(kind="html", status=429, method="POST", times=3)
    assert len(post_classifications(fritz, [new_class(skyportal)])) == 1
    assert len(skyportal.state()["sources"][NAME]["classifications"]) == 1
    skyportal.faults.add(kind="html", status=429, method="POST")
    with pytest.raises(ServiceUnavailableError, match="after 6 tries: status 429"):
        post_classifications(fritz, [new_class(skyportal, "RRc")])


def test_what_may_be_repeated_is(skyportal, fritz):
    skyportal.add("source", obj_id=NAME, ra=1.0, dec=1.0)
    group = skyportal.groups["Variables"]
    number = post_annotation(fritz, NAME, origin="x", data={"a": 1}, group_ids=[group])
    skyportal.faults.add(kind="html", status=504, method="PUT", stored="before", times=2)
    put_annotation(fritz, NAME, number, data={"b": 2})
    assert annotations_of(fritz, NAME)[0].data == {"b": 2}
    skyportal.faults.add(kind="reset", method="PUT")
    with pytest.raises(UnsureError, match="after 6 tries"):
        put_annotation(fritz, NAME, number, data={"c": 3})


def test_what_the_service_refuses_is_said_in_one_line(skyportal, fritz):
    skyportal.add("source", obj_id=NAME, ra=1.0, dec=1.0)
    for wrong, words in [({"classification": "rrab"}, "rrab"), ({"taxonomy_id": 99}, "99"), ({"obj_id": "no"}, "no")]:
        with pytest.raises(QueryRefusedError, match=f"api/classification refuses: .*{words}") as caught:
            post_classifications(fritz, [new_class(skyportal, **wrong)])
        assert "\n" not in str(caught.value)
    began = skyportal.n_requests
    for data in ({"a": float("nan")}, {"a": [1.0, float("inf")]}, {"a": {"b": 2**63}}, {"a": -(10**400)}):
        with pytest.raises(DataError, match="a number that Fritz cannot keep"):
            post_annotation(fritz, NAME, origin="x", data=data, group_ids=[1])
    assert skyportal.n_requests == began
    skyportal.set_limits(body=1000)
    with pytest.raises(QueryTooLargeError, match="413"):
        post_comment(fritz, NAME, "x" * 2000, group_ids=[1])


# ---- Pace, threads, an end


def test_the_pace_of_the_service_is_kept_by_all_threads(skyportal):
    skyportal.set_limits(rate=SPEED, burst=10)
    with client(skyportal, requests_per_second=SPEED, burst=10, connections=4) as fritz:
        find_source(fritz, NAME)
        began = time.monotonic()
        threads = [threading.Thread(target=lambda: [find_source(fritz, NAME) for _ in range(30)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        took = time.monotonic() - began
        n_tries = skyportal.n_requests
    assert took >= (120 - 10) / SPEED
    statuses = [one["status"] for one in skyportal.requests_since(n_tries - 120)]
    # A delay on the way bunches requests: a refusal now and then is asked again.
    assert statuses.count(429) <= 6


def test_a_client_that_is_too_fast_slows_down_and_gets_all(skyportal):
    skyportal.set_limits(rate=100.0, burst=5)
    with client(skyportal, requests_per_second=1000.0, burst=40, connections=2) as fritz:
        for _ in range(60):
            assert find_source(fritz, NAME) is None
        began = skyportal.n_requests
        assert fritz.n_requests < 150
    assert began


@pytest.fixture
def _interrupted_by_ctrl_c():
    """A program that was started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interrupted_by_ctrl_c")
def test_ctrl_c_ends_a_hang_at_once(skyportal):
    skyportal.faults.add(kind="hang", path="sources")
    with client(skyportal) as fritz:
        began = time.monotonic()
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            find_source(fritz, NAME)
        timer.join()
        skyportal.faults.clear()
        assert find_source(fritz, NAME) is None
    assert time.monotonic() - began < 5
    with pytest.raises(ServiceError, match="closed"):
        find_source(fritz, NAME)


def test_closing_ends_a_wait_in_another_thread(skyportal):
    errors = []
    with client(skyportal, backoff_s=1e4) as fritz:
        find_source(fritz, NAME)
        skyportal.faults.add(kind="html", status=429, retry_after="60")

        def ask():
            with pytest.raises(ServiceError) as caught:
                find_source(fritz, NAME)
            errors.append(str(caught.value))

        thread = threading.Thread(target=ask)
        began = skyportal.n_requests
        thread.start()
        until = time.monotonic() + 5
        while skyportal.n_requests == began and time.monotonic() < until:
            time.sleep(0.01)
    thread.join(5)
    assert not thread.is_alive()
    assert "closed" in errors[0]


# ---- The token


def test_the_token_is_in_no_error_repr_or_log(skyportal, caplog):
    caplog.set_level(logging.DEBUG)
    token = skyportal.token
    texts = []
    faults = [*PASSING, {"kind": "hang"}, {"kind": "lost_right"}, {"kind": "lost_token"}]
    said = {"kind": "error", "message": f"what is token {token}?", "path": "instrument|classification"}
    faults += [{**said, "status": status} for status in (400, 401, 403, 404)]
    faults += [{**said, "status": 401, "path": ""}]
    for fault in faults:
        skyportal.reset()
        skyportal.add("source", obj_id=NAME, ra=1.0, dec=1.0)
        with client(skyportal, retries=0, timeout_s=0.1) as fritz:
            texts.append(repr(fritz))
            find_source(fritz, NAME)
            for ask in (
                lambda one: one.get("/api/instrument"),
                lambda one: post_classifications(one, [new_class(skyportal)]),
            ):
                skyportal.faults.add(**fault)
                with pytest.raises(ScopeError) as caught:
                    ask(fritz)
                    raise ScopeError("no fault")
                texts += [str(caught.value), repr(caught.value), repr(caught.value.__cause__), repr(vars(caught.value))]
                skyportal.faults.clear()
    texts += [caplog.text, *(repr(vars(record)) for record in caplog.records)]
    assert len(texts) > 100
    assert not any(token in text for text in texts)


def test_a_clock_that_stands_still_needs_no_real_time(skyportal):
    waited = []
    clock = Clock(now=lambda: 0.0, chance=lambda: 1.0, wait=lambda stop, seconds: waited.append(seconds) or False)
    config = build(FritzConfig, {**skyportal.config, "requests_per_second": 5.0, "burst": 3})
    with FritzClient(config, clock=clock, environment={"FRITZ_TOKEN": skyportal.token}) as fritz:
        for _ in range(4):
            find_source(fritz, NAME)
    # Five requests, the first of which asks who asks: three at once, then one each fifth of a second.
    assert waited == pytest.approx([0.2, 0.4])
