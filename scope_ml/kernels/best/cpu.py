"""The recommended search on the CPU; see the package."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.best import BestPeaks, Decision
from scope_ml.kernels.best.decide import Tools, decide_curve
from scope_ml.kernels.best.driver import search_best
from scope_ml.kernels.best.likelihood import evidence
from scope_ml.kernels.best.nested_power import NestedPower
from scope_ml.kernels.best.proposals import Powers
from scope_ml.kernels.best.series import Series
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import SearchOptions

__all__ = ["TOOLS", "decide", "run"]


def _powers(curve: Curve, n_harmonics: int) -> Powers:
    return NestedPower(curve, n_harmonics).evaluate


def _evidence(series: Series, frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    return evidence(series, frequency)


#: The fast numerics.
TOOLS = Tools(powers=_powers, evidence=_evidence)


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> BestPeaks:
    """Return the best periods of each light curve and how they were decided; see `driver.search_best`."""
    return search_best(TOOLS, batch, grid, options)


def decide(curve: Curve, grid: FrequencyGrid, index: int = 0) -> Decision | None:
    """Return the decision on one light curve, place `index` of the grid; None if it has no period."""
    ranked = decide_curve(TOOLS, curve, grid, index, n_peaks=1)
    return None if ranked is None else ranked.decision
