"""How fast tables are scored with the models of 44 classes, beside the same models one after the other.

    python -m benchmarks.scoring [--threads 2] [--quick]

Ours reads, prepares and scores the table (`models.batch_scoring`). The peer gets the prepared matrix for nothing and does
what classification scripts do: ``Booster.predict(DMatrix)`` and ``model(x, training=False)`` of Keras, model after model;
it is timed on some of the models and the time scaled to all. Networks have random parameters, trees are grown on a small
random table. Rows a second by the clock, and CPU time a row, which says what a machine without other work would do.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.network_kernels import peak_flops, plain_keras
from scope_ml.core.protocols import NullRunLogger
from scope_ml.models.algorithms import configure
from scope_ml.models.batch_scoring import score
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.dnn import DnnModel
from scope_ml.models.dnn_shared import DnnSharedModel
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.fit import ClassLabels, FitConfig, fit_bundle, training_set
from scope_ml.models.record import Provenance
from scope_ml.models.tables import feature_matrix, image_column
from scope_ml.networks.architecture import Architecture
from scope_ml.networks.draws import initial_parameters
from scope_ml.taxonomy.classes import ClassSpec

N_CLASSES, N_FEATURES, N_TRAINING, N_TREES = 44, 61, 2_000, 120
NAMES = tuple(f"feature_{index}" for index in range(N_FEATURES))
#: Models that the peer is timed on.
N_PEERS = 4
#: Rows of a table at a time where it is read in batches, as stage `infer` does.
BATCH_ROWS = 32_768
#: Arithmetic of one row and model with both branches, forwards.
FLOP = 0.7e6
GOALS = {"xgb": 5_000, "dnn": 20_000}


def random_table(n_rows: int, *, with_images: bool = False, seed: int = 1) -> pa.Table:
    """Return a table of features, 3 % of them missing, and images on request."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_rows, N_FEATURES))
    x[:, 1::3] = np.exp(x[:, 1::3])
    x[rng.random(x.shape) < 0.03] = np.nan
    columns: dict[str, Any] = dict(zip(NAMES, x.T, strict=True))
    if with_images:
        pixels = rng.random((n_rows, 676), dtype=np.float32)
        pixels[pixels < 0.6] = 0.0
        columns["dmdt"] = pa.FixedSizeListArray.from_arrays(pixels.ravel(), 676).cast(pa.list_(pa.float32()))
    return pa.table(columns)


def fitted(name: str, *, seed: int, **settings: Any) -> ModelBundle:
    """Return a bundle trained on a small random table."""
    table = random_table(N_TRAINING, seed=seed)
    x = feature_matrix(table, NAMES)
    rng = np.random.default_rng(seed)
    clean = np.nan_to_num(x[:, seed % 30 : seed % 30 + 4])
    signal = clean[:, 0] + clean[:, 1] * np.sign(clean[:, 2]) + 0.5 * rng.standard_normal(N_TRAINING)
    chosen = configure({"name": name, **settings})
    part = rng.choice(3, size=N_TRAINING, p=(0.65, 0.15, 0.2)).astype(np.int8)
    data = training_set(x, FeatureRecord(names=NAMES), chosen.preparation, group=np.arange(N_TRAINING), part=part)
    spec = ClassSpec(tag=f"c{seed}", label="", kind="phenomenological")
    y = (signal > np.quantile(signal, 0.93)).astype(np.int8)
    labels = ClassLabels(spec=spec, y=y, known=np.ones(N_TRAINING, dtype=bool))
    config = FitConfig(n_resamples=10)
    return fit_bundle(
        data, labels, chosen, config=config, seed=1, provenance=Provenance(), log=NullRunLogger(), n_threads=1
    )


def network_bundles(base: ModelBundle, architecture: Architecture) -> list[ModelBundle]:
    """Return a bundle a class: networks of their own, or one network behind all of them."""
    bundles = []
    for number in range(N_CLASSES):
        spec = replace(base.record.spec, tag=f"c{number}")
        model: DnnModel
        if architecture.n_outputs == 1:
            model = DnnModel(architecture, initial_parameters(architecture, number))
        else:
            tags = [f"c{place}" for place in range(N_CLASSES)]
            parameters = initial_parameters(architecture, 0)
            model = DnnSharedModel(architecture, parameters, tags=tags, output=number)
        bundles.append(replace(base, record=replace(base.record, spec=spec), model=model))
    return bundles


def timed(work: Callable[[], object], n_rounds: int) -> tuple[float, float]:
    """Return the least seconds by the clock and of CPU."""
    clocks, cpus = [], []
    for _ in range(n_rounds):
        clock, cpu = time.perf_counter(), time.process_time()
        work()
        clocks.append(time.perf_counter() - clock)
        cpus.append(time.process_time() - cpu)
    return min(clocks), min(cpus)


def tree_peer(bundles: Sequence[ModelBundle], x: NDArray[np.float32], n_threads: int) -> Callable[[], object]:
    """Return the scoring of trees model after model."""
    import xgboost

    boosters = [bundle.model.booster.copy() for bundle in bundles]
    for booster in boosters:
        booster.set_param({"nthread": n_threads})
    return lambda: [booster.predict(xgboost.DMatrix(x, nthread=n_threads)) for booster in boosters]


def network_peer(
    bundles: Sequence[ModelBundle], x: NDArray[np.float32], images: NDArray[np.float32] | None, n_threads: int
) -> Callable[[], object]:
    """Return the scoring of networks by Keras, model after model."""
    from scope_ml.models.network import build_network, set_parameters

    runtime = plain_keras(n_threads)
    networks = []
    for bundle in bundles:
        model: DnnModel = bundle.model
        networks.append(build_network(runtime, model.architecture))
        set_parameters(networks[-1], model.architecture, model.parameters)
    given = x if images is None else [x, images]
    return lambda: [network(given, training=False).numpy() for network in networks]


def compare(
    label: str, bundles: Sequence[ModelBundle], sizes: tuple[int, int], n_threads: int, n_rounds: int
) -> tuple[float, float]:
    """Print one row of the table; return our rows per second and CPU seconds per row."""
    n_rows, n_peer_rows = sizes
    with_images = bundles[0].model.needs_images
    table = random_table(n_rows, with_images=with_images)
    clock, cpu = (t / n_rows for t in timed(lambda: score(bundles, table, n_threads=n_threads), n_rounds))
    few = table.slice(0, n_peer_rows)
    preparation = bundles[0].record.preparation
    x = preparation.transform(feature_matrix(few, preparation.features))
    images = image_column(few) if with_images else None
    own = bundles[:N_PEERS]
    is_network = isinstance(bundles[0].model, DnnModel)
    peer = network_peer(own, x, images, n_threads) if is_network else tree_peer(own, x, n_threads)
    peer()
    scale = len(bundles) / len(own) / n_peer_rows
    peer_clock, peer_cpu = (t * scale for t in timed(peer, n_rounds))
    goal = GOALS.get(label)
    print(
        f"| {label} | {n_rows:,} | {1 / clock:,.0f} | {cpu * 1e6:.1f} | {1 / peer_clock:,.0f} | {peer_cpu * 1e6:.1f} |"
        f" {peer_clock / clock:.1f} | {peer_cpu / cpu:.1f} | {'' if goal is None else f'{goal:,}'} |",
        flush=True,
    )
    return 1 / clock, cpu


def peak_memory(bundles: Sequence[ModelBundle], n_batches: int, n_threads: int) -> float:
    """Score so many batches of rows; return the largest memory of this process so far [MB]."""
    for number in range(n_batches):
        score(bundles, random_table(BATCH_ROWS, seed=number), n_threads=n_threads)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the table, the arithmetic bound, and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few rows, two rounds")
    options = parser.parse_args()
    shrink, n_rounds = (8, 2) if options.quick else (1, 3)
    trees = [fitted("xgb", seed=seed, n_rounds=N_TREES) for seed in range(N_PEERS)]
    # More models than were grown: each is copied, so that no two share what XGBoost keeps of a prediction.
    trees = [
        replace(
            trees[number % N_PEERS],
            record=replace(trees[number % N_PEERS].record, spec=replace(trees[0].record.spec, tag=f"c{number}")),
            model=type(trees[0].model)(trees[number % N_PEERS].model.booster.copy()),
        )
        for number in range(N_CLASSES)
    ]
    base = fitted("dnn", seed=0, epochs=1, dmdt_branch=False)
    dense, images = Architecture(n_features=N_FEATURES), Architecture(n_features=N_FEATURES, dmdt_branch=True)
    cases = {
        "xgb": (trees, (65_536 // shrink, 16_384 // shrink)),
        "dnn": (network_bundles(base, dense), (65_536 // shrink, 16_384 // shrink)),
        "dnn with images": (network_bundles(base, images), (4_096 // shrink, 1_024 // shrink)),
        "dnn_shared": (
            network_bundles(base, replace(dense, n_outputs=N_CLASSES)),
            (65_536 // shrink, 16_384 // shrink),
        ),
        "dnn_shared with images": (
            network_bundles(base, replace(images, n_outputs=N_CLASSES)),
            (32_768 // shrink, 1_024 // shrink),
        ),
    }
    print(
        f"{N_CLASSES} classes, {N_FEATURES} features, {options.threads} threads; the peer on {N_PEERS} models, scaled\n"
    )
    print(
        "| models | rows | rows/s | CPU [us/row] | peer rows/s | peer CPU | times by clock | by CPU | goal [rows/s] |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    found = {
        label: compare(label, bundles, sizes, options.threads, n_rounds) for label, (bundles, sizes) in cases.items()
    }
    peak = peak_flops()
    cpu = found["dnn with images"][1] / N_CLASSES
    print(
        f"\nWith images: {FLOP / 1e6} MFLOP a row and model over {peak / 1e9:.0f} GFLOP/s of a core is {FLOP / peak * 1e6:.1f} us;"
        f" measured {cpu * 1e6:.1f} us of CPU, {FLOP / peak / cpu:.0%} of the bound (goal: a third)."
    )
    for branch in ("", " with images"):
        ratio = found[f"dnn{branch}"][1] / found[f"dnn_shared{branch}"][1]
        print(f"dnn_shared{branch}: {ratio:.0f} times less CPU than {N_CLASSES} networks.")
    both = [*trees, *cases["dnn"][0]]
    first, last = (peak_memory(both, n, options.threads) for n in (1, 4))
    print(
        f"Peak memory: {first:.0f} MB after {BATCH_ROWS:,} rows, {last:.0f} MB after {5 * BATCH_ROWS:,} rows in batches."
    )


if __name__ == "__main__":
    main()
