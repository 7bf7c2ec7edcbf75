"""Two models on the same stars: differences, their intervals, and what counts as a win."""

from __future__ import annotations

import numpy as np
import pytest

from scope_ml.errors import DataError
from scope_ml.models.metrics import average_precision
from scope_ml.models.paired import Scored, paired_differences


def sample(n_stars: int = 150, seed: int = 0):
    """Two light curves a star, and a function that makes scores with so much noise (shared, own)."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(n_stars), 2)
    y = (rng.random(n_stars) < 0.3).astype(np.int8)[group]
    shared = rng.normal(size=n_stars)[group]

    def scored(own: float, threshold: float = 0.5) -> Scored:
        logit = 3.0 * (y - 0.5) + 1.5 * shared + own * rng.normal(size=y.size)
        return Scored(score=(1 / (1 + np.exp(-logit))).astype(np.float32), threshold=threshold)

    return y, group, scored


def test_the_values_are_those_of_each_model_and_the_difference_is_theirs() -> None:
    y, group, scored = sample()
    first, second = scored(0.1), scored(3.0)
    found = paired_differences(y, group, first, second, n_resamples=300)
    precision = found["average_precision"]
    assert precision.first == pytest.approx(average_precision(y, first.score))
    assert precision.second == pytest.approx(average_precision(y, second.score))
    assert precision.difference == pytest.approx(precision.first - precision.second)
    called = first.score >= 0.5
    assert found["f1"].first == pytest.approx(2 * (called & (y == 1)).sum() / (called.sum() + y.sum()))
    assert precision.is_win
    assert precision.low < precision.difference < precision.high
    assert not paired_differences(y, group, second, first, n_resamples=300)["average_precision"].is_win


def test_pairing_sees_a_difference_smaller_than_either_interval() -> None:
    y, group, scored = sample(seed=3)
    first, second = scored(0.2), scored(1.2)
    precision = paired_differences(y, group, first, second, n_resamples=500)["average_precision"]
    own = paired_differences(y, group, first, Scored(score=np.zeros_like(first.score), threshold=0.5), n_resamples=500)
    width = own["average_precision"].high - own["average_precision"].low
    assert precision.is_win
    assert precision.difference < width


def test_a_model_beside_itself_is_no_win() -> None:
    y, group, scored = sample()
    same = scored(1.0)
    precision = paired_differences(y, group, same, same, n_resamples=100)["average_precision"]
    assert (precision.difference, precision.low, precision.high, precision.share_better) == (0.0, 0.0, 0.0, 0.0)
    assert not precision.is_win


def test_a_little_better_is_no_win() -> None:
    y, group, scored = sample(seed=7)
    one, other = scored(1.0), scored(1.0)
    first = paired_differences(y, group, one, other, n_resamples=500)["average_precision"]
    better = (
        first
        if first.difference > 0
        else paired_differences(y, group, other, one, n_resamples=500)["average_precision"]
    )
    assert better.difference > 0
    assert better.low < 0 < better.high
    assert not better.is_win


def test_where_nothing_is_defined_nothing_is_said() -> None:
    scores = Scored(score=np.full(4, 0.2, dtype=np.float32), threshold=0.5)
    found = paired_differences(np.zeros(4), np.arange(4), scores, scores, n_resamples=20)
    assert found["average_precision"].difference is None
    assert not found["average_precision"].is_win
    # One member: most resamples that have it define the metric, but some do not.
    some = paired_differences(np.array([1, 0, 0, 0]), np.arange(4), scores, scores, n_resamples=0)
    assert some["average_precision"].difference == 0.0
    assert some["average_precision"].low is None
    with pytest.raises(DataError, match="no light curve to compare on"):
        paired_differences(np.empty(0), np.empty(0), scores, scores)
