"""Partitions of an older catalogue that are still what they were: proven by digests, taken over as they are.

May import io, core and errors.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scope_ml.core.provenance import digest_file
from scope_ml.errors import FormatError
from scope_ml.io.atomic import atomic_path
from scope_ml.io.hats_writer import partition_path

__all__ = ["PARTITIONS", "Proven", "Standing", "proven", "read_standing", "take_over", "write_partitions"]

#: File of a catalogue with the counts, the key and the digest of each partition.
PARTITIONS = "partitions.json"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A catalogue that stands: its folder, and what it says of its partitions, by their paths."""

    path: Path
    partitions: Mapping[str, Mapping[str, Any]]


def read_standing(path: Path) -> Standing:
    """Read what a catalogue says of its partitions.

    Raises
    ------
    FormatError
        If it is no catalogue of ours.
    """
    file = path / PARTITIONS
    if not file.exists():
        raise FormatError(f"{path} is no catalogue of scope_ml (it has no {PARTITIONS}); give the folder of one")
    try:
        partitions = json.loads(file.read_text(encoding="utf-8"))
        by_path = {str(partition_path(int(one["order"]), int(one["pixel"]))): one for one in partitions}
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(f"{file} cannot be read ({error}); make the catalogue again") from error
    return Standing(path=path, partitions=by_path)


def write_partitions(catalogue: Path, partitions: Sequence[Mapping[str, Any]]) -> None:
    """Write what is known of the partitions of a catalogue."""
    with atomic_path(catalogue / PARTITIONS) as temporary:
        lines = ",\n".join(json.dumps(dict(one), sort_keys=True) for one in partitions)
        temporary.write_text(f"[\n{lines}\n]\n" if lines else "[]\n", encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Proven:
    """A partition of an older catalogue that is still what it was: its file (None: it has no stars), what is known of it."""

    file: Path | None
    known: Mapping[str, Any]


def proven(standing: Sequence[Standing], keys: Mapping[str, str]) -> dict[str, Proven]:
    """Return the partitions whose key is what it was, and whose file is what was written then, by path.

    Parameters
    ----------
    standing
        Older catalogues, the first that has a partition counts.
    keys
        Key of each wanted partition, by its path.
    """
    found: dict[str, Proven] = {}
    for one in standing:
        for path, known in one.partitions.items():
            if path in found or known.get("key") != keys.get(path, ""):
                continue
            if not known.get("n_stars"):
                found[path] = Proven(file=None, known=known)
                continue
            file = one.path / path
            # Believed is the file, not what is said of it.
            if file.is_file() and digest_file(file) == known.get("sha256"):
                found[path] = Proven(file=file, known=known)
    return found


def take_over(found: Mapping[str, Proven], catalogue: Path) -> None:
    """Put the files of partitions into a catalogue, as the same file under a second name where the disk can do that."""
    for path, one in found.items():
        target = catalogue / path
        if one.file is None or target.exists():
            continue
        with atomic_path(target) as temporary:
            temporary.unlink()
            try:
                # Nothing of ours ever writes into a file that stands.
                os.link(one.file, temporary)
            except OSError:
                shutil.copyfile(one.file, temporary)
