from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import stats

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError
from scope_ml.kernels.analysis_of_variance import LEAST_WITHIN, MIN_N_OBS, cpu, false_alarm_probability, reference
from scope_ml.kernels.binned_sums import MAX_BINS
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import make_grid
from scope_ml.kernels.peaks import SearchOptions, SearchStatus
from scope_ml.kernels.phase_bins.cpu import MAX_BINS as MOST_THAT_PHASES_TAKE

#: Cycles by which a point may miss its bin: the bound that `phase_bins` states.
PHASE_BOUND = 2.0**-24
#: Grids come from a baseline a little longer than the curve's, else the last point lies on an edge at each frequency.
LONGER = 1.0137


def make(n, seed=0, baseline=1826.0, noise=0.05, period=0.3712, n_bands=1):
    random = np.random.default_rng(seed)
    time = np.sort(random.uniform(0, baseline, n))
    time -= time[0]
    band = random.integers(0, n_bands, n)
    mag = (0.2 + 0.1 * band) * np.sin(2 * np.pi * time / period) + random.normal(0, noise, n) + 0.8 * band
    curve = Curve(time=time, mag=mag - mag[0], mag_err=random.uniform(0.03, 0.07, n), band=band, n_bands=n_bands)
    for values in (curve.time, curve.mag, curve.mag_err, curve.band):
        values.setflags(write=False)
    return curve


def evaluate(curve, frequency, step, n, options=None):
    room = np.full(n + 2, -7.0)
    cpu.prepare(curve, options or SearchOptions()).evaluate(frequency, step, room[1:-1])
    assert room[0] == room[-1] == -7.0
    return room[1:-1]


def off_edges(curve, frequency, n_bins):
    """Return at which frequencies no point lies so near an edge that rounding decides; the first point is exact."""
    place = frequency[:, None] * curve.time[1:] % 1.0 * n_bins
    return np.all(np.abs(place - np.rint(place)) > 2 * n_bins * PHASE_BOUND, axis=1)


def agree(curve, frequency, step, n, *, options=None, rtol=1e-5, least_compared=0.9):
    options = options or SearchOptions()
    found = evaluate(curve, frequency, step, n, options)
    trial = frequency + np.arange(n) * step
    expected = reference.statistic(curve, trial, options)
    compared = off_edges(curve, trial, options.n_phase_bins)
    assert compared.mean() >= least_compared
    np.testing.assert_allclose(found[compared], expected[compared], rtol=rtol)
    assert np.isfinite(found).all()
    return found


@pytest.mark.parametrize("n_bins", [2, 13, 20, 24, 64])
@pytest.mark.parametrize("n", [21, 50, 200, 1000])
def test_agrees_with_the_definition(n, n_bins):
    curve = make(n, seed=n)
    step = 1 / (10 * LONGER * curve.time[-1])
    agree(curve, 0.013, step, 700, options=SearchOptions(n_phase_bins=n_bins))


@pytest.mark.parametrize("samples_per_peak", [2, 5, 10, 50])
def test_agrees_with_the_definition_whatever_the_step(samples_per_peak):
    curve = make(200)
    agree(curve, 2.0, 1 / (samples_per_peak * LONGER * curve.time[-1]), 1500)


@pytest.mark.parametrize("samples_per_peak", [5, 10])
def test_agrees_with_the_definition_where_points_are_taken_in_parts(samples_per_peak):
    curve = make(20_000)
    agree(curve, 1.0, 1 / (samples_per_peak * LONGER * curve.time[-1]), 130, least_compared=0.7)


def test_agrees_at_480_cycles_a_day_over_ten_years():
    curve = make(300, baseline=3652.5, period=1 / 479.3)
    step = 1 / (10 * LONGER * curve.time[-1])
    found = agree(curve, 479.3 - 300 * step, step, 600)
    assert abs(int(np.argmax(found)) - 300) <= 5


def test_the_last_point_may_move_by_just_two_bins():
    # The grid of the curve's own baseline: its last point goes on by 2 bins, the most that a pair of frequencies takes.
    curve = make(100)
    step = 1 / (10 * curve.time[-1])
    n, frequency = 2000, 2 / curve.time[-1]
    found = evaluate(curve, frequency, step, n)
    expected = reference.statistic(curve, frequency + np.arange(n) * step, SearchOptions())
    # That point lies on an edge wherever a bin begins; which side it takes changes F by less than the other points do.
    assert np.median(np.abs(found / expected - 1)) < 1e-5
    assert np.max(np.abs(found - expected)) < 0.3 * np.median(expected)


@pytest.mark.parametrize("n_frequencies", [1, 2, 31, 32, 33, 63, 65, 511, 959])
def test_any_number_of_frequencies(n_frequencies):
    curve = make(60)
    step = 1 / (10 * curve.time[-1])
    np.testing.assert_array_equal(
        evaluate(curve, 1.0, step, n_frequencies), evaluate(curve, 1.0, step, 960)[:n_frequencies]
    )


def test_zero_point_and_unit_do_not_matter():
    curve = make(300)
    step = 1 / (10 * curve.time[-1])
    # Multiples of 2^-20 mag, so that shift and scale are exact.
    mag = np.rint(curve.mag * 2**20) / 2**20
    results = [
        evaluate(Curve(time=curve.time, mag=other, mag_err=curve.mag_err, band=curve.band), 2.0, step, 500)
        for other in (mag, mag + 2.0**30, mag * 2.0**-900, -mag * 2.0**900)
    ]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=1e-9)


def test_a_strong_signal_keeps_its_digits():
    random = np.random.default_rng(8)
    curve = make(1000)
    place = np.floor(curve.time / 0.3712 % 1.0 * 20)
    mag = np.sin(place) + random.normal(0, 0.007, 1000)
    curve = Curve(time=curve.time, mag=mag, mag_err=curve.mag_err, band=curve.band)
    step = 1 / (10 * LONGER * curve.time[-1])
    found = agree(curve, 1 / 0.3712 - 20 * step, step, 41)
    share_within = 1 / (1 + found.max() * 19 / 980)
    assert 2e-5 < share_within < 2e-4


def test_an_outlier_leaves_the_digits_of_the_others():
    curve = make(1000)
    mag = curve.mag.copy()
    mag[17] = 1e4
    agree(Curve(time=curve.time, mag=mag, mag_err=curve.mag_err, band=curve.band), 2.0, 5e-5, 300)


@pytest.mark.parametrize("statistic", ["cpu", "reference"])
def test_a_perfect_fit_is_the_best_and_finite(statistic):
    time = make(400).time
    frequency = 1 / 0.3712
    mag = np.floor(frequency * time % 1.0 * 20) % 7
    curve = Curve(time=time, mag=mag, mag_err=np.ones(400), band=np.zeros(400, dtype=np.int64))
    trial = np.array([frequency, 1.234])
    if statistic == "cpu":
        found = np.concatenate([evaluate(curve, value, 0.0, 1) for value in trial])
    else:
        found = reference.statistic(curve, trial, SearchOptions())
    assert found[0] == pytest.approx(380 / 19 / LEAST_WITHIN, rel=1e-6)
    assert found[1] < 10


@pytest.mark.parametrize("n", [3, 10, 20])
def test_without_more_points_than_bins_there_is_no_variance_within(n):
    curve = make(n)
    assert np.all(evaluate(curve, 1.0, 0.01, 200) == 0)
    assert np.all(reference.statistic(curve, np.linspace(1, 3, 200), SearchOptions()) == 0)


@pytest.mark.parametrize("n", [3, 10])
def test_few_points_in_fewer_bins(n):
    agree(make(n), 1.0, 1 / (10 * LONGER * 1826), 300, options=SearchOptions(n_phase_bins=2), rtol=1e-6)


def test_is_f_of_the_one_way_analysis_of_variance():
    curve = make(400)
    for frequency in (0.5123, 1 / 0.3712, 17.77):
        phase_bin = np.floor(frequency * curve.time % 1.0 * 20)
        groups = [curve.mag[phase_bin == b] for b in range(20)]
        assert min(group.size for group in groups) > 0
        assert evaluate(curve, frequency, 0.0, 1)[0] == pytest.approx(stats.f_oneway(*groups).statistic, rel=1e-9)


@pytest.mark.parametrize("statistic", ["cpu", "reference"])
def test_is_the_published_formula_with_empty_bins_counted(statistic):
    curve = make(30, seed=4)
    frequency, n_bins = 3.3, 20
    bins = [int(frequency * t % 1.0 * n_bins) for t in curve.time]
    mean = sum(curve.mag) / 30
    s1 = s2 = 0.0
    for b in set(bins):
        members = [m for m, place in zip(curve.mag, bins, strict=True) if place == b]
        mean_b = sum(members) / len(members)
        s1 += len(members) * (mean_b - mean) ** 2
        s2 += sum((m - mean_b) ** 2 for m in members)
    assert len(set(bins)) < n_bins
    expected = (30 - n_bins) * s1 / ((n_bins - 1) * s2)
    if statistic == "cpu":
        assert evaluate(curve, frequency, 0.0, 1)[0] == pytest.approx(expected, rel=1e-10)
    else:
        assert reference.statistic(curve, np.array([frequency]), SearchOptions())[0] == pytest.approx(expected)


@pytest.mark.parametrize("n_bins", [20, 21])
def test_a_hundred_thousand_points_in_one_bin_do_not_overflow(n_bins):
    n = 100_000
    time = np.arange(n, dtype=np.float64)
    mag = np.where(time % 2 == 0, 1.0, 0.99) + 0.01 * (time % 7 == 3)
    curve = Curve(time=time, mag=mag, mag_err=np.ones(n), band=np.zeros(n, dtype=np.int64))
    options = SearchOptions(n_phase_bins=n_bins)
    assert evaluate(curve, 1.0, 0.0, 1, options)[0] == pytest.approx(0, abs=1e-12)
    even, odd = mag[::2], mag[1::2]
    between = even.size * (even.mean() - mag.mean()) ** 2 + odd.size * (odd.mean() - mag.mean()) ** 2
    within = ((even - even.mean()) ** 2).sum() + ((odd - odd.mean()) ** 2).sum()
    expected = (n - n_bins) / (n_bins - 1) * between / within
    assert evaluate(curve, 0.5, 0.0, 1, options)[0] == pytest.approx(expected, rel=1e-6)


def test_threads_do_not_disturb_one_another():
    curves = [make(100, seed=seed) for seed in range(8)]
    alone = [evaluate(curve, 1.0, 5e-5, 3000) for curve in curves]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda curve: evaluate(curve, 1.0, 5e-5, 3000), curves))
    np.testing.assert_array_equal(together, alone)


def test_bands_are_brought_to_one_scale():
    curve = make(240, n_bands=3)
    step = 1 / (10 * LONGER * curve.time[-1])
    start = 1 / 0.3712 - 200 * step
    found = agree(curve, start, step, 400)
    assert abs(int(np.argmax(found)) - 200) <= 5
    pooled = evaluate(Curve(time=curve.time, mag=curve.mag, mag_err=curve.mag_err, band=curve.band), start, step, 400)
    assert found.max() > 5 * pooled.max()


def batch_of(*curves):
    return LightCurveBatch.from_lists(
        np.arange(len(curves)),
        [c.time + 2458000 for c in curves],
        [c.mag + 15 for c in curves],
        [c.mag_err for c in curves],
    )


def test_search_finds_the_period_and_says_how_sure_it_is():
    batch = batch_of(make(80), make(80, noise=3.0), make(MIN_N_OBS - 1))
    grid = make_grid(batch, max_frequency=4.0, samples_per_peak=10)
    peaks = cpu.run(batch, grid, SearchOptions(n_peaks=2))
    assert 1 / peaks.frequency[0, 0] == pytest.approx(0.3712, rel=1e-4)
    assert peaks.false_alarm_probability[0, 0] < 1e-10
    assert peaks.false_alarm_probability[1, 0] > 1e-3
    assert peaks.status.tolist() == [SearchStatus.OK, SearchStatus.OK, SearchStatus.TOO_FEW_POINTS]
    few_bins = cpu.run(batch, grid, SearchOptions(n_phase_bins=8))
    assert few_bins.status.tolist() == [SearchStatus.OK] * 3


@pytest.mark.parametrize("n_bins", [1, 0, 65])
def test_a_number_of_bins_that_cannot_be_used_is_named(n_bins):
    assert MAX_BINS == MOST_THAT_PHASES_TAKE
    with pytest.raises(ConfigError, match=f"n_phase_bins is {n_bins}; set it to .* from 2 to 64"):
        cpu.prepare(make(50), SearchOptions(n_phase_bins=n_bins))


def test_false_alarms_of_one_frequency_are_those_of_fisher():
    f = np.array([0.1, 1.0, 2.5, 40.0, 5000.0])
    np.testing.assert_allclose(false_alarm_probability(f, 120, 1.0), stats.f.sf(f, 19, 100), rtol=1e-10)
    tiny = false_alarm_probability(np.array([300.0]), 500, 1e6)[0]
    assert tiny == pytest.approx(1e6 * stats.f.sf(300.0, 19, 480), rel=1e-9)
    assert 0 < tiny < 1e-200
    assert false_alarm_probability(np.array([0.0]), 120, 10.0)[0] == 1.0
    assert np.isnan(false_alarm_probability(np.array([3.0]), 20, 10.0)[0])


def test_false_alarms_of_noise_are_as_frequent_as_stated():
    random = np.random.default_rng(11)
    time = make(150).time
    band, error = np.zeros(150, dtype=np.int64), np.ones(150)
    found = np.array(
        [
            evaluate(Curve(time=time, mag=random.normal(0, 1, 150), mag_err=error, band=band), 2.2, 0.0, 1)[0]
            for _ in range(2000)
        ]
    )
    stated = false_alarm_probability(found, 150, 1.0)
    # 2000 draws of probability 0.1 scatter by 0.007.
    assert np.mean(stated < 0.1) == pytest.approx(0.1, abs=0.03)
