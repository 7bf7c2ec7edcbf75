"""Marginal likelihoods of the candidates of one light curve, made robust, and the frequencies at which they are highest.

May import `likelihood`, `proposals` and `series` of `best`, and `grid`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scope_ml.kernels.best.likelihood import unexplained
from scope_ml.kernels.best.proposals import SAME, Candidates
from scope_ml.kernels.best.series import Series, downweighted, worth
from scope_ml.kernels.grid import is_inside

__all__ = ["Evidence", "Scores", "refined", "score"]

#: Trial frequencies on each side of a candidate and their spacing, in units of ``1 / baseline``.
N_SIDE = 6
SPACING = 0.06

#: The same around a frequency that is reported.
FINE_SPACING = 0.01

#: Candidates that may explain a point; a point that none of them explains loses weight.
N_EXPLAIN = 8

#: ``(series, frequencies (n,)) -> log evidence, strength, decay (n, 3)``
Evidence = Callable[[Series, NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Candidates, best first.

    Attributes
    ----------
    frequency, log_evidence
        Best frequency of each [1/d] and its value, float64 (n,).
    order
        Fewest harmonics whose periodogram proposed it, int64 (n,).
    series
        The series with the weights and the count of points with which they were scored.
    """

    frequency: NDArray[np.float64]
    log_evidence: NDArray[np.float64]
    order: NDArray[np.int64]
    series: list[Series]


def score(
    evidence: Evidence,
    series: list[Series],
    candidates: Candidates,
    *,
    baseline: float,
    lowest: float,
    exclude: tuple[tuple[float, float], ...] = (),
) -> Scores:
    """Score the candidates twice: to find the points that none explains, and with these down-weighted.

    The points are counted as independent on the time scale of the strongest sinusoid first, of the best candidate then.
    Twice the period of the best is a candidate too: cycles that alternate have no peak of their own as a rule.

    Parameters
    ----------
    evidence, series, candidates
        What is scored, and by what.
    baseline, lowest
        Length of the light curve [d], and lowest frequency of the grid [1/d].
    exclude
        Windows [1/d] in which twice the best period is no candidate.
    """
    side = np.arange(-N_SIDE, N_SIDE + 1, dtype=np.float64) * (SPACING / baseline)
    trial = candidates.frequency[:, None] + side
    counted = [worth(part, 1.0 / candidates.strongest) for part in series]
    fits = [evidence(part, trial.ravel()) for part in counted]
    top, order = _best(trial, fits)
    weighed = [
        downweighted(part, _explained(part, trial.ravel(), fit, top[order[:N_EXPLAIN]]))
        for part, fit in zip(series, fits, strict=True)
    ]
    winner = float(trial.flat[top[order[0]]])
    if not is_inside(0.5 * winner, exclude):
        candidates = _with_half(candidates, winner, baseline, lowest)
    trial = candidates.frequency[:, None] + side
    counted = [worth(part, 1.0 / winner) for part in weighed]
    fits = [evidence(part, trial.ravel()) for part in counted]
    top, order = _best(trial, fits)
    chosen = top[order]
    return Scores(
        frequency=trial.ravel()[chosen],
        log_evidence=_total(fits)[chosen],
        order=candidates.order[order],
        series=counted,
    )


def refined(evidence: Evidence, series: list[Series], frequency: float, baseline: float) -> float:
    """Return the frequency [1/d] of highest evidence near one that `score` returned."""
    side = round(SPACING / FINE_SPACING)
    trial = frequency + np.arange(-side, side + 1, dtype=np.float64) * (FINE_SPACING / baseline)
    value = _total([evidence(part, trial) for part in series])
    top = int(value.argmax())
    if not 0 < top < trial.size - 1:
        return float(trial[top])
    curvature = value[top - 1] - 2.0 * value[top] + value[top + 1]
    shift = 0.5 * (value[top - 1] - value[top + 1]) / curvature if curvature < 0 else 0.0
    return float(trial[top] + shift * FINE_SPACING / baseline)


def _with_half(candidates: Candidates, winner: float, baseline: float, lowest: float) -> Candidates:
    """Return the candidates with half the winner's frequency, if it is in the grid and not among them."""
    half = 0.5 * winner
    if half < lowest or np.abs(candidates.frequency - half).min() < SAME / baseline:
        return candidates
    order = candidates.order[np.abs(candidates.frequency - winner).argmin()]
    return replace(
        candidates,
        frequency=np.append(candidates.frequency, half),
        order=np.append(candidates.order, order),
    )


def _total(fits: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the log evidence of all series together."""
    total: NDArray[np.float64] = np.sum([fit[:, 0] for fit in fits], axis=0)
    return total


def _best(trial: NDArray[np.float64], fits: list[NDArray[np.float64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the place in the flat trial frequencies of each candidate's best, and the candidates, best first."""
    value = _total(fits).reshape(trial.shape)
    top = value.argmax(axis=1) + np.arange(trial.shape[0]) * trial.shape[1]
    return top, np.argsort(-value.max(axis=1), kind="stable")


def _explained(
    series: Series, trial: NDArray[np.float64], fit: NDArray[np.float64], places: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the weights (n_obs,) of the points: the largest that any of the candidates gives."""
    weights = [unexplained(series, float(trial[at]), float(fit[at, 1]), float(fit[at, 2])) for at in places]
    largest: NDArray[np.float64] = np.max(weights, axis=0)
    return largest
