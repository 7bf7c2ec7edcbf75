"""The receipt: what a journal says was done, a row a step, with the ids that the service gave.

A pure fold over the lines of the journal, so that it is the same however often the work was cut off. May import errors and
the rooms beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scope_ml.services.fritz.journal import entries_of
from scope_ml.services.fritz.journal_state import CLOSING

__all__ = ["ReceiptRow", "Runs", "receipt_rows", "runs_of"]

#: Statuses of rows; those of a cut-off run count only if they are `DONE`: the others are planned anew.
DONE, ALREADY, FAILED, LOST = "done", "already", "failed", "lost"


@dataclass(frozen=True, kw_only=True)
class ReceiptRow:
    """One step.

    Attributes
    ----------
    job
        Number of the undertaking in this folder, from 1; one that was cut off and gone on with has one number.
    key, obj_id, kind, what, detail
        As in the plan.
    remote_ids
        Ids that the service gave; none for sources, whose name is their id, and groups.
    at
        When it was done or noted [s since 1970].
    status, message
        ``done``, ``already`` (there when it was to be done), ``failed``, ``lost`` (done, but not there at the end), and what
        there is to say.
    """

    job: int
    key: str
    obj_id: str
    kind: str
    what: str
    detail: str = ""
    remote_ids: tuple[int, ...] = ()
    at: float = 0.0
    status: str
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Runs:
    """What has to be known of a journal before its rows can be told.

    Attributes
    ----------
    last
        Number of the last run, by undertaking.
    lost
        By undertaking, key, kind and what of a step: the line, from 0, that says that it is lost, and why. What was done
        again after it is not.
    done
        Steps that were done, by undertaking.
    """

    last: Mapping[int, int]
    lost: Mapping[tuple[int, str, str, str], tuple[int, str]]
    done: Mapping[int, int]

    @property
    def job(self) -> int:
        """Return the number of the last undertaking, 0 if there is none."""
        return max(self.last, default=0)


def runs_of(path: Path) -> Runs:
    """Return what has to be known of a journal.

    Raises
    ------
    DataError, OutputError
        As `journal.entries_of`.
    """
    job = run = 0
    last: dict[int, int] = {}
    lost: dict[tuple[int, str, str, str], tuple[int, str]] = {}
    for line, entry in enumerate(entries_of(path)):
        if entry["entry"] == "begin":
            run += 1
            job += not entry["continues"]
            last[job] = run
        elif entry["entry"] == "note" and entry["status"] == LOST:
            lost[job, entry["key"], entry["kind"], entry["what"]] = (line, entry["message"])
    runs = Runs(last=last, lost=lost, done={})
    done: Counter[int] = Counter(row.job for row in receipt_rows(path, runs) if row.status in (DONE, LOST))
    return Runs(last=last, lost=lost, done=done)


def receipt_rows(path: Path, runs: Runs) -> Iterator[ReceiptRow]:
    """Yield the rows, in the order of the journal.

    Raises
    ------
    DataError, OutputError
        As `journal.entries_of`.
    """
    job = run = 0
    asked: dict[int, Mapping[str, Any]] = {}
    for line, entry in enumerate(entries_of(path)):
        kind = entry["entry"]
        if kind == "begin":
            run += 1
            job += not entry["continues"]
        elif kind == "intent":
            asked[entry["n"]] = entry
        elif kind == "outcome" and entry["result"] in CLOSING:
            intent = asked.pop(entry["n"], None)
            if intent is not None and entry["result"] != "refused":
                yield from _rows(intent, entry, job, line, runs)
        elif kind == "note" and entry["status"] != LOST and run == runs.last[job]:
            yield ReceiptRow(
                job=job,
                at=entry["at"],
                **{name: entry[name] for name in ("key", "obj_id", "kind", "what", "detail", "status", "message")},
            )


def _rows(
    intent: Mapping[str, Any], outcome: Mapping[str, Any], job: int, line: int, runs: Runs
) -> Iterator[ReceiptRow]:
    """Yield the rows of one request: of those found by looking only what is there."""
    items, ids = intent["items"], outcome["ids"]
    stored = outcome.get("stored", [True] * len(items))
    key, kind = intent["key"], intent["kind"]
    for number, (item, is_stored) in enumerate(zip(items, stored, strict=True)):
        if not is_stored:
            continue
        own = ids if kind == "photometry" else ids[number : number + 1]
        lost_in, why = runs.lost.get((job, key, kind, item["what"]), (-1, ""))
        is_lost = line < lost_in
        yield ReceiptRow(
            job=job,
            key=key,
            obj_id=intent["obj_id"],
            kind=kind,
            what=item["what"],
            detail=item["detail"],
            remote_ids=tuple(one for one in own if one is not None),
            at=outcome["at"],
            status=LOST if is_lost else DONE,
            message=why if is_lost else outcome["message"] or _how(outcome, kind, own),
        )


def _how(outcome: Mapping[str, Any], kind: str, own: Sequence[Any]) -> str:
    if outcome["result"] != "found":
        return ""
    return "there, but not as ours" if kind == "classify" and own == [None] else "found by looking"
