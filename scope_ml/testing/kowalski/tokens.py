"""Tokens as Kowalski gives them: JSON Web Tokens signed with HMAC-SHA256.

May import errors only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["ExpiredTokenError", "InvalidTokenError", "read_token", "sign_token"]

HEADER = {"alg": "HS256", "typ": "JWT"}


class InvalidTokenError(ValueError):
    """A token that this server did not sign."""


class ExpiredTokenError(ValueError):
    """A token whose time is over."""


def sign_token(payload: Mapping[str, Any], secret: str) -> str:
    """Return `payload` as a token; ``exp`` in it [Unix seconds] says when it ends."""
    signed = b".".join(_encode(json.dumps(part).encode()) for part in (HEADER, dict(payload)))
    return b".".join((signed, _encode(_signature(signed, secret)))).decode()


def read_token(token: str, secret: str) -> dict[str, Any]:
    """Return what `token` says.

    Raises
    ------
    InvalidTokenError
        It is no token, of another algorithm, or signed with another secret.
    ExpiredTokenError
        Its ``exp`` lies in the past.
    """
    try:
        header, payload, signature = token.encode("ascii").split(b".")
        given, kind = _decode(signature), json.loads(_decode(header))
        said = json.loads(_decode(payload))
    except (ValueError, binascii.Error) as error:
        raise InvalidTokenError("not a token") from error
    expected = _signature(header + b"." + payload, secret)
    if not isinstance(kind, dict) or kind.get("alg") != HEADER["alg"] or not hmac.compare_digest(expected, given):
        raise InvalidTokenError("not signed here")
    if not isinstance(said, dict):
        raise InvalidTokenError("not a token")
    if "exp" in said and float(said["exp"]) <= time.time():
        raise ExpiredTokenError("expired")
    return said


def _signature(signed: bytes, secret: str) -> bytes:
    return hmac.new(secret.encode(), signed, hashlib.sha256).digest()


def _encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
