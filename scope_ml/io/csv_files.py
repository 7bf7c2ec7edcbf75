"""CSV as our tables use it: text for people and spreadsheets, dtypes and units in ``<file>.meta.json`` beside it.

A null is an empty field, an empty string is ``""`` in quotes. May import core and errors only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from scope_ml.errors import FormatError, SchemaError
from scope_ml.io.atomic import atomic_path
from scope_ml.io.parquet_files import check_columns, read_errors, require_file
from scope_ml.io.scope_records import ID_COLUMN

__all__ = ["csv_record", "read_csv", "record_path", "write_csv"]

#: Bytes parsed at a time where the types are known; a line must fit.
BLOCK_BYTES = 1 << 20

#: Column names that hold identifiers, besides those that end in ``_id``.
ID_NAMES = frozenset({"id", "objid", "objectid", "oid", "sourceid"})


def record_path(path: Path) -> Path:
    """Return where the metadata record of a CSV file stands."""
    return path.with_name(f"{path.name}.meta.json")


def csv_record(path: Path) -> bytes | None:
    """Return the metadata record beside a CSV file, or None if there is none."""
    beside = record_path(path)
    return beside.read_bytes() if beside.is_file() else None


def read_csv(
    path: Path, columns: Sequence[str] | None, dtypes: Mapping[str, pa.DataType], texts: Collection[str] = ()
) -> pa.Table:
    """Return a CSV file's table; columns without an entry in `dtypes` get the type their text suggests, `texts` stay text.

    A list of whole numbers without a line of names, as SCoPe writes ids, is the column ``_id``.

    Raises
    ------
    FormatError, MissingColumnError
        If the file is missing, empty, ragged or does not fit `dtypes`, or lacks columns.
    """
    require_file(path)
    types = {**dtypes, **dict.fromkeys(texts, pa.string())}
    convert = pacsv.ConvertOptions(
        column_types=types,
        # Only an empty field is null: 'NA' and 'null' are strings, 'nan' is a number.
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    parse = pacsv.ParseOptions(newlines_in_values=True)
    # One block, so that all of the text and not its first megabyte suggests the types.
    block = min(max(path.stat().st_size + 1, BLOCK_BYTES), np.iinfo(np.int32).max)
    read = pacsv.ReadOptions(block_size=BLOCK_BYTES if dtypes else block)
    with read_errors(path, "CSV"):
        table = pacsv.read_csv(path, read_options=read, parse_options=parse, convert_options=convert)
        if not dtypes and table.num_columns == 1 and _is_number(table.column_names[0]):
            read.column_names = [ID_COLUMN]
            table = pacsv.read_csv(path, read_options=read, parse_options=parse, convert_options=convert)
        rounded = [field.name for field in table.schema if field.name not in types and _is_rounded_id(field)]
        if rounded:
            convert.column_types = {**types, **dict.fromkeys(rounded, pa.string())}
            table = pacsv.read_csv(path, read_options=read, parse_options=parse, convert_options=convert)
    repeated = {name for name in table.column_names if table.column_names.count(name) > 1}
    if repeated:
        raise FormatError(f"{path} has the column name(s) {', '.join(sorted(repeated))} twice; rename one of each")
    check_columns(path, columns, table.column_names)
    return table if columns is None else table.select(list(columns))


def write_csv(table: pa.Table, final: Path, record: str) -> None:
    """Write a table and its record under the final names, each atomically.

    A record that stands there is removed first: killed in between, the new file has no record and is refused
    rather than read with the record of another table.
    """
    if table.num_columns == 1 and table.column(0).null_count:
        raise SchemaError(f"cannot write {final}: a CSV of one column cannot tell a null from an empty line")
    with atomic_path(record_path(final)) as beside:
        beside.write_text(record + "\n", encoding="utf-8")
        with atomic_path(final) as temporary:
            pacsv.write_csv(table, temporary)
            with suppress(FileNotFoundError):
                record_path(final).unlink()


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _is_rounded_id(field: pa.Field) -> bool:
    """Return whether an identifier was taken for a float, as happens beyond 64 bits: it is read again as text."""
    is_id = field.name.lower() in ID_NAMES or field.name.lower().endswith("_id")
    return is_id and bool(pa.types.is_floating(field.type))
