"""Every search on a real GPU against the CPU: run by ``make test-gpu``, deselected everywhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.grid import TERRESTRIAL_WINDOWS, make_grid
from scope_ml.kernels.peaks import SearchOptions, SearchStatus
from scope_ml.kernels.registry import load

# CuPy warns of what it finds or misses on a machine; that is not ours.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

#: Largest difference of the statistic from the CPU's, absolute and relative.
TOLERANCE = {
    "conditional_entropy": (2e-6, 0.0),
    "analysis_of_variance": (1e-6, 1e-5),
    "phase_dispersion": (1e-6, 1e-5),
    "phase_weighted": (1e-4, 1e-5),
    "box_least_squares": (1e-5, 1e-5),
    "lomb_scargle": (1e-5, 0.0),
    "multiharmonic": (1e-5, 5e-4),
}
#: A point within 2^-24 cycles of the edge of a bin may fall on either side: share of the frequencies, at 1000 points.
ON_EDGE = 1e-3
BINNED = ("conditional_entropy", "analysis_of_variance", "phase_dispersion", "phase_weighted", "box_least_squares")


def light_curves(sizes, *, seed=1, nights=700.0, n_bands=1):
    """Light curves with the cadence of a survey: a few hours a night."""
    random = np.random.default_rng(seed)
    columns = {"times": [], "mags": [], "mag_errs": [], "bands": []}
    for n in sizes:
        t = np.sort(np.floor(random.uniform(0, nights, n)) + random.normal(0.4, 0.08, n)) + 2458400.5
        e = random.uniform(0.01, 0.05, n)
        band = random.integers(0, n_bands, n)
        phase = 2 * np.pi * t / random.uniform(0.3, 3.0)
        m = 17 + 0.5 * band + (0.2 + 0.1 * band) * np.sin(phase) + 0.1 * np.cos(2 * phase) + random.normal(0, e)
        for column, values in zip(columns.values(), (t, m, e, band), strict=True):
            column.append(values)
    if n_bands == 1:
        del columns["bands"]
    return LightCurveBatch.from_lists(np.arange(len(sizes)), **columns)


def grid_of(batch, **given):
    """The grid of a baseline a little longer: on the usual one the last point lies on an edge at every frequency."""
    grid = make_grid(batch, samples_per_peak=10, **given)
    return replace(grid, minimum=grid.minimum / 1.0137, step=grid.step / 1.0137)


def assert_same_spectra(name, found, expected, n_obs):
    absolute, relative = TOLERANCE[name]
    for own, defined, n in zip(found.spectra, expected.spectra, n_obs, strict=True):
        if defined is None:
            assert own is None
            continue
        far = np.abs(own.statistic - defined.statistic) > absolute + relative * np.abs(defined.statistic)
        allowed = ON_EDGE * max(1.0, n / 1000) if name in BINNED else 0.0
        assert far.mean() <= allowed, f"{name}, {n} points: {far.sum()} of {far.size} frequencies differ"


@pytest.mark.parametrize("name", TOLERANCE)
@pytest.mark.parametrize("n_bands", [1, 3])
def test_periodograms_and_best_peaks_are_those_of_the_cpu(name, n_bands):
    batch = light_curves([50, 200, 1000, 31, 300, 2, 0, 127, 128, 129], n_bands=n_bands)
    grid = grid_of(batch, max_frequency=12.0)
    options = SearchOptions(n_peaks=5, exclude=TERRESTRIAL_WINDOWS, return_spectrum=True)
    found, expected = load(name, "gpu")(batch, grid, options), load(name, "cpu")(batch, grid, options)
    np.testing.assert_array_equal(found.status, expected.status)
    assert_same_spectra(name, found, expected, batch.n_obs)
    searched = expected.status == SearchStatus.OK
    away = np.abs(found.frequency[searched, 0] - expected.frequency[searched, 0]) / grid.step[searched]
    assert away.max() <= 0.1, "the same best period, to a tenth of a frequency step"
    np.testing.assert_allclose(found.significance[searched, 0], expected.significance[searched, 0], rtol=1e-3)


@pytest.mark.parametrize("name", TOLERANCE)
def test_480_cycles_a_day_over_ten_years(name):
    batch = light_curves([200, 60], nights=3650.0, seed=4)
    grid = grid_of(batch, min_frequency=479.0 * 1.0137, max_frequency=480.0 * 1.0137)
    options = SearchOptions(n_peaks=2, return_spectrum=True)
    found, expected = load(name, "gpu")(batch, grid, options), load(name, "cpu")(batch, grid, options)
    assert_same_spectra(name, found, expected, batch.n_obs)


@pytest.mark.parametrize("name", ["conditional_entropy", "analysis_of_variance", "lomb_scargle", "multiharmonic"])
def test_long_light_curves(name):
    batch = light_curves([5000, 100_000, 300], seed=5)
    grid = grid_of(batch, max_frequency=0.3)
    options = SearchOptions(n_peaks=2, return_spectrum=True)
    found, expected = load(name, "gpu")(batch, grid, options), load(name, "cpu")(batch, grid, options)
    np.testing.assert_array_equal(found.status, expected.status)
    assert_same_spectra(name, found, expected, batch.n_obs)


@pytest.mark.parametrize("everywhere", [False, True])
def test_nested_search(everywhere):
    batch = light_curves([100, 300, 60, 4], seed=6)
    grid = grid_of(batch, max_frequency=12.0)
    options = SearchOptions(n_peaks=3, aov_everywhere=everywhere, exclude=TERRESTRIAL_WINDOWS)
    found, expected = load("nested", "gpu")(batch, grid, options), load("nested", "cpu")(batch, grid, options)
    np.testing.assert_array_equal(found.status, expected.status)
    for own, defined in ((found, expected), *((found.components[k], expected.components[k]) for k in found.components)):
        np.testing.assert_allclose(own.frequency[:3, 0], defined.frequency[:3, 0], atol=0.1 * grid.step[:3].max())
        np.testing.assert_allclose(own.statistic[:3, 0], defined.statistic[:3, 0], rtol=1e-4)


@pytest.mark.parametrize("name", ["lomb_scargle", "conditional_entropy", "analysis_of_variance", "nested"])
def test_a_light_curve_does_not_see_its_batch(name):
    random = np.random.default_rng(8)
    # Several chunks, and a grid of several pieces.
    batch = light_curves(random.integers(30, 400, 60), seed=8, nights=2000.0)
    grid = grid_of(batch, max_frequency=60.0)
    options = SearchOptions(n_peaks=3)
    run = load(name, "gpu")
    whole, again = run(batch, grid, options), run(batch, grid, options)
    for column in ("frequency", "statistic", "significance", "status"):
        np.testing.assert_array_equal(getattr(whole, column), getattr(again, column))
    order = random.permutation(len(batch))[:7]
    few = replace(grid, **{key: getattr(grid, key)[order] for key in ("minimum", "step", "n_frequencies", "status")})
    alone = run(batch.take(order), few, options)
    for column in ("frequency", "statistic", "significance", "status"):
        np.testing.assert_array_equal(getattr(alone, column), getattr(whole, column)[order])
