"""Algorithm `dnn`: settings, training and use of the network of `networks.architecture`, one for each class and seed.

Many are trained at once by the engine of `networks`: Adam (Kingma & Ba 2015, arXiv:1412.6980), binary cross-entropy,
early stopping and learning-rate reduction each with a patience of its own, the parameters of the best epoch. The file is
Keras's; Keras itself is needed for ``engine=keras`` only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from scope_ml.core.configuration import option
from scope_ml.errors import ModelError, ScopeError
from scope_ml.models.inputs import Float32Array, Inputs, Model, TrainTask
from scope_ml.models.keras_runtime import KerasModel, read_keras
from scope_ml.models.preparation import PreparationConfig
from scope_ml.networks.architecture import Architecture
from scope_ml.networks.backends import Backend, open_backend
from scope_ml.networks.keras_file import read_network, write_network
from scope_ml.networks.training import Settings, Task
from scope_ml.networks.training import train_many as train_networks

__all__ = [
    "DnnConfig",
    "DnnModel",
    "NetworkConfig",
    "architecture_of",
    "check_inputs",
    "load",
    "settings_of",
    "start_of",
    "train_many",
]

#: A network needs every value, and learns best from values of about the same size.
PREPARATION = PreparationConfig(impute="by_feature", impute_rest="median", scale="quantile_normal")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Settings of a network's training, whatever its outputs.

    A setting that is null is the tuned one, else the class's own (``conf/class/<tag>.yaml``, under the algorithm's
    name), else that of `DEFAULTS`.
    """

    dense_branch: bool = option(True, doc="branch over the features")
    dmdt_branch: bool | None = option(
        None, doc="branch over the dm-dt image, column dmdt; null: where every row has one"
    )
    batch_size: int | None = option(None, doc="rows per step; null: the class's own, else 64", at_least=1)
    max_steps_per_epoch: int = option(
        64, doc="larger batches are used where an epoch would take more steps than this", at_least=1
    )
    learning_rate: float | None = option(
        None, doc="Adam's learning rate; null: the class's own, else 3e-4", more_than=0.0, at_most=1.0
    )
    epsilon: float | None = option(None, doc="Adam's epsilon; null: the class's own, else 1e-7", more_than=0.0)
    amsgrad: bool | None = option(None, doc="AMSGrad variant of Adam; null: false")
    epochs: int = option(100, doc="most epochs", at_least=1, at_most=100_000)
    early_stopping_patience: int | None = option(
        None, unit="epochs", doc="stop after so many without a better validation loss; null: 20", at_least=1
    )
    reduce_lr_patience: int | None = option(
        None, unit="epochs", doc="reduce the learning rate after so many; null: 8", at_least=1
    )
    reduce_lr_factor: float | None = option(None, doc="by this factor; null: 0.3", more_than=0.0, at_most=1.0)
    min_delta: float = option(1e-4, doc="a validation loss lower by less is not better", at_least=0.0)
    preparation: PreparationConfig = option(PREPARATION, doc="imputer and scaler")

    #: What a setting is where nobody gives one.
    DEFAULTS: ClassVar[Mapping[str, Any]] = {
        "batch_size": 64,
        "learning_rate": 3e-4,
        "epsilon": 1e-7,
        "amsgrad": False,
        "early_stopping_patience": 20,
        "reduce_lr_patience": 8,
        "reduce_lr_factor": 0.3,
    }


@dataclass(frozen=True, kw_only=True)
class DnnConfig(NetworkConfig):
    """Settings of algorithm `dnn`."""

    name: Literal["dnn"] = option("dnn", doc="which algorithm")
    engine: Literal["batched", "keras"] = option(
        "batched", doc="batched: many at once, ours; keras: each alone by Keras, on the CPU, to compare"
    )


class DnnModel:
    """A fitted network: `architecture`, (P,) float32 `parameters`, and the number of the `output` that is the score."""

    file_name: ClassVar[str] = "model.keras"
    output = 0

    def __init__(self, architecture: Architecture, parameters: Float32Array, *, n_threads: int = 1) -> None:
        self.architecture = architecture
        self.parameters = parameters
        self.n_threads = n_threads
        self.needs_images = architecture.dmdt_branch

    def predict(self, inputs: Inputs) -> Float32Array:
        """Return the (n,) float32 score of each row.

        Raises
        ------
        ModelError
            If the network needs images that are not there, or a feature is missing (NaN), or there are other features.
        """
        from scope_ml.networks.scoring import score_many

        check_inputs(self.architecture, inputs)
        images = inputs.images if self.needs_images else None
        scores = score_many(self.architecture, self.parameters[None], inputs.x, images, n_threads=self.n_threads)
        return np.ascontiguousarray(scores[:, 0, self.output])

    def save(self, folder: Path) -> Path:
        """Write ``model.keras`` into `folder` and return its path; the same network gives the same bytes."""
        path = folder / self.file_name
        write_network(path, self.architecture, self.parameters)
        return path

    def importance(self, features: tuple[str, ...]) -> dict[str, float]:
        """Return nothing: a network does not know the importance of its inputs (see `importance.permutation`)."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Return the branches, for those who do not read the file."""
        return {"dense_branch": self.architecture.dense_branch, "dmdt_branch": self.architecture.dmdt_branch}


def load(folder: Path, *, n_threads: int, facts: Mapping[str, Any] | None = None) -> DnnModel | KerasModel:
    """Read ``model.keras`` of `folder`, or the file that `folder` itself is; `facts` are not needed.

    A network of another architecture is read, and then scored with, by Keras.

    Raises
    ------
    ModelError
        If the file is missing or not a network.
    BackendUnavailableError
        If it needs Keras, which is not installed.
    """
    path = folder / DnnModel.file_name if folder.is_dir() else folder
    found = read_network(path)
    if found is None:
        return KerasModel(read_keras(path, n_threads=n_threads))
    return DnnModel(*found, n_threads=n_threads)


def train_many(
    inputs: Inputs, tasks: Sequence[TrainTask], *, n_threads: int = 1, device: str = "cpu"
) -> list[Model | ScopeError]:
    """Train one network for each task; those of one architecture all at once.

    Parameters
    ----------
    inputs
        Prepared features and images, which all tasks share.
    tasks
        Class, rows, labels, settings and seed of each.
    n_threads
        Threads; they do not change a result.
    device
        ``cpu`` or ``gpu``.

    Returns
    -------
    list
        For each task its model, or the error that stands in its place.

    Raises
    ------
    BackendUnavailableError
        If the device, or Keras for ``engine=keras``, is not there.
    """
    answers: dict[int, Model | ScopeError] = {}
    groups: dict[tuple[Architecture, str], dict[int, Task]] = {}
    for place, task in enumerate(tasks):
        try:
            architecture = architecture_of(task.settings, inputs)
            groups.setdefault((architecture, task.settings.engine), {})[place] = _task(architecture, task)
        except ScopeError as error:
            answers[place] = error
    for (architecture, engine), group in groups.items():
        backend = _backend(engine, device, n_threads)
        trained = train_networks(architecture, inputs.x, inputs.images, list(group.values()), backend=backend)
        for place, result in zip(group, trained, strict=True):
            if result.parameters is None:
                answers[place] = result.failure or ModelError("the training ended without a model")
            else:
                answers[place] = DnnModel(architecture, result.parameters, n_threads=n_threads)
    return [answers[place] for place in range(len(tasks))]


def architecture_of(config: NetworkConfig, inputs: Inputs, n_outputs: int = 1) -> Architecture:
    """Return the network that `config` means for these inputs.

    Raises
    ------
    ModelError
        If it needs images that are not there, or a feature is missing (NaN).
    ConfigError
        If both branches are off.
    """
    dmdt = inputs.images is not None if config.dmdt_branch is None else config.dmdt_branch
    architecture = Architecture(
        n_features=inputs.x.shape[1], dense_branch=config.dense_branch, dmdt_branch=dmdt, n_outputs=n_outputs
    )
    check_inputs(architecture, inputs)
    return architecture


def check_inputs(architecture: Architecture, inputs: Inputs) -> None:
    """Check that a network can take these inputs.

    Raises
    ------
    ModelError
        If it needs images that are not there, or a feature is missing (NaN), or there are other features.
    """
    if architecture.dmdt_branch and inputs.images is None:
        raise ModelError("this network needs dm-dt images (column dmdt), which the table does not have")
    if not architecture.dense_branch:
        return
    if inputs.x.shape[1] != architecture.n_features:
        raise ModelError(f"this network has {architecture.n_features} features, the table gives {inputs.x.shape[1]}")
    if not np.isfinite(inputs.x).all():
        raise ModelError("a network cannot take missing features; prepare them with impute=by_feature or another fill")


def settings_of(config: NetworkConfig) -> Settings:
    """Return what the engine needs of settled settings."""
    return Settings(**{field.name: getattr(config, field.name) for field in fields(Settings)})


def start_of(architecture: Architecture, folder: Path | None) -> Float32Array | None:
    """Return the (P,) parameters of the bundle in `folder` that training begins with; None without one.

    Raises
    ------
    ModelError
        If there is no network, or another one: the message names both.
    """
    if folder is None:
        return None
    path = folder / DnnModel.file_name
    found = read_network(path)
    if found is None or found[0] != architecture:
        other = "a foreign network" if found is None else _words(found[0])
        raise ModelError(f"training cannot begin with {path}: it holds {other}, wanted is {_words(architecture)}")
    return found[1]


def _words(architecture: Architecture) -> str:
    branches = [f"{architecture.n_features} features"] * architecture.dense_branch
    branches += ["dm-dt images"] * architecture.dmdt_branch
    return f"a network of {' and '.join(branches)} with {architecture.n_outputs} output(s)"


def _task(architecture: Architecture, task: TrainTask) -> Task:
    return Task(
        seed=task.seed,
        rows=task.rows,
        y=task.y[:, None],
        weight=task.weight[:, None],
        validation_rows=task.validation_rows,
        validation_y=task.validation_y[:, None],
        validation_weight=task.validation_weight[:, None],
        settings=settings_of(task.settings),
        start=start_of(architecture, task.start),
        log=task.log,
    )


def _backend(engine: str, device: str, n_threads: int) -> Backend:
    if engine == "keras":
        from scope_ml.models.keras_twin import KerasBackend

        return KerasBackend(n_threads=n_threads)
    return open_backend(device, n_threads=n_threads)
