"""Slurm's own commands: asked here and nowhere else, their answers typed, their refusals in one line.

``sbatch``, ``squeue``, ``scancel``, ``scontrol``, ``sinfo`` and ``sacct`` are all that is needed of a cluster. May import
errors only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scope_ml.errors import BackendUnavailableError, JobError, ServiceTimeoutError, ServiceUnavailableError

__all__ = ["Ended", "QueuedJob", "accounted", "array_limit", "cancel", "nodes_out", "queue", "submit_words"]

#: Seconds after which a command is given up: a busy controller takes its time.
PATIENCE = 120.0

#: Words of a command that found no controller.
NO_CONTROLLER = re.compile(
    r"unable to contact slurm controller|connection refused|could not establish a configuration source"
    r"|dns srv lookup|socket timed out|slurm_load_|munge.*(fail|encode)",
    re.IGNORECASE,
)

WAIT = (
    "type python -m scope_ml.slurm submit when the queue is shorter; it takes shards_per_task=..., max_array_size=..."
)

#: What a refusal of sbatch speaks of, and what mends it; {key} is how the user names an option.
MENDING: tuple[tuple[str, str], ...] = (
    (r"accounting/qos|submitjob|max_?job|slots|temporarily", WAIT),
    (r"account", "give {key}account=..., one of those that 'sacctmgr show assoc user=$USER' lists"),
    (r"partition", "give {key}partition=..., one of those that sinfo lists"),
    (r"qos", "give {key}qos=..., one of those that 'sacctmgr show qos' lists"),
    (r"time limit", "give a smaller {key}hours=..."),
    (r"array", "give a smaller {key}max_array_size=... (scontrol show config: MaxArraySize)"),
    (
        r"node configuration|memory|gres|cpu count|feature",
        "ask for less: {key}cores=..., {key}memory_gb=..., or {key}options=[--gpus=...,--constraint=...]",
    ),
)
#: Fields of squeue, in our order: array, index, state, reason, node, start, comment.
QUEUE_FORMAT = "%F|%K|%T|%r|%N|%S|%k"

#: Of a start, in this machine's time.
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """A job, or a task of an array, that Slurm knows; it remembers ended ones for some minutes.

    Attributes
    ----------
    array
        Number of the array, or of the job.
    index
        Place in the array, None for a job that is none.
    state, reason, node
        In Slurm's words: ``PENDING``, ``Resources``, ``n017``.
    start
        When it began, or is thought to begin [s since 1970]; 0: not known. A task that Slurm puts back into the queue,
        because its node died or others came first, keeps its name and begins again.
    comment
        What it was submitted with.
    """

    array: str
    index: int | None
    state: str
    reason: str
    node: str
    start: float
    comment: str

    @property
    def name(self) -> str:
        """Return how Slurm calls it: ``4711_3``."""
        return self.array if self.index is None else f"{self.array}_{self.index}"

    @property
    def is_pending(self) -> bool:
        """Return whether it waits."""
        return self.state in ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")

    @property
    def is_running(self) -> bool:
        """Return whether it works, or is about to end."""
        return self.state in ("RUNNING", "COMPLETING", "SUSPENDED", "SIGNALING", "STAGE_OUT", "STOPPED", "RESIZING")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a task ended: state and exit code (``0:9``: by signal 9) in Slurm's words."""

    state: str
    exit_code: str = ""


def queue(name: str) -> list[QueuedJob]:
    """Return this user's jobs of one name, each task of an array by itself, and those that ended a moment ago.

    Raises
    ------
    BackendUnavailableError
        If Slurm's commands are not here.
    ServiceUnavailableError
        If the controller does not answer.
    """
    words = ["squeue", "--me", "--noheader", "--array", "--states=all", f"--name={name}", f"--format={QUEUE_FORMAT}"]
    return [_queued(line) for line in _asked(words).splitlines() if line.count("|") >= 6]


def _queued(line: str) -> QueuedJob:
    array, index, state, reason, node, start, comment = (part.strip() for part in line.split("|", 6))
    return QueuedJob(
        array=array,
        index=int(index) if index.isdigit() else None,
        state=state.split(" ")[0],
        reason=reason,
        node=node,
        start=_moment(start),
        comment=comment,
    )


def _moment(text: str) -> float:
    """Return a time of Slurm's as seconds since 1970, 0 for ``N/A``."""
    try:
        return time.mktime(time.strptime(text, TIME_FORMAT))
    except ValueError:
        return 0.0


def submit_words(words: Sequence[str], *, environment: Mapping[str, str], key: str, hold: int | None = None) -> str:
    """Run sbatch and return the number of the job.

    Parameters
    ----------
    words
        After ``sbatch --parsable``.
    environment
        All variables that sbatch sees: those that ``--export`` names travel from here.
    key
        Before the names of options in messages: ``executor.cluster.``.
    hold
        An open file that sbatch is to inherit: the lock of the submission, which it keeps should we be killed.

    Raises
    ------
    JobError
        If sbatch refuses; its words, and what to do.
    BackendUnavailableError, ServiceUnavailableError
        As `queue`.
    """
    done = _run(["sbatch", "--parsable", *words], environment=environment, hold=hold)
    number = done.stdout.strip().split(";")[0]
    if done.returncode == 0 and number.isdigit():
        return number
    said = _said(done)
    if NO_CONTROLLER.search(said):
        raise _no_answer(said)
    raise JobError(f"sbatch refused: {said}; {_mended(said, key)}")


def cancel(jobs: Sequence[str]) -> None:
    """Take jobs out of the queue, running ones too.

    Raises
    ------
    JobError
        If Slurm refuses.
    BackendUnavailableError, ServiceUnavailableError
        As `queue`.
    """
    if jobs:
        _asked(["scancel", *jobs])


def array_limit() -> int | None:
    """Return how many tasks an array of this cluster may have at most; None where scontrol does not say."""
    try:
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _asked(["scontrol", "show", "config"]), re.MULTILINE)
    except (JobError, ServiceUnavailableError, BackendUnavailableError):
        return None
    return int(found[1]) if found else None


def nodes_out(partition: str) -> list[str]:
    """Return a line for each group of nodes that takes no work: ``n[1-3] drained: maintenance``; [] if all do."""
    words = ["sinfo", "--noheader", "--format=%N|%T|%E", *([f"--partition={partition}"] if partition else [])]
    try:
        lines = _asked(words).splitlines()
    except (JobError, ServiceUnavailableError, BackendUnavailableError):
        return []
    out = []
    for line in lines:
        names, _, rest = line.partition("|")
        state, _, why = rest.partition("|")
        if re.match(r"drain|down|fail|maint|reserved|unknown|power", state):
            out.append(f"{names} {state}: {why.strip()}" if why.strip() not in ("", "none") else f"{names} {state}")
    return list(dict.fromkeys(out))


def accounted(jobs: Sequence[str]) -> dict[str, Ended]:
    """Return how tasks ended, by name (``4711_3``), as accounting kept it; {} where there is none."""
    if not jobs or shutil.which("sacct") is None:
        return {}
    words = ["sacct", "--noheader", "--parsable2", "--allocations", "--array", f"--jobs={','.join(jobs)}"]
    try:
        lines = _asked([*words, "--format=JobID,State,ExitCode"]).splitlines()
    except (JobError, ServiceUnavailableError):
        return {}
    rows = [line.split("|") for line in lines if line.count("|") == 2]
    return {name: Ended(state=state.split(" ")[0], exit_code=code) for name, state, code in rows}


def _asked(words: Sequence[str]) -> str:
    done = _run(words)
    if done.returncode == 0:
        return done.stdout
    said = _said(done)
    if NO_CONTROLLER.search(said):
        raise _no_answer(said)
    raise JobError(f"{words[0]} refused: {said}")


def _run(
    words: Sequence[str], *, environment: Mapping[str, str] | None = None, hold: int | None = None
) -> subprocess.CompletedProcess[str]:
    if shutil.which(words[0]) is None:
        raise BackendUnavailableError(
            f"there is no {words[0]} on this machine; work on a login node of a Slurm cluster, or give executor=local"
        )
    # What squeue prints must not depend on how this user likes to see it.
    own = {
        name: value
        for name, value in (os.environ if environment is None else environment).items()
        if not name.startswith(("SQUEUE_", "SBATCH_", "SACCT_", "SINFO_", "SLURM_TIME_FORMAT")) or name in KEPT
    }
    try:
        return subprocess.run(
            list(words),
            env=own,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
            pass_fds=() if hold is None else (hold,),
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceTimeoutError(
            f"{words[0]} gave no answer in {PATIENCE:.0f} s; the controller may be busy: type the same command again"
        ) from error


#: Settings of the user that say where, not how it is shown.
KEPT = frozenset({"SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS", "SBATCH_RESERVATION", "SBATCH_CLUSTERS"})


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a command complained of, as one line without its name before every part."""
    lines = [re.sub(r"^\w+: (error|fatal): ", "", line.strip()) for line in (done.stderr or done.stdout).splitlines()]
    text = "; ".join(dict.fromkeys(line for line in lines if line))
    return text[:400] or f"exit code {done.returncode}"


def _no_answer(said: str) -> ServiceUnavailableError:
    return ServiceUnavailableError(f"the Slurm controller does not answer ({said}); see what 'scontrol ping' says")


def _mended(said: str, key: str) -> str:
    for pattern, advice in MENDING:
        if re.search(pattern, said, re.IGNORECASE):
            return advice.format(key=key)
    return f"see sbatch's manual, and give what it asks for as {key}options=[--...]"
