"""Light curves in and out of Parquet, streaming: memory does not grow with the file.

`open_light_curves` reads a file or a folder of files in any layout of `io.layouts`, `open_irsa_tree` a mirror of IRSA's
bulk files, both all of it or what a `Selection` wants; the writers are those of `io.lightcurve_writer`. May import core
and errors only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scope_ml.core.provenance import digest_file, digest_json
from scope_ml.errors import ConfigError, DataError, FormatError, SchemaError
from scope_ml.io.irsa_tree import bulk_files, parse_name
from scope_ml.io.layouts import LAYOUTS, Chunk, Layout, detect_layout
from scope_ml.io.lightcurve_writer import (
    LightCurveWriter,
    light_curve_table,
    light_curve_writer,
    write_light_curves,
)
from scope_ml.io.parquet_files import open_parquet, read_errors
from scope_ml.io.row_filter import count_wanted, row_filter
from scope_ml.io.selection import Selection

__all__ = [
    "Chunk",
    "LayoutName",
    "LightCurveWriter",
    "ParquetLightCurves",
    "light_curve_table",
    "light_curve_writer",
    "of_bands",
    "open_irsa_tree",
    "open_light_curves",
    "write_light_curves",
]

LayoutName = Literal["auto", "scope", "irsa", "dataset"]

#: Files of a folder that hold no light curves: labels, what a feature run writes beside its table.
OTHER_FILES = (
    *("labels*.parquet", "*.dropped.parquet", ".*", "_*"),
    *(f"*.{form}.light_curves.parquet" for form in ("parquet", "h5", "hdf5", "csv")),
)

#: No selection.
EVERYTHING = Selection()


@dataclass(frozen=True, kw_only=True)
class ParquetLightCurves:
    """Light curves in Parquet files; a `core.protocols.LightCurveSource`.

    Attributes
    ----------
    files
        The files in reading order; with a selection only those that hold wanted rows, maybe none.
    layouts
        Layout of each file.
    groups
        The row groups to read of each file.
    selection
        Which stored rows are wanted.
    bands
        Bands to keep; all (also unknown ones) if empty.
    chunk_sources
        Stored rows per chunk; a file's last chunk may have fewer, and no chunk spans files.
    n_rows
        Wanted rows of all files (one light curve each, but in layout ``dataset`` a row can be several bands).
    n_chunks
        Number of chunks that `chunks` yields.
    """

    files: tuple[Path, ...]
    layouts: tuple[Layout, ...]
    groups: tuple[tuple[int, ...], ...]
    selection: Selection
    bands: tuple[str, ...]
    chunk_sources: int
    n_rows: int
    n_chunks: int

    @cached_property
    def digest(self) -> str:
        """SHA-256 digest of the contents of the files in order, whatever their names; computed once, when asked.

        With a selection it is of the files that are read, and of what is wanted of them.
        """
        digests = [_digest_of(path, *_stamp(path)) for path in self.files]
        if not self.selection.everything:
            return digest_json([digests, self.selection.digest])
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
        for path, layout, groups in zip(self.files, self.layouts, self.groups, strict=True):
            for piece in _pieces(path, layout, groups, self.selection, self.chunk_sources):
                try:
                    chunk = layout.to_chunk(piece)
                except DataError as error:
                    raise DataError(f"{path}: {error}") from error
                yield of_bands(chunk, self.bands)


def open_light_curves(
    path: Path,
    *,
    layout: LayoutName = "auto",
    bands: Sequence[str] = (),
    chunk_sources: int = 2048,
    selection: Selection = EVERYTHING,
) -> ParquetLightCurves:
    """Open a file of light curves, or a folder of such files, in any known layout.

    The schema of every file is checked here, before anything is read. In a folder, the files ``*.parquet`` are taken
    in the order of their names; labels, lists of dropped light curves and hidden files are left out.

    With a selection, row groups whose statistics show that no row is wanted are never read, nor are bulk files of IRSA
    whose name says so; of the others, the columns that decide are read here once, to count. That nothing matches is no
    error: then there are no chunks.

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
    selection
        Which rows are wanted; all by default.

    Raises
    ------
    FormatError
        If there is no such file, or it is not readable Parquet, or the folder has no light-curve file.
    MissingColumnError
        If no layout, or not the one asked for, fits the columns; or if a column that `selection` needs is not there.
    SchemaError
        If a column that should hold lists does not.
    DataError
        If a column that `selection` needs holds no ids or numbers.
    ConfigError
        If `layout` is unknown or `chunk_sources` not positive.
    """
    if layout != "auto" and layout not in LAYOUTS:
        choices = ("auto", *LAYOUTS)
        raise ConfigError(f"light-curve layout '{layout}' is unknown; use one of {', '.join(choices)}", choices=choices)
    files = _light_curve_files(Path(path))
    if not selection.everything:
        names = {file: parse_name(file.name) for file in files}
        files = tuple(file for file, name in names.items() if name is None or name.may_match(selection, ()))
    return _opened(files, layout=layout, bands=bands, chunk_sources=chunk_sources, selection=selection)


def open_irsa_tree(
    path: Path, *, bands: Sequence[str] = (), chunk_sources: int = 2048, selection: Selection = EVERYTHING
) -> ParquetLightCurves:
    """Open a mirror of IRSA's bulk files, any folder of it, or one file; see `open_light_curves` and `io.irsa_tree`.

    Files are chosen by their names, then the rows by their columns. A mirror that was not fetched to the end is an
    error, and not a short result: no bulk file is without rows.

    Raises
    ------
    FormatError
        Also if a file has no rows, was cut, or holds rows of another quadrant than its name says.
    DataError
        Also if the tree holds two releases of the same light curves.
    """
    files = bulk_files(Path(path), selection, bands)
    return _opened(files, layout="irsa", bands=bands, chunk_sources=chunk_sources, selection=selection, bulk=True)


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


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What a file has of what is wanted."""

    path: Path
    layout: Layout
    groups: tuple[int, ...]
    n_rows: int


def _opened(
    files: Sequence[Path],
    *,
    layout: LayoutName,
    bands: Sequence[str],
    chunk_sources: int,
    selection: Selection,
    bulk: bool = False,
) -> ParquetLightCurves:
    if chunk_sources < 1:
        raise ConfigError(f"chunk_sources is {chunk_sources}; it must be at least 1")
    found = [_search(path, layout, selection, bulk=bulk) for path in files]
    if not selection.everything:
        found = [one for one in found if one.n_rows]
    return ParquetLightCurves(
        files=tuple(one.path for one in found),
        layouts=tuple(one.layout for one in found),
        groups=tuple(one.groups for one in found),
        selection=selection,
        bands=tuple(bands),
        chunk_sources=chunk_sources,
        n_rows=sum(one.n_rows for one in found),
        n_chunks=sum(-(-one.n_rows // chunk_sources) for one in found),
    )


def _search(path: Path, layout_name: LayoutName, selection: Selection, *, bulk: bool) -> _Found:
    """Check a file's schema and find the row groups with wanted rows."""
    with open_parquet(path) as file:
        schema = file.schema_arrow
        layout = detect_layout(schema, str(path)) if layout_name == "auto" else LAYOUTS[layout_name]
        layout.check(schema, str(path))
        if bulk:
            _check_bulk_file(path, file, layout)
        n_wanted = count_wanted(path, file, row_filter(selection, layout, schema, str(path)))
    groups = tuple(group for group, n_rows in enumerate(n_wanted) if n_rows)
    return _Found(path=path, layout=layout, groups=groups, n_rows=sum(n_wanted))


def _check_bulk_file(path: Path, file: pq.ParquetFile, layout: Layout) -> None:
    n_rows, name = file.metadata.num_rows, parse_name(path.name)
    if not n_rows:
        raise FormatError(f"{path} has no rows, as no bulk file of IRSA should; fetch it again, or remove it")
    if name is None:
        return
    n_named = sum(count_wanted(path, file, row_filter(name.selection, layout, file.schema_arrow, str(path))))
    if n_named != n_rows:
        raise FormatError(
            f"{path}: {n_rows - n_named} of {n_rows} rows are not of the {name.selection} that its name says; fetch it again"
        )


def _pieces(path: Path, layout: Layout, groups: Sequence[int], selection: Selection, n_rows: int) -> Iterator[pa.Table]:
    """Yield a file's wanted rows `n_rows` at a time (fewer at the end), whatever its row groups."""
    with open_parquet(path) as file, read_errors(path, "Parquet"):
        columns = layout.columns(file.schema_arrow)
        layout.check(file.schema_arrow, str(path))
        wanted = None if selection.everything else row_filter(selection, layout, file.schema_arrow, str(path))
        # What Arrow yields may end at row groups; put together, the boundaries depend on `n_rows` alone.
        waiting: list[pa.RecordBatch] = []
        missing = n_rows
        for decoded in file.iter_batches(batch_size=n_rows, row_groups=list(groups), columns=columns):
            rest = decoded
            if wanted is not None and not (mask := wanted.mask(decoded)).all():
                # This copies, so that a few wanted rows do not keep the others in memory.
                rest = decoded.filter(pa.array(mask))
            while rest.num_rows:
                waiting.append(rest.slice(0, missing))
                rest = rest.slice(waiting[-1].num_rows)
                missing -= waiting[-1].num_rows
                if not missing:
                    yield pa.Table.from_batches(waiting)
                    waiting, missing = [], n_rows
        if waiting:
            yield pa.Table.from_batches(waiting)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=256)
def _digest_of(path: Path, _size: int, _mtime_ns: int) -> str:
    """Return a file's digest; the 64 quadrants of a field that lie in one file need it once."""
    return digest_file(path)


def of_bands(chunk: Chunk, bands: tuple[str, ...]) -> Chunk:
    """Return the light curves of a chunk that are in one of `bands`; all if none is named."""
    if not bands:
        return chunk
    wanted = pc.is_in(chunk.rows["band"], value_set=pa.array(bands, pa.string()))
    indices = pc.indices_nonzero(wanted)
    if len(indices) == len(chunk.batch):
        return chunk
    return Chunk(batch=chunk.batch.take(indices.to_numpy()), rows=chunk.rows.take(indices))
