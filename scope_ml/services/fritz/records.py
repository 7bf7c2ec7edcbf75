"""What Fritz tells, as frozen records. `from_json` reads tolerantly: only ids and names have to be there.

Times are naive UTC, as the service writes them, with or without a fraction. May import errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from scope_ml.errors import ReplyError

__all__ = [
    "Annotation",
    "Classification",
    "Comment",
    "Group",
    "Instrument",
    "Point",
    "Source",
    "Taxonomy",
    "Vote",
    "rows_of",
    "time_of",
]


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group of users.

    Attributes
    ----------
    id, name
        Which.
    single_user
        Whether it is one user's own.
    accessible
        Whether the token's user is in it, or may act as if.
    """

    id: int
    name: str
    single_user: bool = False
    accessible: bool = True

    @classmethod
    def from_json(cls, row: Mapping[str, Any], *, accessible: bool = True) -> Self:
        """Read one of the service's groups."""
        return cls(
            id=_id(row, "group"),
            name=str(row.get("name") or ""),
            single_user=bool(row.get("single_user_group")),
            accessible=accessible,
        )


@dataclass(frozen=True, kw_only=True)
class Vote:
    """One user's vote on a classification, +1 or -1, and when it was last changed [naive UTC]."""

    voter_id: int
    vote: int
    at: datetime | None = None

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read one of the service's votes."""
        return cls(
            voter_id=_id(row, "vote", "voter_id"),
            vote=_id(row, "vote", "vote"),
            at=time_of(row.get("modified")) or time_of(row.get("created_at")),
        )


@dataclass(frozen=True, kw_only=True)
class Classification:
    """A class given to a source.

    Attributes
    ----------
    id, obj_id, taxonomy_id
        Which, of which source, by which taxonomy.
    classification
        The class's name.
    probability
        0 to 1, None where none was given.
    origin
        What it comes from, None where it does not say.
    ml
        Whether a machine gave it.
    author_id, author_name
        Who posted it.
    created_at, modified
        When [naive UTC].
    group_ids
        Who sees it.
    votes
        What users think of it.
    """

    id: int
    obj_id: str
    classification: str
    probability: float | None = None
    taxonomy_id: int
    origin: str | None = None
    ml: bool = False
    author_id: int | None = None
    author_name: str = ""
    created_at: datetime | None = None
    modified: datetime | None = None
    group_ids: tuple[int, ...] = ()
    votes: tuple[Vote, ...] = ()

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read one of the service's classifications."""
        name = row.get("classification")
        if not isinstance(name, str):
            raise _lacks("classification", "classification")
        return cls(
            id=_id(row, "classification"),
            obj_id=str(row.get("obj_id") or ""),
            classification=name,
            probability=_number(row.get("probability")),
            taxonomy_id=_id(row, "classification", "taxonomy_id"),
            origin=_text(row.get("origin")),
            ml=row.get("ml") is True,
            author_id=_whole(row.get("author_id")),
            author_name=str(row.get("author_name") or ""),
            created_at=time_of(row.get("created_at")),
            modified=time_of(row.get("modified")),
            group_ids=_ids(row.get("groups")),
            votes=tuple(Vote.from_json(vote) for vote in rows_of(row.get("votes"), "votes")),
        )

    @property
    def net_votes(self) -> int:
        """Return the sum of the votes, 0 where there are none."""
        return sum(vote.vote for vote in self.votes)


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """What one origin says of a source, as keys and values; an origin has one annotation of a source at most."""

    id: int
    obj_id: str
    origin: str
    data: Mapping[str, Any]
    author_id: int | None = None
    group_ids: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read one of the service's annotations."""
        data = row.get("data")
        return cls(
            id=_id(row, "annotation"),
            obj_id=str(row.get("obj_id") or ""),
            origin=str(row.get("origin") or ""),
            data=dict(data) if isinstance(data, Mapping) else {},
            author_id=_whole(row.get("author_id")),
            group_ids=_ids(row.get("groups")),
        )


@dataclass(frozen=True, kw_only=True)
class Comment:
    """A comment on a source; `bot` where it was posted with a token."""

    id: int
    obj_id: str
    text: str
    attachment_name: str | None = None
    author_id: int | None = None
    bot: bool = False

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read one of the service's comments."""
        return cls(
            id=_id(row, "comment"),
            obj_id=str(row.get("obj_id") or ""),
            text=str(row.get("text") or ""),
            attachment_name=_text(row.get("attachment_name")),
            author_id=_whole(row.get("author_id")),
            bot=row.get("bot") is True,
        )


@dataclass(frozen=True, kw_only=True)
class Point:
    """A photometric point; `mag` and `magerr` are None for a limit, `origin` where none was given."""

    id: int
    mjd: float
    mag: float | None
    magerr: float | None
    limiting_mag: float | None
    filter: str
    instrument_id: int | None = None
    origin: str | None = None
    group_ids: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read one of the service's points, in magnitudes."""
        mjd = _number(row.get("mjd"))
        if mjd is None:
            raise _lacks("point", "mjd")
        origin = _text(row.get("origin"))
        return cls(
            id=_id(row, "point"),
            mjd=mjd,
            mag=_number(row.get("mag")),
            magerr=_number(row.get("magerr")),
            limiting_mag=_number(row.get("limiting_mag")),
            filter=str(row.get("filter") or ""),
            instrument_id=_whole(row.get("instrument_id")),
            origin=None if origin == "None" else origin,
            group_ids=_ids(row.get("groups")),
        )


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source.

    Attributes
    ----------
    id
        Its name.
    ra, dec
        Where it is [deg].
    created_at
        When it was made [naive UTC].
    group_ids
        Groups that it is saved to now; requests and former ones are left out.
    classifications, annotations
        Those that the token's user sees.
    labeller_ids
        Users who looked at it; None where they were not asked for.
    """

    id: str
    ra: float
    dec: float
    created_at: datetime | None = None
    group_ids: tuple[int, ...] = ()
    classifications: tuple[Classification, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    labeller_ids: tuple[int, ...] | None = None

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read a source of a list or alone: its labellers come as rows of labels in one, as users in the other."""
        name, ra, dec = row.get("id"), _number(row.get("ra")), _number(row.get("dec"))
        if not isinstance(name, str) or not name:
            raise _lacks("source", "id")
        if ra is None or dec is None:
            raise _lacks(f"source {name}", "ra or dec")
        groups = rows_of(row.get("groups"), "groups")
        labellers = row.get("labellers")
        return cls(
            id=name,
            ra=ra,
            dec=dec,
            created_at=time_of(row.get("created_at")),
            group_ids=_ids([group for group in groups if group.get("active", True)]),
            classifications=tuple(
                Classification.from_json({"obj_id": name} | dict(one))
                for one in rows_of(row.get("classifications"), "classifications")
            ),
            annotations=tuple(
                Annotation.from_json({"obj_id": name} | dict(one))
                for one in rows_of(row.get("annotations"), "annotations")
            ),
            labeller_ids=None if labellers is None else _labellers(labellers),
        )


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """An instrument and the filters that its photometry may have."""

    id: int
    name: str
    filters: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read one of the service's instruments."""
        filters = row.get("filters")
        return cls(
            id=_id(row, "instrument"),
            name=str(row.get("name") or ""),
            filters=tuple(map(str, filters)) if isinstance(filters, list) else (),
        )


@dataclass(frozen=True, kw_only=True)
class Taxonomy:
    """A tree of classes; `hierarchy` is its top as the service keeps it (``class``, ``subclasses``, ...)."""

    id: int
    name: str
    version: str
    provenance: str | None = None
    hierarchy: Mapping[str, Any]
    is_latest: bool = False
    group_ids: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read one of the service's taxonomies."""
        hierarchy = row.get("hierarchy")
        return cls(
            id=_id(row, "taxonomy"),
            name=str(row.get("name") or ""),
            version=str(row.get("version") or ""),
            provenance=_text(row.get("provenance")),
            hierarchy=dict(hierarchy) if isinstance(hierarchy, Mapping) else {},
            is_latest=row.get("isLatest") is True,
            group_ids=_ids(row.get("groups")),
        )


def time_of(text: Any) -> datetime | None:
    """Return a time of the service as naive UTC, with or without a fraction; None where it cannot be read."""
    try:
        read = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return read.astimezone(UTC).replace(tzinfo=None) if read.tzinfo is not None else read


def rows_of(data: Any, what: str) -> Sequence[Mapping[str, Any]]:
    """Return a list of objects; None counts as an empty one.

    Raises
    ------
    ReplyError
        If it is something else.
    """
    rows = [] if data is None else data
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ReplyError(f"Fritz gave no list of {what}; is service.fritz.url that of a SkyPortal?")
    return rows


def _labellers(rows: Any) -> tuple[int, ...]:
    found = (
        _id(row, "labeller", "labeller_id" if "labeller_id" in row else "id") for row in rows_of(rows, "labellers")
    )
    return tuple(dict.fromkeys(found))


def _ids(rows: Any) -> tuple[int, ...]:
    return tuple(dict.fromkeys(_id(row, "group") for row in rows_of(rows, "groups")))


def _id(row: Mapping[str, Any], what: str, key: str = "id") -> int:
    value = _whole(row.get(key))
    if value is None:
        raise _lacks(what, key)
    return value


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _lacks(what: str, key: str) -> ReplyError:
    return ReplyError(f"Fritz gave a {what} without its {key}; is service.fritz.url that of a SkyPortal?")


def names(rows: Iterable[Group | Instrument | Taxonomy]) -> list[str]:
    """Return the names of records, each once, in order."""
    return list(dict.fromkeys(row.name for row in rows))
