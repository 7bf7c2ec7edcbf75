"""Scores beside the tree of classes: stars whose scores contradict it, and the deepest class of which one may be sure.

Both are told row by row: a star's result does not depend on the others. May import `taxonomy`, `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from scope_ml.selection.sampling import reaches
from scope_ml.taxonomy.consistency import ScoreGraph
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["ClassTree", "TreeFilter"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: Which stars the tree lets through.
TreeFilter = Literal["all", "consistent", "conflicts", "confident"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassTree:
    """The tree of the scored classes.

    Attributes
    ----------
    graph
        What they imply; classes without a score are bridged.
    depth
        Length of the longest way up from each, int64 (n_tags,).
    """

    graph: ScoreGraph
    depth: npt.NDArray[np.int64]

    @classmethod
    def of(cls, taxonomy: Taxonomy, tags: Sequence[str]) -> ClassTree:
        """Return the tree of some classes; those that the taxonomy does not have stand alone."""
        above = {tag: taxonomy.parents(tag) if tag in taxonomy else () for tag in tags}
        depth = np.array([taxonomy.depth(tag) if tag in taxonomy else 0 for tag in tags], dtype=np.int64)
        return cls(graph=ScoreGraph.of(tags, above), depth=depth)

    def conflicts(self, scores: FloatArray, margin: float) -> npt.NDArray[np.int32]:
        """Return in how many pairs a class is above one that it implies by more than the margin; int32 (n,).

        Parameters
        ----------
        scores
            (n, n_tags); NaN contradicts nothing.
        margin
            How far above counts as a conflict.
        """
        count = np.zeros(len(scores), dtype=np.int32)
        for child, parent in self.graph.pairs:
            with np.errstate(invalid="ignore"):
                count += scores[:, child] - scores[:, parent] > margin
        return count

    def conflicting_pairs(self, scores: FloatArray, margin: float) -> dict[str, int]:
        """Return the stars by pair of classes, such as ``rrc above rrlyr``, the most frequent first."""
        found = {}
        for child, parent in self.graph.pairs:
            with np.errstate(invalid="ignore"):
                count = int(np.count_nonzero(scores[:, child] - scores[:, parent] > margin))
            if count:
                found[f"{self.graph.tags[child]} above {self.graph.tags[parent]}"] = count
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def confident(self, scores: FloatArray, thresholds: FloatArray) -> npt.NDArray[np.int64]:
        """Return the class of each star of which one may be sure, as its column, or -1; int64 (n,).

        That is the deepest class that reaches its threshold together with every class that it implies; of equally deep
        ones the highest score, and of equal scores the first.

        Parameters
        ----------
        scores
            (n, n_tags); NaN reaches nothing.
        thresholds
            (n_tags,).
        """
        return self.deepest(scores, self.borne(scores, thresholds))

    def borne(self, scores: FloatArray, thresholds: FloatArray) -> BoolArray:
        """Return which classes reach their threshold together with every class that they imply; bool (n, n_tags).

        Parameters
        ----------
        scores, thresholds
            As in `confident`.
        """
        reached = reaches(scores, thresholds)
        implies = self.graph.implies.astype(np.float32)
        # An implied class that is not reached speaks against a class.
        return reached & ~((~reached).astype(np.float32) @ implies.T > 0)

    def deepest(self, scores: FloatArray, borne: BoolArray) -> npt.NDArray[np.int64]:
        """Return the deepest of the classes that `borne` gives for each star, as its column, or -1; int64 (n,)."""
        # Scores are at most 1, so that depth comes first.
        rank = np.where(borne, 2.0 * self.depth + np.nan_to_num(scores), -1.0)
        if not rank.shape[1]:
            return np.full(len(scores), -1, dtype=np.int64)
        return np.where(borne.any(axis=1), rank.argmax(axis=1), -1).astype(np.int64)
