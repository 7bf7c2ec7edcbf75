"""Single light curves: found in a table or a folder of field tables, or named as not found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import TableMetadata, digest_file
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, DataError, EmptySelectionError, FormatError, SchemaError
from scope_ml.io.tables import read_table, write_table
from scope_ml.stages.infer import Infer, run


@pytest.fixture
def features(training_tables: tuple[Path, Path], tmp_path: Path) -> Path:
    """Return a folder of three field tables of 80 rows each."""
    whole = read_table(training_tables[0])
    for number, name in enumerate(
        ("field_000296/ccd_01_quad_2", "field_000296/ccd_02_quad_1", "field_000297/ccd_01_quad_1")
    ):
        path = tmp_path / "features" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(whole.data.slice(80 * number, 80), path, whole.metadata)
    return tmp_path / "features"


@pytest.fixture
def infer(models: Path, features: Path, tmp_path: Path) -> Callable[..., Report]:
    def call(**changes: Any) -> Report:
        values: dict[str, Any] = {
            "features": str(features),
            "output": str(tmp_path / "scores.parquet"),
            "models": str(models),
            "tracking": {"enabled": False},
            "machine": {"workers": 1},
        }
        return run(build(Infer, values | changes), progress=NullProgress())

    return call


@pytest.fixture
def whole(infer: Callable[..., Report], training_tables: tuple[Path, Path], tmp_path: Path) -> pa.Table:
    """Return the scores of all rows."""
    infer(features=str(training_tables[0]), output=str(tmp_path / "whole.parquet"))
    return read_table(tmp_path / "whole.parquet").data


def test_each_id_is_answered_or_named(
    infer: Callable[..., Report], features: Path, whole: pa.Table, tmp_path: Path
) -> None:
    rows = [3, 79, 85, 200]
    ids = [whole["id"][row].as_py() for row in rows]
    write_table(
        pa.table({"ztf_id": [7, *reversed(ids), ids[0], 9]}), tmp_path / "ids.parquet", TableMetadata(kind="ids")
    )
    report = infer(ids=str(tmp_path / "ids.parquet"))
    table = read_table(tmp_path / "scores.parquet", kind="predictions")
    assert table.data.equals(whole.take(rows))
    assert (report.n_in, report.n_out) == (4, 4)
    counts = {"ids_asked": 7, "ids_repeated": 1, "ids_found": 4, "ids_not_found": 2}
    assert {name: report.facts[name] for name in counts} == counts
    lost = read_table(tmp_path / "scores.parquet.not_found.parquet", kind="ids_not_found")
    assert sorted(lost.data["id"].to_pylist()) == [7, 9]
    assert report.outputs["not_found"] == str(tmp_path / "scores.parquet.not_found.parquet")
    assert "1 of 7 ids repeat another and count once" in report.warnings
    assert any(line.startswith("2 of 6 ids have no features (7, 9); see ") for line in report.warnings)
    paths = sorted(features.rglob("*.parquet"))
    assert [(one.digest, one.n_rows) for one in table.metadata.inputs] == [
        (digest_file(path), n) for path, n in zip(paths, (2, 1, 1), strict=True)
    ]
    assert (tmp_path / "scores.parquet.missing.parquet").is_file()


def test_ids_on_the_command_line_of_a_table_or_of_some_fields(
    infer: Callable[..., Report], training_tables: tuple[Path, Path], whole: pa.Table, tmp_path: Path
) -> None:
    first, last = whole["id"][3].as_py(), whole["id"][239].as_py()
    infer(ids=[last, first], features=str(training_tables[0]))
    assert read_table(tmp_path / "scores.parquet").data.equals(whole.take([3, 239]))
    report = infer(ids=[first, last], field=297)
    assert read_table(tmp_path / "scores.parquet").data["id"].to_pylist() == [last]
    assert report.facts["ids_not_found"] == 1
    infer(ids=[str(first)])
    assert read_table(tmp_path / "scores.parquet").data["id"].to_pylist() == [first]
    infer(ids=last)
    assert read_table(tmp_path / "scores.parquet").data["id"].to_pylist() == [last]


def test_a_light_curve_in_two_tables_is_scored_in_both(
    infer: Callable[..., Report], features: Path, whole: pa.Table, tmp_path: Path
) -> None:
    table = read_table(features / "field_000297/ccd_01_quad_1.parquet")
    write_table(table.data, features / "field_000297/ccd_09_quad_1.parquet", table.metadata)
    report = infer(ids=[whole["id"][200].as_py()])
    assert (report.n_out, report.facts["ids_found"]) == (2, 1)


def test_lists_that_cannot_be_answered(
    infer: Callable[..., Report], features: Path, whole: pa.Table, tmp_path: Path
) -> None:
    with pytest.raises(EmptySelectionError, match=r"of none of the 5 light curves asked for \(1, 2, 3, \.\.\.\)"):
        infer(ids=[1, 2, 3, 4, 5])
    with pytest.raises(ConfigError, match=r"ids is empty; give ids=\[ID,\.\.\.\]"):
        infer(ids=[])
    with pytest.raises(FormatError, match=r"none\.csv does not exist"):
        infer(ids="none.csv")
    (tmp_path / "places.csv").write_text("ra,dec\n1,2\n")
    with pytest.raises(SchemaError, match=r"has positions but no ids; python -m scope_ml\.classify takes positions"):
        infer(ids=str(tmp_path / "places.csv"))
    (tmp_path / "rounded.csv").write_text("ztf_id\n1.0365622163889e+16\n")
    with pytest.raises(DataError):
        infer(ids=str(tmp_path / "rounded.csv"))
    with pytest.raises(EmptySelectionError, match="has no field tables of field 500"):
        infer(ids=[1], field=500)
    with pytest.raises(ConfigError, match="'output' has no value"):
        infer(ids=[1], output=None)
    assert not list(tmp_path.glob("scores*"))


def test_tables_of_different_features_are_not_mixed(
    infer: Callable[..., Report], features: Path, whole: pa.Table, tmp_path: Path
) -> None:
    path = features / "field_000297/ccd_01_quad_1.parquet"
    table = read_table(path)
    facts = {**table.metadata.facts, "period_search": {"method": "ls", "max_frequency": 3.0}}
    write_table(table.data, path, replace(table.metadata, facts=facts))
    with pytest.raises(DataError, match=r"field_000296/ccd_01_quad_2.parquet and .*297.* other features or options"):
        infer(ids=[whole["id"][3].as_py(), whole["id"][200].as_py()])
    assert not (tmp_path / "scores.parquet").exists()
