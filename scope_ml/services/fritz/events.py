"""Events that the service has from GCN, by their times, and the names of their localizations.

The service writes times as naive UTC, with a fraction only where there is one. The sources in a localization are
`sources.pages_of_sources(..., localization=...)`. May import errors and the rooms beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from scope_ml.errors import ConfigError, ReplyError
from scope_ml.services.fritz.client import Fritz
from scope_ml.services.fritz.paths import api_path
from scope_ml.services.fritz.records import rows_of, time_of

__all__ = [
    "Event",
    "event_at",
    "events_since",
    "newest_events",
    "read_dateobs",
    "written_dateobs",
]

#: Events of a page; the service has 10 where nothing is said.
PAGE = 100

#: Pages at most: a service that never ends a list would be asked for ever.
MOST_PAGES = 200


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event.

    Attributes
    ----------
    dateobs
        Its time, naive UTC.
    localizations
        Names of its localizations, the newest first; none yet is common in its first minutes.
    """

    dateobs: datetime
    localizations: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the time as the service takes it."""
        return written_dateobs(self.dateobs)


def read_dateobs(text: str) -> datetime:
    """Return the time of an event, naive UTC, from ISO text such as ``2019-08-14T21:10:39``, ``...39.5`` or ``...39Z``.

    Raises
    ------
    ConfigError
        If it is no time, or a day alone, which would be midnight.
    """
    example = "an event's time is written as 2019-08-14T21:10:39 (UTC; a fraction and a Z are allowed)"
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ConfigError(f"dateobs={text} is no time; {example}", key="dateobs") from error
    if ":" not in text:
        raise ConfigError(f"dateobs={text} has no time of day; {example}", key="dateobs")
    return when if when.tzinfo is None else when.astimezone(UTC).replace(tzinfo=None)


def written_dateobs(when: datetime) -> str:
    """Return a time as the service writes it: ``2019-08-14T21:10:39``, with microseconds where there are any."""
    return when.isoformat()


def events_since(fritz: Fritz, since: datetime) -> tuple[Event, ...]:
    """Return all events since a time (naive UTC), the newest first.

    Raises
    ------
    ServiceError
        If the service cannot be asked, or its list of events cannot be read.
    """
    # By time: events that come while pages are read come first, and push others back, so that some come twice.
    found: dict[datetime, Event] = {}
    n_read = 0
    for number in range(1, MOST_PAGES + 1):
        events, total = _page(fritz, {"startDate": written_dateobs(since), "numPerPage": PAGE, "pageNumber": number})
        found |= {event.dateobs: event for event in events}
        n_read += len(events)
        if not events or n_read >= total:
            break
    return tuple(found[when] for when in sorted(found, reverse=True))


def newest_events(fritz: Fritz, n: int = 5) -> tuple[Event, ...]:
    """Return the newest events, the newest first.

    Raises
    ------
    ServiceError
        As `events_since`.
    """
    events, _ = _page(fritz, {"numPerPage": n, "pageNumber": 1})
    return tuple(sorted(events, key=lambda event: event.dateobs, reverse=True))


def event_at(fritz: Fritz, dateobs: datetime) -> Event | None:
    """Return the event of a time, None if there is none.

    Raises
    ------
    ServiceError
        As `events_since`.
    """
    when = written_dateobs(dateobs)
    events, _ = _page(fritz, {"startDate": when, "endDate": when, "numPerPage": PAGE, "pageNumber": 1})
    return next((event for event in events if event.dateobs == dateobs), None)


def _page(fritz: Fritz, params: Mapping[str, Any]) -> tuple[list[Event], int]:
    data = fritz.get(api_path("gcn_event"), params)
    if not isinstance(data, Mapping) or not isinstance(data.get("totalMatches"), int):
        raise ReplyError("Fritz gave no list of events; is service.fritz.url that of a SkyPortal?")
    return [_event(row) for row in rows_of(data.get("events"), "events")], data["totalMatches"]


def _event(row: Mapping[str, Any]) -> Event:
    dateobs = time_of(row.get("dateobs"))
    if dateobs is None:
        raise ReplyError(f"Fritz gave an event whose dateobs is no time: {str(row.get('dateobs'))[:40]!r}")
    newest = sorted(
        rows_of(row.get("localizations"), "localizations"), key=lambda one: str(one.get("created_at", "")), reverse=True
    )
    names = [one.get("localization_name") for one in newest]
    return Event(dateobs=dateobs, localizations=tuple(name for name in names if isinstance(name, str)))
