"""Which quadrants of a field a catalogue has sources in, and how many.

One `$group` a field tells it all, of a catalogue of sources from the service's index alone; where the service allows
none, or takes too long, the quadrants are asked one by one. Whether there are enough observations stands in the
documents themselves, which are large: to know that there is *a* source the first one is enough. May import io, core,
errors and the rooms of this package.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scope_ml.errors import QueryRefusedError, ServiceError, ServiceTimeoutError
from scope_ml.io.selection import CCDS, QUADS, Selection
from scope_ml.services.kowalski.listing import quadrant_filter, whole_number
from scope_ml.services.kowalski.replies import data_of

if TYPE_CHECKING:
    from scope_ml.services.kowalski.client import Asks

__all__ = ["QuadrantCensus"]

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class QuadrantCensus:
    """Asks a catalogue where it has sources; several threads may.

    Attributes
    ----------
    asks
        The service.
    catalog
        Collection of sources or of features.
    min_obs
        Sources with fewer observations do not count.
    count
        Whether numbers are wanted; else it is enough to know that there is a source.
    """

    asks: Asks
    catalog: str
    min_obs: int = 0
    count: bool = True
    _groups: bool = field(default=True, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def of_field(self, number: int) -> dict[tuple[int, int], int | None]:
        """Return the sources by (ccd, quad), only of quadrants that have any; None where they were not counted.

        Raises
        ------
        ServiceError
            If the service does not answer, or has sources outside of the quadrants that there are.
        """
        if self._groups and (self.count or not self.min_obs):
            try:
                found = self._grouped(number)
            except QueryRefusedError as error:
                with self._lock:
                    told, self._groups = not self._groups, False
                if not told:
                    _log.warning(
                        "%s does not group its sources (%s); quadrants are asked one by one", self.catalog, error
                    )
            except ServiceTimeoutError:
                _log.info(
                    "field %d of %s takes too long at once; its quadrants are asked one by one", number, self.catalog
                )
            else:
                return {place: n if self.count else None for place, n in sorted(found.items())}
        return self._one_by_one(number)

    def _grouped(self, number: int) -> dict[tuple[int, int], int]:
        pipeline = [
            {"$match": self._wanted(Selection(field=number))},
            {"$group": {"_id": {"ccd": "$ccd", "quad": "$quad"}, "n": {"$sum": 1}}},
        ]
        query = {"query_type": "aggregate", "query": {"catalog": self.catalog, "pipeline": pipeline}}
        groups = data_of(self.asks.ask(query, catalog=self.catalog))
        if not isinstance(groups, list):
            raise ServiceError(f"{self.catalog}: the service answers with no list of quadrants; try again later")
        found: dict[tuple[int, int], int] = {}
        for group in groups:
            place, n = _group(group)
            if place[0] not in CCDS or place[1] not in QUADS or not isinstance(n, int):
                raise ServiceError(f"{self.catalog} has sources in field {number} whose ccd and quad are {place}")
            found[place] = n
        return found

    def _one_by_one(self, number: int) -> dict[tuple[int, int], int | None]:
        if not self._any(Selection(field=number)):
            return {}
        found: dict[tuple[int, int], int | None] = {}
        for selection in (Selection(field=number, ccd=ccd, quad=quad) for ccd in CCDS for quad in QUADS):
            place = (selection.ccd or 0, selection.quad or 0)
            if not self.count:
                if self._any(selection):
                    found[place] = None
            elif n := whole_number(self.asks, self.catalog, self._wanted(selection), where=str(selection)):
                found[place] = n
        return found

    def _any(self, selection: Selection) -> bool:
        query = {
            "query_type": "find",
            "query": {"catalog": self.catalog, "filter": self._wanted(selection), "projection": {"_id": 1}},
            "kwargs": {"limit": 1},
        }
        return bool(data_of(self.asks.ask(query, catalog=self.catalog)))

    def _wanted(self, selection: Selection) -> dict[str, Any]:
        return quadrant_filter(self.catalog, selection, min_obs=self.min_obs)


def _group(group: Any) -> tuple[tuple[Any, Any], Any]:
    """Return (ccd, quad) and the number of a group, or what stands there instead."""
    key = group.get("_id") if isinstance(group, dict) else None
    place = (key.get("ccd"), key.get("quad")) if isinstance(key, dict) else (None, None)
    return place, group.get("n") if isinstance(group, dict) else None
