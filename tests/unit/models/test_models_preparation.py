"""Imputer and scaler: fitted on what they are given, row by row, exact through JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scope_ml.errors import ConfigError, DataError, ModelError
from scope_ml.models.preparation import Preparation, PreparationConfig

NAN = np.nan


def fit(x, *, policies=None, **config) -> Preparation:
    names = [f"f{index}" for index in range(np.shape(x)[1])]
    return Preparation.fit(np.asarray(x, dtype=float), names, PreparationConfig(**config), policies=policies)


def test_each_feature_is_filled_by_its_own_policy():
    x = np.array([[1, 1, 1, 1], [2, 2, 2, 2], [9, 9, 9, 9], [NAN, NAN, NAN, NAN]])
    prepared = fit(
        x, policies={"f0": "median", "f1": "mean", "f2": "zero", "f3": "none"}, impute="by_feature", impute_rest="none"
    )
    np.testing.assert_array_equal(prepared.transform(x)[3], np.array([2, 4, 0, NAN], dtype=np.float32))
    assert prepared.n_missing == (1, 1, 1, 1)


def test_what_does_not_exist_lies_below_all_that_does():
    x = [[1.0, 7.0], [3.0, 7.0], [NAN, NAN]]
    prepared = fit(x, policies={"f0": "below", "f1": "below"}, impute="by_feature")
    np.testing.assert_array_equal(prepared.transform(x)[2], np.array([0.5, 6.0], dtype=np.float32))


def test_a_feature_of_policy_none_is_filled_all_the_same_where_the_model_cannot_take_gaps():
    prepared = fit([[1.0], [3.0], [NAN]], policies={"f0": "none"}, impute="by_feature", impute_rest="median")
    assert prepared.transform([[NAN]])[0, 0] == 2.0


def test_trees_see_what_is_missing():
    prepared = fit([[1.0], [2.0]], impute="none", scale="none")
    assert np.isnan(prepared.transform([[NAN], [np.inf], [-np.inf], [1e300]])).all()


def test_a_feature_without_any_value_is_constant_zero_and_said_so():
    prepared = fit([[NAN, 1.0], [np.inf, 2.0]], scale="standard")
    assert prepared.warnings == ("feature f0 has no value in the training part; it is filled with 0",)
    np.testing.assert_array_equal(prepared.transform([[NAN, 1.5], [5.0, 1.5]])[:, 1], [0.0, 0.0])
    assert prepared.transform([[NAN, 1.5]])[0, 0] == 0.0


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        ("min_max", [0.0, 0.25, 1.0]),
        ("standard", (np.array([0, 1, 4]) - 5 / 3) / np.std([0, 1, 4])),
        ("median_std", (np.array([0, 1, 4]) - 1) / np.std([0, 1, 4])),
        ("none", [0, 1, 4]),
    ],
)
def test_scales_are_their_formulae(scale, expected):
    prepared = fit([[0.0], [1.0], [4.0]], scale=scale)
    np.testing.assert_allclose(prepared.transform([[0.0], [1.0], [4.0]])[:, 0], expected, rtol=1e-7)


@pytest.mark.parametrize("scale", ["min_max", "standard", "median_std", "quantile_normal"])
def test_a_constant_feature_becomes_zero(scale):
    prepared = fit([[3.0], [3.0], [3.0]], scale=scale)
    np.testing.assert_array_equal(prepared.transform([[3.0]]), [[0.0]])
    assert np.isfinite(prepared.transform([[-1e30], [1e30]])).all()


def test_quantile_normal_makes_any_distribution_normal_and_ends_where_training_ended():
    heavy = np.random.default_rng(0).standard_cauchy(4000)[:, None]
    prepared = fit(heavy, scale="quantile_normal")
    z = prepared.transform(heavy)[:, 0]
    np.testing.assert_allclose(np.quantile(z, [0.16, 0.5, 0.84]), [-0.994, 0.0, 0.994], atol=0.02)
    assert prepared.transform([[1e30]])[0, 0] == z.max()
    assert abs(z).max() < 3.0


def test_quantile_normal_keeps_many_equal_values_at_one_place():
    x = np.concatenate([np.zeros(700), np.linspace(1, 2, 300)])[:, None]
    z = fit(x, scale="quantile_normal").transform(np.array([[0.0], [1.0], [2.0]]))[:, 0]
    # The zeros take up the lower 70 %, whose mean probability is 0.35: normal quantile -0.385.
    assert z[0] == pytest.approx(-0.385, abs=0.02)
    assert z[0] < z[1] < z[2]


values = arrays(
    np.float64,
    st.tuples(st.integers(2, 30), st.just(2)),
    elements=st.floats(allow_nan=True, allow_infinity=True, width=64),
)


@settings(max_examples=60, deadline=None)
@given(x=values, scale=st.sampled_from(["min_max", "standard", "median_std", "quantile_normal", "none"]))
def test_any_input_is_prepared_row_by_row_and_the_same_after_json(x, scale):
    prepared = fit(x, impute="median", scale=scale)
    whole = prepared.transform(x)
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(prepared.transform(x[1:2]), whole[1:2])
    again = Preparation.from_json(json.loads(json.dumps(prepared.to_json(), allow_nan=False)))
    np.testing.assert_array_equal(again.transform(x), whole)
    assert again.digest == prepared.digest
    for column in range(2):
        order = np.argsort(np.where(np.isfinite(x[:, column]), x[:, column], 0), kind="stable")
        finite = np.abs(x[order, column]) <= np.finfo(np.float32).max
        assert (np.diff(whole[order, column][finite]) >= 0).all()


def test_digest_is_of_what_is_done():
    base = fit([[0.0], [1.0]], scale="standard")
    assert fit([[0.0], [1.0]], scale="standard").digest == base.digest
    assert fit([[0.0], [1.5]], scale="standard").digest != base.digest


def test_no_rows_and_wrong_shapes_are_refused():
    with pytest.raises(DataError, match="has none"):
        fit(np.empty((0, 2)))
    with pytest.raises(DataError, match="one column for each of 2 features"):
        fit([[1.0, 2.0]]).transform([[1.0, 2.0, 3.0]])
    with pytest.raises(ConfigError, match="policy 'knn' of feature f0"):
        fit([[1.0]], policies={"f0": "knn"})


@pytest.mark.parametrize("change", [{"fills": [1.0, 2.0]}, {"scales": [{"width": "x"}]}, {"features": 3}])
def test_a_damaged_record_is_one_clear_line(change):
    plain = fit([[1.0], [2.0]]).to_json() | change
    with pytest.raises(ModelError, match="train the model again"):
        Preparation.from_json(plain)
