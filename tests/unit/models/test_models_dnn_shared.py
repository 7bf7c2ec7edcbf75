"""Algorithm `dnn_shared`: one network for the classes of a seed, each class from its own rows alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from omegaconf import OmegaConf

from scope_ml.core.protocols import NullRunLogger
from scope_ml.errors import ConfigError, ModelError
from scope_ml.models import dnn
from scope_ml.models.algorithms import configure, settle
from scope_ml.models.dnn_shared import load, train_many
from scope_ml.models.inputs import Inputs, TrainTask
from scope_ml.networks.backends import open_backend
from scope_ml.taxonomy.classes import ClassSpec

N_ROWS = 160
FACTS = {"dense_branch": True, "dmdt_branch": False, "tags": ["a", "b", "c"], "output": 1}


class Log(NullRunLogger):
    def __init__(self, error=None):
        self.losses, self.error = [], error

    def metrics(self, values, *, step=None):
        if self.error is not None and step == 1:
            raise self.error
        self.losses += [values["val_loss"]] if "val_loss" in values else []


@pytest.fixture(scope="module")
def inputs():
    return Inputs(x=np.random.default_rng(0).normal(size=(N_ROWS, 4)).astype(np.float32))


def task(inputs, tag, seed=1, log=None, name="dnn_shared", **changes):
    """A class told by the feature of its letter, on rows of its own."""
    values = {"name": name, "epochs": 8, "learning_rate": 0.01, **changes}
    feature = "abcd".index(tag)
    y = (inputs.x[:, feature] > 0.5).astype(np.float32)
    order = np.random.default_rng(feature).permutation(120)
    rows, held_out = np.sort(order[:90]), np.arange(120, N_ROWS)
    return TrainTask(
        tag=tag,
        rows=rows,
        y=y[rows],
        weight=np.ones(rows.size, dtype=np.float32),
        group=rows,
        validation_rows=held_out,
        validation_y=y[held_out],
        validation_weight=np.ones(held_out.size, dtype=np.float32),
        settings=settle(configure(values), ClassSpec(tag=tag, label="", kind="ontological")),
        seed=seed,
        log=log or NullRunLogger(),
    )


def test_classes_of_a_seed_share_one_network_and_have_an_output_each(inputs):
    logs = [Log(), Log()]
    tasks = [task(inputs, "b", log=logs[0]), task(inputs, "a", log=logs[1]), task(inputs, "a", seed=2)]
    b, a, other = train_many(inputs, tasks)
    assert a.parameters is b.parameters
    assert (a.tags, a.output, b.output) == (("a", "b"), 0, 1)
    assert (other.tags, other.architecture.n_outputs) == (("a",), 1)
    assert logs[0].losses == logs[1].losses
    for model, feature in ((a, 0), (b, 1)):
        y = inputs.x[:, feature] > 0.5
        scores = model.predict(inputs)
        assert scores[y].mean() > scores[~y].mean() + 0.3
    again = train_many(inputs, tasks[1::-1], n_threads=2)
    np.testing.assert_array_equal(again[0].parameters, a.parameters)


def test_one_class_alone_is_the_network_of_dnn(inputs):
    (shared,) = train_many(inputs, [task(inputs, "a")])
    (plain,) = dnn.train_many(inputs, [task(inputs, "a", name="dnn")])
    np.testing.assert_array_equal(shared.parameters, plain.parameters)


def test_labels_of_rows_that_a_class_does_not_use_do_not_count(inputs):
    def trained(extra):
        lone = task(inputs, "b")
        wide = replace(lone, rows=np.append(lone.rows, extra), y=np.append(lone.y, np.float32(1)))
        wide = replace(wide, weight=np.append(lone.weight, np.float32(0)))
        return train_many(inputs, [task(inputs, "a"), wide])[0].parameters

    first = task(inputs, "a").rows
    unused = np.setdiff1d(first, task(inputs, "b").rows)[0]
    without = train_many(inputs, [task(inputs, "a"), task(inputs, "b")])[0].parameters
    np.testing.assert_array_equal(trained(unused), without)


def test_classes_of_other_settings_are_networks_of_their_own(inputs):
    a, b = train_many(inputs, [task(inputs, "a"), task(inputs, "b", batch_size=32)])
    assert (a.tags, b.tags) == (("a",), ("b",))


def test_the_configuration_file_says_what_the_defaults_are(root):
    values = OmegaConf.to_container(OmegaConf.load(root / "conf" / "algorithm" / "dnn_shared.yaml"))
    config = configure({"name": "dnn_shared"})
    assert configure(values) == config
    settled = settle(config, ClassSpec(tag="t", label="", kind="ontological"))
    assert (settled.learning_rate, settled.batch_size, settled.epochs) == (3e-3, 64, 300)


def test_a_class_whose_log_fails_fails_alone(inputs):
    error = ModelError("pruned")
    a, b = train_many(inputs, [task(inputs, "a", log=Log(error)), task(inputs, "b")])
    assert a is error
    assert b.tags == ("a", "b")


def test_where_every_class_failed_nobody_is_left_to_train_for(inputs, monkeypatch):
    backend = open_backend("reference")
    opened = []
    monkeypatch.setattr(backend, "open", lambda *given: opened.append(type(backend).open(backend, *given)) or opened[0])
    monkeypatch.setattr("scope_ml.models.dnn_shared.open_backend", lambda *_, **__: backend)
    error = ModelError("pruned")
    both = train_many(inputs, [task(inputs, tag, log=Log(error), batch_size=32) for tag in "ab"])
    assert both == [error, error]
    n_rows = np.union1d(task(inputs, "a").rows, task(inputs, "b").rows).size
    assert opened[0].steps == [2 * -(-n_rows // 32)], "two epochs, the second of which raised"


def test_a_class_counts_with_the_square_root_of_its_weight(inputs, monkeypatch):
    seen = []
    monkeypatch.setattr("scope_ml.models.dnn_shared.train_networks", lambda *given, **_: seen.extend(given[3]) or [])
    rare = task(inputs, "b")
    rare = replace(rare, rows=rare.rows[:10], y=rare.y[:10], weight=rare.weight[:10])
    with pytest.raises(ValueError, match="shorter"):
        train_many(inputs, [task(inputs, "a"), rare])
    total = seen[0].weight.sum(axis=0)
    assert total[1] / total[0] == pytest.approx(np.sqrt(10 / 90))
    assert (seen[0].weight > 0).sum(axis=0).tolist() == [90, 10]


def test_a_class_twice_and_a_missing_branch_are_one_line_each(inputs):
    twice = train_many(inputs, [task(inputs, "a"), task(inputs, "a")])
    assert all(isinstance(answer, ConfigError) and "a class is there twice" in str(answer) for answer in twice)
    (answer,) = train_many(inputs, [task(inputs, "a", dmdt_branch=True)])
    assert isinstance(answer, ModelError)


def test_a_bundle_says_which_output_is_its_own(inputs, tmp_path):
    models = train_many(inputs, [task(inputs, tag) for tag in "abc"])
    for model in models:
        model.save(tmp_path)
        loaded = load(tmp_path, n_threads=1, facts=json.loads(json.dumps(model.facts())))
        np.testing.assert_array_equal(loaded.predict(inputs), model.predict(inputs))
    assert models[1].facts() == FACTS
    for facts in (None, FACTS | {"output": 3}, FACTS | {"output": None}, FACTS | {"tags": ["a"]}):
        with pytest.raises(ModelError, match="has 3 outputs, the bundle names"):
            load(tmp_path, n_threads=1, facts=facts)


def test_a_start_has_to_have_the_same_classes(inputs, tmp_path):
    models = train_many(inputs, [task(inputs, tag, epochs=2) for tag in "ab"])
    models[0].save(tmp_path)
    (tmp_path / "bundle.json").write_text(json.dumps({"model_facts": models[0].facts()}))
    still = {"epochs": 1, "learning_rate": 1e-12}
    warm = train_many(inputs, [replace(task(inputs, tag, **still), start=tmp_path) for tag in "ab"])
    np.testing.assert_allclose(warm[0].parameters, models[0].parameters, atol=1e-9)
    (answer, _) = train_many(inputs, [replace(task(inputs, tag), start=tmp_path) for tag in "ac"])
    assert "its outputs are a, b, wanted are a, c" in str(answer)
    (answer,) = train_many(inputs, [replace(task(inputs, "a"), start=tmp_path / "none")])
    assert "it is not a bundle of dnn_shared" in str(answer)
