"""Permutation importance: many features at once are what each gives alone; what a model does not use costs nothing."""

from __future__ import annotations

import numpy as np
import pytest

from scope_ml.models import importance
from scope_ml.models.importance import permutation
from scope_ml.models.inputs import Inputs
from scope_ml.models.metrics import average_precision

NAMES = ("a", "b", "c", "unused")


class Linear:
    """Looks at three of four columns, and at the mean of the image."""

    def __init__(self, *, needs_images=False):
        self.needs_images = needs_images
        self.calls: list[int] = []

    def predict(self, inputs):
        self.calls.append(len(inputs))
        images = 0.0 if not self.needs_images else inputs.images.mean(axis=(1, 2, 3))
        z = inputs.x[:, 0] * 2 - inputs.x[:, 1] + 0.3 * inputs.x[:, 2] + images
        return (1 / (1 + np.exp(-z))).astype(np.float32)

    def importance(self, features):
        return {} if self.needs_images else {"a": 0.5, "b": 0.4, "c": 0.1, "unused": 0.0}


def rows(n=200):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    images = np.broadcast_to(rng.normal(size=(n, 1, 1, 1)), (n, 26, 26, 1)).astype(np.float32)
    y = (x[:, 0] * 2 - x[:, 1] + images[:, 0, 0, 0] + rng.normal(size=n) > 1).astype(np.float32)
    return Inputs(x=x, images=images), y


@pytest.mark.parametrize("needs_images", [False, True])
@pytest.mark.parametrize("block", [1, 450, 10**6])
def test_all_at_once_is_one_after_the_other(needs_images, block, monkeypatch):
    monkeypatch.setattr(importance, "BLOCK_ROWS", block)
    monkeypatch.setattr(importance, "IMAGE_BLOCK_ROWS", block)
    inputs, y = rows()
    model = Linear(needs_images=needs_images)
    found = permutation(model, inputs, y, NAMES, seed=3)
    order = np.random.default_rng([3, 2]).permutation(200)
    whole = average_precision(y, model.predict(inputs))
    for index, name in enumerate(NAMES):
        x = inputs.x.copy()
        x[:, index] = x[order, index]
        wanted = whole - average_precision(y, model.predict(Inputs(x=x, images=inputs.images)))
        assert found[name] == pytest.approx(wanted, abs=1e-12), name
    assert (importance.IMAGE in found) == needs_images
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert next(iter(found)) == "a"


def test_what_the_model_does_not_use_is_not_asked_for():
    inputs, y = rows()
    model = Linear()
    assert permutation(model, inputs, y, NAMES, seed=3)["unused"] == 0.0
    assert sorted(model.calls) == [200, 600]


def test_rows_of_one_class_give_nothing():
    inputs, y = rows()
    assert permutation(Linear(), inputs, np.ones_like(y), NAMES, seed=3) == {}


def test_many_rows_are_thinned_with_the_seed():
    inputs, y = rows()
    model = Linear()
    first = permutation(model, inputs, y, NAMES, seed=3, max_rows=50)
    assert sorted(model.calls) == [50, 150]
    assert first == permutation(model, inputs, y, NAMES, seed=3, max_rows=50)
