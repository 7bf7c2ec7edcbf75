"""How long training and scoring take: 20 classes x 2 algorithms, one table of 100,000 rows.

    python benchmarks/scoring.py [ROWS] [CLASSES]

Features are random with some structure, labels follow from them; trees and networks are trained as by default, on
3,000 light curves with 37 features. Printed: seconds, peak memory, and whether a row's score depends on other rows.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.protocols import NullRunLogger
from scope_ml.models.algorithms import configure
from scope_ml.models.batch_scoring import score
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.fit import ClassLabels, FitConfig, fit_bundle, training_set
from scope_ml.models.record import Provenance
from scope_ml.taxonomy.classes import ClassSpec

N_TRAINING, N_FEATURES = 3_000, 37


def features(n_rows: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    x = rng.standard_normal((n_rows, N_FEATURES))
    x[:, 1::3] = np.exp(x[:, 1::3])
    x[rng.random(x.shape) < 0.03] = np.nan
    return x


def main() -> None:
    n_rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    n_classes = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    rng = np.random.default_rng(0)
    names = tuple(f"feature_{index}" for index in range(N_FEATURES))
    x = features(N_TRAINING, rng)
    part = rng.choice(3, size=N_TRAINING, p=(0.65, 0.15, 0.2)).astype(np.int8)
    group = np.arange(N_TRAINING)
    table = pa.table(dict(zip(names, features(n_rows, rng).T, strict=True)))

    with tempfile.TemporaryDirectory() as folder:
        for name in ("xgb", "dnn"):
            settings = configure({"name": name})
            data = training_set(x, FeatureRecord(names=names), settings.preparation, group=group, part=part)
            start = time.perf_counter()
            for number in range(n_classes):
                columns = np.nan_to_num(x[:, number % 30 : number % 30 + 4])
                signal = columns[:, 0] + columns[:, 1] * np.sign(columns[:, 2]) + 0.5 * rng.standard_normal(N_TRAINING)
                y = (signal > np.quantile(signal, 0.9)).astype(np.int8)
                spec = ClassSpec(tag=f"class{number}", label="", kind="phenomenological")
                labels = ClassLabels(spec=spec, y=y, known=np.ones(N_TRAINING, dtype=bool))
                bundle = fit_bundle(
                    data,
                    labels,
                    settings,
                    config=FitConfig(),
                    seed=1,
                    provenance=Provenance(),
                    log=NullRunLogger(),
                    n_threads=2,
                )
                bundle.save(Path(folder) / f"{number}_{name}")
                took, start = time.perf_counter() - start, time.perf_counter()
                if number in (0, 1, n_classes - 1):
                    test = bundle.record.metrics["test"]
                    print(f"train {name} model {number}: {took:.2f} s, test AP {test.value('average_precision'):.3f}")

        start = time.perf_counter()
        bundles = [ModelBundle.load(path, n_threads=2) for path in sorted(Path(folder).iterdir())]
        print(f"load {len(bundles)} models: {time.perf_counter() - start:.2f} s")

    for name in ("xgb", "dnn"):
        start = time.perf_counter()
        score([bundle for bundle in bundles if bundle.name.endswith(name)], table)
        print(f"score {n_rows} rows x {n_classes} {name}: {time.perf_counter() - start:.2f} s")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    scores = score(bundles, table)
    print(f"score {n_rows} rows x {n_classes} classes x 2 algorithms: {time.perf_counter() - start:.2f} s")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory: {before:.0f} MB before, {after:.0f} MB after")

    order = rng.permutation(n_rows)[: n_rows // 3]
    again = score(bundles, table.take(order))
    worst = max(
        float(np.abs(scores[name].to_numpy()[order] - again[name].to_numpy()).max()) for name in scores.column_names
    )
    print(f"largest change of a score when a third of the rows is scored in another order: {worst:g}")


if __name__ == "__main__":
    main()
