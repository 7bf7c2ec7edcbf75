"""What a data-release page counts: one pass over the catalogue, a piece at a time, and the surest stars of each class.

May import the rooms of this package, `selection` and core.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.protocols import Progress
from scope_ml.core.sphere import unit_vectors
from scope_ml.reporting.release_view import CatalogueFacts
from scope_ml.reporting.sky_map import Patch, SkyGrid, direction, lambert
from scope_ml.selection.catalogue_parts import Part, StarCatalogue, TagColumns, flags, floats
from scope_ml.selection.sampling import reaches

__all__ = ["FLAGS", "SCORE_BINS", "CertainStar", "ClassCounts", "ReleaseCounts", "count_patch", "count_stars"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: Bins of the histogram of scores, from 0 to 1.
SCORE_BINS = 20

#: Columns that mark stars, and what a mark means.
FLAGS: Final[Mapping[str, str]] = {
    "crowded": "two light curves of one field, filter, CCD and quadrant: two stars within the radius",
    "wide": "a light curve is farther than the radius from the star's place",
    "no_survey_id": "no light curve has an id of Gaia, AllWISE or PS1: known by its place only",
    "n_conflicts": "a class has a higher score than one that it implies",
}

#: Lists of the classes of a star of which one may be sure, of its fields, of the ids of its light curves.
CLASSES, FIELDS = "confident_classes", "fields"

#: A catalogue that spans less than this around its middle is shown on a map of its own [deg].
WIDEST_PATCH = 25.0


@dataclass(frozen=True, kw_only=True, order=True)
class CertainStar:
    """A star among the surest of a class: where its row is. Sorted from less to more sure; of equal ones by place."""

    score: float
    part: int
    row: int


@dataclass(kw_only=True, eq=False)
class ClassCounts:
    """The stars of one class.

    Attributes
    ----------
    columns
        Its scores.
    threshold, thresholds
        Score of a member, of all algorithms together and of each.
    n_scored
        Stars with a score.
    n_members, n_light_curves
        Stars that reach the threshold, and their light curves.
    by_algorithm
        Stars that reach the threshold of each algorithm.
    n_agreed
        Stars that reach that of every algorithm.
    n_sure
        Stars of which the class is told by the class tree; None where the catalogue does not say.
    histogram
        Scores in `SCORE_BINS` bins, int64.
    surest
        A heap of the surest members.
    """

    columns: TagColumns
    threshold: float
    thresholds: Mapping[str, float]
    n_scored: int = 0
    n_members: int = 0
    n_light_curves: int = 0
    by_algorithm: Counter[str] = field(default_factory=Counter)
    n_agreed: int = 0
    n_sure: int | None = None
    histogram: IntArray = field(default_factory=lambda: np.zeros(SCORE_BINS, dtype=np.int64))
    surest: list[CertainStar] = field(default_factory=list)

    def add(self, rows: pa.Table, light_curves: IntArray, at: tuple[int, int], n_surest: int) -> None:
        """Count rows; `light_curves` of each, int64 (n,); they are from a row of a part on (`at`)."""
        score = self.columns.score(rows)
        known = np.isfinite(score)
        self.n_scored += int(known.sum())
        member = reaches(score, self.threshold)
        self.n_members += int(member.sum())
        self.n_light_curves += int(light_curves[member].sum())
        self.histogram += np.histogram(score[known], bins=SCORE_BINS, range=(0.0, 1.0))[0]
        agreed = np.ones(len(score), dtype=bool)
        for algorithm, name in self.columns.by_algorithm:
            reached = reaches(floats(rows, name), self.thresholds[algorithm])
            self.by_algorithm[algorithm] += int(reached.sum())
            agreed &= reached
        self.n_agreed += int(agreed.sum()) if self.columns.by_algorithm else 0
        self._keep(np.flatnonzero(member), score, at, n_surest)

    def _keep(self, rows: IntArray, score: FloatArray, at: tuple[int, int], n_surest: int) -> None:
        if not n_surest:
            return
        if len(rows) > n_surest:
            # All that are as high as the last that may come in.
            bound = np.partition(score[rows], len(rows) - n_surest)[len(rows) - n_surest]
            rows = rows[score[rows] > bound].tolist() + rows[score[rows] == bound][:n_surest].tolist()
        for row in rows:
            # The first of equal ones stays, so that parts read piece by piece give what whole ones give.
            star = CertainStar(score=float(score[row]), part=-at[0], row=-(at[1] + int(row)))
            if len(self.surest) < n_surest:
                heapq.heappush(self.surest, star)
            else:
                heapq.heappushpop(self.surest, star)

    def places(self) -> list[tuple[int, int, float]]:
        """Return part, row and score of the surest members, the surest first."""
        return [(-one.part, -one.row, one.score) for one in sorted(self.surest, reverse=True)]


@dataclass(kw_only=True, eq=False)
class ReleaseCounts:
    """All that one pass counts.

    Attributes
    ----------
    n_stars, n_light_curves
        In the catalogue.
    classes
        By class, in their order.
    sky
        Where the stars are.
    fields
        Stars of each field.
    field_sums
        Sum of the unit vectors of the stars of each field.
    flagged
        Stars with each mark of `FLAGS` that the catalogue has.
    n_sure
        Stars of which some class is told; None where the catalogue does not say.
    """

    classes: dict[str, ClassCounts]
    n_stars: int = 0
    n_light_curves: int = 0
    sky: SkyGrid = field(default_factory=SkyGrid)
    fields: Counter[int] = field(default_factory=Counter)
    field_sums: dict[int, FloatArray] = field(default_factory=dict)
    flagged: dict[str, int] = field(default_factory=dict)
    n_sure: int | None = None

    def field_places(self) -> dict[int, tuple[float, float]]:
        """Return the middle of the stars of each field [deg]."""
        return {name: direction(total) for name, total in sorted(self.field_sums.items())}


def count_stars(
    catalogue: StarCatalogue, columns: Sequence[TagColumns], facts: CatalogueFacts, n_surest: int, progress: Progress
) -> ReleaseCounts:
    """Read the catalogue once and count.

    Parameters
    ----------
    catalogue, columns
        The catalogue, and its columns of scores.
    facts
        Thresholds.
    n_surest
        Stars of each class whose places are kept.
    progress
        Told the partitions.

    Raises
    ------
    FormatError
        If a partition cannot be read.
    """
    counts = ReleaseCounts(
        classes={
            one.tag: ClassCounts(
                columns=one,
                threshold=facts.threshold(one.tag),
                thresholds={name: facts.threshold(one.tag, name) for name, _ in one.by_algorithm},
                n_sure=0 if catalogue.has(CLASSES) else None,
            )
            for one in columns
        },
        flagged={name: 0 for name in FLAGS if catalogue.has(name)},
        n_sure=0 if catalogue.has(CLASSES) else None,
    )
    of_scores = [name for one in columns for name in (*one.needed, *(name for _, name in one.by_algorithm))]
    names = catalogue.there(["ra", "dec", "n_light_curves", FIELDS, CLASSES, *FLAGS, *of_scores])
    progress.start("counting stars", len(catalogue.parts))
    for number, part in enumerate(catalogue.parts):
        row = 0
        for rows in catalogue.batches(part, names):
            _add(counts, rows, (number, row), n_surest)
            row += rows.num_rows
        progress.advance()
    progress.finish()
    return counts


def count_patch(catalogue: StarCatalogue, sky: SkyGrid) -> Patch | None:
    """Return a closer look at a catalogue that covers a small part of the sky; None where it covers more, or nothing."""
    centre = sky.centre
    if centre is None:
        return None
    widest = 0.0
    for part in catalogue.parts:
        for ra, dec in _places(catalogue, part):
            x, y = lambert(ra, dec, centre)
            widest = max(widest, float(np.max(np.hypot(x, y), initial=0.0)))
        if widest > WIDEST_PATCH:
            return None
    patch = Patch(centre=centre, radius=max(1.05 * widest, 0.05))
    for part in catalogue.parts:
        for ra, dec in _places(catalogue, part):
            patch.add(ra, dec)
    return patch


def _places(catalogue: StarCatalogue, part: Part) -> list[tuple[FloatArray, FloatArray]]:
    found = []
    for rows in catalogue.batches(part, ["ra", "dec"]):
        ra, dec = floats(rows, "ra"), floats(rows, "dec")
        known = np.isfinite(ra) & np.isfinite(dec)
        found.append((ra[known], dec[known]))
    return found


def _add(counts: ReleaseCounts, rows: pa.Table, at: tuple[int, int], n_surest: int) -> None:
    """Count some rows, which are from a row of a part on."""
    names = rows.column_names
    counts.n_stars += rows.num_rows
    light_curves = np.nan_to_num(floats(rows, "n_light_curves")).astype(np.int64)
    counts.n_light_curves += int(light_curves.sum())
    ra, dec = floats(rows, "ra"), floats(rows, "dec")
    counts.sky.add(ra, dec)
    for one in counts.classes.values():
        one.add(rows, light_curves, at, n_surest)
    for name in counts.flagged:
        counts.flagged[name] += int(flags(rows, name).sum())
    if CLASSES in names:
        lists = rows[CLASSES].combine_chunks()
        counts.n_sure = (counts.n_sure or 0) + int(pc.sum(pc.greater(pc.list_value_length(lists), 0)).as_py() or 0)
        for entry in pc.value_counts(pc.list_flatten(lists)).to_pylist():
            if entry["values"] in counts.classes:
                of = counts.classes[entry["values"]]
                of.n_sure = (of.n_sure or 0) + entry["counts"]
    if FIELDS in names:
        _add_fields(counts, rows[FIELDS].combine_chunks(), ra, dec)


def _add_fields(counts: ReleaseCounts, lists: pa.Array, ra: FloatArray, dec: FloatArray) -> None:
    star = np.asarray(pc.list_parent_indices(lists), dtype=np.int64)
    values = pc.list_flatten(lists)
    known = np.asarray(pc.is_valid(values), dtype=bool)
    star, name = star[known], np.asarray(pc.drop_null(values), dtype=np.int64)
    for one in np.unique(name).tolist():
        members = star[name == one]
        counts.fields[one] += len(members)
        total = np.nansum(unit_vectors(ra[members], dec[members]), axis=0)
        counts.field_sums[one] = counts.field_sums.get(one, np.zeros(3)) + total
