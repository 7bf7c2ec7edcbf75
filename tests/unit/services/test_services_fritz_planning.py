"""Plans: pure, complete, and empty once they are carried out."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scope_ml.errors import DataError
from scope_ml.services.fritz.looking import Seen
from scope_ml.services.fritz.photometry import NewPhotometry
from scope_ml.services.fritz.planning import SourcePlan, changed, plan, second_copies
from scope_ml.services.fritz.points import missing_points
from scope_ml.services.fritz.records import Annotation, Classification, Comment, Point, Source
from scope_ml.services.fritz.rules import Rules
from scope_ml.services.fritz.wanted import Wanted, WantedAnnotation, WantedClass, WantedComment, digest_of

TREE = 5


def there(number: int, name: str = "Mira", **values: Any) -> Classification:
    given: dict[str, Any] = {
        "probability": 0.5,
        "origin": "SCoPe",
        "ml": True,
        "author_id": 1,
        "author_name": "scope",
        "group_ids": (6,),
    }
    return Classification(id=number, obj_id="ZTFJ1", classification=name, taxonomy_id=TREE, **(given | values))


def source(*classifications: Classification, **values: Any) -> Source:
    return Source(
        **({"id": "ZTFJ1", "ra": 10.0, "dec": 20.0, "group_ids": (6,), "classifications": classifications} | values)
    )


def seen(found: Source | None, **values: Any) -> Seen:
    return Seen(obj_id="ZTFJ1", source=found, **values)


def mira(**values: Any) -> WantedClass:
    return WantedClass(**({"classification": "Mira", "taxonomy_id": TREE, "probability": 0.5} | values))


def wanted(**values: Any) -> Wanted:
    return Wanted(**({"key": "row", "ra": 10.0, "dec": 20.0, "group_ids": (6,)} | values))


def names(found: SourcePlan) -> list[tuple[str, str]]:
    return [(step.kind, step.what) for step in found.steps]


@pytest.mark.parametrize(
    ("given", "groups", "same", "missing"),
    [
        (there(1), (6,), "class", ()),
        (there(1, probability=0.1, ml=False, author_name="other"), (6,), "class", ()),
        (there(1, origin="eye"), (6,), "class", ()),
        (there(1, origin="eye"), (6,), "origin", (6,)),
        (there(1), (6, 7), "class", (7,)),
        (there(1, group_ids=()), (6, 7), "class", ()),
        (there(1, group_ids=(9,)), (6, 7), "class", (6, 7)),
        (there(1, "mira"), (6,), "class", (6,)),
    ],
)
def test_a_class_is_posted_for_the_groups_that_lack_it(given: Any, groups: Any, same: Any, missing: Any) -> None:
    found = plan(
        wanted(classifications=(mira(),), group_ids=groups), seen(source(given, group_ids=groups)), Rules(same=same)
    )
    assert [step.group_ids for step in found.steps] == ([missing] if missing else [])


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ((), 0),
        (({"probability": 0.5},), 0),
        (({"probability": 0.5 * (1 + 1e-12)},), 0),
        (({"probability": 0.4},), 1),
        (({"probability": None},), 1),
        (({"probability": 0.4}, {"probability": 0.5, "author_id": 2}), 0),
        (({"probability": 0.4, "group_ids": (99,)},), 0),
    ],
)
def test_a_class_that_stays_with_another_probability_is_told(given: Any, left: int) -> None:
    copies = [there(5 + n, **values) for n, values in enumerate(given)]
    found = plan(wanted(classifications=(mira(),)), seen(source(*copies)), Rules())
    assert len(found.left) == left
    assert (
        not left
        or found.left[0] == f"Mira stands there with {copies[0].probability} of {copies[0].author_name}, not 0.5"
    )
    assert plan(wanted(classifications=(mira(),)), seen(source(*copies)), Rules(replace="all")).left == ()


def test_a_class_of_another_taxonomy_is_another_class() -> None:
    found = plan(wanted(classifications=(mira(taxonomy_id=8),)), seen(source(there(1))), Rules())
    assert names(found) == [("classify", "Mira (taxonomy 8, SCoPe)")]


@pytest.mark.parametrize(
    ("given", "origin", "everybody"),
    [
        (there(1), False, False),
        (there(1, probability=0.5000000000000001), False, False),
        (there(1, probability=None), True, True),
        (there(1, ml=False), True, True),
        (there(1, "LPV"), True, True),
        (there(1, "LPV", author_name="Scope"), True, True),
        (there(1, "LPV", author_name="other"), False, True),
        (there(1, "LPV", origin="eye"), False, True),
        (there(1, "LPV", group_ids=(9,)), False, False),
        (there(1, "LPV", group_ids=()), True, True),
    ],
)
def test_what_is_replaced(given: Classification, origin: bool, everybody: bool) -> None:
    for replace_, expected in (("none", False), ("origin", origin), ("all", everybody)):
        found = plan(wanted(classifications=(mira(),)), seen(source(given)), Rules(replace=replace_), me="scope")  # type: ignore[arg-type]
        assert [step.remote_id for step in found.steps if step.kind == "delete"] == ([1] if expected else []), replace_
        kinds = [step.kind for step in found.steps]
        assert kinds == sorted(kinds), "what is new stands before what is old goes"


def test_of_two_copies_the_first_is_kept_and_nothing_goes_where_nothing_is_wanted() -> None:
    copies = source(there(4), there(2), there(3, group_ids=(7,)))
    found = plan(wanted(classifications=(mira(),), group_ids=(6, 7)), seen(copies), Rules(replace="all"))
    assert names(found) == [("save", "groups"), ("delete", "4")]
    assert plan(wanted(), seen(copies), Rules(replace="all")).steps == ()


def test_second_copies_are_taken_away_only_where_they_can_only_be_ours() -> None:
    both, row = source(there(4), there(5)), wanted(classifications=(mira(),))
    name = "Mira (taxonomy 5, SCoPe)"
    assert [step.remote_id for step in second_copies(row, both, {name: ((), 2)})] == [5]
    assert second_copies(row, both, {}) == []
    assert second_copies(row, both, {name: ((), 1)}) == [], "asked for once"
    assert second_copies(row, both, {name: ((4,), 2)}) == [], "one was there before"
    others = (there(5, author_id=2), there(5, probability=0.6), there(5, group_ids=(7,)), there(5, ml=False))
    for other in others:
        assert second_copies(row, source(there(4), other), {name: ((), 2)}) == []


def annotation(**data: Any) -> Annotation:
    return Annotation(id=3, obj_id="ZTFJ1", origin="o", data=data)


@pytest.mark.parametrize(
    ("before", "mode", "value", "after"),
    [
        (None, "set", 1, {"k": 1}),
        ({"k": 2, "x": 0}, "set", 1, {"k": 1, "x": 0}),
        ({"k": 1.0}, "set", 1, None),
        ({"k": True}, "set", 1, {"k": 1}),
        (None, "new", 1, {"k": 1}),
        ({"x": 0}, "new", 1, {"x": 0, "k": 1}),
        ({"k": 1}, "new", 1, None),
        (None, "change", 1, None),
        ({"x": 0}, "change", 1, {"x": 0, "k": 1}),
        (None, "once", 1, {"k": 1}),
        ({"x": 0}, "once", 1, None),
        (None, "add", "7", {"k": "7"}),
        ({"other": 7}, "add", "7", None),
        ({"k": 1}, "add", "7", {"k": 1, "k_2": "7"}),
        ({"k": 1, "k_2": 2}, "add", "7", {"k": 1, "k_2": 2, "k_3": "7"}),
        (None, "drop", None, None),
        ({"k": 1, "x": 0}, "drop", None, {"x": 0}),
        ({"k": 1}, "drop", None, {}),
        ({"x": 0}, "drop", None, None),
    ],
)
def test_what_an_annotation_becomes(before: Any, mode: Any, value: Any, after: Any) -> None:
    was = None if before is None else annotation(**before)
    one = WantedAnnotation(origin="o", key="k", value=value, mode=mode)
    assert changed(was, [one]) == after
    found = plan(wanted(annotations=(one,)), seen(source(annotations=() if was is None else (was,))), Rules())
    assert [step.kind for step in found.steps] == ([] if after is None else ["annotate"])
    assert bool(found.left) == (before is None and mode in ("change", "drop"))


def test_a_new_key_that_has_another_value_is_refused() -> None:
    one = WantedAnnotation(origin="o", key="k", value=1, mode="new")
    found = plan(wanted(annotations=(one,)), seen(source(annotations=(annotation(k=2),))), Rules())
    assert found.steps == ()
    assert "o.k is 2 already, not 1" in found.refused


def test_a_comment_is_posted_where_its_text_is_not_there() -> None:
    row = wanted(comments=(WantedComment(text="seen "), WantedComment(text="curve of {obj_id}")))
    comments = (Comment(id=1, obj_id="ZTFJ1", text=" seen"),)
    assert names(plan(row, seen(source(), comments=comments), Rules())) == [("comment", "curve of ZTFJ1")]


def test_a_source_that_is_not_there_is_made_with_all_its_groups() -> None:
    found = plan(wanted(group_ids=(6, 7), classifications=(mira(),)), seen(None), Rules())
    assert [(step.kind, step.group_ids) for step in found.steps] == [("create", (6, 7)), ("classify", (6, 7))]
    assert plan(wanted(group_ids=(6, 7)), seen(source()), Rules(save=False)).steps == ()
    refused = plan(wanted(), seen(None, refused="no"), Rules())
    assert (refused.refused, refused.steps) == ("no", ())


def photometry(n: int, **values: Any) -> NewPhotometry:
    given: dict[str, Any] = {
        "mjd": [58000.0 + at for at in range(n)],
        "mag": [18.0] * n,
        "magerr": [0.1] * n,
        "filter": ["ztfg"] * n,
        "limiting_mag": 23.9,
    }
    return NewPhotometry(obj_id="x", instrument_id=4, group_ids=(6,), **(given | values))


def point(number: int, mjd: float, band: str = "ztfg", mag: float | None = 18.0, **values: Any) -> Point:
    given: dict[str, Any] = {"magerr": 0.1, "limiting_mag": 23.9, "instrument_id": 4, "group_ids": (6, 7)}
    return Point(id=number, mjd=mjd, mag=mag, filter=band, **(given | values))


def test_points_that_are_missing() -> None:
    points = [
        point(1, 58000.0 + 1e-8, mag=18.3),
        # The service takes it for the wanted one, whatever the filter.
        point(2, 58001.0, "ztfr"),
        point(3, 58002.0, instrument_id=2),
        point(4, 58003.0, group_ids=(7,)),
        point(5, 58004.0, "ztfr", mag=17.0),
    ]
    missing, ids = missing_points(photometry(5, ra=[1.0, 2.0, 3.0, 4.0, 5.0]), points, (6,))
    assert missing is not None
    assert (missing.mjd, missing.ra, missing.limiting_mag) == ([58002.0, 58003.0, 58004.0], [3.0, 4.0, 5.0], 23.9)
    assert ids == (1, 2)
    assert missing_points(photometry(2), points, (6,)) == (None, (1, 2))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: mira(probability=1.01), r"1.01 of Mira is not in \[0, 1\]"),
        (lambda: mira(probability=float("nan")), "not in"),
        (lambda: mira(classification=""), "no name"),
        (lambda: wanted(ra=360.5), "no place on the sky"),
        (lambda: wanted(dec=float("nan")), "no place on the sky"),
        (lambda: wanted(ra=None), "neither a name nor a position"),
        (lambda: wanted(classifications=(mira(), mira(probability=0.1))), "wanted twice"),
        (lambda: wanted(classifications=(mira(),), group_ids=()), "groups"),
        (lambda: WantedAnnotation(origin=" o", key="k"), "origin"),
        (lambda: WantedAnnotation(origin="o", key=""), "no key"),
        (lambda: WantedAnnotation(origin="o", key="k", value=float("inf")), "not finite"),
        (lambda: WantedComment(text=" \n"), "no text"),
    ],
)
def test_what_cannot_be_wanted(make: Callable[[], Any], match: str) -> None:
    with pytest.raises(DataError, match=match):
        make()


def test_a_full_circle_is_where_it_began() -> None:
    assert wanted(ra=360.0).ra == 0.0


def test_the_digest_tells_what_is_wanted() -> None:
    row = wanted(classifications=(mira(),), annotations=(WantedAnnotation(origin="o", key="k", value=1),))
    others = [
        [],
        [row, replace(row, key="other")],
        [replace(row, ra=10.5)],
        [replace(row, group_ids=(6, 7))],
        [replace(row, classifications=(mira(vote=True),))],
        [replace(row, annotations=(WantedAnnotation(origin="o", key="k", value=2),))],
        [replace(row, comments=(WantedComment(text="a"),))],
        [replace(row, photometry=lambda: None)],
    ]
    digests = [digest_of(one, {}) for one in ([row], *others)] + [digest_of([row], {"replace": "all"})]
    assert len(set(digests)) == len(digests)
    assert digest_of([replace(row)], {}) == digests[0]


CLASSES = st.builds(
    there,
    st.integers(1, 1000),
    st.sampled_from(["Mira", "LPV", "RRab"]),
    probability=st.sampled_from([None, 0.5, 0.9]),
    origin=st.sampled_from(["SCoPe", "eye", None]),
    ml=st.booleans(),
    author_name=st.sampled_from(["scope", "other"]),
    group_ids=st.sampled_from([(), (6,), (7,), (6, 7), (9,)]),
)
WANTED_CLASSES = st.lists(
    st.builds(mira, classification=st.sampled_from(["Mira", "LPV", "RRab"]), probability=st.sampled_from([None, 0.5])),
    max_size=3,
    unique_by=lambda one: one.classification,
)


def carried_out(found: SourcePlan, before: Source, row: Wanted) -> Source:
    """The source after all steps were done."""
    numbers = itertools.count(2000)
    gone = {step.remote_id for step in found.steps if step.kind == "delete"}
    posted = [
        there(
            next(numbers),
            step.classification.classification,
            probability=step.classification.probability,
            group_ids=step.group_ids,
        )
        for step in found.steps
        if step.classification is not None
    ]
    kept = [one for one in before.classifications if one.id not in gone]
    return replace(before, group_ids=row.group_ids, classifications=(*kept, *posted))


@given(
    st.lists(CLASSES, max_size=6, unique_by=lambda one: one.id),
    WANTED_CLASSES,
    st.sampled_from(["none", "origin", "all"]),
    st.sampled_from(["class", "origin"]),
)
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(given: Any, classes: Any, replace_: Any, same: Any) -> None:
    rules, row = Rules(replace=replace_, same=same), wanted(classifications=tuple(classes), group_ids=(6, 7))
    before = source(*given)
    found = plan(row, seen(before), rules, me="scope")
    after = carried_out(found, before, row)
    assert plan(row, seen(after), rules, me="scope").steps == ()
    for one in classes:
        same_class = [each for each in after.classifications if each.classification == one.classification]
        groups = {group for each in same_class for group in each.group_ids}
        assert groups >= {6, 7} or any(not each.group_ids for each in same_class)
    if replace_ == "all" and classes:
        in_scope = [one for one in after.classifications if not one.group_ids or {6, 7} & set(one.group_ids)]
        assert all(one.origin == "SCoPe" and one.ml for one in in_scope)
