from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.configuration import build, science_digest
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import NullProgress
from scope_ml.errors import (
    BackendUnavailableError,
    ConfigError,
    EmptySelectionError,
    FormatError,
    MissingColumnError,
    OutputError,
)
from scope_ml.features.period_search import PeriodSearch
from scope_ml.features.registry import feature_columns, feature_digest
from scope_ml.io.lightcurves import write_light_curves
from scope_ml.io.tables import read_table
from scope_ml.stages import feature_sources, feature_tables, generate_features
from scope_ml.stages.generate_features import GenerateFeatures, run

N_GOOD = 21

#: Cheap ones; each group has tests of its own.
GROUPS = ["basic", "period", "fourier"]


def light_curves():
    """Good light curves of two bands, then one for each reason to be dropped, then a constant one."""
    random = np.random.default_rng(0)
    times = [np.sort(random.uniform(2459000, 2459300, 60)) for _ in range(N_GOOD)]
    mags = [
        15 + 0.3 * np.sin(2 * np.pi * t / (0.4 + 0.1 * i)) + random.normal(0, 0.01, 60) for i, t in enumerate(times)
    ]
    flags = [np.zeros(60, dtype=np.int32) for _ in times]
    bad = {"no_points": 0, "all_flagged": 60, "no_valid_points": 60, "too_few_points": 9, "constant": 60}
    for kind, n in bad.items():
        times.append(np.linspace(2459000, 2459300, n))
        mags.append(np.full(n, np.nan if kind == "no_valid_points" else 15.0))
        flags.append(np.full(n, 4 if kind == "all_flagged" else 0, dtype=np.int32))
    errors = [np.full(len(t), 0.02) for t in times]
    ids = np.arange(len(times), dtype=np.int64) + 2**53 + 1
    return LightCurveBatch.from_lists(ids, times, mags, errors, flags=flags)


@pytest.fixture
def source(tmp_path):
    batch = light_curves()
    bands = ["g" if i % 3 else "r" for i in range(len(batch))]
    n = len(batch)
    rows = pa.table(
        {"id": batch.id, "source_id": batch.id // 3, "band": bands, "ra": np.arange(n) * 1.5, "dec": [4.0] * n}
    )
    write_light_curves(batch, rows, tmp_path / "curves.parquet")
    return tmp_path / "curves.parquet"


def config_for(source, output, *, band=None, limit=None, cleaning=None, **machine):
    return build(
        GenerateFeatures,
        {
            "source": {"path": str(source)},
            "output": str(output),
            "band": band,
            "limit": limit,
            "cleaning": {"min_n_obs": 30, "min_cadence_minutes": 0, **(cleaning or {})},
            "period_search": {"max_frequency": 3.0, "samples_per_peak": 5},
            "features": {"groups": GROUPS},
            "machine": {"workers": 2, "max_batch_sources": 4, **machine},
        },
    )


def generate(source, output, **options):
    return run(config_for(source, output, **options), progress=NullProgress())


def test_every_light_curve_is_kept_or_dropped_with_its_reason(source, tmp_path):
    output = tmp_path / "out" / "features.parquet"
    report = generate(source, output)
    assert report.n_in == N_GOOD + 5
    assert report.n_out == N_GOOD + 1
    reasons = ["no_points", "all_flagged", "no_valid_points", "too_few_points"]
    assert report.dropped == dict.fromkeys(reasons, 1)
    assert report.facts["status"] == {"ok": N_GOOD, "constant": 1}
    assert report.facts["points_in"] == 60 * N_GOOD + 189
    assert report.facts["points_dropped"]["flagged"] == 60
    assert report.facts["points_dropped"]["not_finite"] == 60
    table = read_table(output, kind="features")
    ids = light_curves().id
    assert table.data["id"].to_pylist() == [*ids[:N_GOOD], ids[-1]]
    assert table.data["ra"][1].as_py() == 1.5
    assert table.data["band"][:3].to_pylist() == ["r", "g", "g"]
    assert table.data["source_id"][4].as_py() == ids[4] // 3
    assert table.data["field"].null_count == N_GOOD + 1
    np.testing.assert_allclose(table.data["period_ls"].to_numpy()[:5], 0.4 + 0.1 * np.arange(5), rtol=2e-3)
    dropped = read_table(tmp_path / "out" / "features.parquet.dropped.parquet").data
    assert dropped["reason"].to_pylist() == reasons
    assert dropped["n_obs"].to_pylist() == [0, 0, 0, 9]
    assert dropped["n_obs_raw"].to_pylist() == [0, 60, 60, 9]
    assert sorted(path.name for path in output.parent.iterdir()) == [
        "features.parquet",
        "features.parquet.dropped.parquet",
        "features.parquet.light_curves.parquet",
        "features.parquet.log.jsonl",
        "features.parquet.report.json",
    ]
    assert json.loads((tmp_path / "out" / "features.parquet.report.json").read_text())["n_out"] == N_GOOD + 1


def test_the_record_says_what_the_features_are(source, tmp_path):
    generate(source, tmp_path / "features.parquet")
    metadata = read_table(tmp_path / "features.parquet").metadata
    columns = feature_columns(GROUPS, "ls")
    assert tuple(metadata.facts["features"]) == columns
    assert metadata.facts["feature_digest"] == feature_digest(columns)
    assert metadata.facts["period_search"]["method"] == "ls"
    assert metadata.facts["device"] == "cpu"
    assert metadata.facts["dropped"]["all_flagged"] == 1
    assert metadata.inputs[0].n_rows == N_GOOD + 5
    assert metadata.config_digest
    assert {column.name: column.unit for column in metadata.columns}["period_ls"] == "d"
    assert str(tmp_path) not in metadata.to_json()


def test_the_table_does_not_depend_on_workers_shards_or_chunks(source, tmp_path, monkeypatch):
    generate(source, tmp_path / "a.parquet")
    first = read_table(tmp_path / "a.parquet")
    opened = feature_sources.open_light_curves
    monkeypatch.setattr(
        feature_sources, "open_light_curves", lambda path, **given: opened(path, **given, chunk_sources=3)
    )
    for workers, shard in ((1, 4), (3, 1), (2, 1000)):
        generate(source, tmp_path / "b.parquet", workers=workers, max_batch_sources=shard)
        second = read_table(tmp_path / "b.parquet")
        assert second.data.schema.equals(first.data.schema, check_metadata=True)
        # As text, in which every digit of a float stands and NaN equals NaN.
        assert str(second.data.to_pylist()) == str(first.data.to_pylist())
        assert second.metadata == first.metadata
    assert science_digest(config_for(source, tmp_path / "a.parquet")) == first.metadata.config_digest


def test_a_band_and_a_limit(source, tmp_path):
    report = generate(source, tmp_path / "r.parquet", band="r")
    assert set(read_table(tmp_path / "r.parquet").data["band"].to_pylist()) == {"r"}
    assert report.n_in == 9
    report = generate(source, tmp_path / "l.parquet", limit=6)
    assert (report.n_in, report.n_out) == (6, 6)
    assert generate(source, tmp_path / "l.parquet", band="g,r", limit=1000).n_in == N_GOOD + 5


def test_a_run_that_keeps_nothing_writes_an_empty_table(source, tmp_path):
    report = generate(source, tmp_path / "features.parquet", cleaning={"min_n_obs": 1000})
    assert report.n_out == 0
    assert "no light curve was kept" in report.warnings[0]
    full = tmp_path / "full.parquet"
    generate(source, full)
    empty = read_table(tmp_path / "features.parquet")
    assert empty.data.num_rows == 0
    assert empty.data.schema.equals(read_table(full).data.schema, check_metadata=True)


@pytest.mark.parametrize("name", ["features.h5", "features.csv"])
def test_other_formats_hold_the_same(source, tmp_path, name):
    generate(source, tmp_path / "features.parquet")
    generate(source, tmp_path / name)
    found, expected = read_table(tmp_path / name).data, read_table(tmp_path / "features.parquet").data
    assert found["id"].equals(expected["id"])
    np.testing.assert_array_equal(found["period_ls"].to_numpy(), expected["period_ls"].to_numpy())


def test_dry_run_leaves_nothing(source, tmp_path):
    report = generate(source, tmp_path / "out" / "features.parquet", dry_run=True)
    assert report.n_out == N_GOOD + 1
    assert not report.outputs
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"source": "missing.parquet"}, FormatError, "missing.parquet"),
        ({"source": "empty.parquet"}, FormatError, "empty"),
        ({"source": "columns.parquet"}, MissingColumnError, "magerr"),
        ({"output": "features.txt"}, FormatError, "suffix"),
        ({"output": "folder.parquet"}, OutputError, "it is a folder"),
        ({"output": "curves.parquet/x/features.parquet"}, OutputError, "cannot"),
        ({"band": "i"}, EmptySelectionError, "in band i"),
        ({"device": "gpu"}, BackendUnavailableError, "gpu"),
    ],
)
def test_bad_input_ends_in_one_line_and_leaves_nothing(source, tmp_path, change, error, message):
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "folder.parquet").mkdir()
    pq.write_table(pa.table({"id": [1], "hjd": [[1.0]], "mag": [[1.0]]}), tmp_path / "columns.parquet")
    before = sorted(tmp_path.rglob("*"))
    machine = {"device": change["device"]} if "device" in change else {}
    output = tmp_path / change.get("output", "features.parquet")
    with pytest.raises(error, match=message) as caught:
        generate(tmp_path / change.get("source", source.name), output, band=change.get("band"), **machine)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_contradicting_bands_and_misspelt_keys_are_named():
    values = {"source": {"path": "x", "band": "g"}, "output": "y.parquet"}
    with pytest.raises(ConfigError, match=r"band=r contradicts source\.band=g"):
        build(GenerateFeatures, {**values, "band": "r"})
    with pytest.raises(ConfigError, match=r"cleaning\.min_nobs"):
        build(GenerateFeatures, {**values, "cleaning": {"min_nobs": 3}})
    assert build(GenerateFeatures, {**values, "band": "g"}) == build(GenerateFeatures, values)


def test_machine_options_are_no_science():
    values = {"source": {"path": "x"}, "output": "y.parquet"}
    plain = build(GenerateFeatures, values)
    moved = build(GenerateFeatures, {**values, "output": "z.parquet", "machine": {"workers": 7}})
    assert science_digest(plain) == science_digest(moved)
    assert plain.machine == Machine()
    assert science_digest(build(GenerateFeatures, {**values, "band": "g"})) != science_digest(plain)


def test_the_embedded_survey_is_a_folder_with_its_light_curves_below(source, tmp_path):
    (tmp_path / "survey" / "ZTF_sources").mkdir(parents=True)
    source.rename(tmp_path / "survey" / "ZTF_sources" / "part-0.parquet")
    config = config_for(tmp_path / "survey", tmp_path / "features.parquet")
    config = replace(config, source=replace(config.source, kind="survey"))
    assert run(config, progress=NullProgress()).n_in == N_GOOD + 5


def test_parts_of_another_configuration_are_not_used(source, tmp_path, monkeypatch):
    output = tmp_path / "features.parquet"

    def stop(*_, **__):
        raise KeyboardInterrupt

    for change, n_resumed in (({"min_n_obs": 31}, 0), ({}, 7)):
        with monkeypatch.context() as patch:
            patch.setattr(feature_tables, "merge", stop)
            with pytest.raises(KeyboardInterrupt):
                generate(source, output)
        assert generate(source, output, cleaning=change).facts["n_shards_resumed"] == n_resumed


def test_parts_of_other_code_are_not_used_and_the_code_leaves_no_trace_in_the_outputs(source, tmp_path, monkeypatch):
    output = tmp_path / "a" / "features.parquet"
    asked = []

    def other_code(*packages):
        asked.append(packages)
        return "other code"

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(generate_features, "code_digest", other_code)
        generate(source, tmp_path / "b" / "features.parquet")
        patch.setattr(feature_tables, "merge", stop)
        with pytest.raises(KeyboardInterrupt):
            generate(source, output)
    assert {"kernels", "features", "io/lightcurves.py"} <= set(asked[0])
    assert generate(source, output).facts["n_shards_resumed"] == 0
    # The digests say with what code features were measured: those of other code are not taken over.
    same = (path for path in output.parent.iterdir() if not path.name.endswith((".log.jsonl", ".light_curves.parquet")))
    for path in same:
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_the_written_report_tells_what_came_out_and_not_how_the_run_went(source, tmp_path):
    for name in ("a", "b"):
        report = generate(source, tmp_path / name / "features.parquet", max_batch_sources=4 if name == "a" else 9)
    assert report.seconds > 0
    assert report.facts["n_shards"] == 3
    assert report.outputs["report"] == str(tmp_path / "b" / "features.parquet.report.json")
    written = (tmp_path / "b" / "features.parquet.report.json").read_bytes()
    assert written == (tmp_path / "a" / "features.parquet.report.json").read_bytes()
    record = json.loads(written)
    assert record.keys() == {"stage", "n_in", "n_out", "dropped", "warnings", "facts"}
    assert record["facts"].keys() == {"points_in", "points_dropped", "status", "ids_repeated"}
    assert (record["n_in"], record["dropped"]) == (report.n_in, report.dropped)


def test_legacy_names_are_written_with_their_record(source, tmp_path):
    config = replace(
        config_for(source, tmp_path / "legacy.parquet"),
        names="legacy",
        period_search=PeriodSearch(method="ls_ce_aov", max_frequency=3.0, samples_per_peak=5),
    )
    report = run(config, progress=NullProgress())
    assert report.n_out == N_GOOD + 1
    table = read_table(tmp_path / "legacy.parquet")
    assert table.data["_id"].to_pylist()[0] == 2**53 + 1
    assert {"period_ELS_ECE_EAOV", "pdot_ELS_ECE_EAOV", "significance_ECE"} <= set(table.data.column_names)
    assert not [name for name in table.data.column_names if name.endswith("_ls_ce_aov")]
    facts = table.metadata.facts
    assert facts["names"] == "legacy"
    assert facts["features"] == [name for name in table.data.column_names if name in facts["features"]]
    assert facts["feature_digest"] == feature_digest(facts["features"])


def test_legacy_names_need_a_search_of_scope(source, tmp_path):
    config = replace(
        config_for(source, tmp_path / "x.parquet"), names="legacy", period_search=PeriodSearch(method="pdm")
    )
    with pytest.raises(ConfigError, match="names=legacy has no columns for the period search 'pdm'"):
        run(config, progress=NullProgress())


def test_the_shortest_period_can_come_from_the_cadence():
    values = {"source": {"path": "x"}, "output": "o.parquet", "period_search": {"scale_min_period": True}}
    assert build(GenerateFeatures, values).period_search.max_frequency == 24.0
    finer = build(GenerateFeatures, values | {"cleaning": {"min_cadence_minutes": 5}})
    assert finer.period_search.max_frequency == 144.0
    with pytest.raises(ConfigError, match="scale_min_period=true needs"):
        build(GenerateFeatures, values | {"cleaning": {"min_cadence_minutes": 0}})
