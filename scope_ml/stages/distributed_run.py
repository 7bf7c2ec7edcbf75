"""A run of many shards from end to end: the plan, said before anything starts; the work; the sum of it.

Who works is chosen by the executor: this process, processes of this machine, a Dask cluster, job arrays of Slurm; the same
shard gives the same files whoever makes it. May import the rooms of distribution, compute and what lies below.
"""

from __future__ import annotations

import builtins
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from scope_ml import errors
from scope_ml.compute.ledger import Ledger, ShardState
from scope_ml.compute.plan import WorkPlan, check_plan, open_plan, read_plan
from scope_ml.compute.settings import ExecutorConfig
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.errors import EmptySelectionError, JobError, ScopeError
from scope_ml.io.output_lock import output_lock
from scope_ml.stages.distribution import Distribution, distribution
from scope_ml.stages.shard_crew import Crew, choose_crew
from scope_ml.stages.shard_rates import measured_rate, plan_text
from scope_ml.stages.slurm_start import start_on_slurm

__all__ = ["collect_run", "run_distributed"]

_log = logging.getLogger(__name__)

#: Shards that a warning names.
N_NAMED = 5

#: Done shards, spread over the plan, that an estimate looks at.
N_MEASURED = 1000


def run_distributed(door: str, config: Any, *, progress: Progress) -> Report:
    """Do the work of a door in shards.

    Parameters
    ----------
    door
        One of `distribution.DISTRIBUTED`.
    config
        The door's configuration; its executor says who works.
    progress
        Is told of shards and light curves, over all workers.

    Returns
    -------
    Report
        As the door gives it without an executor: counts over all shards, ``facts["n_failed"]`` and ``facts["failed"]``. Of
        a run that Slurm does: what was submitted. Of a dry run: the plan.

    Raises
    ------
    ScopeError
        If there is nothing to do, another configuration's plan stands there, or no shard can be done.
    """
    began = time.monotonic()
    work = distribution(door)
    executor = work.executor(config)
    plan, warnings = _planned(work, config, executor)
    machine = machine_of(config)
    crew = choose_crew(work, executor, machine, len(plan))
    is_dry = machine is not None and machine.dry_run
    anew = getattr(_first(config), "stale", "refuse") == "remake"
    if is_dry:
        check_plan(plan, anew=anew)
        facts = {"n_shards": len(plan), "text": _told(plan, work, executor, crew)}
        return Report(stage=door, warnings=(*warnings, "dry run: nothing was kept or begun"), facts=facts)
    # Held before the plan is written: who works on a run in this folder reads it.
    with output_lock(plan.folder, plan.folder):
        open_plan(plan, anew=anew)
        for line in _told(plan, work, executor, crew).splitlines():
            _log.info("%s", line)
        if executor.kind != "slurm":
            _work_off(plan, crew, progress)
            report = _collected(work, config, plan, progress)
    if executor.kind == "slurm":
        report = start_on_slurm(plan, executor, progress=progress)
    return replace(report, warnings=(*warnings, *report.warnings), seconds=time.monotonic() - began)


def collect_run(folder: Path, *, progress: Progress) -> Report:
    """Add up what stands in a run's ledger, whoever worked on it; may be called again after more was done.

    Raises
    ------
    FormatError
        If there is no plan in `folder`.
    ScopeError
        As the door raises.
    """
    began = time.monotonic()
    plan = read_plan(folder)
    work = distribution(plan.door)
    report = _collected(work, work.from_values(plan.config), plan, progress)
    return replace(report, seconds=time.monotonic() - began)


def machine_of(config: Any) -> Any:
    """Return the machine of a door's configuration, or of the first of several; None if it has none."""
    return getattr(_first(config), "machine", None)


def _first(config: Any) -> Any:
    return config[0] if isinstance(config, (tuple, list)) and config else config


def _planned(work: Distribution, config: Any, executor: ExecutorConfig) -> tuple[WorkPlan, tuple[str, ...]]:
    shards, warnings = work.shards(config)
    if not shards:
        raise EmptySelectionError(f"{work.door} has nothing to do: its target names no shard")
    plan = WorkPlan(
        folder=executor.run_folder(work.output(config)),
        door=work.door,
        config=work.to_values(config),
        identity=work.identity(config),
        shards=tuple(shards),
    )
    return plan, warnings


def _told(plan: WorkPlan, work: Distribution, executor: ExecutorConfig, crew: Crew) -> str:
    """Return the plan as people read it."""
    ledger = Ledger(plan.folder)
    states = ledger.states(plan.by_key(), records=False)
    done = [key for key, state in states.items() if state.state == "done"]
    some = ledger.states(done[:: max(1, len(done) // N_MEASURED)])
    rate = measured_rate(some.values(), executor, threads=crew.threads)
    return plan_text(plan, states, rate, unit=work.unit, who=crew.who, at_once=crew.at_once)


def _work_off(plan: WorkPlan, crew: Crew, progress: Progress) -> None:
    """Have all shards done; those that were done before are looked at, by the digests of their outputs."""
    ledger, began = Ledger(plan.folder), time.time()
    count = _Count(plan, progress)
    if crew.shows_itself:
        # One process: the door tells of each shard as it always does.
        count = _Count(plan, None)
    count.start()
    for said in crew.run(plan, progress):
        if said.fatal is not None:
            raise revived(said.kind, said.fatal)
        if said.lost is not None:
            noted = ledger.noted(said.key)
            # A note of an earlier run tells of what was to be made again.
            ledger.failed(said.key, said.lost, "lost", noted=noted if noted is not None and noted < began else None)
        if (error := said.error or said.lost) is not None:
            _log.warning("failed: %s: %s", said.key, error)
        count.add(said.key, said.advanced, ended=said.ended)
    count.finish()


def revived(kind: str, text: str) -> ScopeError:
    """Return the error that another process met, as far as its name and message tell it."""
    found = getattr(errors, kind, None)
    if isinstance(found, type) and issubclass(found, ScopeError):
        try:
            return found(text)
        except TypeError:
            # It wants more than a message.
            return JobError(text)
    return errors.OutputError(text) if issubclass(getattr(builtins, kind, ScopeError), OSError) else JobError(text)


class _Count:
    """Counts light curves where all are known before, else shards, over all workers."""

    def __init__(self, plan: WorkPlan, progress: Progress | None) -> None:
        self._progress = progress
        self._name = plan.door
        self._sizes = {shard.key: shard.n_sources for shard in plan}
        self._by_sources = bool(plan.n_sources)
        self._total = plan.n_sources if self._by_sources else len(plan)
        self._told: dict[str, int] = {}
        self._n_ended = 0

    def start(self) -> None:
        """Begin."""
        if self._progress is not None:
            self._progress.start(f"{self._name}: {len(self._sizes)} shards", self._total)

    def add(self, key: str, advanced: int, *, ended: bool) -> None:
        """Count what was done of a shard, no more than it has; all of it once it has ended."""
        if self._progress is None:
            return
        size = (self._sizes[key] or 0) if self._by_sources else 1
        told = self._told.get(key, 0)
        amount = size - told if ended else min(advanced if self._by_sources else 0, size - told)
        if amount > 0:
            self._told[key] = told + amount
            self._progress.advance(amount)

    def finish(self) -> None:
        """End."""
        if self._progress is not None:
            self._progress.finish()


def _collected(work: Distribution, config: Any, plan: WorkPlan, progress: Progress) -> Report:
    states = Ledger(plan.folder).states(plan.by_key())
    report = work.collect(config, plan, states, progress=progress)
    return replace(report, warnings=(*report.warnings, *_twice(states)))


def _twice(states: Mapping[str, ShardState]) -> Iterable[str]:
    twice = [state.key for state in states.values() if state.record and state.record.get("n_finished", 1) > 1]
    if twice:
        more = ", ..." if len(twice) > N_NAMED else ""
        yield f"{len(twice)} shards were finished twice and count once: {', '.join(twice[:N_NAMED])}{more}"
