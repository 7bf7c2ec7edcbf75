"""The host side of the GPU search, run through the emulated device: pieces, chunks, peaks, statuses, refusals."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import BackendUnavailableError
from scope_ml.kernels.curve import check_points, make_curve
from scope_ml.kernels.grid import excluded_mask, make_grid
from scope_ml.kernels.peaks import SearchOptions, SearchStatus
from scope_ml.kernels.peaks.reference import find_peaks
from scope_ml.kernels.refine import refine_frequency

COLUMNS = ("frequency", "statistic", "significance", "false_alarm_probability", "status")


def light_curves(sizes, *, seed=1, baseline=80.0, bands=False):
    random = np.random.default_rng(seed)
    times = [2458400.5 + np.sort(random.uniform(0, baseline, n)) for n in sizes]
    errors = [random.uniform(0.01, 0.05, n) for n in sizes]
    mags = [16 + 0.3 * np.sin(2 * np.pi * t / 1.7) + random.normal(0, e) for t, e in zip(times, errors, strict=True)]
    given = {"bands": [random.integers(0, 2, n) for n in sizes]} if bands else {}
    return LightCurveBatch.from_lists(np.arange(len(sizes)), times, mags, errors, **given)


def run(name, batch, grid, **options):
    return import_module(f"scope_ml.kernels.{name}.gpu").run(batch, grid, SearchOptions(**options))


def assert_equal(found, expected, rows=slice(None)):
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(found, column), getattr(expected, column)[rows], err_msg=column)


def periodograms(case, random):
    """Values with as many ties and plateaus as a case has, in float32."""
    if case == "smooth":
        return np.convolve(random.normal(size=3200), np.ones(9) / 9, "same")[:3111]
    if case == "few values":
        return random.integers(0, 4, 2500)
    if case == "some above many":
        many = random.integers(0, 2, 2900)
        many[random.choice(2900, 40, replace=False)] += random.integers(1, 9, 40)
        return many
    if case == "constant":
        return np.full(1500, 2.5)
    if case == "rising":
        return np.arange(1100.0)
    return np.where(random.random(2600) < 0.004, random.integers(-3, 3, 2600), -9)


@pytest.mark.parametrize("case", ["smooth", "few values", "some above many", "constant", "rising", "rare"])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("windows", [(), ((0.4, 0.5), (3.0, 3.3), (7.0, 99.0))])
def test_peaks_and_moments_are_those_of_the_definition(case, sign, windows):
    chunk_room = import_module("scope_ml.kernels.gpu.chunk")
    device = import_module("scope_ml.kernels.gpu.device")
    peaks = import_module("scope_ml.kernels.gpu.peaks")
    tasks = import_module("scope_ml.kernels.gpu.tasks")
    random = np.random.default_rng(5)
    batch = light_curves([30, 30])
    grid = make_grid(batch, max_frequency=1.0, samples_per_peak=7)
    values = [periodograms(case, random).astype(np.float32) for _ in range(2)]
    grid = replace(grid, n_frequencies=np.array([value.size for value in values]))
    (chunk,) = chunk_room.chunks(batch, grid, chunk_room.searchable(batch, grid, 3))
    # Pieces as the driver cuts them, but shorter; each with its neighbours.
    whole = tasks.PIECE
    try:
        tasks.PIECE = 1024
        pieces = tasks.pieces_of_grid(grid, chunk.rows)
    finally:
        tasks.PIECE = whole
    assert pieces.row.size > 2
    buffer = np.concatenate(
        [values[r][i : i + n] for r, i, n in zip(pieces.row, pieces.index, pieces.count, strict=True)]
    )
    asked = peaks.Asked(grid=grid, rows=chunk.rows, exclude=windows, n_peaks=6, sign=sign, n_harmonics=1)
    found = peaks.start_scan(device.upload(buffer), pieces, chunk.fits, asked).finish()
    for row, value in enumerate(values):
        excluded = excluded_mask(grid.frequencies(row), windows)
        position, height, significance = find_peaks(sign * value.astype(float), excluded, n_peaks=6, separation=7)
        assert found.n_found[row] == position.size
        np.testing.assert_array_equal(found.statistic[row, : position.size], sign * height)
        np.testing.assert_allclose(found.significance[row, : position.size], significance, rtol=1e-9)
        counted = value[~excluded].astype(float)
        np.testing.assert_allclose([found.mean[row], found.scatter[row]], [counted.mean(), counted.std()], atol=1e-9)
        # The refinement of the peak at that place, by the CPU.
        index = np.rint(position)
        frequency = grid.minimum[row] + index * grid.step[row]
        expected = refine_frequency(chunk.curves[row], frequency, grid.step[row], 1, grid.bounds(row))
        centred = np.abs(position - index) < 0.49
        np.testing.assert_allclose(found.frequency[row, : position.size][centred], expected[centred], rtol=1e-9)


def test_excluded_windows_have_the_bounds_of_the_mask():
    peaks = import_module("scope_ml.kernels.gpu.peaks")
    random = np.random.default_rng(3)
    batch = light_curves([20] * 6, baseline=50.0)
    grid = make_grid(batch, max_frequency=1.5, samples_per_peak=10)
    for _ in range(40):
        row = int(random.integers(6))
        # On grid points and beside them, before the grid and after it.
        ends = grid.minimum[row] + np.sort(random.integers(-30, grid.n_frequencies[row] + 30, 2)) * grid.step[row]
        ends += random.choice([0.0, 1e-15, -1e-15, 1e-4], 2)
        window = ((float(ends[0]), float(ends[1])),)
        (((first, last),),) = peaks.excluded_indices(grid, np.array([row]), window)
        mask = np.zeros(grid.n_frequencies[row], dtype=bool)
        mask[first : last + 1] = True
        np.testing.assert_array_equal(mask, excluded_mask(grid.frequencies(row), window))


@pytest.mark.parametrize("name", ["lomb_scargle", "conditional_entropy", "analysis_of_variance"])
def test_neither_pieces_nor_chunks_nor_the_batch_show(name, monkeypatch):
    batch = light_curves([60, 45, 300, 33, 64])
    grid = make_grid(batch, max_frequency=1.5, samples_per_peak=5)
    # On the usual grid the last point lies on the edge of a bin at every frequency, and rounding decides.
    grid = replace(grid, minimum=grid.minimum / 1.0137, step=grid.step / 1.0137)
    whole = run(name, batch, grid, n_peaks=4)
    assert (whole.status == SearchStatus.OK).all()
    order = np.array([3, 1, 4, 0, 2])
    shuffled = replace(
        grid, **{key: getattr(grid, key)[order] for key in ("minimum", "step", "n_frequencies", "status")}
    )
    assert_equal(run(name, batch.take(order), shuffled, n_peaks=4), whole, order)
    monkeypatch.setattr("scope_ml.kernels.gpu.chunk.CHUNK_WORK", 1e4)
    assert_equal(run(name, batch, grid, n_peaks=4), whole)
    monkeypatch.setattr("scope_ml.kernels.gpu.tasks.PIECE", 77)
    pieces = run(name, batch, grid, n_peaks=4)
    # The phases of a piece start at its first frequency, and its sums are added up apart.
    np.testing.assert_allclose(pieces.frequency, whole.frequency, rtol=1e-9)
    np.testing.assert_allclose(pieces.significance, whole.significance, rtol=1e-4)


@pytest.mark.parametrize("everywhere", [False, True])
def test_nested_search_is_that_of_the_cpu(everywhere):
    batch = light_curves([80, 120, 10, 60], seed=6)
    grid = make_grid(batch, max_frequency=1.5, samples_per_peak=5)
    grid = replace(grid, minimum=grid.minimum / 1.0137, step=grid.step / 1.0137)
    options = SearchOptions(n_peaks=3, n_candidates=4, aov_everywhere=everywhere, exclude=((0.9, 1.1),))
    found = import_module("scope_ml.kernels.nested.gpu").run(batch, grid, options)
    expected = import_module("scope_ml.kernels.nested.reference").run(batch, grid, options)
    assert found.components.keys() == expected.components.keys()
    for own, defined in ((found, expected), *((found.components[k], expected.components[k]) for k in found.components)):
        np.testing.assert_array_equal(own.status, defined.status)
        np.testing.assert_allclose(own.frequency, defined.frequency, rtol=1e-7)
        np.testing.assert_allclose(own.statistic, defined.statistic, rtol=2e-5)
        np.testing.assert_allclose(own.significance, defined.significance, rtol=1e-3)


def broken(batch, column, value):
    values = {key: getattr(batch, key).copy() for key in ("time", "mag", "mag_err")}
    values[column][batch.offsets[1] + 2] = value
    return LightCurveBatch(id=batch.id, offsets=batch.offsets, band=batch.band, **values)


BAD_POINTS = (
    ("time", np.nan), ("mag", np.inf), ("mag", 1e40), ("mag_err", 0.0), ("mag_err", 1e-40), ("mag_err", 1e40)
)  # fmt: skip


@pytest.mark.parametrize("bands", [False, True])
def test_statuses_and_points_are_those_of_the_cpu(bands):
    flat = import_module("scope_ml.kernels.gpu.flat")
    batch = light_curves([0, 12, 3, 40, 0, 6, 2, 20, 0], bands=bands)
    time, mag = batch.time.copy(), batch.mag.copy()
    parts = [slice(int(batch.offsets[i]), int(batch.offsets[i + 1])) for i in range(len(batch))]
    time[parts[3]] = time[parts[3]][::-1]
    time[parts[7]][5] = time[parts[7]][9]
    time[parts[5]] = time[parts[5]][0]
    mag[parts[1]] = 14.0
    batch = LightCurveBatch(
        id=batch.id, offsets=batch.offsets, time=time, mag=mag, mag_err=batch.mag_err, band=batch.band
    )
    cases = [batch, *(broken(batch, *case) for case in BAD_POINTS)]
    tiny = LightCurveBatch(
        id=batch.id,
        offsets=batch.offsets,
        time=time,
        mag=mag * 1e-200,
        mag_err=batch.mag_err,
        band=batch.band,
    )
    for case in (*cases, tiny, batch.slice(0, 1), batch.slice(0, 0)):
        one_band = flat.has_one_band(case)
        np.testing.assert_array_equal(
            one_band, [case.band is None or np.unique(case[i].band).size <= 1 for i in range(len(case))]
        )
        for least in (3, 5):
            expected = [check_points(case, i, least) for i in range(len(case))]
            np.testing.assert_array_equal(flat.check(case, least, one_band), expected)
    one_band = [i for i in range(len(batch)) if batch.n_obs[i] > 0 and flat.has_one_band(batch)[i]]
    before = batch.time.copy()
    # All, and neighbours alone, which are not looked up point by point; one is not in order of time.
    for rows in (one_band, [i for i in (1, 2, 3) if i in one_band]):
        for own, index in zip(flat.take(batch, rows).curves() if rows else (), rows, strict=True):
            defined = make_curve(batch, index)
            for column in ("time", "mag", "mag_err", "band"):
                np.testing.assert_array_equal(getattr(own, column), getattr(defined, column))
            assert own.n_bands == defined.n_bands == 1
    np.testing.assert_array_equal(batch.time, before, "the batch is left as it was")


def test_an_empty_batch_and_one_without_anything_to_search():
    batch = light_curves([50, 2])
    grid = make_grid(batch, max_frequency=1.0, samples_per_peak=5)
    assert (
        run(
            "lomb_scargle", batch.slice(0, 0), make_grid(batch.slice(0, 0), max_frequency=1.0, samples_per_peak=5)
        ).status.size
        == 0
    )
    found = run("lomb_scargle", batch.slice(1, 2), make_grid(batch.slice(1, 2), max_frequency=1.0, samples_per_peak=5))
    assert list(found.status) == [SearchStatus.TOO_FEW_POINTS]
    found = run("lomb_scargle", batch, grid, exclude=((0.0, 99.0),))
    assert list(found.status) == [SearchStatus.NO_PEAK, SearchStatus.TOO_FEW_POINTS]
    assert np.isnan(found.frequency).all()


def test_a_device_with_too_little_memory_is_one_clear_line(emulated_memory):
    batch = light_curves([50])
    grid = make_grid(batch, max_frequency=40.0, samples_per_peak=5)
    free = emulated_memory["free"]
    try:
        emulated_memory["free"] = 20_000
        with pytest.raises(BackendUnavailableError, match=r"light curve 0 with 50 points .* set machine.device=cpu"):
            run("lomb_scargle", batch, grid)
    finally:
        emulated_memory["free"] = free
    device = import_module("scope_ml.kernels.gpu.device")
    with pytest.raises(BackendUnavailableError, match="too little free memory"):
        device.empty(free, np.float32)


def test_no_device_is_one_clear_line(emulated_memory):
    device = import_module("scope_ml.kernels.gpu.device")
    device.require_device()
    try:
        emulated_memory["devices"] = 0
        with pytest.raises(BackendUnavailableError, match=r"no GPU was found here; set machine\.device=cpu"):
            device.require_device()
    finally:
        emulated_memory["devices"] = 1


def test_a_kernel_that_cannot_be_compiled_is_one_clear_line(monkeypatch):
    import cupy

    device = import_module("scope_ml.kernels.gpu.device")

    def fails(**given):
        raise cupy.cuda.compiler.CompileException("no libnvrtc\nsecond line")

    monkeypatch.setattr(cupy, "RawModule", fails)
    program = device.Program(sources=("task",), name="nothing", defines=(("THREADS", 32),), per_block=1)
    with pytest.raises(BackendUnavailableError, match=r"'nothing' cannot be compiled .*\(no libnvrtc\)") as caught:
        device.launch(program, (1, 1), ())
    assert "\n" not in str(caught.value)
