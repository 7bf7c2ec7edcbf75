"""Addresses and foreign texts in messages of ours: one readable line, nothing secret. May import `errors`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from scope_ml.errors import ConfigError

__all__ = ["LONGEST_ERROR_BODY", "checked_address", "one_line", "shown"]

#: Longest piece of a foreign text in a message of ours.
LONGEST_TEXT = 200

#: Longest body that is read of an error [bytes].
LONGEST_ERROR_BODY = 1 << 20

_TAGS = re.compile(rb"(?is)<(script|style|head)\b.*?</\1\s*>|<[^>]*>")
_TITLE = re.compile(rb"(?is)<title[^>]*>(.*?)</title>")


def one_line(body: bytes | str, secrets: Sequence[str] = ()) -> str:
    """Return a foreign text in one readable line: tags of HTML and `secrets` taken away, at most 200 characters."""
    raw = body.encode() if isinstance(body, str) else bytes(body[:LONGEST_ERROR_BODY])
    # Before anything else is taken away: a secret may have blanks or signs of HTML in it.
    for secret in filter(None, secrets):
        raw = raw.replace(secret.encode(), b"...")
    title = _TITLE.search(raw)
    if title is not None and title.group(1).strip():
        raw = title.group(1)
    text = " ".join(_TAGS.sub(b" ", raw).decode("utf-8", "replace").split())
    text = "".join(sign if sign.isprintable() else "?" for sign in text)
    if not text:
        return "an empty body"
    return text[:LONGEST_TEXT] + ("..." if len(text) > LONGEST_TEXT else "")


def shown(url: str) -> str:
    """Return host and path of an address: no user name, password, query or fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def checked_address(url: str, key: str) -> str:
    """Return the address `url` of option `key` without a slash at its end.

    Raises
    ------
    ConfigError
        If it is not ``http(s)://HOST...``, or holds a user name, password, query or fragment, which would be written
        into logs.
    """
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or any(sign.isspace() or not sign.isprintable() for sign in url):
        raise ConfigError(f"{key} is not an address; give {key}=https://HOST/PATH", key=key)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            f"{key}={shown(url)} came with a user name, password or query, which would be written into logs; give the"
            " address alone",
            key=key,
        )
    return url.rstrip("/")
