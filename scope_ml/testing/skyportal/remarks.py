"""Annotations (one an origin and source) and comments (an exact repeat is stored once). May import what lies beside it."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from scope_ml.testing.skyportal.calls import Answer, Call, group_list
from scope_ml.testing.skyportal.portal import RefusedError
from scope_ml.testing.skyportal.tables import Annotation, Comment

__all__ = [
    "delete_annotation",
    "get_annotation",
    "get_annotations",
    "get_comments",
    "post_annotation",
    "post_comment",
    "put_annotation",
]

NO_ANNOTATION = "Could not find any accessible annotations."


def get_annotations(call: Call) -> Any:
    """Answer GET /api/sources/{obj_id}/annotations: an unknown source has none."""
    obj = call.portal.obj(call.path["obj_id"])
    found = [] if obj is None else list(obj.annotations.values())
    return [_json(call, one) for one in found if call.caller.sees(one.group_ids)]


def get_annotation(call: Call) -> Any:
    """Answer GET /api/sources/{obj_id}/annotations/{id}."""
    return _json(call, _of_obj(call, _find(call, change=False)))


def post_annotation(call: Call) -> Any:
    """Answer POST /api/sources/{obj_id}/annotations."""
    portal, caller = call.portal, call.caller
    said = call.body()
    obj = portal.obj(call.path["obj_id"])
    if obj is None:
        raise RefusedError(f"Obj {call.path['obj_id']} not found", 404)
    origin, data = _origin(said.get("origin")), _data(said.get("data"))
    given = said.get("group_ids")
    groups = group_list(call, given) if given else tuple(sorted(caller.group_ids))
    if any(one.origin == origin for one in obj.annotations.values()):
        raise RefusedError(
            "Annotation already exists: duplicate key value violates unique constraint "
            f'"annotations_obj_id_origin", Key (obj_id, origin)=({obj.id}, {origin})'
        )
    when = portal.time()
    made = Annotation(
        id=portal.number("annotation"),
        obj_id=obj.id,
        origin=origin,
        data=data,
        author_id=caller.user.id,
        group_ids=groups,
        created_at=when,
        modified=when,
    )
    portal.store(made)
    return {"annotation_id": made.id}


def put_annotation(call: Call) -> Any:
    """Answer PUT /api/sources/{obj_id}/annotations/{id}: `data` takes the place of all there was."""
    one = _find(call, change=True)
    said = call.body()
    origin = _origin(said["origin"]) if "origin" in said else one.origin
    data = _data(said["data"]) if "data" in said else one.data
    groups = group_list(call, said["group_ids"]) if said.get("group_ids") else one.group_ids
    _of_obj(call, one)
    others = call.portal.objs[one.obj_id].annotations.values()
    if any(other.origin == origin and other is not one for other in others):
        raise RefusedError(f"Annotation already exists: Key (obj_id, origin)=({one.obj_id}, {origin})")
    one.origin, one.data, one.group_ids, one.modified = origin, data, groups, call.portal.time()
    return {}


def delete_annotation(call: Call) -> Any:
    """Answer DELETE /api/sources/{obj_id}/annotations/{id}."""
    call.portal.remove(_of_obj(call, _find(call, change=True)))
    return {}


def _find(call: Call, *, change: bool) -> Annotation:
    said = call.path["annotation_id"]
    try:
        number = int(said)
    except ValueError:
        raise RefusedError("Must provide a valid (scalar integer) annotation ID.") from None
    one, caller = call.portal.annotations.get(number), call.caller
    if one is None or not caller.sees(one.group_ids):
        raise RefusedError(NO_ANNOTATION, 403)
    if change and one.author_id != caller.user.id and not caller.is_admin:
        raise RefusedError(NO_ANNOTATION, 403)
    return one


def _of_obj(call: Call, one: Annotation) -> Annotation:
    asked = call.path["obj_id"]
    if one.obj_id != asked:
        raise RefusedError(f"Annotation resource ID does not match resource ID given in path ({asked})")
    return one


def _origin(given: object) -> str:
    if not isinstance(given, str) or re.search(r"^\w+", given) is None:
        raise RefusedError("Input `origin` must begin with alphanumeric/underscore")
    return given


def _data(given: object) -> dict[str, Any]:
    if not isinstance(given, dict) or not given:
        raise RefusedError("Invalid data: the annotation data must be an object with at least one {key: value} pair")
    return given


def _json(call: Call, one: Annotation) -> dict[str, Any]:
    return one.to_json(call.portal.groups_json(one.group_ids), call.portal.users[one.author_id])


def get_comments(call: Call) -> Any:
    """Answer GET /api/sources/{obj_id}/comments."""
    obj = call.portal.obj(call.path["obj_id"])
    return [
        one.to_json(call.portal.groups_json(one.group_ids), call.portal.users[one.author_id])
        for one in ([] if obj is None else obj.comments.values())
        if call.caller.sees(one.group_ids)
    ]


def post_comment(call: Call) -> Any:
    """Answer POST /api/sources/{obj_id}/comments; posts by token are a bot's."""
    portal, caller = call.portal, call.caller
    said = call.body()
    obj = portal.obj(call.path["obj_id"])
    if obj is None:
        raise RefusedError(f"Cannot find object with ID {call.path['obj_id']}.")
    text = said.get("text")
    if not isinstance(text, str) or not text:
        raise RefusedError(f"Comment text must be a string, got {text!r}")
    given = said.get("group_ids")
    groups = group_list(call, given) if given else (portal.public_group_id(),)
    name, body = _attachment(said["attachment"]) if said.get("attachment") is not None else (None, None)
    for one in obj.comments.values():
        if (one.text, one.author_id, one.attachment_name, one.attachment) == (text, caller.user.id, name, body):
            return Answer(data={"comment_id": one.id}, message="Same comment already exists.")
    made = Comment(
        id=portal.number("comment"),
        obj_id=obj.id,
        text=text,
        attachment_name=name,
        attachment=body,
        author_id=caller.user.id,
        bot=True,
        group_ids=groups,
        created_at=portal.time(),
    )
    obj.comments[made.id] = made
    return {"comment_id": made.id}


def _attachment(given: object) -> tuple[str, str]:
    if not isinstance(given, dict) or not all(isinstance(given.get(key), str) for key in ("body", "name")):
        raise RefusedError("Malformed comment attachment")
    body = given["body"].split("base64,")[-1]
    try:
        base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError("Malformed comment attachment") from None
    return given["name"], body
