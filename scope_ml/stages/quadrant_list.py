"""Files that list quadrants, one a line: `field ccd quad`, or SCoPe's `slurm.dat` with a job number before them.

Tables may say how many light curves each has; SCoPe's `catalog_completeness` in JSON does. Used by
`stages.feature_targets`. May import `io`, core and errors only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

from scope_ml.errors import DataError, EmptySelectionError, FormatError, MissingColumnError, SchemaError, ScopeError
from scope_ml.io.parquet_files import require_file
from scope_ml.io.selection import Selection
from scope_ml.io.tables import FORMATS, read_foreign_table

__all__ = ["Quadrant", "QuadrantList", "read_quadrants"]

#: Columns of a table of quadrants, and what else they may be called.
COLUMNS = {"field": ("field",), "ccd": ("ccd",), "quad": ("quad", "quadrant")}

#: Column of how many light curves a quadrant has, which need not be there.
COUNT = "n_sources"

#: Missing job numbers that are counted, at most: a number with too many digits is no reason to count to it.
MOST_HOLES = 100_000

#: Missing job numbers that a warning lists.
N_NAMED = 5

#: Formats that are read as tables; everything else is text.
TABLES = {suffix for suffix, name in FORMATS.items() if name != "csv"}


class Quadrant(NamedTuple):
    """A quadrant of a detector, pointed at a field."""

    field: int
    ccd: int
    quad: int

    @property
    def key(self) -> str:
        """Return its name in folders, plans and ledgers: names sort as the numbers do."""
        return f"field_{self.field:06d}/ccd_{self.ccd:02d}_quad_{self.quad}"

    @property
    def selection(self) -> Selection:
        """Return its light curves."""
        return Selection(field=self.field, ccd=self.ccd, quad=self.quad)


@dataclass(frozen=True, kw_only=True)
class QuadrantList:
    """The quadrants of a file.

    Attributes
    ----------
    quadrants
        By the number that a job array uses: the job number of the line, or else 0, 1, 2, ... in the order of the file.
        Each quadrant stands there once.
    n_lines
        Lines (rows) with a quadrant; `n_duplicates` of them repeat one.
    n_sources
        Light curves of quadrants, as far as the file says.
    holes
        Job numbers between the first and the last that no line has.
    """

    quadrants: Mapping[int, Quadrant]
    n_lines: int
    n_sources: Mapping[Quadrant, int] = field(default_factory=dict)
    holes: tuple[int, ...] = ()

    @property
    def n_duplicates(self) -> int:
        """Return how many lines repeat a quadrant of an earlier line."""
        return self.n_lines - len(self.quadrants)

    def oddities(self) -> tuple[str, ...]:
        """Return what to wonder at, one line each."""
        lines = []
        if self.n_duplicates:
            lines.append(
                f"{self.n_duplicates} of {self.n_lines} lines repeat a quadrant; {len(self.quadrants)} distinct ones are made"
            )
        if self.holes:
            first = ", ".join(map(str, self.holes[:N_NAMED])) + (", ..." if len(self.holes) > N_NAMED else "")
            lines.append(
                f"{len(self.holes)} job numbers have no line: {first}; the {len(self.quadrants)} others are made"
            )
        n_empty = sum(not count for count in self.n_sources.values())
        if n_empty:
            lines.append(f"{n_empty} quadrants have no light curves by the list; their tables have no rows")
        return tuple(lines)


def read_quadrants(path: Path) -> QuadrantList:
    """Read a list of quadrants: text (spaces or commas, ``#`` comments, maybe a line of names), Parquet, HDF5 or JSON.

    JSON is what `check_quads` writes as SCoPe does: ``{field: {ccd: {quad: light curves}}}`` or ``{field: {ccd: [quads]}}``.

    Raises
    ------
    FormatError, MissingColumnError
        If it cannot be read.
    DataError
        If a line is malformed; the message has its number and what was seen.
    EmptySelectionError
        If it lists nothing.
    """
    suffix = path.suffix.lower()
    read = _table_lines if suffix in TABLES else _json_lines if suffix == ".json" else _text_lines
    lines = list(read(path))
    if not lines:
        raise EmptySelectionError(f"{path} lists no quadrant; write one a line: field ccd quad")
    return _listed(path, lines)


class _Line(NamedTuple):
    """One line: where it stands, the job number if it has one, the quadrant, its light curves if that is said."""

    where: str
    job: int | None
    quadrant: Quadrant
    n_sources: int | None = None


def _listed(path: Path, lines: Sequence[_Line]) -> QuadrantList:
    """Return the quadrants by number; the first of several equal ones counts."""
    with_job = [line for line in lines if line.job is not None]
    if with_job and len(with_job) != len(lines):
        odd = next(line for line in lines if line.job is None)
        raise DataError(
            f"{odd.where}: no job number, but other lines have one; write field ccd quad, or all with a number"
        )
    quadrants: dict[int, Quadrant] = {}
    n_sources: dict[Quadrant, int] = {}
    known: set[Quadrant] = set()
    for line in lines:
        if line.quadrant in known:
            continue
        known.add(line.quadrant)
        number = len(quadrants) if line.job is None else line.job
        if number in quadrants:
            raise DataError(f"{line.where}: job number {number} stands there twice; number the lines 0, 1, 2, ...")
        quadrants[number] = line.quadrant
        if line.n_sources is not None:
            n_sources[line.quadrant] = line.n_sources
    jobs = {line.job for line in with_job if line.job is not None}
    holes = _missing(jobs) if jobs else ()
    return QuadrantList(quadrants=quadrants, n_lines=len(lines), n_sources=n_sources, holes=holes)


def _missing(numbers: set[int]) -> tuple[int, ...]:
    """Return the whole numbers between the least and the largest that are not there, at most as many as there are."""
    ordered = sorted(numbers)
    gaps = (number for low, high in pairwise(ordered) for number in range(low + 1, high))
    return tuple(islice(gaps, MOST_HOLES))


def _text_lines(path: Path) -> Iterator[_Line]:
    require_file(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is not text ({error.reason}); write one quadrant a line: field ccd quad") from error
    order: list[int] | None = None
    first = True
    for number, line in enumerate(text.splitlines(), start=1):
        # Programs that write CSV put names in quotes, and some put numbers in them too.
        words = [word for word in re.split(r"""[\s,"']+""", line.partition("#")[0]) if word]
        if not words:
            continue
        where = f"{path}, line {number}"
        if first and not any(character.isdigit() for character in "".join(words)):
            order = _header(words, where)
        elif order is not None:
            yield _named(where, line, words, order)
        else:
            yield _parsed(where, line, words)
        first = False


def _named(where: str, line: str, words: Sequence[str], order: Sequence[int]) -> _Line:
    """Return a line whose words stand at the places `order`: field, ccd, quad, maybe light curves."""
    if len(words) <= max(order[:3]):
        return _parsed(where, line, words)
    parsed = _parsed(where, line, [words[at] for at in order[:3]])
    counted = order[3:] and len(words) > order[3] and words[order[3]].isascii() and words[order[3]].isdigit()
    return parsed._replace(n_sources=int(words[order[3]])) if counted else parsed


def _header(names: Sequence[str], where: str) -> list[int]:
    """Return the places of field, ccd and quad in a line of names, and of the light curves if it has them."""
    lower = [name.lower() for name in names]
    found = {name: [lower.index(one) for one in aliases if one in lower] for name, aliases in COLUMNS.items()}
    missing = [name for name, places in found.items() if not places]
    if missing:
        raise MissingColumnError(where, missing, names)
    return [*(places[0] for places in found.values()), *([lower.index(COUNT)] if COUNT in lower else [])]


def _parsed(where: str, line: str, words: Sequence[str]) -> _Line:
    if len(words) not in (3, 4) or not all(word.isascii() and word.isdigit() for word in words):
        raise DataError(f"{where}: '{line.strip()[:80]}' is not a quadrant; write field ccd quad, such as 250 1 2")
    numbers = [int(word) for word in words]
    return _Line(where, numbers[0] if len(numbers) == 4 else None, _checked(where, Quadrant(*numbers[-3:])))


def _checked(where: str, quadrant: Quadrant) -> Quadrant:
    try:
        _ = quadrant.selection
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    return quadrant


def _table_lines(path: Path) -> Iterator[_Line]:
    table = read_foreign_table(path)
    names = {name: [one for one in aliases if one in table.column_names] for name, aliases in COLUMNS.items()}
    missing = [name for name, found in names.items() if not found]
    if missing:
        raise MissingColumnError(str(path), missing, table.column_names)
    columns = [table[found[0]].to_pylist() for found in names.values()]
    counts = table[COUNT].to_pylist() if COUNT in table.column_names else [None] * table.num_rows
    for row, (*values, count) in enumerate(zip(*columns, counts, strict=True), start=1):
        where = f"{path}, row {row}"
        if not all(isinstance(value, int) for value in values):
            raise SchemaError(f"{where}: {tuple(values)} is not a quadrant; field, ccd and quad are whole numbers")
        yield _Line(where, None, _checked(where, Quadrant(*values)), count if isinstance(count, int) else None)


def _json_lines(path: Path) -> Iterator[_Line]:
    require_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for field_number, of_field in content.items():
            for ccd, quads in of_field.items():
                for quad in quads:
                    where = f"{path}, {field_number}/{ccd}/{quad}"
                    count = quads[quad] if isinstance(quads, dict) else None
                    yield _Line(where, None, _checked(where, Quadrant(int(field_number), int(ccd), int(quad))), count)
    except (ValueError, TypeError, AttributeError) as error:
        if isinstance(error, ScopeError):
            raise
        raise FormatError(
            f"{path} is no list of quadrants ({error}); JSON is {{field: {{ccd: {{quad: light curves}}}}}}, as check_quads"
            " writes it"
        ) from error
