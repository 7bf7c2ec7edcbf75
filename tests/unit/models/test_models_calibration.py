"""Calibration: the published fits, monotone maps that keep the order, what too few rows give, thresholds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from scope_ml.errors import DataError, ModelError
from scope_ml.models.calibration import (
    Calibration,
    best_f1_threshold,
    fit_calibration,
    fit_isotonic,
    fit_platt,
)
from scope_ml.models.metrics import Ranking, calibration_error


def rows(n=4000, *, seed=0, stretch=2.5, shift=1.0):
    """Scores whose logit is `stretch` times the true one plus `shift`: too sure and too high."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-1.5, 1.5, n)
    y = (rng.random(n) < 1 / (1 + np.exp(-truth))).astype(np.int8)
    return (1 / (1 + np.exp(-(stretch * truth + shift)))).astype(np.float32), y


def test_platt_finds_the_stretch_and_the_shift():
    scores, y = rows(40_000)
    found = fit_platt(scores, y)
    assert found.slope == pytest.approx(1 / 2.5, rel=0.05)
    assert found.intercept == pytest.approx(-1.0 / 2.5, abs=0.05)


def test_platt_leaves_calibrated_scores_as_they_are():
    scores, y = rows(40_000, stretch=1.0, shift=0.0)
    found = fit_platt(scores, y)
    assert found.slope == pytest.approx(1.0, abs=0.03)
    assert found.intercept == pytest.approx(0.0, abs=0.05)


def test_platt_is_the_most_likely_sigmoid():
    scores, y = rows(600, seed=1)
    logit = np.log(scores.astype(float)) - np.log1p(-scores.astype(float))
    target = np.where(y == 1, (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2))

    def surprise(theta):
        linear = theta[0] * logit + theta[1]
        return float((np.logaddexp(0, linear) - target * linear).sum())

    best = minimize(surprise, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
    found = fit_platt(scores, y)
    assert (found.slope, found.intercept) == pytest.approx(tuple(best.x), abs=1e-5)


# Slow to import only: the two before and after this check the same without sklearn.
@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_platt_is_that_of_sklearn(weighted):
    sigmoid = pytest.importorskip("sklearn.calibration")._sigmoid_calibration
    scores, y = rows(600, seed=1)
    weight = np.random.default_rng(2).random(y.size) + 0.1 if weighted else None
    logit = np.log(scores.astype(float)) - np.log1p(-scores.astype(float))
    slope, intercept = sigmoid(logit, y, weight)
    found = fit_platt(scores, y, weight)
    # Theirs stops at a gradient of 1e-6 (L-BFGS), ours at Newton's limit.
    assert (found.slope, found.intercept) == pytest.approx((-slope, -intercept), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_isotonic_steps_are_those_of_sklearn(weighted):
    isotonic = pytest.importorskip("sklearn.isotonic").IsotonicRegression
    scores, y = rows(500, seed=3)
    scores = np.round(scores, 2)
    weight = np.random.default_rng(4).random(y.size) + 0.1 if weighted else np.ones(y.size)
    positive, negative = weight[y == 1].sum(), weight[y == 0].sum()
    target = np.where(y == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    theirs = isotonic().fit(scores.astype(float), target, sample_weight=weight)
    levels = np.unique(np.round(theirs.predict(scores.astype(float)), 12))
    found = fit_isotonic(scores, y, weight)
    # Between the ends, where the line starts from (0, 0) and goes on to (1, 1).
    ours = [level for level in found.levels if 0 < level < 1]
    np.testing.assert_allclose(ours, levels, rtol=1e-9)


def test_isotonic_steps_are_means_that_rise():
    y = np.array([0, 0, 1, 0, 1, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.5, 0.8, 0.9])
    # Smoothed labels 0.2 and 0.8; the third and fourth row are the wrong way round and share a step at their mean.
    found = fit_isotonic(scores, y)
    assert found.knots == pytest.approx((0.0, 0.15, 0.4, 0.85, 1.0))
    assert found.levels == pytest.approx((0.0, 0.2, 0.5, 0.8, 1.0))


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_a_weight_is_as_many_copies_of_a_row(fit):
    scores, y = rows(300, seed=5)
    count = np.random.default_rng(6).integers(0, 4, y.size)
    weighted, copied = fit(scores, y, count), fit(np.repeat(scores, count), np.repeat(y, count))
    np.testing.assert_allclose(weighted.apply(scores), copied.apply(scores), rtol=1e-6)


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_held_out_scores_become_probabilities_and_keep_their_order(fit):
    scores, y = rows(3000, seed=7)
    fresh, fresh_y = rows(20_000, seed=8)
    made = fit(scores, y).apply(fresh)
    assert made.dtype == np.float32
    assert calibration_error(Ranking(fresh_y, made)) < 0.03
    assert calibration_error(Ranking(fresh_y, fresh)) > 0.1
    order = np.argsort(fresh, kind="stable")
    assert (np.diff(made[order]) >= 0).all()
    # What differs stays different, but for float32's last digits.
    assert np.unique(made).size > 0.98 * np.unique(fresh).size


@settings(max_examples=60, deadline=None)
@given(
    data=st.lists(
        st.tuples(st.floats(0, 1, width=32), st.integers(0, 1), st.floats(0, 3, width=32)), min_size=2, max_size=60
    ),
    method=st.sampled_from(["platt", "isotonic"]),
)
def test_any_rows_give_a_rising_map_into_the_unit_interval_that_survives_json(data, method):
    scores, y, weight = (np.array(column) for column in zip(*data, strict=True))
    found = (fit_platt if method == "platt" else fit_isotonic)(scores, y, weight)
    if found is None:
        return
    grid = np.concatenate([[0.0, 1.0], np.linspace(0, 1, 101), scores]).astype(np.float32)
    made = found.apply(np.sort(grid))
    assert ((made >= 0) & (made <= 1)).all()
    assert (np.diff(made) >= 0).all()
    again = Calibration.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    assert again == found


def test_scores_of_0_and_1_do_not_decide_everything():
    scores, y = rows(400, seed=9)
    worst = int(np.flatnonzero(y == 1)[0])
    spoilt = np.where(np.arange(y.size) == worst, 0.0, scores)
    assert fit_platt(spoilt, y).slope > 0.5 * fit_platt(scores, y).slope
    np.testing.assert_array_equal(fit_platt(scores, y).apply([0.0, 1.0]) > 0.5, [False, True])


def test_few_positives_fall_back_and_say_so():
    scores, y = rows(300, seed=10)
    order = np.argsort(-scores * y)
    few = np.zeros_like(y)
    few[order[:7]] = 1
    found, warnings = fit_calibration(scores, few, method="isotonic")
    assert found.method == "platt"
    assert warnings == (
        "calibration=isotonic needs 20 positives and negatives in validation, there are 7; platt is used",
    )
    few[order[4:]] = 0
    assert fit_calibration(scores, few, method="isotonic") == (
        None,
        (
            "calibration=platt needs 5 positives and negatives in validation, there are 4; the scores are not calibrated",
        ),
    )
    assert fit_calibration(scores, y, method="none") == (None, ())


def test_scores_the_wrong_way_round_are_not_turned():
    scores, y = rows(2000, seed=11)
    found, warnings = fit_calibration(1 - scores, y, method="platt")
    assert found is None
    assert "higher scores do not mean more of the class" in warnings[0]


@pytest.mark.parametrize(
    "plain",
    [
        {"method": "platt", "slope": -1.0, "intercept": 0.0},
        {"method": "platt", "slope": "x"},
        {"method": "beta"},
        {"method": "isotonic", "knots": [0.0, 1.0], "levels": [0.0, 2.0]},
        {"method": "isotonic", "knots": [0.0, 0.0], "levels": [0.0, 1.0]},
        {"method": "isotonic", "knots": [0.0, 1.0], "levels": [1.0, 0.0]},
        {"knots": 3},
    ],
)
def test_a_damaged_calibration_is_one_clear_line(plain):
    with pytest.raises(ModelError, match="fetch the model bundle again"):
        Calibration.from_json(plain)


def test_bad_scores_are_refused():
    with pytest.raises(DataError, match=r"scores in \[0, 1\]"):
        fit_platt([0.5, np.nan], [0, 1])
    with pytest.raises(DataError, match="have shapes"):
        fit_platt([0.5, 0.2], [0])


def test_the_best_threshold_lies_half_way_to_the_next_score():
    y = np.array([1, 1, 1, 1, 1, 0, 1, 0, 0, 0])
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    # Down to 0.3: six of seven are right and none is missed, F1 = 12/13; down to 0.5: 10/11.
    assert best_f1_threshold(scores, y, fallback=0.7) == pytest.approx(0.25)
    assert best_f1_threshold(scores, y, np.where(y == 0, 5, 1), fallback=0.7) == pytest.approx(0.45)
    assert best_f1_threshold(scores, (np.arange(10) < 4).astype(int), fallback=0.7) == 0.7


def test_equal_scores_are_not_cut_apart():
    y = np.array([1, 1, 1, 0, 1, 1, 0, 0])
    scores = np.array([0.9, 0.9, 0.6, 0.6, 0.6, 0.6, 0.2, 0.2])
    assert best_f1_threshold(scores, y, fallback=0.7) == pytest.approx(0.4)
