"""Light curves in shards of one size, whatever chunks the source yields: the units of work and of resume.

May import `core`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.protocols import LightCurveSource

__all__ = ["Shard", "shards"]


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Light curves number ``first`` to ``first + len(batch) - 1`` of a source.

    Attributes
    ----------
    index
        Number of the shard, from 0 without gaps.
    first
        Number of its first light curve in the source.
    batch, rows
        As in `core.protocols.LightCurveChunk`.
    """

    index: int
    first: int
    batch: LightCurveBatch
    rows: pa.Table


def shards(source: LightCurveSource, *, size: int, limit: int | None = None) -> Iterator[Shard]:
    """Yield the light curves of a source in shards of `size`; the last has the rest.

    A shard also ends where files with flags or programids meet files without: what stands in a shard depends on the content and
    `size` alone, never on the source's chunks.

    Parameters
    ----------
    source
        The light curves.
    size
        Light curves per shard.
    limit
        Light curves to take at most; all if None.
    """
    index = first = 0
    waiting: list[tuple[LightCurveBatch, pa.Table]] = []
    left = limit
    for chunk in source.chunks():
        batch, rows = chunk.batch, chunk.rows
        if left is not None:
            batch, rows = batch.slice(0, left), rows.slice(0, left)
            left -= len(batch)
        if len(batch) and waiting and _optional(waiting[0][0]) != _optional(batch):
            yield _join(index, first, waiting)
            first += sum(len(piece) for piece, _ in waiting)
            index, waiting = index + 1, []
        while len(batch):
            room = size - sum(len(piece) for piece, _ in waiting)
            waiting.append((batch.slice(0, room), rows.slice(0, room)))
            batch, rows = batch.slice(room), rows.slice(room)
            if sum(len(piece) for piece, _ in waiting) == size:
                yield _join(index, first, waiting)
                index, first, waiting = index + 1, first + size, []
        if left == 0:
            break
    if waiting:
        yield _join(index, first, waiting)


def _optional(batch: LightCurveBatch) -> tuple[bool, bool]:
    """Return which of the columns are there that files need not have."""
    return batch.flags is None, batch.programid is None


def _join(index: int, first: int, pieces: list[tuple[LightCurveBatch, pa.Table]]) -> Shard:
    if len(pieces) == 1:
        batch, rows = pieces[0]
    else:
        batch = LightCurveBatch.concatenate([piece for piece, _ in pieces])
        rows = pa.concat_tables([rows for _, rows in pieces])
    return Shard(index=index, first=first, batch=batch, rows=rows.combine_chunks())
