"""The ids of what a request without an answer has stored, found by looking. May import the rooms beside it."""

from __future__ import annotations

from collections.abc import Collection

from scope_ml.services.fritz.journal_state import Intent
from scope_ml.services.fritz.looking import Seen
from scope_ml.services.fritz.planning import class_name, comment_name, is_exactly
from scope_ml.services.fritz.wanted import Wanted

__all__ = ["found_ids"]


def found_ids(intent: Intent, wanted: Wanted, seen: Seen) -> list[int | None]:
    """Return the id of each item of an intent, None where there is none; of photometry those of the points.

    A classification that was there before, or is not exactly what is wanted, is somebody else's.
    """
    if intent.kind == "photometry":
        return list(seen.point_ids)
    return [_found(intent.kind, what, wanted, seen, intent.known) for what in intent.items]


def _found(kind: str, what: str, wanted: Wanted, seen: Seen, known: Collection[int]) -> int | None:
    source = seen.source
    if kind == "delete":
        return int(what)
    if kind == "comment":
        return next((one.id for one in seen.comments if comment_name(one.text.strip()) == what.strip()), None)
    if source is None:
        return None
    if kind == "annotate":
        return next((one.id for one in source.annotations if what.startswith(f"{one.origin}.")), None)
    if kind == "classify":
        asked = next((one for one in wanted.classifications if class_name(one) == what), None)
        copies = [] if asked is None else [one.id for one in source.classifications if is_exactly(one, asked)]
        return min((one for one in copies if one not in known), default=None)
    return None
