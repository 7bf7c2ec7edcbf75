"""Stars as a partition sees them, and what becomes of those that several partitions see.

A partition knows its own light curves and those within a margin of it. A star that is shown whole to every partition
that sees any of it is seen alike by all, and belongs to the one that holds its place. Where partitions see different
stars (chains of stars in crowded fields that are longer than the margin), each keeps its own light curves of them: every
light curve is in exactly one star, whatever the sky is like. May import selection, io, core, errors and `catalog_units`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import one_chunk
from scope_ml.core.sphere import angle_arcsec, unit_vectors
from scope_ml.io.atomic import atomic_path
from scope_ml.io.healpix import Cells, finest_cells
from scope_ml.io.partition_spool import disk_errors, read_spool
from scope_ml.selection.friends import friends
from scope_ml.selection.stars import SURVEY_ID, StarKey, Stars, find_stars, id_columns, plain_ids, survey_keys
from scope_ml.stages.catalog_units import HOME, ROW, SHARED, load_arrays, spool_schema

__all__ = ["StarSearch", "View", "light_columns", "look", "read_view", "settle"]

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
KeyArray = npt.NDArray[np.uint64]

#: Columns by which rows are put in order, as `find_stars` does.
ORDERING = ("id", "obj_id", "band", "filter", "ra", "dec")

#: Added to an id that stands at several places far apart, with a number behind it.
APART = "\x1f"


@dataclass(frozen=True, kw_only=True)
class StarSearch:
    """How light curves become stars.

    Attributes
    ----------
    by
        What makes light curves one star; never ``auto``.
    radius_arcsec
        How near light curves without an id are to be one star.
    split_arcsec
        Light curves of one id are several stars where gaps between them are wider.
    """

    by: StarKey
    radius_arcsec: float
    split_arcsec: float


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """The stars of a partition and its margin.

    Attributes
    ----------
    star
        Of each row, int64 (n_rows,).
    order
        Rows star by star, in canonical order, int64 (n_rows,).
    starts
        Where each star begins in `order`.
    ra, dec
        Of the stars [deg].
    mark
        What tells one set of rows from another, uint64 (n_stars,).
    owner
        Partition of the star's place, int64 (n_stars,).
    is_shared
        Whether other partitions see some of it, bool (n_stars,).
    """

    star: IntArray
    order: IntArray
    starts: IntArray
    ra: npt.NDArray[np.float64]
    dec: npt.NDArray[np.float64]
    mark: KeyArray
    owner: IntArray
    is_shared: BoolArray


def light_columns(schema: pa.Schema, by: StarKey) -> list[str]:
    """Return the columns that decide on stars."""
    named = [name for name in ORDERING if name in schema.names]
    return [*named, *(name for name in _key_columns(schema, by) if name not in named)]


def _key_columns(schema: pa.Schema, by: StarKey) -> list[str]:
    if by == "survey_id":
        return list(id_columns(schema.names))
    return [by] if by in ("source_id", "obj_id") else []


def look(number: int, files: Sequence[Path], schema: pa.Schema, search: StarSearch, cells: Cells, folder: Path) -> None:
    """Find the stars that partition `number` sees, and write them: a `View`, and what has to be settled.

    Parameters
    ----------
    number, cells
        Which of the partitions.
    files, schema
        Its spool.
    search
        What is a star.
    folder
        Where the partition's file is written.
    """
    columns = light_columns(schema, search.by)
    rows = read_spool(files, spool_schema(schema), [ROW, HOME, SHARED, *columns])
    table = rows.select(columns)
    stars = find_stars(
        keyed(table, search), by=_by(search), radius_arcsec=search.radius_arcsec, where=f"partition {number}"
    )
    uid = rows[ROW].to_numpy()
    home = rows[HOME].to_numpy().astype(np.int64)
    shared = one_chunk(rows[SHARED]).to_numpy(zero_copy_only=False)
    has_any = _per_star(stars, shared.astype(np.int64)) > 0
    owner = cells.of(finest_cells(stars.ra, stars.dec)) if len(stars) else np.zeros(0, dtype=np.int64)
    mark = _marks(stars, uid)
    arrays = {
        "star": stars.star,
        "order": stars.order,
        "starts": stars.starts,
        "ra": stars.ra,
        "dec": stars.dec,
        "mark": mark,
        "owner": owner,
        "is_shared": has_any,
    }
    arrays |= _claims(number, stars, home, owner, has_any, mark)
    with disk_errors(folder), atomic_path(folder / f"{number}.npz") as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def read_view(folder: Path, number: int) -> View:
    """Return what `look` has written for a partition."""
    arrays = load_arrays(folder / f"{number}.npz")
    return View(**{name: arrays[name] for name in View.__dataclass_fields__})


def settle(folder: Path, numbers: Sequence[int]) -> KeyArray:
    """Return the marks of the shared stars on which all agree who have a light curve of it, sorted; uint64 (n,)."""
    marks, needed = [], []
    for number in numbers:
        with np.load(folder / f"{number}.npz", allow_pickle=False) as file:
            marks.append(file["claim_mark"])
            needed.append(file["claim_needed"])
    if not marks:
        return np.zeros(0, dtype=np.uint64)
    mark, first, count = np.unique(np.concatenate(marks), return_index=True, return_counts=True)
    agreed: KeyArray = mark[count == np.concatenate(needed)[first]]
    return agreed


def keyed(table: pa.Table, search: StarSearch) -> pa.Table:
    """Return the rows with one column of keys in place of those of ids; keys of places far apart are told apart."""
    if search.by == "position":
        return table
    is_survey, where = search.by == "survey_id", "the scores"
    keys = survey_keys(table, where=where) if is_survey else plain_ids(table, search.by, where)
    # A star's other ids tell whether a light curve with one of a lesser survey is of it.
    wanted = (*ORDERING, *(id_columns(table.column_names) if is_survey else ()))
    ordering = table.select([name for name in wanted if name in table.column_names and name != SURVEY_ID])
    return ordering.append_column(SURVEY_ID, _split(keys, ordering, search.split_arcsec))


def plain_key(key: pa.Array) -> pa.Array:
    """Return keys of stars without what tells places apart."""
    return pc.list_element(pc.split_pattern(key, APART), 0) if len(key) else key


def _by(search: StarSearch) -> StarKey:
    return "position" if search.by == "position" else "survey_id"


def _split(keys: pa.Array, table: pa.Table, split_arcsec: float) -> pa.Array:
    """Return keys that stand at several places far apart with a number behind each place's."""
    coded = one_chunk(keys.dictionary_encode())
    code = np.asarray(pc.fill_null(coded.indices, -1), dtype=np.int64)
    known = np.flatnonzero(code >= 0)
    if not len(known) or split_arcsec <= 0:
        return keys
    ra, dec = (table[name].to_numpy() for name in ("ra", "dec"))
    vectors = unit_vectors(ra[known], dec[known])
    of = code[known]
    _, first = np.unique(of, return_index=True)
    begin = np.zeros(len(coded.dictionary), dtype=np.int64)
    begin[np.unique(of)] = first
    # From its first light curve all others of a star are within the gap, or it has to be looked at.
    far = angle_arcsec(vectors, vectors[begin[of]]) > split_arcsec
    if not far.any():
        return keys
    suspects = np.unique(of[far])
    texts = np.array(keys.to_pylist(), dtype=object)
    for suspect in suspects.tolist():
        rows = known[of == suspect]
        group = friends(ra[rows], dec[rows], split_arcsec)
        for row, place in zip(rows.tolist(), group.tolist(), strict=True):
            texts[row] = f"{texts[row]}{APART}{place}"
    return pa.array(texts.tolist(), pa.string())


def _per_star(stars: Stars, values: IntArray) -> IntArray:
    """Return the sum of values of the rows of each star."""
    if not len(stars):
        return np.zeros(0, dtype=np.int64)
    total: IntArray = np.add.reduceat(values[stars.order], stars.starts)
    return total


def _marks(stars: Stars, uid: IntArray) -> KeyArray:
    """Return a number of 64 bits for the rows of each star, whatever their order."""
    if not len(stars):
        return np.zeros(0, dtype=np.uint64)
    mixed = _mix(uid.astype(np.uint64))
    total: KeyArray = np.add.reduceat(mixed[stars.order], stars.starts)
    return _mix(total + stars.counts.astype(np.uint64))


def _mix(values: KeyArray) -> KeyArray:
    values = (values + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
    mixed: KeyArray = values ^ (values >> np.uint64(32))
    return mixed


def _claims(
    number: int, stars: Stars, home: IntArray, owner: IntArray, is_shared: BoolArray, mark: KeyArray
) -> Mapping[str, npt.NDArray[Any]]:
    """Return the shared stars on which this partition's word counts, and how many partitions must agree on each.

    These are the partitions of its light curves, and the one that holds its place.
    """
    at = np.flatnonzero(is_shared)
    if not len(at):
        return {"claim_mark": np.zeros(0, dtype=np.uint64), "claim_needed": np.zeros(0, dtype=np.int64)}
    rows = np.flatnonzero(is_shared[stars.star])
    pairs = np.concatenate([np.stack([stars.star[rows], home[rows]], axis=1), np.stack([at, owner[at]], axis=1)])
    pairs = np.unique(pairs, axis=0)
    needed = np.bincount(pairs[:, 0], minlength=len(stars))
    mine = pairs[pairs[:, 1] == number, 0]
    return {"claim_mark": mark[mine], "claim_needed": needed[mine].astype(np.int64)}
