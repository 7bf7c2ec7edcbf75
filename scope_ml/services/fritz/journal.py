"""The journal of changes: what was about to be done, and what came of it, each intent on disk before it is asked for.

One JSON object a line::

    begin    a run starts on what is wanted (`digest`); `continues` where the one before was cut off
    intent   n, key, obj_id, kind, items: this is asked for next; `known`: classifications that the source had
    outcome  n, result, ids: ``done`` (answered), ``refused`` (with message), ``partly`` (refused, but of several items some
             may be stored), ``unsure`` (no answer), ``found`` (by looking, ``stored`` says which items are there)
    note     key, obj_id, kind, what, status (already, failed, refused, left), message: no request came of it
    end      the run went through

An intent that has neither ``done`` nor ``refused`` nor ``found`` is open: its change may have been made, and may still be
under way. A last line that was cut off is left out: what it would have said is found again by looking. Holds no token and
no file contents. May import errors and `journal_state`.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scope_ml.errors import ConfigError, DataError, OutputError
from scope_ml.services.fritz.journal_state import Intent, JournalState

__all__ = ["Journal", "entries_of"]

#: What each line holds beside `at`, and of which kind.
FIELDS: Mapping[str, Mapping[str, type]] = {
    "begin": {"digest": str, "stage": str, "continues": bool},
    "intent": {"n": int, "key": str, "obj_id": str, "kind": str, "items": list, "known": list},
    "outcome": {"n": int, "result": str, "ids": list, "message": str},
    "note": {"key": str, "obj_id": str, "kind": str, "what": str, "detail": str, "status": str, "message": str},
    "end": {},
}

#: Lines that are on the disk before the next thing happens. Others a killed process leaves too; after a power cut what
#: they would have said is found by looking.
ON_DISK = frozenset({"begin", "intent", "end"})


class Journal:
    """The journal of one folder, being written; threads may share it.

    Parameters
    ----------
    path
        The file; made if need be.
    now
        Seconds since 1970, for tests.
    write
        Puts bytes at the end of the file, for tests.

    Raises
    ------
    DataError
        If the file is no journal, or broken elsewhere than at its end.
    OutputError
        If it cannot be read or written.
    """

    def __init__(
        self, path: Path, *, now: Callable[[], float], write: Callable[[int, bytes], None] | None = None
    ) -> None:
        self.path = path
        self._now = now
        self._write = write or _written
        self._lock = threading.Lock()
        self._state = JournalState()
        self._broken: OutputError | None = None
        for entry in entries_of(path):
            self._take(entry)
        for of_key in self._state.opened.values():
            for intent in of_key.values():
                intent.is_foreign = True
        self._file: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a thread that is still at work cannot write any more, as the lock may be another's by then."""
        with self._lock:
            self._broken = self._broken or OutputError(f"{self.path} is closed; type the same command again")
            if self._file is not None:
                os.close(self._file)
                self._file = None

    @property
    def run(self) -> int:
        """Return the number of the run that is going on, from 1."""
        return self._state.run

    def is_unfinished(self, digest: str) -> bool:
        """Return whether a run on what has this digest was cut off.

        Raises
        ------
        ConfigError
            If one on other things was.
        """
        if self._state.is_ended:
            return False
        if self._state.digest != digest:
            raise ConfigError(
                f"{self.path.parent} holds changes of other things that were cut off in the middle ({self._state.stage});"
                " type that command again, so that nothing is left half done, or give another output=FOLDER",
                key="output",
            )
        return True

    def has_begun(self, digest: str) -> bool:
        """Return whether the last run was on what has this digest."""
        return self._state.run > 0 and self._state.digest == digest

    def forget(self) -> None:
        """Leave out what is known of other things."""
        before = self._state
        self._state = JournalState(digest=before.digest, stage=before.stage, n=before.n, run=before.run)

    def name_of(self, key: str) -> str | None:
        """Return the source that was changed for `key`, if one was."""
        return self._state.names.get(key)

    def open_keys(self) -> tuple[str, ...]:
        """Return the keys with open intents."""
        with self._lock:
            return tuple(self._state.opened)

    def opened(self, key: str) -> tuple[Intent, ...]:
        """Return the open intents of a key, the first first."""
        with self._lock:
            return tuple(self._state.opened.get(key, {}).values())

    def asked(self, key: str) -> Mapping[str, tuple[tuple[int, ...], int]]:
        """Return which classes of a key were asked for without an answer: what was known before, and how often."""
        with self._lock:
            return dict(self._state.asked.get(key, {}))

    def doubtful(self) -> frozenset[str]:
        """Return the keys of which classes were asked for without an answer."""
        with self._lock:
            return frozenset(self._state.asked)

    def begin(self, digest: str, *, stage: str, where: str) -> None:
        """Start a run, or go on with one that was cut off."""
        self._append(
            {"entry": "begin", "digest": digest, "stage": stage, "where": where, "continues": not self._state.is_ended}
        )

    def intend(
        self, key: str, obj_id: str, kind: str, items: Sequence[Mapping[str, Any]], *, known: Sequence[int] = ()
    ) -> int:
        """Say what is asked for next; return its number. On disk when this returns."""
        with self._lock:
            n = self._state.n + 1
            self._locked_append(
                {
                    "entry": "intent",
                    "n": n,
                    "key": key,
                    "obj_id": obj_id,
                    "kind": kind,
                    "items": [dict(item) for item in items],
                    "known": list(known),
                }
            )
            return n

    def outcome(
        self, n: int, result: str, ids: Sequence[Any] = (), message: str = "", *, stored: Sequence[bool] | None = None
    ) -> None:
        """Say what came of an intent: of each item whether it is there, where that was found by looking."""
        entry = {"entry": "outcome", "n": n, "result": result, "ids": list(ids), "message": message}
        self._append(entry if stored is None else {**entry, "stored": list(stored)})

    def note(self, key: str, obj_id: str, kind: str, what: str, *, status: str, message: str, detail: str = "") -> None:
        """Say what was not asked for, and why."""
        self._append(
            {
                "entry": "note",
                "key": key,
                "obj_id": obj_id,
                "kind": kind,
                "what": what,
                "detail": detail,
                "status": status,
                "message": message,
            }
        )

    def end(self) -> None:
        """Say that the run went through."""
        self._append({"entry": "end"})

    def _append(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._locked_append(entry)

    def _locked_append(self, entry: dict[str, Any]) -> None:
        if self._broken is not None:
            raise self._broken
        entry["at"] = round(self._now(), 3)
        line = json.dumps(entry, allow_nan=False).encode() + b"\n"
        try:
            if self._file is None:
                self._file = _opened_at_end(self.path)
            self._write(self._file, line)
            if entry["entry"] in ON_DISK:
                os.fsync(self._file)
        except OSError as error:
            # Nothing is asked for any more that could not be written down.
            self._broken = OutputError(
                f"cannot write {self.path}: {error.strerror or error}; make room and type the same command again"
            )
            raise self._broken from error
        self._take(entry)

    def _take(self, entry: Mapping[str, Any]) -> None:
        before = self._state
        if entry["entry"] == "begin" and not entry["continues"]:
            # For the same things again: which source was taken for which row, and what may still come late.
            self._state = JournalState(n=before.n, run=before.run)
            if entry["digest"] == before.digest:
                self._state.names, self._state.asked = before.names, before.asked
                self._state.opened, self._state.pending = before.opened, before.pending
        self._state.take(entry)


def entries_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a journal; none if there is no file. A last line that was cut off is left out.

    Raises
    ------
    DataError, OutputError
        As `Journal`.
    """
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            broken = 0
            for number, line in enumerate(file, 1):
                if broken:
                    raise DataError(
                        f"{path} is broken in line {broken}, so it cannot be said what was changed; look at the sources on"
                        " the service, then give another output=FOLDER"
                    )
                entry = _read(line)
                if entry is None:
                    broken = number
                else:
                    yield entry
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error


def _read(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    fields = FIELDS.get(str(entry.get("entry"))) if isinstance(entry, dict) else None
    if fields is None or not isinstance(entry.get("at"), (int, float)):
        return None
    return entry if all(isinstance(entry.get(name), kind) for name, kind in fields.items()) else None


def _opened_at_end(path: Path) -> int:
    """Return a descriptor at the end of the last whole line; what was cut off behind it is taken away."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    size = 0
    with path.open("rb") as file:
        for line in file:
            if _read(line) is None:
                break
            size += len(line)
    os.ftruncate(descriptor, size)
    os.fsync(descriptor)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return descriptor


def _written(descriptor: int, line: bytes) -> None:
    left = memoryview(line)
    while left:
        left = left[os.write(descriptor, left) :]
