"""Sources of Fritz, asked for by group or one by one, and kept page by page until their tables are written.

A killed download goes on after the pages or rows that are there. Sources move between pages while they are read; what came is
counted against what the service says it has, and read again where some lack. May import services, io, core, errors and the
rooms of stages beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import TableMetadata, code_digest, digest_json
from scope_ml.core.sphere import separation_arcsec
from scope_ml.errors import DataError, NotAllowedError, NotFoundError
from scope_ml.io.parts import Parts
from scope_ml.services.fritz.client import Fritz
from scope_ml.services.fritz.records import Annotation, Classification, Source, Vote, time_of
from scope_ml.services.fritz.settings import FritzConfig
from scope_ml.services.fritz.sources import find_source, pages_of_sources, sources_near
from scope_ml.services.waiting import WaitingThreads
from scope_ml.stages.fritz_rows import AskedRow

__all__ = ["Fetched", "Miss", "by_groups", "by_rows", "discard", "packed", "unpacked"]

#: Rows of a file whose answers are kept together: what a kill costs at most.
BLOCK_ROWS = 25

#: Pages that are older are not gone on with: votes have changed.
KEPT = timedelta(hours=24)

#: How often all pages are read where sources lack.
READINGS = 3

SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("obj_id", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("record", pa.string()),
    ]
)

#: Why there is no source for a row, in words of a report.
NOT_FOUND, NOT_ALLOWED, REPEATED = "not_found", "not_allowed", "repeated"


@dataclass(frozen=True, kw_only=True)
class Miss:
    """A row of the file for which there is no source: its number from 1, what it says, and why."""

    row: int
    obj_id: str | None
    ra: float | None
    dec: float | None
    reason: str
    detail: str


@dataclass(kw_only=True)
class Fetched:
    """Sources, each once, and what became of all that was asked for.

    Attributes
    ----------
    sources
        In the order of the service or of the file.
    rows
        Number of the file's row (from 0) of each source; empty where groups were asked for.
    asked
        Sources that the service says it has, or rows of the file.
    missed
        Rows without a source of their own.
    n_lacking
        Sources that the service counts and has not given, or (below zero) gave beyond what it counts.
    since
        When the oldest answer came [UTC].
    warnings
        One line each.
    """

    sources: list[Source] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    asked: int = 0
    missed: list[Miss] = field(default_factory=list)
    n_lacking: int = 0
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    warnings: list[str] = field(default_factory=list)


def by_groups(
    fritz: Fritz, config: FritzConfig, groups: Sequence[int], *, start: int, folder: Path, progress: Progress
) -> Fetched:
    """Return all sources that are saved to any of some groups.

    Parameters
    ----------
    fritz, config
        The service, and how it is asked.
    groups
        Their ids.
    start
        First page; pages count from 1, and 0 is the first too.
    folder
        Where pages are kept meanwhile.
    progress
        Told the sources that came.

    Raises
    ------
    ServiceError
        If the service does not answer; pages that came are kept.
    """
    first = max(start, 1)
    kept = _Kept(folder, [config.url, sorted(groups), config.page, first])
    found: dict[str, Source] = {}
    total: int | None = None
    progress.start("sources of Fritz", None)
    for index in kept.in_order():
        found |= {source.id: source for source in kept.sources(index)}
        total = kept.facts(index)["total"]
    progress.advance(len(found))
    n_kept = len(kept.in_order())
    following = kept.facts(n_kept - 1)["page"] + 1 if n_kept else first
    # Where the last page is there too, the next one is past the end and tells whether the number is still the same.
    for index, page in enumerate(
        pages_of_sources(fritz, group_ids=groups, labellers=True, first_page=following), start=n_kept
    ):
        facts = {"total": page.total_matches, "page": page.number}
        kept.write(index, [_row(source) for source in page.sources], facts)
        progress.advance(len({source.id for source in page.sources} - found.keys()))
        found |= {source.id: source for source in page.sources}
        total = page.total_matches
    since = kept.since
    if first == 1:
        # All of one reading were counted as they were read; kept pages and new ones may not fit together.
        for _ in range(READINGS - 1 if n_kept else 0):
            if total is None or len(found) == total:
                break
            again: dict[str, Source] = {}
            for page in pages_of_sources(fritz, group_ids=groups, labellers=True):
                again |= {source.id: source for source in page.sources}
                total = page.total_matches
            found = again
    asked = (total or 0) if first == 1 else len(found)
    result = Fetched(sources=list(found.values()), asked=len(found), n_lacking=asked - len(found), since=since)
    if result.n_lacking:
        result.warnings.append(
            f"Fritz counts {asked} sources in these groups and gave {len(found)}: some came or went while they were read; type"
            " the same command again"
        )
    return result


def by_rows(
    fritz: Fritz,
    config: FritzConfig,
    rows: Sequence[AskedRow],
    *,
    radius_arcsec: float,
    folder: Path,
    progress: Progress,
) -> Fetched:
    """Return the sources of the rows of a file: by their name, else the nearest one within the radius.

    Parameters
    ----------
    fritz, config
        The service, and how it is asked.
    rows
        What the rows say; those that cannot be asked have a reason.
    radius_arcsec
        How far a source may be from a row's position [arcsec].
    folder
        Where answers are kept meanwhile.
    progress
        Told the rows that are done.

    Raises
    ------
    ServiceError
        If the service does not answer; rows that were answered are kept.
    """
    asked = [[row.number, row.obj_id, row.ra, row.dec] for row in rows]
    kept = _Kept(folder, [config.url, digest_json(asked), radius_arcsec, BLOCK_ROWS])
    progress.start("sources of Fritz", len(rows))
    result = Fetched(asked=len(rows))
    taken: dict[str, int] = {}
    for index, at in enumerate(range(0, len(rows), BLOCK_ROWS)):
        block = rows[at : at + BLOCK_ROWS]
        if not kept.parts.done(index):
            threads = WaitingThreads(workers=config.connections)
            kept.write(index, list(threads.map(lambda row: _answer(fritz, row, radius_arcsec), block)), {})
        for row, answer in zip(block, kept.parts.read(index).to_pylist(), strict=True):
            _take(result, taken, row, answer)
        progress.advance(len(block))
    result.since = kept.since
    return result


def discard(folder: Path) -> None:
    """Remove what was kept, once its tables are written."""
    Parts(folder, (folder / "key.txt").read_text() if (folder / "key.txt").is_file() else "").discard()


def _take(result: Fetched, taken: dict[str, int], row: AskedRow, answer: Mapping[str, Any]) -> None:
    """Put the answer to one row where it belongs."""
    reason, detail = answer["reason"], answer["detail"]
    if reason is None and answer["obj_id"] in taken:
        reason, detail = REPEATED, f"{answer['obj_id']} is the source of row {taken[answer['obj_id']] + 1} too"
    if reason is None:
        taken[answer["obj_id"]] = row.number
        result.sources.append(unpacked(answer["record"]))
        result.rows.append(row.number)
        return
    result.missed.append(
        Miss(row=row.number + 1, obj_id=row.obj_id, ra=row.ra, dec=row.dec, reason=reason, detail=detail)
    )


def _answer(fritz: Fritz, row: AskedRow, radius_arcsec: float) -> dict[str, Any]:
    """Ask for the source of one row."""
    if row.reason:
        return _nothing(row, row.reason, row.detail)
    tried = []
    try:
        if row.obj_id is not None:
            source = find_source(fritz, row.obj_id, labellers=True)
            if source is not None:
                return _row(source, row.number)
            tried += [f"no source {row.obj_id}", *([row.detail] if row.detail else [])]
        if row.ra is not None and row.dec is not None:
            near = sources_near(fritz, row.ra, row.dec, radius_arcsec=radius_arcsec, labellers=True)
            if near:
                return _row(_nearest(near, row.ra, row.dec), row.number)
            tried.append(f"none within {radius_arcsec:g} arcsec of {row.ra:.6f} {row.dec:.6f}")
    except NotAllowedError as error:
        return _nothing(row, NOT_ALLOWED, str(error))
    except (NotFoundError, DataError) as error:
        tried.append(str(error))
    return _nothing(row, NOT_FOUND, ", ".join(tried))


def _nearest(sources: Sequence[Source], ra: float, dec: float) -> Source:
    apart = separation_arcsec(
        np.array([source.ra for source in sources]), np.array([source.dec for source in sources]), ra, dec
    )
    return sources[int(np.argmin(apart))]


def _nothing(row: AskedRow, reason: str, detail: str) -> dict[str, Any]:
    return {"row": row.number, "obj_id": row.obj_id, "reason": reason, "detail": detail, "record": None}


def _row(source: Source, number: int = -1) -> dict[str, Any]:
    return {"row": number, "obj_id": source.id, "reason": None, "detail": None, "record": packed(source)}


def packed(source: Source) -> str:
    """Return a source as JSON that `unpacked` reads."""
    return json.dumps(asdict(source), default=datetime.isoformat)


def unpacked(text: str) -> Source:
    """Return the source that `packed` wrote."""
    values = json.loads(text)
    labellers = values["labeller_ids"]
    return Source(
        **values
        | {
            "created_at": _time(values["created_at"]),
            "group_ids": tuple(values["group_ids"]),
            "classifications": tuple(_classification(one) for one in values["classifications"]),
            "annotations": tuple(
                Annotation(**one | {"group_ids": tuple(one["group_ids"])}) for one in values["annotations"]
            ),
            "labeller_ids": None if labellers is None else tuple(labellers),
        }
    )


def _classification(values: Mapping[str, Any]) -> Classification:
    times = {name: _time(values[name]) for name in ("created_at", "modified")}
    votes = tuple(Vote(**vote | {"at": _time(vote["at"])}) for vote in values["votes"])
    return Classification(**{**values, **times, "votes": votes, "group_ids": tuple(values["group_ids"])})


def _time(text: str | None) -> datetime | None:
    return None if text is None else time_of(text)


class _Kept:
    """Answers on the disk, block by block."""

    def __init__(self, folder: Path, asked: Sequence[Any]) -> None:
        key = digest_json([list(asked), code_digest("services", "stages")])
        self.parts = Parts(folder, key)
        self.since = datetime.now(UTC)
        times = [datetime.fromisoformat(self.facts(index)["at"]) for index in self.parts.indices()]
        if times and min(times) < self.since - KEPT:
            self.parts.discard()
            self.parts = Parts(folder, key)
        elif times:
            self.since = min(times)

    def in_order(self) -> tuple[int, ...]:
        """Return the blocks from the first on, as far as none lacks."""
        indices = self.parts.indices()
        return tuple(index for place, index in enumerate(indices) if place == index)

    def facts(self, index: int) -> Mapping[str, Any]:
        """Return what was noted with a block."""
        return self.parts.metadata(index).facts

    def sources(self, index: int) -> list[Source]:
        """Return the sources of a block."""
        return [unpacked(text) for text in self.parts.read(index, ["record"])["record"].to_pylist()]

    def write(self, index: int, rows: Iterable[Mapping[str, Any]], facts: Mapping[str, Any]) -> None:
        """Keep a block."""
        at = datetime.now(UTC).isoformat()
        self.parts.write(
            index,
            pa.Table.from_pylist(list(rows), schema=SCHEMA),
            TableMetadata(kind="fritz", facts={**facts, "at": at}),
        )
