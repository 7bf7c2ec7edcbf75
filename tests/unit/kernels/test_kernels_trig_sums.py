"""Trigonometric sums: phases, both ways to sum on a lattice, and the interpolation from it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from scope_ml.kernels.trig_sums import lattice, phasor, reference
from scope_ml.kernels.trig_sums.cpu import HarmonicSums, fill_sums
from scope_ml.kernels.trig_sums.direct import DirectSummer
from scope_ml.kernels.trig_sums.interpolation import Kernel
from scope_ml.kernels.trig_sums.nufft import N_RUNS, NufftSummer

#: Ten years, and the highest frequency that is searched [1/d].
BASELINE = 3652.5
HIGHEST = 480.0

#: Error that the package promises, relative to the sum of the absolute strengths.
INTERPOLATED = 4e-9


def nearest_turn(value):
    """Return a Fraction less its nearest whole number."""
    return value - round(value)


def window_sums(sums, frequency, step, n):
    """Return all sums (n_sums, n) at evenly spaced frequencies, put together phase by phase."""
    window = sums.window(frequency, step, n)
    ratio = window.offset.shape[1]
    result = np.full((window.base.shape[0], n), np.nan, dtype=complex)
    for phase in range(min(ratio, n)):
        count = (n - phase + ratio - 1) // ratio
        block = np.empty((window.base.shape[0], 2, count))
        fill_sums(window, phase, 0, count, block)
        result[:, phase::ratio] = block[:, 0] + 1j * block[:, 1]
    return result


def expected_sums(time, lower, upper, n_harmonics, frequency):
    """Return the sums in the order of `HarmonicSums` from the definition."""
    rows = [reference.sums(time, lower, j * frequency) for j in range(1, n_harmonics + 1)]
    rows += [reference.sums(time, upper[None, :], j * frequency) for j in range(1, 2 * n_harmonics + 1)]
    return np.concatenate(rows)


def make_points(n, n_lower, seed=1, baseline=BASELINE):
    random = np.random.default_rng(seed)
    time = random.uniform(-0.5, 0.5, n) * baseline
    time[:2] = -0.5 * baseline, 0.5 * baseline
    lower, upper = random.normal(size=(n_lower, n)), random.uniform(size=n)
    return time, lower / np.abs(lower).sum(axis=1, keepdims=True), upper / upper.sum()


def test_phases_are_exact():
    time = np.random.default_rng(0).uniform(-BASELINE / 2, BASELINE / 2, 50)
    found = np.empty(50)
    for frequency in (1 / 7, 23.93447, HIGHEST - 1e-9):
        phasor.phases(frequency, time, found)
        exact = [
            float(nearest_turn(Fraction(frequency) * Fraction(t) - Fraction(p)))
            for t, p in zip(time, found, strict=True)
        ]
        np.testing.assert_allclose(exact, 0.0, atol=1e-15)
        assert np.abs(found).max() < 0.5 + 1e-9


def test_phases_of_a_lattice_are_exact():
    time = np.random.default_rng(0).uniform(-BASELINE / 2, BASELINE / 2, 50)
    spacing = 0.5 / BASELINE
    high, low = phasor.split(spacing, time)
    found = np.empty(50)
    for index in (-3, 7, 20 * int(HIGHEST / spacing) + 1):
        phasor.whole_phases(float(index), high, low, found)
        exact = [
            float(nearest_turn(index * Fraction(spacing) * Fraction(t) - Fraction(p)))
            for t, p in zip(time, found, strict=True)
        ]
        np.testing.assert_allclose(exact, 0.0, atol=1e-15)


def test_phasors():
    phase = np.concatenate((np.linspace(-0.5, 0.5, 10_001), [0.25, -0.25, 0.75, 1e-300]))
    cosine, sine = np.empty(phase.size), np.empty(phase.size)
    phasor.fill_phasors(phase, cosine, sine)
    np.testing.assert_allclose(cosine, np.cos(2 * np.pi * phase), rtol=0, atol=1e-15)
    np.testing.assert_allclose(sine, np.sin(2 * np.pi * phase), rtol=0, atol=1e-15)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("start", [-700, 0, 17_000_123])
@pytest.mark.parametrize("way", ["direct", "nufft"])
def test_sums_on_a_lattice(n, start, way):
    random = np.random.default_rng(n)
    spacing, time = 0.5, random.uniform(-0.5, 0.5, n)
    high, low = phasor.split(spacing, time)
    summer, size = (DirectSummer(high, low), 1024) if way == "direct" else (NufftSummer(high, low, 64), 64 * N_RUNS)
    strengths = random.normal(size=(2, n))
    out = np.full((2, 2, size), np.nan)
    summer.sum(start, strengths, out)
    # Whole turns taken off exactly: start * spacing is a multiple of one half.
    turns = np.array([[float(nearest_turn(Fraction(start + k) / 2 * Fraction(t))) for k in range(size)] for t in time])
    expected = strengths @ np.exp(2j * np.pi * turns)
    scale = np.abs(strengths).sum(axis=1)[:, None]
    tolerance = 1e-14 if way == "direct" else INTERPOLATED
    np.testing.assert_allclose((out[:, 0] + 1j * out[:, 1]) / scale, expected / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("reach", [0.1, 0.25, 0.5])
def test_kernel_interpolates_waves(reach):
    kernel = Kernel(reach)
    position = np.linspace(-3.0, 3.0, 61)
    first, factor = kernel.taps(position)
    near = first[:, None] + np.arange(factor.shape[1])
    for phase in np.linspace(-reach / 2, reach / 2, 9):
        found = (factor * np.exp(2j * np.pi * near * phase)).sum(axis=1) / kernel.transform(np.array([phase]))
        np.testing.assert_allclose(found, np.exp(2j * np.pi * position * phase), rtol=0, atol=INTERPOLATED)


@pytest.mark.parametrize("samples_per_peak", [1.3, 2, 3, 4, 5, 10, 17])
@pytest.mark.parametrize(("n", "n_lower", "n_harmonics"), [(2, 1, 1), (40, 1, 3), (40, 3, 2), (400, 1, 2), (400, 2, 1)])
def test_sums_at_any_density(samples_per_peak, n, n_lower, n_harmonics):
    time, lower, upper = make_points(n, n_lower)
    step = 1.0 / (samples_per_peak * BASELINE)
    sums = HarmonicSums(time, lower, upper, n_harmonics)
    for start, size in ((2.0 / BASELINE, 1000), (0.731, 64), (HIGHEST / 3, 333)):
        frequency = start + step * np.arange(size)
        expected = expected_sums(time, lower, upper, n_harmonics, frequency)
        np.testing.assert_allclose(window_sums(sums, start, step, size), expected, rtol=0, atol=INTERPOLATED)


@pytest.mark.parametrize("n", [50, 300])
def test_pieces_in_any_order_are_the_whole(n, monkeypatch):
    time, lower, upper = make_points(n, 1, baseline=100.0)
    step, start, size = 1e-3, 0.02, 120_000
    whole = window_sums(HarmonicSums(time, lower, upper, 2), start, step, size)
    # Lattices that keep a single tile compute the others again.
    monkeypatch.setattr(lattice, "KEPT_BYTES", 1)
    sums = HarmonicSums(time, lower, upper, 2)
    for begin in (0, 65_536, 40_000, 119_999, 0):
        count = min(7_001, size - begin)
        part = window_sums(sums, start + begin * step, step, count)
        np.testing.assert_allclose(part, whole[:, begin : begin + count], rtol=0, atol=INTERPOLATED)


def test_a_new_step_makes_a_new_lattice():
    time, lower, upper = make_points(60, 1, baseline=100.0)
    sums = HarmonicSums(time, lower, upper, 1)
    for step in (1e-3, 5e-4, 1e-3, 4e-3):
        expected = expected_sums(time, lower, upper, 1, 3.0 + step * np.arange(100))
        np.testing.assert_allclose(window_sums(sums, 3.0, step, 100), expected, rtol=0, atol=INTERPOLATED)


def test_tiles_that_were_passed_are_dropped():
    time, lower, upper = make_points(60, 1, baseline=100.0)
    sums = HarmonicSums(time, lower, upper, 1)
    kept = []
    for begin in range(20):
        sums.window(0.02 + begin * 65.536, 1e-3, 65_536)
        kept.append(sum(len(tiles._tiles) for tiles in sums._lattices))
    # One lattice of the frequencies, and one of up to twice the frequencies, of which the lower half has been passed.
    n_summed = 3 * 20 * 65_536 / 5 / lattice.DIRECT_TILE
    assert max(kept) < n_summed / 2
