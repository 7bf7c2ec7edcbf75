"""The packages behind the optional groups, which light curves they get, and that nothing infinite comes back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from importlib.metadata import version
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurve
from scope_ml.errors import BackendUnavailableError

__all__ = ["MIN_POINTS", "finite", "is_usable", "package_versions", "require"]

#: Group -> the module that is imported and the optional dependency group that brings it.
PACKAGES: Mapping[str, tuple[str, str]] = {
    "cesium": ("cesium.features.graphs", "cesium"),
    "light_curve": ("light_curve.light_curve_ext", "lightcurve"),
}

#: Group -> the name under which its package is installed.
DISTRIBUTIONS: Mapping[str, str] = {"cesium": "cesium", "light_curve": "light-curve"}

#: Fewest points that a package is given: ratios of successive gaps need 4.
MIN_POINTS = 4


def require(group: str) -> ModuleType:
    """Return the module behind a group.

    Parameters
    ----------
    group
        ``"cesium"`` or ``"light_curve"``.

    Raises
    ------
    BackendUnavailableError
        If its package cannot be imported.
    """
    name, extra = PACKAGES[group]
    try:
        return import_module(name)
    except ImportError as error:
        raise BackendUnavailableError(
            f"feature group '{group}' needs a package that is not installed ({error});"
            f" install it with: pip install 'scope_ml[{extra}]'"
        ) from error


def package_versions(groups: Collection[str]) -> dict[str, str]:
    """Return the version of the package behind each of some groups, for what must change with it."""
    return {group: version(DISTRIBUTIONS[group]) for group in groups if group in PACKAGES}


def is_usable(light_curve: LightCurve) -> bool:
    """Return whether a light curve has `MIN_POINTS` points, all good, in order of time and not all at one time."""
    t, m, e = light_curve.time, light_curve.mag, light_curve.mag_err
    if t.size < MIN_POINTS or not (np.isfinite(t).all() and np.isfinite(m).all() and np.isfinite(e).all()):
        return False
    return bool((e > 0).all() and (np.diff(t) >= 0).all() and t[-1] > t[0])


def finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values with NaN for what is infinite, the shape kept."""
    return np.where(np.isfinite(values), values, np.nan)
