"""Identifiers of stars and light curves, exactly as they are written: 64-bit whole numbers or text, never floats.

Kowalski's light-curve ids and Gaia's 19-digit source ids lie beyond 2**53, where neighbouring float64 numbers
skip integers; a table that holds ids as floats has lost them already and is refused.
May import `errors` and numpy, pyarrow only.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.errors import DataError

__all__ = ["exact_ids", "one_chunk"]


def one_chunk(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column as one array; copies only if it has more than one chunk."""
    if isinstance(column, pa.ChunkedArray):
        if column.num_chunks == 1:
            return column.chunk(0)
        return pa.array([], column.type) if column.num_chunks == 0 else pa.concat_arrays(column.chunks)
    return column


def exact_ids(column: pa.ChunkedArray | pa.Array, name: str, *, where: str) -> pa.Array:
    """Return a column of ids as one int64 or string array without nulls.

    Raises
    ------
    DataError
        If the column holds floats (or anything else that is neither integer nor text), nulls, or integers
        beyond 64 bits signed; `name` names the column and `where` the table.
    """
    values = one_chunk(column)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_integer(values.type):
        target = pa.int64()
    elif pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        target = pa.string()
    else:
        raise DataError(
            f"{where}: column '{name}' is {values.type}; ids must be whole numbers or text"
            " (a float holds no id above 2**53 exactly): write them as int64 or as text"
        )
    if values.null_count:
        row = int(np.flatnonzero(pc.is_null(values).to_numpy(zero_copy_only=False))[0])
        raise DataError(f"{where}: column '{name}' has no value in row {row + 1} ({values.null_count} such rows)")
    try:
        return values.cast(target)
    except pa.ArrowInvalid as error:
        raise DataError(f"{where}: column '{name}' holds a number beyond int64; write the ids as text") from error
