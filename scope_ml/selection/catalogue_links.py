"""Which stars of an older catalogue are which of a newer one, told by the light curves that they share.

Both are read side by side along the sky, whatever their partitions are, so that few rows are in memory. Stars that share
light curves but lie in different stretches of it are found in a first pass over the ids alone, held back in the second, and
come last, together. May import the rooms of this package and core.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.selection.catalogue_parts import CELL, Part, StarCatalogue

__all__ = ["Crossing", "Groups", "Stretch", "crossing_stars", "group_stars", "stretches"]

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stretch:
    """The rows of both catalogues in one stretch of the sky.

    Attributes
    ----------
    old, new
        Rows.
    old_start, new_start
        How many rows of each came before: the number of its first star.
    """

    old: pa.Table
    new: pa.Table
    old_start: int
    new_start: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """Stars of both catalogues that share light curves, directly or by others.

    Attributes
    ----------
    old, new
        Group of each star, int64 (n_old,), (n_new,).
    n_old, n_new
        Stars of each group, int64 (n_groups,).
    n_shared, n_lost, n_gained
        Light curves of each group that are in both, in the older only, in the newer only; int64 (n_groups,).
    """

    old: IntArray
    new: IntArray
    n_old: IntArray
    n_new: IntArray
    n_shared: IntArray
    n_lost: IntArray
    n_gained: IntArray

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.n_old)


@dataclass(frozen=True, kw_only=True, eq=False)
class Crossing:
    """Numbers of the stars whose light curves are elsewhere in the other catalogue: int64, sorted."""

    old: IntArray
    new: IntArray

    def holds(self, stretch: Stretch, groups: Groups) -> BoolArray:
        """Return which groups of a stretch have to wait for what is elsewhere, bool (n_groups,)."""
        held = np.zeros(len(groups), dtype=bool)
        for numbers, start, of_star in (
            (self.old, stretch.old_start, groups.old),
            (self.new, stretch.new_start, groups.new),
        ):
            inside = numbers[np.searchsorted(numbers, start) : np.searchsorted(numbers, start + len(of_star))]
            held[of_star[inside - start]] = True
        return held


def stretches(
    old: StarCatalogue, new: StarCatalogue, columns_of_old: Sequence[str], columns_of_new: Sequence[str]
) -> Iterator[Stretch]:
    """Yield both catalogues stretch by stretch, each row once, always in the same order.

    A stretch ends where a partition of either ends; each partition is read once.
    """
    sides = (_Side(old, columns_of_old), _Side(new, columns_of_new))
    bounds = sorted({bound for side in (old, new) for part in side.parts for bound in (part.first, part.stop)})
    n_old = n_new = 0
    for stop in bounds[1:]:
        rows = [side.up_to(stop) for side in sides]
        if rows[0].num_rows or rows[1].num_rows:
            yield Stretch(old=rows[0], new=rows[1], old_start=n_old, new_start=n_new)
        n_old, n_new = n_old + rows[0].num_rows, n_new + rows[1].num_rows


def group_stars(old: pa.ChunkedArray, new: pa.ChunkedArray) -> Groups:
    """Return the groups of some stars.

    Parameters
    ----------
    old, new
        Ids of the light curves of each star: lists of whole numbers or of texts.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_old, n_new = len(old), len(new)
    (old_star, old_code), (new_star, new_code), n_codes = _coded(old, new)
    ends = np.concatenate([old_star, new_star + n_old])
    links = np.concatenate([old_code, new_code]) + n_old + n_new
    size = n_old + n_new + n_codes
    graph = coo_array((np.ones(len(ends), dtype=np.int8), (ends, links)), shape=(size, size))
    # Light curves are nodes too, each of at least one star: there are no groups without stars.
    n_groups, group = connected_components(graph, directed=False)
    in_old, in_new = np.zeros(n_codes, dtype=bool), np.zeros(n_codes, dtype=bool)
    in_old[old_code], in_new[new_code] = True, True
    of_code = group[n_old + n_new :].astype(np.int64)
    of_old, of_new = group[:n_old].astype(np.int64), group[n_old : n_old + n_new].astype(np.int64)

    def counted(members: IntArray) -> IntArray:
        return np.bincount(members, minlength=n_groups).astype(np.int64)

    return Groups(
        old=of_old,
        new=of_new,
        n_old=counted(of_old),
        n_new=counted(of_new),
        n_shared=counted(of_code[in_old & in_new]),
        n_lost=counted(of_code[in_old & ~in_new]),
        n_gained=counted(of_code[in_new & ~in_old]),
    )


def crossing_stars(both: Iterator[Stretch], old_ids: str, new_ids: str) -> Crossing:
    """Return the stars whose light curves are, in the other catalogue, in another stretch.

    Memory: the ids without a counterpart in their own stretch.

    Parameters
    ----------
    both
        All stretches, with the ids of light curves at least.
    old_ids, new_ids
        Columns of them.
    """
    lone: tuple[list[tuple[pa.Array, IntArray]], list[tuple[pa.Array, IntArray]]] = ([], [])
    for stretch in both:
        sides = [_flat(stretch.old[old_ids]), _flat(stretch.new[new_ids])]
        ids = _alike(sides[0][1], sides[1][1])
        for side, start in ((0, stretch.old_start), (1, stretch.new_start)):
            alone = pc.invert(pc.is_in(ids[side], value_set=ids[1 - side]))
            if pc.any(alone).as_py():
                lone[side].append((ids[side].filter(alone), sides[side][0][np.asarray(alone)] + start))
    found = []
    joined = [_joined(pieces) for pieces in lone]
    alike = _alike(joined[0][0], joined[1][0])
    for side in (0, 1):
        elsewhere = np.asarray(pc.is_in(alike[side], value_set=alike[1 - side]), dtype=bool)
        found.append(np.unique(joined[side][1][elsewhere]))
    return Crossing(old=found[0], new=found[1])


class _Side:
    """One catalogue on its way along the sky."""

    def __init__(self, catalogue: StarCatalogue, columns: Sequence[str]) -> None:
        self._catalogue = catalogue
        self._columns = [*dict.fromkeys((CELL, *columns))]
        self._left = list(reversed(catalogue.parts))
        self._rows: pa.Table | None = None
        self._cells: IntArray = np.zeros(0, dtype=np.int64)
        self._at = 0
        self._none = pa.table(
            {name: pa.array([], catalogue.schema.field(name).type) for name in self._columns if catalogue.has(name)}
        )

    def up_to(self, stop: int) -> pa.Table:
        """Return the rows before a cell that were not returned yet, all of them in one partition."""
        if not self._left or self._left[-1].first >= stop:
            return self._none
        part = self._left[-1]
        if self._rows is None:
            self._open(part)
        rows = self._rows
        if rows is None:
            return self._none
        # A star at the rim may lie a little outside of the partition that holds it.
        end = rows.num_rows if stop >= part.stop else int(np.searchsorted(self._cells, stop))
        piece = rows.slice(self._at, end - self._at)
        self._at = end
        if stop >= part.stop:
            self._left.pop()
            self._rows = None
        return piece

    def _open(self, part: Part) -> None:
        rows = self._catalogue.read(part, self._columns)
        cells = rows[CELL].to_numpy()
        if np.any(np.diff(cells) < 0):
            order = np.argsort(cells, kind="stable")
            rows, cells = rows.take(pa.array(order)), cells[order]
        self._rows, self._cells, self._at = rows, cells, 0


def _flat(lists: pa.ChunkedArray) -> tuple[IntArray, pa.Array]:
    """Return of each light curve its star and its id; those without an id are left out."""
    whole = lists.combine_chunks()
    star = np.asarray(pc.list_parent_indices(whole), dtype=np.int64)
    ids = pc.list_flatten(whole)
    if ids.null_count:
        known = pc.is_valid(ids)
        star, ids = star[np.asarray(known)], ids.filter(known)
    return star, ids


def _alike(left: pa.Array, right: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return ids as one type: whole numbers if both are, else as they are written."""
    if left.type == right.type:
        return left, right
    if pa.types.is_integer(left.type) and pa.types.is_integer(right.type):
        return left.cast(pa.int64()), right.cast(pa.int64())
    return left.cast(pa.string()), right.cast(pa.string())


def _coded(
    old: pa.ChunkedArray, new: pa.ChunkedArray
) -> tuple[tuple[IntArray, IntArray], tuple[IntArray, IntArray], int]:
    """Return of each light curve of both its star and the number of its id, and how many ids there are."""
    (old_star, old_ids), (new_star, new_ids) = _flat(old), _flat(new)
    codes = pa.chunked_array([*_alike(old_ids, new_ids)]).combine_chunks().dictionary_encode()
    numbers = np.asarray(codes.indices, dtype=np.int64)
    at = len(old_star)
    return (old_star, numbers[:at]), (new_star, numbers[at:]), len(codes.dictionary)


def _joined(pieces: list[tuple[pa.Array, IntArray]]) -> tuple[pa.Array, IntArray]:
    if not pieces:
        return pa.array([], pa.int64()), np.zeros(0, dtype=np.int64)
    return pa.concat_arrays([ids for ids, _ in pieces]), np.concatenate([star for _, star in pieces])
