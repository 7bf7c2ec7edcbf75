"""Stage `slurm`: show, submit, status, cancel, resubmit, collect a run of many shards; work, which its tasks call.

Each action is a function here that asks ``compute.slurm_*`` and the rooms of distribution for the work and returns a report
whose text is shown. Nothing polls: Slurm is asked once for each command.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from scope_ml.compute.ledger import Ledger
from scope_ml.compute.plan import WorkPlan, read_plan
from scope_ml.compute.settings import ExecutorConfig
from scope_ml.compute.slurm_script import command
from scope_ml.compute.slurm_submission import Submission, array_length, cancel_run, submit
from scope_ml.compute.slurm_tracking import TO_SUBMIT, Reason, track
from scope_ml.compute.slurm_waves import Journal, read_wave
from scope_ml.core.configuration import option
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.errors import BackendUnavailableError, ConfigError, FormatError, JobError, ServiceError
from scope_ml.stages.distribution import distribution
from scope_ml.stages.slurm_start import submission_report
from scope_ml.stages.slurm_status import status_of

__all__ = ["SlurmTask", "run"]

Action = Literal["show", "submit", "status", "cancel", "resubmit", "collect", "work"]

#: Options that replace what was planned, and where they stand in an executor.
OF_EXECUTOR = ("max_instances", "shards_per_task", "environment")
OF_CLUSTER = (
    *("hours", "memory_gb", "cores", "partition", "account", "qos"),
    *("max_array_size", "options"),
)

#: Shards that a report names.
N_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class SlurmTask:
    """Options of the stage."""

    action: Action = option(machine=True, doc="what to do: the first word of the command")
    plan: str = option(machine=True, doc="folder of the run: OUTPUT.run, which a door with executor=slurm made")
    classes: tuple[Literal["unbegun", "failed", "lost", "done"], ...] = option(
        TO_SUBMIT,
        machine=True,
        doc="submit, resubmit: shards that stand so; done: look at them again, as inputs changed",
    )
    reasons: tuple[Reason, ...] = option(
        (), machine=True, doc="submit, resubmit: of the failed and lost only those of these reasons; empty: all"
    )
    format: Literal["table", "json"] = option("table", machine=True, doc="status: how it is shown")
    hours: float | None = option(None, unit="h", doc="time limit; null: as planned", more_than=0, machine=True)
    memory_gb: float | None = option(None, unit="GB", doc="memory; null: as planned", at_least=0, machine=True)
    cores: int | None = option(None, doc="cores of a task; null: as planned", at_least=1, machine=True)
    partition: str | None = option(None, doc="partition; null: as planned", machine=True)
    account: str | None = option(None, doc="account; null: as planned", machine=True)
    qos: str | None = option(None, doc="quality of service; null: as planned", machine=True)
    max_array_size: int | None = option(
        None, doc="tasks of one array at most; null: as planned", at_least=1, machine=True
    )
    options: tuple[str, ...] | None = option(
        None, doc="further words for sbatch, such as --gpus=1; null: as planned", machine=True
    )
    max_instances: int | None = option(None, doc="tasks that run at a time; null: as planned", at_least=1, machine=True)
    shards_per_task: int | None = option(None, doc="shards of a task; null: as planned", at_least=1, machine=True)
    environment: tuple[str, ...] | None = option(
        None, doc="names of variables that tasks are given; null: as planned", machine=True
    )
    wave: int | None = option(None, doc="work: which wave", at_least=1, machine=True)
    task: int | None = option(None, doc="work: place in its array", at_least=0, machine=True)
    job: str = option("", doc="work: Slurm's name of the task", machine=True)
    threads: int = option(1, doc="work: threads that a shard may use", at_least=1, machine=True)
    machine: Machine = option(Machine(), doc="dry_run: submit and cancel only say what they would do", machine=True)

    def __post_init__(self) -> None:
        """Check that `work` knows which shards are its own.

        Raises
        ------
        ConfigError
            If it does not.
        """
        if self.action == "work" and (self.wave is None or self.task is None):
            raise ConfigError(
                "slurm work is what tasks run: it needs wave=... and task=...; type slurm submit", key="wave"
            )
        if self.classes == ():
            raise ConfigError(f"classes=[] chooses no shard; give some of {', '.join(TO_SUBMIT)}", key="classes")


def run(config: SlurmTask, *, progress: Progress) -> Report:
    """Do what `config.action` says.

    Raises
    ------
    ConfigError
        If options are missing or do not fit.
    FormatError
        If there is no plan, or the run's files are broken.
    JobError
        If sbatch refuses, or there is nothing to submit.
    BackendUnavailableError, ServiceUnavailableError, ServiceTimeoutError
        If Slurm is not here or does not answer.
    OutputError
        If the folder of the run cannot be written.
    """
    began = time.monotonic()
    actions: Mapping[str, Callable[[SlurmTask, WorkPlan, Progress], Report]] = {
        "show": _show,
        "submit": _submit,
        "resubmit": _submit,
        "status": _status,
        "cancel": _cancel,
        "collect": _collect,
    }
    if config.action == "work":
        # The script went to where it was planned before it called.
        report = _work(config, progress)
    else:
        plan = read_plan(Path(config.plan).resolve())
        with _where_planned(plan):
            report = actions[config.action](config, plan, progress)
    return replace(report, seconds=time.monotonic() - began)


@contextmanager
def _where_planned(plan: WorkPlan) -> Iterator[None]:
    """Work in the folder from which the paths of a plan count, wherever the command was typed."""
    with ExitStack() as back:
        try:
            back.enter_context(chdir(plan.workdir))
        except OSError as error:
            raise ConfigError(
                f"{plan.folder} was planned in {plan.workdir}, from where its paths count, and that cannot be entered"
                f" ({error.strerror}); plan the run again",
                key="plan",
            ) from error
        yield


def executor_of(config: SlurmTask, plan: WorkPlan, *, asked: Mapping[str, Any] | None = None) -> ExecutorConfig:
    """Return who works: as planned, as `asked` for since then, and as the command line would have it instead."""
    door = distribution(plan.door)
    planned = door.executor(door.from_values(plan.config))
    given = dict(asked or {})
    given |= {name: value for name in (*OF_EXECUTOR, *OF_CLUSTER) if (value := getattr(config, name)) is not None}
    cluster = replace(planned.cluster, **{name: given[name] for name in OF_CLUSTER if name in given})
    return replace(planned, **{name: given[name] for name in OF_EXECUTOR if name in given}, cluster=cluster)


def _show(config: SlurmTask, plan: WorkPlan, progress: Progress) -> Report:
    executor = executor_of(config, plan)
    counts = _counted(plan)
    submission = _sent(config, plan, executor, progress, really=False)
    per_task = executor.shards_per_task
    n_tasks = -(-submission.n_shards // per_task)
    text = "\n".join(
        [
            f"{plan.folder}: {plan.door}, {len(plan):,} shards: "
            + ", ".join(f"{count:,} {name}" for name, count in counts.items() if count),
            f"{submission.n_shards:,} shards to submit: {n_tasks:,} tasks of {per_task} in"
            f" {-(-n_tasks // array_length(executor)):,} array(s), {executor.max_instances} at a time",
            *submission.lines,
            "",
            submission.script.read_text(encoding="utf-8"),
            f"nothing was submitted; to do it: {command('submit', plan.folder)}",
        ]
    )
    return Report(stage="slurm", outputs=submission.outputs, facts={**submission.facts, "shards": counts, "text": text})


def _counted(plan: WorkPlan) -> Mapping[str, int]:
    return {str(name): count for name, count in track(plan, why=False).counts().items()}


def _submit(config: SlurmTask, plan: WorkPlan, progress: Progress) -> Report:
    began = time.monotonic()
    submission = _sent(config, plan, executor_of(config, plan), progress, really=not config.machine.dry_run)
    return submission_report("slurm", submission, time.monotonic() - began)


def _sent(
    config: SlurmTask, plan: WorkPlan, executor: ExecutorConfig, progress: Progress, *, really: bool
) -> Submission:
    progress.start("asking Slurm")
    keys = None
    if config.reasons:
        wanted = set(config.reasons)
        failures = track(plan).failures
        keys = [one.key for one in failures if one.reason in wanted]
        if not keys:
            there = ", ".join(sorted({one.reason for one in failures})) or "none"
            raise JobError(
                f"no shard of {plan.folder} failed by {', '.join(config.reasons)}; reasons there are: {there}"
            )
    submission = submit(plan, executor, standings=config.classes, keys=keys, really=really, key="")
    progress.finish()
    return submission


def _status(config: SlurmTask, plan: WorkPlan, progress: Progress) -> Report:
    del progress
    asked = next((one.asked for one in reversed(Journal(plan.folder).read()) if one.job), None)
    try:
        status = status_of(plan, executor_of(config, plan, asked=asked))
    except (ServiceError, BackendUnavailableError) as error:
        counts = Counter(state.state for state in Ledger(plan.folder).states(plan.by_key(), records=False).values())
        raise type(error)(
            f"{error}; of {len(plan):,} shards the run's own files have {counts['done']:,} done, {counts['failed']:,}"
            f" failed, {counts['begun']:,} begun"
        ) from error
    values = status.values()
    text = json.dumps(values, indent=2, allow_nan=False) if config.format == "json" else status.text()
    return Report(stage="slurm", facts={**values, "text": text})


def _cancel(config: SlurmTask, plan: WorkPlan, progress: Progress) -> Report:
    del progress
    if config.machine.dry_run:
        jobs = track(plan, why=False).arrays()
        said = f"would cancel {', '.join(jobs)}" if jobs else "nothing of this run is in the queue"
        return Report(stage="slurm", facts={"jobs": jobs, "text": f"{said}; nothing was done"})
    tracking, jobs = cancel_run(plan)
    counts = tracking.counts()
    text = (
        f"cancelled {', '.join(jobs)}: {counts['running']} running and {counts['queued']} waiting shards;"
        f" what is done stays ({counts['done']}); to go on: {command('resubmit', plan.folder)}"
        if jobs
        else "nothing of this run is in the queue"
    )
    return Report(stage="slurm", facts={"jobs": jobs, "shards": dict(counts), "text": text})


def _collect(config: SlurmTask, plan: WorkPlan, progress: Progress) -> Report:
    from scope_ml.stages.distributed_run import collect_run

    del config
    return collect_run(plan.folder, progress=progress)


def _work(config: SlurmTask, progress: Progress) -> Report:
    from scope_ml.stages.shard_worker import work_on

    folder = Path(config.plan)
    tasks = read_wave(folder, config.wave or 0)
    if config.task is None or config.task >= len(tasks):
        raise FormatError(f"wave {config.wave} of {folder} has {len(tasks)} tasks, none of number {config.task}")
    keys = tasks[config.task]
    counts = work_on(folder, keys, job=config.job, threads=config.threads, progress=progress)
    named = [f"{key}: {error}" for key, error in counts.failures]
    lines = [f"failed: {line}" for line in named[:N_NAMED]]
    lines.append(f"{counts.n_done} of {len(keys)} shard(s) done in {counts.seconds:.0f} s")
    return Report(
        stage="slurm",
        facts={
            "n_done": counts.n_done,
            "n_failed": counts.n_failed,
            "failed": named,
            "text": "\n".join(lines),
        },
    )
