"""The recommended period search: candidates from several periodograms, decided by a penalised fit and by shape.

1. The periodograms of one, two and three harmonics over the whole grid propose their highest peaks (`proposals`).
2. Each candidate, moved to its best frequency, gets the marginal likelihood of a smooth periodic curve of eight
   harmonics: amplitudes are integrated out under a prior that falls with the harmonic, so that a sharp curve may be
   sharp and a sinusoid pays nothing for it; the noise is unknown; points that move together count as one; points that
   no candidate explains lose weight (`likelihood`, `series`, `score`). The likelihood is that of the times at which the
   star was observed, so it weighs the aliases of day and year by itself.
3. The winner is doubled where its shape is that of an eclipsing star folded with half its period (`shape`).

`statistic` of the peaks is the logarithm of the marginal likelihood over that of a constant star, `significance` the
probability of the candidate among all of them and of there being no period (`decide`), both documented in
``docs/period_search.md``. The constants were chosen on real stars of known period; none of them knows a period.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scope_ml.kernels.best.shape import Shape
from scope_ml.kernels.peaks import PeriodogramPeaks

__all__ = ["MIN_N_OBS", "BestPeaks", "Decision"]

#: Fewest points, at as many times, that are searched.
MIN_N_OBS = 8


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How the period of one light curve came about.

    Attributes
    ----------
    period
        The recommended period [d].
    confidence
        Probability in [0, 1] that the best candidate, or a multiple of it, is the period.
    log_evidence
        Logarithm of its marginal likelihood over that of a constant star.
    proposed_by
        Fewest harmonics whose periodogram proposed it: 1, 2 or 3.
    doubled
        Whether `period` is twice that of the best candidate, by its shape.
    shape
        Shape of the curve folded with the period of the best candidate.
    alias_period
        Best candidate [d] that the times of observation confuse with this one; NaN if there is none.
    alias_odds
        How much lower its log evidence is.
    runner_up_period
        Next best period [d]; NaN if there is none.
    """

    period: float
    confidence: float
    log_evidence: float
    proposed_by: int
    doubled: bool
    shape: Shape
    alias_period: float
    alias_odds: float
    runner_up_period: float


@dataclass(frozen=True, kw_only=True)
class BestPeaks(PeriodogramPeaks):
    """Peaks of `best`, and the decision on each light curve, None where there is no period."""

    decisions: list[Decision | None] = field(default_factory=list)
