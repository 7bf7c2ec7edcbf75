"""ZIP archives: written so that the same files give the same bytes, read without trusting what is in them.

Written: members sorted by name, the time of all is the first that ZIP knows, no owner, no extra fields; what is
compressed already is stored. Read: names that leave the folder, links, encrypted or overlapping members, members that
unpack to more than they say, and archives that would fill the disk are refused before or while they are unpacked.
May import `checksums`, `atomic`, core and errors.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scope_ml.errors import FormatError, OutputError
from scope_ml.io.checksums import FileSum, copy_checked, is_plain_name, passed_on

__all__ = ["Member", "archive_members", "unpack_archive", "write_archive"]

#: The first time that a ZIP archive can hold.
EPOCH = (1980, 1, 1, 0, 0, 0)

#: Endings of files that are compressed already.
PACKED = frozenset({".parquet", ".keras", ".h5", ".hdf5", ".png", ".jpg", ".gz", ".zip", ".xz", ".npz"})

#: Level of compression: zlib's own.
LEVEL = 6

#: Most members, and the most that a byte of an archive may unpack to: deflate itself cannot do more than 1032.
MOST_MEMBERS, MOST_RATIO = 2_000_000, 1100

#: Bytes read at a time while unpacking.
BLOCK_BYTES = 1 << 20

#: Rights of every member: a plain file that all may read.
PLAIN_FILE = (stat.S_IFREG | 0o644) << 16


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file that goes into an archive: where it is, and what it was when it was looked at."""

    path: Path
    sum: FileSum


def write_archive(
    path: Path, members: Mapping[str, Member], *, advance: Callable[[int], None] = lambda _: None
) -> None:
    """Write an archive; the same members give the same bytes.

    Parameters
    ----------
    path
        The archive; it is written in place, so give a temporary name.
    members
        Files by their names in the archive.
    advance
        Told the bytes of each file when it is in.

    Raises
    ------
    DataError
        If a file changed since it was looked at.
    FormatError
        If a name is no plain relative path.
    """
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for name in sorted(members):
            if not is_plain_name(name):
                raise FormatError(f"{name!r} cannot be the name of a file in an archive; rename it")
            member = members[name]
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system, info.external_attr = 3, PLAIN_FILE
            is_packed = PurePosixPath(name).suffix.lower() in PACKED
            info.compress_type = zipfile.ZIP_STORED if is_packed else zipfile.ZIP_DEFLATED
            info.file_size = member.sum.bytes
            # Its own attribute: `open` takes no level.
            info._compresslevel = LEVEL  # type: ignore[attr-defined]
            with archive.open(info, "w", force_zip64=member.sum.bytes > 1 << 31) as target:
                copy_checked(member.path, target, member.sum)  # type: ignore[arg-type]
            advance(member.sum.bytes)


def archive_members(path: Path) -> dict[str, int]:
    """Return the files of an archive and the bytes of each, after a look at all that can be seen without unpacking.

    Raises
    ------
    FormatError
        If it is missing, no ZIP archive, or one that must not be unpacked; says why.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _checked(path, archive.infolist())
    except FileNotFoundError as error:
        raise FormatError(f"{path} does not exist; give the path of a ZIP archive") from error
    except FormatError:
        raise
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise FormatError(f"{path} is no whole ZIP archive ({error}); fetch it again") from error


def unpack_archive(
    path: Path,
    folder: Path,
    *,
    expected: Mapping[str, FileSum] | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, FileSum]:
    """Unpack an archive into an existing, empty folder and return the sums of its files.

    Parameters
    ----------
    path
        The archive.
    folder
        Where to; give a temporary name: what is there when an error is raised is incomplete.
    expected
        Sums of all its files, where they are known.
    advance
        Told the bytes of each file when it is out.

    Raises
    ------
    FormatError
        If it is no archive of this kind, must not be unpacked, or its files are not the expected ones.
    OutputError
        If the disk has no room for it.
    """
    sizes = archive_members(path)
    total, room = sum(sizes.values()), shutil.disk_usage(folder).free
    if total > room:
        raise OutputError(
            f"{path} unpacks to {total / 1e6:,.0f} MB, the disk of {folder.parent} has {room / 1e6:,.0f} MB left; choose"
            " another output"
        )
    if expected is not None and set(expected) != set(sizes):
        odd = sorted(set(expected) ^ set(sizes))
        raise FormatError(f"{path}: {odd[0]} is in the archive or in the manifest, but not in both; fetch it again")
    found: dict[str, FileSum] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name, size in sizes.items():
                found[name] = _unpack_one(archive, name, size, folder / name, path)
                if expected is not None and found[name] != expected[name]:
                    raise FormatError(f"{path}: {name} is not the file that the manifest names; fetch it again")
                advance(size)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise FormatError(f"{path} is damaged ({error}); fetch it again") from error
    return found


def _unpack_one(archive: zipfile.ZipFile, name: str, size: int, target: Path, path: Path) -> FileSum:
    """Write one file; `zipfile` gives no more bytes than the archive says it holds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(name) as stream, target.open("xb") as out:
        found = passed_on(stream, out)
    if found.bytes != size:
        raise FormatError(f"{path}: {name} is shorter than the {size} bytes it says; fetch it again")
    return found


def _checked(path: Path, infos: list[zipfile.ZipInfo]) -> dict[str, int]:
    refusal = f"{path} must not be unpacked: "
    if len(infos) > MOST_MEMBERS:
        raise FormatError(f"{refusal}it has {len(infos)} members")
    found: dict[str, int] = {}
    for info in infos:
        if info.is_dir() and is_plain_name(info.filename.rstrip("/")):
            continue
        # Read as it stands in the archive: `filename` has what follows a NUL cut off.
        name = info.orig_filename
        kind = stat.S_IFMT(info.external_attr >> 16)
        if not is_plain_name(name) or info.is_dir():
            raise FormatError(f"{refusal}the name {name!r} leads out of the folder")
        if kind not in (0, stat.S_IFREG):
            raise FormatError(f"{refusal}{name} is a link or a device")
        if info.flag_bits & 0x1:
            raise FormatError(f"{refusal}{name} is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FormatError(f"{refusal}{name} is compressed in an unusual way ({info.compress_type})")
        if info.file_size > MOST_RATIO * max(info.compress_size, 1) + BLOCK_BYTES:
            raise FormatError(f"{refusal}{name} claims {info.file_size} bytes from {info.compress_size}")
        if name in found:
            raise FormatError(f"{refusal}{name} is in it twice")
        found[name] = info.file_size
    if any(str(parent) in found for name in found for parent in PurePosixPath(name).parents):
        raise FormatError(f"{refusal}a name is a file and a folder")
    if sum(info.compress_size for info in infos) > path.stat().st_size:
        raise FormatError(f"{refusal}its members overlap")
    return dict(sorted(found.items()))
