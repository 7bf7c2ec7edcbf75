"""Generalised Lomb-Scargle periodogram: weights ``1 / mag_err**2`` and a floating mean.

    p(f) = (chi2_mean - chi2_sinusoid(f)) / chi2_mean,    in [0, 1]

where the sinusoid has a constant fitted with it (Zechmeister & Kuerster 2009, A&A 496, 577). Larger is better.
Power does not depend on where time starts. Frequencies at which the fit is singular (all epochs at the same phase,
as at the sampling frequency of an even cadence) have power 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scope_ml.kernels.peaks import SearchStatus

if TYPE_CHECKING:
    from scope_ml.core.lightcurve import LightCurveBatch
    from scope_ml.kernels.grid import FrequencyGrid

__all__ = ["MIN_N_OBS", "search_status"]

#: A constant and a sinusoid have three parameters: three distinct times fit every frequency exactly.
MIN_N_OBS = 4


def search_status(batch: LightCurveBatch, grid: FrequencyGrid, index: int) -> SearchStatus:
    """Return why light curve `index` cannot be searched, or OK; the first of the list that applies."""
    points = slice(int(batch.offsets[index]), int(batch.offsets[index + 1]))
    time, mag, mag_err = batch.time[points], batch.mag[points], batch.mag_err[points]
    if not (np.isfinite(time).all() and np.isfinite(mag).all() and np.isfinite(mag_err).all() and (mag_err > 0).all()):
        return SearchStatus.INVALID_POINTS
    if time.size < MIN_N_OBS:
        return SearchStatus.TOO_FEW_POINTS
    if grid.status[index] == SearchStatus.ZERO_BASELINE:
        return SearchStatus.ZERO_BASELINE
    if np.unique(time).size < MIN_N_OBS:
        return SearchStatus.TOO_FEW_POINTS
    if mag.max() == mag.min():
        return SearchStatus.CONSTANT
    return SearchStatus(int(grid.status[index]))
