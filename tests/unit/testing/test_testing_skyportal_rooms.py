"""Rooms of SkyPortal's test server that need no server: class trees, faults, places, times, the text of replies."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.errors import ConfigError
from scope_ml.testing.skyportal.answers import Asked, _text, answer, token_of
from scope_ml.testing.skyportal.faults import Fault, FaultPlan
from scope_ml.testing.skyportal.listing import parse_time, separation
from scope_ml.testing.skyportal.population import USERS, populate
from scope_ml.testing.skyportal.portal import Portal
from scope_ml.testing.skyportal.routes import ROUTES, find_route
from scope_ml.testing.skyportal.trees import ASTROPHYSICAL, PHENOMENOLOGICAL, class_names, node_fault

#: Labels that SCoPe's mapper files name, by tree.
ONTOLOGICAL_LABELS = (
    "Pulsating", "RR Lyrae", "Cepheid", "Eclipsing", "detached MS-MS", "W Ursae Maj", "RRab", "RRc",
    "Delta Scuti", "RRd", "Population II Cepheid", "RS CVn", "Beta Lyrae", "Blazhko", "YSO", "AGN", "RV Tau",
    "LPV", "Mira", "Semiregular", "W Vir", "Compact Binary", "NN Ser", "Fundamental", "Overtone", "BL Her",
    "OSARG", "HW Vir", "Redback Pulsar", "Cataclysmic",
)  # fmt: skip
PHENOMENOLOGICAL_LABELS = (
    "variable", "periodic", "multi periodic", "sinusoidal", "non-variable", "bogus", "bright star",
    "long timescale", "irregular", "blend", "eclipsing", "EW", "flaring", "ccd artifact", "EB", "sawtooth",
    "EA", "dipping", "wrong period", "double period", "half period", "ellipsoidal", "extended",
)  # fmt: skip


def test_trees_hold_every_label_once() -> None:
    assert (len(ONTOLOGICAL_LABELS), len(PHENOMENOLOGICAL_LABELS)) == (30, 23)
    for tree, labels in ((ASTROPHYSICAL, ONTOLOGICAL_LABELS), (PHENOMENOLOGICAL, PHENOMENOLOGICAL_LABELS)):
        counts = Counter(class_names(tree))
        assert [name for name in labels if counts[name] != 1] == []
        assert node_fault(tree) is None
    assert set(class_names(ASTROPHYSICAL)).isdisjoint(class_names(PHENOMENOLOGICAL)), "case is never folded"
    assert Counter(class_names(ASTROPHYSICAL))["kilonova"] == 2, "as in tdtax"


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ([], "not an object"),
        ({}, "'class' is a required property"),
        ({"class": "a", "b": 1}, "'b' was unexpected"),
        ({"class": "a", "tags": "b"}, "not of the right type"),
        ({"class": "a", "subclasses": [{"class": "b"}, {"class": None}]}, "required property"),
    ],
)
def test_what_the_schema_objects_to(node: object, said: str) -> None:
    assert said in (node_fault(node) or "")


PLACES = st.tuples(st.floats(0, 360), st.floats(-90, 90))


@settings(max_examples=50)
@given(PLACES, PLACES)
def test_separation_is_the_angle_between_vectors(one: tuple[float, float], other: tuple[float, float]) -> None:
    def vector(ra: float, dec: float) -> tuple[float, float, float]:
        a, d = math.radians(ra), math.radians(dec)
        return math.cos(d) * math.cos(a), math.cos(d) * math.sin(a), math.sin(d)

    chord = math.dist(vector(*one), vector(*other))
    assert separation(*one, *other) == pytest.approx(math.degrees(2 * math.asin(min(1.0, chord / 2))), abs=1e-5)
    assert separation(*one, *other) == pytest.approx(separation(*other, *one), abs=1e-12)


@pytest.mark.parametrize("dec", [0.0, 45.0, 89.0])
def test_small_separations_are_exact(dec: float) -> None:
    step = 1e-7
    assert separation(10.0, dec, 10.0, dec + step) == pytest.approx(step, rel=1e-6)
    assert separation(359.99999995, dec, 0.00000005, dec) == pytest.approx(step * math.cos(math.radians(dec)), rel=1e-5)


def test_times_are_naive_utc() -> None:
    assert parse_time("2023-05-01").isoformat() == "2023-05-01T00:00:00"
    assert parse_time(" 2023-05-01T12:00:00+02:00 ").isoformat() == "2023-05-01T10:00:00"
    with pytest.raises(ValueError, match="Invalid isoformat"):
        parse_time("yesterday")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=30)
@given(VALUES)
def test_text_is_json(value: object) -> None:
    assert json.loads(_text(value)) == value


@settings(max_examples=20)
@given(st.builds(Fault, kind=st.sampled_from(["html", "reset"]), times=st.none() | st.integers(0), path=st.text()))
def test_faults_travel_as_json(fault: Fault) -> None:
    assert Fault.from_json(json.loads(json.dumps(fault.to_json()))) == fault


def test_what_is_no_fault() -> None:
    for wrong, said in (
        ({"kind": "nothing"}, "not known"),
        ({"kind": "reset", "stored": "sometimes"}, "not known"),
        ({"kind": "reset", "probability": 2.0}, "lies in"),
        ({"kind": "reset", "n_items": 2}, "give stored="),
    ):
        with pytest.raises(ConfigError, match=said):
            Fault(**wrong)


def test_one_request_suffers_the_first_fault_that_fits() -> None:
    plan = FaultPlan()
    plan.add(Fault(kind="reset", method="POST", times=1))
    plan.add(Fault(kind="html", path="^/api/sources$"))
    hits = [plan.choose(*one) for one in (("POST", "/api/x"), ("POST", "/api/sources"), ("GET", "/api/sources/a"))]
    assert [hit and hit.kind for hit in hits] == ["reset", "html", None]
    plan.clear()
    assert plan.choose("POST", "/api/sources") is None


def test_addresses_do_not_overlap() -> None:
    for path in (
        *("/api/sources", "/api/sources/a", "/api/sources/a/labels", "/api/classification/3"),
        *("/api/classification/votes/3", "/api/sources/a/annotations/3", "/api/gcn_event/2020-01-01T00:00:00"),
    ):
        assert sum(route.pattern.fullmatch(path) is not None for route in ROUTES) == 1
    for path in ("/api/sources/", "/api/sources/a/b", "/api", "/sources", "/api/groups/1/"):
        assert find_route(path) is None


@pytest.mark.parametrize(
    ("written", "token"),
    [
        ("token abc", "abc"),
        ("token  abc ", "abc"),
        ("Token abc", None),
        ("Bearer abc", None),
        ("token ", None),
        (None, None),
    ],
)
def test_how_a_token_is_written(written: str | None, token: str | None) -> None:
    assert token_of(written) == token


def test_an_answer_needs_no_server() -> None:
    portal = Portal()
    populate(portal, {name: f"token-of-{name}" for name in USERS})
    asked = Asked(method="GET", path="/api/groups", query={}, authorization="token token-of-scope", raw=b"")
    status, body = answer(portal, asked)
    assert status == 200
    assert [one["name"] for one in json.loads(body)["data"]["user_groups"]] == [
        "Sitewide Group",
        "Variables",
        "Follow-up",
    ]
