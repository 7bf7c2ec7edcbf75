"""The state as plain values: raw, or without numbers and times so that two end states can be compared.

No token stands in either. May import what lies beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from scope_ml.testing.skyportal.portal import Portal
from scope_ml.testing.skyportal.tables import Obj

__all__ = ["comparable", "raw"]


def comparable(portal: Portal) -> dict[str, Any]:
    """Return what is stored, by name, sorted, without ids and times."""
    taxonomies = [
        {
            "name": one.name,
            "version": one.version,
            "provenance": one.provenance,
            "hierarchy": one.hierarchy,
            "isLatest": one.is_latest,
            "groups": _groups(portal, one.group_ids),
        }
        for one in portal.taxonomies.values()
    ]
    return {
        "sources": {obj_id: _source(portal, portal.objs[obj_id]) for obj_id in sorted(portal.objs)},
        "taxonomies": _sorted(taxonomies),
    }


def _source(portal: Portal, obj: Obj) -> dict[str, Any]:
    users = {one.id: one.username for one in portal.users.values()}
    return {
        "ra": obj.ra,
        "dec": obj.dec,
        "origin": obj.origin,
        "groups": _groups(portal, (one.group_id for one in obj.saves.values() if one.active)),
        "requested": _groups(portal, (one.group_id for one in obj.saves.values() if one.requested)),
        "classifications": _sorted(
            {
                "classification": one.classification,
                "taxonomy": "{0.name} {0.version}".format(portal.taxonomies[one.taxonomy_id]),
                "probability": one.probability,
                "origin": one.origin,
                "ml": one.ml,
                "author": one.author_name,
                "groups": _groups(portal, one.group_ids),
                "votes": {users[vote.voter_id]: vote.vote for vote in one.votes.values()},
            }
            for one in obj.classifications.values()
        ),
        "annotations": {
            one.origin: {"data": one.data, "author": users[one.author_id], "groups": _groups(portal, one.group_ids)}
            for one in sorted(obj.annotations.values(), key=lambda one: one.origin)
        },
        "comments": _sorted(
            {
                "text": one.text,
                "attachment": one.attachment_name,
                "sha256": None if one.attachment is None else hashlib.sha256(one.attachment.encode()).hexdigest(),
                "author": users[one.author_id],
                "groups": _groups(portal, one.group_ids),
            }
            for one in obj.comments.values()
        ),
        "labels": _sorted([users[one.labeller_id], portal.groups[one.group_id].name] for one in obj.labels.values()),
        "photometry": _sorted(
            {
                "instrument": portal.instruments[one.instrument_id].name,
                "origin": one.origin,
                "filter": one.filter,
                "mjd": one.mjd,
                "mag": one.mag,
                "magerr": one.magerr,
                "limiting_mag": one.limiting_mag,
                "groups": _groups(portal, one.group_ids),
            }
            for one in obj.points.values()
        ),
    }


def _groups(portal: Portal, group_ids: Iterable[int]) -> list[str]:
    return sorted(portal.groups[one].name for one in group_ids)


def _sorted(values: Iterable[Any]) -> list[Any]:
    return sorted(values, key=lambda one: json.dumps(one, sort_keys=True))


def raw(portal: Portal) -> dict[str, Any]:
    """Return all tables with ids and times, an object's own within it, lists in the order of storing."""
    tables = ("users", "groups", "instruments", "taxonomies", "events")
    found: dict[str, Any] = {name: [_plain(asdict(one)) for one in getattr(portal, name).values()] for name in tables}
    found["sources"] = {obj.id: _plain(asdict(obj)) for obj in portal.objs.values()}
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        # Keys that are no text number what hangs on an object: the values say it too.
        if all(isinstance(key, str) for key in value):
            return {key: _plain(one) for key, one in value.items()}
        return [_plain(one) for one in value.values()]
    return value
