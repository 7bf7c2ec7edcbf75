"""How features and scores are distributed in a training set, and how far those of another table are from that.

A bundle keeps the `Distributions` of its training part; `infer` counts the rows that it scores into the same bins
(`Tally`) and compares. Pure NumPy; may import `errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from scope_ml.errors import DataError, ModelError

__all__ = ["SCORE_BINS", "Distributions", "FeatureDistribution", "Tally", "score_histogram", "stability_index"]

FloatArray = npt.NDArray[np.float64]
CountArray = npt.NDArray[np.int64]

#: Most bins of a feature: deciles.
FEATURE_BINS = 10

#: Bins of a score, of equal width in [0, 1].
SCORE_BINS = 20

#: Least share that a bin counts with in the stability index, so that an empty bin does not make it infinite.
LEAST_SHARE = 1e-4

#: Version of the JSON form; a newer one is refused.
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class FeatureDistribution:
    """How one feature is distributed over the rows of a training set.

    Attributes
    ----------
    edges
        Smallest value, inner cuts, largest value, rising; a single number where the feature is constant, none where it
        has no value at all. Bin k holds the values above ``edges[k]`` up to and with ``edges[k + 1]``, the first its
        lower end too.
    counts
        Rows per bin.
    n_rows, n_missing
        All rows, and those without a finite value.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    n_rows: int
    n_missing: int

    @property
    def shares(self) -> tuple[float, ...]:
        """Return the share of the rows with a value per bin; they add up to 1, or there are none."""
        n_values = self.n_rows - self.n_missing
        return tuple(count / n_values for count in self.counts)

    @property
    def missing_share(self) -> float:
        """Return the share of the rows without a value; 0 of no rows."""
        return self.n_missing / self.n_rows if self.n_rows else 0.0

    def count(self, values: FloatArray) -> CountArray:
        """Return how many finite `values` (m,) lie below, in each bin and above; int64 (n_bins + 2,)."""
        edges = np.asarray(self.edges, dtype=np.float64)
        if edges.size == 0:
            # There was no value to compare with: all that come now are new.
            return np.array([0, values.size], dtype=np.int64)
        n_bins = len(self.counts)
        place = np.searchsorted(edges, values, side="left")
        # The smallest value itself belongs to the first bin, not below it.
        place[values == edges[0]] = 1
        if edges.size == 1:
            place = np.where(values < edges[0], 0, np.where(values > edges[0], 2, 1))
        return np.bincount(place, minlength=n_bins + 2).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Distributions:
    """Distributions of the features of a training set, and of a model's scores on rows that did not train it.

    Attributes
    ----------
    features
        Distribution by name of the feature.
    scores
        Rows per bin of the score, `SCORE_BINS` of equal width in [0, 1]; empty where not known.
    """

    features: Mapping[str, FeatureDistribution]
    scores: tuple[int, ...] = ()

    @classmethod
    def of(cls, matrix: npt.ArrayLike, names: Sequence[str], *, scores: npt.ArrayLike | None = None) -> Distributions:
        """Return the distributions of the rows of a training set.

        Parameters
        ----------
        matrix
            (n, k) features before imputation and scaling; what is not finite counts as missing.
        names
            k names.
        scores
            Scores in [0, 1] of the model, any length; None leaves them out.

        Raises
        ------
        DataError
            If `matrix` does not have one column per name, or a score is not in [0, 1].
        """
        values = np.asarray(matrix, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(names):
            raise DataError(f"{len(names)} names of features for a matrix of shape {values.shape}")
        columns = np.ascontiguousarray(values.T)
        if not np.isfinite(columns).all():
            columns = np.where(np.isfinite(columns), columns, np.nan)
        # NaN sorts to the end.
        ordered = np.sort(columns, axis=1)
        n_values = np.count_nonzero(~np.isnan(ordered), axis=1)
        features = {
            name: _described(row[:n], n_rows=row.size)
            for name, row, n in zip(names, ordered, n_values.tolist(), strict=True)
        }
        found = cls(features=features)
        return found if scores is None else found.with_scores(scores)

    def with_scores(self, scores: npt.ArrayLike) -> Distributions:
        """Return the same features with a histogram of `scores`, so that models of one training set share the rest.

        Raises
        ------
        DataError
            If a score is not in [0, 1].
        """
        return replace(self, scores=tuple(score_histogram(scores).tolist()))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-able form; no NaN is in it."""
        features = {
            name: {
                "edges": list(one.edges),
                "counts": list(one.counts),
                "n_rows": one.n_rows,
                "n_missing": one.n_missing,
            }
            for name, one in self.features.items()
        }
        return {"version": VERSION, "features": features, "scores": list(self.scores)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Distributions:
        """Read what `to_json` wrote.

        Raises
        ------
        ModelError
            If `plain` is something else, or of a newer version.
        """
        version = plain.get("version")
        if not isinstance(version, int) or version > VERSION:
            raise ModelError(f"distributions of version {version}, this scope_ml knows {VERSION}; update scope_ml")
        try:
            features = {
                str(name): FeatureDistribution(
                    edges=tuple(map(float, one["edges"])),
                    counts=tuple(map(int, one["counts"])),
                    n_rows=int(one["n_rows"]),
                    n_missing=int(one["n_missing"]),
                )
                for name, one in plain["features"].items()
            }
            scores = tuple(map(int, plain["scores"]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the distributions of a model are damaged ({error!r}); fetch its bundle again") from error
        broken = [name for name, one in features.items() if not _is_whole(one)]
        if broken or len(scores) not in (0, SCORE_BINS):
            raise ModelError(
                f"the distributions of a model are damaged ({', '.join(broken) or 'scores'}); fetch it again"
            )
        return cls(features=features, scores=scores)


class Tally:
    """Counts the rows of a table, batch by batch, into the bins of one feature's training distribution.

    Parameters
    ----------
    training
        The distribution to compare with.

    Attributes
    ----------
    counts
        Rows below, in each bin, and above; int64 (n_bins + 2,).
    n_rows, n_missing
        Rows seen, and those without a finite value.
    """

    def __init__(self, training: FeatureDistribution) -> None:
        self.training = training
        self.counts: CountArray = np.zeros(len(training.counts) + 2, dtype=np.int64)
        self.n_rows = 0
        self.n_missing = 0

    def add(self, values: npt.ArrayLike) -> None:
        """Count a batch of values (m,); what is not finite counts as missing."""
        given = np.asarray(values, dtype=np.float64)
        finite = given[np.isfinite(given)]
        self.n_rows += given.size
        self.n_missing += given.size - finite.size
        self.counts += self.training.count(finite)

    def add_counts(self, n_missing: int, counts: npt.ArrayLike) -> None:
        """Add what another tally of the same feature has counted, `counts` int64 (n_bins + 2,)."""
        given = np.asarray(counts, dtype=np.int64)
        self.n_rows += n_missing + int(given.sum())
        self.n_missing += n_missing
        self.counts += given

    @property
    def missing_share(self) -> float:
        """Return the share of the rows without a value; 0 of no rows."""
        return self.n_missing / self.n_rows if self.n_rows else 0.0

    @property
    def outside_share(self) -> float:
        """Return the share of the values that lie outside the range of the training set; 0 of no values."""
        n_values = int(self.counts.sum())
        return float(self.counts[0] + self.counts[-1]) / n_values if n_values else 0.0


def stability_index(expected: npt.ArrayLike, counted: npt.ArrayLike) -> tuple[float, float]:
    """Return the population stability index of two histograms over the same bins, and what chance alone gives.

    Parameters
    ----------
    expected, counted
        Rows per bin of the training set and of the table, shape (n_bins,).

    Returns
    -------
    index
        Sum over bins of (q - p) ln(q / p), with p and q the shares of `expected` and `counted`: 0 for equal
        histograms, symmetric, in nats. 0 where one of the two has no rows.
    chance
        Its expectation where both are drawn from one distribution, (n_occupied - 1)(1/n + 1/m): small tables
        have a large one (Yurdakul 2018, Statistical properties of the population stability index).
    """
    p_counts, q_counts = (np.asarray(one, dtype=np.float64) for one in (expected, counted))
    n, m = p_counts.sum(), q_counts.sum()
    if not (n > 0 and m > 0):
        return 0.0, 0.0
    # An empty bin of a small table says less than one of a large table: half a row stands for none.
    p = np.maximum(p_counts / n, max(LEAST_SHARE, 0.5 / n))
    q = np.maximum(q_counts / m, max(LEAST_SHARE, 0.5 / m))
    both_empty = (p_counts == 0) & (q_counts == 0)
    terms = np.where(both_empty, 0.0, (q - p) * np.log(q / p))
    n_occupied = int(np.count_nonzero(~both_empty))
    return float(terms.sum()), float((n_occupied - 1) * (1.0 / n + 1.0 / m))


def score_histogram(scores: npt.ArrayLike) -> CountArray:
    """Return rows per bin of scores in [0, 1]; int64 (`SCORE_BINS`,), the last bin with its upper end.

    Raises
    ------
    DataError
        If a score is not in [0, 1].
    """
    given = np.asarray(scores, dtype=np.float64).ravel()
    if not ((given >= 0.0) & (given <= 1.0)).all():
        raise DataError("a histogram of scores needs scores in [0, 1]; there are others or NaN among them")
    place = np.minimum((given * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
    return np.bincount(place, minlength=SCORE_BINS).astype(np.int64)


def _described(values: FloatArray, *, n_rows: int) -> FeatureDistribution:
    """Describe the rising finite `values` of a feature."""
    n_missing = n_rows - values.size
    if values.size == 0:
        return FeatureDistribution(edges=(), counts=(), n_rows=n_rows, n_missing=n_missing)
    # Quantiles that occur among the values: many equal ones then make a bin of their own instead of a cut through it.
    places = (np.arange(1, FEATURE_BINS) * values.size + FEATURE_BINS - 1) // FEATURE_BINS - 1
    low, high = values[0], values[-1]
    cuts = np.unique(values[places])
    cuts = cuts[cuts < high]
    if low == high:
        edges = values[:1]
        counts = np.array([values.size])
    else:
        # A cut at the smallest value would make a bin without width; it is kept, as (low, low], for its many rows.
        edges = np.concatenate([[low], cuts, [high]])
        counts = np.diff(np.searchsorted(values, edges[1:], side="right"), prepend=0)
    return FeatureDistribution(
        edges=tuple(edges.tolist()), counts=tuple(counts.tolist()), n_rows=n_rows, n_missing=n_missing
    )


def _is_whole(one: FeatureDistribution) -> bool:
    """Say whether edges and counts belong together."""
    edges = np.asarray(one.edges)
    n_bins = {0: 0, 1: 1}.get(edges.size, edges.size - 1)
    return bool(
        len(one.counts) == n_bins
        and min((*one.counts, one.n_missing), default=0) >= 0
        and np.isfinite(edges).all()
        and (np.diff(edges) >= 0).all()
        and sum(one.counts) + one.n_missing == one.n_rows
    )
