"""Processes that work on units and partitions of a catalogue, one maths thread each, or this process alone.

May import compute and errors.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from scope_ml.compute.processes import thread_limits
from scope_ml.errors import JobError, ScopeError

__all__ = ["Crew", "open_crew"]

Result = TypeVar("Result")


@dataclass(frozen=True)
class _Refusal:
    """What a process says in place of a result: errors of ours do not all travel between processes as they are."""

    kind: type[ScopeError]
    text: str

    def error(self) -> ScopeError:
        """Return the error, with nothing but its text."""
        error = self.kind.__new__(self.kind, self.text)
        error.args = (self.text,)
        return error


def _guarded(function: Callable[..., Result], *arguments: Any) -> Result | _Refusal:
    try:
        return function(*arguments)
    except ScopeError as error:
        return _Refusal(type(error), str(error))


class Crew:
    """Maps a function over numbers; see `open_crew`."""

    def __init__(self, pool: ProcessPoolExecutor | None, n_workers: int) -> None:
        self._pool = pool
        self._n_workers = n_workers

    def map(
        self, function: Callable[..., Result], common: tuple[Any, ...], items: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Result]]:
        """Yield the place of each item and ``function(*item, *common)``, as they are done.

        Raises
        ------
        JobError
            If a process dies.
        ScopeError
            What the function raises.
        """
        if self._pool is None:
            for place, item in enumerate(items):
                yield place, function(*item, *common)
            return
        waiting: dict[Future[Result | _Refusal], int] = {}
        coming = iter(enumerate(items))
        try:
            while True:
                # Few ahead: what is common travels with each, and an error is to end the run soon.
                while len(waiting) < 2 * self._n_workers and (one := next(coming, None)) is not None:
                    waiting[self._pool.submit(_guarded, function, *one[1], *common)] = one[0]
                if not waiting:
                    return
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    place, told = waiting.pop(future), future.result()
                    if isinstance(told, _Refusal):
                        raise told.error()
                    yield place, told
        except BrokenProcessPool as error:
            raise JobError(
                "a process of the catalogue was ended from outside; the memory may have run out: start again, the run goes on"
                " where it was, and with fewer light curves a partition (partition_rows=...) or one process (machine.workers=1)"
                " it needs less"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def open_crew(n_workers: int) -> Iterator[Crew]:
    """Start processes that end with the block; for one worker there are none."""
    if n_workers <= 1:
        yield Crew(None, 1)
        return
    with _environment({**thread_limits(1), "ARROW_IO_THREADS": "1"}):
        # Not forked: a process with threads must not be.
        pool = ProcessPoolExecutor(n_workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start)
        try:
            yield Crew(pool, n_workers)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start() -> None:
    import pyarrow as pa

    pa.set_cpu_count(1)
    # Else a process whose parent was killed waits for its next item for ever.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables that processes started in the block are given."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
