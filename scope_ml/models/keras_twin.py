"""The twin: the same training by Keras and TensorFlow, one model after the other, to show that ours is the same.

A backend like those of `networks`: `networks.training` drives it, so that order of rows, early stopping and learning
rates are the same by construction; first parameters are handed over, and the graph computes the same dropout masks
(`networks.draws`). What differs is the order in which floats are added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from scope_ml.models import keras_runtime
from scope_ml.models.keras_runtime import Runtime
from scope_ml.models.network import build_network, get_parameters, set_parameters
from scope_ml.networks.architecture import Architecture, Dropout
from scope_ml.networks.backends import Float32Array, Job
from scope_ml.networks.draws import INDEX_FACTOR, fmix32, limit, scale

__all__ = ["KerasBackend", "KerasSession"]


class KerasBackend:
    """Trains with Keras (see `networks.backends.Backend`)."""

    def __init__(self, *, n_threads: int = 1) -> None:
        self.runtime = keras_runtime.start(n_threads=n_threads)

    def open(
        self, architecture: Architecture, x: Float32Array, images: Float32Array | None, jobs: Sequence[Job]
    ) -> KerasSession:
        """Return a session."""
        return KerasSession(self.runtime, architecture, (x, images), jobs)


class KerasSession:
    """Fulfils `networks.backends.Session`."""

    def __init__(
        self,
        runtime: Runtime,
        architecture: Architecture,
        inputs: tuple[Float32Array, Float32Array | None],
        jobs: Sequence[Job],
    ) -> None:
        self._twins = [_Twin(runtime, architecture, inputs, job) for job in jobs]

    def epoch(
        self, models: Sequence[int], orders: Sequence[npt.NDArray[np.int32]], learning_rates: Sequence[float]
    ) -> npt.NDArray[np.float64]:
        """Train one epoch of each model (see `networks.backends.Session.epoch`)."""
        given = zip(models, orders, learning_rates, strict=True)
        return np.array([self._twins[model].epoch(order, rate) for model, order, rate in given])

    def validation_losses(self, models: Sequence[int]) -> npt.NDArray[np.float64]:
        """Return the validation losses (see `networks.backends.Session.validation_losses`)."""
        return np.array([float(self._twins[model].validation_loss()) for model in models])

    def keep(self, models: Sequence[int]) -> None:
        """Keep the parameters of now (see `networks.backends.Session.keep`)."""
        for model in models:
            self._twins[model].keep()

    def kept(self, model: int) -> Float32Array:
        """Return what was kept last (see `networks.backends.Session.kept`)."""
        return self._twins[model].kept.copy()


class _Twin:
    """One model: its network, its optimizer, and two graph functions."""

    def __init__(
        self,
        runtime: Runtime,
        architecture: Architecture,
        inputs: tuple[Float32Array, Float32Array | None],
        job: Job,
    ) -> None:
        self.architecture, self.tf = architecture, runtime.tf
        self.network = build_network(runtime, architecture)
        set_parameters(self.network, architecture, job.start)
        self.optimizer = runtime.keras.optimizers.Adam(epsilon=job.epsilon, amsgrad=job.amsgrad)
        self.optimizer.build(self.network.trainable_variables)
        self.steps = 0
        self.kept = job.start
        self._run_epoch, self.validation_loss = _compile(
            runtime, architecture, (self.network, self.optimizer), inputs, job
        )

    def epoch(self, order: npt.NDArray[np.int32], learning_rate: float) -> float:
        self.optimizer.learning_rate.assign(learning_rate)
        loss = float(self._run_epoch(self.tf.constant(order), self.tf.constant(self.steps, self.tf.int32)))
        self.steps += len(order)
        return loss

    def keep(self) -> None:
        self.kept = get_parameters(self.network, self.architecture)


def _compile(
    runtime: Runtime,
    architecture: Architecture,
    fitted: tuple[Any, Any],
    inputs: tuple[Float32Array, Float32Array | None],
    job: Job,
) -> tuple[Callable[[Any, Any], Any], Callable[[], Any]]:
    """Return two graph functions: one epoch over rows in a given (steps, batch) order, and the validation loss."""
    tf = runtime.tf
    network, optimizer = fitted
    variables = network.trainable_variables
    shared = [tf.constant(values) if values is not None else None for values in inputs]
    rows, labels, weights = tf.constant(job.rows), tf.constant(job.y), tf.constant(job.weight)
    held_out = tf.constant(job.validation_rows)

    def loss_of(which: Any, y: Any, weight: Any, masks: dict[str, Any] | None) -> Any:
        taken = [None if values is None else tf.gather(values, which) for values in shared]
        logit = _logits(runtime, architecture, network, taken, masks)
        return tf.reduce_mean(weight * tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=logit))

    # Loops are spelt out: AutoGraph, which would turn Python's into the graph's, does not know every Python.
    @tf.function(autograph=False)
    def run_epoch(order: Any, first_step: Any) -> Any:
        n_steps = tf.shape(order)[0]

        def step(number: Any, total: Any) -> tuple[Any, Any]:
            places = order[number]
            masks = {
                layer.name: _mask(tf, layer, job.seed, first_step + number, tf.shape(places)[0])
                for layer in architecture.dropouts
            }
            with tf.GradientTape() as tape:
                y, weight = tf.gather(labels, places), tf.gather(weights, places)
                loss = loss_of(tf.gather(rows, places), y, weight, masks)
            optimizer.apply(tape.gradient(loss, variables), variables)
            return number + 1, total + loss

        _, total = tf.while_loop(lambda number, total: number < n_steps, step, (0, 0.0))
        return total / tf.cast(n_steps, tf.float32)

    @tf.function(autograph=False)
    def validation_loss() -> Any:
        return loss_of(held_out, tf.constant(job.validation_y), tf.constant(job.validation_weight), None)

    return cast("Callable[[Any, Any], Any]", run_epoch), cast("Callable[[], Any]", validation_loss)


def _logits(
    runtime: Runtime, architecture: Architecture, network: Any, inputs: list[Any], masks: dict[str, Any] | None
) -> Any:
    """Return the logits: the layers of `network`, its dropout layers replaced by `masks` (None: left out)."""
    tf = runtime.tf

    def through(values: Any, *names: str) -> Any:
        for name in names:
            if "dropout" not in name:
                values = network.get_layer(name)(values)
            elif masks is not None:
                values = values * masks[name]
        return values

    branches = []
    if architecture.dense_branch:
        branches.append(through(inputs[0], "features_dense_1", "features_dropout", "features_dense_2"))
    if architecture.dmdt_branch:
        first = ("dmdt_convolution_1_1", "dmdt_convolution_1_2", "dmdt_dropout_1", "dmdt_pool")
        second = ("dmdt_convolution_2_1", "dmdt_convolution_2_2", "dmdt_dropout_2", "dmdt_mean")
        branches.append(through(inputs[1], *first, *second))
    return through(tf.concat(branches, axis=-1), "head_dropout", "head_dense", "logit")


def _mask(tf: Any, layer: Dropout, seed: int, step: Any, n_rows: Any) -> Any:
    """Return 0 or the factor of the kept units, (n_rows, ...): `draws.kept_units` in the graph."""
    key = tf.constant(fmix32((seed + 0x9E3779B9) & 0xFFFFFFFF), tf.uint32)
    key = _fmix32(tf, tf.bitwise.bitwise_xor(key, tf.cast(step, tf.uint32)))
    key = _fmix32(
        tf, tf.bitwise.bitwise_xor(key + tf.constant(0x85EBCA77, tf.uint32), tf.constant(layer.number, tf.uint32))
    )
    index = tf.cast(tf.range(n_rows * int(np.prod(layer.shape))), tf.uint32) * tf.constant(INDEX_FACTOR, tf.uint32)
    hashes = tf.cast(_fmix32(tf, tf.bitwise.bitwise_xor(key, index)), tf.int64)
    kept = tf.cast(hashes >= limit(layer.rate), tf.float32) * scale(layer.rate)
    return tf.reshape(kept, (n_rows, *layer.shape))


def _fmix32(tf: Any, h: Any) -> Any:
    """Return `draws.fmix32` of a uint32 tensor."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = tf.bitwise.bitwise_xor(h, tf.bitwise.right_shift(h, tf.constant(shift, tf.uint32)))
        h = h * tf.constant(factor, tf.uint32)
    return tf.bitwise.bitwise_xor(h, tf.bitwise.right_shift(h, tf.constant(16, tf.uint32)))
