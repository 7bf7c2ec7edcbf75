"""Conditional entropy of the magnitude given the phase: the bins of the two, and what both definitions share.

    H(m | phase) = sum_ij p_ij ln(p_j / p_ij),    p_ij = share of the points in magnitude bin i and phase bin j

(Graham et al. 2013, MNRAS 434, 2629), natural logarithm, smaller is better, 0 to ln(n_mag_bins).
No numba here. May import `errors`, `kernels.curve` and `kernels.peaks`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scope_ml.errors import ConfigError
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.peaks import SearchOptions

__all__ = ["MAX_BINS", "MIN_N_OBS", "check_bins", "magnitude_bins"]

#: With two points or one every fold looks alike.
MIN_N_OBS = 3
#: Most bins in phase and in magnitude.
MAX_BINS = 64


def check_bins(options: SearchOptions) -> None:
    """Do nothing if the numbers of bins can be used.

    Raises
    ------
    ConfigError
        If `options` asks for fewer than 2 or more than 64 bins in phase or magnitude.
    """
    for name, n_bins, usual in (
        ("n_phase_bins", options.n_phase_bins, 20),
        ("n_mag_bins", options.n_mag_bins, 10),
    ):
        if not 2 <= n_bins <= MAX_BINS:
            raise ConfigError(
                f"conditional entropy takes 2 to {MAX_BINS} bins, not {name}={n_bins}; try {name}={usual}"
            )


def magnitude_bins(curve: Curve, options: SearchOptions) -> NDArray[np.int64]:
    """Return the magnitude bin of each point, int64 (n_obs,).

    Magnitudes are scaled to [0, 1] by the extremes of the points in the same band, so that bands of different mean and
    amplitude are pooled; the points of a band in which all magnitudes are equal get 0.5. The faintest point of each
    band, scaled to 1, is clipped into the last bin.

    With ``options.wrap`` it falls into the bin of the brightest instead. That is what SCoPe 0.9.5 and its engine
    periodfind do with magnitudes in [0, 1] (``bin % n_mag_bins``), kept for comparison with old catalogues; newer ones
    squeeze the scale to [0.0005, 0.9995], which gives our bins but for points within 0.0005 of an edge.

    Raises
    ------
    ConfigError
        If `options` asks for fewer than 2 or more than 64 bins in phase or magnitude.
    """
    check_bins(options)
    scaled = np.full(curve.mag.size, 0.5)
    for band in range(curve.n_bands):
        of_band = curve.band == band
        mag = curve.mag[of_band]
        spread = np.ptp(mag) if mag.size else 0.0
        if spread > 0:
            scaled[of_band] = (mag - mag.min()) / spread
    bins = np.floor(scaled * options.n_mag_bins).astype(np.int64)
    result: NDArray[np.int64] = bins % options.n_mag_bins if options.wrap else np.minimum(bins, options.n_mag_bins - 1)
    return result
