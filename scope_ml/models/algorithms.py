"""The table of algorithms: what a new one has to offer, and how an algorithm's and a class's settings combine.

Adding an algorithm is one line in `ALGORITHMS`, a module with the three names of `AlgorithmSpec`, and
``conf/algorithm/<name>.yaml``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from scope_ml.core.configuration import build
from scope_ml.errors import ConfigError, ScopeError, suggest
from scope_ml.models.inputs import Inputs, Model, TrainTask

if TYPE_CHECKING:
    from scope_ml.taxonomy.classes import ClassSpec

__all__ = ["ALGORITHMS", "AlgorithmSpec", "algorithm", "configure", "settle"]


@dataclass(frozen=True, kw_only=True)
class AlgorithmSpec:
    """Where an algorithm lives; nothing is imported before it is asked for.

    Attributes
    ----------
    name
        Name in configurations, columns (``<tag>_<name>``) and registered models.
    module
        Module of ours that holds the next two: ``train_many(inputs, tasks, *, n_threads, device)``, which returns for each
        `TrainTask` a `Model` or the `ScopeError` that stands in its place, and ``load(folder, *, n_threads, facts)``,
        which reads the model of a bundle's folder, or from a model's file itself, with the `Model.facts` it was saved with.
    config
        Name of the dataclass of its settings, with a class attribute ``DEFAULTS``.
    """

    name: str
    module: str
    config: str

    @property
    def config_type(self) -> type[Any]:
        """Return the dataclass of its settings."""
        return cast("type[Any]", getattr(import_module(self.module), self.config))

    def train_many(
        self, inputs: Inputs, tasks: Sequence[TrainTask], *, n_threads: int = 1, device: str = "cpu"
    ) -> list[Model | ScopeError]:
        """Train many models on shared inputs; a task that fails leaves its error in its place."""
        found = import_module(self.module).train_many(inputs, tasks, n_threads=n_threads, device=device)
        return cast("list[Model | ScopeError]", found)

    @property
    def load(self) -> Callable[..., Model]:
        """Return its loading function."""
        return cast("Callable[..., Model]", import_module(self.module).load)


ALGORITHMS: Mapping[str, AlgorithmSpec] = {
    spec.name: spec
    for spec in (
        AlgorithmSpec(name="xgb", module="scope_ml.models.xgb", config="XgbConfig"),
        AlgorithmSpec(name="dnn", module="scope_ml.models.dnn", config="DnnConfig"),
        AlgorithmSpec(name="dnn_shared", module="scope_ml.models.dnn_shared", config="DnnSharedConfig"),
    )
}


def algorithm(name: str) -> AlgorithmSpec:
    """Return the algorithm called `name`.

    Raises
    ------
    ConfigError
        If there is none; the message lists them.
    """
    if name not in ALGORITHMS:
        raise ConfigError(
            f"unknown algorithm {name!r}; known: {', '.join(ALGORITHMS)}{suggest(str(name), ALGORITHMS)}",
            key="algorithm",
            choices=ALGORITHMS,
        )
    return ALGORITHMS[name]


def configure(values: Mapping[str, Any], where: str = "algorithm") -> Any:
    """Return the typed settings of the algorithm that ``values["name"]`` names.

    Raises
    ------
    ConfigError
        For an unknown algorithm or key, a wrong type, a value out of bounds.
    """
    return build(algorithm(values.get("name", "")).config_type, values, where)


def settle(config: Any, spec: ClassSpec, tuned: Mapping[str, Any] | None = None) -> Any:
    """Return `config` with every null filled in, so that what is trained with can be read off it.

    A setting that the algorithm gives wins, so that what a user types is never ignored; where it is null the tuned one
    counts, then the class's own (``spec.<algorithm>.<setting>``), then the algorithm's ``DEFAULTS``.

    Parameters
    ----------
    config
        Settings as configured (`configure`).
    spec
        The class.
    tuned
        Settings that a study found best, by name; those of ``DEFAULTS`` only.

    Raises
    ------
    ConfigError
        If `tuned` names another setting, or gives a value of the wrong type or out of bounds.
    """
    best = _checked(config, tuned or {})
    own = getattr(spec, config.name, None)
    filled = {}
    for setting, default in config.DEFAULTS.items():
        if getattr(config, setting) is None:
            choices = (getattr(best, setting), getattr(own, setting, None), default)
            filled[setting] = next(value for value in choices if value is not None)
    return dataclasses.replace(config, **filled)


def _checked(config: Any, tuned: Mapping[str, Any]) -> Any:
    """Return settings that hold the tuned ones alone, checked like typed ones."""
    for setting in tuned:
        if setting not in config.DEFAULTS:
            raise ConfigError(
                f"tuned.{setting} cannot be set for {config.name}{suggest(setting, config.DEFAULTS)};"
                f" these can: {', '.join(config.DEFAULTS)}",
                key="tuned",
                choices=config.DEFAULTS,
            )
    return build(type(config), {"name": config.name, **tuned}, "tuned")
