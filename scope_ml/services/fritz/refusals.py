"""What a reply of Fritz means: the data of its envelope, or which error.

``{"status": "success", "data": ...}`` is an answer, ``{"status": "error", "message": ...}`` a refusal; all else (web pages
of a proxy or a log-in, a body that was cut off) is neither, and where a change was asked for, nobody knows whether it
was made. May import errors, `services.http` and `services.http_text`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scope_ml.errors import (
    NotAllowedError,
    NotFoundError,
    QueryRefusedError,
    QueryTooLargeError,
    ReplyError,
    ServiceError,
    UnsureError,
)
from scope_ml.services.http import Reply
from scope_ml.services.http_text import one_line

__all__ = ["Asked", "data_of", "envelope_of", "is_broken", "is_refused_login"]

#: Statuses of HTTP by what they mean here.
OK, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, WRONG_METHOD, TOO_LARGE, SERVER_ERROR = 200, 401, 403, 404, 405, 413, 500

#: The service's words for a path that it does not know.
NO_SUCH_PATH = "Invalid API endpoint"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was asked.

    Attributes
    ----------
    where
        Host and path, for messages.
    is_change
        Whether something was to be changed.
    absent
        Statuses that mean that there is no such thing.
    secrets
        Texts that are taken out of what the service says.
    """

    where: str
    is_change: bool
    absent: tuple[int, ...] = (NOT_FOUND,)
    secrets: Sequence[str] = ()


def envelope_of(reply: Reply) -> Mapping[str, Any] | None:
    """Return the envelope of a reply; None if it has none."""
    try:
        content = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    is_success = content.get("status") == "success" and "data" in content and reply.status < 300
    is_error = content.get("status") == "error" and reply.status >= 400
    return content if is_success or is_error else None


def is_refused_login(reply: Reply) -> bool:
    """Say whether the reply says that it is not known, or no longer, who asks (or that a right is missing)."""
    return reply.status in (UNAUTHORIZED, FORBIDDEN)


def is_broken(reply: Reply) -> bool:
    """Say whether a reply to a question that the service answers well else may be another one the next time.

    So are a page in place of the data, a body that is cut off, and the page of the server that stands in for a dead one,
    which knows no method but GET.
    """
    return reply.status in (OK, WRONG_METHOD) and envelope_of(reply) is None


def data_of(reply: Reply, asked: Asked) -> Any:
    """Return the data of a reply.

    Raises
    ------
    NotFoundError, NotAllowedError, QueryTooLargeError, QueryRefusedError
        As the service says; nothing was changed.
    ReplyError
        If a question got no answer in the service's form.
    UnsureError
        The same, of a change, or if the service says that it broke down over it.
    """
    envelope = envelope_of(reply)
    if envelope is not None and envelope["status"] == "success":
        return envelope["data"]
    said = _words(reply, envelope, asked.secrets)
    if reply.status == TOO_LARGE:
        return _refuse(QueryTooLargeError(f"{asked.where} takes no request as large as this ({said}); ask in parts"))
    if is_refused_login(reply) and reply.status not in asked.absent:
        return _refuse(NotAllowedError(f"{asked.where} is not allowed for this token: {said}"))
    if asked.is_change and (envelope is None or reply.status >= SERVER_ERROR):
        return _refuse(
            UnsureError(f"{asked.where} answers with status {reply.status} ({said}); the change may have been made")
        )
    if envelope is None:
        return _refuse(
            ReplyError(
                f"{asked.where} answers with status {reply.status} and no data of a SkyPortal ({said}); is service.fritz.url"
                " right?"
            )
        )
    if reply.status in asked.absent:
        return _refuse(NotFoundError(f"{asked.where} is not there: {said}"))
    if said.startswith(NO_SUCH_PATH):
        return _refuse(
            QueryRefusedError(f"{asked.where} is no address there ({said}); check service.fritz.url, and the id in it")
        )
    return _refuse(QueryRefusedError(f"{asked.where} refuses: {said}"))


def _refuse(error: ServiceError) -> Any:
    raise error


def _words(reply: Reply, envelope: Mapping[str, Any] | None, secrets: Sequence[str]) -> str:
    """Return the service's own words in one line."""
    message = envelope.get("message") if envelope is not None else None
    return one_line(message if isinstance(message, str) else reply.body, secrets)
