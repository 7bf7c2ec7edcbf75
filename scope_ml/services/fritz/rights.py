"""Whether a token has the rights that will be needed, found out before anything is changed.

The service does not list a token's rights, but it looks at them first: before it reads a request, it answers 401 where
the right is missing. So each right is tried with a request that it refuses once rights are past, for several reasons, so
that nothing is changed even if a version of it overlooks one:

=============  =====================================  =================================================================
Upload data    POST /api/source_groups                no source of that id (none has blanks); no group to save it to or
                                                      take it from, so that there is nothing to do
Classify       POST /api/classification               no source of that id, which is looked at first; no taxonomy -1; no
                                                      class without a name; neither vote nor label
Annotate       POST /api/sources/{id}/annotations     no source of that id; no origin, which must begin with a letter; no
                                                      keys
Comment        POST /api/sources/{id}/comments        no source of that id; no text
Post taxonomy  POST /api/taxonomy                     no name, version or classes, and a key that it does not take
=============  =====================================  =================================================================

An id in an address cannot have blanks: the service would not know the address, and not look at rights.

Source: SkyPortal 1.4, `handlers/api` and `app_server.py`, and observed. May import errors and the rooms beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any, Literal

from scope_ml.errors import NotAllowedError, QueryRefusedError, ServiceUnavailableError, UnsureError
from scope_ml.services.fritz.client import Fritz
from scope_ml.services.fritz.paths import api_path

__all__ = ["Right", "check_rights"]

Right = Literal["Upload data", "Classify", "Annotate", "Comment", "Post taxonomy"]

#: Ids of sources have no blanks: there is none of this one, and none can be made.
NOBODY = "no such source: only rights are tried"

#: The same for addresses.
NOBODY_THERE = "no-such-source.only-rights-are-tried"

#: Ids begin with 1.
NONE = -1

#: What is tried for each right.
PROBES: Mapping[Right, tuple[str, Mapping[str, Any]]] = {
    "Upload data": (api_path("source_groups"), {"objId": NOBODY, "inviteGroupIds": [], "unsaveGroupIds": []}),
    "Classify": (
        api_path("classification"),
        {"obj_id": NOBODY, "classification": "", "taxonomy_id": NONE, "vote": False, "label": False},
    ),
    "Annotate": (api_path("sources", NOBODY_THERE, "annotations"), {"origin": "", "data": {}}),
    "Comment": (api_path("sources", NOBODY_THERE, "comments"), {"text": ""}),
    "Post taxonomy": (api_path("taxonomy"), {"only rights are tried": True}),
}

#: Statuses of the service for what is not there; a missing right is 401.
ABSENT = (403, 404)

_log = logging.getLogger(__name__)


def check_rights(fritz: Fritz, needed: Collection[Right]) -> None:
    """Check that the token has rights; changes nothing.

    Raises
    ------
    NotAllowedError
        If rights are missing, naming all of them.
    ServiceError
        As `client.FritzClient.change`.
    """
    missing = [right for right in PROBES if right in needed and not _has(fritz, right)]
    if missing:
        raise NotAllowedError(
            f"the token lacks the right(s) {', '.join(missing)} on Fritz; have them added to it on your profile page there"
        )


def _has(fritz: Fritz, right: Right) -> bool:
    path, body = PROBES[right]
    try:
        # Nothing can come of it, so it may be repeated.
        fritz.change("POST", path, body, repeatable=True, absent=ABSENT)
    except NotAllowedError:
        return False
    except QueryRefusedError:
        return True
    except UnsureError as error:
        raise ServiceUnavailableError(f"whether the token has the right {right} cannot be found out: {error}") from None
    _log.warning("Fritz takes a request that it should refuse, to %s; nothing is made by it", path)
    return True
