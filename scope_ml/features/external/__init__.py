"""Features that other packages compute, as optional groups: `cesium` and `light_curve`.

Columns and specs are known without the packages; `require` says at once, before any work, that one is missing.
May import `spec`, `core` and `errors`; the packages are imported inside functions of their one room.
"""

from __future__ import annotations

from scope_ml.features.external.cesium import cesium_columns, measure_cesium
from scope_ml.features.external.light_curve import (
    DEFAULT,
    check_names,
    light_curve_columns,
    light_curve_spec,
    measure_light_curve,
)
from scope_ml.features.external.packages import package_versions, require

__all__ = [
    "DEFAULT",
    "cesium_columns",
    "check_names",
    "light_curve_columns",
    "light_curve_spec",
    "measure_cesium",
    "measure_light_curve",
    "package_versions",
    "require",
]
