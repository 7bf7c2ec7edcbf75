"""Bundles on disk as the records that runs and registry speak of; no model is loaded.

May import `records` and `models`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from scope_ml.core.provenance import digest_json
from scope_ml.errors import ModelError, ModelNotFoundError
from scope_ml.models.bundle import bundle_digest
from scope_ml.models.record import BUNDLE_FILE, BundleRecord, read_record
from scope_ml.tracking.records import ModelRecord

__all__ = ["find_bundles", "group_by_name", "model_record", "training_key"]


def training_key(config_digest: str, data_digest: str, split_digest: str, seed: int | None) -> str:
    """Return the digest of all that decides a training; the same key gives the same model."""
    return digest_json([config_digest, data_digest, split_digest, seed])


def model_record(folder: Path, record: BundleRecord | None = None) -> ModelRecord:
    """Return what tracking needs to know about the bundle in `folder`; its files are checked.

    Parameters
    ----------
    folder
        The bundle's folder.
    record
        Its record, where it was read already.

    Raises
    ------
    ModelError
        If there is no whole bundle.
    """
    known = read_record(folder) if record is None else record
    made = known.provenance
    return ModelRecord(
        folder=folder,
        tag=known.spec.tag,
        algorithm=known.algorithm.name,
        seed=known.seed,
        digest=bundle_digest(folder),
        features=known.features.names,
        threshold=known.threshold,
        validation=_average_precision(known, "val"),
        test=_average_precision(known, "test"),
        validation_interval=_interval(known, "val"),
        test_interval=_interval(known, "test"),
        images=_needs_images(known),
        members=known.members,
        data_digest=made.data_digest,
        split_digest=made.split_digest,
        config_digest=made.config_digest,
        key=training_key(made.config_digest, made.data_digest, made.split_digest, known.seed),
    )


def _needs_images(known: BundleRecord) -> bool:
    """Return whether the model, or a member of an ensemble, takes dm-dt images, by what it said of itself."""
    members = known.model_facts.get("members", [{"facts": known.model_facts}])
    said = getattr(known.algorithm, "dmdt_branch", False)
    return any(bool(member["facts"].get("dmdt_branch", said)) for member in members)


def find_bundles(folders: Sequence[Path]) -> tuple[ModelRecord, ...]:
    """Return the records of all bundles in `folders`, at any depth; hidden folders are unfinished ones and skipped.

    Raises
    ------
    ModelNotFoundError
        If a folder does not exist.
    ModelError
        If a bundle is not whole, or one is there twice under different names.
    """
    found: list[ModelRecord] = []
    for folder in folders:
        if not folder.is_dir():
            raise ModelNotFoundError(
                f"{folder} is no folder of model bundles; type python -m scope_ml.train ... output={folder} to make it"
            )
        found += [model_record(path) for path in _bundle_folders(folder)]
    seen: dict[tuple[str, str, int | None], ModelRecord] = {}
    for record in found:
        same = seen.setdefault((record.tag, record.algorithm, record.seed), record)
        if same.digest != record.digest:
            raise ModelError(
                f"{same.folder} and {record.folder} are different models of {record.run_name};"
                " give one folder, or remove the older"
            )
    return tuple(sorted(seen.values(), key=lambda record: (record.name, seed_order(record.seed))))


def group_by_name(records: Iterable[ModelRecord]) -> dict[str, list[ModelRecord]]:
    """Return the records of each registered name."""
    groups: dict[str, list[ModelRecord]] = {}
    for record in records:
        groups.setdefault(record.name, []).append(record)
    return groups


def _bundle_folders(folder: Path) -> list[Path]:
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if BUNDLE_FILE in files:
            found.append(Path(parent))
            folders.clear()
    return found


def seed_order(seed: int | None) -> tuple[bool, int]:
    """Return a key that sorts seeds: single models by seed, then the ensemble."""
    return (seed is None, seed or 0)


def _interval(record: BundleRecord, part: str) -> tuple[float, float] | None:
    metrics = record.metrics.get(part)
    known = None if metrics is None else metrics.estimates.get("average_precision")
    return None if known is None or known.low is None or known.high is None else (known.low, known.high)


def _average_precision(record: BundleRecord, part: str) -> float | None:
    metrics = record.metrics.get(part)
    return None if metrics is None else metrics.value("average_precision")
