"""Tables in Parquet, HDF5 and CSV with one metadata record, whatever the format.

`read_table` and `write_table` are for tables of ours, which carry the record of `core.provenance.TableMetadata`, and
of SCoPe, which have attrs in its place; `read_foreign_table` adopts tables of others. The suffix says the format.
64-bit integers, integers with nulls, strings, booleans and floats come back exactly as they went in; so do numbers in
lists of one length (an image a row), but for CSV, which takes none. May import core and errors only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import pyarrow as pa

from scope_ml.core.provenance import Column, TableMetadata
from scope_ml.errors import FormatError, MetadataError, SchemaError
from scope_ml.io.atomic import atomic_path
from scope_ml.io.csv_files import csv_record, read_csv, record_path, write_csv
from scope_ml.io.hdf5_files import hdf5_columns, read_hdf5, write_hdf5
from scope_ml.io.parquet_files import (
    check_columns,
    open_parquet,
    parquet_record,
    read_errors,
    read_parquet,
    require_file,
    write_parquet,
)
from scope_ml.io.scope_records import adopted_record, scope_attrs

__all__ = [
    "FORMATS",
    "Table",
    "check_columns_fit",
    "plain_schema",
    "read_batches",
    "read_foreign_table",
    "read_table",
    "table_columns",
    "table_format",
    "write_table",
]

#: File suffix -> name of the format.
FORMATS = {".parquet": "parquet", ".h5": "hdf5", ".hdf5": "hdf5", ".csv": "csv"}

#: Key of a column's unit in the metadata of its Arrow field.
UNIT_KEY = b"unit"

#: Types of one value a row that every format keeps exactly; Parquet takes any.
SCALAR_TYPES = {
    str(dtype): dtype
    for dtype in (
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_string()),
    )
}


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of ours: its columns and the record of where it comes from.

    Attributes
    ----------
    data
        The columns; units in the field metadata under ``unit``.
    metadata
        The record; `columns` and `n_rows` describe the file, also if only some columns were read.
    """

    data: pa.Table
    metadata: TableMetadata


def table_format(path: Path) -> str:
    """Return ``"parquet"``, ``"hdf5"`` or ``"csv"`` by the suffix of `path`.

    Raises
    ------
    FormatError
        If the suffix is none of ``.parquet``, ``.h5``, ``.hdf5``, ``.csv``.
    """
    name = FORMATS.get(path.suffix.lower())
    if name is None:
        raise FormatError(f"{path} has the suffix '{path.suffix}'; tables end in one of {', '.join(FORMATS)}")
    return name


def read_table(path: Path, *, columns: Sequence[str] | None = None, kind: str | None = None) -> Table:
    """Read a table of ours, or some `columns` of it in the order given.

    Parameters
    ----------
    path
        A file written by `write_table`, or by SCoPe: then the record says what the columns tell, and has SCoPe's attrs
        as the fact ``scope``.
    columns
        Names to read; all by default.
    kind
        What the table must be, such as ``"features"``; anything by default.

    Raises
    ------
    FormatError
        If the file is missing, empty, truncated, or not of its format.
    MetadataError
        If it has no metadata record, or is of another kind.
    MissingColumnError
        If it lacks columns.
    """
    path = Path(path)
    form = table_format(path)
    if form == "csv":
        data, metadata = _read_csv_table(path, columns)
    else:
        data, raw = read_parquet(path, columns) if form == "parquet" else read_hdf5(path, columns, None)
        metadata = _record(path, raw)
    if kind is not None and metadata.kind != kind:
        raise MetadataError(f"{path} is a '{metadata.kind}' table; a '{kind}' table is needed here")
    if data.num_columns:
        _check_rows(path, data.num_rows, metadata.n_rows)
    return Table(data=_restored(path, data, metadata), metadata=metadata)


def table_columns(path: Path) -> tuple[str, ...]:
    """Return the names of the columns that can be read of a table, ours or not; of Parquet and HDF5 only these are read.

    Raises
    ------
    FormatError
        If the file cannot be read.
    """
    path = Path(path)
    form = table_format(path)
    if form == "hdf5":
        return hdf5_columns(path)
    if form == "csv":
        return tuple(read_foreign_table(path).column_names)
    with open_parquet(path) as file:
        return tuple(file.schema_arrow.names)


def read_foreign_table(
    path: Path, columns: Sequence[str] | None = None, *, readable_only: bool = False, texts: Sequence[str] = ()
) -> pa.Table:
    """Read a table of anybody's, with or without our record: label files, catalogues, data sets.

    Integers stay integers (also with nulls); in CSV without a record the text suggests the types, but for the columns `texts`:
    names such as 0012 are none but as they are written. Columns of pandas' HDF5
    that hold pickled objects are an error; with `readable_only` all `columns` are taken that can be read.

    Raises
    ------
    FormatError, MissingColumnError
        If the file cannot be read, or lacks columns.
    """
    path = Path(path)
    form = table_format(path)
    if form == "hdf5" and readable_only:
        available = hdf5_columns(path)
        columns = available if columns is None else [name for name in columns if name in available]
    if form == "csv":
        record = csv_record(path) if path.is_file() else None
        # What stands beside a file of others need not be a record of ours.
        if record is not None and scope_attrs(record) is None:
            return read_table(path, columns=columns).data
        data = read_csv(path, columns, {}, texts)
    else:
        data, _ = read_parquet(path, columns) if form == "parquet" else read_hdf5(path, columns, None)
    return data.cast(plain_schema(data.schema, ()))


def read_batches(path: Path, columns: Sequence[str], *, n_rows: int) -> Iterator[pa.Table]:
    """Yield some columns of a table of ours in blocks of at most `n_rows` rows, in order.

    Parquet streams, so that memory holds about one block; HDF5 and CSV are read whole.

    Raises
    ------
    FormatError, MetadataError, MissingColumnError
        As `read_table` raises; that rows are missing shows only after the last block.
    """
    path = Path(path)
    if table_format(path) != "parquet":
        table = read_table(path, columns=columns).data
        yield from (table.slice(start, n_rows) for start in range(0, table.num_rows, n_rows))
        return
    with open_parquet(path) as file, read_errors(path, "Parquet"):
        check_columns(path, columns, file.schema_arrow.names)
        expected = _record(path, parquet_record(file)).n_rows
        n_read = 0
        for batch in file.iter_batches(batch_size=n_rows, columns=list(columns)):
            n_read += batch.num_rows
            yield pa.Table.from_batches([batch]).select(list(columns))
        _check_rows(path, n_read, expected)


def write_table(data: pa.Table, path: Path, metadata: TableMetadata) -> None:
    """Write a table with its record, atomically; the same table and record give the same bytes.

    The record's `columns` and `n_rows` are filled in here. A unit is taken from the Arrow field metadata (key
    ``unit``), or else from the entry of that name in ``metadata.columns``.

    Raises
    ------
    FormatError
        If the suffix is of no known format.
    SchemaError
        If two columns have one name, or a column's type cannot be kept in the format (`check_columns_fit`), or a
        column of lists of one length has nulls.
    OutputError
        If the path cannot be written.
    """
    path = Path(path)
    form = table_format(path)
    repeated = [name for name, count in Counter(data.column_names).items() if count > 1]
    if repeated:
        raise SchemaError(f"cannot write {path}: two columns are named {', '.join(sorted(repeated))}")
    check_columns_fit(path, data.schema)
    _refuse_null_lists(data, path)
    if form != "parquet":
        data = _decoded(data)
    schema = plain_schema(data.schema, metadata.columns)
    data = data.cast(schema)
    record = described(metadata, schema, data.num_rows).to_json()
    if form == "csv":
        write_csv(data, path, record)
        return
    with atomic_path(path) as temporary:
        (write_parquet if form == "parquet" else write_hdf5)(data, temporary, record)


def check_columns_fit(path: Path, schema: pa.Schema) -> None:
    """Check that a table of these columns can be written to `path`; stages ask before long work.

    Raises
    ------
    FormatError
        If the suffix of `path` is of no known format.
    SchemaError
        If a column's type cannot be kept: CSV holds one value a row and column, HDF5 also lists of numbers if they are
        of one length (``fixed_size_list``), Parquet anything.
    """
    form = table_format(path)
    if form == "parquet":
        return
    for field in schema:
        dtype = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        is_numbers = _is_row(dtype) and (pa.types.is_integer(dtype.value_type) or _is_real(dtype.value_type))
        if str(dtype) in SCALAR_TYPES or (is_numbers and form == "hdf5"):
            continue
        others = ".parquet or .h5" if is_numbers else ".parquet"
        raise SchemaError(
            f"cannot write {path}: column '{field.name}' is {dtype}, which {path.suffix} files cannot hold;"
            f" write {others}, or leave the column out (of a feature table: its group, from features.groups)"
        )


def plain_schema(schema: pa.Schema, columns: Sequence[Column]) -> pa.Schema:
    """Return `schema` with nothing in its metadata but the units, from the fields or else from `columns`.

    Lists of one length get Arrow's own name for their elements, which Parquet renames.
    """
    units = {column.name: column.unit for column in columns}
    fields = []
    for field in schema:
        unit = (field.metadata or {}).get(UNIT_KEY, units.get(field.name, "").encode())
        dtype = pa.list_(field.type.value_type, field.type.list_size) if _is_row(field.type) else field.type
        fields.append(pa.field(field.name, dtype, metadata={UNIT_KEY: unit} if unit else None))
    return pa.schema(fields)


def described(metadata: TableMetadata, schema: pa.Schema, n_rows: int) -> TableMetadata:
    """Return `metadata` with `columns` and `n_rows` filled in from a table's schema and length."""
    columns = tuple(
        Column(name=field.name, dtype=str(field.type), unit=(field.metadata or {}).get(UNIT_KEY, b"").decode())
        for field in schema
    )
    return replace(metadata, columns=columns, n_rows=n_rows)


def _read_csv_table(path: Path, columns: Sequence[str] | None) -> tuple[pa.Table, TableMetadata]:
    """Read a CSV file of ours: the record comes first, since it holds the types."""
    require_file(path)
    metadata = _record(path, csv_record(path))
    data = read_csv(path, columns, {c.name: SCALAR_TYPES[c.dtype] for c in metadata.columns if c.dtype in SCALAR_TYPES})
    return data, metadata


def _record(path: Path, raw: bytes | None) -> TableMetadata:
    if raw is None:
        _no_record(path)
    attrs = scope_attrs(raw)
    if attrs is None:
        return TableMetadata.from_json(raw, where=str(path))
    schema, n_rows = _shape(path)
    return described(adopted_record(attrs, schema.names), schema, n_rows)


def _shape(path: Path) -> tuple[pa.Schema, int]:
    """Return the columns that can be read of a table without a record of ours, and its number of rows."""
    if table_format(path) == "parquet":
        with open_parquet(path) as file:
            return plain_schema(file.schema_arrow, ()), int(file.metadata.num_rows)
    data = read_foreign_table(path, readable_only=True)
    return data.schema, int(data.num_rows)


def _check_rows(path: Path, n_rows: int, recorded: int) -> None:
    if n_rows != recorded:
        raise FormatError(
            f"{path} has {n_rows} rows but its record says {recorded}; it was cut or edited, make it again"
        )


def _no_record(path: Path) -> NoReturn:
    lacks = f" (no {record_path(path).name} beside it)" if path.suffix.lower() == ".csv" else ""
    raise MetadataError(
        f"{path} has no metadata record of scope_ml{lacks}, so it cannot be said what it is; adopt a file of your own"
        " with scope_ml.io.tables: write_table(read_foreign_table(path), new_path, TableMetadata(kind=...)); one of SCoPe's"
        " with scope_ml.io.scope_files: adopt(path, new_path)"
    )


def _restored(path: Path, data: pa.Table, metadata: TableMetadata) -> pa.Table:
    """Give the columns the dtypes and units of the record."""
    recorded = {column.name: column for column in metadata.columns}
    fields = []
    for field in plain_schema(data.schema, metadata.columns):
        dtype = SCALAR_TYPES.get(recorded[field.name].dtype, field.type) if field.name in recorded else field.type
        fields.append(pa.field(field.name, dtype, metadata=field.metadata))
    try:
        return data.cast(pa.schema(fields))
    except pa.ArrowInvalid as error:
        raise FormatError(f"{path} does not hold the types its record says ({error}); make it again") from error


def _decoded(data: pa.Table) -> pa.Table:
    """Return the table with values in the place of dictionaries."""
    for index, field in enumerate(data.schema):
        if pa.types.is_dictionary(field.type):
            decoded = data.column(index).cast(field.type.value_type)
            data = data.set_column(index, field.with_type(field.type.value_type), decoded)
    return data


def _refuse_null_lists(data: pa.Table, path: Path) -> None:
    """Refuse nulls in lists of one length: Arrow writes them to Parquet and cannot read them again."""
    for name, column in zip(data.column_names, data.columns, strict=True):
        if _is_row(column.type) and any(piece.null_count or piece.flatten().null_count for piece in column.chunks):
            raise SchemaError(
                f"cannot write {path}: column '{name}' of lists of one length has nulls; put NaN in their place"
            )


def _is_row(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(dtype))


def _is_real(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_float32(dtype) or pa.types.is_float64(dtype))
