from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError
from scope_ml.features.extract import Extraction, FeatureChoice, PeriodSearch, extract_features, needed_kernels
from scope_ml.features.shards import shards

SEARCH = PeriodSearch(max_frequency=3.0, samples_per_peak=5)


def rows_for(ids):
    ids = pa.array(ids)
    nulls = {name: pa.nulls(len(ids), pa.float64()) for name in ("ra", "dec")}
    nulls |= {name: pa.nulls(len(ids), pa.int32()) for name in ("field", "ccd", "quad", "filter")}
    return pa.table({"id": ids, "source_id": ids, "band": pa.array(["r"] * len(ids)), **nulls})


def light_curves(n=3):
    random = np.random.default_rng(0)
    times = [np.sort(random.uniform(2459000, 2459500, 90)) for _ in range(n)]
    mags = [16 + 0.4 * np.sin(2 * np.pi * t / 0.773) + random.normal(0, 0.02, 90) for t in times]
    return LightCurveBatch.from_lists(list(range(n)), times, mags, [np.full(90, 0.02)] * n)


def extraction(search=SEARCH, groups=("basic", "period", "fourier")):
    return Extraction(choice=FeatureChoice(groups=groups), search=search, device="cpu")


def test_a_period_is_found_and_fitted():
    table = extract_features(light_curves(), rows_for([1, 2, 3]), extraction(), n_obs_raw=np.array([95, 90, 91]))
    np.testing.assert_allclose(table["period_ls"].to_numpy(), 0.773, rtol=1e-4)
    assert (table["significance_ls"].to_numpy() > 10).all()
    np.testing.assert_allclose(table["f1_amp_ls"].to_numpy(), 0.4, atol=0.02)
    assert (table["f1_power_ls"].to_numpy() > 0.9).all()
    assert table["n_obs"].to_pylist() == [90, 90, 90]
    assert table["n_obs_raw"].to_pylist() == [95, 90, 91]
    assert table["status"].to_pylist() == ["ok"] * 3
    assert all(499 > value > 450 for value in table["baseline"].to_pylist())


def test_a_light_curve_without_period_says_why_and_keeps_its_statistics():
    t = np.arange(60.0) + 2459000
    batch = LightCurveBatch.from_lists([1], [t], [np.full(60, 15.0)], [np.full(60, 0.1)])
    row = extract_features(batch, rows_for([1]), extraction()).to_pylist()[0]
    assert row["status"] == "constant"
    assert row["median"] == 15
    assert np.isnan(row["period_ls"])
    assert np.isnan(row["f1_power_ls"])


def test_string_ids_and_no_rows_keep_the_schema():
    full = extract_features(light_curves(), rows_for(["a", "b", "c"]), extraction())
    empty = extract_features(light_curves().slice(0, 0), rows_for(["a"]).slice(0, 0), extraction())
    assert full.schema.equals(empty.schema, check_metadata=True)
    assert full.schema.field("id").type == pa.string()
    assert full.schema.field("ra").metadata == {b"unit": b"deg"}


def test_more_peaks_have_columns_of_their_own():
    search = PeriodSearch(max_frequency=3.0, samples_per_peak=5, n_peaks=3)
    table = extract_features(light_curves(), rows_for([1, 2, 3]), extraction(search))
    first, second = table["significance_ls"].to_numpy(), table["significance_2_ls"].to_numpy()
    assert (first > second).all()
    assert np.isfinite(table["period_3_ls"].to_numpy()).all()


def test_groups_can_be_left_out():
    table = extract_features(light_curves(), rows_for([1, 2, 3]), extraction(groups=("basic",)))
    assert "median" in table.column_names
    assert not any(name.endswith("_ls") for name in table.column_names)
    assert needed_kernels(FeatureChoice(groups=("basic",)), SEARCH) == ("statistics",)
    assert set(needed_kernels(FeatureChoice(), SEARCH)) == {"statistics", "fourier", "ls"}


def test_terrestrial_windows_are_excluded_only_if_asked():
    assert PeriodSearch().excluded == ()
    assert (0.95, 1.05) in PeriodSearch(exclude_terrestrial=True).excluded
    random = np.random.default_rng(1)
    t = np.sort(random.uniform(2459000, 2459700, 400))
    m = 15 + 0.3 * np.sin(2 * np.pi * t * 1.02) + 0.1 * np.sin(2 * np.pi * t * 0.613) + random.normal(0, 0.01, 400)
    batch = LightCurveBatch.from_lists([1], [t], [m], [np.full(400, 0.01)])
    for exclude, frequency in ((False, 1.02), (True, 0.613)):
        search = PeriodSearch(max_frequency=1.5, samples_per_peak=10, exclude_terrestrial=exclude)
        table = extract_features(batch, rows_for([1]), extraction(search))
        assert 1 / table["period_ls"][0].as_py() == pytest.approx(frequency, abs=1e-3)


@pytest.mark.parametrize(
    "values",
    [
        {"terrestrial_windows": [[1.0, 0.5]]},
        {"terrestrial_windows": [[1.0]]},
        {"method": "ce"},
        {"max_frequency": 0},
        {"samples_per_peak": 1},
    ],
)
def test_mistakes_in_the_period_search_are_named(values):
    with pytest.raises(ConfigError, match=f"period_search.{next(iter(values))}"):
        build(PeriodSearch, values, "period_search")


class Source:
    """A light-curve source in memory, in chunks of any size."""

    digest = "x"

    def __init__(self, batch, sizes, flags_from=None):
        self.batch, self.sizes, self.n_rows = batch, sizes, len(batch)
        self.flags_from = flags_from

    def chunks(self):
        start = 0
        for size in self.sizes:
            batch = self.batch.slice(start, start + size)
            if self.flags_from is not None and start >= self.flags_from:
                batch = LightCurveBatch(
                    id=batch.id,
                    offsets=batch.offsets,
                    time=batch.time,
                    mag=batch.mag,
                    mag_err=batch.mag_err,
                    flags=np.zeros(batch.n_points, dtype=np.int32),
                )
            yield type("Chunk", (), {"batch": batch, "rows": rows_for(batch.id)})()
            start += size


@pytest.mark.parametrize("sizes", [[10], [1] * 10, [3, 0, 7], [4, 6], [9, 1]])
@pytest.mark.parametrize("limit", [None, 1, 4, 8, 100])
def test_shards_do_not_depend_on_the_chunks(sizes, limit):
    batch = light_curves(10)
    found = list(shards(Source(batch, sizes), size=4, limit=limit))
    n = min(10, limit or 10)
    assert [len(shard.batch) for shard in found] == [4] * (n // 4) + ([n % 4] if n % 4 else [])
    assert [shard.index for shard in found] == list(range(len(found)))
    assert [shard.first for shard in found] == list(range(0, n, 4))
    assert [name for shard in found for name in shard.rows["id"].to_pylist()] == list(range(n))
    np.testing.assert_array_equal(np.concatenate([shard.batch.time for shard in found]), batch.time[: batch.offsets[n]])


def test_a_shard_ends_where_flags_begin():
    for sizes in ([3, 7], [1, 2, 1, 6]):
        found = list(shards(Source(light_curves(10), sizes, flags_from=3), size=4))
        assert [len(shard.batch) for shard in found] == [3, 4, 3]
        assert [shard.batch.flags is None for shard in found] == [True, False, False]
