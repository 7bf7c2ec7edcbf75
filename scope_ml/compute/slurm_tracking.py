"""How the shards of a run stand: what the ledger says, joined with what Slurm says of the tasks that do them.

One call of squeue and a scan of the ledger's folders, whatever the number of shards; accounting and logs are looked into
only for shards that failed or were lost. May import compute, core, io and errors.
"""

from __future__ import annotations

import os
import re
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from scope_ml.compute import slurm_commands
from scope_ml.compute.ledger import Ledger, ShardState
from scope_ml.compute.plan import WorkPlan
from scope_ml.compute.slurm_commands import Ended, QueuedJob
from scope_ml.compute.slurm_script import LOGS, job_name
from scope_ml.compute.slurm_waves import Journal, Submitted, read_wave
from scope_ml.core.machine import is_running

__all__ = ["STANDINGS", "TO_SUBMIT", "Failure", "Reason", "Standing", "Tracking", "track"]

#: done; running; queued: a task waits for it; failed: it said why; lost: begun, and nobody works on it any more; unbegun:
#: nobody has begun it and no task waits for it.
Standing = Literal["done", "running", "queued", "failed", "lost", "unbegun"]
STANDINGS: tuple[Standing, ...] = ("done", "running", "queued", "failed", "lost", "unbegun")
TO_SUBMIT: tuple[Standing, ...] = ("unbegun", "failed", "lost")

Reason = Literal["timed_out", "out_of_memory", "cancelled", "node_failed", "killed", "error", "unknown"]

#: Slurm's states of ended tasks, by what they mean.
STATES: Mapping[str, Reason] = {
    "TIMEOUT": "timed_out",
    "DEADLINE": "timed_out",
    "OUT_OF_MEMORY": "out_of_memory",
    "CANCELLED": "cancelled",
    "PREEMPTED": "cancelled",
    "REVOKED": "cancelled",
    "NODE_FAIL": "node_failed",
    "BOOT_FAIL": "node_failed",
}

#: What the last lines of a task's log say, where Slurm itself has forgotten; the first that is found.
LOG_WORDS: tuple[tuple[str, Reason], ...] = (
    (r"due to time limit", "timed_out"),
    (r"oom[-_ ]?kill|out[ -]of[ -]memory|MemoryError|Cannot allocate memory", "out_of_memory"),
    (r"due to node failure|node fail", "node_failed"),
    (r"CANCELLED AT|due to preemption", "cancelled"),
    (r"ended by signal", "killed"),
    (r"\bKilled\b", "killed"),
)

#: How a worker that was told to stop says so; whether by the time limit or by somebody, Slurm knows.
STOPPED = "stopped by SIGTERM"

#: Bytes of the end of a log that are looked at, and characters of a line that are told.
TAIL = 4096
LONGEST = 300


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A shard that failed, was lost, or whose task ended before it was begun.

    Attributes
    ----------
    key, standing, reason
        Which, and why.
    line
        The error of the shard, or what its log ends with.
    job
        The task that did it, "" if none is known.
    log
        Its log, None if there is none.
    """

    key: str
    standing: Standing
    reason: Reason
    line: str
    job: str
    log: Path | None


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """How a run stands.

    Attributes
    ----------
    standings
        Of each shard, by key, in the plan's order.
    jobs
        What was submitted.
    queue
        This run's jobs in the queue, pending and running ones, by name.
    failures
        Shards that nobody works on though a task did or should have; empty where reasons were not asked for.
    """

    standings: Mapping[str, Standing]
    jobs: Sequence[Submitted]
    queue: Mapping[str, QueuedJob]
    failures: Sequence[Failure] = ()

    def counts(self) -> dict[Standing, int]:
        """Return the number of shards of each standing; they add up to the plan's."""
        found = Counter(self.standings.values())
        return {name: found[name] for name in STANDINGS}

    def keys(self, wanted: Sequence[str]) -> list[str]:
        """Return the shards of some standings, in the plan's order."""
        return [key for key, standing in self.standings.items() if standing in wanted]

    def waiting_for(self) -> dict[str, int]:
        """Return how many tasks wait, by the scheduler's reason."""
        tasks = (job for job in self.queue.values() if job.is_pending and job.index is not None)
        return dict(Counter(job.reason for job in tasks).most_common())

    def arrays(self, kind: str | None = None) -> list[str]:
        """Return the numbers of jobs in the queue, in the order of their submission."""
        here = {job.array for job in self.queue.values()}
        return [one.job for one in self.jobs if one.job in here and (kind is None or one.kind == kind)]


def track(plan: WorkPlan, *, why: bool = True) -> Tracking:
    """Return how the shards of a plan stand now.

    Parameters
    ----------
    plan
        The run.
    why
        Whether to find out why shards failed.

    Raises
    ------
    BackendUnavailableError, ServiceUnavailableError, ServiceTimeoutError
        If Slurm cannot be asked and something was submitted.
    FormatError
        If the files of the run are broken.
    """
    jobs = Journal(plan.folder).read()
    known = slurm_commands.queue(job_name(plan.folder)) if jobs else []
    marked = {job.comment: job.array for job in known}
    # What nobody noted, because a kill came between, its mark tells.
    jobs = [replace(one, job=marked.get(one.token, "")) if one.fate == "intended" else one for one in jobs]
    ours = {one.job for one in jobs if one.job}
    recent = {job.name: job for job in known if job.array in ours}
    # The ledger is read after the queue: what ended in between is seen as done, not as lost.
    ledger = Ledger(plan.folder)
    states = ledger.states((shard.key for shard in plan), records=False)
    states |= ledger.states([key for key, state in states.items() if state.state in ("begun", "failed")])
    tasks = _tasks(plan.folder, jobs)
    standings = {key: _standing(state, tasks.get(key, ""), recent) for key, state in states.items()}
    found = Tracking(
        standings=standings,
        jobs=jobs,
        queue={name: job for name, job in recent.items() if job.is_pending or job.is_running},
    )
    if not why:
        return found
    troubled = {key: states[key] for key in found.keys(("failed", "lost"))}
    # Nobody began these, and their task has ended: cancelled before its time, or it could not start.
    troubled |= {key: states[key] for key in found.keys(("unbegun",)) if key in tasks}
    return Tracking(
        standings=standings,
        jobs=jobs,
        queue=found.queue,
        failures=_failures(plan.folder, troubled, standings, tasks, recent),
    )


def _tasks(folder: Path, jobs: Sequence[Submitted]) -> dict[str, str]:
    """Return the newest task of each shard: ``4711_3``."""
    tasks: dict[str, str] = {}
    for one in jobs:
        if one.kind == "wave" and one.job:
            for index, keys in enumerate(read_wave(folder, one.wave)):
                tasks |= dict.fromkeys(keys, f"{one.job}_{index}")
    return tasks


def _standing(state: ShardState, task: str, recent: Mapping[str, QueuedJob]) -> Standing:
    if state.state == "done":
        return "done"
    begun_by = state.attempt.job if state.attempt else ""
    job = recent.get(task)
    if job and (job.is_pending or (job.is_running and (begun_by != task or _is_before(state, job)))):
        return "queued"
    if state.state == "waiting":
        return "unbegun"
    if state.state == "failed":
        return "failed"
    worker = recent.get(begun_by)
    if (worker and worker.is_running) or _is_here(state):
        return "running"
    return "lost"


def _is_before(state: ShardState, job: QueuedJob) -> bool:
    """Return whether a shard failed in an earlier life of its task, which was put back into the queue and runs again."""
    return state.state == "failed" and float((state.record or {}).get("time", 0.0)) < job.start


def _is_here(state: ShardState) -> bool:
    """Return whether a process of this machine works on a shard outside of Slurm."""
    attempt = state.attempt
    return bool(attempt and not attempt.job and attempt.host == socket.gethostname() and is_running(attempt.pid))


def _failures(
    folder: Path,
    troubled: Mapping[str, ShardState],
    standings: Mapping[str, Standing],
    tasks: Mapping[str, str],
    recent: Mapping[str, QueuedJob],
) -> list[Failure]:
    by = {key: (state.attempt.job if state.attempt else tasks.get(key, "")) for key, state in troubled.items()}
    unknown = {job for key, job in by.items() if job and not _own_error(troubled[key]) and _is_unsaid(recent.get(job))}
    ended = slurm_commands.accounted(sorted({job.partition("_")[0] for job in unknown}))
    ended |= {name: Ended(state=job.state) for name, job in recent.items() if job.state in STATES}
    failures = []
    for key, state in troubled.items():
        job = by[key]
        log = folder / LOGS / f"{job}.err" if job else None
        log = log if log and log.is_file() else None
        reason, line = _why(state, ended.get(job), log)
        failures.append(Failure(key=key, standing=standings[key], reason=reason, line=line, job=job, log=log))
    return failures


def _is_unsaid(job: QueuedJob | None) -> bool:
    return job is None or job.state not in STATES


def _own_error(state: ShardState) -> str:
    """Return what a shard itself failed by, "" where something ended its process."""
    error = str((state.record or {}).get("error", "")) or "no reason was given"
    return error if state.state == "failed" and not error.startswith(STOPPED) else ""


def _why(state: ShardState, ended: Ended | None, log: Path | None) -> tuple[Reason, str]:
    """Return why a shard is not done, and a line about it."""
    if own := _own_error(state):
        return "error", own
    error = str((state.record or {}).get("error", ""))
    last, said = _log_end(log)
    if ended and ended.state in STATES:
        reason = STATES[ended.state]
        return reason, _line_about(reason, said) or last or error or f"Slurm says {ended.state}"
    if ended and ended.exit_code.endswith(":9"):
        return "killed", last or "ended by signal 9"
    for _, reason in LOG_WORDS:
        if line := _line_about(reason, said):
            return reason, line
    if re.search(r"\berror\b", last, re.IGNORECASE):
        return "error", last
    return ("cancelled" if error else "unknown"), last or error or "its task is gone and left no word"


def _line_about(reason: Reason, text: str) -> str:
    """Return the line of a log that tells of a reason, "" if none does."""
    for words, about in LOG_WORDS:
        found = re.search(f".*({words}).*", text, re.IGNORECASE) if about == reason else None
        if found:
            return found[0].strip()[:LONGEST]
    return ""


def _log_end(log: Path | None) -> tuple[str, str]:
    """Return the last line of a log, and its end."""
    if log is None:
        return "", ""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - TAIL))
            text = stream.read().decode(errors="replace")
    except OSError:
        return "", ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1][:LONGEST] if lines else ""), text
