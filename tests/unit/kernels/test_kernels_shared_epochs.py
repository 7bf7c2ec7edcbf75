"""Light curves that share their exposures: grouped rightly, and searched to the same result as one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels import registry
from scope_ml.kernels.analysis_of_variance import reference as aov_reference
from scope_ml.kernels.curve import make_curve
from scope_ml.kernels.grid import make_grid
from scope_ml.kernels.peaks import SearchOptions, SearchStatus
from scope_ml.kernels.shared_epochs import cpu
from scope_ml.kernels.shared_epochs.entries import fill_entries
from scope_ml.kernels.shared_epochs.groups import find_groups
from scope_ml.kernels.shared_epochs.tiles import VarianceTiles

#: Relative.
TOLERANCE = 1e-5
SECOND = 1.0 / 86_400.0


def quadrant(n_sources, *, n_epochs=60, baseline=120.0, spread=6.0, noise=0.05, seed=0):
    """Stars of one quadrant: shared exposures, own HJD up to `spread` seconds apart, a point missing here and there."""
    rng = np.random.default_rng(seed)
    exposure = np.sort(rng.uniform(0.0, baseline, n_epochs))
    exposure[0], exposure[-1] = 0.0, baseline
    place = rng.uniform(-0.5, 0.5, (2, n_sources))
    year = 2 * np.pi * exposure / 365.25
    columns = ([], [], [])
    for i in range(n_sources):
        hjd = 2_458_000.5 + exposure + 0.7 * spread * SECOND * (place[0, i] * np.cos(year) + place[1, i] * np.sin(year))
        mag_err = rng.uniform(0.5, 1.5, n_epochs) * noise
        mag = (
            15.0 + 0.4 * np.sin(2 * np.pi * exposure / rng.uniform(0.3, 3.0)) + mag_err * rng.standard_normal(n_epochs)
        )
        here = rng.random(n_epochs) < 0.9
        here[[0, -1]] = True
        for column, values in zip(columns, (hjd, mag, mag_err), strict=True):
            column.append(values[here])
    return LightCurveBatch.from_lists(np.arange(n_sources), *columns)


def longer_grid(batch, max_frequency):
    """A grid on which the last point does not lie on the edge of a bin, where rounding decides."""
    grid = make_grid(batch, max_frequency=max_frequency, samples_per_peak=10)
    return replace(grid, minimum=grid.minimum / 1.0137, step=grid.step / 1.0137)


def curves_of(batch):
    first = np.array([curve.time.min() if len(curve) else np.nan for curve in batch])
    return {index: make_curve(batch, index) for index in range(len(batch))}, first


def only_group(batch, grid, n_bins=20):
    curves, first = curves_of(batch)
    (group,) = find_groups(curves, first, grid, least=2, n_bins=n_bins)
    return group, [curves[int(index)] for index in group.source]


def test_every_point_finds_its_exposure():
    batch = quadrant(40)
    grid = longer_grid(batch, 5.0)
    group, curves = only_group(batch, grid)
    assert group.epoch.size == 60
    for j, curve in enumerate(curves):
        here = group.point[:, j] >= 0
        np.testing.assert_array_equal(group.point[here, j], np.arange(curve.time.size))
        own = group.epoch[here] + group.deviation[here, j]
        np.testing.assert_allclose(own, curve.time / curve.time[-1], rtol=0, atol=1e-14)
    assert np.all(np.abs(group.deviation) <= group.reach[:, None])
    assert group.reach.max() * 120.0 > 1.0 * SECOND, "without a spread the masks are not tested"


def test_groups_are_by_first_and_last_exposure():
    batch = quadrant(40)
    late = np.ones(batch.n_points, dtype=bool)
    late[batch.offsets[[3, 4, 5]]] = False
    grid = longer_grid(batch.select(late), 5.0)
    curves, first = curves_of(batch.select(late))
    groups = find_groups(curves, first, grid, least=2, n_bins=20)
    sizes = sorted(group.source.size for group in groups)
    assert sizes[-1] == 37
    assert {3, 4, 5}.isdisjoint(max(groups, key=lambda group: group.source.size).source.tolist())


def test_two_points_in_one_exposure_count_as_two():
    batch = quadrant(5)
    times = [np.sort(np.append(curve.time, curve.time[7] + SECOND)) for curve in batch]
    mags = [np.linspace(15.0, 16.0, time.size) for time in times]
    doubled = LightCurveBatch.from_lists(batch.id, times, mags, mags)
    group, curves = only_group(doubled, longer_grid(doubled, 5.0))
    assert np.all((group.point >= 0).sum(axis=0) == [curve.time.size for curve in curves])


@pytest.mark.parametrize("change", ["spread", "grid", "no shared exposures"])
def test_what_cannot_be_shared_is_not(change):
    batch = quadrant(12)
    if change == "no shared exposures":
        rng = np.random.default_rng(1)
        times = [np.sort(rng.uniform(0.0, 120.0, 60)) for _ in range(12)]
        for time in times:
            time[[0, -1]] = 0.0, 120.0
        batch = LightCurveBatch.from_lists(batch.id, times, times, times)
    grid = longer_grid(batch, 4000.0 if change == "spread" else 5.0)
    if change == "grid":
        grid = replace(grid, minimum=np.full(12, 0.5))
    curves, first = curves_of(batch)
    assert find_groups(curves, first, grid, least=2, n_bins=20) == []


@pytest.mark.parametrize(("n_sources", "n_epochs", "max_frequency"), [(3, 60, 4.0), (70, 60, 150.0), (130, 240, 10.0)])
def test_values_are_those_of_the_definition(n_sources, n_epochs, max_frequency):
    batch = quadrant(n_sources, n_epochs=n_epochs)
    grid = longer_grid(batch, max_frequency)
    group, curves = only_group(batch, grid)
    options = SearchOptions()
    tiles = VarianceTiles.of(group, curves, options)
    n_lanes = -(-n_sources // 64) * 64
    for first in (0, int(grid.n_frequencies.min()) - 300):
        values = np.empty((n_lanes, 300), dtype=np.float32)
        tiles.evaluate(first, values)
        for j in (0, n_sources // 2, n_sources - 1):
            frequency = grid.frequencies(j, first, first + 300)
            expected = aov_reference.statistic(curves[j], frequency, options)
            good = values[j] < tiles.limit(j)
            assert good.mean() > 0.9
            assert np.max((np.abs(values[j] - expected) / np.abs(expected))[good]) < TOLERANCE
    if max_frequency == 150.0:
        assert on_edges(group, first) > 0.02


def on_edges(group, first):
    """Part of the entries that belong to some sources only."""
    shape = (300, 2 * group.epoch.size)
    order, threshold = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.float32)
    bounds = np.empty((300, 61), dtype=np.int64)
    fill_entries(group.epoch, group.reach, group.start + first * group.step, group.step, 20, order, threshold, bounds)
    clean = (bounds[:, 1::3] - bounds[:, :-1:3]).sum()
    return 1.0 - clean / bounds[:, -1].sum()


def test_more_than_255_points_in_one_bin():
    rng = np.random.default_rng(0)
    nights = np.arange(330.0)
    mags = [rng.normal(15.0, 0.1, nights.size) for _ in range(3)]
    # All points but the first in one bin at 1 cycle/d.
    times = [2_458_000.5 + nights + 0.33 * (nights > 0) for _ in range(3)]
    batch = LightCurveBatch.from_lists(np.arange(3), times, mags, mags)
    grid = make_grid(batch, max_frequency=2.0, samples_per_peak=10)
    grid = replace(grid, minimum=np.full(3, 1.0), step=grid.step / 1.0137)
    group, curves = only_group(batch, grid)
    tiles = VarianceTiles.of(group, curves, SearchOptions())
    values = np.empty((64, 5), dtype=np.float32)
    tiles.evaluate(0, values)
    expected = aov_reference.statistic(curves[1], grid.frequencies(1, 0, 5), SearchOptions())
    np.testing.assert_allclose(values[1], expected, rtol=1e-5)


@pytest.mark.parametrize("noise", [0.05, 1e-5])
def test_search_gives_what_the_kernel_gives(noise):
    together = quadrant(45, noise=noise)
    alone = quadrant(3, n_epochs=40, baseline=90.0, noise=noise, seed=5)
    broken = LightCurveBatch.from_lists([7], [[1.0, 2.0, 3.0]], [[1.0, np.nan, 2.0]], [[0.1, 0.1, 0.1]])
    batch = LightCurveBatch.concatenate([together, alone, broken])
    grid = longer_grid(batch, 4.0)
    options = SearchOptions(n_peaks=3, exclude=((0.9, 1.1),), return_spectrum=True)
    found = cpu.run(batch, grid, options)
    expected = registry.load("aov", "cpu")(batch, grid, options)
    np.testing.assert_array_equal(found.status, expected.status)
    assert found.status[-1] == SearchStatus.INVALID_POINTS
    np.testing.assert_allclose(found.frequency[:, 0], expected.frequency[:, 0], rtol=1e-9)
    np.testing.assert_allclose(found.statistic[:, 0], expected.statistic[:, 0], rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(found.significance[:, 0], expected.significance[:, 0], rtol=1e-3)
    np.testing.assert_allclose(
        found.false_alarm_probability[:, 0], expected.false_alarm_probability[:, 0], rtol=1e-2, atol=1e-300
    )
    for ours, theirs in zip(found.spectra[:-1], expected.spectra[:-1], strict=True):
        np.testing.assert_array_equal(ours.frequency, theirs.frequency)
        error = np.abs(ours.statistic - theirs.statistic) / np.abs(theirs.statistic)
        # The usual kernel's phases are good to 2^-24 cycles: a point may lie in the next bin there.
        assert np.mean(error > 2 * TOLERANCE) < 1e-3
    assert found.spectra[-1] is None


def test_empty_batch():
    batch = quadrant(2).slice(0, 0)
    found = cpu.run(batch, make_grid(batch, max_frequency=4.0, samples_per_peak=10), SearchOptions(n_peaks=2))
    assert found.frequency.shape == (0, 2)
