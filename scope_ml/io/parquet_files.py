"""Parquet as our tables use it: opening with one-line errors, whole tables, and row groups as they come.

The metadata record stands in the file's key-value metadata under ``scope``. May import core and errors only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scope_ml.errors import FormatError, MissingColumnError

__all__ = [
    "METADATA_KEY",
    "ParquetTableWriter",
    "open_parquet",
    "parquet_record",
    "read_errors",
    "read_parquet",
    "require_file",
    "write_parquet",
]

#: Key of the metadata record in Parquet files, and attribute name in HDF5.
METADATA_KEY = "scope"

#: Rows of a row group of whole tables and merged parts; light-curve files have one group per written chunk.
ROW_GROUP_ROWS = 65536

#: Bytes at which a row group of merged parts is full even with fewer rows; bounds the memory of merging.
ROW_GROUP_BYTES = 64 << 20


#: Bytes buffered per column while streaming; without it a whole column chunk of a row group is read at once.
BUFFER_BYTES = 1 << 20


def require_file(path: Path) -> None:
    """Check that `path` is a file with something in it.

    Raises
    ------
    FormatError
        If it is missing, a folder, or empty (0 bytes).
    """
    if path.is_dir():
        raise FormatError(f"{path} is a folder; give the name of a file")
    if not path.exists():
        raise FormatError(f"{path} does not exist; check the path")
    if path.stat().st_size == 0:
        raise FormatError(f"{path} is empty (0 bytes); it may be left over from a failed download or copy")


@contextmanager
def read_errors(path: Path, what: str) -> Iterator[None]:
    """Turn what a reader of format `what` raises on broken content into a one-line `FormatError`."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        detail = " ".join(str(error).split())[:200]
        raise FormatError(f"{path} is not a readable {what} file ({detail}); make or fetch it again") from error


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file for streaming; the caller closes it.

    Raises
    ------
    FormatError
        If it is missing, empty, truncated or not Parquet.
    """
    require_file(path)
    with read_errors(path, "Parquet"):
        return pq.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True)


def parquet_record(file: pq.ParquetFile) -> bytes | None:
    """Return the metadata record of an open file, or None if it has none."""
    entries: dict[bytes, bytes] = file.metadata.metadata or {}
    return entries.get(METADATA_KEY.encode())


def read_parquet(path: Path, columns: Sequence[str] | None) -> tuple[pa.Table, bytes | None]:
    """Return a file's table (or `columns` of it, in that order) and its metadata record, if any.

    Raises
    ------
    FormatError, MissingColumnError
        If the file cannot be read, or lacks columns.
    """
    with open_parquet(path) as file:
        available = file.schema_arrow.names
        check_columns(path, columns, available)
        with read_errors(path, "Parquet"):
            table = file.read(columns=None if columns is None else list(columns))
        return (table if columns is None else table.select(list(columns))), parquet_record(file)


def check_columns(path: Path, columns: Sequence[str] | None, available: Sequence[str]) -> None:
    """Raise `MissingColumnError` if some of `columns` are not `available`."""
    missing = [name for name in columns or () if name not in available]
    if missing:
        raise MissingColumnError(str(path), missing, available)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a writer with our options.

    zstd at its default level is smaller than snappy and as fast to read; checksums find flipped bits on reading.
    Dictionaries pay for names: measured numbers hardly repeat, and trying took two thirds of the writing time.
    """
    names = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    return pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True, use_dictionary=names)


def write_parquet(table: pa.Table, path: Path, record: str) -> None:
    """Write a whole table; the same table gives the same bytes, however it is chunked."""
    with _writer(path, table.schema) as writer:
        writer.write_table(table.combine_chunks(), row_group_size=ROW_GROUP_ROWS)
        writer.add_key_value_metadata({METADATA_KEY: record})


class ParquetTableWriter:
    """Writes a table piece by piece; the record is added at the end, when it is known.

    Parameters
    ----------
    path
        The (temporary) file.
    schema
        Schema that every piece has.
    gather
        Whether small pieces are gathered into row groups of a good size; else each piece is one row group.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, gather: bool = False) -> None:
        self.schema = schema
        self.n_rows = 0
        self._gather = gather
        self._waiting: list[pa.Table] = []
        self._waiting_rows = self._waiting_bytes = 0
        self._writer = _writer(path, schema)

    def write(self, piece: pa.Table) -> None:
        """Append the rows of `piece`; an empty piece adds nothing."""
        if not piece.num_rows:
            return
        self.n_rows += piece.num_rows
        self._waiting.append(piece)
        self._waiting_rows += piece.num_rows
        self._waiting_bytes += piece.nbytes
        if not self._gather or self._waiting_rows >= ROW_GROUP_ROWS or self._waiting_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self, record: str | None) -> None:
        """Finish the file with its metadata `record` (None: the file is being given up)."""
        if record is not None:
            self._flush()
            self._writer.add_key_value_metadata({METADATA_KEY: record})
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            group = pa.concat_tables(self._waiting).combine_chunks()
            self._writer.write_table(group, row_group_size=group.num_rows)
            self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0
