"""Catalogues in Parquet files, asked for what they hold around a place on the sky.

A folder holds one sub-folder of part files, or one file ``<name>.parquet``, per collection: ``Gaia_EDR3``, ``AllWISE``,
``PS1_DR1``, ``ZTF_alerts``. Columns are found under the names of Kowalski's documents however they were flattened:
``classifications.braai`` may be a field of a struct, ``classifications_braai``, ``classifications__braai`` or ``braai``.
Row groups that do not reach into a circle are not read, so files sorted by bands of declination and then by right
ascension are answered from quickly. May import core and errors only.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scope_ml.core.provenance import digest_file, digest_json
from scope_ml.core.sphere import ARCSEC_PER_DEGREE, on_sky, separation_arcsec
from scope_ml.errors import FormatError, MissingColumnError, SchemaError, suggest
from scope_ml.io.parquet_files import open_parquet, read_errors

__all__ = ["ParquetCatalogs"]

FloatArray = npt.NDArray[np.float64]

#: Names by which a column may stand in a file, the first that is there counts.
ALIASES = {
    "_id": ("_id", "id", "candid", "source_id"),
    "candid": ("candid", "_id", "id"),
    "classifications.braai": ("classifications.braai", "braai"),
}

#: Where a position may stand: columns of right ascension and declination [deg].
POSITIONS = (("ra", "dec"), ("candidate.ra", "candidate.dec"))

#: A GeoJSON point of a Kowalski document: a list of longitude (right ascension - 180 deg) and latitude.
GEOJSON = ("coordinates.radec_geojson.coordinates", "radec_geojson.coordinates")

#: Rows decoded at a time; bounds the memory whatever the size of row groups.
BATCH_ROWS = 65536

#: Widening of a circle [deg] where row groups are left out by their bounds: more than any rounding.
SLACK_DEG = 1e-6

#: Path of a column into a file: its name, then fields of structs.
ColumnPath = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Group:
    """A row group and the box on the sky that holds it; None where the file does not say."""

    index: int
    ra: tuple[float, float] | None
    dec: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class _File:
    """A part of a collection, where its positions stand, and its row groups; `kind` numbers the different schemas."""

    path: Path
    schema: pa.Schema
    kind: int
    place: tuple[ColumnPath, ...]
    groups: tuple[_Group, ...]


@dataclass(frozen=True, kw_only=True)
class _Circle:
    """A circle on the sky [deg]; `ra_reach` is how far it extends in right ascension, 180 around a pole."""

    ra: float
    dec: float
    radius: float
    ra_reach: float

    @classmethod
    def around(cls, ra: float, dec: float, radius_arcsec: float) -> _Circle:
        radius = radius_arcsec / ARCSEC_PER_DEGREE
        wide = radius + SLACK_DEG
        reach = 180.0
        if abs(dec) + wide < 90.0:
            reach = float(np.degrees(np.arcsin(np.sin(np.radians(wide)) / np.cos(np.radians(dec))))) + SLACK_DEG
        return cls(ra=ra, dec=dec, radius=radius, ra_reach=reach)

    def reaches(self, group: _Group) -> bool:
        """Return whether rows of `group` may lie in the circle."""
        wide = self.radius + SLACK_DEG
        if group.dec is not None and not (group.dec[0] <= self.dec + wide and group.dec[1] >= self.dec - wide):
            return False
        if group.ra is None:
            return True
        # Two arcs of the circle of right ascension meet if their middles are closer than half their lengths.
        low, high = group.ra
        between = abs((0.5 * (low + high) - self.ra + 180.0) % 360.0 - 180.0)
        return between <= 0.5 * (high - low) + self.ra_reach

    def holds(self, ra: FloatArray, dec: FloatArray) -> npt.NDArray[np.bool_]:
        """Return which positions lie in the circle; those that are no place on the sky do not."""
        inside = on_sky(ra, dec) & (np.abs(dec - self.dec) <= self.radius + SLACK_DEG)
        near = np.flatnonzero(inside)
        inside[near] = separation_arcsec(ra[near], dec[near], self.ra, self.dec) <= self.radius * ARCSEC_PER_DEGREE
        return inside


class ParquetCatalogs:
    """Collections in a folder of Parquet files; a `core.protocols.CatalogSource`. Threads may share it.

    Parameters
    ----------
    path
        The folder: one sub-folder (part files at any depth) or one file ``<name>.parquet`` per collection.

    Raises
    ------
    FormatError
        If there is no such folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            seen = "is a file" if self.path.exists() else "does not exist"
            raise FormatError(
                f"{self.path} {seen}; give the folder that holds one folder or file <name>.parquet per catalogue"
            )
        self._lock = threading.Lock()
        self._digests: dict[str, str] = {}
        self._files: dict[str, tuple[_File, ...]] = {}

    def collections(self) -> tuple[str, ...]:
        """Return the names of the collections that are there."""
        names = {
            entry.stem if entry.is_file() else entry.name
            for entry in self.path.iterdir()
            if not entry.name.startswith((".", "_"))
            and (entry.suffix == ".parquet" if entry.is_file() else bool(_part_files(entry)))
        }
        return tuple(sorted(names))

    def digest(self, catalog: str) -> str:
        """Return the SHA-256 digest of the contents of a collection's files in order; computed once, when asked.

        Raises
        ------
        FormatError
            If there is no such collection.
        """
        with self._lock:
            if catalog not in self._digests:
                digests = [digest_file(path) for path in self._paths(catalog)]
                self._digests[catalog] = digests[0] if len(digests) == 1 else digest_json(digests)
            return self._digests[catalog]

    def cone_search(
        self,
        catalog: str,
        ra: float,
        dec: float,
        *,
        radius_arcsec: float,
        columns: Sequence[str],
        optional: Sequence[str] = (),
        below: Mapping[str, float] | None = None,
    ) -> pa.Table:
        """Return the rows within a circle in the order of the files; see `core.protocols.CatalogSource`.

        Raises
        ------
        FormatError
            If there is no such collection, or a file of it is broken.
        MissingColumnError
            If a file has no positions or lacks one of `columns`.
        SchemaError
            If positions are no numbers, or files of one collection do not fit together.
        """
        circle = _Circle.around(float(ra), float(dec), radius_arcsec)
        files = self._opened(catalog)
        kinds = {file.kind: file for file in reversed(files)}
        stored = {kind: _resolved(file, columns, optional) for kind, file in sorted(kinds.items())}
        # Types and optional columns must not depend on which files a circle meets.
        given = [name for name in (*columns, *optional) if any(name in one for one in stored.values())]
        found = [_nothing(file, stored[kind]) for kind, file in sorted(kinds.items())]
        for file in files:
            groups = [group.index for group in file.groups if circle.reaches(group)]
            found += _rows(file, groups, stored[file.kind], circle, below or {})
        try:
            return pa.concat_tables(found, promote_options="permissive").select(["ra", "dec", *given])
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            detail = " ".join(str(error).split())[:200]
            raise SchemaError(
                f"the files of catalogue '{catalog}' in {self.path} do not fit together ({detail}); write their columns"
                " with the same types"
            ) from error

    def _paths(self, catalog: str) -> tuple[Path, ...]:
        folder, file = self.path / catalog, self.path / f"{catalog}.parquet"
        parts = _part_files(folder) if folder.is_dir() else ()
        if parts and file.is_file():
            raise FormatError(f"{folder} and {file} are both there; keep the one that holds catalogue '{catalog}'")
        if parts or file.is_file():
            return parts or (file,)
        there = self.collections()
        shown = ", ".join(there) or "none"
        raise FormatError(
            f"{self.path} has no catalogue '{catalog}'; it holds: {shown}{suggest(catalog, there)}; put its files into"
            f" {folder} or give another folder with catalogs.path=FOLDER"
        )

    def _opened(self, catalog: str) -> tuple[_File, ...]:
        with self._lock:
            if catalog not in self._files:
                kinds: dict[pa.Schema, int] = {}
                self._files[catalog] = tuple(_opened(path, kinds) for path in self._paths(catalog))
            return self._files[catalog]


def _part_files(folder: Path) -> tuple[Path, ...]:
    parts = (path for path in folder.rglob("*.parquet") if path.is_file())
    return tuple(sorted(path for path in parts if not path.name.startswith((".", "_"))))


def _opened(path: Path, kinds: dict[pa.Schema, int]) -> _File:
    """Look at a part's columns and at the bounds of its row groups; `kinds` are the schemas met so far."""
    with open_parquet(path) as file:
        schema, metadata = file.schema_arrow.remove_metadata(), file.metadata
        place = _place(schema, path)
        leaves = {metadata.schema.column(index).path: index for index in range(metadata.num_columns)}
        columns = [leaves.get(".".join(one)) for one in place] if len(place) == 2 else [None, None]
        groups = []
        for index in range(metadata.num_row_groups):
            ra, dec = (_bounds(metadata.row_group(index), column) for column in columns)
            groups.append(_Group(index=index, ra=ra, dec=dec))
        kind = kinds.setdefault(schema, len(kinds))
        return _File(path=path, schema=schema, kind=kind, place=place, groups=tuple(groups))


def _bounds(group: pq.RowGroupMetaData, column: int | None) -> tuple[float, float] | None:
    """Return smallest and largest value of a column of a row group, None if the file does not say."""
    if column is None:
        return None
    statistics = group.column(column).statistics
    if statistics is None or not statistics.has_min_max:
        return None
    low, high = float(statistics.min), float(statistics.max)
    return (low, high) if np.isfinite(low) and np.isfinite(high) else None


def _stored(schema: pa.Schema, name: str) -> ColumnPath | None:
    """Return where a column of Kowalski's name stands in a file, None if nowhere."""
    for alias in ALIASES.get(name, (name,)):
        parts = alias.split(".")
        for joined in (alias, "_".join(parts), "__".join(parts)):
            if joined in schema.names:
                return (joined,)
        if len(parts) > 1 and _is_field(schema, parts):
            return tuple(parts)
    return None


def _is_field(schema: pa.Schema, parts: Sequence[str]) -> bool:
    """Return whether `parts` are a column and fields of structs inside it."""
    if parts[0] not in schema.names:
        return False
    here = schema.field(parts[0]).type
    for part in parts[1:]:
        if not pa.types.is_struct(here) or here.get_field_index(part) < 0:
            return False
        here = here.field(part).type
    return True


def _place(schema: pa.Schema, path: Path) -> tuple[ColumnPath, ...]:
    """Return the paths of right ascension and declination, or the one of a GeoJSON point.

    Raises
    ------
    MissingColumnError
        If the file has neither.
    SchemaError
        If they are no numbers.
    """
    empty = schema.empty_table()
    for pair in POSITIONS:
        found = tuple(stored for name in pair if (stored := _stored(schema, name)) is not None)
        if len(found) == 2:
            for name, stored in zip(pair, found, strict=True):
                _numbers(path, _column(empty, stored), name)
            return found
    for name in GEOJSON:
        point = _stored(schema, name)
        if point is not None:
            return (point,)
    raise MissingColumnError(f"{path} (a catalogue needs positions in degrees)", ("ra", "dec"), schema.names)


def _resolved(file: _File, columns: Sequence[str], optional: Sequence[str]) -> dict[str, ColumnPath]:
    """Return where the columns stand in a file, without the optional ones that do not."""
    found = {name: _stored(file.schema, name) for name in (*columns, *optional)}
    missing = [name for name in columns if found[name] is None]
    if missing:
        raise MissingColumnError(str(file.path), missing, file.schema.names)
    return {name: stored for name, stored in found.items() if stored is not None}


def _rows(
    file: _File,
    groups: Sequence[int],
    stored: Mapping[str, ColumnPath],
    circle: _Circle,
    below: Mapping[str, float],
) -> Iterator[pa.Table]:
    """Yield the rows of some row groups that lie in `circle` and pass `below`, a batch at a time."""
    if not groups:
        return
    leaves = list(dict.fromkeys(".".join(path) for path in (*file.place, *stored.values())))
    with open_parquet(file.path) as opened, read_errors(file.path, "Parquet"):
        for batch in opened.iter_batches(batch_size=BATCH_ROWS, row_groups=groups, columns=leaves, use_threads=False):
            raw = pa.Table.from_batches([batch])
            ra, dec = _positions(file, raw)
            inside = circle.holds(ra, dec)
            for name, limit in below.items():
                with np.errstate(invalid="ignore"):
                    inside &= _numbers(file.path, _column(raw, stored[name]), name) < limit
            rows = np.flatnonzero(inside)
            if rows.size:
                kept = raw.take(pa.array(rows))
                named = {name: _column(kept, path) for name, path in stored.items()}
                yield pa.table({"ra": ra[rows], "dec": dec[rows], **named})


def _nothing(file: _File, stored: Mapping[str, ColumnPath]) -> pa.Table:
    """Return a table of no rows with the types of a file."""
    raw = file.schema.empty_table()
    named = {name: _column(raw, path) for name, path in stored.items()}
    return pa.table({"ra": np.empty(0), "dec": np.empty(0), **named})


def _column(table: pa.Table, path: ColumnPath) -> pa.ChunkedArray:
    column = table[path[0]]
    if len(path) > 1:
        column = pc.struct_field(column, list(path[1:]))
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _numbers(path: Path, column: pa.ChunkedArray, name: str) -> FloatArray:
    """Return a column as float64, NaN where null."""
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_null(column.type)):
        raise SchemaError(f"{path}: column '{name}' is {column.type}, not a number; write it as double")
    numbers: FloatArray = column.cast(pa.float64(), safe=False).to_numpy()
    return numbers


def _positions(file: _File, table: pa.Table) -> tuple[FloatArray, FloatArray]:
    """Return right ascension and declination [deg], NaN where there is none."""
    if len(file.place) == 2:
        ra, dec = (_numbers(file.path, _column(table, path), ".".join(path)) for path in file.place)
        return ra, dec
    name = ".".join(file.place[0])
    point = _column(table, file.place[0]).combine_chunks()
    if not pa.types.is_list(point.type) and not pa.types.is_large_list(point.type):
        raise SchemaError(f"{file.path}: column '{name}' is {point.type}, not a list of longitude and latitude [deg]")
    pairs = pc.list_slice(point, 0, 2, return_fixed_size_list=True)
    both = pa.chunked_array([pc.list_element(pairs, part) for part in (0, 1)])
    longitude, latitude = np.split(_numbers(file.path, both, name), 2)
    return longitude + 180.0, latitude
