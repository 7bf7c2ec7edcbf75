"""What the champions reach on the test stars of the real sets, by class and by origin; and what they say of ZTF's own data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from omegaconf import OmegaConf

from scope_ml.datasets.assemble import load_built
from scope_ml.datasets.dataset import Dataset
from scope_ml.io.tables import read_foreign_table, read_table
from scope_ml.models.batch_scoring import score
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.intervals import SplitMetrics, evaluate
from scope_ml.tracking.lock import read_lock
from scope_ml.tracking.resolve import resolve_models
from scope_ml.tracking.settings import TrackingConfig

RESULTS = Path("results/benchmark")
LOCK = RESULTS / "models.lock.json"
TRACKING = TrackingConfig(uri=f"sqlite:///{RESULTS}/mlflow.db")
SETTINGS = OmegaConf.load(Path(__file__).with_name("params.yaml"))
TRAINING_SETS, SCORED_SETS = tuple(SETTINGS.training_sets), tuple(SETTINGS.scored_sets)

#: An origin is listed for a class only with this many positive and negative test stars.
FEWEST_STARS = 5


def main() -> int:
    """Write ``results/benchmark/benchmark.md``."""
    dataset, split = load_built(RESULTS / "dataset")
    bundles = [
        ModelBundle.load(model.folder, n_threads=2)
        for model in resolve_models(str(LOCK), TRACKING, bundles=RESULTS / "models")
    ]
    test = np.flatnonzero(split.mask("test"))
    table = dataset.table.take(pa.array(test))
    scores = score(bundles, table, facts=dataset.facts)
    lines = [
        *_rows_by_set(dataset),
        *_by_class(dataset, test, bundles, scores),
        *_by_origin(dataset, test, bundles, scores),
    ]
    lines += _scored(bundles)
    (RESULTS / "benchmark.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


def _rows_by_set(dataset: Dataset) -> list[str]:
    lines = ["### Light curves", "", "| set | single-band rows read | kept | dropped |", "|---|--:|--:|---|"]
    for kind, names in (("features", TRAINING_SETS), ("scored", SCORED_SETS)):
        for name in names:
            report = json.loads((RESULTS / kind / name / "features.parquet.report.json").read_text())
            dropped = ", ".join(f"{reason} {count}" for reason, count in sorted(report["dropped"].items()) if count)
            lines.append(f"| {name} | {report['n_in']} | {report['n_out']} | {dropped or 'none'} |")
    return [*lines, "", f"Training set: {len(dataset)} rows of {dataset.n_stars} stars.", ""]


def _measured(
    dataset: Dataset, rows: np.ndarray, bundle: ModelBundle, values: np.ndarray, chosen: np.ndarray
) -> SplitMetrics:
    """Return the metrics of one model on the chosen ones of `rows`, uncertain labels left out."""
    y, known = dataset.column(bundle.tag)
    use = known[rows] & chosen
    threshold = bundle.record.spec.threshold
    return evaluate(y[rows][use], values[use], dataset.group[rows][use], threshold=threshold, n_resamples=1000, seed=1)


def _by_class(dataset: Dataset, rows: np.ndarray, bundles: list[ModelBundle], scores: pa.Table) -> list[str]:
    lines = [
        "### Test stars of all sets",
        "",
        "Average precision and F1 at the class's threshold, champion of three seeds, 95 % intervals (1000 resamples of stars).",
        "",
    ]
    lines += [
        "| class | algorithm | positive / all rows | average precision | F1 | precision | recall |",
        "|---|---|--:|---|---|--:|--:|",
    ]
    reached: dict[str, list[float]] = {}
    everywhere = np.ones(rows.size, dtype=bool)
    for tag in dataset.tags:
        for bundle in (one for one in bundles if one.tag == tag):
            metrics = _measured(dataset, rows, bundle, scores[bundle.name].to_numpy(), everywhere)
            algorithm = bundle.record.algorithm.name
            lines.append(
                f"| {tag} | {algorithm} | {metrics.n_positive} / {metrics.n_rows} | {_interval(metrics, 'average_precision')} |"
                f" {_interval(metrics, 'f1')} | {_number(metrics.value('precision'))} | {_number(metrics.value('recall'))} |"
            )
            for name in ("average_precision", "f1"):
                value = metrics.value(name)
                if value is not None:
                    reached.setdefault(f"{algorithm}: mean {name.replace('_', ' ')}", []).append(value)
    lines += [
        "",
        "; ".join(f"{name} {np.mean(values):.3f} over {len(values)} classes" for name, values in reached.items()) + ".",
        "",
    ]
    trained = {bundle.tag for bundle in bundles}
    asked = sorted({path.parent.parent.name for path in (RESULTS / "models").glob("*/*/metrics.json")} - trained)
    return [*lines, f"Skipped for lack of positives or negatives: {', '.join(asked) or 'none'}.", ""]


def _by_origin(dataset: Dataset, rows: np.ndarray, bundles: list[ModelBundle], scores: pa.Table) -> list[str]:
    sets = [name for name in TRAINING_SETS if name in set(dataset.origin)]
    lines = [
        "### By origin (xgb)",
        "",
        f"Average precision where the set has {FEWEST_STARS} or more positive and negative test stars of the class.",
        "",
    ]
    lines += [f"| class | {' | '.join(sets)} |", "|---|" + "---|" * len(sets)]
    for tag in dataset.tags:
        for bundle in (one for one in bundles if one.tag == tag and one.record.algorithm.name == "xgb"):
            cells = []
            for name in sets:
                metrics = _measured(dataset, rows, bundle, scores[bundle.name].to_numpy(), dataset.origin[rows] == name)
                few = min(metrics.n_positive_stars, metrics.n_stars - metrics.n_positive_stars) < FEWEST_STARS
                cells.append("" if few else _interval(metrics, "average_precision"))
            if any(cells):
                lines.append(f"| {tag} | {' | '.join(cells)} |")
    return [*lines, ""]


def _scored(bundles: list[ModelBundle]) -> list[str]:
    """Describe the predictions of the two ZTF sets, for which the models saw no light curve of the survey."""
    lines = ["### ZTF, not trained on", ""]
    field = read_table(RESULTS / "predictions/ztf_field250/predictions.parquet").data
    counts = {
        bundle.name: int((field[bundle.name].to_numpy() >= bundle.record.spec.threshold).sum()) for bundle in bundles
    }
    above = ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: -item[1]) if count)
    lines += [
        f"`ztf_field250` (raw IRSA file, unlabelled): {field.num_rows} light curves scored; above the threshold: {above or 'none'}.",
        "",
    ]
    named = read_table(RESULTS / "predictions/ztf_named/predictions.parquet").data
    truth = {row["id"]: row for row in read_foreign_table(_named_labels()).to_pylist()}
    lines += [
        f"`ztf_named`: {named.num_rows} rows of {len(set(named['id'].to_pylist()))} stars. Best score of a star's bands:",
        "",
    ]
    lines += [
        "| class | algorithm | stars of the class | above threshold | other stars above it | median score of the class |",
        "|---|---|--:|--:|--:|--:|",
    ]
    ids = named["id"].to_pylist()
    for bundle in bundles:
        best: dict[str, float] = {}
        for star, value in zip(ids, named[bundle.name].to_pylist(), strict=True):
            best[star] = max(best.get(star, 0.0), value)
        known = {
            star: row
            for star, row in truth.items()
            if star in best and bundle.tag not in (row["uncertain_tags"] or "").split(",")
        }
        members = [best[star] for star, row in known.items() if row[bundle.tag] == 1]
        others = [best[star] for star, row in known.items() if row[bundle.tag] == 0]
        if len(members) >= FEWEST_STARS:
            threshold = bundle.record.spec.threshold
            lines.append(
                f"| {bundle.tag} | {bundle.record.algorithm.name} | {len(members)} | {sum(v >= threshold for v in members)} |"
                f" {sum(v >= threshold for v in others)} of {len(others)} | {np.median(members):.2f} |"
            )
    pins = read_lock(LOCK)
    return [*lines, "", f"Models: {len(pins)} champions, pinned in `results/benchmark/models.lock.json`.", ""]


def _named_labels() -> Path:
    return Path(os.environ["SCOPE_BENCHMARK_DATA"]) / "ztf_named" / "labels.parquet"


def _interval(metrics: SplitMetrics, name: str) -> str:
    estimate: Any = metrics.estimates[name]
    if estimate.value is None:
        return "-"
    return f"{estimate.value:.3f}" + (
        f" ({estimate.low:.3f} to {estimate.high:.3f})" if estimate.low is not None else ""
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    raise SystemExit(main())
