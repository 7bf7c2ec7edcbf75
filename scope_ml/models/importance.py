"""How much a model needs each feature: the loss of average precision when the feature's values are shuffled.

Breiman 2001, Machine Learning 45, 5. Correlated features stand in for each other: a feature of small
importance may still be one that matters.
"""

from __future__ import annotations

import numpy as np

from scope_ml.models.inputs import Float32Array, Inputs, Model
from scope_ml.models.metrics import average_precision

__all__ = ["permutation"]


def permutation(
    model: Model, inputs: Inputs, y: Float32Array, features: tuple[str, ...], *, seed: int, max_rows: int = 4096
) -> dict[str, float]:
    """Return the loss of average precision by feature, largest first; one shuffle each, the same for all features.

    Parameters
    ----------
    model
        Fitted model.
    inputs, y
        Rows held out from training and their labels (n,); at most `max_rows` of them, drawn with `seed`, are used.
    features
        Names of the columns.
    seed
        Seed of the shuffle.

    Returns
    -------
    dict
        Empty where the rows are of one class only.
    """
    rng = np.random.default_rng([seed, 2])
    if len(inputs) > max_rows:
        rows = np.sort(rng.choice(len(inputs), size=max_rows, replace=False))
        inputs, y = inputs.take(rows), y[rows]
    whole = average_precision(y, model.predict(inputs))
    if whole is None:
        return {}
    order = rng.permutation(len(inputs))
    losses: dict[str, float] = {}
    for index, name in enumerate(features):
        shuffled = inputs.x.copy()
        shuffled[:, index] = shuffled[order, index]
        score = average_precision(y, model.predict(Inputs(x=shuffled, images=inputs.images)))
        losses[name] = whole - (score if score is not None else 0.0)
    return dict(sorted(losses.items(), key=lambda item: (-item[1], item[0])))
