"""Networks trained on a real GPU against the definition: run by ``make test-gpu``, deselected everywhere else."""

from __future__ import annotations

import numpy as np
import pytest

from scope_ml.networks import reference
from scope_ml.networks.architecture import Architecture
from scope_ml.networks.backends import Job, open_backend
from scope_ml.networks.draws import initial_parameters
from scope_ml.networks.training import Settings, Task, train_many

# CuPy warns of what it finds or misses on a machine; that is not ours.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

N_ROWS = 1500
DENSE = Architecture(n_features=178)
IMAGES = Architecture(n_features=1, dense_branch=False, dmdt_branch=True)
BOTH = Architecture(n_features=178, dmdt_branch=True)
SHARED = Architecture(n_features=61, dmdt_branch=True, n_outputs=44)
#: Largest error of a layer's gradient of one step: norm of the difference from float64 over the norm.
GRADIENT_ERROR = 1e-5
SETTINGS = Settings(
    batch_size=64,
    max_steps_per_epoch=64,
    learning_rate=1e-3,
    epsilon=1e-7,
    amsgrad=False,
    epochs=12,
    early_stopping_patience=4,
    reduce_lr_patience=2,
    reduce_lr_factor=0.5,
    min_delta=1e-4,
)


def inputs(architecture, seed=1):
    random = np.random.default_rng(seed)
    x = random.normal(size=(N_ROWS, architecture.n_features)).astype(np.float32)
    images = random.gamma(0.3, 0.1, size=(N_ROWS, 26, 26, 1)).astype(np.float32)
    return x, images if architecture.dmdt_branch else None


def job(architecture, seed, n_rows, n_held_out, *, amsgrad=False):
    random = np.random.default_rng([seed, 7])
    start = initial_parameters(architecture, seed)
    start += random.normal(0, 0.02, start.size).astype(np.float32)
    part = {}
    for name, n in (("", n_rows), ("validation_", n_held_out)):
        part[f"{name}rows"] = random.choice(N_ROWS, n, replace=False)
        part[f"{name}y"] = random.integers(0, 2, (n, architecture.n_outputs)).astype(np.float32)
        part[f"{name}weight"] = random.uniform(0, 2, (n, architecture.n_outputs)).astype(np.float32)
    return Job(seed=seed, start=start, epsilon=1e-7, amsgrad=amsgrad, **part)


def orders_of(jobs, batch, seed=3):
    random = np.random.default_rng(seed)
    return [
        np.resize(random.permutation(len(one.rows)).astype(np.int32), (-(-len(one.rows) // batch), batch))
        for one in jobs
    ]


@pytest.mark.parametrize("architecture", [DENSE, IMAGES, BOTH, SHARED], ids=["dense", "images", "both", "shared"])
@pytest.mark.parametrize("batch", [64, 7])
def test_gradients_are_those_in_float64(architecture, batch):
    x, images = inputs(architecture)
    one = job(architecture, 11, batch, 20)
    session = open_backend("gpu").open(architecture, x, images, [one])
    session.epoch([0], [np.arange(batch, dtype=np.int32)[None]], [1e-3])
    found = session._gradients[0].get()
    masks = reference.dropout_masks(np, architecture, [one.seed], [0], batch)
    double = [None if array is None else array[one.rows].astype(np.float64) for array in (x, images)]
    targets = (one.y[None].astype(np.float64), one.weight[None].astype(np.float64))
    start = one.start[None].astype(np.float64)
    _, expected = reference.loss_and_gradients(np, architecture, start, tuple(double), targets, masks)
    for slot in architecture.slots:
        own, defined = found[slot.start : slot.stop], expected[0, slot.start : slot.stop]
        error = np.linalg.norm(own - defined) / np.linalg.norm(defined)
        assert error < GRADIENT_ERROR, f"{slot.name}: {error:.1e}"


@pytest.mark.parametrize("architecture", [DENSE, BOTH, SHARED], ids=["dense", "both", "shared"])
def test_training_is_that_of_the_definition(architecture):
    x, images = inputs(architecture)
    jobs = [job(architecture, 5 + i, 130 + 20 * i, 40 + i, amsgrad=i == 1) for i in range(3)]
    sessions = [open_backend(device).open(architecture, x, images, jobs) for device in ("gpu", "reference")]
    orders = orders_of(jobs, 32)
    for rate in (1e-3, 3e-4):
        losses = [session.epoch([0, 1, 2], orders, [rate] * 3) for session in sessions]
        np.testing.assert_allclose(*losses, rtol=2e-5)
    np.testing.assert_allclose(*[session.validation_losses([0, 1, 2]) for session in sessions], rtol=2e-4)


@pytest.mark.parametrize("architecture", [DENSE, BOTH], ids=["dense", "both"])
def test_a_model_is_the_same_bit_for_bit_whatever_is_trained_beside_it(architecture):
    x, images = inputs(architecture)
    n_models = 24
    jobs = [job(architecture, 5 + i, 100 + 37 * i, 30 + 11 * i) for i in range(n_models)]
    orders = orders_of(jobs, 64)
    models = list(range(n_models))

    def run(which):
        session = open_backend("gpu").open(architecture, x, images, [jobs[model] for model in which])
        places = list(range(len(which)))
        chosen = [orders[model] for model in which]
        losses = [session.epoch(places, chosen, [1e-3] * len(which)) for _ in range(2)]
        session.keep(places)
        return np.array([*losses, session.validation_losses(places)]), np.stack([session.kept(at) for at in places])

    whole, again, few = run(models), run(models), run([17, 3])
    for first, second in zip(whole, again, strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(few[0], whole[0][:, [17, 3]])
    np.testing.assert_array_equal(few[1], whole[1][[17, 3]])


def task(x, images, seed, n):
    """A class that some features, and the images' left half, tell."""
    random = np.random.default_rng(seed)
    signal = x[:, :3].sum(axis=1) + (0 if images is None else 3 * images[:, :, :13].sum(axis=(1, 2, 3)))
    y = (signal > np.quantile(signal, 0.8)).astype(np.float32)[:, None]
    order = random.permutation(N_ROWS)
    rows, held_out = order[:n], order[n:]
    return Task(
        seed=seed,
        rows=rows,
        y=y[rows],
        weight=np.ones_like(y[rows]),
        validation_rows=held_out,
        validation_y=y[held_out],
        validation_weight=np.ones_like(y[held_out]),
        settings=SETTINGS,
    )


@pytest.mark.parametrize("architecture", [DENSE, BOTH], ids=["dense", "both"])
def test_whole_trainings_end_as_on_the_cpu(architecture):
    x, images = inputs(architecture)
    tasks = [task(x, images, seed, 900 + 30 * seed) for seed in range(4)]
    on_gpu, on_cpu = (
        train_many(architecture, x, images, tasks, backend=open_backend(device, n_threads=4))
        for device in ("gpu", "cpu")
    )
    for own, other in zip(on_gpu, on_cpu, strict=True):
        # Rounding grows with the steps: the same course to a per cent of its loss, not to the last digit.
        shared = min(own.n_epochs, other.n_epochs)
        np.testing.assert_allclose(own.history[:3], other.history[:3], rtol=5e-3)
        np.testing.assert_allclose(own.history[:shared], other.history[:shared], rtol=0.1)
        assert own.best_validation_loss == pytest.approx(other.best_validation_loss, rel=0.03)
