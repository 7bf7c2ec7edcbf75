"""Cleaning on any light curves: nothing is lost without being counted, and cleaning twice is cleaning once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.features.cleaning import Cleaning, CleaningStatus, clean, thin

TIMES = st.one_of(st.integers(0, 40).map(lambda k: k / 64), st.sampled_from([np.nan, np.inf, 0.0]))
VALUES = st.sampled_from([15.0, 16.0, np.nan, np.inf])
ERRORS = st.sampled_from([0.1, 0.2, 0.0, -1.0, np.nan])
POINTS = st.tuples(TIMES, VALUES, ERRORS, st.sampled_from([0, 0, 1]))


@st.composite
def batches(draw):
    curves = draw(st.lists(st.lists(POINTS, max_size=12), max_size=6))
    columns = [[np.array([point[k] for point in curve], dtype=float) for curve in curves] for k in range(3)]
    flags = [np.array([point[3] for point in curve], dtype=np.int32) for curve in curves]
    return LightCurveBatch.from_lists(list(range(len(curves))), *columns, flags=flags)


CONFIGS = st.builds(
    Cleaning,
    min_n_obs=st.integers(1, 5),
    min_cadence_minutes=st.sampled_from([0.0, 30.0, 100.0]),
    max_timestamp_hjd=st.sampled_from([None, 0.3]),
    keep_flagged=st.booleans(),
)


@settings(deadline=None, max_examples=200)
@given(batches(), CONFIGS)
def test_cleaning_counts_every_point_and_keeps_good_ones_only(batch, config):
    cleaned = clean(batch, config)
    kept = cleaned.batch
    assert kept.n_points + sum(cleaned.points_dropped.values()) == batch.n_points
    assert list(kept.id) == list(batch.id)
    assert np.isfinite(kept.time).all()
    assert np.isfinite(kept.mag).all()
    assert (kept.mag_err > 0).all()
    spacing = config.min_cadence_minutes / 1440
    for i in range(len(kept)):
        gaps = np.diff(kept[i].time)
        assert (gaps > 0).all()
        assert (gaps >= spacing).all()
        assert (cleaned.status[i] == CleaningStatus.OK) == (kept.n_obs[i] >= config.min_n_obs)


@settings(deadline=None, max_examples=100)
@given(batches(), CONFIGS)
def test_cleaning_twice_is_cleaning_once(batch, config):
    once = clean(batch, config).batch
    twice = clean(once, config)
    assert sum(twice.points_dropped.values()) == 0
    np.testing.assert_array_equal(twice.batch.time, once.time)
    np.testing.assert_array_equal(twice.batch.offsets, once.offsets)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(st.integers(0, 30), max_size=15).map(sorted), max_size=5), st.integers(0, 9))
def test_thinning_keeps_the_first_point_and_drops_only_close_ones(curves, spacing):
    time = np.array([t for curve in curves for t in curve], dtype=float)
    offsets = np.concatenate([[0], np.cumsum([len(curve) for curve in curves])]).astype(np.int64)
    keep = thin(time, offsets, float(spacing))
    for start, stop in pairwise(offsets):
        last = None
        for t, stays in zip(time[start:stop], keep[start:stop], strict=True):
            assert stays == (last is None or (t - last >= spacing and t > last))
            last = t if stays else last
