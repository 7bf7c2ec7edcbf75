"""From light curves and grids to peaks: the one driver of all period searches.

A method prepares a light curve and evaluates its statistic at evenly spaced frequencies; everything else is done here,
once: what cannot be searched, the pieces of a long grid, mean and scatter, distinct peaks, the period between grid
points, false-alarm probabilities, whole periodograms where asked for. May import `core`, `errors` and the rooms
`curve`, `grid`, `peaks`, `refine`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.curve import Curve, check_points, make_curve
from scope_ml.kernels.grid import FrequencyGrid, excluded_mask
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions, SearchStatus, Spectrum
from scope_ml.kernels.peaks.cpu import PeakCollector
from scope_ml.kernels.refine import refine_frequency

__all__ = [
    "PIECE",
    "Curve",
    "FalseAlarm",
    "Found",
    "Method",
    "Statistic",
    "defined_by",
    "scan",
    "search_batch",
    "store",
]

#: Frequencies evaluated at a time: half a MiB of values, which stays in a core's own cache.
PIECE = 1 << 16


class Statistic(Protocol):
    """A method made ready for one light curve."""

    def evaluate(self, frequency: float, step: float, out: NDArray[np.float64]) -> None:
        """Write the statistic at ``frequency + k * step`` [1/d] into ``out[k]``, float64 (n,); all finite."""


#: Statistic of the peaks, the light curve and the width of the band searched [1/d] -> probabilities.
FalseAlarm = Callable[[NDArray[np.float64], Curve, float], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Method:
    """What the driver must know of a method: `METHOD` in its `cpu` and `reference`.

    Attributes
    ----------
    prepare
        Makes the method ready for a light curve.
    min_n_obs
        Fewest points, at as many different times.
    best
        Whether a period shows as a maximum or a minimum of the statistic.
    n_harmonics
        Sinusoids of the fit by which a peak is refined; see `refine`.
    false_alarm
        Theory of the statistic under noise, or None.
    """

    prepare: Callable[[Curve, SearchOptions], Statistic]
    min_n_obs: int
    best: Literal["max", "min"] = "max"
    n_harmonics: int = 4
    false_alarm: FalseAlarm | None = None


#: The definition of a method: light curve, frequencies [1/d] float64 (n,), options -> statistic, float64 (n,).
Definition = Callable[[Curve, NDArray[np.float64], SearchOptions], NDArray[np.float64]]


@dataclass(frozen=True)
class _Defined:
    """A definition in plain NumPy made ready for one light curve."""

    definition: Definition
    curve: Curve
    options: SearchOptions

    def evaluate(self, frequency: float, step: float, out: NDArray[np.float64]) -> None:
        trial = frequency + step * np.arange(out.size, dtype=np.float64)
        out[:] = self.definition(self.curve, trial, self.options)


def defined_by(definition: Definition) -> Callable[[Curve, SearchOptions], Statistic]:
    """Return the `Method.prepare` of a definition, so that the driver can search with it."""
    return lambda curve, options: _Defined(definition, curve, options)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Peaks of one light curve and the moments of its periodogram.

    Attributes
    ----------
    frequency, statistic, significance
        As in `PeriodogramPeaks`, float64 (n_found,), best first.
    mean, scatter
        Of the statistic outside the excluded windows.
    spectrum
        The whole periodogram, or None.
    """

    frequency: NDArray[np.float64]
    statistic: NDArray[np.float64]
    significance: NDArray[np.float64]
    mean: float
    scatter: float
    spectrum: Spectrum | None = None


def search_batch(
    method: Method, batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions
) -> PeriodogramPeaks:
    """Search each light curve on its own grid.

    Parameters
    ----------
    method
        What to search with.
    batch
        Light curves, float64 or float32 magnitudes, times in any order. Points in several bands are searched together.
    grid
        One grid per light curve.
    options
        Number of peaks, excluded windows and what the method needs.

    Returns
    -------
    PeriodogramPeaks
        A light curve that cannot be searched has a status and NaN.
    """
    peaks = PeriodogramPeaks.empty(len(batch), options.n_peaks)
    for index in range(len(batch)):
        status = check_points(batch, index, method.min_n_obs)
        if status == SearchStatus.OK:
            status = SearchStatus(int(grid.status[index]))
        found = None
        if status == SearchStatus.OK:
            curve = make_curve(batch, index)
            statistic = method.prepare(curve, options)
            found = scan(statistic, grid, index, options, best=method.best)
            frequency = refine_peaks(curve, found, grid, index, method, options.exclude)
            store(peaks, index, found, frequency)
            if method.false_alarm is not None:
                width = float(grid.n_frequencies[index] * grid.step[index])
                alarm = method.false_alarm(found.statistic, curve, width)
                peaks.false_alarm_probability[index, : alarm.size] = alarm
            if found.frequency.size == 0:
                status = SearchStatus.NO_PEAK
        peaks.status[index] = status
        if options.return_spectrum:
            peaks.spectra.append(None if found is None else found.spectrum)
    return peaks


def scan(
    statistic: Statistic,
    grid: FrequencyGrid,
    index: int,
    options: SearchOptions,
    *,
    best: Literal["max", "min"],
    n_peaks: int | None = None,
) -> Found:
    """Evaluate a statistic over the grid of light curve `index` and return its best peaks, on grid points.

    Parameters
    ----------
    statistic, grid, index, options
        What is searched and where.
    best
        Whether maxima or minima are looked for.
    n_peaks
        How many at most, instead of ``options.n_peaks``.
    """
    n_frequencies = int(grid.n_frequencies[index])
    minimum, step = float(grid.minimum[index]), float(grid.step[index])
    collector = PeakCollector(
        n_frequencies=n_frequencies, n_peaks=n_peaks or options.n_peaks, separation=grid.samples_per_peak
    )
    sign = 1.0 if best == "max" else -1.0
    whole = np.empty(n_frequencies if options.return_spectrum else 0)
    buffer = np.empty(min(PIECE, n_frequencies))
    for start in range(0, n_frequencies, PIECE):
        stop = min(start + PIECE, n_frequencies)
        values = whole[start:stop] if options.return_spectrum else buffer[: stop - start]
        statistic.evaluate(minimum + start * step, step, values)
        excluded = excluded_mask(grid.frequencies(index, start, stop), options.exclude) if options.exclude else None
        collector.add(values if best == "max" else -values, excluded)
    position, height, significance = collector.peaks()
    if collector.scatter == 0.0 and n_frequencies > 1:
        # The end of a flat periodogram stands out by definition only: nothing was found.
        position, height, significance = position[:0], height[:0], significance[:0]
    return Found(
        frequency=minimum + np.rint(position) * step,
        statistic=sign * height,
        significance=significance,
        mean=sign * collector.mean,
        scatter=collector.scatter,
        spectrum=Spectrum(frequency=grid.frequencies(index), statistic=whole) if options.return_spectrum else None,
    )


def refine_peaks(
    curve: Curve,
    found: Found,
    grid: FrequencyGrid,
    index: int,
    method: Method,
    exclude: tuple[tuple[float, float], ...],
) -> NDArray[np.float64]:
    """Return the frequencies [1/d] of the peaks of light curve `index` between the points of its grid.

    A peak that the fit would move into a window of `exclude` [1/d] stays on its grid point, which is outside.
    """
    refined = refine_frequency(curve, found.frequency, float(grid.step[index]), method.n_harmonics, grid.bounds(index))
    for low, high in exclude:
        refined = np.where((refined >= low) & (refined <= high), found.frequency, refined)
    return refined


def store(peaks: PeriodogramPeaks, index: int, found: Found, frequency: NDArray[np.float64]) -> None:
    """Write the peaks of one light curve, with their refined frequencies [1/d], into a row of the result."""
    n = min(frequency.size, peaks.frequency.shape[1])
    peaks.frequency[index, :n] = frequency[:n]
    peaks.statistic[index, :n] = found.statistic[:n]
    peaks.significance[index, :n] = found.significance[:n]
