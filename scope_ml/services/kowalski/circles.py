"""Circles on the sky as Kowalski takes them: the query, the rows of a reply, smaller circles that cover a large one.

A document's place is its `ra` and `dec`, for alerts those of its candidate, else its GeoJSON point, whose longitude is right
ascension minus 180 deg. The service searches by the point, so it is asked for a little more than is wanted, and the
circle is cut here. May import `replies`, core and errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import one_chunk
from scope_ml.core.sphere import ARCSEC_PER_DEGREE, on_sky, separation_arcsec
from scope_ml.errors import DataError, ReplyError, ServiceError
from scope_ml.services.kowalski.replies import data_of, table

__all__ = ["KEY", "POSITION", "Wanted", "circle_query", "covering", "cut", "documents_by_name", "rows_of"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: The field that tells the documents of every collection apart.
KEY = "_id"

#: Column of the index of the circle in which a row lies.
POSITION = "position"

#: Pairs of fields where a document may have its place, the first that it has counts.
PLACES = (("ra", "dec"), ("candidate.ra", "candidate.dec"))

#: The point that every document has: a list of longitude and latitude [deg].
POINT = "coordinates.radec_geojson.coordinates"

#: Widening of circles [arcsec]: the service computes with another longitude and, maybe, less exactly.
SLACK_ARCSEC = 1e-3

#: Circles wider than this [deg] are not covered by smaller ones; no search is.
WIDEST_DEG = 10.0


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is wanted of the documents of a collection, as `core.protocols.CatalogSource.cone_search` takes it."""

    catalog: str
    columns: tuple[str, ...]
    optional: tuple[str, ...] = ()
    below: Mapping[str, float] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, each once."""
        return tuple(dict.fromkeys((*self.columns, *self.optional)))


def circle_query(
    wanted: Wanted, places: Mapping[str, tuple[float, float]], radius_arcsec: float, *, limit: int
) -> dict[str, Any]:
    """Return the query for the documents within circles.

    Parameters
    ----------
    wanted
        Collection and columns.
    places
        Centres [deg] by name. A name comes back only if it has no dot, which the service makes an underscore.
    radius_arcsec
        Radius [arcsec]; a little more is asked.
    limit
        Documents a circle at most.
    """
    fields = dict.fromkeys((*wanted.names, *(name for pair in PLACES for name in pair), POINT, KEY), 1)
    return {
        "query_type": "cone_search",
        "query": {
            "object_coordinates": {
                "radec": {name: [ra % 360.0, dec] for name, (ra, dec) in places.items()},
                "cone_search_radius": radius_arcsec + SLACK_ARCSEC,
                "cone_search_unit": "arcsec",
            },
            "catalogs": {
                wanted.catalog: {
                    "filter": {name: {"$lt": limit} for name, limit in wanted.below.items()},
                    "projection": _without_prefixed(fields),
                }
            },
        },
        "kwargs": {"limit": limit},
    }


def documents_by_name(body: bytes, catalog: str) -> dict[str, list[Any]]:
    """Return the documents of each circle of a reply by its name.

    Raises
    ------
    ReplyError
        If the reply is not an answer to a query for circles.
    """
    data = data_of(body)
    found = data.get(catalog) if isinstance(data, dict) else None
    if not isinstance(found, dict) or not all(isinstance(documents, list) for documents in found.values()):
        raise ReplyError(f"Kowalski's reply has no lists of documents of '{catalog}'")
    return found


def rows_of(documents: Sequence[Mapping[str, Any]], circle: IntArray, wanted: Wanted) -> pa.Table:
    """Return documents as rows that pass `wanted.below`.

    Parameters
    ----------
    documents
        Documents of a reply (n).
    circle
        In which circle each was found, int64 (n,).

    Returns
    -------
    pa.Table
        `ra`, `dec` (double [deg]), `POSITION` (int64, of `circle`), `KEY` and the wanted columns, null where a document has no
        value.

    Raises
    ------
    DataError
        If a document has no place, or a value that is compared is no number.
    """
    names = tuple(name for name in (KEY, *wanted.names) if name not in ("ra", "dec"))
    ra, dec = _positions(documents, wanted.catalog)
    rows = table(documents, tuple(dict.fromkeys(names)), ())
    rows = pa.table({"ra": ra, "dec": dec, POSITION: circle, **dict(zip(rows.column_names, rows.columns, strict=True))})
    for name, limit in wanted.below.items():
        kind = rows[name].type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
            raise DataError(f"catalogue '{wanted.catalog}': column '{name}' is {kind}, not a number")
        with np.errstate(invalid="ignore"):
            rows = rows.filter(pa.array(rows[name].cast(pa.float64(), safe=False).to_numpy() < limit))
    return rows


def cut(rows: pa.Table, ra: FloatArray, dec: FloatArray, radius_arcsec: float) -> pa.Table:
    """Return the rows of `rows_of` that lie in their circles, the rim included, those of a circle once each by `KEY`.

    Parameters
    ----------
    ra, dec
        Centres, float64 (n,) [deg]; column `POSITION` counts them.
    """
    if not rows.num_rows:
        return rows
    circle = rows[POSITION].to_numpy()
    apart = separation_arcsec(rows["ra"].to_numpy(), rows["dec"].to_numpy(), ra[circle], dec[circle])
    rows = rows.filter(pa.array(apart <= radius_arcsec))
    rows = rows.take(pc.sort_indices(rows, sort_keys=[(POSITION, "ascending"), (KEY, "ascending")])).combine_chunks()
    again = [pc.equal(one_chunk(rows[name])[1:], one_chunk(rows[name])[:-1]) for name in (POSITION, KEY)]
    first = np.ones(rows.num_rows, dtype=np.bool_)
    first[1:] = ~pc.and_(*again).to_numpy(zero_copy_only=False)
    return rows.filter(pa.array(first))


def covering(ra: float, dec: float, radius_arcsec: float) -> tuple[FloatArray, FloatArray, float]:
    """Return seven circles of a good half of the radius that cover a circle: one in the middle, six around.

    Returns
    -------
    tuple
        Right ascensions and declinations [deg], float64 (7,), and their radius [arcsec].

    Raises
    ------
    ServiceError
        If the circle is too wide for it.
    """
    radius = np.radians(radius_arcsec / ARCSEC_PER_DEGREE)
    if radius > np.radians(WIDEST_DEG):
        raise ServiceError(f"a circle of {radius_arcsec / ARCSEC_PER_DEGREE:.0f} deg is too wide to be asked in pieces")
    away = radius * np.sqrt(3.0) / 2.0
    angle = np.radians(60.0 * np.arange(6))
    sin_dec, cos_dec = np.sin(np.radians(dec)), np.cos(np.radians(dec))
    # As a point of the sphere: east, towards the equator's plane, north; exact at the poles too.
    north = np.cos(angle) * np.sin(away)
    x = np.cos(away) * cos_dec - north * sin_dec
    y = np.sin(angle) * np.sin(away)
    z = np.cos(away) * sin_dec + north * cos_dec
    around_ra = ra + np.degrees(np.arctan2(y, x))
    around_dec = np.degrees(np.arctan2(z, np.hypot(x, y)))
    # On a sphere six circles of half the radius leave gaps of the radius squared; 2 % are more than they are.
    return np.append(ra, around_ra) % 360.0, np.append(dec, around_dec), 0.51 * radius_arcsec


def _without_prefixed(fields: Mapping[str, int]) -> dict[str, int]:
    """Leave out fields that lie in others of the list, which Mongo refuses."""
    return {name: 1 for name in fields if not any(name.startswith(f"{other}.") for other in fields)}


def _positions(documents: Sequence[Mapping[str, Any]], catalog: str) -> tuple[FloatArray, FloatArray]:
    """Return right ascensions and declinations [deg], float64 (n,)."""
    both = np.array([_place(document) for document in documents], dtype=np.float64).reshape(-1, 2)
    lost = np.flatnonzero(~on_sky(both[:, 0], both[:, 1]))
    if lost.size:
        key = documents[int(lost[0])].get(KEY)
        raise DataError(
            f"catalogue '{catalog}': document {key} has no place on the sky, neither ra and dec nor {POINT}"
            f" ({lost.size} such documents)"
        )
    return both[:, 0], both[:, 1]


def _place(document: Mapping[str, Any]) -> tuple[float, float]:
    for pair in PLACES:
        ra, dec = (_number(_value(document, name)) for name in pair)
        if isfinite(ra) and isfinite(dec):
            return ra, dec
    point = _value(document, POINT)
    if isinstance(point, list) and len(point) == 2:
        return _number(point[0]) + 180.0, _number(point[1])
    return float("nan"), float("nan")


def _value(document: Mapping[str, Any], name: str) -> Any:
    """Return a value by its dotted name, None if there is none."""
    if name in document:
        return document[name]
    value: Any = document
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
