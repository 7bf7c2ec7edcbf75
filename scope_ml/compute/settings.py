"""The executor group of the configuration: who does the work, never what comes out.

Knows names of environment variables, never their values. May import core and errors only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scope_ml.core.configuration import option

__all__ = ["ClusterConfig", "ExecutorConfig", "ExecutorKind"]

ExecutorKind = Literal["local", "slurm", "dask"]


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """What a task asks of a Slurm cluster (``executor/cluster=NAME``); nothing is asked for what is left empty."""

    name: str = option("none", doc="the preset", machine=True)
    partition: str = option("", doc="partition (sbatch --partition)", machine=True)
    account: str = option("", doc="account that pays (sbatch --account)", machine=True)
    needs_account: bool = option(False, doc="whether the cluster refuses jobs without an account", machine=True)
    qos: str = option("", doc="quality of service (sbatch --qos)", machine=True)
    constraint: str = option("", doc="features of nodes (sbatch --constraint)", machine=True)
    cores: int = option(1, doc="cores of a task", at_least=1, at_most=1024, machine=True)
    gpus: int = option(0, doc="GPUs of a task", at_least=0, at_most=64, machine=True)
    memory_gb: float = option(
        4.0, unit="GB", doc="memory of a task; 0: the cluster's default", at_least=0, machine=True
    )
    hours: float = option(4.0, unit="h", doc="time limit of a task", more_than=0, machine=True)
    max_array_size: int = option(
        1000, doc="tasks of one array at most (scontrol show config: MaxArraySize)", at_least=1, machine=True
    )
    modules: tuple[str, ...] = option((), doc="modules to load, after module purge", machine=True)
    setup: tuple[str, ...] = option(
        (), doc="lines of shell before the work, such as source activate scope", machine=True
    )
    python: str = option(
        "",
        doc="interpreter of tasks, such as python where setup activates one; empty: the one that planned",
        machine=True,
    )
    options: tuple[str, ...] = option((), doc="further words for sbatch, such as --mail-type=END", machine=True)


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
    """Who does the work.

    A run of many shards keeps its plan, its ledger, and what schedulers need, in one folder beside its outputs.
    """

    kind: ExecutorKind = option(
        "local", doc="local: processes here; slurm: job arrays; dask: a Dask cluster", machine=True
    )
    folder: str | None = option(None, doc="plan, scripts and state of the run; null: OUTPUT.run", machine=True)
    rates: str | None = option(
        None, doc="run log, or folder of them, by whose rates hours are estimated; null: this run's own", machine=True
    )
    processes: int = option(
        1,
        doc="local: processes, one thread each; 0: one per core; 1: this process and its threads",
        at_least=0,
        at_most=4096,
        machine=True,
    )
    shards_per_task: int = option(
        1, doc="slurm: shards that a task of an array does one after the other", at_least=1, machine=True
    )
    max_instances: int = option(
        20, doc="slurm: tasks that run at a time; dask: shards under way at a time", at_least=1, machine=True
    )
    submit: bool = option(True, doc="slurm: false writes plan and script and submits nothing", machine=True)
    collect: bool = option(True, doc="slurm: a last job adds up what the others made", machine=True)
    environment: tuple[str, ...] = option(
        (),
        doc="slurm, dask: names of environment variables that tasks are given; values are never written",
        machine=True,
    )
    address: str | None = option(None, doc="dask: a scheduler's address; null: a cluster of its own", machine=True)
    workers: int = option(0, doc="dask: workers of its own cluster; 0: one per core", at_least=0, machine=True)
    jobqueue: bool = option(False, doc="dask: workers are Slurm jobs, as executor.cluster says", machine=True)
    cluster: ClusterConfig = option(ClusterConfig(), doc="what a task asks of Slurm", machine=True)

    def run_folder(self, output: Path) -> Path:
        """Return where the plan of a run lies that makes `output`."""
        return Path(self.folder) if self.folder else output.with_name(f"{output.name}.run")
