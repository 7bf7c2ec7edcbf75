from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from scope_ml.errors import ConfigError
from scope_ml.selection.disagreement import CELLS, LevelCounts, Limits, compare, rank_correlation, sides

LIMITS = Limits()


@pytest.mark.parametrize(
    ("first", "second", "side"),
    [
        (0.96, 0.05, 1),
        (0.05, 0.96, -1),
        (0.96, 0.1, 1),  # at most low
        (0.95, 0.1, 0),  # above high, not at it
        (0.96, 0.11, 0),
        (0.99, 0.99, 0),
        (0.0, 0.0, 0),
        (np.nan, 0.0, 0),
        (0.99, np.nan, 0),
    ],
)
def test_scores_disagree_where_one_is_high_and_the_other_low(first: float, second: float, side: int) -> None:
    assert sides(np.array([first]), np.array([second]), LIMITS).tolist() == [side]


def test_rounded_scores_are_compared_as_they_are_written() -> None:
    # 0.1 as float32 is above 0.1 as float64.
    kept = np.array([0.1], dtype=np.float32).astype(np.float64)
    assert kept[0] > 0.1
    assert sides(np.array([1.0]), kept, LIMITS).tolist() == [1]
    high = np.array([0.95], dtype=np.float32).astype(np.float64)
    assert sides(high, np.array([0.0]), LIMITS).tolist() == [0]


@pytest.mark.parametrize(("high", "low"), [(0.1, 0.95), (0.5, 0.5)])
def test_crossed_limits_are_refused(high: float, low: float) -> None:
    with pytest.raises(ConfigError, match=f"low={low:g} is not below high={high:g}"):
        Limits(high=high, low=low)


def test_what_is_counted_adds_up() -> None:
    first = np.array([0.99, 0.97, 0.02, 0.8, 0.1, np.nan])
    second = np.array([0.01, 0.96, 0.98, 0.6, 0.1, 0.5])
    found = compare("vnv", first, second, LIMITS, levels=(0.7,))
    assert (found.n_compared, found.n_first_only, found.n_second_only) == (5, 1, 1)
    assert found.rate == pytest.approx(0.4)
    assert found.mean_difference == pytest.approx(np.mean(first[:5] - second[:5]))
    level = found.levels[0]
    assert (level.both, level.first_only, level.second_only, level.neither) == (1, 2, 1, 1)
    assert found.cells.sum() == 5
    assert found.cells[CELLS - 1, 0] == 1
    assert found.to_json()["n_first_only"] == 1


def test_no_stars_have_no_rate() -> None:
    found = compare("vnv", np.array([]), np.array([]), LIMITS)
    assert (found.rate, found.correlation, found.mean_difference, found.n_disagreeing) == (None, None, None, 0)
    assert found.levels[0].kappa is None


def test_kappa() -> None:
    # Cohen 1960's definition by hand: 0.7 agree, 0.5 by chance.
    assert LevelCounts(level=0.5, both=20, first_only=5, second_only=10, neither=15).kappa == pytest.approx(0.4)
    assert LevelCounts(level=0.5, both=0, first_only=0, second_only=0, neither=9).kappa is None


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_rank_correlation_is_spearmans(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 8, 30) / 8
    second = np.clip(first + rng.normal(0, 0.3, 30), 0, 1).round(1)
    assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)


def test_rank_correlation_of_what_does_not_vary_is_not_defined() -> None:
    assert rank_correlation(np.ones(4), np.arange(4.0)) is None
    assert rank_correlation(np.ones(1), np.ones(1)) is None
