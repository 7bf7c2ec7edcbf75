"""Every kernel on every device that is here, against its definition and the promises that all kernels share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.dmdt import DM_EDGES, DmDtOptions
from scope_ml.kernels.folded import FoldedOptions
from scope_ml.kernels.fourier import FourierOptions
from scope_ml.kernels.grid import make_grid
from scope_ml.kernels.peaks import SearchOptions, SearchStatus
from scope_ml.kernels.registry import KERNELS, available_devices, load, spec

#: Largest difference from the definition, absolute + relative to the value. Statistics and Fourier: float64 sums of
#: a few hundred terms in another order. dmdt: counts, which are exact. Random walk: where the steps of its search end.
#: Search: nifty-ls asks the transform for 1e-9, on powers up to 1, and the parabola divides differences of neighbouring
#: powers (some 1e-2 of the power) by one another.
TOLERANCE = dict.fromkeys(KERNELS, 1e-6) | {
    "statistics": 1e-10,
    "fourier": 1e-8,
    "dmdt": 0.0,
    "damped_random_walk": 2e-4,
}

#: Methods that count points in bins of phase, and how much longer the baseline of their grid is than the light curve's.
BINNED = {
    "conditional_entropy",
    "analysis_of_variance",
    "phase_dispersion",
    "phase_weighted",
    "box_least_squares",
    "nested",
}
STRETCH = 1.0137
#: One point within rounding of the edge of a bin at one of some 9,000 frequencies moves mean and scatter by this share.
TIE = 1e-4

#: A column of each measure that is finite from `min_n_obs` points on.
FIRST = {
    "statistics": "sw",
    "fourier": "f1_power",
    "folded": "fold_explained",
    "timescales": "dist_skewness",
    "dmdt": "dmdt",
    "damped_random_walk": "drw_log_likelihood_ratio",
}

CASES = [(name, device) for name in KERNELS for device in available_devices(name)]
#: Rows of the batch that `light_curves` makes; the last ones are short.
SHORT = (0, 1, 2, 3, 4, 8, 21)
SEARCHES = [case for case in CASES if spec(case[0]).kind == "search"]
kernels = pytest.mark.parametrize(("name", "device"), CASES, ids=["-".join(case) for case in CASES])
searches = pytest.mark.parametrize(("name", "device"), SEARCHES, ids=["-".join(case) for case in SEARCHES])


#: Upper end of the grid [1/d]; less where the definition in plain NumPy takes long.
MAX_FREQUENCY = dict.fromkeys(KERNELS, 3.0) | {"box_least_squares": 1.2, "multiharmonic": 1.2, "nested": 1.2}


#: Longer light curves that are also computed by the definition; fewer where that takes long.
N_DEFINED = dict.fromkeys(KERNELS, 8) | {"box_least_squares": 3, "multiharmonic": 3, "nested": 4}


def light_curves(n_sources=8, seed=3, shift=0.0):
    """Light curves of 30 to 120 points, then short ones; times are multiples of 2^-16 d, so that shifts are exact."""
    random = np.random.default_rng(seed)
    times, mags, errors = [], [], []
    for n in (*random.integers(30, 120, n_sources), *SHORT):
        t = np.sort(random.choice(700 << 16, n, replace=False)) / 65536.0 + 2458400.0
        period = random.uniform(0.3, 20.0)
        e = random.uniform(0.01, 0.05, n)
        m = 17 + 0.2 * np.sin(2 * np.pi * t / period) + 0.1 * np.cos(4 * np.pi * t / period) + random.normal(0, e)
        times.append(t + shift)
        mags.append(m)
        errors.append(e)
    return LightCurveBatch.from_lists(np.arange(len(times)), times, mags, errors)


def call(name, device, batch, *, max_frequency=None, periods=None, exclude=()):
    """Run a kernel of either kind; return its result as columns."""
    if spec(name).kind == "measure":
        period = np.full(len(batch), 2.7) if periods is None else periods
        options = {
            "fourier": FourierOptions(period=period),
            "folded": FoldedOptions(cycle=period),
            "dmdt": DmDtOptions(),
        }
        result = load(name, device)(batch, options.get(name))
        assert all(len(values) == len(batch) for values in result.values())
        return result
    grid = make_grid(batch, max_frequency=max_frequency or MAX_FREQUENCY[name], samples_per_peak=5)
    if name in BINNED:
        # On the grid of its own baseline the last point of a light curve lies on the edge of a bin at every frequency.
        grid = replace(grid, minimum=grid.minimum / STRETCH, step=grid.step / STRETCH)
    peaks = load(name, device)(batch, grid, SearchOptions(n_peaks=3, exclude=exclude))
    result = {"status": peaks.status.astype(float)}
    for column in ("frequency", "statistic", "significance", "false_alarm_probability"):
        assert getattr(peaks, column).shape == (len(batch), 3)
        result |= {f"{column}_{rank}": getattr(peaks, column)[:, rank] for rank in range(3)}
    return result


def columns_close(name, found, expected):
    for column, values in expected.items():
        tolerance = TIE if name in BINNED and column.startswith("significance") else TOLERANCE[name]
        # A box parts few points in the same best way at many frequencies: which of them wins is rounding.
        rows = (
            slice(None, -len(SHORT)) if name == "box_least_squares" and column.startswith("frequency") else slice(None)
        )
        np.testing.assert_allclose(found[column][rows], values[rows], rtol=tolerance, atol=tolerance, err_msg=column)


def rows_equal(found, expected, indices=slice(None)):
    for column, values in expected.items():
        np.testing.assert_array_equal(found[column], values[indices], err_msg=column)


@kernels
def test_agrees_with_the_definition(name, device):
    batch = light_curves(N_DEFINED[name])
    found, expected = call(name, device, batch), call(name, "reference", batch)
    assert found.keys() == expected.keys()
    columns_close(name, found, expected)


@searches
def test_agrees_with_the_definition_with_excluded_windows(name, device):
    batch, windows = light_curves(N_DEFINED[name]), ((0.0, 0.2), (0.9, 1.1))
    found, expected = (call(name, where, batch, exclude=windows) for where in (device, "reference"))
    columns_close(name, found, expected)
    frequencies = np.concatenate([found[f"frequency_{rank}"] for rank in range(3)])
    step = 1 / (5 * 600)
    assert np.nanmin(frequencies) > 0.2 - step
    assert not np.any((frequencies > 0.9 + step) & (frequencies < 1.1 - step))


@kernels
def test_does_not_depend_on_the_batch(name, device):
    batch = light_curves()
    whole = call(name, device, batch)
    order = np.random.default_rng(0).permutation(len(batch))
    rows_equal(call(name, device, batch.take(order)), whole, order)
    for index in (0, 5, len(batch) - 1):
        rows_equal(call(name, device, batch.slice(index, index + 1)), whole, slice(index, index + 1))


@kernels
def test_gives_the_same_twice(name, device):
    batch = light_curves()
    rows_equal(call(name, device, batch), call(name, device, batch))


@kernels
def test_does_not_depend_on_where_time_starts(name, device):
    before, after = call(name, device, light_curves()), call(name, device, light_curves(shift=1024.0))
    for column, values in before.items():
        if column == "f1_phi0":
            # The one quantity that is bound to HJD: it moves by the shift in cycles of the first harmonic.
            turned = (after[column] - values + 2 * np.pi * 1024.0 / 2.7 + np.pi) % (2 * np.pi) - np.pi
            np.testing.assert_allclose(turned[np.isfinite(turned)], 0, atol=1e-8)
        else:
            np.testing.assert_allclose(after[column], values, rtol=1e-8, atol=1e-8, err_msg=column)


@kernels
def test_constant_magnitudes_give_no_infinity(name, device):
    t = np.linspace(2458400, 2459000, 60) + np.random.default_rng(1).uniform(0, 5, 60)
    batch = LightCurveBatch.from_lists([1], [np.sort(t)], [np.full(60, 16.1)], [np.linspace(0.01, 0.02, 60)])
    result = call(name, device, batch)
    assert not any(np.isinf(values).any() for values in result.values())
    if name == "statistics":
        assert result["wstd"] == 0
        assert result["chi2red"] == 0
        assert result["wmean"] == 16.1
        assert np.isnan(result["stetson_k"])
        assert np.isnan(result["inv_vonneumannratio"])
        assert np.isfinite(result["ad"])
    elif name == "fourier":
        assert result["f1_power"] == 0
        assert result["f1_amp"] == 0
        assert result["f1_a"] == pytest.approx(16.1, abs=1e-12)
    elif name == "dmdt":
        # Every dm is 0, which begins the bin [0, 0.05).
        assert list(np.flatnonzero(result["dmdt"][0].any(axis=1))) == [DM_EDGES.index(0.0)]
        assert np.linalg.norm(result["dmdt"]) == pytest.approx(1, rel=1e-6)
    elif name == "damped_random_walk":
        assert result["drw_sigma"] == 0
        assert np.isnan(result["drw_tau"])
    elif name in ("folded", "timescales"):
        assert all(np.isnan(values).all() for values in result.values())
    else:
        assert result["status"] == SearchStatus.CONSTANT
        assert np.isnan(result["frequency_0"])


@kernels
def test_few_points_give_nan_or_a_status_never_an_infinity(name, device):
    batch = light_curves()
    result = call(name, device, batch)
    assert not any(np.isinf(values).any() for values in result.values())
    for row, n in zip(range(len(batch) - len(SHORT), len(batch)), SHORT, strict=True):
        assert batch.n_obs[row] == n
        if n >= spec(name).min_n_obs:
            assert np.isfinite(result[FIRST.get(name, "frequency_0")][row]).all()
        elif spec(name).kind == "search":
            assert result["status"][row] == SearchStatus.TOO_FEW_POINTS
            assert np.isnan(result["frequency_0"][row])
        elif name == "statistics":
            assert result["n"][row] == n
        elif name == "dmdt":
            assert not result["dmdt"][row].any()
        else:
            assert all(np.isnan(values[row]) for values in result.values())


@kernels
def test_a_bad_point_spoils_its_own_light_curve_only(name, device):
    good = light_curves()
    clean = call(name, device, good)
    for column, value in (("time", np.nan), ("mag", np.nan), ("mag", np.inf), ("mag_err", 0.0), ("mag_err", -0.1)):
        values = {key: getattr(good, key).copy() for key in ("time", "mag", "mag_err")}
        values[column][good.offsets[3] + 2] = value
        batch = LightCurveBatch(id=good.id, offsets=good.offsets, **values)
        result = call(name, device, batch)
        for key, found in result.items():
            others = np.arange(len(batch)) != 3
            np.testing.assert_array_equal(found[others], clean[key][others], err_msg=f"{key} after {column}={value}")
            if key == "status":
                assert found[3] == SearchStatus.INVALID_POINTS
            elif key != "n":
                assert np.isnan(found[3]).all(), f"{key} after {column}={value}"


@kernels
def test_repeated_times(name, device):
    random = np.random.default_rng(5)
    t = np.repeat(np.sort(random.uniform(2458400, 2458900, 40)), 2)
    m = 15 + 0.3 * np.sin(2 * np.pi * t / 1.7) + random.normal(0, 0.02, 80)
    same = np.full(30, 2458400.5)
    batch = LightCurveBatch.from_lists(
        [1, 2], [t, same], [m, random.normal(15, 0.1, 30)], [np.full(80, 0.02), np.full(30, 0.02)]
    )
    result = call(name, device, batch)
    expected = call(name, "reference", batch)
    columns_close(name, result, expected)
    assert not any(np.isinf(values).any() for values in result.values())
    if name == "statistics":
        assert np.isfinite(result["inv_vonneumannratio"][0])
        assert np.isnan(result["inv_vonneumannratio"][1])
    elif name == "fourier":
        assert np.isnan(result["f1_power"][1])
    elif name == "dmdt":
        # All pairs of the second are 0 d apart.
        assert list(np.flatnonzero(result["dmdt"][1].any(axis=0))) == [0]
    elif name in ("damped_random_walk", "folded", "timescales"):
        assert all(np.isnan(values[1]) for values in result.values())
    else:
        assert 1 / result["frequency_0"][0] == pytest.approx(1.7, rel=1e-3)
        assert result["status"][1] == SearchStatus.ZERO_BASELINE


@kernels
def test_inputs_are_not_touched_and_float32_magnitudes_are_taken(name, device):
    batch = light_curves()
    single = LightCurveBatch(
        id=batch.id,
        offsets=batch.offsets,
        time=batch.time,
        mag=batch.mag.astype(np.float32),
        mag_err=batch.mag_err.astype(np.float32),
    )
    before = [getattr(single, key).tobytes() for key in ("time", "mag", "mag_err", "offsets")]
    found = call(name, device, single)
    assert before == [getattr(single, key).tobytes() for key in ("time", "mag", "mag_err", "offsets")]
    widened = LightCurveBatch(
        id=batch.id,
        offsets=batch.offsets,
        time=batch.time,
        mag=single.mag.astype(np.float64),
        mag_err=single.mag_err.astype(np.float64),
    )
    rows_equal(found, call(name, device, widened))


@kernels
def test_a_batch_without_light_curves(name, device):
    empty = light_curves().slice(0, 0)
    assert all(len(values) == 0 for values in call(name, device, empty, periods=np.empty(0)).values())


@searches
def test_grids_too_short_and_too_long_are_statuses(name, device):
    t = np.sort(np.random.default_rng(6).uniform(0, 0.6, 30))
    # The second has a point at HJD 0: a baseline of 6,700 years.
    times = [t + 2458400, np.append(0.0, t[1:] + 2458400)]
    batch = LightCurveBatch.from_lists([1, 2], times, [t % 0.3, t % 0.3], [t + 0.1, t + 0.1])
    assert call(name, device, batch.slice(0, 1))["status"] == SearchStatus.GRID_TOO_SHORT
    assert list(call(name, device, batch, max_frequency=48.0)["status"]) == [
        SearchStatus.OK,
        SearchStatus.GRID_TOO_LONG,
    ]


@searches
def test_a_grid_of_one_frequency(name, device):
    batch = light_curves(n_sources=1).slice(0, 1)
    baseline = (batch.time.max() - batch.time.min()) * (STRETCH if name in BINNED else 1.0)
    found = call(name, device, batch, max_frequency=2.1 / baseline)
    assert found["frequency_0"][0] == pytest.approx(2 / baseline, rel=1e-12)
    assert np.isnan(found["significance_0"][0])
    assert np.isnan(found["frequency_1"][0])


@pytest.mark.parametrize("device", available_devices("lomb_scargle"))
def test_even_cadence_has_no_power_where_the_fit_is_singular(device, name="lomb_scargle"):
    t = 2458400.0 + np.arange(101) * 0.5
    random = np.random.default_rng(2)
    batch = LightCurveBatch.from_lists([1], [t], [random.normal(15, 0.1, 101)], [np.full(101, 0.1)])
    # The grid, in steps of 1/250 d from 1/25 d, holds the sampling frequency 2 /d and its half exactly.
    found = call(name, device, batch, max_frequency=2.2)
    assert found["status"][0] == SearchStatus.OK
    for rank in range(3):
        assert 0 < found[f"statistic_{rank}"][0] < 0.5
        assert abs(found[f"frequency_{rank}"][0] - 2.0) > 1e-3
