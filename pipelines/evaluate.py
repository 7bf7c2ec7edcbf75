"""Collect what the pipeline's models say of the test stars into files that ``dvc metrics`` and ``dvc plots`` show.

``comparison.html`` shows all of them on one page.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from omegaconf import OmegaConf

from scope_ml.stages.compare import write_comparison

FloatArray = npt.NDArray[np.float64]

MODELS, OUTPUT, SETTINGS = Path("results/models"), Path("results/evaluation"), Path("conf/pipeline.yaml")

#: What `dvc metrics show` lists for each class and algorithm.
SHOWN = ("average_precision", "average_precision_low", "average_precision_high", "precision", "recall", "f1")

#: Recall values of the collected curves.
RECALL = np.linspace(0.0, 1.0, 51)


def main() -> int:
    """Write ``metrics/<tag>_<algorithm>.json``, ``average_precision.csv``, ``precision_recall_<algorithm>.csv``, the page."""
    settings = OmegaConf.load(SETTINGS)
    (OUTPUT / "metrics").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for algorithm in settings.algorithms:
        curves: dict[str, FloatArray] = {}
        for tag in settings.classes:
            folder = MODELS / tag / algorithm
            test = json.loads((folder / "metrics.json").read_text()).get("test", {})
            values = {name: test[name] for name in SHOWN if test.get(name) is not None}
            # A class that was skipped has no figures; its curve is empty, so that the plots still find its column.
            curves[tag] = _precision_at(RECALL, folder / "pr.csv")
            if values:
                (OUTPUT / "metrics" / f"{tag}_{algorithm}.json").write_text(json.dumps(values, indent=1) + "\n")
                rows.append({"model": f"{tag} {algorithm}", "average_precision": values.get("average_precision")})
        points = [
            {
                "recall": float(recall),
                **{tag: "" if np.isnan(curve[k]) else float(curve[k]) for tag, curve in curves.items()},
            }
            for k, recall in enumerate(RECALL)
        ]
        _write(OUTPUT / f"precision_recall_{algorithm}.csv", ["recall", *curves], points)
    _write(OUTPUT / "average_precision.csv", ["model", "average_precision"], rows)
    write_comparison([MODELS], OUTPUT / "comparison.html")
    return 0


def _precision_at(recall: FloatArray, path: Path) -> FloatArray:
    """Return the best precision that is reached at each recall or beyond, NaN where there is no curve."""
    lines = path.read_text().splitlines()[1:] if path.is_file() else []
    if not lines:
        return np.full(recall.shape, np.nan)
    points = np.array([line.split(",")[:2] for line in lines], dtype=float)
    reached = points[:, 0][None, :] >= recall[:, None] - 1e-9
    best: FloatArray = np.where(reached, points[:, 1][None, :], 0.0).max(axis=1)
    return best


def _write(path: Path, names: list[str], rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    raise SystemExit(main())
