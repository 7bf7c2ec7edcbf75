"""What `train` leaves beside its bundles: numbers for ``dvc metrics``, curves for ``dvc plots``, its report."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scope_ml.core.report import Report
from scope_ml.io.atomic import atomic_path
from scope_ml.models.intervals import SplitMetrics
from scope_ml.models.record import BundleRecord
from scope_ml.tracking.registry import Registration

__all__ = [
    "METRICS_FILE",
    "PLOT_FILES",
    "REPORT_FILE",
    "model_line",
    "registration_facts",
    "registration_lines",
    "write_outputs",
    "write_report",
]

METRICS_FILE = "metrics.json"
REPORT_FILE = "report.json"

#: Curves of the best seed on the test part: file, curve, columns. Always written, so that they can be outputs of DVC.
PLOT_FILES = {"pr.csv": ("pr", ("recall", "precision")), "roc.csv": ("roc", ("fpr", "tpr"))}

#: Metrics that are worth a column in ``dvc metrics show``.
SHOWN = ("average_precision", "roc_auc", "precision", "recall", "f1")


#: How the line of a model calls its test metrics.
_SHORT = {"AP": "average_precision", "precision": "precision", "recall": "recall", "F1": "f1"}


def write_outputs(
    folder: Path,
    best: BundleRecord | None,
    records: Sequence[BundleRecord],
    skipped: str = "",
    *,
    ensemble: BundleRecord | None = None,
) -> dict[str, str]:
    """Write ``metrics.json`` and the curves into `folder`; return their names and paths.

    Parameters
    ----------
    folder
        The output of `train`.
    best
        The seed with the best validation score; None if the class was skipped.
    records
        All seeds.
    skipped
        Why the class was skipped.
    ensemble
        The seeds put together, if they were.
    """
    numbers: dict[str, Any] = {"skipped": skipped} if best is None else _numbers(best, records)
    if ensemble is not None:
        numbers["ensemble"] = _parts(ensemble) | {"n_members": len(ensemble.members)}
    with atomic_path(folder / METRICS_FILE) as temporary:
        temporary.write_text(json.dumps(numbers, indent=2) + "\n")
    for name, (curve, columns) in PLOT_FILES.items():
        _write_curve(folder / name, {} if best is None else _curve(best, curve), columns)
    names = {"metrics": METRICS_FILE, **{Path(name).stem: name for name in PLOT_FILES}}
    return {name: str(folder / file) for name, file in names.items()}


def write_report(folder: Path, report: Report) -> None:
    """Write the stage's report into `folder`, where `report` the stage looks for what was skipped."""
    with atomic_path(folder / REPORT_FILE) as temporary:
        temporary.write_text(report.record(without=("n_kept", "registered", "text")) + "\n")


def _numbers(best: BundleRecord, records: Sequence[BundleRecord]) -> dict[str, Any]:
    numbers: dict[str, Any] = {"best_seed": best.seed, "n_seeds": len(records), **_parts(best)}
    scores = [record.metrics["test"].value("average_precision") for record in records]
    known = [score for score in scores if score is not None]
    if len(known) > 1:
        numbers["test"]["average_precision_std"] = _rounded(statistics.stdev(known))
    return numbers


def _parts(record: BundleRecord) -> dict[str, Any]:
    found = {}
    for part in ("val", "test"):
        metrics = record.metrics[part]
        found[part] = {name: _rounded(metrics.value(name)) for name in SHOWN} | _bounds(metrics)
        found[part]["n_positive"] = metrics.n_positive
    return found


def _bounds(metrics: SplitMetrics) -> dict[str, float | None]:
    estimate = metrics.estimates["average_precision"]
    return {
        "average_precision_low": _rounded(estimate.low),
        "average_precision_high": _rounded(estimate.high),
    }


def _rounded(value: float | None) -> float | None:
    """Return what a table can show; the exact numbers stand in the bundles."""
    return None if value is None else round(value, 6)


def _curve(best: BundleRecord, name: str) -> Mapping[str, Sequence[float]]:
    curve: Mapping[str, Sequence[float]] = best.metrics["test"].curves.get(name, {})
    return curve


def _write_curve(path: Path, curve: Mapping[str, Sequence[float]], columns: Sequence[str]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip(*(curve.get(column, ()) for column in columns), strict=True))


def model_line(known: BundleRecord) -> str:
    """Return one line about a model and what its scores are worth."""
    test = known.metrics["test"]
    scores = ", ".join(f"{short} {_shown(test.value(name))}" for short, name in _SHORT.items())
    validation = _shown(known.metrics["val"].value("average_precision"))
    made_of = f"ensemble of {len(known.members)}" if known.members else f"seed {known.seed}"
    return (
        f"{known.spec.tag} {known.algorithm.name} {made_of}: validation AP {validation};"
        f" test {scores} at score {known.threshold:g} ({test.n_positive} of {test.n_rows} light curves)"
    )


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def registration_facts(registration: Registration | None) -> dict[str, Any] | None:
    """Return what registering did, for the report."""
    if registration is None:
        return None
    version, decision = registration.version, registration.decision
    return {
        "name": version.name,
        "version": version.version,
        "alias": decision.alias,
        "reason": decision.reason,
        "is_new": registration.is_new,
    }


def registration_lines(registration: Registration | None) -> list[str]:
    """Return what registering did, in words; nothing if nothing was registered."""
    if registration is None:
        return []
    version, decision = registration.version, registration.decision
    return [f"{version.name} version {version.version}: {decision.alias or 'no alias'} ({decision.reason})"]
