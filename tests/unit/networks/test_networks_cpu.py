"""The CPU's engine against the reference in float64, and against itself with other models and threads beside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scope_ml.networks.architecture import Architecture
from scope_ml.networks.backends import Job, open_backend
from scope_ml.networks.draws import initial_parameters

N_ROWS = 40

DENSE = Architecture(n_features=11)
IMAGES = Architecture(n_features=11, dense_branch=False, dmdt_branch=True)
BOTH = Architecture(n_features=11, dmdt_branch=True)
BOTH_FIVE = Architecture(n_features=11, dmdt_branch=True, n_outputs=5)
DENSE_MANY = Architecture(n_features=3, n_outputs=18)


def make_inputs(architecture, *, seed=0):
    """Return features and images; of these many pixels, and one whole image, are zero."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N_ROWS, architecture.n_features)).astype(np.float32)
    images = rng.random((N_ROWS, 26, 26, 1), dtype=np.float32)
    images[images < 0.7] = 0.0
    images[3] = 0.0
    return x, images


def make_job(architecture, *, seed=5, **changes):
    rng = np.random.default_rng([seed, 7])
    start = initial_parameters(architecture, seed)
    start += rng.normal(0, 0.02, start.size).astype(np.float32)
    rows = rng.permutation(N_ROWS).astype(np.int64)
    y = (rng.random((N_ROWS, architecture.n_outputs)) < 0.4).astype(np.float32)
    weight = rng.random(y.shape, dtype=np.float32)
    weight[::3] = 0.0
    job = Job(
        seed=seed,
        rows=rows[:30],
        y=y[:30],
        weight=weight[:30],
        validation_rows=rows[30:],
        validation_y=y[30:],
        validation_weight=weight[30:],
        start=start,
        epsilon=1.0,
        amsgrad=False,
    )
    return replace(job, **changes)


def trained(device, architecture, job, orders, *, learning_rate=30.0, inputs=None):
    """Return losses of the epochs, the validation loss, and the parameters after them."""
    x, images = inputs or make_inputs(architecture)
    session = open_backend(device).open(architecture, x, images, [job])
    losses = [session.epoch([0], [order], [learning_rate])[0] for order in orders]
    held_out = session.validation_losses([0])[0]
    session.keep([0])
    return np.array(losses), held_out, session.kept(0)


def assert_as_the_reference_says(architecture, job, orders, *, tolerance=2e-5, **more):
    losses, held_out, parameters = trained("cpu", architecture, job, orders, **more)
    exact = replace(job, start=job.start.astype(np.float64))
    said_losses, said_held_out, said = trained("reference", architecture, exact, orders, **more)
    np.testing.assert_allclose(losses, said_losses, rtol=1e-5)
    np.testing.assert_allclose(held_out, said_held_out, rtol=1e-5)
    for slot in architecture.slots:
        own = slice(slot.start, slot.stop)
        moved, should_move = parameters[own] - job.start[own], said[own] - exact.start[own]
        # A parameter is rounded at each step.
        rounding = 3e-8 * sum(len(order) for order in orders)
        np.testing.assert_allclose(moved, should_move, atol=tolerance * np.abs(should_move).max() + rounding)


# With epsilon 1 and a learning rate of 30 a step of Adam is nearly the gradient itself: both are compared.
@pytest.mark.parametrize("batch", [1, 7, 29])
@pytest.mark.parametrize(
    "architecture",
    [DENSE, IMAGES, BOTH, BOTH_FIVE, DENSE_MANY],
    ids=["dense", "images", "both", "both-five", "dense-many"],
)
def test_a_step_is_the_references(architecture, batch):
    order = np.random.default_rng(batch).permutation(30)[None, :batch].astype(np.int32)
    assert_as_the_reference_says(architecture, make_job(architecture), [order])


def test_epochs_of_several_steps_are_the_references():
    rng = np.random.default_rng(1)
    orders = [np.resize(rng.permutation(30), (4, 8)).astype(np.int32) for _ in range(2)]
    assert_as_the_reference_says(BOTH, make_job(BOTH), orders, tolerance=1e-4)


def test_adam_remembers_as_the_reference_does():
    # One step with weights, then steps without: what moves is what Adam remembers.
    weight = np.ones((30, 1), np.float32)
    weight[10:] = 0.0
    orders = [np.array([np.arange(10), *[np.arange(10, 20)] * 40], dtype=np.int32)]
    moved = {}
    for amsgrad in (False, True):
        job = make_job(DENSE, weight=weight, epsilon=1e-7, amsgrad=amsgrad)
        *_, found = trained("cpu", DENSE, job, orders, learning_rate=0.01)
        *_, said = trained("reference", DENSE, job, orders, learning_rate=0.01)
        np.testing.assert_allclose(found, said, atol=3e-5)
        moved[amsgrad] = found
    assert np.abs(moved[True] - moved[False]).max() > 2e-4


def test_without_weight_nothing_moves():
    job = make_job(BOTH, weight=np.zeros((30, 1), np.float32))
    losses, _, parameters = trained("cpu", BOTH, job, [np.arange(30, dtype=np.int32).reshape(3, 10)])
    assert losses.tolist() == [0.0]
    np.testing.assert_array_equal(parameters, job.start)


def test_empty_images_give_finite_steps():
    x, images = make_inputs(BOTH)
    images[:] = 0.0
    order = np.arange(30, dtype=np.int32)[None]
    assert_as_the_reference_says(BOTH, make_job(BOTH), [order], inputs=(x, images))


def test_images_that_are_equal_everywhere_have_ties_in_every_pool():
    x, images = make_inputs(IMAGES)
    images[:] = 0.5
    order = np.arange(6, dtype=np.int32)[None]
    assert_as_the_reference_says(IMAGES, make_job(IMAGES), [order], inputs=(x, images))


@pytest.mark.parametrize("slot", ["features_dense_1/kernel", "dmdt_convolution_1_1/bias", "head_dense/bias"])
def test_a_parameter_that_is_not_a_number_shows_in_the_loss(slot):
    job = make_job(BOTH)
    job.start[BOTH.slot(slot).start] = np.nan
    losses, held_out, _ = trained("cpu", BOTH, job, [np.arange(30, dtype=np.int32)[None]])
    assert np.isnan(losses[0])
    assert np.isnan(held_out)


@pytest.mark.parametrize("architecture", [DENSE, BOTH], ids=["dense", "both"])
def test_a_model_does_not_know_the_others_nor_the_threads(architecture):
    x, images = make_inputs(architecture)
    jobs = [make_job(architecture, seed=seed, epsilon=1e-7, amsgrad=seed == 2) for seed in (1, 2, 3)]
    # Batches of different sizes, the largest of which makes the threads' rooms grow.
    orders = [np.resize(np.arange(30), shape).astype(np.int32) for shape in ((4, 8), (2, 200), (3, 11))]
    together = open_backend("cpu", n_threads=2).open(architecture, x, images, jobs)
    for _ in range(2):
        losses = together.epoch([2, 0, 1], [orders[2], orders[0], orders[1]], [1e-3] * 3)
    held_out = together.validation_losses([0, 1, 2])
    together.keep([0, 1, 2])
    for model in range(3):
        own_losses, own_held_out, parameters = trained(
            "cpu", architecture, jobs[model], [orders[model]] * 2, learning_rate=1e-3
        )
        assert own_losses[1] == losses[[2, 0, 1].index(model)]
        assert own_held_out == held_out[model]
        np.testing.assert_array_equal(parameters, together.kept(model))


def test_dropout_follows_the_seed_and_the_step():
    orders = [np.arange(30, dtype=np.int32)[None]] * 2
    still = [
        trained("cpu", BOTH, replace(make_job(BOTH), **seed), orders, learning_rate=0.0)[0]
        for seed in ({}, {"seed": 5}, {"seed": 6, "start": make_job(BOTH).start})
    ]
    np.testing.assert_array_equal(still[0], still[1])
    assert still[0][0] != still[0][1], "the second step drops other units"
    assert still[0][0] != still[2][0]


def test_inputs_may_be_read_only_and_in_any_order():
    x, images = make_inputs(BOTH)
    order = [np.arange(30, dtype=np.int32)[None]]
    plain = trained("cpu", BOTH, make_job(BOTH), order, inputs=(x, images))
    other = np.asfortranarray(x), images[::-1][::-1]
    for array in other:
        array.flags.writeable = False
    again = trained("cpu", BOTH, make_job(BOTH), order, inputs=other)
    np.testing.assert_array_equal(plain[2], again[2])
    assert not np.array_equal(plain[2], make_job(BOTH).start)
