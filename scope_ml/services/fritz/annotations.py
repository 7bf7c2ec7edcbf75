"""Annotations of a source on Fritz: one an origin, a set of keys and values. May import errors and the rooms beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scope_ml.services.fritz.checks import group_list, new_id
from scope_ml.services.fritz.client import Fritz
from scope_ml.services.fritz.paths import api_path
from scope_ml.services.fritz.records import Annotation, rows_of

__all__ = ["annotations_of", "delete_annotation", "post_annotation", "put_annotation"]

#: Status of the service for an annotation that is not there, or not for this user's eyes.
ABSENT = (403, 404)


def annotations_of(fritz: Fritz, obj_id: str) -> tuple[Annotation, ...]:
    """Return the annotations of a source that the token's user sees; none where there is no such source.

    Raises
    ------
    ServiceError
        As `client.FritzClient.get`.
    """
    rows = rows_of(fritz.get(api_path("sources", obj_id, "annotations")), "annotations")
    return tuple(Annotation.from_json({"obj_id": obj_id} | dict(row)) for row in rows)


def post_annotation(
    fritz: Fritz, obj_id: str, *, origin: str, data: Mapping[str, Any], group_ids: Sequence[int]
) -> int:
    """Post the annotation of an origin that has none yet; return its id.

    Raises
    ------
    NotFoundError
        If there is no such source.
    QueryRefusedError
        If the origin has one.
    ServiceError
        As `client.FritzClient.change`.
    """
    body = {"origin": origin, "data": dict(data), "group_ids": group_list(group_ids)}
    return new_id(fritz.change("POST", api_path("sources", obj_id, "annotations"), body), "annotation_id")


def put_annotation(fritz: Fritz, obj_id: str, annotation_id: int, *, data: Mapping[str, Any]) -> None:
    """Replace all keys and values of an annotation; its groups stay.

    Raises
    ------
    NotFoundError
        If it is not there.
    ServiceError
        As `client.FritzClient.change`.
    """
    path = api_path("sources", obj_id, "annotations", int(annotation_id))
    fritz.change("PUT", path, {"data": dict(data)}, repeatable=True, absent=ABSENT)


def delete_annotation(fritz: Fritz, obj_id: str, annotation_id: int) -> None:
    """Delete an annotation with all its keys.

    Raises
    ------
    NotFoundError
        If it is not there (any more).
    ServiceError
        As `client.FritzClient.change`.
    """
    fritz.change("DELETE", api_path("sources", obj_id, "annotations", int(annotation_id)), {}, absent=ABSENT)
