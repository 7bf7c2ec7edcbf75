"""Phase dispersion minimisation (Stellingwerf 1978, ApJ 224, 953), without weights.

    theta = s^2 / sigma^2,    s^2 = sum_b sum_i (m_i - mean_b)^2 / (N - M),    sigma^2 = sum_i (m_i - mean)^2 / (N - 1)

N points, M of the 20 bins of phase filled; theta is about 1 under noise and smaller is better. Several bands of a star
are brought to one scale first (`bands.normalise`).

There must be more points than bins. Where each point has a bin to itself (N = M, with fewer points) theta is 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from scope_ml.kernels.curve import Curve
from scope_ml.kernels.peaks import SearchOptions
from scope_ml.kernels.search import Method, Statistic

__all__ = ["MIN_N_OBS", "N_BINS", "false_alarm_probability", "method"]

#: Bins of a cycle unless asked otherwise.
N_BINS = 20
#: Fewest points with that many bins.
MIN_N_OBS = N_BINS + 1


def method(prepare: Callable[[Curve, SearchOptions], Statistic], options: SearchOptions | None = None) -> Method:
    """Return what the driver needs of an implementation of this search, for the number of bins in `options`."""
    n_bins = N_BINS if options is None else options.n_phase_bins

    def false_alarm(statistic: NDArray[np.float64], curve: Curve, width: float) -> NDArray[np.float64]:
        n_independent = max(1.0, width * float(curve.time[-1]))
        return false_alarm_probability(statistic, curve.time.size, n_independent, n_bins=n_bins)

    return Method(prepare=prepare, min_n_obs=n_bins + 1, best="min", false_alarm=false_alarm)


def false_alarm_probability(
    statistic: NDArray[np.float64], n_obs: int, n_independent: float, *, n_bins: int = N_BINS
) -> NDArray[np.float64]:
    """Return the probability that white noise gets as low as `statistic` at one of `n_independent` frequencies.

    Under noise ``(N - K) theta / (N - 1)``, the share of the sum of squares within bins, follows the beta distribution
    with parameters (N - K) / 2 and (K - 1) / 2 at each frequency (Schwarzenberg-Czerny 1997, ApJ 489, 941), as long as
    no bin is empty. (Stellingwerf's own F distribution treats the two variances as independent.)

    Parameters
    ----------
    statistic
        theta, float64 (n,).
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
    share = np.clip(within * np.asarray(statistic, dtype=np.float64) / (n_obs - 1), 0.0, 1.0)
    single = betainc(0.5 * within, 0.5 * (n_bins - 1), share)
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(n_independent * np.log1p(-single)), dtype=np.float64)
