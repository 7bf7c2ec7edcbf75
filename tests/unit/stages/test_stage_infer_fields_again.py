"""Fields scored again: what is kept, refused, made again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import field_scores as scores_of
import pyarrow as pa
import pytest

from scope_ml.core.report import Report
from scope_ml.io.tables import read_table, write_table
from scope_ml.stages import inference_shards

files, meta, placed = scores_of.files, scores_of.meta, scores_of.placed


@pytest.fixture
def features(training_tables: tuple[Path, Path], tmp_path: Path) -> Path:
    made: Path = scores_of.write_features(training_tables[0], tmp_path / "features")
    return made


@pytest.fixture
def infer(models: Path, features: Path, tmp_path: Path) -> Callable[..., Report]:
    call: Callable[..., Report] = scores_of.scoring(models, features, tmp_path)
    return call


def test_a_finished_field_is_kept_by_its_digests(
    infer: Callable[..., Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = infer()
    before = files(tmp_path / "scores")
    monkeypatch.setattr(inference_shards, "score_table", pytest.fail)
    again = infer()
    assert again.facts["n_quadrants_kept"] == again.facts["n_quadrants"] == 3
    assert files(tmp_path / "scores") == before
    ran = ("n_quadrants_kept",)
    assert json.loads(again.record(without=ran)) == json.loads(first.record(without=ran))


def test_only_what_changed_is_scored_again(infer: Callable[..., Report], features: Path, tmp_path: Path) -> None:
    infer()
    before = files(tmp_path / "scores")
    path = features / "field_000296" / "ccd_02_quad_1.parquet"
    table = read_table(path)
    changed = table.data.set_column(
        table.data.column_names.index("skew"), "skew", pa.array(table.data["skew"].to_numpy() + 1.0)
    )
    write_table(changed, path, table.metadata)
    report = infer()
    after = files(tmp_path / "scores")
    differing = {name for name in after if after[name] != before.get(name)}
    assert {"field_000296/ccd_02_quad_1.parquet", "field_000296/_meta.json"} <= differing
    assert not any("ccd_01" in name or "ccd_16" in name for name in differing)
    assert report.facts["n_quadrants_kept"] == 2
    assert any(line.startswith("1 quadrants have other features") for line in report.warnings)


@pytest.mark.parametrize("stale", ["refuse", "remake"])
def test_scores_of_other_models_are_refused_or_made_again(
    infer: Callable[..., Report], tmp_path: Path, stale: str
) -> None:
    infer(classes=["pnp"])
    before = files(tmp_path / "scores")
    report = infer(stale=stale)
    if stale == "refuse":
        assert files(tmp_path / "scores") == before
        assert report.facts["n_failed"] == 3
        assert (report.n_in, report.n_out) == (0, 0)
        line = report.facts["failed"][0]
        assert line.startswith(
            f"field 296 ccd 1 quad 2: {tmp_path}/scores/field_000296/ccd_01_quad_2.parquet is stale: made"
        )
        assert "rrlyr_xgb was none, is " in line
        assert line.endswith("give another output, or type stale=remake to make it again")
        return
    assert report.facts["n_failed"] == 0
    assert {one["tag"] for one in meta(tmp_path)["models"]} == {"pnp", "rrlyr"}
    assert any("3 quadrants had been scored with other models" in line for line in report.warnings)


def test_other_options_and_other_code_are_stale_too(
    infer: Callable[..., Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    infer()
    before = files(tmp_path / "scores")
    failed = infer(consistency="cap").facts["failed"]
    assert len(failed) == 3
    assert "made with other options (" in failed[0]
    monkeypatch.setattr(inference_shards, "scoring_code", lambda periods: "other")
    failed = infer().facts["failed"]
    assert len(failed) == 3
    assert "made with other code (" in failed[0]
    assert files(tmp_path / "scores") == before


def test_a_quadrant_of_other_models_does_not_join_a_field(
    infer: Callable[..., Report], features: Path, tmp_path: Path
) -> None:
    infer(classes=["pnp"])
    place = (296, 5, 1)
    other = read_table(features / "field_000297/ccd_01_quad_1.parquet")
    data = placed(other.data.drop_columns(["ccd", "quad"]), place)
    write_table(data, features / "field_000296" / "ccd_05_quad_1.parquet", other.metadata)
    before = files(tmp_path / "scores")
    report = infer()
    assert report.facts["n_failed"] == 4
    assert any("_meta.json is stale" in line for line in report.facts["failed"])
    assert files(tmp_path / "scores") == before
    assert infer(classes=["pnp"]).facts["n_quadrants_kept"] == 3
    assert meta(tmp_path)["n_quadrants"] == 4


@pytest.mark.parametrize("broken", ["table", "report", "both", "missing"])
def test_what_is_torn_is_made_again(infer: Callable[..., Report], tmp_path: Path, broken: str) -> None:
    infer()
    before = files(tmp_path / "scores")
    field = tmp_path / "scores" / "field_000296"
    paths = {
        "table": field / "ccd_01_quad_2.parquet",
        "report": field / "_reports" / "ccd_01_quad_2.json",
        "missing": field / "_missing" / "ccd_01_quad_2.parquet",
    }
    for name in ("table", "report") if broken == "both" else (broken,):
        paths[name].write_bytes(paths[name].read_bytes()[:100])
    report = infer()
    assert report.facts["n_failed"] == 0
    assert report.facts["n_quadrants_kept"] == 2
    assert files(tmp_path / "scores") == before


def test_a_table_without_report_of_other_models_is_refused(infer: Callable[..., Report], tmp_path: Path) -> None:
    infer(classes=["pnp"])
    shutil.rmtree(tmp_path / "scores" / "field_000296" / "_reports")
    before = files(tmp_path / "scores")
    assert infer().facts["n_failed"] == 3
    assert files(tmp_path / "scores") == before
    assert infer(classes=["pnp"]).facts["n_failed"] == 0


def test_one_bad_quadrant_does_not_stop_the_others(
    infer: Callable[..., Report], features: Path, tmp_path: Path
) -> None:
    path = features / "field_000296" / "ccd_02_quad_1.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    report = infer(field="all")
    assert report.facts["n_failed"] == 1
    assert "ccd_02_quad_1.parquet is not a readable Parquet file" in report.facts["failed"][0]
    assert (report.n_in, report.facts["n_quadrants"]) == (120, 3)
    assert meta(tmp_path)["quadrants_failed"] == [[2, 1]]
    path.write_bytes(whole)
    mended = infer(field="all")
    assert (mended.n_in, mended.facts["n_failed"], mended.facts["n_quadrants_kept"]) == (240, 0, 3)
    assert meta(tmp_path)["quadrants_failed"] == []


def test_tables_that_have_no_features_any_more_are_named(
    infer: Callable[..., Report], features: Path, tmp_path: Path
) -> None:
    infer()
    (features / "field_000296" / "ccd_02_quad_1.parquet").unlink()
    report = infer()
    (line,) = [line for line in report.warnings if "no feature table any more" in line]
    assert "1 tables of scores" in line
    assert "scores/field_000296/ccd_02_quad_1.parquet" in line
    assert meta(tmp_path)["n_light_curves"] == 100


def test_no_flags_and_no_drift_where_they_are_not_wanted(infer: Callable[..., Report], tmp_path: Path) -> None:
    report = infer(flags=False, drift=False)
    names = {Path(name).parts[1] for name in files(tmp_path / "scores")}
    assert not names & {"_missing", "_drift.json", "_drift.html"}
    assert "missing_features" not in report.facts
    # Wanted later, they are made: what was not counted cannot be told.
    assert infer().facts["n_quadrants_kept"] == 0
    assert (tmp_path / "scores/field_000296/_missing").is_dir()


def test_a_field_that_was_interrupted_takes_no_table_of_other_models(
    infer: Callable[..., Report], tmp_path: Path
) -> None:
    infer(classes=["pnp"])
    # As a kill leaves it: one table is there, what belongs to the field is not.
    field = tmp_path / "scores" / "field_000296"
    for path in [*field.rglob("ccd_0*"), field / "_meta.json"]:
        path.unlink()
    before = files(tmp_path / "scores")
    report = infer()
    assert report.facts["n_failed"] == 3
    assert any("_reports/ccd_16_quad_4.json is stale" in line for line in report.facts["failed"])
    assert files(tmp_path / "scores") == before
    assert infer(classes=["pnp"]).facts["n_failed"] == 0
