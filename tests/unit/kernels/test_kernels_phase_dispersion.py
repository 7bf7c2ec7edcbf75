from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import make_grid
from scope_ml.kernels.peaks import SearchOptions, SearchStatus
from scope_ml.kernels.phase_dispersion import MIN_N_OBS, cpu, false_alarm_probability, reference

#: Cycles by which a point may miss its bin: the bound that `phase_bins` states.
PHASE_BOUND = 2.0**-24
LONGER = 1.0137


def make(n, seed=0, noise=0.05, period=0.3712, n_bands=1):
    random = np.random.default_rng(seed)
    time = np.sort(random.uniform(0, 1826, n))
    time -= time[0]
    band = random.integers(0, n_bands, n)
    mag = (0.2 + 0.1 * band) * np.sin(2 * np.pi * time / period) + random.normal(0, noise, n) + 0.8 * band
    return Curve(time=time, mag=mag - mag[0], mag_err=random.uniform(0.03, 0.07, n), band=band, n_bands=n_bands)


def evaluate(curve, frequency, step, n, options=None):
    out = np.empty(n)
    cpu.prepare(curve, options or SearchOptions()).evaluate(frequency, step, out)
    return out


def off_edges(curve, frequency, n_bins):
    place = frequency[:, None] * curve.time[1:] % 1.0 * n_bins
    return np.all(np.abs(place - np.rint(place)) > 2 * n_bins * PHASE_BOUND, axis=1)


@pytest.mark.parametrize("n_bins", [5, 20])
@pytest.mark.parametrize("n", [3, 10, 50, 200, 1000, 20_000])
def test_agrees_with_the_definition(n, n_bins):
    curve, options = make(n, seed=n), SearchOptions(n_phase_bins=n_bins)
    step = 1 / (10 * LONGER * curve.time[-1])
    found = evaluate(curve, 0.7, step, 133, options)
    trial = 0.7 + np.arange(133) * step
    compared = off_edges(curve, trial, n_bins)
    assert compared.mean() > 0.7
    np.testing.assert_allclose(
        found[compared], reference.statistic(curve, trial[compared], options), rtol=1e-8, atol=1e-12
    )


@pytest.mark.parametrize("statistic", ["cpu", "reference"])
def test_is_the_formula_of_stellingwerf(statistic):
    curve = make(40, seed=3)
    frequency = 1.77
    bins = [int(frequency * t % 1.0 * 20) for t in curve.time]
    pooled, freedom = 0.0, 0
    for b in set(bins):
        members = np.array([m for m, place in zip(curve.mag, bins, strict=True) if place == b])
        # (n_j - 1) s_j^2, with s_j^2 the variance of a sample; a sample of one point has none.
        pooled += (members.size - 1) * members.var(ddof=1) if members.size > 1 else 0.0
        freedom += members.size - 1
    assert freedom > 40 - 20
    expected = pooled / freedom / curve.mag.var(ddof=1)
    if statistic == "cpu":
        assert evaluate(curve, frequency, 0.0, 1)[0] == pytest.approx(expected, rel=1e-10)
    else:
        assert reference.statistic(curve, np.array([frequency]), SearchOptions())[0] == pytest.approx(expected)


def test_is_one_where_each_point_has_a_bin_to_itself():
    time = np.array([0.0, 0.11, 0.22, 0.51])
    curve = Curve(time=time, mag=np.array([0.0, 1.0, 3.0, 2.0]), mag_err=np.ones(4), band=np.zeros(4, dtype=np.int64))
    assert evaluate(curve, 1.0, 0.0, 1)[0] == 1.0
    assert reference.statistic(curve, np.array([1.0]), SearchOptions())[0] == 1.0


def test_is_about_one_under_noise_and_never_negative():
    noise = evaluate(make(500, noise=100.0), 1.0, 1e-4, 3000)
    assert noise.mean() == pytest.approx(1.0, abs=0.01)
    time = make(400).time
    mag = np.floor(time / 0.3712 % 1.0 * 20) % 7
    perfect = Curve(time=time, mag=mag, mag_err=np.ones(400), band=np.zeros(400, dtype=np.int64))
    assert 0 <= evaluate(perfect, 1 / 0.3712, 0.0, 1)[0] < 1e-12


def test_several_bands():
    curve = make(240, n_bands=3)
    step = 1 / (10 * LONGER * curve.time[-1])
    trial = 1 / 0.3712 + (np.arange(400) - 200) * step
    found = evaluate(curve, trial[0], step, 400)
    compared = off_edges(curve, trial, 20)
    np.testing.assert_allclose(found[compared], reference.statistic(curve, trial[compared], SearchOptions()), rtol=1e-8)
    assert abs(int(np.argmin(found)) - 200) <= 5


def test_search_takes_the_minimum():
    curves = [make(80), make(MIN_N_OBS - 1)]
    batch = LightCurveBatch.from_lists(
        [1, 2], [c.time + 2458000 for c in curves], [c.mag + 15 for c in curves], [c.mag_err for c in curves]
    )
    grid = make_grid(batch, max_frequency=4.0, samples_per_peak=10)
    peaks = cpu.run(batch, grid, SearchOptions(n_peaks=3))
    assert 1 / peaks.frequency[0, 0] == pytest.approx(0.3712, rel=1e-4)
    assert np.all(np.diff(peaks.statistic[0]) >= 0)
    assert np.all(peaks.significance[0] > 0)
    assert peaks.false_alarm_probability[0, 0] < 1e-10
    assert peaks.status.tolist() == [SearchStatus.OK, SearchStatus.TOO_FEW_POINTS]
    with pytest.raises(ConfigError, match="n_phase_bins is 70"):
        cpu.run(batch, grid, SearchOptions(n_phase_bins=70))


def test_false_alarms_follow_the_beta_distribution():
    theta = np.array([0.05, 0.5, 0.9, 1.0])
    expected = stats.beta.cdf(theta * 100 / 119, 50, 9.5)
    np.testing.assert_allclose(false_alarm_probability(theta, 120, 1.0), expected, rtol=1e-10)
    tiny = false_alarm_probability(np.array([0.1]), 500, 1e6)[0]
    assert tiny == pytest.approx(1e6 * stats.beta.cdf(0.1 * 480 / 499, 240, 9.5), rel=1e-9)
    assert 0 < tiny < 1e-200
    assert false_alarm_probability(np.array([2.0]), 120, 10.0)[0] == 1.0
    assert np.isnan(false_alarm_probability(np.array([0.5]), 20, 10.0)[0])


def test_false_alarms_are_those_of_the_analysis_of_variance():
    # With all bins filled theta and F are functions of one another, and so must their probabilities agree.
    from scope_ml.kernels.analysis_of_variance import false_alarm_probability as of_f

    within = np.array([0.02, 0.3, 0.8])
    theta, f = within * 119 / 100, 100 / 19 * (1 - within) / within
    np.testing.assert_allclose(false_alarm_probability(theta, 120, 50.0), of_f(f, 120, 50.0), rtol=1e-9)


def test_false_alarms_of_noise_are_as_frequent_as_stated():
    random = np.random.default_rng(11)
    time, band, error = make(150).time, np.zeros(150, dtype=np.int64), np.ones(150)
    found = np.array(
        [
            evaluate(Curve(time=time, mag=random.normal(0, 1, 150), mag_err=error, band=band), 2.2, 0.0, 1)[0]
            for _ in range(2000)
        ]
    )
    assert np.mean(false_alarm_probability(found, 150, 1.0) < 0.1) == pytest.approx(0.1, abs=0.03)
