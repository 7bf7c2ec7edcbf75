"""Light curves written to Parquet in our layout, whole or chunk by chunk; `io.lightcurves` reads them.

May import core and errors only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import DataError, SchemaError
from scope_ml.io.atomic import atomic_path
from scope_ml.io.layouts import ROW_SCHEMA
from scope_ml.io.parquet_files import ParquetTableWriter
from scope_ml.io.tables import described, plain_schema

__all__ = ["LightCurveWriter", "light_curve_table", "light_curve_writer", "write_light_curves"]

#: Units of the columns of our layout.
UNITS = {"hjd": "d", "mag": "mag", "magerr": "mag", "ra": "deg", "dec": "deg"}


class LightCurveWriter:
    """Writes chunks of light curves to one file in our layout; made by `light_curve_writer`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: ParquetTableWriter | None = None

    def write(self, batch: LightCurveBatch, rows: pa.Table) -> None:
        """Append light curves, one per row of `rows` (see `light_curve_table`), as one row group.

        Raises
        ------
        SchemaError
            If the columns differ from those written before, or from what the layout allows.
        """
        table = light_curve_table(batch, rows)
        if self._writer is None:
            self._writer = ParquetTableWriter(self._path, table.schema)
        if not table.schema.equals(self._writer.schema):
            fields = {*table.schema} ^ {*self._writer.schema}
            names = ", ".join(sorted({field.name for field in fields})) or "their order"
            raise SchemaError(f"these light curves differ from those written before in columns or types: {names}")
        self._writer.write(table)

    def close(self, metadata: TableMetadata | None) -> None:
        """Finish the file with its record; None gives it up."""
        if self._writer is None:
            if metadata is not None:
                raise DataError("no light curves were given to the writer; write at least one (maybe empty) chunk")
            return
        record = None
        if metadata is not None:
            record = described(metadata, self._writer.schema, self._writer.n_rows).to_json()
        self._writer.close(record)


@contextmanager
def light_curve_writer(path: Path, metadata: TableMetadata | None = None) -> Iterator[LightCurveWriter]:
    """Open a light-curve file of our layout for writing chunk by chunk; it appears whole at the end, or not at all.

    Parameters
    ----------
    path
        The file, ``*.parquet``.
    metadata
        Its record; by default one of kind ``"light_curves"`` that says nothing more.

    Raises
    ------
    OutputError
        If the path cannot be written.
    """
    with atomic_path(Path(path)) as temporary:
        writer = LightCurveWriter(temporary)
        record = None
        try:
            yield writer
            record = metadata or TableMetadata(kind="light_curves")
        finally:
            writer.close(record)


def write_light_curves(
    batch: LightCurveBatch, rows: pa.Table, path: Path, metadata: TableMetadata | None = None
) -> None:
    """Write one batch to a file of our layout; see `light_curve_writer` for many.

    Raises
    ------
    OutputError, SchemaError
        If the path cannot be written, or `rows` does not fit `batch`.
    """
    with light_curve_writer(path, metadata) as writer:
        writer.write(batch, rows)


def light_curve_table(batch: LightCurveBatch, rows: pa.Table) -> pa.Table:
    """Return light curves as a table of our layout: `id`, the other columns of `rows`, then the lists.

    Parameters
    ----------
    batch
        Single-band light curves.
    rows
        One row a light curve, with any of `source_id`, `band`, `ra`, `dec`, `field`, `ccd`, `quad`, `filter` and more
        columns of one's own; an `id` in it must be the batch's.

    Raises
    ------
    SchemaError
        If the rows do not belong to the light curves, or the light curves have a band per point.
    """
    if rows.num_rows != len(batch):
        raise SchemaError(f"{rows.num_rows} rows do not fit {len(batch)} light curves; give one row each")
    if batch.band is not None:
        raise SchemaError("our layout has one band a light curve, in the column 'band' of the rows; split the bands")
    lists = batch.to_arrow()
    if "id" in rows.column_names:
        if not pc.all(pc.equal(rows["id"], lists["id"])).as_py() and len(batch):
            raise SchemaError("column 'id' of the rows is not the id of the light curves")
        rows = rows.drop_columns(["id"])
    twice = sorted({*rows.column_names} & {*lists.column_names})
    if twice:
        raise SchemaError(
            f"column(s) {', '.join(twice)} stand both in the rows and in the light curves; drop one of each"
        )
    table = pa.table({"id": lists["id"], **{name: _typed(rows[name], name) for name in rows.column_names}})
    for name in lists.column_names[1:]:
        table = table.append_column(name, lists[name])
    fields = [
        field.with_metadata({b"unit": UNITS[field.name]} if field.name in UNITS else {}) for field in table.schema
    ]
    return table.cast(plain_schema(pa.schema(fields), ()))


def _typed(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Give a fact of the layout its type, so that a chunk in which it is all null fits the others."""
    if name not in ROW_SCHEMA.names:
        return column
    try:
        return column.cast(ROW_SCHEMA.field(name).type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SchemaError(f"column '{name}' of the rows cannot be written as {ROW_SCHEMA.field(name).type}") from error
