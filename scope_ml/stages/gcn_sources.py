"""Which sources Fritz has in the localizations of events: those that are named, or all of the last days.

Used by the stage `fritz_gcn`. May import services, core, errors and `gcn_matching`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from scope_ml.core.protocols import Progress
from scope_ml.errors import ConfigError, QueryRefusedError
from scope_ml.services.fritz.client import Fritz
from scope_ml.services.fritz.events import Event, event_at, events_since, newest_events, written_dateobs
from scope_ml.services.fritz.sources import Localization, SourcePage, pages_of_sources
from scope_ml.stages.gcn_matching import GcnSource

__all__ = ["Found", "Region", "sources_of"]

#: Names of a list that are shown.
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Region:
    """What of an event's localization counts.

    Attributes
    ----------
    days
        How long after the event detections count [d].
    cumprob, name, require_detections
        See `services.fritz.sources.Localization`.
    """

    days: float
    cumprob: float
    name: str | None
    require_detections: bool = True

    def of(self, dateobs: datetime) -> Localization:
        """Return the localization of an event."""
        return Localization(
            dateobs=dateobs,
            start=dateobs,
            end=dateobs + timedelta(days=self.days),
            name=self.name,
            cumprob=self.cumprob,
            require_detections=self.require_detections,
        )


@dataclass(frozen=True, kw_only=True)
class Found:
    """The sources of some events.

    Attributes
    ----------
    events
        Times of the events that were asked for, the newest first.
    sources
        One a source, sorted by name.
    warnings
        What to wonder at, one line each.
    """

    events: tuple[datetime, ...]
    sources: tuple[GcnSource, ...] = ()
    warnings: tuple[str, ...] = field(default_factory=tuple)


def sources_of(
    fritz: Fritz,
    wanted: Collection[datetime] | timedelta,
    region: Region,
    *,
    group_ids: Sequence[int],
    now: datetime,
    progress: Progress,
) -> Found:
    """Return the sources in the localizations of events.

    Parameters
    ----------
    wanted
        Times of events (naive UTC), or how far back from `now` the service's list of events is taken.
    region
        What of each localization counts.
    group_ids
        Sources of these groups; of all that the token sees if empty.

    Raises
    ------
    ConfigError
        If a named event or its localization is not there; the message names what is.
    ServiceError
        If the service does not answer, or the token may not ask.
    """
    warnings: tuple[str, ...] = ()
    if isinstance(wanted, timedelta):
        listed = events_since(fritz, now - wanted)
        usable = [event for event in listed if _has(event, region.name)]
        times = [event.dateobs for event in usable]
        if len(usable) < len(listed):
            which = "a localization" if region.name is None else f"a localization {region.name}"
            lacking = [str(event) for event in listed if event not in usable]
            warnings = (f"{len(lacking)} of {len(listed)} events do not have {which} (yet): {_some(lacking)}",)
    else:
        times = sorted(set(wanted), reverse=True)
    found: dict[str, GcnSource] = {}
    progress.start("events", len(times))
    for dateobs in times:
        for page in _pages(fritz, region.of(dateobs), group_ids):
            warnings = (*warnings, *(f"event {written_dateobs(dateobs)}: {note}" for note in page.notes))
            for one in page.sources:
                before = found[one.id].events if one.id in found else ()
                found[one.id] = GcnSource(name=one.id, ra=one.ra, dec=one.dec, events=(*before, dateobs))
        progress.advance()
    return Found(events=tuple(times), sources=tuple(found[name] for name in sorted(found)), warnings=warnings)


def _pages(fritz: Fritz, localization: Localization, group_ids: Sequence[int]) -> Iterator[SourcePage]:
    try:
        yield from pages_of_sources(fritz, group_ids=group_ids, localization=localization)
    except QueryRefusedError as error:
        raise _explained(fritz, localization, error) from error


def _explained(fritz: Fritz, localization: Localization, error: QueryRefusedError) -> QueryRefusedError | ConfigError:
    """Return what a refused localization means, after a look at the service's events."""
    if "ocalization" not in str(error):
        return error
    when = written_dateobs(localization.dateobs)
    event = event_at(fritz, localization.dateobs)
    if event is None:
        newest = _some([str(one) for one in newest_events(fritz, SHOWN)]) or "none"
        return ConfigError(
            f"Fritz has no event of {when}; the newest are {newest}; give dateobs=TIME, or dateobs=null for all of the last"
            " since_days",
            key="dateobs",
        )
    if not event.localizations:
        return ConfigError(f"the event {when} has no localization (yet); try again later", key="dateobs")
    if localization.name is not None and localization.name not in event.localizations:
        return ConfigError(
            f"the event {when} has no localization {localization.name}; it has {_some(list(event.localizations))};"
            " leave localization out for the newest",
            key="localization",
        )
    return error


def _has(event: Event, name: str | None) -> bool:
    return bool(event.localizations) if name is None else name in event.localizations


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
