"""A file of sources to be looked for on Fritz: names, positions or both, and what is wrong with a row.

May import `requested_sources` for what columns may be called, io, core and errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from scope_ml.core.sexagesimal import Axis, degrees
from scope_ml.errors import DataError, EmptySelectionError, SchemaError
from scope_ml.io.tables import read_foreign_table, table_columns
from scope_ml.stages.requested_sources import DEC, RA

__all__ = ["AskedRow", "read_rows"]

#: What the column of names may be called; the first that is there counts.
NAMES = ("obj_id", "fritz_name", "OBJ_ID", "object_id", "objectID", "name")

#: Why a row cannot be asked for, in words of a report.
WITHOUT, BAD_POSITION = "no_name_and_no_position", "no_place_on_the_sky"


@dataclass(frozen=True, kw_only=True)
class AskedRow:
    """One row of the file: its number from 0, its source's name and position [deg] where it has them.

    `reason` says why it cannot be asked for, "" where it can; `detail` what is wrong with its name or position.
    """

    number: int
    obj_id: str | None = None
    ra: float | None = None
    dec: float | None = None
    reason: str = ""
    detail: str = ""


def read_rows(path: Path, *, start: int) -> tuple[list[AskedRow], pa.Table]:
    """Read a file of sources: Parquet, HDF5 or CSV.

    Parameters
    ----------
    path
        With a column of names (`NAMES`), or with ``ra`` and ``dec`` (decimal degrees or sexagesimal), or with both.
    start
        Rows to leave out at the beginning.

    Returns
    -------
    tuple
        What the rows say, and the table as it is; rows are numbered as in the file.

    Raises
    ------
    FormatError
        If it cannot be read.
    SchemaError
        If it has neither names nor positions.
    EmptySelectionError
        If it has no rows behind `start`.
    """
    available = table_columns(path)
    name, ra, dec = (next((one for one in known if one in available), None) for known in (NAMES, RA, DEC))
    if name is None and (ra is None or dec is None):
        raise SchemaError(
            f"{path} has neither names of sources (obj_id) nor positions (ra and dec); it has:"
            f" {', '.join(available[:12]) or 'nothing'}"
        )
    table = read_foreign_table(path, readable_only=True, texts=(name,) if name else ())
    if table.num_rows <= start:
        raise EmptySelectionError(
            f"{path} has {table.num_rows} rows, none from start={start} on; give one source a row"
        )
    columns = [_values(table, one) for one in (name, ra if dec else None, dec if ra else None)]
    rows = [_row(number, *values) for number, values in enumerate(zip(*columns, strict=True)) if number >= start]
    return rows, table


def _values(table: pa.Table, name: str | None) -> Sequence[Any]:
    if name is None:
        return [None] * table.num_rows
    column = table[name]
    # A reader of CSV takes 12:30:00 for a time of day.
    values: list[Any] = (column.cast(pa.string()) if pa.types.is_time(column.type) else column).to_pylist()
    return values


def _row(number: int, name: Any, ra: Any, dec: Any) -> AskedRow:
    obj_id = None if name is None or str(name).strip().casefold() in ("", "nan", "none") else str(name).strip()
    places = {}
    detail = ""
    for axis, value in _axes(ra, dec):
        try:
            places[axis] = degrees(value, axis)
        except DataError as error:
            detail = detail or str(error)
    known = len(places) == 2
    reason = "" if obj_id or known else BAD_POSITION if detail else WITHOUT
    return AskedRow(
        number=number,
        obj_id=obj_id,
        ra=places["ra"] if known else None,
        dec=places["dec"] if known else None,
        reason=reason,
        detail=detail or ("neither a name nor a position" if reason else ""),
    )


def _axes(ra: Any, dec: Any) -> list[tuple[Axis, float | str]]:
    """Return the coordinates that a row has; text without a letter of it and NaN count as none."""
    pairs: list[tuple[Axis, Any]] = [("ra", ra), ("dec", dec)]
    return [
        (axis, value) for axis, value in pairs if value is not None and str(value).strip().casefold() not in ("", "nan")
    ]
