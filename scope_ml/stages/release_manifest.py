"""``manifest.json`` of a data release: every file with its kind, size, digest, records, and what it was made from.

``SHA256SUMS`` lists the same files for ``sha256sum -c``, and the manifest itself. May import io, core and errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scope_ml.errors import FormatError
from scope_ml.io.checksums import SUMS_NAME, FileSum, is_plain_name, read_sums

__all__ = ["KIND", "MANIFEST", "MODELS", "Entry", "Manifest", "is_release", "read_manifest"]

MANIFEST = "manifest.json"

#: What the manifest says it is, and the version of its layout.
KIND, LAYOUT = "scope_ml data release", 1

#: Kind of the archives that `registry import` reads.
MODELS = "models"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a release.

    Attributes
    ----------
    name, bytes, sha256
        The file.
    kind
        ``predictions``, ``models``, ``training_set``, ``catalogue``, ``fields``, ``text``, ...
    n_records, unit
        How many of what it holds; None where that means nothing.
    key
        Digest of all that decides its content: the same key gives the same bytes.
    members
        Files of an archive with their sums.
    """

    name: str
    kind: str
    bytes: int
    sha256: str
    key: str = ""
    n_records: int | None = None
    unit: str = ""
    members: Mapping[str, FileSum] = field(default_factory=dict)

    @property
    def sum(self) -> FileSum:
        """Size and digest."""
        return FileSum(bytes=self.bytes, sha256=self.sha256)

    def to_json(self) -> dict[str, Any]:
        """Return the plain form."""
        members = {name: [one.bytes, one.sha256] for name, one in sorted(self.members.items())}
        return {**asdict(self), "members": members}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Entry:
        """Read the plain form; raises TypeError, KeyError or ValueError if it is another."""
        members = {
            str(name): FileSum(bytes=int(size), sha256=str(digest)) for name, (size, digest) in plain["members"].items()
        }
        if not is_plain_name(str(plain["name"])) or not all(map(is_plain_name, members)):
            raise ValueError("it names a path outside its folder")
        return cls(**{**plain, "members": members})


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a release consists of.

    Attributes
    ----------
    files
        All files but the manifest and the sums, sorted by name.
    facts
        Title, version, DOI, fields, models with their digests, ...
    """

    files: tuple[Entry, ...]
    facts: Mapping[str, Any]

    def to_text(self) -> str:
        """Return the file's content."""
        files = [entry.to_json() for entry in sorted(self.files, key=lambda entry: entry.name)]
        plain = {"kind": KIND, "layout": LAYOUT, **self.facts, "files": files}
        return json.dumps(plain, indent=1, allow_nan=False) + "\n"

    def of_kind(self, kind: str) -> tuple[Entry, ...]:
        """Return the files of one kind."""
        return tuple(entry for entry in self.files if entry.kind == kind)


def is_release(folder: Path) -> bool:
    """Return whether `folder` has the manifest of a data release."""
    try:
        plain = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(plain, dict) and plain.get("kind") == KIND


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a release and check it against ``SHA256SUMS``.

    Raises
    ------
    FormatError
        If there is no release, or manifest and sums do not belong together.
    """
    path = folder / MANIFEST
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FormatError(
            f"{folder} is no data release (no {MANIFEST} in it); give path=FOLDER that release pack wrote"
        ) from error
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read ({error}); fetch it again") from error
    if not isinstance(plain, dict) or plain.get("kind") != KIND:
        raise FormatError(f"{path} is no manifest of a data release; give path=FOLDER that release pack wrote")
    if plain.get("layout") != LAYOUT:
        raise FormatError(f"{path} has layout {plain.get('layout')}, this scope_ml knows {LAYOUT}; update scope_ml")
    try:
        entries = tuple(Entry.from_json(one) for one in plain["files"])
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise FormatError(f"{path} has an entry that cannot be read ({error}); fetch it again") from error
    facts = {key: value for key, value in plain.items() if key not in ("kind", "layout", "files")}
    _agree(folder, entries)
    return Manifest(files=entries, facts=facts)


def _agree(folder: Path, entries: tuple[Entry, ...]) -> None:
    """Check that the sums say the same as the manifest, where there are sums."""
    sums = folder / SUMS_NAME
    if not sums.is_file():
        return
    listed = {name: digest for name, digest in read_sums(sums).items() if name != MANIFEST}
    known = {entry.name: entry.sha256 for entry in entries}
    odd = sorted(name for name in set(listed) | set(known) if listed.get(name) != known.get(name))
    if odd:
        raise FormatError(f"{folder}: {MANIFEST} and {SUMS_NAME} say different things of {odd[0]}; fetch both again")
