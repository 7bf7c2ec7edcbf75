"""Threads of this machine, for kernels that release the interpreter lock. Implements `core.protocols.Executor`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

__all__ = ["ThreadExecutor"]

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Items taken ahead per worker: enough that none waits for the next, few enough that memory stays small.
AHEAD = 2


@dataclass(frozen=True, kw_only=True)
class ThreadExecutor:
    """Maps a function over items on `workers` threads.

    Attributes
    ----------
    workers
        Threads; 1 works in the caller's own.
    """

    workers: int

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield ``function(item)`` in the order of `items`.

        At most ``2 * workers`` items are taken from `items` before their results are. The first error is raised
        where its result would come; items not begun by then are not begun.
        """
        if self.workers == 1:
            yield from map(function, items)
            return
        source = iter(items)
        with ThreadPoolExecutor(max_workers=self.workers, thread_name_prefix="scope") as pool:
            waiting: deque[Future[Result]] = deque()
            try:
                for item in islice(source, AHEAD * self.workers):
                    waiting.append(pool.submit(function, item))
                while waiting:
                    result = waiting.popleft().result()
                    for item in islice(source, 1):
                        waiting.append(pool.submit(function, item))
                    yield result
            finally:
                for future in waiting:
                    future.cancel()
