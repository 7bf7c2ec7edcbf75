"""By what rules the light curves of a star become one row of a catalogue.

The options are a group of the door's configuration; the rules have besides them what the run knows of classes and models.
May import `taxonomy`, `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from scope_ml.core.configuration import option
from scope_ml.selection.class_tree import ClassTree
from scope_ml.selection.consolidation import NAME_PREFIX
from scope_ml.selection.sampling import DEFAULT_THRESHOLD
from scope_ml.selection.score_columns import ScoreColumn
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["StarCombine", "StarJoin", "StarOptions", "StarRules"]

StarCombine = Literal["mean", "max", "median", "weighted"]
StarJoin = Literal["mean", "max", "min"]


@dataclass(frozen=True, kw_only=True)
class StarOptions:
    """How the light curves of a star become one row."""

    combine: StarCombine = option(
        "mean",
        doc="one score of several light curves: mean, max, median, or weighted: the mean weighted by points / error^2",
    )
    join: StarJoin = option("mean", doc="one score a class of several algorithms: mean, max, min")
    threshold: float | None = option(
        None,
        doc=f"score of a member of a class; null: the models' own, {DEFAULT_THRESHOLD} where the tables do not say them",
        at_least=0,
        at_most=1,
    )
    conflict_margin: float = option(
        0.1, doc="how far a class may be above one that it implies before it is a conflict", at_least=0, at_most=1
    )
    period_tolerance: float = option(
        0.01, doc="periods agree within this share of their frequency", at_least=0, at_most=0.2
    )
    period_resolution: float = option(0.001, unit="1/d", doc="and within this difference of frequencies", at_least=0)
    radius_arcsec: float = option(
        1.5,
        unit="arcsec",
        doc="light curves without an id are one star within; a star with one farther from its place is flagged as wide",
        at_least=0,
    )
    details: bool = option(
        True, doc="seed spread, scatter of light curves and disagreement of algorithms beside scores"
    )
    prefix: str = option(NAME_PREFIX, doc="of names made of coordinates")


@dataclass(frozen=True, kw_only=True, eq=False)
class StarRules:
    """What the rows of a catalogue are made by.

    Attributes
    ----------
    taxonomy
        Classes, and what they imply.
    algorithms
        Names of algorithms behind the classes in the columns of scores, in their order.
    thresholds
        Threshold of each column of scores, as far as it is known.
    options
        The rest.
    """

    taxonomy: Taxonomy
    algorithms: tuple[str, ...]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    options: StarOptions = field(default_factory=StarOptions)
    _trees: dict[tuple[str, ...], ClassTree] = field(default_factory=dict, repr=False)

    def tree(self, tags: Sequence[str]) -> ClassTree:
        """Return the tree of some classes."""
        key = tuple(tags)
        if key not in self._trees:
            self._trees[key] = ClassTree.of(self.taxonomy, key)
        return self._trees[key]

    def threshold(self, columns: Sequence[ScoreColumn]) -> float:
        """Return the score of a member of a class: given, or the mean of its models' thresholds."""
        if self.options.threshold is not None:
            return self.options.threshold
        own = [self.thresholds[column.name] for column in columns if column.name in self.thresholds]
        return sum(own) / len(own) if own else DEFAULT_THRESHOLD
