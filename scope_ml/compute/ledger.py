"""What became of each shard of a plan: one small file for what was begun, one for what was done or failed.

Written by whoever works, on any machine that sees the folder; each file is there whole or not at all, and no two shards
share one, so that nobody waits for a lock. Who reads adds up. May import core, io and errors.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scope_ml.core.report import Report
from scope_ml.io.atomic import atomic_path

__all__ = ["BEGUN", "DONE", "FAILED", "Attempt", "Ledger", "ShardState", "State"]

#: Folders of the ledger, one for what is told of shards.
BEGUN, DONE, FAILED = "begun", "done", "failed"

#: What a note of each has at least; one that lacks some of it is torn.
NEEDED: Mapping[str, frozenset[str]] = {
    BEGUN: frozenset({"host", "pid", "job", "time"}),
    DONE: frozenset({"n_in", "n_out", "dropped", "facts", "seconds_of_task", "time"}),
    FAILED: frozenset({"error", "kind", "time"}),
}

#: What can be said of a shard from the ledger alone; a shard that was begun may run, or its process is gone.
State = Literal["waiting", "begun", "done", "failed"]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """Who works on a shard.

    Attributes
    ----------
    host, pid
        The process.
    job
        The scheduler's name of the task, such as ``4711_3``; "" where there is none.
    time
        When it began [s since 1970].
    """

    host: str
    pid: int
    job: str = ""
    time: float = 0.0

    @classmethod
    def of_this_process(cls, job: str = "") -> Attempt:
        """Return the attempt that this process makes now."""
        return cls(host=socket.gethostname(), pid=os.getpid(), job=job, time=time.time())

    @classmethod
    def of_note(cls, values: Mapping[str, Any]) -> Attempt | None:
        """Return the attempt that a note tells of; None if the note was torn."""
        try:
            return cls(
                host=str(values["host"]), pid=int(values["pid"]), job=str(values["job"]), time=float(values["time"])
            )
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True, kw_only=True)
class ShardState:
    """What the ledger knows of one shard.

    Attributes
    ----------
    key, state
        Which, and what became of it.
    attempt
        The last one, None if it was never begun.
    n_attempts
        How often it was begun.
    record
        Of a done shard its report (`core.report.Report` as a mapping, with ``n_finished``, how often it was finished); of a
        failed one ``error``, ``kind`` and ``time``; else empty, also where the note was torn.
    """

    key: str
    state: State
    attempt: Attempt | None = None
    n_attempts: int = 0
    record: Mapping[str, Any] | None = None


class Ledger:
    """The ledger of a run.

    Parameters
    ----------
    folder
        Of the run; the ledger's folders lie in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def begin(self, key: str, attempt: Attempt) -> None:
        """Say that a shard is being worked on; an earlier failure is forgotten.

        Raises
        ------
        OutputError
            If the ledger cannot be written.
        """
        known = self._read(BEGUN, key) or {}
        values = {**vars(attempt), "n_attempts": _count(known, "n_attempts") + 1}
        self._write(BEGUN, key, values)
        self._path(FAILED, key).unlink(missing_ok=True)

    def is_done(self, key: str) -> bool:
        """Return whether a shard is noted as done."""
        return self._path(DONE, key).is_file()

    def noted(self, key: str) -> float | None:
        """Return when a shard was noted as done [s since 1970]; None if it is not, 0.0 if the note is torn."""
        known = self._read(DONE, key)
        if known is None:
            return 0.0 if self.is_done(key) else None
        return _time(known)

    def done(self, key: str, report: Report, seconds: float, *, again: bool = False) -> None:
        """Say that a shard is done; one that was finished twice says so.

        Parameters
        ----------
        key, report
            Which, and what it reports.
        seconds
            How long it took [s].
        again
            Whether it was known to be done before: then it was looked at, not finished once more.

        Raises
        ------
        OutputError
            If the ledger cannot be written.
        """
        known = self._read(DONE, key) or {}
        n_finished = _count(known, "n_finished") + (0 if again and known else 1)
        values = {**json.loads(report.to_json()), "n_finished": n_finished}
        # What was measured first: later everything was there. A report without seconds says that it was at the first look.
        values["seconds_of_task"] = known.get("seconds_of_task") or (seconds if report.seconds else 0.0)
        self._write(DONE, key, {**values, "time": time.time()})
        self._path(FAILED, key).unlink(missing_ok=True)

    def failed(self, key: str, error: str, kind: str, *, noted: float | None = None) -> None:
        """Say that a shard failed, and why; one that somebody else has done meanwhile stays done.

        Parameters
        ----------
        key, error, kind
            Which, why, and the name of the error.
        noted
            What `noted` said before the work on it: that note tells of what cannot be used any more, a newer one stays.

        Raises
        ------
        OutputError
            If the ledger cannot be written.
        """
        if noted is not None and self.noted(key) == noted:
            self._path(DONE, key).unlink(missing_ok=True)
        if not self._path(DONE, key).is_file():
            self._write(FAILED, key, {"error": error, "kind": kind, "time": time.time()})

    def forget(self, key: str) -> None:
        """Take a shard for one that nobody has begun; its outputs stay."""
        for what in (DONE, FAILED, BEGUN):
            self._path(what, key).unlink(missing_ok=True)

    def states(self, keys: Iterable[str], *, records: bool = True) -> dict[str, ShardState]:
        """Return what is known of shards, by key.

        Parameters
        ----------
        keys
            Which.
        records
            Whether reports and attempts are read; without them 10^5 shards take a second.
        """
        present = {what: self._present(what) for what in (BEGUN, DONE, FAILED)}
        return {key: self._state(key, present, records) for key in keys}

    def _state(self, key: str, present: Mapping[str, set[str]], records: bool) -> ShardState:
        state: State = "waiting"
        for what, name in ((DONE, "done"), (FAILED, "failed"), (BEGUN, "begun")):
            if key in present[what]:
                state = name  # type: ignore[assignment]
                break
        if not records or state == "waiting":
            return ShardState(key=key, state=state)
        begun = self._read(BEGUN, key) or {}
        return ShardState(
            key=key,
            state=state,
            attempt=Attempt.of_note(begun),
            n_attempts=_count(begun, "n_attempts"),
            record=self._read(state, key) if state in (DONE, FAILED) else None,
        )

    def _present(self, what: str) -> set[str]:
        top = self.folder / what
        found: set[str] = set()
        folders = [top]
        while folders:
            folder = folders.pop()
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    elif entry.name.endswith(".json") and not entry.name.startswith("."):
                        found.add(str(Path(entry.path).relative_to(top))[: -len(".json")])
        return found

    def _path(self, what: str, key: str) -> Path:
        return self.folder / what / f"{key}.json"

    def _read(self, what: str, key: str) -> dict[str, Any] | None:
        """Return a note; None if there is none, or it is not whole, as a machine that lost its power leaves it."""
        try:
            values = json.loads(self._path(what, key).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return values if isinstance(values, dict) and NEEDED[what] <= values.keys() else None

    def _write(self, what: str, key: str, values: Mapping[str, Any]) -> None:
        with atomic_path(self._path(what, key)) as temporary:
            temporary.write_text(json.dumps(dict(values), sort_keys=True), encoding="utf-8")


def _time(note: Mapping[str, Any]) -> float:
    """Return when something was noted [s since 1970]; 0.0 if that cannot be read."""
    try:
        return float(note["time"])
    except (KeyError, TypeError, ValueError):
        return 0.0


def _count(note: Mapping[str, Any], name: str) -> int:
    value = note.get(name, 0)
    return value if isinstance(value, int) else 0
