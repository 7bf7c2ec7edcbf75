"""Comments on a source on Fritz, with files attached. May import errors and the rooms beside it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scope_ml.errors import DataError
from scope_ml.services.fritz.checks import group_list, new_id
from scope_ml.services.fritz.client import Fritz
from scope_ml.services.fritz.paths import api_path
from scope_ml.services.fritz.records import Comment, rows_of

__all__ = ["Attachment", "comments_of", "post_comment"]


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A file of a comment: its name and content."""

    name: str
    body: bytes = field(repr=False)


def comments_of(fritz: Fritz, obj_id: str) -> tuple[Comment, ...]:
    """Return the comments on a source that the token's user sees.

    Raises
    ------
    ServiceError
        As `client.FritzClient.get`.
    """
    rows = rows_of(fritz.get(api_path("sources", obj_id, "comments")), "comments")
    return tuple(Comment.from_json({"obj_id": obj_id} | dict(row)) for row in rows)


def post_comment(
    fritz: Fritz, obj_id: str, text: str, *, group_ids: Sequence[int], attachment: Attachment | None = None
) -> int:
    """Post a comment; return its id. For an exact repeat the service gives the id of the first.

    Raises
    ------
    DataError
        If the text is empty.
    ServiceError
        As `client.FritzClient.change`.
    """
    if not text.strip():
        raise DataError(f"{obj_id}: a comment without text is none; give a text")
    body: dict[str, Any] = {"text": text, "group_ids": group_list(group_ids)}
    if attachment is not None:
        body["attachment"] = {"name": attachment.name, "body": b64encode(attachment.body).decode()}
    return new_id(fritz.change("POST", api_path("sources", obj_id, "comments"), body), "comment_id")
