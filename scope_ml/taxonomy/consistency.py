"""Scores that contradict the class graph, found and repaired: a member of a class is a member of all that it implies.

Independent classifiers know nothing of one another: a star may score 0.9 as RR Lyrae of type ab and 0.3 as RR Lyrae.
Every function here works row by row: a row's result does not depend on the others. May import `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from scope_ml.errors import ConfigError, DataError

__all__ = ["REPAIRS", "Repair", "ScoreGraph"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

Repair = Literal["cap", "lift", "nearest"]

REPAIRS: tuple[Repair, ...] = ("cap", "lift", "nearest")

#: A row of `nearest` is done where a sweep over all pairs moves no score by more than this.
TOLERANCE = 1e-10

#: Sweeps after which a row is taken as it is (it is made consistent all the same); trees of classes need some fifty.
MOST_SWEEPS = 5_000


@dataclass(frozen=True, eq=False)
class ScoreGraph:
    """What the scored classes imply of one another; classes without a score are bridged.

    Attributes
    ----------
    tags
        The classes, in the order of the columns of every array of scores.
    implies
        Whether the class of the row implies that of the column, bool (n_tags, n_tags); transitive, without cycles.
    """

    tags: tuple[str, ...]
    implies: BoolArray

    @classmethod
    def of(cls, tags: Sequence[str], ancestors: Mapping[str, Collection[str]]) -> ScoreGraph:
        """Return the graph of some classes.

        Parameters
        ----------
        tags
            Classes with a score.
        ancestors
            All that each of them implies, directly or further up; others than `tags` may be among them.

        Raises
        ------
        ConfigError
            If two classes imply one another.
        """
        implies = np.array([[other in ancestors[tag] for other in tags] for tag in tags], dtype=np.bool_)
        implies = implies.reshape(len(tags), len(tags))
        for middle in range(len(tags)):
            implies |= implies[:, middle, None] & implies[None, middle, :]
        circular = [tag for tag, itself in zip(tags, np.diagonal(implies), strict=True) if itself]
        if circular:
            raise ConfigError(f"the classes {', '.join(circular)} imply one another; mend their parents", key="class")
        return cls(tags=tuple(tags), implies=implies)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Return ``(child, parent)`` as column numbers: each class and the nearest scored ones that it implies."""
        further = (self.implies.astype(np.float32) @ self.implies.astype(np.float32)) > 0
        child, parent = np.nonzero(self.implies & ~further)
        return tuple(zip(child.tolist(), parent.tolist(), strict=True))

    @property
    def siblings(self) -> tuple[tuple[int, int], ...]:
        """Return pairs of column numbers of classes with a common parent in `pairs`, neither implying the other."""
        below: dict[int, list[int]] = {}
        for child, parent in self.pairs:
            below.setdefault(parent, []).append(child)
        found = {(one, other) for group in below.values() for one in group for other in group if one < other}
        return tuple(sorted(pair for pair in found if not (self.implies[pair] or self.implies[pair[::-1]])))

    def excess(self, scores: npt.ArrayLike) -> FloatArray:
        """Return by how much each child is above its parent, 0 where it is not.

        Parameters
        ----------
        scores
            (n, n_tags) scores in [0, 1].

        Returns
        -------
        ndarray
            float64 (n, n_pairs), in the order of `pairs`.
        """
        values = self._checked(scores)
        child, parent = self._columns()
        return np.maximum(values[:, child] - values[:, parent], 0.0)

    def repaired(self, scores: npt.ArrayLike, how: Repair) -> FloatArray:
        """Return scores that do not contradict the graph: no class above one that it implies.

        Parameters
        ----------
        scores
            (n, n_tags) finite scores.
        how
            ``cap`` lowers a class to the lowest of those it implies; ``lift`` raises a class to the highest of those that
            imply it; ``nearest`` changes both, as little as possible: the least-squares projection (isotonic
            regression over a partial order: Barlow et al. 1972), by Hildreth's iteration (1957).

        Returns
        -------
        ndarray
            float64 (n, n_tags). Consistent exactly, so that a second repair changes nothing; a row without a
            contradiction is left as it is. ``nearest`` is within 1e-8 of the projection.

        Raises
        ------
        DataError
            If the shape does not fit the classes, or a score is not finite.
        """
        values = self._checked(scores)
        if how == "cap":
            return self._capped(values)
        if how == "lift":
            return np.stack([values[:, self._with_below(k)].max(axis=1) for k in range(len(self.tags))], axis=1)
        rows = np.flatnonzero((self.excess(values) > 0).any(axis=1))
        result = values.copy()
        # The last digits that the iteration leaves are taken away, so that the result is consistent exactly.
        result[rows] = self._capped(self._nearest(values[rows]))
        return result

    def _nearest(self, values: FloatArray) -> FloatArray:
        """Return the projection of contradictory rows (m, n_tags), up to `TOLERANCE`."""
        result = values.copy()
        waiting = np.arange(len(values))
        # Rows lie along the last axis: each pair of classes is one step for all rows that wait.
        x = np.ascontiguousarray(values.T)
        pull = np.zeros((len(self.pairs), waiting.size))
        for _ in range(MOST_SWEEPS):
            moved = np.zeros(waiting.size)
            for pair, (child, parent) in enumerate(self.pairs):
                step = np.maximum(0.5 * (x[child] - x[parent]), -pull[pair])
                pull[pair] += step
                x[child] -= step
                x[parent] += step
                np.maximum(moved, np.abs(step), out=moved)
            done = moved <= TOLERANCE
            if done.any():
                result[waiting[done]] = x[:, done].T
                # Each row stops by its own measure: its result is the same in any company.
                waiting, x, pull = waiting[~done], x[:, ~done], pull[:, ~done]
            if waiting.size == 0:
                break
        result[waiting] = x.T
        return result

    def _capped(self, values: FloatArray) -> FloatArray:
        return np.stack([values[:, self._with_above(k)].min(axis=1) for k in range(len(self.tags))], axis=1)

    def _with_above(self, k: int) -> npt.NDArray[np.int64]:
        return np.append(np.flatnonzero(self.implies[k]), k)

    def _with_below(self, k: int) -> npt.NDArray[np.int64]:
        return np.append(np.flatnonzero(self.implies[:, k]), k)

    def _columns(self) -> tuple[list[int], list[int]]:
        return [child for child, _ in self.pairs], [parent for _, parent in self.pairs]

    def _checked(self, scores: npt.ArrayLike) -> FloatArray:
        values = np.asarray(scores, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.tags):
            raise DataError(
                f"scores of {len(self.tags)} classes must have shape (n, {len(self.tags)}), got {values.shape}"
            )
        if not np.isfinite(values).all():
            raise DataError("scores that are not finite cannot be compared with one another")
        return values
