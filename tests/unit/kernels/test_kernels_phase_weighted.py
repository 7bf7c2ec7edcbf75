from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import make_grid
from scope_ml.kernels.peaks import SearchOptions, SearchStatus
from scope_ml.kernels.phase_weighted import MIN_N_OBS, cpu, false_alarm_probability, reference

#: Cycles by which a point may miss its bin: the bound that `phase_bins` states.
PHASE_BOUND = 2.0**-24
LONGER = 1.0137


def make(n, seed=0, noise=1.0, period=0.3712, n_bands=1, amplitude=0.2):
    """A light curve whose scatter is `noise` times the stated errors."""
    random = np.random.default_rng(seed)
    time = np.sort(random.uniform(0, 1826, n))
    time -= time[0]
    band = random.integers(0, n_bands, n)
    error = random.uniform(0.02, 0.2, n)
    mag = amplitude * (1 + band) * np.sin(2 * np.pi * time / period) + noise * random.normal(0, error) + 0.8 * band
    return Curve(time=time, mag=mag - mag[0], mag_err=error, band=band, n_bands=n_bands)


def evaluate(curve, frequency, step, n, options=None):
    out = np.empty(n)
    cpu.prepare(curve, options or SearchOptions()).evaluate(frequency, step, out)
    return out


def off_edges(curve, frequency, n_bins):
    place = frequency[:, None] * curve.time[1:] % 1.0 * n_bins
    return np.all(np.abs(place - np.rint(place)) > 2 * n_bins * PHASE_BOUND, axis=1)


@pytest.mark.parametrize("n_bins", [7, 20])
@pytest.mark.parametrize("n", [3, 10, 50, 200, 1000, 20_000])
def test_agrees_with_the_definition(n, n_bins):
    curve, options = make(n, seed=n), SearchOptions(n_phase_bins=n_bins)
    step = 1 / (10 * LONGER * curve.time[-1])
    trial = 0.7 + np.arange(133) * step
    found = evaluate(curve, 0.7, step, 133, options)
    compared = off_edges(curve, trial, n_bins)
    assert compared.mean() > 0.7
    expected = reference.statistic(curve, trial[compared], options)
    # With three points the statistic is zero, but for rounding, where all share a bin.
    np.testing.assert_allclose(found[compared], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", [60, 400])
@pytest.mark.parametrize("n_frequencies", [1, 31, 33, 700, 961, 2000])
def test_any_number_of_frequencies(n, n_frequencies):
    curve = make(n)
    step = 1 / (10 * LONGER * curve.time[-1])
    trial = 400.0 + np.arange(n_frequencies) * step
    compared = off_edges(curve, trial, 20)
    found = evaluate(curve, 400.0, step, n_frequencies)
    np.testing.assert_allclose(found[compared], reference.statistic(curve, trial[compared], SearchOptions()), rtol=1e-9)


def test_is_half_of_what_a_step_function_takes_off_chi2():
    curve = make(300)
    frequency = 2.11
    design = np.equal.outer(np.floor(frequency * curve.time % 1.0 * 20), np.arange(20)) / curve.mag_err[:, None]

    def chi2(columns):
        scaled = curve.mag / curve.mag_err
        return np.sum((scaled - columns @ np.linalg.lstsq(columns, scaled)[0]) ** 2)

    expected = 0.5 * (chi2(1 / curve.mag_err[:, None]) - chi2(design))
    assert evaluate(curve, frequency, 0.0, 1)[0] == pytest.approx(expected, rel=1e-9)


def test_the_mean_does_not_matter():
    # In SCoPe it does: there a star of 17 mag has a statistic of 17^2 times its summed weights, at every frequency.
    curve = make(300)
    brighter = Curve(time=curve.time, mag=curve.mag - 1000.0, mag_err=curve.mag_err, band=curve.band)
    np.testing.assert_allclose(evaluate(brighter, 2.0, 1e-4, 500), evaluate(curve, 2.0, 1e-4, 500), rtol=1e-7)


def test_several_bands():
    curve = make(240, n_bands=3)
    step = 1 / (10 * LONGER * curve.time[-1])
    trial = 1 / 0.3712 + (np.arange(400) - 200) * step
    found = evaluate(curve, trial[0], step, 400)
    compared = off_edges(curve, trial, 20)
    np.testing.assert_allclose(found[compared], reference.statistic(curve, trial[compared], SearchOptions()), rtol=1e-9)
    assert abs(int(np.argmax(found)) - 200) <= 5


def test_search_finds_the_period():
    curves = [make(80), make(MIN_N_OBS - 1)]
    batch = LightCurveBatch.from_lists(
        [1, 2], [c.time + 2458000 for c in curves], [c.mag + 15 for c in curves], [c.mag_err for c in curves]
    )
    grid = make_grid(batch, max_frequency=4.0, samples_per_peak=10)
    peaks = cpu.run(batch, grid, SearchOptions())
    assert 1 / peaks.frequency[0, 0] == pytest.approx(0.3712, rel=1e-4)
    assert peaks.false_alarm_probability[0, 0] < 1e-10
    assert peaks.status.tolist() == [SearchStatus.OK, SearchStatus.TOO_FEW_POINTS]
    with pytest.raises(ConfigError, match="n_phase_bins is 1;"):
        cpu.run(batch, grid, SearchOptions(n_phase_bins=1))


def test_false_alarms_are_those_of_chi2():
    values = np.array([0.0, 5.0, 9.5, 40.0, 600.0])
    np.testing.assert_allclose(false_alarm_probability(values, 100, 1.0), stats.chi2.sf(2 * values, 19), rtol=1e-10)
    assert 0 < false_alarm_probability(np.array([600.0]), 100, 1e6)[0] < 1e-200
    assert np.isnan(false_alarm_probability(np.array([5.0]), 20, 10.0)[0])


def test_false_alarms_of_noise_are_as_frequent_as_stated():
    found = np.array([evaluate(make(150, seed=seed, amplitude=0.0), 2.2, 0.0, 1)[0] for seed in range(2000)])
    assert np.mean(false_alarm_probability(found, 150, 1.0) < 0.1) == pytest.approx(0.1, abs=0.03)
