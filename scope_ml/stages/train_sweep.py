"""Many trainings at once: what `train` does, for one class as for all classes, algorithms and seeds of a sweep.

The data is read and prepared once and shared by worker processes, one per core; this process hands out units of work, tells
MLflow in a thread of its own, and writes what belongs to a class as soon as all of its seeds are there. What is there
already is kept: a sweep that was killed goes on when the same command is typed again. A model that fails is named with its
reason and stops no other.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from scope_ml.core.configuration import to_plain
from scope_ml.core.machine import usable_cores
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, ModelError, ScopeError
from scope_ml.io.atomic import check_writable
from scope_ml.networks.backends import open_backend
from scope_ml.stages.distributed_run import run_distributed
from scope_ml.stages.sweep_division import units
from scope_ml.stages.sweep_plan import ON_DEVICE, Group, Model, kept_record, plan
from scope_ml.stages.sweep_recording import Made, Recorder
from scope_ml.stages.sweep_report import group_outputs, sweep_report
from scope_ml.stages.sweep_shelf import save_prepared, shared_folder
from scope_ml.stages.sweep_units import Outcome, Unit
from scope_ml.stages.sweep_workers import Crew, ThisProcess, open_workers
from scope_ml.stages.training_inputs import TrainingLibrary
from scope_ml.stages.training_options import Train
from scope_ml.stages.training_outputs import REPORT_FILE
from scope_ml.tracking.settings import checked_uri

__all__ = ["Sweep", "run_sweep", "train_all"]

#: Fewest models that are worth the start of worker processes, which costs some seconds.
WORTH_WORKERS = 4


def run_sweep(configs: Sequence[Train], *, progress: Progress) -> Report:
    """Train what the jobs of a sweep ask for.

    Parameters
    ----------
    configs
        One for each job, in the order in which they were asked for. Tracking and machine are those of the first.
    progress
        Is told of each model.

    Returns
    -------
    Report
        Counts of models: asked for, made or kept, too few stars, failed; ``facts["failed"]`` names the last.

    Raises
    ------
    ScopeError
        If nothing can be trained at all: a configuration is wrong, the data cannot be read, MLflow cannot be opened.
    """
    if configs and any(config.executor.kind != "local" for config in configs):
        if any(config.executor != configs[0].executor for config in configs):
            raise ConfigError("the jobs of a sweep are done by one executor; give one executor=...", key="executor")
        return run_distributed("train", tuple(configs), progress=progress)
    began = time.monotonic()
    with dry(configs) as effective:
        sweep = train_all(effective, progress=progress)
    report = sweep_report(sweep.groups, sweep.recorder, seconds=time.monotonic() - began)
    if configs[0].machine.dry_run:
        return replace(report, outputs={}, warnings=(*report.warnings, "dry run: nothing was kept"))
    return report


def train_all(
    configs: Sequence[Train],
    *,
    progress: Progress,
    library: TrainingLibrary | None = None,
    crew_instead: Crew | None = None,
) -> Sweep:
    """Train what `configs` ask for and return what became of each model; see `run_sweep`.

    Parameters
    ----------
    configs, progress
        As `run_sweep` has them.
    library
        Data that was read and prepared before; None reads it.
    crew_instead
        Who is given what is not there yet, in the place of processes of this machine.
    """
    if not configs:
        raise ConfigError(
            "there is nothing to train: no class is named, or no tag fits the glob; give class=...", key="class"
        )
    first = configs[0]
    if any(config.tracking != first.tracking for config in configs):
        raise ConfigError("the jobs of a sweep are recorded in one place; give one tracking=...", key="tracking")
    if first.tracking.enabled:
        checked_uri(first.tracking.uri)
    if first.machine.device == "gpu" and any(config.algorithm_name in ON_DEVICE for config in configs):
        # Said at once, and not once for each model.
        open_backend("gpu")
    with ExitStack() as stack:
        stack.callback(progress.finish)
        stack.enter_context(_no_empty_folders(configs))
        library = library or TrainingLibrary()
        workers = _workers(configs, stack) if crew_instead is None else None
        groups = plan(configs, library, writable=lambda folder: check_writable(folder / REPORT_FILE))
        _refuse_hopeless(groups)
        n_models = sum(len(group.everything) for group in groups)
        crew: Crew
        if crew_instead is not None:
            crew = crew_instead
        elif workers is None:
            crew = ThisProcess({one.name: one for one in library.prepared}, first.machine.n_workers)
        else:
            folder, crew = workers
            for one in library.prepared:
                save_prepared(one, folder)
        name = first.sweep or f"train-{first.model_name}"
        recorder = Recorder(first.tracking, name, n_models, in_thread=workers is not None)
        stack.callback(recorder.close)
        sweep = Sweep(groups, crew, recorder, progress)
        progress.start(f"training {first.model_name if len(groups) == 1 else f'{n_models} models'}", n_models)
        device: Literal["cpu", "gpu"] = "gpu" if first.machine.device == "gpu" else "cpu"
        # Without workers this process has all threads, and trains as many networks at once.
        n_workers, n_threads = (1, first.machine.n_workers) if workers is None else (first.machine.n_workers, 1)
        sweep.run(units(groups, n_workers=n_workers, n_threads=n_threads, device=device))
        return sweep


class Sweep:
    """The course of a sweep: units out, outcomes in, and what follows from them.

    Attributes
    ----------
    groups
        The models by class and algorithm, each with what became of it.
    recorder
        What could be told to the tracker.
    """

    def __init__(self, groups: Sequence[Group], crew: Crew, recorder: Recorder, progress: Progress) -> None:
        self.groups = list(groups)
        self.recorder = recorder
        self._crew = crew
        self._progress = progress
        self._place = {model.number: (group, model) for group in groups for model in group.everything}

    def run(self, work: Sequence[Unit]) -> None:
        """Work until everything is done and told."""
        for unit in work:
            self._crew.submit(unit)
        for group in self.groups:
            # Before the group goes on, which counts its ensemble itself.
            self._progress.advance(sum(1 for model in group.everything if model.is_kept or model.outcome))
            for model in group.models:
                if model.is_kept:
                    self._tell(group, model)
            self._go_on(group)
        while not self._crew.is_idle:
            for outcome in self._crew.outcomes():
                group, model = self._place[outcome.number]
                self._arrived(group, model, outcome)
            self.recorder.check()
        self.recorder.finish()

    def _arrived(self, group: Group, model: Model, outcome: Outcome) -> None:
        model.outcome = outcome
        if outcome.state == "made":
            self._tell(group, model)
        self._go_on(group)
        self._progress.advance()

    def _go_on(self, group: Group) -> None:
        """Make the ensemble once all seeds are there; finish the group once that is."""
        if any(model.outcome is None and not model.is_kept for model in group.models):
            return
        if group.ensemble is not None and group.ensemble.outcome is None and not group.ensemble.is_kept:
            if self._has_ensemble(group, group.ensemble):
                self._tell(group, group.ensemble)
                self._progress.advance()
            else:
                self._ask_ensemble(group, group.ensemble)
                return
        group_outputs(group)
        self._register(group)

    def _has_ensemble(self, group: Group, ensemble: Model) -> bool:
        """Return whether the ensemble of these very bundles is there already."""
        if group.config.retrain or not all(model.is_kept for model in group.models):
            return False
        known = kept_record(ensemble.folder, group.provenance, None)
        ensemble.is_kept = known is not None and set(known.members) == {model.seed for model in group.models}
        return ensemble.is_kept

    def _ask_ensemble(self, group: Group, ensemble: Model) -> None:
        if group.inputs is None:
            return
        lacking = [group.name_of(model) for model in group.models if not model.is_there]
        if lacking:
            error = ModelError(f"no ensemble without {', '.join(lacking)}")
            outcome = Outcome(number=ensemble.number, state="failed", reason=str(error), error=error)
            self._arrived(group, ensemble, outcome)
            return
        order = group.order(ensemble)
        self._crew.submit(Unit(prepared=group.inputs.prepared.name, fit=group.inputs.fit, orders=(order,), cost=1e9))

    def _tell(self, group: Group, model: Model) -> None:
        config = group.config
        params: dict[str, object] = {"split": to_plain(config.split), "fit": to_plain(config.fit)}
        tags: dict[str, str] = {}
        if config.init_from is not None:
            params["init_from"] = config.init_from
            tags = {"scope.init_from": config.init_from, "scope.started_from": group.started_from}
        try:
            made = Made.read(
                model.folder,
                number=model.number,
                outcome=None if model.is_kept else model.outcome,
                plots=config.plots,
                params=params,
                tags=tags,
            )
        except ScopeError as error:
            # Somebody took it away in this moment.
            model.is_kept = False
            model.outcome = Outcome(number=model.number, state="failed", reason=str(error), error=error)
            return
        group.records[model.seed] = made.record
        group.known[model.seed] = made.known
        self.recorder.record(made)

    def _register(self, group: Group) -> None:
        """Register the best of a group; not where one may still come when the same command is typed again."""
        if group.records and group.config.register and group.config.tracking.enabled:
            gone = [one for one in group.everything if one.outcome is not None and one.outcome.state == "lost"]
            if gone:
                names = ", ".join(map(group.name_of, gone))
                self.recorder.unregistered[group.title] = f"{names} is not there"
            else:
                self.recorder.register(group.title, list(group.records.values()), group.config.promotion)
        group.known.clear()


def _workers(configs: Sequence[Train], stack: ExitStack) -> tuple[Path, Crew] | None:
    """Start worker processes if there is enough to do; they import what they need while this one reads the data."""
    n_models = sum(len(config.all_seeds) for config in configs)
    n_workers = min(configs[0].machine.workers or usable_cores(), n_models)
    if n_models < WORTH_WORKERS or n_workers < 2:
        return None
    folder = stack.enter_context(shared_folder())
    return folder, stack.enter_context(open_workers(folder, n_workers))


def _refuse_hopeless(groups: Sequence[Group]) -> None:
    """Raise the first error if there is nothing but errors: then it is the command that is to be mended."""
    errors = [group.error for group in groups if group.error is not None]
    if errors and len(errors) == len(groups):
        raise errors[0]


@contextmanager
def _no_empty_folders(configs: Sequence[Train]) -> Iterator[None]:
    """If the training fails, leave no empty folder behind."""
    made = [path for config in configs for path in (config.folder, *config.folder.parents) if not path.exists()]
    try:
        yield
    except ScopeError:
        for path in sorted(set(made), key=lambda path: -len(path.parts)):
            with suppress(OSError):
                path.rmdir()
        raise


@contextmanager
def dry(configs: Sequence[Train]) -> Iterator[Sequence[Train]]:
    """Yield `configs`, or for a dry run ones that write to a temporary folder and record nothing."""
    if not configs or not configs[0].machine.dry_run:
        yield configs
        return
    with tempfile.TemporaryDirectory(prefix="scope-ml-") as folder:
        yield [
            replace(config, output=f"{folder}/{config.model_name}", tracking=replace(config.tracking, enabled=False))
            for config in configs
        ]
