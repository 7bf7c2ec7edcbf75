"""Multi-harmonic analysis of variance: a constant and H harmonics fitted with weights ``1 / mag_err**2``.

    theta(f) = (n - 2 H - 1) / (2 H) * p / (1 - p),    p(f) = (chi2_mean - chi2_fit(f)) / chi2_mean

(Schwarzenberg-Czerny 1996, ApJ 460, L107). Larger is better; under noise theta follows Fisher's F with 2 H and
n - 2 H - 1 degrees of freedom. p is the power in [0, 1], for one harmonic that of `lomb_scargle`.

Frequencies at which not all terms can be told apart (a cosine at which all epochs have one phase) lose the terms that
the others already describe, while theta keeps its degrees of freedom: a singular frequency is never favoured. A fit
that leaves nothing has p = `LARGEST_POWER`, so theta stays finite.

Several bands share the phase and, once each is scaled by the star's own scatter in it (`bands.normalise`), the
amplitudes; each has its own constant, and theta that many fewer degrees of freedom.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from scope_ml.errors import ConfigError
from scope_ml.kernels.curve import Curve

__all__ = [
    "LARGEST_POWER",
    "MAX_HARMONICS",
    "MIN_N_OBS",
    "SINGULAR",
    "check_harmonics",
    "degrees_of_freedom",
    "false_alarm_probability",
    "to_ratio",
]

#: Fewest points that are searched with the three harmonics of the default: one more than the fit has parameters.
MIN_N_OBS = 8

#: Most harmonics of a fit.
MAX_HARMONICS = 10

#: Least square norm of a term, less what the terms before it describe, with weights of sum 1 (0.5 for well spread
#: phases): with less than this no digit of its amplitude is left in float64.
SINGULAR = 1e-12

#: Power that counts as a perfect fit.
LARGEST_POWER = 1.0 - 1e-12


def check_harmonics(n_harmonics: int) -> int:
    """Return the number of harmonics.

    Raises
    ------
    ConfigError
        If it is not within 1 and `MAX_HARMONICS`.
    """
    if not 1 <= n_harmonics <= MAX_HARMONICS:
        raise ConfigError(f"n_harmonics is {n_harmonics}; it must be between 1 and {MAX_HARMONICS}, as n_harmonics=3")
    return n_harmonics


def degrees_of_freedom(curve: Curve, n_harmonics: int) -> int:
    """Return the degrees of freedom that the fit leaves, 0 or negative where there are too few points."""
    return curve.time.size - curve.n_bands - 2 * n_harmonics


def to_ratio(power: NDArray[np.float64], n_harmonics: int, n_free: int) -> NDArray[np.float64]:
    """Return theta (n,) from the power (n,) and the degrees of freedom left; 0 where there are none."""
    if n_free < 1:
        return np.zeros_like(power)
    limited = np.minimum(power, LARGEST_POWER)
    ratio: NDArray[np.float64] = n_free / (2.0 * n_harmonics) * limited / (1.0 - limited)
    return ratio


def false_alarm_probability(
    ratio: NDArray[np.float64], curve: Curve, width: float, n_harmonics: int
) -> NDArray[np.float64]:
    """Return the probability that noise alone gives such a theta at any frequency, float64 (n,).

    Fisher's distribution for one frequency, and ``width * baseline * n_harmonics`` independent ones: an estimate.

    Parameters
    ----------
    ratio
        Theta, float64 (n,).
    curve
        Light curve that was searched.
    width
        Width of the band that was searched [1/d].
    n_harmonics
        Harmonics of the fit.
    """
    n_free = degrees_of_freedom(curve, n_harmonics)
    ratio = np.asarray(ratio, dtype=np.float64)
    if n_free < 1:
        return np.ones(ratio.shape)
    left = n_free / (n_free + 2.0 * n_harmonics * np.maximum(ratio, 0.0))
    single = betainc(0.5 * n_free, float(n_harmonics), left)
    n_independent = max(1.0, width * float(curve.time[-1]) * n_harmonics)
    with np.errstate(divide="ignore"):
        probability: NDArray[np.float64] = -np.expm1(n_independent * np.log1p(-single))
    return probability
