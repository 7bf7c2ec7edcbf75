"""Alerts counted and scored, against all pairs tried by astropy."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.errors import DataError
from scope_ml.features.alerts import AlertMatcher, alert_columns

SCORE = "classifications.braai"


def measured(source, ra, dec):
    found = AlertMatcher(source, "ZTF_alerts", 2.0).columns(np.asarray(ra, dtype=float), np.asarray(dec, dtype=float))
    return found["n_ztf_alerts"], found["mean_ztf_alert_braai"]


def test_columns():
    assert [(spec.name, spec.dtype, spec.missing, spec.sets) for spec in alert_columns()] == [
        ("n_ztf_alerts", "int32", "zero", ("ontological",)),
        ("mean_ztf_alert_braai", "double", "zero", ("ontological",)),
    ]


def test_counts_and_means_are_those_found_by_trying_all(memory_catalogs, anywhere, apart):
    ra, dec = anywhere(900, seed=5, size_deg=0.004)
    scores = np.random.default_rng(0).uniform(0, 1, 900)
    scores[::5] = np.nan
    table = pa.table(
        {"candid": np.arange(900) + 2**60, "ra": ra, "dec": dec, SCORE: pa.array(scores, from_pandas=True)}
    )
    places = anywhere(300, seed=6, size_deg=0.004)
    count, mean = measured(memory_catalogs(ZTF_alerts=table), *places)
    assert count.dtype == np.int32
    near = apart(*places, ra, dec) <= 2.0
    assert count.tolist() == near.sum(axis=1).tolist()
    assert 0 < np.count_nonzero(count) < 300
    for k in range(300):
        mine = scores[near[k]]
        expected = 0.0 if not mine.size else np.nan if np.isnan(mine).all() else np.nanmean(mine)
        np.testing.assert_allclose(mean[k], expected, rtol=1e-13, equal_nan=True)
    alone = [measured(memory_catalogs(ZTF_alerts=table), *(x[k : k + 1] for x in places))[1][0] for k in range(20)]
    np.testing.assert_array_equal(alone, mean[:20])


def test_none_unscored_and_without_place(memory_catalogs):
    table = pa.table({"candid": [1, 2, 3], "ra": [10.0, 10.0, 20.0], "dec": [0.0] * 3, SCORE: [0.5, None, None]})
    count, mean = measured(memory_catalogs(ZTF_alerts=table), [10, 20, 30, np.nan], [0, 0, 0, 0])
    assert count.tolist() == [2, 1, 0, 0]
    np.testing.assert_array_equal(mean, [0.5, np.nan, 0.0, np.nan])


def test_a_collection_without_scores_is_no_error(memory_catalogs):
    table = pa.table({"candid": ["x1", "x2"], "ra": [10.0, 10.0], "dec": [0.0, 0.0]})
    count, mean = measured(memory_catalogs(ZTF_alerts=table), [10, 20], [0, 0])
    assert count.tolist() == [2, 0]
    np.testing.assert_array_equal(mean, [np.nan, 0.0])
    count, mean = measured(memory_catalogs(ZTF_alerts=table.slice(0, 0)), [10], [0])
    assert (count.tolist(), mean.tolist()) == ([0], [0.0])


def test_an_alert_that_stands_twice_counts_once(memory_catalogs):
    table = pa.table({"candid": [1, 1, 2], "ra": [10.0] * 3, "dec": [0.0] * 3, SCORE: [0.2, 0.2, 0.8]})
    count, mean = measured(memory_catalogs(ZTF_alerts=table), [10], [0])
    assert (count.tolist(), mean.tolist()) == ([2], [0.5])


def test_scores_that_are_no_numbers_are_an_error(memory_catalogs):
    table = pa.table({"candid": [1], "ra": [10.0], "dec": [0.0], SCORE: ["good"]})
    with pytest.raises(DataError, match=r"catalogue 'ZTF_alerts': column 'classifications.braai' is string"):
        measured(memory_catalogs(ZTF_alerts=table), [10], [0])
