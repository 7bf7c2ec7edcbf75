"""Distributions of a training set: bins, what is missing, what lies outside, and the index of their change."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from scope_ml.errors import DataError, ModelError
from scope_ml.models.distributions import (
    SCORE_BINS,
    Distributions,
    FeatureDistribution,
    Tally,
    score_histogram,
    stability_index,
)

NAMES = ("normal", "flag", "steps", "constant", "nothing", "ends")


def matrix(n: int = 1000, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=n)
    normal[::7] = np.nan
    normal[3] = np.inf
    ends = np.zeros(n)
    ends[-1] = 5.0
    columns = [normal, rng.random(n) < 0.2, rng.integers(0, 3, n), np.full(n, 1 / 3), np.full(n, np.nan), ends]
    return np.column_stack(columns).astype(np.float64)


@pytest.fixture(scope="module")
def known() -> Distributions:
    return Distributions.of(matrix(), NAMES, scores=np.linspace(0, 1, 1000))


def test_bins_are_deciles_and_fewer_where_values_repeat(known):
    x = matrix()
    normal = known.features["normal"]
    finite = x[np.isfinite(x[:, 0]), 0]
    assert normal.n_missing == 1000 - finite.size == 144
    assert (normal.edges[0], normal.edges[-1]) == (finite.min(), finite.max())
    assert len(normal.counts) == 10
    assert max(normal.counts) - min(normal.counts) <= 1
    assert math.isclose(sum(normal.shares), 1.0)
    steps = known.features["steps"]
    assert steps.counts == tuple(np.bincount(x[:, 2].astype(int)).tolist())
    assert known.features["flag"].counts == (int((x[:, 1] == 0).sum()), int((x[:, 1] == 1).sum()))
    assert known.features["ends"].counts == (999, 1)
    constant, nothing = known.features["constant"], known.features["nothing"]
    assert (constant.edges, constant.counts) == ((1 / 3,), (1000,))
    assert (nothing.edges, nothing.counts, nothing.missing_share) == ((), (), 1.0)


def test_the_training_rows_fall_into_their_own_bins(known):
    x = matrix()
    for k, name in enumerate(NAMES):
        tally = Tally(known.features[name])
        for batch in np.array_split(x[:, k], 7):
            tally.add(batch)
        assert tuple(tally.counts) == (0, *known.features[name].counts, 0)
        assert (tally.n_rows, tally.n_missing) == (1000, known.features[name].n_missing)
        assert stability_index((0, *known.features[name].counts, 0), tally.counts)[0] == 0.0
        assert tally.outside_share == 0.0


def test_values_outside_the_training_range_are_counted_at_both_ends(known):
    for name, values in {
        "normal": [-99.0, -98.0, 99.0],
        "constant": [1 / 3 - 1e-12, 0.0, 1.0],
        "ends": [-1.0, -2.0, 5.1],
    }.items():
        tally = Tally(known.features[name])
        tally.add(np.array([*values, np.nan, -np.inf]))
        assert (tally.counts[0], tally.counts[-1], tally.counts.sum()) == (2, 1, 3)
        assert (tally.outside_share, tally.missing_share) == (1.0, 0.4)
    fresh = Tally(known.features["nothing"])
    fresh.add(np.array([1.0, np.nan]))
    assert (fresh.outside_share, fresh.missing_share) == (1.0, 0.5)


def test_the_form_in_json_is_whole_and_has_no_nan(known):
    text = json.dumps(known.to_json(), allow_nan=False)
    assert Distributions.from_json(json.loads(text)) == known
    assert sum(known.scores) == 1000
    assert len(known.scores) == SCORE_BINS
    assert known.with_scores([0.0, 1.0]).scores == (1, *[0] * (SCORE_BINS - 2), 1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("edges", [3.0, 2.0, 1.0]),
        ("edges", [0.0, float("nan"), 1.0]),
        ("counts", [1]),
        ("counts", [-1, 1001]),
        ("n_missing", 5),
        ("n_rows", "many"),
    ],
)
def test_damaged_ones_are_refused(known, key, value):
    plain = json.loads(json.dumps(known.to_json()))
    plain["features"]["flag"][key] = value
    with pytest.raises(ModelError, match="damaged"):
        Distributions.from_json(plain)


def test_others_than_ours_are_refused(known):
    with pytest.raises(ModelError, match="version 2"):
        Distributions.from_json(known.to_json() | {"version": 2})
    with pytest.raises(ModelError, match="damaged"):
        Distributions.from_json({"version": 1, "features": 3, "scores": []})
    with pytest.raises(ModelError, match="scores"):
        Distributions.from_json(known.to_json() | {"scores": [1, 2]})
    with pytest.raises(DataError, match="5 names"):
        Distributions.of(matrix(), NAMES[:5])
    for bad in ([0.2, 1.1], [-0.1], [float("nan")]):
        with pytest.raises(DataError, match=r"scores in \[0, 1\]"):
            score_histogram(bad)


def test_a_table_without_rows_has_distributions_too():
    empty = Distributions.of(np.empty((0, 2)), ("a", "b"))
    one = empty.features["a"]
    assert (one.edges, one.n_rows, one.missing_share) == ((), 0, 0.0)
    assert Distributions.from_json(empty.to_json()) == empty


def test_the_index_is_that_of_the_formula():
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    index, chance = stability_index(1000 * p, 500 * q)
    assert math.isclose(index, float(((q - p) * np.log(q / p)).sum()))
    assert math.isclose(chance, 2 * (1 / 1000 + 1 / 500))
    assert math.isclose(stability_index(500 * q, 1000 * p)[0], index)
    assert stability_index([0, 0], [3, 4]) == (0.0, 0.0)
    moved = stability_index([1000, 0], [0, 1000])[0]
    assert 5 < moved < math.inf
    # A bin that is empty in both says nothing.
    assert stability_index([500, 0, 500], [300, 0, 700]) == stability_index([500, 500], [300, 700])


def test_chance_is_what_equal_tables_show():
    rng = np.random.default_rng(3)
    found = []
    for seed in range(40):
        training = Distributions.of(rng.normal(size=(400, 1)), ("x",)).features["x"]
        tally = Tally(training)
        tally.add(np.random.default_rng(seed).normal(size=300))
        found.append(stability_index(training.counts, tally.counts[1:-1]))
    index, chance = np.mean(found, axis=0)
    assert 0.7 < index / chance < 1.4


def test_a_shifted_feature_has_a_large_index():
    training = Distributions.of(np.random.default_rng(0).normal(size=(2000, 1)), ("x",)).features["x"]
    indices = []
    for shift in (0.0, 0.5, 1.0):
        tally = Tally(training)
        tally.add(np.random.default_rng(1).normal(size=2000) + shift)
        indices.append(stability_index((0, *training.counts, 0), tally.counts)[0])
    assert indices[0] < 0.03
    # Two normals a shift d apart: the index is d squared, less what ten bins do not see.
    assert 0.2 < indices[1] < 0.26
    assert 0.75 < indices[2] < 1.05


def test_no_name_is_lost_or_mixed_up():
    rng = np.random.default_rng(0)
    x = np.arange(40.0) + rng.normal(size=(60, 40))
    names = tuple(f"f{k}" for k in range(40))
    known = Distributions.of(x, names)
    assert tuple(known.features) == names
    assert all(isinstance(one, FeatureDistribution) for one in known.features.values())
    np.testing.assert_array_equal([known.features[name].edges[-1] for name in names], x.max(axis=0))
