"""The graph of classes: names, sets, implications, closure of labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.errors import ConfigError
from scope_ml.taxonomy import load_classes, packaged_conf_dir

TAXONOMY = load_classes(packaged_conf_dir())

#: What the field says beyond SCoPe's tree (README of the real data sets).
FURTHER_IMPLICATIONS = {
    **dict.fromkeys(("rrlyr", "ceph", "ceph2", "dscu", "rvtau", "rscvn"), "pnp"),
    **dict.fromkeys(("mir", "srv"), "longt"),
    **{"blyr": "eb", "wuma": "ew", "agn": "i", "cv": "i"},
    **dict.fromkeys(("nnser", "emsms", "hwvir"), "ea"),
    **dict.fromkeys(("puls", "bis", "yso"), "vnv"),
}

#: SCoPe's tree, nodes without a classifier left out.
TREE = {
    **{"pnp": "vnv", "sin": "pnp", "el": "sin", "saw": "pnp", "mp": "pnp", "longt": "pnp", "e": "pnp", "wp": "pnp"},
    **{"ea": "e", "eb": "e", "ew": "e", "hp": "wp", "dp": "wp", "i": "vnv", "fla": "i", "dip": "i"},
    **{"ext": "bogus", "blend": "bogus", "bright": "bogus", "artfct": "bogus"},
    **{"blyr": "bis", "rscvn": "bis", "wuma": "bis", "hwvir": "bis", "emsms": "bis", "nnser": "bis"},
    **{"rrlyr": "puls", "rrab": "rrlyr", "rrc": "rrlyr", "rrd": "rrlyr", "rrblz": "rrlyr", "lpv": "puls"},
    **{"mir": "lpv", "srv": "lpv", "osarg": "lpv", "rvtau": "puls", "dscu": "puls", "ceph2": "puls", "ceph": "puls"},
    **{"blher": "ceph2", "wvir": "ceph2", "f": "ceph", "o": "ceph"},
}


@pytest.mark.parametrize("implications", [TREE, FURTHER_IMPLICATIONS], ids=["tree", "further"])
def test_every_implication_of_the_field_holds(implications):
    for child, parent in implications.items():
        assert parent in TAXONOMY.parents(child), (child, parent)


def test_parents_are_the_closure_and_children_are_direct():
    assert TAXONOMY.parents("wuma") == ("vnv", "pnp", "e", "ew", "bis")
    assert TAXONOMY.parents("mir") == ("vnv", "pnp", "longt", "lpv", "puls")
    assert TAXONOMY.parents("vnv") == ()
    assert TAXONOMY.children("rrlyr") == ("rrab", "rrc", "rrd", "rrblz")
    assert TAXONOMY.children("ea") == ("emsms", "hwvir", "nnser")


def test_depth_is_the_longest_way_up():
    assert [TAXONOMY.depth(tag) for tag in ("vnv", "bogus", "pnp", "ea", "hwvir")] == [0, 0, 1, 3, 4]


def test_sets_and_tags_expand_once_each():
    assert TAXONOMY.expand(["all"]) == TAXONOMY.tags
    assert TAXONOMY.expand("phenomenological") == TAXONOMY.sets["phenomenological"]
    assert TAXONOMY.expand("rrlyr, ea,rrlyr") == ("rrlyr", "ea")
    assert len(TAXONOMY.expand(["ea", "all"])) == 52


@pytest.mark.parametrize(
    ("name", "hint"), [("rrly", "rrlyr"), ("RR Lyrae", "rrlyr"), ("phenomenologicl", "phenomenological")]
)
def test_an_unknown_class_gets_a_suggestion(name, hint):
    with pytest.raises(ConfigError, match=f"class '{name}' is unknown.*did you mean '{hint}'"):
        TAXONOMY.expand([name])


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        *(("rrlyr", "rrlyr"), ("RR Lyrae", "rrlyr"), ("rr_lyrae", "rrlyr"), ("W Ursae Maj", "wuma")),
        *(
            ("E", "e"),
            ("eclipsing sdB+dM (HW Vir)", "hwvir"),
            ("Mira", "mir"),
            ("Pulsator", "puls"),
            ("quark star", None),
        ),
    ],
)
def test_a_class_is_found_by_tag_label_or_alias(name, tag):
    assert TAXONOMY.find(name) == tag


def labels(**values: int) -> tuple[np.ndarray, np.ndarray]:
    """One row in which the given classes are known, all others not."""
    y, known = np.zeros((1, len(TAXONOMY)), np.int8), np.zeros((1, len(TAXONOMY)), bool)
    for tag, value in values.items():
        y[0, TAXONOMY.index(tag)], known[0, TAXONOMY.index(tag)] = value, True
    return y, known


def test_a_positive_makes_its_ancestors_positive_and_known_and_nothing_else():
    y, known = TAXONOMY.close_upward(*labels(rrab=1))
    positive = {tag for tag, value in zip(TAXONOMY.tags, y[0], strict=True) if value}
    assert positive == {"rrab", "rrlyr", "puls", "pnp", "vnv"}
    np.testing.assert_array_equal(known, y == 1)


def test_a_negative_says_nothing_about_the_classes_below_or_above():
    y, known = TAXONOMY.close_upward(*labels(rrlyr=0))
    assert known.sum() == 1
    assert y.sum() == 0


def test_an_asserted_child_wins_over_a_parent_that_was_not_asserted():
    y, known = TAXONOMY.close_upward(*labels(ea=1, e=0))
    assert y[0, TAXONOMY.index("e")] == 1
    assert known[0, TAXONOMY.index("e")]


def test_an_unknown_positive_speaks_for_nobody():
    y, known = labels(ew=1, e=0)
    known[0, TAXONOMY.index("ew")] = False
    closed, decided = TAXONOMY.close_upward(y, known)
    np.testing.assert_array_equal(closed, y)
    np.testing.assert_array_equal(decided, known)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.sampled_from(TAXONOMY.tags), max_size=4), min_size=1, max_size=5))
def test_closure_holds_everywhere_is_idempotent_and_the_least(rows):
    y = np.zeros((len(rows), len(TAXONOMY)), np.int8)
    for number, tags in enumerate(rows):
        y[number, [TAXONOMY.index(tag) for tag in tags]] = 1
    closed, known = TAXONOMY.close_upward(y)
    expected = [{tag for name in tags for tag in (name, *TAXONOMY.parents(name))} for tags in rows]
    found = [{TAXONOMY.tags[column] for column in np.flatnonzero(row)} for row in closed]
    assert found == expected
    assert known.all()
    np.testing.assert_array_equal(TAXONOMY.close_upward(closed)[0], closed)


def test_the_input_is_left_as_it_was():
    y, known = labels(rrab=1)
    y.setflags(write=False)
    known.setflags(write=False)
    TAXONOMY.close_upward(y, known)


def test_labels_of_another_width_are_a_bug_of_the_caller():
    with pytest.raises(ValueError, match=r"shape \(n, 52\)"):
        TAXONOMY.close_upward(np.zeros((3, 51), np.int8))


def test_the_digest_follows_the_tags_and_not_their_order():
    smaller = type(TAXONOMY)({tag: spec for tag, spec in TAXONOMY.classes.items() if tag != "rrblz"})
    reordered = type(TAXONOMY)(dict(reversed(TAXONOMY.classes.items())))
    assert smaller.digest != TAXONOMY.digest
    assert reordered.digest == TAXONOMY.digest
