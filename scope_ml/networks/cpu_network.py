"""The whole network in numba: scores of rows, loss and gradients of a batch, one epoch of a model in one compiled call.

Dense layers go through the rows of a batch together (`cpu_dense`), the convolutions image by image (`cpu_images`), so
that what they make on the way stays in a core's own cache. None of it needs the interpreter, so that threads can work on
different models or rows at the same time. May import the other rooms of the engine, architecture and draws.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numpy.typing import DTypeLike, NDArray

from scope_ml.networks import cpu_dense, cpu_images, cpu_images_back
from scope_ml.networks.architecture import (
    DMDT_DROPOUT_1,
    DMDT_DROPOUT_2,
    FEATURES_DROPOUT,
    HEAD_DROPOUT_LAYER,
    IMAGE_SIZE,
    Architecture,
)
from scope_ml.networks.cpu_dense import BATCH, PLACES, Batch, Places, empty_batch, places_of
from scope_ml.networks.cpu_images import PIXELS
from scope_ml.networks.cpu_products import BETA_1, BETA_2, FLOATS, MOMENTS, Moments, adam
from scope_ml.networks.lanes import INNER, LANES, OUTER, zeros_aligned

__all__ = [
    "BLOCK", "Data", "Plan", "Room", "Targets", "data_of", "empty_room", "epoch", "logits", "loss", "padded",
    "read_only", "to_scores",
]  # fmt: skip

PIXELS_PER_IMAGE = IMAGE_SIZE**2

#: Rows of a batch without training: what they make on the way, 2 kB a row, stays in a core's own cache.
BLOCK = 128

#: Adam's decays as float32 holds them.
FIRST_DECAY, SECOND_DECAY = float(np.float32(BETA_1)), float(np.float32(BETA_2))


class Data(NamedTuple):
    """Inputs shared by all models, flat: (N * k,) features and (N * 676,) pixels, empty without that branch."""

    x: NDArray[np.float32]
    images: NDArray[np.float32]


class Targets(NamedTuple):
    """Rows of the inputs, int64 (n,), with labels and weights, float32, flat (n * C,)."""

    rows: NDArray[np.int64]
    y: NDArray[np.float32]
    weight: NDArray[np.float32]


class Room(NamedTuple):
    """What one thread works in: a batch, the convolutions' weights, activations and sums of gradients, keys, gradients.

    Attributes
    ----------
    batch
        See `cpu_dense.Batch`.
    packed, work, sums
        See `cpu_images` and `cpu_images_back`.
    gradients
        Of a batch, as the flat vector.
    dense_keys, image_keys, no_keys
        uint32 keys of dropout: of the branch and the head; of the two behind the convolutions; none.
    """

    batch: Batch
    packed: NDArray[np.float32]
    work: NDArray[np.float32]
    sums: NDArray[np.float32]
    gradients: NDArray[np.float32]
    dense_keys: NDArray[np.uint32]
    image_keys: NDArray[np.uint32]
    no_keys: NDArray[np.uint32]


class Plan(NamedTuple):
    """How an epoch of a model runs: seed and number of steps before, learning rate, epsilon, AMSGrad."""

    seed: int
    n_steps: int
    learning_rate: float
    epsilon: float
    amsgrad: bool


ROWS = types.Array(types.int64, 1, "C", readonly=True)
ORDER = types.Array(types.int32, 2, "C", readonly=True)
KEYS = types.uint32[::1]
DATA = types.NamedUniTuple(PIXELS, 2, Data)
TARGETS = types.NamedTuple((ROWS, PIXELS, PIXELS), Targets)
ROOM = types.NamedTuple((BATCH, FLOATS, FLOATS, FLOATS, FLOATS, KEYS, KEYS, KEYS), Room)
PLAN = types.NamedTuple((types.int64, types.int64, types.float64, types.float64, types.boolean), Plan)


def padded(n_parameters: int) -> int:
    """Return the length of a flat vector that ends with a whole number of lanes; what is more than P stays zero."""
    return -(-n_parameters // LANES) * LANES


def read_only(values: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Return `values` as the loops take what they only read: flat, contiguous, not writeable; without a copy if so."""
    view = np.ascontiguousarray(values, dtype).reshape(-1).view()
    view.flags.writeable = False
    return view


def data_of(x: NDArray[np.float32] | None, images: NDArray[np.float32] | None) -> Data:
    """Return inputs as the loops take them."""
    nothing = np.empty(0, np.float32)
    return Data(
        x=read_only(nothing if x is None else x, np.float32),
        images=read_only(nothing if images is None else images, np.float32),
    )


def empty_room(architecture: Architecture, n_rows: int) -> Room:
    """Return room for one thread and batches of up to `n_rows` rows."""
    places, there = places_of(architecture), architecture.dmdt_branch
    return Room(
        batch=empty_batch(places, n_rows),
        packed=zeros_aligned(cpu_images.N_PACKED * there),
        work=zeros_aligned(cpu_images.N_WORK * there),
        sums=zeros_aligned(cpu_images_back.N_SUMS * there),
        gradients=zeros_aligned(padded(architecture.n_parameters)),
        dense_keys=np.zeros(2, np.uint32),
        image_keys=np.zeros(2, np.uint32),
        no_keys=np.zeros(0, np.uint32),
    )


@njit(types.uint32(types.uint32), **INNER)
def _mix(h: np.uint32) -> np.uint32:
    """Return `draws.fmix32`."""
    h = np.uint32(h ^ (h >> np.uint32(16)))
    h = np.uint32(h * np.uint32(0x85EBCA6B))
    h = np.uint32(h ^ (h >> np.uint32(13)))
    h = np.uint32(h * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ (h >> np.uint32(16)))


@njit(types.uint32(types.int64, types.int64, types.int64), **INNER)
def _key(seed: int, step: int, layer: int) -> np.uint32:
    """Return `draws.dropout_key`."""
    key = _mix(np.uint32(np.uint32(seed) + np.uint32(0x9E3779B9)))
    key = _mix(np.uint32(key ^ np.uint32(step)))
    key = _mix(np.uint32(np.uint32(key + np.uint32(0x85EBCA77)) ^ np.uint32(layer)))
    return np.uint32(key)


@njit(types.void(PLACES, FLOATS, ROOM), **INNER)
def pack(places: Places, parameters: NDArray[np.float32], room: Room) -> None:
    """Write the weights as the loops want them."""
    cpu_dense.pack(places, parameters, room.batch)
    if places.images >= 0:
        cpu_images.pack(parameters, places.images, room.packed)


@njit(types.void(PLACES, DATA, ROOM, types.int64, types.int64), **INNER)
def _take(places: Places, data: Data, room: Room, i: int, row: int) -> None:
    """Copy the features of a row of the inputs into row i of the batch."""
    for k in range(places.n_features):
        room.batch.x[i * places.n_features + k] = data.x[row * places.n_features + k]


@njit(types.void(PLACES, DATA, ROOM, types.int64, types.int64, KEYS), **INNER)
def _look(places: Places, data: Data, room: Room, i: int, row: int, keys: NDArray[np.uint32]) -> None:
    """Write what the convolutions make of the image of a row of the inputs into row i of the batch."""
    cpu_images.forward(data.images, row * PIXELS_PER_IMAGE, room.packed, room.work, keys, i)
    at = (i + 1) * places.n_joined - 32
    for c in range(32):
        room.batch.joined[at + c] = room.work[cpu_images.MEANS + c]


@njit(types.float64(types.float64, types.float64), **OUTER)
def entropy(z: float, y: float) -> float:
    """Return the cross-entropy of a logit's score with a label; exact where the score has run into 0 or 1."""
    return max(z, 0.0) - z * y + math.log1p(math.exp(-abs(z)))


@njit(types.float64(types.float64), **OUTER)
def sigmoid(z: float) -> float:
    """Return the score of a logit."""
    small = math.exp(-abs(z))
    return (1.0 if z >= 0.0 else small) / (1.0 + small)


@njit(types.float64(PLACES, TARGETS, BATCH, types.int64, types.int64, types.float64), **INNER)
def _loss(places: Places, targets: Targets, batch: Batch, i: int, position: int, factor: float) -> float:
    """Return the loss of row i of the batch, whose weights are multiplied by `factor`; write its derivatives."""
    total = 0.0
    n = places.n_outputs
    for j in range(n):
        at = i * places.n_padded + j
        z, y = float(batch.logits[at]), float(targets.y[position * n + j])
        weight = factor * targets.weight[position * n + j]
        batch.back_logits[at] = weight * (sigmoid(z) - y)
        total += weight * entropy(z, y)
    return total


@njit(**INNER, inline="always")
def _gradients(
    places: Places, data: Data, targets: Targets, order: NDArray[np.int32], moments: Moments, room: Room
) -> float:
    """Return the loss of a batch of `order`, positions in `targets`; write its gradients."""
    n, batch, parameters = order.size, room.batch, moments.parameters
    factor = 1.0 / (n * places.n_outputs)
    pack(places, parameters, room)
    room.gradients[:] = np.float32(0.0)
    if places.dense_1 >= 0:
        for i in range(n):
            _take(places, data, room, i, targets.rows[order[i]])
        cpu_dense.branch(places, parameters, batch, n, room.dense_keys)
    total = 0.0
    if places.images < 0:
        cpu_dense.head(places, parameters, batch, (0, n), room.dense_keys)
        for i in range(n):
            total += _loss(places, targets, batch, i, order[i], factor)
        cpu_dense.head_back(places, batch, (0, n), room.dense_keys)
    else:
        # Image by image to the loss and back, while all that it made on its way is at hand.
        room.sums[:] = np.float32(0.0)
        for i in range(n):
            row = targets.rows[order[i]]
            _look(places, data, room, i, row, room.image_keys)
            cpu_dense.head(places, parameters, batch, (i, i + 1), room.dense_keys)
            total += _loss(places, targets, batch, i, order[i], factor)
            cpu_dense.head_back(places, batch, (i, i + 1), room.dense_keys)
            back = batch.back_joined[(i + 1) * places.n_joined - 32 : (i + 1) * places.n_joined]
            cpu_images_back.backward(data.images, row * PIXELS_PER_IMAGE, room.packed, room.work, back, room.sums)
        cpu_images_back.unpack(room.sums, room.packed, room.gradients, places.images)
    cpu_dense.backward(places, batch, n, room.gradients)
    return total


@njit(types.float64(PLACES, DATA, TARGETS, ORDER, MOMENTS, ROOM, PLAN), **OUTER)
def epoch(
    places: Places,
    data: Data,
    targets: Targets,
    order: NDArray[np.int32],
    moments: Moments,
    room: Room,
    plan: Plan,
) -> float:
    """Train one epoch, a step for each row of `order`; return the mean of their losses."""
    total = 0.0
    for s in range(order.shape[0]):
        step = plan.n_steps + s
        room.dense_keys[0] = _key(plan.seed, step, FEATURES_DROPOUT)
        room.dense_keys[1] = _key(plan.seed, step, HEAD_DROPOUT_LAYER)
        room.image_keys[0] = _key(plan.seed, step, DMDT_DROPOUT_1)
        room.image_keys[1] = _key(plan.seed, step, DMDT_DROPOUT_2)
        total += _gradients(places, data, targets, order[s], moments, room)
        first, second = np.float32(FIRST_DECAY ** float(step + 1)), np.float32(SECOND_DECAY ** float(step + 1))
        one = np.float32(1.0)
        rate = np.float32(plan.learning_rate) * np.sqrt(one - second) / (one - first)  # `reference.adam_rate`
        adam(moments, room.gradients, rate, plan.epsilon, plan.amsgrad)
    return float(total / order.shape[0])


@njit(types.void(PLACES, DATA, types.float32[:, ::1], ROOM, ROWS, types.float32[:, :, ::1]), **OUTER)
def logits(
    places: Places,
    data: Data,
    parameters: NDArray[np.float32],
    room: Room,
    rows: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """Write the logits, without dropout, of `rows` of the inputs by each of `parameters` (M, P) into (rows, M, C)."""
    batch = room.batch
    for m in range(parameters.shape[0]):
        pack(places, parameters[m], room)
        for first in range(0, rows.size, BLOCK):
            n = min(BLOCK, rows.size - first)
            for i in range(n):
                _take(places, data, room, i, rows[first + i])
                if places.images >= 0:
                    _look(places, data, room, i, rows[first + i], room.no_keys)
            if places.dense_1 >= 0:
                cpu_dense.branch(places, parameters[m], batch, n, room.no_keys)
            cpu_dense.head(places, parameters[m], batch, (0, n), room.no_keys)
            for i in range(n):
                for j in range(places.n_outputs):
                    out[first + i, m, j] = batch.logits[i * places.n_padded + j]


@njit(types.void(FLOATS), **OUTER)
def to_scores(values: NDArray[np.float32]) -> None:
    """Write the scores of logits over them."""
    for i in range(values.size):
        values[i] = sigmoid(values[i])


@njit(types.float64(TARGETS, FLOATS), **OUTER)
def loss(targets: Targets, values: NDArray[np.float32]) -> float:
    """Return the loss of logits, flat, over the number of them."""
    total = 0.0
    for i in range(values.size):
        total += targets.weight[i] * entropy(values[i], targets.y[i])
    return total / values.size
