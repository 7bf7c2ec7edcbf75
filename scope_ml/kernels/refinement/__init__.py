"""Periods once more, with the class known: eclipsing stars take two minima a cycle, pulsating stars one.

`refine_period` does one light curve, `refine_periods` a batch, each light curve with its period and its class. May
import `core`, `errors` and the rooms of `kernels`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError, DataError
from scope_ml.kernels.best import MIN_N_OBS
from scope_ml.kernels.curve import check_points, make_curve
from scope_ml.kernels.peaks import SearchStatus
from scope_ml.kernels.refinement.expectations import expected_minima
from scope_ml.kernels.refinement.refine import RefinedPeriod, refine_curve

__all__ = ["RefinedPeriod", "refine_period", "refine_periods"]


def refine_period(
    time: ArrayLike,
    mag: ArrayLike,
    mag_err: ArrayLike,
    period: float,
    class_tag: str,
    band: ArrayLike | None = None,
) -> RefinedPeriod:
    """Choose among a period, its half and its double by what the class of the star expects.

    Parameters
    ----------
    time, mag, mag_err
        Points of one light curve [d], [mag], [mag], (n_obs,), in any order; points that are not finite, or whose error
        is not positive, are left out.
    period
        Period that a search found [d].
    class_tag
        Tag of the star's class, as ``"ea"`` or ``"rrab"``.
    band
        Name or number of the band of each point, (n_obs,), if there are several.

    Returns
    -------
    RefinedPeriod
        The period given, with confidence 0, if too few points are left.

    Raises
    ------
    ConfigError
        If there is no such class, or the period is no positive number.
    DataError
        If the columns differ in length, or one is not a list of numbers.
    """
    columns = [_column(name, values) for name, values in (("time", time), ("mag", mag), ("mag_err", mag_err))]
    bands = None if band is None else np.atleast_1d(np.asarray(band))
    lengths = [values.size for values in (*columns, *(() if bands is None else (bands,)))]
    if len(set(lengths)) > 1:
        raise DataError(f"time, mag, mag_err and band have {lengths} points; give one value of each a point")
    good = np.isfinite(columns).all(axis=0) & (columns[2] > 0)
    kept = [[values[good]] for values in columns]
    batch = LightCurveBatch.from_lists([0], *kept, bands=None if bands is None else [bands[good]])
    return refine_periods(batch, [period], [class_tag])[0]


def _column(name: str, values: ArrayLike) -> NDArray[np.float64]:
    try:
        column = np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is no list of numbers ({error}); give one number a point") from error
    if column.ndim > 1:
        raise DataError(f"{name} has the shape {column.shape}; give one number a point")
    return column


def refine_periods(
    batch: LightCurveBatch, period: Sequence[float] | NDArray[np.float64], class_tag: Sequence[str]
) -> list[RefinedPeriod]:
    """Refine the period of each light curve by its class; see `refine_period`.

    Parameters
    ----------
    batch
        Light curves; one with points that are not finite keeps its period, with confidence 0.
    period
        Period of each [d], (n_sources,); one that is NaN stays NaN, with confidence 0.
    class_tag
        Class of each, n_sources.

    Raises
    ------
    ConfigError
        If there is no such class, or a period is zero, negative or infinite.
    DataError
        If there is not one period and one class a light curve.
    """
    if not len(batch) == len(period) == len(class_tag):
        raise DataError(
            f"{len(batch)} light curves, {len(period)} periods and {len(class_tag)} classes; give one of each a light curve"
        )
    refined = []
    for index, (given, tag) in enumerate(zip(period, class_tag, strict=True)):
        expected_minima(tag)
        try:
            value = float(given)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"the period of light curve {index} is {given!r}; give a positive number of days"
            ) from error
        if value <= 0 or np.isinf(value):
            raise ConfigError(f"the period of light curve {index} is {value}; give a positive number of days")
        if np.isnan(value) or check_points(batch, index, MIN_N_OBS) != SearchStatus.OK:
            refined.append(RefinedPeriod(period=value, factor=1.0, confidence=0.0))
        else:
            refined.append(refine_curve(make_curve(batch, index), value, tag))
    return refined
