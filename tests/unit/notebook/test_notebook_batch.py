from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import scope_ml
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError, DataError
from scope_ml.notebook import batch as room

OPTIONS = {"max_frequency": 3.0, "samples_per_peak": 5}


def stars(n=9, bands=False, ids=None):
    rng = np.random.default_rng(4)
    times = [np.sort(rng.uniform(2459000, 2459300, 60 + i)) for i in range(n)]
    mags = [
        15 + 0.3 * np.sin(2 * np.pi * t / (0.5 + 0.1 * i)) + rng.normal(0, 0.02, t.size) for i, t in enumerate(times)
    ]
    names = [np.array(["g", "r"] * t.size)[: t.size] for t in times] if bands else None
    errors = [np.full(t.size, 0.02) for t in times]
    return LightCurveBatch.from_lists(range(n) if ids is None else ids, times, mags, errors, bands=names)


def test_each_row_is_the_periodogram_of_its_light_curve():
    batch = stars()
    table = scope_ml.search_periods(batch, n_peaks=3, **OPTIONS)
    assert table["id"].to_pylist() == list(range(9))
    assert table["n_obs"].to_pylist() == list(range(60, 69))
    assert set(table["status"].to_pylist()) == {"ok"}
    for i, row in enumerate(table.to_pylist()):
        curve = batch[i]
        alone = scope_ml.periodogram(curve.time, curve.mag, curve.mag_err, n_peaks=3, **OPTIONS)
        for rank, mark in enumerate(("", "_2", "_3")):
            for name in ("period", "frequency", "statistic", "significance", "false_alarm_probability"):
                assert row[f"{name}{mark}"] == getattr(alone, name)[rank], name
    assert table["period"].to_numpy() == pytest.approx(0.5 + 0.1 * np.arange(9), rel=1e-3)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_neither_pieces_nor_threads_change_the_table(workers, monkeypatch):
    batch = stars(bands=True)
    expected = scope_ml.search_periods(batch, "aov", **OPTIONS)
    monkeypatch.setitem(room.TOGETHER, "cpu", 2)
    told = []
    found = scope_ml.search_periods(batch, "aov", workers=workers, progress=lambda *n: told.append(n), **OPTIONS)
    assert found.equals(expected)
    # At most two at a time, fewer where there are many threads.
    piece = told[0][0]
    assert 1 <= piece <= 2
    assert told == [(min(done, 9), 9) for done in range(piece, 9 + piece, piece)]
    assert found["period"].num_chunks == 1


def test_a_bad_light_curve_is_a_row_with_its_status():
    good = stars(2)
    bad = LightCurveBatch.from_lists([7, 8], [[], [2459000.0] * 5], [[], np.arange(5.0)], [[], [0.1] * 5])
    table = scope_ml.search_periods(LightCurveBatch.concatenate([bad, good]), **OPTIONS)
    assert table["status"].to_pylist() == ["too_few_points", "zero_baseline", "ok", "ok"]
    assert np.isnan(table["period"].to_numpy()).tolist() == [True, True, False, False]


def test_an_empty_batch_has_the_same_columns():
    told = []
    empty = scope_ml.search_periods(stars().slice(0, 0), progress=lambda *n: told.append(n), **OPTIONS)
    assert empty.num_rows == 0
    assert empty.schema.equals(scope_ml.search_periods(stars(), **OPTIONS).schema, check_metadata=True)
    assert told == [(0, 0)]


def test_ids_come_back_as_they_are():
    large = 2**53 + 1
    assert scope_ml.search_periods(stars(2, ids=[large, 5]), **OPTIONS)["id"].to_pylist() == [large, 5]
    named = scope_ml.search_periods(stars(2, ids=["ü1", "b"]), **OPTIONS)
    assert named["id"].to_pylist() == ["ü1", "b"]
    assert named.schema.field("id").type == pa.string()


def test_units_stand_in_the_schema_and_components_at_the_end():
    table = scope_ml.search_periods(stars(2), "ls_ce_aov", n_peaks=1, aov_everywhere=True, **OPTIONS)
    assert table.column_names == [
        "id", "n_obs", "status", "period", "frequency", "statistic", "significance", "false_alarm_probability",
        "period_ls", "significance_ls", "period_ce", "significance_ce", "period_aov", "significance_aov",
    ]  # fmt: skip
    assert table.schema.field("period_ls").metadata == {b"unit": b"d"}
    assert table.schema.field("frequency").metadata == {b"unit": b"1/d"}
    alone = scope_ml.search_periods(stars(2), "ls", n_peaks=1, **OPTIONS)
    np.testing.assert_allclose(table["period_ls"].to_numpy(), alone["period"].to_numpy())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "aoov"}, "did you mean 'aov'"),
        ({"workers": -1}, "workers=-1"),
        ({"workers": 1.5}, "workers=1.5"),
        ({"max_freq": 3}, "did you mean 'max_frequency'"),
    ],
)
def test_options_that_cannot_be_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        scope_ml.search_periods(stars(1), **options)


def test_arrays_are_not_a_batch():
    with pytest.raises(DataError, match="batch is a ndarray; make a LightCurveBatch"):
        scope_ml.search_periods(np.zeros(3))


def test_an_error_of_the_caller_stops_the_search(monkeypatch):
    monkeypatch.setitem(room.TOGETHER, "cpu", 1)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scope_ml.search_periods(stars(3), workers=2, progress=stop, **OPTIONS)
