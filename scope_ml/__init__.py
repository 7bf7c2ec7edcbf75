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
    from scope_ml.models.bundle import ModelBundle as ModelBundle

#: Public name -> module that holds it.
_PUBLIC = {
    "LightCurveBatch": "scope_ml.core.lightcurve",
    "ModelBundle": "scope_ml.models.bundle",
    "ScopeError": "scope_ml.errors",
    "open_light_curves": "scope_ml.io.lightcurves",
    "read_table": "scope_ml.io.tables",
    "write_table": "scope_ml.io.tables",
}

__all__ = ["LightCurveBatch", "ModelBundle", "ScopeError", "open_light_curves", "read_table", "write_table"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'scope_ml' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
