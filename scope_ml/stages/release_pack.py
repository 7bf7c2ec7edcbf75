"""`release pack`: makes the files of a release beside its place, and gives them its name when all are whole.

State of a packing, in ``.NAME.pack``: ``files/`` what is done, ``state/`` the entry of each done file, ``stage/`` what was
gathered. A packing that was killed goes on with the files that are done; a release that stands keeps its place until the
new one is whole, and gives it the files that have not changed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import code_version, digest_json
from scope_ml.errors import OutputError
from scope_ml.io.archives import write_archive
from scope_ml.io.atomic import atomic_path
from scope_ml.io.checksums import SUMS_NAME, copy_checked, sum_of, write_sums
from scope_ml.io.folder_swap import swap_in
from scope_ml.stages.release_manifest import MANIFEST, Entry, Manifest, is_release, read_manifest
from scope_ml.stages.release_parts import Part
from scope_ml.stages.release_publication import Publication, citation
from scope_ml.stages.release_texts import datacite_text, readme

__all__ = ["Packed", "Workshop", "make_release"]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What a packing did: the manifest, names of files that were kept, whether anything is new."""

    manifest: Manifest
    kept: tuple[str, ...]
    is_new: bool


class Workshop:
    """The hidden folder in which a release is made; only one process may be in it (`io.output_lock`)."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.root = output.parent / f".{output.name}.pack"
        self.files, self.state, self.stage = (self.root / name for name in ("files", "state", "stage"))

    def open(self) -> None:
        """Make the folders; what was gathered before is gathered anew.

        Raises
        ------
        OutputError
            If something else than a release stands at the output, or the folders cannot be made.
        """
        something = self.output.is_file() or (self.output.is_dir() and any(self.output.iterdir()))
        if something and not is_release(self.output):
            raise OutputError(
                f"{self.output} is there and is no data release; choose another output, or remove it first"
            )
        try:
            shutil.rmtree(self.stage, ignore_errors=True)
            for folder in (self.files, self.state, self.stage):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write {self.output}: {error.strerror or error} ({self.root}); choose another output"
            ) from error

    def clear(self) -> None:
        """Remove what was gathered; what is done stays for the next time."""
        shutil.rmtree(self.stage, ignore_errors=True)

    def leave(self) -> None:
        """Remove the folder unless an earlier packing left something to go on with."""
        if not any(self.files.iterdir()):
            self.close()

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.root, ignore_errors=True)

    def done(self, part: Part) -> Entry | None:
        """Return the entry of a file that an earlier packing finished, if it is still whole."""
        return self._same(part, self.files / part.name, self._entry(part))

    def standing(self, part: Part) -> Entry | None:
        """Take a file over from the release that stands, if it is the same and whole, and return its entry."""
        if not is_release(self.output):
            return None
        old = next((entry for entry in read_manifest(self.output).files if entry.name == part.name), None)
        found = self._same(part, self.output / part.name, old)
        if found is not None:
            target = self.files / part.name
            target.unlink(missing_ok=True)
            try:
                os.link(self.output / part.name, target)
            except OSError:
                with atomic_path(target) as temporary:
                    shutil.copyfile(self.output / part.name, temporary)
        return found

    def make(self, part: Part, progress: Progress) -> Entry:
        """Make a file and return its entry."""
        target = self.files / part.name
        with atomic_path(target) as temporary:
            if part.make is not None:
                part.make(temporary)
                for member in part.members.values():
                    with Path(os.devnull).open("wb") as nowhere:
                        copy_checked(member.path, nowhere, member.sum)
                    progress.advance(member.sum.bytes)
            elif part.name.endswith(".zip"):
                write_archive(temporary, part.members, advance=progress.advance)
            else:
                (only,) = part.members.values()
                with temporary.open("wb") as out:
                    copy_checked(only.path, out, only.sum)
                progress.advance(only.sum.bytes)
        found = sum_of(target)
        entry = Entry(
            name=part.name,
            kind=part.kind,
            bytes=found.bytes,
            sha256=found.sha256,
            key=part.key,
            n_records=part.n_records,
            unit=part.unit,
            members={name: one.sum for name, one in part.members.items()} if part.name.endswith(".zip") else {},
        )
        with atomic_path(self.state / f"{part.name}.json") as temporary:
            temporary.write_text(json.dumps(entry.to_json()), encoding="utf-8")
        return entry

    def text(self, name: str, content: str) -> Entry:
        """Write a text and return its entry."""
        with atomic_path(self.files / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
        found = sum_of(self.files / name)
        return Entry(name=name, kind="text", bytes=found.bytes, sha256=found.sha256, key=digest_json(content))

    def keep_only(self, names: Sequence[str]) -> None:
        """Remove files that an earlier packing with other options left."""
        for path in self.files.iterdir():
            if path.name not in names:
                path.unlink()

    def _entry(self, part: Part) -> Entry | None:
        with suppress(OSError, ValueError, TypeError, KeyError):
            return Entry.from_json(json.loads((self.state / f"{part.name}.json").read_text(encoding="utf-8")))
        return None

    @staticmethod
    def _same(part: Part, path: Path, entry: Entry | None) -> Entry | None:
        if entry is None or entry.key != part.key or not path.is_file():
            return None
        return entry if sum_of(path) == entry.sum else None


def make_release(
    workshop: Workshop, parts: Sequence[Part], publication: Publication, facts: dict[str, Any], progress: Progress
) -> Packed:
    """Make what is missing, write texts, manifest and sums, and put the release in its place.

    Raises
    ------
    DataError
        If a file changed while it was packed.
    OutputError
        If the disk is full or cannot be written; what is done is kept for the next time.
    """
    entries: list[Entry] = []
    kept: list[str] = []
    progress.start("packing", sum(member.sum.bytes for part in parts for member in part.members.values()))
    for part in parts:
        found = None if part.is_quick else workshop.done(part) or workshop.standing(part)
        if found is not None:
            kept.append(part.name)
            progress.advance(sum(member.sum.bytes for member in part.members.values()))
        entries.append(found or workshop.make(part, progress))
    progress.finish()
    texts = [
        workshop.text("datacite.json", datacite_text(publication, entries)),
        workshop.text("README.md", readme(publication, entries, facts)),
    ]
    about = {
        "title": publication.title,
        "version": publication.version,
        "doi": publication.doi,
        "licence": publication.licence,
        "citation": citation(publication),
        "code_version": code_version(),
    }
    manifest = Manifest(files=tuple(sorted([*entries, *texts], key=lambda one: one.name)), facts={**about, **facts})
    workshop.text(MANIFEST, manifest.to_text())
    sums = {entry.name: entry.sum for entry in manifest.files} | {MANIFEST: sum_of(workshop.files / MANIFEST)}
    with atomic_path(workshop.files / SUMS_NAME) as temporary:
        write_sums(temporary, sums)
    workshop.keep_only([*sums, SUMS_NAME])
    is_new = not _stands(workshop, manifest)
    if is_new:
        swap_in(workshop.files, workshop.output)
    return Packed(manifest=manifest, kept=tuple(kept), is_new=is_new)


def _stands(workshop: Workshop, manifest: Manifest) -> bool:
    """Return whether the release that stands is this very one."""
    output = workshop.output
    if not is_release(output) or (output / MANIFEST).read_text(encoding="utf-8") != manifest.to_text():
        return False
    names = {entry.name for entry in manifest.files} | {MANIFEST, SUMS_NAME}
    try:
        same_sums = (output / SUMS_NAME).read_bytes() == (workshop.files / SUMS_NAME).read_bytes()
    except OSError:
        return False
    if {path.name for path in output.iterdir()} != names or not same_sums:
        return False
    return all(sum_of(output / entry.name) == entry.sum for entry in manifest.files)
