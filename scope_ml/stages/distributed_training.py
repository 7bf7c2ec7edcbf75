"""How a training sweep is shared out: a shard is a class and algorithm with all of its seeds.

Bundles go where the sweep of one machine puts them. Workers record nothing: what they made is told to the tracker, and
registered, where everything is added up. May import the rooms of `train`, `distribution`, compute and what lies below.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from scope_ml.compute.ledger import ShardState
from scope_ml.compute.plan import Shard, WorkPlan
from scope_ml.compute.settings import ExecutorConfig
from scope_ml.core.configuration import build, to_plain
from scope_ml.core.protocols import NullProgress, Progress
from scope_ml.core.provenance import digest_json
from scope_ml.core.report import Report
from scope_ml.errors import ModelError
from scope_ml.stages.sweep_plan import JOINT, Group, joint
from scope_ml.stages.sweep_plan import plan as plan_sweep
from scope_ml.stages.sweep_report import sweep_report
from scope_ml.stages.sweep_units import Outcome, Unit
from scope_ml.stages.train_sweep import train_all
from scope_ml.stages.training_inputs import TrainingLibrary
from scope_ml.stages.training_options import Train

__all__ = ["TRAINING"]

#: Where plan and state of a sweep lie if its models share no folder.
DEFAULT_FOLDER = "outputs/models"

#: Where a failed shard's message goes on with another model.
NEXT_MODEL = r"(?:; [\w-]+-(?:seed\d+|ensemble): |$)"


class _Training:
    """Implements `stages.distribution.Distribution` for `train`; the configuration is the jobs of a sweep."""

    door = "train"
    unit = "models"

    def to_values(self, config: Sequence[Train]) -> Mapping[str, Any]:
        """Return the jobs as JSON-able values: those that differ by their seed alone once."""
        jobs: dict[str, dict[str, Any]] = {}
        for one in config:
            shared = to_plain(replace(one, seed=0))
            jobs.setdefault(digest_json(shared), {"config": shared, "seeds": []})["seeds"].append(one.seed)
        return {"jobs": list(jobs.values())}

    def from_values(self, values: Mapping[str, Any]) -> tuple[Train, ...]:
        """Return the jobs that `to_values` was given, those of one class together."""
        found: list[Train] = []
        for job in values["jobs"]:
            config = build(Train, job["config"])
            found += [replace(config, seed=seed) for seed in job["seeds"]]
        return tuple(found)

    def executor(self, config: Sequence[Train]) -> ExecutorConfig:
        """Return who does the work."""
        return config[0].executor

    def output(self, config: Sequence[Train]) -> Path:
        """Return the folder that all models lie in."""
        shared = Path(os.path.commonpath([one.folder.absolute() for one in config]))
        return shared if shared not in (Path.cwd(), *Path.cwd().parents) else Path(DEFAULT_FOLDER)

    def shards(self, config: Sequence[Train]) -> tuple[Sequence[Shard], tuple[str, ...]]:
        """Return one shard for each class and algorithm; classes that are trained together are one.

        Raises
        ------
        ScopeError
            If the data cannot be read, or nothing can be trained.
        """
        groups = _groups(config, TrainingLibrary())
        errors = [group.error for group in groups if group.error is not None]
        if len(errors) == len(groups):
            raise errors[0]
        # What is known now is said when all is added up: too few stars, a table without a feature.
        known = [group for group in groups if any(model.outcome is None for model in group.everything)]
        return [_shard(together) for together in _together(known or groups)], ()

    def identity(self, config: Sequence[Train]) -> Mapping[str, Any]:
        """Return nothing: a shard's key has the digest of data, settings and code, and further classes may join a run."""
        del config
        return {}

    @contextmanager
    def open(self, config: Sequence[Train], *, threads: int, progress: Progress) -> Iterator[Callable[[Shard], Report]]:
        """Give what trains one shard; data is read and prepared once."""
        del config
        library = TrainingLibrary()

        def work(shard: Shard) -> Report:
            jobs = [job for one in shard.payload["jobs"] for job in _jobs_of_worker(one, threads)]
            return _trained(jobs, library, progress)

        yield work

    def collect(
        self, config: Sequence[Train], plan: WorkPlan, states: Mapping[str, ShardState], *, progress: Progress
    ) -> Report:
        """Record and register what was made, as the same sweep would if it found all bundles in their places."""
        told: dict[str, str] = {}
        for shard in plan:
            state = states.get(shard.key)
            reason = _reason(state)
            told |= {str(Path(job["folder"]).absolute()): reason for job in shard.payload["jobs"]}
        # What is not there was to be trained by others; trained again on purpose it has been by them.
        jobs = [replace(one, retrain=False) for one in config]
        sweep = train_all(jobs, progress=NullProgress(), crew_instead=_NobodyHere(told))
        progress.finish()
        return sweep_report(sweep.groups, sweep.recorder, seconds=0.0)


class _NobodyHere:
    """A crew that trains nothing: it says of each model why it is not there.

    Parameters
    ----------
    told
        What became of the shard that has it, by the folder of its class and algorithm.
    """

    def __init__(self, told: Mapping[str, str]) -> None:
        self._told = told
        self._outcomes: list[Outcome] = []

    def submit(self, unit: Unit) -> None:
        """Take units, and do nothing for them."""
        for order in unit.orders:
            reason = self._told.get(str(order.folder.parent.absolute()), "no shard has it; type the same command again")
            algorithm = str(order.settings.name)
            name = f"{order.spec.tag}-{algorithm}-{'ensemble' if order.seed is None else f'seed{order.seed}'}"
            own = re.search(rf"(?:^|; ){re.escape(name)}: (.*?){NEXT_MODEL}", reason)
            self._outcomes.append(
                Outcome(
                    number=order.number,
                    # One that failed by itself fails again; another comes when the run goes on.
                    state="failed" if own else "lost",
                    reason=own.group(1) if own else reason,
                )
            )

    def outcomes(self, timeout: float | None = None) -> list[Outcome]:
        """Return what was said of the units."""
        del timeout
        found, self._outcomes = self._outcomes, []
        return found

    @property
    def is_idle(self) -> bool:
        """Return whether all has been said."""
        return not self._outcomes


def _groups(config: Sequence[Train], library: TrainingLibrary) -> list[Group]:
    return plan_sweep(config, library, writable=lambda folder: None)


def _together(groups: Sequence[Group]) -> list[list[Group]]:
    """Return the groups by shard."""
    of_joint = joint(groups)
    single = [group for group in groups if group.inputs is None or group.inputs.settings.name not in JOINT]
    return [*([group] for group in single), *of_joint]


def _shard(groups: Sequence[Group]) -> Shard:
    first = groups[0]
    n_models = sum(len(group.everything) for group in groups)
    name = first.config.algorithm_name
    jobs = [
        {"config": to_plain(replace(group.config, seed=0)), "folder": str(group.folder), "seeds": _seeds(group)}
        for group in groups
    ]
    made = [[vars(group.provenance), str(group.folder), _seeds(group), group.config.ensemble] for group in groups]
    tag = first.config.class_spec.tag if len(groups) == 1 else f"{len(groups)}_classes"
    return Shard(
        key=f"{tag}/{name}-{digest_json(made)[:8]}",
        title=f"{tag} {name} ({n_models})",
        n_sources=n_models,
        payload={"jobs": jobs},
    )


def _seeds(group: Group) -> list[int]:
    return [model.seed for model in group.models if model.seed is not None]


def _jobs_of_worker(job: Mapping[str, Any], threads: int) -> list[Train]:
    """Return the jobs of one class and algorithm as a worker does them: in their place, telling nobody."""
    config = build(Train, job["config"])
    here = replace(
        config,
        output=job["folder"],
        tracking=replace(config.tracking, enabled=False),
        register=False,
        machine=replace(config.machine, workers=threads, dry_run=False),
        executor=ExecutorConfig(),
    )
    if config.seeds:
        return [replace(here, seeds=tuple(job["seeds"]))]
    return [replace(here, seed=seed) for seed in job["seeds"]]


def _trained(jobs: Sequence[Train], library: TrainingLibrary, progress: Progress) -> Report:
    """Train what is not there yet.

    Raises
    ------
    ModelError
        If a model could not be trained; the others are there.
    ScopeError
        If none could, for want of data.
    """
    began = time.monotonic()
    sweep = train_all(jobs, progress=progress, library=library)
    report = sweep_report(sweep.groups, sweep.recorder, seconds=time.monotonic() - began)
    for group in sweep.groups:
        if group.error is not None:
            raise group.error
    if report.facts["failed"]:
        raise ModelError("; ".join(f"{line['model']}: {line['reason']}" for line in report.facts["failed"]))
    # Bundles that were there took no time, and tell nothing of how long others take.
    return report if report.facts["n_trained"] else replace(report, seconds=0.0)


def _reason(state: ShardState | None) -> str:
    """Return why models of a shard are not there."""
    if state is None or state.state == "waiting":
        return "nobody has trained it yet"
    if state.state == "begun":
        return "its training was begun and has not ended: it goes on, or was killed"
    if state.state == "failed":
        return str((state.record or {}).get("error", "it failed"))
    return "its bundle was there and is gone, or data or code are others now; type the same command again"


#: How `train` is shared out.
TRAINING = _Training()
