"""One period a star, on which most of its light curves agree.

Each light curve votes with the square root of its weight (its signal to noise). Periods agree if their frequencies do;
half and twice a period are harmonics of it, which speak for the same star but not for the same period. The winner is
the light curve for whose period and harmonics most votes are, among these the one for whose period itself most are, then
the one that is surest. A star's period is never an average. May import `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["PeriodVotes", "agree", "vote"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: Light curves that are compared at once, each with all of its star.
CURVES = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class PeriodVotes:
    """How the light curves of n_stars voted.

    Attributes
    ----------
    chosen
        Place (in the order of the light curves that were given) of the one whose period is the star's, int64 (n_stars,);
        -1 where none has a period.
    n_periods
        Light curves with a period, int32 (n_stars,).
    n_agree
        Those with the star's period, the chosen one among them, int32 (n_stars,).
    n_harmonic
        Those with half or twice of it, int32 (n_stars,).
    """

    chosen: IntArray
    n_periods: npt.NDArray[np.int32]
    n_agree: npt.NDArray[np.int32]
    n_harmonic: npt.NDArray[np.int32]


def agree(first: FloatArray, second: FloatArray, tolerance: float, resolution: float) -> BoolArray:
    """Return which frequencies are the same, with broadcasting.

    Parameters
    ----------
    first, second
        Frequencies; NaN agrees with nothing.
    tolerance
        Largest difference as a share of the lower one; far below 1, so that no frequency agrees with its own double.
    resolution
        Largest difference, in their unit.
    """
    with np.errstate(invalid="ignore"):
        allowed = np.minimum(tolerance * np.minimum(first, second), resolution)
        same: BoolArray = np.abs(first - second) <= allowed
    return same


def vote(
    starts: IntArray,
    period: FloatArray,
    weight: FloatArray,
    sureness: Sequence[FloatArray],
    *,
    tolerance: float,
    resolution: float,
) -> PeriodVotes:
    """Let the light curves of each star vote on its period.

    Parameters
    ----------
    starts
        Where each star begins among the light curves, int64 (n_stars,).
    period, weight
        Of the light curves, star by star, float64 (n,): a period that is not above 0 is none.
    sureness
        What says how sure they are of their periods, the first that differs decides, float64 (n,) each; NaN is 0.
    tolerance, resolution
        As in `agree`, of frequencies [1/d].
    """
    n_stars = len(starts)
    valid = np.isfinite(period) & (period > 0)
    places = np.flatnonzero(valid)
    star = np.searchsorted(starts, places, side="right") - 1
    n_periods = np.bincount(star, minlength=n_stars).astype(np.int64)
    chosen = np.full(n_stars, -1, dtype=np.int64)
    n_agree, n_harmonic = np.zeros(n_stars, dtype=np.int32), np.zeros(n_stars, dtype=np.int32)
    first = np.cumsum(n_periods) - n_periods
    alone = np.flatnonzero(n_periods == 1)
    chosen[alone] = places[first[alone]]
    n_agree[alone] = 1
    for stars_here, members in _by_size(n_periods, first):
        at = places[members]
        voters = _Voters(
            frequency=1.0 / period[at],
            votes=np.sqrt(weight[at]),
            sureness=tuple(np.nan_to_num(measure[at]) for measure in sureness),
        )
        best, same, harmonic = _winners(voters, tolerance, resolution)
        chosen[stars_here] = at[np.arange(len(at)), best]
        n_agree[stars_here], n_harmonic[stars_here] = same, harmonic
    return PeriodVotes(chosen=chosen, n_periods=n_periods.astype(np.int32), n_agree=n_agree, n_harmonic=n_harmonic)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Voters:
    """Light curves of m stars that have k each, float64 (m, k)."""

    frequency: FloatArray
    votes: FloatArray
    sureness: tuple[FloatArray, ...]


def _by_size(counts: IntArray, first: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield stars with equally many members, two or more, and their members (m, k), in blocks of bounded size."""
    for size in np.unique(counts[counts > 1]).tolist():
        of_size = np.flatnonzero(counts == size)
        block = max(CURVES // size, 1)
        for low in range(0, len(of_size), block):
            here = of_size[low : low + block]
            yield here, first[here, None] + np.arange(size)


def _winners(voters: _Voters, tolerance: float, resolution: float) -> tuple[IntArray, IntArray, IntArray]:
    """Return the winning column of each star, and how many light curves agree with it, and as harmonics; (m,) each."""
    m, k = voters.frequency.shape
    family, support = np.empty((m, k)), np.empty((m, k))
    n_same, n_harmonic = np.empty((m, k), dtype=np.int64), np.empty((m, k), dtype=np.int64)
    f, votes = voters.frequency, voters.votes
    for column in range(k):
        one = f[:, column, None]
        same = agree(f, one, tolerance, resolution)
        # Frequencies are compared on the scale of the lower one of the two.
        harmonic = agree(f, 0.5 * one, tolerance, resolution) | agree(0.5 * f, one, tolerance, resolution)
        n_same[:, column], n_harmonic[:, column] = same.sum(axis=1), harmonic.sum(axis=1)
        # One light curve agrees with nobody. Votes are added from the smallest on: the same ones have the same sum.
        family[:, column] = _added(votes, same | harmonic)
        support[:, column] = _added(votes, same)
    candidates = np.ones((m, k), dtype=bool)
    for measure in (family, support, *voters.sureness, votes):
        value = np.where(candidates, measure, -np.inf)
        candidates &= value >= value.max(axis=1, keepdims=True)
    best = candidates.argmax(axis=1)
    rows = np.arange(m)
    return best, n_same[rows, best], n_harmonic[rows, best]


def _added(votes: FloatArray, counted: BoolArray) -> FloatArray:
    total = np.sort(np.where(counted, votes, 0.0), axis=1).sum(axis=1)
    return np.where(counted.sum(axis=1) > 1, total, 0.0)
