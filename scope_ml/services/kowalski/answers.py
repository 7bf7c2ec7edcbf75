"""What comes of a piece of many keys, how replies are read into it, and the counts over all pieces.

May import core and errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from scope_ml.errors import DataError

__all__ = ["NO_ANSWER", "Answer", "ByKey", "Decoder", "Tally", "pieces_of"]

Key = TypeVar("Key", bound=Hashable)
AnyKey_co = TypeVar("AnyKey_co", bound=Hashable, covariant=True)
Values = TypeVar("Values")
Item = TypeVar("Item")

#: How the reason of a key begins that the service gave no answer for, as against the answer that it is not there.
NO_ANSWER = "service: "


@dataclass(frozen=True, kw_only=True)
class Answer(Generic[Key, Values]):
    """What came of one piece.

    Attributes
    ----------
    index
        Number of the piece, from 0.
    keys
        What was asked, in that order.
    found
        The keys that were answered, in the order of `keys`.
    values
        What the decoder made of their documents, in the order of `found`.
    missing
        Why the others were not, by key in the order of `keys`; begins with `NO_ANSWER` where asking later may help.
    n_foreign
        Documents that were left out: nobody asked for them, or they came twice.
    n_queries
        Questions that it took.
    """

    index: int
    keys: tuple[Key, ...]
    found: tuple[Key, ...]
    values: Values
    missing: Mapping[Key, str]
    n_foreign: int = 0
    n_queries: int = 1

    def __post_init__(self) -> None:
        if len(self.found) + len(self.missing) != len(self.keys) or {*self.found, *self.missing} != {*self.keys}:
            raise DataError(
                f"{len(self.keys)} keys were asked for, but {len(self.found)} answered and {len(self.missing)} missing; keys"
                " were lost"
            )


class Decoder(Protocol[AnyKey_co, Values]):
    """Reads replies and puts their documents into the order of the keys."""

    def decode(self, body: bytes) -> tuple[Sequence[AnyKey_co], Values]:
        """Return the key of each document of a reply, and the documents.

        Raises
        ------
        ReplyError
            If the reply cannot be read; it is asked for again.
        """
        ...

    def pick(self, parts: Sequence[Values], places: Sequence[tuple[int, int]]) -> Values:
        """Return documents of several replies as one: for each place (number of the reply, of the document in it) one."""
        ...


class ByKey(Generic[Key, Item]):
    """A decoder whose values are a dict: what belongs to each key, in the order of the keys.

    Parameters
    ----------
    read
        Makes key and value of everything in a reply, such as ``(document["_id"], document)`` of each document.
    """

    def __init__(self, read: Callable[[bytes], Iterable[tuple[Key, Item]]]) -> None:
        self._read = read

    def decode(self, body: bytes) -> tuple[Sequence[Key], dict[Any, Any]]:
        """Return the keys of a reply and its items by their number."""
        pairs = list(self._read(body))
        return [key for key, _ in pairs], dict(enumerate(pairs))

    def pick(self, parts: Sequence[dict[Any, Any]], places: Sequence[tuple[int, int]]) -> dict[Any, Any]:
        """Return the items by their key."""
        return dict(parts[part][row] for part, row in places)


@dataclass(kw_only=True)
class Tally:
    """Counts over the answers of a run: asked = answered + all of missing.

    Attributes
    ----------
    missing
        Number of keys by reason.
    """

    asked: int = 0
    answered: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    n_foreign: int = 0
    n_queries: int = 0

    def add(self, answer: Answer[Any, Any]) -> None:
        """Count one more answer."""
        self.asked += len(answer.keys)
        self.answered += len(answer.found)
        self.missing.update(answer.missing.values())
        self.n_foreign += answer.n_foreign
        self.n_queries += answer.n_queries
        if self.asked != self.answered + self.missing.total():
            raise DataError(
                f"{self.asked} keys asked, {self.answered} answered, {self.missing.total()} missing: keys were lost"
            )


def pieces_of(
    keys: Sequence[Key], *, most: int, weights: Sequence[int] | None = None, most_weight: int | None = None
) -> Iterator[tuple[Key, ...]]:
    """Cut keys into pieces of at most `most` keys, and of at most `most_weight` together where weights are known.

    A key that alone weighs more is a piece by itself.
    """
    piece: list[Key] = []
    weight = 0
    for index, key in enumerate(keys):
        more = weights[index] if weights is not None else 0
        if piece and (len(piece) >= most or (most_weight is not None and weight + more > most_weight)):
            yield tuple(piece)
            piece, weight = [], 0
        piece.append(key)
        weight += more
    if piece:
        yield tuple(piece)
