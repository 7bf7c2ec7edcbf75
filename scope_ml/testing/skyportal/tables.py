"""The records that the server keeps, and what it writes of each: keys and shapes as SkyPortal's.

Times are naive UTC; their text has microseconds unless they are 0. May import nothing but the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = [
    "Annotation",
    "Classification",
    "Comment",
    "Event",
    "Group",
    "Instrument",
    "Label",
    "Localization",
    "Obj",
    "Point",
    "Save",
    "Taxonomy",
    "Token",
    "User",
    "Vote",
]


@dataclass(kw_only=True, slots=True)
class User:
    """Somebody; an expired one is refused."""

    id: int
    username: str
    created_at: datetime
    is_admin: bool = False
    is_expired: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return what other users see."""
        return {"id": self.id, "username": self.username, "first_name": None, "last_name": None, "is_bot": False}


@dataclass(kw_only=True, slots=True)
class Token:
    """What a token may do; the token itself stands nowhere in it."""

    user_id: int
    rights: set[str]


@dataclass(kw_only=True, slots=True)
class Group:
    """Users who share what they save; a single user's group has one member."""

    id: int
    name: str
    created_at: datetime
    single_user: bool = False
    user_ids: set[int] = field(default_factory=set)

    def to_json(self) -> dict[str, Any]:
        """Return the group's row."""
        return {
            "id": self.id,
            "name": self.name,
            "nickname": None,
            "description": None,
            "private": False,
            "single_user_group": self.single_user,
            "created_at": self.created_at.isoformat(),
            "modified": self.created_at.isoformat(),
        }


@dataclass(kw_only=True, slots=True)
class Save:
    """That a source is saved to a group, was, or is asked to be."""

    group_id: int
    active: bool
    requested: bool
    saved_at: datetime
    saved_by: int


@dataclass(kw_only=True, slots=True)
class Vote:
    """A user's vote for or against a classification."""

    id: int
    classification_id: int
    voter_id: int
    vote: int
    created_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return the vote's row."""
        when = self.created_at.isoformat()
        return {
            "id": self.id,
            "classification_id": self.classification_id,
            "voter_id": self.voter_id,
            "vote": self.vote,
            "created_at": when,
            "modified": when,
        }


@dataclass(kw_only=True, slots=True)
class Classification:
    """A class that somebody gave a source; `votes` by user."""

    id: int
    obj_id: str
    classification: str
    taxonomy_id: int
    probability: float | None
    origin: str | None
    ml: bool
    author_id: int
    author_name: str
    created_at: datetime
    group_ids: tuple[int, ...]
    votes: dict[int, Vote] = field(default_factory=dict)

    def to_json(self, groups: list[dict[str, Any]], *, edits: bool) -> dict[str, Any]:
        """Return the classification with the `groups` that may see it."""
        when = self.created_at.isoformat()
        more: dict[str, Any] = {"edits": []} if edits else {}
        return {
            "id": self.id,
            "obj_id": self.obj_id,
            "classification": self.classification,
            "taxonomy_id": self.taxonomy_id,
            "probability": self.probability,
            "origin": self.origin,
            "ml": self.ml,
            "author_id": self.author_id,
            "author_name": self.author_name,
            "created_at": when,
            "modified": when,
            "groups": groups,
            "votes": [vote.to_json() for vote in self.votes.values()],
            **more,
        }


@dataclass(kw_only=True, slots=True)
class Label:
    """That a user has looked at a source for a group."""

    id: int
    obj_id: str
    group_id: int
    labeller_id: int
    created_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return the label's row."""
        when = self.created_at.isoformat()
        return {
            "id": self.id,
            "obj_id": self.obj_id,
            "group_id": self.group_id,
            "labeller_id": self.labeller_id,
            "created_at": when,
            "modified": when,
        }


@dataclass(kw_only=True, slots=True)
class Annotation:
    """Values of one origin on a source."""

    id: int
    obj_id: str
    origin: str
    data: dict[str, Any]
    author_id: int
    group_ids: tuple[int, ...]
    created_at: datetime
    modified: datetime

    def to_json(self, groups: list[dict[str, Any]], author: User) -> dict[str, Any]:
        """Return the annotation with the `groups` that may see it."""
        return {
            "id": self.id,
            "obj_id": self.obj_id,
            "origin": self.origin,
            "data": self.data,
            "author_id": self.author_id,
            "author": author.to_json(),
            "groups": groups,
            "created_at": self.created_at.isoformat(),
            "modified": self.modified.isoformat(),
        }


@dataclass(kw_only=True, slots=True)
class Comment:
    """A remark on a source, with at most one attachment (base64)."""

    id: int
    obj_id: str
    text: str
    attachment_name: str | None
    attachment: str | None
    author_id: int
    bot: bool
    group_ids: tuple[int, ...]
    created_at: datetime

    def to_json(self, groups: list[dict[str, Any]], author: User) -> dict[str, Any]:
        """Return the comment, without the attachment's content."""
        when = self.created_at.isoformat()
        return {
            "id": self.id,
            "obj_id": self.obj_id,
            "text": self.text,
            "attachment_name": self.attachment_name,
            "origin": None,
            "author_id": self.author_id,
            "author": author.to_json(),
            "bot": self.bot,
            "channel": None,
            "groups": groups,
            "created_at": when,
            "modified": when,
        }


@dataclass(kw_only=True, slots=True)
class Point:
    """A measurement [mjd in d, brightness in AB magnitudes]; `mag` is None where nothing was detected."""

    id: int
    obj_id: str
    instrument_id: int
    mjd: float
    mag: float | None
    magerr: float | None
    limiting_mag: float | None
    filter: str
    ra: float | None
    dec: float | None
    origin: str
    altdata: Any
    group_ids: set[int]
    owner_id: int
    created_at: datetime


@dataclass(kw_only=True, slots=True)
class Obj:
    """A source, with all that hangs on it: saves by group, classifications, annotations, comments and points by id."""

    id: str
    ra: float
    dec: float
    origin: str | None
    created_at: datetime
    saves: dict[int, Save] = field(default_factory=dict)
    classifications: dict[int, Classification] = field(default_factory=dict)
    annotations: dict[int, Annotation] = field(default_factory=dict)
    comments: dict[int, Comment] = field(default_factory=dict)
    labels: dict[tuple[int, int], Label] = field(default_factory=dict)
    points: dict[tuple[Any, ...], Point] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class Instrument:
    """What measured."""

    id: int
    name: str
    filters: tuple[str, ...]
    created_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return the instrument's row."""
        when = self.created_at.isoformat()
        return {
            "id": self.id,
            "name": self.name,
            "type": "imager",
            "band": "optical",
            "telescope_id": 1,
            "filters": list(self.filters),
            "created_at": when,
            "modified": when,
        }


@dataclass(kw_only=True, slots=True)
class Taxonomy:
    """A tree of classes in one version."""

    id: int
    name: str
    version: str
    provenance: str | None
    hierarchy: dict[str, Any]
    is_latest: bool
    group_ids: tuple[int, ...]
    classes: frozenset[str]
    created_at: datetime

    def to_json(self, groups: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the taxonomy with the `groups` that may use it."""
        when = self.created_at.isoformat()
        return {
            "id": self.id,
            "name": self.name,
            "version": self.version,
            "provenance": self.provenance,
            "hierarchy": self.hierarchy,
            "isLatest": self.is_latest,
            "groups": groups,
            "created_at": when,
            "modified": when,
        }


@dataclass(kw_only=True, slots=True)
class Localization:
    """Where an event may lie: circles, each with the probability that is reached when it is included.

    Attributes
    ----------
    circles
        ``(ra, dec, radius, cum_prob)``, in degrees; a place has the least `cum_prob` of the circles it lies in.
    """

    id: int
    dateobs: datetime
    name: str
    circles: tuple[tuple[float, float, float, float], ...]
    created_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return the localization's row."""
        when = self.created_at.isoformat()
        return {
            "id": self.id,
            "dateobs": self.dateobs.isoformat(),
            "localization_name": self.name,
            "notice_id": None,
            "tags": [],
            "created_at": when,
            "modified": when,
        }


@dataclass(kw_only=True, slots=True)
class Event:
    """A GCN event."""

    id: int
    dateobs: datetime
    tags: tuple[str, ...]
    aliases: tuple[str, ...]
    localizations: list[Localization]
    created_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return the event, its newest localization first."""
        when = self.created_at.isoformat()
        newest = sorted(self.localizations, key=lambda one: (one.created_at, one.id), reverse=True)
        return {
            "id": self.id,
            "dateobs": self.dateobs.isoformat(),
            "tags": list(self.tags),
            "aliases": list(self.aliases),
            "localizations": [one.to_json() for one in newest],
            "created_at": when,
            "modified": when,
        }
