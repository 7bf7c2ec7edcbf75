from __future__ import annotations

import numpy as np
import pytest

from scope_ml.errors import ConfigError
from scope_ml.selection.sampling import Sampling, choose, kept_labels

TAGS = ("vnv", "rrlyr")


def pick(scores, rules: Sampling, eligible=None, unsure=None, thresholds=(0.7, 0.7), tags=TAGS):
    scores = np.asarray(scores, dtype=float)
    eligible = np.ones(len(scores), dtype=bool) if eligible is None else np.asarray(eligible)
    return choose(tags, scores, np.asarray(thresholds), eligible, rules, unsure)


def test_top_n_takes_the_highest_above_the_threshold() -> None:
    scores = [[0.9, 0.1], [0.95, 0.71], [0.7, 0.99], [0.69, np.nan], [1.0, 0.2]]
    chosen = pick(scores, Sampling(mode="top_n", per_class=2))
    assert np.argwhere(chosen.chosen_for).tolist() == [[1, 0], [1, 1], [2, 1], [4, 0]]
    assert chosen.pool == {"vnv": 4, "rrlyr": 2}
    assert not chosen.short
    assert pick(scores, Sampling(mode="top_n", per_class=9)).short == {"vnv": 5, "rrlyr": 7}
    assert pick(scores, Sampling(mode="top_n", per_class=9)).chosen.tolist() == [True, True, True, False, True]


def test_stars_that_may_not_be_chosen_are_not() -> None:
    scores = np.full((4, 2), 0.99)
    for mode in ("top_n", "threshold", "uncertainty"):
        chosen = pick(scores, Sampling(mode=mode, per_class=9), eligible=[True, False, True, False])
        assert chosen.chosen.tolist() == [True, False, True, False]


def test_of_equal_scores_the_first_stars_are_taken() -> None:
    assert pick(np.full((5, 2), 0.8), Sampling(mode="top_n", per_class=2)).chosen.tolist() == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_the_draw_fills_each_class_and_counts_what_is_there_already() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random((500, 2))
    scores[:, 0] = 0.95
    chosen = pick(scores, Sampling(per_class=20, pool=0.9))
    high = scores >= 0.9
    # The class with the smaller pool first: its stars are variable too, so that no others are drawn for vnv.
    assert chosen.chosen_for.sum(axis=0).tolist() == [20, 20]
    assert chosen.chosen.sum() == 20
    # What counts for a class keeps its score of it.
    own = kept_labels(scores, np.array([0.9, 0.9]), chosen.chosen_for, "own")
    assert (own[chosen.chosen] == scores[chosen.chosen]).all()
    assert chosen.pool == {"vnv": 500, "rrlyr": int(high[:, 1].sum())}


def test_a_pool_that_is_too_small_is_taken_whole() -> None:
    scores = np.array([[0.9, 0.1], [0.95, 0.1], [0.89, 0.1]])
    chosen = pick(scores, Sampling(per_class=5))
    assert chosen.chosen.tolist() == [True, True, False]
    assert chosen.short == {"vnv": 3, "rrlyr": 5}


def test_the_draw_depends_on_the_seed_and_the_class_only() -> None:
    scores = np.full((200, 2), 0.95)
    scores[:, 0] = 0.0
    alone = pick(scores[:, 1:], Sampling(per_class=10), tags=("rrlyr",), thresholds=[0.7])
    beside = pick(scores, Sampling(per_class=10))
    assert alone.chosen_for[:, 0].tolist() == beside.chosen_for[:, 1].tolist()
    other = pick(scores, Sampling(per_class=10, seed=10))
    assert other.chosen.sum() == 10
    assert other.chosen.tolist() != beside.chosen.tolist()


@pytest.mark.parametrize(("kind", "expected"), [("margin", [2, 0]), ("half", [1, 0])])
def test_the_least_certain_come_first(kind: str, expected: list[int]) -> None:
    scores = np.array([[0.61, 0.55], [0.5, 0.1], [0.69, 0.0], [np.nan, np.nan]])
    chosen = pick(scores, Sampling(mode="uncertainty", per_class=1, uncertainty=kind), thresholds=[0.7, 0.5])
    assert [int(np.flatnonzero(chosen.chosen_for[:, k])[0]) for k in (0, 1)] == expected


def test_what_is_told_to_be_unsure_comes_first() -> None:
    unsure = np.array([[0.1, np.nan], [0.6, np.nan], [0.3, np.nan]])
    chosen = pick(np.full((3, 2), 0.4), Sampling(mode="uncertainty", per_class=2, uncertainty="seeds"), unsure=unsure)
    assert np.argwhere(chosen.chosen_for).tolist() == [[1, 0], [2, 0]]
    assert chosen.short == {"rrlyr": 2}
    with pytest.raises(ConfigError, match="several algorithms"):
        pick(np.full((3, 2), 0.4), Sampling(mode="uncertainty", uncertainty="algorithms"))


def test_scores_that_are_not_kept_become_zero() -> None:
    scores = np.array([[0.9, 0.6], [0.2, np.nan]])
    chosen_for = np.array([[False, True], [True, False]])
    thresholds = np.array([0.7, 0.7])
    assert kept_labels(scores, thresholds, chosen_for, "all") is scores
    high = kept_labels(scores, thresholds, chosen_for, "high")
    assert high[0].tolist() == [0.9, 0.6]
    own = kept_labels(scores, thresholds, chosen_for, "own")
    assert own[0].tolist() == [0.0, 0.6]
    assert own[1, 0] == 0.2
    assert np.isnan(own[1, 1])
    below = kept_labels(scores, thresholds, np.zeros((2, 2), dtype=bool), "high")
    assert below[0].tolist() == [0.9, 0.0]
