"""Calibration: from an algorithm's score to a probability, by a monotone map fitted on the validation part alone.

`platt` is a sigmoid of the score's logit (Platt 1999, in Advances in Large Margin Classifiers, with the targets and the
Newton steps of Lin, Lin & Weng 2007, Machine Learning 68, 267); `isotonic` the best rising step function (Zadrozny & Elkan
2002, KDD) through whose steps a line is drawn, so that the order of the scores survives. Needs rows at their natural
shares: class weights must not be among the weights. May import `metrics` and below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from scope_ml.errors import DataError, ModelError
from scope_ml.models.inputs import Float32Array

__all__ = ["Calibration", "Method", "best_f1_threshold", "fit_calibration", "fit_isotonic", "fit_platt"]

FloatArray = npt.NDArray[np.float64]
Method = Literal["none", "platt", "isotonic"]

#: Fewest positive and fewest negative rows for a method; a method with less is replaced by the next simpler one.
FEWEST = {"isotonic": 20, "platt": 5}

#: Scores are fitted this far from 0 and 1: a single score beside them would outweigh all others in the logit.
FIT_MARGIN = 1e-6

#: What float32 can tell from 0 and from 1.
LOWEST, HIGHEST = float(np.finfo(np.float32).tiny), 1.0 - float(np.finfo(np.float32).epsneg)

#: Newton steps, halvings of one, and the gradient that ends them (Lin, Lin & Weng 2007).
MOST_STEPS, MOST_HALVINGS, GRADIENT_ENOUGH = 100, 40, 1e-9

#: Added to the Hessian, so that it can be inverted where all scores are equal.
RIDGE = 1e-12


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A monotone map of scores in [0, 1] onto probabilities in [0, 1].

    Attributes
    ----------
    method
        ``platt``: ``sigmoid(slope * logit(score) + intercept)``. ``isotonic``: a line through `knots` and `levels`.
    slope, intercept
        Of ``platt``; the slope is above 0.
    knots, levels
        Of ``isotonic``: rising scores and the rising probabilities there.
    """

    method: Literal["platt", "isotonic"]
    slope: float = 1.0
    intercept: float = 0.0
    knots: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()

    def apply(self, scores: npt.ArrayLike) -> Float32Array:
        """Return the (n,) float32 probability of each score; a higher score never gives a lower one."""
        raw = np.asarray(scores, dtype=np.float64)
        if self.method == "isotonic":
            found = np.interp(raw, self.knots, self.levels)
        else:
            found = _sigmoid(self.slope * _logit(np.clip(raw, LOWEST, HIGHEST)) + self.intercept)
        return np.asarray(found, dtype=np.float32)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-able form; numbers come back exactly."""
        if self.method == "platt":
            return {"method": self.method, "slope": self.slope, "intercept": self.intercept}
        return {"method": self.method, "knots": list(self.knots), "levels": list(self.levels)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any] | None) -> Calibration | None:
        """Read what `to_json` wrote; None is no calibration.

        Raises
        ------
        ModelError
            If it is not such a record, or its map does not rise.
        """
        if plain is None:
            return None
        try:
            known = {"knots": (), "levels": (), **plain}
            read = cls(**{**known, **{name: tuple(map(float, known[name])) for name in ("knots", "levels")}})
            numbers = np.array([read.slope, read.intercept, *read.knots, *read.levels], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ModelError(f"the calibration cannot be read ({error}); fetch the model bundle again") from error
        if read.method == "platt":
            rises = read.slope > 0
        else:
            rises = len(read.knots) == len(read.levels) >= 2 and bool(
                (np.diff(read.knots) > 0).all() and (np.diff(read.levels) >= 0).all()
            )
        inside = all(0.0 <= level <= 1.0 for level in read.levels)
        if read.method not in FEWEST or not (np.isfinite(numbers).all() and rises and inside):
            raise ModelError(f"the calibration {str(dict(plain))[:80]} is no rising map; fetch the model bundle again")
        return read


def fit_calibration(
    scores: npt.ArrayLike, y: npt.ArrayLike, weight: npt.ArrayLike | None = None, *, method: Method
) -> tuple[Calibration | None, tuple[str, ...]]:
    """Fit the calibration of a method on held-out rows, or a simpler one where they are too few.

    Parameters
    ----------
    scores
        (n,) scores in [0, 1] of rows that did not train.
    y
        (n,) their class, 0 or 1.
    weight
        (n,) weights; None counts all alike.
    method
        ``none``, ``platt`` or ``isotonic``.

    Returns
    -------
    tuple
        The calibration, None where there is none, and a line for each method that could not be used.
    """
    if method == "none":
        return None, ()
    labels = np.asarray(y)
    fewest = min(int((labels == 1).sum()), int((labels == 0).sum()))
    warnings = []
    for name in ("isotonic", "platt") if method == "isotonic" else ("platt",):
        if fewest < FEWEST[name]:
            warnings.append(
                f"calibration={name} needs {FEWEST[name]} positives and negatives in validation, there are {fewest}"
            )
            continue
        found = (fit_isotonic if name == "isotonic" else fit_platt)(scores, labels, weight)
        if found is not None:
            return found, tuple(f"{line}; {name} is used" for line in warnings)
        warnings.append(f"calibration={name} found that higher scores do not mean more of the class in validation")
    return None, tuple(f"{line}; the scores are not calibrated" for line in warnings[-1:])


def fit_platt(scores: npt.ArrayLike, y: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Calibration | None:
    """Return the sigmoid that makes smoothed labels most likely, or None where it would not rise.

    Lin, Lin & Weng 2007, algorithm 1, over the logit of the score: a score that is calibrated already gives slope 1
    and intercept 0. Parameters as in `fit_calibration`.
    """
    raw, labels, weights = _checked(scores, y, weight)
    x = _logit(np.clip(raw, FIT_MARGIN, 1.0 - FIT_MARGIN))
    target = _smoothed(labels, weights)
    design = np.column_stack([x, np.ones_like(x)])
    positives = float(weights[labels == 1].sum())
    theta = np.array([0.0, np.log((positives + 1.0) / (float(weights.sum()) - positives + 1.0))])

    def loss(parameters: FloatArray) -> float:
        linear = design @ parameters
        return float(weights @ (np.logaddexp(0.0, linear) - target * linear))

    value = loss(theta)
    for _ in range(MOST_STEPS):
        p = _sigmoid(design @ theta)
        gradient = design.T @ (weights * (p - target))
        if np.abs(gradient).max() < GRADIENT_ENOUGH * max(1.0, float(weights.sum())):
            break
        hessian = (design * (weights * p * (1.0 - p))[:, None]).T @ design + RIDGE * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        for halving in range(MOST_HALVINGS):
            candidate = theta - step * 0.5**halving
            lower = loss(candidate)
            if lower < value:
                break
        else:
            # No step gains any more: as near as float64 comes.
            break
        theta, value = candidate, lower
    slope, intercept = (float(number) for number in theta)
    if not (np.isfinite(theta).all() and slope > 0.0):
        return None
    return Calibration(method="platt", slope=slope, intercept=intercept)


def fit_isotonic(scores: npt.ArrayLike, y: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Calibration | None:
    """Return the line through the centres of the best rising steps, or None where there is one step only.

    The steps are fitted to the smoothed labels of Platt, so that the lowest is above 0 and the highest below 1; the line
    goes on to (0, 0) and (1, 1) where no step lies there. It rises everywhere, so that scores that differ hardly ever
    become equal. Parameters as in `fit_calibration`.
    """
    from scipy.optimize import isotonic_regression

    raw, labels, weights = _checked(scores, y, weight)
    target = _smoothed(labels, weights)
    x, which = np.unique(raw, return_inverse=True)
    total = np.bincount(which, weights=weights)
    mean = np.bincount(which, weights=weights * target) / total
    fitted = isotonic_regression(mean, weights=total)
    starts = np.asarray(fitted.blocks[:-1], dtype=np.int64)
    if starts.size < 2:
        return None
    size = np.add.reduceat(total, starts)
    centre = np.add.reduceat(total * x, starts) / size
    level = np.asarray(fitted.x, dtype=np.float64)[starts]
    low, high = ([0.0] if centre[0] > 0.0 else []), ([1.0] if centre[-1] < 1.0 else [])
    knots, levels = (tuple([*low, *middle.tolist(), *high]) for middle in (centre, level))
    return Calibration(method="isotonic", knots=knots, levels=levels)


def best_f1_threshold(
    scores: npt.ArrayLike, y: npt.ArrayLike, weight: npt.ArrayLike | None = None, *, fallback: float
) -> float:
    """Return the threshold with the highest F1, half-way to the next lower score, or `fallback` for few positives.

    Of equal ones the highest is taken. Parameters as in `fit_calibration`; few are less than ``FEWEST["platt"]``.
    """
    raw, labels, weights = _checked(scores, y, weight)
    if int((labels == 1).sum()) < FEWEST["platt"]:
        return fallback
    order = np.argsort(-raw, kind="stable")
    ranked = raw[order]
    true = np.cumsum(weights[order] * (labels[order] == 1))
    called = np.cumsum(weights[order])
    cuts = np.append(np.flatnonzero(np.diff(ranked)), ranked.size - 1)
    f1 = 2.0 * true[cuts] / (called[cuts] + true[-1])
    best = int(cuts[np.argmax(f1)])
    return float(0.5 * (ranked[best] + ranked[best + 1])) if best + 1 < ranked.size else float(ranked[best])


def _checked(
    scores: npt.ArrayLike, y: npt.ArrayLike, weight: npt.ArrayLike | None
) -> tuple[FloatArray, npt.NDArray[np.int8], FloatArray]:
    """Return scores, labels and weights of the rows that count."""
    raw, labels = np.asarray(scores, dtype=np.float64), np.asarray(y).astype(np.int8)
    weights = np.ones(raw.shape) if weight is None else np.asarray(weight, dtype=np.float64)
    if raw.ndim != 1 or not raw.shape == labels.shape == weights.shape:
        raise DataError(f"scores, labels and weights have shapes {raw.shape}, {labels.shape} and {weights.shape}")
    if not ((raw >= 0.0) & (raw <= 1.0)).all():
        raise DataError("calibration needs scores in [0, 1]; there are others or NaN among them")
    counts = weights > 0
    return raw[counts], labels[counts], weights[counts]


def _smoothed(labels: npt.NDArray[np.int8], weights: FloatArray) -> FloatArray:
    """Return Platt's targets: a label counts as if one more row of each class had been seen."""
    positives = float(weights[labels == 1].sum())
    negatives = float(weights[labels == 0].sum())
    return np.where(labels == 1, (positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0))


def _logit(p: FloatArray) -> FloatArray:
    found: FloatArray = np.log(p) - np.log1p(-p)
    return found


def _sigmoid(x: FloatArray) -> FloatArray:
    from scipy.special import expit

    found: FloatArray = expit(x)
    return found
