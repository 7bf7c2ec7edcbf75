"""Stars that are known already, such as those of the training set, found whatever they are known by.

A star is known if any of its light curves is: by id, by source, by name, by an id of a catalogue, or by its place. May
import `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import exact_ids, one_chunk
from scope_ml.errors import DataError
from scope_ml.selection.friends import nearest
from scope_ml.selection.stars import SURVEY_ID, Stars, plain_ids, survey_ids

__all__ = ["KnownStars", "known_stars"]

BoolArray = npt.NDArray[np.bool_]

#: Ids of light curves and of the survey's sources. A label table's `id` may be either.
LIGHT_CURVES = ("id", "_id", "ztf_id")
SOURCES = ("source_id",)


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownStars:
    """Which stars a table knows.

    Attributes
    ----------
    known
        bool (n_stars,).
    by
        Stars by what they were found by first: ``id``, ``name``, ``survey_id``, ``position``; only what both have.
    n_rows
        Rows of the table.
    """

    known: BoolArray
    by: Mapping[str, int]
    n_rows: int


def known_stars(
    rows: pa.Table,
    stars: Stars,
    table: pa.Table,
    *,
    radius_arcsec: float,
    where: str,
    but: BoolArray | None = None,
) -> KnownStars:
    """Return which stars a table has.

    Parameters
    ----------
    rows, stars
        Light curves, and which of them are one star.
    table
        What is known, one row a light curve or a star: any of ``id``, ``_id``, ``ztf_id``, ``source_id``, ``obj_id``,
        ids of catalogues (``Gaia_EDR3___id``), ``survey_id``, ``ra`` and ``dec`` [deg].
    radius_arcsec
        A star with a light curve as near as this is known [arcsec]; 0: places do not count.
    where
        Names the table in messages.
    but
        Stars that are known already and not counted again in `KnownStars.by`, bool (n_stars,).

    Raises
    ------
    DataError
        If it shares nothing with the light curves by which stars could be compared, or its ids are floats.
    """
    found = {
        "id": _same_ids(rows, table, where),
        "name": _same_names(rows, table),
        "survey_id": _same_survey_ids(rows, table, where),
        "position": _near(rows, table, radius_arcsec) if radius_arcsec > 0 else None,
    }
    if all(hit is None for hit in found.values()):
        of_place = " and places do not count with a radius of 0" if radius_arcsec <= 0 else ""
        raise DataError(
            f"{where}: nothing to tell by which of the stars are in it: it has {', '.join(table.column_names) or 'no columns'}, the"
            f" scores {', '.join(rows.column_names)}{of_place}; give it ids, obj_id, ids of catalogues, or ra and dec"
        )
    known = np.zeros(len(stars), dtype=bool)
    by: dict[str, int] = {}
    for name, hit in found.items():
        if hit is not None:
            of_star = np.zeros(len(stars), dtype=bool)
            of_star[stars.star[hit]] = True
            counted = of_star & ~known
            by[name] = int((counted if but is None else counted & ~but).sum())
            known |= of_star
    return KnownStars(known=known, by=by, n_rows=table.num_rows)


def _same_ids(rows: pa.Table, table: pa.Table, where: str) -> BoolArray | None:
    """Return which light curves have an id of the table's."""
    hits = []
    for name in (*LIGHT_CURVES, *SOURCES):
        if name not in table.column_names:
            continue
        mine = SOURCES if name in SOURCES else (*LIGHT_CURVES, *SOURCES)
        values = _texts(table, name, where)
        hits += [_is_in(_texts(rows, own, "scores"), values) for own in mine if own in rows.column_names]
    return _any(hits)


def _same_names(rows: pa.Table, table: pa.Table) -> BoolArray | None:
    if "obj_id" not in rows.column_names or "obj_id" not in table.column_names:
        return None
    mine, known = (one_chunk(of["obj_id"]).cast(pa.string()) for of in (rows, table))
    return _is_in(mine, known.filter(pc.not_equal(pc.fill_null(known, ""), "")))


def _same_survey_ids(rows: pa.Table, table: pa.Table, where: str) -> BoolArray | None:
    """Return which light curves have an id of a catalogue that the table has."""
    mine, known = survey_ids(rows, where="scores"), survey_ids(table, where=where)
    pairs = [(own, ids) for survey, ids in known for of, own in mine if of == survey or SURVEY_ID in (of, survey)]
    return _any([_is_in(own, ids) for own, ids in pairs])


def _near(rows: pa.Table, table: pa.Table, radius_arcsec: float) -> BoolArray | None:
    if not all({"ra", "dec"} <= set(of.column_names) for of in (rows, table)):
        return None
    ra, dec = (_floats(rows[name]) for name in ("ra", "dec"))
    known_ra, known_dec = (_floats(table[name]) for name in ("ra", "dec"))
    hit: BoolArray = nearest(ra, dec, known_ra, known_dec, radius_arcsec) >= 0
    return hit


def _floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = (
        one_chunk(column).cast(pa.float64()).fill_null(float("nan")).to_numpy(zero_copy_only=False)
    )
    return values


def _texts(table: pa.Table, name: str, where: str) -> pa.Array:
    """Return ids as text, null where there is none: of a source also 0, of a light curve no value only."""
    if name in SOURCES:
        return plain_ids(table, name, where)
    column = one_chunk(table[name])
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not pa.types.is_null(column.type):
        exact_ids(pc.drop_null(column), name, where=where)
    return column.cast(pa.string())


def _is_in(values: pa.Array, known: pa.Array) -> BoolArray:
    known = pc.drop_null(known)
    if not len(known):
        return np.zeros(len(values), dtype=bool)
    hit: BoolArray = pc.is_in(values, value_set=known, skip_nulls=True).to_numpy(zero_copy_only=False)
    return hit


def _any(hits: list[BoolArray]) -> BoolArray | None:
    return np.logical_or.reduce(hits) if hits else None
