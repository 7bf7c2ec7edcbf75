"""The staged grid search of trees: SCoPe's way to settings, one pair after the other, each point by cross-validation.

Stages (training runs of arXiv:2312.00143): depth and child weight, shares of rows and columns, learning rate, then both
pairs again in finer steps around the best. Folds are made of the training part's stars, stratified by class; ends of a
range are part of it; a later stage keeps what an earlier one found unless it finds better; everything has a seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from scope_ml.errors import ModelError
from scope_ml.models.inputs import Float32Array, Part

if TYPE_CHECKING:
    import xgboost

    from scope_ml.models.inputs import Inputs, TrainTask
    from scope_ml.models.xgb import XgbConfig

__all__ = ["SEARCHED", "folds_of", "staged_grid"]

#: Settings that the grid chooses.
SEARCHED = ("max_depth", "min_child_weight", "subsample", "colsample_bytree", "learning_rate")

#: Coarse points.
DEPTHS, CHILD_WEIGHTS = (3, 5, 7), (1.0, 3.0, 5.0)
SHARES = (1.0, 0.8, 0.6)
LEARNING_RATES = (0.3, 0.2, 0.1, 0.05)

#: Steps and reach of the fine stages.
DEPTH_STEP, DEPTH_REACH = 1, 2
SHARE_STEP, SHARE_REACH = 0.1, 0.2

N_FOLDS = 5

Point = dict[str, Any]


def staged_grid(inputs: Inputs, task: TrainTask, *, n_threads: int) -> tuple[Point, float]:
    """Return the settings with the best mean AUC over the folds, and that AUC.

    Parameters
    ----------
    inputs, task
        What is trained on; the validation part is not looked at. The settings of `task` hold for what a stage has not
        chosen yet. Its log is told the best AUC and the number of points of each stage.
    n_threads
        Threads; the result does not depend on them.

    Raises
    ------
    ModelError
        If the positives or the negatives of the training part are of one star.
    """
    folds = _Folds(inputs, task, n_threads)
    config: XgbConfig = task.settings
    best: Point = {name: getattr(config, name) for name in SEARCHED}
    best_auc = -np.inf
    known: dict[tuple[float, ...], float] = {}
    for stage in range(5):
        points = 0
        for point in _points(stage, best):
            key = tuple(point[name] for name in SEARCHED)
            if key not in known:
                known[key] = folds.auc(replace(config, **point))
                points += 1
            if known[key] > best_auc:
                best, best_auc = point, known[key]
        task.log.metrics({"grid_auc": best_auc, "grid_points": float(points)}, step=stage)
    return best, best_auc


def _points(stage: int, best: Point) -> Iterator[Point]:
    """Yield the points of a stage around the best so far (as it was when the stage began)."""
    axes: Mapping[str, Sequence[float]]
    if stage == 0:
        axes = {"max_depth": DEPTHS, "min_child_weight": CHILD_WEIGHTS}
    elif stage == 1:
        axes = {"subsample": SHARES, "colsample_bytree": SHARES}
    elif stage == 2:
        axes = {"learning_rate": LEARNING_RATES}
    elif stage == 3:
        axes = {
            "max_depth": _around(best["max_depth"], DEPTH_STEP, DEPTH_REACH, DEPTHS),
            "min_child_weight": _around(best["min_child_weight"], DEPTH_STEP, DEPTH_REACH, CHILD_WEIGHTS),
        }
    else:
        axes = {
            name: _around(best[name], SHARE_STEP, SHARE_REACH, SHARES) for name in ("subsample", "colsample_bytree")
        }
    for values in product(*axes.values()):
        yield best | dict(zip(axes, values, strict=True))


def _around(centre: Any, step: float, reach: float, within: Sequence[float]) -> list[Any]:
    """Return the points at `step` around `centre`, at most `reach` away and inside the coarse range, ends included."""
    n = round(reach / step)
    near = [round(centre + k * step, 6) for k in range(-n, n + 1)]
    kept = [value for value in near if min(within) <= value <= max(within)]
    return [int(value) for value in kept] if isinstance(centre, int) else kept


class _Folds:
    """The training part, divided by star; bins are made once for all points."""

    def __init__(self, inputs: Inputs, task: TrainTask, n_threads: int) -> None:
        from scope_ml.models.xgb import binned

        self.seed, self.n_threads = task.seed, n_threads
        fold = folds_of(task.y, task.group, seed=task.seed)
        training, _ = task.parts(inputs)
        self.pairs: list[tuple[xgboost.DMatrix, xgboost.DMatrix]] = []
        for number in range(int(fold.max()) + 1):
            sides = [
                Part(inputs=training.inputs.take(rows), y=task.y[rows], weight=task.weight[rows])
                for rows in (np.flatnonzero(fold != number), np.flatnonzero(fold == number))
            ]
            first, second = (binned(side, task.settings, n_threads=n_threads) for side in sides)
            self.pairs.append((first, second))

    def auc(self, config: XgbConfig) -> float:
        """Return the highest mean AUC over the rounds, after early stopping of all folds together."""
        from scope_ml.models.xgb import new_booster, parameters

        asked = parameters(config, seed=self.seed, n_threads=self.n_threads) | {"eval_metric": "auc"}
        boosters = [new_booster(asked, pair) for pair in self.pairs]
        best, best_round = -np.inf, 0
        for number in range(config.n_rounds):
            found = []
            for booster, (training, held_out) in zip(boosters, self.pairs, strict=True):
                booster.update(training, number)
                found.append(float(booster.eval(held_out, "fold", number).rsplit(":", 1)[1]))
            if float(np.mean(found)) > best:
                best, best_round = float(np.mean(found)), number
            elif number - best_round >= config.early_stopping_rounds:
                break
        return best


def folds_of(y: Float32Array, group: npt.NDArray[Any], *, seed: int) -> npt.NDArray[np.int64]:
    """Return the fold of each row, int64 (n,): all rows of a star in one, the stars of each class spread evenly.

    Raises
    ------
    ModelError
        If the rows of a class are of one star.
    """
    stars, which = np.unique(group, return_inverse=True)
    positive = np.bincount(which, weights=y, minlength=stars.size) > 0
    fewest = int(min(positive.sum(), (~positive).sum()))
    if fewest < 2:
        raise ModelError(
            f"algorithm.grid=staged needs two stars or more of the class and of the others, there is {fewest};"
            " give algorithm.grid=none"
        )
    n_folds = min(N_FOLDS, fewest)
    fold = np.empty(stars.size, dtype=np.int64)
    rng = np.random.default_rng([seed, 3])
    for side in (positive, ~positive):
        fold[rng.permutation(np.flatnonzero(side))] = np.arange(int(side.sum())) % n_folds
    return fold[which]
