"""All models of some folders beside one another: what each class and algorithm reached on the test part.

Reads records only, so that a thousand models are compared without TensorFlow or XGBoost. The page is drawn by
`comparison_page`; here are the numbers, and their forms for CSV and JSON. May import `models.record` and below.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scope_ml.errors import ModelError
from scope_ml.models.bundle import bundle_digest
from scope_ml.models.intervals import SplitMetrics
from scope_ml.models.record import BUNDLE_FILE, BundleRecord, read_record
from scope_ml.reporting.scores import SHOWN_PART, TrainedModel
from scope_ml.reporting.view import Estimate, SkippedView

__all__ = ["COMPARED", "Comparison", "Contender", "compare_models", "read_models"]

#: Metrics of the tables, and what the page calls them.
COMPARED: Mapping[str, str] = {
    "average_precision": "PR-AUC",
    "roc_auc": "ROC-AUC",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "calibration_error": "calibration error",
}

#: Cells of the confusion matrix.
CELLS = ("tn", "fp", "fn", "tp")

#: Digits of a digest that identify a model in a table.
SHOWN_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One class with one algorithm: all its models, and the one that stands for them.

    Attributes
    ----------
    models
        Seeds in order, then the ensemble.
    chosen
        The ensemble where there is one, else the seed that is best on the validation part.
    """

    models: tuple[TrainedModel, ...]
    chosen: TrainedModel

    @property
    def tag(self) -> str:
        """Return the class."""
        return self.chosen.key[0]

    @property
    def algorithm(self) -> str:
        """Return the algorithm."""
        return self.chosen.key[1]

    @property
    def seeds(self) -> tuple[TrainedModel, ...]:
        """Return the models of one seed each."""
        return tuple(model for model in self.models if model.record.seed is not None)

    @property
    def metrics(self) -> SplitMetrics | None:
        """Return the chosen model's metrics on the test part."""
        return self.chosen.record.metrics.get(SHOWN_PART)

    @property
    def n_positive(self) -> int:
        """Return the light curves of the class in the test part."""
        return self.metrics.n_positive if self.metrics is not None else 0

    @property
    def importance(self) -> Mapping[str, Mapping[str, float]]:
        """Return the importance by method of the chosen model, or of the best seed where an ensemble has none."""
        known = [model for model in (self.chosen, *self.seeds) if model.record.importance]
        best = max(known, key=lambda model: (model is self.chosen, model.chosen_by), default=self.chosen)
        return best.record.importance

    def estimate(self, metric: str) -> Estimate:
        """Return a metric of the chosen model on the test part, NaN where there is none."""
        return _estimate(self.metrics, metric)

    def spread(self, metric: str) -> tuple[float, ...]:
        """Return a metric of every seed on the test part, those without it left out."""
        found = (model.record.metrics.get(SHOWN_PART) for model in self.seeds)
        values = (metrics.value(metric) for metrics in found if metrics is not None and metric in metrics.estimates)
        return tuple(value for value in values if value is not None)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that is compared.

    Attributes
    ----------
    contenders
        In the order of the taxonomy, then of the algorithms (trees, then networks).
    skipped
        Models that are not there, and why.
    """

    contenders: tuple[Contender, ...]
    skipped: tuple[SkippedView, ...] = field(default=())

    @property
    def tags(self) -> tuple[str, ...]:
        """Return the classes, in the order of the taxonomy."""
        return tuple(dict.fromkeys(one.tag for one in self.contenders))

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Return the algorithms."""
        return tuple(sorted({one.algorithm for one in self.contenders}, key=_rank))

    def of_class(self, tag: str) -> tuple[Contender, ...]:
        """Return the algorithms of one class."""
        return tuple(one for one in self.contenders if one.tag == tag)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return one flat row a model, for CSV; what is not known is None."""
        return [_row(model, one.chosen is model) for one in self.contenders for model in one.models]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-able form; no NaN is in it."""
        return {
            "part": SHOWN_PART,
            "classes": [self._class_json(tag) for tag in self.tags],
            "skipped": [{"tag": one.tag, "algorithm": one.algorithm, "reason": one.reason} for one in self.skipped],
        }

    def _class_json(self, tag: str) -> dict[str, Any]:
        contenders = self.of_class(tag)
        spec = contenders[0].chosen.record.spec
        return {
            "tag": tag,
            "label": spec.label,
            "kind": spec.kind,
            "algorithms": {
                one.algorithm: {
                    "chosen": _which(one.chosen),
                    "seeds": {metric: _range(one.spread(metric)) for metric in COMPARED},
                    "models": [_row(model, one.chosen is model) for model in one.models],
                    "importance": {name: dict(top) for name, top in one.importance.items()},
                }
                for one in contenders
            },
        }


def read_models(folders: Iterable[Path]) -> tuple[list[TrainedModel], list[SkippedView]]:
    """Return the bundles in some folders and below them, each once, and those that cannot be read with the reason."""
    found: dict[Path, TrainedModel] = {}
    broken: dict[Path, SkippedView] = {}
    for folder in folders:
        for path in sorted(Path(folder).rglob(BUNDLE_FILE)):
            place = path.parent.resolve()
            # Unfinished bundles lie in hidden folders until they are whole.
            hidden = any(part.startswith(".") for part in path.parent.relative_to(folder).parts)
            if hidden or place in found or place in broken:
                continue
            try:
                found[place] = TrainedModel(
                    folder=path.parent, record=read_record(path.parent), digest=bundle_digest(path.parent)
                )
            except ModelError as error:
                name = str(path.parent.relative_to(folder))
                broken[place] = SkippedView(tag=name, label="not readable", algorithm="", reason=str(error))
    return list(found.values()), list(broken.values())


def compare_models(models: Iterable[TrainedModel], skipped: Sequence[SkippedView] = ()) -> Comparison:
    """Return the comparison of some models."""
    groups: dict[tuple[str, str], list[TrainedModel]] = {}
    for model in models:
        groups.setdefault(model.key, []).append(model)
    contenders = []
    for group in groups.values():
        ordered = sorted(group, key=lambda model: (model.record.seed is None, model.record.seed or 0, model.digest))
        best = max(ordered, key=lambda model: (model.record.seed is None, model.chosen_by))
        contenders.append(Contender(models=tuple(ordered), chosen=best))
    contenders.sort(key=_order)
    return Comparison(contenders=tuple(contenders), skipped=tuple(skipped))


def _order(one: Contender) -> tuple[Any, ...]:
    spec = one.chosen.record.spec
    return (spec.kind != "phenomenological", spec.order, spec.tag, *_rank(one.algorithm))


def _rank(algorithm: str) -> tuple[bool, str]:
    return algorithm != "xgb", algorithm


def _estimate(metrics: SplitMetrics | None, metric: str) -> Estimate:
    found = metrics.estimates.get(metric) if metrics is not None else None
    if found is None:
        return Estimate(value=float("nan"))
    value, low, high = (float("nan") if end is None else end for end in (found.value, found.low, found.high))
    return Estimate(value=value, low=low, high=high)


def _which(model: TrainedModel) -> str:
    return "ensemble" if model.record.seed is None else f"seed {model.record.seed}"


def _calibration(record: BundleRecord) -> str:
    if record.members:
        return "by member"
    return record.calibration.method if record.calibration is not None else "none"


def _range(values: Sequence[float]) -> dict[str, float | int | None]:
    """Return how values differ between seeds; the scatter needs two."""
    scatter = statistics.stdev(values) if len(values) > 1 else None
    mean = statistics.fmean(values) if values else None
    return {
        "n": len(values),
        "mean": mean,
        "scatter": scatter,
        "low": min(values, default=None),
        "high": max(values, default=None),
    }


def _row(model: TrainedModel, is_chosen: bool) -> dict[str, Any]:
    record = model.record
    metrics = record.metrics.get(SHOWN_PART)
    row: dict[str, Any] = {
        "class": record.spec.tag,
        "algorithm": record.algorithm.name,
        "model": _which(model),
        "chosen": is_chosen,
        "digest": model.digest[:SHOWN_DIGITS],
        "calibration": _calibration(record),
        "threshold": record.threshold,
    }
    for name in ("n_rows", "n_positive", "n_stars", "n_positive_stars"):
        row[name] = getattr(metrics, name) if metrics is not None else None
    for metric in COMPARED:
        found = metrics.estimates.get(metric) if metrics is not None else None
        for end in ("value", "low", "high"):
            name = metric if end == "value" else f"{metric}_{end}"
            row[name] = getattr(found, end) if found is not None else None
    for cell in CELLS:
        row[cell] = metrics.confusion.get(cell) if metrics is not None else None
    return row
