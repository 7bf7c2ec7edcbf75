"""What Kowalski means by a reply that is no answer: each as the error that says what to do, with nothing secret in it.

Every fault of a query comes with status 400 and the name of an exception; so does a token that is not taken. May import
errors and `services.http`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from scope_ml.errors import CredentialError, QueryRefusedError, QueryTooLargeError, ServiceError, ServiceTimeoutError
from scope_ml.services.http import Reply
from scope_ml.services.http_text import one_line, shown
from scope_ml.services.kowalski.settings import KowalskiInstance

__all__ = ["OK", "fault", "refusal"]

#: Statuses of HTTP by what they mean here.
OK, BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TOO_LARGE = 200, 400, 401, 403, 404, 413

#: Words of the service for a token that it does not take.
BAD_TOKEN = ("token is invalid", "token has expired")

#: Bytes looked at of either end of a body; blanks and ends of lines may stand there.
ENDS = 16

#: The database's errors that a smaller query may avoid, and those that pass.
TOO_LONG = ("ExecutionTimeout", "operation exceeded time limit", "MaxTimeMSExpired")
PASSING = (
    "AutoReconnect",
    "NetworkTimeout",
    "ServerSelectionTimeout",
    "NotPrimary",
    "ConnectionFailure",
    "WaitQueueTimeout",
)


def fault(reply: Reply, secrets: Sequence[str] = ()) -> str | None:
    """Return why a reply should be asked for again; None if it is good, or will not change.

    `secrets` are texts that are taken out of what it said.

    Only the ends of the body are looked at: reading it whole would cost as much as what comes later.
    """
    if reply.status == BAD_REQUEST:
        said = _message(reply, ())
        return "it has lost its database" if any(words in said for words in PASSING) else None
    if reply.status != OK:
        return None
    first, last = reply.body[:ENDS].lstrip()[:1], reply.body[-ENDS:].rstrip()[-1:]
    if first + last == b"{}":
        return None
    if first == b"{":
        return f"the answer broke off after {len(reply.body)} bytes"
    return f"the answer is not JSON ({one_line(reply.body, secrets)})"


def refusal(reply: Reply, name: str, instance: KowalskiInstance, secrets: Sequence[str]) -> ServiceError:
    """Return the error of a reply of another status than 200.

    Parameters
    ----------
    name, instance
        Who replied.
    secrets
        Texts that are taken out of what it said.
    """
    where = f"Kowalski's instance {name} ({shown(instance.address)})"
    said = _message(reply, secrets)
    bad_request = reply.status == BAD_REQUEST
    if reply.status == UNAUTHORIZED or (bad_request and any(words in said for words in BAD_TOKEN)):
        return _credential_error(instance, where, said)
    if reply.status == TOO_LARGE or (bad_request and "EntityTooLarge" in said):
        return QueryTooLargeError(f"{where} takes no query as large as this; make service.kowalski.query_limit smaller")
    if bad_request and any(words in said for words in TOO_LONG):
        return ServiceTimeoutError(
            f"{where} needs longer for a query than it may; make service.kowalski.query_limit smaller or max_time_ms larger"
        )
    if bad_request or reply.status == FORBIDDEN:
        return QueryRefusedError(f"{where} refuses a query: {said}")
    return QueryRefusedError(
        f"{where} answers with status {reply.status} ({said}), as Kowalski does not; check its protocol, host and port"
    )


def _message(reply: Reply, secrets: Sequence[str]) -> str:
    """Return the service's own words in one line."""
    try:
        content = json.loads(reply.body)
    except ValueError:
        content = None
    message = content.get("message") if isinstance(content, dict) else None
    return one_line(message if isinstance(message, str) else reply.body, secrets)


def _credential_error(instance: KowalskiInstance, where: str, said: str) -> CredentialError:
    if instance.username:
        return CredentialError(f"{where} does not take the login and password of ~/.netrc; correct them there")
    what = "has expired" if "expired" in said else "is not taken"
    return CredentialError(
        f"{where}: the token in {instance.token_env} {what}; export {instance.token_env}=NEW_TOKEN, or unset it to leave the"
        " instance out"
    )
