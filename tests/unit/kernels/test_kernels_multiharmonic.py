"""Multi-harmonic analysis of variance against its definition, astropy and least squares."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from astropy.timeseries import LombScargle

from scope_ml.errors import ConfigError
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.lomb_scargle import cpu as lomb_scargle
from scope_ml.kernels.multiharmonic import LARGEST_POWER, cpu, false_alarm_probability, reference
from scope_ml.kernels.peaks import SearchOptions

#: Error of the power that the error of the sums leads to where the fit is well determined.
POWER = 2e-8


def make_curve(n, *, seed=0, baseline=1826.0, nightly=None, n_bands=1, noise=1.0):
    random = np.random.default_rng(seed)
    time = random.uniform(0, baseline, n)
    if nightly is not None:
        time = random.choice(int(baseline), n, replace=False) + random.normal(0, nightly, n)
    time = np.sort(time)
    band = random.permutation(np.arange(n) % n_bands)
    mag_err = random.uniform(0.01, 0.1, n)
    angle = 2 * np.pi * time / 0.5123
    signal = 0.2 * np.sin(angle) + 0.1 * np.cos(2 * angle + 1) + 0.05 * np.sin(3 * angle)
    mag = (1 + band) * signal + 0.4 * band + random.normal(0, mag_err) * noise
    return Curve(time=time - time[0], mag=mag - mag[0], mag_err=mag_err, band=band, n_bands=n_bands)


def evaluate(statistic, frequency, step, n):
    values = np.full(n, np.nan)
    statistic.evaluate(frequency, step, values)
    return values


@pytest.mark.parametrize(
    ("n", "n_harmonics", "n_bands", "nightly"),
    [(40, 3, 1, None), (60, 3, 3, None), (200, 3, 1, 0.08), (200, 1, 2, None), (300, 5, 2, 0.08), (300, 10, 1, None)],
)
def test_power(n, n_harmonics, n_bands, nightly):
    curve = make_curve(n, seed=n, n_bands=n_bands, nightly=nightly)
    step = 1.0 / (10 * 1.0137 * curve.time[-1])
    statistic = cpu.Power(curve, n_harmonics)
    for start in (2.0 / curve.time[-1], 1.0 - 500 * step, 47.9):
        frequency = start + step * np.arange(1000)[::17]
        expected = reference.power(curve, frequency, n_harmonics)
        np.testing.assert_allclose(evaluate(statistic, start, step, 1000)[::17], expected, rtol=0, atol=POWER)
        np.testing.assert_allclose(cpu.fit_power(curve, frequency, n_harmonics), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("n", [10, 14])
def test_power_of_few_points(n):
    curve = make_curve(n, seed=n)
    step = 1.0 / (10 * curve.time[-1])
    expected = reference.power(curve, 1.3 + step * np.arange(1000), 3)
    np.testing.assert_allclose(evaluate(cpu.Power(curve, 3), 1.3, step, 1000), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_harmonics", [1, 2, 4])
def test_theta_is_that_of_astropys_fit(n_harmonics):
    curve = make_curve(80, seed=3)
    step = 1.0 / (10 * curve.time[-1])
    frequency = 1.94 + step * np.arange(300)
    fit = LombScargle(curve.time, curve.mag, curve.mag_err, nterms=n_harmonics)
    power = fit.power(frequency, method="chi2")
    expected = (80 - 2 * n_harmonics - 1) / (2 * n_harmonics) * power / (1 - power)
    options = SearchOptions(n_harmonics=n_harmonics)
    found = evaluate(cpu.prepare(curve, options), 1.94, step, 300)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(reference.statistic(curve, frequency, options), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("n_bands", [1, 3])
def test_one_harmonic_is_lomb_scargle(n_bands):
    curve = make_curve(90, seed=5, n_bands=n_bands)
    step = 1.0 / (10 * curve.time[-1])
    expected = evaluate(lomb_scargle.prepare(curve, SearchOptions()), 1.9, step, 1000)
    np.testing.assert_allclose(evaluate(cpu.Power(curve, 1), 1.9, step, 1000), expected, rtol=0, atol=POWER)


def test_few_frequencies_agree_with_a_grid():
    curve = make_curve(90, seed=5)
    step = 1.0 / (10 * curve.time[-1])
    statistic = cpu.prepare(curve, SearchOptions())
    whole = evaluate(statistic, 1.9, step, 640)
    np.testing.assert_allclose(evaluate(statistic, 1.9, step, 21), whole[:21], rtol=1e-6)
    np.testing.assert_allclose(evaluate(statistic, 1.9, 0.0, 3), whole[0], rtol=1e-6)


def test_perfect_fit_is_finite():
    curve = make_curve(60, seed=1, noise=0.0)
    step = 1.0 / (10 * curve.time[-1])
    start = 1 / 0.5123 - 200 * step
    theta = evaluate(cpu.prepare(curve, SearchOptions()), start, step, 400)
    assert np.isfinite(theta).all()
    assert np.argmax(theta) == 200
    assert theta.max() <= (60 - 7) / 6 * LARGEST_POWER / (1 - LARGEST_POWER)


def test_too_few_points_have_no_theta():
    curve = make_curve(7, seed=1)
    theta = evaluate(cpu.prepare(curve, SearchOptions(n_harmonics=3)), 0.3, 1e-4, 200)
    np.testing.assert_array_equal(theta, 0.0)
    np.testing.assert_array_equal(reference.statistic(curve, np.array([0.3]), SearchOptions(n_harmonics=3)), 0.0)
    np.testing.assert_array_equal(false_alarm_probability(theta[:2], curve, 1.0, 3), 1.0)


def test_singular_terms_drop_out():
    """At half the frequency of an even cadence a sine is lost, at a third the third harmonic, at the whole all."""
    random = np.random.default_rng(1)
    curve = Curve(
        time=np.arange(66.0), mag=random.normal(size=66), mag_err=np.full(66, 0.1), band=np.zeros(66, dtype=np.int64)
    )
    step = 1.0 / 660
    power = evaluate(cpu.Power(curve, 3), 0.1, step, 1320)
    expected = reference.power(curve, 0.1 + step * np.arange(1320), 3)
    assert np.isfinite(power).all()
    for k in (594, 264, 154, 99, 1254):
        assert power[k] == pytest.approx(expected[k], abs=1e-9)
    assert power[594] == 0.0
    one = cpu.fit_power(curve, np.array([1.0 / 3.0]), 1)
    assert power[154] == pytest.approx(one[0], abs=1e-9)


def test_false_alarm_probability():
    curve = make_curve(60, seed=2)
    theta = np.array([0.0, 1.0, 3.0, 10.0, 100.0])
    single = scipy.stats.f.sf(theta, 6, 53)
    found = false_alarm_probability(theta, curve, 1e-9, 3)
    np.testing.assert_allclose(found, single, rtol=1e-9)
    many = false_alarm_probability(theta, curve, 10.0, 3)
    n_independent = 10.0 * curve.time[-1] * 3
    np.testing.assert_allclose(many[-1], single[-1] * n_independent, rtol=1e-3)
    np.testing.assert_allclose(many, 1 - (1 - single) ** n_independent, atol=1e-9)


@pytest.mark.parametrize("n_harmonics", [0, 11])
def test_harmonics_out_of_range(n_harmonics):
    with pytest.raises(ConfigError, match="n_harmonics is"):
        cpu.prepare(make_curve(50), SearchOptions(n_harmonics=n_harmonics))
