"""Shards into Slurm's queue, as arrays with the scheduler's own throttle: once each, whatever is killed on the way.

Nothing waits here: arrays are chained by dependencies, and who wants to know asks `slurm_tracking`. May import compute, core,
io and errors.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from scope_ml.compute import slurm_commands
from scope_ml.compute.ledger import Ledger
from scope_ml.compute.plan import WorkPlan
from scope_ml.compute.settings import ExecutorConfig
from scope_ml.compute.slurm_script import (
    COLLECT,
    LOGS,
    SCRIPT_FILE,
    check_cluster,
    command,
    exported,
    job_name,
    render,
    wave_words,
)
from scope_ml.compute.slurm_tracking import TO_SUBMIT, Tracking, track
from scope_ml.compute.slurm_waves import Journal, Submitted, divided, write_wave
from scope_ml.errors import JobError, ScopeError, ServiceError
from scope_ml.io.atomic import atomic_path
from scope_ml.io.output_lock import output_lock

__all__ = ["Submission", "array_length", "cancel_run", "planned_lines", "submit"]


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What was given to Slurm.

    Attributes
    ----------
    folder, script
        The run, and what its tasks run.
    n_shards
        Shards that were not done and not in the queue before.
    jobs
        What was submitted now: waves, and what adds up.
    lines
        What sbatch was told, or would be.
    refusal
        Why sbatch took the rest of the waves not, "" if it took all.
    not_given
        Variables that the configuration names, this shell has set, and tasks are not given.
    """

    folder: Path
    script: Path
    n_shards: int
    jobs: tuple[Submitted, ...] = ()
    lines: tuple[str, ...] = ()
    refusal: str = ""
    not_given: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outputs(self) -> dict[str, str]:
        """Return what lies where."""
        return {"run": str(self.folder), "script": str(self.script)}

    @property
    def text(self) -> str:
        """Return what people are told."""
        names = ",".join(self.not_given)
        unseen = [f"tasks do not see {names}; if they need it: executor.environment=[{names}]"] if names else []
        if not self.jobs:
            return "\n".join(
                [
                    f"{self.n_shards} shards to submit; nothing was submitted. The script: {self.script}",
                    *(f"  {line}" for line in self.lines),
                    *unseen,
                    f"to submit: {command('submit', self.folder)}",
                ]
            )
        waves = [one for one in self.jobs if one.kind == "wave"]
        told = ", ".join(f"{one.job} ({one.n_tasks} tasks)" for one in waves[:5])
        more = f" and {len(waves) - 5} further arrays" if len(waves) > 5 else ""
        last = [f"job {one.job} adds up when they have ended" for one in self.jobs if one.kind == "collect"]
        refused = [f"sbatch did not take the rest: {self.refusal}"] if self.refusal else []
        return "\n".join(
            [
                f"{self.n_shards} shards submitted as {told}{more}; the script: {self.script}",
                *last,
                *refused,
                *unseen,
                f"how it goes: {command('status', self.folder)}",
            ]
        )


def submit(
    plan: WorkPlan,
    executor: ExecutorConfig,
    *,
    standings: Sequence[str] = TO_SUBMIT,
    keys: Sequence[str] | None = None,
    really: bool | None = None,
    key: str = "executor.cluster.",
) -> Submission:
    """Submit what is neither done nor in the queue.

    Parameters
    ----------
    plan
        The run; its plan is written.
    executor
        What a task asks for, and how many run at a time.
    standings
        Which shards: ``unbegun``, ``failed``, ``lost``; ``done``, whose inputs may have changed.
    keys
        Of these only; None: all.
    really
        False renders the script and submits nothing; None: as `executor` says.
    key
        Before the names of options in messages.

    Raises
    ------
    ConfigError
        If an account or an environment variable is missing.
    JobError
        If nothing is left to submit, sbatch refuses the first wave, or another process submits this run now.
    BackendUnavailableError, ServiceUnavailableError, ServiceTimeoutError
        If Slurm cannot be asked.
    OutputError
        If the folder of the run cannot be written.
    """
    check_cluster(executor, os.environ, key=key)
    folder = Path(plan.folder).resolve()
    if not (executor.submit if really is None else really):
        return _shown(plan, executor, standings, keys)
    with _alone(folder) as hold:
        _settle(folder)
        tracking = track(plan, why=False)
        chosen = _chosen(plan, tracking, standings, keys)
        script = _write_script(plan, executor)
        for one in chosen:
            # Looked at again, it is not done before its task says so; what it made stays.
            if tracking.standings[one] == "done":
                Ledger(folder).forget(one)
        submission = _submitted(_Sender(folder, script, executor, key, hold), chosen, tracking)
    return replace(submission, not_given=_not_given(plan, executor))


def cancel_run(plan: WorkPlan) -> tuple[Tracking, list[str]]:
    """Take all jobs of a run out of the queue; return how it stood before, and their numbers."""
    folder = Path(plan.folder).resolve()
    with _alone(folder):
        _settle(folder)
        tracking = track(plan, why=False)
        jobs = tracking.arrays()
        # The last first, so that no dependency is met meanwhile.
        slurm_commands.cancel(list(reversed(jobs)))
    return tracking, jobs


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Hold the right to change what a run has in the queue; give the open file of the lock."""
    with ExitStack() as stack:
        try:
            hold = stack.enter_context(output_lock(folder / "submitting", folder))
        except JobError as error:
            said = str(error).partition(";")[0]
            raise JobError(f"{said}, which submits or cancels; type this command again when that has ended") from error
        yield hold


def array_length(executor: ExecutorConfig) -> int:
    """Return how many tasks an array has at most: as the cluster is said to take, and as it says itself."""
    said = executor.cluster.max_array_size
    return min(said, slurm_commands.array_limit() or said)


def planned_lines(executor: ExecutorConfig, folder: Path, n_shards: int, tracking: Tracking) -> list[str]:
    """Return what sbatch would be told now, line by line; numbers of jobs to come stand as words, marks are left out."""
    folder = Path(folder).resolve()
    per_wave = array_length(executor)
    n_tasks = -(-n_shards // executor.shards_per_task)
    start = ["sbatch", f"--export={exported(executor, os.environ)}"]
    number, after = _last(tracking)
    lines: list[str] = []
    for first in range(0, n_tasks, per_wave):
        number += 1
        words = wave_words(executor, folder, n_tasks=min(per_wave, n_tasks - first), after=after)
        lines.append(shlex.join([*start, *words, str(folder / SCRIPT_FILE), str(number)]))
        after = f"JOB_OF_WAVE_{number}"
    if executor.collect:
        words = wave_words(executor, folder, n_tasks=None, after=after)
        lines.append(shlex.join([*start, *words, str(folder / SCRIPT_FILE), COLLECT]))
    return lines


def _last(tracking: Tracking) -> tuple[int, str | None]:
    """Return the number of the last wave, and the last array in the queue: the throttle holds over all of a run's."""
    return max((one.wave for one in tracking.jobs), default=0), next(reversed(tracking.arrays("wave")), None)


def _shown(
    plan: WorkPlan, executor: ExecutorConfig, standings: Sequence[str], keys: Sequence[str] | None
) -> Submission:
    tracking = track(plan, why=False)
    chosen = _chosen(plan, tracking, standings, keys)
    lines = planned_lines(executor, plan.folder, len(chosen), tracking)
    return Submission(
        folder=Path(plan.folder).resolve(),
        script=_write_script(plan, executor),
        n_shards=len(chosen),
        lines=tuple(lines),
        not_given=_not_given(plan, executor),
        facts={"n_shards": len(chosen), "submitted": False, "sbatch": lines},
    )


def _chosen(plan: WorkPlan, tracking: Tracking, standings: Sequence[str], keys: Sequence[str] | None) -> list[str]:
    chosen = tracking.keys(standings)
    if keys is not None:
        wanted = set(keys)
        chosen = [key for key in chosen if key in wanted]
    if chosen:
        return chosen
    counts = tracking.counts()
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "no shard"
    if counts["queued"] + counts["running"]:
        advice = f"wait for the queue; {command('status', plan.folder)} says how it goes"
    elif counts["done"] == len(plan):
        advice = (
            f"all is done; {command('collect', plan.folder)} adds it up; if what it was made of has changed since:"
            f" {command('submit', plan.folder)} 'classes=[done]'"
        )
    else:
        advice = "these are not among those asked for; leave out classes=... to submit all that is not done"
    raise JobError(f"nothing to submit in {plan.folder}: {said}; {advice}")


def _write_script(plan: WorkPlan, executor: ExecutorConfig) -> Path:
    folder = Path(plan.folder).resolve()
    (folder / LOGS).mkdir(parents=True, exist_ok=True)
    path = folder / SCRIPT_FILE
    with atomic_path(path) as temporary:
        temporary.write_text(render(executor, plan), encoding="utf-8")
        temporary.chmod(0o755)
    return path


def _not_given(plan: WorkPlan, executor: ExecutorConfig) -> tuple[str, ...]:
    """Return the variables that options ``..._env`` of the door name and this shell has, but tasks will not have."""
    named = {name for name in _variables(plan.config) if os.environ.get(name)}
    return tuple(sorted(named - set(executor.environment)))


def _variables(values: Any, option: str = "") -> Iterator[str]:
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from _variables(value, str(name))
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _variables(value, option)
    elif isinstance(values, str) and option.endswith("_env"):
        yield values


def _settle(folder: Path) -> None:
    """Find out what became of what was intended and never answered: a kill came between."""
    journal = Journal(folder)
    unanswered = [one for one in journal.read() if one.fate == "intended"]
    if not unanswered:
        return
    found = {job.comment: job.array for job in slurm_commands.queue(job_name(folder))}
    for one in unanswered:
        job = found.get(one.token, "")
        journal.settle(one, "submitted" if job else "never", job)


class _Sender:
    """Runs sbatch, with a line in the journal before and after."""

    def __init__(self, folder: Path, script: Path, executor: ExecutorConfig, key: str, hold: int) -> None:
        self.folder, self.script, self.executor, self.key, self.hold = folder, script, executor, key, hold
        self.journal = Journal(folder)
        cluster = executor.cluster
        self.asked = {"hours": cluster.hours, "memory_gb": cluster.memory_gb, "max_instances": executor.max_instances}

    def send(self, wave: int, n_tasks: int, after: str | None) -> Submitted:
        """Submit one array (or, `wave` 0, what adds up) and return it with its number."""
        kind = "wave" if wave else "collect"
        one = self.journal.intend("wave" if wave else "collect", wave, n_tasks, self.asked)
        words = [
            f"--export={exported(self.executor, os.environ)}",
            f"--comment={one.token}",
            *wave_words(self.executor, self.folder, n_tasks=n_tasks if wave else None, after=after),
            str(self.script),
            str(wave) if kind == "wave" else COLLECT,
        ]
        try:
            job = slurm_commands.submit_words(words, environment=os.environ, key=self.key, hold=self.hold)
        except JobError as error:
            self.journal.settle(one, "refused", why=str(error))
            raise
        return self.journal.settle(one, "submitted", job)


def _submitted(sender: _Sender, keys: Sequence[str], tracking: Tracking) -> Submission:
    executor, folder = sender.executor, sender.folder
    limit = array_length(executor)
    number, after = _last(tracking)
    done: list[Submitted] = []
    n_shards, refusal = 0, ""
    for tasks in divided(keys, shards_per_task=executor.shards_per_task, max_tasks=limit):
        number += 1
        write_wave(folder, number, tasks)
        try:
            done.append(sender.send(number, len(tasks), after))
        except (JobError, ServiceError) as error:
            if not done:
                raise
            # What was taken is told. Whether a controller without an answer took this one, its mark says later.
            refusal = str(error)
            break
        after = done[-1].job
        n_shards += sum(len(task) for task in tasks)
    if executor.collect and after:
        try:
            done.append(sender.send(0, 0, after))
        except (JobError, ServiceError) as error:
            refusal = refusal or str(error)
        else:
            _drop_older_collect(tracking)
    return Submission(
        folder=folder,
        script=sender.script,
        n_shards=n_shards,
        jobs=tuple(done),
        refusal=refusal,
        facts={
            "n_shards": n_shards,
            "n_left": len(keys) - n_shards,
            "submitted": True,
            "refusal": refusal,
            "jobs": [{name: value for name, value in asdict(one).items() if name != "asked"} for one in done],
        },
    )


def _drop_older_collect(tracking: Tracking) -> None:
    """Cancel jobs that wait to add up: the newest does it for all."""
    waiting = [name for name in tracking.arrays("collect") if tracking.queue[name].is_pending]
    try:
        slurm_commands.cancel(waiting)
    except ScopeError:
        # They add up twice; nothing is wrong by that.
        return
