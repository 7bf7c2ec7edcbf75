"""Shards on a Dask cluster: what a worker does with one, and the crew that gives them out.

What a door opens stays open on a worker from one shard to the next. May import `shard_crew`'s neighbours, compute and below.
"""

from __future__ import annotations

import os
import platform
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scope_ml.compute.dask_cluster import open_cluster
from scope_ml.compute.dask_tasks import run_tasks, worker_name
from scope_ml.compute.plan import PLAN_FILE, WorkPlan
from scope_ml.compute.settings import ExecutorConfig
from scope_ml.core.machine import usable_cores
from scope_ml.core.protocols import NullProgress, Progress
from scope_ml.core.provenance import code_digest, code_version
from scope_ml.errors import JobError, ScopeError
from scope_ml.stages.shard_said import LOGS, ShardSaid
from scope_ml.stages.shard_worker import ShardWorker

__all__ = ["DaskCrew", "do_shard"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a worker has to know of a run.

    Attributes
    ----------
    token
        Tells runs apart; a worker keeps open what it has opened for the last.
    folder, workdir
        Of the plan; and where the command was typed, from which paths count.
    threads
        Threads that a shard may use.
    made_by
        Versions that must be the same on both sides.
    environment
        Names of variables that must be set.
    """

    token: str
    folder: str
    workdir: str
    threads: int
    made_by: Mapping[str, str]
    environment: tuple[str, ...] = ()


def versions() -> dict[str, str]:
    """Return what has to be the same here and on workers."""
    return {
        "scope_ml": f"{code_version()} {code_digest('*')[:12]}",
        "Python": ".".join(platform.python_version_tuple()[:2]),
    }


class _Opened:
    """What this process has opened for a run: one at a time, and one shard at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._token = ""
        self._stack = ExitStack()
        self._worker: ShardWorker | None = None

    def worker(self, run: Run, name: str) -> ShardWorker:
        """Return the worker of a run, opened if it is another than before."""
        if self._worker is None or self._token != run.token:
            self._stack.close()
            self._worker = None
            _check(run, name)
            worker = ShardWorker(Path(run.folder), job=name, threads=run.threads, progress=NullProgress())
            self._worker = self._stack.enter_context(worker)
            self._token = run.token
        return self._worker


_opened = _Opened()


def do_shard(run: Run, key: str) -> dict[str, Any]:
    """Do one shard on a worker; what it fails by comes back as text, as errors of another machine may not be readable here."""
    name = worker_name()
    with _opened.lock:
        try:
            error = _opened.worker(run, name).do(key)
        except ScopeError as fatal:
            return {"fatal": str(fatal), "kind": type(fatal).__name__}
        except OSError as fatal:
            if fatal.filename is None:
                raise
            return {"fatal": f"{fatal.filename}: {fatal.strerror}", "kind": type(fatal).__name__}
    return {"error": None if error is None else str(error)}


def _check(run: Run, name: str) -> None:
    """Find out whether this worker can do the run's work.

    Raises
    ------
    JobError
        Saying what is different on this machine.
    """
    who = f"the Dask worker {name} on {platform.node()}"
    here = versions()
    for what, wanted in run.made_by.items():
        if here.get(what) != wanted:
            raise JobError(f"{who} has {what} {here.get(what)}, this command {wanted}; install the same on both")
    if not (Path(run.folder) / PLAN_FILE).is_file():
        raise JobError(f"{who} does not see {run.folder}; give an output in a folder that all workers share")
    missing = [variable for variable in run.environment if not os.environ.get(variable)]
    if missing:
        raise JobError(f"{who} lacks the environment variables {', '.join(missing)}; start workers with them set")
    try:
        os.chdir(run.workdir)
    except OSError as error:
        raise JobError(
            f"{who} does not see {run.workdir}, where the command was typed; type it in a folder that all workers share"
        ) from error


class DaskCrew:
    """A Dask cluster: one task a shard.

    Parameters
    ----------
    executor
        Which cluster.
    n_shards
        No more workers than this are of use.
    """

    shows_itself = False

    def __init__(self, executor: ExecutorConfig, n_shards: int) -> None:
        self._executor = executor
        self.threads = executor.cluster.cores if executor.jobqueue else 1
        own = executor.workers or (executor.max_instances if executor.jobqueue else usable_cores())
        bound = executor.max_instances if executor.address is not None else min(own, executor.max_instances)
        self.at_once = max(1, min(bound, n_shards))
        if executor.address is not None:
            self.who = f"the Dask cluster at {executor.address}, {self.at_once} shards at a time at most"
        elif executor.jobqueue:
            self.who = f"Dask, {own} workers that are Slurm jobs of {self.threads} cores"
        else:
            self.who = f"Dask, {own} workers of this machine"

    def run(self, plan: WorkPlan, progress: Progress) -> Iterator[ShardSaid]:
        """Have the shards done by workers."""
        del progress
        run = Run(
            token=secrets.token_hex(8),
            folder=str(plan.folder.resolve()),
            workdir=str(Path.cwd()),
            threads=self.threads,
            made_by=versions(),
            environment=self._executor.environment,
        )
        with open_cluster(self._executor, plan.folder.resolve() / LOGS) as cluster:
            keys = [shard.key for shard in plan]
            for answer in run_tasks(cluster, partial(do_shard, run), keys, at_once=self.at_once):
                if answer.values is None:
                    yield ShardSaid(key=answer.item, ended=True, lost=answer.lost)
                else:
                    yield ShardSaid(key=answer.item, ended=True, **answer.values)
