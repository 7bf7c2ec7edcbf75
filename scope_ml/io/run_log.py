"""The run log: one JSON line for each thing that happened in a long run, appended while it happens.

Several processes may append to one file: each line is one write at the end of the file, and says which run it is of.
A log tells how a run went and is no part of its result; it holds no configuration and nothing of the environment.
May import core and errors only.
"""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from scope_ml.errors import FormatError, OutputError

__all__ = ["RunLog", "read_run_log"]

#: How every line begins; tells a log that was cut in its first line from a file of another kind.
FIRST_KEY = '{"time": '


class RunLog:
    """Appends events to a file; safe for threads, and for processes that share the file.

    Parameters
    ----------
    path
        The file, made with its folder at the first event; None forgets everything.

    Attributes
    ----------
    run
        What this object puts into the field ``run`` of its events, to tell runs in one file apart.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = None if path is None else Path(path)
        self.run = secrets.token_hex(6)
        self._lock = Lock()
        self._begun = False

    def event(self, kind: str, **fields: Any) -> None:
        """Append one event.

        Parameters
        ----------
        kind
            What happened: ``start``, ``shard``, ``quadrant``, ``failed``, ``end``, ...
        **fields
            JSON-able values; numbers that are not finite become null.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        if self.path is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": kind, "run": self.run, **_finite(fields)}, allow_nan=False) + "\n"
        with self._lock:
            try:
                self._append(self.path, line.encode())
            except OSError as error:
                raise OutputError(f"cannot write the run log {self.path}: {error.strerror or error}") from error

    def _append(self, path: Path, line: bytes) -> None:
        if not self._begun:
            path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            if not self._begun and not _is_run_log(descriptor):
                raise OutputError(f"the run log {path} would be added to a file that is none; give another name")
            if not self._begun and not _ends_a_line(descriptor):
                # A full disk cut the last line of an earlier run.
                line = b"\n" + line
            if os.write(descriptor, line) != len(line):
                raise OutputError(f"cannot write the run log {path}: the disk is full")
            self._begun = True
        finally:
            os.close(descriptor)


def read_run_log(path: Path) -> list[dict[str, Any]]:
    """Return the events of a log in the order in which they were written.

    A line that was cut, as a full disk or a crash leaves it, is left out.

    Raises
    ------
    FormatError
        If the file is missing, or is no run log.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise FormatError(f"cannot read the run log {path}: {error.strerror or error}") from error
    events = [event for event in map(_parsed, lines) if event is not None]
    begun = lines and lines[0].startswith(FIRST_KEY.encode()[: len(lines[0])])
    if lines and not events and not begun:
        raise FormatError(f"{path} is no run log: no line of it is a JSON record with 'time' and 'event'")
    return events


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and {"time", "event"} <= value.keys() else None


def _is_run_log(descriptor: int) -> bool:
    """Return whether the file is empty or begins as a run log does, maybe cut."""
    return os.fstat(descriptor).st_size == 0 or FIRST_KEY.encode().startswith(os.pread(descriptor, len(FIRST_KEY), 0))


def _ends_a_line(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"


def _finite(value: Any) -> Any:
    """Return `value` as JSON can hold it: no NaN, no infinity, no NumPy scalars, no paths."""
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(item) for item in value]
    if hasattr(value, "item"):
        return _finite(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
