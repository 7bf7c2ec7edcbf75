"""Light curves from catalogues in the HATS format, such as the public ones of ZTF, read through lsdb (extra ``hats``).

A catalogue is a folder, or an address (https://, s3://), of Parquet files, one a patch of sky. Dask reads them one at a
time: on the active cluster, else here. The order is that of the patches, then that of the rows, whoever reads. lsdb itself
is spoken to in `io.hats_lsdb`. May import core, the other rooms of io and errors.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scope_ml.core.configuration import to_plain
from scope_ml.core.provenance import digest_json
from scope_ml.core.sphere import separation_arcsec
from scope_ml.errors import ConfigError, DataError, SchemaError
from scope_ml.io.hats_columns import Cone, HatsColumns, HatsOptions, find_columns
from scope_ml.io.hats_lsdb import (
    around_cone,
    around_positions,
    lsdb_errors,
    open_cluster,
    packages,
    partition_paths,
    result_of,
)
from scope_ml.io.layouts import ZTF_FILTERS, Chunk, Layout
from scope_ml.io.lightcurves import EVERYTHING, of_bands
from scope_ml.io.row_filter import row_filter
from scope_ml.io.selection import Selection

__all__ = ["Cone", "HatsLightCurves", "HatsOptions", "open_hats"]

#: Files of a catalogue that say what is in it; a catalogue may lack some.
RECORDS = ("hats.properties", "properties", "partition_info.csv", "dataset/_common_metadata")


@dataclass(frozen=True, kw_only=True, eq=False)
class HatsLightCurves:
    """Light curves of a HATS catalogue; a `core.protocols.LightCurveSource`.

    Attributes
    ----------
    where
        Path or address, for messages.
    catalog
        lsdb's catalogue: only the columns and the partitions that are wanted, and nothing of a margin cache.
    columns
        Where the light curves stand in it.
    options, selection, bands
        What is wanted of it.
    chunk_sources
        Stored rows per chunk; a partition's last chunk may have fewer, and no chunk spans partitions.
    n_rows
        Stored rows by the catalogue's properties; None where only some are wanted.
    """

    where: str
    catalog: Any
    columns: HatsColumns
    options: HatsOptions
    selection: Selection
    bands: tuple[str, ...]
    chunk_sources: int
    n_rows: int | None

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """The layout of all partitions."""
        return (self.columns.layout,)

    @cached_property
    def digest(self) -> str:
        """SHA-256 digest of what is known of the content without reading it; computed once, when asked.

        It covers the properties (with the date of writing), the schema, the list of partitions, which of them are
        read, and cone, columns and selection; for a folder also the Parquet footers of the partitions read: rows,
        sizes, smallest and largest values. It does not cover the path, nor a change of values within all of these.
        """
        base = self.catalog.hc_structure.catalog_base_dir
        records = {name: _digest_or_none(base / name) for name in RECORDS}
        if records["hats.properties"] is not None:
            # The same again under the older name.
            records.pop("properties")
        paths = partition_paths(self.catalog)
        return digest_json(
            {
                "records": records,
                "partitions": [str(pixel) for pixel, _ in paths],
                "footers": [_footers_digest(path) for _, path in paths] if _is_local(base) else None,
                "cone": to_plain(self.options.cone),
                "columns": to_plain(self.columns),
                "selection": None if self.selection.everything else self.selection.digest,
            }
        )

    def chunks(self) -> Iterator[Chunk]:
        """Yield the light curves, always the same chunks; a chunk has no rows if none of its bands are wanted.

        Raises
        ------
        FormatError
            If a partition cannot be read.
        JobError
            If the workers of the Dask cluster die.
        ServiceError
            If the Dask cluster that is configured does not answer.
        DataError
            If an id is null or no whole number, or the lists of a row differ in length.
        """
        for table in self._tables():
            for start in range(0, table.num_rows, self.chunk_sources):
                yield of_bands(self._chunk(table.slice(start, self.chunk_sources)), self.bands)
            # One partition in memory at a time, not two.
            del table

    def check(self) -> None:
        """Check the types of all columns that are read, on no rows.

        Raises
        ------
        ScopeError
            What `chunks` would raise on the first partition.
        """
        self._chunk(self._wanted(self._table(self.catalog.meta)))

    def _chunk(self, table: pa.Table) -> Chunk:
        try:
            return self.columns.layout.to_chunk(table)
        except DataError as error:
            raise DataError(f"{self.where}: {error}") from error

    def _table(self, frame: Any) -> pa.Table:
        """Return a partition as a table of `columns.layout`."""
        nested = self.columns.nested
        # 64-bit offsets: a partition of a survey can have more epochs than 32 bits count.
        lists = frame if nested is None else frame[nested].nest.to_lists(large_list=True)
        points = {name: pa.array(lists[name].array) for name in self.columns.points.values()}
        rows = {name: pa.array(frame[name].array) for name in self.columns.rows.values()}
        return self.columns.table(rows, points)

    def _wanted(self, table: pa.Table) -> pa.Table:
        keep = np.ones(table.num_rows, dtype=bool)
        if self.options.cone is not None:
            ra, dec = (_degrees(table[name]) for name in ("ra", "dec"))
            cone = self.options.cone
            # False for NaN, which is nowhere.
            keep &= separation_arcsec(ra, dec, cone.ra, cone.dec) <= cone.radius_arcsec
        if not self.selection.everything:
            keep &= row_filter(self.selection, self.columns.layout, table.schema, self.where).mask(table)
        return table if keep.all() else table.filter(pa.array(keep))

    def _tables(self) -> Iterator[pa.Table]:
        """Yield the wanted rows of the partitions in their order; on a Dask cluster a few are read ahead."""
        delayed = self.catalog.to_delayed()
        pixels = self.catalog.get_ordered_healpix_pixels()
        with open_cluster() as cluster:
            futures: deque[Any] = deque()

            def read(index: int) -> Any:
                what = f"{self.where}: partition '{pixels[index]}'"
                with lsdb_errors(f"{what} cannot be read"):
                    if cluster is None:
                        return delayed[index].compute()
                    n_asked = index + len(futures)
                    futures.extend(
                        cluster.compute(one) for one in delayed[n_asked : index + 1 + self.options.read_ahead]
                    )
                    return result_of(futures.popleft(), what)

            for index in range(len(pixels)):
                yield self._wanted(self._table(read(index)))


def open_hats(
    path: str | Path,
    *,
    options: HatsOptions | None = None,
    bands: Sequence[str] = (),
    chunk_sources: int = 2048,
    selection: Selection = EVERYTHING,
) -> HatsLightCurves:
    """Open a HATS catalogue of light curves; nothing but its records is read yet.

    Parameters
    ----------
    path
        Folder or address (https://, s3://) of a catalogue or of a collection, whose main catalogue is taken: a margin
        cache holds copies of rows and is never read.
    options
        Cone, and names of columns that are not found.
    bands
        Bands to keep, such as ``("g",)``; all by default.
    chunk_sources
        Stored rows per chunk; memory holds a partition whatever it is.
    selection
        Which rows are wanted. Positions, a field and bands are chosen by lsdb before reading; ids, ccd and quadrant
        only afterwards, so that all partitions are read.

    Raises
    ------
    BackendUnavailableError
        If lsdb, or the package for such addresses, is not installed.
    FormatError
        If there is no HATS catalogue, or it cannot be read.
    MissingColumnError, SchemaError
        If it holds no light curves, several columns could be meant (see `hats_columns.find_columns`), or a column is not
        there by which the selection is made.
    DataError
        If ids are neither whole numbers nor text.
    ConfigError
        If `chunk_sources` is not positive or a name is unknown.
    """
    if chunk_sources < 1:
        raise ConfigError(f"chunk_sources is {chunk_sources}; it must be at least 1")
    options = options or HatsOptions()
    where = str(path)
    lsdb, hats = packages()
    with lsdb_errors(f"{where} is not a readable HATS catalogue"):
        opened = hats.read_hats(path)
        structure = getattr(opened, "main_catalog", opened)
        info, schema = structure.catalog_info, structure.schema
    if str(info.catalog_type) not in ("object", "source"):
        raise SchemaError(
            f"{where} is a HATS catalogue of type '{info.catalog_type}', not of objects; give the folder of the catalogue"
            " or collection it belongs to"
        )
    columns = find_columns(schema, options, where, position=(info.ra_column, info.dec_column))
    if options.cone is not None and not {"ra", "dec"} <= set(columns.rows):
        raise SchemaError(
            f"{where} names no columns of positions; name them with source.hats.columns={{ra: ..., dec: ...}}"
        )
    with lsdb_errors(f"{where} cannot be opened"):
        catalog = lsdb.open_catalog(
            structure.catalog_base_dir,
            columns=columns.wanted,
            filters=_row_filters(columns, bands, selection),
            error_empty_filter=False,
        )
        for search in _searches(lsdb, options.cone, selection):
            catalog = catalog.search(search)
    everything = options.cone is None and selection.everything
    source = HatsLightCurves(
        where=where,
        catalog=catalog,
        columns=columns,
        options=options,
        selection=selection,
        bands=tuple(bands),
        chunk_sources=chunk_sources,
        n_rows=info.total_rows if everything else None,
    )
    source.check()
    return source


def _searches(lsdb: Any, cone: Cone | None, selection: Selection) -> list[Any]:
    """Return the searches by which lsdb leaves out most of what is not wanted."""
    cones = [] if cone is None else [around_cone(lsdb, cone)]
    return cones if selection.positions is None else [*cones, around_positions(lsdb, selection.positions)]


def _row_filters(columns: HatsColumns, bands: Sequence[str], selection: Selection) -> list[tuple[str, str, Any]] | None:
    """Return what Parquet readers can leave out at once: other fields, and other bands where ZTF's codes say them."""
    filters: list[tuple[str, str, Any]] = []
    if selection.field is not None and "field" in columns.rows:
        filters.append((columns.rows["field"], "==", selection.field))
    codes = [code for code, name in ZTF_FILTERS.items() if name in bands]
    by_code = "filter" in columns.rows and not {"band"} & {*columns.rows, *columns.points}
    if by_code and codes:
        filters.append((columns.rows["filter"], "in", codes))
    return filters or None


def _degrees(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = column.cast(pa.float64()).fill_null(np.nan)
    return np.asarray(values.to_numpy())


def _is_local(path: Any) -> bool:
    return getattr(path, "protocol", "") in ("", "file", "local")


def _digest_or_none(path: Any) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def _footers_digest(path: Any) -> str:
    """Return the digest of the Parquet footer of a partition's file, or of the files of its folder."""
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    hasher = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            stream.seek(-8, 2)
            length = int.from_bytes(stream.read(4), "little")
            stream.seek(-8 - length, 2)
            hasher.update(stream.read(length))
    return hasher.hexdigest()
