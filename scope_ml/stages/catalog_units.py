"""The first two passes over the tables of a catalogue: where light curves are, then each into the spool of its partition.

A unit is some rows of some tables, small enough to be held in memory; a process works on one at a time and leaves its
result on disk. May import io, core, errors and `catalog_inputs`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import one_chunk
from scope_ml.core.sphere import on_sky
from scope_ml.io.atomic import atomic_path
from scope_ml.io.healpix import Cells, finest_cells
from scope_ml.io.parquet_files import open_parquet, read_errors
from scope_ml.io.partition_spool import SpoolWriter, disk_errors
from scope_ml.stages.catalog_inputs import ScoreFile, conformed

__all__ = [
    "HOME",
    "KEY_COLUMNS",
    "REASONS",
    "ROW",
    "SHARED",
    "Cutting",
    "Piece",
    "Unit",
    "find_places",
    "keys_of",
    "load_arrays",
    "route",
    "rows_by_number",
    "spool_schema",
    "touched",
    "units_of",
]

IntArray = npt.NDArray[np.int64]
KeyArray = npt.NDArray[np.uint64]

#: Tables by their numbers.
Files = Mapping[int, ScoreFile]

#: What says that two rows are the same light curve.
KEY_COLUMNS = ("id", "band", "field", "ccd", "quad")

#: Columns that the spool has besides: number of the row (table and place in it), its partition, whether others have a copy.
ROW, HOME, SHARED = "_row", "_home", "_shared"

#: Rows of a table that are worked on at once.
BATCH_ROWS = 32768

#: Bits of a row's number that are its place in the table.
ROW_BITS = 40

#: Why a row is in no star.
REASONS = ("other_field", "no_id", "no_position")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Row groups of one table."""

    file: int
    groups: tuple[int, ...]
    first_row: int


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Rows that one process works on at a time."""

    number: int
    pieces: tuple[Piece, ...]
    n_rows: int

    @property
    def name(self) -> str:
        """Return what its files and folders are called."""
        return f"unit_{self.number:06d}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Cutting:
    """Partitions of the sky.

    Attributes
    ----------
    cells
        All of them, also those without light curves.
    near_order
        What lies within a cell of this order, or a neighbour of it, is near; see `healpix.order_wider_than`.
    """

    cells: Cells
    near_order: int


def units_of(files: Sequence[ScoreFile], most_rows: int) -> tuple[Unit, ...]:
    """Divide tables into units of at most so many rows, or of one row group where that has more."""
    units: list[Unit] = []
    pieces: list[Piece] = []
    n_rows = 0

    def close() -> None:
        nonlocal pieces, n_rows
        if pieces:
            units.append(Unit(number=len(units), pieces=tuple(pieces), n_rows=n_rows))
        pieces, n_rows = [], 0

    for number, file in enumerate(files):
        first, groups = 0, list[int]()
        row = 0
        for group, rows in enumerate(file.group_rows):
            if n_rows + rows > most_rows and n_rows:
                if groups:
                    pieces.append(Piece(file=number, groups=tuple(groups), first_row=first))
                close()
                first, groups = row, []
            groups.append(group)
            n_rows += rows
            row += rows
        if groups:
            pieces.append(Piece(file=number, groups=tuple(groups), first_row=first))
    close()
    return tuple(units)


def find_places(unit: Unit, files: Files, schema: pa.Schema, fields: tuple[int, ...] | None, folder: Path) -> None:
    """Write where the rows of a unit are, reading ids and positions only.

    Parameters
    ----------
    unit, files
        What is read.
    schema
        Of the rows of all tables.
    fields
        Wanted fields; None: all.
    folder
        Where ``<unit>.npz`` is written: number of each row (`row`), its cell of order 29 (`cell`), `counts`: rows read, then
        those left out by `REASONS`, and `partly`: tables that have rows of other fields; and ``<unit>.keys.npy``: what
        light curve each row is, sorted, and the numbers.
    """
    wanted = [name for name in (*KEY_COLUMNS, "ra", "dec") if name in schema.names]
    schema = pa.schema([schema.field(name) for name in wanted])
    found: dict[str, list[Any]] = {name: [] for name in ("row", "cell", "key")}
    dropped = dict.fromkeys(REASONS, 0)
    partly: set[int] = set()
    n_read = 0
    for file, first_row, batch in _batches(unit, files, wanted):
        table = conformed(batch, files[file], schema)
        n_read += table.num_rows
        reason = _reasons(table, fields)
        for number, name in enumerate(REASONS, start=1):
            dropped[name] += int(np.count_nonzero(reason == number))
        if (reason == 1).any():
            partly.add(file)
        kept = np.flatnonzero(reason == 0)
        table = table.take(pa.array(kept))
        ra, dec = (_floats(table[name]) for name in ("ra", "dec"))
        found["row"].append((file << ROW_BITS) + first_row + kept)
        found["cell"].append(finest_cells(ra, dec))
        found["key"].append(keys_of(table))
    arrays = {
        name: np.concatenate(parts) if parts else np.zeros(0, np.uint64 if name == "key" else np.int64)
        for name, parts in found.items()
    }
    key = arrays.pop("key")
    by_key = np.argsort(key, kind="stable")
    sorted_keys = np.stack([key[by_key], arrays["row"][by_key].view(np.uint64)])
    with (
        disk_errors(folder),
        atomic_path(folder / f"{unit.name}.keys.npy") as temporary,
        temporary.open("wb") as stream,
    ):
        np.save(stream, sorted_keys, allow_pickle=False)
    counts = np.array([n_read, *dropped.values()], dtype=np.int64)
    _save(folder / f"{unit.name}.npz", **arrays, counts=counts, partly=np.array(sorted(partly), dtype=np.int64))


def touched(unit: Unit, places: Path, cutting: Cutting) -> tuple[IntArray, IntArray]:
    """Return which partitions the light curves of a unit are in or near to.

    Parameters
    ----------
    unit, places
        What `find_places` found, in that folder.
    cutting
        Partitions.

    Returns
    -------
    of_files
        Number of a table and a partition, each pair once, int64 (n, 2).
    together
        Two partitions that see the same light curve, its own first, each pair once, int64 (m, 2).
    """
    found = load_arrays(places / f"{unit.name}.npz")
    home = cutting.cells.of(found["cell"])
    at, other = cutting.cells.near(found["cell"], cutting.near_order)
    file = found["row"] >> ROW_BITS
    pairs = np.stack([np.concatenate([file, file[at]]), np.concatenate([home, other])], axis=1)
    return _pairs(pairs), _pairs(np.stack([home[at], other], axis=1))


def route(
    unit: Unit,
    files: Files,
    schema: pa.Schema,
    places: Path,
    spool: Path,
    cutting: Cutting,
    needed: IntArray,
    left_out: IntArray,
) -> None:
    """Write the rows of a unit to the spools of their partitions, and of those that they are near to.

    Parameters
    ----------
    unit, files
        What is read.
    schema
        Of the rows of all tables.
    places
        Folder of what `find_places` found.
    spool
        Where the unit's folder is made.
    cutting
        Partitions.
    needed
        Partitions that are worked on, sorted.
    left_out
        Numbers of rows that stand twice, sorted.
    """
    found = load_arrays(places / f"{unit.name}.npz")
    keep = ~np.isin(found["row"], left_out)
    rows, finest = found["row"][keep], found["cell"][keep]
    home = cutting.cells.of(finest)
    at, other = cutting.cells.near(finest, cutting.near_order)
    shared = np.zeros(len(rows), dtype=bool)
    shared[at] = True
    place = np.concatenate([np.arange(len(rows), dtype=np.int64), at])
    partition = np.concatenate([home, other])
    is_needed = np.isin(partition, needed)
    place, partition = place[is_needed], partition[is_needed]
    # As the rows of the tables come.
    by_row = np.argsort(rows[place], kind="stable")
    place, partition = place[by_row], partition[by_row]
    number = rows[place]
    spooled = spool_schema(schema)
    writer = SpoolWriter(spool / unit.name, spooled)
    for file, first_row, batch in _batches(unit, files, schema.names):
        begin = (file << ROW_BITS) + first_row
        low, high = np.searchsorted(number, [begin, begin + batch.num_rows])
        if low == high:
            continue
        table = conformed(batch.take(pa.array(number[low:high] - begin)), files[file], schema)
        of = place[low:high]
        extra = [pa.array(number[low:high]), pa.array(home[of].astype(np.int32)), pa.array(shared[of])]
        columns = [*extra, *(one_chunk(column) for column in table.columns)]
        writer.add(pa.Table.from_arrays(columns, schema=spooled), partition[low:high])
    writer.close()


def rows_by_number(numbers: IntArray, files: Files, schema: pa.Schema) -> pa.Table:
    """Return some rows by their numbers, in the order of these; every row group is read once."""
    pieces, at = [schema.empty_table()], [np.zeros(0, dtype=np.int64)]
    for number in np.unique(numbers >> ROW_BITS).tolist():
        file = files[number]
        there = {"id", *file.columns}
        columns = [file.own_id if name == "id" else name for name in schema.names if name in there]
        of_file = np.flatnonzero(numbers >> ROW_BITS == number)
        row = numbers[of_file] & ((1 << ROW_BITS) - 1)
        ends = np.cumsum(file.group_rows)
        group = np.searchsorted(ends, row, side="right")
        with open_parquet(file.path) as opened, read_errors(file.path, "Parquet"):
            for one in np.unique(group).tolist():
                inside = group == one
                place = row[inside] - (ends[one] - file.group_rows[one])
                table = opened.read_row_group(one, columns=columns, use_threads=False).take(pa.array(place))
                pieces.append(conformed(table, file, schema))
                at.append(of_file[inside])
    return pa.concat_tables(pieces).take(pa.array(np.argsort(np.concatenate(at), kind="stable")))


def _pairs(pairs: IntArray) -> IntArray:
    return np.unique(pairs, axis=0).reshape(-1, 2).astype(np.int64)


def spool_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema of spooled rows."""
    extra = [pa.field(ROW, pa.int64()), pa.field(HOME, pa.int32()), pa.field(SHARED, pa.bool_())]
    return pa.schema([*extra, *schema])


def keys_of(table: pa.Table) -> KeyArray:
    """Return one number of 64 bits for what `KEY_COLUMNS` say of each row, uint64 (n_rows,)."""
    import pandas as pd

    mixed = np.zeros(table.num_rows, dtype=np.uint64)
    for name in KEY_COLUMNS:
        if name not in table.column_names:
            continue
        column = one_chunk(table[name])
        if pa.types.is_integer(column.type):
            values = pc.fill_null(column.cast(pa.int64()), -1).to_numpy(zero_copy_only=False).view(np.uint64)
        elif name == "id":
            values = pd.util.hash_array(column.to_numpy(zero_copy_only=False), categorize=False)
        else:
            coded = one_chunk(column.dictionary_encode())
            of_names = np.array([0, *(_text_number(text) for text in coded.dictionary.to_pylist())], dtype=np.uint64)
            values = of_names[np.asarray(pc.fill_null(coded.indices, -1)) + 1]
        mixed = _mix(mixed * np.uint64(0x9E3779B97F4A7C15) + values)
    return mixed


def _mix(values: KeyArray) -> KeyArray:
    """Return numbers that differ in many bits where the given ones differ in one (splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: KeyArray = values ^ (values >> np.uint64(31))
    return mixed


def _text_number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _reasons(table: pa.Table, fields: tuple[int, ...] | None) -> IntArray:
    """Return why each row is left out, as a number in `REASONS` counted from 1; 0: it is not."""
    ra, dec = (_floats(table[name]) for name in ("ra", "dec"))
    reason = np.zeros(table.num_rows, dtype=np.int64)
    reason[~(on_sky(ra, dec) & (ra >= 0))] = 3
    ids = one_chunk(table["id"])
    known = ids.is_valid()
    if pa.types.is_string(ids.type):
        known = pc.and_(known, pc.not_equal(pc.fill_null(ids, ""), ""))
    reason[~known.to_numpy(zero_copy_only=False)] = 2
    if fields is not None and "field" in table.column_names:
        inside = pc.fill_null(pc.is_in(one_chunk(table["field"]), pa.array(fields, pa.int32())), False)
        reason[~inside.to_numpy(zero_copy_only=False)] = 1
    return reason


def _batches(unit: Unit, files: Files, wanted: Sequence[str]) -> Iterator[tuple[int, int, pa.Table]]:
    """Yield rows of the unit: number of their table, place of the first in it, and the rows."""
    for piece in unit.pieces:
        file = files[piece.file]
        there = {"id", *file.columns}
        columns = [file.own_id if name == "id" else name for name in wanted if name in there]
        row = piece.first_row
        with open_parquet(file.path) as opened, read_errors(file.path, "Parquet"):
            # Threads of its own do not help a process of several.
            for batch in opened.iter_batches(
                BATCH_ROWS, row_groups=list(piece.groups), columns=columns, use_threads=False
            ):
                yield piece.file, row, pa.table(batch)
                row += batch.num_rows


def _floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = pc.fill_null(one_chunk(column), float("nan")).to_numpy(zero_copy_only=False)
    return values


def _save(path: Path, **arrays: npt.NDArray[Any]) -> None:
    with disk_errors(path), atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def load_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a file of ours."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
