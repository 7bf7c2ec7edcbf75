"""One request for one or several steps of a source: what each kind of step asks of the service.

What came of it is for the caller to judge: an `UnsureError` means that it may have been done. May import core, errors and
the rooms beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scope_ml.errors import NotFoundError, QueryRefusedError
from scope_ml.services.fritz.annotations import annotations_of, delete_annotation, post_annotation, put_annotation
from scope_ml.services.fritz.classifications import NewClassification, delete_classification, post_classifications
from scope_ml.services.fritz.client import Fritz
from scope_ml.services.fritz.comments import post_comment
from scope_ml.services.fritz.looking import Seen
from scope_ml.services.fritz.photometry import put_photometry
from scope_ml.services.fritz.planning import Step, changed, conflict
from scope_ml.services.fritz.rights import Right
from scope_ml.services.fritz.rules import Rules
from scope_ml.services.fritz.sources import post_source, save_to_groups
from scope_ml.services.fritz.wanted import Wanted

__all__ = ["RIGHTS", "act", "batches"]

#: The right that each kind of step needs.
RIGHTS: dict[str, Right] = {
    "create": "Upload data",
    "save": "Upload data",
    "photometry": "Upload data",
    "annotate": "Annotate",
    "comment": "Comment",
    "classify": "Classify",
    "delete": "Classify",
}


def batches(steps: Sequence[Step]) -> list[tuple[Step, ...]]:
    """Return the steps as requests, in order: all classes in one, all keys of an annotation in one, else one each."""
    found: dict[tuple[str, ...], list[Step]] = {}
    for step in steps:
        if step.kind == "classify":
            name: tuple[str, ...] = ("classify",)
        elif step.annotation is not None:
            name = ("annotate", step.annotation.origin)
        else:
            name = step.name
        found.setdefault(name, []).append(step)
    return [tuple(batch) for batch in found.values()]


def act(
    fritz: Fritz, wanted: Wanted, seen: Seen, rules: Rules, batch: Sequence[Step]
) -> tuple[Sequence[int | None], str]:
    """Ask for the steps of one batch; return the ids that the service gave, and what is to be told of it.

    Classifications have an id each, points too; an annotation, a comment or what was deleted has its own.

    Raises
    ------
    UnsureError
        If it may have been done, in part or whole.
    ScopeError
        If it was not done; of several classifications those before the refused one were.
    """
    first = batch[0]
    told = ""
    ids: Sequence[int | None] = ()
    if first.kind == "create":
        assert wanted.ra is not None and wanted.dec is not None
        post_source(
            fritz,
            obj_id=seen.obj_id,
            ra=wanted.ra,
            dec=wanted.dec,
            group_ids=wanted.group_ids,
            origin=rules.source_origin,
        )
    elif first.kind == "save":
        save_to_groups(fritz, seen.obj_id, first.group_ids)
    elif first.kind == "photometry":
        assert seen.photometry is not None
        ids = put_photometry(fritz, replace(seen.photometry, obj_id=seen.obj_id, group_ids=wanted.group_ids))
    elif first.kind == "annotate":
        annotation_id, told = _annotate(fritz, seen, batch, wanted.group_ids)
        ids = [annotation_id] * len(batch)
    elif first.kind == "comment":
        assert first.comment is not None
        attachment = first.comment.attachment(seen.obj_id) if first.comment.attachment is not None else None
        text = first.comment.text_of(seen.obj_id)
        ids = [post_comment(fritz, seen.obj_id, text, group_ids=wanted.group_ids, attachment=attachment)]
    elif first.kind == "classify":
        ids = post_classifications(fritz, [_new(seen.obj_id, step) for step in batch])
    else:
        assert first.remote_id is not None
        ids = [first.remote_id]
        delete_classification(fritz, first.remote_id, label=rules.label_on_delete)
    return ids, told


def _annotate(fritz: Fritz, seen: Seen, batch: Sequence[Step], group_ids: Sequence[int]) -> tuple[int | None, str]:
    """Write the keys of one origin; the others of a change in between are read again right before, and stay."""
    wanted = [step.annotation for step in batch if step.annotation is not None]
    origin = wanted[0].origin
    before = next((one for one in (seen.source.annotations if seen.source else ()) if one.origin == origin), None)
    if before is None:
        data = changed(None, wanted)
        return (
            post_annotation(fritz, seen.obj_id, origin=origin, data=data, group_ids=group_ids) if data else None
        ), ""
    there = next((one for one in annotations_of(fritz, seen.obj_id) if one.origin == origin), None)
    if there is None:
        raise NotFoundError(f"the annotation {origin} of {seen.obj_id} went away in between")
    told = "" if dict(there.data) == dict(before.data) else "somebody else changed it in between; theirs stays"
    for why in filter(None, (conflict(there, one) for one in wanted)):
        raise QueryRefusedError(why)
    data = changed(there, wanted)
    if data is None:
        told = "was so already"
    elif data:
        put_annotation(fritz, seen.obj_id, there.id, data=data)
    else:
        delete_annotation(fritz, seen.obj_id, there.id)
    return there.id, told


def _new(obj_id: str, step: Step) -> NewClassification:
    one = step.classification
    assert one is not None
    return NewClassification(
        obj_id=obj_id,
        classification=one.classification,
        taxonomy_id=one.taxonomy_id,
        probability=one.probability,
        origin=one.origin,
        ml=one.ml,
        vote=one.vote,
        label=one.label,
        group_ids=step.group_ids,
    )
