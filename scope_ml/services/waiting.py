"""Threads that wait for answers from a network. `WaitingThreads` implements `core.protocols.Executor`.

May import nothing of ours.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

__all__ = ["WaitingPool", "WaitingThreads"]

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Items taken ahead per thread: enough that none is idle, few enough that memory stays small.
AHEAD = 2

#: At the end, how long those are waited for that are about to finish, such as to write what has come [s].
LAST_MOMENT_S = 1.0


class WaitingPool:
    """A few threads that nobody waits for in the end; a context manager.

    Those of `concurrent.futures` would keep the process alive after Ctrl-C for as long as the network likes; these end
    with the process, or with what they are at.

    Parameters
    ----------
    workers
        Threads at most.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._threads: list[threading.Thread] = []
        self._tasks: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...], Future[Any]] | None] = SimpleQueue()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, function: Callable[..., Result], *words: Any) -> Future[Result]:
        """Have ``function(*words)`` done; what it returns or raises is in the future."""
        future: Future[Result] = Future()
        self._tasks.put((function, words, future))
        if len(self._threads) < self._workers:
            thread = threading.Thread(target=self._serve, daemon=True, name="scope-waiting")
            self._threads.append(thread)
            thread.start()
        return future

    def close(self) -> None:
        """Begin nothing more, and wait a moment for what has been begun."""
        self._ended.set()
        for _ in self._threads:
            self._tasks.put(None)
        until = time.monotonic() + LAST_MOMENT_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None:
            function, words, future = task
            if self._ended.is_set():
                future.cancel()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function(*words))
            except BaseException as error:  # noqa: BLE001 - raised again by Future.result
                future.set_exception(error)


@dataclass(frozen=True, kw_only=True)
class WaitingThreads:
    """Maps a function over items on the threads of a `WaitingPool`.

    Attributes
    ----------
    workers
        Threads.
    """

    workers: int

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield ``function(item)`` in the order of `items`.

        At most ``2 * workers`` items are taken from `items` before their results are. The first error is raised where its
        result would come; items not begun by then are not begun.
        """
        source = iter(items)
        with WaitingPool(self.workers) as pool:
            waiting = deque(pool.submit(function, item) for item in islice(source, AHEAD * self.workers))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(source, 1))
                yield result
