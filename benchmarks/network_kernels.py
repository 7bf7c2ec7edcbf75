"""How long a training step of one network takes on one core, beside Keras' own step of the same network.

    python -m benchmarks.network_kernels [--rows 3456] [--quick]

Batches of 64. Both sides on one thread; Keras runs `fit` with its step as a graph, not bound to be deterministic, and is
timed without its first epoch. CPU time of the process; interleaved, median of the rounds. Beside it the rate of multiply-adds
that the core reaches in registers, which bounds both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.models.keras_runtime import Runtime
from scope_ml.networks.architecture import Architecture
from scope_ml.networks.backends import Job, open_backend
from scope_ml.networks.draws import initial_parameters
from scope_ml.networks.lanes import LANES, OUTER, fma, load, store
from scope_ml.networks.scoring import score_many

BATCH = 64
#: Multiply-adds counted as two operations, forwards, for one row: features (61), images.
DENSE_FLOP, IMAGE_FLOP = 2 * (61 * 256 + 256 * 32), 650_000
N_PEAK, N_CHAINS = 200_000, 12
NETWORKS = {
    "features": Architecture(n_features=61),
    "images": Architecture(n_features=61, dense_branch=False, dmdt_branch=True),
    "both": Architecture(n_features=61, dmdt_branch=True),
    "features, 44 outputs": Architecture(n_features=61, n_outputs=44),
}


@njit(types.void(types.float32[::1], types.int64), **OUTER)
def _multiply_add(values: NDArray[np.float32], n: int) -> None:
    """Do ``12 * 16 * n`` multiply-adds that need no memory."""
    a, b = load(values, 0), load(values, LANES)
    c0 = c1 = c2 = c3 = c4 = c5 = a
    d0 = d1 = d2 = d3 = d4 = d5 = b
    for _ in range(n):
        c0, c1, c2, c3, c4, c5 = (
            fma(c0, a, b),
            fma(c1, a, b),
            fma(c2, a, b),
            fma(c3, a, b),
            fma(c4, a, b),
            fma(c5, a, b),
        )
        d0, d1, d2, d3, d4, d5 = (
            fma(d0, a, b),
            fma(d1, a, b),
            fma(d2, a, b),
            fma(d3, a, b),
            fma(d4, a, b),
            fma(d5, a, b),
        )
    for k, value in enumerate((c0, c1, c2, c3, c4, c5, d0, d1, d2, d3, d4, d5)):
        store(values, k * LANES, value)


def peak_flops() -> float:
    """Return the floating-point operations per second that one core reaches with multiply-adds in registers."""
    values = np.full(N_CHAINS * LANES, 0.5, np.float32)
    return 2.0 * N_CHAINS * LANES * N_PEAK / min(cpu_time(lambda: _multiply_add(values, N_PEAK)) for _ in range(9))


def cpu_time(work: Callable[[], object]) -> float:
    """Return the seconds of CPU, of all threads, that `work` takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def make_inputs(n_rows: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return random features and images, most of whose pixels are zero."""
    rng = np.random.default_rng(0)
    images = rng.random((n_rows, 26, 26, 1), dtype=np.float32)
    images[images < 0.6] = 0.0
    return rng.standard_normal((n_rows, 61), dtype=np.float32), images


def plain_keras(n_threads: int) -> Runtime:
    """Return Keras on so many threads, not bound to be deterministic."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    if tf.config.threading.get_intra_op_parallelism_threads() != n_threads:
        tf.config.threading.set_intra_op_parallelism_threads(n_threads)
    return Runtime(keras=keras, tf=tf)


def keras_epoch(architecture: Architecture, x: Any, images: Any, y: Any) -> Callable[[], object]:
    """Return an epoch of Keras' own training of the same network."""
    from scope_ml.models.network import build_network

    runtime = plain_keras(1)
    network = build_network(runtime, architecture)
    network.compile(optimizer=runtime.keras.optimizers.Adam(3e-4), loss="binary_crossentropy")
    inputs = [x] * architecture.dense_branch + [images] * architecture.dmdt_branch
    given = inputs[0] if len(inputs) == 1 else inputs

    def epoch() -> object:
        return network.fit(given, y, batch_size=BATCH, epochs=1, verbose=0)

    epoch()
    return epoch


def our_epoch(architecture: Architecture, x: Any, images: Any, y: Any) -> Callable[[], object]:
    """Return an epoch of ours."""
    rows, weight = np.arange(len(x)), np.ones_like(y)
    held_out = (rows[:1], y[:1], weight[:1])
    job = Job(
        seed=1,
        rows=rows,
        y=y,
        weight=weight,
        validation_rows=held_out[0],
        validation_y=held_out[1],
        validation_weight=held_out[2],
        start=initial_parameters(architecture, 1),
        epsilon=1e-7,
        amsgrad=False,
    )
    session = open_backend("cpu").open(architecture, x, images, [job])
    order = np.random.default_rng(1).permutation(len(x)).astype(np.int32).reshape(-1, BATCH)
    return lambda: session.epoch([0], [order], [3e-4])


def main() -> None:
    """Print one row a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3456, help="rows of an epoch")
    parser.add_argument("--quick", action="store_true", help="a few rows, two rounds")
    options = parser.parse_args()
    n_rows = (512 if options.quick else options.rows) // BATCH * BATCH
    n_rounds = 2 if options.quick else 5
    x, images = make_inputs(n_rows)
    peak = peak_flops()
    print(
        f"one core: {peak / 1e9:.0f} GFLOP/s in registers; {n_rows} rows, batches of {BATCH}, CPU time of the process\n"
    )
    print(
        "| network | train [us/row] | GFLOP/s | of the core's | Keras [us/row] | times | score [us/row] | of the core's |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, architecture in NETWORKS.items():
        y = (np.random.default_rng(2).random((n_rows, architecture.n_outputs)) < 0.2).astype(np.float32)
        ours, theirs = (make(architecture, x, images, y) for make in (our_epoch, keras_epoch))
        parameters = initial_parameters(architecture, 1)[None]
        rounds = []
        for _ in range(n_rounds):
            scored = cpu_time(lambda a=architecture, p=parameters: score_many(a, p, x, images))  # type: ignore[misc]
            rounds.append((cpu_time(ours), cpu_time(theirs), scored))
        train, keras, scored = (statistics.median(column) / n_rows for column in zip(*rounds, strict=True))
        flop = DENSE_FLOP * architecture.dense_branch + IMAGE_FLOP * architecture.dmdt_branch
        rate = 3 * flop / train
        print(
            f"| {name} | {train * 1e6:.1f} | {rate / 1e9:.0f} | {rate / peak:.0%} | {keras * 1e6:.1f} |"
            f" {keras / train:.0f} | {scored * 1e6:.2f} | {flop / scored / peak:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
