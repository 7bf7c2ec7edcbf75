"""The table of algorithms: what a new one has to offer, and how an algorithm's and a class's settings combine.

Adding an algorithm is one line in `ALGORITHMS`, a module with the three names of `AlgorithmSpec`, and
``conf/algorithm/<name>.yaml``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from scope_ml.core.configuration import build
from scope_ml.errors import ConfigError, suggest
from scope_ml.models.inputs import Model

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
        Module of ours that holds the next two, ``train(training, validation, config, *, seed, n_threads, log)`` and
        ``load(folder, *, n_threads)``, which both return a `Model`.
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

    @property
    def train(self) -> Callable[..., Model]:
        """Return its training function."""
        return cast("Callable[..., Model]", import_module(self.module).train)

    @property
    def load(self) -> Callable[..., Model]:
        """Return its loading function."""
        return cast("Callable[..., Model]", import_module(self.module).load)


ALGORITHMS: Mapping[str, AlgorithmSpec] = {
    spec.name: spec
    for spec in (
        AlgorithmSpec(name="xgb", module="scope_ml.models.xgb", config="XgbConfig"),
        AlgorithmSpec(name="dnn", module="scope_ml.models.dnn", config="DnnConfig"),
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


def settle(config: Any, spec: ClassSpec) -> Any:
    """Return `config` with every null filled in, so that what is trained with can be read off it.

    A setting that the algorithm gives wins, so that what a user types is never ignored; where it is null the class's
    own counts (``spec.<algorithm>.<setting>``), and where that is null too the algorithm's ``DEFAULTS``.
    """
    own = getattr(spec, config.name, None)
    filled = {}
    for setting, default in config.DEFAULTS.items():
        if getattr(config, setting) is None:
            from_class = getattr(own, setting, None)
            filled[setting] = default if from_class is None else from_class
    return dataclasses.replace(config, **filled)
