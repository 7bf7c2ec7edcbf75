"""A Dask cluster for the shards of a run: one that runs already, one of its own here, or one whose workers are Slurm jobs.

Dask is imported here and in `dask_tasks` alone, inside functions. May import compute's settings, core and errors.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scope_ml.compute.processes import thread_limits
from scope_ml.compute.settings import ExecutorConfig
from scope_ml.compute.slurm_script import check_cluster, exported, preparation, time_limit
from scope_ml.core.machine import usable_cores
from scope_ml.errors import BackendUnavailableError, ConfigError, JobError

__all__ = ["DaskCluster", "open_cluster"]

_log = logging.getLogger(__name__)

#: Seconds in which a scheduler that is there answers.
CONNECT_SECONDS = 8

#: How a scheduler's address looks.
ADDRESS = re.compile(r"((tcp|tls|ws|wss)://)?(?P<host>[\w.-]+|\[[0-9a-fA-F:.]+\]):(?P<port>\d{1,5})")

#: Workers that a shard may kill before it is tried with nothing else under way; one more may die of it than this says.
ALLOWED_FAILURES = 1

#: Dask's own words would stand between ours; what matters of them is said in one line.
QUIET = {
    "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
    "distributed.comm.timeouts.connect": f"{CONNECT_SECONDS}s",
    # Work goes to who asks for it, one shard each.
    "distributed.scheduler.work-stealing": False,
}


@dataclass(frozen=True, kw_only=True)
class DaskCluster:
    """A cluster that can be asked to work.

    Attributes
    ----------
    client
        Dask's client.
    address
        Of the scheduler.
    keep_up
        Asks for workers in the place of those that ended; called now and then.
    """

    client: Any
    address: str
    keep_up: Callable[[], None]


@contextmanager
def open_cluster(executor: ExecutorConfig, logs: Path) -> Iterator[DaskCluster]:
    """Connect to a cluster, or start one that ends with the block.

    Parameters
    ----------
    executor
        Says which.
    logs
        Folder for what jobs of Slurm say.

    Raises
    ------
    BackendUnavailableError
        If Dask is not installed, or there is no sbatch.
    ConfigError
        If the address is none, or a preset lacks its account.
    JobError
        If no scheduler answers, or sbatch refuses.
    """
    _require(jobqueue=executor.jobqueue)
    import dask

    with dask.config.set(QUIET), _quiet():
        if executor.address is not None:
            with _connected(executor.address) as client:
                yield DaskCluster(client=client, address=executor.address, keep_up=lambda: None)
        elif executor.jobqueue:
            with _of_slurm(executor, logs) as cluster:
                yield cluster
        else:
            with _of_its_own(executor.workers or usable_cores()) as cluster:
                yield cluster


def _require(*, jobqueue: bool) -> None:
    try:
        import distributed  # noqa: F401

        if jobqueue:
            import dask_jobqueue  # noqa: F401
    except ImportError as error:
        raise BackendUnavailableError(
            f"executor=dask needs {error.name}, which is not installed; type: pip install 'scope_ml[dask]'"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's log to what is worth a look: that workers come and go is said by us."""
    names = ("distributed", *(f"distributed.{room}" for room in ("client", "core", "nanny", "scheduler", "worker")))
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    from distributed import Client

    _knock(address)
    try:
        # Dask's client waits for ever for somebody who listens and says nothing.
        asyncio.run(asyncio.wait_for(_greet(address), CONNECT_SECONDS))
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise JobError(
            f"what listens at {address} is no Dask scheduler, or one of another version ({str(error) or 'it says nothing'}); give"
            " another executor.address"
        ) from error
    with client:
        yield client


async def _greet(address: str) -> None:
    """Exchange the first words of Dask's protocol."""
    from distributed.comm import connect

    comm = await connect(address, timeout=CONNECT_SECONDS)
    comm.abort()


def _knock(address: str) -> None:
    """Find out whether anybody is at an address: Dask's own client would go on asking, also after its time-out.

    Raises
    ------
    ConfigError
        If it is no address.
    JobError
        If nobody answers.
    """
    form = ADDRESS.fullmatch(address)
    if form is None:
        shown = address.rpartition("@")[2]
        raise ConfigError(
            f"executor.address={shown} is no address of a scheduler; give tcp://HOST:PORT", key="executor.address"
        )
    try:
        socket.create_connection((form["host"].strip("[]"), int(form["port"])), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise JobError(
            f"no Dask scheduler answers at {address} ({error}); start one (dask scheduler), or leave executor.address out"
            " for a cluster of its own"
        ) from error


@contextmanager
def _of_its_own(n_workers: int) -> Iterator[DaskCluster]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            # The kernel decides who has too much, as for other processes; nothing is written to disk to save memory.
            memory_limit=0,
            silence_logs=logging.CRITICAL,
            env=thread_limits(1),
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield DaskCluster(client=client, address=cluster.scheduler_address, keep_up=lambda: None)


@contextmanager
def _of_slurm(executor: ExecutorConfig, logs: Path) -> Iterator[DaskCluster]:
    from dask_jobqueue import SLURMCluster
    from distributed import Client

    check_cluster(executor, os.environ)
    cluster_config = executor.cluster
    n_workers = executor.workers or executor.max_instances
    directives = [f"--export={exported(executor, os.environ)}", "--nodes=1"]
    directives += [f"--qos={cluster_config.qos}"] if cluster_config.qos else []
    directives += [f"--constraint={cluster_config.constraint}"] if cluster_config.constraint else []
    directives += [f"--gpus={cluster_config.gpus}"] if cluster_config.gpus else []
    threads = [f"export {name}={value}" for name, value in thread_limits(cluster_config.cores).items()]
    further: dict[str, Any] = {"python": cluster_config.python} if cluster_config.python else {}
    with SLURMCluster(
        queue=cluster_config.partition or None,
        account=cluster_config.account or None,
        # One shard at a time, which may use all cores of its job.
        cores=1,
        processes=1,
        job_cpu=cluster_config.cores,
        memory=f"{cluster_config.memory_gb or 1:g} GiB",
        walltime=time_limit(cluster_config.hours),
        job_extra_directives=[*directives, *cluster_config.options],
        job_directives_skip=[] if cluster_config.memory_gb else ["--mem="],
        job_script_prologue=[*preparation(cluster_config), *threads],
        # Slurm holds a job to its memory.
        worker_extra_args=["--memory-limit", "0"],
        log_directory=str(logs),
        scheduler_options={"dashboard": False},
        silence_logs="critical",
        **further,
    ) as cluster:
        _try_out(cluster.job_script())
        cluster.scale(jobs=n_workers)
        with Client(cluster, set_as_default=False) as client:
            # A job that ended (time limit, node) leaves its place in the cluster's list; asked again, it is filled.
            yield DaskCluster(
                client=client, address=cluster.scheduler_address, keep_up=lambda: cluster.scale(jobs=n_workers)
            )


def _try_out(script: str) -> None:
    """Ask sbatch whether it would take a worker's job: Dask itself waits for ever for one that is refused."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh", encoding="utf-8") as file:
        file.write(script)
        file.flush()
        try:
            asked = subprocess.run(
                ["sbatch", "--test-only", file.name], capture_output=True, text=True, check=False, timeout=60
            )
        except FileNotFoundError as error:
            raise BackendUnavailableError("there is no sbatch here; log in to the cluster's head node") from error
        except subprocess.TimeoutExpired as error:
            raise JobError("sbatch did not answer within 60 s; ask again later") from error
    if asked.returncode:
        words = " ".join(asked.stderr.split()) or "it gave no reason"
        raise JobError(f"sbatch refuses a worker's job: {words}; mend executor.cluster and type the same command again")
