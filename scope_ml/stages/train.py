"""Stage `train`: one class, one algorithm, one or several seeds, to bundles, runs and a registered model.

Writes a folder: ``seed_<n>/`` (the bundle), ``metrics.json``, ``pr.csv`` and ``roc.csv`` of the best seed, and
``report.json``. A bundle that is there already and was made from the same data, split and settings is kept, so that
a training that was killed goes on where it was. A class with too few positives is reported and skipped.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scope_ml.core.configuration import option, to_plain
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.datasets.assemble import DatasetConfig, as_paths
from scope_ml.datasets.split import DEFAULT_SPLIT, SplitConfig
from scope_ml.errors import ConfigError, InsufficientDataError, ModelError, ModelNotFoundError, ScopeError
from scope_ml.io.atomic import check_writable
from scope_ml.models.algorithms import configure
from scope_ml.models.fit import FitConfig, fit_bundle
from scope_ml.models.record import BUNDLE_FILE, BundleRecord, read_record
from scope_ml.stages.model_runs import describe_run, ensure_logged
from scope_ml.stages.training_inputs import TrainingInputs, training_inputs
from scope_ml.stages.training_outputs import (
    REPORT_FILE,
    model_line,
    registration_facts,
    registration_lines,
    write_outputs,
    write_report,
)
from scope_ml.taxonomy.classes import ClassSpec, load_classes, packaged_conf_dir
from scope_ml.tracking.bundles import model_record, training_key
from scope_ml.tracking.promotion import Policy, best_seed
from scope_ml.tracking.records import LoggedModel, ModelRecord
from scope_ml.tracking.registry import Registration
from scope_ml.tracking.settings import TrackingConfig
from scope_ml.tracking.tracker import Tracker, open_tracker

__all__ = ["FeatureSetChoice", "Train", "run"]

#: Where bundles go if no output is given.
DEFAULT_OUTPUT = "outputs/models/{tag}/{algorithm}"

SEED_FOLDER = "seed_{seed}"


@dataclass(frozen=True, kw_only=True)
class FeatureSetChoice:
    """The set of model inputs."""

    name: str = option(doc="phenomenological or ontological")


@dataclass(frozen=True, kw_only=True)
class Train:
    """Options of the stage."""

    class_spec: ClassSpec = option(key="class", doc="the class to train")
    algorithm: dict[str, Any] = option(doc="xgb or dnn, and its settings")
    dataset: DatasetConfig = option(doc="feature and label tables, or a folder of build_dataset")
    split: SplitConfig = option(DEFAULT_SPLIT, doc="sizes and seed of the division")
    fit: FitConfig = option(FitConfig(), doc="fewest positives, bootstrap")
    feature_set: FeatureSetChoice | None = option(None, doc="set of model inputs; null: the class's own")
    seed: int = option(42, doc="seed of the training", at_least=0)
    seeds: tuple[int, ...] = option(
        (), doc="several seeds on the same prepared data; the output then holds exactly these", at_least=0
    )
    output: str | None = option(None, machine=True, doc="folder to write; null: outputs/models/<tag>/<algorithm>")
    retrain: bool = option(False, machine=True, doc="train again what is there already")
    tracking: TrackingConfig = option(TrackingConfig(), doc="where runs are recorded")
    sweep: str | None = option(None, machine=True, doc="name of the parent run; null: train-<tag>-<algorithm>")
    register: bool = option(True, machine=True, doc="register the best seed as scope-<tag>-<algorithm>")
    promotion: Policy = option(
        "compare", machine=True, doc="when the registered model becomes champion (compare: if better on the same split)"
    )
    plots: bool = option(True, machine=True, doc="draw ROC, precision-recall and confusion plots for the run")
    machine: Machine = option(Machine(), doc="threads")
    class_folders: str | tuple[str, ...] = option(
        (), machine=True, doc="configuration folders whose class/<tag>.yaml add classes of your own"
    )

    def __post_init__(self) -> None:
        """Check that no seed is given twice."""
        if len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"seeds={list(self.seeds)} names a seed twice", key="seeds")

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Return the seeds to train."""
        return self.seeds or (self.seed,)

    @property
    def model_name(self) -> str:
        """Return ``<tag>-<algorithm>``."""
        return f"{self.class_spec.tag}-{self.algorithm.get('name', '')}"

    @property
    def folder(self) -> Path:
        """Return the output folder."""
        names = {"tag": self.class_spec.tag, "algorithm": self.algorithm.get("name", "")}
        return Path(self.output if self.output is not None else DEFAULT_OUTPUT.format(**names))


@dataclass(kw_only=True)
class _Done:
    """What has been done so far."""

    records: list[ModelRecord] = field(default_factory=list)
    known: list[BundleRecord] = field(default_factory=list)
    models: dict[str, LoggedModel] = field(default_factory=dict)
    n_kept: int = 0


def run(config: Train, *, progress: Progress) -> Report:
    """Train the seeds that are not there yet, record them, register the best.

    Raises
    ------
    ScopeError
        As the readers of the data, the training, the tracker and the registry raise.
    """
    began = time.monotonic()
    settings = configure(config.algorithm)
    with _dry(config) as effective, _writable(effective.folder):
        inputs = training_inputs(
            effective.dataset,
            effective.split,
            load_classes(packaged_conf_dir(), *as_paths(effective.class_folders)),
            spec=effective.class_spec,
            settings=settings,
            fit=effective.fit,
            set_name=effective.feature_set.name if effective.feature_set is not None else None,
        )
        tracker = open_tracker(effective.tracking)
        try:
            done = _train_seeds(effective, inputs, tracker, progress)
            registration = _register(effective, tracker, done)
        except InsufficientDataError as error:
            report = _skipped(effective, str(error), seconds=time.monotonic() - began)
        else:
            report = _finished(effective, done, registration, seconds=time.monotonic() - began)
        finally:
            progress.finish()
            tracker.close()
    if config.machine.dry_run:
        return replace(report, outputs={}, warnings=(*report.warnings, "dry run: nothing was kept"))
    return report


def _train_seeds(config: Train, inputs: TrainingInputs, tracker: Tracker, progress: Progress) -> _Done:
    done = _Done()
    progress.start(f"training {config.model_name}", len(config.all_seeds))
    tracker.sweep(config.sweep or f"train-{config.model_name}", len(config.all_seeds))
    for seed in config.all_seeds:
        folder = config.folder / SEED_FOLDER.format(seed=seed)
        known = None if config.retrain else _kept(folder, inputs, seed)
        if known is None:
            model = _train_one(config, inputs, tracker, seed, folder)
            known = read_record(folder)
        else:
            model, _ = ensure_logged(tracker, model_record(folder, known), plots=config.plots)
            done.n_kept += 1
        record = model_record(folder, known)
        done.records.append(record)
        done.known.append(known)
        if model is not None:
            done.models[record.digest] = model
        progress.advance()
    if config.seeds:
        _remove_other_seeds(config.folder, config.seeds)
    return done


def _train_one(config: Train, inputs: TrainingInputs, tracker: Tracker, seed: int, folder: Path) -> LoggedModel | None:
    made = inputs.provenance
    key = training_key(made.config_digest, made.data_digest, made.split_digest, seed)
    with tracker.run(f"{config.model_name}-seed{seed}", key) as run:
        bundle = fit_bundle(
            inputs.data,
            inputs.labels,
            inputs.settings,
            config=inputs.fit,
            seed=seed,
            provenance=made,
            log=run,
            n_threads=config.machine.n_workers,
        ).save(folder)
        more = {"split": to_plain(config.split), "fit": to_plain(config.fit)}
        return describe_run(run, model_record(folder, bundle.record), bundle.record, plots=config.plots, more=more)


def _kept(folder: Path, inputs: TrainingInputs, seed: int) -> BundleRecord | None:
    """Return the record of a whole bundle that was made from the same inputs by the same code, or None."""
    try:
        known = read_record(folder)
    except ModelNotFoundError:
        return None
    except ModelError:
        # Damaged or of another version: it is trained again.
        return None
    wanted, made = inputs.provenance, known.provenance
    same = all(
        getattr(made, name) == getattr(wanted, name)
        for name in ("data_digest", "split_digest", "config_digest", "code_digest")
    )
    return known if same and known.seed == seed else None


def _register(config: Train, tracker: Tracker, done: _Done) -> Registration | None:
    registry = tracker.registry()
    if not config.register or registry is None:
        return None
    best = best_seed(done.records)
    return registry.register(best, done.models[best.digest], config.promotion)


def _skipped(config: Train, reason: str, *, seconds: float) -> Report:
    for seed in config.all_seeds:
        _remove_bundle(config.folder / SEED_FOLDER.format(seed=seed))
    if config.seeds:
        _remove_other_seeds(config.folder, config.seeds)
    outputs = write_outputs(config.folder, None, (), skipped=reason)
    item = {"tag": config.class_spec.tag, "algorithm": str(config.algorithm["name"]), "reason": reason}
    n_seeds = len(config.all_seeds)
    report = Report(
        stage="train",
        n_in=n_seeds,
        n_out=0,
        dropped={"too_few_stars": n_seeds},
        seconds=seconds,
        warnings=(f"skipped: {reason}",),
        outputs=outputs,
        facts={"skipped": [item]},
    )
    write_report(config.folder, report)
    return report


def _finished(config: Train, done: _Done, registration: Registration | None, *, seconds: float) -> Report:
    best = best_seed(done.records)
    best_known = next(known for known in done.known if known.seed == best.seed)
    outputs = write_outputs(config.folder, best_known, done.known)
    report = Report(
        stage="train",
        n_in=len(config.all_seeds),
        n_out=len(done.records),
        seconds=seconds,
        warnings=best_known.preparation.warnings,
        outputs={"models": str(config.folder), **outputs},
        facts={
            "model": config.model_name,
            "seeds": list(config.all_seeds),
            "best_seed": best.seed,
            "n_kept": done.n_kept,
            "digests": {str(record.seed): record.digest for record in done.records},
            "registered": registration_facts(registration),
            "text": "\n".join([*map(model_line, done.known), *registration_lines(registration)]),
        },
    )
    write_report(config.folder, report)
    return report


def _remove_other_seeds(folder: Path, seeds: Sequence[int]) -> None:
    wanted = {SEED_FOLDER.format(seed=seed) for seed in seeds}
    for path in folder.glob(SEED_FOLDER.format(seed="*")):
        if path.name not in wanted:
            _remove_bundle(path)


def _remove_bundle(folder: Path) -> None:
    if (folder / BUNDLE_FILE).is_file():
        shutil.rmtree(folder)


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Find out before the training that `folder` cannot be written; if the training fails, leave no empty one behind."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    check_writable(folder / REPORT_FILE)
    try:
        yield
    except ScopeError:
        for path in made:
            with suppress(OSError):
                path.rmdir()
        raise


@contextmanager
def _dry(config: Train) -> Iterator[Train]:
    """Yield `config`, or for a dry run one that writes to a temporary folder and records nothing."""
    if not config.machine.dry_run:
        yield config
        return
    with tempfile.TemporaryDirectory(prefix="scope-ml-") as folder:
        yield replace(config, output=folder, tracking=replace(config.tracking, enabled=False))
