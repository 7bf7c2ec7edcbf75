"""What a run that changes Fritz shares, what is known of one of its sources, and when the service counts as down.

May import core, errors and the rooms beside it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from scope_ml.errors import ScopeError
from scope_ml.services.fritz.client import Fritz
from scope_ml.services.fritz.journal import Journal
from scope_ml.services.fritz.planning import Step
from scope_ml.services.fritz.rules import Rules
from scope_ml.services.fritz.wanted import Wanted
from scope_ml.services.http import Clock

__all__ = ["MOST_OUTAGES", "Job", "Name", "Outages", "Task"]

#: Failed looks in a row after which the service is down.
MOST_OUTAGES = 4

#: Kind of a step and what it is about: its name within its source.
Name = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one run shares.

    Attributes
    ----------
    fritz, rules, journal, clock
        The service, how it may be changed, what was done, the time.
    me
        `looking.own_name`, where it is needed.
    owners
        Names of sources by the keys that they are wanted for; no source is changed for two.
    settle_s
        How long a change without an answer may still come about [s].
    connections
        Sources at a time.
    advance
        Told sources that are done.
    stop
        Set when the run ends before its time; that of the client, so that it stops asking too.
    """

    fritz: Fritz
    rules: Rules
    journal: Journal
    clock: Clock
    me: str = ""
    owners: dict[str, str] = field(default_factory=dict)
    settle_s: float = 30.0
    connections: int = 2
    advance: Callable[[int], None] = lambda _: None
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(kw_only=True)
class Job:
    """One source.

    Attributes
    ----------
    wanted
        How it should be.
    known_as
        Its name; None where it is to be made.
    planned
        Steps of the plan, by name.
    only_look
        Nothing is asked for but that second copies of ours go.
    before
        Steps of which it is known that they will not be done.
    failed, done
        Steps that will not be done, with the reason; steps that were.
    """

    wanted: Wanted
    known_as: str | None = None
    planned: Mapping[Name, str] = field(default_factory=dict)
    only_look: bool = False
    before: frozenset[Name] = frozenset()
    failed: dict[Name, str] = field(default_factory=dict)
    done: set[Name] = field(default_factory=set)
    tries: dict[Name, int] = field(default_factory=dict)
    refused: tuple[tuple[Step, ...], str] | None = None
    n_rounds: int = 0
    n_failed_looks: int = 0


class Outages:
    """Counts what goes wrong in a row; too much of it is the service's fault, not a source's."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._n = 0

    def none(self) -> None:
        """Say that something went well."""
        with self._lock:
            self._n = 0

    def one_more(self, error: ScopeError) -> None:
        """Say that something went wrong; raises `error` if it was too much."""
        with self._lock:
            self._n += 1
            too_many = self._n >= self._most
        if too_many:
            raise error
