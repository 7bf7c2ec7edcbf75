"""One piece of keys, asked until each is answered or it is known why not; and the watch for an outage.

* No answer, or one that cannot be read: asked once more, then in halves, down to single keys; a key that even alone gets no
  answer is named with the reason ``"service: ..."``. After `LOST` such questions in a row, keys are named without that.
* A short answer: the keys that are not in it are asked again, and once more few at a time. A key counts as not there
  when answers have said so often enough (`ENOUGH`), for a service may leave out documents of one reply, or answer a
  large query with nothing.
* Documents that nobody asked for, or that came twice, are left out and counted.

May import errors and the rooms beside it.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from scope_ml.errors import (
    DataError,
    QueryTooLargeError,
    ReplyError,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from scope_ml.services.kowalski.answers import NO_ANSWER, Answer, Decoder
from scope_ml.services.kowalski.client import Asks

__all__ = ["Mending", "Watch", "Work"]

Key = TypeVar("Key", bound=Hashable)
Values = TypeVar("Values")

#: Keys of a question whose answer is trusted even where it holds nothing.
FEW = 25

#: An answer that lacks a key counts 2 where it held others or was asked for few, otherwise 1; so much is enough.
ENOUGH = 6

#: Questions in a row without an answer after which a piece is cut smaller only if a key alone is answered; after twice as
#: many it is given up.
LOST = 8

#: Questions in a row without an answer after which a key alone is asked where the service is silent.
SILENT = 2

#: Pieces in a row without any answer that are an outage.
OUTAGE = 3

#: Questions in a row for one key alone, by whichever thread, without an answer in time that are an outage too.
SILENCE = 8


class Watch:
    """Notices an outage: pieces one after the other, by whichever thread, without any answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._silent = 0
        self._any = False
        self._last: ServiceError | None = None
        self._end: BaseException | None = None

    def answered(self) -> None:
        """Note that the service answered something."""
        with self._lock:
            self._in_a_row, self._silent, self._any = 0, 0, True

    def gave_up(self, error: ServiceError) -> None:
        """Note that a piece got no answer at all.

        Raises
        ------
        ServiceUnavailableError
            If it is one too many.
        """
        with self._lock:
            self._in_a_row += 1
            self._last = error
            if self._in_a_row >= OUTAGE:
                raise _outage(error)

    def silent(self, error: ServiceError) -> None:
        """Note that one key alone got no answer in time, which no question is too large for.

        Raises
        ------
        ServiceUnavailableError
            If it is one too many.
        """
        with self._lock:
            self._silent += 1
            if self._silent >= SILENCE:
                raise _outage(error)

    def first_of(self, error: BaseException) -> BaseException:
        """Note an error that ends the run, and return the first such."""
        with self._lock:
            self._end = self._end or error
            return self._end

    def check_end(self) -> None:
        """Raise the outage of a run that was too short for `OUTAGE` pieces."""
        if self._last is not None and not self._any:
            raise _outage(self._last)


def _outage(error: ServiceError) -> ServiceUnavailableError:
    return ServiceUnavailableError(f"Kowalski gives no answers any more; try again later ({error})")


@dataclass(frozen=True, kw_only=True)
class Work(Generic[Key, Values]):
    """What all pieces of a run have in common."""

    asks: Asks
    make_query: Callable[[Sequence[Key]], Mapping[str, Any]]
    decoder: Decoder[Key, Values]
    catalog: str
    not_found: str
    stop: threading.Event
    watch: Watch


class Mending(Generic[Key, Values]):
    """The questions and answers of one piece.

    Parameters
    ----------
    work
        What it has in common with others.
    index
        Its number.
    keys
        What is asked, each once.

    Raises
    ------
    DataError
        If a key comes twice.
    """

    def __init__(self, work: Work[Key, Values], index: int, keys: tuple[Key, ...]) -> None:
        if len(set(keys)) != len(keys):
            twice = next(key for key, n in Counter(keys).items() if n > 1)
            raise DataError(f"key {twice!r} is asked for twice in one piece; give each once")
        self._work = work
        self._index = index
        self._keys = keys
        self._parts: list[Values] = []
        self._place: dict[Key, tuple[int, int]] = {}
        self._failed: dict[Key, str] = {}
        self._denied: Counter[Key] = Counter()
        self._n_foreign = 0
        self._n_queries = 0
        self._n_lost = 0
        self._any = False
        self._error: ServiceError | None = None

    def answer(self) -> Answer[Key, Values]:
        """Ask until every key is found, is known not to be there, or got no answer.

        Raises
        ------
        ServiceError
            What concerns the whole run: refused credentials or query, an outage, the run's end.
        """
        size = len(self._keys)
        first = True
        while remaining := [key for key in self._keys if self._is_open(key)]:
            n_before = len(self._place)
            self._look([tuple(remaining[start : start + size]) for start in range(0, len(remaining), size)])
            if not first:
                size = min(size, FEW)
            elif len(self._place) == n_before:
                # Large queries may be answered with nothing.
                size = max(1, size // 2)
            first = False
        if self._error is not None and not self._any:
            self._work.watch.gave_up(self._error)
        found = tuple(key for key in self._keys if key in self._place)
        return Answer(
            index=self._index,
            keys=self._keys,
            found=found,
            values=self._work.decoder.pick(self._parts, [self._place[key] for key in found]),
            missing={key: self._failed.get(key, self._work.not_found) for key in self._keys if key not in self._place},
            n_foreign=self._n_foreign,
            n_queries=self._n_queries,
        )

    def _is_open(self, key: Key) -> bool:
        return key not in self._place and key not in self._failed and self._denied[key] < ENOUGH

    def _look(self, parts: list[tuple[Key, ...]]) -> None:
        """Ask for parts of the piece; halves of a part that is not answered come after all parts of its size.

        So one key that the service stumbles over is soon told from a service that answers nothing.
        """
        todo = deque(parts)
        while todo:
            keys = todo.popleft()
            if self._n_lost >= 2 * LOST:
                self._fail(keys)
            elif not self._ask(keys):
                if len(keys) == 1 or not self._alive(keys[:1]):
                    self._fail(keys)
                else:
                    left = tuple(key for key in keys if key not in self._place and key not in self._failed)
                    middle = len(left) // 2
                    todo += (half for half in (left[:middle], left[middle:]) if half)

    def _alive(self, key: tuple[Key, ...]) -> bool:
        """Return whether it is worth to ask less; one key alone tells too large a question from a service that is down."""
        if self._n_lost >= LOST:
            return self._ask(key)
        # Silence takes minutes a question, so it is looked into early, but not believed early: `Watch` counts it.
        if self._n_lost >= SILENT and isinstance(self._error, ServiceTimeoutError) and not self._ask(key):
            self._fail(key)
        return True

    def _ask(self, keys: tuple[Key, ...]) -> bool:
        """Ask for some keys; return whether there was an answer."""
        # Where halves are left to ask they are the next try; alone and as a whole, keys are asked twice.
        for _ in range(2 if len(keys) in (1, len(self._keys)) else 1):
            if self._work.stop.is_set():
                raise ServiceError("Kowalski is not asked any more: the run was ended")
            self._n_queries += 1
            try:
                body = self._work.asks.ask(self._work.make_query(keys), catalog=self._work.catalog)
                found, values = self._work.decoder.decode(body)
            except QueryTooLargeError:
                if len(keys) == 1:
                    raise
                return False
            except (ServiceTimeoutError, ServiceUnavailableError, ReplyError) as error:
                self._error = error
                self._n_lost += 1
                if isinstance(error, ServiceTimeoutError):
                    if len(keys) > 1:
                        return False
                    self._work.watch.silent(error)
            else:
                self._any = True
                self._n_lost = 0
                self._work.watch.answered()
                self._take(keys, found, values)
                return True
        return False

    def _fail(self, keys: tuple[Key, ...]) -> None:
        self._failed |= dict.fromkeys(keys, f"{NO_ANSWER}{self._error}")

    def _take(self, keys: tuple[Key, ...], found: Sequence[Key], values: Values) -> None:
        wanted = set(keys)
        n_new = 0
        for row, key in enumerate(found):
            if key in wanted and key not in self._place:
                self._place[key] = (len(self._parts), row)
                n_new += 1
            else:
                self._n_foreign += 1
        if n_new:
            self._parts.append(values)
        if n_new < len(keys):
            weight = 2 if n_new or len(keys) <= FEW else 1
            self._denied.update({key: weight for key in keys if key not in self._place})
