"""Training of classes with algorithms and seeds: from features and labels to a `ModelBundle` each.

Many models that share their features are trained in one call, so that an algorithm can train them together. Each is
calibrated on the validation part and measured on all parts; the metrics are those of the calibrated scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from scope_ml.core.configuration import option
from scope_ml.core.protocols import RunLogger
from scope_ml.datasets.split import PARTS
from scope_ml.errors import ModelError, ScopeError
from scope_ml.models import importance
from scope_ml.models.algorithms import algorithm, settle
from scope_ml.models.bundle import ModelBundle, bundle_digest
from scope_ml.models.calibration import best_f1_threshold, fit_calibration
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.fit_rows import ClassLabels, FitRows, fit_counts, fit_rows, train_task
from scope_ml.models.inputs import Float32Array, Model, TrainTask
from scope_ml.models.intervals import SplitMetrics, evaluate
from scope_ml.models.record import BundleRecord, Provenance, read_record
from scope_ml.models.training_set import TrainingSet, training_set

__all__ = ["ClassLabels", "FitConfig", "FitRequest", "TrainingSet", "fit_bundle", "fit_bundles", "training_set"]

#: Seed of the bootstrap: one for all, so that two models are compared on the same resamples.
BOOTSTRAP_SEED = 0


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """What a class needs to be trained, what is fitted on validation, and how its metrics are measured."""

    min_positives_train: int = option(10, unit="stars", doc="fewest of the class in the training part", at_least=1)
    min_positives_val: int = option(2, unit="stars", doc="fewest of the class in the validation part", at_least=1)
    min_positives_test: int = option(2, unit="stars", doc="fewest of the class in the test part", at_least=0)
    calibration: Literal["none", "platt", "isotonic"] = option(
        "platt", doc="makes probabilities of scores, fitted on the validation part"
    )
    threshold: Literal["class", "best_f1"] = option(
        "class", doc="score that decides: the class's own, or that of the best F1 on the validation part"
    )
    n_resamples: int = option(500, doc="bootstrap resamples of the intervals; 0: none", at_least=0, at_most=100_000)
    permutation_importance: bool = option(True, doc="measure the importance by shuffling validation columns")

    @property
    def least(self) -> dict[str, int]:
        """Return the fewest positive stars by part."""
        return {part: int(getattr(self, f"min_positives_{part}")) for part in PARTS}


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """One model to be trained.

    Attributes
    ----------
    labels
        The class and its labels, in the order of the training set.
    settings
        The algorithm's settings (`algorithms.configure`); nulls are filled from the class.
    seed
        Seed of the balance, of the training and of the importance.
    provenance
        What the data came from.
    log
        Is told the course of the training and the metrics.
    start
        Folder of a bundle of the same algorithm and features whose model is trained on; None: from nothing.
    """

    labels: ClassLabels
    settings: Any
    seed: int
    provenance: Provenance
    log: RunLogger
    start: Path | None = None


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
    """Train one class with one algorithm and one seed; see `FitRequest` and `fit_bundles`.

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
    ModelError
        If the training fails.
    """
    request = FitRequest(labels=labels, settings=settings, seed=seed, provenance=provenance, log=log)
    (found,) = fit_bundles(data, [request], config=config, n_threads=n_threads)
    if isinstance(found, ScopeError):
        raise found
    return found


def fit_bundles(
    data: TrainingSet,
    requests: Sequence[FitRequest],
    *,
    config: FitConfig,
    n_threads: int = 1,
    device: str = "cpu",
) -> list[ModelBundle | ScopeError]:
    """Train many classes, seeds and algorithms on shared features.

    Parameters
    ----------
    data
        Prepared features with the split.
    requests
        What to train. The models of `dnn_shared` that are asked for together share their networks; all others do not
        depend on one another.
    config
        Fewest positives, calibration, threshold, resamples.
    n_threads
        Threads that training may use; no model depends on it.
    device
        ``cpu`` or ``gpu``; trees are always trained on the CPU.

    Returns
    -------
    list
        For each request, in order, its bundle (not saved yet), or the error for which there is none: too few positive
        stars, no negatives, labels that do not fit, a start that does not fit, a training that failed.
    """
    found: list[ModelBundle | ScopeError | None] = [None] * len(requests)
    ready: dict[str, list[tuple[int, FitRows, TrainTask]]] = {}
    for place, request in enumerate(requests):
        try:
            rows, task = _task(data, request, config)
        except ScopeError as error:
            found[place] = error
        else:
            ready.setdefault(task.settings.name, []).append((place, rows, task))
    for name, several in ready.items():
        tasks = [task for _, _, task in several]
        models = algorithm(name).train_many(data.inputs, tasks, n_threads=n_threads, device=device)
        for (place, rows, task), model in zip(several, models, strict=True):
            found[place] = _finished(data, requests[place], task, rows, model, config)
    return [one for one in found if one is not None]


def _task(data: TrainingSet, request: FitRequest, config: FitConfig) -> tuple[FitRows, TrainTask]:
    labels = request.labels
    rows = fit_rows(data, labels, config.least, request.seed)
    settings = settle(request.settings, labels.spec)
    if request.start is not None:
        _check_start(request.start, data.features, settings.name)
    log, start = request.log, request.start
    return rows, train_task(data, labels, rows, settings, seed=request.seed, log=log, start=start)


def _check_start(start: Path, features: FeatureRecord, name: str) -> None:
    """Refuse to train on with a model of another algorithm or of other features.

    Raises
    ------
    ModelError
        If it is one, or an ensemble; names the features that differ.
    """
    record = read_record(start)
    what = f"the model {record.name} cannot be trained on"
    if record.members:
        raise ModelError(f"{what}: it is an ensemble; give one of its members")
    if record.algorithm.name != name:
        raise ModelError(f"{what} with algorithm={name}: it is one of {record.algorithm.name}; give algorithm={name}'s")
    old, new = record.features, features
    if old.names != new.names:
        missing = [f for f in old.names if f not in new.names]
        extra = [f for f in new.names if f not in old.names]
        differences = [f"it wants {_some(missing)}"] if missing else []
        differences += [f"it does not know {_some(extra)}"] if extra else []
        raise ModelError(
            f"{what}: {' and '.join(differences) or 'its features come in another order'}; give a model of the same"
            " features, its feature_set=..., or none"
        )
    other = [f for f in new.names if old.formulae.get(f) != new.formulae.get(f)]
    if old.formulae and new.formulae and other:
        raise ModelError(f"{what}: {_some(other)} is computed by another formula now; start from nothing")


def _some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _finished(
    data: TrainingSet,
    request: FitRequest,
    task: TrainTask,
    rows: FitRows,
    model: Model | ScopeError,
    config: FitConfig,
) -> ModelBundle | ScopeError:
    """Return the bundle of a trained model, or the error that came up."""
    if isinstance(model, ScopeError):
        return model
    try:
        return _bundle(data, request, task, rows, model, config)
    except ScopeError as error:
        return error


def _bundle(
    data: TrainingSet, request: FitRequest, task: TrainTask, rows: FitRows, model: Model, config: FitConfig
) -> ModelBundle:
    labels = request.labels
    scores = model.predict(data.inputs)
    held_out = scores[rows.validation], labels.y[rows.validation], rows.own_weight
    calibration, warnings = fit_calibration(*held_out, method=config.calibration)
    if calibration is not None:
        scores = calibration.apply(scores)
    threshold = chosen_threshold(scores, labels, rows, config)
    metrics = measured(scores, data, labels, rows, config=config, threshold=threshold)
    request.log.metrics({name: value for part, m in metrics.items() for name, value in m.flat(part).items()})
    facts = model.facts()
    record = BundleRecord(
        spec=labels.spec,
        # What the training itself searched for is a setting like the others.
        algorithm=replace(task.settings, **facts.get("chosen", {})),
        features=data.features,
        preparation=data.preparation,
        threshold=threshold,
        seed=request.seed,
        calibration=calibration,
        model_facts=facts | _started_from(request.start),
        metrics=metrics,
        importance=_importance(model, data, task, config),
        counts=fit_counts(data, labels, rows),
        provenance=request.provenance,
        distributions=known_distributions(data, scores, rows),
        warnings=(*data.preparation.warnings, *data.warnings, *warnings),
    )
    return ModelBundle(record=record, model=model)


def _started_from(start: Path | None) -> dict[str, str]:
    return {} if start is None else {"started_from": bundle_digest(start)}


def chosen_threshold(scores: Float32Array, labels: ClassLabels, rows: FitRows, config: FitConfig) -> float:
    """Return the threshold that `config` asks for; `scores` (n,) are calibrated."""
    own = labels.spec.threshold
    if config.threshold == "class":
        return own
    held_out = rows.validation
    return best_f1_threshold(scores[held_out], labels.y[held_out], rows.own_weight, fallback=own)


def measured(
    scores: Float32Array,
    data: TrainingSet,
    labels: ClassLabels,
    rows: FitRows,
    *,
    config: FitConfig,
    threshold: float,
) -> dict[str, SplitMetrics]:
    """Return the metrics of each part; `scores` (n,) are those of all light curves, calibrated."""
    return {
        part: evaluate(
            labels.y[which],
            scores[which],
            data.group[which],
            threshold=threshold,
            # Intervals of the training part would say nothing: its scores are too good.
            n_resamples=config.n_resamples if part != "train" else 0,
            seed=BOOTSTRAP_SEED,
        )
        for part, which in rows.parts.items()
    }


def known_distributions(data: TrainingSet, scores: Float32Array, rows: FitRows) -> Any:
    """Return the distributions of the features, with that of the scores of validation and test part.

    Those of the training part are too sure of themselves: new rows would seem to drift beside them.
    """
    if data.distributions is None:
        return None
    return data.distributions.with_scores(scores[np.concatenate([rows.parts["val"], rows.parts["test"]])])


def _importance(model: Model, data: TrainingSet, task: TrainTask, config: FitConfig) -> dict[str, dict[str, float]]:
    names = data.features.names
    known = {"gain": model.importance(names)}
    if config.permutation_importance:
        held_out = data.inputs.take(task.validation_rows)
        known["permutation"] = importance.permutation(model, held_out, task.validation_y, names, seed=task.seed)
    return {method: shares for method, shares in known.items() if shares}
