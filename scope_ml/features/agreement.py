"""How far the best periods of several methods agree: scores of SCoPe (2026), per light curve.

Two periods match if their ratio is one of `RATIOS` within `TOLERANCE`; periods below `SHORTEST` and NaN match nothing.
With M methods and the best N distinct periods of each, ranked from 1, over the M (M - 1) / 2 pairs of methods:

=====================  =============================================================================================
n_agree_pairs          pairs in which any two periods match
n_total_pairs          pairs
agree_score            n_agree_pairs / n_total_pairs
agree_strict           share of pairs whose best periods match
agree_weighted         mean over pairs of the largest 1 / (rank_a rank_b) of two matching periods, 0 without a match
best_agree_period      first method's period of the first match, pairs in order, then its rank [d]
best_consensus_period  period with most votes [d]: each period brings, from each other method, 1 / (rank rank_other)
                       for the best-ranked match there; votes go to the first period in order that it matches
=====================  =============================================================================================

SCoPe compares neighbouring points of one grid, so that one peak fills all its N periods; here the N are distinct peaks,
so that ranks mean something. The order of the methods matters where periods match within rounding of the tolerance, and
for `best_agree_period`: give it fixed. May import nothing of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

__all__ = ["RATIOS", "SHORTEST", "TOLERANCE", "agreement", "matches"]

#: Ratios of two periods that describe one variation: the same, and harmonics up to the third.
RATIOS = (1.0, 0.5, 2.0, 1.0 / 3.0, 3.0)

#: Relative deviation from such a ratio at which periods do not match any more.
TOLERANCE = 0.05

#: Shortest period [d] that may match: ten minutes; below lie the ends of fine grids.
SHORTEST = 0.007


def matches(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether periods [d] match, element by element with broadcasting; see the module."""
    ratio = first / second
    close = np.zeros(ratio.shape, dtype=np.bool_)
    for harmonic in RATIOS:
        close |= np.abs(ratio / harmonic - 1.0) < TOLERANCE
    return close & (first >= SHORTEST) & (second >= SHORTEST)


def agreement(periods: Sequence[NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Return the scores of each light curve.

    Parameters
    ----------
    periods
        Best periods [d] of each method, best first, float64 (n_sources, n_periods) each, NaN where there are fewer.
        `n_periods` may differ from method to method.

    Returns
    -------
    dict
        The columns of the module's table, float64 (n_sources,).
    """
    n_sources = periods[0].shape[0]
    owner = np.concatenate([np.full(one.shape[1], method) for method, one in enumerate(periods)])
    rank = np.concatenate([np.arange(1, one.shape[1] + 1) for one in periods])
    every = np.concatenate(periods, axis=1)
    match = matches(every[:, :, None], every[:, None, :])
    pairs = list(combinations(range(len(periods)), 2))
    n_agree, n_strict, weighted = np.zeros(n_sources), np.zeros(n_sources), np.zeros(n_sources)
    first = np.full(n_sources, np.nan)
    for a, b in pairs:
        rows, columns = np.flatnonzero(owner == a), np.flatnonzero(owner == b)
        block = match[:, rows[:, None], columns]
        agrees: NDArray[np.bool_] = np.any(block, axis=2)
        any_agrees: NDArray[np.bool_] = np.any(agrees, axis=1)
        n_agree += any_agrees
        n_strict += block[:, 0, 0]
        weight = 1.0 / (rank[rows][:, None] * rank[columns])
        weighted += np.where(block, weight, 0.0).max(axis=(1, 2))
        found = every[np.arange(n_sources), rows[agrees.argmax(axis=1)]]
        first = np.where(np.isnan(first) & any_agrees, found, first)
    n_pairs = len(pairs)
    return {
        "n_agree_pairs": n_agree,
        "n_total_pairs": np.full(n_sources, float(n_pairs)),
        "agree_score": n_agree / max(n_pairs, 1),
        "agree_strict": n_strict / max(n_pairs, 1),
        "agree_weighted": weighted / max(n_pairs, 1),
        "best_agree_period": first,
        "best_consensus_period": _consensus(every, match, owner, rank),
    }


def _consensus(
    every: NDArray[np.float64], match: NDArray[np.bool_], owner: NDArray[np.int64], rank: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the period with most votes of each light curve; `every` and `match` run over all methods' periods."""
    n_sources, n_periods = every.shape
    source = np.arange(n_sources)
    vote = np.zeros((n_sources, n_periods))
    for method in np.unique(owner):
        columns = np.flatnonzero(owner == method)
        theirs = match[:, :, columns]
        weight = 1.0 / (rank * rank[columns][theirs.argmax(axis=2)])
        vote += np.where(theirs.any(axis=2) & (owner != method), weight, 0.0)
    votes = np.zeros((n_sources, n_periods))
    candidate = np.zeros((n_sources, n_periods), dtype=np.bool_)
    for index in range(n_periods):
        seen = match[:, index, :] & candidate
        known = seen.any(axis=1)
        target = np.where(known, seen.argmax(axis=1), index)
        votes[source, target] += vote[:, index]
        candidate[:, index] = ~known
    winner = votes.argmax(axis=1)
    return np.where(votes[source, winner] > 0, every[source, winner], np.nan)
