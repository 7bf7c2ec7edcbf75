"""The state of the server in memory: tables, numbers, its clock, and who may see what.

May import what lies beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from scope_ml.testing.skyportal.tables import (
    Annotation,
    Classification,
    Event,
    Group,
    Instrument,
    Label,
    Obj,
    Taxonomy,
    Token,
    User,
    Vote,
)

__all__ = ["PUBLIC_GROUP", "RIGHTS", "Caller", "Portal", "RefusedError"]

#: Name of the group that everybody is in.
PUBLIC_GROUP = "Sitewide Group"

#: Rights that a token needs for what our commands do.
RIGHTS = ("Upload data", "Classify", "Annotate", "Comment", "Post taxonomy")

#: The right that stands for all others.
ADMIN = "System admin"


class RefusedError(Exception):
    """What the server answers with an error envelope."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message, self.status = message, status


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks, and the groups whose content they may see."""

    user: User
    rights: frozenset[str]
    group_ids: frozenset[int]

    @property
    def is_admin(self) -> bool:
        """Whether rights are not asked for."""
        return ADMIN in self.rights

    def sees(self, group_ids: Iterable[int]) -> bool:
        """Return whether one of the groups is accessible."""
        return not self.group_ids.isdisjoint(group_ids)


class Portal:
    """All that is stored.

    Attributes
    ----------
    objs, classifications, annotations
        By id; an object's own are in it too.
    tokens
        By the token itself; never part of what a reply or a test may read.
    now, step
        Time of the next thing that is stored, and how much later the one after it is; the real time if `now` is None.
    """

    def __init__(self) -> None:
        self.users: dict[int, User] = {}
        self.tokens: dict[str, Token] = {}
        self.groups: dict[int, Group] = {}
        self.objs: dict[str, Obj] = {}
        self.classifications: dict[int, Classification] = {}
        self.annotations: dict[int, Annotation] = {}
        self.instruments: dict[int, Instrument] = {}
        self.taxonomies: dict[int, Taxonomy] = {}
        self.events: dict[int, Event] = {}
        self.now: datetime | None = None
        self.step = timedelta(0)
        self._last: dict[str, int] = {}

    def number(self, kind: str) -> int:
        """Return a new id of a table."""
        self._last[kind] = self._last.get(kind, 0) + 1
        return self._last[kind]

    def skip(self, kind: str, number: int) -> None:
        """Let the next id of a table come after `number`."""
        self._last[kind] = max(number, self._last.get(kind, 0))

    def time(self) -> datetime:
        """Return the time at which something is stored, naive UTC."""
        if self.now is None:
            return datetime.now(UTC).replace(tzinfo=None)
        found = self.now
        self.now = found + self.step
        return found

    def caller(self, token: Token) -> Caller:
        """Return whom a token stands for."""
        user = self.users[token.user_id]
        rights = frozenset(token.rights | ({ADMIN} if user.is_admin else set()))
        seen = {one.id for one in self.groups.values() if user.is_admin or user.id in one.user_ids}
        return Caller(user=user, rights=rights, group_ids=frozenset(seen))

    def public_group_id(self) -> int:
        """Return the id of the group that everybody is in."""
        return next(one.id for one in self.groups.values() if one.name == PUBLIC_GROUP)

    def own_group_id(self, user_id: int) -> int:
        """Return the id of a user's single-user group."""
        return next(one.id for one in self.groups.values() if one.single_user and user_id in one.user_ids)

    def groups_json(self, group_ids: Iterable[int]) -> list[dict[str, Any]]:
        """Return the rows of groups."""
        return [self.groups[one].to_json() for one in group_ids]

    def obj(self, obj_id: object) -> Obj | None:
        """Return an object, if there is one."""
        return self.objs.get(obj_id) if isinstance(obj_id, str) else None

    def label(self, obj: Obj, group_ids: Iterable[int], user_id: int) -> None:
        """Add a label of a user for each group that has none."""
        for group_id in group_ids:
            if (group_id, user_id) not in obj.labels:
                obj.labels[group_id, user_id] = Label(
                    id=self.number("label"),
                    obj_id=obj.id,
                    group_id=group_id,
                    labeller_id=user_id,
                    created_at=self.time(),
                )

    def vote(self, one: Classification, user_id: int, vote: int) -> None:
        """Set a user's vote."""
        before = one.votes.get(user_id)
        if before is not None:
            before.vote = vote
            return
        one.votes[user_id] = Vote(
            id=self.number("vote"), classification_id=one.id, voter_id=user_id, vote=vote, created_at=self.time()
        )

    def store(self, one: Classification | Annotation) -> None:
        """Put a classification or an annotation into the tables."""
        obj = self.objs[one.obj_id]
        if isinstance(one, Classification):
            obj.classifications[one.id] = self.classifications[one.id] = one
        else:
            obj.annotations[one.id] = self.annotations[one.id] = one

    def remove(self, one: Classification | Annotation) -> None:
        """Take a classification or an annotation out of the tables."""
        obj = self.objs[one.obj_id]
        if isinstance(one, Classification):
            del obj.classifications[one.id], self.classifications[one.id]
        else:
            del obj.annotations[one.id], self.annotations[one.id]
