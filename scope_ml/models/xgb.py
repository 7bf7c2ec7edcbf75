"""Algorithm `xgb`: gradient-boosted trees of XGBoost (Chen & Guestrin 2016, arXiv:1603.02754).

Takes missing values as they are. The model kept is the one of the best round on the validation part. The only
room that imports xgboost, inside functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from scope_ml.core.configuration import option
from scope_ml.core.protocols import RunLogger
from scope_ml.errors import ModelError
from scope_ml.models.inputs import Float32Array, Inputs, Part
from scope_ml.models.preparation import PreparationConfig

if TYPE_CHECKING:
    import xgboost

__all__ = ["XgbConfig", "XgbModel", "load", "train"]

#: Training parts of fewer rows are worked on by one thread: more gain little there, and where other processes have the
#: cores too, threads that wait for each other make it ten times slower (measured: 20,000 rows, 1.2 s against 14 s).
ONE_THREAD_BELOW = 50_000

#: Trees take missing values and any monotone scale as they are.
PREPARATION = PreparationConfig(impute="none", scale="none")


@dataclass(frozen=True, kw_only=True)
class XgbConfig:
    """Settings of the trees.

    A setting that is null is the class's own (``conf/class/<tag>.yaml``, key ``xgb``), else `DEFAULTS`.
    """

    name: Literal["xgb"] = option("xgb", doc="which algorithm")
    max_depth: int | None = option(None, doc="depth of a tree; null: the class's own, else 6", at_least=1, at_most=64)
    min_child_weight: float | None = option(
        None, doc="least sum of weights in a leaf; null: the class's own, else 1", at_least=0.0
    )
    learning_rate: float | None = option(
        None, doc="shrinkage of each tree; null: the class's own, else 0.1", more_than=0.0, at_most=1.0
    )
    subsample: float | None = option(
        None, doc="share of rows per tree; null: the class's own, else 0.7", more_than=0.0, at_most=1.0
    )
    colsample_bytree: float | None = option(
        None, doc="share of features per tree; null: the class's own, else 0.7", more_than=0.0, at_most=1.0
    )
    reg_lambda: float = option(1.0, doc="L2 penalty on leaf values", at_least=0.0)
    gamma: float = option(0.0, doc="least gain of a cut", at_least=0.0)
    max_bin: int = option(256, doc="histogram bins per feature", at_least=2, at_most=65_536)
    n_rounds: int = option(999, doc="most trees", at_least=1, at_most=100_000)
    early_stopping_rounds: int = option(
        20, doc="stop after so many rounds without a better validation metric", at_least=1
    )
    early_stopping_metric: Literal["logloss", "aucpr", "auc"] = option("logloss", doc="validation metric that stops")
    preparation: PreparationConfig = option(PREPARATION, doc="imputer and scaler; trees need neither")

    #: What a setting is where neither the algorithm nor the class gives one (the class defaults of SCoPe).
    DEFAULTS: ClassVar[Mapping[str, float]] = {
        "max_depth": 6,
        "min_child_weight": 1.0,
        "learning_rate": 0.1,
        "subsample": 0.7,
        "colsample_bytree": 0.7,
    }


class XgbModel:
    """Fitted trees."""

    file_name = "model.ubj"
    needs_images = False

    def __init__(self, booster: xgboost.Booster, *, n_threads: int = 1) -> None:
        self.booster = booster
        self.use_threads(n_threads)

    def use_threads(self, n_threads: int) -> None:
        """Use this many threads from now on; results do not depend on it."""
        self.booster.set_param({"nthread": n_threads})

    def predict(self, inputs: Inputs) -> Float32Array:
        """Return the (n,) float32 score of each row."""
        if len(inputs) == 0:
            return np.empty(0, dtype=np.float32)
        scores = self.booster.inplace_predict(inputs.x, missing=np.nan, validate_features=False)
        return np.asarray(scores, dtype=np.float32)

    def save(self, folder: Path) -> Path:
        """Write ``model.ubj`` into `folder` and return its path."""
        path = folder / self.file_name
        path.write_bytes(bytes(self.booster.save_raw(raw_format="ubj")))
        return path

    def importance(self, features: tuple[str, ...]) -> dict[str, float]:
        """Return each feature's share of the total gain of all cuts, largest first; unused features have 0."""
        gain = self.booster.get_score(importance_type="total_gain")
        total = sum(gain.values()) or 1.0
        shares = {name: float(gain.get(f"f{index}", 0.0)) / total for index, name in enumerate(features)}
        return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))


def train(
    training: Part, validation: Part, config: XgbConfig, *, seed: int, n_threads: int, log: RunLogger
) -> XgbModel:
    """Grow trees on the training part until the validation part no longer gains.

    Parameters
    ----------
    training, validation
        Inputs, labels and weights.
    config
        Settings with every null filled in (`algorithms.settle`).
    seed
        Seed of the subsampling.
    n_threads
        Most threads; the model does not depend on their number.
    log
        Is told the number of trees and the validation metric.
    """
    import xgboost

    if len(training.inputs) < ONE_THREAD_BELOW:
        n_threads = 1
    parameters: dict[str, Any] = {
        "objective": "binary:logistic",
        "eval_metric": config.early_stopping_metric,
        "tree_method": "hist",
        "device": "cpu",
        "max_depth": config.max_depth,
        "min_child_weight": config.min_child_weight,
        "learning_rate": config.learning_rate,
        "subsample": config.subsample,
        "colsample_bytree": config.colsample_bytree,
        "reg_lambda": config.reg_lambda,
        "gamma": config.gamma,
        "max_bin": config.max_bin,
        "seed": seed,
        "nthread": n_threads,
        "verbosity": 0,
    }
    rows = xgboost.QuantileDMatrix(
        training.inputs.x, label=training.y, weight=training.weight, max_bin=config.max_bin, nthread=n_threads
    )
    held_out = xgboost.QuantileDMatrix(
        validation.inputs.x, label=validation.y, weight=validation.weight, ref=rows, nthread=n_threads
    )
    history: dict[str, dict[str, list[float]]] = {}
    booster = xgboost.train(
        parameters,
        rows,
        num_boost_round=config.n_rounds,
        evals=[(rows, "train"), (held_out, "val")],
        early_stopping_rounds=config.early_stopping_rounds,
        evals_result=history,
        verbose_eval=False,
    )
    best = int(booster.best_iteration)
    log.metrics(
        {
            "n_trees": float(best + 1),
            f"train_{config.early_stopping_metric}_stop": history["train"][config.early_stopping_metric][best],
            f"val_{config.early_stopping_metric}_stop": history["val"][config.early_stopping_metric][best],
        }
    )
    return XgbModel(_without_history(booster[: best + 1]), n_threads=n_threads)


def load(folder: Path, *, n_threads: int) -> XgbModel:
    """Read ``model.ubj`` of `folder`.

    Raises
    ------
    ModelError
        If the file is missing or not a model of XGBoost.
    """
    import xgboost

    path = folder / XgbModel.file_name
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(path.read_bytes()))
    except (OSError, xgboost.core.XGBoostError) as error:
        raise ModelError(f"{path} cannot be read as an XGBoost model: {str(error).splitlines()[0]}") from error
    return XgbModel(booster, n_threads=n_threads)


def _without_history(booster: xgboost.Booster) -> xgboost.Booster:
    """Drop what early stopping left behind: it does not belong to the trees that are kept."""
    for name in booster.attributes():
        booster.set_attr(**{name: None})
    return booster
