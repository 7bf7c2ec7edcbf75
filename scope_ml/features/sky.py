"""Neighbours on the sky: catalogues asked once per tile, answered from a tree of the tile in memory.

Where positions fall into a tile (`tiles`), one circle around it, wide enough for every search from within, is asked from
the source. Tiles last used are held in memory up to a bound; with a cache folder every tile is kept as a Parquet file, and
what is kept is never asked for again. May import `tiles`, `core` and `errors`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import exact_ids, one_chunk
from scope_ml.core.protocols import CatalogSource
from scope_ml.core.sphere import angle_arcsec, chord, on_sky, separation_arcsec, unit_vectors
from scope_ml.errors import ConfigError, DataError, MissingColumnError, ServiceError
from scope_ml.features.tiles import Query, TileFiles, tile_codes, tile_cone

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

__all__ = ["CatalogTiles", "Neighbours", "Query", "separation_arcsec"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Bytes of tiles held in memory for one catalogue; at least one tile is held, whatever its size.
HELD_BYTES = 128 << 20

#: Memory of the tree and the vectors of one row.
TREE_BYTES = 80

#: Positions looked up together; bounds the memory of the pairs.
BLOCK = 16384

#: Widening of circles [arcsec] so that rounding loses nothing; what is found is measured exactly afterwards.
SLACK_ARCSEC = 1e-3


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Pairs of a position and a row of the catalogue near it.

    Attributes
    ----------
    position
        Index of the position, int64 (n_pairs,), ascending; the rows of one position by separation, then by id.
    separation
        Angle between the two [arcsec], float64 (n_pairs,).
    rows
        `ra`, `dec` [deg], the id and the columns of the catalogue (n_pairs rows).
    """

    position: IntArray
    separation: FloatArray
    rows: pa.Table

    def nearest(self) -> IntArray:
        """Return the index of the first pair of each position that has any; at the same separation the smallest id."""
        first: IntArray = np.unique(self.position, return_index=True)[1].astype(np.int64)
        return first


@dataclass(frozen=True, kw_only=True)
class _Tile:
    """The rows of one tile, sorted by id, each id once."""

    rows: pa.Table
    vectors: FloatArray
    tree: cKDTree

    @property
    def n_bytes(self) -> int:
        size: int = self.rows.nbytes + TREE_BYTES * self.rows.num_rows
        return size

    def pairs(self, vectors: FloatArray, radius_arcsec: float) -> tuple[IntArray, IntArray, FloatArray]:
        """Return position, row and separation of all pairs, sorted as `Neighbours` says."""
        lists = self.tree.query_ball_point(vectors, chord(radius_arcsec + SLACK_ARCSEC))
        counts = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
        row = np.fromiter(chain.from_iterable(lists), dtype=np.int64, count=int(counts.sum()))
        position = np.repeat(np.arange(len(lists)), counts)
        separation = angle_arcsec(vectors[position], self.vectors[row])
        order = np.lexsort((row, separation, position))
        order = order[separation[order] <= radius_arcsec]
        return position[order], row[order], separation[order]


@dataclass
class _Slot:
    """The place of a tile: of several threads that want it one fetches it, the others wait; after an error the next tries."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    tile: _Tile | None = None


class CatalogTiles:
    """One catalogue of a source, asked by tiles of the sky; threads may share it.

    Parameters
    ----------
    source
        Where the catalogue is.
    query
        What is asked.
    cache
        Folder that keeps tiles, for this and later runs; with None a tile that had to leave the memory is asked again.
    prepare
        Applied to the rows of a tile (each id once) when they come into memory: gives columns their types, computes what
        every search needs, leaves rows out. It must keep `ra` and `dec`, and return the same types for every tile.
    """

    def __init__(
        self,
        source: CatalogSource,
        query: Query,
        *,
        cache: Path | None = None,
        prepare: Callable[[pa.Table], pa.Table] | None = None,
    ) -> None:
        self.query = query
        self.digest = source.digest(query.catalog)
        self._source = source
        self._prepare = prepare
        self._lock = threading.Lock()
        self._held: OrderedDict[int, _Slot] = OrderedDict()
        self._files = TileFiles(cache, query, self.digest) if cache is not None else None

    def within(self, ra: FloatArray, dec: FloatArray, radius_arcsec: float) -> Neighbours:
        """Return all rows within `radius_arcsec` [arcsec], the rim included, of positions [deg].

        Parameters
        ----------
        ra, dec
            float64 (n,) [deg]; what is no place on the sky is counted and has no neighbours.

        Raises
        ------
        ConfigError
            If the radius is more than the margin of the query.
        ScopeError
            If the source does not answer, or with rows that cannot be used.
        OutputError
            If the cache folder cannot be written.
        """
        if radius_arcsec > self.query.margin_arcsec:
            raise ConfigError(
                f"a search of {radius_arcsec} arcsec goes beyond the tiles' margin of {self.query.margin_arcsec} arcsec"
            )
        known = np.flatnonzero(on_sky(ra, dec))
        if not known.size:
            return _joined([])
        codes = tile_codes(ra[known], dec[known])
        by_tile = known[np.argsort(codes, kind="stable")]
        tiles, starts = np.unique(np.sort(codes), return_index=True)
        found: list[tuple[IntArray, FloatArray, pa.Table]] = []
        for code, members in zip(tiles.tolist(), np.split(by_tile, starts[1:]), strict=True):
            tile = self._tile(code)
            for start in range(0, members.size, BLOCK):
                block = members[start : start + BLOCK]
                position, row, separation = tile.pairs(unit_vectors(ra[block], dec[block]), radius_arcsec)
                if row.size or not found:
                    found.append((block[position], separation, tile.rows.take(pa.array(row))))
        return _joined(found)

    def _tile(self, code: int) -> _Tile:
        """Return a tile from memory, file or source; of several threads that want it one gets it for all."""
        with self._lock:
            slot = self._held.setdefault(code, _Slot())
            self._held.move_to_end(code)
        with slot.lock:
            if slot.tile is None:
                slot.tile = self._load(code)
                self._let_go()
            return slot.tile

    def _load(self, code: int) -> _Tile:
        kept = self._files.read(code) if self._files is not None else None
        if kept is not None:
            return self._planted(kept)
        rows = self._asked(code)
        tile = self._planted(rows)
        # Only what could be made use of is kept.
        if self._files is not None:
            self._files.write(code, rows)
        return tile

    def _asked(self, code: int) -> pa.Table:
        query, cone = self.query, tile_cone(code)
        columns = (query.id_column, *query.columns)
        radius = cone.radius_arcsec + query.margin_arcsec + 2.0 * SLACK_ARCSEC
        where = f"catalogue '{query.catalog}', {radius / 3600:.2f} deg around ra={cone.ra:.4f} dec={cone.dec:.4f}"
        try:
            rows = self._source.cone_search(
                query.catalog,
                cone.ra,
                cone.dec,
                radius_arcsec=radius,
                columns=columns,
                optional=query.optional,
                below=query.below or None,
            )
        except ServiceError as error:
            raise ServiceError(f"{where}: {error}") from error
        missing = [name for name in ("ra", "dec", *columns) if name not in rows.column_names]
        if missing:
            raise MissingColumnError(where, missing, rows.column_names)
        return rows

    def _planted(self, raw: pa.Table) -> _Tile:
        """Make rows ready to be searched."""
        from scipy.spatial import cKDTree

        query = self.query
        where = f"catalogue '{query.catalog}'"
        ra, dec = (one_chunk(raw[name].cast(pa.float64())).to_numpy(zero_copy_only=False) for name in ("ra", "dec"))
        rows = raw.filter(pa.array(on_sky(ra, dec)))
        ids = _exact(rows[query.id_column], query, where)
        rows = rows.set_column(rows.column_names.index(query.id_column), query.id_column, ids)
        # The order that a source gives does not matter; a row that was fetched twice is one.
        order = pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in (query.id_column, "ra", "dec")])
        rows = rows.take(order).combine_chunks()
        sorted_ids = one_chunk(rows[query.id_column])
        again = pc.equal(sorted_ids[1:], sorted_ids[:-1]).to_numpy(zero_copy_only=False)
        rows = rows.filter(pa.array(np.concatenate([np.ones(min(1, len(sorted_ids)), bool), ~again])))
        if self._prepare is not None:
            rows = self._prepare(rows)
        vectors = unit_vectors(rows["ra"].to_numpy(), rows["dec"].to_numpy())
        return _Tile(rows=rows, vectors=vectors, tree=cKDTree(vectors))

    def _let_go(self) -> None:
        """Forget the tiles unused for longest while those held are too large."""
        with self._lock:
            sizes = {code: slot.tile.n_bytes for code, slot in self._held.items() if slot.tile is not None}
            total = sum(sizes.values())
            for code in list(sizes)[:-1]:
                if total <= HELD_BYTES:
                    break
                total -= sizes[code]
                del self._held[code]


def _exact(column: pa.ChunkedArray, query: Query, where: str) -> pa.Array:
    """Return ids as int64 or string, as the query wants them.

    Raises
    ------
    DataError
        If they are floats or null, or not the numbers that are wanted.
    """
    wanted = pa.int64() if query.ids == "number" else pa.string()
    if not len(column):
        return pa.array([], wanted)
    ids = exact_ids(column, query.id_column, where=where)
    if query.ids == "text" or pa.types.is_integer(ids.type):
        return ids.cast(wanted)
    numeric = pc.match_substring_regex(ids, r"^-?[0-9]{1,19}$")
    if not pc.all(numeric).as_py():
        first = ids.filter(pc.invert(numeric))[0].as_py()
        raise DataError(
            f"{where}: {query.id_column}='{first}' is not a 64-bit whole number; give the catalogue with its numeric ids"
        )
    try:
        return ids.cast(wanted)
    except pa.ArrowInvalid as error:
        raise DataError(f"{where}: column '{query.id_column}' holds a number beyond int64") from error


def _joined(found: Sequence[tuple[IntArray, FloatArray, pa.Table]]) -> Neighbours:
    """Put what several tiles gave into the order of the positions; a position's pairs come from one tile."""
    if not found:
        nothing = np.empty(0)
        return Neighbours(
            position=nothing.astype(np.int64),
            separation=nothing,
            rows=pa.table({}),
        )
    position = np.concatenate([one[0] for one in found])
    order = np.argsort(position, kind="stable")
    rows = pa.concat_tables([one[2] for one in found])
    return Neighbours(
        position=position[order],
        separation=np.concatenate([one[1] for one in found])[order],
        rows=rows.take(pa.array(order)).combine_chunks(),
    )
