from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from benchmarks import quality
from benchmarks.quality_data import SETS, Table
from benchmarks.quality_statistics import average_precisions, draws, f1_scores, folds, interval, macro_f1
from benchmarks.quality_surveys import SURVEY_BOUND, independent
from scope_ml.errors import ConfigError
from scope_ml.features.registry import feature_columns, feature_set


def sample(n=300, seed=0):
    random = np.random.default_rng(seed)
    y = (random.uniform(size=n) < 0.3).astype(np.int8)
    # Scores of two digits: many are equal.
    score = np.round(np.clip(0.3 * y + random.normal(0.4, 0.2, n), 0, 1), 2)
    return y, score


def test_folds_keep_stars_whole_and_strata_even():
    random = np.random.default_rng(1)
    group = np.repeat(np.arange(100), 3)
    strata = np.repeat(random.choice(["a", "b", "c"], 100), 3)
    fold = folds(group, strata, 5, seed=3)
    assert all(np.unique(fold[group == star]).size == 1 for star in range(100))
    for stratum in "abc":
        counts = np.bincount(fold[::3][strata[::3] == stratum], minlength=5)
        assert np.ptp(counts) <= 1
    assert not np.array_equal(fold, folds(group, strata, 5, seed=4))


def test_scores_are_those_of_scikit_learn():
    y, score = sample()
    ones = np.ones((1, y.size))
    assert average_precisions(y, score, ones)[0] == pytest.approx(average_precision_score(y, score), abs=1e-12)
    assert f1_scores(y, score > 0.5, ones)[0] == pytest.approx(f1_score(y, score > 0.5), abs=1e-12)
    classes = np.random.default_rng(2).integers(0, 4, y.size)
    answers = np.where(score > 0.4, classes, 0)
    expected = f1_score(classes, answers, average="macro")
    assert macro_f1(classes, answers, ones)[0] == pytest.approx(expected, abs=1e-12)


def test_weights_count_rows_so_many_times():
    y, score = sample(80)
    counts = np.random.default_rng(3).integers(0, 4, 80)
    again = np.repeat(np.arange(80), counts)
    found = average_precisions(y, score, counts[None].astype(float))[0]
    assert found == pytest.approx(average_precision_score(y[again], score[again]), abs=1e-12)


def test_resamples_draw_stars_whole_and_begin_with_all():
    group = np.repeat(np.arange(20), 2)
    weight = draws(group, 50, seed=0)
    assert weight.shape == (51, 40)
    assert (weight[0] == 1).all()
    assert (weight[:, ::2] == weight[:, 1::2]).all()
    assert (weight.sum(axis=1) == 40).all()


def test_an_interval_holds_the_middle_of_its_resamples():
    found = interval(0.5, np.linspace(0, 1, 1001))
    assert (found.low, found.high) == pytest.approx((0.025, 0.975))
    assert str(found) == "0.500 (0.025 to 0.975)"
    assert found.signed() == "+0.500 (+0.025 to +0.975)"


def test_survey_bound_inputs_are_inputs_and_are_left_out():
    names = feature_set(
        "ontological",
        "best",
        feature_columns(("basic", "period", "decision", "fourier", "folded", "timescales", "drw"), "best"),
    )
    assert {name for name in SURVEY_BOUND} <= {name.removesuffix("_best") for name in names}
    left = independent(Table(names, np.zeros((2, len(names)))))
    assert left.matrix.shape == (2, len(names) - len(SURVEY_BOUND))
    assert "fold_cycle_best" in left.names
    assert "median" not in left.names


def test_sets_are_those_of_the_pipeline():
    from omegaconf import OmegaConf

    training = OmegaConf.load("pipelines/benchmark/params.yaml").training_sets
    expected = {name: () if item.band == "null" else (item.band,) for name, item in training.items()}
    assert expected == SETS


def test_an_unknown_part_and_no_data_are_one_line(monkeypatch, capsys):
    with pytest.raises(ConfigError, match="there is no such part"):
        quality.arguments(["--parts", "tags,shoes"])
    monkeypatch.delenv("SCOPE_BENCHMARK_DATA", raising=False)
    assert quality.main([]) == 2
    assert "set SCOPE_BENCHMARK_DATA" in capsys.readouterr().err
