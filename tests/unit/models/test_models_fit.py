"""Training one class: what counts, what does not, determinism, and that it learns."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from omegaconf import OmegaConf

from scope_ml.core.protocols import NullRunLogger
from scope_ml.errors import ConfigError, DataError, InsufficientDataError, ModelError
from scope_ml.models.algorithms import configure, settle
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.fit import FitConfig, FitRequest, fit_bundles
from scope_ml.models.fit_rows import balanced as _balanced
from scope_ml.models.fit_rows import weights as _weights
from scope_ml.models.inputs import Inputs
from scope_ml.models.record import Provenance
from scope_ml.taxonomy.classes import ClassDnn, ClassSpec

NAMES = ("xgb", "dnn")
QUICK = {"xgb": {"name": "xgb", "n_rounds": 40}}


class Log(NullRunLogger):
    def __init__(self) -> None:
        self.seen: dict[str, list[float]] = {}

    def metrics(self, values, *, step=None):
        for name, value in values.items():
            self.seen.setdefault(name, []).append(value)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_and_says_how_well(name, fitted):
    record = fitted[name].record
    test = record.metrics["test"]
    estimate = test.estimates["average_precision"]
    # The class is a quarter of the stars: chance is 0.25.
    assert estimate.value > 0.8
    assert estimate.low < estimate.value < estimate.high
    assert record.metrics["train"].estimates["average_precision"].low is None
    shares = record.importance["permutation"]
    assert set(list(shares)[:2]) == {"amplitude", "period_ls"}
    assert shares["noise"] < 0.1


def test_gain_of_trees_is_a_share(fitted):
    gain = fitted["xgb"].record.importance["gain"]
    assert set(gain) == {"amplitude", "period_ls", "skew", "noise"}
    assert sum(gain.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("name", NAMES)
def test_uncertain_labels_count_nowhere(name, sample, fitted):
    wrong = replace(sample, y=np.where(sample.known, sample.y, 1 - sample.y).astype(np.int8))
    again = wrong.fit(name).record
    assert again.metrics == fitted[name].record.metrics
    assert again.counts == fitted[name].record.counts
    assert again.metrics["test"].n_rows == int((sample.known & (sample.part == 2)).sum())


def test_the_preparation_is_fitted_on_the_training_part_alone(sample):
    moved = sample.x.copy()
    moved[sample.part != 0] += 1e3
    assert replace(sample, x=moved).data("dnn").preparation.digest == sample.data("dnn").preparation.digest


def test_a_star_in_two_parts_is_refused(sample):
    part = sample.part.copy()
    part[0] = (part[1] + 1) % 3
    with pytest.raises(DataError, match="different parts of the split"):
        replace(sample, part=part).data("xgb")


def test_balance_keeps_all_positives_and_draws_negatives_with_the_seed(sample):
    labels = sample.with_spec(balance=2.0).labels
    rows = np.flatnonzero(sample.part == 0)
    kept = _balanced(rows, labels, seed=1)
    n_positive = int(sample.y[rows].sum())
    assert np.array_equal(kept[sample.y[kept] == 1], rows[sample.y[rows] == 1])
    assert int((sample.y[kept] == 0).sum()) == 2 * n_positive
    np.testing.assert_array_equal(kept, _balanced(rows, labels, seed=1))
    assert not np.array_equal(kept, _balanced(rows, labels, seed=2))
    np.testing.assert_array_equal(_balanced(rows, sample.with_spec(balance=1000.0).labels, seed=1), rows)


def test_balance_leaves_validation_and_test_as_they_are(sample, fitted):
    record = sample.with_spec(balance=1.0).fit("xgb").record
    assert record.counts["dropped_by_balance"] > 0
    for part in ("val", "test"):
        assert record.metrics[part].n_rows == fitted["xgb"].record.metrics[part].n_rows


def test_class_weights_make_both_classes_weigh_the_same(sample):
    labels = sample.with_spec(weight_per_class=True).labels
    rows = np.flatnonzero(sample.part == 0)
    weight = _weights(labels, rows)
    positive = sample.y[rows] == 1
    assert weight.max() == 1.0
    assert weight[positive].sum() == pytest.approx(weight[~positive].sum(), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_weights_reach_the_training(name, sample, fitted):
    plain = fitted[name].raw_scores(sample.table()).mean()
    weighted = sample.with_spec(weight_per_class=True).fit(name).raw_scores(sample.table()).mean()
    assert weighted > plain + 0.01


def test_too_few_positives_is_an_error_with_the_counts(sample):
    rare = np.zeros_like(sample.y)
    rare[np.flatnonzero((sample.part == 0) & sample.known)[:6]] = 1
    few = replace(sample, y=rare)
    with pytest.raises(
        InsufficientDataError, match=r"class rrlyr has too few .* in train \(needs 10\), 0 in val \(needs 2\)"
    ):
        few.fit("xgb")
    with pytest.raises(InsufficientDataError, match="no negatives in train"):
        replace(sample, y=np.ones_like(sample.y)).fit("xgb")


@pytest.mark.parametrize("name", NAMES)
def test_seeds_matter_and_the_same_seed_gives_the_same_bytes(name, sample, fitted, tmp_path):
    first = fitted[name].save(tmp_path / "first")
    again = sample.fit(name).save(tmp_path / "again")
    other = sample.fit(name, seed=2)
    assert first.digest == again.digest
    assert not np.array_equal(other.predict(sample.table()), first.predict(sample.table()))


#: Trains both algorithms in a fresh process, after another network, and prints the digests of the bundles.
FRESH = """
import sys
from importlib import util
from pathlib import Path
spec = util.spec_from_file_location("sample", sys.argv[1]); module = util.module_from_spec(spec)
sys.modules["sample"] = module; spec.loader.exec_module(module)
sample = module.make_sample()
sample.fit("dnn", seed=5, epochs=1)
for name in ("xgb", "dnn"):
    print(sample.fit(name).save(Path(sys.argv[2]) / name).digest)
"""


def test_another_process_gives_the_same_bytes(fitted, root, tmp_path):
    here = [fitted[name].save(tmp_path / f"here_{name}").digest for name in NAMES]
    conftest = str(root / "tests" / "unit" / "models" / "conftest.py")
    command = [sys.executable, "-c", FRESH, conftest, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=200, check=True)
    assert run.stdout.split() == here
    assert run.stderr == "", "training must not write to the terminal"


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_threads_does_not_change_the_model(name, sample, fitted, tmp_path, monkeypatch):
    monkeypatch.setattr("scope_ml.models.xgb.ONE_THREAD_BELOW", 0)
    two = sample.fit(name, n_threads=2).save(tmp_path / "two")
    assert two.digest == fitted[name].save(tmp_path / "one").digest


def test_early_stopping_keeps_the_best_epoch(sample):
    log = Log()
    sample.fit("dnn", log=log, epochs=60, learning_rate=0.05, early_stopping_patience=3, min_delta=0.0)
    losses = log.seen["val_loss"]
    assert len(losses) < 60
    assert log.seen["best_val_loss"] == [min(losses)]
    assert np.argmin(losses) == len(losses) - 4


def test_trees_stop_where_validation_no_longer_gains(sample):
    log = Log()
    bundle = sample.fit("xgb", log=log, n_rounds=400, early_stopping_rounds=5)
    assert log.seen["n_trees"][0] < 400
    assert bundle.model.booster.num_boosted_rounds() == log.seen["n_trees"][0]
    assert bundle.model.booster.attributes() == {}


def test_metrics_are_told_to_the_run(sample):
    log = Log()
    record = sample.fit("xgb", log=log).record
    assert log.seen["test_average_precision"] == [record.metrics["test"].value("average_precision")]


def test_a_training_that_fails_is_raised_alone_and_stands_in_its_place_among_many(sample, fitted, monkeypatch):
    from scope_ml.models import xgb

    train_many = xgb.train_many

    def half(inputs, tasks, **options):
        found = train_many(inputs, tasks, **options)
        return [
            ModelError("seed 7 failed") if task.seed == 7 else model for task, model in zip(tasks, found, strict=True)
        ]

    monkeypatch.setattr(xgb, "train_many", half)
    with pytest.raises(ModelError, match="seed 7 failed"):
        sample.fit("xgb", seed=7)
    one = FitRequest(
        labels=sample.labels,
        settings=configure(QUICK["xgb"]),
        seed=1,
        provenance=Provenance(data_digest="d", split_digest="s", config_digest="c"),
        log=NullRunLogger(),
    )
    mixed = [replace(one, seed=7), one, replace(one, labels=replace(sample.labels, y=np.zeros_like(sample.y)))]
    failed, good, rare = fit_bundles(sample.data("xgb"), mixed, config=FitConfig(n_resamples=50))
    assert str(failed) == "seed 7 failed"
    assert good.record == fitted["xgb"].record
    assert isinstance(rare, InsufficientDataError)


def test_what_is_typed_wins_then_the_class_then_the_default():
    spec = ClassSpec(tag="t", label="", kind="ontological", dnn=ClassDnn(batch_size=16, epsilon=3e-8))
    settled = settle(configure({"name": "dnn", "batch_size": 128}), spec)
    assert (settled.batch_size, settled.epsilon, settled.learning_rate) == (128, 3e-8, 3e-4)
    own = settle(configure({"name": "dnn"}), replace(spec, dnn=ClassDnn(learning_rate=0.01)))
    assert (own.batch_size, own.learning_rate) == (64, 0.01)
    assert settle(configure({"name": "xgb"}), spec).max_depth == 6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "dnn", "amsgrad": 3e-4}, "algorithm.amsgrad=0.0003 is not true or false"),
        ({"name": "dnn", "lr": 0.1}, "unknown key 'algorithm.lr'"),
        ({"name": "xgb", "max_depth": "abc"}, "algorithm.max_depth='abc' is not a whole number"),
        ({"name": "dnn", "preparation": {"scale": "minmax"}}, "algorithm.preparation.scale='minmax' is not one of"),
        ({"name": "xbg"}, "unknown algorithm 'xbg'; known: xgb, dnn, dnn_shared; did you mean 'xgb'"),
        ({}, "unknown algorithm ''"),
    ],
)
def test_wrong_settings_are_one_line(values, message):
    with pytest.raises(ConfigError, match=message):
        configure(values)


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_file_says_what_the_defaults_are(name, root):
    values = OmegaConf.to_container(OmegaConf.load(root / "conf" / "algorithm" / f"{name}.yaml"))
    assert configure(values) == configure({"name": name})


def test_the_dmdt_branch_learns_from_images_and_survives_saving(sample, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.random((len(sample.y), 26, 26, 1)).astype(np.float32)
    images[sample.y == 1, :, :13] += 1.0
    bundle = sample.fit("dnn", images=images, dmdt_branch=True, dense_branch=False, epochs=8)
    assert bundle.record.metrics["test"].value("average_precision") > 0.9
    flat = pa.FixedSizeListArray.from_arrays(pa.array(images.ravel()), 676)
    table = sample.table().append_column("dmdt", flat)
    bundle.save(tmp_path / "b")
    loaded = ModelBundle.load(tmp_path / "b")
    np.testing.assert_array_equal(loaded.predict(table), bundle.predict(table))
    np.testing.assert_array_equal(loaded.predict(table.slice(3, 5)), bundle.predict(table)[3:8])
    with pytest.raises(ModelError, match="lacks the column dmdt"):
        loaded.predict(sample.table())


def test_a_network_says_so_where_a_feature_is_missing(fitted):
    with pytest.raises(ModelError, match="cannot take missing features"):
        fitted["dnn"].model.predict(Inputs(x=np.full((1, 4), np.nan, dtype=np.float32)))
