from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.damped_random_walk import COLUMNS, LONGEST, SHORT_GAP, SHORTEST, cpu, reference
from scope_ml.kernels.registry import load


def walk(n=200, baseline=1500.0, tau=50.0, sigma=0.2, error=0.03, seed=0, start=2458000.0):
    """A walk as given: times [d], magnitudes, errors."""
    random = np.random.default_rng(seed)
    t = start + np.sort(random.choice(round(baseline * 65536), n, replace=False)) / 65536
    x = random.normal(0, sigma, n)
    decay = np.exp(-np.diff(t) / tau)
    for i in range(1, n):
        x[i] = decay[i - 1] * x[i - 1] + np.sqrt(1 - decay[i - 1] ** 2) * x[i]
    e = error * random.uniform(0.5, 1.5, n)
    return t, 17.0 + x + random.normal(0, e), e


@pytest.mark.parametrize("error", [1e-300, 1e-200, 1e-160, 1e160, 1e300])
def test_errors_whose_square_is_no_number_give_nan(error):
    t, m, e = walk(n=20)
    e[3] = error
    good = walk(n=20, seed=1)
    found = fit((t, m, e), good)
    assert all(np.isnan(values[0]) for values in found)
    assert [values[1] for values in found] == fit(good)


def fit(*light_curves):
    times, mags, errors = zip(*light_curves, strict=True)
    found = load("damped_random_walk", "cpu")(LightCurveBatch.from_lists(np.arange(len(times)), times, mags, errors))
    assert tuple(found) == COLUMNS
    return [found[name] if len(light_curves) > 1 else found[name][0] for name in COLUMNS]


def likelihood(t, m, e, tau, sigma):
    return cpu.log_likelihood(t, m, e, np.atleast_1d(float(tau)), np.atleast_1d(float(sigma)))[0]


def test_likelihood_is_that_of_the_multivariate_normal():
    t, m, e = walk(n=60)
    # Repeated times, and errors far apart.
    t[10], t[40], e[7], e[8] = t[9], t[39], 1e-4, 30.0
    for tau, sigma in ((0.05, 0.3), (3.0, 0.01), (80.0, 0.2), (15000.0, 2.0)):
        covariance = sigma**2 * np.exp(-np.abs(t[:, None] - t) / tau) + np.diag(e**2)
        inverse = np.linalg.inv(covariance)
        mean = inverse.sum(axis=0) @ m / inverse.sum()
        expected = multivariate_normal.logpdf(m, np.full(60, mean), covariance)
        assert likelihood(t, m, e, tau, sigma) == pytest.approx(expected, rel=1e-10, abs=1e-8)
        assert reference.log_likelihood(t, m, e, tau, sigma) == pytest.approx(expected, rel=1e-10, abs=1e-8)


def test_likelihood_does_not_depend_on_the_trials_beside():
    t, m, e = walk(n=40)
    tau, sigma = np.geomspace(0.1, 1e4, 19), np.geomspace(0.01, 3, 19)
    together = cpu.log_likelihood(t, m, e, tau, sigma)
    np.testing.assert_array_equal(together, [likelihood(t, m, e, *trial) for trial in zip(tau, sigma, strict=True)])


@pytest.mark.parametrize(
    ("n", "tau", "sigma"),
    [(200, 3.0, 0.2), (200, 40.0, 0.2), (200, 40.0, 0.02), (200, 2000.0, 0.5), (3000, 300.0, 3.0), (9000, 40.0, 2.0)],
)
def test_no_neighbour_is_likelier_than_the_maximum(n, tau, sigma):
    t, m, e = walk(n=n, tau=tau, sigma=sigma, seed=3)
    best_tau, best_sigma, _ = fit((t, m, e))
    best = likelihood(t, m, e, best_tau, best_sigma)
    for away in np.geomspace(1e-3, 3, 12):
        for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False):
            there = best_tau * np.exp(away * np.cos(angle)), best_sigma * np.exp(away * np.sin(angle))
            assert likelihood(t, m, e, *there) < best + 1e-6


def test_ratio_is_over_white_noise_of_free_scatter():
    t, m, e = walk(n=80, tau=20.0)
    tau, sigma, ratio = fit((t, m, e))
    scatters = np.geomspace(1e-3, 2, 4000)
    weights = 1 / (e**2 + scatters[:, None] ** 2)
    means = (weights * m).sum(axis=1) / weights.sum(axis=1)
    terms = (m - means[:, None]) ** 2 * weights - np.log(weights / (2 * np.pi))
    assert ratio == pytest.approx(likelihood(t, m, e, tau, sigma) - np.max(-0.5 * terms.sum(axis=1)), abs=1e-4)


@pytest.mark.parametrize(("n", "tau"), [(400, 5.0), (400, 40.0), (3000, 40.0)])
def test_walks_are_recovered(n, tau):
    found_tau, found_sigma, ratio = fit(*(walk(n=n, baseline=4000.0, tau=tau, seed=seed) for seed in range(20)))
    # The scatter of ln tau and ln sigma^2 is about sqrt(2 tau / T) times a few; that of 20 means of it 4.5 times less.
    scatter = np.sqrt(8 * tau / 4000)
    assert abs(np.mean(np.log(found_tau / tau))) < 3 * scatter / np.sqrt(20) + 0.05
    assert abs(np.mean(np.log(found_sigma / 0.2))) < 3 * scatter / np.sqrt(20) + 0.05
    assert np.std(np.log(found_tau)) < 3 * scatter
    assert (ratio > 20).all()


def test_white_noise_has_no_time_scale():
    tau, sigma, ratio = fit(*(walk(tau=1e-6, sigma=0.2, seed=seed) for seed in range(30)))
    assert (ratio >= 0).all()
    assert np.median(ratio) < 0.5
    assert ratio.max() < 6
    assert (tau == 0).any()
    assert (ratio[tau == 0] == 0).all()
    assert np.mean(sigma) == pytest.approx(0.2, rel=0.05)


def test_errors_that_explain_the_scatter_leave_nothing():
    tau, sigma, ratio = fit(*(walk(sigma=0.0, seed=seed) for seed in range(30)))
    still = sigma == 0
    assert 3 < still.sum() < 27
    assert np.isnan(tau[still]).all()
    assert (ratio[still] == 0).all()
    assert np.isfinite(tau[~still]).all()
    assert sigma.max() < 0.015


def test_underestimated_errors_are_no_walk():
    light_curves = [(t, m, e / 3) for t, m, e in (walk(sigma=0.0, seed=seed) for seed in range(20))]
    assert fit(*light_curves)[2].max() < 6


def test_a_drift_is_a_long_time_scale():
    t, m, e = walk(sigma=0.0)
    tau, _, ratio = fit((t, m + 1e-3 * (t - t[0]), e))
    assert tau > 1500
    assert tau <= LONGEST * 1500
    assert ratio > 100


def test_shifts_and_scales():
    t, m, e = walk(n=150, tau=30.0)
    before = fit((t, m, e))
    # Powers of 2, so that nothing is rounded.
    np.testing.assert_array_equal(fit((t - 2458000.0, m, e)), before)
    np.testing.assert_allclose(fit((t, m + 4.0, e)), before, rtol=1e-6)
    scale = np.array([8.0, 1.0, 1.0])
    np.testing.assert_allclose(fit(((t - 2458000.0) * 8, m, e)), scale * before, rtol=1e-6)
    np.testing.assert_allclose(fit((t, m * 0.25, e * 0.25)), np.array([1, 0.25, 1]) * before, rtol=1e-6)
    np.testing.assert_allclose(fit((-t[::-1], m[::-1], e[::-1])), before, rtol=1e-4)


def test_bounds():
    t, m, _ = walk(n=100)
    gaps = np.sort(np.diff(t))
    low, high, *_ = reference.bounds_of(t, m)
    assert np.exp(low) == pytest.approx(SHORTEST * gaps[int(SHORT_GAP * 99)])
    assert np.exp(high) == pytest.approx(LONGEST * (t[-1] - t[0]))
    found = fit(*(walk(n=30, baseline=300.0, tau=1e5, sigma=5.0, seed=seed) for seed in range(20)))[0]
    assert found.max() <= LONGEST * 300


def test_times_that_fall_few_points_and_one_time_give_nan():
    t, m, e = walk(n=30)
    same = np.full(30, t[0])
    swapped = t[[0, 2, 1, *range(3, 30)]]
    found = fit((t[::-1], m, e), (swapped, m, e), (t[:4], m[:4], e[:4]), (same, m, e), (t[:5], m[:5], e[:5]))
    assert np.isnan([values[:4] for values in found]).all()
    assert np.isfinite(found[2][4])


def test_extreme_errors_stay_finite():
    t, m, e = walk(n=100)
    tiny, huge = e.copy(), e.copy()
    tiny[::3], huge[::3] = 1e-30, 1e30
    for values in zip(*fit((t, m, tiny), (t, m, huge), (t, m * 1e-9, e), (t, m * 1e6, e)), strict=True):
        assert not np.isinf(values).any()
        assert values[2] >= 0 or np.isnan(values[2])


def test_a_long_light_curve():
    tau, sigma, _ = fit(walk(n=100_000, baseline=3000.0, tau=20.0))
    assert tau == pytest.approx(20, rel=0.3)
    assert sigma == pytest.approx(0.2, rel=0.15)
