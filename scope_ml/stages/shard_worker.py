"""What works on the shards of a plan: in this process, in a process of this machine, in a task of Slurm, on a Dask worker.

The plan says what is to be done; what the door has to open is opened once, and what becomes of each shard stands in the
ledger before the next is begun. May import `distribution`, compute and what lies below.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from scope_ml.compute.ledger import Attempt, Ledger
from scope_ml.compute.plan import Shard, WorkPlan, earlier_shards, read_plan
from scope_ml.compute.processes import READY, open_inbox
from scope_ml.core.protocols import NullProgress, Progress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, OutputError, ScopeError, ServiceUnavailableError
from scope_ml.stages.distribution import OF_ALL_SHARDS, OF_ONE_SHARD, distribution

__all__ = ["ShardWorker", "WorkCounts", "main", "stopped_by_sigterm", "work_on"]

#: Exit code of a process that was told to end, as shells have it: 128 and the number of SIGTERM.
STOPPED = 128 + int(signal.SIGTERM)

#: Shards in a row for which a service is down, after which no other is tried.
GIVE_UP = 2

#: Seconds between two messages about the light curves of one shard.
TELL_EVERY = 0.5


@dataclass(frozen=True, kw_only=True)
class WorkCounts:
    """What one worker did.

    Attributes
    ----------
    n_done
        Shards that are done, those among them that were done before.
    failures
        Keys of the shards that failed, and why.
    seconds
        Wall time [s].
    """

    n_done: int
    failures: tuple[tuple[str, str], ...]
    seconds: float

    @property
    def n_failed(self) -> int:
        """Return how many shards failed."""
        return len(self.failures)


class ShardWorker:
    """Does shards of a plan, one after the other; a context manager.

    Parameters
    ----------
    folder
        Of the plan.
    job
        The scheduler's name of the task; "" where there is none.
    threads
        Threads that a shard may use.
    progress
        Is told how a shard goes.
    """

    def __init__(self, folder: Path, *, job: str, threads: int, progress: Progress) -> None:
        self.plan: WorkPlan = read_plan(folder)
        self._ledger = Ledger(folder)
        self._job, self._threads, self._progress = job, threads, progress
        # A task that waited in a queue may hold a shard of an earlier plan of this run.
        self._shards = {**earlier_shards(folder), **self.plan.by_key()}
        self._stack = ExitStack()
        self._n_down = 0
        self._work: Callable[[Shard], Report] | None = None

    def __enter__(self) -> Self:
        """Open what all shards need."""
        door = distribution(self.plan.door)
        opened = door.open(door.from_values(self.plan.config), threads=self._threads, progress=self._progress)
        self._work = self._stack.enter_context(opened)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self._work = None
        self._stack.__exit__(kind, error, trace)

    def do(self, key: str) -> ScopeError | None:
        """Do one shard and note in the ledger what became of it.

        Returns
        -------
        ScopeError or None
            What this shard failed by; None if it is done.

        Raises
        ------
        ScopeError
            By which every further shard would fail as well.
        """
        shard = self._shards.get(key)
        if shard is None or self._work is None:
            raise ConfigError(f"{self.plan.folder} has no shard {key}; plan the run again", key="executor")
        began = time.monotonic()
        noted = self._ledger.noted(key)
        self._ledger.begin(key, Attempt.of_this_process(self._job))
        try:
            with _Noted(self._ledger, key, noted):
                report = self._work(shard)
        except OF_ONE_SHARD as error:
            self._progress.finish()
            self._n_down = self._n_down + 1 if isinstance(error, ServiceUnavailableError) else 0
            if isinstance(error, OF_ALL_SHARDS) or self._n_down == GIVE_UP:
                raise
            return error
        self._n_down = 0
        self._ledger.done(key, report, time.monotonic() - began, again=noted is not None)
        return None


class _Noted:
    """Notes in the ledger by what a shard fails: an error, a bug, a signal."""

    def __init__(self, ledger: Ledger, key: str, noted: float | None) -> None:
        self._ledger, self._key, self._noted = ledger, key, noted

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Write down what it was."""
        if error is None or kind is None:
            return
        text, name = str(error), kind.__name__
        if isinstance(error, SystemExit) and error.code == STOPPED:
            text, name = "stopped by SIGTERM (time limit or cancelled)", "stopped"
        elif isinstance(error, OSError) and not isinstance(error, ScopeError) and error.filename is not None:
            text = f"{error.filename}: {error.strerror}"
        elif not isinstance(error, ScopeError):
            text = f"{name}: {text}"
        try:
            self._ledger.failed(self._key, text, name, noted=self._noted)
        except OutputError as unwritten:
            # A full disk: what is to be said of the shard is said by who raised.
            error.add_note(str(unwritten))


def work_on(folder: Path, keys: Iterable[str], *, job: str, threads: int, progress: Progress) -> WorkCounts:
    """Do shards of a plan.

    SIGTERM, which schedulers send at the time limit, is noted as the failure of the shard under way and ends the process
    with code 143.

    Parameters
    ----------
    folder
        Of the plan.
    keys
        Which shards.
    job
        The scheduler's name of the task, such as ``4711_3``; "" where there is none.
    threads
        Threads that a shard may use.
    progress
        Is told how shards go.

    Raises
    ------
    ScopeError
        If no shard can be done: a wrong configuration, a full disk, a password that is refused.
    """
    began = time.monotonic()
    n_done, failures = 0, []
    with stopped_by_sigterm(), ShardWorker(folder, job=job, threads=threads, progress=progress) as worker:
        for key in keys:
            error = worker.do(key)
            if error is None:
                n_done += 1
            else:
                failures.append((key, str(error)))
    progress.finish()
    return WorkCounts(n_done=n_done, failures=tuple(failures), seconds=time.monotonic() - began)


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM raise `SystemExit` in the main thread, so that what is open is closed and noted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise SystemExit(STOPPED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(descriptor: int, folder: str, threads: str) -> None:
    """Do the shards whose keys come over a pipe, until it is closed; what becomes of each goes back.

    Parameters
    ----------
    descriptor
        Open file of this end of the pipe.
    folder
        Of the plan.
    threads
        Threads that a shard may use.
    """
    connection, inbox = open_inbox(descriptor)
    said = _PipeProgress(connection)
    try:
        with ShardWorker(Path(folder), job="", threads=int(threads), progress=said) as worker:
            connection.send_bytes(READY)
            while True:
                error = worker.do(inbox.get().decode())
                said.ended(error)
    except (ScopeError, OSError) as error:
        if not isinstance(error, ScopeError) and error.filename is None:
            raise
        said.fatal(error)
        # The other side has the last word.
        inbox.get()


class _PipeProgress(NullProgress):
    """Progress of one shard, told over the pipe now and then."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._count = 0
        self._told = time.monotonic()
        self._lock = threading.Lock()

    def advance(self, amount: int = 1) -> None:
        """Count `amount` more units."""
        with self._lock:
            self._count += amount
            now = time.monotonic()
            if now - self._told >= TELL_EVERY:
                self._tell({"advanced": self._count})
                self._count, self._told = 0, now

    def ended(self, error: ScopeError | None) -> None:
        """Say that a shard is done, or what it failed by."""
        with self._lock:
            self._count = 0
            self._tell({"ended": True, "error": None if error is None else str(error)})

    def fatal(self, error: ScopeError | OSError) -> None:
        """Say what every shard would fail by."""
        text = str(error) if isinstance(error, ScopeError) else f"{error.filename}: {error.strerror}"
        with self._lock:
            self._tell({"fatal": text, "kind": type(error).__name__})

    def _tell(self, values: dict[str, object]) -> None:
        self._connection.send_bytes(json.dumps(values).encode())
