"""Folders of partitions that lsdb opens as the HATS catalogues that they are."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.sphere import separation_arcsec
from scope_ml.errors import FormatError
from scope_ml.io.hats_writer import catalogue_partitions, partition_path, write_hats_records
from scope_ml.io.healpix import INDEX_COLUMN, cells_at, cut_sky, finest_cells

pytest.importorskip("hats")


def stars(n: int = 300) -> pa.Table:
    rng = np.random.default_rng(4)
    ra, dec = rng.uniform(359, 361, n) % 360, rng.uniform(-1, 1, n)
    ids = [list(range(k % 3 + 1)) for k in range(n)]
    table = pa.table({INDEX_COLUMN: finest_cells(ra, dec), "name": [f"s{k}" for k in range(n)], "ra": ra, "dec": dec})
    return table.append_column("ids", pa.array(ids, pa.list_(pa.int64()))).sort_by(INDEX_COLUMN)


def written(folder: Path, table: pa.Table) -> int:
    index = table[INDEX_COLUMN].to_numpy()
    cells = cut_sky(np.bincount(cells_at(index, 8), minlength=12 * 4**8), 60)
    at = cells.of(index)
    for number in np.unique(at).tolist():
        path = folder / partition_path(int(cells.order[number]), int(cells.pixel[number]))
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.filter(pa.array(at == number)), path)
    return write_hats_records(
        folder,
        name="stars",
        schema=table.schema,
        partitions=catalogue_partitions(folder),
        properties={"obs_title": "x"},
    )


def test_lsdb_opens_it_and_looks_into_cones(tmp_path: Path) -> None:
    from hats.io.validation import is_valid_catalog

    table = stars()
    assert written(tmp_path / "c", table) == table.num_rows
    assert len(catalogue_partitions(tmp_path / "c")) > 3
    with warnings.catch_warnings():
        # lsdb's own use of pandas.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(lsdb|hats|nested_pandas|dask)\.")
        import dask
        import lsdb

        assert is_valid_catalog(tmp_path / "c", strict=True)
        opened = lsdb.open_catalog(tmp_path / "c")
        assert len(opened) == table.num_rows
        with dask.config.set(scheduler="synchronous"):
            cone = opened.cone_search(0.0, 0.0, 1500).compute()
    inside = separation_arcsec(table["ra"].to_numpy(), table["dec"].to_numpy(), 0.0, 0.0) <= 1500
    assert 10 < len(cone) < table.num_rows
    assert sorted(cone["name"]) == sorted(table.filter(pa.array(inside))["name"].to_pylist())
    assert "hats_nrows=300" in (tmp_path / "c/hats.properties").read_text()


def test_partitions_come_in_the_order_of_the_sky(tmp_path: Path) -> None:
    table = stars()
    written(tmp_path / "c", table)
    index = np.concatenate([pq.read_table(path)[INDEX_COLUMN] for _, _, path in catalogue_partitions(tmp_path / "c")])
    assert index.tolist() == table[INDEX_COLUMN].to_pylist()
    with pytest.raises(FormatError, match="no HATS catalogue"):
        catalogue_partitions(tmp_path)


def test_rows_in_the_wrong_partition_are_refused(tmp_path: Path) -> None:
    table = stars()
    written(tmp_path / "c", table)
    (_, _, first), (_, _, second) = catalogue_partitions(tmp_path / "c")[:2]
    first.unlink()
    second.rename(first)
    with pytest.raises(FormatError, match="holds rows of other partitions"):
        write_hats_records(
            tmp_path / "c", name="c", schema=table.schema, partitions=catalogue_partitions(tmp_path / "c")
        )


def test_a_catalogue_without_stars_says_its_columns(tmp_path: Path) -> None:
    assert write_hats_records(tmp_path, name="none", schema=stars().schema, partitions=[]) == 0
    assert pq.read_schema(tmp_path / "dataset/_common_metadata").names == stars().column_names
    assert "hats_nrows=0" in (tmp_path / "properties").read_text()
