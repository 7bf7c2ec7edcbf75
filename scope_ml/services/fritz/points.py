"""Which of the photometry that is wanted is not on Fritz yet. May import the rooms beside it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from scope_ml.services.fritz.photometry import NewPhotometry
from scope_ml.services.fritz.records import Point

__all__ = ["missing_points"]

#: Decimals of times [d] and magnitudes [mag] to which two points are compared: 0.1 s, and less than any error.
TIME_DECIMALS, MAG_DECIMALS = 6, 4


def missing_points(
    wanted: NewPhotometry, there: Iterable[Point], group_ids: Collection[int]
) -> tuple[NewPhotometry | None, tuple[int, ...]]:
    """Return the wanted points that are not there, or not for all of the groups, and the ids of those that are.

    None are None.

    A point is there if one of the instrument has its time and filter, or its time and brightness: the service takes two
    points of the same time and brightness for one, whatever their filters.
    """
    known: dict[tuple[Any, ...], int] = {}
    for point in there:
        hidden = point.group_ids and not set(group_ids) <= set(point.group_ids)
        if not hidden and point.instrument_id in (None, wanted.instrument_id):
            known |= dict.fromkeys(_names(point.mjd, point.filter, point.mag), point.id)
    kept, ids = [], []
    for at, (mjd, band, mag) in enumerate(zip(wanted.mjd, wanted.filter, wanted.mag, strict=True)):
        number = next((known[name] for name in _names(mjd, band, mag) if name in known), None)
        if number is None:
            kept.append(at)
        else:
            ids.append(number)
    if not kept:
        return None, tuple(ids)
    return wanted.some(kept), tuple(ids)


def _names(mjd: float, band: str, mag: float | None) -> set[tuple[Any, ...]]:
    time = round(float(mjd), TIME_DECIMALS)
    names: set[tuple[Any, ...]] = {(time, str(band))}
    if mag is not None:
        names.add((time, round(float(mag), MAG_DECIMALS)))
    return names
