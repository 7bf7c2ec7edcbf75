"""Sorting against NumPy's, on what light curves hold and on what defeats buckets; what is read off sorted vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scope_ml.kernels.statistics.sorting import extremes, median_abs_dev, percentile, slots_size, sort_into

NUMBERS = (1, 2, 3, 16, 17, 18, 33, 50, 257, 1000, 4099)

KINDS = {
    "normal": lambda random, n: random.normal(15, 1, n),
    "uniform": lambda random, n: random.uniform(-1, 1, n),
    "sorted": lambda random, n: np.sort(random.normal(15, 1, n)),
    "reversed": lambda random, n: -np.sort(random.normal(15, 1, n)),
    "constant": lambda random, n: np.full(n, 16.1),
    "ties": lambda random, n: random.integers(0, 4, n) / 8 + 15,
    "outlier": lambda random, n: np.append(random.normal(15, 1, n - 1), 1e4),
    "outlier among ties": lambda random, n: np.append(random.integers(0, 20, n - 1) / 8, -1e6),
    "clusters in clusters": lambda random, n: np.sum(random.integers(0, 3, (n, 12)) * 1e-3 ** np.arange(12), axis=1),
    "every exponent": lambda random, n: random.choice([-1, 1], n) * 2.0 ** random.uniform(-1070, 1020, n),
    "range overflows": lambda random, n: random.uniform(-1, 1, n) * 1.7e308,
    "denormal range": lambda random, n: random.integers(0, 50, n) * 5e-324,
    "range of one step": lambda random, n: np.nextafter(16.0, 16.0 + random.integers(0, 2, n)),
    "infinities": lambda random, n: random.choice([-np.inf, 1.0, 2.0, np.inf], n),
}


def sort(values):
    """Sort between guards, so that a value written outside shows."""
    n = values.size
    guarded = np.full(n + 2, 77.0)
    slots = np.full(slots_size(n) + 1, 77, np.int32)
    sort_into(values, guarded[1:-1], np.empty(n), slots)
    assert list(guarded[[0, -1]]) == [77.0, 77.0]
    assert slots[-1] == 77
    return guarded[1:-1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", NUMBERS)
def test_sorted_as_by_numpy(kind, n):
    values = KINDS[kind](np.random.default_rng(n), n)
    before = values.copy()
    np.testing.assert_array_equal(sort(values), np.sort(values))
    np.testing.assert_array_equal(values, before)


@settings(max_examples=100, deadline=None)
@given(arrays(np.float64, st.integers(1, 60), elements=st.floats(allow_nan=False)))
def test_any_floats_are_sorted(values):
    np.testing.assert_array_equal(sort(values), np.sort(values))


@pytest.mark.parametrize("n", [*range(1, 60), 1000, 1001])
def test_extremes(n):
    random = np.random.default_rng(n)
    lower, upper = random.normal(0, 1, n), random.normal(0, 1, n)
    assert extremes(lower, upper, np.empty(n), np.empty(n)) == (lower.min(), upper.max())


@pytest.mark.parametrize("n", [*range(1, 20), 100, 101])
@pytest.mark.parametrize("kind", ["normal", "constant", "ties", "outlier"])
def test_median_abs_dev_is_numpys_to_the_bit(kind, n):
    for seed in range(5):
        ordered = np.sort(KINDS[kind](np.random.default_rng((n, seed)), n))
        median = percentile(ordered, 50.0)
        assert median_abs_dev(ordered, median) == np.median(np.abs(ordered - median))


@pytest.mark.parametrize("n", [1, 2, 3, 10, 101])
def test_percentiles(n):
    ordered = np.sort(np.random.default_rng(n).normal(15, 1, n))
    for percent in (0.0, 5.0, 50.0, 85.0, 99.9, 100.0):
        assert percentile(ordered, percent) == pytest.approx(np.percentile(ordered, percent), rel=1e-15)
