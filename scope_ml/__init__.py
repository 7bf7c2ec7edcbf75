"""scope_ml: from survey light curves to a reproducible catalogue of variable stars.

The public names are imported on first use, so that ``import scope_ml`` is instant and has no side effect.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scope_ml.core.lightcurve import LightCurveBatch as LightCurveBatch
    from scope_ml.errors import ScopeError as ScopeError
    from scope_ml.io.lightcurves import open_light_curves as open_light_curves
    from scope_ml.io.tables import read_table as read_table
    from scope_ml.io.tables import write_table as write_table
    from scope_ml.kernels.refinement import RefinedPeriod as RefinedPeriod
    from scope_ml.kernels.refinement import refine_period as refine_period
    from scope_ml.models.bundle import ModelBundle as ModelBundle
    from scope_ml.notebook.batch import search_periods as search_periods
    from scope_ml.notebook.periodogram import Periodogram as Periodogram
    from scope_ml.notebook.periodogram import periodogram as periodogram

#: Public name -> module that holds it.
_PUBLIC = {
    "LightCurveBatch": "scope_ml.core.lightcurve",
    "ModelBundle": "scope_ml.models.bundle",
    "Periodogram": "scope_ml.notebook.periodogram",
    "RefinedPeriod": "scope_ml.kernels.refinement",
    "ScopeError": "scope_ml.errors",
    "open_light_curves": "scope_ml.io.lightcurves",
    "periodogram": "scope_ml.notebook.periodogram",
    "read_table": "scope_ml.io.tables",
    "refine_period": "scope_ml.kernels.refinement",
    "search_periods": "scope_ml.notebook.batch",
    "write_table": "scope_ml.io.tables",
}

__all__ = [
    "LightCurveBatch",
    "ModelBundle",
    "Periodogram",
    "RefinedPeriod",
    "ScopeError",
    "open_light_curves",
    "periodogram",
    "read_table",
    "refine_period",
    "search_periods",
    "write_table",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'scope_ml' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
