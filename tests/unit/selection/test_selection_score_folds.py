from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.errors import DataError
from scope_ml.selection.fold_loops import FEW
from scope_ml.selection.score_folds import ScoreFolds, nullable
from scope_ml.selection.stars import find_stars


def folds(star, how, weights=None):
    table = pa.table({"id": np.arange(len(star)), "source_id": np.asarray(star) + 1})
    stars = find_stars(table, by="source_id")
    w = np.ones(len(star)) if weights is None else np.asarray(weights, dtype=float)
    return stars, ScoreFolds(stars=stars, how=how, weights=w[stars.order])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    how=st.sampled_from(["mean", "max", "median", "weighted"]),
    dtype=st.sampled_from(["f4", "f8"]),
    n_stars=st.sampled_from([1, 3, 40]),
)
def test_each_star_is_folded_as_numpy_would(seed, how, dtype, n_stars):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 80))
    values, spreads, weights = rng.random(n).astype(dtype), rng.random(n).astype(dtype), rng.uniform(0.1, 1, n)
    values[rng.random(n) < rng.choice([0, 0.4])] = np.nan
    spreads[rng.random(n) < 0.1] = np.nan
    stars, folding = folds(rng.integers(0, n_stars, n), how, weights)
    found = folding.fold(pa.chunked_array([pa.array(values)]), pa.chunked_array([pa.array(spreads)]))
    for number in range(len(stars)):
        rows = np.flatnonzero((stars.star == number) & ~np.isnan(values))
        own = values[rows].astype(float)
        if not len(rows):
            assert np.isnan([found.value[number], found.scatter[number], found.spread[number]]).all()
            continue
        of_spread = rows[~np.isnan(spreads[rows])]
        fold = {"max": np.max, "median": np.median}.get(how, np.mean)
        w = weights if how == "weighted" else np.ones(n)
        expected = np.average(own, weights=w[rows]) if how in ("mean", "weighted") else fold(own)
        assert found.value[number] == pytest.approx(expected, rel=1e-6)
        assert own.min() - 1e-7 <= found.value[number] <= own.max() + 1e-7
        scatter = np.std(own, ddof=1) if len(own) > 1 else np.nan
        assert found.scatter[number] == pytest.approx(scatter, rel=1e-5, abs=1e-7, nan_ok=True)
        if how == "max":
            spread = spreads[rows[np.argmax(own)]]
        elif not len(of_spread):
            spread = np.nan
        elif how == "median":
            spread = np.median(spreads[of_spread].astype(float))
        else:
            spread = np.average(spreads[of_spread].astype(float), weights=w[of_spread])
        assert found.spread[number] == pytest.approx(spread, rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("n", [FEW - 1, FEW, FEW + 1, 5 * FEW])
def test_the_median_of_many(n):
    values = np.random.default_rng(n).random(n)
    _, folding = folds(np.zeros(n, dtype=int), "median")
    found = folding.fold(pa.chunked_array([pa.array(values)]))
    assert found.value[0] == np.float32(np.median(values))


@pytest.mark.parametrize("how", ["mean", "weighted", "median", "max"])
def test_equal_scores_are_themselves(how):
    values = np.full(50, 0.1, dtype="f4")
    _, folding = folds(np.repeat([0, 1], 25), how, np.random.default_rng(1).random(50) + 0.1)
    found = folding.fold(pa.chunked_array([pa.array(values)]))
    assert set(found.value.tolist()) == {float(np.float32(0.1))}
    assert set(found.scatter.tolist()) == {0.0}
    assert np.isnan(found.spread).all()


def test_weights_count_only_where_they_are_asked_for():
    scores = pa.chunked_array([[0.25, 0.75]])
    for how, expected in (("weighted", 0.375), ("mean", 0.5)):
        _, folding = folds([0, 0], how, [3.0, 1.0])
        assert folding.fold(scores).value.tolist() == [expected]


def test_whole_numbers_and_chunks_and_nulls_are_read():
    _, folding = folds([0, 0, 1], "mean")
    assert folding.fold(pa.chunked_array([pa.array([1, None, None], pa.int8())])).value[0] == 1
    found = folding.fold(pa.chunked_array([pa.array([0.5], pa.float32()), pa.array([0.25, None], pa.float32())]))
    assert nullable(found.value).to_pylist() == [0.375, None]
    assert np.isnan(folding.fold(pa.chunked_array([pa.nulls(3)])).value).all()


def test_text_is_refused():
    _, folding = folds([0], "mean")
    with pytest.raises(DataError, match="string"):
        folding.fold(pa.chunked_array([["0.5"]]))


def test_a_spread_without_a_score_does_not_count():
    _, folding = folds([0, 0], "mean")
    found = folding.fold(
        pa.chunked_array([pa.array([0.5, None], pa.float32())]),
        pa.chunked_array([pa.array([0.125, 0.5], pa.float64())]),
    )
    assert found.spread.tolist() == [0.125]


def test_of_equal_scores_the_first_light_curve_counts():
    _, folding = folds([0, 0, 0], "max")
    found = folding.fold(pa.chunked_array([[0.25, 0.5, 0.5]]), pa.chunked_array([[0.1, 0.25, 0.75]]))
    assert found.spread.tolist() == [0.25]
