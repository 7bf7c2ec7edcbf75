"""Generalised Lomb-Scargle periodogram: weights ``1 / mag_err**2`` and a floating mean.

    p(f) = (chi2_mean - chi2_sinusoid(f)) / chi2_mean,    in [0, 1]

where the sinusoid has a constant fitted with it (Zechmeister & Kuerster 2009, A&A 496, 577). Larger is better.
Power does not depend on where time starts. Frequencies at which the fit is singular (all epochs at the same phase,
as at the sampling frequency of an even cadence) have power 0.

Several bands share the phase and, once each is scaled by the star's own scatter in it (`bands.normalise`), the
amplitude; each has its own constant.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from scope_ml.kernels.curve import Curve

__all__ = [
    "MIN_N_OBS",
    "SINGULAR",
    "false_alarm_probabilities",
    "false_alarm_probability",
    "log_false_alarm_probability",
]

#: A constant and a sinusoid have three parameters: three distinct times fit every frequency exactly.
MIN_N_OBS = 4

#: Determinant of the normalised 2 x 2 normal matrix below which a frequency counts as singular: it is 0.25 for well
#: spread phases, and with less than this no digit of the power is left in float64.
SINGULAR = 1e-14


def log_false_alarm_probability(power: NDArray[np.float64], curve: Curve, max_frequency: float) -> NDArray[np.float64]:
    """Return the natural logarithm of the probability that noise alone gives such a power at any frequency.

    The upper bound of Baluev 2008, MNRAS 385, 1279, for power normalised by the residuals about the mean.

    Parameters
    ----------
    power
        Float64 (n,), in [0, 1].
    curve
        Light curve that was searched.
    max_frequency
        Width of the band that was searched [1/d].
    """
    n_free = curve.time.size - curve.n_bands - 2
    if n_free < 1:
        return np.zeros(np.shape(power))
    weight = curve.mag_err**-2.0
    weight /= weight.sum()
    spread = weight @ (curve.time - weight @ curve.time) ** 2
    width = max_frequency * np.sqrt(4.0 * np.pi * spread)
    return _log_probability(np.asarray(power, dtype=np.float64), np.asarray(n_free), width)


def false_alarm_probabilities(
    power: NDArray[np.float64], n_obs: NDArray[np.int64], spread: NDArray[np.float64], width: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the probabilities of many light curves of one band at once; the arrays broadcast.

    Parameters
    ----------
    power
        Float64, in [0, 1].
    n_obs
        Points of each light curve, `MIN_N_OBS` or more.
    spread
        Variance of its times by its weights [d^2].
    width
        Width of the band that was searched [1/d].
    """
    return np.asarray(np.exp(_log_probability(power, n_obs - 3, width * np.sqrt(4.0 * np.pi * spread))))


def _log_probability(
    power: NDArray[np.float64], n_free: NDArray[np.int64], width: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the logarithm from the degrees of freedom left and the width of Baluev's formula; the arrays broadcast."""
    power = np.clip(power, 0.0, 1.0)
    # sqrt(2 / nu) Gamma(nu / 2) / Gamma((nu - 1) / 2) with the degrees of freedom nu about the mean.
    n_null = n_free + 2
    log_ratio = 0.5 * np.log(2.0 / n_null) + gammaln(0.5 * n_null) - gammaln(0.5 * (n_null - 1))
    with np.errstate(divide="ignore"):
        left = np.log1p(-power)
        log_single = 0.5 * n_free * left
        # With one degree of freedom left the power has no part in it: not 0 times the logarithm of 0.
        crossing = np.where(n_free > 1, 0.5 * (n_free - 1) * np.where(n_free > 1, left, 0.0), 0.0)
        log_crossings = log_ratio + np.log(width) + crossing + 0.5 * np.log(0.5 * n_null * power)
    # 1 - (1 - single) exp(-crossings), from its logarithms where both are tiny.
    total = np.logaddexp(log_single, log_crossings)
    tiny = total < -30.0
    result = np.where(tiny, total, 0.0)
    single, crossings = np.exp(log_single[~tiny]), np.exp(log_crossings[~tiny])
    with np.errstate(divide="ignore"):
        result[~tiny] = np.log(-np.expm1(np.log1p(-single) - crossings))
    return result


def false_alarm_probability(power: NDArray[np.float64], curve: Curve, max_frequency: float) -> NDArray[np.float64]:
    """Return the probability in [0, 1]; parameters as those of `log_false_alarm_probability`."""
    probability: NDArray[np.float64] = np.exp(log_false_alarm_probability(power, curve, max_frequency))
    return probability
