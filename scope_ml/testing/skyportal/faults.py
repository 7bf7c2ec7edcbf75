"""How the server misbehaves when it is told to.

A `Fault` says what goes wrong, for which requests and how often, and whether the request is carried out all the same;
`FaultPlan` decides request by request. One request suffers one fault: the first, as added, that fits. May import errors only.
"""

from __future__ import annotations

import random
import re
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from scope_ml.errors import ConfigError

__all__ = ["Fault", "FaultKind", "FaultPlan", "Stored"]

FaultKind = Literal[
    "error", "html", "not_json", "hang", "reset", "cut", "delay", "lost_right", "lost_token",
]  # fmt: skip

Stored = Literal["never", "before", "later"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to misbehave.

    Attributes
    ----------
    kind
        ``error``: `status` and `message` in the error envelope; ``html``: `status` with a web page, as nginx does for 429,
        502, 503 and 504; ``not_json``: status 200 and a page; ``hang``: `seconds` of silence, then a reset; ``reset``: the
        connection ends; ``cut``: it ends within the body; ``delay``: `seconds` of silence, then the right answer;
        ``lost_right``: from this request on the token lacks `right`; ``lost_token``: it is unknown from then on.
    stored
        Whether what was asked happens: ``never``; ``before`` the connection or the reply goes wrong; ``later``: `later_s`
        after it did. ``cut`` is always ``before``.
    n_items
        Of a batch of classifications only so many are stored.
    method, path
        Of the requests: a method ("" for all), a regular expression that occurs in the path.
    times
        How many requests it hits; any number if None.
    after
        How many requests that fit pass first.
    probability
        That a request which fits is hit, drawn from `seed`.
    retry_after
        Value of that header [s].
    """

    kind: FaultKind
    stored: Stored = "never"
    n_items: int | None = None
    method: str = ""
    path: str = ""
    times: int | None = None
    after: int = 0
    probability: float = 1.0
    seed: int = 0
    status: int = 500
    message: str = "Internal Server Error"
    seconds: float = 3600.0
    later_s: float = 0.2
    right: str = "Classify"
    retry_after: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is no fault.

        Raises
        ------
        ConfigError
            An unknown kind, or a number outside its range.
        """
        if self.kind not in get_args(FaultKind):
            raise ConfigError(f"fault kind '{self.kind}' is not known; one of {', '.join(get_args(FaultKind))}")
        if self.stored not in get_args(Stored):
            raise ConfigError(f"stored '{self.stored}' is not known; one of {', '.join(get_args(Stored))}")
        if not 0.0 <= self.probability <= 1.0:
            raise ConfigError(f"probability lies in [0, 1], got {self.probability}")
        if self.n_items is not None and self.stored == "never":
            raise ConfigError("n_items says how much of a batch is stored: give stored='before' or 'later' with it")

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Fault:
        """Return the fault that `to_json` wrote."""
        known = {one.name for one in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})

    def fits(self, method: str, path: str) -> bool:
        """Return whether a request is one of those it may hit."""
        return self.method in ("", method) and re.search(self.path, path) is not None


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

    def choose(self, method: str, path: str) -> Fault | None:
        """Return the fault that hits this request, or None."""
        for fault, rng, counts in self._entries:
            if not fault.fits(method, path):
                continue
            counts[0] += 1
            drawn = fault.probability >= 1.0 or rng.random() < fault.probability
            if counts[0] <= fault.after or (fault.times is not None and counts[1] >= fault.times) or not drawn:
                continue
            counts[1] += 1
            return fault
        return None
