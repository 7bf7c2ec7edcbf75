"""Processes of this machine that take items of work, one at a time, over a pipe; what becomes of an item whose process dies.

A process is started afresh (never forked), imports once, and ends with its pipe: when the parent ends or is killed, nothing
goes on working. Both sides send bytes; nothing is pickled. May import core, io and errors.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from scope_ml.errors import JobError, OutputError

__all__ = ["READY", "Lost", "ProcessCrew", "Said", "WorkerProcess", "open_inbox", "program", "thread_limits"]

#: First message of a process: all is imported and opened.
READY = b"ready"

#: Libraries that would otherwise start a thread per core in every process.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def program(function: str) -> str:
    """Return what a process runs to call ``module:function(descriptor, *texts)``.

    The search path is the parent's own, so that the same package is found however that was found.
    """
    module, _, name = function.partition(":")
    return (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
        f"from {module} import {name} as main; main(int(sys.argv[2]), *sys.argv[3:])"
    )


def thread_limits(threads: int) -> dict[str, str]:
    """Return the environment that keeps the libraries of a process to `threads` threads."""
    return dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"OMP_WAIT_POLICY": "PASSIVE"}


class WorkerProcess:
    """One process and this end of its pipe.

    Parameters
    ----------
    source
        Python source that it runs, see `program`; its arguments are the search path, the descriptor, and `arguments`.
    arguments
        Texts for it.
    said
        File for what it writes to standard output and error.
    environment
        Variables that it has besides those of this process.

    Raises
    ------
    OutputError
        If `said` cannot be written.
    """

    def __init__(self, source: str, arguments: Sequence[str], *, said: Path, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        self.said = said
        command = [sys.executable, "-c", source, json.dumps(sys.path), str(theirs.fileno()), *arguments]
        try:
            with theirs, said.open("wb") as stream:
                self.process = subprocess.Popen(
                    command,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    env=os.environ | dict(environment),
                )
        except OSError as error:
            ours.close()
            raise OutputError(f"cannot start a process that writes {said}: {error.strerror or error}") from error
        self.connection = Connection(ours.detach())
        self.is_ready = False

    def send(self, message: bytes) -> None:
        """Send it something; that it has just died is found out where its answer is awaited."""
        with suppress(OSError):
            self.connection.send_bytes(message)

    def death(self, what: str = "worked on it") -> str:
        """Return what is known of how the process ended that `what`."""
        code = self.process.wait()
        if code < 0:
            hint = "; the memory may have run out" if -code == signal.SIGKILL else ""
            return f"the process that {what} was ended by {signal.Signals(-code).name}{hint}"
        lines = self.said.read_text(errors="replace").strip().splitlines()
        return f"the process that {what} ended with code {code}: {lines[-1] if lines else 'it said nothing'}"

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self.connection.close()
        self.process.kill()
        self.process.wait()


def open_inbox(descriptor: int) -> tuple[Connection, SimpleQueue[bytes]]:
    """Open, in the process, its end of the pipe; what comes is in the queue.

    The process ends at once when the other side is gone, in the middle of its work too.
    """
    # Ctrl-C on the terminal reaches all processes of the command; what happens then is for the first of them to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(descriptor)
    inbox: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, inbox), daemon=True).start()
    return connection, inbox


def _listen(connection: Connection, inbox: SimpleQueue[bytes]) -> None:
    while True:
        try:
            inbox.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a process says of the item that it has; ``values["ended"]`` tells that it takes the next."""

    item: str
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Lost:
    """An item whose process died, and the second one too, with nothing else running beside it."""

    item: str
    reason: str


class ProcessCrew:
    """Processes that take items, texts, one after the other.

    Each answers an item with JSON objects, the last of which has ``ended: true``. A process that dies loses its item
    alone: it is tried once more with nothing else running, then given up.

    Parameters
    ----------
    start
        Starts process number n (from 0); a process put in the place of a dead one has its number.
    count
        How many.
    cleanup
        Ends them.
    """

    def __init__(self, start: Callable[[int], WorkerProcess], count: int, cleanup: ExitStack) -> None:
        self._start = start
        self._cleanup = cleanup
        self._workers = [self._started(number) for number in range(count)]
        self._items: list[str | None] = [None] * count
        self._waiting: deque[str] = deque()
        self._alone: deque[str] = deque()
        self._second: set[str] = set()

    @property
    def pids(self) -> list[int]:
        """Return the numbers of the processes."""
        return [worker.process.pid for worker in self._workers]

    def run(self, items: Sequence[str]) -> Iterator[Said | Lost]:
        """Give out the items and yield what is said of them; each ends with a `Said` that ended, or is `Lost`.

        Raises
        ------
        JobError
            If a process cannot even start.
        """
        self._waiting.extend(items)
        self._hand_out()
        while any(item is not None for item in self._items):
            by_connection = {worker.connection: place for place, worker in enumerate(self._workers)}
            for connection in wait(list(by_connection)):
                yield from self._heard(by_connection[connection])  # type: ignore[index]
            self._hand_out()

    def _heard(self, place: int) -> Iterator[Said | Lost]:
        worker, item = self._workers[place], self._items[place]
        try:
            message = worker.connection.recv_bytes()
        except (EOFError, OSError):
            yield from self._mourn(place)
            return
        if message == READY:
            worker.is_ready = True
            return
        said = Said(item=item or "", values=json.loads(message))
        if said.values.get("ended"):
            self._items[place] = None
        yield said

    def _mourn(self, place: int) -> Iterator[Lost]:
        """Put another process in the place of one that died; its item is kept for later, or given up."""
        worker, item = self._workers[place], self._items[place]
        reason = worker.death()
        worker.close()
        if not worker.is_ready:
            raise JobError(f"a worker process could not start: {reason}")
        self._items[place] = None
        self._workers[place] = self._started(place)
        if item is None:
            return
        if item in self._second:
            yield Lost(item=item, reason=f"{reason}, twice")
        else:
            self._second.add(item)
            self._alone.append(item)

    def _hand_out(self) -> None:
        if any(item in self._second for item in self._items if item is not None):
            return
        for place, item in enumerate(self._items):
            if item is None and self._waiting:
                self._give(place, self._waiting.popleft())
        if self._alone and all(item is None for item in self._items):
            self._give(0, self._alone.popleft())

    def _give(self, place: int, item: str) -> None:
        self._items[place] = item
        self._workers[place].send(item.encode())

    def _started(self, number: int) -> WorkerProcess:
        worker = self._start(number)
        self._cleanup.callback(worker.close)
        return worker
