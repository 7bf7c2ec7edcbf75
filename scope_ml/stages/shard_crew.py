"""Who works on the shards of a run: this process, processes of this machine, a Dask cluster; one interface for them.

May import `shard_worker`, compute and what lies below.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from scope_ml.compute.plan import WorkPlan
from scope_ml.compute.processes import Lost, ProcessCrew, WorkerProcess, program, thread_limits
from scope_ml.compute.settings import ExecutorConfig
from scope_ml.core.machine import Machine, usable_cores
from scope_ml.core.protocols import Progress
from scope_ml.errors import OutputError
from scope_ml.stages.distribution import Distribution
from scope_ml.stages.shard_dask import DaskCrew
from scope_ml.stages.shard_said import LOGS, ShardSaid
from scope_ml.stages.shard_worker import ShardWorker, stopped_by_sigterm

__all__ = ["Crew", "choose_crew", "visible_gpus"]

#: What a process of this machine runs.
WORKER = "scope_ml.stages.shard_worker:main"


class Crew(Protocol):
    """Works on all shards of a plan."""

    #: For people.
    who: str
    #: Workers at a time, and threads of each.
    at_once: int
    threads: int
    #: Whether each shard tells of its own progress.
    shows_itself: bool

    def run(self, plan: WorkPlan, progress: Progress) -> Iterator[ShardSaid]:
        """Do the shards and yield what becomes of them."""
        ...


def choose_crew(work: Distribution, executor: ExecutorConfig, machine: Machine | None, n_shards: int) -> Crew:
    """Return who works.

    Parameters
    ----------
    work
        The door's work.
    executor
        What is asked for.
    machine
        Device and threads of this machine; None where the door has no such options.
    n_shards
        No more workers than this are started.
    """
    if executor.kind == "slurm":
        cluster = executor.cluster
        at_once = max(1, min(executor.max_instances, -(-n_shards // executor.shards_per_task)))
        return _Elsewhere(
            who=f"Slurm, {at_once} tasks at a time, {executor.shards_per_task} shards and {cluster.cores} cores each",
            at_once=at_once,
            threads=cluster.cores,
        )
    if executor.kind == "dask":
        return DaskCrew(executor, n_shards)
    machine = machine or Machine()
    gpus = visible_gpus() if machine.device == "gpu" or (machine.device == "auto" and find_spec("cupy")) else ()
    count = max(1, min(executor.processes or usable_cores(), len(gpus) or n_shards, n_shards))
    if count == 1:
        return _ThisProcess(machine.n_workers)
    return _Processes(count, gpus)


def visible_gpus() -> tuple[str, ...]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said is not None:
        return tuple(name.strip() for name in said.split(",") if name.strip() not in ("", "-1"))
    found = [path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")]
    return tuple(sorted(found, key=int))


@dataclass(kw_only=True)
class _Elsewhere:
    """A scheduler does the work: nothing of it happens here."""

    who: str
    at_once: int
    threads: int
    shows_itself: bool = True

    def run(self, plan: WorkPlan, progress: Progress) -> Iterator[ShardSaid]:
        """Do nothing."""
        del plan, progress
        yield from ()


class _ThisProcess:
    """Works in the caller's own process, with its threads."""

    at_once = 1
    shows_itself = True

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.who = f"this process, {threads} threads"

    def run(self, plan: WorkPlan, progress: Progress) -> Iterator[ShardSaid]:
        """Do the shards in order."""
        worker = ShardWorker(plan.folder, job="", threads=self.threads, progress=progress)
        with stopped_by_sigterm(), worker:
            for shard in plan:
                error = worker.do(shard.key)
                yield ShardSaid(key=shard.key, ended=True, error=None if error is None else str(error))
        progress.finish()


class _Processes:
    """Processes of this machine: one thread each, or one for each GPU."""

    shows_itself = False

    def __init__(self, count: int, gpus: tuple[str, ...]) -> None:
        self.at_once, self._gpus = count, gpus
        self.threads = max(1, usable_cores() // count) if gpus else 1
        self.who = f"{count} processes of this machine, {self.threads} thread{'s' if self.threads > 1 else ''} each" + (
            f", on the GPUs {', '.join(gpus[:count])}" if gpus else ""
        )

    def run(self, plan: WorkPlan, progress: Progress) -> Iterator[ShardSaid]:
        """Give the shards out, one at a time."""
        del progress
        folder = plan.folder / LOGS
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {folder}: {error.strerror or error}") from error

        def start(number: int) -> WorkerProcess:
            environment = thread_limits(self.threads)
            if self._gpus:
                environment["CUDA_VISIBLE_DEVICES"] = self._gpus[number]
            return WorkerProcess(
                program(WORKER),
                [str(plan.folder), str(self.threads)],
                said=folder / f"process-{number + 1}.txt",
                environment=environment,
            )

        with ExitStack() as cleanup:
            crew = ProcessCrew(start, self.at_once, cleanup)
            for said in crew.run([shard.key for shard in plan]):
                if isinstance(said, Lost):
                    yield ShardSaid(key=said.item, ended=True, lost=said.reason)
                else:
                    known = {"advanced", "ended", "error", "fatal", "kind"}
                    yield ShardSaid(
                        key=said.item, **{name: value for name, value in said.values.items() if name in known}
                    )
