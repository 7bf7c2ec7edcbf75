"""What changed between two catalogues, added up stretch by stretch: stars, light curves, classes, scores, periods, fields.

What stars there are now is what there were, less what went, and what came: of all stars, and of each class. May import the
rooms of this package.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from scope_ml.selection.catalogue_changes import GONE, KINDS, NEW, SAME, Compared

__all__ = ["SCORE_EDGES", "ChangeLimits", "ChangeTally", "Judged", "LargestChange", "judged"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: Edges of the bins of score differences; the middle one is around 0.
N_BINS = 41
SCORE_EDGES: FloatArray = np.linspace(-1.0, 1.0, N_BINS + 1)

#: Ratios of periods that searches confuse.
HARMONICS = (2.0, 1 / 2, 3.0, 1 / 3, 3 / 2, 2 / 3)


@dataclass(frozen=True, kw_only=True)
class ChangeLimits:
    """What counts as a change, and how many of the largest are kept.

    Attributes
    ----------
    score
        A score has moved if by so much.
    period
        A period has moved if by more than this share of itself.
    n_largest
        Stars whose scores moved most that are kept.
    """

    score: float = 0.1
    period: float = 1e-3
    n_largest: int = 25


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """What is said of the stars that are the same on both sides; all of length n_same.

    Attributes
    ----------
    difference
        Newer less older score of each class, float64 (n_same, n_tags), NaN where one of them is missing.
    most, most_tag
        Largest difference of each star (NaN: none) and its class's number (-1: none).
    score_moved, period_moved, period_harmonic, period_came, period_went, classes_changed, light_curves_changed, renamed
        bool; a period that is a harmonic of what it was has moved too.
    """

    difference: FloatArray
    most: FloatArray
    most_tag: IntArray
    score_moved: BoolArray
    period_moved: BoolArray
    period_harmonic: BoolArray
    period_came: BoolArray
    period_went: BoolArray
    classes_changed: BoolArray
    light_curves_changed: BoolArray
    renamed: BoolArray

    @property
    def changed(self) -> BoolArray:
        """Return which stars changed in any way but their name."""
        period = self.period_moved | self.period_came | self.period_went
        return self.score_moved | period | self.classes_changed | self.light_curves_changed


def judged(compared: Compared, limits: ChangeLimits) -> Judged:
    """Return what is said of the stars that are the same on both sides."""
    before, now = compared.same_scores
    difference = now - before
    size = np.where(np.isfinite(difference), np.abs(difference), -1.0)
    tag = size.argmax(axis=1) if size.shape[1] else np.full(len(size), -1, dtype=np.int64)
    largest = size.max(axis=1, initial=-1.0)
    tag = np.where(largest >= 0, tag, -1).astype(np.int64)
    most = np.where(tag >= 0, difference[np.arange(len(tag)), np.maximum(tag, 0)] if size.shape[1] else np.nan, np.nan)
    was, is_now = compared.same_periods
    had, has = np.isfinite(was), np.isfinite(is_now)
    ratio = np.where(had & has, is_now / np.where(had, was, 1.0), 1.0)
    moved = np.abs(ratio - 1.0) > limits.period
    harmonic = np.zeros(len(ratio), dtype=bool)
    for factor in HARMONICS:
        harmonic |= np.abs(ratio / factor - 1.0) <= limits.period
    members = [classes[rows] for classes, rows in zip(compared.classes, compared.same_rows, strict=True)]
    names = compared.same_names
    came_or_went = (np.isfinite(before) != np.isfinite(now)).any(axis=1)
    groups = compared.groups
    return Judged(
        difference=difference,
        most=most,
        most_tag=tag,
        score_moved=(largest >= limits.score) & (largest > 0) | came_or_went,
        period_moved=moved,
        period_harmonic=moved & harmonic,
        period_came=~had & has,
        period_went=had & ~has,
        classes_changed=(members[0] != members[1]).any(axis=1),
        light_curves_changed=(groups.n_lost + groups.n_gained)[compared.same] > 0,
        renamed=np.asarray(names[0].to_numpy(zero_copy_only=False) != names[1].to_numpy(zero_copy_only=False)),
    )


@dataclass(frozen=True, kw_only=True)
class LargestChange:
    """A star whose score of a class moved far."""

    name_before: str
    name: str
    tag: str
    before: float
    now: float

    @property
    def difference(self) -> float:
        """Return how far, and whither."""
        return self.now - self.before


@dataclass(kw_only=True, eq=False)
class ChangeTally:
    """The sums; `add` takes one stretch after the other, in any order, and the sums are the same.

    Attributes
    ----------
    tags
        Classes; arrays of classes are in this order.
    limits
        What counts as a change.
    groups, stars_before, stars_now
        By kind.
    n_shared, n_lost, n_gained
        Light curves that are in both, in the older, in the newer only.
    same
        Of the stars that are the same: how many changed in what way.
    classes_before, classes_now
        Stars of each class by kind, int64 (n_kinds, n_tags).
    gained, lost
        Stars that are the same and became of a class, or ceased to be; int64 (n_tags,).
    histogram
        Differences of scores that are not 0, int64 (n_tags, n_bins); of those that are, `n_equal`.
    n_moved, n_compared
        Scores that moved, and that are on both sides; int64 (n_tags,).
    fields_before, fields_now
        Stars by field.
    """

    tags: tuple[str, ...]
    limits: ChangeLimits
    groups: Counter[str] = field(default_factory=Counter)
    stars_before: Counter[str] = field(default_factory=Counter)
    stars_now: Counter[str] = field(default_factory=Counter)
    n_shared: int = 0
    n_lost: int = 0
    n_gained: int = 0
    same: Counter[str] = field(default_factory=Counter)
    fields_before: Counter[int] = field(default_factory=Counter)
    fields_now: Counter[int] = field(default_factory=Counter)
    largest: list[LargestChange] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make room for the classes."""
        n = len(self.tags)
        self.classes_before, self.classes_now = (np.zeros((len(KINDS), n), dtype=np.int64) for _ in range(2))
        self.gained, self.lost, self.n_equal, self.n_moved, self.n_compared = (
            np.zeros(n, dtype=np.int64) for _ in range(5)
        )
        self.histogram = np.zeros((n, N_BINS), dtype=np.int64)

    def add(self, compared: Compared, judged: Judged) -> None:
        """Add the stars of one stretch."""
        groups, kind = compared.groups, compared.kind
        self.n_shared += int(groups.n_shared.sum())
        self.n_lost += int(groups.n_lost.sum())
        self.n_gained += int(groups.n_gained.sum())
        for counter, weights in (
            (self.groups, None),
            (self.stars_before, groups.n_old),
            (self.stars_now, groups.n_new),
        ):
            sums = np.bincount(kind, weights=weights, minlength=len(KINDS))
            counter.update(dict(zip(KINDS, sums.astype(np.int64).tolist(), strict=True)))
        for by_kind, classes, of_star in zip(
            (self.classes_before, self.classes_now), compared.classes, compared.group_of, strict=True
        ):
            for number in range(len(KINDS)):
                by_kind[number] += classes[kind[of_star] == number].sum(axis=0)
        was, now = (classes[rows] for classes, rows in zip(compared.classes, compared.same_rows, strict=True))
        self.gained += (now & ~was).sum(axis=0)
        self.lost += (was & ~now).sum(axis=0)
        self._add_same(judged)
        self._add_largest(compared, judged)
        self.fields_before.update(compared.sides[0].fields_of(compared.rows[0]))
        self.fields_now.update(compared.sides[1].fields_of(compared.rows[1]))

    def came(self, what: str) -> IntArray:
        """Return stars of each class that are in groups of a kind now less before, int64 (n_tags,)."""
        number = KINDS.index(what)
        difference: IntArray = self.classes_now[number] - self.classes_before[number]
        return difference

    @property
    def adds_up(self) -> bool:
        """Whether what there is now is what there was, less what went, and what came; of each class, too."""
        by_class = self.classes_before.sum(axis=0) - self.lost + self.gained
        by_class -= self.classes_before[GONE] - self.classes_now[NEW]
        by_class += sum((self.came(what) for what in KINDS[3:]), start=np.zeros(len(self.tags), dtype=np.int64))
        stars = self.stars_before.total() - self.stars_before["gone"] + self.stars_now["new"]
        stars += sum(self.stars_now[what] - self.stars_before[what] for what in KINDS[3:])
        return bool((by_class == self.classes_now.sum(axis=0)).all()) and stars == self.stars_now.total()

    def counts(self) -> dict[str, int]:
        """Return the counts of the stars."""
        return {
            "n_stars_before": self.stars_before.total(),
            "n_stars": self.stars_now.total(),
            **{what: self.groups[what] for what in KINDS},
            "changed": self.same["changed"],
            "unchanged": self.groups[KINDS[SAME]] - self.same["changed"],
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything as what JSON can hold; the same catalogues give the same."""
        by_class = {
            tag: {
                "before": int(self.classes_before[:, k].sum()),
                "now": int(self.classes_now[:, k].sum()),
                "gained": int(self.gained[k]),
                "lost": int(self.lost[k]),
                "with_new_stars": int(self.classes_now[NEW, k]),
                "with_gone_stars": int(self.classes_before[GONE, k]),
                "with_stars_split_or_merged": sum(int(self.came(what)[k]) for what in KINDS[3:]),
                "scores_compared": int(self.n_compared[k]),
                "scores_equal": int(self.n_equal[k]),
                "scores_moved": int(self.n_moved[k]),
                "score_differences": self.histogram[k].tolist(),
            }
            for k, tag in enumerate(self.tags)
        }
        return {
            "counts": self.counts(),
            "stars_before_by_kind": {what: self.stars_before[what] for what in KINDS},
            "stars_now_by_kind": {what: self.stars_now[what] for what in KINDS},
            "light_curves": {"in_both": self.n_shared, "gone": self.n_lost, "new": self.n_gained},
            "same_stars": {what: self.same[what] for what in sorted(self.same)},
            "classes": by_class,
            "score_difference_edges": [round(float(edge), 6) for edge in SCORE_EDGES],
            "fields": {
                "before": {str(name): self.fields_before[name] for name in sorted(self.fields_before)},
                "now": {str(name): self.fields_now[name] for name in sorted(self.fields_now)},
            },
            "largest_score_changes": [vars(one) for one in self.largest],
        }

    def _add_same(self, judged: Judged) -> None:
        self.same.update(
            {
                "changed": int(judged.changed.sum()),
                "score_moved": int(judged.score_moved.sum()),
                "classes_changed": int(judged.classes_changed.sum()),
                "light_curves_changed": int(judged.light_curves_changed.sum()),
                "period_moved": int(judged.period_moved.sum()),
                "period_moved_to_a_harmonic": int(judged.period_harmonic.sum()),
                "period_came": int(judged.period_came.sum()),
                "period_went": int(judged.period_went.sum()),
                "renamed": int(judged.renamed.sum()),
            }
        )
        known = np.isfinite(judged.difference)
        self.n_compared += known.sum(axis=0)
        self.n_equal += (judged.difference == 0).sum(axis=0)
        with np.errstate(invalid="ignore"):
            self.n_moved += ((np.abs(judged.difference) >= self.limits.score) & (judged.difference != 0)).sum(axis=0)
        for k in range(len(self.tags)):
            values = judged.difference[known[:, k] & (judged.difference[:, k] != 0), k]
            self.histogram[k] += np.histogram(values, bins=SCORE_EDGES)[0]

    def _add_largest(self, compared: Compared, judged: Judged) -> None:
        size = np.where(judged.most_tag >= 0, np.abs(judged.most), 0.0)
        n = self.limits.n_largest
        # All that are as large as the last one that may come in: which of equal ones stay is for their names to say.
        bound = np.partition(size, len(size) - n)[len(size) - n] if 0 < n < len(size) else 0.0
        chosen = np.flatnonzero((size >= bound) & (size > 0)) if n else np.zeros(0, dtype=np.int64)
        before, now = compared.same_scores
        names = [column.take(chosen).to_pylist() for column in compared.same_names]
        for at, row in enumerate(chosen.tolist()):
            tag = int(judged.most_tag[row])
            self.largest.append(
                LargestChange(
                    name_before=str(names[0][at]),
                    name=str(names[1][at]),
                    tag=self.tags[tag],
                    before=float(before[row, tag]),
                    now=float(now[row, tag]),
                )
            )
        self.largest = sorted(self.largest, key=lambda one: (-abs(one.difference), one.name, one.name_before))[:n]
