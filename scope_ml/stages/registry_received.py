"""Where `registry import` takes models from: a folder of `registry export`, an archive of models, or a data release.

Archives are unpacked into a folder that is gone afterwards; every digest is checked before anything is registered.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scope_ml.errors import FormatError, OutputError
from scope_ml.io.archives import unpack_archive
from scope_ml.io.checksums import check_files
from scope_ml.stages.release_manifest import MODELS, is_release, read_manifest
from scope_ml.tracking.transfer import Parcelled, read_parcel

__all__ = ["received_models"]


@contextmanager
def received_models(path: Path) -> Iterator[tuple[Parcelled, ...]]:
    """Yield the models at `path`, checked; their folders last as long as the block.

    Raises
    ------
    FormatError
        If there are none, or an archive is damaged or must not be unpacked.
    ModelError
        If a bundle is not the one that its manifest names.
    """
    if path.is_dir() and not is_release(path):
        yield read_parcel(path)
        return
    archives = _archives_of(path) if path.is_dir() else [path]
    with tempfile.TemporaryDirectory(prefix="scope-ml-import-") as scratch:
        found: list[Parcelled] = []
        for place, archive in enumerate(archives):
            found += read_parcel(_unpacked(archive, Path(scratch, str(place))))
        yield tuple(found)


def _unpacked(archive: Path, folder: Path) -> Path:
    try:
        folder.mkdir()
        unpack_archive(archive, folder)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot unpack {archive}: {error.strerror or error}; set TMPDIR to a folder with more room"
        ) from error
    return folder


def _archives_of(release: Path) -> list[Path]:
    """Return the archives of models of a release, checked against its manifest."""
    entries = read_manifest(release).of_kind(MODELS)
    if not entries:
        raise FormatError(f"{release} is a data release without models")
    wrong = check_files(release, {entry.name: entry.sum for entry in entries})
    if wrong:
        name, what = next(iter(sorted(wrong.items())))
        raise FormatError(f"{release / name} is {what}; fetch it again: nothing was imported")
    return [release / entry.name for entry in entries]
