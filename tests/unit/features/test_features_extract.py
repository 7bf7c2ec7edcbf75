from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.configuration import build, science_values
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError
from scope_ml.features.extract import Extraction, FeatureChoice, PeriodSearch, extract_features, searches
from scope_ml.features.period_search import READ_BY
from scope_ml.features.shards import shards
from scope_ml.kernels.peaks import SearchOptions
from scope_ml.kernels.registry import load

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


def extraction(search=SEARCH, groups=("basic", "period", "decision", "agreement", "fourier")):
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
    assert searches(FeatureChoice(groups=("basic",)), SEARCH) == ()
    assert searches(FeatureChoice(), SEARCH) == ("ls",)


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
        {"method": "ec"},
        {"max_frequency": 0},
        {"samples_per_peak": 1},
        {"also": ["lss"]},
        {"also": ["ls"]},
        {"also": ["ce", "ce"]},
        {"min_frequency": 0},
        {"min_frequency": 48.0},
        {"n_phase_bins": 1},
        {"n_mag_bins": 1000},
        {"ce_wrap": "yes"},
        {"n_harmonics": 0},
        {"n_box_bins": 3},
        {"q_min": 0.6},
        {"q_max": 1.1},
        {"n_candidates": 0},
        {"n_agreement_peaks": 0},
        {"aov_everywhere": 2},
    ],
)
def test_mistakes_in_the_period_search_are_named(values):
    with pytest.raises(ConfigError, match=f"period_search.{next(iter(values))}"):
        build(PeriodSearch, values, "period_search")


def test_each_method_of_several_has_its_columns_as_if_alone():
    search = replace(SEARCH, also=("ce", "aov"), n_peaks=2)
    table = extract_features(light_curves(), rows_for([1, 2, 3]), extraction(search))
    for method in ("ls", "ce", "aov"):
        alone = extract_features(
            light_curves(), rows_for([1, 2, 3]), extraction(replace(SEARCH, method=method, n_peaks=2))
        )
        columns = [name for name in alone.column_names if name.endswith(f"_{method}")]
        assert len(columns) == 4 + 14
        for name in columns:
            np.testing.assert_array_equal(table[name].to_numpy(), alone[name].to_numpy(), err_msg=name)


def test_agreement_compares_the_best_peaks_of_the_methods():
    table = extract_features(light_curves(), rows_for([1, 2, 3]), extraction(replace(SEARCH, also=("aov", "ce"))))
    assert table["n_total_pairs"].to_pylist() == [3.0] * 3
    assert table["agree_strict"].to_pylist() == [1.0] * 3
    np.testing.assert_array_equal(table["best_agree_period"].to_numpy(), table["period_ls"].to_numpy())
    np.testing.assert_allclose(table["best_consensus_period"].to_numpy(), 0.773, rtol=1e-3)
    # The order in which the methods are named changes nothing.
    turned = PeriodSearch(method="ce", also=("ls", "aov"), max_frequency=3.0, samples_per_peak=5)
    other = extract_features(light_curves(), rows_for([1, 2, 3]), extraction(turned))
    assert other.select(["agree_weighted", "best_agree_period"]).equals(
        table.select(["agree_weighted", "best_agree_period"])
    )
    few = extract_features(
        light_curves(), rows_for([1, 2, 3]), extraction(replace(SEARCH, also=("ce",)), groups=("period",))
    )
    assert "agree_score" not in few.column_names


def test_more_agreement_peaks_reach_further_and_change_no_period():
    batch, rows = light_curves(), rows_for([1, 2, 3])
    search = replace(SEARCH, also=("aov",), min_frequency=2.0)
    tables = [extract_features(batch, rows, extraction(replace(search, n_agreement_peaks=n))) for n in (1, 40)]
    assert tables[0].select(["period_ls", "period_aov"]).equals(tables[1].select(["period_ls", "period_aov"]))
    scores = [np.array(table["agree_score"].to_pylist()) for table in tables]
    assert (scores[1] >= scores[0]).all()
    assert (scores[1] == 1).all()


def test_a_nested_search_brings_the_periods_of_its_components():
    batch, rows = light_curves(), rows_for([1, 2, 3])
    nested = replace(SEARCH, method="ls_ce_aov", aov_everywhere=False)
    table = extract_features(batch, rows, extraction(nested))
    alone = extract_features(batch, rows, extraction(SEARCH))
    for name in ("period_ls", "significance_ls"):
        np.testing.assert_allclose(table[name].to_numpy(), alone[name].to_numpy())
    np.testing.assert_allclose(table["period_ls_ce_aov"].to_numpy(), 0.773, rtol=1e-3)
    assert "f1_amp_ls_ce_aov" in table.column_names
    assert not {"period_aov", "f1_amp_ls"} & set(table.column_names)
    # ls and ce have searched the whole grid and can be compared; aov only where aov_everywhere.
    assert table["n_total_pairs"].to_pylist() == [1.0] * 3
    whole = extract_features(batch, rows, extraction(replace(nested, aov_everywhere=True)))
    assert whole["n_total_pairs"].to_pylist() == [3.0] * 3
    own = extract_features(batch, rows, extraction(replace(SEARCH, method="aov")))
    np.testing.assert_allclose(whole["period_aov"].to_numpy(), own["period_aov"].to_numpy())


def test_searches_made_of_others_are_not_compared_with_them():
    assert PeriodSearch().compared == ("ls",)
    assert PeriodSearch(method="best", also=("ls_ce_aov",)).compared == ("ls", "ce", "aov")
    assert PeriodSearch(method="fpw", also=("best", "bls")).compared == ("bls", "fpw")
    assert PeriodSearch(method="ls_ce_aov", also=("ls", "ce", "aov")).components == ()


def test_settings_that_bind_a_model_are_those_of_its_own_method():
    alone = PeriodSearch(method="ls", max_frequency=24.0).binding
    assert PeriodSearch(method="ls", max_frequency=24.0, also=("ce",), n_mag_bins=12, n_peaks=3).binding == alone
    assert alone["method"] == "ls"
    assert alone["max_frequency"] == 24.0
    for other in ({"max_frequency": 48.0}, {"samples_per_peak": 5}, {"exclude_terrestrial": True}, {"method": "mhaov"}):
        assert PeriodSearch(**{"method": "ls", "max_frequency": 24.0} | other).binding != alone
    assert PeriodSearch(method="ce", n_mag_bins=12).binding != PeriodSearch(method="ce").binding
    assert set(READ_BY) <= set(science_values(PeriodSearch()))


def test_the_highest_frequency_can_come_from_the_cadence():
    search = PeriodSearch(scale_min_period=True)
    settled = search.scaled(30.0)
    assert (settled.max_frequency, settled.scale_min_period) == (24.0, False)
    assert PeriodSearch().scaled(30.0) == PeriodSearch()
    with pytest.raises(ConfigError, match="min_cadence_minutes above 0"):
        search.scaled(0.0)
    with pytest.raises(ConfigError, match="scale_min_period"):
        extraction(search)


def test_settings_reach_the_kernels():
    search = PeriodSearch(
        min_frequency=0.5, max_frequency=2.0, n_phase_bins=7, n_mag_bins=5, ce_wrap=True, n_harmonics=2, n_box_bins=30,
        q_min=0.1, q_max=0.2, n_candidates=4, aov_everywhere=True, n_peaks=3, exclude_terrestrial=True,
    )  # fmt: skip
    options = search.options()
    assert options == SearchOptions(
        n_peaks=3, exclude=search.excluded, n_phase_bins=7, n_mag_bins=5, wrap=True, n_harmonics=2, n_box_bins=30,
        q_min=0.1, q_max=0.2, n_candidates=4, aov_everywhere=True,
    )  # fmt: skip
    assert PeriodSearch().options() == SearchOptions()
    assert search.options(9, return_spectrum=True).n_peaks == 9
    grid = search.grid(light_curves())
    assert grid.minimum.tolist() == [0.5] * 3
    assert grid.frequencies(0)[-1] < 2.0


def test_legacy_names_are_those_of_scope():
    batch, rows = light_curves(), rows_for([11, 12, 13])
    search = replace(SEARCH, method="ls_ce_aov")
    ours = extract_features(batch, rows, extraction(search))
    legacy = extract_features(batch, rows, replace(extraction(search), names="legacy"))
    assert legacy.column_names[:9] == ["_id", "ra", "dec", "field", "ccd", "quad", "filter", "n", "median"]
    assert legacy["_id"].to_pylist() == [11, 12, 13]
    assert "id" not in legacy.column_names
    assert legacy.schema.field("ra").metadata == {b"unit": b"deg"}
    assert legacy.schema.field("f1_relamp1_ELS_ECE_EAOV").metadata == {b"unit": b"mag"}
    for theirs, mine in (
        ("median", "median"),
        ("period_ELS_ECE_EAOV", "period_ls_ce_aov"),
        ("period_ECE", "period_ce"),
        ("significance_ELS", "significance_ls"),
        ("f1_BIC_ELS_ECE_EAOV", "f1_BIC_ls_ce_aov"),
        ("status", "status"),
        ("n_obs", "n_obs"),
    ):
        assert legacy[theirs].to_pylist() == ours[mine].to_pylist()
    assert legacy["pdot_ELS_ECE_EAOV"].to_pylist() == [0.0] * 3
    amplitude = np.hypot(legacy["f1_amp_ELS_ECE_EAOV"].to_numpy(), legacy["f1_phi0_ELS_ECE_EAOV"].to_numpy())
    np.testing.assert_allclose(amplitude, ours["f1_amp_ls_ce_aov"].to_numpy())
    # SCoPe's significance of the nested search is the F of analysis of variance at its period.
    peaks = load("ls_ce_aov", "cpu")(batch, search.grid(batch), search.options())
    np.testing.assert_array_equal(legacy["significance_ELS_ECE_EAOV"].to_numpy(), peaks.statistic[:, 0])
    with pytest.raises(ConfigError, match="names=legacy has no columns for the period search 'pdm'"):
        replace(extraction(replace(SEARCH, also=("pdm",))), names="legacy")


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
