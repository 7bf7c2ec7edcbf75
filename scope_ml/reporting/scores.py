"""From the bundles of a run to what the page shows of them: champions, curves of all seeds, importance.

Reads `models.record` only, so that a page about a hundred networks never loads TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scope_ml.errors import ModelNotFoundError
from scope_ml.models.bundle import bundle_digest
from scope_ml.models.intervals import SplitMetrics
from scope_ml.models.metrics import Estimate as Metric
from scope_ml.models.record import BUNDLE_FILE, BundleRecord, read_record
from scope_ml.reporting.view import AlgorithmView, CurveView, Estimate

__all__ = ["TrainedModel", "algorithm_views", "find_models", "pick_champions"]

#: Part of the split that the page shows; the champion was chosen on ``val``.
SHOWN_PART, CHOOSING_PART = "test", "val"

#: Measures of importance, best first: the one that the page shows where a model has several.
IMPORTANCES = ("gain", "permutation")


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A bundle on disk: its record, its digest, where it lies."""

    folder: Path
    record: BundleRecord
    digest: str

    @property
    def key(self) -> tuple[str, str]:
        """Return class and algorithm."""
        return self.record.spec.tag, self.record.algorithm.name

    @property
    def chosen_by(self) -> float:
        """Return the average precision on the validation part; -1 where it is not defined."""
        metrics = self.record.metrics.get(CHOOSING_PART)
        value = metrics.value("average_precision") if metrics is not None else None
        return -1.0 if value is None else value


def find_models(folder: Path) -> list[TrainedModel]:
    """Return the bundles in `folder` and below it, sorted by class, algorithm and seed, an ensemble after its seeds.

    Raises
    ------
    ModelNotFoundError
        If there is none.
    ModelError
        If one of them is damaged.
    """
    # Unfinished bundles lie in hidden folders until they are whole.
    paths = [
        path.parent
        for path in sorted(Path(folder).rglob(BUNDLE_FILE))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not paths:
        raise ModelNotFoundError(
            f"{folder} holds no model bundle (no {BUNDLE_FILE} in it or below); give models=FOLDER"
        )
    found = [TrainedModel(folder=path, record=read_record(path), digest=bundle_digest(path)) for path in paths]
    return sorted(found, key=lambda model: (*model.key, model.record.seed is None, model.record.seed or 0))


def pick_champions(
    models: Iterable[TrainedModel], locked: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str], TrainedModel]:
    """Return the champion of each class and algorithm: the locked one, else the best on the validation part.

    Parameters
    ----------
    models
        Bundles.
    locked
        Digest of the registered bundle by class and algorithm; may lack some.
    """
    champions: dict[tuple[str, str], TrainedModel] = {}
    for model in models:
        rival = champions.get(model.key)
        if rival is None or _rank(model, locked) > _rank(rival, locked):
            champions[model.key] = model
    return champions


def algorithm_views(
    models: Iterable[TrainedModel],
    champions: Mapping[tuple[str, str], TrainedModel],
    versions: Mapping[tuple[str, str], str],
) -> dict[str, tuple[AlgorithmView, ...]]:
    """Return for each class what the page shows of its algorithms, trees before networks.

    Parameters
    ----------
    models, champions
        As `find_models` and `pick_champions` return them.
    versions
        Version in the registry by class and algorithm, where known.
    """
    seeds: dict[tuple[str, str], list[TrainedModel]] = {}
    for model in models:
        seeds.setdefault(model.key, []).append(model)
    views: dict[str, list[AlgorithmView]] = {}
    for key in sorted(seeds, key=lambda key: (key[0], key[1] != "xgb", key[1])):
        view = _algorithm_view(seeds[key], champions[key], versions.get(key, ""))
        views.setdefault(key[0], []).append(view)
    return {tag: tuple(items) for tag, items in views.items()}


def _rank(model: TrainedModel, locked: Mapping[tuple[str, str], str]) -> tuple[bool, float]:
    return locked.get(model.key) == model.digest, model.chosen_by


def _algorithm_view(seeds: list[TrainedModel], champion: TrainedModel, version: str) -> AlgorithmView:
    record = champion.record
    metrics = record.metrics.get(SHOWN_PART)
    method = next((name for name in IMPORTANCES if record.importance.get(name)), "")
    values = {name: _estimate(metrics, name) for name in ("average_precision", "precision", "recall", "f1")}
    return AlgorithmView(
        name=record.algorithm.name,
        threshold=record.threshold,
        n_test=metrics.n_rows if metrics else 0,
        n_positive=metrics.n_positive if metrics else 0,
        seeds=tuple(model.record.seed for model in seeds if model.record.seed is not None),
        version=version,
        curves=tuple(curve for model in seeds if (curve := _curve(model, model is champion)) is not None),
        importance=tuple(record.importance[method].items()) if method else (),
        importance_method=method,
        **values,
    )


def _estimate(metrics: SplitMetrics | None, name: str) -> Estimate:
    metric = metrics.estimates.get(name, Metric(value=None)) if metrics is not None else Metric(value=None)
    numbers = [float("nan") if value is None else value for value in (metric.value, metric.low, metric.high)]
    return Estimate(value=numbers[0], low=numbers[1], high=numbers[2])


def _curve(model: TrainedModel, is_champion: bool) -> CurveView | None:
    metrics = model.record.metrics.get(SHOWN_PART)
    curve = metrics.curves.get("pr") if metrics is not None else None
    if not curve:
        return None
    return CurveView(
        recall=np.asarray(curve["recall"], dtype=np.float64),
        precision=np.asarray(curve["precision"], dtype=np.float64),
        low=np.asarray(curve["low"], dtype=np.float64) if "low" in curve else None,
        high=np.asarray(curve["high"], dtype=np.float64) if "high" in curve else None,
        seed=model.record.seed,
        is_champion=is_champion,
    )
