from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.selection import star_periods
from scope_ml.selection.star_periods import agree, vote

TOLERANCE, RESOLUTION = 0.01, 0.001


def votes_of(period, weight=None, sureness=(), starts=(0,)):
    period = np.array(period, dtype=float)
    weight = np.ones(len(period)) if weight is None else np.array(weight, dtype=float)
    return vote(
        np.array(starts),
        period,
        weight,
        [np.array(one, dtype=float) for one in sureness],
        tolerance=TOLERANCE,
        resolution=RESOLUTION,
    )


def winner(period, weight=None, sureness=()):
    """Return period, light curves that agree, and harmonics of one star."""
    found = votes_of(period, weight, sureness)
    place = int(found.chosen[0])
    return (period[place] if place >= 0 else None), int(found.n_agree[0]), int(found.n_harmonic[0])


def test_the_period_of_most_light_curves_wins():
    assert winner([0.3, 0.5, 0.5001]) == (0.5, 2, 0)
    # However heavy a single one is.
    assert winner([0.3, 0.5, 0.5001], weight=[1.0, 1e-3, 1e-3]) == (0.5, 2, 0)


def test_votes_have_weights():
    assert winner([0.3, 0.3, 0.7, 0.7], weight=[0.1, 0.1, 1, 1])[0] == 0.7
    assert winner([0.3, 0.3, 0.7, 0.7], weight=[1, 1, 0.1, 0.1])[0] == 0.3
    # Three weak ones have as much to say as their signal to noise: 3 x 0.4 < 2 x 1, 3 x 0.8 > 2 x 1.
    assert winner([0.3] * 3 + [0.7] * 2, weight=[0.16] * 3 + [1, 1])[0] == 0.7
    assert winner([0.3] * 3 + [0.7] * 2, weight=[0.64] * 3 + [1, 1])[0] == 0.3


def test_harmonics_speak_for_a_star_but_not_for_a_period():
    # 0.5, 1.0 and 2.0 are one family against two that agree, in which 1.0 has both others as harmonics.
    assert winner([0.3, 0.3, 0.5, 1.0, 2.0]) == (1.0, 1, 2)
    # Within a family the period that most have.
    assert winner([0.5, 1.0, 1.0]) == (1.0, 2, 1)
    assert winner([0.5, 0.5, 1.0]) == (0.5, 2, 1)
    # A third of a period is nothing to it.
    assert winner([0.5, 1.5])[2] == 0


def test_where_nobody_agrees_the_surest_is_taken():
    assert winner([0.3, 0.7], weight=[1, 0.1], sureness=[[0.2, 0.9]])[0] == 0.7
    assert winner([0.3, 0.7], weight=[0.1, 1], sureness=[[0.5, 0.5], [3, 2]])[0] == 0.3
    assert winner([0.3, 0.7], weight=[0.1, 1], sureness=[[np.nan, np.nan]])[0] == 0.7
    assert winner([0.3, 0.7])[0] == 0.3
    # Of those that agree as well.
    assert winner([0.5, 0.5001, 0.3], sureness=[[0.1, 0.8, 1.0]])[0] == 0.5001
    # Of a period and its double too.
    assert winner([0.5, 1.0], weight=[1, 0.5], sureness=[[0.1, 0.8]]) == (1.0, 1, 1)


def test_periods_that_are_none_have_no_vote():
    found = votes_of([np.nan, 0.0, -1.0, np.inf, 0.4, np.nan], starts=[0, 4, 5])
    assert found.chosen.tolist() == [-1, 4, -1]
    assert found.n_periods.tolist() == [0, 1, 0]
    assert found.n_agree.tolist() == [0, 1, 0]


def test_stars_without_light_curves_are_no_stars():
    found = votes_of([], starts=[])
    assert len(found.chosen) == len(found.n_agree) == 0


def test_frequencies_agree_within_a_share_and_a_difference():
    assert agree(np.array([1.0]), np.array([1.0009]), TOLERANCE, RESOLUTION).all()
    # Aliases of a year are told apart, however short the period.
    assert not agree(np.array([10.0]), np.array([10.0 + 1 / 365.25]), TOLERANCE, RESOLUTION).any()
    # Long periods by their share: 300 d and 310 d are two.
    assert not agree(np.array([1 / 300]), np.array([1 / 310]), TOLERANCE, RESOLUTION).any()
    assert agree(np.array([1 / 300]), np.array([1 / 302]), TOLERANCE, RESOLUTION).all()
    assert not agree(np.array([np.nan]), np.array([np.nan]), TOLERANCE, RESOLUTION).any()


def by_hand(period, weight, sure):
    """Return the place of the winner, as plain Python finds it."""
    valid = [place for place, one in enumerate(period) if math.isfinite(one) and one > 0]
    if not valid:
        return -1

    def same(one, other):
        return abs(one - other) <= min(TOLERANCE * min(one, other), RESOLUTION)

    def rank(place):
        f = 1 / period[place]
        with_it = [other for other in valid if same(1 / period[other], f)]
        family = [
            other
            for other in valid
            if other in with_it or same(1 / period[other], f / 2) or same(0.5 / period[other], f)
        ]
        total = [sum(sorted(math.sqrt(weight[o]) for o in g)) if len(g) > 1 else 0.0 for g in (family, with_it)]
        return (*total, sure[place], math.sqrt(weight[place]), -place)

    return max(valid, key=rank)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_as_plain_python_votes(data):
    some = st.sampled_from([0.25, 0.2502, 0.5, 0.50005, 0.503, 1.0, 1.002, 7.0, float("nan")])
    sizes = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=5))
    n = sum(sizes)
    period = data.draw(st.lists(some, min_size=n, max_size=n))
    # Squares of small numbers: sums of votes are exact.
    weight = data.draw(st.lists(st.sampled_from([0.0625, 0.25, 1.0]), min_size=n, max_size=n))
    sure = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=n, max_size=n))
    starts = np.cumsum([0, *sizes[:-1]])
    found = votes_of(period, weight, [sure], starts=starts)
    for number, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        own = slice(start, start + size)
        expected = by_hand(period[own], weight[own], sure[own])
        assert found.chosen[number] == (expected + start if expected >= 0 else -1)


@pytest.mark.parametrize("curves", [1, 7, 1 << 20])
def test_blocks_do_not_change_anything(monkeypatch, curves):
    rng = np.random.default_rng(5)
    starts = np.arange(0, 600, 3)
    period, weight = rng.choice([0.3, 0.6, 0.61, 2.0], 600), rng.random(600)
    whole = votes_of(period, weight, starts=starts)
    monkeypatch.setattr(star_periods, "CURVES", curves)
    again = votes_of(period, weight, starts=starts)
    for name in ("chosen", "n_periods", "n_agree", "n_harmonic"):
        assert np.array_equal(getattr(whole, name), getattr(again, name))
