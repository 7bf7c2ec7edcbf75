"""Folds of whole stars, and scores with intervals over stars, for `benchmarks.quality`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interval", "average_precisions", "draws", "f1_scores", "folds", "interval", "macro_f1"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A value with the middle 95 % of its resamples."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

    def signed(self) -> str:
        """Return it as a difference."""
        return f"{self.value:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


def interval(value: float, drawn: Floats) -> Interval:
    """Return a value with its interval; resamples without a value are left out."""
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))


def folds(group: Ints, strata: NDArray[np.str_], n_folds: int, seed: int) -> Ints:
    """Return the fold of each row: stars whole, every stratum spread evenly.

    Parameters
    ----------
    group, strata
        Star and stratum of each row, (n,); a star has the stratum of its first row.
    n_folds, seed
        How many, and the seed of the order within a stratum.
    """
    stars, first, star = np.unique(group, return_index=True, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(stars.size)
    laid = shuffled[np.argsort(strata[first][shuffled], kind="stable")]
    fold = np.empty(stars.size, dtype=np.int64)
    fold[laid] = np.arange(stars.size) % n_folds
    return fold[star]


def draws(group: Ints, n_resamples: int, seed: int) -> Floats:
    """Return how often each row counts in each resample of the stars, float64 (n_resamples + 1, n), the first all ones."""
    stars, star = np.unique(group, return_inverse=True)
    random = np.random.default_rng(seed)
    counts = random.multinomial(stars.size, np.full(stars.size, 1.0 / stars.size), size=n_resamples)
    return np.concatenate([np.ones((1, stars.size)), counts])[:, star].astype(np.float64)


def average_precisions(y: NDArray[np.int8], score: Floats, weight: Floats) -> Floats:
    """Return the average precision under each row of weights (m, n); rows of one score count at once."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), score.size - 1)
    positive = np.cumsum(weight[:, order] * (y[order] == 1), axis=1)[:, last]
    every = np.cumsum(weight[:, order], axis=1)[:, last]
    gained = np.diff(positive, axis=1, prepend=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.sum(gained * np.where(every > 0, positive / every, 0.0), axis=1) / positive[:, -1]
    return found


def f1_scores(y: NDArray[np.int8], called: NDArray[np.bool_], weight: Floats) -> Floats:
    """Return F1 under each row of weights (m, n)."""
    hit = weight @ ((y == 1) & called)
    with np.errstate(invalid="ignore"):
        found: Floats = 2 * hit / (weight @ (y == 1) + weight @ called)
    return found


def macro_f1(y: Ints, predicted: Ints, weight: Floats) -> Floats:
    """Return the mean over the classes of F1 under each row of weights; a class that was not drawn is left out."""
    each = [f1_scores((y == k).astype(np.int8), predicted == k, weight) for k in np.unique(y)]
    found: Floats = np.nanmean(np.stack(each), axis=0)
    return found
