"""Fields: every quadrant scored, a dataset a field; whoever does the work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import field_scores as scores_of
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, EmptySelectionError, FormatError, MissingColumnError
from scope_ml.io import parquet_files
from scope_ml.io.tables import read_table, write_table
from scope_ml.stages.infer import Infer
from scope_ml.stages.inference_fields import models_of, open_scoring
from scope_ml.stages.inference_pins import pinned

files, meta, placed = scores_of.files, scores_of.meta, scores_of.placed


@pytest.fixture
def features(training_tables: tuple[Path, Path], tmp_path: Path) -> Path:
    made: Path = scores_of.write_features(training_tables[0], tmp_path / "features")
    return made


@pytest.fixture
def infer(models: Path, features: Path, tmp_path: Path) -> Callable[..., Report]:
    call: Callable[..., Report] = scores_of.scoring(models, features, tmp_path)
    return call


def test_a_field_is_one_dataset_of_what_its_tables_have_alone(
    infer: Callable[..., Report], features: Path, tmp_path: Path
) -> None:
    report = infer()
    field = tmp_path / "scores" / "field_000296"
    tables = ["ccd_01_quad_2.parquet", "ccd_02_quad_1.parquet", "ccd_16_quad_4.parquet"]
    assert [Path(path).name for path in ds.dataset(field, format="parquet").files] == tables
    assert ds.dataset(tmp_path / "scores").count_rows() == 220
    assert (report.n_in, report.n_out, report.facts["n_quadrants"]) == (220, 220, 3)
    assert report.facts["n_quadrants_without_light_curves"] == 1
    for name in tables:
        infer(field=None, features=str(features / field.name / name), output=str(tmp_path / "alone.parquet"))
        assert (tmp_path / "alone.parquet").read_bytes() == (field / name).read_bytes()
    assert not (tmp_path / "alone.parquet.missing.parquet").exists()
    empty = read_table(field / tables[2], kind="predictions").data
    assert empty.num_rows == 0
    assert empty.schema.equals(read_table(field / tables[0]).data.schema)


def test_the_exact_models_and_all_counts_stand_beside_the_tables(
    infer: Callable[..., Report], features: Path, models: Path, tmp_path: Path
) -> None:
    report = infer()
    found = meta(tmp_path)
    record = read_table(tmp_path / "scores/field_000296/ccd_01_quad_2.parquet", columns=()).metadata
    assert {f"{one['tag']}_{one['algorithm']}": one["digest"] for one in found["models"]} == record.facts["models"]
    assert {one["threshold"] for one in found["models"]} == {0.7}
    rows = [(one["ccd"], one["quad"], one["n_light_curves"]) for one in found["quadrants"]]
    assert rows == [(1, 2, 100), (2, 1, 120), (16, 4, 0)]
    assert found["n_light_curves"] == 220 == sum(one["n_light_curves"] for one in found["quadrants"])
    assert len(found["quadrants_without_features"]) == report.facts["n_quadrants_without_features"] == 61
    (line,) = [line for line in report.warnings if "have no feature table" in line]
    assert line.startswith(
        "61 of 64 quadrants of field 296 have no feature table and no scores: field 296 ccd 1 quad 1,"
    )
    pins = json.loads((tmp_path / "scores/field_000296/_models.lock.json").read_text())
    assert [pin["digest"] for pin in pins] == [one["digest"] for one in found["models"]]
    drift = json.loads((tmp_path / "scores/field_000296/_drift.json").read_text())
    both = read_table(tmp_path / "scores/field_000296/ccd_01_quad_2.parquet").data.num_rows + 120
    assert drift["n_rows"] == both
    write_table(
        pa.concat_tables(
            [read_table(path).data for path in sorted((features / "field_000296").glob("*[0-9].parquet"))]
        ),
        tmp_path / "joined.parquet",
        read_table(features / "field_000296/ccd_01_quad_2.parquet").metadata,
    )
    infer(field=None, features=str(tmp_path / "joined.parquet"), output=str(tmp_path / "joined_scores.parquet"))
    assert json.loads((tmp_path / "joined_scores.parquet.drift.json").read_text()) == drift


@pytest.mark.parametrize(
    ("field", "scored"), [(297, [297]), ([296, 297], [296, 297]), ("296-300", [296, 297]), ("all", [296, 297])]
)
def test_fields_as_people_type_them(
    infer: Callable[..., Report], tmp_path: Path, field: Any, scored: list[int]
) -> None:
    report = infer(field=field)
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == [f"field_{one:06d}" for one in scored]
    assert report.facts["n_fields"] == len(scored)
    assert any("2 of 5 fields 296-300" in line for line in report.warnings) == (field == "296-300")


def test_a_missing_field_says_which_there_are(infer: Callable[..., Report], tmp_path: Path) -> None:
    with pytest.raises(EmptySelectionError, match=r"no features of field 300; it has 296, 297$"):
        infer(field=300)
    with pytest.raises(EmptySelectionError, match=r"no features of field 298, 299, 300; it has 296, 297"):
        infer(field="298-300")
    with pytest.raises(EmptySelectionError, match="no features of field 298; it has"):
        infer(field=[296, 298])
    with pytest.raises(FormatError, match="does not exist; give features=FOLDER_OR_TABLE"):
        infer(features=str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmptySelectionError, match="generate_features target=field"):
        infer(features=str(tmp_path / "empty"))
    with pytest.raises(
        ConfigError, match=r"output=.*scores.parquet cannot be a file; give a folder, such as output=.*scores$"
    ):
        infer(output=str(tmp_path / "scores.parquet"))
    with pytest.raises(ConfigError, match="backwards"):
        infer(field="300-296")
    assert not (tmp_path / "scores").exists()


def test_two_processes_make_the_same(infer: Callable[..., Report], tmp_path: Path) -> None:
    alone = infer(field="all")
    shared = infer(field="all", output=str(tmp_path / "shared"), executor={"processes": 2})
    assert files(tmp_path / "shared") == files(tmp_path / "scores")
    run_facts = ("warnings", "seconds", "outputs")
    one, other = ({k: v for k, v in vars(report).items() if k not in run_facts} for report in (alone, shared))
    assert one == other
    assert set(alone.warnings) <= {line.replace("shared", "scores") for line in shared.warnings}
    (lock,) = (tmp_path / "shared.run").glob("models-*/models.lock.json")
    planned = json.loads((tmp_path / "shared.run" / "plan.json").read_text())["config"]
    assert (planned["models"], planned["bundles"]) == (str(lock), str(lock.parent))


def test_models_of_a_run_stay_what_they_were(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "models")
    values = {"field": 296, "output": str(tmp_path / "scores"), "models": str(tmp_path / "models")}
    config = build(Infer, {**values, "tracking": {"enabled": False}})
    before = models_of(config)
    run_config = pinned(config, before)
    shutil.rmtree(tmp_path / "models")
    after = models_of(run_config)
    assert [model.pin for model in after] == [model.pin for model in before]
    assert all(tmp_path / "scores.run" in model.folder.parents for model in after)
    assert len(open_scoring(run_config, after, 1).bundles) == 2
    assert pinned(run_config, after) == run_config
    assert not list((tmp_path / "scores.run").glob(".*"))


def test_one_table_of_all_quadrants(
    infer: Callable[..., Report], features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    infer(field="all")
    rng = np.random.default_rng(1)
    tables = [read_table(path) for path in sorted(features.rglob("*[0-9].parquet"))]
    data = pa.concat_tables([table.data for table in tables])
    data = data.take(pa.array(rng.permutation(data.num_rows)))
    nowhere = data.slice(0, 5).set_column(data.column_names.index("quad"), "quad", pa.nulls(5, pa.int32()))
    monkeypatch.setattr(parquet_files, "ROW_GROUP_ROWS", 37)
    write_table(pa.concat_tables([data, nowhere]), tmp_path / "one.parquet", tables[0].metadata)
    report = infer(field="all", features=str(tmp_path / "one.parquet"), output=str(tmp_path / "of_one"), batch_rows=17)
    assert (report.n_in, report.n_out, report.dropped) == (245, 240, {"no_quadrant": 5})
    assert any("5 rows" in line and "of no quadrant" in line for line in report.warnings)
    for path in sorted((tmp_path / "scores").rglob("ccd_*.parquet")):
        if path.parent.name == "_missing":
            continue
        other = tmp_path / "of_one" / path.relative_to(tmp_path / "scores")
        expected = read_table(path).data.sort_by("id")
        if not expected.num_rows:
            assert not other.exists()
            continue
        assert read_table(other).data.sort_by("id").equals(expected)
    write_table(tables[0].data.drop_columns(["ccd"]), tmp_path / "no_ccd.parquet", tables[0].metadata)
    with pytest.raises(MissingColumnError, match=r"to score it by field.*ccd"):
        infer(features=str(tmp_path / "no_ccd.parquet"))


def test_every_missing_feature_of_every_light_curve_is_flagged(
    infer: Callable[..., Report], features: Path, models: Path, tmp_path: Path
) -> None:
    path = features / "field_000296" / "ccd_01_quad_2.parquet"
    table = read_table(path)
    data = table.data
    wrong = {"skew": {0: np.nan, 7: np.inf}, "iqr": {7: 1e300, 8: np.nan}, "roms": {7: np.nan}}
    for name, values in wrong.items():
        column = data[name].to_numpy().copy()
        for row, value in values.items():
            column[row] = value
        mask = np.arange(len(column)) == (9 if name == "roms" else -1)
        data = data.set_column(data.column_names.index(name), name, pa.array(column, mask=mask))
    write_table(data, path, table.metadata)
    report = infer(batch_rows=8)
    listed = read_table(tmp_path / "scores/field_000296/_missing/ccd_01_quad_2.parquet", kind="missing_features")
    ids = data["id"].to_pylist()
    names = data.column_names
    expected = {0: ["skew"], 7: ["roms", "iqr", "skew"], 8: ["iqr"], 9: ["roms"]}
    expected = {row: sorted(features, key=names.index) for row, features in expected.items()}
    assert listed.data["id"].to_pylist() == [ids[row] for row in expected]
    assert listed.data["features"].to_pylist() == list(expected.values())
    counts = {"n_light_curves": 4, "features": {"iqr": 2, "roms": 2, "skew": 2}}
    assert report.facts["missing_features"] == listed.metadata.facts == counts == meta(tmp_path)["missing_features"]
    scores = read_table(tmp_path / "scores/field_000296/ccd_01_quad_2.parquet").data
    assert scores.num_rows == 100
    # The models fill in what is missing, by themselves: no other row has a say.
    write_table(data.slice(7, 1), tmp_path / "row.parquet", table.metadata)
    infer(field=None, features=str(tmp_path / "row.parquet"), output=str(tmp_path / "row_scores.parquet"), flags=True)
    assert read_table(tmp_path / "row_scores.parquet").data.equals(scores.slice(7, 1).combine_chunks())
    assert read_table(tmp_path / "row_scores.parquet.missing.parquet").data["features"].to_pylist() == [expected[7]]


def test_a_quadrant_without_the_models_features_fails_alone(
    infer: Callable[..., Report], features: Path, models: Path, tmp_path: Path
) -> None:
    path = features / "field_000296" / "ccd_01_quad_2.parquet"
    table = read_table(path)
    lacking = [name for name in table.metadata.facts["features"] if name != "skew"]
    facts = {**table.metadata.facts, "features": lacking}
    write_table(table.data.drop_columns(["skew"]), path, replace(table.metadata, facts=facts))
    report = infer()
    assert (report.facts["n_failed"], report.n_out) == (1, 120)
    assert "skew" in report.facts["failed"][0]


def test_a_dry_run_counts_and_keeps_nothing(infer: Callable[..., Report], tmp_path: Path) -> None:
    report = infer(machine={"workers": 1, "dry_run": True})
    assert (report.n_in, report.n_out, report.outputs) == (220, 220, {})
    assert report.warnings[-1] == "dry run: nothing was kept"
    assert not list(tmp_path.glob("scores*"))


def test_forms_that_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match=r"'features' has no value.*or field=296 for the tables of a field"):
        build(Infer, {"output": "o.parquet"})
    with pytest.raises(ConfigError, match="'output' has no value"):
        build(Infer, {"features": "f.parquet"})
    with pytest.raises(ConfigError, match="executor=slurm scores quadrants; give field="):
        build(Infer, {"features": "f", "output": "o.parquet", "executor": {"kind": "slurm"}})
    settled = build(Infer, {"field": 296})
    assert (settled.features, settled.output, settled.flags) == ("results/features", "results/scores", True)
    assert build(Infer, {"features": "f", "output": "o.parquet"}).flags is False
