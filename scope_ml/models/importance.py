"""How much a model needs each feature: the loss of average precision when the feature's values are shuffled.

Breiman 2001, Machine Learning 45, 5. Correlated features stand in for each other: a feature of small
importance may still be one that matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from scope_ml.models.inputs import Float32Array, Inputs, IntArray, Model
from scope_ml.models.metrics import average_precisions

__all__ = ["IMAGE", "Shuffling", "permutation"]

#: Name under which the dm-dt image stands among the features.
IMAGE = "dmdt"

#: Rows scored in one call: features are shuffled in turn on copies of all rows, put below one another.
BLOCK_ROWS = 8192
IMAGE_BLOCK_ROWS = 4096


@runtime_checkable
class Shuffling(Protocol):
    """A model that knows a faster way to score shuffled columns."""

    def shuffled(self, inputs: Inputs, order: IntArray, columns: Sequence[int]) -> Float32Array:
        """Return what ranks the rows (c + 1, n): as they are, then with each column taken from the rows of `order`."""
        ...


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
        With `IMAGE` besides the features where the model takes images; empty where the rows are of one class only.
    """
    rng = np.random.default_rng([seed, 2])
    if len(inputs) > max_rows:
        rows = np.sort(rng.choice(len(inputs), size=max_rows, replace=False))
        inputs, y = inputs.take(rows), y[rows]
    order = rng.permutation(len(inputs))
    gain = model.importance(features)
    # A model that knows what it uses need not be asked about the rest.
    used = [index for index, name in enumerate(features) if gain.get(name, 1.0) > 0.0]
    scores = (
        [model.shuffled(inputs, order, used)] if isinstance(model, Shuffling) else _shuffled(model, inputs, order, used)
    )
    names = [features[index] for index in used]
    if model.needs_images and inputs.images is not None:
        scores.append(model.predict(Inputs(x=inputs.x, images=inputs.images[order]))[None])
        names.append(IMAGE)
    found = average_precisions(y, np.concatenate(scores))
    if not np.isfinite(found).all():
        return {}
    losses = dict.fromkeys(features, 0.0) | dict(zip(names, (found[0] - found[1:]).tolist(), strict=True))
    return dict(sorted(losses.items(), key=lambda item: (-item[1], item[0])))


def _shuffled(model: Model, inputs: Inputs, order: IntArray, columns: list[int]) -> list[Float32Array]:
    """Return the scores as they are (1, n), and with each of the columns in another order (c, n)."""
    n_rows = len(inputs)
    scores = np.empty((len(columns), n_rows), dtype=np.float32)
    most = IMAGE_BLOCK_ROWS if model.needs_images else BLOCK_ROWS
    per_block = max(1, most // max(n_rows, 1))
    for start in range(0, len(columns), per_block):
        some = columns[start : start + per_block]
        x = np.repeat(inputs.x[None], len(some), axis=0)
        for copy, column in zip(x, some, strict=True):
            copy[:, column] = inputs.x[order, column]
        images = None if inputs.images is None else np.tile(inputs.images, (len(some), 1, 1, 1))
        stacked = Inputs(x=x.reshape(-1, inputs.x.shape[1]), images=images)
        scores[start : start + per_block] = model.predict(stacked).reshape(len(some), n_rows)
    return [model.predict(inputs)[None], scores]
