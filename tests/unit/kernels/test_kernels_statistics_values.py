"""What each of the 22 statistics is at 0, 1, 2 and 3 points and for constant magnitudes, worked out by hand."""

from __future__ import annotations

from math import log, nan, sqrt
from statistics import NormalDist

import numpy as np
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.registry import load
from scope_ml.kernels.statistics import COLUMNS

#: The first n points of t = 0, 1, 3 d, m = 1, 2, 6 mag, e = 1 mag.
TIMES, MAGNITUDES, ERRORS = [0.0, 1.0, 3.0], [1.0, 2.0, 6.0], [1.0, 1.0, 1.0]


def log_phi(z):
    return log(NormalDist().cdf(z))


#: Standardised by the scatter with n - 1, two points are at -1 / sqrt(2) and its opposite.
AD_OF_TWO = -2 - (2 * log_phi(-sqrt(0.5)) + 6 * log_phi(sqrt(0.5))) / 2
#: Three points 1, 2, 6: mean 3, scatter sqrt(14 / 2).
Z = [(x - 3) / sqrt(7) for x in MAGNITUDES]
AD_OF_THREE = -3 - sum((2 * i + 1) * (log_phi(Z[i]) + log_phi(-Z[2 - i])) for i in range(3)) / 3

EXPECTED = {
    0: dict.fromkeys(COLUMNS, nan) | {"n": 0},
    1: {
        "n": 1, "median": 1, "wmean": 1, "chi2red": nan, "roms": nan, "wstd": 0,
        "norm_peak_to_peak_amp": (0 - 2) / 2, "norm_excess_var": -1, "median_abs_dev": 0,
        "iqr": 0, "i60r": 0, "i70r": 0, "i80r": 0, "i90r": 0, "skew": nan, "smallkurt": nan,
        "inv_vonneumannratio": nan, "welch_i": nan, "stetson_j": nan, "stetson_k": nan, "ad": nan, "sw": nan,
    },
    2: {
        "n": 2, "median": 1.5, "wmean": 1.5, "chi2red": 0.5, "roms": 1, "wstd": 0.5,
        "norm_peak_to_peak_amp": (1 - 2) / 3, "norm_excess_var": (0.5 - 2) / (2 * 2.25), "median_abs_dev": 0.5,
        "iqr": 0.5, "i60r": 0.6, "i70r": 0.7, "i80r": 0.8, "i90r": 0.9, "skew": nan, "smallkurt": nan,
        "inv_vonneumannratio": 0.25, "welch_i": 2 * -0.25, "stetson_j": -sqrt(0.5), "stetson_k": 1,
        "ad": AD_OF_TWO, "sw": nan,
    },
    3: {
        "n": 3, "median": 2, "wmean": 3, "chi2red": 14 / 2, "roms": 5 / 2, "wstd": sqrt(14 / 3),
        "norm_peak_to_peak_amp": (5 - 2) / 7, "norm_excess_var": 11 / 27, "median_abs_dev": 1,
        "iqr": 2.5, "i60r": 3.0, "i70r": 3.5, "i80r": 4.0, "i90r": 4.5,
        "skew": 3 / 2 * (-8 - 1 + 27), "smallkurt": nan,
        "inv_vonneumannratio": (1.25 * 14 / 3) / (1 + 16 / 4), "welch_i": 1.5 * (2 - 3),
        "stetson_j": sqrt(3) - sqrt(4.5), "stetson_k": 6 / 3 / sqrt(14 / 3),
        "ad": AD_OF_THREE, "sw": (sqrt(0.5) * 5) ** 2 / 14,
    },
}  # fmt: skip

#: Four points of 5 mag, errors 1, 1, 2 and 4 mag: all but what tests m/e for a normal distribution.
CONSTANT = {
    "n": 4, "median": 5, "wmean": 5, "chi2red": 0, "roms": 0, "wstd": 0,
    "norm_peak_to_peak_amp": (4 - 6) / 10, "norm_excess_var": -(1 + 1 + 4 + 16) / (4 * 25), "median_abs_dev": 0,
    "iqr": 0, "i60r": 0, "i70r": 0, "i80r": 0, "i90r": 0, "skew": 0, "smallkurt": -3 * 9 / (2 * 1),
    "inv_vonneumannratio": nan, "welch_i": 0, "stetson_j": 0, "stetson_k": nan,
}  # fmt: skip


def measure(t, m, e, device="cpu"):
    batch = LightCurveBatch.from_lists([1], [np.array(t, float)], [np.array(m, float)], [np.array(e, float)])
    return {name: float(values[0]) for name, values in load("statistics", device)(batch, None).items()}


def assert_values(found, expected):
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-13, abs=1e-14, nan_ok=True), name


@pytest.mark.parametrize("device", ["reference", "cpu"])
@pytest.mark.parametrize("n", EXPECTED)
def test_few_points(n, device):
    assert EXPECTED[n].keys() == set(COLUMNS)
    assert_values(measure(TIMES[:n], MAGNITUDES[:n], ERRORS[:n], device), EXPECTED[n])


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_constant_magnitudes(device):
    assert CONSTANT.keys() | {"ad", "sw"} == set(COLUMNS)
    found = measure([0.0, 1.0, 3.0, 4.0], [5.0] * 4, [1.0, 1.0, 2.0, 4.0], device)
    assert_values(found, CONSTANT)
    # The ratios still differ: 1.25, 2.5, 5, 5.
    mean, scatter = 3.4375, sqrt((2.1875**2 + 0.9375**2 + 2 * 1.5625**2) / 3)
    z = [(x - mean) / scatter for x in (1.25, 2.5, 5.0, 5.0)]
    ad = -4 - sum((2 * i + 1) * (log_phi(z[i]) + log_phi(-z[3 - i])) for i in range(4)) / 4
    assert found["ad"] == pytest.approx(ad, rel=1e-12)
    # Exact weights for n = 4 (Shapiro & Wilk 1965, table 5); Royston's approximation gives W 0.24 % less.
    assert found["sw"] == pytest.approx((0.6872 * 3.75 + 0.1677 * 2.5) ** 2 / (3 * scatter**2), rel=3e-3)


@pytest.mark.parametrize("device", ["reference", "cpu"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 50])
def test_constant_magnitudes_and_errors(n, device):
    """Magnitude and error that binary fractions do not hold: sums of residuals must be zero all the same."""
    found = measure(np.arange(n), np.full(n, 16.1), np.full(n, 0.1), device)
    zero = ["wstd", "median_abs_dev", "iqr", "i60r", "i70r", "i80r", "i90r"]
    zero += ["chi2red", "roms", "welch_i", "stetson_j"] if n >= 2 else []
    zero += ["skew"] if n >= 3 else []
    undefined = ["inv_vonneumannratio", "stetson_k", "ad", "sw"]
    assert {name: found[name] for name in zero} == dict.fromkeys(zero, 0.0)
    assert all(np.isnan(found[name]) for name in undefined)
    assert (found["n"], found["median"], found["wmean"]) == (n, 16.1, 16.1)
    assert found["norm_peak_to_peak_amp"] == pytest.approx(-0.1 / 16.1, rel=1e-12)
    assert found["norm_excess_var"] == pytest.approx(-((0.1 / 16.1) ** 2), rel=1e-12)
    expected = -3 * (n - 1) ** 2 / ((n - 2) * (n - 3)) if n >= 4 else nan
    assert found["smallkurt"] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("m", "e"),
    [
        ([15.0, 15.1, 15.3, 15.2, 15.0], [1e-200, 0.1, 0.1, 0.1, 0.1]),
        ([15.0, 15.1, 15.3, 15.2, 15.0], [1e-310, 1e-310, 0.1, 0.1, 0.1]),
        ([15.0, 15.1, 15.3, 15.2, 15.0], [1e300, 0.1, 1e-300, 0.1, 0.1]),
        ([-1.7e308, 1.7e308, 15.3, 15.2, 15.0] * 5, [0.1] * 25),
        ([1e200, -1e200, 15.3, 15.2, 15.0] * 5, [1e-5] * 25),
    ],
)
def test_absurd_values_are_never_infinite(m, e):
    found = measure(np.arange(len(m)), m, e)
    assert found["n"] == len(m)
    assert found["median"] == np.median(m)
    assert not np.isinf(list(found.values())).any()
