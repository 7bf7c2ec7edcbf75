from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError
from scope_ml.kernels.conditional_entropy import cpu, magnitude_bins, reference
from scope_ml.kernels.conditional_entropy.lanes import HAS_SHUFFLE
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import make_grid
from scope_ml.kernels.peaks import SearchOptions, SearchStatus
from scope_ml.kernels.phase_bins.cpu import empty_block, fill_bins

#: Where no point changes its phase bin.
TOLERANCE = 1e-6
DEFAULT = SearchOptions()


def curve_of(time, mag, band=None):
    order = np.argsort(time, kind="stable")
    time, mag = np.asarray(time, dtype=float)[order], np.asarray(mag, dtype=float)[order]
    band = np.zeros(time.size, dtype=np.int64) if band is None else np.asarray(band)[order]
    return Curve(
        time=time - time[0],
        mag=mag - mag[0],
        mag_err=np.full(time.size, 0.1),
        band=band,
        n_bands=int(band.max()) + 1,
    )


def star(n, *, baseline=1826.0, frequency=1.637, noise=0.1, seed=1, clumped=False):
    random = np.random.default_rng(seed)
    time = random.uniform(0, baseline, n)
    if clumped:
        time = np.floor(time) + random.normal(0.5, 0.02, n)
    return curve_of(time, 0.4 * np.cos(2 * np.pi * frequency * time) + random.normal(0, noise, n))


def entropy(curve, frequency, step, n_frequencies, options=DEFAULT, *, shuffle=HAS_SHUFFLE):
    statistic = cpu.prepare(curve, options)
    statistic = replace(statistic, tables=cpu.make_tables(curve.time.size, shuffle=shuffle))
    out = np.full(n_frequencies, np.nan)
    statistic.evaluate(frequency, step, out)
    return out


def defined(curve, frequency, step, n_frequencies, options=DEFAULT):
    return reference.statistic(curve, frequency + step * np.arange(n_frequencies), options)


def moved(curve, frequency, step, n_frequencies, n_phase):
    """Frequencies at which a point is in another phase bin than float64 says; all from within 2^-22 cycles."""
    width = -(-n_frequencies // 64) * 64
    bins = np.empty((curve.time.size, width), dtype=np.uint8)
    fill_bins(curve.time, frequency, step, n_phase, bins)
    phase = np.multiply.outer(curve.time, frequency + step * np.arange(n_frequencies)) % 1.0 * n_phase
    wrong = bins[:, :n_frequencies] != np.floor(phase)
    assert np.all(np.abs(phase - np.rint(phase))[wrong] < n_phase * 2.0**-22)
    return wrong.any(axis=0)


def check(curve, frequency, step, n_frequencies, options=DEFAULT, *, allowed=0):
    ours = entropy(curve, frequency, step, n_frequencies, options)
    theirs = defined(curve, frequency, step, n_frequencies, options)
    same = ~moved(curve, frequency, step, n_frequencies, options.n_phase_bins)
    assert np.count_nonzero(~same) <= allowed
    np.testing.assert_allclose(ours[same], theirs[same], rtol=0, atol=TOLERANCE)
    # The two ways to count agree to the last bit.
    np.testing.assert_array_equal(ours, entropy(curve, frequency, step, n_frequencies, options, shuffle=False))
    return ours


@pytest.mark.parametrize("n", [3, 15, 50, 200, 1000])
@pytest.mark.parametrize(("baseline", "frequency"), [(1826.0, 1.637), (1826.0, 47.3), (3652.0, 479.6)])
def test_equal_to_the_definition(n, baseline, frequency):
    step = 1 / (10 * 1.0137 * baseline)
    curve = star(n, baseline=baseline, frequency=frequency)
    values = check(curve, frequency - 500 * step, step, 1024, allowed=1)
    if n >= 50:
        assert abs(int(values.argmin()) - 500) <= 10


@pytest.mark.parametrize("n", [1000, 5000])
def test_equal_to_the_definition_for_clumped_epochs(n):
    # One sample a night: near whole frequencies all points pile up in two phase bins.
    curve = star(n, clumped=True, frequency=0.337)
    check(curve, 1.99, 1e-4, 200, allowed=1)
    assert defined(curve, 2.0, 1e-4, 1)[0] > 1.5


@pytest.mark.parametrize(
    ("n_phase", "n_mag"),
    [(2, 2), (3, 5), (8, 10), (15, 3), (16, 10), (17, 64), (20, 10), (20, 33), (32, 7), (33, 2), (50, 10), (64, 64)],
)
def test_any_number_of_bins(n_phase, n_mag):
    options = SearchOptions(n_phase_bins=n_phase, n_mag_bins=n_mag)
    check(star(400), 1.63, 2e-5, 130, options, allowed=1)


@pytest.mark.parametrize("n", [252, 253, 254, 255, 256, 300, 511, 3000])
def test_all_points_in_one_cell_but_one(n):
    # Whole days and a frequency of one: one phase bin. The faintest point is alone in its magnitude bin.
    mag = np.full(n, 12.0)
    mag[n // 2] = 13.0
    curve = curve_of(np.arange(float(n)), mag)
    expected = -(np.log(1 / n) / n + np.log((n - 1) / n) * (n - 1) / n)
    for shuffle in {HAS_SHUFFLE, False}:
        assert entropy(curve, 1.0, 1 / 512, 65, shuffle=shuffle)[0] == pytest.approx(expected, abs=TOLERANCE)
    check(curve, 1.0, 1 / 512, 130)


def test_counters_overflow_in_some_cells_of_a_long_light_curve():
    # 2000 points: byte counters are tried first; a third of the points share one phase bin at the first frequency.
    random = np.random.default_rng(4)
    time = np.concatenate((np.arange(700.0), random.uniform(0, 700, 1300)))
    curve = curve_of(time, random.normal(0, 1, 2000))
    check(curve, 1.0, 1 / 8192, 256)
    # So many that wide counters are taken at once.
    check(star(6000, noise=1.0), 0.7, 1e-4, 64, allowed=1)


def test_entropy_of_known_light_curves():
    # Two levels that follow the phase: nothing is left to know. Out of phase: ln 2.
    time = np.arange(64) / 8.0
    curve = curve_of(time, (time % 1.0 >= 0.5).astype(float))
    assert entropy(curve, 1.0, 0.0, 1)[0] == 0.0
    assert entropy(curve, 8.0, 0.0, 1)[0] == pytest.approx(np.log(2), abs=TOLERANCE)
    # Uniform over all magnitude bins at one phase: ln 10, the most there can be.
    ladder = curve_of(np.arange(100.0), np.arange(100) % 10)
    assert entropy(ladder, 1.0, 0.0, 1)[0] == pytest.approx(np.log(10), abs=TOLERANCE)


@pytest.mark.parametrize("per_bin", [1, 2, 8, 14, 15, 16, 17, 24, 25, 26])
def test_as_many_points_in_every_magnitude_bin(per_bin):
    # Up to 16 they are compared pair by pair, beyond that counted; all share a phase bin at the first frequency.
    curve = curve_of(np.arange(10.0 * per_bin), np.arange(10 * per_bin) % 10)
    assert check(curve, 1.0, 1 / 1024, 130)[0] == pytest.approx(np.log(10), abs=TOLERANCE)


def test_many_magnitude_bins_of_few_points():
    # 64 bins of 15 points: pairs are summed in runs of 16 bins; some bins are empty, one is not small.
    random = np.random.default_rng(6)
    level = np.repeat(np.arange(64), 15)
    level[level % 9 == 4] = 30
    curve = curve_of(random.uniform(0, 300, 960), level / 63)
    check(curve, 2.0, 1e-3, 128, SearchOptions(n_mag_bins=64), allowed=1)


@pytest.mark.parametrize("n_frequencies", [1, 2, 63, 64, 65, 127, 959, 960, 961, 2000])
def test_any_number_of_frequencies(n_frequencies):
    curve = star(60)
    whole = entropy(curve, 3.0, 1e-5, 2048)
    np.testing.assert_allclose(entropy(curve, 3.0, 1e-5, n_frequencies), whole[:n_frequencies], rtol=0, atol=1e-12)
    late = entropy(curve, 3.0 + 48 * 1e-5, 1e-5, n_frequencies)
    np.testing.assert_allclose(late, whole[48 : 48 + n_frequencies], rtol=0, atol=TOLERANCE)


def test_magnitude_bins_clip_the_faintest_and_wrap_only_when_asked():
    curve = curve_of(np.arange(5.0), [10.0, 10.49, 10.5, 10.99, 11.0])
    options = SearchOptions(n_mag_bins=2)
    np.testing.assert_array_equal(magnitude_bins(curve, options), [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(magnitude_bins(curve, replace(options, wrap=True)), [0, 0, 1, 1, 0])


def test_wrap_changes_the_entropy_as_the_definition_does():
    options = SearchOptions(wrap=True)
    curve = star(80)
    values = check(curve, 1.6, 1e-4, 128, options, allowed=1)
    assert np.abs(values - entropy(curve, 1.6, 1e-4, 128)).max() > 1e-3


def test_bands_are_pooled_each_on_its_own_scale():
    random = np.random.default_rng(9)
    time = random.uniform(0, 900, 240)
    band = np.repeat([0, 1, 2], 80)
    shape = np.cos(2 * np.pi * 2.2 * time) + random.normal(0, 0.02, 240)
    pooled = curve_of(time, shape * np.array([1.0, 0.3, 0.1])[band] + np.array([12.0, 14.0, 17.0])[band], band)
    check(pooled, 2.19, 1e-5, 1500, allowed=1)
    values = entropy(pooled, 2.19, 1e-5, 1500)
    assert abs(int(values.argmin()) - 1000) < 20
    # Without bands the offsets hide the star.
    mixed = replace(pooled, band=np.zeros(240, dtype=np.int64), n_bands=1)
    assert entropy(mixed, 2.19, 1e-5, 1500).min() > values.min() + 0.3


def test_a_band_that_does_not_vary_falls_into_the_middle():
    curve = curve_of([0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 7.0, 7.0], [0, 0, 1, 1])
    np.testing.assert_array_equal(magnitude_bins(curve, DEFAULT), [0, 9, 5, 5])


def test_phase_bins_can_be_shared():
    curve = star(120)
    options = SearchOptions()
    order, splits = cpu.sort_rows(curve, options)
    bins = empty_block(120)
    fill_bins(curve.time[order], 1.6, 1e-5, 20, bins)
    out = np.empty(bins.shape[1])
    cpu.entropy_from_bins(bins, splits, 20, cpu.make_tables(120), out)
    np.testing.assert_array_equal(out, entropy(curve, 1.6, 1e-5, out.size))
    assert splits[0] == 0
    assert splits[-1] == 120
    assert np.all(np.diff(magnitude_bins(curve, options)[order]) >= 0)


def test_threads_do_not_disturb_each_other():
    curves = [star(n, seed=n) for n in (40, 90, 300, 700)]
    alone = [entropy(curve, 1.6, 1e-5, 4000) for curve in curves]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda curve: entropy(curve, 1.6, 1e-5, 4000), curves * 3))
    for ours, expected in zip(together, alone * 3, strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("bins", [{"n_phase_bins": 1}, {"n_phase_bins": 65}, {"n_mag_bins": 1}, {"n_mag_bins": 100}])
def test_impossible_bins_are_refused(bins):
    name = next(iter(bins))
    for prepare in (cpu.prepare, lambda curve, options: reference.statistic(curve, np.ones(1), options)):
        with pytest.raises(ConfigError, match=f"2 to 64 bins, not {name}="):
            prepare(star(10), SearchOptions(**bins))


def test_search_finds_the_period_and_leaves_bad_light_curves_alone():
    random = np.random.default_rng(2)
    time = random.uniform(0, 400, 150)
    mag = 15 + 0.3 * np.abs(np.sin(np.pi * 1.234 * time)) + random.normal(0, 0.01, 150)
    error = np.full(150, 0.01)
    batch = LightCurveBatch.from_lists(
        [1, 2, 3],
        [time, time, time[:2]],
        [mag, np.full(150, 15.0), mag[:2]],
        [error, error, error[:2]],
    )
    grid = make_grid(batch, max_frequency=4.0, samples_per_peak=10)
    for run in (cpu.run, reference.run):
        peaks = run(batch, grid, SearchOptions(n_peaks=2))
        assert peaks.status.tolist() == [SearchStatus.OK, SearchStatus.CONSTANT, SearchStatus.TOO_FEW_POINTS]
        assert peaks.frequency[0, 0] == pytest.approx(1.234, abs=0.25 / 400)
        assert peaks.significance[0, 0] > 5
        assert np.isnan(peaks.frequency[1:]).all()
