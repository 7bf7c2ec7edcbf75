"""Batches for `best`: what cannot be searched, and the peaks and decisions of what can.

May import `core`, `curve`, `grid`, `peaks` and the rooms of `best`.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.best import MIN_N_OBS, BestPeaks
from scope_ml.kernels.best.decide import Tools, decide_curve
from scope_ml.kernels.curve import check_points, make_curve
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions, SearchStatus

__all__ = ["search_best"]


def search_best(tools: Tools, batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> BestPeaks:
    """Search each light curve on its own grid; points in several bands are searched together.

    Parameters
    ----------
    tools
        The numerics.
    batch, grid
        Light curves, and one grid each.
    options
        Number of peaks and excluded windows.

    Returns
    -------
    BestPeaks
        A light curve that cannot be searched has a status, NaN and no decision.
    """
    empty = PeriodogramPeaks.empty(len(batch), options.n_peaks)
    peaks = BestPeaks(**{item.name: getattr(empty, item.name) for item in fields(empty)})
    for index in range(len(batch)):
        status = check_points(batch, index, MIN_N_OBS)
        if status == SearchStatus.OK:
            status = SearchStatus(int(grid.status[index]))
        ranked = None
        if status == SearchStatus.OK:
            curve = make_curve(batch, index)
            ranked = decide_curve(tools, curve, grid, index, n_peaks=options.n_peaks, exclude=options.exclude)
            if ranked is None:
                status = SearchStatus.NO_PEAK
            else:
                n = ranked.frequency.size
                peaks.frequency[index, :n] = ranked.frequency
                peaks.statistic[index, :n] = ranked.log_evidence
                # One frequency is a candidate without rival.
                peaks.significance[index, :n] = ranked.probability if grid.n_frequencies[index] > 1 else np.nan
        peaks.decisions.append(None if ranked is None else ranked.decision)
        peaks.status[index] = status
        if options.return_spectrum:
            peaks.spectra.append(None)
    return peaks
