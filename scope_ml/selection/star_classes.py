"""The classes of stars: algorithms joined to one score, conflicts with the tree, classes of which one may be sure.

All of it is read off the joined scores as the catalogue has them, in float32, so that anyone finds the same in it. May
import `taxonomy`, `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.selection.score_folds import nullable
from scope_ml.selection.star_columns import DISAGREEMENT, ScoreLayout
from scope_ml.selection.star_rules import StarJoin, StarRules

__all__ = ["class_columns", "joined_columns"]

Float32Array = npt.NDArray[np.float32]

#: Stars looked at once.
BLOCK = 1 << 16


def joined_columns(tag: str, values: Sequence[Float32Array], join: StarJoin) -> dict[str, pa.Array]:
    """Return the score of a class, and how far its algorithms are apart if there are several.

    Parameters
    ----------
    tag
        The class.
    values
        What each algorithm says of the stars, float32 (n_stars,), NaN where it says nothing.
    join
        What is made of it.
    """
    if len(values) == 1:
        return {tag: nullable(values[0])}
    both = np.stack(values)
    known = ~np.isnan(both)
    count = known.sum(axis=0)
    low, high = np.fmin.reduce(both), np.fmax.reduce(both)
    if join == "mean":
        total = np.where(known, both, 0).astype(np.float64).sum(axis=0)
        joined = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    else:
        joined = high if join == "max" else low
    apart = np.where(count > 1, high - low, np.float32(np.nan))
    return {tag: nullable(joined), tag + DISAGREEMENT: nullable(apart)}


def class_columns(scores: Float32Array, layout: ScoreLayout, rules: StarRules) -> dict[str, pa.Array]:
    """Return conflicts and confident classes.

    Parameters
    ----------
    scores
        Joined scores, float32 (n_stars, n_tags), NaN where there is none.
    layout
        Which columns the classes have.
    rules
        Class tree, margin and thresholds.
    """
    tags = tuple(layout.by_tag)
    tree = rules.tree(tags)
    thresholds = np.array([rules.threshold(of) for of in layout.by_tag.values()])
    n = len(scores)
    conflicts = np.zeros(n, dtype=np.int32)
    deepest = np.full(n, -1, dtype=np.int64)
    stars, classes = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for low in range(0, n, BLOCK):
        block = scores[low : low + BLOCK].astype(np.float64)
        conflicts[low : low + BLOCK] = tree.conflicts(block, rules.options.conflict_margin)
        borne = tree.borne(block, thresholds)
        deepest[low : low + BLOCK] = tree.deepest(block, borne)
        star, column = np.nonzero(borne)
        stars.append(star + low)
        classes.append(column)
    sure = deepest >= 0
    score = scores[np.arange(n), np.where(sure, deepest, 0)] if tags else np.full(n, np.nan, dtype=np.float32)
    names = pa.array(tags, pa.string())
    counts = np.bincount(np.concatenate(stars), minlength=n)
    offsets = pa.array(np.append(0, np.cumsum(counts)).astype(np.int32))
    return {
        "n_conflicts": pa.array(conflicts),
        "confident_class": names.take(pa.array(deepest, mask=~sure)),
        "confident_score": pa.array(score, mask=~sure),
        "confident_classes": pa.ListArray.from_arrays(offsets, names.take(pa.array(np.concatenate(classes)))),
    }
