"""Which bundles to score with: what ``models=champion``, ``challenger``, ``lock``, or a folder stand for.

May import `registry`, `glance`, `lock`, `bundles` and below.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scope_ml.errors import ModelError, ModelNotFoundError, suggest
from scope_ml.tracking.bundles import find_bundles, group_by_name, model_record
from scope_ml.tracking.glance import glance
from scope_ml.tracking.lock import LOCK_NAME, LockEntry, read_lock
from scope_ml.tracking.promotion import best_seed
from scope_ml.tracking.records import ModelRecord, ModelVersion
from scope_ml.tracking.registry import Registry
from scope_ml.tracking.settings import TrackingConfig, checked_uri

__all__ = ["RegistryView", "ResolvedModel", "bundle_cache", "open_view", "resolve_models", "whole_bundle"]

#: Aliases of the registry that ``models=`` takes by name.
ALIASES = ("champion", "challenger")


class RegistryView(Protocol):
    """What can be read of a registry: a `Registry`, or a `Glance` into its database file."""

    def names(self) -> tuple[str, ...]:
        """Return the names of our models, sorted."""
        ...

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Return the versions of one model, newest first."""
        ...

    def bundle_folder(self, version: ModelVersion, cache: Path) -> Path:
        """Return a local folder with the bundle of a version."""
        ...


def open_view(tracking: TrackingConfig) -> RegistryView:
    """Open a registry to read: a database file in milliseconds, without MLflow, where it is as expected.

    Raises
    ------
    ScopeError
        As `Registry.open` raises.
    """
    seen = glance(checked_uri(tracking.uri)) if tracking.enabled else None
    return Registry.open(tracking) if seen is None else seen


@dataclass(frozen=True, kw_only=True)
class ResolvedModel:
    """One model to score with.

    Attributes
    ----------
    pin
        What is written into lock files: name, version, alias, digest.
    folder
        Local folder of the bundle.
    """

    pin: LockEntry
    folder: Path


def resolve_models(
    models: str, tracking: TrackingConfig, *, classes: Sequence[str] = (), bundles: Path | None = None
) -> tuple[ResolvedModel, ...]:
    """Return the models that `models` stands for, sorted by name.

    Parameters
    ----------
    models
        ``champion`` or ``challenger``: every model of the registry that has this alias; ``lock``: those of
        ``models.lock.json``; a path that ends in ``.json``: those of that lock file; a folder: the best seed of each
        class and algorithm in it, without a registry.
    tracking
        Where the registry is.
    classes
        Tags to take; empty takes all.
    bundles
        Folder in which pinned bundles are looked for, by digest, before the registry is asked.

    Raises
    ------
    ModelNotFoundError
        If there is no registry, no model with the alias, no bundle of that digest, or none for one of `classes`.
    ModelError
        If a bundle is not the one that was registered.
    """
    if models in ALIASES:
        found = _with_alias(Registry.open(tracking), models, classes)
    elif models == "lock" or models.endswith(".json"):
        found = _locked(Path(LOCK_NAME if models == "lock" else models), tracking, classes, bundles)
    else:
        found = _in_folder(_folder(models), classes)
    lacking = sorted(set(classes) - {model.pin.tag for model in found})
    if lacking:
        there = sorted({model.pin.tag for model in resolve_models(models, tracking, bundles=bundles)})
        raise ModelNotFoundError(
            f"models={models}: no model for the class(es) {', '.join(lacking)}; there are models for"
            f" {', '.join(there)}; type python -m scope_ml.train class={lacking[0]} to make one"
        )
    return tuple(sorted(found, key=lambda model: model.pin.name))


def _with_alias(registry: Registry, alias: str, classes: Sequence[str]) -> list[ResolvedModel]:
    versions = registry.with_alias(alias)
    if not versions:
        raise ModelNotFoundError(
            f"no model in the registry {registry.uri} has the alias {alias}; type python -m scope_ml.train class=..."
            " to make one, or give tracking.uri=... of another registry"
        )
    return [
        _from_registry(registry, version, alias) for version in versions if not classes or version.tag in set(classes)
    ]


def whole_bundle(registry: RegistryView, version: ModelVersion) -> ModelRecord:
    """Return the bundle of a version on this machine, checked.

    Raises
    ------
    ModelNotFoundError
        If its files are gone.
    ModelError
        If they are not the ones that were registered.
    """
    record = model_record(registry.bundle_folder(version, bundle_cache()))
    if record.digest != version.digest:
        raise ModelError(
            f"the files of {version.name} version {version.version} in {record.folder} are not the ones that were"
            " registered (their digest differs); train or register the model again"
        )
    return record


def _from_registry(registry: Registry, version: ModelVersion, alias: str) -> ResolvedModel:
    record = whole_bundle(registry, version)
    return ResolvedModel(pin=_pin(record, version.version, alias), folder=record.folder)


def _locked(path: Path, tracking: TrackingConfig, classes: Sequence[str], bundles: Path | None) -> list[ResolvedModel]:
    pins = [pin for pin in read_lock(path) if not classes or pin.tag in set(classes)]
    at_hand = {record.digest: record for record in find_bundles([bundles])} if bundles is not None else {}
    found = [ResolvedModel(pin=pin, folder=at_hand[pin.digest].folder) for pin in pins if pin.digest in at_hand]
    missing = [pin for pin in pins if pin.digest not in at_hand]
    if missing:
        registry = Registry.open(tracking)
        found += [_pinned(registry, pin, path) for pin in missing]
    return found


def _pinned(registry: Registry, pin: LockEntry, path: Path) -> ResolvedModel:
    # By digest first: a registry that was made anew from the bundles counts its versions anew.
    version = next((version for version in registry.versions(pin.name) if version.digest == pin.digest), None)
    if version is None:
        raise ModelNotFoundError(
            f"{path} pins {pin.name} version {pin.version}, whose bundle {pin.digest[:12]} is not in the registry"
            f" {registry.uri}; type python -m scope_ml.register, or give the registry that it was written with"
        )
    resolved = _from_registry(registry, version, pin.alias)
    return ResolvedModel(pin=pin, folder=resolved.folder)


def _in_folder(folder: Path, classes: Sequence[str]) -> list[ResolvedModel]:
    records = find_bundles([folder])
    if not records:
        raise ModelNotFoundError(
            f"models={folder} holds no model bundle; give a folder that python -m scope_ml.train wrote"
        )
    best = [best_seed(same) for same in group_by_name(records).values()]
    return [
        ResolvedModel(pin=_pin(record, None, ""), folder=record.folder)
        for record in best
        if not classes or record.tag in set(classes)
    ]


def _folder(models: str) -> Path:
    folder = Path(models)
    if not folder.is_dir():
        known = (*ALIASES, "lock")
        raise ModelNotFoundError(
            f"models={models} is neither {', '.join(known)} nor a folder of bundles{suggest(models, known)}"
        )
    return folder


def _pin(record: ModelRecord, version: int | None, alias: str) -> LockEntry:
    return LockEntry(
        name=record.name,
        version=version,
        alias=alias,
        digest=record.digest,
        tag=record.tag,
        algorithm=record.algorithm,
    )


def bundle_cache() -> Path:
    """Return where bundles of a server are kept; their digest is their name."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "scope_ml" / "models"
