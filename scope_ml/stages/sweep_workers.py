"""The crew of a training sweep: worker processes, or this process alone where there is nothing to share out.

A worker is started once, imports once and takes unit after unit. When it dies, its unit is tried once more, model by model
and with nothing else running, and then given up. May import `sweep_worker`, `sweep_units` and below.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from heapq import heappop, heappush
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Protocol

from scope_ml.core.machine import usable_cores
from scope_ml.errors import JobError
from scope_ml.stages.sweep_units import Outcome, Unit, WorkData, work
from scope_ml.stages.sweep_worker import READY

__all__ = ["Crew", "ThisProcess", "Workers", "open_workers"]

#: What a worker runs: the parent's own search path, so that it finds the same package however that was found.
PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from scope_ml.stages.sweep_worker import main; main(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))"
)

#: Libraries that would otherwise start a thread per core in every worker.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Crew(Protocol):
    """Takes units and gives back outcomes."""

    def submit(self, unit: Unit) -> None:
        """Take one more unit."""
        ...

    def outcomes(self, timeout: float | None = None) -> list[Outcome]:
        """Return what was done next; empty if nothing is within `timeout` [s], or nothing is left to do."""
        ...

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is left to do."""
        ...


class ThisProcess:
    """Works in the caller's own process, with all its threads."""

    def __init__(self, prepared: Mapping[str, WorkData], n_threads: int) -> None:
        self._prepared = prepared
        self._n_threads = n_threads
        self._queue: list[tuple[float, int, Unit]] = []
        self._count = 0

    def submit(self, unit: Unit) -> None:
        """Take one more unit."""
        self._count += 1
        heappush(self._queue, (-unit.cost, self._count, unit))

    def outcomes(self, timeout: float | None = None) -> list[Outcome]:
        """Work on the next unit and return its outcomes."""
        del timeout
        if not self._queue:
            return []
        unit = heappop(self._queue)[2]
        return work(unit, self._prepared[unit.prepared], n_threads=self._n_threads)

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is left to do."""
        return not self._queue


class _Worker:
    """One process and this end of its pipe."""

    def __init__(self, folder: Path, number: int, n_threads: int) -> None:
        ours, theirs = socket.socketpair()
        self.said = folder / f"worker-{number}.txt"
        environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(n_threads)) | {"OMP_WAIT_POLICY": "PASSIVE"}
        command = [sys.executable, "-c", PROGRAM, json.dumps(sys.path), str(theirs.fileno()), str(folder)]
        with theirs, self.said.open("wb") as stream:
            self.process = subprocess.Popen(
                [*command, str(n_threads)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=environment,
            )
        self.connection = Connection(ours.detach())
        self.unit: Unit | None = None
        self.is_ready = False

    def death(self) -> str:
        """Return what is known of how the process ended."""
        code = self.process.wait()
        if code < 0:
            hint = "; the memory may have run out" if -code == signal.SIGKILL else ""
            return f"the process that trained it was ended by {signal.Signals(-code).name}{hint}"
        lines = self.said.read_text(errors="replace").strip().splitlines()
        return f"the process that trained it ended with code {code}: {lines[-1] if lines else 'it said nothing'}"

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self.connection.close()
        self.process.kill()
        self.process.wait()


class Workers:
    """Worker processes; see `open_workers`."""

    def __init__(self, folder: Path, n_workers: int, cleanup: ExitStack) -> None:
        self._folder = folder
        self._n_threads = max(1, usable_cores() // n_workers)
        self._cleanup = cleanup
        self._count = 0
        self._waiting: list[tuple[float, int, Unit]] = []
        self._alone: list[Unit] = []
        self._workers = [self._start() for _ in range(n_workers)]

    def submit(self, unit: Unit) -> None:
        """Take one more unit."""
        self._count += 1
        heappush(self._waiting, (-unit.cost, self._count, unit))
        self._hand_out()

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is left to do."""
        return not (self._waiting or self._alone or any(worker.unit for worker in self._workers))

    def outcomes(self, timeout: float | None = None) -> list[Outcome]:
        """Return what was done next.

        Raises
        ------
        JobError
            If a worker cannot even start.
        """
        self._hand_out()
        if self.is_idle:
            return []
        found: list[Outcome] = []
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection), timeout):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                message = worker.connection.recv_bytes()
            except (EOFError, OSError):
                found += self._mourn(worker)
                continue
            if message == READY:
                worker.is_ready = True
            else:
                worker.unit = None
                found += map(Outcome.from_json, json.loads(message))
        self._hand_out()
        return found

    def _start(self) -> _Worker:
        self._count += 1
        worker = _Worker(self._folder, self._count, self._n_threads)
        self._cleanup.callback(worker.close)
        return worker

    def _hand_out(self) -> None:
        """Give units to workers without one; the GPU is for one unit at a time."""
        free = [worker for worker in self._workers if worker.unit is None]
        busy = [worker.unit for worker in self._workers if worker.unit is not None]
        if any(unit.is_alone for unit in busy):
            return
        postponed = []
        while free and self._waiting:
            item = heappop(self._waiting)
            if item[2].device == "gpu" and any(unit.device == "gpu" for unit in busy):
                postponed.append(item)
                continue
            self._give(free.pop(), item[2])
            busy.append(item[2])
        for item in postponed:
            heappush(self._waiting, item)
        if not busy and not self._waiting and self._alone:
            self._give(free[0], self._alone.pop())

    def _give(self, worker: _Worker, unit: Unit) -> None:
        worker.unit = unit
        with suppress(OSError):  # it died just now, which `outcomes` finds out
            worker.connection.send_bytes(unit.to_json().encode())

    def _mourn(self, worker: _Worker) -> Sequence[Outcome]:
        """Put another worker in the place of one that died; its unit is tried once more, or given up."""
        reason = worker.death()
        if not worker.is_ready:
            raise JobError(f"a worker process could not start: {reason}")
        place = self._workers.index(worker)
        worker.close()
        self._workers[place] = self._start()
        if worker.unit is None:
            return []
        if worker.unit.is_alone:
            return [
                Outcome(number=order.number, state="lost", reason=f"{reason}, twice") for order in worker.unit.orders
            ]
        self._alone += worker.unit.divided()
        return []


@contextmanager
def open_workers(folder: Path, n_workers: int) -> Iterator[Workers]:
    """Start `n_workers` processes that find prepared data in `folder`; all end with the block, whatever they are doing."""
    with ExitStack() as cleanup:
        yield Workers(folder, n_workers, cleanup)
