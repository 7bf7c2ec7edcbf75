"""The recommended search: its numerics against their definitions, and its decisions on stars of known shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.best import MIN_N_OBS, cpu, reference
from scope_ml.kernels.best.likelihood import DECAYS, N_HARMONICS, STRENGTHS, evidence, fit_curve, unexplained
from scope_ml.kernels.best.nested_power import NestedPower
from scope_ml.kernels.best.series import count_cells, downweighted, make_series, worth
from scope_ml.kernels.best.shape import eclipsing, measure_shape, one_minimum
from scope_ml.kernels.curve import Curve, make_curve
from scope_ml.kernels.grid import make_grid
from scope_ml.kernels.multiharmonic.reference import power
from scope_ml.kernels.peaks import SearchOptions, SearchStatus

PERIOD = 0.6137


def sawtooth(phase):
    """Magnitude of a star that brightens in a fifth of the time in which it fades."""
    cycle = phase % 1.0
    return np.where(cycle < 0.8, cycle / 0.8, (1.0 - cycle) / 0.2) - 0.5


def eclipses(phase, *, second=1.0):
    """Magnitude of a detached binary: two narrow dips a cycle."""
    distance = np.abs((phase + 0.25) % 0.5 - 0.25)
    depth = np.where((phase + 0.25) % 1.0 < 0.5, 1.0, second)
    return depth * np.exp(-0.5 * (distance / 0.035) ** 2)


def observe(shape, *, period=PERIOD, n=160, seed=0, noise=0.04, amplitude=0.5, n_bands=1):
    """Points at night over three years, of a star of a given shape; amplitudes and offsets differ from band to band."""
    random = np.random.default_rng(seed)
    time = np.sort(random.choice(1000, n // n_bands, replace=False) + random.uniform(-0.15, 0.15, n // n_bands))
    band = np.tile(np.arange(n_bands), time.size)
    time = np.repeat(time, n_bands) + 2e-3 * band + 2458000.0
    mag_err = np.full(time.size, noise)
    signal = amplitude / (1.0 + 0.4 * band) * shape((time - 2458000.0) / period)
    return time, 16.0 + 0.7 * band + signal + random.normal(0, noise, time.size), mag_err, band


def batch_of(*stars):
    time, mag, mag_err, band = zip(*stars, strict=True)
    bands = band if any(values.max() for values in band) else None
    return LightCurveBatch.from_lists(list(range(len(stars))), time, mag, mag_err, bands=bands)


def search(*stars, max_frequency=8.0, run=cpu.run, **options):
    batch = batch_of(*stars)
    return run(batch, make_grid(batch, max_frequency=max_frequency, samples_per_peak=5), SearchOptions(**options))


def series_of(star):
    return make_series(make_curve(batch_of(star), 0))


def test_evidence_is_that_of_its_definition():
    (series,) = series_of(observe(sawtooth, n=90))
    series = worth(downweighted(series, np.random.default_rng(1).uniform(0.2, 1.0, 90)), 200.0)
    assert series.share < 1
    for frequency in (1 / PERIOD, 0.5 / PERIOD, 1 / PERIOD + 1.0, 0.01, 47.3):
        found = evidence(series, np.array([frequency]))[0]
        rows = [reference.log_evidence(series, frequency, s, d) for d in DECAYS for s in STRENGTHS]
        assert found[0] == pytest.approx(max(rows), rel=1e-9, abs=1e-9)
        assert reference.log_evidence(series, frequency, found[1], found[2]) == pytest.approx(max(rows), rel=1e-9)


def test_evidence_prefers_the_true_period_to_its_multiples_and_to_none():
    (series,) = series_of(observe(sawtooth))
    best, half, double, alias = evidence(series, np.array([1, 2, 0.5, 1 + PERIOD]) / PERIOD)[:, 0]
    assert best > max(half, double, alias, 0.0) + 5
    (noise,) = series_of(observe(np.zeros_like))
    # Under noise the price of the freedom is not paid back.
    assert np.median(evidence(noise, np.linspace(0.5, 8.0, 200))[:, 0]) < 0


def test_fit_is_the_curve_and_points_off_it_lose_weight():
    time, mag, mag_err, band = observe(np.cos, period=PERIOD / (2 * np.pi), noise=0.001)
    mag[::20] += 1.0
    (series,) = series_of((time, mag, mag_err, band))
    factor = unexplained(series, 1 / PERIOD, 10.0, 3.0)
    assert factor[::20].max() < 0.01
    assert np.delete(factor, np.s_[::20]).min() > 0.3
    fit = fit_curve(downweighted(series, factor), 1 / PERIOD)
    assert fit.amplitude.size == 2 * N_HARMONICS
    assert fit.explained > 0.97
    scatter = (mag - mag.mean()).std()
    assert np.hypot(*fit.amplitude[:2]) == pytest.approx(0.5 / scatter, rel=0.01)


@pytest.mark.parametrize("n_bands", [1, 3])
def test_nested_power_is_that_of_each_order(n_bands):
    curve = make_curve(batch_of(observe(sawtooth, n_bands=n_bands)), 0)
    step = 1.0 / (5 * curve.time[-1])
    for n in (3, 2000):
        found = NestedPower(curve, 3).evaluate(0.9, step, n)
        for order in (1, 2, 3):
            expected = power(curve, (0.9 + step * np.arange(n))[::7], order)
            np.testing.assert_allclose(found[order - 1, ::7], expected, rtol=0, atol=1e-6)
        trial = 0.9 + step * np.arange(n)[::7]
        np.testing.assert_allclose(reference.nested_power(curve, trial, 3), found[:, ::7], rtol=0, atol=1e-7)


def test_points_close_in_time_count_once():
    time = np.array([0.0, 0.01, 0.02, 1.0, 1.01, 5.0])
    assert count_cells(time, 0.1) == 3
    assert count_cells(time, 0.005) == 6
    assert count_cells(time, 2.0) == 2
    (series,) = series_of(observe(sawtooth))
    assert worth(series, 8.0).n_free < worth(series, 0.5).n_free <= series.time.size - 1


def test_bands_of_few_points_are_fitted_together():
    time, mag, mag_err, _ = observe(sawtooth, n=40)
    few = np.where(np.arange(40) < 30, 0, 1 + np.arange(40) % 2)
    together = series_of((time, mag, mag_err, few))
    assert [part.time.size for part in together] == [30, 10]
    alone = series_of((time[:35], mag[:35], mag_err[:35], few[:35]))
    assert [part.time.size for part in alone] == [30]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("shape", "doubled"),
    [(sawtooth, False), (lambda phase: np.cos(2 * np.pi * phase), False), (eclipses, True)],
    ids=["sawtooth", "sinusoid", "equal eclipses"],
)
def test_period_of_each_shape(shape, doubled, seed):
    peaks = search(observe(shape, seed=seed, n=250), n_peaks=3)
    (decision,) = peaks.decisions
    assert decision.period == pytest.approx(PERIOD, rel=1e-4)
    assert peaks.frequency[0, 0] == pytest.approx(1 / decision.period)
    assert decision.doubled is doubled
    assert decision.confidence > 0.95
    if doubled:
        assert peaks.frequency[0, 1] == pytest.approx(2 * peaks.frequency[0, 0])
        assert decision.runner_up_period == pytest.approx(PERIOD / 2, rel=1e-4)


def test_unequal_eclipses_need_no_doubling():
    (decision,) = search(observe(lambda phase: eclipses(phase, second=0.5), n=300)).decisions
    assert decision.period == pytest.approx(PERIOD, rel=1e-4)
    assert not decision.doubled
    assert decision.shape.even_over_odd > 1


def test_shape_of_half_an_eclipsing_cycle():
    series = series_of(observe(eclipses, n=300, noise=0.01))
    half, whole = measure_shape(series, 2 / PERIOD), measure_shape(series, 1 / PERIOD)
    # The dip is below half of its depth for 2.355 standard deviations of 0.07 of the half period.
    assert half.faint_part == pytest.approx(0.165, abs=0.03)
    assert half.asymmetry < 0.01
    assert eclipsing(half, 1000.0)
    assert not eclipsing(half, 20.0)
    assert not one_minimum(whole)
    tooth = measure_shape(series_of(observe(sawtooth, n=300, noise=0.01)), 1 / PERIOD)
    assert one_minimum(tooth)
    assert not eclipsing(tooth, 1000.0)
    assert tooth.asymmetry > 0.05


def test_bands_of_different_amplitude_are_one_star():
    star = observe(sawtooth, n=120, n_bands=3, seed=4)
    (decision,) = search(star).decisions
    assert decision.period == pytest.approx(PERIOD, rel=1e-4)
    one_band = tuple(values[star[3] == 0] for values in star)
    assert decision.log_evidence > search(one_band).decisions[0].log_evidence


def test_bands_of_the_same_moment_are_no_more_certain_than_one():
    time, mag, mag_err, _ = observe(sawtooth, n=60, seed=3, noise=0.2)
    doubled = tuple(np.repeat(values, 2) for values in (time, mag, mag_err))
    one = search((time, mag, mag_err, np.zeros(60, dtype=int)))
    two = search((*doubled, np.tile([0, 1], 60)))
    assert 0.01 < one.significance[0, 0] < 0.999
    assert two.statistic[0, 0] == pytest.approx(2 * one.statistic[0, 0], rel=0.05)
    assert two.significance[0, 0] == pytest.approx(one.significance[0, 0], abs=0.15)


def test_outliers_do_not_decide():
    time, mag, mag_err, band = observe(sawtooth, n=150)
    clean = search((time, mag, mag_err, band)).decisions[0]
    mag[np.random.default_rng(2).choice(mag.size, 6, replace=False)] -= 2.0
    dirty = search((time, mag, mag_err, band)).decisions[0]
    assert dirty.period == pytest.approx(clean.period, rel=1e-4)


def test_noise_has_no_confidence():
    confidence = [search(observe(np.zeros_like, seed=seed)).decisions[0].confidence for seed in range(5)]
    assert max(confidence) < 0.5


def test_alias_of_the_day_is_named():
    (decision,) = search(observe(sawtooth)).decisions
    difference = abs(1 / decision.alias_period - 1 / decision.period)
    assert abs(difference - round(difference)) < 0.01
    assert decision.alias_odds > 0


def test_result_is_that_of_the_definition():
    stars = [
        observe(sawtooth, n=40, seed=1),
        observe(eclipses, n=45, seed=2),
        observe(sawtooth, n=40, seed=3, n_bands=2),
    ]
    for star in stars:
        found = search(star, max_frequency=2.0, n_peaks=4)
        expected = search(star, max_frequency=2.0, n_peaks=4, run=reference.run)
        np.testing.assert_allclose(found.frequency, expected.frequency, rtol=1e-7)
        np.testing.assert_allclose(found.statistic, expected.statistic, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found.significance, expected.significance, rtol=1e-5, atol=1e-9)
        assert found.decisions[0].doubled == expected.decisions[0].doubled


def test_result_depends_on_neither_batch_nor_order_nor_origin_of_time():
    star, other = observe(sawtooth, n=100), observe(eclipses, n=130, seed=8)
    alone = search(star, n_peaks=3)
    order = np.random.default_rng(0).permutation(100)
    shuffled = tuple(values[order] for values in star)
    later = (star[0] - 2458000.0, *star[1:])
    together = search(other, shuffled, n_peaks=3)
    np.testing.assert_allclose(together.frequency[1], alone.frequency[0], rtol=1e-9)
    np.testing.assert_allclose(search(later, n_peaks=3).frequency, alone.frequency, rtol=1e-7)


def test_no_period_is_moved_into_an_excluded_window():
    star = observe(sawtooth)
    found = search(star, n_peaks=5).frequency[0]
    for frequency in found[np.isfinite(found)]:
        # The peak stands within a step of the bound, where the refinement would cross it.
        for window in ((frequency - 1e-4, frequency + 0.05), (frequency - 0.05, frequency + 1e-4)):
            peaks = search(star, n_peaks=5, exclude=(window,))
            inside = (peaks.frequency >= window[0]) & (peaks.frequency <= window[1])
            assert not inside.any()


def test_excluded_windows_hold_no_period():
    star = observe(eclipses, n=250)
    free = search(star).decisions[0]
    assert free.doubled
    window = ((1 / PERIOD - 0.05, 1 / PERIOD + 0.05),)
    assert search(star, exclude=window).decisions[0].period == pytest.approx(PERIOD / 2, rel=1e-4)


def test_what_cannot_be_searched_has_a_status():
    time, mag, mag_err, band = observe(sawtooth, n=60)
    few = tuple(values[: MIN_N_OBS - 1] for values in (time, mag, mag_err, band))
    constant = (time, np.full(60, 15.0), mag_err, band)
    unknown = (time, np.where(np.arange(60) == 3, np.nan, mag), mag_err, band)
    peaks = search(few, constant, unknown, (time, mag, mag_err, band))
    expected = [SearchStatus.TOO_FEW_POINTS, SearchStatus.CONSTANT, SearchStatus.INVALID_POINTS, SearchStatus.OK]
    assert peaks.status.tolist() == expected
    assert [decision is None for decision in peaks.decisions] == [True, True, True, False]
    assert np.isnan(peaks.frequency[:3]).all()


@pytest.mark.parametrize("n", [MIN_N_OBS, 9, 12, 20])
def test_few_points_give_finite_values(n):
    peaks = search(observe(sawtooth, n=n, seed=n), n_peaks=3)
    assert peaks.status[0] == SearchStatus.OK
    assert np.isfinite(peaks.frequency[0, 0])
    assert np.isfinite(peaks.statistic[0, 0])
    assert 0 <= peaks.significance[0, 0] <= 1


def test_decide_is_the_first_row_of_run():
    star = observe(sawtooth, n=100)
    batch = batch_of(star)
    grid = make_grid(batch, max_frequency=8.0, samples_per_peak=5)
    assert cpu.decide(make_curve(batch, 0), grid) == search(star).decisions[0]


def test_inputs_are_left_alone():
    curve = make_curve(batch_of(observe(sawtooth, n=60)), 0)
    for name in ("time", "mag", "mag_err", "band"):
        getattr(curve, name).setflags(write=False)
    grid = make_grid(batch_of(observe(sawtooth, n=60)), max_frequency=3.0, samples_per_peak=5)
    assert cpu.decide(replace(curve), grid) is not None
    assert isinstance(curve, Curve)
