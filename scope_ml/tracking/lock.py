"""``models.lock.json``: which registered versions something was made with, small enough to read in a diff.

May import `io`, `core` and `errors`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from scope_ml.errors import FormatError
from scope_ml.io.atomic import atomic_path

__all__ = ["LOCK_NAME", "LockEntry", "read_lock", "write_lock"]

#: Name of the file that ``models=lock`` reads.
LOCK_NAME = "models.lock.json"


@dataclass(frozen=True, kw_only=True)
class LockEntry:
    """One pinned model; `version` is None for a bundle that was taken from a folder, not from a registry."""

    name: str
    version: int | None
    alias: str
    digest: str
    tag: str
    algorithm: str


def write_lock(path: Path, entries: Iterable[LockEntry]) -> bool:
    """Write the entries sorted by name; return False if the file said just that already and was left alone.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    ordered = sorted(entries, key=lambda entry: entry.name)
    text = json.dumps([asdict(entry) for entry in ordered], indent=2) + "\n"
    if path.is_file() and path.read_text() == text:
        return False
    with atomic_path(path) as temporary:
        temporary.write_text(text)
    return True


def read_lock(path: Path) -> tuple[LockEntry, ...]:
    """Read the entries.

    Raises
    ------
    FormatError
        If there is no such file, or it is not a lock file.
    """
    try:
        return tuple(LockEntry(**entry) for entry in json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise FormatError(
            f"{path} does not exist; type python -m scope_ml.register to write it, or give models=champion"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise FormatError(
            f"{path} is not a models.lock.json ({error}); write it again with python -m scope_ml.register"
        ) from error
