"""The definition: gradients against finite differences, Adam against its formula, dropout against its meaning."""

from __future__ import annotations

import numpy as np
import pytest

from scope_ml.networks import reference
from scope_ml.networks.architecture import Architecture
from scope_ml.networks.draws import initial_parameters

ARCHITECTURES = (
    Architecture(n_features=4, dmdt_branch=True, n_outputs=2),
    Architecture(n_features=4),
    Architecture(n_features=0, dense_branch=False, dmdt_branch=True),
)


def made(architecture, n_models=2, n_rows=3):
    """Parameters, inputs, labels and weights in float64."""
    rng = np.random.default_rng(0)
    parameters = np.stack([initial_parameters(architecture, seed) for seed in range(n_models)]).astype(np.float64)
    parameters += rng.normal(0, 0.05, parameters.shape)
    x, images = rng.normal(size=(n_rows, architecture.n_features)), rng.random((n_rows, 26, 26, 1))
    shape = (n_models, n_rows, architecture.n_outputs)
    return parameters, (x, images), (rng.integers(0, 2, shape).astype(np.float64), rng.random(shape))


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=["both", "dense", "dmdt"])
def test_gradients_are_those_of_finite_differences(architecture):
    parameters, inputs, targets = made(architecture)
    masks = reference.dropout_masks(np, architecture, [3, 4], [0, 7], 3)
    losses, gradients = reference.loss_and_gradients(np, architecture, parameters, inputs, targets, masks)

    def loss_at(moved):
        return reference.loss(np, reference.logits(np, architecture, moved, *inputs, masks), *targets)

    np.testing.assert_array_equal(losses, loss_at(parameters))
    rng = np.random.default_rng(1)
    steepest = 0.0
    for slot in architecture.slots:
        # Along one direction of the whole slot, so that no parameter is left out.
        direction = np.zeros_like(parameters)
        direction[:, slot.start : slot.stop] = rng.choice([-1.0, 1.0], slot.stop - slot.start)
        slope = (loss_at(parameters + 1e-7 * direction) - loss_at(parameters - 1e-7 * direction)) / 2e-7
        np.testing.assert_allclose((gradients * direction).sum(axis=1), slope, rtol=1e-5, atol=1e-8)
        steepest = max(steepest, np.abs(slope).max())
    assert steepest > 0.01


def test_models_do_not_mix_and_may_have_rows_of_their_own():
    architecture = ARCHITECTURES[0]
    parameters, (x, images), targets = made(architecture)
    both = reference.logits(np, architecture, parameters, x, images)
    for model in (0, 1):
        alone = reference.logits(np, architecture, parameters[model : model + 1], x, images)
        np.testing.assert_allclose(alone[0], both[model], rtol=1e-12)
    own = reference.logits(np, architecture, parameters, np.stack([x, x[::-1]]), np.stack([images, images[::-1]]))
    np.testing.assert_allclose(own[1, ::-1], both[1], rtol=1e-12)
    weightless = reference.loss(np, both, targets[0], targets[1] * [[[1.0, 0.0]]])
    other = targets[0].copy()
    other[..., 1] = 1 - other[..., 1]
    np.testing.assert_array_equal(weightless, reference.loss(np, both, other, targets[1] * [[[1.0, 0.0]]]))


def test_dropout_takes_the_units_of_the_masks_out_and_scales_the_others():
    architecture = Architecture(n_features=4)
    parameters, (x, _), _ = made(architecture, n_models=1)
    masks = {1: np.zeros((1, 3, 256), dtype=bool), 4: np.ones((1, 3, 32), dtype=bool)}
    weights = architecture.views(parameters)
    # Nothing passes the first dropout: only biases are left of the branch, scaled by the dropout of the head.
    joined = np.maximum(weights["features_dense_2/bias"], 0) / 0.6
    hidden = np.maximum(joined @ weights["head_dense/kernel"] + weights["head_dense/bias"], 0)
    expected = (hidden @ weights["logit/kernel"])[0] + weights["logit/bias"]
    found = reference.logits(np, architecture, parameters, x, masks=masks)
    np.testing.assert_allclose(found[0], np.broadcast_to(expected[0], (3, 1)), rtol=1e-6)


def test_scores_and_losses_of_huge_logits_are_finite():
    z = np.array([[[-1e4], [0.0], [1e4]]])
    np.testing.assert_array_equal(reference.sigmoid(np, z).ravel(), [0.0, 0.5, 1.0])
    np.testing.assert_allclose(reference.loss(np, z, np.ones_like(z), np.ones_like(z)), (1e4 + np.log(2)) / 3)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_is_the_published_recurrence(amsgrad):
    rng = np.random.default_rng(0)
    parameters = rng.normal(size=(1, 6))
    gradients = rng.normal(size=(5, 6)) * np.array([10.0, 1.0, 0.1, 0.1, 0.1])[:, None]
    expected, first, second, largest = parameters[0].copy(), np.zeros(6), np.zeros(6), np.zeros(6)
    moments = tuple(np.zeros((1, 6)) for _ in range(3))
    for step, gradient in enumerate(gradients, start=1):
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        largest = np.maximum(largest, second)
        used = largest if amsgrad else second
        rate = 0.01 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        expected -= rate * first / (np.sqrt(used) + 1e-3)
        rates = np.array([reference.adam_rate(0.01, step)])
        flag = np.array([amsgrad])
        reference.adam_step(np, parameters, gradient[None], moments, rates, np.array([1e-3]), flag)
    np.testing.assert_allclose(parameters[0], expected, rtol=1e-5)


def test_the_bias_of_adam_is_corrected_as_keras_does_it():
    # 0.999 in float32 is larger by 1.3e-8: the root of what is left of 1 is smaller by 6e-6.
    assert reference.adam_rate(1.0, 1) / (np.sqrt(0.001) / 0.1) - 1 == pytest.approx(-6.7e-6, rel=0.02)
    assert reference.adam_rate(0.5, 10**6) == np.float32(0.5)
