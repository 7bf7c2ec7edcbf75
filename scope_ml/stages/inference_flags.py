"""Which features a light curve lacks: the table that `infer` leaves beside its scores, and the counts of its report.

Every feature that some model of the run takes is looked at, and each that is missing is named: the models put something
in its place (`models.preparation`), each by itself, so that a score does not depend on other rows. May import models, io,
core and errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from scope_ml.core.provenance import Input, TableMetadata
from scope_ml.io.atomic import atomic_path
from scope_ml.io.parquet_files import ParquetTableWriter
from scope_ml.io.tables import described
from scope_ml.models.preparation import LARGEST
from scope_ml.models.tables import feature_matrix

__all__ = ["MissingFeatures", "missing_path"]

#: What says which light curve it is, as far as the table has it.
NAMES = ("_id", "id", "band")


def missing_path(output: Path) -> Path:
    """Return where the list of missing features of a table of scores stands."""
    return output.with_name(f"{output.name}.missing.parquet")


class MissingFeatures:
    """Counts missing features batch by batch and writes one row for each light curve that lacks any.

    Used as a context manager: without `commit` nothing stands under the final name.

    Parameters
    ----------
    features
        Names, in the order of the feature table.
    schema
        Of the rows of the table, for the types of ids.
    path
        Where the list goes; None counts only.
    """

    def __init__(self, features: Sequence[str], schema: pa.Schema, path: Path | None) -> None:
        self.features = tuple(features)
        self.n_rows = 0
        self._counts = np.zeros(len(self.features), dtype=np.int64)
        self._names = [name for name in NAMES if name in schema.names]
        listed = pa.field("features", pa.list_(pa.string()))
        self.schema = pa.schema([*(schema.field(name).remove_metadata() for name in self._names), listed])
        self._labels = pa.array(self.features, pa.string())
        self._path = path
        self._stack = ExitStack()
        self._writer: ParquetTableWriter | None = None

    def __enter__(self) -> Self:
        """Open the list."""
        if self._path is not None:
            temporary = self._stack.enter_context(atomic_path(self._path))
            self._writer = ParquetTableWriter(temporary, self.schema, gather=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up what was not committed."""
        if self._writer is None:
            return
        abandoned: BaseException = error or RuntimeError("not committed")
        try:
            self._writer.close(None)
        except OSError as failed:
            abandoned = error or failed
        self._writer = None
        # The temporary file goes as it does after an error, also where there was none.
        self._stack.__exit__(type(abandoned), abandoned, trace)

    def add(self, batch: pa.Table) -> None:
        """Look at some rows of the feature table."""
        matrix = feature_matrix(batch, self.features)
        with np.errstate(invalid="ignore"):
            missing = ~(np.abs(matrix) <= LARGEST)
        self._counts += missing.sum(axis=0)
        per_row = missing.sum(axis=1)
        lacking = np.flatnonzero(per_row)
        self.n_rows += lacking.size
        if self._writer is None or not lacking.size:
            return
        ends = np.concatenate(([0], np.cumsum(per_row[lacking]))).astype(np.int32)
        names = self._labels.take(pa.array(np.nonzero(missing[lacking])[1]))
        lists = pa.ListArray.from_arrays(pa.array(ends), names)
        rows = batch.select(self._names).take(pa.array(lacking))
        columns = [*(rows[name] for name in self._names), lists]
        self._writer.write(pa.Table.from_arrays(columns, names=self.schema.names).cast(self.schema))

    def commit(self, inputs: Sequence[Input]) -> None:
        """Finish the list.

        Raises
        ------
        OutputError
            If the disk is full.
        """
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        record = TableMetadata(kind="missing_features", inputs=tuple(inputs), facts=self.facts)
        with self._stack:
            writer.close(described(record, self.schema, writer.n_rows).to_json())

    @property
    def facts(self) -> dict[str, Any]:
        """Return how many light curves lack a feature, and how many lack each; the most frequent first."""
        counts = {name: int(n) for name, n in zip(self.features, self._counts, strict=True) if n}
        ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
        return {"n_light_curves": self.n_rows, "features": ordered}
