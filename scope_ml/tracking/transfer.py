"""A folder of models on its way from one registry to another: bundles, and a manifest with the digest of every file.

::

    manifest.json            names, versions, digests, history, metrics; no path, no address
    scope-rrlyr-xgb/         the bundle, as `train` wrote it
    ...

Only plain files that a bundle is made of are taken or read; nothing in them is code. May import `bundles`, `records`,
`registry_history` and below.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scope_ml.core.provenance import digest_file
from scope_ml.errors import FormatError, ModelError, OutputError
from scope_ml.io.atomic import clear_leftovers, hidden_sibling
from scope_ml.models.record import read_record
from scope_ml.tracking.bundles import model_record
from scope_ml.tracking.records import ModelRecord, ModelVersion
from scope_ml.tracking.registry_history import Promotion, merged_history, write_history

__all__ = ["MANIFEST", "Parcel", "Parcelled", "read_parcel", "write_parcel"]

MANIFEST = "manifest.json"

#: What the manifest says it is, and the version of its layout.
KIND, LAYOUT = "scope_ml models", 1

#: Names of bundles' files and of models: no path, nothing hidden.
PLAIN_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")

#: Endings of files that could hold code when they are read.
NEVER = frozenset({".pkl", ".pickle", ".joblib", ".py", ".so", ".npy"})


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """One model to export: the version, its checked bundle, and the history of its model."""

    version: ModelVersion
    record: ModelRecord
    history: tuple[Promotion, ...]
    alias: str


@dataclass(frozen=True, kw_only=True)
class Parcelled:
    """One model that was read from an export.

    Attributes
    ----------
    record
        Its bundle, in the export's folder, checked.
    version, alias
        What it was where it came from.
    history
        The champions of its model there, as the text of a tag.
    """

    record: ModelRecord
    version: int
    alias: str
    history: str


def write_parcel(folder: Path, parcels: Sequence[Parcel]) -> bool:
    """Write an export, which appears whole or not at all; False if it stood there already with the same content.

    Raises
    ------
    OutputError
        If the folder cannot be written, or holds something else.
    ModelError
        If a bundle holds what no bundle of ours holds.
    """
    manifest = folder / MANIFEST
    if folder.exists() and not manifest.is_file() and (folder.is_file() or any(folder.iterdir())):
        raise OutputError(f"cannot write the export {folder}: something else is there; choose another output")
    clear_leftovers(folder)
    temporary = hidden_sibling(folder)
    old = temporary.with_suffix(".old")
    try:
        temporary.mkdir(parents=True)
        entries = [_pack(parcel, temporary) for parcel in parcels]
        text = json.dumps({"kind": KIND, "layout": LAYOUT, "models": entries}, indent=2, allow_nan=False) + "\n"
        if manifest.is_file() and manifest.read_text(encoding="utf-8") == text and _is_whole(folder, entries):
            return False
        (temporary / MANIFEST).write_text(text, encoding="utf-8")
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
    except OSError as error:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise OutputError(f"cannot write the export {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return True


def read_parcel(folder: Path) -> tuple[Parcelled, ...]:
    """Read an export after a check of every file of it.

    Raises
    ------
    FormatError
        If there is no export.
    ModelError
        If a file is missing, changed, or not in the manifest; names it.
    """
    entries = _entries(folder)
    problem = next((found for entry in entries if (found := _problem(folder, entry))), None)
    if problem is not None:
        raise ModelError(f"{problem}; nothing was imported: export or fetch it again")
    return tuple(_unpack(folder, entry) for entry in entries)


def _pack(parcel: Parcel, folder: Path) -> dict[str, Any]:
    record, version = parcel.record, parcel.version
    target = folder / version.name
    target.mkdir()
    files = {}
    for path in sorted(record.folder.iterdir()):
        if not _is_allowed(path):
            raise ModelError(f"{path} is no file of a model bundle; remove it, or train the model again")
        shutil.copyfile(path, target / path.name)
        files[path.name] = digest_file(target / path.name)
    known = read_record(target)
    return {
        "name": version.name,
        "version": version.version,
        "alias": parcel.alias,
        "tag": version.tag,
        "algorithm": version.algorithm,
        "made_of": version.made_of,
        "digest": record.digest,
        "data_digest": record.data_digest,
        "split_digest": record.split_digest,
        "metrics": {part: metrics.to_json() for part, metrics in known.metrics.items()},
        "history": [asdict(entry) for entry in parcel.history],
        "files": files,
    }


def _unpack(folder: Path, entry: Mapping[str, Any]) -> Parcelled:
    record = model_record(folder / entry["name"])
    if record.digest != entry["digest"] or record.name != entry["name"]:
        raise ModelError(
            f"{record.folder} holds {record.name} {record.digest[:12]}, but {MANIFEST} says {entry['name']}"
            f" {str(entry['digest'])[:12]}; nothing was imported: export or fetch it again"
        )
    try:
        history = merged_history([[Promotion(**one) for one in entry["history"]]])
    except TypeError as error:
        raise ModelError(f"{folder / MANIFEST}: the history of {entry['name']} cannot be read ({error})") from error
    return Parcelled(
        record=record, version=int(entry["version"]), alias=str(entry["alias"]), history=write_history(history)
    )


def _entries(folder: Path) -> list[Mapping[str, Any]]:
    path = folder / MANIFEST
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FormatError(
            f"{folder} is no export (no {MANIFEST} in it); give path=FOLDER that registry export wrote"
        ) from error
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read ({error}); export or fetch it again") from error
    if not isinstance(plain, dict) or plain.get("kind") != KIND or not isinstance(plain.get("models"), list):
        raise FormatError(f"{path} is no manifest of exported models; give path=FOLDER that registry export wrote")
    if plain.get("layout") != LAYOUT:
        raise FormatError(f"{path} has layout {plain.get('layout')}, this scope_ml knows {LAYOUT}; update scope_ml")
    needed = {"name": str, "version": int, "alias": str, "digest": str, "history": list, "files": dict}
    for entry in plain["models"]:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), kind) for key, kind in needed.items()):
            raise FormatError(f"{path} has an entry without {', '.join(needed)}; export or fetch it again")
    return list(plain["models"])


def _problem(folder: Path, entry: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the files of one model, or None."""
    name, files = entry["name"], entry["files"]
    if not PLAIN_NAME.fullmatch(name) or not all(PLAIN_NAME.fullmatch(file) for file in files):
        return f"{folder / MANIFEST} names a path outside its folder ({name!r})"
    bundle = folder / name
    if bundle.is_symlink() or not bundle.is_dir():
        return f"{bundle} is missing"
    for path in sorted(bundle.iterdir()):
        if not _is_allowed(path) or path.name not in files:
            return f"{path} is not in {MANIFEST}"
    for file, digest in files.items():
        if not (bundle / file).is_file():
            return f"{bundle / file} is missing"
        if digest_file(bundle / file) != digest:
            return f"{bundle / file} was changed since it was exported (its digest differs)"
    return None


def _is_allowed(path: Path) -> bool:
    plain = path.is_file() and not path.is_symlink()
    return plain and PLAIN_NAME.fullmatch(path.name) is not None and path.suffix.lower() not in NEVER


def _is_whole(folder: Path, entries: Sequence[Mapping[str, Any]]) -> bool:
    expected = {MANIFEST, *(str(entry["name"]) for entry in entries)}
    return {path.name for path in folder.iterdir()} == expected and not any(_problem(folder, one) for one in entries)
