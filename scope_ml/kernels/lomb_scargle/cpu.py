"""Generalised Lomb-Scargle search on the CPU through nifty-ls (non-uniform FFT, float64, one thread a light curve).

The grid is transformed in pieces whose FFT stays in the cache: two thirds of the time of one long transform at 48
cycles/d over five years, and memory that does not grow with the grid. The power's error stays below 1e-8 (1e-7 for
fewer than 10 points). nifty-ls: Garrison et al. 2024, RNAAS 8, 250.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from nifty_ls.finufft import lombscargle
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.grid import FrequencyGrid, excluded_mask
from scope_ml.kernels.lomb_scargle import search_status
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions, SearchStatus
from scope_ml.kernels.peaks.cpu import PeakCollector

__all__ = ["power", "run"]

#: Frequencies per transform: 1 MiB of complex numbers, which stays in a core's own cache.
PIECE = 1 << 16

#: Light curves of fewer points are transformed with a finer grid (1.4 times the cost): their fits are near singular at
#: many frequencies, which multiplies the transform's error. 1e-9 becomes 4e-8 of the power at 10 points, 8e-6 at 4.
FEW_POINTS = 32
COARSE: Mapping[str, float] = {"eps": 1e-9, "upsampfac": 1.25}
FINE: Mapping[str, float] = {"eps": 1e-13, "upsampfac": 2.0}


def power(
    time: NDArray[np.float64],
    mag: NDArray[np.float64],
    mag_err: NDArray[np.float64],
    *,
    minimum: float,
    step: float,
    n_frequencies: int,
) -> NDArray[np.float64]:
    """Return the power (n_frequencies,) at ``minimum + k * step`` [1/d] of one light curve, clipped to [0, 1].

    Parameters
    ----------
    time, mag, mag_err
        Points of one light curve [d], [mag], [mag], float64 (n_obs,); time counted from near the first point.
    minimum, step, n_frequencies
        The grid [1/d].
    """
    # A last piece of one frequency is computed as two: finufft has nothing to transform in a single mode.
    length = max(n_frequencies, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        transform = dict(FINE if time.size < FEW_POINTS else COARSE)
        values = lombscargle(time, mag, minimum, step, length, dy=mag_err, nthreads=1, finufft_kwargs=transform)
    values = values[:n_frequencies]
    # Only singular frequencies leave [0, 1]: 0/0 up to the transform's rounding.
    np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    clipped: NDArray[np.float64] = np.clip(values, 0.0, 1.0)
    return clipped


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best peaks of each light curve; see the package for the statistic, `peaks.reference` for peaks.

    Parameters
    ----------
    batch
        Light curves, float64 or float32 magnitudes, times in any order.
    grid
        One grid per light curve.
    options
        Number of peaks and excluded windows.
    """
    peaks = PeriodogramPeaks.empty(len(batch), options.n_peaks)
    for i in range(len(batch)):
        status = search_status(batch, grid, i)
        if status == SearchStatus.OK:
            position, height, significance = _search(batch, grid, options, i)
            peaks.frequency[i, : position.size] = grid.minimum[i] + position * grid.step[i]
            peaks.statistic[i, : position.size] = height
            peaks.significance[i, : position.size] = significance
            if position.size == 0:
                status = SearchStatus.NO_PEAK
        peaks.status[i] = status
    return peaks


def _search(
    batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions, index: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the peaks of one light curve that can be searched."""
    points = slice(int(batch.offsets[index]), int(batch.offsets[index + 1]))
    time = batch.time[points] - batch.time[points].min()
    # Magnitudes are counted from the first one, so that nothing is lost to the mean of a bright or faint star.
    mag = batch.mag[points].astype(np.float64)
    mag -= mag[0]
    mag_err = batch.mag_err[points].astype(np.float64)
    n_frequencies = int(grid.n_frequencies[index])
    collector = PeakCollector(n_frequencies=n_frequencies, n_peaks=options.n_peaks, separation=grid.samples_per_peak)
    for start in range(0, n_frequencies, PIECE):
        frequency = grid.frequencies(index, start, min(start + PIECE, n_frequencies))
        values = power(
            time, mag, mag_err, minimum=float(frequency[0]), step=float(grid.step[index]), n_frequencies=frequency.size
        )
        collector.add(values, excluded_mask(frequency, options.exclude))
    return collector.peaks()
