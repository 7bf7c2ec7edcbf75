"""Which sources a catalogue has in a field, a ccd or a quadrant: ids, positions, numbers of observations.

Pages are cut by id, each beginning after the last id of the one before: the same whatever order the service keeps its
documents in. What was listed is checked against what the service counts. Ids of ZTF say where they lie (`id_range`), so
that a page is a walk along the service's own index of ids instead of a sort of whole documents; where a catalogue
numbers its sources otherwise, the count shows it, and they are listed without. May import io, core, errors and the
rooms of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from scope_ml.errors import ConfigError, ReplyError, SchemaError, ServiceError, ServiceTimeoutError
from scope_ml.io.selection import CCDS, QUADS, Selection
from scope_ml.services.kowalski.replies import data_of

if TYPE_CHECKING:
    from scope_ml.services.kowalski.client import Asks

__all__ = [
    "SCHEMA",
    "Listing",
    "count_name",
    "counted_listing",
    "id_range",
    "list_sources",
    "quadrant_filter",
    "whole_number",
]

#: Columns of a list of sources; `filter` is 1 for g, 2 for r, 3 for i.
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("ra", pa.float64(), metadata={b"unit": b"deg"}),
        pa.field("dec", pa.float64(), metadata={b"unit": b"deg"}),
        pa.field("field", pa.int32()),
        pa.field("ccd", pa.int32()),
        pa.field("quad", pa.int32()),
        pa.field("filter", pa.int32()),
        pa.field("nobs", pa.int32()),
    ]
)

#: Sources a page: some 3 MB of reply, well within a query's time.
PAGE = 20_000

#: A page that takes the service too long is halved down to this, and then asked for once more.
SMALLEST_PAGE = 250

#: How often a list is made at most that differs from the service's count, or of which a reply makes no sense.
ATTEMPTS = 4

#: ZTF's numbering: 10^13 + field 10^9 + rc 10^7 + filter 10^6 + a number; rc counts the quadrants of all ccds from 0.
FIRST_ID = 10**13
IDS_OF_A_FIELD = 10**9
IDS_OF_A_QUADRANT = 10**7


@dataclass(frozen=True, kw_only=True, eq=False)
class Listing:
    """The sources of a part of the sky, and how many the service counts there.

    Attributes
    ----------
    sources
        Columns as `SCHEMA`, sorted by id.
    counted
        How many there should be: what the service counts, less those left out at the start, up to the limit.
    """

    sources: pa.Table
    counted: int

    @property
    def missing(self) -> int:
        """Return how many the service counts but does not list."""
        return self.counted - int(self.sources.num_rows)


def list_sources(
    asks: Asks,
    catalog: str,
    selection: Selection,
    *,
    min_obs: int = 0,
    skip: int = 0,
    limit: int | None = None,
    page: int = PAGE,
    told: Callable[[int], object] | None = None,
) -> pa.Table:
    """Return the sources of a field, a ccd or a quadrant; `counted_listing` for those who keep account themselves.

    Parameters
    ----------
    asks
        The service.
    catalog
        Collection of sources or of features, such as ``ZTF_sources_20240117``.
    selection
        Its `field`, `ccd` and `quad`; nothing of them means the whole catalogue.
    min_obs
        Sources with fewer observations are left out (`nobs`, of features `n`).
    skip, limit
        Sources left out at the start, in the order of ids, and sources at most.
    page
        Sources asked for at once.
    told
        Called with the number of sources of each page.

    Returns
    -------
    pa.Table
        `id` (int64), `ra`, `dec` (double [deg]), `field`, `ccd`, `quad`, `filter`, `nobs` (int32), sorted by id; null
        where the catalogue does not say.

    Raises
    ------
    ServiceError
        If a page cannot be had, or the list differs from the service's count also when it is made again.
    ConfigError
        If the selection has ids or positions, or a number is negative.
    SchemaError
        If the ids are not whole numbers.
    """
    listing = counted_listing(asks, catalog, selection, min_obs=min_obs, skip=skip, limit=limit, page=page, told=told)
    if listing.missing:
        raise ServiceError(
            f"{catalog} counts {listing.counted} sources in {selection} but lists {listing.sources.num_rows}, also when"
            " asked again; try again later"
        )
    return listing.sources


def counted_listing(
    asks: Asks,
    catalog: str,
    selection: Selection,
    *,
    min_obs: int = 0,
    skip: int = 0,
    limit: int | None = None,
    page: int = PAGE,
    told: Callable[[int], object] | None = None,
) -> Listing:
    """Return as `list_sources` the sources, and how many there should be: a shortfall is not an error here.

    Raises
    ------
    ServiceError, ConfigError, SchemaError
        As `list_sources`; also if the service lists more than it counts, since the catalogue is being changed.
    """
    _check(selection, {"min_obs": min_obs, "skip": skip, "limit": limit or 0, "page": page - 1})
    wanted = quadrant_filter(catalog, selection, min_obs=min_obs)
    bounds = id_range(selection)
    pages = _Pages(asks=asks, catalog=catalog, wanted=wanted, where=str(selection), told=told)
    listing = None
    for last in (False,) * (ATTEMPTS - 1) + (True,):
        try:
            counted = max(_count(asks, catalog, wanted, str(selection)) - skip, 0)
            counted = counted if limit is None else min(counted, limit)
            # One more than there should be is asked for, so that it shows if there is.
            most = limit if limit is not None and limit <= counted else counted + 1
            rows = list(pages.ask(bounds, skip=skip, limit=most if counted else 0, page=page))
        except ReplyError:
            if last:
                raise
            continue
        listing = Listing(sources=pa.concat_tables(rows) if rows else SCHEMA.empty_table(), counted=counted)
        if not listing.missing:
            return listing
        # The catalogue may number its sources otherwise.
        bounds = id_range(selection) if bounds == (None, None) else (None, None)
    assert listing is not None, "the last attempt raises, or makes a list"
    if listing.missing < 0:
        raise ServiceError(
            f"{catalog} lists {listing.sources.num_rows} sources in {selection} but counts {listing.counted}; it is being"
            " changed, try again later"
        )
    return listing


def _count(asks: Asks, catalog: str, wanted: Mapping[str, Any], where: str) -> int:
    try:
        return whole_number(asks, catalog, wanted, where=where)
    except ServiceTimeoutError:
        return whole_number(asks, catalog, wanted, where=where)


def quadrant_filter(catalog: str, selection: Selection, *, min_obs: int) -> dict[str, Any]:
    """Return the service's filter for the sources of a field, a ccd, a quadrant with enough observations."""
    enough = {count_name(catalog): {"$gte": min_obs}} if min_obs else {}
    return {**selection.constant, **enough}


def count_name(catalog: str) -> str:
    """Return what a catalogue calls the number of observations: `n` in tables of features, else `nobs`."""
    return "n" if "features" in catalog.lower() else "nobs"


def id_range(selection: Selection) -> tuple[int | None, int | None]:
    """Return the ids [first, end) that ZTF gives to a field, a ccd or a quadrant; (None, None) if that is no range."""
    if selection.field is None:
        return None, None
    start = FIRST_ID + selection.field * IDS_OF_A_FIELD
    if selection.ccd is None:
        return start, start + IDS_OF_A_FIELD
    start += (selection.ccd - CCDS[0]) * len(QUADS) * IDS_OF_A_QUADRANT
    if selection.quad is None:
        return start, start + len(QUADS) * IDS_OF_A_QUADRANT
    start += (selection.quad - QUADS[0]) * IDS_OF_A_QUADRANT
    return start, start + IDS_OF_A_QUADRANT


def whole_number(asks: Asks, catalog: str, wanted: Mapping[str, Any], *, where: str) -> int:
    """Return how many documents of a catalogue the service counts.

    Raises
    ------
    ServiceError
        If it cannot be had.
    """
    query = {"query_type": "count_documents", "query": {"catalog": catalog, "filter": dict(wanted)}}
    count = data_of(asks.ask(query, catalog=catalog))
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ReplyError(f"{catalog}: the service counts '{str(count)[:40]}' sources in {where}; try again later")
    return count


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pages:
    """One list of sources, page after page."""

    asks: Asks
    catalog: str
    wanted: Mapping[str, Any]
    where: str
    told: Callable[[int], object] | None

    def ask(self, bounds: tuple[int | None, int | None], *, skip: int, limit: int, page: int) -> Iterator[pa.Table]:
        """Yield the sources, those of one page at a time, until a page is not full or `limit` is reached."""
        first, end = bounds
        last: int | None = None
        late = False
        while limit > 0:
            size = min(page, limit)
            try:
                documents = self._page(_range(first, end, last), size, skip if last is None else 0)
            except ServiceTimeoutError:
                if late:
                    raise
                late = size <= SMALLEST_PAGE
                page = max(size // 2, SMALLEST_PAGE)
                continue
            late = False
            if not documents:
                return
            rows = self._rows(documents, last)
            last = rows["id"][-1].as_py()
            limit -= len(documents)
            if self.told is not None:
                self.told(len(documents))
            yield rows
            if len(documents) < size:
                return

    def _page(self, ids: Mapping[str, int], size: int, skip: int) -> list[dict[str, Any]]:
        projection = dict.fromkeys(("_id", *SCHEMA.names[1:-1], count_name(self.catalog)), 1)
        query = {
            "query_type": "find",
            "query": {
                "catalog": self.catalog,
                "filter": {**self.wanted, **({"_id": dict(ids)} if ids else {})},
                "projection": projection,
            },
            "kwargs": {"sort": [["_id", 1]], "limit": size, **({"skip": skip} if skip else {})},
        }
        documents = data_of(self.asks.ask(query, catalog=self.catalog))
        if not isinstance(documents, list) or not all(isinstance(one, dict) for one in documents):
            raise ReplyError(f"{self.catalog}: the service answers with no list of sources; try again later")
        if len(documents) > size:
            raise ReplyError(f"{self.catalog}: the service lists {len(documents)} sources where {size} were asked for")
        where = {name: value for name, value in self.wanted.items() if isinstance(value, int)}
        if any(one.get(name, value) != value for one in documents for name, value in where.items()):
            raise ReplyError(f"{self.catalog}: the service lists sources that are not in {self.where}; try again later")
        return documents

    def _rows(self, documents: list[dict[str, Any]], last: int | None) -> pa.Table:
        ids: list[Any] = [one.get("_id") for one in documents]
        if not all(type(one) is int for one in ids):
            odd = next(one for one in ids if type(one) is not int)
            raise SchemaError(
                f"{self.catalog} has the id '{odd}', which is no whole number; give a catalogue of sources"
            )
        before = -(2**63) if last is None else last
        for one in ids:
            if one <= before:
                raise ReplyError(
                    f"{self.catalog}: the list of sources in {self.where} is not sorted by id ({one} after {before}), so that"
                    " it cannot be asked for in pages"
                )
            before = one
        names = ("_id", *SCHEMA.names[1:-1], count_name(self.catalog))
        try:
            columns = [
                pa.array([one.get(name) for one in documents], field.type, from_pandas=True)
                for name, field in zip(names, SCHEMA, strict=True)
            ]
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise SchemaError(f"{self.catalog}: a source's facts are not numbers ({error})") from error
        return pa.table(columns, schema=SCHEMA)


def _range(first: int | None, end: int | None, last: int | None) -> dict[str, int]:
    start = {"$gt": last} if last is not None else {"$gte": first} if first is not None else {}
    return start if end is None else {**start, "$lt": end}


def _check(selection: Selection, numbers: Mapping[str, int]) -> None:
    if selection.ids is not None or selection.positions is not None:
        raise ConfigError(f"sources are listed by field, ccd and quad, not by {selection}")
    for name, value in numbers.items():
        if value < 0:
            raise ConfigError(f"{name}={value + (name == 'page')} is not allowed; it is at least {int(name == 'page')}")
