"""Kowalski's catalogues around places on the sky: Gaia, AllWISE, Pan-STARRS, alerts. A `core.protocols.BulkCatalogSource`.

One circle a request for a tile of the sky, many small ones a request for light curves far apart, of one catalogue each: they
may be on different machines. What comes back is cut to the circles exactly as `io.catalogs.ParquetCatalogs` cuts it. Stages
open catalogues of any kind by `open_catalogs`. May import the rooms beside it, features, io, core and errors.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.protocols import CatalogSource
from scope_ml.errors import (
    ConfigError,
    MissingColumnError,
    ReplyError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from scope_ml.features.surroundings import CatalogsConfig
from scope_ml.io.catalogs import ParquetCatalogs
from scope_ml.services.kowalski.asking import NO_ANSWER, ByKey, ask_in_pieces, pieces_of
from scope_ml.services.kowalski.circles import (
    KEY,
    POSITION,
    Wanted,
    circle_query,
    covering,
    cut,
    documents_by_name,
    rows_of,
)

if TYPE_CHECKING:
    from scope_ml.services.kowalski.client import Asks
    from scope_ml.services.kowalski.settings import KowalskiConfig

__all__ = ["KowalskiCatalogs", "open_catalogs"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Documents of one circle at most; a circle with more is asked in pieces. Some 40 MB of reply.
MOST_DOCUMENTS = 100_000

#: Circles are not asked in pieces smaller than this [arcsec]: there the service itself is slow.
SMALLEST_ARCSEC = 5.0

#: Circles of one request at most, so that it stays within the service's 1 MiB.
MOST_CIRCLES = 10_000

#: How often a circle is asked for that a reply does not have.
ATTEMPTS = 3

#: Documents after which a column that none of them had is taken for a mistake.
ENOUGH_DOCUMENTS = 2000

#: Folder of what was asked within that of the service.
FOLDER = "catalogs"


def open_catalogs(
    config: CatalogsConfig, asks: Asks | None = None, service: KowalskiConfig | None = None
) -> CatalogSource | None:
    """Open the catalogues of a configuration, for `features.surroundings.open_surroundings(..., source=...)`.

    Nothing is asked yet: no log-in, no credentials needed.

    Parameters
    ----------
    config
        The catalogs group of the configuration.
    asks, service
        The client of Kowalski and its configuration; needed with ``kind=kowalski``.

    Returns
    -------
    CatalogSource or None
        None for ``kind=none``, and for a folder that is not named: `open_surroundings` says so if one is needed.

    Raises
    ------
    ConfigError
        If there is no client, or a path that ``kind=kowalski`` has no use for.
    FormatError
        If there is no such folder.
    """
    if config.kind == "kowalski":
        if config.path is not None:
            raise ConfigError(
                f"catalogs.path={config.path} is a folder, but catalogs.kind=kowalski; give one of them",
                key="catalogs.path",
            )
        if asks is None or service is None:
            raise ConfigError("catalogs=kowalski is not possible here; give catalogs=folder", key="catalogs.kind")
        return KowalskiCatalogs(asks, service)
    if config.kind == "none" or config.path is None:
        return None
    return ParquetCatalogs(Path(config.path))


class KowalskiCatalogs:
    """The catalogues of Kowalski; a `core.protocols.BulkCatalogSource`. Threads may share it.

    Parameters
    ----------
    asks
        The client; nothing is asked before something is looked up.
    config
        Bounds of queries, connections, and the folder of what was asked.
    """

    def __init__(self, asks: Asks, config: KowalskiConfig) -> None:
        self._asks = asks
        self._config = config
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, tuple[str, ...]], Counter[str]] = {}

    @property
    def connections(self) -> int:
        """How many requests may be under way at a time."""
        return self._config.connections

    @property
    def cache(self) -> Path | None:
        """Folder for what was asked where the configuration names none; None keeps nothing."""
        return None if self._config.cache is None else Path(self._config.cache) / FOLDER

    def digest(self, catalog: str) -> str:
        """Return the version of a collection, its name and size, as hex digest.

        Raises
        ------
        ConfigError
            If there is no such collection.
        ServiceError
            If the service does not answer.
        """
        return self._asks.version(catalog)

    def cone_search(
        self,
        catalog: str,
        ra: float,
        dec: float,
        *,
        radius_arcsec: float,
        columns: Sequence[str],
        optional: Sequence[str] = (),
        below: Mapping[str, float] | None = None,
    ) -> pa.Table:
        """Return the rows within a circle in the order of their ids; see `core.protocols.CatalogSource`.

        The service says nothing about columns: one that no document has is null, the optional ones too. A circle that takes
        the service too long, or holds too much for one reply, is asked as smaller ones that cover it.

        Raises
        ------
        MissingColumnError
            If thousands of documents do not have one of `columns`.
        DataError
            If a document has no place on the sky.
        ServiceError
            If the service does not answer.
        """
        wanted = Wanted(catalog=catalog, columns=tuple(columns), optional=tuple(optional), below=below or {})
        return self._finished(self._circle(wanted, float(ra), float(dec), radius_arcsec), wanted, ())

    def cones(
        self,
        catalog: str,
        ra: FloatArray,
        dec: FloatArray,
        *,
        radius_arcsec: float,
        columns: Sequence[str],
        optional: Sequence[str] = (),
        below: Mapping[str, float] | None = None,
    ) -> pa.Table:
        """Return the rows within many circles, those of one in the order of their ids; see `core.protocols.BulkCatalogSource`.

        Raises
        ------
        ScopeError
            As `cone_search` does; also if one of the circles is not answered.
        """
        wanted = Wanted(catalog=catalog, columns=tuple(columns), optional=tuple(optional), below=below or {})
        ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
        found = [rows_of([], np.empty(0, dtype=np.int64), wanted)]
        with closing(self._answers(wanted, ra, dec, radius_arcsec)) as answers:
            found += (self._rows(wanted, documents, ra, dec, radius_arcsec) for documents in answers)
        rows = pa.concat_tables(found, promote_options="permissive")
        return self._finished(cut(rows, ra, dec, radius_arcsec), wanted, (POSITION,))

    def _answers(
        self, wanted: Wanted, ra: FloatArray, dec: FloatArray, radius_arcsec: float
    ) -> Generator[Mapping[int, list[Any]]]:
        """Yield the documents of each circle, some circles at a time.

        Raises
        ------
        ServiceError
            If one of them is not answered.
        """
        # No dot, which would come back as an underscore, nor anything else that a reader of names might change.
        circles = {f"p{k}": k for k in range(len(ra))}

        def query(keys: Sequence[int]) -> dict[str, Any]:
            places = {f"p{k}": (float(ra[k]), float(dec[k])) for k in keys}
            return circle_query(wanted, places, radius_arcsec, limit=MOST_DOCUMENTS)

        def read(body: bytes) -> list[tuple[int, list[Any]]]:
            found = documents_by_name(body, wanted.catalog)
            return [(circles.get(name, -1), documents) for name, documents in found.items()]

        pieces = pieces_of(range(len(ra)), most=min(self._config.query_limit, MOST_CIRCLES))
        decoder: ByKey[int, list[Any]] = ByKey(read)
        with closing(
            ask_in_pieces(
                self._asks,
                pieces,
                query,
                decoder,
                catalog=wanted.catalog,
                connections=self._config.connections,
                not_found="the replies lack it",
            )
        ) as answers:
            for answer in answers:
                if answer.missing:
                    k, reason = next(iter(answer.missing.items()))
                    unanswered = reason.startswith(NO_ANSWER)
                    raise (ServiceUnavailableError if unanswered else ReplyError)(
                        f"{len(answer.missing)} of {len(ra)} circles were not answered, the first around"
                        f" ra={ra[k]:.5f} dec={dec[k]:.5f}: {reason.removeprefix(NO_ANSWER)}"
                    )
                yield answer.values

    def _rows(
        self,
        wanted: Wanted,
        documents: Mapping[int, list[Any]],
        ra: FloatArray,
        dec: FloatArray,
        radius_arcsec: float,
    ) -> pa.Table:
        """Return the rows of some circles; one that holds too much is asked by itself."""
        full = [k for k, found in documents.items() if len(found) >= MOST_DOCUMENTS]
        alone = []
        for k in full:
            rows = self._circle(wanted, float(ra[k]), float(dec[k]), radius_arcsec)
            place = rows.column_names.index(POSITION)
            alone.append(rows.set_column(place, POSITION, pa.array(np.full(rows.num_rows, k, dtype=np.int64))))
        rest = {k: found for k, found in documents.items() if k not in full}
        counts = [len(found) for found in rest.values()]
        circle = np.repeat(np.array(list(rest), dtype=np.int64), counts)
        together = rows_of(list(chain.from_iterable(rest.values())), circle, wanted)
        return pa.concat_tables([together, *alone], promote_options="permissive")

    def _circle(self, wanted: Wanted, ra: float, dec: float, radius_arcsec: float) -> pa.Table:
        """Return the rows within one circle, as `cut` does."""
        query = circle_query(wanted, {"circle": (ra, dec)}, radius_arcsec, limit=MOST_DOCUMENTS)
        documents = None
        for _ in range(ATTEMPTS):
            try:
                found = documents_by_name(self._asks.ask(query, catalog=wanted.catalog), wanted.catalog)
            except ServiceTimeoutError as error:
                return self._in_pieces(wanted, ra, dec, radius_arcsec, str(error))
            documents = found.get("circle", documents)
            if documents is not None:
                break
        if documents is None:
            raise ReplyError(f"Kowalski answers without the circle of {radius_arcsec:.1f} arcsec that was asked for")
        if len(documents) >= MOST_DOCUMENTS:
            return self._in_pieces(wanted, ra, dec, radius_arcsec, f"it holds {MOST_DOCUMENTS} documents or more")
        rows = rows_of(documents, np.zeros(len(documents), dtype=np.int64), wanted)
        return cut(rows, np.array([ra]), np.array([dec]), radius_arcsec)

    def _in_pieces(self, wanted: Wanted, ra: float, dec: float, radius_arcsec: float, why: str) -> pa.Table:
        """Return the rows within one circle from smaller ones that cover it."""
        pieces_ra, pieces_dec, radius = covering(ra, dec, radius_arcsec)
        if radius < SMALLEST_ARCSEC:
            raise ServiceTimeoutError(
                f"the {radius_arcsec:.1f} arcsec around ra={ra:.5f} dec={dec:.5f} cannot be asked in smaller pieces: {why}"
            )
        pieces = [
            self._circle(wanted, *place, radius) for place in zip(pieces_ra.tolist(), pieces_dec.tolist(), strict=True)
        ]
        rows = pa.concat_tables(pieces, promote_options="permissive")
        return cut(rows, np.array([ra]), np.array([dec]), radius_arcsec)

    def _finished(self, rows: pa.Table, wanted: Wanted, further: Sequence[str]) -> pa.Table:
        """Return the columns that were asked for.

        Raises
        ------
        MissingColumnError
            If none of many documents had one of them: the collection has no such thing.
        """
        with self._lock:
            seen = self._seen.setdefault((wanted.catalog, wanted.columns), Counter())
            seen[KEY] += rows.num_rows
            for name in wanted.columns:
                if name in rows.column_names and name != KEY:
                    seen[name] += rows.num_rows - rows[name].null_count
            lacking = [name for name in wanted.columns if name in rows.column_names and not seen[name]]
            if lacking and seen[KEY] >= ENOUGH_DOCUMENTS:
                raise MissingColumnError(
                    f"catalogue '{wanted.catalog}' of Kowalski, {seen[KEY]} documents looked at,", lacking, [*+seen]
                )
        return rows.select(list(dict.fromkeys(("ra", "dec", *further, *wanted.names))))
