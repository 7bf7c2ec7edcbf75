"""Scores of a catalogue beside the class graph: which contradict it, and the repair that was asked for.

Each algorithm's scores are compared among themselves. What contradicts is counted before anything is repaired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scope_ml.models.bundle import ModelBundle
from scope_ml.stages.catalogue_classes import ancestors
from scope_ml.taxonomy.consistency import REPAIRS, Repair, ScoreGraph

__all__ = ["CatalogueConsistency", "ConsistencyMode"]

ConsistencyMode = Literal["none", "report", "cap", "lift", "nearest"]

#: Modes that change scores.
REPAIR_OF: Mapping[str, Repair] = {how: how for how in REPAIRS}


@dataclass(eq=False)
class _Group:
    """The models of one algorithm, and what was counted of their scores."""

    algorithm: str
    columns: tuple[str, ...]
    graph: ScoreGraph
    threshold: NDArray[np.float64]
    n_rows: int
    pairs: NDArray[np.int64]
    siblings: NDArray[np.int64]

    @property
    def added(self) -> tuple[pa.Field, pa.Field]:
        """Return the columns that say what contradicts in a row."""
        return (
            pa.field(f"conflicts_{self.algorithm}", pa.int32()),
            pa.field(f"worst_conflict_{self.algorithm}", pa.float32()),
        )


class CatalogueConsistency:
    """Counts contradictions of scores batch by batch, and repairs them if asked to.

    Parameters
    ----------
    bundles
        The models; their classes' parents at training time count.
    mode
        ``none`` and ``report`` leave the scores as they are; all but ``none`` add columns; the others are those of
        `taxonomy.consistency.ScoreGraph.repaired`.
    margin
        How far a class may be above one that it implies before it counts as a conflict.
    """

    def __init__(self, bundles: Sequence[ModelBundle], mode: ConsistencyMode, margin: float) -> None:
        self.mode = mode
        self.margin = margin
        above = ancestors({bundle.tag: bundle.record.spec for bundle in bundles})
        self._groups = []
        for algorithm in dict.fromkeys(bundle.record.algorithm.name for bundle in bundles):
            own = [bundle for bundle in bundles if bundle.record.algorithm.name == algorithm]
            graph = ScoreGraph.of([bundle.tag for bundle in own], above)
            self._groups.append(
                _Group(
                    algorithm=algorithm,
                    columns=tuple(bundle.name for bundle in own),
                    graph=graph,
                    threshold=np.array([bundle.record.threshold for bundle in own]),
                    n_rows=0,
                    pairs=np.zeros(len(graph.pairs), dtype=np.int64),
                    siblings=np.zeros(len(graph.siblings), dtype=np.int64),
                )
            )

    @property
    def fields(self) -> tuple[pa.Field, ...]:
        """Return the columns that `apply` adds."""
        return () if self.mode == "none" else tuple(field for group in self._groups for field in group.added)

    @property
    def science(self) -> dict[str, Any]:
        """Return what decides on the result besides the models; nothing where scores are left as they are."""
        return {} if self.mode == "none" else {"consistency": self.mode, "conflict_margin": self.margin}

    def apply(self, scores: pa.Table) -> pa.Table:
        """Return the scores, repaired if so configured, with the columns `fields` behind them.

        Parameters
        ----------
        scores
            One float32 column a model; others, such as an ensemble's spread, are left as they are.
        """
        result = scores
        added: list[pa.Array] = []
        for group in self._groups:
            values = np.stack([scores[name].to_numpy() for name in group.columns], axis=1).astype(np.float64)
            excess = group.graph.excess(values)
            conflicting = excess > self.margin
            group.n_rows += int(conflicting.any(axis=1).sum())
            group.pairs += conflicting.sum(axis=0)
            one, other = ([pair[side] for pair in group.graph.siblings] for side in (0, 1))
            reached = values >= group.threshold
            group.siblings += (reached[:, one] & reached[:, other]).sum(axis=0)
            added += [
                pa.array(conflicting.sum(axis=1).astype(np.int32)),
                pa.array(excess.max(axis=1, initial=0.0).astype(np.float32)),
            ]
            if self.mode in REPAIR_OF:
                repaired = group.graph.repaired(values, REPAIR_OF[self.mode]).astype(np.float32)
                for k, name in enumerate(group.columns):
                    result = result.set_column(result.column_names.index(name), name, pa.array(repaired[:, k]))
        for field, column in zip(self.fields, added if self.fields else [], strict=True):
            result = result.append_column(field, column)
        return result

    @property
    def facts(self) -> dict[str, Any]:
        """Return what was counted, for the report: by algorithm, as far as its classes have anything to do with one another.

        ``rows`` have a conflict; ``pairs`` are rows by child and parent, ``siblings`` rows where two classes of one parent
        are both at or above their thresholds, which may be right; the most frequent first.
        """
        found: dict[str, Any] = {}
        for group in self._groups:
            pairs = _listed(group.graph, group.graph.pairs, group.pairs, " above ")
            siblings = _listed(group.graph, group.graph.siblings, group.siblings, " and ")
            if pairs or siblings:
                found[group.algorithm] = {"rows": group.n_rows, "pairs": pairs, "siblings": siblings}
        return {"conflicts": found} if found else {}


def _listed(
    graph: ScoreGraph, pairs: Sequence[tuple[int, int]], counts: NDArray[np.int64], between: str
) -> dict[str, int]:
    named = {
        f"{graph.tags[one]}{between}{graph.tags[other]}": int(count)
        for (one, other), count in zip(pairs, counts, strict=True)
        if count
    }
    return dict(sorted(named.items(), key=lambda item: (-item[1], item[0])))
