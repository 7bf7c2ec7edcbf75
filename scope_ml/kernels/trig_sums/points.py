"""A light curve as the strengths of trigonometric sums: weights, and residuals times weights, band by band."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from scope_ml.kernels.bands import normalise
from scope_ml.kernels.curve import Curve

__all__ = ["POINTS", "Points", "lower_strengths", "make_points"]


class Points(NamedTuple):
    """Points of one light curve, band after band.

    Attributes
    ----------
    time
        From ``-baseline / 2`` to ``baseline / 2``, float64 (n_obs,) [d].
    weight
        ``1 / mag_err**2``, of sum 1, float64 (n_obs,).
    weighted
        Weight times residual about the weighted mean of the band, the residuals scaled so that their weighted mean
        square is 1, float64 (n_obs,).
    bounds
        First point of each band, and the number of points, int64 (n_bands + 1,).
    """

    time: NDArray[np.float64]
    weight: NDArray[np.float64]
    weighted: NDArray[np.float64]
    bounds: NDArray[np.int64]


#: Type of `Points` for the signatures of kernels that take them.
POINTS = types.NamedTuple((types.float64[::1], types.float64[::1], types.float64[::1], types.int64[::1]), Points)


def make_points(curve: Curve) -> Points:
    """Return the points of a light curve; bands are put on one scale by `bands.normalise`."""
    scaled = normalise(curve)
    order = np.argsort(curve.band, kind="stable")
    weight = scaled.mag_err[order] ** -2.0
    weight /= weight.sum()
    residual = scaled.mag[order]
    residual = residual / np.sqrt(weight @ residual**2)
    return Points(
        time=scaled.time[order] - 0.5 * curve.time[-1],
        weight=weight,
        weighted=weight * residual,
        bounds=np.searchsorted(curve.band[order], np.arange(curve.n_bands + 1)),
    )


def lower_strengths(points: Points) -> NDArray[np.float64]:
    """Return the strengths whose sums normal equations need at the fitted harmonics only, float64 (n_sums, n_obs).

    The weighted residuals; of several bands also the weights of each over the root of their sum.
    """
    n_bands = points.bounds.size - 1
    if n_bands == 1:
        return points.weighted[None, :]
    rows = np.zeros((1 + n_bands, points.time.size))
    rows[0] = points.weighted
    for band in range(n_bands):
        of_band = slice(points.bounds[band], points.bounds[band + 1])
        rows[1 + band, of_band] = points.weight[of_band] / np.sqrt(points.weight[of_band].sum())
    return rows
