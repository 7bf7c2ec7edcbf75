"""Sources: one of them, posting, saving to groups, labels. May import what lies beside it."""

from __future__ import annotations

import math
import re
from typing import Any

from scope_ml.testing.skyportal.calls import Call, whole_ids
from scope_ml.testing.skyportal.portal import RefusedError
from scope_ml.testing.skyportal.tables import Label, Obj, Save

__all__ = ["get_source", "label", "post_source", "save_to_groups", "source_json", "unlabel"]

OBJ_ID = re.compile(r"[A-Za-z0-9_\-;:+.]+")


def source_json(call: Call, obj: Obj, *, edits: bool) -> dict[str, Any]:
    """Return what both kinds of request show of a source."""
    portal, sees = call.portal, call.caller.sees
    when = obj.created_at.isoformat()
    groups = [
        portal.groups[one.group_id].to_json()
        | {
            "active": one.active,
            "requested": one.requested,
            "saved_at": one.saved_at.isoformat(),
            "saved_by": portal.users[one.saved_by].to_json(),
        }
        for one in obj.saves.values()
        if one.active and sees((one.group_id,))
    ]
    return {
        "id": obj.id,
        "ra": obj.ra,
        "dec": obj.dec,
        "origin": obj.origin,
        "redshift": None,
        "created_at": when,
        "modified": when,
        "groups": groups,
        "classifications": [
            one.to_json(portal.groups_json(one.group_ids), edits=edits)
            for one in obj.classifications.values()
            if sees(one.group_ids)
        ],
        "annotations": [
            one.to_json(portal.groups_json(one.group_ids), portal.users[one.author_id])
            for one in obj.annotations.values()
            if sees(one.group_ids)
        ],
    }


def labels_of(call: Call, obj: Obj) -> list[Label]:
    """Return the labels of a source that the caller may see."""
    return [one for one in obj.labels.values() if call.caller.sees((one.group_id,))]


def get_source(call: Call) -> Any:
    """Answer GET /api/sources/{obj_id}: labellers are users here."""
    obj = call.portal.obj(call.path["obj_id"])
    if obj is None:
        raise RefusedError("Source not found", 404)
    found = source_json(call, obj, edits=True)
    if call.truth("includeLabellers"):
        users = dict.fromkeys(one.labeller_id for one in labels_of(call, obj))
        found["labellers"] = [call.portal.users[one].to_json() for one in users]
    if call.truth("includeComments"):
        found["comments"] = [
            one.to_json(call.portal.groups_json(one.group_ids), call.portal.users[one.author_id])
            for one in obj.comments.values()
            if call.caller.sees(one.group_ids)
        ]
    return found


def post_source(call: Call) -> Any:
    """Answer POST /api/sources; an id that is there already is saved to more groups, its position stays."""
    try:
        return _post(call, call.body())
    except RefusedError as error:
        raise RefusedError(f"Failed to post source: {error.message}", error.status) from error


def _post(call: Call, said: dict[str, Any]) -> dict[str, Any]:
    portal, caller = call.portal, call.caller
    obj_id = said.get("id")
    if not isinstance(obj_id, str):
        raise RefusedError(f"id must be a string, got {obj_id!r}")
    if " " in obj_id:
        raise RefusedError("No spaces allowed in source ID")
    if OBJ_ID.fullmatch(obj_id) is None:
        raise RefusedError(f"Invalid characters in source ID {obj_id!r}")
    before = portal.obj(obj_id)
    ra, dec = said.get("ra"), said.get("dec")
    if before is None:
        if ra is None or dec is None:
            raise RefusedError("RA/Declination must not be null for a new Obj")
        if not all(_is_number(one) for one in (ra, dec)):
            raise RefusedError(f"Invalid/missing parameters: ra, dec: Not a valid number (got {ra!r}, {dec!r})")
    if "group_ids" in said:
        # As there: groups that are not the caller's are left out without a word, unless none is left.
        group_ids = [one for one in whole_ids(said["group_ids"], "group_ids") if one in caller.group_ids]
    else:
        group_ids = sorted(one for one in caller.group_ids if not portal.groups[one].single_user)
    if not group_ids:
        raise RefusedError("Invalid group_ids field. Please specify at least one valid group ID that you belong to.")
    obj = before
    if obj is None:
        obj = Obj(id=obj_id, ra=float(ra), dec=float(dec), origin=said.get("origin"), created_at=portal.time())  # type: ignore[arg-type]
        portal.objs[obj_id] = obj
    for group_id in group_ids:
        save(call, obj, group_id)
    return {"id": obj_id, "saved_to_groups": group_ids}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def save(call: Call, obj: Obj, group_id: int, *, active: bool = True) -> None:
    """Save a source to a group, unless it is."""
    there = obj.saves.get(group_id)
    if there is None or not there.active:
        obj.saves[group_id] = Save(
            group_id=group_id,
            active=active,
            requested=not active,
            saved_at=call.portal.time(),
            saved_by=call.caller.user.id,
        )


def save_to_groups(call: Call) -> Any:
    """Answer POST /api/source_groups: all or nothing; a group that is not the caller's is only asked."""
    said = call.known_body(("objId", "inviteGroupIds", "unsaveGroupIds"))
    obj_id = said.get("objId")
    if obj_id is None:
        raise RefusedError("Missing required parameter: objId")
    obj = call.portal.obj(obj_id)
    if obj is None:
        raise RefusedError(f"Obj {obj_id} not found", 404)
    more = whole_ids(said.get("inviteGroupIds") or [], "inviteGroupIds")
    less = whole_ids(said.get("unsaveGroupIds") or [], "unsaveGroupIds")
    if not more and not less:
        raise RefusedError(
            "Missing required parameter: one of either unsaveGroupIds or inviteGroupIds must be provided"
        )
    for group_id in more:
        if group_id not in call.portal.groups:
            raise RefusedError(f"Group {group_id} not found")
        there = obj.saves.get(group_id)
        if there is not None and there.active:
            raise RefusedError(f"Source already saved to group w/ ID {group_id}")
    for group_id in less:
        if group_id not in obj.saves or not obj.saves[group_id].active or group_id not in call.caller.group_ids:
            raise RefusedError("Specified source is not saved to group from which it was to be unsaved.")
    for group_id in more:
        save(call, obj, group_id, active=group_id in call.caller.group_ids)
    for group_id in less:
        obj.saves[group_id].active = False
    return {}


def label(call: Call) -> Any:
    """Answer POST /api/sources/{obj_id}/labels."""
    obj, group_ids = _labelled(call)
    call.portal.label(obj, group_ids, call.caller.user.id)
    return {}


def unlabel(call: Call) -> Any:
    """Answer DELETE /api/sources/{obj_id}/labels."""
    obj, group_ids = _labelled(call)
    for group_id in group_ids:
        obj.labels.pop((group_id, call.caller.user.id), None)
    return {}


def _labelled(call: Call) -> tuple[Obj, list[int]]:
    said = call.known_body(("groupIds",))
    obj = call.portal.obj(call.path["obj_id"])
    if obj is None:
        raise RefusedError("Invalid objId")
    group_ids = whole_ids(said.get("groupIds"), "groupIds")
    if not call.caller.group_ids.issuperset(group_ids):
        raise RefusedError(f"Cannot find one or more groups with IDs: {group_ids}.")
    return obj, group_ids
