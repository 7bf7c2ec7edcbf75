"""Identifiers: compared exactly, whatever their type, and never by way of a float.

The arrays are those of `core.identifiers.exact_ids`: int64 or string, without nulls.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["comparable", "row_codes", "shared_rows"]


def comparable(left: pa.Array, right: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return two id arrays as one type: as they are, or both as exact decimal text where only one is text."""
    if left.type == right.type:
        return left, right
    return left.cast(pa.string()), right.cast(pa.string())


def shared_rows(ids: pa.Array, among: pa.Array) -> npt.NDArray[np.int64]:
    """Return for each of `ids` its row in `among` (unique ids), or -1; int64, shape (len(ids),)."""
    given, known = comparable(ids, among)
    return np.asarray(pc.fill_null(pc.index_in(given, value_set=known), -1), dtype=np.int64)


def row_codes(keys: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Give each distinct one of `keys` a number, in order of appearance.

    Returns
    -------
    codes
        int64 (n,): number of each row's key.
    first
        int64 (n_distinct,): row in which each key appears first.
    """
    codes = np.asarray(pc.dictionary_encode(keys).indices, dtype=np.int64)
    _, first = np.unique(codes, return_index=True)
    return codes, first.astype(np.int64)
