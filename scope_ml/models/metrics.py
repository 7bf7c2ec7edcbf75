"""What a classifier's scores are worth: ranking metrics, metrics at a threshold, calibration, curves.

All of them are written for *weighted* rows, many weightings at once: the value itself is the case of one
weighting by ones, a bootstrap resample is a weighting by counts (`intervals`). There is thus one definition of
each metric, and a thousand resamples cost a few matrix products.

A metric that a split cannot give (one class only, nothing above the threshold) is None with a reason, never NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scope_ml.errors import DataError

__all__ = [
    "METRICS",
    "Estimate",
    "Ranking",
    "average_precision",
    "average_precisions",
    "calibration_error",
    "confusion",
    "curves",
    "missing_reason",
    "reliability",
]

FloatArray = npt.NDArray[np.float64]

#: Metrics that `Ranking.weighted` gives, in the order of reports.
METRICS = ("average_precision", "roc_auc", "precision", "recall", "f1", "brier", "log_loss")

#: Scores are kept this far from 0 and 1 in the logarithm of the log loss (float32 resolution at 1).
LOG_LOSS_MARGIN = 1e-7

#: Equal-width bins of the calibration error, the usual choice (Guo et al. 2017, arXiv:1706.04599).
CALIBRATION_BINS = 10

#: Points kept of a curve: more cannot be seen in a plot and would bloat the run's record.
CURVE_POINTS = 200


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A metric's value with its interval; `reason` says why there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-able form, with `reason` only where there is one."""
        plain: dict[str, Any] = {"value": self.value, "low": self.low, "high": self.high}
        return plain | {"reason": self.reason} if self.reason else plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Estimate:
        """Read what `to_json` wrote."""
        return cls(**plain)


class Ranking:
    """Rows of one split, sorted by falling score once, from which weighted metrics are read off.

    Parameters
    ----------
    y
        (n,) true class, 0 or 1.
    score
        (n,) score in [0, 1].
    threshold
        A row counts as predicted positive where ``score >= threshold``.

    Raises
    ------
    DataError
        If the two do not have the same length, a score is not in [0, 1] or a label is not 0 or 1.
    """

    def __init__(self, y: npt.ArrayLike, score: npt.ArrayLike, *, threshold: float = 0.5) -> None:
        labels = np.asarray(y)
        scores = np.asarray(score, dtype=np.float64)
        if labels.ndim != 1 or labels.shape != scores.shape:
            raise DataError(f"metrics need as many labels as scores, got shapes {labels.shape} and {scores.shape}")
        if not np.isin(labels, (0, 1)).all():
            raise DataError(f"metrics need labels 0 or 1, got {np.unique(labels)[:5].tolist()}")
        if not ((scores >= 0.0) & (scores <= 1.0)).all():
            raise DataError("metrics need scores in [0, 1]; there are others or NaN among them")
        # A stable sort keeps the result the same on every platform; ties are merged below anyway.
        self.order = np.argsort(-scores, kind="stable")
        self.score = scores[self.order]
        self.positive = labels[self.order].astype(np.float64)
        self.threshold = threshold
        distinct = np.flatnonzero(np.diff(self.score))
        #: Last row of each group of equal scores: only there does a threshold cut.
        self.cuts = np.append(distinct, self.score.size - 1) if self.score.size else distinct

    @property
    def n_rows(self) -> int:
        """Return the number of rows."""
        return int(self.score.size)

    @property
    def n_positive(self) -> int:
        """Return the number of positives."""
        return int(self.positive.sum())

    def cumulative(self, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return true and false positives at each distinct score, (b, m) each, for weightings (b, n) in rank order."""
        true = np.cumsum(weight * self.positive, axis=1)[:, self.cuts]
        false = np.cumsum(weight * (1.0 - self.positive), axis=1)[:, self.cuts]
        return true, false

    def weighted(self, weight: FloatArray) -> dict[str, FloatArray]:
        """Return each of `METRICS` for b weightings at once.

        Parameters
        ----------
        weight
            (b, n) weights of the rows *in the order given to the constructor*, 0 or more.

        Returns
        -------
        dict
            (b,) float64 per metric, NaN where a weighting does not define it. Ties count one half in ``roc_auc``.
        """
        ranked = weight[:, self.order]
        true, false = self.cumulative(ranked)
        n_positive, n_negative = true[:, -1], false[:, -1]
        n_rows = n_positive + n_negative
        with np.errstate(divide="ignore", invalid="ignore"):
            precision_at = np.where(true + false > 0, true / (true + false), 0.0)
            gained = np.diff(true, axis=1, prepend=0.0)
            area = (np.diff(false, axis=1, prepend=0.0) * (true - 0.5 * gained)).sum(axis=1)
            both = (n_positive > 0) & (n_negative > 0)
            above = self.score >= self.threshold
            hits = ranked @ (above * self.positive)
            called = ranked @ above.astype(np.float64)
            p = np.clip(self.score, LOG_LOSS_MARGIN, 1.0 - LOG_LOSS_MARGIN)
            surprise = -(self.positive * np.log(p) + (1.0 - self.positive) * np.log1p(-p))
            return {
                "average_precision": np.where(both, (gained * precision_at).sum(axis=1) / n_positive, np.nan),
                "roc_auc": np.where(both, area / (n_positive * n_negative), np.nan),
                "precision": hits / called,
                "recall": hits / n_positive,
                "f1": 2.0 * hits / (called + n_positive),
                "brier": ranked @ (self.score - self.positive) ** 2 / n_rows,
                "log_loss": ranked @ surprise / n_rows,
            }


def missing_reason(metric: str, ranking: Ranking) -> str:
    """Return in words why `ranking` has no value for `metric`."""
    if ranking.n_rows == 0:
        return "no rows"
    if ranking.n_positive == 0 and metric != "precision":
        return "no positives"
    if ranking.n_positive == ranking.n_rows and metric in ("average_precision", "roc_auc"):
        return "no negatives"
    return f"no score reaches the threshold {ranking.threshold:g}"


def average_precision(y: npt.ArrayLike, score: npt.ArrayLike) -> float | None:
    """Return the average precision, sum over thresholds of (recall step) x precision, or None for one class only."""
    ranking = Ranking(y, score)
    if ranking.n_rows == 0:
        return None
    value = float(ranking.weighted(np.ones((1, ranking.n_rows)))["average_precision"][0])
    return value if np.isfinite(value) else None


def average_precisions(y: npt.ArrayLike, scores: npt.ArrayLike) -> FloatArray:
    """Return the average precision of m models on the same rows, float64 (m,); NaN where the rows are of one class.

    Parameters
    ----------
    y
        (n,) true class, 0 or 1.
    scores
        (m, n) scores; equal ones count as one threshold, as in `average_precision`.
    """
    given = np.asarray(scores, dtype=np.float64)
    positive = np.asarray(y, dtype=np.float64)
    n_rows, n_positive = positive.size, float(positive.sum())
    if n_positive in (0.0, float(n_rows)):
        return np.full(len(given), np.nan)
    order = np.argsort(-given, axis=1, kind="stable")
    ranked, hit = np.take_along_axis(given, order, axis=1), positive[order]
    # Every row counts with the precision at the last row of its score.
    last = np.where(np.diff(ranked, axis=1, append=-np.inf) < 0.0, np.arange(n_rows), n_rows)
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    precision = np.take_along_axis(np.cumsum(hit, axis=1), last, axis=1) / (last + 1)
    area: FloatArray = (hit * precision).sum(axis=1) / n_positive
    return area


def confusion(ranking: Ranking) -> dict[str, int]:
    """Return the counts ``tn, fp, fn, tp`` at the threshold."""
    above = ranking.score >= ranking.threshold
    positive = ranking.positive > 0
    return {
        "tn": int((~above & ~positive).sum()),
        "fp": int((above & ~positive).sum()),
        "fn": int((~above & positive).sum()),
        "tp": int((above & positive).sum()),
    }


def reliability(ranking: Ranking) -> dict[str, list[float]]:
    """Return mean score, share of positives and number of rows of each occupied equal-width bin of the score."""
    which = np.minimum((ranking.score * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    count = np.bincount(which, minlength=CALIBRATION_BINS)
    occupied = count > 0
    mean = np.bincount(which, weights=ranking.score, minlength=CALIBRATION_BINS)[occupied] / count[occupied]
    share = np.bincount(which, weights=ranking.positive, minlength=CALIBRATION_BINS)[occupied] / count[occupied]
    return {"score": mean.tolist(), "share": share.tolist(), "n": count[occupied].astype(float).tolist()}


def calibration_error(ranking: Ranking) -> float | None:
    """Return the expected calibration error: mean over rows of |bin's mean score - bin's share of positives|."""
    if ranking.n_rows == 0:
        return None
    bins = reliability(ranking)
    gap = np.abs(np.asarray(bins["score"]) - np.asarray(bins["share"]))
    return float((gap * np.asarray(bins["n"])).sum() / ranking.n_rows)


def curves(ranking: Ranking) -> dict[str, dict[str, list[float]]]:
    """Return the ``pr`` (recall, precision) and ``roc`` (fpr, tpr) curves and ``reliability``, for plots.

    Each has at most `CURVE_POINTS` points, evenly along the curve, with its ends and the threshold at each point
    (none for the point (0, 0) of the ROC curve, whose threshold is 1). Empty where the split has one class only.
    """
    if ranking.n_positive in (0, ranking.n_rows):
        return {}
    true, false = (counts[0] for counts in ranking.cumulative(np.ones((1, ranking.n_rows))))
    cut = ranking.score[ranking.cuts]
    recall, precision = true / true[-1], true / (true + false)
    kept = _thin(recall, precision)
    pr = {"recall": recall[kept], "precision": precision[kept], "threshold": cut[kept]}
    tpr, fpr = np.append(0.0, recall), np.append(0.0, false / false[-1])
    kept = _thin(fpr, tpr)
    roc = {"fpr": fpr[kept], "tpr": tpr[kept], "threshold": np.append(1.0, cut)[kept]}
    plain = {
        name: {key: column.tolist() for key, column in curve.items()} for name, curve in (("pr", pr), ("roc", roc))
    }
    return plain | {"reliability": reliability(ranking)}


def _thin(x: FloatArray, y: FloatArray) -> npt.NDArray[np.int64]:
    """Return indices of at most `CURVE_POINTS` points of a curve, evenly spaced along its length."""
    if x.size <= CURVE_POINTS:
        return np.arange(x.size)
    length = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    wanted = np.linspace(0.0, length[-1], CURVE_POINTS)
    kept = np.minimum(np.searchsorted(length, wanted), x.size - 1)
    kept[0], kept[-1] = 0, x.size - 1
    return np.unique(kept)
