"""What `tune` is told: the class and algorithm, what is searched and how, and where its files are.

May import `models`, `tracking`, `tuning` and below.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scope_ml.core.configuration import option, to_plain
from scope_ml.core.machine import Machine
from scope_ml.datasets.assemble import DatasetConfig
from scope_ml.datasets.split import DEFAULT_SPLIT, SplitConfig
from scope_ml.errors import ConfigError
from scope_ml.models.algorithms import algorithm, configure
from scope_ml.models.fit import FitConfig
from scope_ml.stages.training_options import FeatureSetChoice, Train
from scope_ml.taxonomy.classes import ClassSpec
from scope_ml.tracking.settings import TrackingConfig
from scope_ml.tuning.space import SearchRange, checked_space
from scope_ml.tuning.study import Sampler

__all__ = ["Tune"]

#: Algorithms that train one model for one class.
TUNABLE = ("xgb", "dnn")


@dataclass(frozen=True, kw_only=True)
class Tune:
    """Options of the stage."""

    class_spec: ClassSpec = option(key="class", doc="the class to tune for")
    algorithm: dict[str, Any] = option(doc="xgb or dnn, and the settings that are not searched")
    space: dict[str, SearchRange] = option(
        key="tune", doc="what is searched: by setting low, high, log, step, or choices"
    )
    dataset: DatasetConfig = option(doc="feature and label tables, or a folder of build_dataset")
    split: SplitConfig = option(DEFAULT_SPLIT, doc="sizes and seed of the division")
    fit: FitConfig = option(FitConfig(), doc="fewest positives")
    feature_set: FeatureSetChoice | None = option(None, doc="set of model inputs; null: the class's own")
    n_trials: int = option(50, doc="trials in all; a study that was stopped goes on to this number", at_least=1)
    seeds: tuple[int, ...] = option((1, 2), doc="seeds that each trial is trained with", at_least=0)
    sampler: Sampler = option("tpe", doc="how settings are chosen")
    seed: int = option(1, doc="seed of the sampler", at_least=0)
    pruning: bool = option(True, doc="give up a trial that goes worse than the median of those before it")
    storage: str | None = option(None, machine=True, doc="journal; null: outputs/tune/<tag>/<algorithm>.journal")
    output: str | None = option(None, machine=True, doc="file of tuned settings; null: conf/tuned/<tag>.yaml")
    tracking: TrackingConfig = option(TrackingConfig(), doc="where runs are recorded")
    machine: Machine = option(Machine(), doc="trials at once")
    class_folders: str | tuple[str, ...] = option(
        (), machine=True, doc="configuration folders whose class/<tag>.yaml add classes of your own"
    )

    def __post_init__(self) -> None:
        """Check that there are seeds and that the space is one of the algorithm's."""
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"seeds={list(self.seeds)} must name at least one seed, none twice", key="seeds")
        if self.name not in TUNABLE:
            raise ConfigError(
                f"algorithm={self.name} cannot be tuned: a study is of one class and one model; give one of {', '.join(TUNABLE)}",
                key="algorithm",
                choices=TUNABLE,
            )
        configure(self.algorithm)
        checked_space(self.config_type, self.space)
        for setting in self.space:
            if self.algorithm.get(setting) is not None:
                raise ConfigError(
                    f"algorithm.{setting}={self.algorithm[setting]} is given and tune.{setting} searches it; leave one out:"
                    f" '~tune.{setting}' does not search it",
                    key=f"tune.{setting}",
                )

    @property
    def config_type(self) -> type[Any]:
        """Return the dataclass of the algorithm's settings."""
        return algorithm(self.name).config_type

    @property
    def name(self) -> str:
        """Return the algorithm's name."""
        return str(self.algorithm.get("name", ""))

    @property
    def title(self) -> str:
        """Return ``<tag>-<algorithm>``."""
        return f"{self.class_spec.tag}-{self.name}"

    @property
    def fixed(self) -> dict[str, Any]:
        """Return the settings that could be tuned and were given instead: they belong to what is found."""
        given = {name: self.algorithm.get(name) for name in self.config_type.DEFAULTS}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def further(self) -> dict[str, Any]:
        """Return what was given of the settings that no tuned file can hold, such as ``n_rounds``."""
        usual = to_plain(self.config_type())
        known = set(self.config_type.DEFAULTS) | {"name", "preparation"}
        return {name: value for name, value in self.algorithm.items() if name not in known and value != usual[name]}

    @property
    def journal(self) -> Path:
        """Return the file of the study."""
        return Path(self.storage or Path("outputs", "tune", self.class_spec.tag, f"{self.name}.journal"))

    @property
    def folder(self) -> Path:
        """Return the folder of the study's table and plots, beside the journal."""
        journal = self.journal
        return journal.with_suffix("") if journal.suffix else journal.with_name(f"{journal.name}.study")

    @property
    def tuned(self) -> Path:
        """Return the file of tuned settings."""
        return Path(self.output or Path("conf", "tuned", f"{self.class_spec.tag}.yaml"))

    def training(self) -> Train:
        """Return the training whose settings are searched."""
        return Train(
            class_spec=self.class_spec,
            algorithm=self.algorithm,
            dataset=self.dataset,
            split=self.split,
            fit=self.fit,
            feature_set=self.feature_set,
            class_folders=self.class_folders,
        )
