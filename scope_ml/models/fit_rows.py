"""Which light curves train a class and with what weight: known labels, the balance, sample and class weights.

Labels that are not known (uncertain or missing) count neither in training nor in any metric. The balance drops
negatives in the training part only, so that validation and test keep the shares of the data set. A weight says how much
a light curve counts in training and in what is fitted on validation, 0 that it does not; metrics count all alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scope_ml.core.protocols import RunLogger
from scope_ml.datasets.split import PARTS
from scope_ml.errors import DataError, InsufficientDataError
from scope_ml.models.inputs import Float32Array, IntArray, TrainTask
from scope_ml.models.training_set import TrainingSet
from scope_ml.taxonomy.classes import ClassSpec

__all__ = ["ClassLabels", "FitRows", "fit_rows", "train_task"]

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class ClassLabels:
    """One class and its (n,) labels: `y` 0 or 1, `known` False where the label means nothing, optional weights >= 0."""

    spec: ClassSpec
    y: npt.NDArray[np.int8]
    known: BoolArray
    weight: Float32Array | None = field(default=None)


@dataclass(frozen=True, kw_only=True)
class FitRows:
    """The rows of one training.

    Attributes
    ----------
    parts
        Rows of each part whose label is known: what metrics are measured on.
    training, training_weight
        Rows that train, and their weights above 0.
    validation, validation_weight
        Rows of the validation part that say when to stop, and their weights above 0.
    own_weight
        Weights of `validation` without the class weights, which calibration must not see.
    """

    parts: Mapping[str, IntArray]
    training: IntArray
    training_weight: Float32Array
    validation: IntArray
    validation_weight: Float32Array
    own_weight: Float32Array


def fit_rows(data: TrainingSet, labels: ClassLabels, least: Mapping[str, int], seed: int) -> FitRows:
    """Choose the rows of one training.

    Parameters
    ----------
    data
        The split and the stars.
    labels
        The class and its labels.
    least
        Fewest positive stars by part.
    seed
        Seed of the balance.

    Raises
    ------
    InsufficientDataError
        If a part has too few positive stars, or training or validation has no negatives; names the counts.
    DataError
        If labels or weights do not fit the data.
    """
    parts = _known_rows(data, labels, least)
    counted = {part: rows if labels.weight is None else rows[labels.weight[rows] > 0] for part, rows in parts.items()}
    training = balanced(counted["train"], labels, seed)
    validation = counted["val"]
    return FitRows(
        parts=parts,
        training=training,
        training_weight=weights(labels, training),
        validation=validation,
        validation_weight=weights(labels, validation, like=training),
        own_weight=_own(labels, validation),
    )


def train_task(
    data: TrainingSet,
    labels: ClassLabels,
    rows: FitRows,
    settings: Any,
    *,
    seed: int,
    log: RunLogger,
    start: Path | None = None,
    watched: bool = False,
) -> TrainTask:
    """Return what an algorithm is given to train on these rows; `settings` have no null left."""
    return TrainTask(
        tag=labels.spec.tag,
        rows=rows.training,
        y=labels.y[rows.training].astype(np.float32),
        weight=rows.training_weight,
        group=data.group[rows.training],
        validation_rows=rows.validation,
        validation_y=labels.y[rows.validation].astype(np.float32),
        validation_weight=rows.validation_weight,
        settings=settings,
        seed=seed,
        log=log,
        start=start,
        watched=watched,
    )


def fit_counts(data: TrainingSet, labels: ClassLabels, rows: FitRows) -> dict[str, int]:
    """Return how many rows and stars trained, and how many did not and why."""
    kept, known = rows.training, rows.parts["train"]
    n_weightless = 0 if labels.weight is None else int((labels.weight[known] == 0).sum())
    return {
        "rows": len(data.inputs),
        "unknown_label": int((~labels.known).sum()),
        "dropped_by_weight": n_weightless,
        "dropped_by_balance": int(known.size - kept.size - n_weightless),
        "trained_rows": int(kept.size),
        "trained_positive_rows": int((labels.y[kept] == 1).sum()),
        "trained_positive_stars": n_stars(data.group[kept[labels.y[kept] == 1]]),
        "weighted_rows": 0 if labels.weight is None else int((labels.weight[kept] != 1).sum()),
    }


def n_stars(groups: npt.NDArray[Any]) -> int:
    """Return the number of different stars."""
    return int(np.unique(groups).size)


def balanced(rows: IntArray, labels: ClassLabels, seed: int) -> IntArray:
    """Return the training rows with at most ``spec.balance`` negatives per positive, drawn with the seed, in order."""
    if labels.spec.balance is None:
        return rows
    positive = labels.y[rows] == 1
    negatives = rows[~positive]
    most = max(1, round(labels.spec.balance * int(positive.sum())))
    if negatives.size <= most:
        return rows
    drawn = np.random.default_rng([seed, 0]).choice(negatives, size=most, replace=False)
    return np.sort(np.concatenate([rows[positive], drawn]))


def weights(labels: ClassLabels, rows: IntArray, *, like: IntArray | None = None) -> Float32Array:
    """Return the weights of rows: their own, times 1 for the rarer class and less for the other, counted in `like`."""
    own = _own(labels, rows)
    if not labels.spec.weight_per_class:
        return own
    counts = np.bincount(labels.y[rows if like is None else like], minlength=2)
    factor: Float32Array = (counts.min() / counts).astype(np.float32)[labels.y[rows]]
    return own * factor


def _own(labels: ClassLabels, rows: IntArray) -> Float32Array:
    return np.ones(rows.size, dtype=np.float32) if labels.weight is None else labels.weight[rows].astype(np.float32)


def _known_rows(data: TrainingSet, labels: ClassLabels, least: Mapping[str, int]) -> dict[str, IntArray]:
    """Return the rows of each part whose label is known, after a check that there is enough to learn from."""
    n_rows, tag = len(data.inputs), labels.spec.tag
    if labels.y.shape != (n_rows,) or labels.known.shape != (n_rows,):
        raise DataError(f"{n_rows} light curves, but labels of shape {labels.y.shape} and {labels.known.shape}")
    counts = np.ones(n_rows, dtype=bool) if labels.weight is None else _positive(labels.weight, n_rows)
    rows: dict[str, IntArray] = {
        part: np.flatnonzero(labels.known & (data.part == code)) for code, part in enumerate(PARTS)
    }
    stars = {part: n_stars(data.group[which[(labels.y[which] == 1) & counts[which]]]) for part, which in rows.items()}
    if any(stars[part] < least[part] for part in PARTS):
        found = ", ".join(f"{stars[part]} in {part} (needs {least[part]})" for part in PARTS)
        raise InsufficientDataError(f"class {tag} has too few positive stars: {found}; it is not trained")
    for part in ("train", "val"):
        if (labels.y[rows[part]][counts[rows[part]]] == 1).all():
            raise InsufficientDataError(f"class {tag} has no negatives in {part}; it is not trained")
    return rows


def _positive(weight: Float32Array, n_rows: int) -> BoolArray:
    if weight.shape != (n_rows,):
        raise DataError(f"{n_rows} light curves, but weights of shape {weight.shape}")
    wrong = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if wrong.size:
        raise DataError(
            f"{wrong.size} light curve(s) have a weight that is negative or not finite, first {weight[wrong[0]]:g} in row"
            f" {wrong[0] + 1}; give weights of 0 or more"
        )
    return weight > 0
