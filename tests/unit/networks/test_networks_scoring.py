"""Scores of many networks: the reference's, and the same whatever else is scored beside."""

from __future__ import annotations

import numpy as np
import pytest

from scope_ml.errors import ModelError
from scope_ml.networks import reference
from scope_ml.networks.architecture import Architecture
from scope_ml.networks.draws import initial_parameters
from scope_ml.networks.scoring import score_many

#: More than one block of rows.
N_ROWS = 300

ARCHITECTURES = {
    "dense": Architecture(n_features=11),
    "images": Architecture(n_features=1, dense_branch=False, dmdt_branch=True),
    "both-five": Architecture(n_features=6, dmdt_branch=True, n_outputs=5),
}


def make(architecture, n_models=3):
    """Return parameters, features and images."""
    rng = np.random.default_rng(2)
    parameters = np.stack([initial_parameters(architecture, seed) for seed in range(n_models)])
    parameters += rng.normal(0, 0.05, parameters.shape).astype(np.float32)
    x = rng.normal(size=(N_ROWS, architecture.n_features)).astype(np.float32)
    images = rng.random((N_ROWS, 26, 26, 1), dtype=np.float32)
    images[images < 0.7] = 0.0
    return parameters, x, images


@pytest.fixture(params=ARCHITECTURES, scope="module")
def case(request):
    architecture = ARCHITECTURES[request.param]
    parameters, x, images = make(architecture)
    return architecture, parameters, x, images, score_many(architecture, parameters, x, images)


def test_scores_are_the_references(case):
    architecture, parameters, x, images, scores = case
    rows = np.r_[0:20, 120:140, 290:300]
    wide = (parameters, x[rows], images[rows])
    said = reference.sigmoid(np, reference.logits(np, architecture, *(array.astype(np.float64) for array in wide)))
    assert scores.dtype == np.float32
    assert scores.shape == (N_ROWS, 3, architecture.n_outputs)
    np.testing.assert_allclose(scores[rows], said.swapaxes(0, 1), atol=1e-6)
    assert np.ptp(scores) > 0.01


def test_a_row_does_not_know_the_other_rows(case):
    architecture, parameters, x, images, scores = case
    order = np.random.default_rng(0).permutation(N_ROWS)[:150]
    np.testing.assert_array_equal(score_many(architecture, parameters, x[order], images[order]), scores[order])
    for row in (0, 7, 299):
        alone = score_many(architecture, parameters, x[row : row + 1], images[row : row + 1])
        np.testing.assert_array_equal(alone, scores[row : row + 1])


def test_a_model_does_not_know_the_other_models(case):
    architecture, parameters, x, images, scores = case
    for model in range(3):
        alone = score_many(architecture, parameters[model : model + 1], x, images)
        np.testing.assert_array_equal(alone[:, 0], scores[:, model])


def test_threads_change_nothing(case):
    architecture, parameters, x, images, scores = case
    np.testing.assert_array_equal(score_many(architecture, parameters, x, images, n_threads=3), scores)


def test_no_rows_and_no_models_are_no_scores():
    architecture = ARCHITECTURES["dense"]
    parameters, x, _ = make(architecture)
    assert score_many(architecture, parameters, x[:0]).shape == (0, 3, 1)
    assert score_many(architecture, parameters[:0], x).shape == (N_ROWS, 0, 1)


def test_logits_that_are_far_out_give_scores_of_nothing_and_one():
    architecture = ARCHITECTURES["dense"]
    parameters, x, _ = make(architecture, n_models=2)
    parameters[0, -1], parameters[1, -1] = -1e4, 1e4
    scores = score_many(architecture, parameters, x)
    assert (scores[:, 0] == 0.0).all()
    assert (scores[:, 1] == 1.0).all()


def test_what_is_not_a_number_stays_visible():
    architecture = ARCHITECTURES["dense"]
    parameters, x, _ = make(architecture)
    parameters[1, 0] = np.nan
    scores = score_many(architecture, parameters, x)
    assert np.isnan(scores[:, 1]).all()
    assert np.isfinite(scores[:, [0, 2]]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": np.zeros((1, 5), np.float32)}, "parameters each, got shape"),
        ({"x": np.zeros((2, 7), np.float32)}, "takes 6 features, got shape"),
        ({"x": None}, "takes 6 features, got none"),
        ({"images": None}, "dm-dt images"),
        ({"images": np.zeros((2, 26, 26), np.float32)}, r"must have shape \(n, 26, 26, 1\)"),
        ({"images": np.zeros((3, 26, 26, 1), np.float32)}, "do not fit"),
    ],
)
def test_other_shapes_are_refused(change, message):
    architecture = ARCHITECTURES["both-five"]
    inputs = {
        "parameters": np.zeros((1, architecture.n_parameters), np.float32),
        "x": np.zeros((2, 6), np.float32),
        "images": np.zeros((2, 26, 26, 1), np.float32),
    }
    with pytest.raises(ModelError, match=message):
        score_many(architecture, **(inputs | change))
