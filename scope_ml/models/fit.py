"""Training of one class with one algorithm and one seed: from features and labels to a `ModelBundle`.

Labels that are not known (uncertain or missing) count neither in training nor in any metric. The balance
drops negatives in the training part only, so that validation and test keep the shares of the data set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from scope_ml.core.configuration import option
from scope_ml.core.protocols import RunLogger
from scope_ml.datasets.split import PARTS
from scope_ml.errors import DataError, InsufficientDataError
from scope_ml.models import importance
from scope_ml.models.algorithms import algorithm, settle
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.inputs import Float32Array, Inputs, Model, Part
from scope_ml.models.intervals import SplitMetrics, evaluate
from scope_ml.models.preparation import Policy, Preparation, PreparationConfig
from scope_ml.models.record import BundleRecord, Provenance
from scope_ml.taxonomy.classes import ClassSpec

__all__ = ["ClassLabels", "FitConfig", "TrainingSet", "fit_bundle", "training_set"]

BoolArray = npt.NDArray[np.bool_]

#: Seed of the bootstrap: one for all, so that two models are compared on the same resamples.
BOOTSTRAP_SEED = 0


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """What a class needs to be trained, and how its metrics are measured."""

    min_positives_train: int = option(10, unit="stars", doc="fewest of the class in the training part", at_least=1)
    min_positives_val: int = option(2, unit="stars", doc="fewest of the class in the validation part", at_least=1)
    min_positives_test: int = option(2, unit="stars", doc="fewest of the class in the test part", at_least=0)
    n_resamples: int = option(500, doc="bootstrap resamples of the intervals; 0: none", at_least=0, at_most=100_000)
    permutation_importance: bool = option(True, doc="measure the importance by shuffling validation columns")

    def least(self, part: str) -> int:
        """Return the fewest positive stars of a part."""
        return int(getattr(self, f"min_positives_{part}"))


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """Prepared features of n light curves, shared by all classes and seeds that use them.

    Attributes
    ----------
    inputs
        Prepared features, and images where there are any.
    preparation
        Imputer and scaler, fitted on the training part.
    features
        Names of the features and how they were computed.
    group
        (n,) star of each light curve.
    part
        (n,) int8: position in `datasets.split.PARTS`.
    """

    inputs: Inputs
    preparation: Preparation
    features: FeatureRecord
    group: npt.NDArray[Any]
    part: npt.NDArray[np.int8]


@dataclass(frozen=True, kw_only=True)
class ClassLabels:
    """One class and its (n,) labels: `y` 0 or 1, `known` False where the label means nothing, optional weights."""

    spec: ClassSpec
    y: npt.NDArray[np.int8]
    known: BoolArray
    weight: Float32Array | None = field(default=None)


def training_set(
    matrix: npt.NDArray[np.float64],
    features: FeatureRecord,
    config: PreparationConfig,
    *,
    group: npt.NDArray[Any],
    part: npt.NDArray[np.int8],
    policies: Mapping[str, Policy] | None = None,
    images: Float32Array | None = None,
) -> TrainingSet:
    """Fit the imputer and scaler on the training part and prepare all rows.

    Parameters
    ----------
    matrix
        (n, k) features (`tables.feature_matrix`).
    features
        Names of the k features and how they were computed (`FeatureRecord.of_table`).
    config
        The algorithm's ``preparation``; algorithms with equal ones can share the result.
    group, part
        (n,) star and part of each row; every row of a star must be in the same part.
    policies
        Missing-value policy by feature name.
    images
        (n, 26, 26, 1) float32 dm-dt images.

    Raises
    ------
    DataError
        If shapes do not fit, a star lies in two parts, or the training part is empty.
    """
    n_rows = matrix.shape[0]
    if group.shape != (n_rows,) or part.shape != (n_rows,):
        raise DataError(f"{n_rows} rows of features, but groups {group.shape} and parts {part.shape}")
    _, star = np.unique(group, return_inverse=True)
    pairs = np.unique(star * len(PARTS) + part)
    if pairs.size != np.unique(star).size:
        raise DataError("light curves of one star lie in different parts of the split; make the split again by star")
    preparation = Preparation.fit(matrix[part == PARTS.index("train")], features.names, config, policies=policies)
    inputs = Inputs(x=preparation.transform(matrix), images=images)
    return TrainingSet(inputs=inputs, preparation=preparation, features=features, group=group, part=part)


def fit_bundle(
    data: TrainingSet,
    labels: ClassLabels,
    settings: Any,
    *,
    config: FitConfig,
    seed: int,
    provenance: Provenance,
    log: RunLogger,
    n_threads: int = 1,
) -> ModelBundle:
    """Train one class with one algorithm and one seed.

    Parameters
    ----------
    data
        Prepared features with the split.
    labels
        The class and its labels, in the order of `data`.
    settings
        The algorithm's settings (`algorithms.configure`); nulls are filled from the class.
    config
        Fewest positives, resamples.
    seed
        Seed of the balance, of the training and of the importance.
    provenance
        What the data came from.
    log
        Is told the course of the training and the metrics.
    n_threads
        Threads that training may use.

    Returns
    -------
    ModelBundle
        Not saved yet: its `digest` is "".

    Raises
    ------
    InsufficientDataError
        If a part has too few positive stars, or training or validation has no negatives; names the counts.
    DataError
        If labels do not fit the data.
    """
    rows = _known_rows(data, labels, config)
    settled = settle(settings, labels.spec)
    kept = _balanced(rows["train"], labels, seed)
    weight = _weights(labels, kept)
    training = _part(data, labels, kept, weight)
    validation = _part(data, labels, rows["val"], _weights(labels, rows["val"], like=kept))
    model = algorithm(settled.name).train(training, validation, settled, seed=seed, n_threads=n_threads, log=log)
    metrics: dict[str, SplitMetrics] = {part: _measure(model, data, labels, rows[part], part, config) for part in PARTS}
    log.metrics({name: value for part, m in metrics.items() for name, value in m.flat(part).items()})
    record = BundleRecord(
        spec=labels.spec,
        algorithm=settled,
        features=data.features,
        preparation=data.preparation,
        threshold=labels.spec.threshold,
        seed=seed,
        metrics=metrics,
        importance=_importance(model, data.features.names, validation, seed, config),
        counts=_counts(data, labels, rows, kept),
        provenance=provenance,
    )
    return ModelBundle(record=record, model=model)


def _known_rows(data: TrainingSet, labels: ClassLabels, config: FitConfig) -> dict[str, npt.NDArray[np.int64]]:
    """Return the rows of each part whose label is known, after a check that there is enough to learn from."""
    n_rows = len(data.inputs)
    if labels.y.shape != (n_rows,) or labels.known.shape != (n_rows,):
        raise DataError(f"{n_rows} light curves, but labels of shape {labels.y.shape} and {labels.known.shape}")
    rows: dict[str, npt.NDArray[np.int64]] = {
        part: np.flatnonzero(labels.known & (data.part == code)) for code, part in enumerate(PARTS)
    }
    stars = {part: _n_stars(data.group[which[labels.y[which] == 1]]) for part, which in rows.items()}
    if any(stars[part] < config.least(part) for part in PARTS):
        found = ", ".join(f"{stars[part]} in {part} (needs {config.least(part)})" for part in PARTS)
        raise InsufficientDataError(f"class {labels.spec.tag} has too few positive stars: {found}; it is not trained")
    for part in ("train", "val"):
        if (labels.y[rows[part]] == 1).all():
            raise InsufficientDataError(f"class {labels.spec.tag} has no negatives in {part}; it is not trained")
    return rows


def _n_stars(groups: npt.NDArray[Any]) -> int:
    return int(np.unique(groups).size)


def _balanced(rows: npt.NDArray[np.int64], labels: ClassLabels, seed: int) -> npt.NDArray[np.int64]:
    """Return the training rows with at most ``spec.balance`` negatives per positive, drawn with the seed, in order."""
    positive = labels.y[rows] == 1
    negatives = rows[~positive]
    if labels.spec.balance is None:
        return rows
    most = max(1, round(labels.spec.balance * int(positive.sum())))
    if negatives.size <= most:
        return rows
    drawn = np.random.default_rng([seed, 0]).choice(negatives, size=most, replace=False)
    return np.sort(np.concatenate([rows[positive], drawn]))


def _weights(
    labels: ClassLabels, rows: npt.NDArray[np.int64], *, like: npt.NDArray[np.int64] | None = None
) -> Float32Array:
    """Return the weights of rows: their own, times 1 for the rarer class and less for the other, counted in `like`."""
    own = np.ones(rows.size, dtype=np.float32) if labels.weight is None else labels.weight[rows].astype(np.float32)
    if not labels.spec.weight_per_class:
        return own
    counts = np.bincount(labels.y[rows if like is None else like], minlength=2)
    factor: Float32Array = (counts.min() / counts).astype(np.float32)[labels.y[rows]]
    return own * factor


def _part(data: TrainingSet, labels: ClassLabels, rows: npt.NDArray[np.int64], weight: Float32Array) -> Part:
    return Part(inputs=data.inputs.take(rows), y=labels.y[rows].astype(np.float32), weight=weight)


def _measure(
    model: Model, data: TrainingSet, labels: ClassLabels, rows: npt.NDArray[np.int64], part: str, config: FitConfig
) -> SplitMetrics:
    # Intervals of the training part would say nothing: its scores are too good.
    n_resamples = config.n_resamples if part != "train" else 0
    return evaluate(
        labels.y[rows],
        model.predict(data.inputs.take(rows)),
        data.group[rows],
        threshold=labels.spec.threshold,
        n_resamples=n_resamples,
        seed=BOOTSTRAP_SEED,
    )


def _importance(
    model: Model, names: Sequence[str], validation: Part, seed: int, config: FitConfig
) -> dict[str, dict[str, float]]:
    known = {"gain": model.importance(tuple(names))}
    if config.permutation_importance:
        known["permutation"] = importance.permutation(model, validation.inputs, validation.y, tuple(names), seed=seed)
    return {method: shares for method, shares in known.items() if shares}


def _counts(
    data: TrainingSet, labels: ClassLabels, rows: Mapping[str, npt.NDArray[np.int64]], kept: npt.NDArray[np.int64]
) -> dict[str, int]:
    return {
        "rows": len(data.inputs),
        "unknown_label": int((~labels.known).sum()),
        "dropped_by_balance": int(rows["train"].size - kept.size),
        "trained_rows": int(kept.size),
        "trained_positive_rows": int((labels.y[kept] == 1).sum()),
        "trained_positive_stars": _n_stars(data.group[kept[labels.y[kept] == 1]]),
    }
