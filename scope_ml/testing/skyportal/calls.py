"""One request as the functions that answer it see it: who asks, what the address says, the query, the body.

May import what lies beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scope_ml.testing.skyportal.portal import Caller, Portal, RefusedError

__all__ = ["Answer", "Call", "Handler", "group_list", "whole_ids"]


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request whose token and rights are in order.

    Attributes
    ----------
    path
        Named parts of the address.
    query
        Values by key; of a repeated key the last counts.
    most_items
        How many items of a batch are worked on; the connection ends after that. All if None.
    """

    portal: Portal
    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    raw: bytes = b""
    most_items: int | None = None

    def body(self) -> dict[str, Any]:
        """Return the body.

        Raises
        ------
        ValueError
            It is no JSON object: the service has a 500 for that.
        """
        if not self.raw:
            return {}
        said = json.loads(self.raw)
        if not isinstance(said, dict):
            raise ValueError("Please ensure posted data is of type application/json and an object")  # noqa: TRY004
        return said

    def known_body(self, keys: Collection[str]) -> dict[str, Any]:
        """Return the body, which may have no other keys than these."""
        said = self.body()
        unknown = sorted(set(said) - set(keys))
        if unknown:
            raise RefusedError(f"Invalid/missing parameters: {unknown[0]}: Extra inputs are not permitted")
        return said

    def said(self, key: str) -> str | None:
        """Return the last value of a key of the query."""
        values = self.query.get(key)
        return values[-1] if values else None

    def truth(self, key: str, *, otherwise: bool = False) -> bool:
        """Return whether a value of the query says yes."""
        said = self.said(key)
        return otherwise if said is None else said.lower() in ("true", "yes", "t", "1")

    def page(self, *, otherwise: int, most: int) -> tuple[int, int]:
        """Return the number of a page, from 1, and its length, silently capped.

        Raises
        ------
        RefusedError
            A value is no whole number or less than 1.
        """
        values = []
        for key, default in (("pageNumber", 1), ("numPerPage", otherwise)):
            said = self.said(key)
            try:
                value = default if said is None else int(said)
            except ValueError:
                raise RefusedError(f"Invalid {key} value: {said}") from None
            if value < 1:
                raise RefusedError(f"{key} must be at least 1, got {value}")
            values.append(value)
        return values[0], min(values[1], most)


#: Answers a call with ``data`` of the envelope.
Handler = Callable[[Call], Any]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`data` with a message beside it, which a success seldom has."""

    data: Any
    message: str


def whole_ids(given: object, what: str) -> list[int]:
    """Return ids that a body lists.

    Raises
    ------
    RefusedError
        It is no list of whole numbers.
    """
    if not isinstance(given, list) or not all(isinstance(one, int) and not isinstance(one, bool) for one in given):
        raise RefusedError(f"Invalid/missing parameters: {what}: Input should be a list of integers (got {given!r})")
    return given


def group_list(call: Call, given: object) -> tuple[int, ...]:
    """Return the groups that a body lists, each once.

    Raises
    ------
    RefusedError
        One of them does not exist or is not the caller's.
    """
    ids = whole_ids(given, "group_ids")
    if not call.caller.group_ids.issuperset(ids):
        raise RefusedError(f"Cannot find one or more groups with IDs: {ids}.")
    return tuple(dict.fromkeys(ids))
