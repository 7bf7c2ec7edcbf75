"""Algorithm `dnn`: training and use of the network of `network.py`.

Training runs whole epochs inside TensorFlow: for some thousand light curves Keras's `fit` spends six times longer
between the steps than in them. Adam (Kingma & Ba 2015, arXiv:1412.6980), binary cross-entropy, early stopping and
learning-rate reduction each with a patience of their own, the weights of the best epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
import numpy.typing as npt

from scope_ml.core.configuration import option
from scope_ml.core.protocols import RunLogger
from scope_ml.errors import ModelError
from scope_ml.models import keras_runtime
from scope_ml.models.inputs import Float32Array, Inputs, Part
from scope_ml.models.keras_runtime import Runtime
from scope_ml.models.network import build_network
from scope_ml.models.preparation import PreparationConfig

__all__ = ["DnnConfig", "DnnModel", "load", "train"]

#: Rows scored at once without and with images. The size is always the same (the last block is padded): matrix
#: products then take the same path through the CPU for a row whatever other rows there are.
BLOCK_ROWS = 4096
IMAGE_BLOCK_ROWS = 512

#: A network needs every value, and learns best from values of about the same size.
PREPARATION = PreparationConfig(impute="by_feature", impute_rest="median", scale="quantile_normal")


@dataclass(frozen=True, kw_only=True)
class DnnConfig:
    """Settings of the network's training.

    A setting that is null is the class's own (``conf/class/<tag>.yaml``, key ``dnn``), else `DEFAULTS`.
    """

    name: Literal["dnn"] = option("dnn", doc="which algorithm")
    dense_branch: bool = option(True, doc="branch over the features")
    dmdt_branch: bool = option(False, doc="branch over the dm-dt image; needs a column dmdt")
    batch_size: int | None = option(None, doc="rows per step; null: the class's own, else 64", at_least=1)
    max_steps_per_epoch: int = option(
        64, doc="larger batches are used where an epoch would take more steps than this", at_least=1
    )
    learning_rate: float | None = option(
        None, doc="Adam's learning rate; null: the class's own, else 3e-4", more_than=0.0, at_most=1.0
    )
    epsilon: float | None = option(None, doc="Adam's epsilon; null: the class's own, else 1e-7", more_than=0.0)
    amsgrad: bool = option(False, doc="AMSGrad variant of Adam")
    epochs: int = option(100, doc="most epochs", at_least=1, at_most=100_000)
    early_stopping_patience: int = option(
        20, unit="epochs", doc="stop after so many without a better validation loss", at_least=1
    )
    reduce_lr_patience: int = option(8, unit="epochs", doc="reduce the learning rate after so many", at_least=1)
    reduce_lr_factor: float = option(0.3, doc="by this factor", more_than=0.0, at_most=1.0)
    min_delta: float = option(1e-4, doc="a validation loss lower by less is not better", at_least=0.0)
    preparation: PreparationConfig = option(PREPARATION, doc="imputer and scaler")

    #: What a setting is where neither the algorithm nor the class gives one.
    DEFAULTS: ClassVar[Mapping[str, float]] = {"batch_size": 64, "learning_rate": 3e-4, "epsilon": 1e-7}


class DnnModel:
    """A fitted network."""

    file_name = "model.keras"

    def __init__(self, network: Any, runtime: Runtime) -> None:
        self.network = network
        self.runtime = runtime
        self.input_names = tuple(tensor.name for tensor in network.inputs)
        self.needs_images = "dmdt" in self.input_names

    def predict(self, inputs: Inputs) -> Float32Array:
        """Return the (n,) float32 score of each row.

        Raises
        ------
        ModelError
            If the network needs images that are not there, or a feature is missing (NaN).
        """
        if self.needs_images and inputs.images is None:
            raise ModelError("this network needs dm-dt images (column dmdt), which the table does not have")
        if not np.isfinite(inputs.x).all():
            raise ModelError(
                "a network cannot take missing features; prepare them with impute=by_feature or another fill"
            )
        size = IMAGE_BLOCK_ROWS if self.needs_images else BLOCK_ROWS
        scores = np.empty(len(inputs), dtype=np.float32)
        for start in range(0, len(inputs), size):
            block = inputs.take(slice(start, start + size))
            full = {name: _pad(_columns(block, name), size) for name in self.input_names}
            answer = self.network(self._arguments(full), training=False).numpy()
            scores[start : start + len(block)] = answer[: len(block), 0]
        return scores

    def _arguments(self, columns: Mapping[str, Float32Array]) -> Any:
        tensors = [self.runtime.tf.constant(columns[name]) for name in self.input_names]
        return tensors[0] if len(tensors) == 1 else tensors

    def save(self, folder: Path) -> Path:
        """Write ``model.keras`` into `folder` and return its path; the same network gives the same bytes."""
        path = folder / self.file_name
        keras_runtime.write_keras(self.network, path)
        return path

    def importance(self, features: tuple[str, ...]) -> dict[str, float]:
        """Return nothing: a network does not know the importance of its inputs (see `importance.permutation`)."""
        return {}


def load(folder: Path, *, n_threads: int) -> DnnModel:
    """Read ``model.keras`` of `folder`.

    Raises
    ------
    ModelError
        If the file is missing or not a network.
    """
    runtime = keras_runtime.start(n_threads=n_threads)
    return DnnModel(keras_runtime.read_keras(folder / DnnModel.file_name), runtime)


def train(
    training: Part, validation: Part, config: DnnConfig, *, seed: int, n_threads: int, log: RunLogger
) -> DnnModel:
    """Train a network on the training part; keep the weights of the epoch with the lowest validation loss.

    Parameters
    ----------
    training, validation
        Inputs, labels and weights.
    config
        Settings with every null filled in (`algorithms.settle`).
    seed
        Seed of weights, dropout and the order of rows.
    n_threads
        Threads (decided by the first network of a process).
    log
        Is told the losses of each epoch.

    Raises
    ------
    ModelError
        If the loss is not a number: the learning rate is too large.
    """
    runtime = keras_runtime.start(n_threads=n_threads)
    runtime.keras.utils.set_random_seed(seed)
    network = build_network(
        runtime,
        training.inputs.x.shape[1],
        dense_branch=config.dense_branch,
        dmdt_branch=config.dmdt_branch,
        seed=seed,
    )
    _start_at_base_rate(network, training)
    optimizer = runtime.keras.optimizers.Adam(
        learning_rate=config.learning_rate, epsilon=config.epsilon, amsgrad=config.amsgrad
    )
    run_epoch, validation_loss = _compile(runtime, network, optimizer, training, validation)
    rng = np.random.default_rng([seed, 1])
    best, best_weights, waited, waited_lr = np.inf, network.get_weights(), 0, 0
    for epoch in range(config.epochs):
        loss = float(run_epoch(runtime.tf.constant(_order(len(training.inputs), config, rng))))
        held_out = float(validation_loss())
        if not (np.isfinite(loss) and np.isfinite(held_out)):
            raise ModelError(
                f"the loss of epoch {epoch + 1} is not a number with learning_rate={config.learning_rate:g};"
                " give a smaller algorithm.learning_rate"
            )
        log.metrics({"train_loss": loss, "val_loss": held_out}, step=epoch)
        if held_out < best - config.min_delta:
            best, best_weights, waited, waited_lr = held_out, network.get_weights(), 0, 0
            continue
        waited, waited_lr = waited + 1, waited_lr + 1
        if waited >= config.early_stopping_patience:
            break
        if waited_lr >= config.reduce_lr_patience:
            optimizer.learning_rate.assign(optimizer.learning_rate * config.reduce_lr_factor)
            waited_lr = 0
    network.set_weights(best_weights)
    log.metrics({"n_epochs": float(epoch + 1), "best_val_loss": best})
    return DnnModel(network, runtime)


def _start_at_base_rate(network: Any, training: Part) -> None:
    """Set the last bias to the log-odds of the class, so that rare classes need not spend epochs to learn it."""
    share = float(np.average(training.y, weights=training.weight))
    network.get_layer("logit").bias.assign([np.log(share / (1.0 - share))])


def _compile(
    runtime: Runtime, network: Any, optimizer: Any, training: Part, validation: Part
) -> tuple[Callable[[Any], Any], Callable[[], Any]]:
    """Return two graph functions: one epoch over rows in a given (steps, batch) order, and the validation loss."""
    tf = runtime.tf
    # The loss of the logit is exact where the sigmoid has run into 0 or 1.
    logits = runtime.keras.Model(network.inputs, network.get_layer("logit").output)
    variables = network.trainable_variables
    optimizer.build(variables)
    names = tuple(tensor.name for tensor in network.inputs)
    inputs = [tf.constant(_columns(training.inputs, name)) for name in names]
    labels, weights = tf.constant(training.y), tf.constant(training.weight / training.weight.mean())
    held_out = [tf.constant(_columns(validation.inputs, name)) for name in names]
    held_labels = tf.constant(validation.y)
    held_weights = tf.constant(validation.weight / validation.weight.mean())

    def loss_of(arguments: list[Any], y: Any, w: Any, *, training: bool) -> Any:
        logit = logits(arguments[0] if len(arguments) == 1 else arguments, training=training)[:, 0]
        return tf.reduce_mean(w * tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=logit))

    # Loops are spelt out: AutoGraph, which would turn Python's into the graph's, does not know every Python.
    @tf.function(autograph=False)
    def run_epoch(order: Any) -> Any:
        n_steps = tf.shape(order)[0]

        def step(number: Any, total: Any) -> tuple[Any, Any]:
            rows = order[number]
            with tf.GradientTape() as tape:
                batch = [tf.gather(column, rows) for column in inputs]
                loss = loss_of(batch, tf.gather(labels, rows), tf.gather(weights, rows), training=True)
            optimizer.apply(tape.gradient(loss, variables), variables)
            return number + 1, total + loss

        _, total = tf.while_loop(lambda number, total: number < n_steps, step, (0, 0.0))
        return total / tf.cast(n_steps, tf.float32)

    @tf.function(autograph=False)
    def validation_loss() -> Any:
        return loss_of(held_out, held_labels, held_weights, training=False)

    return cast("Callable[[Any], Any]", run_epoch), cast("Callable[[], Any]", validation_loss)


def _order(n_rows: int, config: DnnConfig, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """Return the rows of an epoch, shuffled, as (steps, batch); the last batch is filled up from the first."""
    wanted = min(config.batch_size or 1, n_rows)
    batch = max(wanted, -(-n_rows // config.max_steps_per_epoch))
    steps = -(-n_rows // batch)
    return np.resize(rng.permutation(n_rows).astype(np.int32), (steps, batch))


def _columns(inputs: Inputs, name: str) -> Float32Array:
    if name == "features":
        return inputs.x
    if inputs.images is None:
        raise ModelError("algorithm.dmdt_branch=true needs dm-dt images (column dmdt), which the table does not have")
    return inputs.images


def _pad(block: Float32Array, size: int) -> Float32Array:
    missing = size - block.shape[0]
    if missing == 0:
        return np.ascontiguousarray(block)
    return np.concatenate([block, np.zeros((missing, *block.shape[1:]), dtype=np.float32)])
