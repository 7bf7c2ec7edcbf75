"""Stage `registry`: list, show, compare, promote, rollback, export, import, backup, restore, clean.

Each action is a function here that asks the rooms ``registry_*`` for the work and returns a report whose text is shown.
Reading a database file needs no MLflow and takes well under a second.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from scope_ml.core.configuration import option
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.datasets.assemble import DatasetConfig, as_paths
from scope_ml.datasets.split import DEFAULT_SPLIT, SplitConfig
from scope_ml.errors import ConfigError, ModelNotFoundError
from scope_ml.stages import registry_backup, registry_clean, registry_promote, registry_transfer, registry_view
from scope_ml.stages.registry_clean import CleanConfig
from scope_ml.stages.registry_compare import Comparison, Side, compare, load_stars
from scope_ml.stages.registry_received import received_models
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir
from scope_ml.tracking.bundles import model_record
from scope_ml.tracking.registry import Registry
from scope_ml.tracking.resolve import open_view
from scope_ml.tracking.settings import TrackingConfig
from scope_ml.tracking.transfer import Parcelled, write_parcel

__all__ = ["RegistryTask", "run"]

Action = Literal["list", "show", "compare", "promote", "rollback", "export", "import", "backup", "restore", "clean"]

#: What an action cannot do without, and where to find it.
NEEDED = {
    "show": ("name",),
    "promote": ("name", "version"),
    "rollback": ("name",),
    "export": ("output",),
    "import": ("path",),
    "backup": ("output",),
    "restore": ("path",),
}
EXAMPLES = {
    "name": "name=scope-<tag>-<algorithm>, as registry list shows them",
    "version": "version=NUMBER or version=challenger",
    "output": "output=FOLDER to write (backup: or a FILE.zip)",
    "path": "path=FOLDER that registry export, release pack or registry backup wrote",
}


@dataclass(frozen=True, kw_only=True)
class RegistryTask:
    """Options of the stage."""

    action: Action = option(machine=True, doc="what to do: the first word of the command")
    name: str | None = option(None, machine=True, doc="model: scope-<tag>-<algorithm>")
    version: int | str | None = option(
        None, machine=True, doc="its version: number or alias; compare: also a folder with a bundle"
    )
    against: int | str = option("champion", machine=True, doc="compare: the other version, number or alias or folder")
    classes: tuple[str, ...] = option((), machine=True, doc="list, export: tags; empty: all")
    algorithms: tuple[str, ...] = option((), machine=True, doc="list, export: xgb, dnn, ...; empty: all")
    alias: str = option("champion", machine=True, doc="export: versions with this alias")
    format: Literal["table", "json", "csv"] = option("table", machine=True, doc="list, show, compare: how it is shown")
    lock: str | tuple[str, ...] | None = option(
        None, machine=True, doc="list: check the pins of this models.lock.json; clean: keep what these pin"
    )
    reason: str | None = option(None, machine=True, doc="promote, rollback: why; promote needs it without a win")
    by: str | None = option(None, machine=True, doc="who; null: git's user.name, else the login")
    path: str | None = option(
        None, machine=True, doc="import: an export, a data release or its zip of models; restore: a backup"
    )
    output: str | None = option(
        None, machine=True, doc="export: folder; backup: folder or FILE.zip; clean: receipt, null: beside the database"
    )
    clean: CleanConfig = option(CleanConfig(), doc="what stays")
    apply: bool = option(False, machine=True, doc="clean: true removes, false shows")
    promote: bool | None = option(
        None,
        machine=True,
        doc="import: true makes champions, false sets no alias, null: where there is none, or if better in validation",
    )
    dataset: DatasetConfig = option(DatasetConfig(), doc="compare, promote: light curves to compare on")
    split: SplitConfig = option(DEFAULT_SPLIT, doc="their division, as the models were trained with")
    n_resamples: int = option(2000, doc="bootstrap resamples of a comparison", at_least=0, at_most=100_000)
    class_folders: str | tuple[str, ...] = option(
        (), machine=True, doc="configuration folders whose class/<tag>.yaml add classes of your own"
    )
    tracking: TrackingConfig = option(TrackingConfig(), doc="where the registry is")
    machine: Machine = option(Machine(), doc="threads; dry_run says what would be done")

    def __post_init__(self) -> None:
        """Check that the action has what it needs."""
        for key in NEEDED.get(self.action, ()):
            if getattr(self, key) is None:
                raise ConfigError(f"registry {self.action} needs {EXAMPLES[key]}", key=key)
        if self.format == "csv" and self.action in ("show", "compare"):
            raise ConfigError(f"format=csv is for registry list; for {self.action} give format=json", key="format")


def run(config: RegistryTask, *, progress: Progress) -> Report:
    """Do what `config.action` says.

    Raises
    ------
    ConfigError
        If options are missing or do not fit.
    ModelNotFoundError
        If there is no such registry, model or version.
    ModelError
        If a promotion has neither a win nor a reason, or a bundle was changed.
    OutputError
        If the output cannot be written.
    ServiceError
        If the registry does not answer, is locked, or cannot be written.
    """
    began = time.monotonic()
    actions: Mapping[str, Callable[[RegistryTask, Progress], Report]] = {
        "list": _list,
        "show": _show,
        "compare": _compare,
        "promote": _promote,
        "rollback": _rollback,
        "export": _export,
        "import": _import,
        "backup": _back_up,
        "restore": _restore,
        "clean": _clean,
    }
    report = actions[config.action](config, progress)
    return Report(
        **{
            name: getattr(report, name)
            for name in ("stage", "n_in", "n_out", "dropped", "warnings", "outputs", "facts")
        },
        seconds=time.monotonic() - began,
    )


def _list(config: RegistryTask, progress: Progress) -> Report:
    del progress
    view = open_view(config.tracking)
    if config.lock is not None:
        paths = as_paths(config.lock)
        rows = [row for path in paths for row in registry_view.check_lock(view, path)]
        columns = ("name", "pinned", "found", "champion", "state")
        n_failed = sum(row["found"] is None for row in rows)
        text = registry_view.rendered(rows, config.format, columns)
        return Report(stage="registry", facts={"rows": rows, "n_failed": n_failed, "text": text})
    names = registry_view.chosen_names(view, config.classes, config.algorithms)
    rows = registry_view.listing(view, names)
    text = registry_view.rendered(rows, config.format)
    if not rows and config.format == "table":
        text = "the registry has no model yet; type python -m scope_ml.train class=... to make one"
    return Report(stage="registry", facts={"rows": rows, "text": text})


def _show(config: RegistryTask, progress: Progress) -> Report:
    del progress
    found = registry_view.shown(open_view(config.tracking), config.name, config.version)
    text = json.dumps(found, indent=2, allow_nan=False) if config.format == "json" else registry_view.page(found)
    return Report(stage="registry", facts={"model": found, "text": text})


def _compare(config: RegistryTask, progress: Progress) -> Report:
    registry = Registry.open(config.tracking)
    first = _side(registry, config, "challenger" if config.version is None else config.version)
    name = config.name or first.record.name
    second = _side(registry, config, config.against, name)
    comparison = _comparer(config, progress)(first, second)
    facts = {
        "candidate": first.called,
        "against": second.called,
        "is_win": comparison.is_win,
        "verdict": comparison.verdict,
        "numbers": comparison.numbers(),
    }
    text = "\n".join(comparison.lines(first.called, second.called))
    shown = json.dumps(facts, indent=2, allow_nan=False) if config.format == "json" else text
    return Report(stage="registry", warnings=comparison.warnings, facts={**facts, "text": shown})


def _promote(config: RegistryTask, progress: Progress) -> Report:
    registry = Registry.open(config.tracking)
    version = registry_view.find_version(registry, config.name, config.version or "")
    step = registry_promote.plan_promotion(registry, version, config.reason, _comparer(config, progress))
    return _carried_out(config, registry, step)


def _rollback(config: RegistryTask, progress: Progress) -> Report:
    del progress
    registry = Registry.open(config.tracking)
    if not registry.versions(config.name or ""):
        registry_view.find_version(registry, config.name, "champion")
    return _carried_out(config, registry, registry_promote.plan_rollback(registry, config.name or "", config.reason))


def _export(config: RegistryTask, progress: Progress) -> Report:
    view = open_view(config.tracking)
    names = registry_view.chosen_names(view, config.classes, config.algorithms)
    found = registry_transfer.parcels(view, names, config.alias, progress)
    folder = Path(config.output or "")
    facts = {"models": {parcel.version.name: parcel.version.version for parcel in found}}
    if config.machine.dry_run:
        return Report(
            stage="registry", facts={**facts, "text": f"{len(found)} model(s) to export; nothing was written"}
        )
    is_new = write_parcel(folder, found)
    text = f"{len(found)} model(s) in {folder}" + ("" if is_new else ", which held just them already")
    return Report(stage="registry", outputs={"models": str(folder)}, facts={**facts, "written": is_new, "text": text})


def _import(config: RegistryTask, progress: Progress) -> Report:
    with received_models(Path(config.path or "")) as models:
        return _imported(config, models, progress)


def _imported(config: RegistryTask, models: Sequence[Parcelled], progress: Progress) -> Report:
    kept = [
        model
        for model in models
        if (not config.classes or model.record.tag in config.classes)
        and (not config.algorithms or model.record.algorithm in config.algorithms)
    ]
    if not kept:
        there = ", ".join(model.record.name for model in models) or "no model"
        raise ModelNotFoundError(f"{config.path} has no model of these classes and algorithms; it has {there}")
    if config.machine.dry_run:
        names = ", ".join(model.record.name for model in kept)
        return Report(stage="registry", facts={"text": f"to import: {names}; nothing was done"})
    done, n_runs = registry_transfer.import_models(
        kept,
        config.tracking,
        registry_transfer.import_policy(config.promote),
        by=config.by,
        progress=progress,
    )
    rows = [
        f"{one.version.name} version {one.version.version}{'' if one.is_new else ' (was there)'}:"
        f" {', '.join(one.version.aliases) or 'no alias'}; {one.version.reason}"
        for one in done
    ]
    n_new = sum(one.is_new for one in done)
    facts = {"n_versions_new": n_new, "n_runs_new": n_runs, "versions": [asdict(one.version) for one in done]}
    return Report(stage="registry", n_in=len(models), facts={**facts, "text": "\n".join(rows)})


def _back_up(config: RegistryTask, progress: Progress) -> Report:
    output = Path(config.output or "").absolute()
    return registry_backup.back_up(config.tracking, output, dry_run=config.machine.dry_run, progress=progress)


def _restore(config: RegistryTask, progress: Progress) -> Report:
    path = Path(config.path or "")
    return registry_backup.restore(config.tracking, path, dry_run=config.machine.dry_run, progress=progress)


def _clean(config: RegistryTask, progress: Progress) -> Report:
    return registry_clean.clean(
        config.tracking,
        config.clean,
        as_paths(config.lock or ()),
        receipt=Path(config.output) if config.output is not None else None,
        by=config.by,
        apply=config.apply and not config.machine.dry_run,
        progress=progress,
    )


def _carried_out(config: RegistryTask, registry: Registry, step: registry_promote.Step) -> Report:
    number, name = step.version.version, step.version.name
    facts = {"champion": number, "before": step.instead_of, "why": step.why, "numbers": dict(step.numbers)}
    if not step.is_needed:
        return Report(stage="registry", facts={**facts, "text": "\n".join(step.lines)})
    would = f"{name} version {number} becomes champion after version {step.instead_of}: {step.why}"
    if config.machine.dry_run:
        line = f"{would}; dry run: nothing was changed"
    else:
        registry_promote.carry_out(registry, step, config.by)
        line = would.replace(" becomes champion ", " is champion now, ")
    return Report(stage="registry", warnings=step.warnings, facts={**facts, "text": "\n".join([*step.lines, line])})


def _comparer(config: RegistryTask, progress: Progress) -> Callable[[Side, Side], Comparison]:
    """Return a function that compares two models on the data set of `config`, which is read when it is needed."""

    def compared(first: Side, second: Side) -> Comparison:
        progress.start("comparing models")
        taxonomy = load_classes(packaged_conf_dir(), *as_paths(config.class_folders))
        stars = load_stars(config.dataset, config.split, taxonomy)
        found = compare(first, second, stars, n_resamples=config.n_resamples, n_threads=config.machine.n_workers)
        progress.finish()
        return found

    return compared


def _side(registry: Registry, config: RegistryTask, word: int | str, name: str | None = None) -> Side:
    if isinstance(word, str) and Path(word).is_dir():
        record = model_record(Path(word))
        return Side(record=record, called=f"{record.run_name} in {word}")
    return registry_promote.side(registry, registry_view.find_version(registry, name or config.name, word))
