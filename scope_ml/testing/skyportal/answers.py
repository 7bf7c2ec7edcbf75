"""A request becomes a status and an envelope: token, method, rights, then the function that answers it.

May import what lies beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from scope_ml.testing.skyportal.calls import Answer, Call
from scope_ml.testing.skyportal.classifications import InterruptedBatchError
from scope_ml.testing.skyportal.portal import Caller, Portal, RefusedError
from scope_ml.testing.skyportal.routes import find_route
from scope_ml.testing.skyportal.tables import Token

__all__ = ["Asked", "answer", "envelope", "token_of"]

VERSION = "1.4.0"

MALFORMED = (
    "HTTP 401: Unauthorized (Credentials malformed; expected form of Authorization header is 'token <token_id>')"
)

#: Depth to which the text is laid out: below it a value stands on one line, which is faster to write.
DEPTH = 3


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as it came, its path still encoded."""

    method: str
    path: str
    query: Mapping[str, Sequence[str]]
    authorization: str | None
    raw: bytes


def answer(portal: Portal, asked: Asked, *, most_items: int | None = None) -> tuple[int, bytes]:
    """Return the status and the body that a request gets; what it asks is done."""
    try:
        data = _data(portal, asked, most_items)
    except RefusedError as error:
        return error.status, envelope(error.message)
    except InterruptedBatchError:
        return 500, envelope("interrupted")
    except Exception as error:  # noqa: BLE001 - the service answers whatever went wrong with a 500
        return 500, envelope(f"{type(error).__name__}: {error}")
    more = {}
    if isinstance(data, Answer):
        data, more = data.data, {"message": data.message}
    return 200, _text({"status": "success", **more, "data": data, "version": VERSION}).encode()


def envelope(message: str) -> bytes:
    """Return the body of an error."""
    return _text({"status": "error", "message": message, "data": {}, "version": VERSION}).encode()


def token_of(authorization: str | None) -> str | None:
    """Return the token that a header gives, if it is written as it must be."""
    if authorization is None or not authorization.startswith("token "):
        return None
    return authorization.removeprefix("token ").strip() or None


def _data(portal: Portal, asked: Asked, most_items: int | None) -> Any:
    found = find_route(asked.path)
    if found is not None and asked.method not in found[0].methods:
        raise _http(405)
    if found is not None and found[0].is_open:
        caller = Caller(user=portal.users[1], rights=frozenset(), group_ids=frozenset())
    else:
        caller = portal.caller(_token(portal, asked))
    if found is None:
        raise RefusedError("Invalid API endpoint")
    route, path = found
    right, handler = route.methods[asked.method]
    if right and right not in caller.rights and not caller.is_admin:
        raise _http(401)
    call = Call(portal=portal, caller=caller, path=path, query=asked.query, raw=asked.raw, most_items=most_items)
    return handler(call)


def _token(portal: Portal, asked: Asked) -> Token:
    said = token_of(asked.authorization)
    if said is None:
        raise RefusedError(MALFORMED, 401)
    token = portal.tokens.get(said)
    if token is None:
        raise _http(401)
    if portal.users[token.user_id].is_expired:
        raise RefusedError("HTTP 403: Forbidden (User account expired)", 403)
    return token


def _http(status: int) -> RefusedError:
    return RefusedError(f"HTTP {status}: {HTTPStatus(status).phrase}", status)


def _text(value: Any, depth: int = 0) -> str:
    if depth == DEPTH or not value or not isinstance(value, dict | list):
        return json.dumps(value)
    indent = "  " * (depth + 1)
    if isinstance(value, dict):
        lines = [f"{indent}{json.dumps(key)}: {_text(one, depth + 1)}" for key, one in value.items()]
        return "{\n" + ",\n".join(lines) + "\n" + "  " * depth + "}"
    lines = [indent + _text(one, depth + 1) for one in value]
    return "[\n" + ",\n".join(lines) + "\n" + "  " * depth + "]"
