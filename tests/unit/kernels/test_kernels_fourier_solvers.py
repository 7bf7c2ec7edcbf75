"""Where rounding could show in the Fourier fit: near-singular terms, near-perfect fits, few points, steep lines."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.fourier import COLUMNS, N_SOLUTION, FourierOptions
from scope_ml.kernels.fourier.normal import fit_normal, make_workspace
from scope_ml.kernels.fourier.orthogonal import fit_orthogonal
from scope_ml.kernels.fourier.sums import N_ROWS, fill_points
from scope_ml.kernels.registry import load

#: The kernel against its definition, relative. Phases are rounded to 1e-11 cycles on both sides, each its own way.
DEFINITION = 1e-8


def light_curve(n, period, *, seed=0, order=5, error=0.02, noise=True, slope=0.0, baseline=1500.0):
    rng = np.random.default_rng((seed, n, order))
    t = np.sort(rng.uniform(0, baseline, n)) + 2458000.5
    m = 16 + slope * (t - t[0])
    for k in range(1, order + 1):
        angle = 2 * np.pi * k * np.fmod(t, period) / period
        m = m + (rng.normal() * np.cos(angle) + rng.normal() * np.sin(angle)) / (2 * k)
    e = error * rng.uniform(0.5, 2.0, n)
    return t, m + e * rng.normal(size=n) * noise, e


def fit(curves, period, device="cpu"):
    t, m, e = zip(*curves, strict=True)
    batch = LightCurveBatch.from_lists(np.arange(len(t)), t, m, e)
    columns = load("fourier", device)(batch, FourierOptions(period=np.broadcast_to(period, len(t))))
    assert tuple(columns) == COLUMNS
    return columns


def solve(t, m, e, period):
    """Return the order and the solution of each of the two solvers."""
    normal, orthogonal = np.full(N_SOLUTION, np.nan), np.full(N_SOLUTION, np.nan)
    orders = (
        fit_normal(t, m, e, period, make_workspace(t.size), normal),
        fit_orthogonal(t, m, e, period, orthogonal),
    )
    return orders, normal, orthogonal


def equals_definition(curves, period, *, order=None):
    found, expected = fit(curves, period), fit(curves, period, "reference")
    for column, values in expected.items():
        np.testing.assert_allclose(found[column], values, rtol=DEFINITION, atol=DEFINITION, err_msg=column)
    # Power and BIC to so many digits however small they are.
    for column in ("f1_power", "f1_BIC"):
        np.testing.assert_allclose(found[column], expected[column], rtol=DEFINITION, atol=0, err_msg=column)
    if order is not None:
        taken = (~np.isnan(found["f1_phi0"])).astype(int)
        for n in range(1, 5):
            taken += ~np.isnan(found[f"f1_relphi{n}"])
        np.testing.assert_array_equal(taken, order)


@pytest.mark.parametrize("period", [0.0301, 0.31, 7.7])
def test_phases_do_not_drift(period):
    t = np.sort(np.random.default_rng(6).uniform(0, 1500, 1000)) + 2458000.5
    points = np.empty((N_ROWS, t.size))
    fill_points(t, np.zeros(t.size), np.ones(t.size), period, points)
    exact = [Fraction(x - t[0]) / Fraction(period) + Fraction(t[0]) % Fraction(period) / Fraction(period) for x in t]
    error = np.array([float(Fraction(found) - phase) for found, phase in zip(points[5], exact, strict=True)])
    assert np.abs(error).max() < 1.5e-11
    # The frequency that the errors add up to, relative: 1 / period alone is rounded by 7e-17 to 1e-16 of it here.
    assert abs(error @ (t - t[0])) / np.sum((t - t[0]) ** 2) * period < 4e-17


@pytest.mark.parametrize("order", range(6))
def test_both_solvers_agree(order):
    t, m, e = light_curve(77, 0.61, order=order)
    orders, normal, orthogonal = solve(t, m, e, 0.61)
    assert orders == (order, order)
    np.testing.assert_allclose(normal, orthogonal, rtol=1e-9, atol=1e-12)
    assert (normal[2 + 2 * order : 12] == 0).all()


def test_near_singular_terms_are_left_to_the_orthogonal_solver():
    for period, refused in ((0.61, False), (700.0, False), (3000.0, True), (1e5, True)):
        t, m, e = light_curve(60, period, order=1)
        orders, *_ = solve(t, m, e, period)
        assert (orders[0] < 0) == refused, period
        assert orders[1] >= 0


@pytest.mark.parametrize("reach", [0.1, 0.5, 0.9, 1.1, 1.5, 2.1])
@pytest.mark.parametrize("noise", [True, False])
def test_periods_near_the_baseline(reach, noise):
    period = 1500.0 * reach
    equals_definition([light_curve(n, period, order=2, noise=noise, error=0.005) for n in (30, 61, 200)], period)


def test_periods_far_beyond_the_baseline():
    # Power and BIC only, and not to all digits: harmonics differ from powers of t by parts in 1e9.
    for period in (1e4, 1e6, 1e12):
        curves = [light_curve(n, 0.3, order=1) for n in (30, 61)]
        found, expected = fit(curves, period), fit(curves, period, "reference")
        for column in ("f1_power", "f1_BIC"):
            np.testing.assert_allclose(found[column], expected[column], rtol=1e-4, err_msg=f"{column} {period}")


@pytest.mark.parametrize("period", [0.0312, 0.61, 37.0])
def test_strong_signals_without_and_with_noise(period):
    for error in (1e-3, 1e-5):
        curves = [light_curve(n, period, order=k, error=error, noise=False) for n, k in ((40, 2), (151, 5), (200, 3))]
        found = fit(curves, period)
        bic = np.log([40, 151, 200]) * (2 + 2 * np.array([2, 5, 3]))
        # Phases rounded at 1e-11 cycles are all that chi2 is left with, of a sum of squares of up to 1e12.
        np.testing.assert_allclose(found["f1_BIC"], bic, rtol=1e-8)
        np.testing.assert_allclose(found["f1_power"], 1.0, rtol=1e-9)
    noisy = [light_curve(n, period, order=k, error=1e-3) for n, k in ((40, 2), (151, 5), (200, 3))]
    equals_definition(noisy, period, order=[2, 5, 3])


@pytest.mark.parametrize("error", [1e-3, 1e-6])
def test_a_weak_signal_on_a_steep_line(error):
    t, _, e = light_curve(200, 0.61, order=0, error=error)
    rng = np.random.default_rng(8)
    weak = error * (1.5 * np.sin(2 * np.pi * np.fmod(t, 0.61) / 0.61) + rng.normal(size=t.size))
    m = 16 + 5 * (t - t[0]) / np.ptp(t) + weak
    equals_definition([(t, m, e)], 0.61, order=1)
    (order, _), *_ = solve(t, m, e, 0.61)
    assert (order < 0) == (error < 1e-4)


@pytest.mark.parametrize("n", range(3, 26))
def test_few_points(n):
    # Every number of points past the last full vector, and the least that each order needs.
    highest = min(5, (n - 3) // 2)
    for order in range(highest + 1):
        equals_definition([light_curve(n, 0.61, order=order, seed=seed, error=0.05) for seed in range(3)], 0.61)
    taken = fit([light_curve(n, 0.61, order=5, error=1e-4, noise=False)], 0.61)
    harmonics = ("f1_phi0", "f1_relphi1", "f1_relphi2", "f1_relphi3", "f1_relphi4")
    assert all(np.isnan(taken[name][0]) for name in harmonics[highest:])


def test_repeated_times_and_phases():
    rng = np.random.default_rng(3)
    curves = []
    for n in (20, 41, 90):
        t, m, e = light_curve(n, 0.61, order=2)
        twice = np.repeat(t, 2)
        curves.append((twice, np.repeat(m, 2) + 0.01 * rng.normal(size=2 * n), np.repeat(e, 2)))
    equals_definition(curves, 0.61)
    # Ten phases, each many times: 0.5 d and multiples of 0.05 d; orders up to 4 can be told apart.
    t = 2458000.0 + 0.05 * rng.integers(0, 10, 80) + 0.5 * np.sort(rng.integers(0, 2000, 80))
    m = 15 + 0.3 * np.sin(4 * np.pi * t) + 0.02 * rng.normal(size=80)
    equals_definition([(np.sort(t), m[np.argsort(t)], np.full(80, 0.02))], 0.5)


def test_unequal_errors():
    rng = np.random.default_rng(4)
    curves = [(t, m, e * 10.0 ** rng.normal(0, 1, t.size)) for t, m, e in (light_curve(n, 0.61) for n in (50, 130))]
    equals_definition(curves, 0.61)


def test_the_order_of_the_points_does_not_matter():
    t, m, e = light_curve(83, 0.61, order=3)
    mixed = np.random.default_rng(5).permutation(83)
    before, after = fit([(t, m, e)], 0.61), fit([(t[mixed], m[mixed], e[mixed])], 0.61)
    for column in COLUMNS:
        np.testing.assert_allclose(after[column], before[column], rtol=1e-10, err_msg=column)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 17, 40])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_bad_value_anywhere_gives_nan(column, at, value):
    curve = [values.copy() for values in light_curve(41, 0.61)]
    curve[column][at] = value
    assert all(np.isnan(values[0]) for values in fit([curve], 0.61).values())


@pytest.mark.parametrize("error", [0.0, -0.01])
def test_an_error_that_is_not_positive_gives_nan(error):
    t, m, e = light_curve(41, 0.61)
    e[7] = error
    assert all(np.isnan(values[0]) for values in fit([(t, m, e)], 0.61).values())


def test_errors_whose_squares_are_beyond_float64_give_nan():
    t, m, e = light_curve(41, 0.61, order=1)
    for factor in (1e170, 1e-170):
        assert all(np.isnan(values[0]) for values in fit([(t, m, e * factor)], 0.61).values())
    assert fit([(t, m, e * 1e100)], 0.61)["f1_power"] == 0
