"""Several bands of one star on one scale, so that they can be searched together.

May import `kernels.curve`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scope_ml.kernels.curve import LEAST_SPREAD, Curve

__all__ = ["normalise"]

#: Least share of a band's variance that counts as the star's own: a band of pure noise gets at most twice the variance of
#: the others, or it would drown them where points have no weights.
LEAST_INTRINSIC = 0.5


def normalise(curve: Curve) -> Curve:
    """Return the curve with its bands on one scale, so that one model without bands describes them all.

    Each band loses its weighted mean, and its magnitudes and errors are divided by the star's own scatter in that
    band: the weighted standard deviation less what the errors explain. A star whose amplitude differs from band to
    band, as that of all pulsating stars does, then has one amplitude. A curve of a single band loses its mean only.
    """
    mag, mag_err = curve.mag.copy(), curve.mag_err.copy()
    for band in range(curve.n_bands):
        of_band = curve.band == band
        weight = curve.mag_err[of_band] ** -2.0
        weight /= weight.sum()
        residual = mag[of_band] - np.sum(weight * mag[of_band])
        varies = np.ptp(residual) >= LEAST_SPREAD
        mag[of_band] = residual if varies else 0.0
        if curve.n_bands > 1:
            variance = float(np.sum(weight * residual**2))
            noise = of_band.sum() / float((curve.mag_err[of_band] ** -2.0).sum())
            # A band in which nothing varies says nothing: in units of its own error it weighs next to nothing.
            scale = np.sqrt(max(variance - noise, LEAST_INTRINSIC * variance) if varies else noise)
            mag[of_band] /= scale
            mag_err[of_band] /= scale
    return replace(curve, mag=mag, mag_err=mag_err)
