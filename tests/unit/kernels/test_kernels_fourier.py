from __future__ import annotations

import numpy as np
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.fourier import COLUMNS, FourierOptions, phase_of
from scope_ml.kernels.registry import load

devices = pytest.mark.parametrize("device", ["reference", "cpu"])


def fit(t, m, e, period, device="cpu"):
    batch = LightCurveBatch.from_lists([1], [t], [m], [e])
    columns = load("fourier", device)(batch, FourierOptions(period=np.array([period])))
    assert tuple(columns) == COLUMNS
    return {name: float(values[0]) for name, values in columns.items()}


def epochs(n=200, seed=0, baseline=1500.0):
    return np.sort(np.random.default_rng(seed).uniform(0, baseline, n)) + 2459000.0


@devices
@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize("period", [0.0312, 0.6, 37.0])
def test_known_coefficients_are_found(order, period, device):
    t = epochs()
    cosine, sine = [0.2, -0.1, 0.05, 0.04, -0.06], [0.1, 0.15, -0.08, 0.03, 0.02]
    m = 15.0 + 1e-4 * (t - t.min())
    for n in range(1, order + 1):
        # The phase by exact remainders: t / period in float64 is off by up to 1e-8 cycles here.
        angle = 2 * np.pi * n * np.fmod(t, period) / period
        m = m + cosine[n - 1] * np.cos(angle) + sine[n - 1] * np.sin(angle)
    found = fit(t, m, np.full(t.size, 0.01), period, device)
    assert found["f1_a"] == pytest.approx(15.0, abs=1e-8)
    assert found["f1_b"] == pytest.approx(1e-4, rel=1e-6)
    assert found["f1_BIC"] == pytest.approx(np.log(t.size) * (2 + 2 * order), abs=1e-4)
    amplitude, phase = np.hypot(cosine, sine), np.arctan2(cosine, sine)
    if order == 0:
        assert found["f1_power"] == 0
        assert found["f1_amp"] == 0
        assert np.isnan(found["f1_phi0"])
    else:
        assert found["f1_power"] == pytest.approx(1, abs=1e-9)
        assert found["f1_amp"] == pytest.approx(amplitude[0], rel=1e-7)
        assert found["f1_phi0"] == pytest.approx(phase[0], abs=1e-6)
    for n in range(2, 6):
        if n <= order:
            expected = ((phase[n - 1] / n - phase[0]) * n / (2 * np.pi)) % 1
            assert found[f"f1_relamp{n - 1}"] == pytest.approx(amplitude[n - 1] / amplitude[0], rel=1e-6)
            assert found[f"f1_relphi{n - 1}"] == pytest.approx(expected, abs=1e-6)
        else:
            assert found[f"f1_relamp{n - 1}"] == 0
            assert np.isnan(found[f"f1_relphi{n - 1}"])


@devices
def test_noise_takes_no_harmonic(device):
    t = epochs()
    found = fit(t, np.random.default_rng(1).normal(15, 0.02, t.size), np.full(t.size, 0.02), 0.7, device)
    assert found["f1_power"] == 0
    assert np.isnan(found["f1_relphi1"])


@devices
def test_weights_are_inverse_variances(device):
    t, random = epochs(), np.random.default_rng(2)
    e = np.where(np.arange(t.size) % 2 == 0, 0.01, 10.0)
    m = 15 + 0.3 * np.sin(2 * np.pi * np.fmod(t, 0.61) / 0.61) + np.where(e > 1, random.normal(0, 5, t.size), 0)
    assert fit(t, m, e, 0.61, device)["f1_amp"] == pytest.approx(0.3, abs=0.01)


@devices
@pytest.mark.parametrize("period", [np.nan, np.inf, 0.0, -1.0])
def test_a_period_that_is_none_gives_nan(period, device):
    t = epochs(20)
    assert all(np.isnan(value) for value in fit(t, np.sin(t), np.ones(20), period, device).values())


@devices
def test_orders_need_more_points_than_terms_and_terms_that_differ(device):
    t = epochs(5)
    m = 15 + np.sin(2 * np.pi * np.fmod(t, 0.61) / 0.61)
    found = fit(t, m, np.full(5, 1e-4), 0.61, device)
    assert found["f1_amp"] > 0
    assert found["f1_relamp1"] == 0
    # All epochs at one phase: cosine and sine are the constant again, order 0 is all there is.
    night = 2459000.0 + np.arange(40.0)
    found = fit(night, 15 + np.random.default_rng(3).normal(0, 1, 40), np.full(40, 0.01), 1.0, device)
    assert found["f1_power"] == 0
    assert np.isfinite(found["f1_BIC"])


def test_phase_at_hjd_and_short_periods():
    period = 0.02083312345
    whole = np.floor(2459000.5 / period)
    t = np.array([0.0, 0.1, 0.35]) * period + whole * period
    from decimal import Decimal

    exact = [float((Decimal(x) / Decimal(period)) % 1) for x in t]
    np.testing.assert_allclose(phase_of(t, period), exact, atol=1e-12)


def wave(seed=7, n=120):
    t, random = epochs(n, seed), np.random.default_rng(seed)
    angle = 2 * np.pi * np.fmod(t, 0.71) / 0.71
    e = random.uniform(0.01, 0.05, n)
    return t, 15 + 2e-4 * (t - t[0]) + 0.3 * np.sin(angle + 1) + 0.1 * np.sin(2 * angle) + random.normal(0, e), e


@devices
def test_a_later_start_turns_the_phase_only(device):
    t, m, e = wave()
    before, after = fit(t, m, e, 0.71, device), fit(t + 512.0, m, e, 0.71, device)
    turned = before["f1_phi0"] - 2 * np.pi * np.fmod(512.0, 0.71) / 0.71 - after["f1_phi0"]
    assert np.remainder(turned + 1, 2 * np.pi) == pytest.approx(1, abs=1e-7)
    assert after["f1_relamp1"] > 0
    for name in COLUMNS:
        if name != "f1_phi0":
            assert after[name] == pytest.approx(before[name], rel=1e-7, nan_ok=True), name


@devices
def test_fainter_magnitudes_move_the_constant_only(device):
    t, m, e = wave()
    before, after = fit(t, m, e, 0.71, device), fit(t, m + 2.25, e, 0.71, device)
    assert after["f1_a"] == pytest.approx(before["f1_a"] + 2.25, abs=1e-10)
    for name in COLUMNS:
        if name != "f1_a":
            assert after[name] == pytest.approx(before[name], rel=1e-8, nan_ok=True), name


@devices
def test_magnitudes_and_errors_in_another_unit(device):
    t, m, e = wave()
    before, after = fit(t, m, e, 0.71, device), fit(t, 4 * m, 4 * e, 0.71, device)
    for name in COLUMNS:
        factor = 4 if name in ("f1_a", "f1_b", "f1_amp") else 1
        assert after[name] == pytest.approx(factor * before[name], rel=1e-9, nan_ok=True), name


@devices
def test_constant_magnitudes(device):
    t = epochs(60)
    found = fit(t, np.full(60, 16.1), np.linspace(0.01, 0.02, 60), 0.71, device)
    for name, value in found.items():
        if name in ("f1_phi0", "f1_relphi1", "f1_relphi2", "f1_relphi3", "f1_relphi4"):
            assert np.isnan(value), name
        else:
            expected = {"f1_a": 16.1, "f1_BIC": 2 * np.log(60)}.get(name, 0.0)
            assert value == pytest.approx(expected, rel=1e-14, abs=1e-15), name


@devices
@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_points_give_nan(n, device):
    found = fit(2459000.0 + np.arange(n), np.full(n, 15.0), np.full(n, 0.01), 0.61, device)
    assert all(np.isnan(value) for value in found.values())


@devices
def test_three_points_are_a_line(device):
    # Line of least squares through 15, 15.3, 15 at 0, 1 and 2 d: 15.1, of chi2 (0.1^2 + 0.2^2 + 0.1^2) / 0.1^2.
    found = fit(2459000.0 + np.arange(3.0), np.array([15.0, 15.3, 15.0]), np.full(3, 0.1), 0.61, device)
    expected = {"f1_a": 15.1, "f1_BIC": 6 + 2 * np.log(3)}
    for name, value in found.items():
        if "ph" in name:
            assert np.isnan(value), name
        else:
            assert value == pytest.approx(expected.get(name, 0.0), abs=1e-12), name


@devices
def test_points_at_one_time_give_nan(device):
    found = fit(np.full(30, 2459000.25), np.linspace(15, 16, 30), np.full(30, 0.01), 0.61, device)
    assert all(np.isnan(value) for value in found.values())
