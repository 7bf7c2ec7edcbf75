"""Work that is killed goes on without losing or repeating a row."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import DataError, FormatError, OutputError, SchemaError
from scope_ml.io import parquet_files
from scope_ml.io.parts import Parts
from scope_ml.io.tables import read_table

RECORD = TableMetadata(kind="features", facts={"dropped": 1})
UNIT = pa.schema([pa.field("id", pa.int64()), pa.field("period", pa.float64(), metadata={b"unit": b"d"})])


def piece(*ids):
    return pa.table({"id": list(ids), "period": [0.5] * len(ids)}, schema=UNIT)


@pytest.mark.parametrize("suffix", [".parquet", ".h5", ".csv"])
def test_parts_become_one_table_in_order(tmp_path, suffix):
    parts = Parts(tmp_path / "out.parts", "key")
    for index, ids in ((2, (5,)), (0, (2**53 + 1, 2)), (10, (6,)), (1, ())):
        parts.write(index, piece(*ids), RECORD)
    assert parts.indices() == (0, 1, 2, 10)
    assert parts.done(1)
    assert not parts.done(3)
    assert parts.metadata(0).facts == {"dropped": 1}
    final = tmp_path / f"out{suffix}"
    assert parts.merge(final, TableMetadata(kind="features", config_digest="c")) == 4
    table = read_table(final, kind="features")
    assert table.data.equals(piece(2**53 + 1, 2, 5, 6), check_metadata=True)
    assert table.metadata.config_digest == "c"
    assert table.metadata.columns[1].unit == "d"
    parts.discard()
    assert not parts.folder.exists()
    assert read_table(final).data.num_rows == 4


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_what_is_known_at_the_end_is_filled_in(tmp_path, suffix):
    parts = Parts(tmp_path / "out.parts", "key")
    parts.write(0, piece(1, 2), RECORD)
    parts.write(1, piece(3), RECORD)
    known = sum(len(parts.read(index, ["id"])) for index in parts.indices())
    assert parts.read(0, ["period"]).column_names == ["period"]

    def fill(table, first):
        return table.set_column(1, "period", pa.array([float(known + first + row) for row in range(len(table))]))

    final = tmp_path / f"out{suffix}"
    assert parts.merge(final, RECORD, n_parts=2, transform=fill) == 3
    table = read_table(final)
    assert table.data["period"].to_pylist() == [3.0, 4.0, 5.0]
    assert table.metadata.columns[1].unit == "d"
    for changed in (lambda table, _: table.select(["id"]), lambda table, _: table.slice(1)):
        with pytest.raises(SchemaError, match="has changed their columns or rows"):
            parts.merge(final, RECORD, transform=changed)
    assert read_table(final).data.num_rows == 3


def image_piece(*ids):
    values = np.repeat(np.array(ids, np.float32), 676)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values, pa.float32()), 676)
    return pa.table({"id": pa.array(ids, pa.int64()), "dmdt": column})


@pytest.mark.parametrize("suffix", [".parquet", ".h5"])
def test_parts_with_an_image_a_row(tmp_path, suffix):
    parts = Parts(tmp_path / "out.parts", "key")
    for index, ids in enumerate(((), (1, 2, 3), (), (4,))):
        parts.write(index, image_piece(*ids), RECORD)
    final = tmp_path / f"out{suffix}"
    assert parts.merge(final, RECORD, n_parts=4) == 4
    table = read_table(final)
    assert table.data.equals(image_piece(1, 2, 3, 4))
    assert table.metadata.columns[1].dtype == "fixed_size_list<item: float>[676]"
    with pytest.raises(SchemaError, match="'dmdt'"):
        parts.merge(tmp_path / "out.csv", RECORD)
    assert not (tmp_path / "out.csv").exists()


def test_only_empty_parts_make_an_empty_table(tmp_path):
    parts = Parts(tmp_path / "p", "key")
    parts.write(0, piece(), RECORD)
    assert parts.merge(tmp_path / "out.parquet", RECORD, n_parts=1) == 0
    assert read_table(tmp_path / "out.parquet").data.equals(piece())


def test_parts_of_the_same_key_stay_and_of_another_go(tmp_path):
    folder = tmp_path / "p"
    Parts(folder, "one").write(0, piece(1), RECORD)
    assert Parts(folder, "one").done(0)
    parts = Parts(folder, "two")
    assert parts.indices() == ()
    assert not parts.done(0)
    assert Parts(folder, "two").key == "two"
    assert Parts(folder, "one").indices() == ()


def test_parts_without_a_key_are_not_trusted(tmp_path):
    Parts(tmp_path / "p", "one").write(0, piece(1), RECORD)
    (tmp_path / "p" / "key.txt").unlink()
    assert Parts(tmp_path / "p", "one").indices() == ()


def test_leftovers_of_killed_writers_are_no_parts(tmp_path):
    parts = Parts(tmp_path / "p", "key")
    parts.write(0, piece(1), RECORD)
    (parts.folder / ".part-000001.parquet.99-abcd.tmp").write_bytes(b"PAR1 half")
    again = Parts(tmp_path / "p", "key")
    assert again.indices() == (0,)
    assert again.merge(tmp_path / "out.parquet", RECORD) == 1
    again.discard()
    assert not again.folder.exists()


def test_killed_run_continues_to_the_same_table(tmp_path, root):
    program = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        import pyarrow as pa
        from scope_ml.core.provenance import TableMetadata
        from scope_ml.io.parts import Parts

        folder, kill_at = Path(sys.argv[1]), int(sys.argv[2])
        parts = Parts(folder / "p", "key")
        for index in range(4):
            if parts.done(index):
                print("skipped", index)
                continue
            if index == kill_at:
                (parts.folder / ".part-000002.parquet.1-ab.tmp").write_bytes(b"half a part")
                os.kill(os.getpid(), signal.SIGKILL)
            parts.write(index, pa.table({"id": [index, index + 10]}), TableMetadata(kind="features"))
        parts.merge(folder / "out.parquet", TableMetadata(kind="features"), n_parts=4)
        parts.discard()
        """
    )

    def start(folder, kill_at):
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-c", program, str(folder), str(kill_at)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)

    assert start(tmp_path / "whole", -1).returncode == 0
    assert start(tmp_path / "killed", 2).returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "out.parquet").exists()
    second = start(tmp_path / "killed", -1)
    assert second.stdout.splitlines() == ["skipped 0", "skipped 1"]
    assert (tmp_path / "killed" / "out.parquet").read_bytes() == (tmp_path / "whole" / "out.parquet").read_bytes()
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == ["out.parquet"]


def test_missing_parts_are_named(tmp_path):
    parts = Parts(tmp_path / "p", "key")
    with pytest.raises(DataError, match="no parts to merge"):
        parts.merge(tmp_path / "out.parquet", RECORD)
    parts.write(0, piece(1), RECORD)
    parts.write(2, piece(1), RECORD)
    with pytest.raises(DataError, match=r"2 of 4 parts in .* are missing, first part 1"):
        parts.merge(tmp_path / "out.parquet", RECORD, n_parts=4)
    with pytest.raises(FormatError, match="does not exist"):
        parts.metadata(1)


def test_parts_beyond_the_number_are_left_out(tmp_path):
    parts = Parts(tmp_path / "p", "key")
    for index in range(3):
        parts.write(index, piece(index), RECORD)
    assert parts.merge(tmp_path / "out.parquet", RECORD, n_parts=2) == 2
    assert read_table(tmp_path / "out.parquet").data["id"].to_pylist() == [0, 1]


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_parts_of_different_columns_do_not_merge(tmp_path, suffix):
    parts = Parts(tmp_path / "p", "key")
    parts.write(0, piece(1), RECORD)
    parts.write(1, piece(1).append_column("extra", pa.array([1])), RECORD)
    with pytest.raises(SchemaError, match=r"part-000001\.parquet has other columns than the first part \(extra\)"):
        parts.merge(tmp_path / f"out{suffix}", RECORD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p"]


def test_cut_part_is_found(tmp_path):
    parts = Parts(tmp_path / "p", "key")
    parts.write(0, piece(1, 2), RECORD)
    parts.write(1, piece(3), RECORD)
    parts.path(1).write_bytes(parts.path(0).read_bytes()[:100])
    with pytest.raises(FormatError, match=r"part-000001\.parquet is not a readable Parquet file"):
        parts.merge(tmp_path / "out.parquet", RECORD)
    assert not (tmp_path / "out.parquet").exists()


def test_merging_gathers_small_parts_into_bounded_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_files, "ROW_GROUP_ROWS", 10)
    parts = Parts(tmp_path / "p", "key")
    for index in range(5):
        parts.write(index, piece(*range(index * 4, index * 4 + 4)), RECORD)
    parts.merge(tmp_path / "out.parquet", RECORD)
    with pq.ParquetFile(tmp_path / "out.parquet") as file:
        assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [12, 8]
    assert read_table(tmp_path / "out.parquet").data["id"].to_pylist() == list(range(20))


def test_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file"):
        Parts(tmp_path / "file", "key")
    parts = Parts(tmp_path / "p", "key")
    (parts.folder / "notes.md").write_text("mine")
    parts.write(0, piece(1), RECORD)
    parts.discard()
    assert [path.name for path in parts.folder.iterdir()] == ["notes.md"]
