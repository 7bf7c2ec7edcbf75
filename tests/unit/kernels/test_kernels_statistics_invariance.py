"""What must not change the statistics, what must change them in a known way, and what may."""

from __future__ import annotations

import numpy as np
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.features.cleaning import Cleaning, clean
from scope_ml.kernels.registry import load
from scope_ml.kernels.statistics import COLUMNS

#: Numbers of points of the light curves: around the lengths of vectors, and long enough for every branch.
NUMBERS = (4, 5, 7, 16, 17, 33, 64, 200, 515)

#: They follow a shift of all magnitudes.
FOLLOW = ("median", "wmean")
#: They are ratios to a magnitude (or to wmean), so their values depend on the zero point.
DEPEND = ("norm_peak_to_peak_amp", "norm_excess_var", "ad", "sw")
#: They take points in time order; all others do not care.
ORDERED = ("inv_vonneumannratio", "welch_i", "stetson_j")


def light_curves(seed):
    """Times in multiples of 2^-16 d and magnitudes in multiples of 2^-20 mag, so that shifts are exact."""
    random = np.random.default_rng(seed)
    times = [np.sort(random.choice(900 << 16, n, replace=False)) / 65536.0 + 2458400.0 for n in NUMBERS]
    mags = [np.round((17 + random.standard_t(4, n)) * 2**20) / 2**20 for n in NUMBERS]
    return LightCurveBatch.from_lists(NUMBERS, times, mags, [random.uniform(0.05, 0.2, n) for n in NUMBERS])


def measure(batch):
    return load("statistics", "cpu")(batch, None)


def with_points(batch, **columns):
    given = {name: getattr(batch, name) for name in ("id", "offsets", "time", "mag", "mag_err")}
    return LightCurveBatch(**given | columns)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shift", [-17.0, 2.5, 256.0])
def test_a_shift_of_magnitudes(seed, shift):
    batch = light_curves(seed)
    before, after = measure(batch), measure(with_points(batch, mag=batch.mag + shift))
    for name in FOLLOW:
        np.testing.assert_allclose(after[name], before[name] + shift, rtol=0, atol=1e-12, err_msg=name)
    for name in DEPEND:
        assert np.all(np.abs(after[name] / before[name] - 1) > 1e-6), name
    for name in set(COLUMNS) - {*FOLLOW, *DEPEND}:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("shift", [-2458400.0, 1024.0])
def test_a_shift_of_times_changes_no_bit(shift):
    batch = light_curves(0)
    before, after = measure(batch), measure(with_points(batch, time=batch.time + shift))
    for name in COLUMNS:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def test_a_stretch_of_time_changes_no_bit():
    """Pairs are weighted by relative separation: a power of two cancels exactly."""
    batch = light_curves(1)
    before, after = measure(batch), measure(with_points(batch, time=batch.time * 8.0))
    for name in COLUMNS:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def test_magnitudes_and_errors_in_another_unit():
    batch = light_curves(2)
    before, after = measure(batch), measure(with_points(batch, mag=batch.mag * 4.0, mag_err=batch.mag_err * 4.0))
    lengths = ("median", "wmean", "wstd", "median_abs_dev", "iqr", "i60r", "i70r", "i80r", "i90r")
    for name in COLUMNS:
        scale = 4.0 if name in lengths else 1.0
        np.testing.assert_array_equal(after[name], scale * before[name], err_msg=name)


def test_magnitudes_upside_down():
    batch = light_curves(3)
    before, after = measure(batch), measure(with_points(batch, mag=-batch.mag))
    for name in COLUMNS:
        sign = -1.0 if name in ("median", "wmean", "norm_peak_to_peak_amp", "skew") else 1.0
        np.testing.assert_allclose(after[name], sign * before[name], rtol=1e-10, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_points_is_cleanings_business(seed):
    batch = light_curves(seed)
    random = np.random.default_rng(seed)
    mixed = np.concatenate([start + random.permutation(n) for start, n in zip(batch.offsets, NUMBERS, strict=False)])
    shuffled = with_points(batch, time=batch.time[mixed], mag=batch.mag[mixed], mag_err=batch.mag_err[mixed])
    before, after = measure(batch), measure(shuffled)
    for name in COLUMNS:
        if name in ORDERED:
            assert np.any(np.abs(after[name] - before[name]) > 1e-6), name
        else:
            np.testing.assert_allclose(after[name], before[name], rtol=1e-11, atol=1e-11, err_msg=name)
    cleaned = clean(shuffled, Cleaning(min_n_obs=1, min_cadence_minutes=0.0))
    restored = measure(cleaned.batch)
    for name in COLUMNS:
        np.testing.assert_array_equal(restored[name], before[name], err_msg=name)


def test_neighbours_in_the_batch_change_no_bit():
    """Light curves of equal length share the weights of Shapiro-Wilk, and all share room that is left dirty."""
    batches = [light_curves(seed) for seed in range(3)]
    together = LightCurveBatch.concatenate(batches)
    order = np.random.default_rng(0).permutation(len(together))
    whole = measure(together.take(order))
    for k, i in enumerate(order):
        alone = measure(together.slice(i, i + 1))
        for name in COLUMNS:
            assert whole[name][k] == alone[name][0], (name, NUMBERS[i % len(NUMBERS)])
