"""Many keys asked in pieces, none lost on the way: keys asked = keys answered + keys named as missing, always.

Pieces are asked ahead in threads and answered in their order; no more than a few are held, so that memory is flat and
whoever reads slowly is waited for. What goes wrong with a piece is mended inside it (`mending`). Refused credentials,
refused queries and unknown catalogues stop the run, as does an outage: some pieces one after the other without any answer.
May import errors and the rooms beside it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from scope_ml.errors import ScopeError
from scope_ml.services.kowalski.answers import NO_ANSWER, Answer, ByKey, Decoder, Tally, pieces_of
from scope_ml.services.kowalski.client import Asks
from scope_ml.services.kowalski.mending import Mending, Watch, Work
from scope_ml.services.waiting import WaitingPool

__all__ = ["NO_ANSWER", "Answer", "ByKey", "Decoder", "Tally", "ask_in_pieces", "pieces_of"]

Key = TypeVar("Key", bound=Hashable)
Values = TypeVar("Values")


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
    pool = WaitingPool(connections)
    waiting: deque[Future[Answer[Key, Values]]] = deque()
    try:
        for index, piece in enumerate(pieces):
            waiting.append(pool.submit(_answer, work, index, tuple(piece)))
            if len(waiting) >= connections + ahead:
                yield waiting.popleft().result()
        while waiting:
            answer = waiting.popleft().result()
            if not waiting:
                # Before the last answer: who knows how many there are will not come back for the end.
                work.watch.check_end()
            yield answer
    finally:
        work.stop.set()
        pool.close()


def _answer(work: Work[Key, Values], index: int, keys: tuple[Key, ...]) -> Answer[Key, Values]:
    try:
        return Mending(work, index, keys).answer()
    except ScopeError as error:
        # What ends one piece ends the run; the other pieces then end with its error, not with that of being ended.
        work.stop.set()
        raise work.watch.first_of(error) from None
