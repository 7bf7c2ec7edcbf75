"""Light curves of a quadrant, a field, a list of ids or of positions from Kowalski; a `core.protocols.LightCurveSource`.

First the ids are found out (`plans`). Cut into blocks, they are
asked for ahead of whoever measures them; what came is kept (`cache`), and what did not is named. The chunks are the
same in the same order whatever went wrong on the way, but for the light curves that did not come. May import io, core,
errors and the rooms of this package.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.protocols import NullProgress, Progress
from scope_ml.core.provenance import digest_json
from scope_ml.errors import ConfigError, FormatError
from scope_ml.io.layouts import ZTF_FILTERS, Chunk
from scope_ml.io.lightcurves import of_bands
from scope_ml.io.selection import Selection
from scope_ml.services.account import Account, Missing
from scope_ml.services.kowalski.asking import NO_ANSWER, Answer, ask_in_pieces
from scope_ml.services.kowalski.cache import Block, LightCurveCache, join, no_light_curves
from scope_ml.services.kowalski.client import Asks
from scope_ml.services.kowalski.plans import Plan, cut, find_plan, sorted_places
from scope_ml.services.kowalski.replies import POINT_FIELDS, Curves, light_curves
from scope_ml.services.kowalski.settings import KowalskiConfig
from scope_ml.services.kowalski.versions import catalog_folder

__all__ = ["LISTED", "KowalskiLightCurves"]

#: What a run needs of each document, a fraction of what the service keeps.
PROJECTION = dict.fromkeys(
    ("_id", "ra", "dec", "field", "ccd", "quad", "filter", *(f"data.{name}" for name in POINT_FIELDS)), 1
)

#: Reason of an id that the catalogue listed, or found around a position, but does not send.
LISTED = f"{NO_ANSWER}it is in the catalogue's own list, but not in its answers"

Ids = npt.NDArray[np.int64]
Came = Answer[int, Curves]


@dataclass(kw_only=True)
class _Tally:
    """What became of the ids of the blocks that were yielded so far."""

    asked: int = 0
    answered: int = 0
    n_trimmed: int = 0
    missing: list[Missing] = field(default_factory=list)


class KowalskiLightCurves:
    """The light curves of a selection; nothing is asked before it must be, and nothing twice where there is a cache.

    Parameters
    ----------
    asks
        The client.
    catalog
        Collection of the light curves, such as ``ZTF_sources_20240117``.
    selection
        A field, a ccd, a quadrant, or ids, or positions.
    config
        Sizes of queries, allowed programmes, the cache.
    bands
        Bands to take, of g, r and i; all if empty.
    progress
        Told how the search for ids goes.

    Raises
    ------
    ConfigError
        If everything is selected, or a band is unknown.
    """

    def __init__(
        self,
        asks: Asks,
        catalog: str,
        selection: Selection,
        *,
        config: KowalskiConfig,
        bands: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> None:
        if selection.everything:
            raise ConfigError(
                "Kowalski has too many light curves for all; name a field, ids or positions", key="target"
            )
        unknown = [band for band in bands if band not in ZTF_FILTERS.values()]
        if unknown:
            raise ConfigError(
                f"band {unknown[0]} is none of Kowalski's; it has {', '.join(ZTF_FILTERS.values())}", key="source.band"
            )
        self._asks = asks
        self._catalog = catalog
        self._selection = selection
        self._config = config
        self._wanted = tuple(sorted(bands))
        self._progress = progress or NullProgress()
        self._warnings: list[str] = []
        self._tally = _Tally()

    @cached_property
    def digest(self) -> str:
        """SHA-256 digest of what is asked for: the catalogue in its version, the selection, bands and programmes.

        Raises
        ------
        ConfigError, ServiceError
            If there is no such catalogue, or the service does not say.
        """
        return digest_json(self._question)

    @cached_property
    def _question(self) -> dict[str, Any]:
        try:
            version = self._asks.version(self._catalog)
        except ConfigError as error:
            key = "survey.collections.sources"
            raise ConfigError(f"{error}; type {key}=NAME, or survey=kowalski for the usual ones", key=key) from error
        return {
            "catalog": self._catalog,
            "version": version,
            "selection": self._selection.digest,
            "bands": list(self._wanted),
            "programids": sorted(self._config.programids),
        }

    @property
    def n_rows(self) -> int:
        """Number of ids that are asked for; finds them out.

        Raises
        ------
        ServiceError
            If they cannot be found out.
        """
        return int(self._plan.table.num_rows)

    def account(self) -> Account:
        """Return what became of the ids; complete once `chunks` is exhausted."""
        positions = self._selection.positions
        places = [] if positions is None else sorted_places(positions).tolist()
        unknown = [
            Missing(id=None, ra=places[at][0], dec=places[at][1], reason=reason, again=True)
            for at, reason in sorted(self._plan.open.items())
        ]
        return Account(
            asked=self._tally.asked,
            answered=self._tally.answered,
            points_not_allowed=self._tally.n_trimmed,
            positions_asked=None if positions is None else len(places),
            missing=(*self._tally.missing, *unknown),
            warnings=tuple(self._warnings),
        )

    @property
    def unanswered(self) -> pa.Table:
        """What did not come: `id`, `ra`, `dec` [deg], `reason`; complete once `chunks` is exhausted."""
        return self.account().table

    def chunks(self) -> Generator[Chunk]:
        """Yield the light curves, a chunk a block of ids; a few blocks are asked for ahead.

        Raises
        ------
        ServiceError
            If the service is down, refuses the credentials or the query.
        OutputError
            If the cache cannot be written.
        """
        self._tally = _Tally()
        blocks = self._plan.blocks()
        known = [self._settled(index) for index in range(len(blocks))]
        pieces = [cut(rows, self._config, without=known[index]) for index, rows in enumerate(blocks)]
        if self._cache is not None and any(pieces):
            self._cache.check_writable()
        with closing(self._asked(list(chain.from_iterable(pieces)))) as answers:
            for index, rows in enumerate(blocks):
                came = [next(answers) for _ in pieces[index]]
                yield self._chunk(index, rows, came, kept=len(known[index]) > 0)

    def _chunk(self, index: int, rows: pa.Table, came: list[Came], *, kept: bool) -> Chunk:
        """Return the light curves of a block from what was kept and what came, and keep what is new."""
        block = self._kept_block(index) if kept else Block(chunk=no_light_curves())
        # What was settled at the start need not be by now: the file is broken, or another run has written another.
        asked = {one for answer in came for one in answer.keys}
        settled = np.array([*block.chunk.batch.id.tolist(), *block.gone, *asked], np.int64)
        came = [*came, *self._asked(cut(rows, self._config, without=settled))]
        reasons = self._reasons(rows, came)
        n_trimmed = sum(
            int(one.points_trimmed[~np.isin(one.chunk.batch.id, block.chunk.batch.id)].sum())
            for one in (answer.values for answer in came)
        )
        block = Block(
            chunk=join([block.chunk, *(answer.values.chunk for answer in came)], rows["id"].to_numpy()),
            gone={**_without(block.gone, came), **{one: why for one, why in reasons.items() if not _is_open(why)}},
            n_trimmed=block.n_trimmed + n_trimmed,
        )
        if came and self._cache is not None:
            self._cache.write(index, block)
        self._count(rows, block, {**block.gone, **reasons})
        return of_bands(block.chunk, self._wanted)

    def _kept_block(self, index: int) -> Block:
        assert self._cache is not None
        try:
            return self._cache.read(index)
        except FormatError as error:
            self._warn_of(error)
            return Block(chunk=no_light_curves())

    def _reasons(self, rows: pa.Table, came: Sequence[Came]) -> dict[int, str]:
        """Return why ids did not come; one that the catalogue itself has listed is never taken to be not there."""
        listed = set(rows["id"].filter(rows["ra"].is_valid()).to_pylist())
        return {
            one: LISTED if one in listed and not _is_open(why) else why
            for answer in came
            for one, why in answer.missing.items()
        }

    def _count(self, rows: pa.Table, block: Block, reasons: Mapping[int, str]) -> None:
        tally = self._tally
        tally.asked += rows.num_rows
        tally.answered += len(block.chunk.batch)
        tally.n_trimmed += block.n_trimmed
        lacking = rows.filter(pa.array(~np.isin(rows["id"].to_numpy(), block.chunk.batch.id)))
        for row in lacking.to_pylist():
            why = reasons[row["id"]]
            tally.missing.append(Missing(id=row["id"], ra=row["ra"], dec=row["dec"], reason=why, again=_is_open(why)))

    def _asked(self, pieces: Sequence[Sequence[int]]) -> Generator[Came]:
        """Ask for pieces of ids; the answers come in their order."""
        return ask_in_pieces(
            self._asks,
            pieces,
            self._query,
            _CurvesByKey(tuple(self._config.programids)),
            catalog=self._catalog,
            connections=self._config.connections,
        )

    def _query(self, ids: Sequence[int]) -> dict[str, Any]:
        wanted = {"catalog": self._catalog, "filter": {"_id": {"$in": list(ids)}}, "projection": PROJECTION}
        return {"query_type": "find", "query": wanted}

    def _settled(self, index: int) -> Ids:
        """Return the ids of a block of which it is known what became of them."""
        if self._cache is None:
            return np.zeros(0, np.int64)
        try:
            return self._cache.settled(index, came=self._config.refresh)
        except FormatError as error:
            self._warn_of(error)
            return np.zeros(0, np.int64)

    def _warn_of(self, error: FormatError) -> None:
        what = str(error).partition("; ")[0]
        self._warnings.append(f"kept light curves were broken and were asked for again: {what}")

    @cached_property
    def _cache(self) -> LightCurveCache | None:
        if self._config.cache is None:
            return None
        folder = catalog_folder(self._config.cache, self._catalog, self._question["version"])
        return LightCurveCache(folder, self._question)

    @cached_property
    def _plan(self) -> Plan:
        kept = self._kept_plan()
        if kept is not None and not kept.open:
            return kept
        if self._cache is not None:
            self._cache.check_writable()
        self._progress.start(f"looking for the light curves of {self._selection}")
        try:
            plan = find_plan(
                self._asks,
                self._catalog,
                self._selection,
                config=self._config,
                bands=self._wanted,
                progress=self._progress,
                before=kept,
            )
        finally:
            self._progress.finish()
        if self._cache is not None:
            self._cache.write_plan(plan)
        return plan

    def _kept_plan(self) -> Plan | None:
        try:
            return None if self._cache is None else self._cache.read_plan()
        except FormatError as error:
            self._warn_of(error)
            return None


def _without(gone: Mapping[int, str], came: Sequence[Came]) -> dict[int, str]:
    """Return what an earlier run found not to be there, and this one has not asked for again."""
    asked = {one for answer in came for one in answer.keys}
    return {one: why for one, why in gone.items() if one not in asked}


def _is_open(reason: str) -> bool:
    """Return whether asking later may help."""
    return reason.startswith(NO_ANSWER)


class _CurvesByKey:
    """Reads replies with light curves; a decoder of `asking`."""

    def __init__(self, programids: tuple[int, ...]) -> None:
        self._programids = programids

    def decode(self, body: bytes) -> tuple[Sequence[int], Curves]:
        """Return the ids of a reply, and its light curves."""
        curves = light_curves(body, programids=self._programids)
        return curves.chunk.batch.id.tolist(), curves

    def pick(self, parts: Sequence[Curves], places: Sequence[tuple[int, int]]) -> Curves:
        """Return light curves of several replies as one."""
        if not parts:
            return Curves(chunk=no_light_curves(), points_trimmed=np.zeros(0, np.int64))
        firsts = np.cumsum([0, *(len(part.chunk.batch) for part in parts[:-1])])
        at = np.array([firsts[part] + row for part, row in places], np.int64)
        batch = LightCurveBatch.concatenate([part.chunk.batch for part in parts])
        rows = pa.concat_tables([part.chunk.rows for part in parts])
        trimmed = np.concatenate([part.points_trimmed for part in parts])
        return Curves(chunk=Chunk(batch=batch.take(at), rows=rows.take(pa.array(at))), points_trimmed=trimmed[at])
