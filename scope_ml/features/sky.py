"""Neighbours on the sky: catalogues asked once per tile, answered from a tree of the tile in memory.

Where positions fall into a tile (`tiles`), one circle around it, wide enough for every search from within, is asked from
the source. Of a source far away, tiles with few positions are not asked whole, but small circles around these (`circles`).
Answers last used are held in memory up to a bound; with a cache folder each is kept as a Parquet file, and what is kept
is never asked for again. May import `tiles`, `circles`, `core` and `errors`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import exact_ids, one_chunk
from scope_ml.core.protocols import BulkCatalogSource, CatalogSource
from scope_ml.core.sphere import ARCSEC_PER_DEGREE, angle_arcsec, chord, on_sky, separation_arcsec, unit_vectors
from scope_ml.errors import ConfigError, DataError, MissingColumnError, ServiceError
from scope_ml.features.circles import Batch, CircleFiles, Circles, cheaper_than_tile, in_batches
from scope_ml.features.tiles import Query, TileFiles, tile_codes, tile_cone

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

__all__ = ["CatalogTiles", "Neighbours", "Query", "separation_arcsec"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: One right ascension or declination [deg], or many.
Place: TypeAlias = float | FloatArray

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
    """The rows of one tile, or around the positions of a batch, sorted by id, each id once."""

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
        # By the number of the tile, or -1 - the number of the batch of circles.
        self._held: OrderedDict[int, _Slot] = OrderedDict()
        self._files = TileFiles(cache, query, self.digest) if cache is not None else None
        self._far = source if isinstance(source, BulkCatalogSource) else None
        self._circle_files = CircleFiles(cache, query, self.digest) if cache is not None and self._far else None
        self._circles = Circles()
        for batch in self._circle_files.batches() if self._circle_files is not None else ():
            self._circles.add(batch)

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
        found: list[tuple[IntArray, FloatArray, pa.Table]] = []
        for place, members in self._places(ra, dec):
            tile = self._tile(place)
            for start in range(0, members.size, BLOCK):
                block = members[start : start + BLOCK]
                position, row, separation = tile.pairs(unit_vectors(ra[block], dec[block]), radius_arcsec)
                if row.size or not found:
                    found.append((block[position], separation, tile.rows.take(pa.array(row))))
        return _joined(found)

    def requests(self, ra: FloatArray, dec: FloatArray) -> list[Callable[[], object]]:
        """Return what has to be called so that `within` finds all it needs for positions [deg] in memory.

        The calls may be made by several threads, and raise what `within` raises. What is in memory is left out, and what
        was returned before: `within` waits for what is under way, and asks itself for the rest.
        """
        places = [place for place, _ in self._places(ra, dec)]
        with self._lock:
            new = [place for place in places if place not in self._held]
            self._held.update((place, _Slot()) for place in new)
        return [partial(self._tile, place) for place in new]

    def _places(self, ra: FloatArray, dec: FloatArray) -> list[tuple[int, IntArray]]:
        """Return each tile, or batch of circles, in which positions are looked up, and which positions these are."""
        known = np.flatnonzero(on_sky(ra, dec))
        if not known.size:
            return []
        places = tile_codes(ra[known], dec[known])
        if self._far is not None:
            with self._lock:
                places = self._nearer(places, ra[known], dec[known])
        order = np.argsort(places, kind="stable")
        each, starts = np.unique(places[order], return_index=True)
        return list(zip(each.tolist(), np.split(known[order], starts[1:]), strict=True))

    def _nearer(self, codes: IntArray, ra: FloatArray, dec: FloatArray) -> IntArray:
        """Return where positions in tiles `codes` are looked up; those alone in their tiles become batches of circles."""
        circles, places = self._circles, codes.copy()
        whole = [code for code in np.unique(codes).tolist() if self._is_asked(code)]
        left = np.flatnonzero(~np.isin(codes, whole))
        batch = circles.find(ra[left], dec[left])
        places[left[batch >= 0]] = -1 - batch[batch >= 0]
        left = left[batch < 0]
        new = Circles()
        for one in in_batches(ra[left], dec[left]):
            new.add(one)
        few = [
            code
            for code, n in new.n_in_tile.items()
            if cheaper_than_tile(code, n + circles.n_in_tile[code], self.query.margin_arcsec)
        ]
        left = left[np.isin(codes[left], few)]
        for one in in_batches(ra[left], dec[left]):
            circles.add(one)
        places[left] = -1 - circles.find(ra[left], dec[left])
        return places

    def _is_asked(self, code: int) -> bool:
        return code in self._held or (self._files is not None and self._files.path(code).is_file())

    def _tile(self, place: int) -> _Tile:
        """Return a tile from memory, file or source; of several threads that want it one gets it for all."""
        with self._lock:
            slot = self._held.setdefault(place, _Slot())
            self._held.move_to_end(place)
        with slot.lock:
            if slot.tile is None:
                slot.tile = self._load(place) if place >= 0 else self._load_circles(self._circles.batches[-1 - place])
                self._let_go()
            return slot.tile

    def _load(self, code: int) -> _Tile:
        kept = self._files.read(code) if self._files is not None else None
        if kept is not None:
            return self._planted(kept)
        cone, margin = tile_cone(code), self.query.margin_arcsec + 2.0 * SLACK_ARCSEC
        radius = cone.radius_arcsec + margin
        where = f"{radius / ARCSEC_PER_DEGREE:.2f} deg around ra={cone.ra:.4f} dec={cone.dec:.4f}"
        rows = self._asked(self._source.cone_search, cone.ra, cone.dec, radius, where)
        tile = self._planted(rows)
        # Only what could be made use of is kept.
        if self._files is not None:
            self._files.write(code, rows)
        return tile

    def _load_circles(self, batch: Batch) -> _Tile:
        kept = self._circle_files.read(batch) if self._circle_files is not None else None
        if kept is not None:
            return self._planted(kept)
        assert self._far is not None, "only a source far away is asked for circles"
        radius = self.query.margin_arcsec + 2.0 * SLACK_ARCSEC
        where = f"{radius:.0f} arcsec around {batch.ra.size} positions"
        rows = self._asked(self._far.cones, batch.ra, batch.dec, radius, where)
        tile = self._planted(rows.drop_columns(["position"]))
        if self._circle_files is not None:
            self._circle_files.write(batch, rows.drop_columns(["position"]))
        return tile

    def _asked(self, ask: Callable[..., pa.Table], ra: Place, dec: Place, radius_arcsec: float, where: str) -> pa.Table:
        query = self.query
        where = f"catalogue '{query.catalog}', {where}"
        columns = (query.id_column, *query.columns)
        try:
            rows = ask(
                query.catalog,
                ra,
                dec,
                radius_arcsec=radius_arcsec,
                columns=columns,
                optional=query.optional,
                below=query.below or None,
            )
        except ServiceError as error:
            raise type(error)(f"{where}: {error}") from error
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
    # Where no row of a tile has a value, a source far away cannot say of which type it would be.
    rows = pa.concat_tables([one[2] for one in found], promote_options="permissive")
    return Neighbours(
        position=position[order],
        separation=np.concatenate([one[1] for one in found])[order],
        rows=rows.take(pa.array(order)).combine_chunks(),
    )
