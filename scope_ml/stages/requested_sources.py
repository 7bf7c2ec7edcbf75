"""Sources that are asked for one by one: a file of light-curve ids, or of positions, and what became of each.

Used by `stages.feature_targets`. May import `io`, core and errors only.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import exact_ids, one_chunk
from scope_ml.core.sexagesimal import Axis, degrees
from scope_ml.errors import DataError, EmptySelectionError, SchemaError
from scope_ml.io.scope_files import read_id_folder
from scope_ml.io.selection import Positions, Selection, nearest_positions, positions_within
from scope_ml.io.tables import read_foreign_table, table_columns

__all__ = ["Accounting", "Request", "positions_of", "read_request"]

#: What columns may be called, as SCoPe and its users do; where a file has several, the first of the list counts.
IDS = ("ztf_id", "ztfid", "ZTFID", "_id", "id")
RA = ("ra", "RA", "R.A.", "r.a.", "radeg", "ra_deg")
DEC = ("dec", "DEC", "Dec.", "Decl.", "dedeg", "de_deg")
NAMES = ("fritz_name", "obj_id", "OBJ_ID", "object_id", "objectID", "name")

AXES: tuple[Axis, Axis] = ("ra", "dec")

#: SCoPe's column of positions: {radec_geojson: {coordinates: [ra - 180, dec]}} [deg].
COORDINATES = "coordinates"

#: Why a source is not found, where nothing more is known.
NOT_THERE = "no light curve in the source"

#: Text that was a number once and went through a float.
ROUNDED = r"^[+-]?(\d+\.\d*|\d+(\.\d*)?[eE][+-]?\d+)$"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Accounting:
    """What became of the sources that were asked for; `asked` = `duplicates` + `found` + rows of `not_found`.

    Attributes
    ----------
    asked
        Rows of the file.
    duplicates
        Rows that repeat an id, or a position where there are no ids.
    found
        Distinct sources of which the source of light curves has at least one.
    not_found
        The others: `id` (where ids were given), `name` (where names were), `ra`, `dec` [deg] (where positions were), and
        `reason` (where reasons are told).
    """

    asked: int
    duplicates: int
    found: int
    not_found: pa.Table


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """Sources that are asked for by id or, where the file has no ids, by position.

    Attributes
    ----------
    selection
        Their light curves.
    sources
        One row for each distinct source, in the order of the file: those of `id` (int64 or string), `name` (string),
        `ra`, `dec` [deg] that the file has.
    n_asked, n_duplicates
        Rows of the file, and how many of them repeat another.
    warnings
        What to wonder at in the file, one line each.
    """

    selection: Selection
    sources: pa.Table
    n_asked: int
    n_duplicates: int
    warnings: tuple[str, ...] = ()

    @property
    def named(self) -> bool:
        """Whether the file has names."""
        return "name" in self.sources.column_names

    def found(self, rows: pa.Table) -> npt.NDArray[np.bool_]:
        """Return which of `sources` have a light curve among `rows`, shape (n_sources,); join those of pieces by ``|=``.

        `rows` has `id`, and `ra` and `dec` [deg] where positions are asked for, as the rows of a `Chunk` do.
        """
        hit = np.zeros(self.sources.num_rows, dtype=bool)
        if self.selection.ids is not None:
            at = self.index_of(rows)
            hit[at[at >= 0]] = True
        elif self.selection.positions is not None:
            # A star may be near several positions; each of them has found it.
            hit[positions_within(self.selection.tree, *_ra_dec(rows), self.selection.positions.radius_arcsec)] = True
        return hit

    def account(
        self, found: npt.NDArray[np.bool_] | pa.Table, reasons: Sequence[str | None] | None = None
    ) -> Accounting:
        """Return what became of each source, given what `found` returned, or all rows at once.

        With `reasons`, one a source, those that were not found have a column `reason`; None stands for `NOT_THERE`.
        """
        hit = self.found(found) if isinstance(found, pa.Table) else found
        sources = self.sources
        if reasons is not None:
            told = [NOT_THERE if reason is None else reason for reason in reasons]
            sources = sources.append_column("reason", pa.array(told, pa.string()))
        not_found = sources.filter(pa.array(~hit))
        return Accounting(asked=self.n_asked, duplicates=self.n_duplicates, found=int(hit.sum()), not_found=not_found)

    def reasons(self, missing: pa.Table) -> list[str | None]:
        """Return for each of `sources` why it has no light curve, None where `missing` does not say.

        `missing` has `reason` of each light curve that was asked for in vain, and its `id`, or where positions are
        asked for its `ra` and `dec` [deg].
        """
        told: list[str | None] = [None] * self.sources.num_rows
        if not missing.num_rows:
            return told
        if self.selection.positions is None:
            places = [[at] if at >= 0 else [] for at in self.index_of(missing).tolist()]
        else:
            places = [self._places_near(ra, dec) for ra, dec in zip(*_ra_dec(missing), strict=True)]
        for at, reason in zip(places, missing["reason"].to_pylist(), strict=True):
            for place in at:
                told[place] = told[place] or reason
        return told

    def _places_near(self, ra: float, dec: float) -> list[int]:
        """Return the sources within the radius of one position [deg]."""
        assert self.selection.positions is not None
        at = np.array([ra]), np.array([dec])
        near: list[int] = positions_within(self.selection.tree, *at, self.selection.positions.radius_arcsec).tolist()
        return near

    def names_of(self, rows: pa.Table) -> pa.Array:
        """Return the name of each light curve of `rows` (string, null if unknown): by id, or of the nearest position."""
        if not self.named:
            return pa.nulls(rows.num_rows, pa.string())
        at = self.index_of(rows)
        return one_chunk(self.sources["name"]).take(pa.array(at, mask=at < 0))

    def index_of(self, rows: pa.Table) -> npt.NDArray[np.int64]:
        """Return the source of each row, shape (n,), or -1; the nearest where positions are asked for."""
        if self.selection.positions is not None:
            return nearest_positions(self.selection.tree, *_ra_dec(rows), self.selection.positions.radius_arcsec)
        ids = exact_ids(rows["id"], "id", where="found light curves")
        if pa.types.is_string(ids.type) or pa.types.is_string(self.sources.schema.field("id").type):
            texts = ids.cast(pa.string()).to_pylist()
            return np.array([self._place_of_text.get(text, -1) for text in texts], dtype=np.int64)
        numbers, order = self._sorted
        values = ids.to_numpy()
        at = np.minimum(np.searchsorted(numbers, values), len(numbers) - 1)
        return np.where(numbers[at] == values, order[at], -1)

    @cached_property
    def _place_of_text(self) -> dict[str, int]:
        return {text: place for place, text in enumerate(self.sources["id"].cast(pa.string()).to_pylist())}

    @cached_property
    def _sorted(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        numbers = self.sources["id"].to_numpy()
        order = np.argsort(numbers)
        return numbers[order], order


def read_request(path: Path, *, radius_arcsec: float) -> Request:
    """Read a file of ids or positions: Parquet, CSV or HDF5 with any of the columns `IDS`, `RA`, `DEC`, `NAMES`.

    A folder is read as the lists of ids in it, such as `get_quad_ids` writes.

    Parameters
    ----------
    radius_arcsec
        How far a light curve may be from an asked position [arcsec]; of no account where there are ids.

    Raises
    ------
    FormatError
        If the file cannot be read.
    SchemaError
        If it has neither ids nor positions.
    DataError
        If an id or a position is missing or not one, or ids went through a float.
    EmptySelectionError
        If it has no rows.
    """
    if path.is_dir():
        folder = read_id_folder(path)
        whole = _request(path, pa.table({"id": folder.ids}), radius_arcsec)
        n_asked = whole.n_asked + folder.n_repeated
        return replace(whole, n_asked=n_asked, n_duplicates=folder.n_repeated, warnings=folder.warnings)
    available = table_columns(path)
    id_name, ra_name, dec_name, name = (_first(options, available) for options in (IDS, RA, DEC, NAMES))
    geo_name = COORDINATES if COORDINATES in available and not (ra_name and dec_name) else None
    if not (id_name or geo_name or (ra_name and dec_name)):
        raise SchemaError(
            f"{path} has neither ids ({', '.join(IDS)}) nor positions (ra and dec, or coordinates); it has:"
            f" {', '.join(available[:12]) or 'nothing'}"
        )
    positions = (geo_name,) if geo_name else (ra_name, dec_name) if ra_name and dec_name else ()
    data = read_foreign_table(path, [one for one in (id_name, *positions, name) if one])
    if not data.num_rows:
        raise EmptySelectionError(f"{path} has no rows; give one source a row")
    columns: dict[str, pa.Array] = {}
    if id_name:
        columns["id"] = _ids(data[id_name], id_name, path)
    if name:
        columns["name"] = _names(data[name], name, path)
    if positions:
        # Where there are ids, positions are only repeated in the list of what was not found: any that are none are null.
        ra, dec = (
            _geo(data[geo_name], path, needed=not id_name)
            if geo_name
            else (
                _degrees(data[one], one, axis, path, needed=not id_name)
                for one, axis in zip(positions, AXES, strict=True)
            )
        )
        columns |= {"ra": pa.array(ra, from_pandas=True), "dec": pa.array(dec, from_pandas=True)}
    return _request(path, pa.table(columns), radius_arcsec)


def positions_of(data: pa.Table, path: Path) -> tuple[Floats, Floats]:
    """Return right ascension and declination [deg] of each row, in any of the columns `RA`, `DEC` or SCoPe's `coordinates`.

    Parameters
    ----------
    data
        A table.
    path
        Where it comes from, for messages.

    Returns
    -------
    ra, dec
        float64 (n,), NaN where a row has none; whether they are on the sky is not checked.

    Raises
    ------
    SchemaError
        If it has no such columns.
    """
    ra_name, dec_name = (_first(options, data.column_names) for options in (RA, DEC))
    if ra_name and dec_name:
        ra, dec = (
            _degrees(data[name], name, axis, path, needed=False)
            for name, axis in zip((ra_name, dec_name), AXES, strict=True)
        )
        return ra, dec
    if COORDINATES in data.column_names:
        return _geo(data[COORDINATES], path, needed=False)
    raise SchemaError(
        f"{path} has no positions (ra and dec, or coordinates); it has: {', '.join(data.column_names[:12]) or 'nothing'}"
    )


def _request(path: Path, asked: pa.Table, radius_arcsec: float) -> Request:
    by_id = "id" in asked.column_names
    try:
        # Before repeated rows are left out, so that the row of a bad position is that of the file.
        whole = None if by_id else Positions(asked["ra"].to_numpy(), asked["dec"].to_numpy(), radius_arcsec)
        Selection(positions=whole)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    keys = asked.select(["id"] if by_id else ["ra", "dec"])
    numbered = keys.append_column("row", pa.array(np.arange(asked.num_rows)))
    firsts = numbered.group_by(keys.column_names, use_threads=False).aggregate([("row", "min")])["row_min"]
    sources = asked.take(firsts.sort())
    if by_id:
        selection = Selection(ids=one_chunk(sources["id"]))
    else:
        selection = Selection(positions=Positions(sources["ra"].to_numpy(), sources["dec"].to_numpy(), radius_arcsec))
    return Request(
        selection=selection,
        sources=sources,
        n_asked=asked.num_rows,
        n_duplicates=asked.num_rows - sources.num_rows,
    )


def _first(options: Sequence[str], available: Sequence[str]) -> str | None:
    return next((one for one in options if one in available), None)


def _ids(column: pa.ChunkedArray, name: str, path: Path) -> pa.Array:
    ids = exact_ids(column, name, where=str(path))
    if pa.types.is_string(ids.type):
        wrong = pc.indices_nonzero(pc.match_substring_regex(ids, ROUNDED))
        if len(wrong):
            row = wrong[0].as_py()
            raise DataError(
                f"{path}: column '{name}' has '{ids[row].as_py()}' in row {row + 1}, which went through a float and is no"
                " exact id; write the ids as whole numbers or text"
            )
    return ids


def _names(column: pa.ChunkedArray, name: str, path: Path) -> pa.Array:
    try:
        return one_chunk(column).cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{path}: column '{name}' is {column.type}, which is no text ({error})") from error


def _degrees(column: pa.ChunkedArray, name: str, axis: Axis, path: Path, *, needed: bool) -> Floats:
    values = one_chunk(column)
    # A reader of CSV takes 12:30:00 for a time of day.
    if pa.types.is_time(values.type) or pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return _sexagesimal(values.cast(pa.string()), name, axis, path, needed=needed)
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type) or pa.types.is_null(values.type)):
        if not needed:
            return np.full(len(values), np.nan)
        raise DataError(f"{path}: column '{name}' is {values.type}; positions are decimal degrees, such as 41.5")
    return np.asarray(values.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False))


def _sexagesimal(texts: pa.Array, name: str, axis: Axis, path: Path, *, needed: bool) -> Floats:
    """Return coordinates [deg] of texts such as ``19:52:00.6`` or ``298.0025``."""
    values = np.full(len(texts), np.nan)
    for row, text in enumerate(texts.to_pylist()):
        try:
            values[row] = np.nan if text is None else degrees(text, axis)
        except DataError as error:
            if needed:
                raise DataError(f"{path}: column '{name}' in row {row + 1}: {error}") from error
    return values


def _geo(column: pa.ChunkedArray, path: Path, *, needed: bool) -> tuple[Floats, Floats]:
    """Return right ascension and declination [deg] of SCoPe's column of positions, a struct or its text."""
    values = one_chunk(column)
    pairs = np.full((len(values), 2), np.nan)
    text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    if not (text or pa.types.is_struct(values.type)) and needed:
        raise DataError(f"{path}: column '{COORDINATES}' is {values.type}; give columns ra and dec [deg]")
    for row, value in enumerate(values.to_pylist()):
        pair = _pair(_literal(value) if text else value)
        if pair is None and needed:
            raise DataError(
                f"{path}: column '{COORDINATES}' has {str(value)[:80]!r} in row {row + 1}, which is not"
                " {radec_geojson: {coordinates: [ra - 180, dec]}}; give columns ra and dec [deg]"
            )
        pairs[row] = pair or np.nan
    return pairs[:, 0] + 180.0, pairs[:, 1]


def _literal(text: str | None) -> Any:
    """Return what a text says as Python or JSON; None if it says nothing."""
    try:
        return ast.literal_eval(re.sub(r"\bnull\b", "None", text or "None"))
    except (ValueError, SyntaxError):
        return None


def _pair(value: Any) -> tuple[float, float] | None:
    for key in ("radec_geojson", "coordinates"):
        value = value.get(key) if isinstance(value, dict) else None
    is_pair = isinstance(value, (list, tuple)) and len(value) == 2
    if not is_pair or not all(isinstance(one, (int, float)) for one in value):
        return None
    return float(value[0]), float(value[1])


def _ra_dec(rows: pa.Table) -> tuple[Floats, Floats]:
    """Return the positions of rows [deg]; a null is NaN, and near nothing."""
    ra, dec = (one_chunk(rows[name]).cast(pa.float64()).fill_null(np.nan) for name in ("ra", "dec"))
    return ra.to_numpy(zero_copy_only=False), dec.to_numpy(zero_copy_only=False)
