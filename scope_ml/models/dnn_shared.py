"""Algorithm `dnn_shared`: one network for all classes of a seed, with an output for each.

The branches, where nearly all arithmetic is, are learned and computed once instead of once for each class. A row counts
for a class only where that class's own training would use it: elsewhere its weight in that class's loss is 0. Training
stops when the validation loss, summed over the classes, does not fall any more.

A class counts with the square root of its weight. By its rows alone a rare class is hardly learned, and if all count alike a
few rows of rare classes shake what all share: on the embedded survey (23 ontological classes, 6 seeds, features only) the
mean average precision of the validation part is 0.647 so, 0.630 by rows and 0.613 if all count alike, each +- 0.009. On the
test part it is 0.664 +- 0.009 then, beside 0.643 +- 0.008 of separate networks, for a tenth of their time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from scope_ml.core.configuration import option
from scope_ml.core.protocols import NullRunLogger
from scope_ml.errors import ConfigError, ModelError, ScopeError
from scope_ml.models.dnn import DnnModel, NetworkConfig, architecture_of, settings_of, start_of
from scope_ml.models.inputs import Float32Array, Inputs, IntArray, Model, TrainTask
from scope_ml.networks.architecture import Architecture
from scope_ml.networks.backends import open_backend
from scope_ml.networks.keras_file import read_network
from scope_ml.networks.training import Task
from scope_ml.networks.training import train_many as train_networks

__all__ = ["DnnSharedConfig", "DnnSharedModel", "load", "train_many"]


@dataclass(frozen=True, kw_only=True)
class DnnSharedConfig(NetworkConfig):
    """Settings of algorithm `dnn_shared`; classes whose settings differ do not share a network."""

    name: Literal["dnn_shared"] = option("dnn_shared", doc="which algorithm")
    learning_rate: float | None = option(None, doc="Adam's learning rate; null: 3e-3", more_than=0.0, at_most=1.0)
    epochs: int = option(300, doc="most epochs", at_least=1, at_most=100_000)

    DEFAULTS: ClassVar[Mapping[str, Any]] = {**NetworkConfig.DEFAULTS, "learning_rate": 3e-3}


class DnnSharedModel(DnnModel):
    """A fitted network and the one of its outputs that is the score of a class; `tags` are the classes of all."""

    def __init__(
        self,
        architecture: Architecture,
        parameters: Float32Array,
        *,
        tags: Sequence[str],
        output: int,
        n_threads: int = 1,
    ) -> None:
        super().__init__(architecture, parameters, n_threads=n_threads)
        self.tags = tuple(tags)
        self.output = output

    def facts(self) -> dict[str, Any]:
        """Return the branches, the classes of all outputs, and which output is the score."""
        return {**super().facts(), "tags": list(self.tags), "output": self.output}


def load(folder: Path, *, n_threads: int, facts: Mapping[str, Any] | None = None) -> DnnSharedModel:
    """Read ``model.keras`` of `folder`, or the file that `folder` itself is, with the `facts` of its bundle.

    Raises
    ------
    ModelError
        If the file is missing or no such network, or `facts` do not say which of its outputs is the score.
    """
    path = folder / DnnModel.file_name if folder.is_dir() else folder
    found = read_network(path)
    if found is None:
        raise ModelError(f"{path} is not a network of algorithm dnn_shared; save or fetch the model again")
    architecture, parameters = found
    tags, output = (facts or {}).get("tags", ()), (facts or {}).get("output")
    if not isinstance(output, int) or not 0 <= output < len(tags) or len(tags) != architecture.n_outputs:
        raise ModelError(
            f"{path} has {architecture.n_outputs} outputs, the bundle names {len(tags)} classes and output {output};"
            " fetch the bundle again"
        )
    return DnnSharedModel(architecture, parameters, tags=tags, output=output, n_threads=n_threads)


def train_many(
    inputs: Inputs, tasks: Sequence[TrainTask], *, n_threads: int = 1, device: str = "cpu"
) -> list[Model | ScopeError]:
    """Train one network for all tasks of one seed (and the same settings and start); see `dnn.train_many`."""
    answers: dict[int, Model | ScopeError] = {}
    groups: dict[str, list[int]] = {}
    for place, task in enumerate(tasks):
        # The settings' text: their lists and dicts cannot be keys.
        groups.setdefault(repr((task.seed, task.start, task.settings)), []).append(place)
    waiting: dict[Architecture, list[_Network]] = {}
    for places in groups.values():
        # In the order of the classes' names, so that the network does not depend on the order of the tasks.
        ordered = sorted(places, key=lambda place: tasks[place].tag)
        try:
            network = _Network(inputs, [tasks[place] for place in ordered], ordered)
        except ScopeError as error:
            answers.update(dict.fromkeys(places, error))
            continue
        waiting.setdefault(network.architecture, []).append(network)
    for architecture, networks in waiting.items():
        backend = open_backend(device, n_threads=n_threads)
        given = [network.task for network in networks]
        trained = train_networks(architecture, inputs.x, inputs.images, given, backend=backend)
        for network, result in zip(networks, trained, strict=True):
            for output, place in enumerate(network.places):
                failure = network.log.failures.get(output, result.failure)
                if failure is not None or result.parameters is None:
                    answers[place] = failure or ModelError("the training ended without a model")
                else:
                    answers[place] = DnnSharedModel(
                        architecture, result.parameters, tags=network.tags, output=output, n_threads=n_threads
                    )
    return [answers[place] for place in range(len(tasks))]


class _Network:
    """The tasks that make one network: their union as one task of `networks.training`."""

    def __init__(self, inputs: Inputs, tasks: Sequence[TrainTask], places: Sequence[int]) -> None:
        self.places = tuple(places)
        self.tags = tuple(task.tag for task in tasks)
        if len(set(self.tags)) < len(self.tags):
            raise ConfigError(f"a class is there twice in one network of dnn_shared: {', '.join(self.tags)}")
        first = tasks[0]
        self.architecture = architecture_of(first.settings, inputs, n_outputs=len(tasks))
        _check_start(self.tags, first.start)
        self.log = _Logs(tasks)
        rows, y, weight = _union([(task.rows, task.y, task.weight) for task in tasks])
        held_out = _union([(task.validation_rows, task.validation_y, task.validation_weight) for task in tasks])
        self.task = Task(
            seed=first.seed,
            rows=rows,
            y=y,
            weight=weight,
            validation_rows=held_out[0],
            validation_y=held_out[1],
            validation_weight=held_out[2],
            settings=settings_of(first.settings),
            start=start_of(self.architecture, first.start),
            log=self.log,
        )


def _union(parts: Sequence[tuple[IntArray, Float32Array, Float32Array]]) -> tuple[IntArray, Float32Array, Float32Array]:
    """Return all rows of the parts, in order, with their (n, C) labels and weights; 0 where a part has not got the row."""
    rows = np.unique(np.concatenate([rows for rows, _, _ in parts]))
    y, weight = np.zeros((2, rows.size, len(parts)), dtype=np.float32)
    for output, (own, labels, weights) in enumerate(parts):
        places = np.searchsorted(rows, own)
        y[places, output] = labels
        weight[places, output] = weights
    total = weight.sum(axis=0, dtype=np.float64)
    share = np.sqrt(total.max() / np.where(total > 0, total, 1.0))
    return rows, y, weight * share.astype(np.float32)


def _check_start(tags: tuple[str, ...], folder: Path | None) -> None:
    """Refuse a start whose outputs are other classes."""
    if folder is None:
        return
    try:
        known = json.loads((folder / "bundle.json").read_text())["model_facts"]["tags"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"training cannot begin with {folder}: it is not a bundle of dnn_shared ({error!r})"
        ) from error
    if tuple(known) != tags:
        raise ModelError(
            f"training cannot begin with {folder}: its outputs are {', '.join(known)}, wanted are {', '.join(tags)}"
        )


class _Logs(NullRunLogger):
    """Tells the course of the training to the log of every class; one that fails fails its own class alone."""

    def __init__(self, tasks: Sequence[TrainTask]) -> None:
        self.logs = [task.log for task in tasks]
        self.failures: dict[int, ScopeError] = {}

    def metrics(self, values: Mapping[str, float], *, step: int | None = None) -> None:
        for output, log in enumerate(self.logs):
            if output in self.failures:
                continue
            try:
                log.metrics(values, step=step)
            except ScopeError as error:
                self.failures[output] = error
        if len(self.failures) == len(self.logs):
            raise next(iter(self.failures.values()))
