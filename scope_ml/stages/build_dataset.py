"""Stage `build_dataset`: feature tables and label tables to one training set, divided by star.

Writes a folder: ``table.parquet`` (light curves with a label, and their features), ``labels.parquet``,
``split.parquet`` and ``counts.json`` (members per class and part, for ``dvc metrics show``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scope_ml.core.configuration import option
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.datasets.assemble import as_paths, assemble, save_built
from scope_ml.datasets.dataset import Dataset
from scope_ml.datasets.join import DEFAULT_JOIN, JoinConfig
from scope_ml.datasets.split import DEFAULT_SPLIT, PARTS, Split, SplitConfig
from scope_ml.io.atomic import atomic_path
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir

__all__ = ["COUNTS_FILE", "BuildDataset", "count_labels", "run"]

#: File of the counts within the data set's folder.
COUNTS_FILE = "counts.json"


@dataclass(frozen=True, kw_only=True)
class BuildDataset:
    """Options of the stage."""

    features: str | tuple[str, ...] = option(machine=True, doc="feature table(s) of generate_features")
    labels: str | tuple[str, ...] = option(machine=True, doc="label table(s): wide, or id,class or ra,dec,class")
    output: str = option(machine=True, doc="folder to write")
    origins: tuple[str, ...] = option((), doc="name of the survey or set of each feature table")
    split: SplitConfig = option(DEFAULT_SPLIT, doc="sizes and seed of the division")
    join: JoinConfig = option(DEFAULT_JOIN, doc="how labels find their light curves")
    class_folders: str | tuple[str, ...] = option(
        (), machine=True, doc="configuration folders whose class/<tag>.yaml add classes of your own"
    )


def run(config: BuildDataset, *, progress: Progress) -> Report:
    """Build the training set.

    Raises
    ------
    ScopeError
        As the readers, the join and the split raise; then nothing was written.
    """
    began = time.monotonic()
    progress.start("building the data set")
    taxonomy = load_classes(packaged_conf_dir(), *as_paths(config.class_folders))
    dataset, split = assemble(
        as_paths(config.features), as_paths(config.labels), taxonomy, config.split, config.join, origins=config.origins
    )
    output = Path(config.output)
    counts = count_labels(dataset, split)
    save_built(output, dataset, split)
    with atomic_path(output / COUNTS_FILE) as temporary:
        temporary.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    progress.finish()
    return Report(
        stage="build_dataset",
        n_in=dataset.counts["features"],
        n_out=len(dataset),
        dropped={"without_label": dataset.counts["without_label"]},
        seconds=time.monotonic() - began,
        warnings=_warnings(dataset.counts),
        outputs={"dataset": str(output), "counts": str(output / COUNTS_FILE)},
        facts={
            "dataset_digest": dataset.digest,
            "split_digest": split.digest,
            "n_stars": dataset.n_stars,
            **dataset.counts,
        },
    )


def count_labels(dataset: Dataset, split: Split) -> dict[str, Any]:
    """Return the numbers of light curves and stars, and per class those of positives, negatives and unknown.

    Positives and negatives are counted in light curves, in all and by part; ``stars`` counts the stars of a class.
    """
    masks = {part: split.mask(part) for part in PARTS}
    per_class = {}
    for tag in dataset.tags:
        y, known = dataset.column(tag)
        positive, negative = known & (y == 1), known & (y == 0)
        states = {"positives": positive, "negatives": negative, "uncertain": ~known}
        entry: dict[str, Any] = {name: int(rows.sum()) for name, rows in states.items()}
        entry["stars"] = len(np.unique(dataset.group[positive]))
        for part, mask in masks.items():
            entry[part] = {name: int((rows & mask).sum()) for name, rows in states.items()}
        per_class[tag] = entry
    return {
        "light_curves": {"all": len(dataset), **{part: int(mask.sum()) for part, mask in masks.items()}},
        "stars": {
            "all": dataset.n_stars,
            **{part: len(np.unique(dataset.group[mask])) for part, mask in masks.items()},
        },
        "classes": per_class,
    }


def _warnings(counts: Mapping[str, int]) -> tuple[str, ...]:
    lines = []
    if counts["labels_without_features"]:
        lines.append(
            f"{counts['labels_without_features']} of {counts['labels']} labels have no light curve in the features"
        )
    if counts["ambiguous_positions"]:
        lines.append(
            f"{counts['ambiguous_positions']} light curves lie near several labels; the nearest was taken"
            " (join.radius_arcsec decides what is near)"
        )
    if counts["labels_off_grid"]:
        lines.append(
            f"{counts['labels_off_grid']} labels are neither 0, 0.25, 0.5, 0.75 nor 1; they were read as probabilities"
            " (positive above join.label_threshold)"
        )
    return tuple(lines)
