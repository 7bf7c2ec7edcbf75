"""Light curves that are one and the same star: by survey id, by the survey's own source, or by their place on the sky.

A star has one light curve a band and field, and the scores of each. `find_stars` says which rows belong together,
`selection.consolidation` makes one row of them. Ids are compared as 64-bit whole numbers or text, never as floats;
positions are averaged as directions, so that nothing happens at 0/360 deg or at the poles. May import `core` and
`errors`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import exact_ids, one_chunk
from scope_ml.core.sphere import angle_arcsec, unit_vectors
from scope_ml.errors import ConfigError, DataError, MissingColumnError
from scope_ml.selection.friends import friends, mean_positions, nearest
from scope_ml.selection.survey_ranks import key_ranks, lesser_joined

__all__ = [
    "SURVEYS",
    "SURVEY_ID",
    "StarKey",
    "Stars",
    "find_stars",
    "id_columns",
    "plain_ids",
    "survey_ids",
    "survey_keys",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: What makes rows one star; ``auto``: the first of the following for which the table has columns.
StarKey = Literal["auto", "survey_id", "source_id", "obj_id", "position"]

#: The catalogues whose ids count, the most exact positions first: a row's first id is its star.
SURVEYS: tuple[str, ...] = ("Gaia", "AllWISE", "PS1")

#: ``Gaia_EDR3___id``, ours and SCoPe's: catalogue, and its field ``_id`` behind two underscores.
ID_COLUMN = re.compile(rf"({'|'.join(SURVEYS)})(_\w+?)?_{{2,3}}id")

#: A column that has been made of such ids already, as SCoPe's consolidated tables have it: ``Gaia_EDR3___123``.
SURVEY_ID = "survey_id"

#: Columns that tell light curves apart, if they are there.
ROW_IDS = ("id", "_id", "ztf_id", "obj_id", "band", "filter", "field", "ccd", "quad")

#: Text that stands for no id, in small letters or capitals.
NO_ID = r"^(0*|-\d+|nan|none|null|<na>)$"


@dataclass(frozen=True, kw_only=True, eq=False)
class Stars:
    """Which of n_rows light curves are one star.

    Stars are numbered by their representative rows, which are in the order of `find_stars`' ids.

    Attributes
    ----------
    star
        Number of each row's star, int64 (n_rows,).
    order
        Rows star by star, the representative of each first, int64 (n_rows,): the order in which values are added up, so
        that the order of the table does not matter.
    starts
        Where each star begins in `order`, int64 (n_stars,).
    key
        What the star is known by, such as ``Gaia_EDR3___123``, string (n_stars,); null for stars known by their place.
    ra, dec
        Mean direction of its rows [deg], float64 (n_stars,); NaN where none has a position.
    by
        What made the rows one star.
    """

    star: IntArray
    order: IntArray
    starts: IntArray
    key: pa.Array
    ra: FloatArray
    dec: FloatArray
    by: StarKey

    def __len__(self) -> int:
        """Return the number of stars."""
        return len(self.starts)

    @property
    def representative(self) -> IntArray:
        """Return the row that stands for each star: the one with the smallest id; int64 (n_stars,)."""
        return self.order[self.starts]

    @property
    def counts(self) -> IntArray:
        """Return the rows of each star, int64 (n_stars,)."""
        return np.diff(np.append(self.starts, len(self.order))).astype(np.int64)

    @cached_property
    def by_place(self) -> int:
        """Return how many stars are known by nothing but their place."""
        return int(self.key.null_count)

    def members(self, column: pa.ChunkedArray | pa.Array) -> pa.ListArray:
        """Return the values of all rows of each star, in `order`, as one list a star."""
        offsets = pa.array(np.append(self.starts, len(self.order)).astype(np.int32))
        return pa.ListArray.from_arrays(offsets, one_chunk(column).take(pa.array(self.order)))

    def spread_arcsec(self, ra: FloatArray, dec: FloatArray) -> FloatArray:
        """Return the largest distance [arcsec] of a star's rows from its place, float64 (n_stars,).

        Parameters
        ----------
        ra, dec
            Of the rows [deg]. A large spread shows ids that are not the stars' own.
        """
        distance = angle_arcsec(unit_vectors(ra, dec), unit_vectors(self.ra[self.star], self.dec[self.star]))
        widest: FloatArray = np.zeros(len(self))
        np.fmax.at(widest, self.star, distance)
        return widest


def find_stars(table: pa.Table, *, by: StarKey = "auto", radius_arcsec: float = 1.5, where: str = "table") -> Stars:
    """Say which light curves of a table are one star.

    Parameters
    ----------
    table
        One row a light curve: what `by` asks for, and where they are there `ra`, `dec` [deg] and the id of the
        light curve (`id` or `_id`, `band`), which decides on the order of stars.
    by
        ``survey_id``: the Gaia id, else AllWISE's, else PS1's (columns such as ``Gaia_EDR3___id``, or ``survey_id``); a light
        curve with an id of a lesser survey only belongs to the star of a better id within `radius_arcsec`, if that has no
        other id of the lesser one;
        ``source_id`` and ``obj_id``: the column of that name; ``position``: nothing but the place; ``auto``: the first of
        these for which there are columns.
    radius_arcsec
        Rows without an id (null, 0 or an empty text) are kept: those within this distance of one another are one star, and
        belong to the nearest star with an id that is as near [arcsec]; 0: each such row is a star of its own.
    where
        Names the table in messages.

    Raises
    ------
    MissingColumnError, ConfigError
        If the table lacks what `by` asks for.
    DataError
        If ids are floats, or a position is none.

    Notes
    -----
    Friends of friends are friends: where stars are crowded more densely than the radius, a chain of them is one star.
    """
    if radius_arcsec < 0:
        raise ConfigError(f"radius_arcsec={radius_arcsec:g} is below 0", key="radius_arcsec")
    used = _resolved(table, by, where)
    ra, dec = _positions(table, where, needed=used == "position")
    canonical = _canonical(table, ra, dec)
    keys = _keys(table, used, where)
    # Everything below works on rows in canonical order: results depend on what the rows are, not on where they stand.
    ra_sorted, dec_sorted = ra[canonical], dec[canonical]
    coded = pc.dictionary_encode(one_chunk(keys.take(pa.array(canonical))))
    code = np.asarray(pc.fill_null(coded.indices, -1), dtype=np.int64)
    n_keys = len(coded.dictionary)
    if used == "survey_id" and radius_arcsec > 0:
        ranks = key_ranks(coded.dictionary, SURVEYS)
        if ranks.any():
            own = _lesser_ids(table.select(list(id_columns(table.column_names))).take(pa.array(canonical)), where)
            owner = lesser_joined(code, coded.dictionary, ranks, own, (ra_sorted, dec_sorted), radius_arcsec)
            code = np.where(code >= 0, owner[code], -1)
    star = _with_places(code, n_keys, ra_sorted, dec_sorted, radius_arcsec)
    return _stars(star, canonical, coded.dictionary, code, (ra_sorted, dec_sorted), used)


def survey_keys(table: pa.Table, *, where: str = "table") -> pa.Array:
    """Return the first survey id of each row, such as ``Gaia_EDR3___123``: string (n_rows,), null where it has none.

    Raises
    ------
    DataError
        If a column of ids holds floats, which have lost the ids already.
    """
    keys = pa.nulls(table.num_rows, pa.string())
    for name in id_columns(table.column_names):
        ids = plain_ids(table, name, where)
        prefix = "" if name == SURVEY_ID else name.removesuffix("id").rstrip("_") + "___"
        keys = pc.coalesce(keys, pc.binary_join_element_wise(prefix, ids, ""))
    return keys


def _lesser_ids(table: pa.Table, where: str) -> dict[int, pa.Array]:
    """Return the ids of all surveys but the first, by rank, as `survey_keys` writes them."""
    found: dict[int, pa.Array] = {}
    for name in id_columns(table.column_names):
        rank = next((rank for rank, survey in enumerate(SURVEYS) if name.startswith(survey)), 0)
        if rank:
            keys = survey_keys(table.select([name]), where=where)
            found[rank] = pc.coalesce(found[rank], keys) if rank in found else keys
    return dict(sorted(found.items()))


def survey_ids(table: pa.Table, *, where: str = "table") -> list[tuple[str, pa.Array]]:
    """Return every column of survey ids: survey (`SURVEY_ID` for that column), and ids such as ``Gaia 123``, any release.

    Raises
    ------
    DataError
        If a column of ids holds floats, which have lost the ids already.
    """
    found = []
    for name in id_columns(table.column_names):
        survey = next((survey for survey in SURVEYS if name.startswith(survey)), SURVEY_ID)
        ids = plain_ids(table, name, where)
        if survey == SURVEY_ID:
            ids = pc.replace_substring_regex(ids, rf"^({'|'.join(SURVEYS)})\w*?_{{2,3}}", r"\1 ")
        else:
            ids = pc.binary_join_element_wise(survey, ids, " ")
        found.append((survey, ids))
    return found


def id_columns(names: list[str]) -> tuple[str, ...]:
    """Return those of some columns that hold ids of surveys, in the order in which they count."""
    found = [(match[1], name) for name in names if (match := ID_COLUMN.fullmatch(name))]
    ranked = [name for survey in SURVEYS for found_in, name in found if found_in == survey]
    return (*((SURVEY_ID,) if SURVEY_ID in names else ()), *ranked)


def _resolved(table: pa.Table, by: StarKey, where: str) -> StarKey:
    """Return what is to be used, and check that the table has it."""
    names = table.column_names
    there: dict[StarKey, bool] = {
        "survey_id": bool(id_columns(names)),
        "source_id": "source_id" in names,
        "obj_id": "obj_id" in names,
        "position": {"ra", "dec"} <= set(names),
    }
    if by == "auto":
        found = next((kind for kind, is_there in there.items() if is_there), None)
        if found is None:
            raise MissingColumnError(f"{where} (to tell stars apart)", ["ra", "dec"], names)
        return found
    if by not in there:
        raise ConfigError(f"stars are told apart by one of {', '.join(get_args(StarKey))}, not {by!r}", key="by")
    if not there[by]:
        needed = {"position": ["ra", "dec"], "survey_id": ["Gaia_EDR3___id"]}.get(by, [by])
        raise MissingColumnError(f"{where} (to tell stars apart by {by})", needed, names)
    return by


def _keys(table: pa.Table, by: StarKey, where: str) -> pa.Array:
    """Return what each row's star is known by, string, null where it is known by its place."""
    if by == "survey_id":
        return survey_keys(table, where=where)
    return pa.nulls(table.num_rows, pa.string()) if by == "position" else plain_ids(table, by, where)


def plain_ids(table: pa.Table, name: str, where: str) -> pa.Array:
    """Return a column of ids as text, null where there is none: no value, 0, a negative number or `NO_ID`.

    Raises
    ------
    DataError
        If the column holds floats, which have lost the ids already.
    """
    column = one_chunk(table[name])
    if pa.types.is_null(column.type) or (
        pa.types.is_floating(column.type) and not pc.sum(pc.is_finite(column)).as_py()
    ):
        # So other programs write a column of whole numbers in which there is none.
        return pa.nulls(len(column), pa.string())
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    known = exact_ids(pc.drop_null(column), name, where=where)
    if not is_text:
        column = pc.if_else(pc.greater(column, pa.scalar(0, column.type)), column, pa.scalar(None, column.type))
        return column.cast(pa.string())
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()) if len(known) < len(column) else known)
    none = pc.match_substring_regex(trimmed, NO_ID, ignore_case=True)
    return pc.if_else(none, pa.scalar(None, pa.string()), trimmed)


def _positions(table: pa.Table, where: str, *, needed: bool) -> tuple[FloatArray, FloatArray]:
    """Return ra and dec [deg] of the rows, NaN where unknown."""
    if not {"ra", "dec"} <= set(table.column_names):
        unknown = np.full(table.num_rows, np.nan)
        return unknown, unknown.copy()
    columns = [one_chunk(table[name]).cast(pa.float64()).fill_null(float("nan")) for name in ("ra", "dec")]
    ra, dec = (column.to_numpy(zero_copy_only=False) for column in columns)
    known = ~(np.isnan(ra) | np.isnan(dec))
    wrong = np.flatnonzero((known & ~((ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90))) | (needed & ~known))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{where}: row {row + 1} is at ra={ra[row]:g} dec={dec[row]:g} ({len(wrong)} such rows); ra is 0 to 360 deg and"
            " dec -90 to 90 deg"
        )
    return np.where(known, ra, np.nan), np.where(known, dec, np.nan)


def _canonical(table: pa.Table, ra: FloatArray, dec: FloatArray) -> IntArray:
    """Return the order of rows by id, band, field and place, whatever their order in the table; int64 (n_rows,)."""
    columns = {name: one_chunk(table[name]) for name in ROW_IDS if name in table.column_names}
    plain = {
        name: column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for name, column in columns.items()
    }
    rows = pa.table({**plain, "ra": ra, "dec": dec})
    # What one column does not tell apart, the next one does.
    keys = [(name, "ascending") for name in rows.column_names]
    return np.asarray(pc.sort_indices(rows, sort_keys=keys), dtype=np.int64)


def _with_places(code: IntArray, n_keys: int, ra: FloatArray, dec: FloatArray, radius_arcsec: float) -> IntArray:
    """Give rows without a key (-1) a star too: their friends', and the nearest star's with a key if it is near."""
    star = code.copy()
    lost = np.flatnonzero(code < 0)
    if not len(lost):
        return star
    group = friends(ra[lost], dec[lost], radius_arcsec)
    n_groups = int(group.max()) + 1
    owner = np.full(n_groups, -1, dtype=np.int64)
    if n_keys and radius_arcsec > 0:
        known = code >= 0
        keyed = mean_positions(code[known], n_keys, ra[known], dec[known])
        placed = mean_positions(group, n_groups, ra[lost], dec[lost])
        owner = nearest(*placed, *keyed, radius_arcsec)
    star[lost] = np.where(owner >= 0, owner, n_keys + np.arange(n_groups))[group]
    return star


def _stars(
    star: IntArray,
    canonical: IntArray,
    names: pa.Array,
    code: IntArray,
    places: tuple[FloatArray, FloatArray],
    by: StarKey,
) -> Stars:
    """Return everything together, the stars numbered by their first row in canonical order."""
    number = np.full(int(star.max(initial=-1)) + 1, -1, dtype=np.int64)
    _, first = np.unique(star, return_index=True)
    first = np.sort(first)
    number[star[first]] = np.arange(len(first))
    star = number[star]
    # Stable: rows of a star stay in canonical order.
    order = np.argsort(star, kind="stable").astype(np.int64)
    starts = np.flatnonzero(np.diff(star[order], prepend=-1)).astype(np.int64)
    key_of = np.full(len(first), -1, dtype=np.int64)
    key_of[star[code >= 0]] = code[code >= 0]
    ra, dec = mean_positions(star, len(first), *places)
    of_rows = np.empty(len(canonical), dtype=np.int64)
    of_rows[canonical] = star
    return Stars(
        star=of_rows,
        order=canonical[order],
        starts=starts,
        key=names.take(pa.array(key_of, mask=key_of < 0)),
        ra=ra,
        dec=dec,
        by=by,
    )
