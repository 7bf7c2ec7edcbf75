"""The list of sources: filters, order, pages. May import what lies beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from scope_ml.testing.skyportal.calls import Call
from scope_ml.testing.skyportal.portal import RefusedError
from scope_ml.testing.skyportal.sources import labels_of, source_json
from scope_ml.testing.skyportal.tables import Localization, Obj

__all__ = ["MOST_PER_PAGE", "list_sources", "parse_time", "separation"]

#: Pages are silently cut to this length.
MOST_PER_PAGE = 500

#: Longest time between `startDate` and `endDate` with a localization [d].
MOST_DAYS = 3720

#: Modified Julian date of 1970-01-01.
MJD_1970 = 40587.0

#: Sources by the order that is asked.
ORDERS: dict[str, Callable[[Obj], Any]] = {
    "id": lambda obj: obj.id,
    "ra": lambda obj: obj.ra,
    "dec": lambda obj: obj.dec,
    "created_at": lambda obj: obj.created_at,
}

Keep = Callable[[Obj], bool]


def list_sources(call: Call) -> Any:
    """Answer GET /api/sources: labellers are rows of labels here."""
    number, length = call.page(otherwise=100, most=MOST_PER_PAGE)
    asked = call.said("group_ids")
    # As there: what is no number is a 500.
    wanted = None if not asked else {int(one) for one in asked.split(",")}
    groups = call.caller.group_ids if wanted is None else call.caller.group_ids & wanted
    keeps = [keep for make in (_cone, _name, _saved, _labelled, _classified, _localized) if (keep := make(call))]
    found = []
    for obj in call.portal.objs.values():
        saved = [one.saved_at for one in obj.saves.values() if one.active and one.group_id in groups]
        if saved and all(keep(obj) for keep in keeps):
            found.append((max(saved), obj))
    _sort(call, found)
    page = [obj for _, obj in found[(number - 1) * length : number * length]]
    data: dict[str, Any] = {
        "sources": [_one(call, obj) for obj in page],
        "totalMatches": len(found),
        "pageNumber": number,
        "numPerPage": length,
    }
    return data | ({"group_id": next(iter(wanted))} if wanted is not None and len(wanted) == 1 else {})


def _one(call: Call, obj: Obj) -> dict[str, Any]:
    found = source_json(call, obj, edits=False)
    if call.truth("includeLabellers"):
        found["labellers"] = [one.to_json() for one in labels_of(call, obj)]
    return found


def _sort(call: Call, found: list[tuple[datetime, Obj]]) -> None:
    asked = call.said("sortBy") or "saved_at"
    if asked == "saved_at":
        found.sort(key=lambda pair: (pair[0], pair[1].id))
    elif asked in ORDERS:
        found.sort(key=lambda pair: (ORDERS[asked](pair[1]), pair[1].id))
    else:
        raise RefusedError(f"Invalid sortBy field: {asked}")
    newest_first = asked == "saved_at" if call.said("sortOrder") is None else call.said("sortOrder") == "desc"
    if newest_first:
        found.reverse()


def _cone(call: Call) -> Keep | None:
    said = [call.said(key) for key in ("ra", "dec", "radius")]
    if not any(said):
        return None
    if not all(said):
        raise RefusedError("If any of 'ra', 'dec' or 'radius' are provided, all three are required.")
    try:
        ra, dec, radius = (float(one) for one in said if one is not None)
    except ValueError:
        raise RefusedError("Invalid values for ra, dec or radius - could not convert to float") from None
    # A band of declination first: it costs less than the distance.
    return lambda obj: abs(obj.dec - dec) <= radius and separation(obj.ra, obj.dec, ra, dec) <= radius


def separation(ra: float, dec: float, other_ra: float, other_dec: float) -> float:
    """Return the angle between two places [deg], exact also where it is small."""
    one, other = math.radians(dec), math.radians(other_dec)
    ddec, dra = (one - other) / 2.0, math.radians(ra - other_ra) / 2.0
    square = math.sin(ddec) ** 2 + math.cos(one) * math.cos(other) * math.sin(dra) ** 2
    return math.degrees(2.0 * math.asin(min(1.0, math.sqrt(square))))


def _name(call: Call) -> Keep | None:
    part = call.said("sourceID")
    return None if not part else lambda obj: part.lower() in obj.id.lower()


def _saved(call: Call) -> Keep | None:
    after, before = (_time_said(call, key) for key in ("savedAfter", "savedBefore"))
    if after is None and before is None:
        return None
    first, last = after or datetime.min, before or datetime.max
    seen = call.caller.sees
    return lambda obj: any(
        first <= one.saved_at <= last and one.active and seen((one.group_id,)) for one in obj.saves.values()
    )


def _labelled(call: Call) -> Keep | None:
    if not call.truth("hasBeenLabelled"):
        return None
    return lambda obj: bool(labels_of(call, obj))


def _classified(call: Call) -> Keep | None:
    said = call.said("classifications")
    if not said:
        return None
    pairs = {tuple(part.strip() for part in one.split(":", 1)) for one in said.split(",")}
    if any(len(pair) != 2 for pair in pairs):
        raise RefusedError("Invalid classifications value -- must provide taxonomy:classification")
    names = {one.id: one.name for one in call.portal.taxonomies.values()}
    return lambda obj: any(
        (names[one.taxonomy_id], one.classification) in pairs and call.caller.sees(one.group_ids)
        for one in obj.classifications.values()
    )


# ---- Localizations


def _localized(call: Call) -> Keep | None:
    start, end = _time_said(call, "startDate"), _time_said(call, "endDate")
    inside: Keep | None = None
    if call.said("localizationDateobs"):
        inside = _inside(call, start, end)
    if not call.truth("requireDetections", otherwise=True) or (start is None and end is None):
        return inside
    first, last = (_mjd(one) for one in (start or datetime(1858, 11, 17), end or datetime.max))

    def keep(obj: Obj) -> bool:
        seen = [one.mjd for one in obj.points.values() if one.mag is not None]
        return bool(seen) and first <= min(seen) and max(seen) <= last and (inside is None or inside(obj))

    return keep


def _inside(call: Call, start: datetime | None, end: datetime | None) -> Keep:
    if start is None or end is None:
        raise _refused("startDate and endDate are required with a localization")
    if start > end:
        raise _refused("startDate must come before endDate")
    if end - start > timedelta(days=MOST_DAYS):
        raise _refused(f"startDate and endDate must be less than {MOST_DAYS} days apart")
    dateobs = _time_said(call, "localizationDateobs")
    name, said = call.said("localizationName"), call.said("localizationCumprob")
    try:
        most = 0.95 if said is None else float(said)
    except ValueError:
        raise _refused(f"localizationCumprob {said} is not a number") from None
    found = [
        one
        for event in call.portal.events.values()
        for one in event.localizations
        if one.dateobs == dateobs and (not name or one.name == name)
    ]
    if not found:
        what = f"{dateobs:%Y-%m-%d %H:%M:%S}" + (f" with name {name}" if name else "")
        raise _refused(f"Localization {what} not found")
    newest = max(found, key=lambda one: (one.created_at, one.id))
    return lambda obj: _probability(newest, obj) <= most


def _probability(localization: Localization, obj: Obj) -> float:
    reached: Iterable[float] = (
        probability
        for ra, dec, radius, probability in localization.circles
        if separation(ra, dec, obj.ra, obj.dec) <= radius
    )
    return min(reached, default=math.inf)


def _refused(what: str) -> RefusedError:
    return RefusedError(f"Cannot retrieve sources: Invalid localization query parameters ({what})")


def parse_time(text: str) -> datetime:
    """Return a time, naive UTC.

    Raises
    ------
    ValueError
        `text` is none.
    """
    found = datetime.fromisoformat(text.strip())
    return found if found.tzinfo is None else found.astimezone(UTC).replace(tzinfo=None)


def _time_said(call: Call, key: str) -> datetime | None:
    said = call.said(key)
    if not said:
        return None
    try:
        return parse_time(said)
    except ValueError:
        raise RefusedError(f"Cannot retrieve sources: {key} {said} is not a date") from None


def _mjd(when: datetime) -> float:
    return MJD_1970 + (when - datetime(1970, 1, 1)) / timedelta(days=1)
