"""Training on the emulated device: the CUDA sources, compiled by g++, against the definition in NumPy."""

from __future__ import annotations

import importlib.util
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from scope_ml.networks.architecture import Architecture
from scope_ml.networks.backends import Job
from scope_ml.networks.draws import initial_parameters
from scope_ml.networks.reference_backend import ReferenceBackend

_PLACE = Path(__file__).parents[1] / "kernels" / "gpu" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("emulated_device", _PLACE)
_EMULATION = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_EMULATION)
#: The stand-in for CuPy; it takes part in every test of this file.
emulated_cupy, emulated_memory = _EMULATION.emulated_cupy, _EMULATION.emulated_memory

N_ROWS = 23


def inputs(architecture, seed=1):
    random = np.random.default_rng(seed)
    x = random.normal(size=(N_ROWS, architecture.n_features)).astype(np.float32)
    images = random.exponential(0.05, size=(N_ROWS, 26, 26, 1)).astype(np.float32)
    return x, images if architecture.dmdt_branch else None


def job(architecture, seed, n_rows, n_held_out, *, amsgrad=False):
    random = np.random.default_rng([seed, 7])
    start = initial_parameters(architecture, seed)
    # Biases that are not 0, so that they count.
    start += random.normal(0, 0.02, start.size).astype(np.float32)
    part = {}
    for name, n in (("", n_rows), ("validation_", n_held_out)):
        part[f"{name}rows"] = random.choice(N_ROWS, n, replace=False)
        part[f"{name}y"] = random.integers(0, 2, (n, architecture.n_outputs)).astype(np.float32)
        part[f"{name}weight"] = random.uniform(0, 2, (n, architecture.n_outputs)).astype(np.float32)
    return Job(seed=seed, start=start, epsilon=1e-7, amsgrad=amsgrad, **part)


def orders_of(jobs, batches, seed=3):
    random = np.random.default_rng(seed)
    return [
        np.resize(random.permutation(len(one.rows)).astype(np.int32), (-(-len(one.rows) // batch), batch))
        for one, batch in zip(jobs, batches, strict=True)
    ]


def gpu_backend():
    return import_module("scope_ml.networks.gpu").GpuBackend()


ARCHITECTURES = {
    "dense": Architecture(n_features=7),
    "images": Architecture(n_features=7, dense_branch=False, dmdt_branch=True),
    "both, three outputs": Architecture(n_features=70, dmdt_branch=True, n_outputs=3),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_training_is_that_of_the_definition(name):
    architecture = ARCHITECTURES[name]
    x, images = inputs(architecture)
    n_models = 2 if architecture.dmdt_branch else 4
    batches = [4, 3, 4, 4][:n_models]
    jobs = [job(architecture, 5 + i, 5 + i, 6 - i, amsgrad=i == 1) for i in range(n_models)]
    sessions = [backend.open(architecture, x, images, jobs) for backend in (gpu_backend(), ReferenceBackend())]
    models = list(range(n_models))
    for rate in (1e-3, 3e-4):
        orders = orders_of(jobs, batches)
        losses = [session.epoch(models, orders, [rate] * n_models) for session in sessions]
        np.testing.assert_allclose(*losses, rtol=1e-5)
    for session in sessions:
        session.keep(models[:-1])
    np.testing.assert_allclose(*[session.validation_losses(models) for session in sessions], rtol=1e-5)
    for model in models:
        own, defined = (session.kept(model) for session in sessions)
        # Adam moves a parameter by about the learning rate whatever its gradient: where that is rounding alone, so is it.
        far = np.abs(own - defined) > 2e-6 + 1e-5 * np.abs(defined)
        assert far.mean() < 2e-3, f"model {model}: {far.sum()} of {far.size} parameters differ"
    np.testing.assert_array_equal(sessions[0].kept(models[-1]), jobs[-1].start)


def gradients(architecture, *, masks):
    """Gradients of one step on the device and by the definition in float64."""
    from scope_ml.networks import reference

    x, images = inputs(architecture)
    one = job(architecture, 11, 9, 2)
    session = gpu_backend().open(architecture, x, images, [one])
    order = np.arange(9, dtype=np.int32)[None]
    session.epoch([0], [order], [1e-3])
    found = np.array(session._gradients[0])
    kept = reference.dropout_masks(np, architecture, [one.seed], [0], 9) if masks else None
    double = [None if array is None else array[one.rows].astype(np.float64) for array in (x, images)]
    targets = (one.y[None].astype(np.float64), one.weight[None].astype(np.float64))
    start = one.start[None].astype(np.float64)
    return found, reference.loss_and_gradients(np, architecture, start, tuple(double), targets, kept)[1][0]


def test_gradients_are_those_in_float64():
    architecture = ARCHITECTURES["both, three outputs"]
    found, expected = gradients(architecture, masks=True)
    for slot in architecture.slots:
        own, defined = found[slot.start : slot.stop], expected[slot.start : slot.stop]
        assert np.abs(defined).max() > 0, slot.name
        error = np.linalg.norm(own - defined) / np.linalg.norm(defined)
        assert error < 2e-6, f"{slot.name}: {error:.1e}"


def test_a_model_does_not_see_the_others():
    architecture = ARCHITECTURES["dense"]
    x, images = inputs(architecture)
    jobs = [job(architecture, 5 + i, 6 + 3 * i, 4) for i in range(4)]
    orders = orders_of(jobs, [4] * 4)
    together = gpu_backend().open(architecture, x, images, jobs)
    losses = together.epoch([0, 1, 2, 3], orders, [1e-3] * 4)
    held_out = together.validation_losses([0, 1, 2, 3])
    together.keep([2])
    alone = gpu_backend().open(architecture, x, images, jobs[2:3])
    np.testing.assert_array_equal(alone.epoch([0], orders[2:3], [1e-3]), losses[2:3])
    np.testing.assert_array_equal(alone.validation_losses([0]), held_out[2:3])
    alone.keep([0])
    np.testing.assert_array_equal(alone.kept(0), together.kept(2))


def test_models_are_trained_in_turns_where_memory_is_short(emulated_memory):
    architecture = ARCHITECTURES["dense"]
    x, images = inputs(architecture)
    jobs = [job(architecture, 5 + i, 8, 4) for i in range(3)]
    orders = orders_of(jobs, [4] * 3)
    free = emulated_memory["free"]
    kept = []
    for available in (free, 40_000):
        session = gpu_backend().open(architecture, x, images, jobs)
        try:
            emulated_memory["free"] = available
            session.epoch([0, 1, 2], orders, [1e-3] * 3)
        finally:
            emulated_memory["free"] = free
        session.keep([0, 1, 2])
        kept.append([session.kept(model) for model in range(3)])
    np.testing.assert_array_equal(*kept)


def test_a_step_of_adam_is_that_of_the_definition():
    from scope_ml.networks import reference

    device, programs = (import_module(f"scope_ml.{name}") for name in ("kernels.gpu.device", "networks.gpu_programs"))
    random = np.random.default_rng(2)
    n_models, n = 3, 300
    parameters, gradients, first = (random.normal(size=(n_models, n)).astype(np.float32) for _ in range(3))
    second, largest = (random.exponential(size=(n_models, n)).astype(np.float32) for _ in range(2))
    epsilons, amsgrad = np.array([1e-7, 1e-3, 0.1], np.float32), np.array([1, 0, 1], np.int32)
    rates = random.uniform(1e-3, 1e-2, (2, 4)).astype(np.float32)
    # Two of the models, in another order than in the session, at the last of four steps.
    models = np.array([2, 0], dtype=np.int32)
    state = [device.upload(array) for array in (first, second, largest, parameters)]
    adam = programs.programs_of(ARCHITECTURES["dense"], amsgrad=True).adam
    given = [device.upload(array) for array in (rates, epsilons, amsgrad, gradients)]
    device.launch(adam, (-(-n // adam.per_block), 2), (device.upload(models), n, 4, 3, *given, *state))
    expected = [array.astype(np.float64) for array in (parameters, first, second, largest)]
    chosen = [array[models] for array in expected]
    moved, *moments = chosen
    reference.adam_step(
        np, moved, gradients[models].astype(float), moments, rates[:, 3], epsilons[models], amsgrad[models]
    )
    for array, own in zip(expected, chosen, strict=True):
        array[models] = own
    for found, defined in zip((state[3], *state[:3]), expected, strict=True):
        np.testing.assert_allclose(np.asarray(found), defined, rtol=2e-6, atol=1e-7)
    np.testing.assert_array_equal(np.asarray(state[3])[1], parameters[1])
