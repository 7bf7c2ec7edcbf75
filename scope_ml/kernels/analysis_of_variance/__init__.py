"""Analysis of variance of phase bins (Schwarzenberg-Czerny 1989, MNRAS 241, 153), without weights.

    F = ((N - K) / (K - 1)) * s1 / s2,    s1 = sum_b n_b (mean_b - mean)^2,    s2 = sum_b sum_i (m_i - mean_b)^2

N points in K bins of phase, 20 by default; K counts empty bins too, as in SCoPe. Larger is better. Several bands of a
star are brought to one scale first (`bands.normalise`).

At most N - K degrees of freedom are left within bins, so there must be more points than bins; with fewer, F is 0 at
every frequency. A fit that leaves less than `LEAST_WITHIN` of the sum of squares within the bins, as happens by chance
where a few magnitudes were rounded to the same value, counts as leaving that much: F is never infinite, and a perfect
fit is the best one (SCoPe makes it 0, the worst).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from scope_ml.kernels.curve import Curve
from scope_ml.kernels.peaks import SearchOptions
from scope_ml.kernels.search import Method, Statistic

__all__ = ["LEAST_WITHIN", "MIN_N_OBS", "N_BINS", "false_alarm_probabilities", "false_alarm_probability", "method"]

#: Bins of a cycle unless asked otherwise, as in SCoPe.
N_BINS = 20
#: Fewest points for which F is defined with that many bins.
MIN_N_OBS = N_BINS + 1
#: Least share of the sum of squares within bins. Photometry does not come near it: 1e-9 of the variance is 0.03
#: millimagnitudes of noise on an amplitude of one magnitude; float64 sums are good to 1e-15 of it.
LEAST_WITHIN = 1e-9


def method(prepare: Callable[[Curve, SearchOptions], Statistic], options: SearchOptions | None = None) -> Method:
    """Return what the driver needs of an implementation of this search, for the number of bins in `options`."""
    n_bins = N_BINS if options is None else options.n_phase_bins

    def false_alarm(statistic: NDArray[np.float64], curve: Curve, width: float) -> NDArray[np.float64]:
        n_independent = max(1.0, width * float(curve.time[-1]))
        return false_alarm_probability(statistic, curve.time.size, n_independent, n_bins=n_bins)

    return Method(prepare=prepare, min_n_obs=n_bins + 1, false_alarm=false_alarm)


def false_alarm_probability(
    statistic: NDArray[np.float64], n_obs: int, n_independent: float, *, n_bins: int = N_BINS
) -> NDArray[np.float64]:
    """Return the probability that white noise reaches `statistic` at one of `n_independent` frequencies.

    Under noise F follows Fisher's distribution with K - 1 and N - K degrees of freedom at each frequency
    (Schwarzenberg-Czerny 1997, ApJ 489, 941), as long as no bin is empty.

    Parameters
    ----------
    statistic
        F, float64 (n,).
    n_obs
        Points N, more than `n_bins`.
    n_independent
        Number of independent frequencies, about the width of the band searched times the baseline.
    n_bins
        Bins K.

    Returns
    -------
    NDArray
        Float64 (n,), in [0, 1]; relative accuracy is kept down to the smallest float64. NaN with too few points.
    """
    within = float(n_obs - n_bins)
    if within <= 0:
        return np.full(np.shape(statistic), np.nan)
    return _probability(np.asarray(statistic, dtype=np.float64), within, n_independent, n_bins)


def false_alarm_probabilities(
    statistic: NDArray[np.float64], n_obs: NDArray[np.int64], n_independent: NDArray[np.float64], *, n_bins: int
) -> NDArray[np.float64]:
    """Return the probabilities of many light curves at once, each of more than `n_bins` points; the arrays broadcast."""
    return _probability(statistic, (n_obs - n_bins).astype(np.float64), n_independent, n_bins)


def _probability(
    statistic: NDArray[np.float64],
    within: NDArray[np.float64] | float,
    n_independent: NDArray[np.float64] | float,
    n_bins: int,
) -> NDArray[np.float64]:
    # Not as 1 - x: the share is small where F is large.
    share = within / (within + (n_bins - 1) * statistic)
    single = betainc(0.5 * within, 0.5 * (n_bins - 1), share)
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(n_independent * np.log1p(-single)), dtype=np.float64)
