"""Light-curve batches to and from Arrow list columns, sharing memory.

Arrow keeps a list column as one array of values and an array of offsets, per chunk. Where a column has one chunk
and no nulls, the values go into the batch as they lie in memory; only the offsets become int64.
May import `errors`, `core.identifiers`, `core.lightcurve`, `core.lightcurve_checks` and numpy, pyarrow only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import exact_ids, one_chunk
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.lightcurve_checks import check_lengths
from scope_ml.errors import MissingColumnError, SchemaError

__all__ = ["batch_from_arrow", "batch_to_arrow", "is_list", "list_lengths"]

#: What messages call the table.
WHERE = "light-curve table"

#: Fields of the batch whose column a table need not have.
MAY_LACK = ("flags", "programid")

#: Largest offset of a ``list`` column; longer batches are written as ``large_list``.
MAX_LIST_OFFSET = np.iinfo(np.int32).max


def is_list(dtype: pa.DataType) -> bool:
    """Return whether a column of `dtype` holds one list per row."""
    return bool(pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype))


def batch_from_arrow(table: pa.Table | pa.RecordBatch, names: dict[str, str | None]) -> LightCurveBatch:
    """Make a batch of a table; see `LightCurveBatch.from_arrow`. `names` maps fields of the batch to columns."""
    available = table.schema.names
    columns = {field: name for field, name in names.items() if name is not None}
    for field in MAY_LACK:
        if columns.get(field) not in available:
            columns.pop(field, None)
    missing = [name for name in columns.values() if name not in available]
    if missing:
        raise MissingColumnError(WHERE, missing, available)
    ids = exact_ids(table.column(columns.pop("id")), names["id"] or "id", where=WHERE).to_numpy(zero_copy_only=False)
    lists = {field: _list_column(table.column(name), name) for field, name in columns.items()}
    lengths = list_lengths(lists["time"])
    for field, column in lists.items():
        check_lengths(ids, lengths, list_lengths(column), columns["time"], columns[field])
    points = {field: _values(field, column) for field, column in lists.items()}
    precision = np.result_type(points["mag"], points["mag_err"])
    if precision.kind == "f":
        points |= {field: points[field].astype(precision, copy=False) for field in ("mag", "mag_err")}
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    return LightCurveBatch(id=ids, offsets=offsets, **points)


def batch_to_arrow(batch: LightCurveBatch) -> pa.Table:
    """Return the batch as a table; see `LightCurveBatch.to_arrow`."""
    large = batch.n_points > MAX_LIST_OFFSET
    offsets = pa.array(batch.offsets if large else batch.offsets.astype(np.int32))
    make = pa.LargeListArray.from_arrays if large else pa.ListArray.from_arrays
    columns: dict[str, pa.Array] = {"id": pa.array(batch.id)}
    if batch.id.dtype != np.int64:
        columns["id"] = pa.array(batch.id, pa.string())
    points: dict[str, npt.NDArray[Any] | None] = {"hjd": batch.time, "mag": batch.mag, "magerr": batch.mag_err}
    points |= {"band": batch.band, "catflags": batch.flags, "programid": batch.programid}
    for name, values in points.items():
        if values is not None:
            is_text = values.dtype.kind in "UO"
            columns[name] = make(offsets, pa.array(values, pa.string()) if is_text else pa.array(values))
    return pa.table(columns)


def _list_column(column: pa.ChunkedArray | pa.Array, name: str) -> pa.Array:
    if not is_list(column.type):
        raise SchemaError(
            f"light-curve column '{name}' is {column.type}, not a list; a light-curve table has one row a light curve"
        )
    values = one_chunk(column)
    if pa.types.is_fixed_size_list(values.type):
        values = values.cast(pa.list_(values.type.value_type))
    return values


def list_lengths(column: pa.Array) -> npt.NDArray[np.int64]:
    """Return the lengths of the lists of a column, shape (n,); a null list has length 0."""
    lengths = pc.list_value_length(column)
    if lengths.null_count:
        lengths = lengths.fill_null(0)
    return np.asarray(lengths.to_numpy(), dtype=np.int64)


def _values(field: str, column: pa.Array) -> npt.NDArray[Any]:
    """Return the points of a list column; `flatten` honours slices and skips what lies beneath null lists."""
    values = column.flatten()
    if field == "band" and not pa.types.is_integer(values.type):
        return _band_names(values)
    if field in MAY_LACK and values.null_count and pa.types.is_integer(values.type):
        bits = values.type.to_pandas_dtype()
        values = values.fill_null(int(np.iinfo(bits).max) if pa.types.is_unsigned_integer(values.type) else -1)
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _band_names(values: pa.Array) -> npt.NDArray[Any]:
    """Return band names as fixed-width numpy strings; a null name is the empty string."""
    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    names = np.array([*encoded.dictionary.cast(pa.string()).to_pylist(), ""], dtype=np.str_)
    codes = np.asarray(encoded.indices.fill_null(len(names) - 1).to_numpy())
    return np.asarray(names[codes])
