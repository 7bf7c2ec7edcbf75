"""Two models on the same light curves: the difference of their metrics, with an interval from the same resamples.

The intervals of two models overlap long before their difference is lost in the noise, since both err on the same stars.
A paired bootstrap draws the same stars for both and looks at the difference (Efron & Tibshirani 1993, chapter 8).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scope_ml.errors import DataError
from scope_ml.models.intervals import bootstrap
from scope_ml.models.metrics import Ranking

__all__ = ["COMPARED", "Difference", "Scored", "paired_differences"]

#: Metrics that are compared.
COMPARED = ("average_precision", "f1")


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Scores (n,) in [0, 1] of one model, and the threshold from which it calls a light curve a member."""

    score: npt.NDArray[np.float32]
    threshold: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A metric of two models and their difference, first minus second.

    Attributes
    ----------
    first, second, difference
        Values on all rows; None where the rows do not define them.
    low, high
        Ends of the difference's interval; None where too few resamples define it.
    share_better
        Share of the resamples in which the first is better.
    """

    first: float | None
    second: float | None
    difference: float | None
    low: float | None = None
    high: float | None = None
    share_better: float | None = None

    @property
    def is_win(self) -> bool:
        """Say whether the first is better beyond the interval."""
        return self.low is not None and self.low > 0.0


def paired_differences(
    y: npt.ArrayLike,
    group: npt.ArrayLike,
    first: Scored,
    second: Scored,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Difference]:
    """Return the difference of each of `COMPARED`.

    Parameters
    ----------
    y
        (n,) true class, 0 or 1.
    group
        (n,) star of each row; all rows of a star are drawn together.
    first, second
        The models' scores of the n rows.
    n_resamples, seed, confidence
        Resamples, the same for both; share of them inside the interval.

    Raises
    ------
    DataError
        If there are no rows, shapes do not fit, a label is not 0 or 1, or a score is not in [0, 1].
    """
    if np.size(np.asarray(y)) == 0:
        raise DataError("there is no light curve to compare on; give a data set with the class in its test part")
    rankings = [Ranking(y, model.score, threshold=model.threshold) for model in (first, second)]
    ones = np.ones((1, rankings[0].n_rows))
    values = [ranking.weighted(ones) for ranking in rankings]
    drawn = [bootstrap(ranking, group, n_resamples=n_resamples, seed=seed) for ranking in rankings]
    found = {}
    for metric in COMPARED:
        a, b = (float(value[metric][0]) for value in values)
        resampled = drawn[0][metric] - drawn[1][metric] if n_resamples else np.empty(0)
        found[metric] = _difference(a, b, resampled[np.isfinite(resampled)], n_resamples, confidence)
    return found


def _difference(
    first: float, second: float, drawn: npt.NDArray[np.float64], n_resamples: int, confidence: float
) -> Difference:
    values = [value if np.isfinite(value) else None for value in (first, second, first - second)]
    known = Difference(first=values[0], second=values[1], difference=values[2])
    if known.difference is None or drawn.size < max(2.0, 0.5 * n_resamples):
        return known
    tail = 0.5 * (1.0 - confidence)
    low, high = np.quantile(drawn, (tail, 1.0 - tail))
    return Difference(
        first=known.first,
        second=known.second,
        difference=known.difference,
        low=float(low),
        high=float(high),
        share_better=float(np.mean(drawn > 0.0)),
    )
