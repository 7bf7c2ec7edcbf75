"""Nested search on the CPU: two whole periodograms, and analysis of variance at their peaks alone unless asked for."""

from __future__ import annotations

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.analysis_of_variance import method as analysis_of_variance
from scope_ml.kernels.analysis_of_variance.cpu import METHOD as AOV
from scope_ml.kernels.conditional_entropy.cpu import METHOD as CE
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.lomb_scargle.cpu import METHOD as LS
from scope_ml.kernels.nested.driver import Components, search_nested
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions

__all__ = ["run"]


def run(batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions) -> PeriodogramPeaks:
    """Return the best candidates of each light curve; see the package and `nested.driver`."""
    aov = analysis_of_variance(AOV.prepare, options)
    return search_nested(Components(ls=LS, ce=CE, aov=aov), batch, grid, options)
