"""What training decides: when to stop, which parameters to keep, and that each model's course is its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scope_ml.core.protocols import NullRunLogger
from scope_ml.errors import BackendUnavailableError, DataError, ModelError
from scope_ml.networks.architecture import Architecture
from scope_ml.networks.backends import open_backend
from scope_ml.networks.training import Settings, Task, train_many

ARCHITECTURE = Architecture(n_features=4)
SETTINGS = Settings(
    batch_size=16,
    max_steps_per_epoch=64,
    learning_rate=3e-3,
    epsilon=1e-7,
    amsgrad=False,
    epochs=4,
    early_stopping_patience=3,
    reduce_lr_patience=2,
    reduce_lr_factor=0.5,
    min_delta=0.0,
)


class Log(NullRunLogger):
    """Remembers metrics; raises `error` at epoch `at`."""

    def __init__(self, error=None, at=None):
        self.seen, self.error, self.at = [], error, at

    def metrics(self, values, *, step=None):
        if self.error is not None and step == self.at:
            raise self.error
        self.seen.append((step, dict(values)))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)


def task(x, seed=1, log=None, start=None, **changes):
    """A class that the first two features tell, on rows that the seed draws."""
    order = np.random.default_rng(seed).permutation(len(x))
    rows, held_out = np.sort(order[:80]), np.sort(order[80:])
    y = (x[:, :1] + x[:, 1:2] > 0.8).astype(np.float32)
    ones = np.ones_like(y)
    return Task(
        seed=seed,
        rows=rows,
        y=y[rows],
        weight=ones[rows],
        validation_rows=held_out,
        validation_y=y[held_out],
        validation_weight=ones[held_out],
        settings=replace(SETTINGS, **changes),
        log=log or NullRunLogger(),
        start=start,
    )


class Script:
    """A backend whose validation losses are written down; parameters count the epochs."""

    def __init__(self, *scripts):
        self.scripts, self.rates = scripts, [[] for _ in scripts]

    def open(self, architecture, x, images, jobs):
        self.jobs, self.epochs = jobs, [0] * len(jobs)
        self.best = [job.start for job in jobs]
        return self

    def epoch(self, models, orders, learning_rates):
        for model, rate in zip(models, learning_rates, strict=True):
            self.rates[model].append(rate)
            self.epochs[model] += 1
        return np.ones(len(models))

    def validation_losses(self, models):
        return np.array([self.scripts[model][self.epochs[model] - 1] for model in models])

    def keep(self, models):
        for model in models:
            self.best[model] = np.full(ARCHITECTURE.n_parameters, self.epochs[model], dtype=np.float32)

    def kept(self, model):
        return self.best[model]


def test_each_model_stops_and_slows_down_by_its_own_losses(x):
    falling = np.linspace(1.0, 0.1, 20)
    script = Script([1.0, 0.5, 0.6, 0.4999, 0.51, 0.52, 0.53], falling)
    log = Log()
    tasks = [task(x, epochs=20, min_delta=0.01, log=log), task(x, seed=2, epochs=12)]
    first, second = train_many(ARCHITECTURE, x, None, tasks, backend=script)
    # Best is epoch 2; 0.4999 is lower by less than min_delta; three epochs without a better one end it.
    assert (first.n_epochs, first.best_epoch, first.best_validation_loss) == (5, 1, 0.5)
    assert set(first.parameters) == {2.0}
    assert script.rates[0] == [3e-3, 3e-3, 3e-3, 3e-3, 1.5e-3]
    assert (second.n_epochs, second.best_epoch, set(second.parameters)) == (12, 11, {12.0})
    assert script.rates[1] == [3e-3] * 12
    assert log.seen[1] == (1, {"train_loss": 1.0, "val_loss": 0.5})
    assert log.seen[-1] == (None, {"n_epochs": 5.0, "best_val_loss": 0.5})
    assert [loss for _, loss in first.history] == [1.0, 0.5, 0.6, 0.4999, 0.51]


def test_the_learning_rate_falls_again_and_again(x):
    script = Script([0.5] + [0.6] * 9)
    waiting = task(x, epochs=20, early_stopping_patience=7)
    (found,) = train_many(ARCHITECTURE, x, None, [waiting], backend=script)
    assert found.n_epochs == 8
    assert script.rates[0] == [3e-3, 3e-3, 3e-3, 1.5e-3, 1.5e-3, 7.5e-4, 7.5e-4, 3.75e-4]


@pytest.mark.parametrize(("loss", "said"), [(np.nan, "nan"), (np.inf, "inf"), (3e7, r"3e+07")])
def test_a_loss_that_is_not_a_number_fails_its_own_model(x, loss, said):
    script = Script([1.0, loss], [1.0, 0.9, 0.8, 0.7])
    failed, other = train_many(ARCHITECTURE, x, None, [task(x), task(x, seed=2)], backend=script)
    assert failed.parameters is None
    assert isinstance(failed.failure, ModelError)
    assert f"loss of epoch 2 is {said} with learning_rate=0.003" in str(failed.failure)
    assert (other.n_epochs, other.failure) == (4, None)


@pytest.mark.parametrize("at", [1, None])
def test_what_a_log_raises_ends_its_own_model(x, at):
    error = ModelError("pruned")
    tasks = [task(x, log=Log(error, at)), task(x, seed=2)]
    pruned, other = train_many(ARCHITECTURE, x, None, tasks, backend=Script([1.0] * 4, [1.0, 0.9, 0.8, 0.7]))
    assert pruned.failure is error
    assert pruned.parameters is None
    assert (other.n_epochs, other.failure) == (4, None)


def test_a_model_does_not_depend_on_those_beside_it(x):
    tasks = [task(x, seed, batch_size=size, amsgrad=seed == 2) for seed, size in ((1, 16), (2, 50), (3, 8))]
    backend = open_backend("reference")
    together = train_many(ARCHITECTURE, x, None, tasks, backend=backend)
    for one, found in zip(tasks, together, strict=True):
        (alone,) = train_many(ARCHITECTURE, x, None, [one], backend=backend)
        np.testing.assert_array_equal(alone.parameters, found.parameters)
        assert alone.history == found.history
    assert not np.array_equal(together[0].parameters, together[1].parameters)
    assert all(found.history[-1][1] < found.history[0][1] for found in together), "they learn"


def test_training_starts_at_the_base_rate_or_where_it_is_told(x):
    script = Script([1.0] * 4, [1.0] * 4, [np.inf])
    start = np.full(ARCHITECTURE.n_parameters, 0.5, dtype=np.float32)
    weighted = task(x)
    heavy = replace(weighted, weight=np.where(weighted.y == 1, 3.0, 1.0).astype(np.float32))
    train_many(ARCHITECTURE, x, None, [heavy, task(x, start=start), task(x)], backend=script)
    positive, negative = 3 * weighted.y.sum(), (weighted.y == 0).sum()
    assert script.jobs[0].start[-1] == pytest.approx(np.log(positive / negative), rel=1e-6)
    assert script.jobs[0].weight.mean() == pytest.approx(1.0)
    np.testing.assert_array_equal(script.jobs[1].start, start)


def test_warm_training_goes_on_where_it_was(x):
    backend = open_backend("reference")
    (cold,) = train_many(ARCHITECTURE, x, None, [task(x, epochs=6)], backend=backend)
    (warm,) = train_many(ARCHITECTURE, x, None, [task(x, epochs=1, start=cold.parameters)], backend=backend)
    assert warm.history[0][1] < 1.2 * cold.best_validation_loss < cold.history[0][1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.zeros((3, 1), dtype=np.float32)}, r"training labels \(3, 1\) and weights \(80, 1\) should have"),
        ({"validation_rows": np.full(40, 120)}, "the validation part has 40 rows"),
        ({"weight": np.zeros((80, 1), dtype=np.float32)}, "the training part has 80 rows and a weight of 0"),
        ({"start": np.zeros(3, dtype=np.float32)}, r"\(3,\) parameters to start with, the network has"),
    ],
)
def test_what_does_not_fit_is_one_line(x, changes, message):
    with pytest.raises(DataError, match=message):
        train_many(ARCHITECTURE, x, None, [replace(task(x), **changes)], backend=Script([1.0]))


def test_no_task_is_no_work(x):
    assert train_many(ARCHITECTURE, x, None, [], backend=Script()) == []


def test_an_unknown_device_is_one_line():
    with pytest.raises(BackendUnavailableError, match="device='tpu' is not one of cpu, gpu"):
        open_backend("tpu")
