from __future__ import annotations

import numpy as np
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.grid import TERRESTRIAL_WINDOWS, excluded_mask, make_grid
from scope_ml.kernels.peaks import SearchStatus
from scope_ml.kernels.peaks.cpu import PeakCollector
from scope_ml.kernels.peaks.reference import find_peaks


def collect(statistic, excluded, piece, *, n_peaks=4, separation=5):
    collector = PeakCollector(n_frequencies=statistic.size, n_peaks=n_peaks, separation=separation)
    for start in range(0, statistic.size, piece):
        collector.add(statistic[start : start + piece], excluded[start : start + piece])
    return collector.peaks()


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64, 1000])
@pytest.mark.parametrize("kind", ["smooth", "steps", "falling", "rising"])
def test_pieces_give_what_the_definition_gives(piece, kind):
    random = np.random.default_rng(7)
    statistic = {
        "smooth": np.convolve(random.random(420), np.ones(9) / 9, "valid"),
        "steps": random.integers(0, 4, 411).astype(float),
        "falling": np.linspace(1, 0, 411),
        "rising": np.linspace(0, 1, 411),
    }[kind]
    excluded = np.zeros(statistic.size, dtype=bool)
    excluded[100:140] = True
    excluded[-3:] = kind == "smooth"
    found = collect(statistic, excluded, piece)
    expected = find_peaks(statistic, excluded, n_peaks=4, separation=5)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_peaks_are_distinct_and_sorted():
    statistic = np.zeros(50)
    statistic[[10, 12, 30]] = [3.0, 2.0, 1.0]
    position, height, _ = find_peaks(statistic, np.zeros(50, dtype=bool), n_peaks=3, separation=5)
    np.testing.assert_allclose(height, [3, 1, 0])
    np.testing.assert_allclose(position[:2], [10, 30])


def test_the_shoulder_of_an_excluded_peak_is_no_peak():
    statistic = np.exp(-0.5 * ((np.arange(100) - 50) / 5.0) ** 2)
    statistic[80] = 0.1
    excluded = np.zeros(100, dtype=bool)
    excluded[45:56] = True
    position, *_ = find_peaks(statistic, excluded, n_peaks=1, separation=5)
    assert position[0] == pytest.approx(80)


def test_refinement_finds_the_vertex_of_a_parabola():
    x = np.arange(20.0)
    position, *_ = find_peaks(5 - (x - 7.3) ** 2, np.zeros(20, dtype=bool), n_peaks=1, separation=3)
    assert position[0] == pytest.approx(7.3, abs=1e-12)


def test_significance_leaves_excluded_frequencies_out():
    statistic = np.array([0.0, 1.0, 0.0, 9.0, 0.0, 2.0, 0.0])
    excluded = np.array([False, False, False, True, False, False, False])
    _, height, significance = find_peaks(statistic, excluded, n_peaks=1, separation=1)
    kept = statistic[~excluded]
    assert height[0] == 2
    assert significance[0] == pytest.approx((2 - kept.mean()) / kept.std())


def test_without_scatter_or_candidates():
    flat = find_peaks(np.ones(5), np.zeros(5, dtype=bool), n_peaks=2, separation=2)
    assert np.isnan(flat[2]).all()
    nothing = collect(np.arange(6.0), np.ones(6, dtype=bool), 3)
    assert all(values.size == 0 for values in nothing)


def batch_of(*times):
    return LightCurveBatch.from_lists(
        list(range(len(times))), times, [np.zeros(len(t)) for t in times], [np.ones(len(t)) for t in times]
    )


def test_each_light_curve_has_the_grid_of_its_own_baseline():
    grid = make_grid(batch_of([0.0, 100.0], [], [50.0, 0.0, 10.0]), max_frequency=2.0, samples_per_peak=10)
    np.testing.assert_allclose(grid.minimum[[0, 2]], [0.02, 0.04])
    np.testing.assert_allclose(grid.step[[0, 2]], [0.001, 0.002])
    assert list(grid.n_frequencies) == [1980, 0, 980]
    assert list(grid.status) == [SearchStatus.OK, SearchStatus.TOO_FEW_POINTS, SearchStatus.OK]
    frequency = grid.frequencies(0)
    assert frequency[-1] < 2.0 <= frequency[-1] + grid.step[0] * (1 + 1e-9)
    np.testing.assert_array_equal(grid.frequencies(0, 5, 8), frequency[5:8])


def test_grids_that_cannot_be():
    grid = make_grid(batch_of([1.0, 1.0], [0.0, np.nan], [0.0, 0.5]), max_frequency=2.0, samples_per_peak=10)
    assert list(grid.status) == [SearchStatus.ZERO_BASELINE, SearchStatus.INVALID_POINTS, SearchStatus.GRID_TOO_SHORT]
    assert list(grid.n_frequencies) == [0, 0, 0]


def test_bounds_of_windows_belong_to_them():
    frequency = np.array([0.94, 0.95, 1.0, 1.05, 1.06, 4.0])
    assert list(excluded_mask(frequency, TERRESTRIAL_WINDOWS)) == [False, True, True, True, False, True]
    assert not excluded_mask(frequency, ()).any()
