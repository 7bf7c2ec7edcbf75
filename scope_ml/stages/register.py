"""Stage `register`: bundles of `train` into the registry, the best seed of each as champion, and the lock file.

The bundles are the truth: runs and versions that a registry lacks are made from them, so that a deleted database
comes back. Where everything stands as it should, that is found out in well under a second, without MLflow.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scope_ml.core.configuration import option
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.errors import ModelNotFoundError
from scope_ml.stages.model_runs import ensure_logged
from scope_ml.tracking.bundles import find_bundles, group_by_name
from scope_ml.tracking.glance import Glance, glance
from scope_ml.tracking.lock import LOCK_NAME, LockEntry, write_lock
from scope_ml.tracking.promotion import Policy, best_seed, decide
from scope_ml.tracking.records import ModelRecord, ModelVersion
from scope_ml.tracking.registry import Registration
from scope_ml.tracking.settings import TrackingConfig, checked_uri
from scope_ml.tracking.tracker import Tracker, open_tracker

__all__ = ["Register", "run"]


@dataclass(frozen=True, kw_only=True)
class Register:
    """Options of the stage."""

    models: str | tuple[str, ...] = option(machine=True, doc="folder(s) with the bundles of train, at any depth")
    output: str = option(LOCK_NAME, machine=True, doc="lock file to write: name, version, digest of each champion")
    tracking: TrackingConfig = option(TrackingConfig(), doc="where the registry is")
    promotion: Policy = option(
        "pipeline",
        machine=True,
        doc="when the best seed becomes champion (pipeline: always; the comparison is written down)",
    )
    sweep: str = option("register", machine=True, doc="parent of the runs that are made from bundles")
    plots: bool = option(True, machine=True, doc="draw ROC, precision-recall and confusion plots for these runs")
    machine: Machine = option(Machine(), doc="dry_run says what would be done")


def run(config: Register, *, progress: Progress) -> Report:
    """Register the best seed of each class and algorithm and write the lock file.

    Raises
    ------
    ModelNotFoundError
        If there are no bundles.
    ModelError
        If a bundle is damaged.
    OutputError
        If the lock file or the database cannot be written.
    ServiceError
        If the registry does not answer.
    """
    began = time.monotonic()
    folders = [config.models] if isinstance(config.models, str) else list(config.models)
    records = find_bundles([Path(folder) for folder in folders])
    if not records:
        raise ModelNotFoundError(
            f"models={','.join(folders)} holds no model bundle; type python -m scope_ml.train ... output=FOLDER"
        )
    best = {name: best_seed(same) for name, same in group_by_name(records).items()}
    if not config.tracking.enabled:
        return _report(config, records, [_unregistered(record) for record in best.values()], [], 0, began)
    seen = glance(checked_uri(config.tracking.uri))
    if seen is not None and _is_done(seen, records, best, config.promotion):
        pins = [_pin(_champion(seen, name)) for name in best]
        return _report(config, records, pins, [], 0, began)
    if config.machine.dry_run:
        n_missing = sum(seen is None or record.digest not in seen.logged for record in records)
        return _dry_report(records, best, n_missing, began)
    return _register_all(config, records, best, progress, began)


def _register_all(
    config: Register,
    records: Sequence[ModelRecord],
    best: Mapping[str, ModelRecord],
    progress: Progress,
    began: float,
) -> Report:
    tracker = open_tracker(config.tracking)
    tracker.sweep(config.sweep, len(records))
    progress.start("registering models", len(records))
    done: list[Registration] = []
    n_logged = 0
    try:
        registry = tracker.registry()
        for record in records:
            model, is_new = ensure_logged(tracker, record, plots=config.plots)
            n_logged += is_new
            is_best = best[record.name].digest == record.digest
            if registry is not None and model is not None and (is_best or record.seed is None):
                done.append(registry.register(record, model, config.promotion if is_best else "never"))
            progress.advance()
        champions = _champions(tracker, done)
    finally:
        progress.finish()
        tracker.close()
    return _report(config, records, [_pin(champion) for champion in champions], done, n_logged, began)


def _champions(tracker: Tracker, done: Sequence[Registration]) -> list[ModelVersion]:
    """Return the champions of the names that were registered: not always the versions that were."""
    registry = tracker.registry()
    names = {registration.version.name for registration in done}
    return [] if registry is None else [v for v in registry.with_alias("champion") if v.name in names]


def _is_done(seen: Glance, records: Sequence[ModelRecord], best: Mapping[str, ModelRecord], policy: Policy) -> bool:
    """Say whether every bundle has its run, every best seed its version and alias, every ensemble its version."""
    if any(record.digest not in seen.logged for record in records):
        return False
    ensembles = [record for record in records if record.seed is None]
    if any(record.digest not in {version.digest for version in seen.versions(record.name)} for record in ensembles):
        return False
    for name, record in best.items():
        champion = _champion(seen, name)
        own = next((version for version in seen.versions(name) if version.digest == record.digest), None)
        if own is None or champion is None:
            return False
        alias = decide(record, champion, policy).alias
        if alias is not None and alias not in own.aliases:
            return False
    return True


def _champion(seen: Glance, name: str) -> ModelVersion | None:
    return next((version for version in seen.versions(name) if "champion" in version.aliases), None)


def _pin(champion: ModelVersion | None) -> LockEntry:
    if champion is None:
        raise ModelNotFoundError("a model lost its champion while it was registered; type the same command again")
    return LockEntry(
        name=champion.name,
        version=champion.version,
        alias="champion",
        digest=champion.digest,
        tag=champion.tag,
        algorithm=champion.algorithm,
    )


def _unregistered(record: ModelRecord) -> LockEntry:
    """Return the pin of a bundle without a registry: its digest alone."""
    return LockEntry(
        name=record.name,
        version=None,
        alias="champion",
        digest=record.digest,
        tag=record.tag,
        algorithm=record.algorithm,
    )


def _report(
    config: Register,
    records: Sequence[ModelRecord],
    pins: Sequence[LockEntry],
    done: Sequence[Registration],
    n_logged: int,
    began: float,
) -> Report:
    # Without promotion nothing was chosen, and what a lock pins already stays.
    is_chosen = config.promotion != "never"
    written = is_chosen and write_lock(Path(config.output), pins)
    warnings = tuple(
        f"{one.version.name} version {one.version.version} is {one.decision.alias or 'registered only'}:"
        f" {one.decision.reason}"
        for one in done
        if one.decision.alias != "champion"
    )
    n_new = sum(one.is_new for one in done)
    return Report(
        stage="register",
        n_in=len(records),
        seconds=time.monotonic() - began,
        warnings=warnings,
        outputs={"lock": config.output} if is_chosen else {},
        facts={
            "n_models": len(pins),
            "n_versions_new": n_new,
            "n_runs_new": n_logged,
            "lock_written": written,
            "reasons": {one.version.name: one.decision.reason for one in done},
            "text": f"{f'{len(pins)} champions pinned in {config.output}' if is_chosen else 'no champion chosen, no lock written'};"
            f" {n_new} new version(s), {n_logged} new run(s)",
        },
    )


def _dry_report(
    records: Sequence[ModelRecord], best: Mapping[str, ModelRecord], n_missing: int, began: float
) -> Report:
    return Report(
        stage="register",
        n_in=len(records),
        seconds=time.monotonic() - began,
        facts={
            "text": f"{len(best)} model(s) to register or compare, {n_missing} run(s) to make; nothing was done",
            "best_seeds": {name: record.seed for name, record in best.items()},
        },
    )
