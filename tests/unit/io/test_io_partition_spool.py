"""Rows that come in one order and are needed in another: none lost, none doubled, nothing half done under a name."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.errors import FormatError, OutputError
from scope_ml.io import partition_spool
from scope_ml.io.partition_spool import SpoolWriter, disk_errors, read_spool, spooled

SCHEMA = pa.schema([("row", pa.int64()), ("value", pa.float32()), ("name", pa.string())])


def rows(low: int, high: int) -> pa.Table:
    number = np.arange(low, high)
    return pa.table([number, number.astype("f4") / 3, [f"n{k}" for k in number]], schema=SCHEMA)


@pytest.mark.parametrize("waiting", [1, 10**9])
def test_every_row_lies_with_its_partition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waiting: int) -> None:
    monkeypatch.setattr(partition_spool, "WAITING_BYTES", waiting)
    rng = np.random.default_rng(1)
    partition = rng.integers(0, 7, 1000) * 11
    for unit in range(2):
        writer = SpoolWriter(tmp_path / f"unit_{unit}", SCHEMA)
        for low in range(unit * 500, unit * 500 + 500, 100):
            writer.add(rows(low, low + 100), partition[low : low + 100])
        writer.add(rows(0, 0), np.zeros(0, dtype=np.int64))
        writer.close()
    found = spooled([tmp_path / "unit_0", tmp_path / "unit_1"])
    assert sorted(found) == sorted(set(partition.tolist()))
    for number, files in found.items():
        table = read_spool(files, SCHEMA)
        assert sorted(table["row"].to_pylist()) == np.flatnonzero(partition == number).tolist()
        assert table["name"].to_pylist() == [f"n{k}" for k in table["row"].to_pylist()]
        assert read_spool(files, SCHEMA, ["value"]).column_names == ["value"]
    assert read_spool([], SCHEMA).num_rows == 0


def test_a_unit_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "unit", SCHEMA)
    writer.add(rows(0, 10), np.zeros(10, dtype=np.int64))
    assert not (tmp_path / "unit").exists()
    assert spooled([tmp_path / "unit"]) == {}
    writer.close()
    again = SpoolWriter(tmp_path / "unit", SCHEMA)
    again.add(rows(0, 3), np.ones(3, dtype=np.int64))
    again.close()
    assert list(spooled([tmp_path / "unit"])) == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["unit"]


def test_a_torn_file_and_a_full_disk_are_one_line(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "unit", SCHEMA)
    writer.add(rows(0, 1000), np.zeros(1000, dtype=np.int64))
    writer.close()
    files = spooled([tmp_path / "unit"])[0]
    files[0].write_bytes(files[0].read_bytes()[:-300])
    with pytest.raises(FormatError, match="is broken"):
        read_spool(files, SCHEMA)
    with pytest.raises(OutputError, match="No space left on device; make room and start again"), disk_errors(tmp_path):
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        raise FileNotFoundError
