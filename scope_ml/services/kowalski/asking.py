"""Many keys asked in pieces, none lost on the way: keys asked = keys answered + keys named as missing, always.

Pieces are asked ahead in threads and answered in their order; no more than a few are held, so that memory is flat and
whoever reads slowly is waited for. What goes wrong with a piece is mended inside it (`mending`). Refused credentials,
refused queries and unknown catalogues stop the run, as does an outage: some pieces one after the other without any answer.
May import errors and the rooms beside it.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeAlias, TypeVar

from scope_ml.services.kowalski.answers import NO_ANSWER, Answer, ByKey, Decoder, Tally, pieces_of
from scope_ml.services.kowalski.client import Asks
from scope_ml.services.kowalski.mending import Mending, Watch, Work

__all__ = ["NO_ANSWER", "Answer", "ByKey", "Decoder", "Tally", "ask_in_pieces", "pieces_of"]

Key = TypeVar("Key", bound=Hashable)
Values = TypeVar("Values")

#: Pieces to answer, by number; None ends a thread.
Tasks: TypeAlias = "queue.SimpleQueue[tuple[int, tuple[Any, ...], Future[Any]] | None]"


def ask_in_pieces(
    asks: Asks,
    pieces: Iterable[Sequence[Key]],
    make_query: Callable[[Sequence[Key]], Mapping[str, Any]],
    decoder: Decoder[Key, Values],
    *,
    catalog: str,
    connections: int = 4,
    ahead: int = 2,
    not_found: str | None = None,
) -> Generator[Answer[Key, Values]]:
    """Ask for pieces of keys and yield one answer each, in the order of the pieces.

    Parameters
    ----------
    asks
        The client; it repeats by itself what failed in passing.
    pieces
        Keys that fit into one query (see `pieces_of`), unique within a piece. Taken only as they are needed.
    make_query
        Makes the query for some of the keys of a piece; called by several threads.
    decoder
        Reads replies; used by several threads. `ByKey` serves where there is nothing better.
    catalog
        The catalogue that is asked.
    connections
        Pieces that are asked at the same time.
    ahead
        Answers that may wait to be taken while others are under way.
    not_found
        Reason of a key that is not there; by default ``"not in <catalog>"``.

    Yields
    ------
    Answer
        Whose keys are those of the piece: found or missing.

    Raises
    ------
    CredentialError, QueryRefusedError, ConfigError
        As soon as one query meets it.
    ServiceUnavailableError
        If the service has an outage: `OUTAGE` pieces in a row without any answer, or all pieces of a run.
    DataError
        If keys of a piece are not unique.

    Notes
    -----
    Closing the generator ends the run: nothing more is asked, and what is under way is dropped when it comes.
    """
    work = Work(
        asks=asks,
        make_query=make_query,
        decoder=decoder,
        catalog=catalog,
        not_found=not_found or f"not in {catalog}",
        stop=threading.Event(),
        watch=Watch(),
    )
    crew = _Crew(work, connections)
    waiting: deque[Future[Answer[Key, Values]]] = deque()
    try:
        for index, piece in enumerate(pieces):
            waiting.append(crew.give(index, tuple(piece)))
            if len(waiting) >= connections + ahead:
                yield waiting.popleft().result()
        while waiting:
            answer = waiting.popleft().result()
            if not waiting:
                # Before the last answer: who knows how many there are will not come back for the end.
                work.watch.check_end()
            yield answer
    finally:
        crew.end()


class _Crew(Generic[Key, Values]):
    """Threads that answer pieces: no more than there are pieces, and none that a process waits for at its end.

    (Those of `concurrent.futures` would keep it alive after Ctrl-C until the network has answered.)
    """

    def __init__(self, work: Work[Key, Values], most: int) -> None:
        self._work = work
        self._most = most
        self._threads: list[threading.Thread] = []
        self._tasks: Tasks = queue.SimpleQueue()

    def give(self, index: int, keys: tuple[Key, ...]) -> Future[Answer[Key, Values]]:
        """Have a piece answered."""
        if len(self._threads) < self._most:
            name = f"kowalski-{index}"
            thread = threading.Thread(target=_serve, args=(self._tasks, self._work), daemon=True, name=name)
            self._threads.append(thread)
            thread.start()
        future: Future[Answer[Key, Values]] = Future()
        self._tasks.put((index, keys, future))
        return future

    def end(self) -> None:
        """Ask nothing more; threads end when what they wait for has come."""
        self._work.stop.set()
        for _ in self._threads:
            self._tasks.put(None)


def _serve(tasks: Tasks, work: Work[Any, Any]) -> None:
    """Answer pieces until there are none; what goes wrong is raised where the answer is taken."""
    while (task := tasks.get()) is not None:
        index, keys, future = task
        try:
            future.set_result(Mending(work, index, keys).answer())
        except BaseException as error:  # noqa: BLE001 - raised again by Future.result
            # What ends one piece ends the run; the other pieces then end with its error, not with that of being ended.
            future.set_exception(work.watch.first_of(error))
            work.stop.set()
