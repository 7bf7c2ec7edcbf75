"""From candidates to one period, and how sure it is.

The candidates share a probability by their marginal likelihoods; what is left over goes to the star having no period,
by the number of independent frequencies among which the best was found. The winner's shape says whether it is half the
period of an eclipsing star. May import the rooms of `best`, `curve` and `grid`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scope_ml.kernels.best import Decision
from scope_ml.kernels.best.proposals import Powers, propose
from scope_ml.kernels.best.score import Evidence, Scores, refined, score
from scope_ml.kernels.best.series import CELL, count_cells, make_series
from scope_ml.kernels.best.shape import eclipsing, measure_shape
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid, is_inside, outside

__all__ = ["Ranked", "Tools", "decide_curve"]

#: Power of the spectral window at the difference of two frequencies from which they are aliases.
WINDOW_POWER = 0.2


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The numerics, fast or by definition."""

    powers: Callable[[Curve, int], Powers]
    evidence: Evidence


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """What `best` found in one light curve.

    Attributes
    ----------
    frequency, log_evidence, probability
        Best first, float64 (n,), n at most what was asked for.
    decision
        How the first came about.
    """

    frequency: NDArray[np.float64]
    log_evidence: NDArray[np.float64]
    probability: NDArray[np.float64]
    decision: Decision


def decide_curve(
    tools: Tools,
    curve: Curve,
    grid: FrequencyGrid,
    index: int,
    *,
    n_peaks: int,
    exclude: tuple[tuple[float, float], ...] = (),
) -> Ranked | None:
    """Search one light curve and decide; None where no periodogram has a peak.

    Parameters
    ----------
    tools
        Periodograms and likelihoods.
    curve, grid, index
        The light curve and its place in the grid.
    n_peaks, exclude
        How many periods to return, and the windows [1/d] in which none is proposed.
    """
    series = make_series(curve)
    candidates = propose(tools.powers, curve, grid, index, exclude) if series else None
    if candidates is None:
        return None
    baseline = float(curve.time[-1])
    low, high = grid.bounds(index)
    scores = score(tools.evidence, series, candidates, baseline=baseline, lowest=low, exclude=exclude)
    independent = _independent_share(scores, curve)
    probability = _probability(
        independent * scores.log_evidence, int(grid.n_frequencies[index]) / grid.samples_per_peak
    )
    n_kept = min(n_peaks + 1, scores.frequency.size)
    frequency = np.array([refined(tools.evidence, scores.series, f, baseline) for f in scores.frequency[:n_kept]])
    frequency = outside(np.clip(frequency, low, high), exclude)
    shape = measure_shape(scores.series, float(frequency[0]))
    half = 0.5 * float(frequency[0])
    allowed = half >= low and not is_inside(half, exclude)
    doubled = allowed and eclipsing(shape, baseline * float(frequency[0]))
    alias = _alias(scores, curve)
    decision = Decision(
        period=1.0 / half if doubled else 1.0 / float(frequency[0]),
        confidence=float(probability[0]),
        log_evidence=float(scores.log_evidence[0]),
        proposed_by=int(scores.order[0]),
        doubled=doubled,
        shape=shape,
        alias_period=float(1.0 / scores.frequency[alias]) if alias else float("nan"),
        alias_odds=float(scores.log_evidence[0] - scores.log_evidence[alias]) if alias else float("nan"),
        runner_up_period=1.0 / float(frequency[0 if doubled else 1]) if doubled or n_kept > 1 else float("nan"),
    )
    values, shares = scores.log_evidence[:n_kept], probability[:n_kept]
    if doubled:
        frequency = np.concatenate(([half], frequency))
        values, shares = np.concatenate((values[:1], values)), np.concatenate((shares[:1], shares))
    return Ranked(
        frequency=frequency[:n_peaks], log_evidence=values[:n_peaks], probability=shares[:n_peaks], decision=decision
    )


def _independent_share(scores: Scores, curve: Curve) -> float:
    """Return how many of the points that the bands are worth are not of the same moment in two bands; 1 for one band.

    What the model lacks is common to bands taken together: their likelihoods rank candidates, but are not independent.
    """
    counted = sum(part.n_free + part.share for part in scores.series)
    cells: int = count_cells(curve.time.copy(), CELL / float(scores.frequency[0]))
    return min(1.0, cells / counted)


def _probability(log_evidence: NDArray[np.float64], n_independent: float) -> NDArray[np.float64]:
    """Return the probability of each candidate among all of them and of there being no period."""
    top = max(float(log_evidence.max()), np.log(max(n_independent, 1.0)))
    weight = np.exp(log_evidence - top)
    probability: NDArray[np.float64] = weight / (weight.sum() + max(n_independent, 1.0) * np.exp(-top))
    return probability


def _alias(scores: Scores, curve: Curve) -> int:
    """Return the best candidate that the spectral window confuses with the winner, 0 if there is none."""
    difference = scores.frequency[1:] - scores.frequency[0]
    phase = 2.0 * np.pi * np.outer(difference, curve.time)
    power = np.cos(phase).mean(axis=1) ** 2 + np.sin(phase).mean(axis=1) ** 2
    found = np.flatnonzero(power >= WINDOW_POWER)
    return int(found[0]) + 1 if found.size else 0
