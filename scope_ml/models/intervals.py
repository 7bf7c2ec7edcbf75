"""How sure the metrics are: bootstrap intervals that resample *stars*, and the metrics of one split as a whole.

All light curves of a star (bands, fields) are drawn together, since they are not independent: resampling rows would
give intervals that are too narrow (Efron & Tibshirani 1993, chapter 8).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from scope_ml.errors import DataError
from scope_ml.models.metrics import (
    METRICS,
    Estimate,
    FloatArray,
    Ranking,
    calibration_error,
    confusion,
    curves,
    missing_reason,
)

__all__ = ["SplitMetrics", "bootstrap", "evaluate"]

#: Resamples are weighed in blocks of about this many weights (0.8 MB): a block that fits the cache takes half the time, and
#: memory stays flat for large splits.
BLOCK_WEIGHTS = 100_000

#: Draws of so many (16 MB) are kept for the next model: all models of a class and most of a data set share them.
DRAWS_KEPT = 2_000_000

#: Resamples that the band around a precision-recall curve is drawn from: few, since it is only looked at.
BAND_RESAMPLES = 100

#: An interval is given only where at least this share of the resamples defines the metric.
DEFINED_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class SplitMetrics:
    """Metrics of one class on one split.

    Attributes
    ----------
    n_rows, n_positive
        Light curves, and those of the class.
    n_stars, n_positive_stars
        Stars, and those of the class.
    threshold
        Score from which a light curve counts as of the class.
    estimates
        `Estimate` per metric of `METRICS` and ``calibration_error`` (which has no interval: its bootstrap is biased).
    confusion
        Counts ``tn, fp, fn, tp`` of light curves at the threshold.
    curves
        ``pr``, ``roc`` and ``reliability`` for plots; empty where the split has one class only. With resamples, ``pr``
        has the ends ``low`` and ``high`` of the precision's interval at each recall.
    """

    n_rows: int
    n_positive: int
    n_stars: int
    n_positive_stars: int
    threshold: float
    estimates: Mapping[str, Estimate]
    confusion: Mapping[str, int]
    curves: Mapping[str, Any] = field(default_factory=dict)

    def value(self, metric: str) -> float | None:
        """Return the value of one metric, None where the split does not define it."""
        return self.estimates[metric].value

    def flat(self, prefix: str) -> dict[str, float]:
        """Return ``{prefix_metric: value, prefix_metric_low: ..., ...}`` without the undefined ones, for a tracker."""
        values = {f"{prefix}_n": float(self.n_rows), f"{prefix}_n_positive": float(self.n_positive)}
        for name, estimate in self.estimates.items():
            parts = {"": estimate.value, "_low": estimate.low, "_high": estimate.high}
            values |= {f"{prefix}_{name}{end}": part for end, part in parts.items() if part is not None}
        return values

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-able form without the curves."""
        plain = {
            name: getattr(self, name) for name in ("n_rows", "n_positive", "n_stars", "n_positive_stars", "threshold")
        }
        estimates = {name: estimate.to_json() for name, estimate in self.estimates.items()}
        return plain | {"confusion": dict(self.confusion), "estimates": estimates}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], curves: Mapping[str, Any] | None = None) -> SplitMetrics:
        """Read what `to_json` wrote."""
        estimates = {name: Estimate.from_json(value) for name, value in plain["estimates"].items()}
        return cls(**(dict(plain) | {"estimates": estimates, "curves": dict(curves or {})}))


def bootstrap(
    ranking: Ranking, group: npt.ArrayLike, *, n_resamples: int, seed: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the metrics of `n_resamples` resamples of the groups.

    Parameters
    ----------
    ranking
        Rows of the split.
    group
        (n,) star of each row, in the order given to `Ranking`.
    n_resamples
        Number of resamples; each draws as many groups as there are, with replacement.
    seed
        Same seed, same resamples (of the same groups): two models can be compared pair by pair.

    Returns
    -------
    dict
        (n_resamples,) float64 per metric, NaN where a resample does not define it.

    Raises
    ------
    DataError
        If `group` does not have one entry per row.
    """
    return _joined([ranking.weighted(weight) for weight in _resamples(ranking, group, n_resamples, seed)])


def evaluate(
    y: npt.ArrayLike,
    score: npt.ArrayLike,
    group: npt.ArrayLike,
    *,
    threshold: float,
    n_resamples: int = 500,
    seed: int = 0,
    confidence: float = 0.95,
) -> SplitMetrics:
    """Return all metrics of one split with bootstrap intervals.

    Parameters
    ----------
    y
        (n,) true class, 0 or 1.
    score
        (n,) score in [0, 1].
    group
        (n,) star of each row.
    threshold
        A row counts as predicted positive where ``score >= threshold``.
    n_resamples
        Resamples of the intervals; 0 gives none.
    seed
        Seed of the resamples.
    confidence
        Share of the resamples inside an interval.

    Raises
    ------
    DataError
        If shapes do not fit, a label is not 0 or 1, or a score is not in [0, 1].
    """
    ranking = Ranking(y, score, threshold=threshold)
    stars = np.asarray(group)
    plots = curves(ranking)
    if ranking.n_rows == 0:
        values: dict[str, float] = dict.fromkeys(METRICS, float("nan"))
        drawn: dict[str, FloatArray] = {}
    else:
        values = {name: float(v[0]) for name, v in ranking.weighted(np.ones((1, ranking.n_rows))).items()}
        drawn = _with_band(ranking, stars, plots, n_resamples=n_resamples, seed=seed, confidence=confidence)
    estimates = {name: _estimate(name, values[name], drawn.get(name), ranking, confidence) for name in METRICS}
    error = calibration_error(ranking)
    estimates["calibration_error"] = Estimate(value=error, reason="" if error is not None else "no rows")
    return SplitMetrics(
        n_rows=ranking.n_rows,
        n_positive=ranking.n_positive,
        n_stars=int(np.unique(stars).size),
        n_positive_stars=int(np.unique(stars[np.asarray(y) == 1]).size),
        threshold=threshold,
        estimates=estimates,
        confusion=confusion(ranking),
        curves=plots,
    )


def _resamples(ranking: Ranking, group: npt.ArrayLike, n_resamples: int, seed: int) -> Iterator[FloatArray]:
    """Yield the weights of the rows, (b, n) a block, of resamples of the groups."""
    groups = np.asarray(group)
    if groups.shape != (ranking.n_rows,):
        raise DataError(f"resampling needs one group per row: {ranking.n_rows} rows, groups of shape {groups.shape}")
    names, which = np.unique(groups, return_inverse=True)
    per_block = max(1, BLOCK_WEIGHTS // max(ranking.n_rows, 1))
    if names.size * n_resamples <= DRAWS_KEPT:
        kept = _kept_draws(names.size, n_resamples, seed)
        blocks: Iterator[npt.NDArray[np.int64]] = (
            kept[start : start + per_block] for start in range(0, n_resamples, per_block)
        )
    else:
        blocks = _draws(names.size, n_resamples, seed, per_block)
    for drawn in blocks:
        yield drawn[:, which].astype(np.float64)


def _draws(n_stars: int, n_resamples: int, seed: int, per_block: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield how often each star is drawn, (b, n_stars) a block; the size of the blocks changes nothing."""
    rng = np.random.default_rng(seed)
    chance = np.full(n_stars, 1.0 / max(n_stars, 1))
    for start in range(0, n_resamples, per_block):
        yield rng.multinomial(n_stars, chance, size=min(per_block, n_resamples - start))


@lru_cache(maxsize=4)
def _kept_draws(n_stars: int, n_resamples: int, seed: int) -> npt.NDArray[np.int64]:
    blocks = list(_draws(n_stars, n_resamples, seed, max(1, n_resamples)))
    drawn = np.concatenate(blocks) if blocks else np.empty((0, n_stars), dtype=np.int64)
    drawn.flags.writeable = False
    return drawn


def _joined(blocks: list[dict[str, FloatArray]]) -> dict[str, FloatArray]:
    return {name: np.concatenate([block[name] for block in blocks]) for name in METRICS} if blocks else {}


def _with_band(
    ranking: Ranking,
    group: npt.ArrayLike,
    plots: dict[str, dict[str, list[float]]],
    *,
    n_resamples: int,
    seed: int,
    confidence: float,
) -> dict[str, FloatArray]:
    """Return what `bootstrap` returns, and put the band of the first of its resamples into the curve ``pr``."""
    recall = np.asarray(plots["pr"]["recall"]) if plots else np.empty(0)
    blocks: list[dict[str, FloatArray]] = []
    precision: list[FloatArray] = []
    n_left = BAND_RESAMPLES if plots else 0
    for weight in _resamples(ranking, group, n_resamples, seed):
        blocks.append(ranking.weighted(weight))
        if n_left:
            precision.append(_precision_at(ranking, weight[:n_left], recall))
            n_left -= min(n_left, len(weight))
    band = _band(ranking, precision, confidence)
    if band is not None:
        # More digits than a plot shows would bloat the run's record.
        plots["pr"] |= {name: np.round(end, 4).tolist() for name, end in zip(("low", "high"), band, strict=True)}
    return _joined(blocks)


def _precision_at(ranking: Ranking, weight: FloatArray, recall: FloatArray) -> FloatArray:
    """Return the precision at `recall` (m,) for those of b weightings (b, n) that have a positive."""
    found = []
    for true, false in zip(*ranking.cumulative(weight[:, ranking.order]), strict=True):
        if true[-1] > 0:
            # The first cut that reaches a recall is where one stands after lowering the threshold that far; at recall 0
            # that is the first cut with a row above it.
            reached = np.searchsorted(true, recall * true[-1] - 1e-9)
            reached = np.maximum(reached, np.searchsorted(true + false, 0.5))
            found.append(true[reached] / (true[reached] + false[reached]))
    return np.array(found).reshape(-1, recall.size)


def _band(ranking: Ranking, precision: list[FloatArray], confidence: float) -> tuple[FloatArray, FloatArray] | None:
    drawn = np.concatenate(precision) if precision else np.empty((0, 0))
    if len(drawn) < 2 or ranking.n_positive in (0, ranking.n_rows):
        return None
    tail = 0.5 * (1.0 - confidence)
    low, high = np.quantile(drawn, (tail, 1.0 - tail), axis=0)
    return low, high


def _estimate(metric: str, value: float, drawn: FloatArray | None, ranking: Ranking, confidence: float) -> Estimate:
    if not np.isfinite(value):
        return Estimate(value=None, reason=missing_reason(metric, ranking))
    defined = drawn[np.isfinite(drawn)] if drawn is not None else np.empty(0)
    if drawn is None or defined.size < max(2.0, DEFINED_SHARE * drawn.size):
        return Estimate(value=value)
    tail = 0.5 * (1.0 - confidence)
    low, high = np.quantile(defined, (tail, 1.0 - tail))
    return Estimate(value=value, low=float(low), high=float(high))
