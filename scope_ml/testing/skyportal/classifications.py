"""Classifications and votes. They are never de-duplicated, and a batch ends at its first fault. May import what lies beside it."""

from __future__ import annotations

from typing import Any

from scope_ml.testing.skyportal.calls import Call, group_list
from scope_ml.testing.skyportal.listing import parse_time
from scope_ml.testing.skyportal.portal import RefusedError
from scope_ml.testing.skyportal.tables import Classification

__all__ = [
    "InterruptedBatchError",
    "delete_classification",
    "delete_classifications_of",
    "delete_vote",
    "get_classification",
    "get_classifications",
    "get_classifications_of",
    "post_classification",
    "post_vote",
]

YES, NO = (True, "True", "t", "true"), (False, "False", "f", "false")


class InterruptedBatchError(Exception):
    """A batch stopped in the middle, as a fault asked: what was stored stays."""


def post_classification(call: Call) -> Any:
    """Answer POST /api/classification: one, or a batch of which each item is committed on its own."""
    said = call.body()
    try:
        if "classifications" not in said:
            return {"classification_id": _post(call, said)}
        ids = []
        for number, one in enumerate(said["classifications"]):
            if number == call.most_items:
                raise InterruptedBatchError
            ids.append(_post(call, one))
    # As there: whatever goes wrong with an item is its 400.
    except (RefusedError, KeyError, TypeError, ValueError) as error:
        raise RefusedError(f"Error posting classification: {error}") from error
    return {"classification_ids": ids}


def _post(call: Call, said: dict[str, Any]) -> int:
    portal, caller = call.portal, call.caller
    obj = portal.obj(said["obj_id"])
    if obj is None:
        raise RefusedError(f"Cannot find object with ID {said['obj_id']}.")
    group_ids = said.get("group_ids")
    if not isinstance(group_ids, list) or not group_ids:
        group_ids = [portal.public_group_id()]
    given = said.get("ml", False)
    if given not in YES + NO:
        raise RefusedError(
            f"If provided, ml must be one of True, False, 'True', 'False', 't', 'f', 'true', 'false' (got {given})"
        )
    taxonomy = portal.taxonomies.get(said["taxonomy_id"])
    if taxonomy is None or not caller.sees(taxonomy.group_ids):
        raise RefusedError(f"Cannot find a taxonomy with ID: {said['taxonomy_id']}.")
    name = said["classification"]
    if name not in taxonomy.classes:
        raise RefusedError(
            f"That classification ({name}) is not in the allowed classes for the chosen taxonomy (id={taxonomy.id}"
        )
    probability = said.get("probability")
    if probability is not None and (probability < 0 or probability > 1):
        raise RefusedError(f"That probability ({probability}) is outside the allowable range (0-1).")
    groups = group_list(call, group_ids)
    made = Classification(
        id=portal.number("classification"),
        obj_id=obj.id,
        classification=name,
        taxonomy_id=taxonomy.id,
        probability=probability,
        origin=said.get("origin"),
        ml=given in YES,
        author_id=caller.user.id,
        author_name=caller.user.username,
        created_at=portal.time(),
        group_ids=groups,
    )
    portal.store(made)
    if said.get("vote") is not False:
        portal.vote(made, caller.user.id, 1)
    if said.get("label") is not False:
        portal.label(obj, groups, caller.user.id)
    return made.id


def get_classifications_of(call: Call) -> Any:
    """Answer GET /api/sources/{obj_id}/classifications: an unknown source has none."""
    obj = call.portal.obj(call.path["obj_id"])
    found = [] if obj is None else list(obj.classifications.values())
    return [_json(call, one) for one in found if call.caller.sees(one.group_ids)]


def get_classifications(call: Call) -> Any:
    """Answer GET /api/classification."""
    number, length = call.page(otherwise=100, most=500)
    found = [one for one in call.portal.classifications.values() if call.caller.sees(one.group_ids)]
    start, end = call.said("startDate"), call.said("endDate")
    if start:
        found = [one for one in found if one.created_at >= parse_time(start)]
    if end:
        found = [one for one in found if one.created_at <= parse_time(end)]
    page = found[(number - 1) * length : number * length]
    return {"classifications": [_json(call, one) for one in page], "totalMatches": len(found)}


def get_classification(call: Call) -> Any:
    """Answer GET /api/classification/{id}."""
    one = _find(call, "Cannot find classification with ID: {}.")
    return _json(call, one)


def delete_classification(call: Call) -> Any:
    """Answer DELETE /api/classification/{id}: one's own, unless the caller is an administrator."""
    one = _find(call, "Cannot find a classification with ID: {}.")
    if not _may_delete(call, one):
        raise RefusedError(f"Cannot find a classification with ID: {one.id}.")
    _delete(call, one, labelled=bool(call.body().get("label", True)))
    return {}


def delete_classifications_of(call: Call) -> Any:
    """Answer DELETE /api/sources/{obj_id}/classifications: those that the caller may delete."""
    obj = call.portal.obj(call.path["obj_id"])
    labelled = bool(call.body().get("label", True))
    for one in [] if obj is None else list(obj.classifications.values()):
        if _may_delete(call, one):
            _delete(call, one, labelled=labelled)
    return {}


def post_vote(call: Call) -> Any:
    """Answer POST /api/classification/votes/{id}: one vote a user."""
    vote = call.body().get("vote")
    if vote is None:
        raise RefusedError("Missing required parameter: `vote`")
    one = _find(call, "Cannot find classification with ID {}")
    call.portal.vote(one, call.caller.user.id, int(vote))
    call.portal.label(call.portal.objs[one.obj_id], one.group_ids[-1:], call.caller.user.id)
    return {}


def delete_vote(call: Call) -> Any:
    """Answer DELETE /api/classification/votes/{id}."""
    one = _find(call, "Cannot find classification with ID {}")
    if one.votes.pop(call.caller.user.id, None) is None:
        raise RefusedError(f"Cannot find classification vote with ID {one.id}")
    return {}


def _json(call: Call, one: Classification) -> dict[str, Any]:
    found = one.to_json(call.portal.groups_json(one.group_ids), edits=True)
    if call.truth("includeTaxonomy"):
        taxonomy = call.portal.taxonomies[one.taxonomy_id]
        found["taxonomy"] = taxonomy.to_json(call.portal.groups_json(taxonomy.group_ids))
    return found


def _find(call: Call, missing: str) -> Classification:
    said = call.path["classification_id"]
    try:
        number = int(said)
    except ValueError:
        raise RefusedError(f"Invalid classification_id: {said}") from None
    one = call.portal.classifications.get(number)
    if one is None or not call.caller.sees(one.group_ids):
        raise RefusedError(missing.format(number))
    return one


def _may_delete(call: Call, one: Classification) -> bool:
    return call.caller.is_admin or one.author_id == call.caller.user.id


def _delete(call: Call, one: Classification, *, labelled: bool) -> None:
    call.portal.remove(one)
    if labelled:
        call.portal.label(call.portal.objs[one.obj_id], one.group_ids, call.caller.user.id)
