"""SHA-256 sums of files: copied and digested in one pass, written as ``SHA256SUMS``, checked file by file.

The form of ``SHA256SUMS`` is that of ``sha256sum``, so that ``sha256sum -c SHA256SUMS`` checks a folder without us.
May import core and errors only.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from scope_ml.errors import DataError, FormatError

__all__ = [
    "SUMS_NAME",
    "FileSum",
    "check_files",
    "copy_checked",
    "is_plain_name",
    "passed_on",
    "read_sums",
    "relative_files",
    "sum_of",
    "write_sums",
]

#: Name of the file of sums in a folder.
SUMS_NAME = "SHA256SUMS"

#: Bytes read at a time.
BLOCK_BYTES = 1 << 20

#: One line of a file of sums: digest, a space, a space or a star, the name.
_LINE = re.compile(r"(?P<sha256>[0-9a-f]{64}) [ *](?P<name>.+)")


@dataclass(frozen=True, kw_only=True)
class FileSum:
    """Size [bytes] and SHA-256 hex digest of a file's content."""

    bytes: int
    sha256: str


def sum_of(path: Path) -> FileSum:
    """Return size and digest of a file."""
    with path.open("rb") as stream:
        return passed_on(stream, None)


def copy_checked(source: Path, target: BinaryIO, expected: FileSum | None = None) -> FileSum:
    """Copy a file into an open one and return its sum, of the very bytes that were copied.

    Parameters
    ----------
    source
        The file.
    target
        Where its bytes go.
    expected
        What it was when it was looked at before.

    Raises
    ------
    DataError
        If its content is another by now.
    """
    with source.open("rb") as stream:
        found = passed_on(stream, target)
    if expected is not None and found != expected:
        raise DataError(
            f"{source} changed while it was packed ({expected.bytes} bytes {expected.sha256[:12]} before, {found.bytes}"
            f" bytes {found.sha256[:12]} then); let what writes it end and type the same command again"
        )
    return found


def passed_on(stream: IO[bytes], target: IO[bytes] | None) -> FileSum:
    """Read a stream to its end, write it to `target` if there is one, and return what went through."""
    hasher, size = hashlib.sha256(), 0
    while block := stream.read(BLOCK_BYTES):
        hasher.update(block)
        size += len(block)
        if target is not None:
            target.write(block)
    return FileSum(bytes=size, sha256=hasher.hexdigest())


def is_plain_name(name: str) -> bool:
    """Return whether `name` is a relative path with forward slashes that stays in its folder on every system."""
    parts = name.split("/")
    odd = "\\" in name or ":" in parts[0] or any(ord(letter) < 32 for letter in name)
    return bool(name) and not odd and not name.startswith("/") and not {"", ".", ".."} & set(parts)


def relative_files(folder: Path, *, hidden: bool = False) -> dict[str, Path]:
    """Return the files in `folder` at any depth by their relative names, sorted.

    Parameters
    ----------
    folder
        Where to look.
    hidden
        Whether hidden files and folders count; links never do.
    """
    found = _walk(folder, hidden=hidden)
    return dict(sorted((str(PurePosixPath(*path.relative_to(folder).parts)), path) for path in found))


def _walk(folder: Path, *, hidden: bool) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if hidden or not name.startswith(".")]
        for name in files:
            path = Path(parent, name)
            if (hidden or not name.startswith(".")) and path.is_file() and not path.is_symlink():
                yield path


def write_sums(path: Path, sums: Mapping[str, FileSum]) -> None:
    """Write a file of sums, sorted by name."""
    path.write_text("".join(f"{sums[name].sha256}  {name}\n" for name in sorted(sums)), encoding="utf-8")


def read_sums(path: Path) -> dict[str, str]:
    """Return the digests of a file of sums by name.

    Raises
    ------
    FormatError
        If it is missing or is no file of sums, or names a path outside its folder.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} cannot be read ({error}); fetch it again") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None or not is_plain_name(match["name"]):
            raise FormatError(f"{path} line {number} is no SHA-256 sum of a file in its folder; fetch it again")
        found[match["name"]] = match["sha256"]
    return found


def check_files(folder: Path, expected: Mapping[str, FileSum], names: Iterable[str] | None = None) -> dict[str, str]:
    """Return what is wrong with files: name -> ``missing`` or ``changed``.

    Parameters
    ----------
    folder
        Where they are.
    expected
        Their sums.
    names
        Which of them; all by default.
    """
    wrong: dict[str, str] = {}
    for name in expected if names is None else names:
        path = folder / name
        if path.is_symlink() or not path.is_file():
            wrong[name] = "missing"
        elif path.stat().st_size != expected[name].bytes or sum_of(path) != expected[name]:
            wrong[name] = "changed"
    return wrong
