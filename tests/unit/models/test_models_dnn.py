"""Algorithm `dnn`: many tasks at once, each with the answer that it would have alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scope_ml.core.protocols import NullRunLogger
from scope_ml.errors import ConfigError, ModelError, ScopeError
from scope_ml.models.algorithms import algorithm, configure, settle
from scope_ml.models.dnn import DnnModel, load, train_many
from scope_ml.models.inputs import Inputs, TrainTask
from scope_ml.networks.architecture import Architecture
from scope_ml.networks.draws import initial_parameters
from scope_ml.networks.keras_file import write_network
from scope_ml.taxonomy.classes import ClassSpec

SPEC = ClassSpec(tag="t", label="", kind="ontological")
N_ROWS = 150


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N_ROWS, 4)).astype(np.float32)
    images = rng.random((N_ROWS, 26, 26, 1)).astype(np.float32)
    images[x[:, 0] > 0.5, :, :13] += 1.0
    return Inputs(x=x, images=images)


def settings(**changes):
    return settle(configure({"name": "dnn", "epochs": 3, "learning_rate": 0.01, "dmdt_branch": False, **changes}), SPEC)


def task(inputs, seed=1, start=None, **changes):
    y = (inputs.x[:, 0] > 0.5).astype(np.float32)
    rows, held_out = np.arange(100), np.arange(100, N_ROWS)
    return TrainTask(
        tag="t",
        rows=rows,
        y=y[rows],
        weight=np.ones(rows.size, dtype=np.float32),
        group=rows,
        validation_rows=held_out,
        validation_y=y[held_out],
        validation_weight=np.ones(held_out.size, dtype=np.float32),
        settings=settings(**changes),
        seed=seed,
        log=NullRunLogger(),
        start=start,
    )


def test_tasks_of_several_architectures_come_back_in_their_order(inputs):
    tasks = [
        task(inputs, 1),
        task(inputs, 2, dmdt_branch=None, epochs=1),
        task(inputs, 3, batch_size=20),
        task(inputs, 4),
    ]
    found = train_many(inputs, tasks, n_threads=2)
    assert [model.needs_images for model in found] == [False, True, False, False]
    for one, model in zip(tasks, found, strict=True):
        (alone,) = train_many(inputs, [one])
        np.testing.assert_array_equal(model.parameters, alone.parameters)
    assert len({model.parameters.tobytes() for model in found}) == 4
    scores = found[0].predict(inputs)
    y = inputs.x[:, 0] > 0.5
    assert scores[y].mean() > scores[~y].mean() + 0.3


def test_images_are_used_where_there_are_some_unless_told(inputs):
    plain = replace(inputs, images=None)
    for given, setting, expected in ((inputs, None, True), (plain, None, False), (inputs, False, False)):
        (model,) = train_many(given, [task(given, dmdt_branch=setting, epochs=1)])
        assert model.needs_images is expected
        assert model.facts() == {"dense_branch": True, "dmdt_branch": expected}


def test_a_task_that_fails_leaves_the_others_as_they_are(inputs):
    plain = replace(inputs, images=None)
    tasks = [
        task(plain),
        task(plain, dmdt_branch=True),
        task(plain, dense_branch=False),
        task(plain, learning_rate=1.0, epsilon=1e-30),
    ]
    huge = Inputs(x=np.concatenate([plain.x, np.full((1, 4), 1e38, dtype=np.float32)]))
    tasks[3] = replace(tasks[3], rows=np.append(tasks[3].rows[1:], N_ROWS))
    good, no_images, no_branch, broken = train_many(huge, tasks)
    (alone,) = train_many(plain, tasks[:1])
    np.testing.assert_array_equal(good.parameters, alone.parameters)
    assert isinstance(no_images, ModelError) and "needs dm-dt images (column dmdt)" in str(no_images)
    assert isinstance(no_branch, ConfigError) and "one must stay on" in str(no_branch)
    assert isinstance(broken, ModelError) and "give a smaller algorithm.learning_rate" in str(broken)


def test_missing_features_are_named_for_every_task(inputs):
    holes = Inputs(x=np.where(inputs.x > 2, np.nan, inputs.x))
    (answer,) = train_many(holes, [task(holes)])
    assert isinstance(answer, ModelError) and "cannot take missing features" in str(answer)
    model = DnnModel(Architecture(n_features=4), initial_parameters(Architecture(n_features=4), 0))
    with pytest.raises(ModelError, match="cannot take missing features"):
        model.predict(holes)
    with pytest.raises(ModelError, match="has 4 features, the table gives 3"):
        model.predict(Inputs(x=inputs.x[:, :3]))


def test_a_saved_network_is_read_without_keras_and_scores_rows_each_alone(inputs, tmp_path):
    (model,) = train_many(inputs, [task(inputs, dmdt_branch=True)])
    assert model.save(tmp_path) == tmp_path / "model.keras"
    for place in (tmp_path, tmp_path / "model.keras"):
        loaded = load(place, n_threads=2, facts=None)
        np.testing.assert_array_equal(loaded.predict(inputs), model.predict(inputs))
    some = np.array([3, 70, 149])
    np.testing.assert_array_equal(model.predict(inputs.take(some)), model.predict(inputs)[some])
    assert (loaded.needs_images, loaded.output, loaded.architecture.dmdt_branch) == (True, 0, True)


def test_training_begins_with_the_network_of_a_bundle(inputs, tmp_path):
    (cold,) = train_many(inputs, [task(inputs, epochs=4)])
    cold.save(tmp_path)
    still = {"epochs": 1, "learning_rate": 1e-12}
    (warm,) = train_many(inputs, [task(inputs, start=tmp_path, **still)])
    np.testing.assert_allclose(warm.parameters, cold.parameters, atol=1e-9)


def test_a_network_that_does_not_fit_is_no_start(inputs, tmp_path):
    other = Architecture(n_features=9, n_outputs=2)
    write_network(tmp_path / "model.keras", other, initial_parameters(other, 0))
    answers = train_many(inputs, [task(inputs, start=tmp_path), task(inputs, start=tmp_path / "none")])
    assert all(isinstance(answer, ScopeError) for answer in answers)
    assert "it holds a network of 9 features with 2 output(s), wanted is a network of 4 features" in str(answers[0])
    assert "is missing" in str(answers[1])


def test_every_setting_of_the_defaults_may_be_null_and_is_filled():
    config = algorithm("dnn").config_type
    assert all(getattr(config(), name) is None for name in config.DEFAULTS)
    settled = settle(configure({"name": "dnn", "amsgrad": True}), SPEC)
    assert (settled.amsgrad, settled.batch_size, settled.reduce_lr_factor) == (True, 64, 0.3)
