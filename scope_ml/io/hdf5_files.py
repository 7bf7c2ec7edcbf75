"""HDF5 as our tables use it: one dataset a column in the group ``columns``, nulls in the group ``valid``.

``valid/<name>`` is a boolean dataset, there only if the column has nulls. Strings are variable-length UTF-8. Lists of
one length (an image a row) are a dataset of two dimensions. The metadata record is the attribute ``scope`` of the
file. Files of pandas go to `pandas_hdf5`. May import core and errors only; h5py is imported inside functions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scope_ml.errors import FormatError, SchemaError, ScopeError
from scope_ml.io.pandas_hdf5 import is_pandas, pandas_columns, read_pandas
from scope_ml.io.parquet_files import METADATA_KEY, check_columns, read_errors, require_file
from scope_ml.io.scope_records import ID_COLUMN, exact_dataset_ids, is_id_dataset

__all__ = ["hdf5_columns", "hdf5_in_memory", "read_hdf5", "write_hdf5"]

COLUMNS_GROUP = "columns"
VALID_GROUP = "valid"

#: What h5py and readers of its files raise where something is not there, or not what it must be.
BROKEN = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)

#: Columns of numbers longer than this are compressed and checksummed; short ones are not worth a chunk.
COMPRESSED_ROWS = 1024


@contextmanager
def hdf5_in_memory(path: Path, **options: Any) -> Iterator[Any]:
    """Yield a file of h5py in memory, which is written to `path` at the end of the block.

    Where a disk fills up under HDF5 itself, it goes on failing, loudly, until the process ends.
    """
    import h5py

    with h5py.File(str(path), "w", driver="core", backing_store=False, **options) as file:
        yield file
        file.flush()
        image = file.id.get_file_image()
    path.write_bytes(image)


def write_hdf5(table: pa.Table, path: Path, record: str) -> None:
    """Write a table of scalars and of lists of one length; the same table gives the same bytes (no times are stored)."""
    import h5py

    with hdf5_in_memory(path, libver="latest", track_order=True) as file:
        file.attrs[METADATA_KEY] = record
        columns = file.create_group(COLUMNS_GROUP, track_order=True)
        valid = file.create_group(VALID_GROUP, track_order=True)
        for name, column in zip(table.column_names, table.columns, strict=True):
            if not name or "/" in name or name == "." or "\0" in name:
                raise SchemaError(f"column name '{name}' cannot stand in HDF5; write Parquet or rename the column")
            values = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
            # Long columns only: HDF5 needs chunked storage for compression, and chunks cannot be empty.
            storage = {"compression": "gzip", "shuffle": True, "fletcher32": True}
            options = storage if len(values) > COMPRESSED_ROWS else {}
            if values.null_count:
                valid.create_dataset(name, data=values.is_valid().to_numpy(zero_copy_only=False), **options)
                values = _filled(values)
            if pa.types.is_fixed_size_list(values.type):
                rows = values.flatten().to_numpy().reshape(len(values), values.type.list_size)
                columns.create_dataset(name, data=rows, **options)
            elif _is_text(values.type):
                # Strings lie in a heap beside the dataset, where filters do not reach.
                columns.create_dataset(name, data=_texts(values, name), dtype=h5py.string_dtype())
            else:
                columns.create_dataset(name, data=values.to_numpy(zero_copy_only=False), **options)


def read_hdf5(
    path: Path, columns: Sequence[str] | None, dtypes: Mapping[str, pa.DataType] | None
) -> tuple[pa.Table, bytes | None]:
    """Return a file's table (or `columns` of it) and its metadata record, if any.

    Files of others are read too, if their columns are datasets of one dimension and equal length, in the root or in
    one group `columns`; of those with more dimensions, which may be anything, nothing is taken. So are those of pandas,
    whose record is the attrs that SCoPe kept with them, and SCoPe's lists of ids, whose column is called ``_id``.

    Raises
    ------
    FormatError, MissingColumnError
        If the file is missing, empty, broken or laid out in another way, or lacks columns.
    """
    with _opened(path) as file:
        record = file.attrs.get(METADATA_KEY)
        if record is None and is_pandas(file):
            table, attrs = read_pandas(file, path, columns)
            return table, None if attrs is None else json.dumps(attrs, default=str).encode()
        datasets = _datasets(file, path)
        check_columns(path, columns, list(datasets))
        arrays = {}
        for name in columns if columns is not None else datasets:
            dataset = datasets[name]
            if is_id_dataset(dataset.name.rpartition("/")[2]):
                arrays[name] = pa.array(exact_dataset_ids(dataset[()], path))
                continue
            mask = None
            if f"{VALID_GROUP}/{name}" in file:
                mask = ~np.asarray(file[f"{VALID_GROUP}/{name}"][()], dtype=bool)
            arrays[name] = _array(dataset, mask, (dtypes or {}).get(name))
    lengths = {len(values) for values in arrays.values()}
    if len(lengths) > 1:
        raise FormatError(f"{path} has columns of different lengths ({sorted(lengths)}); convert it to Parquet or CSV")
    return pa.table(arrays), record.encode() if isinstance(record, str) else record


def hdf5_columns(path: Path) -> tuple[str, ...]:
    """Return the names of the columns that `read_hdf5` can read, without reading them.

    Raises
    ------
    FormatError
        As `read_hdf5`.
    """
    with _opened(path) as file:
        if file.attrs.get(METADATA_KEY) is None and is_pandas(file):
            return pandas_columns(file, path)
        return tuple(_datasets(file, path))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Yield the file of h5py at `path`.

    Raises
    ------
    FormatError
        If it is missing, empty or broken, also where that shows only in the block.
    """
    import h5py

    require_file(path)
    try:
        with read_errors(path, "HDF5"), h5py.File(path, "r") as file:
            yield file
    except ScopeError:
        raise
    except BROKEN as error:
        detail = " ".join(str(error).split())[:200]
        raise FormatError(
            f"{path} is a broken HDF5 file, or was not written whole ({detail}); write it again"
        ) from error


def _datasets(file: Any, path: Path) -> dict[str, Any]:
    """Return the datasets that are columns, by the names of the columns."""
    import h5py

    group = file[COLUMNS_GROUP] if isinstance(file.get(COLUMNS_GROUP), h5py.Group) else file
    n_dimensions = (1,) if file.attrs.get(METADATA_KEY) is None else (1, 2)
    found = {name: item for name, item in group.items() if isinstance(item, h5py.Dataset) and item.ndim in n_dimensions}
    if not found:
        raise FormatError(
            f"{path} has no columns: datasets of one dimension are needed in its root or in the group 'columns'"
            f" (it holds: {', '.join(file) or 'nothing'}); convert it to Parquet or CSV"
        )
    if len(found) == 1 and is_id_dataset(next(iter(found))):
        return {ID_COLUMN: next(iter(found.values()))}
    return found


def _array(dataset: Any, mask: np.ndarray[Any, Any] | None, dtype: pa.DataType | None) -> pa.Array:
    import h5py

    if h5py.check_string_dtype(dataset.dtype) is not None:
        return pa.array(dataset.asstr()[()], dtype or pa.string(), mask=mask)
    values = dataset[()]
    # Arrow takes native byte order only; files of others may be big-endian.
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.array(values, dtype, mask=mask)


def _filled(values: pa.Array) -> pa.Array:
    if _is_text(values.type):
        return values.fill_null("")
    return values.fill_null(False if pa.types.is_boolean(values.type) else 0)


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype))


def _texts(values: pa.Array, name: str) -> np.ndarray[Any, Any]:
    texts = values.to_numpy(zero_copy_only=False)
    if any("\0" in text for text in texts):
        raise SchemaError(f"column '{name}' has a string with a NUL character, which HDF5 cannot hold; write Parquet")
    return np.asarray(texts, dtype=object)
