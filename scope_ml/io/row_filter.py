"""A selection in terms of one Parquet file: which of its row groups can hold wanted rows, and which rows they are.

Row groups are chosen by the smallest and largest value that the file keeps of each column, so that most of a file is
never read. May import core and errors only.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from scope_ml.core.identifiers import exact_ids, one_chunk
from scope_ml.errors import DataError, MissingColumnError
from scope_ml.io.layouts import WHERE, Layout
from scope_ml.io.parquet_files import read_errors
from scope_ml.io.selection import Selection

__all__ = ["RowFilter", "Verdict", "count_wanted", "row_filter"]

#: Rows of the columns that decide which are in memory at a time.
PIECE_ROWS = 65536

#: Added to the radius where statistics of declinations decide, which must never leave out a row [deg].
SLACK_DEG = 1e-6


class Verdict(IntEnum):
    """What statistics say of the rows of a group."""

    NONE = 0
    MAYBE = 1
    ALL = 2


@dataclass(frozen=True, kw_only=True)
class RowFilter:
    """The wanted rows of one file.

    Attributes
    ----------
    wanted
        Column -> wanted values, sorted: whole numbers, or text for an id column of text.
    ids
        The column of `wanted` that holds ids, if any.
    near
        Columns of right ascension and declination, if positions are wanted; `selection` says which.
    """

    selection: Selection
    wanted: Mapping[str, npt.NDArray[np.int64] | list[str]]
    ids: str | None
    near: tuple[str, str] | None

    @property
    def columns(self) -> list[str]:
        """Return the columns that decide."""
        return [*self.wanted, *(self.near or ())]

    def verdict(self, group: pq.RowGroupMetaData) -> Verdict:
        """Return whether none, some or all rows of a row group are wanted, as far as its statistics tell."""
        if not group.num_rows:
            return Verdict.NONE
        statistics = {
            group.column(index).path_in_schema: group.column(index).statistics for index in range(group.num_columns)
        }
        verdicts = [_of_values(statistics.get(name), values) for name, values in self.wanted.items()]
        if self.near is not None:
            verdicts.append(self._of_declinations(statistics.get(self.near[1])))
        return min(verdicts, default=Verdict.ALL)

    def mask(self, piece: pa.RecordBatch | pa.Table) -> npt.NDArray[np.bool_]:
        """Return which rows of `piece`, with `columns` among its columns, are wanted, shape (n,).

        Raises
        ------
        DataError
            If ids are null or floats, or a field, ccd or quadrant is no whole number.
        """
        keep = np.ones(piece.num_rows, dtype=bool)
        for name, values in self.wanted.items():
            column = one_chunk(piece.column(name))
            if isinstance(values, list):
                texts = exact_ids(column, name, where=WHERE).to_pylist()
                keep &= np.fromiter((text in self._texts for text in texts), dtype=bool, count=len(texts))
            elif name == self.ids:
                keep &= _is_in(exact_ids(column, name, where=WHERE).to_numpy(), values)
            else:
                keep &= _is_in(_whole(column, name), values) & _valid(column)
        if self.near is not None:
            ra, dec = (_degrees(one_chunk(piece.column(name)), name) for name in self.near)
            left = np.flatnonzero(keep)
            keep[left] = self.selection.near(ra[left], dec[left])
        return keep

    @cached_property
    def _texts(self) -> frozenset[str]:
        return frozenset(self.selection.sorted_texts)

    def _of_declinations(self, statistics: pq.Statistics | None) -> Verdict:
        positions = self.selection.positions
        if positions is None or statistics is None or not statistics.has_min_max:
            return Verdict.MAYBE
        low, high = statistics.min, statistics.max
        if not (isinstance(low, float) and isinstance(high, float) and low <= high):
            return Verdict.MAYBE
        margin = positions.radius_arcsec / 3600.0 + SLACK_DEG
        any_near = np.any((positions.dec >= low - margin) & (positions.dec <= high + margin))
        return Verdict.MAYBE if any_near else Verdict.NONE


def row_filter(selection: Selection, layout: Layout, schema: pa.Schema, where: str) -> RowFilter:
    """Return `selection` in the columns of a file of `schema`.

    Raises
    ------
    MissingColumnError
        If the file lacks a column that decides: it cannot be said which of its rows are wanted.
    """
    wanted: dict[str, Any] = {}
    if selection.field is not None:
        wanted[layout.keys["field"]] = np.array([selection.field], np.int64)
    for name, values in layout.quadrant_values(selection.ccd, selection.quad).items():
        wanted[name] = np.array(sorted(values), np.int64)
    ids = layout.keys["id"] if selection.ids is not None else None
    near = (layout.keys["ra"], layout.keys["dec"]) if selection.positions is not None else None
    missing = [name for name in (*wanted, *(near or ())) if name not in schema.names]
    if missing:
        raise MissingColumnError(f"{where} cannot be searched for {selection}: it", missing, schema.names)
    if ids is not None:
        wanted[ids] = selection.sorted_texts if _is_text(schema.field(ids).type) else selection.sorted_numbers
    return RowFilter(selection=selection, wanted=wanted, ids=ids, near=near)


def count_wanted(path: Path, file: pq.ParquetFile, wanted: RowFilter) -> list[int]:
    """Return how many rows of each row group of an open file are wanted; reads the columns that decide where it must.

    Raises
    ------
    FormatError
        If the file turns out to be broken.
    DataError
        As `RowFilter.mask` raises, with the name of the file.
    """
    counts = []
    for index in range(file.num_row_groups):
        group = file.metadata.row_group(index)
        verdict = wanted.verdict(group)
        n_wanted = group.num_rows if verdict is Verdict.ALL else 0
        if verdict is Verdict.MAYBE:
            with read_errors(path, "Parquet"):
                for piece in file.iter_batches(batch_size=PIECE_ROWS, row_groups=[index], columns=wanted.columns):
                    try:
                        n_wanted += int(wanted.mask(piece).sum())
                    except DataError as error:
                        raise DataError(f"{path}: {error}") from error
        counts.append(n_wanted)
    return counts


def _is_text(dtype: pa.DataType) -> bool:
    if pa.types.is_dictionary(dtype):
        dtype = dtype.value_type
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype))


def _of_values(statistics: pq.Statistics | None, wanted: npt.NDArray[np.int64] | list[str]) -> Verdict:
    if not len(wanted):
        return Verdict.NONE
    if statistics is None or not statistics.has_min_max:
        return Verdict.MAYBE
    low, high = statistics.min, statistics.max
    kind = str if isinstance(wanted, list) else int
    if not (isinstance(low, kind) and isinstance(high, kind)):
        return Verdict.MAYBE
    n_between = bisect_right(wanted, high) - bisect_left(wanted, low)
    if not n_between:
        return Verdict.NONE
    n_possible = high - low + 1 if isinstance(low, int) and isinstance(high, int) else 1 if low == high else None
    no_null = statistics.has_null_count and statistics.null_count == 0
    return Verdict.ALL if n_between == n_possible and no_null else Verdict.MAYBE


def _is_in(values: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which of `values` are among the sorted `wanted`."""
    if not len(wanted):
        return np.zeros(len(values), dtype=bool)
    at = np.minimum(np.searchsorted(wanted, values), len(wanted) - 1)
    return np.asarray(wanted[at] == values)


def _whole(column: pa.Array, name: str) -> npt.NDArray[np.int64]:
    return np.asarray(_cast(column, pa.int64(), name).fill_null(0).to_numpy(zero_copy_only=False))


def _degrees(column: pa.Array, name: str) -> npt.NDArray[np.float64]:
    return np.asarray(_cast(column, pa.float64(), name).fill_null(np.nan).to_numpy(zero_copy_only=False))


def _valid(column: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(column.is_valid().to_numpy(zero_copy_only=False))


def _cast(column: pa.Array, dtype: pa.DataType, name: str) -> pa.Array:
    try:
        return column.cast(dtype)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"column '{name}' cannot be read as {dtype} ({error})") from error
