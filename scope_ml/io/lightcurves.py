"""Light curves in and out of Parquet, streaming: memory does not grow with the file.

`open_light_curves` reads a file or a folder of files in any layout of `io.layouts`; `write_light_curves` and
`light_curve_writer` write ours. May import core and errors only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.provenance import TableMetadata, digest_file, digest_json
from scope_ml.errors import ConfigError, DataError, FormatError, SchemaError
from scope_ml.io.atomic import atomic_path
from scope_ml.io.layouts import LAYOUTS, ROW_SCHEMA, Chunk, Layout, detect_layout
from scope_ml.io.parquet_files import ParquetTableWriter, open_parquet, read_errors
from scope_ml.io.tables import described, plain_schema

__all__ = [
    "Chunk",
    "LayoutName",
    "LightCurveWriter",
    "ParquetLightCurves",
    "light_curve_table",
    "light_curve_writer",
    "open_light_curves",
    "write_light_curves",
]

LayoutName = Literal["auto", "scope", "irsa", "dataset"]

#: Files of a folder that hold no light curves: labels, the list of dropped light curves of a feature run.
OTHER_FILES = ("labels*.parquet", "*.dropped.parquet", ".*", "_*")

#: Units of the columns of our layout.
UNITS = {"hjd": "d", "mag": "mag", "magerr": "mag", "ra": "deg", "dec": "deg"}


@dataclass(frozen=True, kw_only=True)
class ParquetLightCurves:
    """Light curves in Parquet files; a `core.protocols.LightCurveSource`.

    Attributes
    ----------
    files
        The files in reading order.
    layouts
        Layout of each file.
    bands
        Bands to keep; all (also unknown ones) if empty.
    chunk_sources
        Stored rows per chunk; a file's last chunk may have fewer, and no chunk spans files.
    n_rows
        Stored rows of all files (one light curve each, but in layout ``dataset`` a row can be several bands).
    n_chunks
        Number of chunks that `chunks` yields.
    """

    files: tuple[Path, ...]
    layouts: tuple[Layout, ...]
    bands: tuple[str, ...]
    chunk_sources: int
    n_rows: int
    n_chunks: int

    @cached_property
    def digest(self) -> str:
        """SHA-256 digest of the contents of the files in order, whatever their names; computed once, when asked."""
        digests = [digest_file(path) for path in self.files]
        return digests[0] if len(digests) == 1 else digest_json(digests)

    def chunks(self) -> Iterator[Chunk]:
        """Yield the light curves, always the same chunks; a chunk has no rows if none of its bands are wanted.

        Raises
        ------
        FormatError
            If a file turns out to be broken.
        DataError
            If an id is null, or the lists of a row differ in length.
        """
        for path, layout in zip(self.files, self.layouts, strict=True):
            for piece in _pieces(path, layout, self.chunk_sources):
                try:
                    chunk = layout.to_chunk(piece)
                except DataError as error:
                    raise DataError(f"{path}: {error}") from error
                yield _of_bands(chunk, self.bands)


def open_light_curves(
    path: Path, *, layout: LayoutName = "auto", bands: Sequence[str] = (), chunk_sources: int = 2048
) -> ParquetLightCurves:
    """Open a file of light curves, or a folder of such files, in any known layout.

    The schema of every file is checked here, before anything is read. In a folder, the files ``*.parquet`` are taken
    in the order of their names; labels, lists of dropped light curves and hidden files are left out.

    Parameters
    ----------
    path
        A Parquet file or a folder.
    layout
        Found by the columns of each file (``"auto"``), or one for all.
    bands
        Bands to keep, such as ``("g",)``; all by default.
    chunk_sources
        Stored rows per chunk: more are a little faster, fewer take less memory.

    Raises
    ------
    FormatError
        If there is no such file, or it is not readable Parquet, or the folder has no light-curve file.
    MissingColumnError
        If no layout, or not the one asked for, fits the columns.
    SchemaError
        If a column that should hold lists does not.
    ConfigError
        If `layout` is unknown or `chunk_sources` not positive.
    """
    if layout != "auto" and layout not in LAYOUTS:
        choices = ("auto", *LAYOUTS)
        raise ConfigError(f"light-curve layout '{layout}' is unknown; use one of {', '.join(choices)}", choices=choices)
    if chunk_sources < 1:
        raise ConfigError(f"chunk_sources is {chunk_sources}; it must be at least 1")
    files = _light_curve_files(Path(path))
    layouts, lengths = [], []
    for file_path in files:
        with open_parquet(file_path) as file:
            schema = file.schema_arrow
            lengths.append(file.metadata.num_rows)
        layouts.append(detect_layout(schema, str(file_path)) if layout == "auto" else LAYOUTS[layout])
        layouts[-1].check(schema, str(file_path))
    return ParquetLightCurves(
        files=files,
        layouts=tuple(layouts),
        bands=tuple(bands),
        chunk_sources=chunk_sources,
        n_rows=sum(lengths),
        n_chunks=sum(-(-length // chunk_sources) for length in lengths),
    )


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


def _light_curve_files(path: Path) -> tuple[Path, ...]:
    if not path.is_dir():
        return (path,)
    files = sorted(
        file
        for file in path.glob("*.parquet")
        if file.is_file() and not any(file.match(pattern) for pattern in OTHER_FILES)
    )
    if not files:
        below = next((file.parent for file in sorted(path.glob("*/*.parquet")) if _holds_light_curves(file)), None)
        hint = f"; did you mean {below}?" if below else f"; files named {', '.join(OTHER_FILES)} do not count"
        raise FormatError(f"{path} holds no light-curve file (*.parquet){hint}")
    return tuple(files)


def _holds_light_curves(path: Path) -> bool:
    try:
        with open_parquet(path) as file:
            detect_layout(file.schema_arrow, str(path)).check(file.schema_arrow, str(path))
    except SchemaError:
        return False
    return True


def _pieces(path: Path, layout: Layout, n_rows: int) -> Iterator[pa.Table]:
    """Yield a file's rows `n_rows` at a time (fewer at the end), whatever its row groups."""
    with open_parquet(path) as file, read_errors(path, "Parquet"):
        columns = layout.columns(file.schema_arrow)
        layout.check(file.schema_arrow, str(path))
        # What Arrow yields may end at row groups; put together, the boundaries depend on `n_rows` alone.
        waiting: list[pa.RecordBatch] = []
        missing = n_rows
        for decoded in file.iter_batches(batch_size=n_rows, columns=columns):
            rest = decoded
            while rest.num_rows:
                waiting.append(rest.slice(0, missing))
                rest = rest.slice(waiting[-1].num_rows)
                missing -= waiting[-1].num_rows
                if not missing:
                    yield pa.Table.from_batches(waiting)
                    waiting, missing = [], n_rows
        if waiting:
            yield pa.Table.from_batches(waiting)


def _of_bands(chunk: Chunk, bands: tuple[str, ...]) -> Chunk:
    if not bands:
        return chunk
    wanted = pc.is_in(chunk.rows["band"], value_set=pa.array(bands, pa.string()))
    indices = pc.indices_nonzero(wanted)
    if len(indices) == len(chunk.batch):
        return chunk
    return Chunk(batch=chunk.batch.take(indices.to_numpy()), rows=chunk.rows.take(indices))
