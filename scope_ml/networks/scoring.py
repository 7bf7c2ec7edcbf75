"""Scores of many networks for one table on the CPU, in one pass over its rows.

Each thread has a block of rows and goes through it with one network after the other, so that the rows are read once and
what a network makes of them stays in a core's own cache. A row's score depends on that row and that network alone, bit
for bit: sums are taken in one order, whatever else is scored. May import architecture and the engine's rooms.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt

from scope_ml.errors import ModelError
from scope_ml.networks.architecture import IMAGE_SIZE, Architecture
from scope_ml.networks.cpu_dense import places_of
from scope_ml.networks.cpu_network import BLOCK, Room, data_of, empty_room, logits, padded, to_scores
from scope_ml.networks.lanes import zeros_aligned

__all__ = ["score_many"]

Float32Array = npt.NDArray[np.float32]


def score_many(
    architecture: Architecture,
    parameters: Float32Array,
    x: Float32Array | None,
    images: Float32Array | None = None,
    *,
    n_threads: int = 1,
) -> Float32Array:
    """Return the scores of M networks of one architecture.

    Parameters
    ----------
    architecture
        Of all networks.
    parameters
        (M, P) float32.
    x
        (n, k) float32 features, finite; not used without dense branch.
    images
        (n, 26, 26, 1) float32 dm-dt images; not used without that branch.
    n_threads
        Threads; scores do not depend on it.

    Returns
    -------
    ndarray
        (n, M, C) float32 in [0, 1]: sigmoids of the logits.

    Raises
    ------
    ModelError
        If parameters or inputs have another shape.
    """
    _check(architecture, parameters, x, images)
    inputs = x if architecture.dense_branch else images
    n_rows = 0 if inputs is None else inputs.shape[0]
    out = np.empty((n_rows, parameters.shape[0], architecture.n_outputs), dtype=np.float32)
    length = padded(architecture.n_parameters)
    weights = zeros_aligned(parameters.shape[0] * length).reshape(-1, length)
    weights[:, : architecture.n_parameters] = parameters
    places, rows = places_of(architecture), np.arange(n_rows, dtype=np.int64)
    data = data_of(x if architecture.dense_branch else None, images if architecture.dmdt_branch else None)
    starts = range(0, n_rows, BLOCK)
    n_threads = min(n_threads, len(starts))
    rooms: SimpleQueue[Room] = SimpleQueue()
    for _ in range(n_threads):
        rooms.put(empty_room(architecture, BLOCK))

    def work(start: int) -> None:
        room = rooms.get()
        try:
            block = out[start : start + BLOCK]
            logits(places, data, weights, room, rows[start : start + BLOCK], block)
            to_scores(block.reshape(-1))
        finally:
            rooms.put(room)

    if n_threads < 2:
        for start in starts:
            work(start)
    else:
        with ThreadPoolExecutor(n_threads, thread_name_prefix="scope") as pool:
            list(pool.map(work, starts))
    return out


def _check(
    architecture: Architecture, parameters: Float32Array, x: Float32Array | None, images: Float32Array | None
) -> None:
    """Check shapes: the loops do not."""
    if parameters.ndim != 2 or parameters.shape[1] != architecture.n_parameters:
        raise ModelError(f"networks of {architecture.n_parameters} parameters each, got shape {parameters.shape}")
    if architecture.dense_branch and (x is None or x.ndim != 2 or x.shape[1] != architecture.n_features):
        seen = "none" if x is None else f"shape {x.shape}"
        raise ModelError(f"the network takes {architecture.n_features} features, got {seen}")
    if architecture.dmdt_branch:
        if images is None:
            raise ModelError("the network takes dm-dt images (column dmdt), which are not there")
        if images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE, 1):
            raise ModelError(f"dm-dt images must have shape (n, {IMAGE_SIZE}, {IMAGE_SIZE}, 1), got {images.shape}")
        if architecture.dense_branch and x is not None and x.shape[0] != images.shape[0]:
            raise ModelError(f"features of {x.shape[0]} rows and dm-dt images of {images.shape[0]} do not fit")
