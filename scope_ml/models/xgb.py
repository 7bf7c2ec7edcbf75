"""Algorithm `xgb`: gradient-boosted trees of XGBoost (Chen & Guestrin 2016, arXiv:1603.02754).

Takes missing values as they are. The model kept is the one of the best round on the validation part. The only
room that imports xgboost, inside functions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from scope_ml.core.configuration import option
from scope_ml.errors import ModelError, ScopeError
from scope_ml.models.inputs import Float32Array, Inputs, IntArray, Part, TrainTask
from scope_ml.models.preparation import PreparationConfig
from scope_ml.models.xgb_grid import staged_grid

if TYPE_CHECKING:
    import xgboost

__all__ = ["XgbConfig", "XgbModel", "load", "train_many"]

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
    reg_lambda: float | None = option(
        None, doc="L2 penalty on leaf values; null: the class's own, else 1", at_least=0.0
    )
    gamma: float | None = option(None, doc="least gain of a cut; null: the class's own, else 0", at_least=0.0)
    max_bin: int | None = option(
        None, doc="histogram bins per feature; null: the class's own, else 64", at_least=2, at_most=65_536
    )
    n_rounds: int = option(999, doc="most trees", at_least=1, at_most=100_000)
    early_stopping_rounds: int = option(
        20, doc="stop after so many rounds without a better validation metric", at_least=1
    )
    early_stopping_metric: Literal["logloss", "aucpr", "auc"] = option("logloss", doc="validation metric that stops")
    grid: Literal["none", "staged"] = option(
        "none", doc="search depth, child weight, shares and learning rate by cross-validation before the training"
    )
    preparation: PreparationConfig = option(PREPARATION, doc="imputer and scaler; trees need neither")

    #: What a setting is where neither the algorithm nor the class gives one (the class defaults of SCoPe). 64 bins give the
    #: same average precision as 256 within the scatter of seeds and half the time: small leaves have few values to part.
    DEFAULTS: ClassVar[Mapping[str, float]] = {
        "max_depth": 6,
        "min_child_weight": 1.0,
        "learning_rate": 0.1,
        "subsample": 0.7,
        "colsample_bytree": 0.7,
        "reg_lambda": 1.0,
        "gamma": 0.0,
        "max_bin": 64,
    }


class XgbModel:
    """Fitted trees."""

    file_name: ClassVar[str] = "model.ubj"
    needs_images = False

    def __init__(self, booster: xgboost.Booster, *, n_threads: int = 1, facts: Mapping[str, Any] | None = None) -> None:
        self.booster = booster
        self._facts = dict(facts or {})
        self.use_threads(n_threads)

    def use_threads(self, n_threads: int) -> None:
        """Use this many threads from now on; results do not depend on it."""
        self.n_threads = n_threads
        self.booster.set_param({"nthread": n_threads})

    def predict(self, inputs: Inputs) -> Float32Array:
        """Return the (n,) float32 score of each row."""
        if len(inputs) == 0:
            return np.empty(0, dtype=np.float32)
        scores = self.booster.inplace_predict(inputs.x, missing=np.nan, validate_features=False)
        return np.asarray(scores, dtype=np.float32)

    def shuffled(self, inputs: Inputs, order: IntArray, columns: Sequence[int]) -> Float32Array:
        """Return margins (c + 1, n) of the rows, and with each column shuffled (`importance.Shuffling`)."""
        from scope_ml.models.trees import forest_of, shuffled_margins

        forest = forest_of(json.loads(self.booster.save_raw(raw_format="json")))
        out = np.empty((len(columns) + 1, len(inputs)), dtype=np.float32)
        shuffled_margins(forest, np.ascontiguousarray(inputs.x), order, np.array(columns, dtype=np.int64), out)
        return out

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

    def facts(self) -> dict[str, Any]:
        """Return the number of trees (``n_trees``), and settings that a search chose (``chosen``)."""
        return dict(self._facts)


def train_many(
    inputs: Inputs, tasks: Sequence[TrainTask], *, n_threads: int = 1, device: str = "cpu"
) -> list[XgbModel | ScopeError]:
    """Grow the trees of many models, one after the other, each until its validation part no longer gains.

    Parameters
    ----------
    inputs
        Prepared features of all light curves.
    tasks
        Rows, labels and settings of each model.
    n_threads
        Most threads; no model depends on their number.
    device
        Not used: tables of this size are grown faster on the CPU.

    Returns
    -------
    list
        For each task its model, or the error that stands in its place.
    """
    found: list[XgbModel | ScopeError] = []
    for task in tasks:
        try:
            found.append(_train(inputs, task, n_threads))
        except ScopeError as error:
            found.append(error)
    return found


def _train(inputs: Inputs, task: TrainTask, n_threads: int) -> XgbModel:
    """Grow the trees of one model."""
    import xgboost

    config: XgbConfig = task.settings
    n_threads = n_threads if task.rows.size >= ONE_THREAD_BELOW else 1
    chosen: dict[str, Any] = {}
    if config.grid == "staged":
        chosen, _ = staged_grid(inputs, task, n_threads=n_threads)
        config = replace(config, **chosen)
    training, validation = task.parts(inputs)
    # Rows that are only scored need no bins, and are scored three times faster without.
    held_out = xgboost.DMatrix(validation.inputs.x, label=validation.y, weight=validation.weight, nthread=n_threads)
    metric = config.early_stopping_metric
    history: dict[str, dict[str, list[float]]] = {}
    booster = xgboost.train(
        parameters(config, seed=task.seed, n_threads=n_threads),
        binned(training, config, n_threads=n_threads),
        num_boost_round=config.n_rounds,
        # Only what stops is evaluated: the training part would cost a third of the time.
        evals=[(held_out, "val")],
        early_stopping_rounds=config.early_stopping_rounds,
        evals_result=history,
        verbose_eval=False,
        callbacks=[_teller(task, metric)] if task.watched else None,
        xgb_model=None if task.start is None else load(task.start, n_threads=n_threads).booster,
    )
    n_trees = int(booster.best_iteration) + 1
    task.log.metrics({"n_trees": float(n_trees), f"val_{metric}_stop": float(booster.best_score)})
    facts = {"n_trees": n_trees} | ({"chosen": chosen} if chosen else {})
    return XgbModel(_without_history(booster[:n_trees]), n_threads=n_threads, facts=facts)


def _teller(task: TrainTask, metric: str) -> Any:
    """Return what tells the log the validation loss of each round; what is better when larger is told as 1 - value."""
    from xgboost.callback import TrainingCallback

    class Teller(TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            value = float(evals_log["val"][metric][-1])
            task.log.metrics({"val_loss": value if metric == "logloss" else 1.0 - value}, step=epoch)
            return False

    return Teller()


def binned(part: Part, config: XgbConfig, *, n_threads: int) -> xgboost.DMatrix:
    """Return rows to train on: few as they are, which is faster to begin with, many in histogram bins of their own."""
    import xgboost

    given = {"label": part.y, "weight": part.weight, "nthread": n_threads}
    if len(part.inputs) < ONE_THREAD_BELOW:
        return xgboost.DMatrix(part.inputs.x, **given)
    return xgboost.QuantileDMatrix(part.inputs.x, max_bin=config.max_bin, **given)


def new_booster(asked: Mapping[str, Any], rows: Sequence[xgboost.DMatrix]) -> xgboost.Booster:
    """Return a model without trees that keeps what it scores for `rows` between rounds."""
    import xgboost

    return xgboost.Booster(dict(asked), list(rows))


def parameters(config: XgbConfig, *, seed: int, n_threads: int) -> dict[str, Any]:
    """Return settings (no null left) as XGBoost calls them."""
    return {
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


def load(folder: Path, *, n_threads: int, facts: Mapping[str, Any] | None = None) -> XgbModel:
    """Read ``model.ubj`` of `folder`, or the file that `folder` itself is; `facts` are what the model said when it was saved.

    Raises
    ------
    ModelError
        If the file is missing or not a model of XGBoost.
    """
    import xgboost

    path = folder / XgbModel.file_name if folder.is_dir() else folder
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(path.read_bytes()))
    except (OSError, xgboost.core.XGBoostError) as error:
        raise ModelError(f"{path} cannot be read as an XGBoost model: {str(error).splitlines()[0]}") from error
    return XgbModel(booster, n_threads=n_threads, facts=facts)


def _without_history(booster: xgboost.Booster) -> xgboost.Booster:
    """Drop what early stopping left behind: it does not belong to the trees that are kept."""
    for name in booster.attributes():
        booster.set_attr(**{name: None})
    return booster
