"""Hidden records of the mirror: which version a file is of, or that there is none; where a release comes from.

A record that is broken is none. May import io, core and errors only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scope_ml.io.atomic import atomic_path

__all__ = ["read_record", "record_path", "write_record"]


def record_path(file: Path) -> Path:
    """Return where the record of a file stands: beside it, hidden, so that no reader of the tree takes it for data."""
    return file.with_name(f".{file.name}.json")


def read_record(path: Path) -> dict[str, Any] | None:
    """Return a record; None if there is none, or it cannot be read."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_record(path: Path, facts: Mapping[str, Any], *, dated: bool = True) -> None:
    """Write a record, with the date (UTC) unless it is not wanted.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    date = {"date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")} if dated else {}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({**facts, **date}, indent=1, sort_keys=True) + "\n")
