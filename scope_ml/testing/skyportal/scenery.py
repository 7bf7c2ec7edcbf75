"""What a test puts into the server directly: users, groups, sources, what others did to them, events.

What a user could have posted goes the way of a post, so that nothing is stored that the service would refuse. May
import what lies beside it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from scope_ml.testing.skyportal import classifications, photometry, remarks, sources
from scope_ml.testing.skyportal.calls import Answer, Call, Handler
from scope_ml.testing.skyportal.listing import parse_time
from scope_ml.testing.skyportal.population import add_group, add_taxonomy, add_user
from scope_ml.testing.skyportal.portal import ADMIN, RIGHTS, Portal
from scope_ml.testing.skyportal.tables import Event, Instrument, Localization, Token, User

__all__ = ["Scenery"]

Name = str | int


class Scenery:
    """Adds to a portal; users, groups and taxonomies are given by name or id."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    def user(
        self,
        username: str,
        groups: Iterable[Name] = (),
        rights: Iterable[str] = RIGHTS,
        *,
        is_admin: bool = False,
        is_expired: bool = False,
    ) -> dict[str, Any]:
        """Add a user, and a token of theirs."""
        user = add_user(self._portal, username, is_admin=is_admin, is_expired=is_expired)
        for group in groups:
            self._portal.groups[self._group(group)].user_ids.add(user.id)
        return {"id": user.id, "token": self.token(username, rights)}

    def token(self, user: Name, rights: Iterable[str] = RIGHTS) -> str:
        """Add a token."""
        token = str(uuid.uuid4())
        self._portal.tokens[token] = Token(user_id=self._user(user).id, rights=set(rights))
        return token

    def rights(self, user: Name, rights: Iterable[str]) -> None:
        """Give all tokens of a user these rights and no others."""
        number = self._user(user).id
        for token in self._portal.tokens.values():
            if token.user_id == number:
                token.rights = set(rights)

    def group(self, name: str, users: Iterable[Name] = ()) -> int:
        """Add a group."""
        return add_group(self._portal, name, [self._user(one).id for one in users]).id

    def instrument(self, name: str, filters: Iterable[str]) -> int:
        """Add an instrument."""
        portal = self._portal
        number = portal.number("instrument")
        portal.instruments[number] = Instrument(id=number, name=name, filters=tuple(filters), created_at=portal.time())
        return number

    def taxonomy(
        self,
        name: str,
        version: str,
        tree: dict[str, Any],
        groups: Iterable[Name] | None = None,
        *,
        is_latest: bool = True,
    ) -> int:
        """Add a taxonomy, beside others of that name if need be."""
        group_ids = None if groups is None else [self._group(one) for one in groups]
        return add_taxonomy(self._portal, name, version, tree, is_latest=is_latest, group_ids=group_ids).id

    def source(
        self,
        obj_id: str,
        ra: float,
        dec: float,
        groups: Iterable[Name] = ("Variables",),
        *,
        user: Name = "admin",
        origin: str | None = None,
        created_at: str | None = None,
        detections: Iterable[float] = (),
    ) -> None:
        """Add a source; `detections` are dates [mjd] of measurements at 18 mag."""
        body = {
            "id": obj_id,
            "ra": ra,
            "dec": dec,
            "origin": origin,
            "group_ids": [self._group(one) for one in groups],
        }
        self._as(user, sources.post_source, {}, body)
        if created_at is not None:
            when = parse_time(created_at)
            obj = self._portal.objs[obj_id]
            obj.created_at = when
            for save in obj.saves.values():
                save.saved_at = when
        found = list(detections)
        if found:
            self.photometry(obj_id, mjd=found, groups=groups, user=user)

    def photometry(
        self,
        obj_id: str,
        *,
        mjd: list[float],
        groups: Iterable[Name] = ("Variables",),
        user: Name = "admin",
        **values: Any,
    ) -> list[int]:
        """Add points of instrument ZTF, at 18 mag in ztfr unless `values` say otherwise."""
        body = {
            "obj_id": obj_id,
            "instrument_id": next(one.id for one in self._portal.instruments.values() if one.name == "ZTF"),
            "mjd": mjd,
            "mag": 18.0,
            "magerr": 0.1,
            "limiting_mag": 20.5,
            "magsys": "ab",
            "filter": "ztfr",
            "group_ids": [self._group(one) for one in groups],
        }
        ids: list[int] = self._as(user, photometry.put_photometry, {}, body | values)["ids"]
        return ids

    def classification(
        self,
        obj_id: str,
        classification: str,
        *,
        taxonomy: Name | None = None,
        user: Name = "astronomer",
        groups: Iterable[Name] = ("Variables",),
        votes: Mapping[str, int] | None = None,
        created_at: str | None = None,
        **values: Any,
    ) -> int:
        """Add a classification; `votes` by user, none without. The taxonomy is the latest that has the class.

        `values` are ``probability``, ``origin``, ``ml`` and ``label`` (True: the author's label is added).
        """
        body = {
            "obj_id": obj_id,
            "classification": classification,
            "taxonomy_id": self._taxonomy(taxonomy, classification),
            "group_ids": [self._group(one) for one in groups],
            "vote": False,
        }
        unknown = set(values) - {"probability", "origin", "ml", "label"}
        if unknown:
            raise TypeError(f"a classification has no {sorted(unknown)}")
        body |= values
        number: int = self._as(user, classifications.post_classification, {}, body)["classification_id"]
        if created_at is not None:
            self._portal.classifications[number].created_at = parse_time(created_at)
        for voter, vote in (votes or {}).items():
            self.vote(number, voter, vote)
        return number

    def vote(self, classification_id: int, user: Name, vote: int) -> None:
        """Vote as a user, with the label that this adds."""
        path = {"classification_id": str(classification_id)}
        self._as(user, classifications.post_vote, path, {"vote": vote})

    def annotation(
        self,
        obj_id: str,
        origin: str,
        data: dict[str, Any],
        *,
        user: Name = "astronomer",
        groups: Iterable[Name] = ("Variables",),
    ) -> int:
        """Add an annotation."""
        body = {"origin": origin, "data": data, "group_ids": [self._group(one) for one in groups]}
        number: int = self._as(user, remarks.post_annotation, {"obj_id": obj_id}, body)["annotation_id"]
        return number

    def comment(
        self, obj_id: str, text: str, *, user: Name = "astronomer", groups: Iterable[Name] = ("Variables",)
    ) -> int:
        """Add a comment."""
        body = {"text": text, "group_ids": [self._group(one) for one in groups]}
        number: int = self._as(user, remarks.post_comment, {"obj_id": obj_id}, body)["comment_id"]
        return number

    def event(
        self,
        dateobs: str,
        localizations: Iterable[tuple[str, Iterable[tuple[float, float, float, float]]]] = (),
        *,
        tags: Iterable[str] = (),
        aliases: Iterable[str] = (),
    ) -> int:
        """Add an event, or more localizations to one.

        Each localization is a name and circles ``(ra, dec, radius, cum_prob)``, angles in degrees; later ones are newer.
        """
        portal, when = self._portal, parse_time(dateobs)
        event = next((one for one in portal.events.values() if one.dateobs == when), None)
        if event is None:
            event = Event(
                id=portal.number("event"),
                dateobs=when,
                tags=tuple(tags),
                aliases=tuple(aliases),
                localizations=[],
                created_at=portal.time(),
            )
            portal.events[event.id] = event
        for name, circles in localizations:
            event.localizations.append(
                Localization(
                    id=portal.number("localization"),
                    dateobs=when,
                    name=name,
                    circles=tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in circles),
                    created_at=portal.time(),
                )
            )
        return event.id

    # ---- Names

    def _as(self, user: Name, handler: Handler, path: Mapping[str, str], body: dict[str, Any]) -> Any:
        """Return what a post as `user`, with all rights, is answered."""
        caller = self._portal.caller(Token(user_id=self._user(user).id, rights={ADMIN}))
        raw = json.dumps(body).encode()
        found = handler(Call(portal=self._portal, caller=caller, path=path, query={}, raw=raw))
        return found.data if isinstance(found, Answer) else found

    def _user(self, name: Name) -> User:
        for one in self._portal.users.values():
            if name in (one.id, one.username):
                return one
        raise KeyError(f"no user {name}")

    def _group(self, name: Name) -> int:
        for one in self._portal.groups.values():
            if name in (one.id, one.name):
                return one.id
        raise KeyError(f"no group {name}")

    def _taxonomy(self, name: Name | None, classification: str) -> int:
        for one in self._portal.taxonomies.values():
            if name is None and one.is_latest and classification in one.classes:
                return one.id
            if name is not None and name in (one.id, one.name) and (name == one.id or one.is_latest):
                return one.id
        raise KeyError(f"no taxonomy {name} with {classification}")
