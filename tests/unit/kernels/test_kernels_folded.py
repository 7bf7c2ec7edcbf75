from __future__ import annotations

import numpy as np
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.folded import COLUMNS, MIN_POINTS, FoldedOptions
from scope_ml.kernels.folded.cpu import run


def fold(t, m, cycle, error=0.01):
    batch = LightCurveBatch.from_lists([1], [t + 2458400.5], [m], [np.full(t.size, error)])
    return {name: float(values[0]) for name, values in run(batch, FoldedOptions(cycle=np.array([cycle]))).items()}


def times(n=400, seed=1, baseline=900.0):
    return np.sort(np.random.default_rng(seed).uniform(0, baseline, n))


def noise(n=400, size=0.005):
    return np.random.default_rng(2).normal(0, size, n)


def eclipses(phase, depths, width=0.05):
    """Return a curve with a dip at phase 0 and one at 1/2."""
    away = np.abs(phase - np.round(phase))
    other = np.abs(phase - 0.5)
    return depths[0] * np.exp(-0.5 * (away / width) ** 2) + depths[1] * np.exp(-0.5 * (other / width) ** 2)


def test_columns_have_an_order_and_no_repetition():
    assert len(COLUMNS) == len(set(COLUMNS)) == 77
    assert all(name.startswith("fold_") for name in COLUMNS)


def test_a_sinusoid():
    t = times()
    found = fold(t, 15 + 0.3 * np.cos(2 * np.pi * t / 1.7) + noise(), 1.7)
    assert found["fold_amplitude"] == pytest.approx(0.6, rel=0.02)
    assert found["fold_explained"] > 0.998
    assert found["fold_r21"] < 0.02
    assert found["fold_even_over_odd"] < 0.02
    assert found["fold_faint"] == pytest.approx(0.5, abs=0.02)
    assert found["fold_rise"] == pytest.approx(0.5, abs=0.03)
    assert found["fold_asymmetry"] < 0.001
    assert found["fold_phase_4"] == pytest.approx(0.5, abs=0.03)
    assert found["fold_phase_8"] == pytest.approx(1.0, abs=0.02)
    assert found["fold_scatter"] < 0.01
    # Errors of 0.01 are twice the noise.
    assert found["fold_residual_errors"] == pytest.approx(0.6745 / 2, rel=0.15)


def test_harmonics_have_their_ratio_and_phase():
    t = times()
    angle = 2 * np.pi * t / 0.6
    found = fold(t, 15 + 0.3 * np.cos(angle + 0.4) + 0.12 * np.cos(2 * angle + 1.1) + noise(), 0.6)
    assert found["fold_r21"] == pytest.approx(0.4, rel=0.02)
    assert np.arctan2(found["fold_sin21"], found["fold_cos21"]) == pytest.approx(1.1 - 0.8, abs=0.05)


def test_a_sawtooth_rises_fast():
    t = times()
    found = fold(t, 15 + 0.5 * ((t / 0.55) % 1.0) + noise(), 0.55)
    assert found["fold_rise"] < 0.2
    assert found["fold_asymmetry"] > 0.2


@pytest.mark.parametrize("second", [0.3, 0.15, 0.05])
def test_the_depths_of_eclipses_are_those_of_the_binarys_cycle(second):
    t = times(800)
    curve = 12 + eclipses((t / 3.1) % 1.0, (0.3, second)) + noise(800)
    found = fold(t, curve, 3.1)
    assert found["fold_binary_cycle"] == pytest.approx(3.1)
    assert found["fold_depth"] == pytest.approx(0.3, rel=0.15)
    assert found["fold_depth_ratio"] == pytest.approx(second / 0.3, abs=0.12)
    assert found["fold_second_phase"] < 0.03
    # Folded with half of it, it has one minimum, and the same numbers at twice that.
    half = fold(t, curve, 1.55)
    assert half["fold_binary_cycle"] == pytest.approx(3.1)
    assert half["fold_depth_ratio"] == pytest.approx(second / 0.3, abs=0.12)
    assert (half["fold_evidence_double"] > 50) == (second < 0.3)


def test_a_second_mode_is_found_where_its_kind_has_it():
    t = times(500)
    first = 15 + 0.2 * np.sin(2 * np.pi * t / 0.36) + noise(500, 0.01)
    both = first + 0.1 * np.sin(2 * np.pi * t * 0.745 / 0.36 + 1)
    alone, double = fold(t, first, 0.36), fold(t, both, 0.36)
    assert double["fold_second_double_mode"] > 5
    assert double["fold_second_double_mode_low"] > double["fold_second_double_mode_high"]
    assert double["fold_second_amplitude"] == pytest.approx(0.5, rel=0.1)
    assert alone["fold_second_double_mode"] < 2
    assert alone["fold_second_power"] < 0.1
    # From the other of the two it lies above.
    other = fold(t, both, 0.36 / 0.745)
    assert other["fold_second_double_mode_high"] > other["fold_second_double_mode_low"]


def test_no_second_modes_beyond_their_cycles():
    t = times(100)
    slow = fold(t, 15 + np.sin(2 * np.pi * t / 150.0) + noise(100), 150.0)
    assert all(np.isnan(value) == name.startswith(("fold_second_d", "fold_second_f", "fold_second_o", "fold_second_power", "fold_second_a"))
               for name, value in slow.items())  # fmt: skip


@pytest.mark.parametrize("cycle", [np.nan, 0.0, -1.0, np.inf])
def test_a_cycle_that_is_none_gives_nothing(cycle):
    t = times(60)
    assert all(np.isnan(value) for value in fold(t, 15 + noise(60), cycle).values())


def test_the_order_of_points_does_not_matter():
    t = times(120)
    m = 15 + 0.2 * np.sin(2 * np.pi * t / 2.3) + noise(120)
    order = np.random.default_rng(0).permutation(120)
    assert fold(t[order], m[order], 2.3) == fold(t, m, 2.3)


def test_few_points_give_a_tame_curve():
    t = times(MIN_POINTS, baseline=30.0)
    found = fold(t, 15 + 0.2 * np.sin(2 * np.pi * t / 2.3), 2.3)
    assert found["fold_amplitude"] < 1.0
    assert 0 <= found["fold_explained"] <= 1
