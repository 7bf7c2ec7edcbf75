"""Trees as arrays: the margins of XGBoost, whatever is missing and whatever is shuffled."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from scope_ml.errors import ModelError
from scope_ml.models.importance import permutation
from scope_ml.models.inputs import Inputs
from scope_ml.models.trees import forest_of, shuffled_margins


class Plain:
    """A model whose faster way is hidden."""

    needs_images = False

    def __init__(self, model):
        self.predict, self.importance = model.predict, model.importance


def test_margins_are_those_of_xgboost_as_they_are_and_shuffled(sample, fitted):
    model, x = fitted["xgb"].model, sample.data("xgb").inputs.x
    assert np.isnan(x).any()
    order = np.random.default_rng(0).permutation(len(x))
    found = model.shuffled(Inputs(x=x), order, [0, 3])
    changed = np.stack([x, x, x])
    for number, column in ((1, 0), (2, 3)):
        changed[number, :, column] = x[order, column]
    wanted = np.stack([model.booster.inplace_predict(one, predict_type="margin") for one in changed])
    # The base score is left out; sums are in float32.
    base = wanted[0, 0] - found[0, 0]
    np.testing.assert_allclose(found + base, wanted, atol=2e-5)
    assert np.abs(wanted[1] - wanted[0]).max() > 1.0


def test_the_importance_is_that_of_the_slow_way(sample, fitted):
    model = fitted["xgb"].model
    inputs, names = sample.data("xgb").inputs, fitted["xgb"].record.features.names
    y = sample.y.astype(np.float32)
    fast = permutation(model, inputs, y, names, seed=1)
    slow = permutation(Plain(model), inputs, y, names, seed=1)
    assert fast == pytest.approx(slow, abs=1e-6)
    assert max(fast.values()) > 0.05


def test_what_is_no_tree_is_one_clear_line(fitted):
    plain = json.loads(fitted["xgb"].model.booster.save_raw(raw_format="json"))
    other = copy.deepcopy(plain)
    other["learner"]["gradient_booster"]["model"]["trees"][0]["split_type"][0] = 1
    with pytest.raises(ModelError, match="compare categories"):
        forest_of(other)
    del plain["learner"]["gradient_booster"]["model"]["trees"][0]["split_indices"]
    with pytest.raises(ModelError, match="no trees of XGBoost"):
        forest_of(plain)


def test_a_row_without_a_value_goes_where_the_tree_says():
    tree = {
        "left_children": [1, -1, -1],
        "right_children": [2, -1, -1],
        "split_indices": [0, 0, 0],
        "split_conditions": [0.5, -1.0, 2.0],
        "default_left": [0, 0, 0],
        "split_type": [0, 0, 0],
    }
    x = np.array([[0.4], [0.5], [np.nan]], dtype=np.float32)
    for left, expected in ((0, [-1.0, 2.0, 2.0]), (1, [-1.0, 2.0, -1.0])):
        trees = [tree | {"default_left": [left, 0, 0]}]
        plain = {
            "learner": {
                "gradient_booster": {"model": {"trees": trees}},
                "learner_model_param": {"num_feature": "1"},
            }
        }
        out = np.empty((2, 3), dtype=np.float32)
        shuffled_margins(forest_of(plain), x, np.array([2, 1, 0]), np.array([0]), out)
        assert out.tolist() == [expected, expected[::-1]]
