"""Phase-folding weighted: signal of the weighted means of phase bins (Coughlin et al. 2021, MNRAS 505, 2954).

    S = sum_b (sum_i w_i m_i)^2 / (2 sum_i w_i),    w = 1 / mag_err^2

over the filled ones of 20 bins of phase, after the weighted mean is removed from the magnitudes (SCoPe's newer version
leaves it in, and S is then a constant plus rounding). S is half of what the means of the bins take off chi2, so it is
the logarithm of a likelihood ratio. Larger is better. Several bands of a star are brought to one scale first
(`bands.normalise`). There must be more points than bins: with fewer, each has a bin to itself wherever it can.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc

from scope_ml.kernels.curve import Curve
from scope_ml.kernels.peaks import SearchOptions
from scope_ml.kernels.search import Method, Statistic

__all__ = ["MIN_N_OBS", "N_BINS", "false_alarm_probability", "method"]

#: Bins of a cycle unless asked otherwise, as in SCoPe.
N_BINS = 20
#: Fewest points with that many bins.
MIN_N_OBS = N_BINS + 1


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
    """Return the probability that noise of the stated errors reaches `statistic` at one of `n_independent` frequencies.

    Under such noise 2 S follows the chi2 distribution with K - 1 degrees of freedom at each frequency, as long as no
    bin is empty. Errors that are too small make it too small: it takes them at their word.

    Parameters
    ----------
    statistic
        S, float64 (n,).
    n_obs
        Points, more than `n_bins`.
    n_independent
        Number of independent frequencies, about the width of the band searched times the baseline.
    n_bins
        Bins K.

    Returns
    -------
    NDArray
        Float64 (n,), in [0, 1]; NaN with too few points.
    """
    if n_obs <= n_bins:
        return np.full(np.shape(statistic), np.nan)
    single = gammaincc(0.5 * (n_bins - 1), np.asarray(statistic, dtype=np.float64))
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(n_independent * np.log1p(-single)), dtype=np.float64)
