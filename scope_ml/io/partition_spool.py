"""Rows sorted into partitions on disk: what is read in one order and needed in another, in bounded memory.

A unit of the input is routed as a whole to a folder of its own, one Arrow file a partition, so that a killed run goes on
with the next unit. The files are not compressed: they are mapped into memory, and of the columns that nobody asks for
nothing is read. May import core, the other rooms of io and errors.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.errors import FormatError, OutputError
from scope_ml.io.atomic import DISK_ERRORS

__all__ = ["SpoolWriter", "disk_errors", "read_spool", "spooled"]

IntArray = npt.NDArray[np.int64]

#: Bytes that wait in memory before they are written.
WAITING_BYTES = 192 << 20

ENDING = ".arrow"


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn a full or read-only disk below `where` into one line.

    Raises
    ------
    OutputError
        If the disk cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise OutputError(
                f"cannot write {where}: {os.strerror(error.errno or 0)}; make room and start again: the run goes on where it was"
            ) from error
        raise


class SpoolWriter:
    """Writes the rows of one unit to partitions; nothing stands under the unit's name before `close`.

    Parameters
    ----------
    folder
        Of the unit; replaced if it is there.
    schema
        Of all rows.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._final = folder
        self._folder = folder.with_name(f".{folder.name}.{os.getpid()}")
        self._schema = schema
        self._waiting: dict[int, list[pa.Table]] = {}
        self._bytes = 0
        self._n_flushed = 0
        with disk_errors(folder):
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)

    def add(self, rows: pa.Table, partition: IntArray) -> None:
        """Take rows and the number of each row's partition, int64 (n_rows,)."""
        if not rows.num_rows:
            return
        order = np.argsort(partition, kind="stable")
        ordered = rows.take(pa.array(order)).combine_chunks()
        numbers, begin = np.unique(partition[order], return_index=True)
        for number, low, high in zip(numbers.tolist(), begin.tolist(), [*begin[1:].tolist(), len(order)], strict=True):
            self._waiting.setdefault(number, []).append(ordered.slice(low, high - low))
        self._bytes += ordered.nbytes
        if self._bytes >= WAITING_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left, and give the folder its name."""
        self._flush()
        with disk_errors(self._final):
            shutil.rmtree(self._final, ignore_errors=True)
            self._folder.replace(self._final)

    def _flush(self) -> None:
        with disk_errors(self._final):
            for number, pieces in self._waiting.items():
                path = self._folder / f"{number}-{self._n_flushed}{ENDING}"
                with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self._schema) as writer:
                    writer.write_table(pa.concat_tables(pieces).combine_chunks())
        self._n_flushed += 1
        self._waiting, self._bytes = {}, 0


def spooled(folders: Sequence[Path]) -> dict[int, list[Path]]:
    """Return the files of each partition in the folders of units, in the order of these."""
    found: dict[int, list[Path]] = {}
    for folder in folders:
        for path in sorted(folder.glob(f"*{ENDING}")):
            found.setdefault(int(path.name.partition("-")[0]), []).append(path)
    return found


def read_spool(files: Sequence[Path], schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a partition, mapped into memory: of other columns than `columns` nothing is read.

    Raises
    ------
    FormatError
        If a file is broken.
    """
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    pieces = [wanted.empty_table()]
    for path in files:
        try:
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_file(source).read_all()
        except (pa.ArrowException, OSError) as error:
            raise FormatError(
                f"{path} is broken ({' '.join(str(error).split())[:200]}); remove its folder and start again"
            ) from error
        pieces.append(table.select(wanted.names))
    return pa.concat_tables(pieces)
