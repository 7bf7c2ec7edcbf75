"""Weights of light curves, and data that a class can hardly be trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scope_ml.core.protocols import NullRunLogger
from scope_ml.errors import DataError, InsufficientDataError
from scope_ml.models.algorithms import configure
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.fit import ClassLabels, FitConfig, FitRequest, fit_bundles, training_set
from scope_ml.models.fit_rows import fit_rows
from scope_ml.models.record import Provenance

NAMES = ("xgb", "dnn")
SETTINGS = {"xgb": {"name": "xgb", "n_rounds": 8}, "dnn": {"name": "dnn", "epochs": 2, "learning_rate": 0.01}}
LEAST = FitConfig(min_positives_train=1, min_positives_val=1, min_positives_test=0).least


def fit(name, data, labels, **config):
    request = FitRequest(
        labels=labels,
        settings=configure(SETTINGS[name]),
        seed=1,
        provenance=Provenance(),
        log=NullRunLogger(),
    )
    (found,) = fit_bundles(data, [request], config=FitConfig(n_resamples=0, **config))
    return found


def weighed(sample, weight):
    return ClassLabels(spec=sample.spec, y=sample.y, known=sample.known, weight=np.asarray(weight, dtype=np.float32))


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_light_curves_reach_the_training_and_are_counted(name, sample):
    data = sample.data(name)
    heavy = weighed(sample, np.where(sample.y == 1, 4.0, 1.0))
    plain, bundle = fit(name, data, sample.labels), fit(name, data, heavy)
    assert bundle.model.predict(data.inputs).mean() > plain.model.predict(data.inputs).mean() + 0.02
    trained = sample.known & (sample.part == 0)
    assert bundle.record.counts["weighted_rows"] == int((sample.y[trained] == 1).sum())
    assert plain.record.counts["weighted_rows"] == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_light_curve_of_weight_0_does_not_train(name, sample):
    data = sample.data(name)
    out = sample.group % 5 == 0
    wrong = np.where(out, 1 - sample.y, sample.y).astype(np.int8)
    labels = weighed(sample, ~out)
    one, other = fit(name, data, labels), fit(name, data, replace(labels, y=wrong))
    np.testing.assert_array_equal(one.model.predict(data.inputs), other.model.predict(data.inputs))
    assert one.record.calibration == other.record.calibration
    trained = sample.known & (sample.part == 0)
    counts = one.record.counts
    assert counts["dropped_by_weight"] == int((trained & out).sum())
    assert counts["trained_rows"] == int((trained & ~out).sum())
    assert counts["dropped_by_balance"] == 0


def test_equal_weights_change_nothing(sample, tmp_path):
    data = sample.data("xgb")
    plain, equal = fit("xgb", data, sample.labels), fit("xgb", data, weighed(sample, np.ones(sample.y.size)))
    assert plain.save(tmp_path / "a").digest == equal.save(tmp_path / "b").digest


@pytest.mark.parametrize(("value", "seen"), [(-1.0, "-1"), (np.nan, "nan"), (np.inf, "inf")])
def test_a_weight_that_is_none_is_one_clear_line(sample, value, seen):
    weight = np.ones(sample.y.size)
    weight[[7, 11]] = value
    found = fit("xgb", sample.data("xgb"), weighed(sample, weight))
    assert isinstance(found, DataError)
    assert str(found).startswith(
        f"2 light curve(s) have a weight that is negative or not finite, first {seen} in row 8"
    )
    with pytest.raises(DataError, match=r"weights of shape \(3,\)"):
        fit_rows(sample.data("xgb"), weighed(sample, np.ones(3)), LEAST, 1)


def test_positives_without_weight_do_not_count_as_positives(sample):
    found = fit("xgb", sample.data("xgb"), weighed(sample, sample.y == 0))
    assert isinstance(found, InsufficientDataError)
    assert "0 in train (needs 10), 0 in val (needs 2)" in str(found)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stars", [0, 1])
def test_no_positive_and_one_positive_are_named_and_the_others_unharmed(name, stars, sample):
    data = sample.data(name)
    y = np.zeros_like(sample.y)
    y[sample.group == sample.group[(sample.part == 0) & sample.known][0]] = stars
    rare = FitRequest(
        labels=replace(sample.labels, y=y),
        settings=configure(SETTINGS[name]),
        seed=1,
        provenance=Provenance(),
        log=NullRunLogger(),
    )
    good = replace(rare, labels=sample.labels)
    first, second = fit_bundles(data, [rare, good], config=FitConfig(n_resamples=0))
    assert isinstance(first, InsufficientDataError)
    assert f"{stars} in train (needs 10), 0 in val (needs 2), 0 in test (needs 2)" in str(first)
    assert second.record.metrics["test"].value("average_precision") > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_one_star_in_each_part_is_enough_if_one_asks_for_it(name, sample):
    y = np.zeros_like(sample.y)
    for part in range(3):
        y[sample.group == sample.group[(sample.part == part) & sample.known][0]] = 1
    bundle = fit(name, sample.data(name), replace(sample.labels, y=y), min_positives_train=1, min_positives_val=1)
    assert isinstance(bundle, InsufficientDataError)
    bundle = fit(
        name,
        sample.data(name),
        replace(sample.labels, y=y),
        min_positives_train=1,
        min_positives_val=1,
        min_positives_test=1,
        threshold="best_f1",
        calibration="isotonic",
    )
    assert bundle.record.calibration is None
    assert bundle.record.threshold == sample.spec.threshold
    assert "needs 5 positives and negatives in validation" in bundle.record.warnings[-1]


def spoilt(sample, name):
    """The sample's features with a column without values, a constant one, infinities, and one that a survey lacks."""
    n = len(sample.x)
    lacking = np.where(sample.group % 2 == 0, np.nan, sample.x[:, 2])
    infinite = np.where(sample.group % 7 == 0, np.inf, sample.x[:, 3])
    infinite[sample.group % 11 == 0] = -np.inf
    x = np.column_stack([sample.x[:, :2], lacking, infinite, np.full(n, np.nan), np.full(n, 3.0)])
    names = ("amplitude", "period_ls", "skew", "noise", "empty", "constant")
    return training_set(
        x,
        FeatureRecord(names=names),
        configure(SETTINGS[name]).preparation,
        group=sample.group,
        part=sample.part,
        origin=np.where(sample.group % 2 == 0, "asas", "crts"),
    )


@pytest.mark.parametrize("name", NAMES)
def test_columns_without_values_constant_infinite_or_missing_in_a_survey_train_all_the_same(name, sample, tmp_path):
    bundle = fit(name, spoilt(sample, name), sample.labels)
    scores = bundle.predict(
        sample.table()
        .append_column("empty", [[None] * len(sample.x)])
        .append_column("constant", [[np.inf] * len(sample.x)])
    )
    assert np.isfinite(scores).all()
    assert bundle.record.metrics["test"].value("average_precision") > 0.6
    empty, infinite, constant, survey = bundle.record.warnings
    assert infinite.endswith(" infinite value(s) in 1 feature(s) count as missing: noise")
    assert constant == "1 feature(s) have one value in the whole training part: constant"
    assert empty == "feature empty has no value in the training part; it is filled with 0"
    assert survey == (
        "all 240 light curves of asas lack 1 feature(s) that others have: skew; models may tell the surveys apart by them"
    )
    assert bundle.record.importance["permutation"]["empty"] == 0.0
    bundle.save(tmp_path / "bundle")
