"""Part files: long work survives being killed, without losing or repeating a row.

The shards of a stage write one part each into a folder beside the output; the next start asks which are done. A
part is there whole or not at all. The folder carries a key, a digest of the configuration and the input: parts
that were made with another key are thrown away on opening. May import core and errors only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import DataError, FormatError, OutputError, SchemaError
from scope_ml.io.atomic import TEMPORARY_SUFFIX, atomic_path
from scope_ml.io.parquet_files import ParquetTableWriter, open_parquet, parquet_record, read_errors
from scope_ml.io.tables import described, plain_schema, read_table, table_format, write_table

__all__ = ["Parts"]

#: File that holds the key of a folder of parts.
KEY_FILE = "key.txt"

PART_NAMES = "part-{index:06d}.parquet"

#: Takes a piece of the merged table and the number of its first row, from 0.
Transform = Callable[[pa.Table, int], pa.Table]


class Parts:
    """The parts of one output.

    Parameters
    ----------
    folder
        Where the parts lie, such as ``<output>.parts``; made if need be, nothing else should stand in it.
    key
        Digest of everything that decides what the parts hold and where one ends. Parts of another key are removed.

    Raises
    ------
    OutputError
        If the folder cannot be made or written.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = Path(folder)
        self.key = key
        key_file = self.folder / KEY_FILE
        if key_file.is_file() and key_file.read_bytes() == key.encode():
            return
        try:
            # The old key goes first: killed here, the next start finds no key and begins anew too.
            key_file.unlink(missing_ok=True)
            for path in self._part_files():
                path.unlink()
        except OSError as error:
            raise OutputError(f"cannot clear the part files in {self.folder}: {error.strerror or error}") from error
        with atomic_path(key_file) as temporary:
            temporary.write_bytes(key.encode())

    def path(self, index: int) -> Path:
        """Return where part `index`, from 0, stands or will stand."""
        return self.folder / PART_NAMES.format(index=index)

    def done(self, index: int) -> bool:
        """Return whether part `index` has been written."""
        return self.path(index).is_file()

    def indices(self) -> tuple[int, ...]:
        """Return the parts that have been written, in order."""
        return tuple(sorted(int(path.stem.removeprefix("part-")) for path in self._part_files()))

    def write(self, index: int, data: pa.Table, metadata: TableMetadata) -> None:
        """Write part `index`, atomically; a part without rows says that its shard had none.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        write_table(data, self.path(index), metadata)

    def read(self, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Return part `index`, or some of its columns.

        Raises
        ------
        FormatError, MetadataError, MissingColumnError
            If the part is missing or broken, or lacks columns.
        """
        return read_table(self.path(index), columns=columns).data

    def metadata(self, index: int) -> TableMetadata:
        """Return the record of part `index`, with what its shard counted in `facts`.

        Raises
        ------
        FormatError, MetadataError
            If the part is missing or broken.
        """
        with open_parquet(self.path(index)) as file:
            return self._record(file, index)

    def merge(
        self, final: Path, metadata: TableMetadata, *, n_parts: int | None = None, transform: Transform | None = None
    ) -> int:
        """Write all parts, in the order of their indices, as one table to `final`, atomically; return its rows.

        Into Parquet they stream, a row group at a time; HDF5 and CSV need the whole table in memory.
        The parts stay until `discard`.

        Parameters
        ----------
        final
            The output, in any format of `io.tables`.
        metadata
            Its record; columns and number of rows are filled in.
        n_parts
            How many parts there must be, 0 to n_parts - 1; any if None.
        transform
            Fills in what could not be known when the parts were written, given each piece and the number of its first
            row; same rows, same columns.

        Raises
        ------
        DataError
            If there is no part, or one of `n_parts` is missing.
        SchemaError
            If the columns of a part are not those of the first.
        OutputError
            If `final` cannot be written.
        """
        indices = self.indices()
        missing = sorted(set(range(n_parts or 0)) - set(indices))
        if missing:
            raise DataError(f"{len(missing)} of {n_parts} parts in {self.folder} are missing, first part {missing[0]}")
        if n_parts is not None:
            indices = tuple(range(n_parts))
        if not indices:
            raise DataError(f"there are no parts to merge in {self.folder}")
        if table_format(Path(final)) != "parquet":
            data = pa.concat_tables([self._checked(index, indices[0]) for index in indices])
            write_table(_transformed(data, 0, transform), final, metadata)
            return int(data.num_rows)
        return self._stream(indices, Path(final), metadata, transform)

    def discard(self) -> None:
        """Remove the parts, the key and leftovers of killed writers, and the folder if nothing else is in it."""
        for path in (self.folder / KEY_FILE, *self._part_files(), *self.folder.glob(f".*{TEMPORARY_SUFFIX}")):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def _part_files(self) -> list[Path]:
        return [path for path in self.folder.glob("part-*.parquet") if path.stem.removeprefix("part-").isdigit()]

    def _schema(self, index: int) -> pa.Schema:
        with open_parquet(self.path(index)) as file:
            return plain_schema(file.schema_arrow, self._record(file, index).columns)

    def _record(self, file: pq.ParquetFile, index: int) -> TableMetadata:
        return TableMetadata.from_json(parquet_record(file) or b"", where=str(self.path(index)))

    def _checked(self, index: int, first: int) -> pa.Table:
        data = read_table(self.path(index)).data
        self._check_schema(data.schema, index, self._schema(first))
        return data

    def _check_schema(self, found: pa.Schema, index: int, expected: pa.Schema) -> None:
        if not found.equals(expected):
            others = {name for name in (*found.names, *expected.names) if not _same_field(found, expected, name)}
            which = ", ".join(sorted(others)) or "their order"
            raise SchemaError(
                f"{self.path(index)} has other columns than the first part ({which});"
                f" remove {self.folder} and start again"
            )

    def _stream(
        self, indices: tuple[int, ...], final: Path, metadata: TableMetadata, transform: Transform | None
    ) -> int:
        schema = self._schema(indices[0])
        with atomic_path(final) as temporary:
            writer = ParquetTableWriter(temporary, schema, gather=True)
            record = None
            try:
                for index in indices:
                    self._copy(index, writer, transform)
                record = described(metadata, schema, writer.n_rows).to_json()
            finally:
                writer.close(record)
        return writer.n_rows

    def _copy(self, index: int, writer: ParquetTableWriter, transform: Transform | None) -> None:
        path = self.path(index)
        n_before = writer.n_rows
        with open_parquet(path) as file:
            self._check_schema(plain_schema(file.schema_arrow, ()), index, plain_schema(writer.schema, ()))
            for group in range(file.num_row_groups):
                with read_errors(path, "Parquet"):
                    piece = file.read_row_group(group)
                writer.write(_transformed(piece, writer.n_rows, transform).cast(writer.schema))
            expected = self._record(file, index).n_rows
        if writer.n_rows - n_before != expected:
            raise FormatError(f"{path} has other rows than its record says; remove {self.folder} and start again")


def _transformed(piece: pa.Table, first: int, transform: Transform | None) -> pa.Table:
    """Return the piece with what `transform` fills in, and its own columns and number of rows."""
    if transform is None:
        return piece
    filled = transform(piece, first)
    if filled.column_names != piece.column_names or filled.num_rows != piece.num_rows:
        raise SchemaError("what fills in the parts has changed their columns or rows")
    return filled.cast(piece.schema)


def _same_field(found: pa.Schema, expected: pa.Schema, name: str) -> bool:
    return name in found.names and name in expected.names and bool(found.field(name).equals(expected.field(name)))
