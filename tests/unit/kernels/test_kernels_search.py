from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.bands import normalise
from scope_ml.kernels.curve import Curve, check_points, make_curve
from scope_ml.kernels.grid import MAX_BASELINE, make_grid
from scope_ml.kernels.nested import merge_candidates, sample_frequencies
from scope_ml.kernels.nested.driver import Components, search_nested
from scope_ml.kernels.peaks import SearchOptions, SearchStatus
from scope_ml.kernels.refine import fit_power, refine_frequency
from scope_ml.kernels.search import PIECE, Method, defined_by, search_batch


def sinusoid(frequency=1.737123, n=300, seed=1, bands=1, noise=0.02, baseline=900.0):
    random = np.random.default_rng(seed)
    t = np.sort(random.uniform(0, baseline, n))
    band = random.integers(0, bands, n)
    angle = 2 * np.pi * frequency * t
    m = (0.3 - 0.1 * band) * (np.cos(angle) + 0.4 * np.sin(2 * angle)) + 2.0 * band + random.normal(0, noise, n)
    return t, m, np.full(n, noise), band


def curve_of(**options):
    t, m, e, band = sinusoid(**options)
    return Curve(time=t - t[0], mag=m - m[0], mag_err=e, band=band, n_bands=int(band.max()) + 1)


def batch_of(*light_curves, band=None):
    t, m, e = zip(*[curve[:3] for curve in light_curves], strict=True)
    bands = [curve[3] for curve in light_curves] if band else None
    return LightCurveBatch.from_lists(list(range(len(t))), t, m, e, bands=bands)


def comb(curve, frequency, options):
    """A statistic with a sharp top at 1.5 /d, a lower one at 0.7 /d and nothing else."""
    return np.exp(-(((frequency - 1.5) * 300) ** 2)) + 0.5 * np.exp(-(((frequency - 0.7) * 300) ** 2))


def dips(curve, frequency, options):
    return 3.0 - comb(curve, frequency, options)


@pytest.mark.parametrize(("definition", "best"), [(comb, "max"), (dips, "min")])
def test_maxima_and_minima_are_the_same_peaks(definition, best):
    batch = batch_of(sinusoid())
    grid = make_grid(batch, max_frequency=3.0, samples_per_peak=10)
    method = Method(prepare=defined_by(definition), min_n_obs=4, best=best)
    peaks = search_batch(method, batch, grid, SearchOptions(n_peaks=2, return_spectrum=True))
    spectrum = peaks.spectra[0]
    np.testing.assert_allclose(peaks.frequency[0], [1.5, 0.7], atol=0.3 / 900)
    expected = definition(None, spectrum.frequency, None)
    np.testing.assert_allclose(spectrum.statistic, expected, rtol=1e-9, atol=1e-12)
    top = expected.max() if best == "max" else expected.min()
    assert peaks.statistic[0, 0] == pytest.approx(top, rel=1e-12)
    assert peaks.significance[0, 0] == pytest.approx(abs(top - expected.mean()) / expected.std(), rel=1e-9)
    assert np.isnan(peaks.false_alarm_probability).all()


def test_a_long_grid_in_pieces_gives_each_frequency_once():
    batch = batch_of(sinusoid(baseline=3000.0))
    grid = make_grid(batch, max_frequency=6.0, samples_per_peak=10)
    n = int(grid.n_frequencies[0])
    assert n > 2 * PIECE
    seen = []

    @dataclass
    class Recorder:
        curve: Curve

        def evaluate(self, frequency, step, out):
            out[:] = frequency + step * np.arange(out.size)
            seen.append(out.size)

    method = Method(prepare=lambda curve, options: Recorder(curve), min_n_obs=4)
    peaks = search_batch(method, batch, grid, SearchOptions(return_spectrum=True))
    assert sum(seen) == n
    np.testing.assert_allclose(peaks.spectra[0].statistic, grid.frequencies(0), rtol=1e-14)
    assert peaks.statistic[0, 0] == pytest.approx(grid.bounds(0)[1], rel=1e-14)


def test_false_alarm_theory_gets_the_statistic_the_curve_and_the_width():
    batch = batch_of(sinusoid())
    grid = make_grid(batch, max_frequency=3.0, samples_per_peak=10)

    def theory(statistic, curve, width):
        assert curve.time.size == 300
        assert width == pytest.approx(3.0, abs=0.01)
        return statistic / 10

    method = Method(prepare=defined_by(comb), min_n_obs=4, false_alarm=theory)
    peaks = search_batch(method, batch, grid, SearchOptions(n_peaks=2))
    np.testing.assert_allclose(peaks.false_alarm_probability, peaks.statistic / 10)


def test_a_grid_from_a_frequency_of_ones_own():
    batch = batch_of(sinusoid())
    grid = make_grid(batch, max_frequency=6.0, samples_per_peak=10, min_frequency=0.2)
    assert grid.bounds(0)[0] == 0.2
    assert grid.bounds(0)[1] == pytest.approx(6.0, abs=1e-3)
    assert grid.frequencies(0)[-1] == pytest.approx(grid.bounds(0)[1], rel=1e-14)


def test_baselines_that_cannot_be_true():
    t = np.array([0.0, 1.0, 2.0, MAX_BASELINE * 1.01])
    batch = batch_of((t, t, t + 1))
    assert make_grid(batch, max_frequency=1.0, samples_per_peak=2).status[0] == SearchStatus.GRID_TOO_LONG


@pytest.mark.parametrize("n_harmonics", [1, 2, 5])
@pytest.mark.parametrize("bands", [1, 3])
def test_fit_power_is_that_of_least_squares(n_harmonics, bands):
    curve = normalise(curve_of(bands=bands, n=80))
    for frequency in (0.31, 1.737123, 1.7375):
        angle = 2 * np.pi * frequency * curve.time
        constants = [(curve.band == band) * 1.0 for band in range(bands)]
        waves = [wave(h * angle) for h in range(1, n_harmonics + 1) for wave in (np.cos, np.sin)]
        chi2 = []
        for columns in (constants, constants + waves):
            design = np.stack(columns, axis=1) / curve.mag_err[:, None]
            data = curve.mag / curve.mag_err
            chi2.append(np.sum((data - design @ np.linalg.lstsq(design, data, rcond=None)[0]) ** 2))
        found = fit_power(curve, np.array([frequency]), n_harmonics)[0]
        assert found == pytest.approx(1 - chi2[1] / chi2[0], abs=1e-9)


def test_fit_power_survives_epochs_at_one_phase():
    t = np.arange(30.0)
    curve = Curve(time=t, mag=np.sin(t), mag_err=np.ones(30), band=np.zeros(30, dtype=np.int64))
    assert np.all(fit_power(curve, np.array([1.0, 2.0, 0.5]), 4) >= 0)
    assert fit_power(curve, np.array([1.0]), 4)[0] < 1e-6


@pytest.mark.parametrize("bands", [1, 4])
def test_a_peak_is_refined_to_a_tenth_of_the_step(bands):
    truth = 1.737123
    curve = curve_of(frequency=truth, bands=bands, noise=1e-3)
    step = 0.1 / curve.time[-1]
    for offset in (-0.5, -0.2, 0.0, 0.4):
        found = refine_frequency(curve, np.array([truth + offset * step]), step, 2, (0.1, 3.0))
        assert abs(found[0] - truth) < 0.1 * step


def test_a_peak_does_not_leave_the_grid():
    curve = curve_of()
    assert refine_frequency(curve, np.array([1.7371]), 1e-4, 2, (1.7371, 1.7371))[0] == 1.7371


def test_bands_come_to_one_scale():
    curve = curve_of(bands=3, n=600, noise=0.001)
    scaled = normalise(curve)
    amplitudes = [np.std(scaled.mag[scaled.band == band]) for band in range(3)]
    np.testing.assert_allclose(amplitudes, 1.0, rtol=0.02)
    # Weights of one band keep their proportions.
    one = curve.band == 1
    np.testing.assert_allclose(
        scaled.mag_err[one] / scaled.mag[one].std(), curve.mag_err[one] / curve.mag[one].std(), rtol=1e-12
    )


def test_a_band_that_says_nothing_weighs_nothing():
    curve = curve_of(bands=2, noise=0.01)
    flat = np.where(curve.band == 1, 5.0, curve.mag)
    scaled = normalise(Curve(time=curve.time, mag=flat, mag_err=curve.mag_err, band=curve.band, n_bands=2))
    np.testing.assert_allclose(scaled.mag_err[curve.band == 1], 1.0)
    assert np.all(scaled.mag_err[curve.band == 0] < 0.1)
    assert np.all(scaled.mag[curve.band == 1] == 0)


def test_points_are_put_in_order_and_counted_from_the_first():
    t, m, e, band = sinusoid(n=20, bands=2)
    shuffle = np.random.default_rng(0).permutation(20)
    batch = batch_of((t[shuffle] + 2458000.25, m[shuffle], e, band[shuffle]), band=True)
    curve = make_curve(batch, 0)
    np.testing.assert_allclose(curve.time, t - t[0], atol=1e-9)
    np.testing.assert_array_equal(curve.mag, m - m[0])
    np.testing.assert_array_equal(curve.band, band)
    assert curve.n_bands == 2


def test_constant_bands_of_different_brightness_are_constant():
    t = np.arange(10.0)
    band = np.arange(10) % 2
    batch = batch_of((t, 15.0 + band, np.ones(10), band), band=True)
    assert check_points(batch, 0, 4) == SearchStatus.CONSTANT


def test_candidates_of_both_searches_are_distinct():
    np.testing.assert_array_equal(
        merge_candidates(np.array([1.0, 2.0]), np.array([2.05, 3.0, 0.2]), 0.1), [1.0, 2.0, 3.0, 0.2]
    )
    assert merge_candidates(np.array([1.0]), np.empty(0), 0.1).tolist() == [1.0]
    assert merge_candidates(np.empty(0), np.array([1.0]), 0.1).tolist() == [1.0]


def nested_of(decides):
    def low(curve, frequency, options):
        return -comb(curve, 2.2 - frequency, options)

    return Components(
        ls=Method(prepare=defined_by(comb), min_n_obs=4),
        ce=Method(prepare=defined_by(low), min_n_obs=4, best="min"),
        aov=Method(prepare=defined_by(decides), min_n_obs=4),
    )


@pytest.mark.parametrize("everywhere", [False, True])
def test_the_third_search_decides_among_peaks_of_the_other_two(everywhere):
    batch = batch_of(sinusoid())
    grid = make_grid(batch, max_frequency=3.0, samples_per_peak=10)

    def decides(curve, frequency, options):
        # Highest at 2.6 /d, which nobody proposes; of the tops of ls (1.5, 0.7) and ce (0.7, 1.5) it prefers 0.7.
        return 10.0 - (frequency - 2.6) ** 2 + 3.0 * np.exp(-(((frequency - 0.7) * 50) ** 2))

    options = SearchOptions(n_peaks=2, n_candidates=2, aov_everywhere=everywhere)
    peaks = search_nested(nested_of(decides), batch, grid, options)
    np.testing.assert_allclose(peaks.frequency[0], [0.7, 1.5], atol=0.3 / 900)
    np.testing.assert_allclose(peaks.components["ls"].frequency[0], [1.5, 0.7], atol=0.3 / 900)
    np.testing.assert_allclose(peaks.components["ce"].frequency[0], [0.7, 1.5], atol=0.3 / 900)
    assert peaks.components["aov"].frequency[0, 0] == pytest.approx(2.6 if everywhere else 0.7, abs=0.01)
    first, spacing, count = sample_frequencies(grid, 0)
    sample = decides(None, grid.frequencies(0) if everywhere else first + spacing * np.arange(count), None)
    expected = (peaks.statistic[0] - sample.mean()) / sample.std()
    np.testing.assert_allclose(peaks.significance[0], expected, rtol=1e-9)


def test_a_nested_search_of_a_bad_light_curve_is_a_status_everywhere():
    batch = batch_of(sinusoid(), (np.arange(9.0), np.full(9, 15.0), np.ones(9)))
    grid = make_grid(batch, max_frequency=3.0, samples_per_peak=5)
    peaks = search_nested(nested_of(comb), batch, grid, SearchOptions(return_spectrum=True))
    for row in (peaks, *peaks.components.values()):
        assert list(row.status) == [SearchStatus.OK, SearchStatus.CONSTANT]
        assert np.isnan(row.frequency[1]).all()
    assert peaks.spectra[0].statistic.size == grid.n_frequencies[0]
    assert peaks.spectra[1] is None


def near_a_window(curve, frequency, options):
    """A statistic whose top lies on the grid beside a window, while the points have their period inside it."""
    return -np.abs(frequency - 1.7375)


@pytest.mark.parametrize("search", ["single", "nested"])
def test_no_peak_is_refined_into_an_excluded_window(search):
    batch = batch_of(sinusoid())
    grid = make_grid(batch, max_frequency=3.0, samples_per_peak=10)
    options = SearchOptions(n_peaks=1, exclude=((1.5, 1.73735),))
    method = Method(prepare=defined_by(near_a_window), min_n_obs=4)
    if search == "single":
        found = [search_batch(method, batch, grid, options)]
    else:
        peaks = search_nested(Components(ls=method, ce=method, aov=method), batch, grid, options)
        found = [peaks, *peaks.components.values()]
    assert search_batch(method, batch, grid, SearchOptions()).frequency[0, 0] < 1.73735
    for peaks in found:
        assert 1.73735 < peaks.frequency[0, 0] < 1.7376


def test_magnitudes_whose_squares_vanish_are_constant():
    t, m, e, band = sinusoid(n=30, bands=2)
    assert check_points(batch_of((t, m * 1e-200, e)), 0, 4) == SearchStatus.CONSTANT
    assert check_points(batch_of((t, m * 1e-200, e, band), band=True), 0, 4) == SearchStatus.CONSTANT
    assert check_points(batch_of((t, m * 1e-25, e)), 0, 4) == SearchStatus.OK
    m[band == 1] *= 1e-200
    scaled = normalise(Curve(time=t, mag=m, mag_err=e, band=band, n_bands=2))
    assert np.isfinite(scaled.mag).all()
    assert np.isfinite(scaled.mag_err).all()
    assert np.all(scaled.mag[band == 1] == 0)


def test_a_band_of_noise_does_not_drown_the_others():
    curve = curve_of(bands=2, noise=0.01)
    noise = np.random.default_rng(4).normal(0, 0.01, curve.mag.size)
    mag = np.where(curve.band == 1, noise, curve.mag)
    scaled = normalise(Curve(time=curve.time, mag=mag, mag_err=curve.mag_err, band=curve.band, n_bands=2))
    assert np.var(scaled.mag[curve.band == 1]) < 2.1 * np.var(scaled.mag[curve.band == 0])


def test_a_flat_periodogram_has_no_peak_unless_it_is_a_single_frequency():
    batch = batch_of(sinusoid())
    method = Method(prepare=defined_by(lambda curve, frequency, options: np.zeros(frequency.size)), min_n_obs=4)
    nested = Components(ls=method, ce=method, aov=method)
    for n, status in ((1, SearchStatus.OK), (2, SearchStatus.NO_PEAK), (500, SearchStatus.NO_PEAK)):
        grid = make_grid(batch, min_frequency=1.0, max_frequency=1.0 + (n - 0.5) / 9000.0, samples_per_peak=10)
        assert (grid.n_frequencies[0] == 1) == (n == 1)
        for peaks in (
            search_batch(method, batch, grid, SearchOptions()),
            search_nested(nested, batch, grid, SearchOptions()),
        ):
            assert peaks.status[0] == status
            assert np.isfinite(peaks.frequency[0, 0]) == (status == SearchStatus.OK)
