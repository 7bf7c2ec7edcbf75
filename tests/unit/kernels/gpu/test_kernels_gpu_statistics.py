"""The CUDA C sources, compiled by g++ and run thread by thread, against the definitions in float64."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError
from scope_ml.kernels.grid import make_grid
from scope_ml.kernels.peaks import SearchOptions, SearchStatus

#: Largest difference from the definition, absolute and relative to the value. Entropy: float32 of exact counts. AOV, PDM:
#: magnitudes rounded to 2^-20 of their range. The others: float32 sums; theta of multi-harmonic AOV is p / (1 - p), which
#: multiplies the relative error of the power p (1e-6) where little is left.
TOLERANCE = {
    "conditional_entropy": (2e-7, 0.0),
    "analysis_of_variance": (1e-6, 1e-5),
    "phase_dispersion": (1e-6, 1e-5),
    "phase_weighted": (1e-4, 1e-5),
    "box_least_squares": (1e-6, 1e-5),
    "lomb_scargle": (1e-5, 0.0),
    "multiharmonic": (1e-5, 2e-4),
}
METHODS = list(TOLERANCE)


def light_curves(sizes, *, seed=1, nights=60.0, n_bands=1, outlier=0.0):
    """Light curves with the cadence of a survey: a few hours a night."""
    random = np.random.default_rng(seed)
    columns = {"times": [], "mags": [], "mag_errs": [], "bands": []}
    for n in sizes:
        t = np.sort(np.floor(random.uniform(0, nights, n)) + random.normal(0.4, 0.08, n)) + 2458400.5
        e = random.uniform(0.01, 0.05, n)
        band = random.integers(0, n_bands, n)
        phase = 2 * np.pi * t / random.uniform(0.3, 3.0)
        m = 17 + 0.5 * band + (0.2 + 0.1 * band) * np.sin(phase) + 0.1 * np.cos(2 * phase) + random.normal(0, e)
        m[n // 2 : n // 2 + 1] += outlier
        for column, values in zip(columns.values(), (t, m, e, band), strict=True):
            column.append(values)
    if n_bands == 1:
        del columns["bands"]
    return LightCurveBatch.from_lists(np.arange(len(sizes)), **columns)


def grid_of(batch, **given):
    """The grid of a baseline a little longer: on the usual one the last point lies on an edge at every frequency."""
    grid = make_grid(batch, samples_per_peak=5, **given)
    return replace(grid, minimum=grid.minimum / 1.0137, step=grid.step / 1.0137)


def both(name, batch, grid, options):
    """Results of the emulated device and of the definition."""
    found = import_module(f"scope_ml.kernels.{name}.gpu").run(batch, grid, options)
    return found, import_module(f"scope_ml.kernels.{name}.reference").run(batch, grid, options)


def assert_same_statistic(name, batch, grid, options=None):
    options = replace(options or SearchOptions(n_peaks=2), return_spectrum=True)
    found, expected = both(name, batch, grid, options)
    np.testing.assert_array_equal(found.status, expected.status)
    assert len(found.spectra) == len(expected.spectra) == len(batch)
    absolute, relative = TOLERANCE[name]
    for index, (own, defined) in enumerate(zip(found.spectra, expected.spectra, strict=True)):
        if defined is None:
            assert own is None
            continue
        np.testing.assert_array_equal(own.frequency, defined.frequency)
        np.testing.assert_allclose(
            own.statistic, defined.statistic, rtol=relative, atol=absolute, err_msg=f"light curve {index}"
        )
    return found, expected


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("n_bands", [1, 3])
def test_periodograms_and_peaks_are_those_of_the_definition(name, n_bands):
    batch = light_curves([150, 40, 260, 131, 2, 0], n_bands=n_bands)
    options = SearchOptions(n_peaks=3, exclude=((0.9, 1.1), (0.0, 0.05)))
    found, expected = assert_same_statistic(name, batch, grid_of(batch, max_frequency=2.2), options)
    assert (expected.status[:4] == SearchStatus.OK).all()
    step = np.abs(found.frequency[:4, 0] - expected.frequency[:4, 0]) * 60
    assert step.max() < 1e-3, "the same best frequency, to a thousandth of a peak"
    np.testing.assert_allclose(found.significance[:4, 0], expected.significance[:4, 0], rtol=1e-3)
    np.testing.assert_allclose(
        found.false_alarm_probability[:4, 0], expected.false_alarm_probability[:4, 0], rtol=1e-2, atol=1e-300
    )


@pytest.mark.parametrize("name", METHODS)
def test_phases_are_exact_at_480_cycles_a_day_over_ten_years(name):
    batch = light_curves([60], nights=3650.0, seed=4)
    grid = grid_of(batch, min_frequency=479.99 * 1.0137, max_frequency=480.0 * 1.0137)
    assert 100 < grid.n_frequencies[0] < 400
    assert_same_statistic(name, batch, grid)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("conditional_entropy", SearchOptions(n_phase_bins=33, n_mag_bins=4)),
        ("conditional_entropy", SearchOptions(n_phase_bins=7, wrap=True)),
        ("analysis_of_variance", SearchOptions(n_phase_bins=33)),
        ("phase_dispersion", SearchOptions(n_phase_bins=5)),
        ("phase_weighted", SearchOptions(n_phase_bins=64)),
        ("box_least_squares", SearchOptions(n_box_bins=20, q_min=0.1, q_max=0.3)),
        ("multiharmonic", SearchOptions(n_harmonics=1)),
        ("multiharmonic", SearchOptions(n_harmonics=5)),
    ],
)
def test_numbers_of_bins_and_harmonics(name, options):
    batch = light_curves([140, 90], seed=7)
    assert_same_statistic(name, batch, grid_of(batch, max_frequency=0.9), options)


@pytest.mark.parametrize("n_bands", [1, 2])
def test_counts_of_entropy_beyond_a_byte(n_bands):
    # An outlier squeezes nearly all points into one magnitude bin, and the grid ends at one cycle a day, where they
    # share a few phase bins.
    batch = light_curves([700, 256, 270], seed=8, outlier=40.0, n_bands=n_bands)
    assert_same_statistic("conditional_entropy", batch, grid_of(batch, max_frequency=1.01))


def test_counts_of_entropy_beyond_16_bits(monkeypatch):
    import scope_ml.kernels.conditional_entropy.gpu as room

    monkeypatch.setattr(room, "WORD", 250)
    batch = light_curves([300, 280], seed=8, outlier=40.0)
    assert_same_statistic("conditional_entropy", batch, grid_of(batch, max_frequency=1.01))


@pytest.mark.parametrize("outlier", [3.0, 40.0])
def test_variance_with_outliers_keeps_its_digits(outlier):
    # The range is 10 to 100 times the scatter: integers of more bits, fewer points to a word.
    batch = light_curves([300, 1500], seed=9, outlier=outlier)
    assert_same_statistic("analysis_of_variance", batch, grid_of(batch, max_frequency=0.6))


@pytest.mark.parametrize("name", ["analysis_of_variance", "phase_dispersion", "lomb_scargle", "multiharmonic"])
def test_sums_of_long_light_curves(name):
    batch = light_curves([4500, 150], seed=10)
    assert_same_statistic(name, batch, grid_of(batch, max_frequency=0.25))


@pytest.mark.parametrize("name", ["lomb_scargle", "multiharmonic"])
def test_bunched_phases_are_done_again_in_float64(name):
    # One visit a night within minutes: near whole cycles a day all phases agree, and the fit is nearly singular.
    random = np.random.default_rng(11)
    t = 2458400.5 + np.arange(80) + random.normal(0, 0.004, 80)
    m = 15 + 0.1 * np.sin(2 * np.pi * t / 0.45) + random.normal(0, 0.01, 80)
    batch = LightCurveBatch.from_lists([1], [t], [m], [np.full(80, 0.01)])
    assert_same_statistic(name, batch, grid_of(batch, min_frequency=0.93, max_frequency=1.1))


def test_no_power_where_the_fit_is_singular():
    t = 2458400.0 + np.arange(101) * 0.5
    batch = LightCurveBatch.from_lists([1], [t], [np.random.default_rng(2).normal(15, 0.1, 101)], [np.full(101, 0.1)])
    grid = make_grid(batch, max_frequency=2.2, samples_per_peak=5)
    found, expected = both("lomb_scargle", batch, grid, SearchOptions(n_peaks=3, return_spectrum=True))
    own, defined = found.spectra[0], expected.spectra[0]
    singular = defined.statistic == 0
    assert 1 <= singular.sum() <= 3
    np.testing.assert_array_equal(own.statistic[singular], 0)
    np.testing.assert_allclose(own.statistic, defined.statistic, atol=1e-5)


def test_numbers_of_bins_that_cannot_be_used_are_refused():
    batch = light_curves([40])
    grid = grid_of(batch, max_frequency=0.3)
    for name in METHODS[:5]:
        key = "n_box_bins" if name == "box_least_squares" else "n_phase_bins"
        with pytest.raises(ConfigError, match=key):
            import_module(f"scope_ml.kernels.{name}.gpu").run(batch, grid, SearchOptions(**{key: 1000}))
    with pytest.raises(ConfigError, match="n_harmonics"):
        import_module("scope_ml.kernels.multiharmonic.gpu").run(batch, grid, SearchOptions(n_harmonics=99))
