"""Where a result comes from: digests, the code's version, and the metadata record that every table carries.

The record is the same in Parquet, HDF5 and CSV (`io.tables` writes it); it holds no time of writing, so
the same inputs give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata as package_metadata
from pathlib import Path
from typing import Any

from scope_ml.errors import MetadataError

__all__ = [
    "SCHEMA_VERSION",
    "Column",
    "Input",
    "TableMetadata",
    "code_digest",
    "code_version",
    "digest_file",
    "digest_json",
    "digest_paths",
    "git_commit",
]

#: Version of the metadata record; readers refuse a newer one.
SCHEMA_VERSION = 1

#: Folders of the checkout whose changes change results.
CODE_FOLDERS = ("scope_ml", "conf", "pipelines")

#: Bytes read at a time when a file is digested.
BLOCK_BYTES = 1 << 20


@cache
def code_version() -> str:
    """Return the version of the installed scope_ml, or ``"0+unknown"`` outside an installation."""
    try:
        return package_metadata.version("scope_ml")
    except package_metadata.PackageNotFoundError:
        return "0+unknown"


@cache
def code_digest(*packages: str) -> str:
    """Return one digest of the sources of packages of scope_ml, or of some files: ``code_digest("kernels", "io/c*.py")``.

    It belongs into the key of everything that is kept to be gone on with: parts made by other code are not.
    """
    root = Path(__file__).resolve().parents[1]
    patterns = [name if name.endswith(".py") else f"{name}/**/*.py" for name in packages]
    return digest_paths([path for pattern in patterns for path in root.glob(pattern)], root)


@cache
def git_commit(folder: Path | None = None) -> str:
    """Return the commit of the checkout that holds `folder` (default: this package), with ``-dirty`` if it was changed.

    Returns ``"unknown"`` where there is no git or no checkout.
    """
    where = folder or Path(__file__).resolve().parents[2]
    if not (where / ".git").exists():
        return "unknown"
    try:
        head = subprocess.run(
            ["git", "-C", str(where), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", str(where), "status", "--porcelain", "--", *CODE_FOLDERS, ":!*dvc.lock"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{head}-dirty" if changed else head


def digest_json(value: Any) -> str:
    """Return the SHA-256 hex digest of a JSON-able value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: Path) -> str:
    """Return the SHA-256 hex digest of a file's bytes."""
    hasher = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            hasher.update(block)
    return hasher.hexdigest()


def digest_paths(paths: list[Path], root: Path | None = None) -> str:
    """Return one digest of several files: their names relative to `root` and their contents, sorted by name."""
    entries = sorted((str(path.relative_to(root)) if root else path.name, digest_file(path)) for path in paths)
    return digest_json(entries)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table: name, dtype as Arrow writes it, unit ("" if none)."""

    name: str
    dtype: str
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input of a table: a name that says its part (never a path), its content digest, its rows."""

    name: str
    digest: str
    n_rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class TableMetadata:
    """The record that every table of ours carries.

    Attributes
    ----------
    kind
        What the table is: ``"light_curves"``, ``"features"``, ``"labels"``, ``"dataset"``, ``"predictions"``, ...
    config_digest
        Digest of the science configuration that made it ("" if none did).
    inputs
        What it was made from.
    columns
        Name, dtype and unit of each column, in order (filled in by `io.tables.write_table`).
    n_rows
        Number of rows (filled in by `io.tables.write_table`).
    facts
        Small JSON-able extras that belong to the kind, such as the feature digest or counts of dropped rows.
    """

    kind: str
    config_digest: str = ""
    inputs: tuple[Input, ...] = ()
    columns: tuple[Column, ...] = ()
    n_rows: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    code_version: str = field(default_factory=code_version)
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """Return the record as one line of JSON."""
        # No asdict: its copies of some hundred columns cost more than the rest of writing a small table.
        lists = {name: [vars(item) for item in getattr(self, name)] for name in ("inputs", "columns")}
        return json.dumps({**vars(self), **lists}, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str) -> TableMetadata:
        """Read a record written by `to_json`.

        Raises
        ------
        MetadataError
            If the text is not such a record, or is of a newer schema version.
        """
        try:
            raw = json.loads(text)
            raw["inputs"] = tuple(Input(**item) for item in raw["inputs"])
            raw["columns"] = tuple(Column(**item) for item in raw["columns"])
            record = cls(**raw)
        except (ValueError, TypeError, KeyError) as error:
            raise MetadataError(f"{where}: the metadata record 'scope' cannot be read ({error})") from error
        if record.schema_version > SCHEMA_VERSION:
            raise MetadataError(
                f"{where} was written with metadata schema {record.schema_version}, newer than {SCHEMA_VERSION};"
                " update scope_ml to read it"
            )
        return record
