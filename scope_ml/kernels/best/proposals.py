"""Candidate periods of one light curve: distinct peaks of the periodograms of one, two and three harmonics.

One sinusoid finds most periods of pulsating stars and half of that of eclipsing ones, three find sharp curves; what one
misses for its noise or its aliases another has. May import `grid`, `peaks`, `curve` and the rooms of `best`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scope_ml.kernels.best.series import MODEL_ERROR
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid, excluded_mask
from scope_ml.kernels.peaks.cpu import PeakCollector
from scope_ml.kernels.search import PIECE

__all__ = ["MAX_ORDER", "N_EACH", "SAME", "Candidates", "Powers", "propose"]

#: Most harmonics of a periodogram, and points that each harmonic must have.
MAX_ORDER = 3
POINTS_PER_HARMONIC = 4

#: Peaks that each periodogram proposes.
N_EACH = 8

#: Candidates closer than this, in units of ``1 / baseline``, are one.
SAME = 0.3

#: ``(frequency, step, n) -> powers (orders, n)``
Powers = Callable[[float, float, int], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Frequencies worth a closer look.

    Attributes
    ----------
    frequency
        Ascending, at least `SAME` peak widths apart [1/d], float64 (n,).
    order
        Fewest harmonics whose periodogram proposed it, int64 (n,).
    strongest
        Highest peak of one sinusoid [1/d].
    """

    frequency: NDArray[np.float64]
    order: NDArray[np.int64]
    strongest: float


def propose(
    prepare: Callable[[Curve, int], Powers],
    curve: Curve,
    grid: FrequencyGrid,
    index: int,
    exclude: tuple[tuple[float, float], ...],
) -> Candidates | None:
    """Return the candidates of light curve `index` of a grid, or None if no periodogram has a peak.

    Parameters
    ----------
    prepare
        Makes the periodograms of 1 to so many harmonics of a light curve.
    curve, grid, index, exclude
        What is searched, and the windows [1/d] in which nothing is proposed.
    """
    n_orders = max(1, min(MAX_ORDER, curve.time.size // POINTS_PER_HARMONIC))
    powers = prepare(_with_model_error(curve), n_orders)
    n_frequencies = int(grid.n_frequencies[index])
    minimum, step = float(grid.minimum[index]), float(grid.step[index])
    collectors = [
        PeakCollector(n_frequencies=n_frequencies, n_peaks=N_EACH, separation=grid.samples_per_peak)
        for _ in range(n_orders)
    ]
    for start in range(0, n_frequencies, PIECE):
        stop = min(start + PIECE, n_frequencies)
        values = powers(minimum + start * step, step, stop - start)
        excluded = excluded_mask(grid.frequencies(index, start, stop), exclude) if exclude else None
        for collector, row in zip(collectors, values, strict=True):
            collector.add(row, excluded)
    found = [minimum + collector.peaks()[0] * step for collector in collectors]
    frequency = np.concatenate(found)
    if frequency.size == 0:
        return None
    order = np.repeat(np.arange(1, n_orders + 1), [row.size for row in found])
    return _merged(frequency, order, SAME / float(curve.time[-1]), strongest=float(frequency[0]))


def _merged(frequency: NDArray[np.float64], order: NDArray[np.int64], same: float, *, strongest: float) -> Candidates:
    """Return the candidates in ascending order; of those that are one, the one of the fewest harmonics."""
    kept: list[int] = []
    for at in np.lexsort((order, frequency)):
        if kept and frequency[at] - frequency[kept[-1]] < same:
            if order[at] < order[kept[-1]]:
                kept[-1] = int(at)
        else:
            kept.append(int(at))
    return Candidates(frequency=frequency[kept], order=order[kept], strongest=strongest)


def _with_model_error(curve: Curve) -> Curve:
    """Return the curve with a share of each band's scatter added to its errors, as in `series`."""
    scatter = np.array([np.std(curve.mag[curve.band == band]) for band in range(curve.n_bands)])
    return replace(curve, mag_err=np.hypot(curve.mag_err, MODEL_ERROR * scatter[curve.band]))
