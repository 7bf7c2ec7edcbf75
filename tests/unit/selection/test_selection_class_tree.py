from __future__ import annotations

import numpy as np

from scope_ml.selection.class_tree import ClassTree
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir

TAXONOMY = load_classes(packaged_conf_dir())
TAGS = ("vnv", "pnp", "rrlyr", "rrc", "ea")


def tree(*tags: str) -> ClassTree:
    return ClassTree.of(TAXONOMY, tags or TAGS)


def test_a_class_above_one_that_it_implies_is_a_conflict() -> None:
    scores = np.array([[0.9, 0.9, 0.3, 0.9, 0.0], [0.9, 0.9, 0.9, 0.9, 0.1], [0.1, 0.5, np.nan, 0.9, 0.0]])
    assert tree().conflicts(scores, 0.1).tolist() == [1, 0, 1]
    assert tree().conflicts(scores, 0.7).tolist() == [0, 0, 0]
    assert tree().conflicting_pairs(scores, 0.1) == {"pnp above vnv": 1, "rrc above rrlyr": 1}


def test_a_class_without_scores_is_bridged() -> None:
    assert tree("pnp", "rrc").conflicts(np.array([[0.1, 0.9]]), 0.1).tolist() == [1]


def test_one_is_sure_of_the_deepest_class_whose_ancestors_are_reached() -> None:
    thresholds = np.full(5, 0.7)
    scores = np.array(
        [
            [0.9, 0.9, 0.9, 0.8, 0.0],  # all the way down
            [0.9, 0.9, 0.3, 0.9, 0.0],  # not an RR Lyrae, so no RRc
            [0.2, 0.9, 0.9, 0.9, 0.9],  # nothing holds: it does not vary
            [0.9, 0.8, 0.7, 0.1, 0.99],  # of two branches the higher score, where they are as deep
            [np.nan, np.nan, np.nan, np.nan, np.nan],
        ]
    )
    found = tree().confident(scores, thresholds)
    assert [TAGS[k] if k >= 0 else None for k in found[:3]] == ["rrc", "pnp", None]
    assert TAGS[found[3]] == ("ea" if TAXONOMY.depth("ea") >= TAXONOMY.depth("rrlyr") else "rrlyr")
    assert found[4] == -1


def test_a_row_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(2)
    scores = rng.random((50, 5))
    thresholds = np.full(5, 0.5)
    whole = tree().confident(scores, thresholds)
    assert whole.tolist() == [tree().confident(row[None], thresholds)[0] for row in scores]
