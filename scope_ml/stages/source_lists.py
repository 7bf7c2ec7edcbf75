"""Where lists of sources come from: Kowalski, or light curves that lie here (an embedded survey, a mirror of files).

Used by the stages `get_quad_ids` and `check_quads`, which see no difference. May import services, io, core, errors and
the rooms of stages that open light curves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import exact_ids
from scope_ml.core.provenance import digest_json
from scope_ml.errors import CredentialError, QueryRefusedError, SchemaError, ServiceUnavailableError
from scope_ml.io.selection import Selection
from scope_ml.services.kowalski.census import QuadrantCensus
from scope_ml.services.kowalski.client import Asks, KowalskiClient
from scope_ml.services.kowalski.listing import PAGE, SCHEMA, Listing, counted_listing
from scope_ml.services.kowalski.settings import KowalskiConfig
from scope_ml.stages.feature_sources import SourceConfig, check_source, open_source

__all__ = ["NAMED_FAILURES", "OF_ALL", "KowalskiLists", "LocalLists", "Outage", "SourceLists", "open_lists"]

#: So many pieces of work in a row without an answer mean that the service is down.
FAILURES_IN_A_ROW = 8

#: What would fail every piece of work the same way.
OF_ALL = (CredentialError, QueryRefusedError)

#: Failures that a report names one by one.
NAMED_FAILURES = 10

#: Columns that say where a source is.
PLACE = ("field", "ccd", "quad")
Place = tuple[int, ...]


class SourceLists(Protocol):
    """Something that knows which sources there are in a field, a ccd, a quadrant; several threads may ask."""

    @property
    def name(self) -> str:
        """Return what is asked, for records and messages: a catalogue or a kind of files."""
        ...

    @property
    def edition(self) -> str:
        """Return the hex digest of the whole's version where it has one, or else an empty text."""
        ...

    def version(self, selection: Selection) -> str:
        """Return the hex digest of what the selection is listed from; changes when its content does."""
        ...

    def listing(self, selection: Selection, *, min_obs: int, skip: int, limit: int | None) -> Listing:
        """Return the sources of a part of the sky, as `services.kowalski.listing.counted_listing`."""
        ...

    def quadrants(self, number: int, *, min_obs: int, count: bool) -> dict[tuple[int, int], int | None]:
        """Return the sources of a field by (ccd, quad), as `services.kowalski.census.QuadrantCensus`."""
        ...


@dataclass(kw_only=True, eq=False)
class KowalskiLists:
    """Lists of a catalogue of Kowalski's.

    Attributes
    ----------
    asks
        The service.
    name
        The catalogue.
    page
        Sources asked for at once.
    """

    asks: Asks
    name: str
    page: int = PAGE

    @cached_property
    def edition(self) -> str:
        """Return the catalogue's version."""
        return self.asks.version(self.name)

    def version(self, selection: Selection) -> str:
        """Return the catalogue's version, whatever is selected."""
        return self.edition

    def listing(self, selection: Selection, *, min_obs: int, skip: int, limit: int | None) -> Listing:
        """Return the sources that the catalogue lists."""
        return counted_listing(self.asks, self.name, selection, min_obs=min_obs, skip=skip, limit=limit, page=self.page)

    def quadrants(self, number: int, *, min_obs: int, count: bool) -> dict[tuple[int, int], int | None]:
        """Return the sources of a field by (ccd, quad)."""
        return self._census(min_obs, count).of_field(number)

    def _census(self, min_obs: int, count: bool) -> QuadrantCensus:
        """Return the one census of these options: it remembers what the service does not allow."""
        key = (min_obs, count)
        if key not in self._censuses:
            self._censuses[key] = QuadrantCensus(asks=self.asks, catalog=self.name, min_obs=min_obs, count=count)
        return self._censuses[key]

    @cached_property
    def _censuses(self) -> dict[tuple[int, bool], QuadrantCensus]:
        return {}


@dataclass(kw_only=True, eq=False)
class LocalLists:
    """Lists of light curves that lie here; a source's number of observations is that of its stored points.

    Attributes
    ----------
    config
        The light curves.
    """

    config: SourceConfig

    @property
    def name(self) -> str:
        """Return the kind of files."""
        return self.config.kind

    @property
    def edition(self) -> str:
        """Return nothing: files are told apart by `version`, without reading those that are not wanted."""
        return ""

    def version(self, selection: Selection) -> str:
        """Return the digest of the files that hold the selection."""
        return digest_json([open_source(self.config, selection=selection).digest, sorted(self.config.bands)])

    def listing(self, selection: Selection, *, min_obs: int, skip: int, limit: int | None) -> Listing:
        """Return the sources of the files."""
        tables = [SCHEMA.empty_table(), *self._rows(selection, min_obs)]
        sources = pa.concat_tables(tables).sort_by("id").slice(skip, limit)
        return Listing(sources=sources, counted=sources.num_rows)

    def quadrants(self, number: int, *, min_obs: int, count: bool) -> dict[tuple[int, int], int | None]:
        """Return the sources of a field by (ccd, quad)."""
        # A mirror has its fields in the names of its files; elsewhere one pass over all is cheaper than one a field.
        if self.config.kind == "irsa":
            found = self._counts(Selection(field=number), min_obs)
        else:
            if min_obs not in self._passes:
                self._passes[min_obs] = self._counts(Selection(), min_obs)
            found = self._passes[min_obs]
        places = {(ccd, quad): n for (of, ccd, quad), n in found.items() if of == number}
        return {place: n if count else None for place, n in sorted(places.items())}

    @cached_property
    def _passes(self) -> dict[int, Counter[Place]]:
        return {}

    def _counts(self, selection: Selection, min_obs: int) -> Counter[Place]:
        found: Counter[Place] = Counter()
        for rows in self._rows(selection, min_obs):
            for group in rows.group_by(list(PLACE)).aggregate([([], "count_all")]).to_pylist():
                place = tuple(group[name] for name in PLACE)
                if None not in place:
                    found[place] += group["count_all"]
        return found

    def _rows(self, selection: Selection, min_obs: int) -> Iterator[pa.Table]:
        for chunk in open_source(self.config, selection=selection).chunks():
            rows = chunk.rows
            ids = exact_ids(rows["id"], "id", where=str(self.config.path))
            if not pa.types.is_integer(ids.type):
                raise SchemaError(f"{self.config.path} has ids that are text; lists of sources have whole numbers")
            columns = {"id": ids, **{name: rows[name] for name in SCHEMA.names[1:-1]}}
            counts = chunk.batch.n_obs.astype(np.int32)
            table = pa.table({**columns, "nobs": counts}).cast(SCHEMA)
            yield table.filter(pc.greater_equal(table["nobs"], min_obs))


@contextmanager
def open_lists(source: SourceConfig, kowalski: KowalskiConfig, *, catalog: str, page: int) -> Iterator[SourceLists]:
    """Yield the lists that the configuration names; Kowalski is not asked anything before the first list is.

    Raises
    ------
    ConfigError, FormatError
        If there are no such files, or they are not given, or given where Kowalski is asked.
    """
    check_source(source)
    if source.kind != "kowalski":
        yield LocalLists(config=source)
        return
    with KowalskiClient(kowalski) as client:
        yield KowalskiLists(asks=client, name=catalog, page=page)


class Outage:
    """Tells when so many pieces of work in a row had no answer that there is no use in going on."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def answered(self) -> None:
        """Count a piece of work that had an answer."""
        self._in_a_row = 0

    def failed(self, error: Exception) -> None:
        """Count a piece that failed.

        Raises
        ------
        ServiceUnavailableError
            If it is one too many.
        """
        self._in_a_row += 1
        if self._in_a_row >= FAILURES_IN_A_ROW:
            raise ServiceUnavailableError(
                f"{self._in_a_row} pieces of work in a row had no answer, the last: {error}; what was done is kept, type the"
                " same command again later"
            ) from error
