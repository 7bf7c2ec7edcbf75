"""The notebook's periodogram: any arrays end in a status or a period, and only what matters changes it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scope_ml
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.peaks import SearchStatus

OPTIONS = {"max_frequency": 2.0, "samples_per_peak": 4, "n_peaks": 3}

#: Methods of which each is one kind: a smooth one, binned ones with a minimum and a maximum, a nested one.
METHODS = ("ls", "ce", "aov", "ls_ce_aov")

LABELS = {status.label for status in SearchStatus}

#: What one point may have been turned into: what real columns hold, and what they should not.
ODD = {
    "time": (2459000.0, 2459000.0 + 1e-9, 0.0, -1e300, np.nan, np.inf),
    "mag": (15.0, 0.0, 99.0, 1e10, -1e100, np.nan, np.inf),
    "mag_err": (1e-6, 1e6, 1e-100, 1e100, 0.0, -1.0, np.nan, np.inf),
}


@st.composite
def any_light_curves(draw):
    """Few or many points, one magnitude or many, times that repeat, and at most two odd values."""
    n = draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    decimals = draw(st.sampled_from([-1, 0, 1, 8]))
    columns = {
        "time": np.round(2459000 + rng.uniform(0, 50, n), decimals),
        "mag": np.round(15 + rng.normal(0, 0.3, n), draw(st.sampled_from([0, 1, 8]))),
        "mag_err": np.full(n, draw(st.sampled_from([0.02, 1.0, 1e-8]))),
    }
    for _ in range(draw(st.integers(0, 2)) if n else 0):
        name = draw(st.sampled_from(sorted(ODD)))
        columns[name][draw(st.integers(0, n - 1))] = draw(st.sampled_from(ODD[name]))
    return tuple(columns.values())


@st.composite
def good_light_curves(draw):
    n = draw(st.integers(20, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    t = 2459000 + np.sort(rng.uniform(0, 50, n))
    frequency = draw(st.floats(0.1, 1.9))
    m = 15 + 0.5 * np.sin(2 * np.pi * frequency * t) + rng.normal(0, 0.05, n)
    return t, m, rng.uniform(0.03, 0.07, n)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=150, deadline=None)
@given(curve=any_light_curves())
def test_any_light_curve_ends_in_a_status(method, curve):
    found = scope_ml.periodogram(*curve, method=method, **OPTIONS)
    assert found.status in LABELS
    assert np.isfinite(found.period[0]) == (found.status == "ok")
    if found.status == "ok":
        usable = np.isfinite(found.period)
        baseline = np.ptp(curve[0])
        # A peak is refined by less than its width.
        assert (found.frequency[usable] > 0).all()
        assert (found.frequency[usable] < 2.0 + 1 / baseline).all()
        assert np.isfinite(found.statistic[usable]).all()
    else:
        assert np.isnan(found.statistic).all()
    assert repr(found)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15, deadline=None)
@given(curve=good_light_curves(), shift=st.integers(-2000, 2000), seed=st.integers(0, 99))
def test_order_epoch_and_zero_point_do_not_change_the_periods(method, curve, shift, seed):
    t, m, e = curve
    expected = scope_ml.periodogram(t, m, e, method=method, **OPTIONS)
    mixed = np.random.default_rng(seed).permutation(t.size)
    again = scope_ml.periodogram(t[mixed], m[mixed], e[mixed], method=method, **OPTIONS)
    np.testing.assert_array_equal(again.frequency, expected.frequency)
    # Whole days move HJD by rounding only, 5e-10 d.
    moved = scope_ml.periodogram(t + shift, m, e, method="ls", **OPTIONS)
    still = scope_ml.periodogram(t, m, e, method="ls", **OPTIONS)
    np.testing.assert_allclose(moved.frequency[0], still.frequency[0], rtol=1e-6)
    fainter = scope_ml.periodogram(t, m + 2.0, e, method="ls", **OPTIONS)
    np.testing.assert_allclose(fainter.frequency[0], still.frequency[0], rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(curves=st.lists(st.one_of(any_light_curves(), good_light_curves()), min_size=1, max_size=4))
def test_a_row_of_the_table_is_the_periodogram_of_its_light_curve(curves):
    times, mags, errors = (list(column) for column in zip(*curves, strict=True))
    batch = LightCurveBatch.from_lists(range(len(curves)), times, mags, errors)
    table = scope_ml.search_periods(batch, "aov", **OPTIONS)
    for row, curve in zip(table.to_pylist(), curves, strict=True):
        alone = scope_ml.periodogram(*curve, method="aov", **OPTIONS)
        assert row["status"] == alone.status
        np.testing.assert_array_equal([row["period"], row["period_2"], row["period_3"]], alone.period)
