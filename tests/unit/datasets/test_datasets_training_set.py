"""A data set as one table and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.provenance import TableMetadata
from scope_ml.datasets.assemble import load_built, save_built
from scope_ml.datasets.dataset import Dataset
from scope_ml.datasets.split import Split, SplitConfig
from scope_ml.datasets.training_set import read_training_set, write_training_set
from scope_ml.errors import DataError, MetadataError
from scope_ml.io.tables import read_table, write_table

TAGS = ("rrlyr", "pnp", "ea")


def dataset(*, weight: bool = False, **columns: object) -> Dataset:
    rng = np.random.default_rng(1)
    n = 20
    table = pa.table({"id": np.arange(n, dtype=np.int64) + 2**60, "skew": rng.normal(size=n), **columns})
    known = rng.random((n, 3)) > 0.2
    known[0] = False
    known[1] = True
    return Dataset(
        table=table,
        tags=TAGS,
        y=rng.integers(0, 2, (n, 3)).astype(np.int8),
        known=known,
        group=np.arange(n, dtype=np.int64) // 2,
        origin=np.array(["a", ""] * (n // 2), dtype=np.str_),
        counts={"features": n, "matched": n},
        inputs=(),
        config_digest="c",
        facts={"feature_digest": "f"},
        weight=rng.random(n).astype(np.float32) if weight else None,
    )


def split() -> Split:
    return Split(part=(np.arange(20) % 3).astype(np.int8), config=SplitConfig(seed=7))


@pytest.mark.parametrize("weight", [False, True])
def test_what_is_written_is_read(tmp_path: Path, weight: bool) -> None:
    given, parts = dataset(weight=weight), split()
    write_training_set(tmp_path / "t.parquet", given, parts)
    read, divided = load_built(tmp_path / "t.parquet")
    assert (read.digest, divided.digest) == (given.digest, parts.digest)
    assert read.table.equals(given.table)
    np.testing.assert_array_equal(read.known, given.known)
    np.testing.assert_array_equal(read.y, given.y)
    assert (read.tags, dict(read.counts), dict(read.facts)) == (given.tags, dict(given.counts), dict(given.facts))
    save_built(tmp_path / "folder", read, divided)
    again, _ = load_built(tmp_path / "folder")
    assert again.digest == given.digest
    table = read_table(tmp_path / "t.parquet").data
    assert table["part"].to_pylist()[:3] == ["train", "val", "test"]
    assert table["uncertain_tags"].to_pylist()[:2] == ["rrlyr,pnp,ea", ""]


def test_changed_rows_are_noticed(tmp_path: Path) -> None:
    write_training_set(tmp_path / "t.parquet", dataset(), split())
    read = read_table(tmp_path / "t.parquet")
    flipped = read.data.set_column(read.data.column_names.index("ea"), "ea", pa.array(1 - read.data["ea"].to_numpy()))
    write_table(flipped, tmp_path / "t.parquet", read.metadata)
    with pytest.raises(DataError, match="are not those it was written with"):
        read_training_set(tmp_path / "t.parquet")
    write_table(read.data, tmp_path / "t.parquet", TableMetadata(kind="training_set"))
    with pytest.raises(MetadataError, match="its record lacks counts, digest"):
        read_training_set(tmp_path / "t.parquet")
    write_table(read.data, tmp_path / "t.parquet", TableMetadata(kind="features"))
    with pytest.raises(MetadataError, match="training_set"):
        read_training_set(tmp_path / "t.parquet")


def test_a_feature_with_the_name_of_a_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="both have the column ea"):
        write_training_set(tmp_path / "t.parquet", dataset(ea=np.zeros(20)), split())
    assert not (tmp_path / "t.parquet").exists()
