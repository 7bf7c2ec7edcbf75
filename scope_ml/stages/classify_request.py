"""The stars that `classify` is asked about: one on the command line or those of a file, each with a name, as one table.

The table is written beside the results as ``asked.parquet`` and read by the stages like any file of sources. May import
`requested_sources`, io, core and errors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from scope_ml.core.configuration import option
from scope_ml.core.provenance import TableMetadata
from scope_ml.core.sexagesimal import degrees, iau_name
from scope_ml.errors import ConfigError, DataError
from scope_ml.io.selection import Positions, Selection
from scope_ml.io.tables import write_table
from scope_ml.stages.requested_sources import Request, read_request

__all__ = ["Asked", "ask", "folder_name", "write_asked"]

#: Characters that stand in the name of a folder as they are.
UNSAFE = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which stars are wanted: `ra` and `dec`, or `id`, or a file."""

    ra: float | str | None = option(
        None, unit="deg", doc="right ascension of one star: degrees, or hours as 19:52:00.6", machine=True
    )
    dec: float | str | None = option(
        None, unit="deg", doc="declination of one star: degrees, also as +29:52:17.3", machine=True
    )
    id: int | str | None = option(None, doc="one light curve by its id, instead of a position", machine=True)
    name: str | None = option(None, doc="what the one star is called; null: a name made of its position", machine=True)
    path: str | None = option(
        None, doc="many: .csv, .parquet or .h5 with ra, dec, or with ztf_id; maybe names", machine=True
    )

    def __post_init__(self) -> None:
        """Check that exactly one way to ask is used.

        Raises
        ------
        ConfigError
            If it is not; the message says what to type.
        """
        by_place = self.ra is not None or self.dec is not None
        ways = [
            way
            for way, given in (("ra and dec", by_place), ("id", self.id is not None), ("path", bool(self.path)))
            if given
        ]
        if not ways:
            raise ConfigError(
                "no star is named; give ra=298.0025 dec=29.87147, id=LIGHT_CURVE or path=stars.csv", key="path"
            )
        if len(ways) > 1:
            raise ConfigError(f"both {' and '.join(ways)} say which stars; give one of them", key="path")
        if by_place and (self.ra is None or self.dec is None):
            lacking = "ra" if self.ra is None else "dec"
            raise ConfigError(f"a position has two numbers; give {lacking}=... too", key=lacking)
        if self.path and self.name is not None:
            raise ConfigError("name= is of one star; names of a file stand in its column name", key="name")

    def place(self) -> tuple[float, float] | None:
        """Return the position of the one star [deg], if it is asked for by one.

        Raises
        ------
        ConfigError
            If it is none.
        """
        if self.ra is None or self.dec is None:
            return None
        try:
            return degrees(self.ra, "ra"), degrees(self.dec, "dec")
        except DataError as error:
            raise ConfigError(str(error), key="dec" if str(error).startswith("dec") else "ra") from error


def ask(asked: Asked, *, radius_arcsec: float) -> Request:
    """Return the stars with a name each, and the light curves that are looked for.

    A star without a name is called by its position (`iau_name`), or ``ZTF_<id>`` where it has none.

    Raises
    ------
    ConfigError
        If the position of one star is none.
    ScopeError
        If the file cannot be used (`read_request`).
    """
    if asked.path:
        found = read_request(Path(asked.path), radius_arcsec=radius_arcsec)
        sources = _named(found.sources)
        return Request(
            selection=found.selection, sources=sources, n_asked=found.n_asked, n_duplicates=found.n_duplicates
        )
    place = asked.place()
    columns: dict[str, Any] = {}
    if place is None:
        columns["id"] = pa.array([asked.id])
        selection = Selection(ids=columns["id"])
    else:
        columns |= {"ra": [place[0]], "dec": [place[1]]}
        ra, dec = (pa.array(columns[name]).to_numpy() for name in ("ra", "dec"))
        selection = Selection(positions=Positions(ra, dec, radius_arcsec))
    columns |= {"name": pa.array([asked.name], pa.string())}
    return Request(selection=selection, sources=_named(pa.table(columns)), n_asked=1, n_duplicates=0)


def folder_name(asked: Asked, request: Request) -> str:
    """Return what the folder of the results is called: the star's name, or that of the file."""
    name = Path(asked.path).stem if asked.path else str(request.sources["name"][0].as_py())
    return UNSAFE.sub("_", name).strip(".") or "star"


def write_asked(request: Request, path: Path) -> None:
    """Write the stars as a table that `read_request` reads as the same request.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    write_table(request.sources, path, TableMetadata(kind="asked_sources"))


def _named(sources: pa.Table) -> pa.Table:
    """Return the stars with a name in each row."""
    names = sources["name"].to_pylist() if "name" in sources.column_names else [None] * sources.num_rows
    rows = sources.to_pylist()
    made = [name or _made_name(row) for name, row in zip(names, rows, strict=True)]
    column = pa.array(made, pa.string())
    if "name" in sources.column_names:
        return sources.set_column(sources.column_names.index("name"), "name", column)
    return sources.append_column("name", column)


def _made_name(row: dict[str, Any]) -> str:
    ra, dec = row.get("ra"), row.get("dec")
    if ra is None or dec is None:
        return f"ZTF_{row['id']}"
    try:
        return iau_name(ra % 360.0, dec)
    except DataError:
        # Where there are ids, positions are only repeated, and may be nonsense.
        return f"ZTF_{row['id']}"
