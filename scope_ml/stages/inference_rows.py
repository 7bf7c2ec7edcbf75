"""The rows of a feature table that are scored: all of them, or some, read block by block.

May import io, core and errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scope_ml.core.provenance import Input, TableMetadata, digest_file
from scope_ml.errors import EmptySelectionError, MissingColumnError, SchemaError
from scope_ml.io.parquet_files import open_parquet, read_errors
from scope_ml.io.tables import read_batches, read_table, table_format

__all__ = ["PLACE", "FeatureRows", "quadrants_of_table"]

IntArray = NDArray[np.int64]

#: Columns that say on which quadrant a light curve lies.
PLACE = ("field", "ccd", "quad")


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureRows:
    """Rows of a feature table.

    Attributes
    ----------
    path
        The table.
    metadata
        Its record.
    rows
        Which of its rows, ascending, int64 (n,); None: all.
    known_inputs
        What the rows come from, where that is not this table.
    """

    path: Path
    metadata: TableMetadata
    rows: IntArray | None = None
    known_inputs: tuple[Input, ...] | None = None

    @classmethod
    def of(cls, path: Path, rows: IntArray | None = None) -> FeatureRows:
        """Open a feature table.

        Raises
        ------
        FormatError, MetadataError
            If it is missing, broken, or none of ours.
        """
        metadata = read_table(path, columns=(), kind="features").metadata
        return cls(path=path, metadata=metadata, rows=rows)

    @property
    def n_rows(self) -> int:
        """Return the number of rows."""
        return self.metadata.n_rows if self.rows is None else len(self.rows)

    @property
    def available(self) -> tuple[str, ...]:
        """Return the names of the table's columns."""
        return tuple(column.name for column in self.metadata.columns)

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """Return the table and its digest, for the record of what is made of it."""
        if self.known_inputs is not None:
            return self.known_inputs
        return (Input(name="features", digest=digest_file(self.path), n_rows=self.n_rows),)

    def batches(self, columns: Sequence[str], *, n_rows: int) -> Iterator[pa.Table]:
        """Yield some columns in blocks of at most `n_rows` rows, in the order of the table.

        Raises
        ------
        FormatError, MissingColumnError
            As `io.tables.read_batches`.
        """
        if self.rows is None:
            yield from read_batches(self.path, columns, n_rows=n_rows)
            return
        waiting: list[pa.Table] = []
        n_waiting = 0
        for piece in self._taken(columns, self.rows):
            waiting.append(piece)
            n_waiting += piece.num_rows
            while n_waiting >= n_rows:
                whole = pa.concat_tables(waiting).combine_chunks()
                yield whole.slice(0, n_rows)
                waiting, n_waiting = [whole.slice(n_rows)], n_waiting - n_rows
        if n_waiting:
            yield pa.concat_tables(waiting).combine_chunks()

    def _taken(self, columns: Sequence[str], rows: IntArray) -> Iterator[pa.Table]:
        """Yield the rows, of Parquet from the row groups that hold any."""
        if table_format(self.path) != "parquet":
            yield read_table(self.path, columns=columns).data.take(pa.array(rows))
            return
        first = 0
        with open_parquet(self.path) as file, read_errors(self.path, "Parquet"):
            for group in range(file.num_row_groups):
                last = first + file.metadata.row_group(group).num_rows
                own = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)]
                if own.size:
                    data = file.read_row_group(group, columns=list(columns)).select(list(columns))
                    yield data.take(pa.array(own - first))
                first = last


def quadrants_of_table(path: Path) -> tuple[Mapping[tuple[int, int, int], IntArray], int]:
    """Return the rows of each quadrant (field, ccd, quad) of a feature table, and how many rows are of none.

    Raises
    ------
    MissingColumnError, SchemaError
        If the table does not say on which quadrant its light curves lie.
    EmptySelectionError
        If it has no rows.
    """
    table = read_table(path, columns=(), kind="features")
    available = [column.name for column in table.metadata.columns]
    missing = [name for name in PLACE if name not in available]
    if missing:
        raise MissingColumnError(f"{path} (to score it by field)", missing, available)
    data = read_table(path, columns=PLACE).data
    if not data.num_rows:
        raise EmptySelectionError(f"{path} has no rows, so that no field has any")
    columns = []
    for name in PLACE:
        column = data[name]
        if not pa.types.is_integer(column.type):
            raise SchemaError(f"{path}: column '{name}' is {column.type}; field, ccd and quad are whole numbers")
        columns.append(column.cast(pa.int64()).fill_null(-1).to_numpy())
    places = np.stack(columns, axis=1)
    known = (places >= 0).all(axis=1)
    rows = np.flatnonzero(known)
    distinct, code = np.unique(places[rows], axis=0, return_inverse=True)
    order = np.argsort(code.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(code.ravel(), minlength=len(distinct)))
    found = {
        (int(place[0]), int(place[1]), int(place[2])): rows[order[start:end]]
        for place, start, end in zip(distinct, [0, *ends[:-1]], ends, strict=True)
    }
    return found, int((~known).sum())
