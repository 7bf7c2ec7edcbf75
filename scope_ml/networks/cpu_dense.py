"""The dense branch and the head for a batch of rows, forwards, loss, and backwards, in numba on `cpu_products`.

Rows of a layer's outputs lie one after the other. Logits are kept in rows padded to 16, so that one product does for any
number of outputs. May import lanes, cpu_products, architecture and the numbers of `draws`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.networks.architecture import BRANCH_DROPOUT, DENSE_UNITS, HEAD_DROPOUT, HEAD_UNITS, Architecture
from scope_ml.networks.cpu_products import FLOATS, MATRIX, Matrix, add_columns, copy_transposed, product, quench
from scope_ml.networks.draws import limit, scale
from scope_ml.networks.lanes import INNER, LANES, dropped, load, store, zeros_aligned

__all__ = [
    "BATCH", "PLACES", "Batch", "Places", "backward", "branch", "empty_batch", "head", "head_back", "pack",
    "places_of",
]  # fmt: skip

FIRST, SECOND = DENSE_UNITS
#: Floats from one row of the widest layer to the next: not a power of two, or the rows of a column would fall on the
#: same few lines of the cache.
STEP = FIRST + LANES
BRANCH_LIMIT, BRANCH_SCALE = np.uint32(limit(BRANCH_DROPOUT)), scale(BRANCH_DROPOUT)
HEAD_LIMIT, HEAD_SCALE = np.uint32(limit(HEAD_DROPOUT)), scale(HEAD_DROPOUT)


class Places(NamedTuple):
    """Sizes of a network, and where its layers begin in the flat vector (-1: a branch that it does not have)."""

    n_features: int
    n_joined: int
    n_outputs: int
    n_padded: int
    dense_1: int
    dense_2: int
    images: int
    head: int
    logit: int


class Batch(NamedTuple):
    """What a batch of rows makes on its way, and weights as the products want them; float32, flat.

    Attributes
    ----------
    x, hidden, joined, kept, head, logits
        Inputs, outputs of the first layer, of both branches, those after the head's dropout, of the head, logits.
    back_hidden, back_joined, back_head, back_logits
        Derivatives of the loss by them.
    dense_2, head_transposed, logit_transposed
        Transposed weights.
    logit, logit_biases, logit_sums
        Weights and biases of the logits, padded with zeros, and the gradients of both.
    zeros
        As many as the widest layer.
    """

    x: NDArray[np.float32]
    hidden: NDArray[np.float32]
    joined: NDArray[np.float32]
    kept: NDArray[np.float32]
    head: NDArray[np.float32]
    logits: NDArray[np.float32]
    back_hidden: NDArray[np.float32]
    back_joined: NDArray[np.float32]
    back_head: NDArray[np.float32]
    back_logits: NDArray[np.float32]
    dense_2: NDArray[np.float32]
    head_transposed: NDArray[np.float32]
    logit_transposed: NDArray[np.float32]
    logit: NDArray[np.float32]
    logit_biases: NDArray[np.float32]
    logit_sums: NDArray[np.float32]
    zeros: NDArray[np.float32]


PLACES = types.NamedUniTuple(types.int64, len(Places._fields), Places)
BATCH = types.NamedUniTuple(FLOATS, len(Batch._fields), Batch)
KEYS = types.uint32[::1]
RANGE = types.UniTuple(types.int64, 2)


def places_of(architecture: Architecture) -> Places:
    """Return sizes and places of a network."""

    def start(layer: str, *, there: bool) -> int:
        return next(slot.start for slot in architecture.slots if slot.name.startswith(layer)) if there else -1

    return Places(
        n_features=architecture.n_features if architecture.dense_branch else 0,
        n_joined=architecture.n_joined,
        n_outputs=architecture.n_outputs,
        n_padded=-(-architecture.n_outputs // LANES) * LANES,
        dense_1=start("features_dense_1", there=architecture.dense_branch),
        dense_2=start("features_dense_2", there=architecture.dense_branch),
        images=start("dmdt_convolution_1_1", there=architecture.dmdt_branch),
        head=start("head_dense", there=True),
        logit=start("logit", there=True),
    )


def empty_batch(places: Places, n_rows: int) -> Batch:
    """Return room for batches of up to `n_rows` rows."""
    n_joined, n_padded = places.n_joined, places.n_padded
    dense = places.dense_1 >= 0
    sizes = {
        "x": n_rows * places.n_features,
        "hidden": n_rows * STEP * dense,
        "joined": n_rows * n_joined,
        "kept": n_rows * n_joined,
        "head": n_rows * HEAD_UNITS,
        "logits": n_rows * n_padded,
        "back_hidden": n_rows * STEP * dense,
        "back_joined": n_rows * n_joined,
        "back_head": n_rows * HEAD_UNITS,
        "back_logits": n_rows * n_padded,
        "dense_2": FIRST * SECOND * dense,
        "head_transposed": n_joined * HEAD_UNITS,
        "logit_transposed": HEAD_UNITS * n_padded,
        "logit": HEAD_UNITS * n_padded,
        "logit_biases": n_padded,
        "logit_sums": (HEAD_UNITS + 1) * n_padded,
        "zeros": FIRST,
    }
    return Batch(**{name: zeros_aligned(size) for name, size in sizes.items()})


@njit(types.void(PLACES, FLOATS, BATCH), **INNER)
def pack(places: Places, parameters: NDArray[np.float32], batch: Batch) -> None:
    """Write transposed and padded weights."""
    n_joined, n_outputs, n_padded = places.n_joined, places.n_outputs, places.n_padded
    if places.dense_2 >= 0:
        weights = Matrix(parameters, places.dense_2, SECOND, 1)
        copy_transposed(Matrix(batch.dense_2, 0, FIRST, 1), weights, FIRST, SECOND)
    weights = Matrix(parameters, places.head, HEAD_UNITS, 1)
    copy_transposed(Matrix(batch.head_transposed, 0, n_joined, 1), weights, n_joined, HEAD_UNITS)
    weights = Matrix(parameters, places.logit, n_outputs, 1)
    copy_transposed(Matrix(batch.logit_transposed, 0, HEAD_UNITS, 1), weights, HEAD_UNITS, n_outputs)
    for i in range(HEAD_UNITS):
        for j in range(n_outputs):
            batch.logit[i * n_padded + j] = parameters[places.logit + i * n_outputs + j]
    for j in range(n_outputs):
        batch.logit_biases[j] = parameters[places.logit + HEAD_UNITS * n_outputs + j]


@njit(types.void(MATRIX, RANGE, types.int64, types.uint32, types.uint32, types.float32, MATRIX), **INNER)
def _drop(a: Matrix, rows: tuple[int, int], n_columns: int, key: int, bound: int, factor: float, out: Matrix) -> None:
    """Write the rows from ``rows[0]`` to before ``rows[1]`` of `a` after dropout into `out`."""
    for i in range(rows[0], rows[1]):
        for j in range(0, n_columns, LANES):
            value = load(a.values, a.at + i * a.row + j)
            value = dropped(value, key, np.uint32(i * n_columns + j), bound, factor)
            store(out.values, out.at + i * out.row + j, value)


@njit(types.void(PLACES, FLOATS, BATCH, types.int64, KEYS), **INNER)
def branch(places: Places, parameters: NDArray[np.float32], batch: Batch, n: int, keys: NDArray[np.uint32]) -> None:
    """Write what the dense branch makes of the first `n` rows of `batch.x` into `batch.joined`.

    `keys` are those of the dropouts of the branch and of the head; none: no dropout.
    """
    hidden, joined = Matrix(batch.hidden, 0, STEP, 1), Matrix(batch.joined, 0, places.n_joined, 1)
    bias = places.dense_1 + places.n_features * FIRST
    x, weights = Matrix(batch.x, 0, places.n_features, 1), Matrix(parameters, places.dense_1, FIRST, 1)
    product(hidden, Matrix(parameters, bias, 0, 1), x, weights, (n, places.n_features, FIRST), True)
    if keys.size > 0:
        _drop(hidden, (0, n), FIRST, keys[0], BRANCH_LIMIT, BRANCH_SCALE, hidden)
    bias, weights = places.dense_2 + FIRST * SECOND, Matrix(parameters, places.dense_2, SECOND, 1)
    product(joined, Matrix(parameters, bias, 0, 1), hidden, weights, (n, FIRST, SECOND), True)


@njit(types.void(PLACES, FLOATS, BATCH, RANGE, KEYS), **INNER)
def head(
    places: Places, parameters: NDArray[np.float32], batch: Batch, rows: tuple[int, int], keys: NDArray[np.uint32]
) -> None:
    """Write the logits of rows from ``rows[0]`` to before ``rows[1]`` of `batch.joined`; `keys` as in `branch`."""
    n_joined, n_padded, first, n = places.n_joined, places.n_padded, rows[0], rows[1] - rows[0]
    kept = Matrix(batch.joined, first * n_joined, n_joined, 1)
    if keys.size > 0:
        whole = Matrix(batch.kept, 0, n_joined, 1)
        _drop(Matrix(batch.joined, 0, n_joined, 1), rows, n_joined, keys[1], HEAD_LIMIT, HEAD_SCALE, whole)
        kept = Matrix(batch.kept, first * n_joined, n_joined, 1)
    units, bias = Matrix(batch.head, first * HEAD_UNITS, HEAD_UNITS, 1), places.head + n_joined * HEAD_UNITS
    weights = Matrix(parameters, places.head, HEAD_UNITS, 1)
    product(units, Matrix(parameters, bias, 0, 1), kept, weights, (n, n_joined, HEAD_UNITS), True)
    logits, weights = Matrix(batch.logits, first * n_padded, n_padded, 1), Matrix(batch.logit, 0, n_padded, 1)
    product(logits, Matrix(batch.logit_biases, 0, 0, 1), units, weights, (n, HEAD_UNITS, n_padded), False)


@njit(types.void(MATRIX, MATRIX, MATRIX, types.UniTuple(types.int64, 3)), **INNER)
def _weights_back(a: Matrix, back: Matrix, gradients: Matrix, shape: tuple[int, int, int]) -> None:
    """Add the gradients of a dense layer to those of its weights and, after them, of its biases.

    `a` is its input, transposed; `back` the derivatives by its output; `shape` is inputs, rows, outputs.
    """
    n_inputs, n, n_outputs = shape
    product(gradients, gradients, a, back, shape, False)
    add_columns(Matrix(gradients.values, gradients.at + n_inputs * n_outputs, 0, 1), back, n, n_outputs)


@njit(types.void(PLACES, BATCH, RANGE, KEYS), **INNER)
def head_back(places: Places, batch: Batch, rows: tuple[int, int], keys: NDArray[np.uint32]) -> None:
    """Write the derivatives by what came into the head, `batch.back_joined`, from `batch.back_logits`, of some rows."""
    n_joined, n_padded, first, n = places.n_joined, places.n_padded, rows[0], rows[1] - rows[0]
    zeros = Matrix(batch.zeros, 0, 0, 1)
    logits = Matrix(batch.back_logits, first * n_padded, n_padded, 1)
    back = Matrix(batch.back_head, first * HEAD_UNITS, HEAD_UNITS, 1)
    weights = Matrix(batch.logit_transposed, 0, HEAD_UNITS, 1)
    product(back, zeros, logits, weights, (n, places.n_outputs, HEAD_UNITS), False)
    quench(back, Matrix(batch.head, first * HEAD_UNITS, HEAD_UNITS, 1), n, HEAD_UNITS, np.float32(1.0))
    joined, weights = (
        Matrix(batch.back_joined, first * n_joined, n_joined, 1),
        Matrix(batch.head_transposed, 0, n_joined, 1),
    )
    product(joined, zeros, back, weights, (n, HEAD_UNITS, n_joined), False)
    joined = Matrix(batch.back_joined, 0, n_joined, 1)
    _drop(joined, rows, n_joined, keys[1], HEAD_LIMIT, HEAD_SCALE, joined)


@njit(types.void(PLACES, BATCH, types.int64, FLOATS), **INNER)
def backward(places: Places, batch: Batch, n: int, gradients: NDArray[np.float32]) -> None:
    """Add the gradients of the head and of the dense branch to `gradients`, which holds zeros, after `head_back`."""
    n_joined, n_outputs, n_padded = places.n_joined, places.n_outputs, places.n_padded
    sums, logits = batch.logit_sums, Matrix(batch.back_logits, 0, n_padded, 1)
    sums[:] = np.float32(0.0)
    _weights_back(Matrix(batch.head, 0, 1, HEAD_UNITS), logits, Matrix(sums, 0, n_padded, 1), (HEAD_UNITS, n, n_padded))
    for i in range(HEAD_UNITS + 1):
        for j in range(n_outputs):
            gradients[places.logit + i * n_outputs + j] = sums[i * n_padded + j]
    back, own = Matrix(batch.back_head, 0, HEAD_UNITS, 1), Matrix(gradients, places.head, HEAD_UNITS, 1)
    _weights_back(Matrix(batch.kept, 0, 1, n_joined), back, own, (n_joined, n, HEAD_UNITS))
    if places.dense_1 < 0:
        return
    joined, own = Matrix(batch.back_joined, 0, n_joined, 1), Matrix(gradients, places.dense_2, SECOND, 1)
    quench(joined, Matrix(batch.joined, 0, n_joined, 1), n, SECOND, np.float32(1.0))
    _weights_back(Matrix(batch.hidden, 0, 1, STEP), joined, own, (FIRST, n, SECOND))
    hidden, own = Matrix(batch.back_hidden, 0, STEP, 1), Matrix(gradients, places.dense_1, FIRST, 1)
    product(hidden, Matrix(batch.zeros, 0, 0, 1), joined, Matrix(batch.dense_2, 0, FIRST, 1), (n, SECOND, FIRST), False)
    quench(hidden, Matrix(batch.hidden, 0, STEP, 1), n, FIRST, BRANCH_SCALE)
    n_features = places.n_features
    _weights_back(Matrix(batch.x, 0, 1, n_features), hidden, own, (n_features, n, FIRST))
