"""What decides on a partition: tables, fields, options; what does not; and tables that change under a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import catalog_skies as skies
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from scope_ml.errors import DataError, EmptySelectionError
from scope_ml.stages import catalog, catalog_build
from scope_ml.taxonomy.graph import Taxonomy

pytest.importorskip("hats")

SKIES, assert_same, catalogue, in_fields = skies.SKIES, skies.assert_same, skies.catalogue, skies.in_fields
rows_of, scored, write = skies.rows_of, skies.scored, skies.write


@pytest.fixture(autouse=True)
def classes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "load_classes", skies.LOAD)


def of_field(table: pa.Table, number: int) -> pa.Table:
    return table.set_column(table.column_names.index("field"), "field", pa.array([number] * table.num_rows, pa.int32()))


def two_fields(folder: Path) -> tuple[Path, pa.Table, pa.Table]:
    """Write two fields that lie far apart, a table each."""
    first = of_field(scored(SKIES["field"], n_stars=20), 296)
    other = of_field(scored(SKIES["poles"], n_stars=20, seed=9), 297)
    other = other.set_column(0, "id", pc.add(other["id"], 10**6))
    for number, table in ((296, first), (297, other)):
        write(folder / f"field_{number:06d}" / "ccd_01_quad_1.parquet", table)
    return folder, first, other


def test_more_fields_leave_those_that_were_there_as_they_are(tmp_path: Path) -> None:
    folder, *_ = two_fields(tmp_path / "scores")
    first = catalogue(tmp_path, folder, partition_rows=20, fields=[296])
    n = first.facts["n_partitions"]
    for fields in ([296, 297], []):
        both = catalogue(tmp_path, folder, partition_rows=20, fields=fields)
        assert both.facts["n_partitions_kept"] >= n > 1
    # All of them: nothing is new.
    assert both.facts["n_partitions_kept"] == both.facts["n_partitions"] > n


def test_fields_of_one_table_are_not_taken_for_one_another(tmp_path: Path) -> None:
    """A table that holds several fields has one digest, whichever of them are wanted."""
    table = scored(SKIES["field"], n_stars=20)
    path = str(write(tmp_path / "all.parquet", table))
    reports = [catalogue(tmp_path, [path], fields=fields) for fields in ([296], [297], [296, 297], [])]
    assert [one.facts["n_partitions_kept"] for one in reports] == [0, 0, 0, 1]
    assert [one.n_out for one in reports[:2]] == [
        pc.sum(pc.equal(table["field"], number)).as_py() for number in (296, 297)
    ]
    assert reports[2].n_out == table.num_rows
    # A field that is not there is told; where none is, what stands stays.
    report = catalogue(tmp_path, [path], fields=[296, 500, 501])
    assert report.n_out == reports[0].n_out
    assert "there is no light curve of 2 of the 3 fields that were asked for: 500, 501" in report.warnings
    with pytest.raises(
        EmptySelectionError, match=rf"none of the {table.num_rows} light curves is of fields 500; fields="
    ):
        catalogue(tmp_path, [path], fields=500)
    assert rows_of(tmp_path / "catalogue").num_rows == report.facts["n_stars"]


def test_what_changes_no_row_makes_nothing_anew(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.parquet", scored(SKIES["field"], n_stars=20)))
    catalogue(tmp_path, [path])
    same: list[dict[str, Any]] = [
        {"by": "survey_id"},
        {"source": {"path": None, "hats": {}, "band": "g"}},
        {"csv": {"tags": ["vnv"]}},
        {"previous": str(tmp_path / "catalogue")},
    ]
    for options in same:
        assert catalogue(tmp_path, [path], **options).facts["n_partitions_kept"] == 1, options
    assert catalogue(tmp_path, [path], split_arcsec=9.0).facts["n_partitions_kept"] == 0


def test_other_classes_make_all_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a class implies is in files of the user's, too, and decides on conflicts and sure classes."""
    path = str(write(tmp_path / "a.parquet", scored(SKIES["field"], n_stars=20)))
    catalogue(tmp_path, [path])
    known = skies.LOAD(catalog.packaged_conf_dir())
    lone = Taxonomy(
        {
            tag: spec if tag != "rrab" else type(spec)(**{**vars(spec), "parents": ()})
            for tag, spec in known.classes.items()
        }
    )
    monkeypatch.setattr(catalog, "load_classes", lambda *_: lone)
    assert catalogue(tmp_path, [path]).facts["n_partitions_kept"] == 0


@pytest.mark.parametrize("margin", [100.0, 600.0, 3600.0])
def test_a_margin_wider_than_small_partitions_splits_no_star(tmp_path: Path, margin: float) -> None:
    table = scored(SKIES["field"], n_stars=60)
    path = str(write(tmp_path / "a.parquet", table))
    report = catalogue(tmp_path, [path], partition_rows=9, margin_arcsec=margin)
    assert report.facts["n_stars"] == 60
    assert report.facts["n_cut"] == 0


def test_a_table_that_changes_under_a_run_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, first, _ = two_fields(tmp_path / "scores")
    path = folder / "field_000296" / "ccd_01_quad_1.parquet"
    original = catalog_build.route

    def replaced(*arguments: Any) -> None:
        write(path, first.slice(1))
        original(*arguments)

    monkeypatch.setattr(catalog_build, "route", replaced)
    with pytest.raises(DataError, match=r"ccd_01_quad_1.parquet was changed while the catalogue was made of it"):
        catalogue(tmp_path, folder)
    assert not (tmp_path / "catalogue").exists()

    # Between what its footer says and its digest.
    monkeypatch.setattr(catalog_build, "route", original)
    digests = catalog.input_digests

    def later(files: Any, progress: Any) -> Any:
        write(path, first)
        return digests(files, progress)

    monkeypatch.setattr(catalog, "input_digests", later)
    with pytest.raises(DataError, match="was changed while the catalogue"):
        catalogue(tmp_path, folder)

    # Touched, but the same.
    def touched(*arguments: Any) -> None:
        os.utime(path, (1, 1))
        original(*arguments)

    monkeypatch.setattr(catalog, "input_digests", digests)
    monkeypatch.setattr(catalog_build, "route", touched)
    assert catalogue(tmp_path, folder).n_out == sum(pq.read_metadata(one).num_rows for one in folder.rglob("*.parquet"))
