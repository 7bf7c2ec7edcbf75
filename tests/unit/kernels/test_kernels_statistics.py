from __future__ import annotations

import numpy as np
import pytest
import scipy
from scipy.special import log_ndtr
from scipy.stats import shapiro

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.registry import load
from scope_ml.kernels.statistics import COLUMNS
from scope_ml.kernels.statistics.normality import _near

#: Columns that are defined from this many points on (of different magnitudes, errors and times).
DEFINED_FROM = {
    **dict.fromkeys(COLUMNS, 1),
    **dict.fromkeys(("chi2red", "roms", "welch_i", "stetson_j", "stetson_k", "inv_vonneumannratio", "ad"), 2),
    **dict.fromkeys(("skew", "sw"), 3),
    "n": 0,
    "smallkurt": 4,
}


def measure(t, m, e, device="cpu"):
    columns = load("statistics", device)(LightCurveBatch.from_lists([1], [t], [m], [e]), None)
    return {name: float(values[0]) for name, values in columns.items()}


@pytest.mark.parametrize("device", ["reference", "cpu"])
@pytest.mark.parametrize("n", range(6))
def test_each_statistic_is_defined_from_its_number_of_points_on(n, device):
    random = np.random.default_rng(n)
    values = measure(np.arange(n) + 2458000.5, random.normal(15, 1, n), random.uniform(0.1, 0.2, n), device)
    assert tuple(values) == COLUMNS
    for name, value in values.items():
        assert np.isfinite(value) == (n >= DEFINED_FROM[name]), name


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_a_light_curve_worked_out_by_hand(device):
    values = measure(np.array([0.0, 1.0, 3.0]), np.array([1.0, 2.0, 6.0]), np.array([1.0, 1.0, 1.0]), device)
    expected = {
        "n": 3, "median": 2, "wmean": 3, "chi2red": 14 / 2, "roms": 5 / 2, "wstd": np.sqrt(14 / 3),
        "norm_peak_to_peak_amp": (5 - 2) / 7, "norm_excess_var": 11 / 27, "median_abs_dev": 1, "iqr": 2.5,
        "i60r": 4.4 - 1.4, "i80r": 5.2 - 1.2, "skew": 3 / 2 * (-8 - 1 + 27),
        "inv_vonneumannratio": (1.25 * 14 / 3) / (1 + 16 / 4), "welch_i": 1.5 * (2 - 3),
        "stetson_j": np.sqrt(3) - np.sqrt(4.5), "stetson_k": 6 / 3 / np.sqrt(14 / 3),
    }  # fmt: skip
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, rel=1e-13), name


#: SciPy 1.18 has more exact normal quantiles than the AS 111 of AS R94 that we and older SciPy use.
SCIPY_W = 1e-8 if tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 18) else 1e-9


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 11, 12, 20, 100, 1001, 6000])
def test_normality_is_scipys(n):
    random = np.random.default_rng(n)
    x = random.standard_t(3, n) + 500
    values = measure(np.arange(n, dtype=float), x, np.ones(n))
    ordered = np.sort(x)
    z = (ordered - ordered.mean()) / ordered.std(ddof=1)
    weights = 2 * np.arange(1, n + 1) - 1
    assert values["ad"] == pytest.approx(-n - np.sum(weights * (log_ndtr(z) + log_ndtr(-z[::-1]))) / n, rel=1e-9)
    if n > 5000:
        with pytest.warns(UserWarning, match="N > 5000"):
            expected = shapiro(x).statistic
    elif n >= 3:
        expected = shapiro(x).statistic
    if n >= 3:
        assert values["sw"] == pytest.approx(expected, rel=SCIPY_W)


@pytest.mark.parametrize("z", [*np.linspace(-4, 4, 33), -1e-9, 1e-9])
def test_logarithms_of_both_tails_are_good_to_rounding(z):
    low, high = log_ndtr(z), log_ndtr(-z)
    assert _near(z, 1.0, 0.0) == pytest.approx(low + high, rel=2e-15)
    assert _near(z, 0.0, 1.0) == pytest.approx(low - high, rel=2e-15)


@pytest.mark.parametrize("n", [50, 333, 2000])
@pytest.mark.parametrize("freedom", [1.2, 3.0, 30.0])
def test_heavy_tails_have_the_anderson_darling_of_the_definition(n, freedom):
    """From hardly a point beyond four sigma to many on both sides."""
    x = np.random.default_rng(n).standard_t(freedom, n) + 20
    found, expected = (measure(np.arange(float(n)), x, np.ones(n), device)["ad"] for device in ("cpu", "reference"))
    assert found == pytest.approx(expected, rel=1e-11)


def test_an_outlier_of_fifty_sigma_has_a_finite_anderson_darling():
    x = np.append(np.random.default_rng(0).normal(0, 1e-3, 3000), 1.0) + 10
    found = measure(np.arange(3001.0), x, np.ones(3001))["ad"]
    assert found == pytest.approx(measure(np.arange(3001.0), x, np.ones(3001), "reference")["ad"], rel=1e-10)
    assert np.isfinite(found)


@pytest.mark.parametrize("n", [1, 2, 5, 8, 101])
@pytest.mark.parametrize("kind", ["spread", "ties", "skewed"])
def test_median_abs_dev_of_even_and_odd_numbers_and_ties(n, kind):
    random = np.random.default_rng(n)
    m = {"spread": random.normal(15, 1, n), "ties": random.integers(0, 3, n) + 15.0, "skewed": random.exponential(1, n)}
    found = measure(np.arange(n, dtype=float), m[kind], np.ones(n))["median_abs_dev"]
    assert found == pytest.approx(np.median(np.abs(m[kind] - np.median(m[kind]))), abs=1e-14)


def test_denominators_that_vanish_give_nan():
    zero = measure(np.arange(4.0), np.array([-1.0, 1.0, -1.0, 1.0]), np.ones(4))
    assert np.isnan(zero["norm_excess_var"])
    assert np.isnan(zero["norm_peak_to_peak_amp"])


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_equal_ratios_of_magnitude_to_error_have_no_normality(device):
    """Errors whose inverses are not exact: the ratio must be a division."""
    e = np.random.default_rng(0).uniform(0.1, 1.0, 40)
    proportional = measure(np.arange(40.0), 16.0 * e, e, device)
    assert np.isnan(proportional["ad"])
    assert np.isnan(proportional["sw"])


@pytest.mark.parametrize("device", ["reference", "cpu"])
@pytest.mark.parametrize("column", ["t", "m", "e"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_leaves_the_number_of_points_alone(column, value, device):
    points = {"t": np.arange(20.0), "m": np.arange(20.0) % 3, "e": np.full(20, 0.1)}
    points[column][7] = value
    found = measure(**points, device=device)
    assert found.pop("n") == 20
    assert np.isnan(list(found.values())).all()


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_pairs_at_equal_times_are_left_out_of_von_neumanns_ratio(device):
    """Left are 1/dt^2 = 1 and 1/4, with differences of 4 and 2 mag."""
    found = measure(np.array([0.0, 0.0, 1.0, 3.0]), np.array([1.0, 2.0, 6.0, 4.0]), np.ones(4), device)
    mean = 13 / 4
    variance = sum((x - mean) ** 2 for x in (1, 2, 6, 4)) / 4
    assert found["inv_vonneumannratio"] == pytest.approx(1.25 * variance / (16 + 4 / 4), rel=1e-14)
    assert found["welch_i"] == pytest.approx(4 / 3 * (2.25 * 1.25 - 1.25 * 2.75 + 2.75 * 0.75), rel=1e-14)
