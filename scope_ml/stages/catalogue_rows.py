"""Rows of a table by id and band, for light curves that come in any order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scope_ml.core.identifiers import one_chunk

__all__ = ["RowIndex"]


class RowIndex:
    """Finds rows by id and band; rows of one id and band are given out in their order, each once.

    Parameters
    ----------
    keys
        Column `id` (int64 or string) and, where known, `band`.
    as_text
        True to compare ids as text, where one side has numbers and the other text.
    """

    def __init__(self, keys: pa.Table, *, as_text: bool = False) -> None:
        self._as_text = as_text
        self._has_band = "band" in keys.column_names
        self._ids, code = np.unique(self._plain(keys), return_inverse=True)
        names = keys["band"].unique().to_pylist() if self._has_band else [None]
        self._bands = {name: number for number, name in enumerate(names)}
        key = code * max(len(names), 1) + self._band_codes(keys)
        self._order = np.argsort(key, kind="stable").astype(np.int64)
        self._keys, count = np.unique(key, return_counts=True)
        self._end = np.cumsum(count)
        self._next = self._end - count

    def find(self, rows: pa.Table) -> NDArray[np.int64]:
        """Return the number of each light curve's id and band, or -1 where no row has it; int64 (n,).

        Parameters
        ----------
        rows
            Columns `id` and `band` of the light curves.
        """
        number = _position(self._ids, self._plain(rows))
        band = self._band_codes(rows)
        group = _position(self._keys, number * max(len(self._bands), 1) + band)
        return np.where((number >= 0) & (band >= 0), group, -1)

    def take(self, groups: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the next row of each of `groups` (from `find`), or -1 where all have been given out; int64 (n,)."""
        rows = np.full(groups.size, -1, dtype=np.int64)
        for place, group in enumerate(groups.tolist()):
            if self._next[group] < self._end[group]:
                rows[place] = self._order[self._next[group]]
                self._next[group] += 1
        return rows

    def _plain(self, rows: pa.Table) -> NDArray[np.generic]:
        ids = one_chunk(rows["id"])
        if self._as_text and pa.types.is_integer(ids.type):
            ids = ids.cast(pa.string())
        if pa.types.is_integer(ids.type):
            return np.asarray(ids.to_numpy())
        return np.asarray(ids.to_pylist(), dtype=np.str_)

    def _band_codes(self, rows: pa.Table) -> NDArray[np.int64]:
        """Return the number of each row's band; -1 for a band that the table does not have."""
        if not self._has_band:
            return np.zeros(rows.num_rows, dtype=np.int64)
        return np.array([self._bands.get(name, -1) for name in rows["band"].to_pylist()], dtype=np.int64)


def _position(known: NDArray[np.generic], given: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return where each of `given` stands in the sorted `known`, or -1; int64, the shape of `given`."""
    if not known.size:
        return np.full(given.shape, -1, dtype=np.int64)
    place = np.minimum(np.searchsorted(known, given), known.size - 1).astype(np.int64)
    return np.where(known[place] == given, place, -1)
