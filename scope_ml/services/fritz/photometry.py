"""Photometry of a source on Fritz. Putting the same points again changes nothing. May import errors and the rooms beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from scope_ml.errors import DataError, UnsureError
from scope_ml.services.fritz.checks import group_list
from scope_ml.services.fritz.client import Fritz
from scope_ml.services.fritz.paths import api_path
from scope_ml.services.fritz.records import Point, rows_of

__all__ = ["LARGEST_PIECE", "NewPhotometry", "photometry_of", "put_photometry"]

#: Points that the service takes in one request.
LARGEST_PIECE = 10_000


@dataclass(frozen=True, kw_only=True)
class NewPhotometry:
    """Points of one source by one instrument, in magnitudes, one element of each sequence a point.

    Attributes
    ----------
    obj_id, instrument_id
        Of which source, by which instrument.
    mjd
        When [d].
    mag, magerr
        Magnitudes and their errors [mag].
    limiting_mag
        How deep it was, for all or for each [mag].
    filter
        As the instrument has them, such as ``ztfg``.
    ra, dec
        Where, if known for each [deg].
    magsys
        System of the magnitudes.
    origin
        What they come from.
    group_ids
        Who sees them.

    Raises
    ------
    DataError
        If columns are not of one length, a number is none, or there is no group.
    """

    obj_id: str
    instrument_id: int
    mjd: Sequence[float]
    mag: Sequence[float]
    magerr: Sequence[float]
    filter: Sequence[str]
    limiting_mag: float | Sequence[float]
    group_ids: tuple[int, ...]
    origin: str | None = None
    magsys: str = "ab"
    ra: Sequence[float] | None = None
    dec: Sequence[float] | None = None

    def __post_init__(self) -> None:
        group_list(self.group_ids)
        for name, column in self._columns().items():
            if len(column) != len(self.mjd):
                raise DataError(f"{self.obj_id}: {len(self.mjd)} points, but {len(column)} of {name}")
            if name != "filter" and not all(map(math.isfinite, column)):
                raise DataError(f"{self.obj_id}: {name} of a point is no number; leave such points out")
        if isinstance(self.limiting_mag, Real) and not math.isfinite(self.limiting_mag):
            raise DataError(f"{self.obj_id}: limiting_mag={self.limiting_mag!r} is no magnitude")

    def __len__(self) -> int:
        return len(self.mjd)

    def bodies(self) -> Iterator[dict[str, Any]]:
        """Yield the requests that put them all, in order."""
        shared: dict[str, Any] = {
            "obj_id": self.obj_id,
            "instrument_id": int(self.instrument_id),
            "magsys": self.magsys,
            "group_ids": group_list(self.group_ids),
        }
        if self.origin is not None:
            shared["origin"] = self.origin
        if isinstance(self.limiting_mag, Real):
            shared["limiting_mag"] = float(self.limiting_mag)
        columns = self._columns()
        for start in range(0, len(self), LARGEST_PIECE):
            piece = slice(start, start + LARGEST_PIECE)
            yield shared | {
                name: [str(one) if name == "filter" else float(one) for one in column[piece]]
                for name, column in columns.items()
            }

    def some(self, rows: Sequence[int]) -> NewPhotometry:
        """Return these rows alone."""
        columns: Any = {name: [column[row] for row in rows] for name, column in self._columns().items()}
        return replace(self, **columns)

    def _columns(self) -> dict[str, Sequence[Any]]:
        columns: dict[str, Any] = {"mjd": self.mjd, "mag": self.mag, "magerr": self.magerr, "filter": self.filter}
        if not isinstance(self.limiting_mag, Real):
            columns["limiting_mag"] = self.limiting_mag
        return columns | {name: getattr(self, name) for name in ("ra", "dec") if getattr(self, name) is not None}


def put_photometry(fritz: Fritz, photometry: NewPhotometry) -> tuple[int, ...]:
    """Put points, in pieces that the service takes; return their ids in the order of the points.

    Points that are there already keep their ids, and are shared with the groups that do not have them.

    Raises
    ------
    ServiceError
        As `client.FritzClient.change`; pieces before stay, and all may be put again.
    """
    ids: list[int] = []
    for body in photometry.bodies():
        data = fritz.change("PUT", api_path("photometry"), body, repeatable=True)
        found = data.get("ids") if isinstance(data, Mapping) else None
        if not isinstance(found, list) or len(found) != len(body["mjd"]):
            raise UnsureError(
                f"Fritz does not give {len(body['mjd'])} ids for as many points of {photometry.obj_id}; put them again"
            )
        ids += [int(one) for one in found]
    return tuple(ids)


def photometry_of(fritz: Fritz, obj_id: str) -> tuple[Point, ...]:
    """Return the points of a source that the token's user sees, in magnitudes of the AB system.

    Raises
    ------
    ServiceError
        As `client.FritzClient.get`.
    """
    data = fritz.get(api_path("sources", obj_id, "photometry"), {"format": "mag", "magsys": "ab"})
    return tuple(Point.from_json(row) for row in rows_of(data, "points"))
