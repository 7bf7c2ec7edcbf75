"""Definition of the generalised Lomb-Scargle search: direct sums over the points, float64, whole periodogram."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.grid import FrequencyGrid, excluded_mask
from scope_ml.kernels.lomb_scargle import search_status
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions, SearchStatus
from scope_ml.kernels.peaks.reference import find_peaks

__all__ = ["power", "run"]

#: Determinant of the normalised 2 x 2 normal matrix below which a frequency counts as singular: it is 0.25 for well
#: spread phases, and with less than this no digit of the power is left in float64.
SINGULAR = 1e-14


def power(
    time: NDArray[np.float64],
    mag: NDArray[np.float64],
    mag_err: NDArray[np.float64],
    frequency: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the power (n_frequencies,) of one light curve: equations 4 to 15 of Zechmeister & Kuerster 2009.

    Parameters
    ----------
    time, mag, mag_err
        Points of one light curve [d], [mag], [mag], (n_obs,).
    frequency
        Trial frequencies [1/d].
    """
    weight = mag_err**-2.0
    weight /= weight.sum()
    residual = mag - mag[0]
    residual = residual - weight @ residual
    variance = weight @ residual**2
    elapsed = time - time.min()
    result = np.empty(frequency.size)
    for k, trial in enumerate(frequency):
        phase = 2.0 * np.pi * (trial * elapsed % 1.0)
        cosine = np.cos(phase)
        sine = np.sin(phase)
        cosine -= weight @ cosine
        sine -= weight @ sine
        yc, ys = weight @ (residual * cosine), weight @ (residual * sine)
        cc, ss, cs = weight @ cosine**2, weight @ sine**2, weight @ (cosine * sine)
        determinant = cc * ss - cs * cs
        singular = determinant < SINGULAR
        result[k] = 0.0 if singular else (ss * yc * yc + cc * ys * ys - 2.0 * cs * yc * ys) / (variance * determinant)
    return np.clip(result, 0.0, 1.0)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see the package for the statistic, `peaks.reference` for peaks."""
    peaks = PeriodogramPeaks.empty(len(batch), options.n_peaks)
    for i in range(len(batch)):
        status = search_status(batch, grid, i)
        if status == SearchStatus.OK:
            points = slice(int(batch.offsets[i]), int(batch.offsets[i + 1]))
            frequency = grid.frequencies(i)
            position, height, significance = find_peaks(
                power(
                    batch.time[points], batch.mag[points].astype(float), batch.mag_err[points].astype(float), frequency
                ),
                excluded_mask(frequency, options.exclude),
                n_peaks=options.n_peaks,
                separation=grid.samples_per_peak,
            )
            peaks.frequency[i, : position.size] = grid.minimum[i] + position * grid.step[i]
            peaks.statistic[i, : position.size] = height
            peaks.significance[i, : position.size] = significance
            if position.size == 0:
                status = SearchStatus.NO_PEAK
        peaks.status[i] = status
    return peaks
