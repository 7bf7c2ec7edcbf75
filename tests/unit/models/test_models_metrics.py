"""Metrics against scikit-learn and by hand; intervals; splits that do not define a metric."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from scope_ml.errors import DataError
from scope_ml.models.intervals import SplitMetrics, bootstrap, evaluate
from scope_ml.models.metrics import (
    CURVE_POINTS,
    Ranking,
    average_precision,
    average_precisions,
    calibration_error,
    confusion,
    curves,
)

#: Both sides sum the same float64 terms in another order.
SUMMATION = 1e-12


def roc_auc(y, score):
    return Ranking(y, score).weighted(np.ones((1, len(y))))["roc_auc"][0]


def rows(seed: int, n: int = 200, decimals: int | None = None):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.3).astype(np.int8)
    score = np.clip(0.3 * y + 0.7 * rng.random(n), 0, 1)
    return y, score if decimals is None else np.round(score, decimals)


@pytest.mark.parametrize("decimals", [None, 2, 1, 0])
def test_ranking_metrics_equal_those_of_scikit_learn_with_and_without_ties(decimals):
    metrics = pytest.importorskip("sklearn.metrics")
    for seed in range(5):
        y, score = rows(seed, decimals=decimals)
        assert average_precision(y, score) == pytest.approx(metrics.average_precision_score(y, score), abs=SUMMATION)
        assert roc_auc(y, score) == pytest.approx(metrics.roc_auc_score(y, score), abs=SUMMATION)


def test_threshold_and_probability_metrics_equal_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    y, score = rows(3)
    called = score >= 0.5
    found = Ranking(y, score, threshold=0.5).weighted(np.ones((1, y.size)))
    expected = {
        "precision": metrics.precision_score(y, called),
        "recall": metrics.recall_score(y, called),
        "f1": metrics.f1_score(y, called),
        "brier": metrics.brier_score_loss(y, score),
        "log_loss": metrics.log_loss(y, np.clip(score, 1e-7, 1 - 1e-7)),
    }
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, abs=SUMMATION), name


def test_a_weight_is_as_many_copies_of_the_row():
    y, score = rows(4, n=40, decimals=1)
    counts = np.random.default_rng(0).integers(0, 4, size=y.size)
    weighted = Ranking(y, score).weighted(counts[None].astype(float))
    copied = Ranking(np.repeat(y, counts), np.repeat(score, counts)).weighted(np.ones((1, counts.sum())))
    for name, value in copied.items():
        assert weighted[name][0] == pytest.approx(value[0], abs=SUMMATION), name


def test_many_models_at_once_are_each_on_its_own():
    y, score = rows(13, n=120, decimals=1)
    scores = np.stack([score, np.random.default_rng(0).random(120).round(1), np.zeros(120), 1 - score])
    found = average_precisions(y, scores.astype(np.float32))
    np.testing.assert_allclose(found, [average_precision(y, one.astype(np.float32)) for one in scores], rtol=1e-12)
    assert np.isnan(average_precisions(np.ones(3), scores[:, :3])).all()


def test_the_order_of_rows_does_not_matter():
    y, score = rows(5)
    order = np.random.default_rng(1).permutation(y.size)
    assert average_precision(y[order], score[order]) == average_precision(y, score)


def test_confusion_counts_scores_at_the_threshold_as_positive():
    ranking = Ranking([1, 1, 0, 0, 1], [0.7, 0.2, 0.7, 0.1, 0.9], threshold=0.7)
    assert confusion(ranking) == {"tn": 1, "fp": 1, "fn": 1, "tp": 2}


def test_calibration_error_by_hand():
    # Bin 0.2: mean score 0.25, one of two positive; bin 0.9: mean score 0.9, one of one.
    assert calibration_error(Ranking([0, 1, 1], [0.25, 0.25, 0.9])) == pytest.approx((2 * 0.25 + 0.1) / 3)


def test_curves_are_thin_and_keep_their_ends():
    y, score = rows(6, n=5000)
    found = curves(Ranking(y, score))
    for curve in (found["pr"], found["roc"]):
        assert all(len(column) <= CURVE_POINTS for column in curve.values())
    assert (found["roc"]["fpr"][0], found["roc"]["tpr"][0]) == (0.0, 0.0)
    assert (found["roc"]["fpr"][-1], found["roc"]["tpr"][-1]) == (1.0, 1.0)
    assert found["pr"]["recall"][-1] == 1.0
    area = np.trapezoid(found["roc"]["tpr"], found["roc"]["fpr"])
    # 200 points on a curve of length 2 leave out areas of less than 1e-2 x 1e-2 each.
    assert area == pytest.approx(roc_auc(y, score), abs=2e-3)


def test_interval_is_wider_where_light_curves_share_a_star():
    y, score = rows(7, n=300)
    apart = evaluate(y, score, np.arange(300), threshold=0.5)
    twins = evaluate(np.repeat(y, 4), np.repeat(score, 4), np.repeat(np.arange(300), 4), threshold=0.5)
    alone = evaluate(np.repeat(y, 4), np.repeat(score, 4), np.arange(1200), threshold=0.5)

    def width(metrics: SplitMetrics) -> float:
        estimate = metrics.estimates["average_precision"]
        return estimate.high - estimate.low

    assert width(twins) == pytest.approx(width(apart), rel=0.2)
    assert width(alone) < 0.7 * width(twins)
    assert twins.n_stars == 300
    assert twins.n_positive_stars == int(y.sum())


def test_interval_has_about_the_spread_of_fresh_samples():
    fresh = [average_precision(*rows(seed, n=400)) for seed in range(200)]
    y, score = rows(999, n=400)
    estimate = evaluate(y, score, np.arange(400), threshold=0.5, n_resamples=500).estimates["average_precision"]
    # A 95 % interval of a normal estimate is 3.92 standard deviations wide; 200 samples know theirs to 5 %.
    assert (estimate.high - estimate.low) / np.std(fresh) == pytest.approx(3.92, rel=0.35)
    assert estimate.low < estimate.value < estimate.high


def band(y, score, group, **options):
    curve = evaluate(y, score, group, threshold=0.7, **options).curves["pr"]
    return tuple(np.asarray(curve[name]) for name in ("precision", "low", "high"))


def test_the_band_holds_the_curve_and_narrows_with_more_stars():
    widths = []
    for n in (200, 2000):
        precision, low, high = band(*rows(10, n=n), np.arange(n))
        assert np.mean((precision >= low - 1e-4) & (precision <= high + 1e-4)) > 0.9
        widths.append(np.mean(high - low))
    assert 0 < widths[1] < 0.6 * widths[0]


def test_the_band_draws_stars_not_light_curves():
    y, score = rows(11, n=300)
    _, low, high = band(y, score, np.arange(300))
    _, low_of_4, high_of_4 = band(np.repeat(y, 4), np.repeat(score, 4), np.repeat(np.arange(300), 4))
    assert np.mean(high_of_4 - low_of_4) == pytest.approx(np.mean(high - low), rel=0.05)


def test_the_band_is_the_quantiles_of_the_curves_of_the_resamples(monkeypatch):
    y, score = rows(12, n=60)
    # The best-scored row is no positive: recall 0 has a precision too, that of the first row that was drawn.
    score = np.where(np.arange(60) == np.flatnonzero(y == 0)[0], 1.0, score)
    monkeypatch.setattr("scope_ml.models.intervals.BAND_RESAMPLES", 30)
    monkeypatch.setattr("scope_ml.models.intervals.BLOCK_WEIGHTS", 7 * 60)
    metrics = evaluate(y, score, np.arange(60), threshold=0.7, n_resamples=40, seed=3)
    counts = np.random.default_rng(3).multinomial(60, np.full(60, 1 / 60), size=30)
    order, drawn = np.argsort(-score, kind="stable"), []
    for weight in counts[:, order]:
        true, total = np.cumsum(weight * y[order]), np.cumsum(weight)
        points = [(true[i] / true[-1], true[i] / total[i]) for i in range(60) if total[i]]
        wanted = metrics.curves["pr"]["recall"]
        drawn.append([next(p for r, p in points if r >= recall - 1e-9) for recall in wanted])
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    assert metrics.curves["pr"]["recall"][0] == 0.0
    np.testing.assert_allclose(metrics.curves["pr"]["low"], low, atol=6e-5)
    np.testing.assert_allclose(metrics.curves["pr"]["high"], high, atol=6e-5)


def test_there_is_no_band_without_resamples_or_curve():
    assert "low" not in evaluate([0, 1, 1], [0.1, 0.2, 0.3], [0, 1, 2], threshold=0.7, n_resamples=0).curves["pr"]
    assert evaluate([0, 0], [0.1, 0.2], [0, 1], threshold=0.7).curves == {}


def test_resamples_depend_on_the_seed_only(monkeypatch):
    y, score = rows(8)
    ranking, group = Ranking(y, score), np.arange(y.size) // 2
    first = bootstrap(ranking, group, n_resamples=50, seed=1)
    monkeypatch.setattr("scope_ml.models.intervals.BLOCK_WEIGHTS", 3 * y.size)
    in_blocks = bootstrap(ranking, group, n_resamples=50, seed=1)
    other = bootstrap(ranking, group, n_resamples=50, seed=2)
    np.testing.assert_array_equal(first["average_precision"], in_blocks["average_precision"])
    assert not np.array_equal(first["average_precision"], other["average_precision"])


@pytest.mark.parametrize(
    ("y", "score", "undefined"),
    [
        ([0, 0, 0], [0.1, 0.9, 0.8], {"average_precision", "roc_auc", "recall"}),
        ([1, 1], [0.8, 0.9], {"average_precision", "roc_auc"}),
        ([1, 0], [0.3, 0.2], {"precision"}),
        (
            [],
            [],
            {"average_precision", "roc_auc", "precision", "recall", "f1", "brier", "log_loss", "calibration_error"},
        ),
    ],
)
def test_what_a_split_does_not_define_is_none_with_a_reason(y, score, undefined):
    metrics = evaluate(y, score, np.arange(len(y)), threshold=0.7, n_resamples=20)
    assert {name for name, e in metrics.estimates.items() if e.value is None} == undefined
    assert all(metrics.estimates[name].reason for name in undefined)
    text = json.dumps(metrics.to_json(), allow_nan=False)
    again = SplitMetrics.from_json(json.loads(text), metrics.curves)
    assert again == metrics
    assert all(math.isfinite(value) for value in metrics.flat("test").values())
    assert not undefined & {name.removeprefix("test_") for name in metrics.flat("test")}


def test_nothing_found_is_an_f1_of_zero_and_not_a_missing_one():
    assert evaluate([1, 0], [0.3, 0.2], [0, 1], threshold=0.7).value("f1") == 0.0


@pytest.mark.parametrize(
    ("y", "score", "message"),
    [
        ([0, 1], [0.5], "as many labels as scores"),
        ([0, 2], [0.5, 0.5], "labels 0 or 1"),
        ([0, 1], [0.5, math.nan], r"scores in \[0, 1\]"),
        ([0, 1], [0.5, 1.5], r"scores in \[0, 1\]"),
    ],
)
def test_bad_input_is_one_clear_line(y, score, message):
    with pytest.raises(DataError, match=message):
        Ranking(y, score)


def test_groups_must_fit_the_rows():
    with pytest.raises(DataError, match="one group per row"):
        evaluate([0, 1], [0.1, 0.9], [0], threshold=0.5)
