"""Lomb-Scargle on the CPU against its definition: whole range of frequencies, cadences, lengths and bands."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.timeseries import LombScargle

from scope_ml.kernels.curve import Curve
from scope_ml.kernels.lomb_scargle import cpu, false_alarm_probability, log_false_alarm_probability, reference
from scope_ml.kernels.peaks import SearchOptions

OPTIONS = SearchOptions()

#: The bar of the project is 1e-6; this is what the kernel's own error of the sums leads to.
POWER = 5e-8


def make_curve(n, *, seed=0, baseline=1826.0, nightly=None, n_bands=1, period=0.5123):
    """Random times, or one exposure a night within `nightly` days around the same time of the night."""
    random = np.random.default_rng(seed)
    if nightly is None:
        time = random.uniform(0, baseline, n)
    else:
        time = random.choice(int(baseline), n, replace=False) + random.normal(0, nightly, n)
    time = np.sort(time)
    band = random.permutation(np.arange(n) % n_bands)
    mag_err = random.uniform(0.01, 0.1, n)
    mag = 0.2 * (1 + band) * np.sin(2 * np.pi * time / period) + 0.4 * band + random.normal(0, mag_err)
    return Curve(time=time - time[0], mag=mag - mag[0], mag_err=mag_err, band=band, n_bands=n_bands)


def evaluate(curve, frequency, step, n):
    power = np.full(n, np.nan)
    cpu.prepare(curve, OPTIONS).evaluate(frequency, step, power)
    return power


@pytest.mark.parametrize("nightly", [None, 0.08, 0.02, 0.001], ids=["random", "hours", "half an hour", "a minute"])
@pytest.mark.parametrize("n", [4, 5, 8, 20, 40, 200])
def test_power(n, nightly):
    curve = make_curve(n, seed=n, nightly=nightly)
    step = 1.0 / (10 * 1.0137 * curve.time[-1])
    for start in (2.0 / curve.time[-1], 1.0 - 500 * step, 479.98):
        power = evaluate(curve, start, step, 1000)
        expected = reference.statistic(curve, start + step * np.arange(1000), OPTIONS)
        np.testing.assert_allclose(power, expected, rtol=0, atol=POWER)


def test_power_at_480_cycles_a_day_over_ten_years():
    curve = make_curve(300, seed=2, baseline=3652.0, period=1 / 431.7)
    step = 1.0 / (10 * curve.time[-1])
    start = 431.7 - 30_000 * step
    power = evaluate(curve, start, step, 60_000)
    at = np.r_[0:60_000:97, 29_900:30_100]
    np.testing.assert_allclose(power[at], reference.statistic(curve, start + step * at, OPTIONS), rtol=0, atol=POWER)
    assert abs(start + step * np.argmax(power) - 431.7) < step
    assert power.max() > 0.8


@pytest.mark.parametrize("samples_per_peak", [1, 2, 3, 4, 5, 20])
def test_power_on_grids_of_any_density(samples_per_peak):
    curve = make_curve(100, seed=1)
    step = 1.0 / (samples_per_peak * curve.time[-1])
    expected = reference.statistic(curve, 1.9 + step * np.arange(500), OPTIONS)
    np.testing.assert_allclose(evaluate(curve, 1.9, step, 500), expected, rtol=0, atol=POWER)


@pytest.mark.parametrize(("n", "step"), [(1, 0.0), (1, 1e-3), (21, 1e-6), (63, 1e-4), (100, 0.0)])
def test_power_at_few_frequencies(n, step):
    curve = make_curve(100, seed=1)
    expected = reference.statistic(curve, 1.9521 + step * np.arange(n), OPTIONS)
    np.testing.assert_allclose(evaluate(curve, 1.9521, step, n), expected, rtol=0, atol=1e-10)


def test_pieces_are_the_whole():
    curve = make_curve(60, seed=3, baseline=300.0)
    step = 1.0 / (10 * curve.time[-1])
    whole = evaluate(curve, 0.01, step, 30_000)
    statistic, pieces = cpu.prepare(curve, OPTIONS), np.full(30_000, np.nan)
    for begin, end in ((0, 10_007), (10_007, 10_008), (20_000, 30_000), (10_008, 20_000)):
        statistic.evaluate(0.01 + begin * step, step, pieces[begin:end])
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=POWER)


def test_long_light_curve():
    curve = make_curve(30_000, seed=4)
    step = 1.0 / (10 * curve.time[-1])
    start = 1 / 0.5123 - 100 * step
    at = np.arange(0, 200, 9)
    expected = reference.statistic(curve, start + step * at, OPTIONS)
    np.testing.assert_allclose(evaluate(curve, start, step, 200)[at], expected, rtol=0, atol=POWER)


def test_singular_frequencies_have_no_power():
    """At multiples of half the frequency of an even cadence all epochs have one phase, or two in opposition."""
    random = np.random.default_rng(1)
    time = np.arange(64.0)
    curve = Curve(time=time, mag=random.normal(size=64), mag_err=np.full(64, 0.1), band=np.zeros(64, dtype=np.int64))
    power = evaluate(curve, 0.25, 0.25 / 64, 1000)
    assert np.isfinite(power).all()
    assert power.min() >= 0.0
    assert power.max() <= 1.0
    np.testing.assert_array_equal(power[64::128], 0.0)
    assert (power[1:40] > 0).all()


@pytest.mark.parametrize("n_bands", [2, 5])
def test_bands_have_their_own_constants(n_bands):
    """Against a least-squares fit of one sinusoid and a constant per band."""
    curve = make_curve(90, seed=6, n_bands=n_bands)
    step = 1.0 / (10 * curve.time[-1])
    power = evaluate(curve, 1.94, step, 400)
    mag, root = np.empty(90), np.empty(90)
    for band in range(n_bands):
        of_band = curve.band == band
        weight = curve.mag_err[of_band] ** -2.0
        residual = curve.mag[of_band] - np.average(curve.mag[of_band], weights=weight)
        intrinsic = np.average(residual**2, weights=weight) - of_band.sum() / weight.sum()
        mag[of_band], root[of_band] = residual / np.sqrt(intrinsic), np.sqrt(weight * intrinsic)
    constants = (curve.band[:, None] == np.arange(n_bands)).astype(float)
    for k in range(0, 400, 13):
        angle = 2 * np.pi * (1.94 + k * step) * curve.time
        design = np.column_stack((constants, np.cos(angle), np.sin(angle))) * root[:, None]
        left = mag * root - design @ np.linalg.lstsq(design, mag * root, rcond=None)[0]
        assert power[k] == pytest.approx(1 - (left @ left) / np.sum((mag * root) ** 2), abs=POWER)
    expected = reference.statistic(curve, 1.94 + step * np.arange(400), OPTIONS)
    np.testing.assert_allclose(power, expected, rtol=0, atol=POWER)


def test_false_alarm_probability():
    curve = make_curve(80, seed=7)
    power = np.array([0.0, 0.01, 0.1, 0.2, 0.3, 0.5, 0.9])
    theirs = LombScargle(curve.time, curve.mag, curve.mag_err).false_alarm_probability(
        power, method="baluev", maximum_frequency=20.0
    )
    ours = false_alarm_probability(power, curve, 20.0)
    # Astropy takes the last frequency of its own grid for the maximum.
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    np.testing.assert_allclose(np.exp(log_false_alarm_probability(power, curve, 20.0)), ours, rtol=1e-12)


def test_false_alarm_probability_of_strong_signals():
    curve = make_curve(1000, seed=7)
    log = log_false_alarm_probability(np.array([0.9, 0.99, 1.0]), curve, 20.0)
    assert -1200 < log[0] < -1000
    assert log[1] < 1.9 * log[0]
    assert log[2] == -np.inf
    np.testing.assert_array_equal(false_alarm_probability(np.array([0.99, 1.0]), curve, 20.0), 0.0)
    few = make_curve(4, seed=7)
    assert (false_alarm_probability(np.array([0.0, 0.5, 1.0]), few, 20.0) <= 1.0).all()
