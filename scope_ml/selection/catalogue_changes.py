"""Two catalogues side by side: which stars are the same, new, gone, split and merged, and what each side says of them.

A group is the stars of both that share light curves. One star on each side is the same star; one becomes several (split),
several become one (merged), or both (regrouped); what shares none is new or gone. Only the rows of one stretch of the sky
are in memory at once. May import the rooms of this package, core and errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.protocols import Progress
from scope_ml.selection.catalogue_links import Groups, Stretch, crossing_stars, group_stars, stretches
from scope_ml.selection.catalogue_parts import StarCatalogue, TagColumns, floats
from scope_ml.selection.sampling import reaches

__all__ = [
    "GONE",
    "KINDS",
    "MERGED",
    "NEW",
    "REGROUPED",
    "SAME",
    "SPLIT",
    "Compared",
    "Side",
    "compare_catalogues",
]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: What a group can be, in the order of their numbers.
KINDS: Final = ("same", "new", "gone", "split", "merged", "regrouped")
SAME, NEW, GONE, SPLIT, MERGED, REGROUPED = range(6)


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One of the two catalogues, and where it says what.

    Attributes
    ----------
    catalogue
        The catalogue.
    name, ids
        Columns: name of a star, list of the ids of its light curves.
    tags
        Classes that are compared; the same for both sides.
    scores
        Columns of scores of `tags`, None for a class without any.
    thresholds
        Score from which on a star is of a class, in the order of `tags`; used where there is no column `classes`.
    classes, period, fields
        Columns: list of the classes that are sure, period [d], list of fields; "" where there is none.
    """

    catalogue: StarCatalogue
    name: str
    ids: str
    tags: tuple[str, ...]
    scores: tuple[TagColumns | None, ...]
    thresholds: tuple[float, ...]
    classes: str = ""
    period: str = ""
    fields: str = ""

    @property
    def columns(self) -> list[str]:
        """Return all columns that are read."""
        of_scores = [name for one in self.scores if one is not None for name in one.needed]
        named = (self.name, self.ids, "ra", "dec", self.classes, self.period, self.fields, *of_scores)
        return list(dict.fromkeys(name for name in named if name))

    def score_matrix(self, rows: pa.Table) -> FloatArray:
        """Return the scores of some stars, float64 (n, n_tags), NaN where there is none."""
        scores = np.full((rows.num_rows, len(self.tags)), np.nan)
        for k, one in enumerate(self.scores):
            if one is not None:
                scores[:, k] = one.score(rows)
        return scores

    def class_matrix(self, rows: pa.Table) -> BoolArray:
        """Return of which classes some stars are, bool (n, n_tags)."""
        if not self.classes:
            return reaches(self.score_matrix(rows), self.thresholds)
        member = np.zeros((rows.num_rows, len(self.tags)), dtype=bool)
        lists = rows[self.classes].combine_chunks()
        star = np.asarray(pc.list_parent_indices(lists), dtype=np.int64)
        number = pc.index_in(pc.list_flatten(lists), value_set=pa.array(self.tags, pa.string()))
        tag = np.asarray(pc.fill_null(number, -1), dtype=np.int64)
        member[star[tag >= 0], tag[tag >= 0]] = True
        return member

    def periods(self, rows: pa.Table) -> FloatArray:
        """Return the periods of some stars, float64 (n,) [d], NaN where there is none."""
        if not self.period:
            return np.full(rows.num_rows, np.nan)
        period = floats(rows, self.period)
        with np.errstate(invalid="ignore"):
            return np.where((period > 0) & np.isfinite(period), period, np.nan)

    def fields_of(self, rows: pa.Table) -> dict[int, int]:
        """Return the stars of each field."""
        if not self.fields:
            return {}
        values = pc.value_counts(pc.drop_null(pc.list_flatten(rows[self.fields].combine_chunks())))
        return {int(one["values"]): int(one["counts"]) for one in values.to_pylist()}


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """The groups of some stars of both sides.

    Attributes
    ----------
    sides
        The older and the newer one.
    rows
        Their rows.
    groups
        Which stars belong together.
    kind
        Of each group, its place in `KINDS`; int64 (n_groups,).
    same
        Groups that are one star on each side, int64 (n_same,).
    same_rows
        Rows of these stars on each side, int64 (n_same,) each.
    """

    sides: tuple[Side, Side]
    rows: tuple[pa.Table, pa.Table]
    groups: Groups
    kind: IntArray
    same: IntArray
    same_rows: tuple[IntArray, IntArray]

    @property
    def group_of(self) -> tuple[IntArray, IntArray]:
        """Return the group of each star, of both sides."""
        return self.groups.old, self.groups.new

    @cached_property
    def classes(self) -> tuple[BoolArray, BoolArray]:
        """The classes of the stars of each side, bool (n_stars, n_tags)."""
        return self.sides[0].class_matrix(self.rows[0]), self.sides[1].class_matrix(self.rows[1])

    @cached_property
    def same_scores(self) -> tuple[FloatArray, FloatArray]:
        """The scores of the stars that are the same, float64 (n_same, n_tags)."""
        before, now = (side.score_matrix(rows) for side, rows in zip(self.sides, self.rows, strict=True))
        return before[self.same_rows[0]], now[self.same_rows[1]]

    @cached_property
    def same_periods(self) -> tuple[FloatArray, FloatArray]:
        """The periods of the stars that are the same, float64 (n_same,) [d]."""
        before, now = (side.periods(rows) for side, rows in zip(self.sides, self.rows, strict=True))
        return before[self.same_rows[0]], now[self.same_rows[1]]

    @cached_property
    def same_names(self) -> tuple[pa.Array, pa.Array]:
        """The names of the stars that are the same, string (n_same,)."""
        before, now = (
            rows[side.name].combine_chunks().cast(pa.string()).take(pa.array(at))
            for side, rows, at in zip(self.sides, self.rows, self.same_rows, strict=True)
        )
        return before, now


def compare_catalogues(old: Side, new: Side, progress: Progress) -> Iterator[Compared]:
    """Yield all stars of both catalogues, each once, stretch by stretch.

    Parameters
    ----------
    old, new
        The older and the newer catalogue.
    progress
        Told the stretches of both passes.

    Raises
    ------
    FormatError
        If a partition cannot be read.
    """
    n_parts = len(old.catalogue.parts) + len(new.catalogue.parts)
    progress.start("looking for stars that are elsewhere", n_parts)
    crossing = crossing_stars(
        _told(stretches(old.catalogue, new.catalogue, [old.ids], [new.ids]), progress), old.ids, new.ids
    )
    progress.finish()
    progress.start("comparing stars", n_parts)
    waiting: tuple[list[pa.Table], list[pa.Table]] = ([], [])
    for stretch in _told(stretches(old.catalogue, new.catalogue, old.columns, new.columns), progress):
        groups = group_stars(stretch.old[old.ids], stretch.new[new.ids])
        held = crossing.holds(stretch, groups)
        if not held.any():
            yield _compared(old, new, stretch.old, stretch.new, groups)
            continue
        rows = []
        for table, of_star, later in ((stretch.old, groups.old, waiting[0]), (stretch.new, groups.new, waiting[1])):
            later.append(table.filter(pa.array(held[of_star])))
            rows.append(table.filter(pa.array(~held[of_star])))
        yield _compared(old, new, rows[0], rows[1], group_stars(rows[0][old.ids], rows[1][new.ids]))
    if waiting[0]:
        last = [pa.concat_tables(tables) for tables in waiting]
        yield _compared(old, new, last[0], last[1], group_stars(last[0][old.ids], last[1][new.ids]))
    progress.finish()


def _told(both: Iterator[Stretch], progress: Progress) -> Iterator[Stretch]:
    for stretch in both:
        yield stretch
        progress.advance()


def _compared(old: Side, new: Side, old_rows: pa.Table, new_rows: pa.Table, groups: Groups) -> Compared:
    n_old, n_new = groups.n_old, groups.n_new
    kind = np.select(
        [(n_old == 1) & (n_new == 1), n_old == 0, n_new == 0, n_old == 1, n_new == 1],
        [SAME, NEW, GONE, SPLIT, MERGED],
        REGROUPED,
    ).astype(np.int64)
    same = np.flatnonzero(kind == SAME).astype(np.int64)
    at = []
    for of_star in (groups.old, groups.new):
        row = np.full(len(groups), -1, dtype=np.int64)
        row[of_star] = np.arange(len(of_star))
        at.append(row[same])
    return Compared(
        sides=(old, new),
        rows=(old_rows, new_rows),
        groups=groups,
        kind=kind,
        same=same,
        same_rows=(at[0], at[1]),
    )
