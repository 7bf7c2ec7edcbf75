"""How the server misbehaves when it is told to.

A `Fault` says what goes wrong, for which requests and how often; `FaultPlan` decides request by request. The order of
several faults is that in which they were added, and one request suffers one fault. May import errors only.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from scope_ml.errors import ConfigError

__all__ = ["Fault", "FaultKind", "FaultPlan"]

FaultKind = Literal[
    "status", "html", "hang", "reset", "reset_after", "cut", "cut_json", "delay",
    "missing", "duplicate", "foreign", "nan", "empty", "timeout", "expired",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to misbehave.

    Attributes
    ----------
    kind
        ``status``: answer `status` and `message` in Kowalski's JSON; ``html``: answer `status` with a web page, as proxies
        do; ``hang``: `seconds` of silence, then a reset; ``reset``: the connection ends before the request is
        worked on; ``reset_after``: after it; ``cut``: the connection ends within a body whose Content-Length says more;
        ``cut_json``: a complete reply whose JSON ends in the middle; ``delay``: up to `seconds` of silence, drawn for
        each request, then the right answer, so that answers come out of order; ``missing``: documents of `ids`, or
        a `share` of all, are left out; ``duplicate``: a share comes twice; ``foreign``: documents nobody asked for
        come too; ``nan``: a point of each document has a magnitude that is no number; ``empty``: a right answer
        without documents; ``timeout``: Mongo's ExecutionTimeout; ``expired``: "token has expired".
    times
        How many requests it hits; any number if None.
    after
        How many requests that fit pass first.
    probability
        That a request which fits is hit, drawn from `seed`.
    query_type
        Of the requests; "" for all of ``/api/queries`` but ``info``, "*" for ``info`` too.
    catalog
        Only requests that ask it.
    min_ids
        Only requests with at least so many ids or positions.
    ids
        Only requests that ask one of these ids, or positions by name; for ``missing``, what is left out.
    retry_after
        Value of that header: seconds or a date.
    path
        Of the requests.
    """

    kind: FaultKind
    times: int | None = None
    after: int = 0
    probability: float = 1.0
    seed: int = 0
    query_type: str = ""
    catalog: str | None = None
    min_ids: int = 0
    status: int = 500
    message: str = "Internal Server Error"
    retry_after: str | None = None
    seconds: float = 3600.0
    share: float = 0.2
    ids: tuple[int | str, ...] = ()
    path: str = "/api/queries"

    def __post_init__(self) -> None:
        """Refuse what is no fault.

        Raises
        ------
        ConfigError
            An unknown kind, or a number outside its range.
        """
        if self.kind not in get_args(FaultKind):
            raise ConfigError(f"fault kind '{self.kind}' is not known; one of {', '.join(get_args(FaultKind))}")
        if not 0.0 <= self.probability <= 1.0 or not 0.0 <= self.share <= 1.0:
            raise ConfigError(f"probability and share lie in [0, 1], got {self.probability} and {self.share}")

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Fault:
        """Return the fault that `to_json` wrote."""
        known = {field.name for field in fields(cls)}
        chosen = {key: value for key, value in values.items() if key in known}
        return cls(**(chosen | {"ids": tuple(chosen.get("ids", ()))}))

    def fits(self, path: str, query_type: str, catalogs: Iterable[str], asked: Sequence[object]) -> bool:
        """Return whether a request is one of those it may hit; `asked` are its ids or names of positions."""
        if path != self.path or len(asked) < self.min_ids:
            return False
        # What is left out of a list that was asked for without naming ids stands in the answer alone.
        if self.ids and (asked or self.kind != "missing") and set(self.ids).isdisjoint(asked):
            return False
        if self.catalog is not None and self.catalog not in catalogs:
            return False
        if path != "/api/queries" or self.query_type == "*":
            return True
        return query_type == self.query_type if self.query_type else query_type != "info"


class FaultPlan:
    """Faults in force, and how far each has come."""

    def __init__(self) -> None:
        self._entries: list[tuple[Fault, random.Random, list[int]]] = []

    def add(self, fault: Fault) -> None:
        """Put one more fault in force."""
        self._entries.append((fault, random.Random(fault.seed), [0, 0]))

    def clear(self) -> None:
        """Behave again."""
        self._entries.clear()

    def choose(
        self, path: str, query_type: str, catalogs: Iterable[str], asked: Sequence[object]
    ) -> tuple[Fault, random.Random] | None:
        """Return the fault that hits this request, with its random numbers, or None."""
        names = tuple(catalogs)
        for fault, rng, counts in self._entries:
            if not fault.fits(path, query_type, names, asked):
                continue
            counts[0] += 1
            drawn = fault.probability >= 1.0 or rng.random() < fault.probability
            if counts[0] <= fault.after or (fault.times is not None and counts[1] >= fault.times) or not drawn:
                continue
            counts[1] += 1
            return fault, rng
        return None
