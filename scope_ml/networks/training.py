"""Training of many networks at once: when each stops, when its learning rate falls, which parameters it keeps.

The arithmetic is a backend's; here are the decisions, each model's own: early stopping and learning-rate reduction
with a patience each, the parameters of the epoch with the lowest validation loss. A model that stops or fails leaves
the others as they are, and what comes out of it does not depend on which others are trained beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from scope_ml.core.protocols import NullProgress, NullRunLogger, Progress, RunLogger
from scope_ml.errors import DataError, ModelError, ScopeError
from scope_ml.networks.architecture import Architecture
from scope_ml.networks.backends import Backend, Float32Array, Job
from scope_ml.networks.draws import epoch_order, initial_parameters

__all__ = ["Settings", "Task", "Trained", "train_many"]

#: Shares of positives beyond these are not believed when the first bias is set.
SMALLEST_SHARE = 1e-6

#: A mean cross-entropy beyond this, or none, is no course of training: engines differ in what they make of an overflow.
LARGEST_LOSS = 1e6


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one model is trained; see `models.dnn.DnnConfig` for what each means."""

    batch_size: int
    max_steps_per_epoch: int
    learning_rate: float
    epsilon: float
    amsgrad: bool
    epochs: int
    early_stopping_patience: int
    reduce_lr_patience: int
    reduce_lr_factor: float
    min_delta: float


@dataclass(frozen=True, kw_only=True)
class Task:
    """One model to train.

    Attributes
    ----------
    seed
        Seed of first parameters, order of rows and dropout.
    rows
        (n,) int64 rows of the shared inputs.
    y, weight
        (n, C) float32 labels 0 or 1, and weights; 0 where a label does not count.
    validation_rows, validation_y, validation_weight
        The same for the (v,) rows that decide when to stop.
    settings
        How it is trained.
    start
        (P,) float32 parameters to begin with; None: fresh ones, the last biases at the log-odds of the training share.
    log
        Is told ``train_loss`` and ``val_loss`` of each epoch and ``n_epochs`` and ``best_val_loss`` at the end. A
        `ScopeError` that it raises ends this model alone and is its failure: so a caller prunes a model.
    """

    seed: int
    rows: npt.NDArray[np.int64]
    y: Float32Array
    weight: Float32Array
    validation_rows: npt.NDArray[np.int64]
    validation_y: Float32Array
    validation_weight: Float32Array
    settings: Settings
    start: Float32Array | None = None
    log: RunLogger = field(default_factory=NullRunLogger)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came of a task.

    Attributes
    ----------
    parameters
        (P,) float32 parameters of the best epoch; None if the model failed.
    n_epochs
        Epochs that were trained.
    best_epoch
        Epoch of `parameters`, from 0.
    best_validation_loss
        Its validation loss.
    history
        Training and validation loss of each epoch.
    failure
        Why there are no parameters: a loss without bounds, or what the log raised.
    """

    parameters: Float32Array | None
    n_epochs: int
    best_epoch: int
    best_validation_loss: float
    history: tuple[tuple[float, float], ...]
    failure: ScopeError | None = None


class _Course:
    """The course of one model's training: its random order, and what early stopping remembers."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.rng = np.random.default_rng([task.seed, 1])
        self.learning_rate = task.settings.learning_rate
        self.best, self.best_epoch = np.inf, 0
        self.waited, self.waited_lr = 0, 0
        self.history: list[tuple[float, float]] = []
        self.failure: ScopeError | None = None
        self.done = task.settings.epochs < 1

    def order(self) -> npt.NDArray[np.int32]:
        """Return the rows of the next epoch."""
        settings = self.task.settings
        return epoch_order(self.rng, len(self.task.rows), settings.batch_size, settings.max_steps_per_epoch)

    def record(self, loss: float, held_out: float) -> bool:
        """Take the losses of an epoch in; return whether it is the best so far."""
        settings, epoch = self.task.settings, len(self.history)
        worst = np.maximum(loss, held_out)  # nan if one of them is
        if not worst < LARGEST_LOSS:
            raise ModelError(
                f"the loss of epoch {epoch + 1} is {worst:g} with learning_rate={settings.learning_rate:g};"
                " give a smaller algorithm.learning_rate"
            )
        self.history.append((loss, held_out))
        self.task.log.metrics({"train_loss": loss, "val_loss": held_out}, step=epoch)
        self.done = epoch + 1 >= settings.epochs
        if held_out < self.best - settings.min_delta:
            self.best, self.best_epoch, self.waited, self.waited_lr = held_out, epoch, 0, 0
            return True
        self.waited, self.waited_lr = self.waited + 1, self.waited_lr + 1
        if self.waited >= settings.early_stopping_patience:
            self.done = True
        elif self.waited_lr >= settings.reduce_lr_patience:
            self.learning_rate *= settings.reduce_lr_factor
            self.waited_lr = 0
        return False

    def fail(self, failure: ScopeError) -> None:
        """End the training without a model."""
        self.failure, self.done = failure, True

    def result(self, parameters: Float32Array) -> Trained:
        """Return what came of it, after telling the log."""
        n_epochs = len(self.history)
        if self.failure is None:
            try:
                self.task.log.metrics({"n_epochs": float(n_epochs), "best_val_loss": self.best})
            except ScopeError as error:
                self.fail(error)
        return Trained(
            parameters=parameters if self.failure is None else None,
            n_epochs=n_epochs,
            best_epoch=self.best_epoch,
            best_validation_loss=float(self.best),
            history=tuple(self.history),
            failure=self.failure,
        )


def train_many(
    architecture: Architecture,
    x: Float32Array,
    images: Float32Array | None,
    tasks: Sequence[Task],
    *,
    backend: Backend,
    progress: Progress | None = None,
) -> list[Trained]:
    """Train every task's model; all share the architecture and the inputs, nothing else.

    Parameters
    ----------
    architecture
        Of all models.
    x
        (N, k) float32 features.
    images
        (N, 26, 26, 1) float32 dm-dt images; None without that branch.
    tasks
        One for each model; settings, rows and number of outputs' labels are each task's own.
    backend
        What computes (`backends.open_backend`).
    progress
        Is told when a model is done.

    Returns
    -------
    list of Trained
        In the order of the tasks.

    Raises
    ------
    DataError
        If a task's arrays do not fit the architecture or the inputs, or all its weights are 0.
    """
    progress = progress or NullProgress()
    jobs = [_job(architecture, len(x), task) for task in tasks]
    if not jobs:
        return []
    courses = [_Course(task) for task in tasks]
    session = backend.open(architecture, x, images if architecture.dmdt_branch else None, jobs)
    progress.start("training networks", len(tasks))
    while active := [model for model, course in enumerate(courses) if not course.done]:
        orders = [courses[model].order() for model in active]
        losses = session.epoch(active, orders, [courses[model].learning_rate for model in active])
        held_out = session.validation_losses(active)
        better = []
        for model, loss, validation_loss in zip(active, losses, held_out, strict=True):
            course = courses[model]
            try:
                if course.record(float(loss), float(validation_loss)):
                    better.append(model)
            except ScopeError as error:
                course.fail(error)
            progress.advance(int(course.done))
        session.keep(better)
    progress.finish()
    return [course.result(session.kept(model)) for model, course in enumerate(courses)]


def _job(architecture: Architecture, n_inputs: int, task: Task) -> Job:
    """Return what the backend needs of a task, its weights at a mean of one."""
    parts = (
        ("training", task.rows, task.y, task.weight),
        ("validation", task.validation_rows, task.validation_y, task.validation_weight),
    )
    for name, rows, y, weight in parts:
        shape = (len(rows), architecture.n_outputs)
        if y.shape != shape or weight.shape != shape:
            raise DataError(f"{name} labels {y.shape} and weights {weight.shape} should have shape {shape}")
        if rows.size == 0 or rows.min() < 0 or rows.max() >= n_inputs or not weight.any():
            raise DataError(f"the {name} part has {rows.size} rows and a weight of {weight.sum():g}; both must be more")
    if task.start is not None and task.start.shape != (architecture.n_parameters,):
        raise DataError(f"{task.start.shape} parameters to start with, the network has {architecture.n_parameters}")
    start = _fresh(architecture, task) if task.start is None else task.start
    return Job(
        seed=task.seed,
        rows=task.rows,
        y=task.y,
        weight=task.weight / task.weight.mean(),
        validation_rows=task.validation_rows,
        validation_y=task.validation_y,
        validation_weight=task.validation_weight / task.validation_weight.mean(),
        start=start,
        epsilon=task.settings.epsilon,
        amsgrad=task.settings.amsgrad,
    )


def _fresh(architecture: Architecture, task: Task) -> Float32Array:
    """Return first parameters whose last biases are the log-odds of each class: rare ones need no epochs to learn it."""
    parameters = initial_parameters(architecture, task.seed)
    weight = task.weight.sum(axis=0, dtype=np.float64)
    positive = (task.weight * task.y).sum(axis=0, dtype=np.float64)
    share = np.clip(positive / np.where(weight > 0, weight, 1.0), SMALLEST_SHARE, 1.0 - SMALLEST_SHARE)
    slot = architecture.slot("logit/bias")
    parameters[slot.start : slot.stop] = np.where(weight > 0, np.log(share / (1.0 - share)), 0.0)
    return parameters
