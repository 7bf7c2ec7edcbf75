"""Trees as arrays, to ask many times what one changed column does to their scores.

XGBoost scores a table as a whole; shuffling each of 60 columns that way walks every tree 60 times, though a tree has a
dozen of the columns and the others leave it as it is. Here such trees are not walked again. May import `errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit, types

from scope_ml.errors import ModelError

__all__ = ["Forest", "forest_of", "shuffled_margins"]

Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]


class Forest(NamedTuple):
    """The nodes of all trees, one tree behind the other.

    Attributes
    ----------
    roots
        (T,) int32 place of each tree's first node.
    left, right
        (N,) int32 places of a node's children; -1 for a leaf.
    column
        (N,) int32 column that a node asks for.
    value
        (N,) float32: a row whose value is less goes left; of a leaf its score.
    missing_left
        (N,) bool: where a row without a value goes.
    uses
        (T, k) bool: which columns a tree asks for.
    """

    roots: Int32Array
    left: Int32Array
    right: Int32Array
    column: Int32Array
    value: Float32Array
    missing_left: npt.NDArray[np.bool_]
    uses: npt.NDArray[np.bool_]


def forest_of(plain: Mapping[str, Any]) -> Forest:
    """Return the trees of a model that XGBoost wrote as JSON.

    Raises
    ------
    ModelError
        If they are no trees that compare one number at a time.
    """
    try:
        trees = plain["learner"]["gradient_booster"]["model"]["trees"]
        n_columns = int(plain["learner"]["learner_model_param"]["num_feature"])
        if any(any(tree["split_type"]) for tree in trees):
            raise ModelError("these trees compare categories, which are not read here")
        sizes = [len(tree["left_children"]) for tree in trees]
        roots = np.cumsum([0, *sizes[:-1]]).astype(np.int32)
        sides = [
            np.concatenate([_placed(tree[side], int(root)) for tree, root in zip(trees, roots, strict=True)])
            for side in ("left_children", "right_children")
        ]
        column = np.concatenate([np.asarray(tree["split_indices"], dtype=np.int32) for tree in trees])
        value = np.concatenate([np.asarray(tree["split_conditions"], dtype=np.float32) for tree in trees])
        missing_left = np.concatenate([np.asarray(tree["default_left"], dtype=bool) for tree in trees])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"these are no trees of XGBoost ({error!r}); train the model again") from error
    uses = np.zeros((len(trees), n_columns), dtype=bool)
    inner = sides[0] >= 0
    uses[np.repeat(np.arange(len(trees)), sizes)[inner], column[inner]] = True
    return Forest(roots, sides[0], sides[1], column, value, missing_left, uses)


def _placed(children: list[int], root: int) -> Int32Array:
    own = np.asarray(children, dtype=np.int32)
    return np.where(own >= 0, own + np.int32(root), np.int32(-1))


FOREST = types.NamedTuple(
    [types.int32[::1]] * 4 + [types.float32[::1], types.boolean[::1], types.boolean[:, ::1]], Forest
)


@njit(
    types.void(FOREST, types.float32[:, ::1], types.int64[::1], types.int64[::1], types.float32[:, ::1]),
    nogil=True,
    cache=True,
)
def shuffled_margins(
    forest: Forest,
    x: Float32Array,
    order: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    out: Float32Array,
) -> None:
    """Write margins without the base score into `out` (c + 1, n): of the rows as they are, then with each column shuffled.

    Parameters
    ----------
    forest
        The trees.
    x
        (n, k) float32 rows, NaN where there is no value.
    order
        (n,) row that a row takes the shuffled column's value from.
    columns
        (c,) columns to shuffle, one at a time.
    """
    n_trees, n_rows = forest.roots.size, x.shape[0]
    leaves = np.empty(n_rows, dtype=np.float32)
    out[:] = np.float32(0.0)
    for t in range(n_trees):
        for row in range(n_rows):
            node = forest.roots[t]
            while forest.left[node] >= 0:
                seen = x[row, forest.column[node]]
                goes_left = forest.missing_left[node] if np.isnan(seen) else seen < forest.value[node]
                node = forest.left[node] if goes_left else forest.right[node]
            leaves[row] = forest.value[node]
            out[0, row] += leaves[row]
        for c in range(columns.size):
            column = columns[c]
            if not forest.uses[t, column]:
                for row in range(n_rows):
                    out[c + 1, row] += leaves[row]
                continue
            for row in range(n_rows):
                node = forest.roots[t]
                while forest.left[node] >= 0:
                    asked = forest.column[node]
                    seen = x[order[row] if asked == column else row, asked]
                    goes_left = forest.missing_left[node] if np.isnan(seen) else seen < forest.value[node]
                    node = forest.left[node] if goes_left else forest.right[node]
                out[c + 1, row] += forest.value[node]
