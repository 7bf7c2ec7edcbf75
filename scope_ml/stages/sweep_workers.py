"""The crew of a training sweep: worker processes, or this process alone where there is nothing to share out.

A worker is started once, imports once and takes unit after unit. When it dies, its unit is tried once more, model by model
and with nothing else running, and then given up. May import `sweep_units`, compute and what lies below.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from heapq import heappop, heappush
from multiprocessing.connection import wait
from pathlib import Path
from typing import Protocol

from scope_ml.compute.processes import READY, WorkerProcess, program, thread_limits
from scope_ml.core.machine import usable_cores
from scope_ml.errors import JobError
from scope_ml.stages.sweep_units import Outcome, Unit, WorkData, work

__all__ = ["Crew", "ThisProcess", "Workers", "open_workers"]

#: What a worker runs.
PROGRAM = program("scope_ml.stages.sweep_worker:main")


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


class _Worker(WorkerProcess):
    """A process, and the unit that it has."""

    def __init__(self, folder: Path, number: int, n_threads: int) -> None:
        super().__init__(
            PROGRAM,
            [str(folder), str(n_threads)],
            said=folder / f"worker-{number}.txt",
            environment=thread_limits(n_threads),
        )
        self.unit: Unit | None = None


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
        worker.send(unit.to_json().encode())

    def _mourn(self, worker: _Worker) -> Sequence[Outcome]:
        """Put another worker in the place of one that died; its unit is tried once more, or given up."""
        reason = worker.death("trained it")
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
