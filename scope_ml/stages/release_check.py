"""`release verify` and `unpack`: is a release whole, and its files in folders ready for use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scope_ml.core.protocols import Progress
from scope_ml.errors import ConfigError, FormatError, suggest
from scope_ml.io.archives import archive_members, unpack_archive
from scope_ml.io.checksums import SUMS_NAME, check_files, copy_checked, read_sums, relative_files, sum_of
from scope_ml.io.folder_swap import new_folder
from scope_ml.stages.release_manifest import MANIFEST, Entry, Manifest, read_manifest

__all__ = ["Verified", "unpack_release", "verify_release"]


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What a check found.

    Attributes
    ----------
    manifest
        What there should be.
    wrong
        Name -> ``missing``, ``changed`` or ``unsafe`` (an archive that must not be unpacked).
    extra
        Files that are in no list.
    """

    manifest: Manifest
    wrong: dict[str, str]
    extra: tuple[str, ...]

    def lines(self, path: Path) -> list[str]:
        """Return what to show."""
        n_files = len(self.manifest.files)
        total = sum(entry.bytes for entry in self.manifest.files)
        lines = [f"{path}: {n_files - len(self.wrong)} of {n_files} files are right, {total / 1e6:,.1f} MB in all"]
        lines += [f"  {what}: {name}" for name, what in sorted(self.wrong.items())]
        lines += [f"  not in the manifest: {name}" for name in self.extra]
        if self.wrong:
            lines.append("fetch the files named above again; nothing was changed")
        return lines


def verify_release(folder: Path, progress: Progress) -> Verified:
    """Check every file of a release.

    Raises
    ------
    FormatError
        If there is no release, or its manifest cannot be read or is not the one of the sums.
    """
    manifest = read_manifest(folder)
    sums = folder / SUMS_NAME
    if sums.is_file() and read_sums(sums).get(MANIFEST) != sum_of(folder / MANIFEST).sha256:
        raise FormatError(f"{folder / MANIFEST} is not the one that {SUMS_NAME} lists; fetch both again")
    expected = {entry.name: entry.sum for entry in manifest.files}
    progress.start("checking files", len(expected))
    wrong: dict[str, str] = {}
    for entry in manifest.files:
        wrong |= check_files(folder, expected, [entry.name])
        if entry.name.endswith(".zip") and entry.name not in wrong and not _is_safe(folder / entry.name, entry):
            wrong[entry.name] = "unsafe"
        progress.advance()
    progress.finish()
    known = {*expected, MANIFEST, SUMS_NAME}
    extra = tuple(name for name in relative_files(folder) if name not in known)
    return Verified(manifest=manifest, wrong=wrong, extra=extra)


def _is_safe(path: Path, entry: Entry) -> bool:
    try:
        return archive_members(path) == {name: one.bytes for name, one in sorted(entry.members.items())}
    except FormatError:
        return False


def unpack_release(folder: Path, output: Path, names: Sequence[str], progress: Progress) -> list[str]:
    """Unpack a release, archives into folders of their names, and return what is there.

    Parameters
    ----------
    folder
        The release.
    output
        A new folder.
    names
        Files, or kinds of files, to take; empty: all.

    Raises
    ------
    ConfigError
        If one of `names` is neither.
    FormatError
        If a file is missing, changed, or must not be unpacked; then there is no output.
    OutputError
        If there is something at `output`, or it cannot be written.
    """
    manifest = read_manifest(folder)
    entries = [entry for entry in manifest.files if not names or {entry.name, entry.kind} & set(names)]
    known = [word for entry in manifest.files for word in (entry.name, entry.kind)]
    for name in names:
        if name not in known:
            raise ConfigError(
                f"parts: {folder} has no file and no kind of file {name!r}{suggest(name, known)}; it has"
                f" {', '.join(dict.fromkeys(entry.name for entry in manifest.files))}",
                key="parts",
            )
    wrong = check_files(folder, {entry.name: entry.sum for entry in entries})
    if wrong:
        name, what = next(iter(sorted(wrong.items())))
        raise FormatError(f"{folder / name} is {what}; fetch it again: nothing was unpacked")
    progress.start("unpacking", sum(entry.bytes for entry in entries))
    with new_folder(output) as temporary:
        for entry in entries:
            if entry.name.endswith(".zip"):
                target = temporary / entry.name.removesuffix(".zip")
                target.mkdir()
                unpack_archive(folder / entry.name, target, expected=entry.members)
            else:
                with (temporary / entry.name).open("xb") as out:
                    copy_checked(folder / entry.name, out, entry.sum)
            progress.advance(entry.bytes)
    progress.finish()
    return [entry.name.removesuffix(".zip") for entry in entries]
