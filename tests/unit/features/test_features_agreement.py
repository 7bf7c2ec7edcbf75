"""Agreement of methods against the definition written out in loops, and by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.features.agreement import RATIOS, SHORTEST, TOLERANCE, agreement, matches


def match(a, b):
    usable = a >= SHORTEST and b >= SHORTEST
    return usable and any(abs(a / b / ratio - 1) < TOLERANCE for ratio in RATIOS)


def by_loops(lists):
    """The scores of one light curve from each method's best periods, word by word."""
    pairs = list(combinations(lists, 2))
    agree = [any(match(a, b) for a in first for b in second) for first, second in pairs]
    weights = [
        max([1 / (i * j) for i, a in enumerate(x, 1) for j, b in enumerate(y, 1) if match(a, b)], default=0.0)
        for x, y in pairs
    ]
    first = [a for x, y in pairs for a in x if any(match(a, b) for b in y)]
    votes: dict[int, float] = {}
    flat = [(owner, rank, p) for owner, one in enumerate(lists) for rank, p in enumerate(one, 1)]
    for place, (owner, rank, p) in enumerate(flat):
        vote = 0.0
        for other, theirs in enumerate(lists):
            ranks = [j for j, q in enumerate(theirs, 1) if match(p, q)]
            vote += 1 / (rank * ranks[0]) if other != owner and ranks else 0.0
        seen = [known for known in votes if match(p, flat[known][2])]
        key = seen[0] if seen else place
        votes[key] = votes.get(key, 0.0) + vote
    winner = max(votes, key=votes.__getitem__)
    return {
        "n_agree_pairs": sum(agree),
        "n_total_pairs": len(pairs),
        "agree_score": sum(agree) / len(pairs) if pairs else 0.0,
        "agree_strict": sum(match(x[0], y[0]) for x, y in pairs) / len(pairs) if pairs else 0.0,
        "agree_weighted": sum(weights) / len(pairs) if pairs else 0.0,
        "best_agree_period": first[0] if first else np.nan,
        "best_consensus_period": flat[winner][2] if votes[winner] > 0 else np.nan,
    }


def rows(*methods):
    """One light curve: its scores from one list of periods per method."""
    found = agreement([np.array([one], dtype=float) for one in methods])
    return {name: values[0] for name, values in found.items()}


def test_three_methods_of_one_mind():
    scores = rows([0.5], [0.501], [0.499])
    assert scores == {
        "n_agree_pairs": 3,
        "n_total_pairs": 3,
        "agree_score": 1.0,
        "agree_strict": 1.0,
        "agree_weighted": 1.0,
        "best_agree_period": 0.5,
        "best_consensus_period": 0.5,
    }


def test_no_agreement_has_no_period():
    scores = rows([0.5, 0.31], [0.7, 0.813])
    assert scores["agree_score"] == scores["agree_strict"] == scores["agree_weighted"] == 0
    assert scores["n_total_pairs"] == 1
    assert np.isnan([scores["best_agree_period"], scores["best_consensus_period"]]).all()


def test_a_match_further_down_counts_by_its_ranks():
    scores = rows([0.5, 0.31], [0.7, 0.8, 0.31])
    assert scores["agree_score"] == 1
    assert scores["agree_strict"] == 0
    assert scores["agree_weighted"] == pytest.approx(1 / 6)
    assert scores["best_agree_period"] == scores["best_consensus_period"] == 0.31


def test_the_first_pair_and_the_best_rank_give_the_agreed_period():
    # ls and ce agree in 2.0 (ranks 2, 1), ls and aov in 0.31 and ce and aov in nothing.
    scores = rows([0.31, 2.0], [2.01, 0.7], [0.311, 11.0])
    assert scores["n_agree_pairs"] == 2
    assert scores["agree_strict"] == pytest.approx(1 / 3)
    assert scores["agree_weighted"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert scores["best_agree_period"] == 2.0
    assert scores["best_consensus_period"] == 0.31


def test_votes_for_harmonics_go_together():
    # 0.4 and 0.8 are one variation: alone neither has the votes of 1.7.
    scores = rows([1.7, 0.4], [1.7, 0.8])
    assert scores["best_consensus_period"] == 1.7
    scores = rows([0.4, 1.7], [0.8, 1.7])
    assert scores["best_consensus_period"] == 0.4


@pytest.mark.parametrize("ratio", RATIOS)
def test_ratios_match_up_to_the_tolerance(ratio):
    for shift, expected in ((0.999, True), (-0.999, True), (1.001, False), (-1.001, False)):
        other = 1.3 * ratio * (1 + shift * TOLERANCE)
        assert matches(np.array([other]), np.array([1.3]))[0] == expected


def test_nan_and_too_short_periods_match_nothing():
    short = 0.999 * SHORTEST
    assert not matches(np.array([np.nan, 1.0, short, short]), np.array([1.0, np.nan, short, 2 * short])).any()
    scores = rows([np.nan, short], [short, np.nan])
    assert scores["agree_score"] == 0
    assert np.isnan(scores["best_consensus_period"])
    assert matches(np.array([SHORTEST]), np.array([SHORTEST]))[0]


def test_a_single_method_has_no_pairs():
    scores = rows([0.5, 0.3])
    assert scores["n_total_pairs"] == scores["agree_score"] == 0
    assert np.isnan(scores["best_consensus_period"])


def test_no_light_curves():
    found = agreement([np.zeros((0, 3)), np.zeros((0, 2))])
    assert {values.shape for values in found.values()} == {(0,)}


# Few different values, so that matches, harmonics and ties are common.
PERIODS = st.sampled_from([np.nan, 0.001, 0.1, 0.103, 0.2, 0.3, 0.31, 0.5, 0.62, 1.0, 1.04, 1.06, 2.0, 3.0, 7.7])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=2, max_size=4).flatmap(
        lambda widths: st.lists(
            st.tuples(*[st.lists(PERIODS, min_size=width, max_size=width) for width in widths]), min_size=1, max_size=3
        )
    )
)
def test_scores_are_those_of_the_definition_for_each_light_curve_by_itself(curves):
    found = agreement([np.array(one, dtype=float) for one in zip(*curves, strict=True)])
    for index, lists in enumerate(curves):
        for name, expected in by_loops(lists).items():
            np.testing.assert_allclose(found[name][index], expected, rtol=1e-12, err_msg=name)
