"""VOTables of one TABLEDATA, read with the standard library's parser, which is given no chance to do more than read.

A document type, an entity or a processing of anything outside is refused: XML from a network may otherwise swell to
gigabytes or ask for files. May import errors only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.parsers import expat

import pyarrow as pa

from scope_ml.errors import QueryRefusedError, ReplyError

__all__ = ["read_votable"]

#: Status words of a reply that is no whole answer.
BAD_STATUS = ("ERROR", "OVERFLOW")

#: Cells that hold no number.
NOTHING = frozenset({"", "null", "NaN", "nan"})


class _Table:
    """Takes the parser's events and keeps the cells of the wanted columns."""

    def __init__(self, wanted: Mapping[str, pa.DataType]) -> None:
        self._wanted = wanted
        self._names: list[str] = []
        self._nulls: dict[str, str] = {}
        self._text: list[str] | None = None
        self._status = ""
        self._row: list[str] = []
        self._n_tables = 0
        self.cells: dict[str, list[str]] = {}
        self.closed = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Begin an element."""
        name = _local(tag)
        if name == "INFO" and attributes.get("name") == "QUERY_STATUS":
            self._status, self._text = attributes.get("value", ""), []
        elif name == "FIELD" and self._n_tables == 1:
            self._names.append((attributes.get("name") or attributes.get("ID") or "").lower())
        elif name == "VALUES" and "null" in attributes and self._names:
            self._nulls[self._names[-1]] = attributes["null"]
        elif name == "TABLE":
            self._n_tables += 1
            if self._n_tables > 1:
                raise ReplyError("the VOTable holds more than one table")
        elif name == "DATA":
            self.cells = {one: [] for one in self._wanted if one in self._names}
        elif name in ("BINARY", "BINARY2", "FITS"):
            raise ReplyError(f"the VOTable holds {name}, not TABLEDATA; give service.irsa.format=csv")
        elif name == "TR":
            self._row = []
        elif name == "TD":
            self._text = []

    def end(self, tag: str) -> None:
        """End an element."""
        name = _local(tag)
        if name == "TD" and self._text is not None:
            self._row.append("".join(self._text).strip())
            self._text = None
        elif name == "TR":
            self._take_row()
        elif name == "INFO" and self._text is not None:
            said = " ".join("".join(self._text).split())
            self._text = None
            if self._status.upper() in BAD_STATUS:
                raise QueryRefusedError(f"IRSA says {self._status}: {said[:200] or 'nothing more'}")
        elif name == "VOTABLE":
            self.closed = True

    def text(self, data: str) -> None:
        """Take characters."""
        if self._text is not None:
            self._text.append(data)

    def _take_row(self) -> None:
        if len(self._row) != len(self._names):
            raise ReplyError(f"a row of the VOTable has {len(self._row)} cells for {len(self._names)} columns")
        for name, cell in zip(self._names, self._row, strict=True):
            if name in self.cells:
                nothing = cell in NOTHING or cell == self._nulls.get(name)
                self.cells[name].append("" if nothing else cell)


def read_votable(body: bytes, wanted: Mapping[str, pa.DataType]) -> pa.Table:
    """Return the wanted columns that a VOTable has, by lower-case names; an empty cell is null.

    Parameters
    ----------
    body
        The document.
    wanted
        Type of each column: integer, floating or string.

    Raises
    ------
    ReplyError
        If it is no VOTable with one TABLEDATA, does not end, declares a document type or entities, or a cell is not of
        its column's type.
    QueryRefusedError
        If it says that the query failed.
    """
    table = _Table(wanted)
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = table.start, table.end
    parser.CharacterDataHandler = table.text
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.SkippedEntityHandler = _refuse
    parser.ExternalEntityRefHandler = _refuse_file
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise ReplyError(f"the reply is no VOTable, or was cut ({error})") from error
    if not table.closed:
        raise ReplyError("the reply is XML, but no VOTable")
    return pa.table({name: _column(name, table.cells[name], wanted[name]) for name in table.cells})


def _refuse(*_: Any) -> None:
    raise ReplyError(
        "the VOTable declares a document type or entities, which are not read; give service.irsa.format=csv"
    )


def _refuse_file(*_: Any) -> int:
    _refuse()
    return 0


def _local(tag: str) -> str:
    return tag.rpartition(":")[2]


def _column(name: str, cells: list[str], dtype: pa.DataType) -> pa.Array:
    try:
        if pa.types.is_integer(dtype):
            # Through Python's whole numbers: a 64-bit id never passes through a float.
            return pa.array([int(cell) if cell else None for cell in cells], dtype)
        if pa.types.is_floating(dtype):
            return pa.array([float(cell) if cell else None for cell in cells], dtype)
    except (ValueError, OverflowError, pa.ArrowInvalid) as error:
        raise ReplyError(f"column {name} of the VOTable cannot be read as {dtype} ({error})") from error
    return pa.array([cell or None for cell in cells], dtype)
