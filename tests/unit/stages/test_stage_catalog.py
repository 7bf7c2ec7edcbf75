"""A catalogue made in partitions holds the stars that the whole table gives, whatever the sky is like."""

from __future__ import annotations

import json
from pathlib import Path

import catalog_skies as skies
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from scope_ml.errors import ConfigError, DataError, EmptySelectionError, MissingColumnError, OutputError, SchemaError
from scope_ml.io.hats_writer import catalogue_partitions
from scope_ml.io.healpix import INDEX_COLUMN, finest_cells
from scope_ml.selection.star_columns import StarOptions
from scope_ml.stages import catalog
from scope_ml.stages.catalog import Catalog

pytest.importorskip("hats")

SKIES, THRESHOLDS, Sky = skies.SKIES, skies.THRESHOLDS, skies.Sky
assert_same, catalogue, in_fields, rows_of = skies.assert_same, skies.catalogue, skies.in_fields, skies.rows_of
scored, whole, write = skies.scored, skies.whole, skies.write


@pytest.fixture(autouse=True)
def classes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "load_classes", skies.LOAD)


@pytest.mark.parametrize("name", SKIES)
@pytest.mark.parametrize("by", ["survey_id", "position"])
def test_partitions_give_the_stars_of_the_whole_table(tmp_path: Path, name: str, by: str) -> None:
    table = scored(SKIES[name], n_stars=48)
    report = catalogue(tmp_path, in_fields(tmp_path / "scores", table), by=by, partition_rows=11)
    assert report.n_in == report.n_out == table.num_rows
    assert report.facts["n_cut"] == 0
    assert report.facts["n_partitions"] > 6
    assert skies.straddling(table, tmp_path / "catalogue", by) > 8
    found = rows_of(tmp_path / "catalogue")
    assert_same(found.drop_columns([INDEX_COLUMN]), whole(table, by))
    index = finest_cells(found["ra"].to_numpy(), found["dec"].to_numpy())
    assert found[INDEX_COLUMN].to_pylist() == index.tolist()


def test_neither_order_nor_division_of_tables_matters(tmp_path: Path) -> None:
    table = scored(SKIES["seam"], n_stars=50, seed=3)
    catalogue(tmp_path, in_fields(tmp_path / "scores", table), partition_rows=30)
    first = rows_of(tmp_path / "catalogue")
    shuffled = table.take(np.random.default_rng(0).permutation(table.num_rows))
    one = write(tmp_path / "one.parquet", shuffled)
    report = catalogue(tmp_path / "other", [str(one)], partition_rows=11)
    assert report.facts["n_partitions"] > 6
    assert_same(rows_of(tmp_path / "other/catalogue"), first)


def test_every_light_curve_is_in_one_star_where_stars_are_crowded(tmp_path: Path) -> None:
    """Chains of stars that are longer than any margin: what is cut is counted, and nothing is lost or doubled."""
    rng = np.random.default_rng(5)
    table = scored(Sky(((90.0, 41.8103),), 0.02), n_stars=2500, known=0.3)
    # Also ids on places far apart.
    ids = table["Gaia_EDR3___id"].to_numpy(zero_copy_only=False)
    strange = rng.random(table.num_rows) < 0.02
    mixed = np.where(strange, 4 * 10**18 + 7, np.nan_to_num(ids)).astype(np.int64)
    mixed[~strange & np.isnan(ids)] = 0
    table = table.set_column(table.column_names.index("Gaia_EDR3___id"), "Gaia_EDR3___id", pa.array(mixed))
    report = catalogue(tmp_path, in_fields(tmp_path / "scores", table), partition_rows=40, stars={"radius_arcsec": 3.0})
    found = rows_of(tmp_path / "catalogue")
    assert report.n_out == table.num_rows == pc.sum(found["n_light_curves"]).as_py()
    assert sorted(pc.list_flatten(found["ids"]).to_pylist()) == sorted(table["id"].to_pylist())
    assert report.facts["n_cut"] > 0
    assert any("edges of partitions" in line for line in report.warnings)
    assert len(set(found["name"].to_pylist())) == found.num_rows


def test_one_id_on_two_places_is_two_stars(tmp_path: Path) -> None:
    table = scored(SKIES["field"], n_stars=2, known=0.0)
    n = table.num_rows
    same = pa.array(np.full(n, 12345678901234567))
    table = table.set_column(table.column_names.index("Gaia_EDR3___id"), "Gaia_EDR3___id", same)
    ra = np.where(np.arange(n) < n // 2, 67.0, 67.01)
    table = table.set_column(2, "ra", pa.array(ra)).set_column(3, "dec", pa.array(np.full(n, 25.0)))
    for rows, where in ((100_000, "a"), (1, "b")):
        catalogue(tmp_path / where, [str(write(tmp_path / f"{where}.parquet", table))], partition_rows=rows)
        found = rows_of(tmp_path / where / "catalogue")
        assert found["n_light_curves"].to_pylist() == [n // 2, n - n // 2]
        assert set(found["survey_id"].to_pylist()) == {"Gaia_EDR3___12345678901234567"}


def test_rows_that_cannot_be_placed_are_counted_by_reason(tmp_path: Path) -> None:
    table = scored(SKIES["field"], n_stars=50)
    n = table.num_rows
    ra = table["ra"].to_numpy().copy()
    ra[:3] = [np.nan, 400.0, -1.0]
    ids = pa.array([*table["id"].to_pylist()[:-2], None, None], pa.int64())
    table = table.set_column(2, "ra", pa.array(ra)).set_column(0, "id", ids)
    path = tmp_path / "p.parquet"
    pq.write_table(table, path)
    report = catalogue(tmp_path, [str(path)], fields=[296])
    n_297 = pc.sum(pc.equal(table["field"], 297)).as_py()
    assert report.n_in == n
    assert report.dropped["other_field"] == n_297
    in_296 = [field == 296 for field in table["field"].to_pylist()]
    assert report.dropped["no_position"] == sum(in_296[:3])
    assert report.dropped["no_id"] == sum(in_296[-2:])
    assert any("no record of their models" in line for line in report.warnings)


def test_a_field_without_tables_is_said(tmp_path: Path) -> None:
    folder = in_fields(tmp_path / "scores", scored(SKIES["field"], n_stars=20))
    with pytest.raises(EmptySelectionError, match="of fields 300; there are fields 296, 297"):
        catalogue(tmp_path, folder, fields="300")
    report = catalogue(tmp_path, folder, fields=297)
    assert list(json.loads((tmp_path / "catalogue/fields.json").read_text())["counts"]) == ["297"]
    assert report.dropped["other_field"] == 0


def test_what_stands_twice_counts_once_and_what_differs_is_refused(tmp_path: Path) -> None:
    table = scored(SKIES["field"], n_stars=50)
    first, other = write(tmp_path / "a.parquet", table), tmp_path / "b.parquet"
    write(other, table.slice(10, 40))
    report = catalogue(tmp_path, [str(first), str(other)], partition_rows=20)
    assert report.dropped["twice"] == 40
    assert report.n_out == table.num_rows
    assert_same(rows_of(tmp_path / "catalogue").drop_columns([INDEX_COLUMN]), whole(table))
    changed = table["vnv_xgb"].to_numpy().copy()
    changed[12] += 0.25
    write(other, table.set_column(table.column_names.index("vnv_xgb"), "vnv_xgb", pa.array(changed)).slice(10, 40))
    with pytest.raises(DataError, match=r"stands twice in .*a\.parquet and .*b\.parquet and differs in 'vnv_xgb'"):
        catalogue(tmp_path, [str(first), str(other)])
    # What stood there still stands.
    assert rows_of(tmp_path / "catalogue").num_rows == report.facts["n_stars"]


def test_tables_of_different_models_are_refused(tmp_path: Path) -> None:
    table = scored(SKIES["field"], n_stars=40)
    a = write(tmp_path / "a.parquet", table.slice(0, 30))
    b = write(tmp_path / "b.parquet", table.slice(30), models={"vnv_xgb": "another"})
    with pytest.raises(
        DataError, match=r"vnv_xgb has different model digests: digest of vn in .*a.parquet, another in"
    ):
        catalogue(tmp_path, [str(a), str(b)])
    c = write(tmp_path / "c.parquet", table.slice(30), thresholds={**THRESHOLDS, "rrlyr_dnn": 0.9})
    with pytest.raises(DataError, match="rrlyr_dnn has different thresholds"):
        catalogue(tmp_path, [str(a), str(c)])
    report = catalogue(tmp_path, [str(a), str(b)], models="any")
    assert any("1 models are not the same in all tables (models=any): vnv_xgb" in line for line in report.warnings)


def test_a_table_without_an_algorithm_gives_nulls(tmp_path: Path) -> None:
    table = scored(SKIES["field"], n_stars=40, known=0.0)
    a = write(tmp_path / "a.parquet", table.slice(0, 30))
    b = write(tmp_path / "b.parquet", table.slice(30).drop_columns(["vnv_dnn", "Gaia_EDR3___id"]))
    report = catalogue(tmp_path, [str(a), str(b)])
    assert any("vnv_dnn (missing in 1 of 2 tables)" in line for line in report.warnings)
    assert rows_of(tmp_path / "catalogue")["vnv_dnn"].null_count > 0


def test_ids_are_never_floats(tmp_path: Path) -> None:
    table = scored(SKIES["field"], n_stars=20)
    at = table.column_names.index("Gaia_EDR3___id")
    floats = table.set_column(at, "Gaia_EDR3___id", table["Gaia_EDR3___id"].cast(pa.float64(), safe=False))
    nowhere = table.set_column(at, "Gaia_EDR3___id", pa.array(np.full(table.num_rows, np.nan)))
    with pytest.raises(DataError, match="cannot hold 64-bit ids exactly"):
        catalogue(tmp_path, [str(write(tmp_path / "f.parquet", floats))])
    assert catalogue(tmp_path, [str(write(tmp_path / "n.parquet", nowhere))]).facts["n_no_survey_id"] > 0
    text = write(tmp_path / "t.parquet", table.set_column(0, "id", table["id"].cast(pa.string())))
    number = write(tmp_path / "u.parquet", table)
    with pytest.raises(SchemaError, match="ids are whole numbers or text, the same everywhere"):
        catalogue(tmp_path, [str(text), str(number)])


def test_a_new_field_leaves_partitions_as_they_are(tmp_path: Path) -> None:
    """Only what the new light curves touch is made again; what is kept is believed for its digest only."""
    near, far = scored(SKIES["field"], n_stars=20), scored(SKIES["poles"], n_stars=20, seed=9)
    far = far.set_column(0, "id", pc.add(far["id"], 10**6))
    a = str(write(tmp_path / "a.parquet", near))
    first = catalogue(tmp_path, [a], partition_rows=20)
    assert first.facts["n_partitions_kept"] == 0
    again = catalogue(tmp_path, [a], partition_rows=20)
    assert again.facts["n_partitions_kept"] == again.facts["n_partitions"] == first.facts["n_partitions"]
    b = str(write(tmp_path / "b.parquet", far))
    both = catalogue(tmp_path, [a, b], partition_rows=20)
    assert both.facts["n_partitions_kept"] == first.facts["n_partitions"]
    assert both.facts["n_partitions"] > first.facts["n_partitions"]
    kept = rows_of(tmp_path / "catalogue")
    anew = catalogue(tmp_path / "anew", [a, b], partition_rows=20)
    assert anew.facts["n_partitions_kept"] == 0
    assert_same(rows_of(tmp_path / "anew/catalogue"), kept)
    # A file that is not what was written is made again.
    _, _, path = catalogue_partitions(tmp_path / "catalogue")[0]
    path.unlink()
    pq.write_table(pq.read_table(tmp_path / "anew/catalogue" / path.relative_to(tmp_path / "catalogue")).slice(1), path)
    mended = catalogue(tmp_path, [a, b], partition_rows=20)
    assert mended.facts["n_partitions_kept"] == both.facts["n_partitions"] - 1
    assert_same(rows_of(tmp_path / "catalogue"), kept)
    # Another option, and nothing is what it was.
    other = catalogue(tmp_path, [a, b], partition_rows=20, stars={"combine": "max"})
    assert other.facts["n_partitions_kept"] == 0


def test_the_subset_holds_stars_that_are_sure(tmp_path: Path) -> None:
    table = scored(SKIES["field"], n_stars=100)
    path = str(write(tmp_path / "a.parquet", table))
    report = catalogue(tmp_path, [path], csv={"tags": ["rrlyr"], "columns": ["name", "rrlyr", "confident_classes"]})
    stars = rows_of(tmp_path / "catalogue")
    sure = [row["name"] for row in stars.to_pylist() if "rrlyr" in row["confident_classes"]]
    subset = pacsv.read_csv(tmp_path / "catalogue/stars.csv")
    assert sorted(subset["name"].to_pylist()) == sorted(sure)
    assert 0 < len(sure) == report.facts["n_csv"] < len(stars)
    assert subset.column_names == ["name", "rrlyr", "confident_classes"]
    report = catalogue(tmp_path, [path], csv={"tags": ["vnv"], "threshold": 0.8})
    assert report.facts["n_csv"] == pc.sum(pc.greater_equal(stars["vnv"], pa.scalar(0.8, pa.float32()))).as_py()
    with pytest.raises(ConfigError, match=r"no scores of class 'rrlyra'.*rrlyr"):
        catalogue(tmp_path, [path], csv={"tags": ["rrlyra"]})
    with pytest.raises(MissingColumnError, match="nam"):
        catalogue(tmp_path, [path], csv={"columns": ["nam"]})


def test_options_that_cannot_be(tmp_path: Path) -> None:
    path = str(
        write(
            tmp_path / "a.parquet", scored(SKIES["field"], n_stars=20).drop_columns(["Gaia_EDR3___id", "AllWISE___id"])
        )
    )
    with pytest.raises(ConfigError, match="margin_arcsec=5 is too narrow"):
        catalogue(tmp_path, [path], margin_arcsec=5.0)
    with pytest.raises(ConfigError, match="by=survey_id: the tables have no such ids"):
        catalogue(tmp_path, [path], by="survey_id")
    with pytest.raises(ConfigError, match="does not exist"):
        catalogue(tmp_path, tmp_path / "nothing")
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue/mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other things"):
        catalogue(tmp_path, [path])
    assert (tmp_path / "catalogue/mine.txt").read_text() == "mine"


def test_a_dry_run_keeps_nothing(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.parquet", scored(SKIES["field"], n_stars=50)))
    report = catalogue(tmp_path, [path], machine={"dry_run": True})
    assert report.facts["n_stars"] > 0
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.parquet"]


def test_no_light_curve_makes_an_empty_catalogue(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.parquet", scored(SKIES["field"], n_stars=50).slice(0, 0)))
    report = catalogue(tmp_path, [path])
    assert (report.n_in, report.n_out, report.facts["n_partitions"]) == (0, 0, 0)
    assert any("empty" in line for line in report.warnings)
    assert json.loads((tmp_path / "catalogue/fields.json").read_text())["fields"] == []
    assert "name" in pq.read_schema(tmp_path / "catalogue/dataset/_common_metadata").names


def test_options_default_to_those_of_rows() -> None:
    assert Catalog(predictions="p", output="o").stars == StarOptions()
