"""The plan of changes as a table: looking at all sources, one row a step, and the way back from the table to the steps.

Written and read in pieces, so that memory does not grow with the sources. May import services, `io`, core and errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.spatial import cKDTree

from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import TableMetadata
from scope_ml.core.sphere import chord, unit_vectors
from scope_ml.errors import CredentialError, ReplyError, ScopeError, ServiceTimeoutError, ServiceUnavailableError
from scope_ml.io.atomic import atomic_path
from scope_ml.io.parquet_files import ParquetTableWriter, open_parquet
from scope_ml.io.tables import described, plain_schema, read_batches
from scope_ml.services.fritz import planning
from scope_ml.services.fritz.looking import look
from scope_ml.services.fritz.rounds import in_order
from scope_ml.services.fritz.tasks import MOST_OUTAGES, Outages, Task
from scope_ml.services.fritz.wanted import Wanted

__all__ = ["LEFT", "NOTHING", "REFUSED", "PlanRow", "PlanTable", "make_plan"]

#: Kinds of rows of sources without steps.
NOTHING, REFUSED, LEFT = "nothing", "refused", "left"

#: Rows of a plan that are written or read at a time.
PIECE = 4096

SCHEMA = pa.schema(
    [
        pa.field("source", pa.int64()),
        pa.field("key", pa.string()),
        pa.field("obj_id", pa.string()),
        pa.field("is_new", pa.bool_()),
        pa.field("kind", pa.string()),
        pa.field("what", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("author", pa.string()),
        pa.field("remote_id", pa.int64()),
        pa.field("reason", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """A step of a source, or that it has none.

    Attributes
    ----------
    source
        Place of the source among those that are wanted, from 0.
    key, obj_id
        What the user calls it, and what the service does, or will.
    is_new
        Whether it is to be made.
    kind, what, detail, author, remote_id
        As a `planning.Step` has them; ``nothing``, ``refused`` and ``left`` besides.
    reason
        Why it is refused or left.
    """

    source: int
    key: str
    obj_id: str
    is_new: bool = False
    kind: str
    what: str = ""
    detail: str = ""
    author: str = ""
    remote_id: int | None = None
    reason: str = ""

    @property
    def is_step(self) -> bool:
        """Return whether something is to be done."""
        return self.kind not in (NOTHING, REFUSED, LEFT)


@dataclass(kw_only=True)
class PlanTable:
    """A plan that was written.

    Attributes
    ----------
    path
        The table.
    counts
        Rows by kind.
    authors
        Classifications that go, by author.
    n_sources, n_changed
        Sources, and those with steps.
    first
        The first rows with something to say.
    refusals
        The first reasons why sources are refused, with their keys.
    owners
        Names of sources by key.
    """

    path: Path
    counts: Counter[str] = field(default_factory=Counter)
    authors: Counter[str] = field(default_factory=Counter)
    n_sources: int = 0
    n_changed: int = 0
    first: list[PlanRow] = field(default_factory=list)
    refusals: list[PlanRow] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)

    @property
    def n_steps(self) -> int:
        """Return the steps of all sources."""
        return sum(self.counts[kind] for kind in planning.KINDS)

    def sources(self) -> Iterator[list[PlanRow]]:
        """Yield the rows of one source after the other.

        Raises
        ------
        FormatError
            If the table was changed since it was written.
        """
        yield from _by_source(_rows_of(read_batches(self.path, SCHEMA.names, n_rows=PIECE)))


def make_plan(
    task: Task, wanted: Sequence[Wanted], path: Path, metadata: TableMetadata, *, n_first: int, progress: Progress
) -> PlanTable:
    """Look at all sources and write what has to be done.

    Parameters
    ----------
    task
        The service, the rules, and what a journal knows.
    wanted
        How sources should be.
    path
        Parquet file to write.
    metadata
        Its record.
    n_first
        Rows to keep for showing.

    Raises
    ------
    ServiceError
        If the service is down.
    OutputError
        If the table cannot be written.
    """
    looks = _Looks(task, wanted)
    with atomic_path(path.with_name(f"{path.stem}.rows")) as rows:
        writer, record = ParquetTableWriter(rows, SCHEMA, gather=True), None
        try:
            for piece in _pieces(looks.rows(progress)):
                writer.write(piece)
            record = ""
        finally:
            writer.close(record)
        table = PlanTable(path=path, owners=looks.owners)
        with atomic_path(path) as final:
            _write_final(table, rows, final, looks.refused(), metadata, n_first)
    path.with_name(f"{path.stem}.rows").unlink(missing_ok=True)
    return table


def _write_final(
    table: PlanTable, rows: Path, final: Path, refused: Mapping[int, str], metadata: TableMetadata, n_first: int
) -> None:
    """Write the rows anew, those of refused sources replaced, and count them."""

    def checked() -> Iterator[PlanRow]:
        with open_parquet(rows) as file:
            batches = (pa.Table.from_batches([batch]) for batch in file.iter_batches(batch_size=PIECE))
            for looked_at in _by_source(_rows_of(batches)):
                reason = refused.get(looked_at[0].source)
                of_source = looked_at if reason is None else [_bare(looked_at[0], REFUSED, reason)]
                _count(table, of_source, n_first)
                yield from of_source

    writer, record = ParquetTableWriter(final, SCHEMA, gather=True), None
    try:
        for piece in _pieces(checked()):
            writer.write(piece)
        record = described(metadata, plain_schema(SCHEMA, ()), writer.n_rows).to_json()
    finally:
        writer.close(record)


def _count(table: PlanTable, rows: Sequence[PlanRow], n_first: int) -> None:
    table.n_sources += 1
    table.n_changed += any(row.is_step for row in rows)
    table.counts.update(row.kind for row in rows)
    table.authors.update(row.author or "unknown" for row in rows if row.kind == "delete")
    table.first += [row for row in rows if row.kind != NOTHING][: max(0, n_first - len(table.first))]
    table.refusals += [row for row in rows if row.kind == REFUSED][: max(0, 3 - len(table.refusals))]


class _Looks:
    """Looks at all sources, some at a time, and finds out whether two are one."""

    def __init__(self, task: Task, wanted: Sequence[Wanted]) -> None:
        self._task, self._wanted = task, wanted
        self._outages = Outages(MOST_OUTAGES)
        self._first: dict[str, int] = {}
        self._doubles: dict[int, str] = {}
        self._new: list[tuple[int, float, float]] = []
        self.owners: dict[str, str] = {}

    def rows(self, progress: Progress) -> Iterator[PlanRow]:
        progress.start("looking at sources", len(self._wanted))
        numbers = range(len(self._wanted))
        for rows in in_order(numbers, self._look, connections=self._task.connections, stop=self._task.stop):
            self._own(rows)
            yield from rows
            progress.advance()
        progress.finish()

    def refused(self) -> dict[int, str]:
        """Return the sources that are wanted twice, and why none of them is touched."""
        if self._task.rules.find == "cone" and len(self._new) > 1:
            numbers, ra, dec = (np.array(column) for column in zip(*self._new, strict=True))
            pairs = cKDTree(unit_vectors(ra, dec)).query_pairs(chord(self._task.rules.radius_arcsec) * (1 + 1e-9))
            for one, other in sorted(pairs):
                self._double(int(numbers[one]), int(numbers[other]), "is a new source within radius_arcsec of that of")
        for number in self._doubles:
            self.owners = {name: key for name, key in self.owners.items() if key != self._wanted[number].key}
        return self._doubles

    def _own(self, rows: Sequence[PlanRow]) -> None:
        first = rows[0]
        if first.kind == REFUSED:
            return
        before = self._first.setdefault(first.obj_id, first.source)
        if before != first.source:
            self._double(before, first.source, f"is the same source, {first.obj_id}, as")
            return
        self.owners[first.obj_id] = first.key
        one = self._wanted[first.source]
        if first.is_new and one.obj_id is None and one.ra is not None and one.dec is not None:
            self._new.append((first.source, one.ra, one.dec))

    def _double(self, one: int, other: int, how: str) -> None:
        for number, than in ((one, other), (other, one)):
            self._doubles.setdefault(number, f"{how} {self._wanted[than].key}; leave one out")

    def _look(self, number: int) -> list[PlanRow]:
        task, one = self._task, self._wanted[number]
        blank = PlanRow(source=number, key=one.key, obj_id=one.obj_id or "", kind=NOTHING)
        known_as = task.journal.name_of(one.key)
        try:
            seen = look(task.fritz, one, task.rules, known_as=known_as, for_plan=True)
        except (ServiceUnavailableError, ServiceTimeoutError, ReplyError) as error:
            self._outages.one_more(error)
            return [_bare(blank, REFUSED, f"could not be looked at: {error}")]
        except CredentialError:
            raise
        except ScopeError as error:
            # Such as photometry that cannot be made, or a name that no source can have.
            return [_bare(blank, REFUSED, str(error))]
        self._outages.none()
        found = planning.plan(one, seen, task.rules, me=task.me)
        blank = replace(blank, obj_id=found.obj_id, is_new=seen.source is None and not found.refused)
        if found.refused:
            return [_bare(blank, REFUSED, found.refused)]
        steps = list(found.steps)
        if seen.source is not None:
            planned = {step.name for step in steps}
            copies = planning.second_copies(one, seen.source, task.journal.asked(one.key))
            steps += [step for step in copies if step.name not in planned]
        rows = [
            replace(
                blank,
                kind=step.kind,
                what=step.what,
                detail=step.detail,
                author=step.author,
                remote_id=step.remote_id,
            )
            for step in steps
        ]
        rows += [_bare(blank, LEFT, reason) for reason in found.left]
        return rows or [blank]


def _bare(row: PlanRow, kind: str, reason: str) -> PlanRow:
    return PlanRow(source=row.source, key=row.key, obj_id=row.obj_id, is_new=row.is_new, kind=kind, reason=reason)


def _pieces(rows: Iterator[PlanRow]) -> Iterator[pa.Table]:
    held: list[dict[str, Any]] = []
    for row in rows:
        held.append(asdict(row))
        if len(held) >= PIECE:
            yield pa.Table.from_pylist(held, SCHEMA)
            held = []
    if held:
        yield pa.Table.from_pylist(held, SCHEMA)


def _rows_of(tables: Iterator[pa.Table]) -> Iterator[PlanRow]:
    for table in tables:
        yield from (PlanRow(**row) for row in table.to_pylist())


def _by_source(rows: Iterator[PlanRow]) -> Iterator[list[PlanRow]]:
    for _, of_source in groupby(rows, key=lambda row: row.source):
        yield list(of_source)
