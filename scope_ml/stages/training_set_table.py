"""The columns of an updated training set put together: labels, ids, and the newest features where it has any.

May import datasets, services (records), core and errors, and `training_set_file`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from scope_ml.core.identifiers import one_chunk
from scope_ml.services.fritz.records import Source
from scope_ml.stages.training_set_file import UNCERTAIN, TrainingSet

__all__ = ["Draft"]


@dataclass(kw_only=True, eq=False)
class Draft:
    """What the rows of a new training set say, before it is a table.

    Attributes
    ----------
    old
        The training set that it is made of.
    sources
        What was downloaded.
    classes
        Column of each class; one that the old set has not is added.
    labels
        Labels of each class, a value a row: those of the old set, then new ones.
    names
        `obj_id` of the old rows.
    uncertain
        Classes that each old row leaves open; empty where the set has no such column.
    added
        New rows: their id (None by position), source, and row of the light curves (-1: none).
    met
        Old rows that belong to a source: its number and row of the light curves (-1: none).
    """

    old: TrainingSet
    sources: Sequence[Source]
    classes: Mapping[str, str]
    labels: dict[str, list[float | None]] = field(default_factory=dict)
    names: list[str | None] = field(default_factory=list)
    uncertain: list[list[str]] = field(default_factory=list)
    added: list[tuple[Any, int, int]] = field(default_factory=list)
    met: dict[int, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, old: TrainingSet, sources: Sequence[Source], tags: Sequence[str]) -> Draft:
        """Return the old set as a draft, with a column for each of `tags`."""
        table = old.table
        classes = dict(old.classes) | {tag: tag for tag in tags if tag not in old.classes}
        names = table["obj_id"].to_pylist() if "obj_id" in table.column_names else [None] * table.num_rows
        labels = {
            tag: _numbers(table[column]) if column in table.column_names else _nothing(table.num_rows)
            for tag, column in classes.items()
        }
        return cls(
            old=old,
            sources=sources,
            classes=classes,
            labels=labels,
            names=[None if name is None else str(name) for name in names],
            uncertain=[list(one) for one in old.uncertain],
        )

    def key_of(self, row: int) -> Any:
        """Return the id of a row, old or new; None where positions tell rows apart."""
        n_old = self.old.table.num_rows
        if self.old.key is None or row >= n_old:
            return self.added[row - n_old][0] if row >= n_old else None
        return self.old.table[self.old.key][row].as_py()

    def table(self, merged: pa.Table | None) -> tuple[pa.Table, list[str]]:
        """Return the table, and the columns that have no value in new rows.

        Parameters
        ----------
        merged
            Rows of the light curves with their features; None where there are none.
        """
        table = self.old.table
        by_column = {column: tag for tag, column in self.classes.items()}
        names = [*table.column_names, *(column for column in by_column if column not in table.column_names)]
        names += ["obj_id"] if "obj_id" not in names else []
        without: list[str] = []
        arrays, fields = [], []
        for name in names:
            kind = (
                table.schema.field(name)
                if name in table.column_names
                else pa.field(name, pa.string() if name == "obj_id" else pa.float64())
            )
            if name in by_column:
                values = _label_array(self.labels[by_column[name]], kind.type)
            elif name == "obj_id":
                values = pa.array(
                    [
                        *self.names,
                        *(self.sources[source].id for _, source, _ in self.added),
                    ],
                    pa.string(),
                )
            elif name == UNCERTAIN:
                values = pa.array([*(",".join(one) for one in self.uncertain), *("" for _ in self.added)], pa.string())
            else:
                values = self._other(name, kind.type, merged, without)
            arrays.append(values)
            fields.append(pa.field(name, values.type, metadata=kind.metadata))
        return pa.table(arrays, schema=pa.schema(fields)), (without if self.added else [])

    def _other(self, name: str, dtype: pa.DataType, merged: pa.Table | None, without: list[str]) -> pa.Array:
        """Return a column that is no class: the old values, the newest where a table has features too, those of new rows."""
        own = one_chunk(self.old.table[name])
        n_old = self.old.table.num_rows
        # Of one table with an `id` beside `ztf_id` both are the light curve's.
        if name == self.old.key or (name == "id" and self.old.form == "one_table"):
            return pa.concat_arrays([own, pa.array([key for key, _, _ in self.added]).cast(own.type)])
        if name in ("ra", "dec") and self.old.form == "labels":
            new = pa.array([getattr(self.sources[source], name) for _, source, _ in self.added], pa.float64())
            return pa.concat_arrays([own.cast(pa.float64()), new])
        if name == "weight":
            return pa.concat_arrays([own, pa.array([1] * len(self.added)).cast(own.type)])
        newest = _cast(merged, name, dtype) if self.old.form == "one_table" and merged is not None else None
        if newest is None:
            without.append(name)
            return pa.concat_arrays([own, pa.nulls(len(self.added), own.type)])
        at = np.arange(n_old + len(self.added), dtype=np.int64)
        both = pa.concat_arrays([own, newest])
        for row, (_, light_curve) in self.met.items():
            at[row] = n_old + light_curve if light_curve >= 0 else row
        at[n_old:] = [n_old + light_curve for _, _, light_curve in self.added]
        return both.take(pa.array(at))


def _numbers(column: pa.ChunkedArray) -> list[float | None]:
    return [None if value is None or math.isnan(value) else float(value) for value in column.to_pylist()]


def _nothing(n_rows: int) -> list[float | None]:
    return [None] * n_rows


def _label_array(values: Sequence[float | None], dtype: pa.DataType) -> pa.Array:
    """Return labels in the type that they had, unless that holds no fractions and there are some."""
    whole = all(value is None or value == int(value) for value in values)
    if whole and (pa.types.is_integer(dtype) or pa.types.is_boolean(dtype)):
        return pa.array([None if value is None else int(value) for value in values], pa.int64()).cast(dtype)
    return pa.array(values, dtype if pa.types.is_floating(dtype) else pa.float64())


def _cast(merged: pa.Table, name: str, dtype: pa.DataType) -> pa.Array | None:
    """Return a column of the merged table in another table's type; None if it has none that fits."""
    if name not in merged.column_names:
        return None
    try:
        return one_chunk(merged[name]).cast(dtype, safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
