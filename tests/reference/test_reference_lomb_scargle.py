"""The Lomb-Scargle kernel against astropy's, which solves for each frequency by itself (method 'slow')."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.timeseries import LombScargle

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels import search
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import make_grid
from scope_ml.kernels.lomb_scargle import cpu, reference
from scope_ml.kernels.peaks import SearchOptions

#: The sums have an error of 3e-9; the bar of this project is 1e-6 on the power.
POWER = 2e-8


def light_curve(n, seed, baseline=400.0):
    random = np.random.default_rng(seed)
    t = np.sort(random.uniform(0, baseline, n))
    e = random.uniform(0.01, 0.1, n)
    return t, 15 + 0.1 * np.sin(2 * np.pi * t / 0.37 + 1) + random.normal(0, e), e


@pytest.mark.parametrize("n", [10, 60, 400])
def test_power(n):
    t, m, e = light_curve(n, seed=n)
    minimum, step, length = 2 / 400, 1 / 4000, 3000
    theirs = LombScargle(t, m, e).power(minimum + step * np.arange(length), method="slow")
    curve = Curve(time=t - t[0], mag=m - m[0], mag_err=e, band=np.zeros(n, dtype=np.int64))
    ours = np.empty(length)
    cpu.prepare(curve, SearchOptions()).evaluate(minimum, step, ours)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=POWER)
    definition = reference.statistic(curve, minimum + step * np.arange(length), SearchOptions())
    np.testing.assert_allclose(definition, theirs, rtol=0, atol=1e-9)


def test_power_of_a_grid_in_several_pieces(monkeypatch):
    t, m, e = light_curve(120, seed=1)
    batch = LightCurveBatch.from_lists([1], [t + 2458000.25], [m], [e])
    grid = make_grid(batch, max_frequency=10.0, samples_per_peak=10)
    options = SearchOptions(n_peaks=20)
    whole = cpu.run(batch, grid, options)
    monkeypatch.setattr(search, "PIECE", 1000)
    pieces = cpu.run(batch, grid, options)
    assert grid.n_frequencies[0] > 30 * 1000
    np.testing.assert_allclose(pieces.frequency, whole.frequency, rtol=1e-9)
    np.testing.assert_allclose(pieces.statistic, whole.statistic, rtol=0, atol=POWER)
    np.testing.assert_allclose(pieces.significance, whole.significance, rtol=1e-6)


def test_best_peak_and_significance():
    t, m, e = light_curve(150, seed=4)
    batch = LightCurveBatch.from_lists([1], [t + 2458000.25], [m], [e])
    grid = make_grid(batch, max_frequency=10.0, samples_per_peak=10)
    peaks = cpu.run(batch, grid, SearchOptions())
    frequency = grid.frequencies(0)
    power = LombScargle(t, m, e).power(frequency, method="cython")
    best = int(np.argmax(power))
    assert abs(peaks.frequency[0, 0] - frequency[best]) < grid.step[0] / 2
    assert peaks.statistic[0, 0] == pytest.approx(power[best], abs=POWER)
    assert peaks.significance[0, 0] == pytest.approx((power[best] - power.mean()) / power.std(), rel=1e-6)
    fine = frequency[best] + np.linspace(-1, 1, 2001) * grid.step[0]
    truth = fine[np.argmax(LombScargle(t, m, e).power(fine, method="slow"))]
    assert abs(peaks.frequency[0, 0] - truth) < 0.05 * grid.step[0]
