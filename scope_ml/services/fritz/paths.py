"""Paths of the service's interface. May import errors."""

from __future__ import annotations

from urllib.parse import quote

from scope_ml.errors import DataError

__all__ = ["api_path"]


#: Signs that stand as they are. The service compares addresses before it decodes them, and ``+`` is one of the few signs
#: that it takes in an id there (SkyPortal, `app_server.py`): as ``%2B`` the annotations of a source have no address.
PLAIN = "+"


def api_path(*parts: str | int) -> str:
    """Return ``/api/...`` of the parts, each percent-encoded but for `PLAIN`: ids hold ``+``, blanks and slashes.

    Raises
    ------
    DataError
        If a part is empty, ``.`` or ``..``, which would be the path of something else.
    """
    for part in parts:
        if str(part) in ("", ".", ".."):
            raise DataError(f"{part!r} is no id of anything on Fritz; correct it in the table or on the command line")
    return "/api/" + "/".join(quote(str(part), safe=PLAIN) for part in parts)
