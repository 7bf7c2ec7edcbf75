"""Groups, instruments and taxonomies of Fritz by name or id, so that wrong ones are found before anything is changed.

May import errors and the rooms beside it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from scope_ml.errors import ConfigError, ReplyError, suggest
from scope_ml.services.fritz.client import Fritz
from scope_ml.services.fritz.paths import api_path
from scope_ml.services.fritz.records import Group, Instrument, Taxonomy, rows_of

__all__ = ["Directory"]

#: Names that a message lists.
N_NAMED = 12

Row = TypeVar("Row", Group, Instrument)


class Directory:
    """What there is on Fritz, each list asked for once, when it is first needed; threads may share it.

    Parameters
    ----------
    fritz
        The service.
    """

    def __init__(self, fritz: Fritz) -> None:
        self._fritz = fritz
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Any, ...]] = {}

    @property
    def all_groups(self) -> tuple[Group, ...]:
        """Return the groups that the service names, those of the token's user first.

        Raises
        ------
        ServiceError
            As `client.FritzClient.get`.
        """
        return self._once("groups", self._groups)

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Return the instruments.

        Raises
        ------
        ServiceError
            As `client.FritzClient.get`.
        """
        path = api_path("instrument")
        return self._once(
            "instruments",
            lambda: tuple(Instrument.from_json(row) for row in rows_of(self._fritz.get(path), "instruments")),
        )

    @property
    def taxonomies(self) -> tuple[Taxonomy, ...]:
        """Return the taxonomies that the token's user sees.

        Raises
        ------
        ServiceError
            As `client.FritzClient.get`.
        """
        path = api_path("taxonomy")
        return self._once(
            "taxonomies",
            lambda: tuple(Taxonomy.from_json(row) for row in rows_of(self._fritz.get(path), "taxonomies")),
        )

    def groups(self, given: Sequence[int | str]) -> tuple[Group, ...]:
        """Return groups by id or name, each once.

        Raises
        ------
        ConfigError
            If there is no such group, or the token's user is not in it.
        ServiceError
            As `client.FritzClient.get`.
        """
        return tuple(dict.fromkeys(self.group(one) for one in given))

    def group(self, given: int | str) -> Group:
        """Return a group by id or name; see `groups`."""
        found = _one(self.all_groups, given, "group")
        if not found.accessible:
            raise ConfigError(
                f"the token's user is not in the group {found.name} ({found.id}) of Fritz; join it there, or give another"
            )
        return found

    def instrument(self, given: int | str) -> Instrument:
        """Return an instrument by id or name.

        Raises
        ------
        ConfigError
            If there is none, or several of that name.
        ServiceError
            As `client.FritzClient.get`.
        """
        return _one(self.instruments, given, "instrument")

    def _groups(self) -> tuple[Group, ...]:
        data = self._fritz.get(api_path("groups"), {"includeSingleUserGroups": True})
        if not isinstance(data, Mapping):
            raise ReplyError("Fritz gave no lists of groups; is service.fritz.url that of a SkyPortal?")
        found: dict[int, Group] = {}
        for key in ("user_groups", "user_accessible_groups", "all_groups"):
            for row in rows_of(data.get(key), key):
                group = Group.from_json(row, accessible=key != "all_groups")
                found.setdefault(group.id, group)
        return tuple(found.values())

    def _once(self, what: str, fetch: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        with self._lock:
            if what not in self._known:
                self._known[what] = fetch()
            return self._known[what]


def _one(rows: Sequence[Row], given: int | str, what: str) -> Row:
    """Return the one of this name, else of this id; names may be numbers too."""
    named = [row for row in rows if row.name == given]
    if not named and str(given).isdecimal():
        named = [row for row in rows if row.id == int(given)]
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(str(row.id) for row in named)
        raise ConfigError(f"Fritz has {len(named)} of the {what} '{given}'; give one of the ids {ids}")
    known = [row.name for row in rows]
    rows = [row for row in rows if not isinstance(row, Group) or row.accessible]
    listed = ", ".join(f"{row.name} ({row.id})" for row in rows[:N_NAMED]) + (", ..." if len(rows) > N_NAMED else "")
    raise ConfigError(
        f"Fritz has no {what} '{given}' for this token; it has {listed or 'none'}{suggest(str(given), known)}",
        choices=known,
    )
