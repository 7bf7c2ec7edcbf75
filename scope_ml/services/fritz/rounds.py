"""Some jobs at a time, in turn; one that has to wait comes back when its time has come, and the others go on meanwhile.

May import core, errors and `services.http`.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import TypeVar

from scope_ml.services.http import Clock

__all__ = ["go_round", "in_order"]

Job = TypeVar("Job")
Result = TypeVar("Result")

#: Jobs that are ahead of the one whose result is waited for, for each thread.
AHEAD = 4

_log = logging.getLogger(__name__)

#: Longest wait for a thread before it is looked whether a waiting job's time has come [s].
LOOK_S = 0.5


def go_round(
    jobs: Iterable[Job],
    work: Callable[[Job], float | None],
    *,
    connections: int,
    clock: Clock,
    stop: threading.Event,
    done: Callable[[int], None],
) -> None:
    """Do all jobs; the first error stops them, when those that are under way have come to a rest.

    Parameters
    ----------
    work
        Returns when the job has to be gone on with [s of `Clock.now`], None if it is done.
    connections
        Jobs at a time.
    stop
        Set when an error has come, for `work` to look at.
    done
        Told each job that is done, by this thread.
    """
    waiting: list[tuple[float, int, Job]] = []
    running: dict[Future[float | None], Job] = {}
    numbers, more = count(), iter(jobs)
    is_more = True
    with ThreadPoolExecutor(connections, thread_name_prefix="fritz") as pool, _stopping(stop):
        while is_more or waiting or running:
            while len(running) < connections:
                job = _due(waiting, clock)
                if job is None and is_more:
                    job = next(more, None)
                    is_more = job is not None
                if job is None:
                    break
                running[pool.submit(work, job)] = job
            if not running:
                if waiting:
                    clock.wait(stop, max(0.0, waiting[0][0] - clock.now()))
                continue
            finished, _ = wait(running, timeout=LOOK_S if waiting else None, return_when=FIRST_COMPLETED)
            for future in finished:
                job = running.pop(future)
                later = future.result()
                if later is None:
                    done(1)
                else:
                    heapq.heappush(waiting, (later, next(numbers), job))


def in_order(
    jobs: Iterable[Job], work: Callable[[Job], Result], *, connections: int, stop: threading.Event
) -> Iterator[Result]:
    """Yield the results of `work` in the order of the jobs, some at a time; few of them are held."""
    ahead: list[Future[Result]] = []
    with ThreadPoolExecutor(connections, thread_name_prefix="fritz") as pool, ExitStack() as undone, _stopping(stop):
        undone.callback(lambda: [future.cancel() for future in ahead])
        for job in jobs:
            ahead.append(pool.submit(work, job))
            if len(ahead) >= AHEAD * connections:
                yield ahead.pop(0).result()
        while ahead:
            yield ahead.pop(0).result()


@contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """Set `stop` if the block ends before its time."""
    with ExitStack() as unless_done:
        unless_done.callback(stop.set)
        try:
            yield
        except KeyboardInterrupt:
            # An answer that is on its way is worth the wait: without it nobody knows what was done.
            _log.warning(
                "stopping, when what is under way has been answered, or has had no answer for service.fritz.timeout_s"
            )
            raise
        unless_done.pop_all()


def _due(waiting: list[tuple[float, int, Job]], clock: Clock) -> Job | None:
    """Return the job whose time has come, if there is one."""
    if waiting and waiting[0][0] <= clock.now():
        return heapq.heappop(waiting)[2]
    return None
