"""How far the rows that are scored are from those that the models were trained on: numbers per feature and per model.

Counts batch by batch, so that memory does not grow with the table. May import the rest of `models`, `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from scope_ml.models.bundle import ModelBundle
from scope_ml.models.distributions import (
    SCORE_BINS,
    CountArray,
    FeatureDistribution,
    Tally,
    score_histogram,
    stability_index,
)
from scope_ml.models.tables import feature_matrix

__all__ = ["NOTABLE", "STRONG", "DriftCounter", "DriftRecord", "FeatureDrift", "Level", "ScoreDrift"]

Level = Literal["none", "notable", "strong"]

#: Stability index, beyond what chance gives, from which a change is worth a look, and from which scores are in doubt.
NOTABLE, STRONG = 0.2, 0.5


def level_of(*excesses: float) -> Level:
    """Return what to call the largest of some stability indices, each less what chance gives."""
    largest = max(excesses)
    return "strong" if largest > STRONG else "notable" if largest > NOTABLE else "none"


@dataclass(frozen=True, kw_only=True)
class FeatureDrift:
    """One feature, in training and now.

    Attributes
    ----------
    name
        The feature.
    training
        Its distribution in the training set.
    counts
        Rows now: below the training range, per bin, above it.
    n_rows, n_missing
        Rows now, and those without a value.
    """

    name: str
    training: FeatureDistribution
    counts: tuple[int, ...]
    n_rows: int
    n_missing: int

    @cached_property
    def index(self) -> tuple[float, float]:
        """Return the stability index of the values, and what chance gives."""
        return stability_index((0, *self.training.counts, 0), self.counts)

    @cached_property
    def missing_index(self) -> tuple[float, float]:
        """Return the stability index of *missing* against *there*, and what chance gives."""
        known, now = self.training, (self.n_rows - self.n_missing, self.n_missing)
        return stability_index((known.n_rows - known.n_missing, known.n_missing), now)

    @property
    def excess(self) -> float:
        """Return the larger of the two indices, less what chance gives."""
        return max(self.index[0] - self.index[1], self.missing_index[0] - self.missing_index[1])

    @property
    def level(self) -> Level:
        """Return how far the feature has drifted."""
        return level_of(self.excess)

    @property
    def missing_share(self) -> float:
        """Return the share of the rows without a value now; 0 of no rows."""
        return self.n_missing / self.n_rows if self.n_rows else 0.0

    @property
    def shares(self) -> tuple[float, ...]:
        """Return the share of the values now below the training range, per bin, and above it; 0 of no values."""
        n_values = max(sum(self.counts), 1)
        return tuple(count / n_values for count in self.counts)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return {
            "name": self.name,
            "level": self.level,
            "stability_index": self.index[0],
            "stability_index_by_chance": self.index[1],
            "missing_stability_index": self.missing_index[0],
            "missing_share_training": self.training.missing_share,
            "missing_share": self.missing_share,
            "outside_share": self.shares[0] + self.shares[-1],
            "edges": list(self.training.edges),
            "shares_training": list(self.training.shares),
            "shares": list(self.shares[1:-1]),
            "share_below": self.shares[0],
            "share_above": self.shares[-1],
            "n_rows_training": self.training.n_rows,
            "n_rows": self.n_rows,
        }


@dataclass(frozen=True, kw_only=True)
class ScoreDrift:
    """The scores of one model, of validation and test part and now, as rows per bin of equal width in [0, 1]."""

    model: str
    training: tuple[int, ...]
    counts: tuple[int, ...]

    @cached_property
    def index(self) -> tuple[float, float]:
        """Return the stability index, and what chance gives."""
        return stability_index(self.training, self.counts)

    @property
    def level(self) -> Level:
        """Return how far the scores have drifted."""
        return level_of(self.index[0] - self.index[1])

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        both = {"shares_training": self.training, "shares": self.counts}
        return {
            "model": self.model,
            "level": self.level,
            "stability_index": self.index[0],
            "stability_index_by_chance": self.index[1],
            **{name: [count / max(sum(counts), 1) for count in counts] for name, counts in both.items()},
            "n_rows_training": sum(self.training),
            "n_rows": sum(self.counts),
        }


@dataclass(frozen=True, kw_only=True)
class DriftRecord:
    """What one run of scoring showed.

    Attributes
    ----------
    n_rows
        Rows scored.
    features, scores
        The largest drift first.
    unknown
        Models that say nothing of their training set: their bundles are of an older version.
    """

    n_rows: int
    features: tuple[FeatureDrift, ...]
    scores: tuple[ScoreDrift, ...]
    unknown: tuple[str, ...] = ()

    def drifted(self, *levels: Level) -> tuple[FeatureDrift, ...]:
        """Return the features of some levels."""
        return tuple(one for one in self.features if one.level in levels)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-able form; no NaN is in it."""
        return {
            "n_rows": self.n_rows,
            "n_features": len(self.features),
            "n_notable": len(self.drifted("notable")),
            "n_strong": len(self.drifted("strong")),
            "thresholds": {"notable": NOTABLE, "strong": STRONG},
            "models_without_distributions": list(self.unknown),
            "features": [one.to_json() for one in self.features],
            "scores": [one.to_json() for one in self.scores],
        }


class DriftCounter:
    """Counts the rows that some models score into the bins of their training sets.

    A feature that several bundles describe is compared with the description that has the most rows.

    Parameters
    ----------
    bundles
        The models.
    """

    def __init__(self, bundles: Sequence[ModelBundle]) -> None:
        known = {
            bundle.name: bundle.record.distributions for bundle in bundles if bundle.record.distributions is not None
        }
        widest: dict[str, FeatureDistribution] = {}
        for one in known.values():
            for name, training in one.features.items():
                if name not in widest or training.n_rows > widest[name].n_rows:
                    widest[name] = training
        self._tallies = {name: Tally(training) for name, training in widest.items()}
        self._training = {name: one.scores for name, one in known.items() if one.scores}
        self._counts: dict[str, CountArray] = {name: np.zeros(SCORE_BINS, dtype=np.int64) for name in self._training}
        self._unknown = tuple(bundle.name for bundle in bundles if bundle.name not in known)
        self._n_rows = 0

    def add(self, features: pa.Table, scores: pa.Table) -> None:
        """Count a batch: its features, and the scores as the models gave them, one column a model.

        Raises
        ------
        FeatureMismatchError
            If a feature is not in the table.
        """
        self._n_rows += features.num_rows
        names = tuple(self._tallies)
        matrix = feature_matrix(features, names)
        for k, name in enumerate(names):
            self._tallies[name].add(matrix[:, k])
        for name in self._counts:
            self._counts[name] += score_histogram(scores[name].to_numpy())

    def counts(self) -> dict[str, Any]:
        """Return what has been counted so far, JSON-able, for `add_counts` of another counter."""
        return {
            "n_rows": self._n_rows,
            "features": {name: [tally.n_missing, *tally.counts.tolist()] for name, tally in self._tallies.items()},
            "scores": {name: counts.tolist() for name, counts in self._counts.items()},
        }

    def add_counts(self, counts: Mapping[str, Any]) -> None:
        """Add what a counter of the same models, or of some of them, has counted."""
        self._n_rows += counts["n_rows"]
        for name, (n_missing, *values) in counts["features"].items():
            if name in self._tallies:
                self._tallies[name].add_counts(n_missing, values)
        for name, values in counts["scores"].items():
            if name in self._counts:
                self._counts[name] += np.asarray(values, dtype=np.int64)

    def record(self) -> DriftRecord:
        """Return what has been counted so far."""
        features = [
            FeatureDrift(
                name=name,
                training=tally.training,
                counts=tuple(tally.counts.tolist()),
                n_rows=tally.n_rows,
                n_missing=tally.n_missing,
            )
            for name, tally in self._tallies.items()
        ]
        scores = [
            ScoreDrift(model=name, training=self._training[name], counts=tuple(counts.tolist()))
            for name, counts in self._counts.items()
        ]
        return DriftRecord(
            n_rows=self._n_rows,
            features=tuple(sorted(features, key=lambda one: (-one.excess, one.name))),
            scores=tuple(sorted(scores, key=lambda one: (one.index[1] - one.index[0], one.model))),
            unknown=self._unknown,
        )
