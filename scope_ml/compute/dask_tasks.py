"""Many tasks on a Dask cluster, few of them under way at a time, each of which ends as answered or as given up.

May import `dask_cluster`, core and errors.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from scope_ml.compute.dask_cluster import DaskCluster
from scope_ml.errors import JobError

__all__ = ["Answer", "run_tasks", "worker_name"]

_log = logging.getLogger(__name__)

#: Seconds between two looks at which workers there are.
LOOK_EVERY = 2.0

#: Seconds without any worker after which that is said.
ALONE_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of a task: what its function returned, or why it was given up."""

    item: str
    values: Mapping[str, Any] | None = None
    lost: str = ""


def run_tasks(
    cluster: DaskCluster, function: Callable[..., Mapping[str, Any]], items: Sequence[str], *, at_once: int
) -> Iterator[Answer]:
    """Yield what ``function(item)`` returns on some worker, for each item, as it comes.

    Parameters
    ----------
    cluster
        Where.
    function
        Importable by the workers, or a partial of such a one; errors that it raises are bugs.
    items
        Texts.
    at_once
        Under way at a time at most; and no more than there are workers, so that one that dies takes one item along.

    Raises
    ------
    JobError
        If the scheduler goes away, or the workers cannot import the function.
    """
    tasks = _Tasks(cluster, function, items, at_once)
    try:
        while tasks.fill():
            yield from tasks.ended()
    finally:
        tasks.cancel()


class _Tasks:
    def __init__(
        self, cluster: DaskCluster, function: Callable[..., Mapping[str, Any]], items: Sequence[str], at_once: int
    ) -> None:
        self._cluster, self._function, self._at_once = cluster, function, at_once
        self._waiting = deque(items)
        self._alone: deque[str] = deque()
        self._second: set[str] = set()
        self._futures: dict[Any, str] = {}
        self._ended: SimpleQueue[Any] = SimpleQueue()
        self._run = secrets.token_hex(4)
        self._n_workers = 0
        self._looked = self._had_worker = time.monotonic()
        self._told = False
        self._look()

    def fill(self) -> bool:
        """Submit as many as may be under way; return whether anything is left to wait for."""
        if time.monotonic() - self._looked >= LOOK_EVERY:
            self._look()
        while self._waiting and len(self._futures) < min(self._at_once, self._n_workers):
            self._submit(self._waiting.popleft(), "1")
        if self._alone and not self._futures and self._n_workers:
            self._submit(self._alone.popleft(), "2")
        return bool(self._waiting or self._alone or self._futures)

    def _submit(self, item: str, attempt: str) -> None:
        key = f"scope-{self._run}-{attempt}-{item}"
        future = self._cluster.client.submit(self._function, item, key=key, pure=False)
        self._futures[future] = item
        future.add_done_callback(self._ended.put)

    def ended(self) -> Iterator[Answer]:
        """Yield what ended within a moment."""
        try:
            future = self._ended.get(timeout=LOOK_EVERY / 2)
        except Empty:
            return
        item = self._futures.pop(future)
        answer = self._answer(future, item)
        future.release()
        if answer is not None:
            yield answer

    def cancel(self) -> None:
        """Take back what has not begun."""
        for future in self._futures:
            future.cancel()

    def _answer(self, future: Any, item: str) -> Answer | None:
        """Return what became of a task; None for one that is tried once more, with nothing else under way.

        Where a worker died, its neighbours are given what it had: one item may kill others' workers.
        """
        if future.status == "finished":
            return Answer(item=item, values=future.result())
        if future.status != "error":
            raise self._gone()
        error = future.exception()
        if type(error).__name__ == "KilledWorker":
            if item not in self._second:
                self._second.add(item)
                self._alone.append(item)
                return None
            last = getattr(getattr(error, "last_worker", None), "name", "unknown")
            return Answer(
                item=item, lost=f"each Dask worker that had it died, the last was {last}; the memory may have run out"
            )
        if isinstance(error, ImportError):
            raise JobError(
                f"a Dask worker cannot import what it has to run ({error}); install the same scope_ml where workers run"
            )
        return Answer(item=item, lost=f"{type(error).__name__}: {error}")

    def _look(self) -> None:
        """See which workers there are."""
        self._looked = time.monotonic()
        client = self._cluster.client
        if client.status not in ("running", "newly-created"):
            raise self._gone()
        try:
            self._n_workers = len(client.nthreads())
        except (OSError, TimeoutError) as error:
            raise self._gone() from error
        if self._n_workers:
            self._had_worker, self._told = self._looked, False
        elif self._looked - self._had_worker > ALONE_SECONDS and not self._told:
            self._told = True
            _log.warning("no Dask worker at %s yet; waiting", self._cluster.address)
        self._cluster.keep_up()

    def _gone(self) -> JobError:
        return JobError(
            f"the Dask scheduler at {self._cluster.address} went away; what is done is kept: type the same command again"
        )


def worker_name() -> str:
    """Return the name of the Dask worker that calls this; "" where there is none."""
    from distributed import get_worker

    try:
        return str(get_worker().name)
    except ValueError:
        return ""
