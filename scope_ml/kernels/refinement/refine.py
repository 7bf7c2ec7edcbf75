"""A second look at the period of one light curve, once the class of the star is known.

The light curve is fitted at half the period, at the period and at twice it (`kernels.best.likelihood`); the one that
explains it best is its shortest cycle. Whether that, or twice that, is the period follows from what the class expects
and from the number of minima of the curve. Starting from P/2, P or 2 P gives the same period. May import `core`,
`kernels.best`, `kernels.curve` and `expectations`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scope_ml.kernels.best.likelihood import evidence, unexplained
from scope_ml.kernels.best.series import Series, downweighted, make_series, worth
from scope_ml.kernels.best.shape import measure_shape, one_minimum
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.refinement.expectations import Minima, expected_minima

__all__ = ["RefinedPeriod", "refine_curve"]

#: Trial frequencies on each side and their spacing, in units of ``1 / baseline``: the period given may be that of a
#: grid, or have been found by a method that is a little off.
N_SIDE = 20
SPACING = 0.02

#: Steps by a factor of two that are taken at most to the shortest cycle.
N_STEPS = 2

#: Longest cycle of one hump [d] that is taken for half the orbit of a distorted star among spotted stars: wider orbits
#: distort giants only.
LONGEST_HALF_ORBIT = 20.0

#: Scale of the logarithm of even over odd harmonics on which one minimum a cycle becomes two, for the confidence.
SOFTNESS = 0.2

#: Share of spotted stars of known period whose period is that which the minima say: 4 in 5 (see docs/period_search.md).
SPOTTED = 0.8

#: Factors of classes whose meaning is that the period found is wrong by a factor.
FIXED = {Minima.HALF_FOUND: 2.0, Minima.DOUBLE_FOUND: 0.5}


@dataclass(frozen=True, kw_only=True)
class RefinedPeriod:
    """A period after the second look.

    Attributes
    ----------
    period
        Period [d]; moved to the best fit near `factor` times the period given.
    factor
        A power of two: the multiple of the period given that was chosen.
    confidence
        Probability in [0, 1] that the choice is right, if the period is one of these multiples and the class is right;
        0 where the light curve could not be looked at and the period is the one given.
    """

    period: float
    factor: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class _Cycle:
    """Best fit near a multiple of the period."""

    factor: float
    frequency: float
    log_evidence: float


def refine_curve(curve: Curve, period: float, class_tag: str) -> RefinedPeriod:
    """Choose among the period [d], its half and its double by what a class expects; see `refine_period`."""
    minima = expected_minima(class_tag)
    if minima in FIXED:
        return RefinedPeriod(period=FIXED[minima] * period, factor=FIXED[minima], confidence=1.0)
    if minima is Minima.ANY:
        return RefinedPeriod(period=period, factor=1.0, confidence=1.0)
    series = make_series(curve)
    if not series:
        return RefinedPeriod(period=period, factor=1.0, confidence=0.0)
    cycle, certainty, series = _shortest_cycle(series, period, float(curve.time[-1]), minima)
    doubled = False
    if minima is not Minima.ONE:
        shape = measure_shape(series, cycle.frequency)
        too_long = minima is Minima.TWO_OR_ONE and 1.0 / cycle.frequency > LONGEST_HALF_ORBIT
        doubled = one_minimum(shape) and not too_long
        margin = abs(np.log(max(shape.even_over_odd, 1e-9))) / SOFTNESS
        certainty *= (SPOTTED if minima is Minima.TWO_OR_ONE else 1.0) / (1.0 + float(np.exp(-min(margin, 50.0))))
    multiple = 2.0 if doubled else 1.0
    return RefinedPeriod(
        period=multiple / cycle.frequency, factor=multiple * cycle.factor, confidence=min(1.0, certainty)
    )


def _shortest_cycle(
    series: list[Series], period: float, baseline: float, minima: Minima
) -> tuple[_Cycle, float, list[Series]]:
    """Return the multiple of the period that explains the curve best, its probability, and the series as weighted."""
    counted = [worth(part, period) for part in series]
    cycles = {factor: _fit(counted, factor, period, baseline) for factor in (0.5, 1.0, 2.0)}
    weighed = [downweighted(part, _explained(part, [cycle.frequency for cycle in cycles.values()])) for part in counted]
    cycles = {factor: _fit(weighed, factor, period, baseline) for factor in cycles}
    best = max(cycles.values(), key=lambda cycle: cycle.log_evidence)
    for _ in range(N_STEPS - 1):
        onward = best.factor**2
        if onward in (0.25, 4.0):
            cycles[onward] = _fit(weighed, onward, period, baseline)
            best = max(cycles.values(), key=lambda cycle: cycle.log_evidence)
    if minima is Minima.ONE and best.factor > 1.0:
        best = cycles[1.0]
    value = np.array([cycle.log_evidence for cycle in cycles.values()])
    certainty = float(np.exp(best.log_evidence - value.max()) / np.exp(value - value.max()).sum())
    return best, certainty, weighed


def _fit(series: list[Series], factor: float, period: float, baseline: float) -> _Cycle:
    """Return the best fit near a multiple of a period."""
    offset: NDArray[np.float64] = np.arange(-N_SIDE, N_SIDE + 1, dtype=np.float64) * (SPACING / baseline)
    trial = 1.0 / (factor * period) + offset
    # A frequency that the offsets would take to zero or below has no such neighbours.
    trial = trial[trial > 0.25 / (factor * period)]
    value = np.sum([evidence(part, trial)[:, 0] for part in series], axis=0)
    top = int(value.argmax())
    return _Cycle(factor=factor, frequency=float(trial[top]), log_evidence=float(value[top]))


def _explained(series: Series, frequencies: list[float]) -> NDArray[np.float64]:
    """Return the weights (n_obs,) of the points: the largest that any of the fits gives."""
    fits = [(f, *evidence(series, np.array([f]))[0, 1:].tolist()) for f in frequencies]
    weights: NDArray[np.float64] = np.max([unexplained(series, *fit) for fit in fits], axis=0)
    return weights
