from __future__ import annotations

import numpy as np
import pytest

from scope_ml.selection import star_classes
from scope_ml.selection.star_classes import class_columns, joined_columns
from scope_ml.selection.star_columns import score_layout
from scope_ml.selection.star_rules import StarOptions, StarRules
from scope_ml.taxonomy import load_classes, packaged_conf_dir

TAXONOMY = load_classes(packaged_conf_dir())
NAN = float("nan")


def classes(scores, tags=("vnv", "rrlyr", "rrc"), thresholds=None, **options):
    """Return the columns of stars with these scores, as lists."""
    rules = StarRules(
        taxonomy=TAXONOMY, algorithms=("xgb",), thresholds=thresholds or {}, options=StarOptions(**options)
    )
    layout = score_layout([f"{tag}_xgb" for tag in tags], rules)
    # The layout is in the taxonomy's order.
    columns = [list(tags).index(tag) for tag in layout.by_tag]
    values = np.array(scores, dtype=np.float32).reshape(len(scores), len(tags))[:, columns]
    return {name: column.to_pylist() for name, column in class_columns(values, layout, rules).items()}


def test_the_deepest_class_that_its_parents_bear_out():
    found = classes([[0.9, 0.8, 0.75], [0.9, 0.2, 0.9], [0.1, 0.1, 0.1], [0.9, 0.8, NAN]])
    assert found["confident_class"] == ["rrc", "vnv", None, "rrlyr"]
    assert found["confident_score"] == pytest.approx([0.75, 0.9, None, 0.8], nan_ok=True)
    assert found["confident_classes"] == [["vnv", "rrlyr", "rrc"], ["vnv"], [], ["vnv", "rrlyr"]]


def test_thresholds_are_the_models_own_or_the_given_one():
    scores = [[0.5, 0.0, 0.0]]
    assert classes(scores)["confident_class"] == [None]
    assert classes(scores, thresholds={"vnv_xgb": 0.5})["confident_class"] == ["vnv"]
    assert classes(scores, thresholds={"vnv_xgb": 0.5}, threshold=0.6)["confident_class"] == [None]


def test_the_threshold_of_a_class_is_the_mean_of_its_models():
    rules = StarRules(taxonomy=TAXONOMY, algorithms=("xgb", "dnn"), thresholds={"vnv_xgb": 0.2, "vnv_dnn": 0.6})
    layout = score_layout(["vnv_xgb", "vnv_dnn", "rrlyr_xgb"], rules)
    assert rules.threshold(layout.by_tag["vnv"]) == pytest.approx(0.4)
    assert rules.threshold(layout.by_tag["rrlyr"]) == 0.7


def test_conflicts_are_pairs_beyond_the_margin():
    scores = [[0.5, 0.75, 0.75], [0.5, 0.5, 0.5], [0.25, 0.5, 0.75]]
    assert classes(scores)["n_conflicts"] == [1, 0, 2]
    assert classes(scores, conflict_margin=0.25)["n_conflicts"] == [0, 0, 0]


def test_blocks_do_not_change_anything(monkeypatch):
    scores = np.random.default_rng(3).random((50, 3))
    whole = classes(scores)
    monkeypatch.setattr(star_classes, "BLOCK", 7)
    assert classes(scores) == whole


def test_no_stars_and_no_scores():
    assert classes(np.zeros((0, 3)))["confident_classes"] == []
    found = classes(np.zeros((2, 0)), tags=())
    assert found["confident_class"] == [None, None]
    assert found["n_conflicts"] == [0, 0]


@pytest.mark.parametrize(
    ("join", "expected"), [("mean", [0.5, 0.75, None]), ("max", [0.75, 0.75, None]), ("min", [0.25, 0.75, None])]
)
def test_algorithms_are_joined(join, expected):
    values = [np.float32([0.25, NAN, NAN]), np.float32([0.75, 0.75, NAN])]
    found = {name: column.to_pylist() for name, column in joined_columns("ea", values, join).items()}
    assert found == {"ea": expected, "ea_disagreement": [0.5, None, None]}
    assert set(joined_columns("ea", values[:1], join)) == {"ea"}
