"""What is looked up before anything is posted: groups, instruments, taxonomies, GCN events. May import what lies beside it."""

from __future__ import annotations

from typing import Any

from scope_ml.testing.skyportal.calls import Call, whole_ids
from scope_ml.testing.skyportal.listing import parse_time
from scope_ml.testing.skyportal.portal import RefusedError
from scope_ml.testing.skyportal.tables import Taxonomy
from scope_ml.testing.skyportal.trees import class_names, node_fault

__all__ = [
    "get_event",
    "get_groups",
    "get_instruments",
    "get_sysinfo",
    "get_taxonomies",
    "get_taxonomy",
    "list_events",
    "post_taxonomy",
]

TAXONOMY_KEYS = ("name", "version", "provenance", "hierarchy", "group_ids", "isLatest")

#: Default and greatest length of a page of events.
EVENTS_PER_PAGE, MOST_EVENTS = 10, 1000


def get_sysinfo(call: Call) -> Any:
    """Answer GET /api/sysinfo."""
    return {"invitationsEnabled": False, "cosmology": "Planck18"}


def get_groups(call: Call) -> Any:
    """Answer GET /api/groups: the caller's, those whose content they see, and all; single users' groups only if asked."""
    single, name = call.truth("includeSingleUserGroups"), call.said("name")
    shown = [
        one
        for one in call.portal.groups.values()
        if (single or not one.single_user) and (name is None or one.name == name)
    ]
    if name is not None:
        return [one.to_json() for one in shown if one.id in call.caller.group_ids]
    mine = [one.to_json() for one in shown if call.caller.user.id in one.user_ids]
    seen = [one.to_json() for one in shown if one.id in call.caller.group_ids]
    everything = [one.to_json() for one in shown if not one.single_user or one.id in call.caller.group_ids]
    return {"user_groups": mine, "user_accessible_groups": seen, "all_groups": everything}


def get_instruments(call: Call) -> Any:
    """Answer GET /api/instrument."""
    name = call.said("name")
    return [one.to_json() for one in call.portal.instruments.values() if name is None or one.name == name]


def get_taxonomies(call: Call) -> Any:
    """Answer GET /api/taxonomy."""
    return [_json(call, one) for one in call.portal.taxonomies.values() if call.caller.sees(one.group_ids)]


def get_taxonomy(call: Call) -> Any:
    """Answer GET /api/taxonomy/{id}."""
    said = call.path["taxonomy_id"]
    found = call.portal.taxonomies.get(int(said)) if said.isdecimal() else None
    if found is None or not call.caller.sees(found.group_ids):
        raise RefusedError("Taxonomy does not exist or is not available to user.")
    return _json(call, found)


def _json(call: Call, one: Taxonomy) -> dict[str, Any]:
    return one.to_json(call.portal.groups_json(one.group_ids))


def post_taxonomy(call: Call) -> Any:
    """Answer POST /api/taxonomy."""
    portal, caller = call.portal, call.caller
    said = call.known_body(TAXONOMY_KEYS)
    name, version, hierarchy = (said.get(key) for key in ("name", "version", "hierarchy"))
    if name is None:
        raise RefusedError("A name must be provided for a taxonomy")
    if version is None:
        raise RefusedError("A version string must be provided for a taxonomy")
    if any((one.name, one.version) == (name, version) for one in portal.taxonomies.values()):
        raise RefusedError(
            "That version/name combination is already present. If you really want to replace this then delete the "
            "appropriate entry."
        )
    if hierarchy is None:
        raise RefusedError("A JSON of the taxonomy must be given")
    if node_fault(hierarchy) is not None:
        raise RefusedError("Hierarchy does not validate against the schema.")
    given = said.get("group_ids")
    asked = whole_ids(given, "group_ids") if given else [portal.public_group_id()]
    group_ids = tuple(one for one in asked if one in caller.group_ids)
    if not group_ids:
        raise RefusedError("Invalid group IDs field ([]): You must provide one or more valid group IDs.")
    is_latest = bool(said.get("isLatest", True))
    if is_latest:
        for one in portal.taxonomies.values():
            one.is_latest = one.is_latest and one.name != name
    number = portal.number("taxonomy")
    portal.taxonomies[number] = Taxonomy(
        id=number,
        name=name,
        version=version,
        provenance=said.get("provenance"),
        hierarchy=hierarchy,
        is_latest=is_latest,
        group_ids=group_ids,
        classes=frozenset(class_names(hierarchy)),
        created_at=portal.time(),
    )
    return {"taxonomy_id": number}


def list_events(call: Call) -> Any:
    """Answer GET /api/gcn_event, newest first."""
    number, length = call.page(otherwise=EVENTS_PER_PAGE, most=MOST_EVENTS)
    found = sorted(call.portal.events.values(), key=lambda one: (one.dateobs, one.id))
    start, end, part = (call.said(key) for key in ("startDate", "endDate", "partialdateobs"))
    if start:
        found = [one for one in found if one.dateobs >= parse_time(start)]
    if end:
        found = [one for one in found if one.dateobs <= parse_time(end)]
    if part:
        found = [one for one in found if str(one.dateobs).startswith(part.replace("T", " "))]
    if call.said("sortBy") != "dateobs" or call.said("sortOrder") == "desc":
        found.reverse()
    page = found[(number - 1) * length : number * length]
    return {"events": [one.to_json() for one in page], "totalMatches": len(found)}


def get_event(call: Call) -> Any:
    """Answer GET /api/gcn_event/{dateobs}."""
    said = call.path["dateobs"]
    try:
        dateobs = parse_time(said)
    except ValueError as error:
        raise RefusedError(f"Invalid dateobs: {error}") from error
    for one in call.portal.events.values():
        if one.dateobs == dateobs:
            return one.to_json()
    raise RefusedError("GCN event not found", 404)
