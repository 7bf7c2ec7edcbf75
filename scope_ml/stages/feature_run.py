"""Measuring the light curves of one table: shards on threads, each kept in parts, so that a killed run goes on.

A part is there whole or not at all. What the parts hold is decided by their key; nothing else is remembered between
runs. May import compute, services, features, io and what lies below.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from scope_ml.compute.local import ThreadExecutor
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.protocols import Executor, LightCurveChunk, LightCurveSource, Progress
from scope_ml.core.provenance import TableMetadata, digest_json
from scope_ml.errors import EmptySelectionError, SchemaError
from scope_ml.features.cleaning import Cleaned, Cleaning, CleaningStatus, clean
from scope_ml.features.extract import Extraction
from scope_ml.features.shards import Shard, shards
from scope_ml.io.layouts import ROW_SCHEMA
from scope_ml.io.parts import Parts
from scope_ml.services.waiting import WaitingPool, WaitingThreads
from scope_ml.stages.feature_log import FeatureLog, ShardClock
from scope_ml.stages.feature_reuse import KEPT, Previous, features_of, reuse_facts, seen_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scope_ml.features.surroundings import Surroundings
    from scope_ml.stages.requested_sources import Request

__all__ = ["ROWS", "Measured", "Measuring", "TableParts", "measure_table"]

#: Column of the name that a source was asked for by, as SCoPe calls it.
NAME = "fritz_name"

#: Fact of a part that says which light curves it was made of.
CONTENT = "content"

#: Fact of a part that says with what, of what and how it was made: the key of its folder.
OF_KEY = "key"

#: Types of the facts of light curves where there is none to tell them from.
ROWS = pa.schema([("id", pa.int64()), ("source_id", pa.int64()), *ROW_SCHEMA])


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How light curves are measured, whichever table they go to.

    Attributes
    ----------
    cleaning, extraction, surroundings
        Which points count, what is measured, and what catalogues give to it.
    shard_size, workers
        Light curves per shard, shards at a time.
    limit
        Light curves to take of each table's source at most; all if None.
    log, progress
        Who is told.
    """

    cleaning: Cleaning
    extraction: Extraction
    surroundings: Surroundings | None
    shard_size: int
    workers: int
    limit: int | None
    log: FeatureLog
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class TableParts:
    """The parts of one table, of the list of what it lacks, and of the digests of all that was read.

    Attributes
    ----------
    piece
        Which of how many slices of the table is made: slice k of n has the parts k, k + n, k + 2 n, ...
    """

    folder: Path
    kept: Parts
    dropped: Parts
    seen: Parts
    piece: tuple[int, int] = (0, 1)

    @classmethod
    def of(cls, folder: Path, key: str, piece: tuple[int, int] = (0, 1)) -> TableParts:
        """Return the parts in `folder`; those of another key are removed."""
        parts = {name: Parts(folder / name, key) for name in ("kept", "dropped", "seen")}
        return cls(folder=folder, piece=piece, **parts)

    def mine(self, index: int) -> bool:
        """Return whether a part is of this slice."""
        number, of = self.piece
        return index % of == number

    @property
    def all(self) -> tuple[Parts, ...]:
        """Return the parts of each output."""
        return self.kept, self.dropped, self.seen

    def done(self, index: int, content: str) -> bool:
        """Return whether a shard has been measured that held the same, by its `content_digest`."""
        if not all(parts.done(index) for parts in self.all):
            return False
        try:
            # Of this key: who was stopped too late may still write parts of another, after they were cleared.
            known = {CONTENT: content, OF_KEY: self.kept.key}
            facts = [parts.metadata(index).facts for parts in self.all]
            return all(one.get(name) == value for one in facts for name, value in known.items())
        except SchemaError:
            return False

    def counts(self, index: int) -> dict[str, int]:
        """Return how many light curves went into a measured shard and came out of it."""
        facts = self.dropped.metadata(index).facts
        return {"n_in": facts["n_in"], "n_out": facts["n_in"] - sum(facts["dropped"].values())}

    def discard(self) -> None:
        """Remove the parts."""
        for parts in self.all:
            parts.discard()


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What became of a table's shards.

    Attributes
    ----------
    n_shards, n_resumed
        How many there are, and how many were done before.
    found
        Of sources that were asked for one by one, bool (n_sources,), which have a light curve.
    """

    n_shards: int
    n_resumed: int
    found: NDArray[np.bool_] | None = None


@dataclass
class _Watched:
    """A source that remembers what its rows look like, for the table of a quadrant where none is wanted."""

    source: LightCurveSource
    rows: pa.Table = field(default_factory=ROWS.empty_table)

    @property
    def digest(self) -> str:
        return self.source.digest

    @property
    def n_rows(self) -> int | None:
        return self.source.n_rows

    def chunks(self) -> Iterator[LightCurveChunk]:
        for chunk in self.source.chunks():
            self.rows = chunk.rows.slice(0, 0)
            yield chunk

    def no_light_curves(self) -> Shard:
        """Return a shard without light curves."""
        none: list[Any] = []
        return Shard(index=0, first=0, batch=LightCurveBatch.from_lists(none, none, none, none), rows=self.rows)


def measure_table(
    source: LightCurveSource,
    parts: TableParts,
    measuring: Measuring,
    *,
    what: str = "measuring light curves",
    where: Mapping[str, Any] | None = None,
    request: Request | None = None,
    empty: str | None = None,
    previous: Previous | None = None,
) -> Measured:
    """Measure the shards of a source that are not done; a source without light curves gives one part without rows.

    Parameters
    ----------
    source
        The light curves.
    parts
        Where the shards are kept.
    measuring
        How.
    what
        Said by the progress.
    where
        Said of each shard in the run log, such as its quadrant.
    request
        Sources that were asked for one by one; their names become a column.
    empty
        What to say if there are no light curves; None if that is an answer.
    previous
        An earlier table, from which light curves that have not changed are taken over.

    Raises
    ------
    EmptySelectionError
        Saying `empty`.
    """
    watched = _Watched(source)
    log, progress, place = measuring.log, measuring.progress, where or {}
    found = None if request is None else request.found(ROWS.empty_table())
    total = _total(source, measuring.limit)
    n_shards = n_resumed = 0

    def undone() -> Generator[Shard]:
        nonlocal n_shards, n_resumed, found
        for shard in shards(watched, size=measuring.shard_size, limit=measuring.limit):
            log.begin(total)
            if not parts.mine(shard.index):
                continue
            n_shards += 1
            if request is not None and found is not None:
                found = found | request.found(shard.rows)
            if parts.done(shard.index, content_digest(shard)):
                n_resumed += 1
                log.resumed_shard(shard.index, parts.counts(shard.index), place)
                progress.advance(len(shard.batch))
            else:
                yield shard

    def measured(shard: Shard) -> int:
        clock = ShardClock()
        n_kept = _measure(shard, parts, measuring, clock, request=request, previous=previous)
        log.shard(shard.index, {"n_in": len(shard.batch), "n_out": n_kept}, clock, place)
        return len(shard.batch)

    progress.start(what, total)
    # Closed at once where the work stops early, so that a source that reads ahead ends doing so.
    with closing(undone()) as waiting, _asked_ahead(measuring.surroundings) as ahead:
        for n_sources in _threads(measuring).map(measured, ahead(waiting)):
            progress.advance(n_sources)
    progress.finish()
    if not n_shards and parts.piece == (0, 1):
        if empty is not None:
            raise EmptySelectionError(empty)
        _measure(watched.no_light_curves(), parts, measuring, ShardClock(), request=request, previous=previous)
    return Measured(n_shards=n_shards, n_resumed=n_resumed, found=found)


def content_digest(shard: Shard) -> str:
    """Return the digest of which light curves of how many points are in a shard.

    A source that asks a service may lack today what it has tomorrow: then what follows stands in other shards.
    """
    ids, bands = shard.rows["id"].to_pylist(), shard.rows["band"].to_pylist()
    return digest_json([ids, bands, shard.batch.n_obs.tolist()])


def _total(source: LightCurveSource, limit: int | None) -> int | None:
    """Return how many light curves will be read, or None where that is not known before."""
    # A stored row may hold several light curves, or a band that is not wanted.
    exact = not getattr(source, "bands", ()) and all(one.name != "dataset" for one in getattr(source, "layouts", ()))
    known = source.n_rows if exact else None
    return min(known, limit) if known is not None and limit is not None else known


def _measure(
    shard: Shard,
    parts: TableParts,
    measuring: Measuring,
    clock: ShardClock,
    *,
    request: Request | None,
    previous: Previous | None,
) -> int:
    """Clean and measure one shard, write its parts, return how many light curves were kept."""
    surroundings = measuring.surroundings
    with clock.spent("cleaning"):
        near = None if surroundings is None else _near_bright_star(shard.rows, surroundings)
        cleaned = clean(shard.batch, measuring.cleaning, near_bright_star=near)
    kept = np.flatnonzero(cleaned.status == CleaningStatus.OK)
    dropped = np.flatnonzero(cleaned.status != CleaningStatus.OK)
    rows = shard.rows.take(pa.array(kept))
    with clock.spent("digests"):
        became = [KEPT if code == CleaningStatus.OK else CleaningStatus(code).label for code in cleaned.status]
        seen = seen_table(shard.batch, shard.rows, became)
    table, reuse = features_of(
        cleaned.batch.take(kept),
        rows,
        measuring.extraction,
        n_obs_raw=shard.batch.n_obs[kept],
        surroundings=surroundings,
        seconds=clock.by_group,
        previous=previous,
        digests=seen["digest"].take(pa.array(kept)),
    )
    if request is not None and request.named:
        table = table.append_column(NAME, request.names_of(rows))
    content = {CONTENT: content_digest(shard), OF_KEY: parts.kept.key}
    facts = {
        **content,
        "n_in": len(shard.batch),
        "dropped": dict(Counter(CleaningStatus(code).label for code in cleaned.status[dropped])),
        "points_in": shard.batch.n_points,
        "points_dropped": dict(cleaned.points_dropped),
        "status": dict(Counter(table["status"].to_pylist())),
        **reuse_facts(reuse),
    }
    with clock.spent("writing"):
        parts.seen.write(shard.index, seen, TableMetadata(kind="light_curve_digests", facts=content))
        parts.dropped.write(
            shard.index,
            _dropped_table(shard, cleaned, dropped),
            TableMetadata(kind="dropped_light_curves", facts=facts),
        )
        parts.kept.write(shard.index, table, TableMetadata(kind="features", facts=content))
    clock.stop()
    return len(kept)


def _near_bright_star(rows: pa.Table, surroundings: Surroundings) -> NDArray[np.bool_] | None:
    return surroundings.near_bright_star(rows["id"], *_positions(rows))


def _asked_ahead(
    surroundings: Surroundings | None,
) -> AbstractContextManager[Callable[[Iterable[Shard]], Iterator[Shard]]]:
    """Give a way to go through shards for which catalogues far away are asked before their turn."""
    if surroundings is None:
        return nullcontext(iter)
    return surroundings.asked_ahead(lambda shard: _positions(shard.rows), WaitingPool)


def _threads(measuring: Measuring) -> Executor:
    """Return what measures shards: nobody waits in the end for a thread that waits for a catalogue far away."""
    is_far = measuring.surroundings is not None and measuring.surroundings.connections
    return (WaitingThreads if is_far else ThreadExecutor)(workers=measuring.workers)


def _positions(rows: pa.Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ra, dec = (rows[name].to_numpy().astype(np.float64, copy=False) for name in ("ra", "dec"))
    return ra, dec


def _dropped_table(shard: Shard, cleaned: Cleaned, dropped: np.ndarray[Any, Any]) -> pa.Table:
    """Return one row a dropped light curve: id, source_id, band, reason, points after and before cleaning."""
    rows = shard.rows.select(["id", "source_id", "band"]).take(pa.array(dropped))
    reasons = [CleaningStatus(code).label for code in cleaned.status[dropped]]
    columns = {
        "reason": pa.array(reasons, pa.string()),
        "n_obs": pa.array(cleaned.batch.n_obs[dropped].astype(np.int32)),
        "n_obs_raw": pa.array(shard.batch.n_obs[dropped].astype(np.int32)),
    }
    for name, values in columns.items():
        rows = rows.append_column(name, values)
    return rows
