"""Which registered versions scored the tables of a catalogue, as `infer` pinned them beside these.

Tables say digests of models only; the lock in a field's folder, or beside a single table, says of which version each is.
May import tracking, core, errors and `catalog_inputs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scope_ml.errors import FormatError
from scope_ml.stages.catalog_inputs import Inputs
from scope_ml.tracking.lock import LOCK_NAME, read_lock

__all__ = ["ModelVersion", "model_versions"]


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A registered model; `version` is None for one that was taken from a folder."""

    name: str
    version: int | None


def model_versions(inputs: Inputs) -> tuple[Mapping[str, ModelVersion], tuple[str, ...]]:
    """Return the version of each model of a catalogue, by its column of scores, and a warning for each lock that is torn.

    Only what has the digest that the tables name counts; models that no lock knows are left out.
    """
    found: dict[str, ModelVersion] = {}
    warnings = []
    for path in _locks(inputs):
        try:
            entries = read_lock(path)
        except FormatError:
            warnings.append(f"{path} cannot be read, and the versions of models that it pins are not known")
            continue
        for entry in entries:
            found.setdefault(entry.digest, ModelVersion(name=entry.name, version=entry.version))
    return {column: found[digest] for column, digest in inputs.models.items() if digest in found}, tuple(warnings)


def _locks(inputs: Inputs) -> list[Path]:
    """Return the locks that there are, each once, in the order of the tables."""
    paths: dict[Path, None] = {}
    for file in inputs.files:
        paths[file.path.parent / f"_{LOCK_NAME}"] = None
        paths[file.path.with_name(f"{file.path.name}.{LOCK_NAME}")] = None
    return [path for path in paths if path.is_file()]
