"""Which stars are worth the eyes of people: the best of each class, some of every class, or those hard to decide.

Works on arrays of one row a star, in an order that does not depend on the table (`selection.stars`), so that the same
stars are chosen from the same scores however they are sorted. May import `core` and `errors`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from scope_ml.core.configuration import option
from scope_ml.errors import ConfigError

__all__ = [
    "DEFAULT_THRESHOLD",
    "Chosen",
    "Labels",
    "Mode",
    "Sampling",
    "Uncertainty",
    "choose",
    "kept_labels",
    "reaches",
]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

Mode = Literal["threshold", "top_n", "uncertainty"]
Uncertainty = Literal["margin", "half", "algorithms", "seeds"]
Labels = Literal["all", "high", "own"]

#: SCoPe's threshold of every class, for scores whose models do not say theirs.
DEFAULT_THRESHOLD = 0.7


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Options of a sample."""

    mode: Mode = option(
        "threshold",
        doc="threshold: at random among high scores until each class has per_class; top_n: the highest scores;"
        " uncertainty: the scores that are hardest to decide",
    )
    per_class: int = option(100, unit="stars", doc="wanted of each class", at_least=1)
    pool: float = option(0.9, doc="mode threshold: lowest score of the stars to draw from", at_least=0, at_most=1)
    threshold: float | None = option(
        None,
        doc=f"score of a member of a class; null: the models' own, {DEFAULT_THRESHOLD} where the table does not say them",
        at_least=0,
        at_most=1,
    )
    uncertainty: Uncertainty = option(
        "margin",
        doc="mode uncertainty: margin: nearest to the threshold; half: nearest to 0.5; algorithms: algorithms furthest"
        " apart; seeds: members of ensembles furthest apart",
    )
    labels: Labels = option(
        "all",
        doc="scores that a chosen star keeps: all; high: those of members, others become 0; own: those of the classes that"
        " it was chosen for, others become 0",
    )
    seed: int = option(9, doc="of the random draw", at_least=0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Chosen:
    """What was chosen.

    Attributes
    ----------
    chosen_for
        Classes for which each star was chosen, bool (n_stars, n_classes).
    pool
        Stars that each class had to choose from, by class.
    short
        Stars that a class lacks, by class, where its pool was too small.
    """

    chosen_for: BoolArray
    pool: Mapping[str, int]
    short: Mapping[str, int]

    @property
    def chosen(self) -> BoolArray:
        """Return which stars were chosen, bool (n_stars,)."""
        return np.asarray(self.chosen_for.any(axis=1))


def reaches(scores: FloatArray, threshold: npt.ArrayLike) -> BoolArray:
    """Return where scores are at least a threshold, of the shape of `scores`; NaN reaches nothing.

    Both are compared as float32, as which scores are kept: the score 0.9 reaches 0.9.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(scores.astype(np.float32) >= np.asarray(threshold, dtype=np.float32))


def choose(
    tags: Sequence[str],
    scores: FloatArray,
    thresholds: FloatArray,
    eligible: BoolArray,
    rules: Sampling,
    unsure: FloatArray | None = None,
) -> Chosen:
    """Choose stars.

    Parameters
    ----------
    tags
        The n_classes classes that are sampled.
    scores
        (n_stars, n_classes); a star without a score of a class (NaN) is not chosen for it.
    thresholds
        Score of a member of each class, (n_classes,).
    eligible
        Which stars may be chosen, bool (n_stars,).
    rules
        How. The draw of a class depends on its name and the seed, not on what other classes there are.
    unsure
        (n_stars, n_classes), the larger the less certain; needed where `rules` measure uncertainty by algorithms or seeds,
        NaN where it cannot be told.

    Notes
    -----
    With ``threshold``, classes with the smallest pools are drawn first, and a star that is chosen for one of them is chosen
    for every class in whose pool it is.
    """
    if rules.mode == "threshold":
        return _drawn(tags, scores, eligible, rules)
    chosen_for = np.zeros(scores.shape, dtype=bool)
    pools: dict[str, int] = {}
    rank = _rank(scores, thresholds, rules, unsure)
    for k, tag in enumerate(tags):
        pool = np.flatnonzero(eligible & np.isfinite(rank[:, k]))
        pools[tag] = len(pool)
        # Stable: of equal ranks the first star, whose id is the smallest.
        chosen_for[pool[np.argsort(-rank[pool, k], kind="stable")[: rules.per_class]], k] = True
    return Chosen(chosen_for=chosen_for, pool=pools, short=_short(tags, pools, rules.per_class))


def _rank(scores: FloatArray, thresholds: FloatArray, rules: Sampling, unsure: FloatArray | None) -> FloatArray:
    """Return what is wanted most as the largest number, NaN for what is not to be chosen; (n_stars, n_classes)."""
    if rules.mode == "top_n":
        return np.where(reaches(scores, thresholds), scores, np.nan)
    if rules.uncertainty in ("margin", "half"):
        return -np.abs(scores - (thresholds if rules.uncertainty == "margin" else 0.5))
    if unsure is None:
        raise ConfigError(
            f"select.uncertainty={rules.uncertainty} needs scores of several {rules.uncertainty}; the table has none"
            " (select.uncertainty=margin needs one score a class)",
            key="select.uncertainty",
        )
    return np.where(np.isfinite(scores), unsure, np.nan)


def _drawn(tags: Sequence[str], scores: FloatArray, eligible: BoolArray, rules: Sampling) -> Chosen:
    """Draw from high scores until each class has enough."""
    high = reaches(scores, rules.pool) & eligible[:, None]
    pools = {tag: int(high[:, k].sum()) for k, tag in enumerate(tags)}
    chosen = np.zeros(len(scores), dtype=bool)
    for k in sorted(range(len(tags)), key=lambda k: (pools[tags[k]], k)):
        wanted = rules.per_class - int((chosen & high[:, k]).sum())
        left = np.flatnonzero(high[:, k] & ~chosen)
        if wanted <= 0 or not len(left):
            continue
        draw = np.random.default_rng([rules.seed, zlib.crc32(tags[k].encode())])
        chosen[left if len(left) <= wanted else draw.choice(left, wanted, replace=False)] = True
    # What counts for a class must not lose its score of it (labels=own).
    return Chosen(chosen_for=high & chosen[:, None], pool=pools, short=_short(tags, pools, rules.per_class))


def _short(tags: Sequence[str], pools: Mapping[str, int], wanted: int) -> dict[str, int]:
    return {tag: wanted - pools[tag] for tag in tags if pools[tag] < wanted}


def kept_labels(scores: FloatArray, thresholds: FloatArray, chosen_for: BoolArray, labels: Labels) -> FloatArray:
    """Return the scores that chosen stars keep, the others set to 0; (n_stars, n_classes).

    ``high`` keeps those of members (at or above the threshold) and those that a star was chosen for.
    """
    if labels == "all":
        return scores
    kept = chosen_for | reaches(scores, thresholds) if labels == "high" else chosen_for
    return np.where(kept | np.isnan(scores), scores, 0.0)
