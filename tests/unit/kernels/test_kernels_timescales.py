from __future__ import annotations

import numpy as np
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.timescales import BANDS, COLUMNS, LAGS
from scope_ml.kernels.timescales.cpu import run


def measure(t, m, error=0.02):
    batch = LightCurveBatch.from_lists([1], [t + 2458400.5], [m], [np.full(t.size, error)])
    return {name: float(values[0]) for name, values in run(batch, None).items()}


def times(n=500, seed=1, baseline=2000.0):
    return np.sort(np.random.default_rng(seed).uniform(0, baseline, n))


def noise(n=500, size=0.02):
    return np.random.default_rng(2).normal(0, size, n)


def test_columns_have_an_order_and_no_repetition():
    assert len(COLUMNS) == len(set(COLUMNS)) == 50


def test_slow_sinusoids_come_out_in_the_order_of_their_size():
    t = times()
    m = 12 + 0.5 * np.sin(2 * np.pi * t / 410.0) + 0.2 * np.sin(2 * np.pi * t / 37.0 + 1) + noise()
    found = measure(t, m)
    assert found["slow_period_1"] == pytest.approx(410, rel=0.03)
    assert found["slow_period_2"] == pytest.approx(37, rel=0.01)
    assert found["slow_ratio"] == pytest.approx(37 / 410, rel=0.03)
    assert found["slow_share_1"] == pytest.approx(0.25 / 0.29, abs=0.06)
    assert found["slow_power_2"] > 0.7
    assert found["slow_left"] < 0.05
    assert 37 < 10 ** found["slow_centre"] < 410
    bands = {band: found[f"slow_band_{band}"] for band in BANDS}
    assert max(bands, key=bands.get) == 320
    assert bands[20] > 3 * bands[10]


def test_shares_and_what_is_left_are_the_whole():
    t = times(200)
    found = measure(t, 12 + noise(200, 0.3))
    shares = sum(found[f"slow_share_{k}"] for k in (1, 2, 3))
    assert shares + found["slow_left"] == pytest.approx(1.0, abs=1e-9)


def test_pairs_of_white_noise_differ_alike_at_all_separations():
    t = times(600)
    found = measure(t, 12 + noise(600))
    lags = [found[f"lag_{k}"] for k in range(4, LAGS.size)]
    np.testing.assert_allclose(lags, 1.0, atol=0.15)


def test_a_drift_grows_with_the_separation():
    t = times()
    found = measure(t, 12 + 0.001 * t + noise())
    lags = [found[f"lag_{k}"] for k in range(4, 13)]
    assert lags == sorted(lags)
    assert found["season_mean"] > 0.9
    assert found["slow_period_1"] == pytest.approx(2000, rel=0.01)


def test_lags_are_those_of_all_pairs():
    t = times(80)
    m = 12 + noise(80)
    apart, square = [], []
    for i in range(80):
        for j in range(i + 1, 80):
            apart.append(t[j] - t[i])
            square.append((m[j] - m[i]) ** 2)
    within = (np.array(apart) >= 60.0) & (np.array(apart) < 120.0)
    assert measure(t, m)["lag_8"] == pytest.approx(np.array(square)[within].mean() / (2 * m.var()), rel=1e-9)


def test_the_distribution_has_its_textbook_values():
    t = times(4000, baseline=3000.0)
    normal = measure(t, 12 + noise(4000, 0.1), error=0.1)
    for name, value in (("dist_skewness", 0.0), ("dist_kurtosis", 0.0), ("dist_skew_5", 0.0), ("dist_beyond", 0.3173)):
        assert normal[name] == pytest.approx(value, abs=0.12), name
    assert normal["dist_mid_50"] == pytest.approx(1.349 / 3.29, abs=0.02)
    assert normal["dist_eta"] == pytest.approx(2.0, abs=0.1)
    assert normal["dist_errors"] == pytest.approx(1.0, abs=0.05)
    dips = measure(t, 12 + np.random.default_rng(3).exponential(0.1, 4000))
    assert dips["dist_skewness"] == pytest.approx(2.0, abs=0.4)
    assert dips["dist_skew_5"] > 0.3


def test_short_light_curves_have_no_slow_variation_but_a_distribution():
    short = measure(times(60, baseline=30.0), 12 + noise(60))
    assert np.isnan(short["slow_period_1"])
    assert np.isnan(short["season_mean"])
    assert np.isfinite(short["dist_skewness"])
    few = measure(times(15), 12 + noise(15))
    assert np.isnan(few["slow_period_1"])
    assert np.isfinite(few["dist_eta"])


def test_the_order_of_points_does_not_matter():
    t, m = times(120), 12 + noise(120)
    order = np.random.default_rng(0).permutation(120)
    assert measure(t[order], m[order]) == pytest.approx(measure(t, m), nan_ok=True)
