"""Sources of Fritz: one by its id, those around a position, all of groups or of a localization page by page; new ones.

May import errors and the rooms beside it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from scope_ml.errors import ConfigError, NotFoundError, ReplyError, UnsureError
from scope_ml.services.fritz.checks import check_position, checked_obj_id, group_list
from scope_ml.services.fritz.client import Fritz
from scope_ml.services.fritz.paths import api_path
from scope_ml.services.fritz.records import Source, rows_of

__all__ = [
    "Localization",
    "SourcePage",
    "find_source",
    "pages_of_sources",
    "post_source",
    "save_to_groups",
    "sources_near",
]

#: How often pages are read where fewer sources came than there are.
READINGS = 2

#: Longest span between the two times of a localization's query, as the service takes it.
LONGEST_SPAN = timedelta(days=3720)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Localization:
    """Where an event may have been; sources in it are asked for.

    Attributes
    ----------
    dateobs
        The event [naive UTC].
    start, end
        The first detection is not before, the last not after [naive UTC].
    name
        The localization; None for the newest of the event.
    cumprob
        Credible region, 0 to 1.
    require_detections
        Leave out sources without photometry in the span.

    Raises
    ------
    ConfigError
        If the service would refuse the times or the region.
    """

    dateobs: datetime
    start: datetime
    end: datetime
    name: str | None = None
    cumprob: float = 0.95
    require_detections: bool = True

    def __post_init__(self) -> None:
        if not timedelta(0) < self.end - self.start <= LONGEST_SPAN:
            raise ConfigError(
                f"the span from {self.start.isoformat()} to {self.end.isoformat()} is not of more than 0 and at most"
                f" {LONGEST_SPAN.days} days"
            )
        if not 0.0 < self.cumprob <= 1.0:
            raise ConfigError(f"a credible region of {self.cumprob!r} is not of more than 0 and at most 1")

    @property
    def params(self) -> dict[str, Any]:
        """Return it as the service's query has it."""
        return {
            "localizationDateobs": self.dateobs.isoformat(),
            "localizationName": self.name,
            "localizationCumprob": self.cumprob,
            "startDate": self.start.isoformat(),
            "endDate": self.end.isoformat(),
            "requireDetections": self.require_detections,
        }


@dataclass(frozen=True, kw_only=True)
class SourcePage:
    """A page of sources.

    Attributes
    ----------
    sources
        Those that were on no page before.
    number
        Its number, from 1; after the last one the first may follow once more, where sources moved meanwhile.
    total_matches
        How many there are, as the service says with this page.
    notes
        What was wondered at, one line each: the total changed, sources came twice or not at all.
    """

    sources: tuple[Source, ...]
    number: int
    total_matches: int
    notes: tuple[str, ...] = ()


def find_source(fritz: Fritz, obj_id: str, *, labellers: bool = False) -> Source | None:
    """Return a source, None if there is none of this id (or none that the token's user may see).

    Raises
    ------
    ServiceError
        As `client.FritzClient.get`.
    """
    try:
        data = fritz.get(api_path("sources", obj_id), _labellers(labellers))
    except NotFoundError:
        return None
    if not isinstance(data, Mapping):
        raise ReplyError(f"Fritz gave no source for {obj_id}; is service.fritz.url that of a SkyPortal?")
    return Source.from_json(data)


def sources_near(
    fritz: Fritz, ra: float, dec: float, *, radius_arcsec: float, labellers: bool = False
) -> tuple[Source, ...]:
    """Return the sources around a position, in the service's order.

    Parameters
    ----------
    ra, dec
        Where to look [deg].
    radius_arcsec
        How far around [arcsec].
    labellers
        Also ask who looked at them.

    Raises
    ------
    DataError
        If there is no such position.
    ServiceError
        As `client.FritzClient.get`.
    """
    check_position(ra, dec)
    if not (math.isfinite(radius_arcsec) and radius_arcsec > 0.0):
        raise ConfigError(f"a radius of {radius_arcsec!r} arcsec is not more than 0")
    params = {"ra": float(ra), "dec": float(dec), "radius": radius_arcsec / 3600.0} | _labellers(labellers)
    return tuple(source for page in _pages(fritz, params, 1) for source in page.sources)


def pages_of_sources(
    fritz: Fritz,
    *,
    group_ids: Sequence[int] = (),
    localization: Localization | None = None,
    labellers: bool = False,
    first_page: int = 1,
) -> Iterator[SourcePage]:
    """Yield all sources of groups or of a localization, page by page, each source once.

    Pages are of what is there at the moment: where sources are saved or removed meanwhile, some come twice (they are left
    out) and some are skipped. So those that came are counted, and if there are more, the pages are read once more.

    Parameters
    ----------
    group_ids
        Sources saved to any of these; none for all.
    localization
        Only those in it.
    labellers
        Also ask who looked at them.
    first_page
        Where to begin.

    Raises
    ------
    ServiceError
        As `client.FritzClient.get`; what was yielded stands.
    """
    # One value: of a repeated key the service takes the last.
    params: dict[str, Any] = {"group_ids": ",".join(str(int(one)) for one in group_ids) or None}
    if localization is not None:
        params |= localization.params
    return _pages(fritz, params | _labellers(labellers), first_page)


def post_source(
    fritz: Fritz, *, obj_id: str, ra: float, dec: float, group_ids: Sequence[int], origin: str
) -> tuple[int, ...]:
    """Make a source and save it to groups; return the groups that it was saved to.

    One that exists is saved to those that it is not saved to yet.

    Raises
    ------
    DataError
        If id or position are none, or there is no group.
    ServiceError
        As `client.FritzClient.change`.
    """
    check_position(ra, dec)
    body = {
        "id": checked_obj_id(obj_id),
        "ra": float(ra),
        "dec": float(dec),
        "group_ids": group_list(group_ids),
        "origin": origin,
    }
    data = fritz.change("POST", api_path("sources"), body)
    saved = data.get("saved_to_groups") if isinstance(data, Mapping) else None
    if not isinstance(saved, list):
        raise UnsureError(f"Fritz does not say which groups {obj_id} was saved to; look before posting it again")
    return tuple(int(one) for one in saved)


def save_to_groups(fritz: Fritz, obj_id: str, group_ids: Sequence[int]) -> None:
    """Save a source to groups that it is not saved to yet; if it is in one of them, the service refuses all.

    Raises
    ------
    DataError
        If there is no group.
    ServiceError
        As `client.FritzClient.change`.
    """
    body = {"objId": obj_id, "inviteGroupIds": group_list(group_ids), "unsaveGroupIds": []}
    fritz.change("POST", api_path("source_groups"), body)


def _pages(fritz: Fritz, params: Mapping[str, Any], first_page: int) -> Iterator[SourcePage]:
    seen: set[str] = set()
    before: int | None = None
    for reading in range(1, READINGS + 1):
        number, missing, is_last = first_page, 0, False
        while not is_last:
            data = fritz.get(api_path("sources"), {**params, "pageNumber": number, "numPerPage": fritz.page})
            rows, total, per_page = _page(data, fritz.page)
            sources = [Source.from_json(row) for row in rows]
            new = {source.id: source for source in sources if source.id not in seen}
            seen |= set(new)
            notes = []
            if before not in (None, total):
                notes.append(f"page {number}: {total} sources match, and {before} did before")
            if len(new) < len(sources) and reading == 1:
                notes.append(f"page {number}: {len(sources) - len(new)} of its sources had come before")
            before = total
            is_last = not rows or number * per_page >= total
            missing = total - (first_page - 1) * per_page - len(seen)
            if is_last and missing > 0:
                notes.append(f"{missing} of {total} sources have not come when the pages were read {reading} times")
            for note in notes:
                _log.info("Fritz, %s", note)
            yield SourcePage(sources=tuple(new.values()), number=number, total_matches=total, notes=tuple(notes))
            number += 1
        if missing <= 0:
            return


def _page(data: Any, asked: int) -> tuple[Sequence[Mapping[str, Any]], int, int]:
    """Return the rows of a page, how many match, and how many a page has: not always as many as were asked for."""
    if not isinstance(data, Mapping) or not isinstance(data.get("totalMatches"), int):
        raise ReplyError("Fritz gave a page of sources without totalMatches; is service.fritz.url that of a SkyPortal?")
    rows, told = rows_of(data.get("sources"), "sources"), data.get("numPerPage")
    return rows, int(data["totalMatches"]), told if isinstance(told, int) and told > 0 else asked


def _labellers(labellers: bool) -> dict[str, Any]:
    return {"includeLabellers": True} if labellers else {}
