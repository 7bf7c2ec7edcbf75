"""What `train` is told: the options of one class and algorithm, and the names of what it writes.

May import compute's settings, `models`, `tracking` and below.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scope_ml.compute.settings import ExecutorConfig
from scope_ml.core.configuration import option
from scope_ml.core.machine import Machine
from scope_ml.datasets.assemble import DatasetConfig
from scope_ml.datasets.split import DEFAULT_SPLIT, SplitConfig
from scope_ml.errors import ConfigError
from scope_ml.models.fit import FitConfig
from scope_ml.taxonomy.classes import ClassSpec
from scope_ml.tracking.promotion import Policy
from scope_ml.tracking.settings import TrackingConfig

__all__ = ["ENSEMBLE_FOLDER", "SEED_FOLDER", "FeatureSetChoice", "Train"]

#: Where bundles go if no output is given.
DEFAULT_OUTPUT = "outputs/models/{tag}/{algorithm}"

#: Names of bundles in the output of `train`.
SEED_FOLDER, ENSEMBLE_FOLDER = "seed_{seed}", "ensemble"


@dataclass(frozen=True, kw_only=True)
class FeatureSetChoice:
    """The set of model inputs."""

    name: str = option(doc="phenomenological or ontological")


@dataclass(frozen=True, kw_only=True)
class Train:
    """Options of the stage."""

    class_spec: ClassSpec = option(key="class", doc="the class to train")
    algorithm: dict[str, Any] = option(doc="xgb, dnn or dnn_shared, and its settings")
    dataset: DatasetConfig = option(doc="feature and label tables, or a folder of build_dataset")
    split: SplitConfig = option(DEFAULT_SPLIT, doc="sizes and seed of the division")
    fit: FitConfig = option(FitConfig(), doc="fewest positives, calibration, bootstrap")
    feature_set: FeatureSetChoice | None = option(None, doc="set of model inputs; null: the class's own")
    tuned: dict[str, Any] = option(
        {}, doc="settings that a study found best, by algorithm: a choice of conf/tuned; each: every class's own"
    )
    seed: int = option(42, doc="seed of the training", at_least=0)
    seeds: tuple[int, ...] = option(
        (), doc="several seeds on the same prepared data; the output then holds exactly these", at_least=0
    )
    ensemble: bool = option(False, doc="put the seeds together as one more model: the mean of their scores")
    init_from: str | None = option(
        None,
        doc="model to train on: models:/scope-{tag}-{algorithm}@champion, models:/NAME/VERSION or a bundle's folder",
    )
    output: str | None = option(None, machine=True, doc="folder to write; null: outputs/models/<tag>/<algorithm>")
    retrain: bool = option(False, machine=True, doc="train again what is there already")
    tracking: TrackingConfig = option(TrackingConfig(), doc="where runs are recorded")
    sweep: str | None = option(None, machine=True, doc="name of the parent run; null: train-<tag>-<algorithm>")
    register: bool = option(True, machine=True, doc="register the best seed as scope-<tag>-<algorithm>")
    promotion: Policy = option(
        "compare", machine=True, doc="when the registered model becomes champion (compare: if better on the same split)"
    )
    plots: bool = option(True, machine=True, doc="draw ROC, precision-recall and confusion plots for the run")
    machine: Machine = option(Machine(), doc="worker processes; networks train on the GPU with device=gpu only")
    executor: ExecutorConfig = option(
        ExecutorConfig(), machine=True, doc="who trains; local: as many processes as machine.workers says"
    )
    class_folders: str | tuple[str, ...] = option(
        (), machine=True, doc="configuration folders whose class/<tag>.yaml add classes of your own"
    )

    def __post_init__(self) -> None:
        """Check that no seed is given twice."""
        if len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"seeds={list(self.seeds)} names a seed twice", key="seeds")

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Return the seeds to train."""
        return self.seeds or (self.seed,)

    @property
    def algorithm_name(self) -> str:
        """Return the name of the algorithm."""
        return str(self.algorithm.get("name", ""))

    @property
    def model_name(self) -> str:
        """Return ``<tag>-<algorithm>``."""
        return f"{self.class_spec.tag}-{self.algorithm_name}"

    @property
    def folder(self) -> Path:
        """Return the output folder."""
        names = {"tag": self.class_spec.tag, "algorithm": self.algorithm_name}
        return Path(self.output if self.output is not None else DEFAULT_OUTPUT.format(**names))
