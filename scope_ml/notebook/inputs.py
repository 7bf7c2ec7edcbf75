"""From whatever arrays people have to a light curve: lists, pandas, astropy, FITS columns, masked arrays.

Nothing is dropped and nothing guessed: what cannot be taken as it stands is refused in one line. May import `core` and
`errors`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import DataError

__all__ = ["one_light_curve"]


def one_light_curve(time: Any, mag: Any, mag_err: Any, band: Any = None) -> LightCurveBatch:
    """Return a batch of one light curve, points in the order given.

    Parameters
    ----------
    time
        Days, any iterable of numbers but float32; astropy times and quantities become days.
    mag, mag_err
        Magnitudes; one number for `mag_err` counts for all points. Masked points become NaN.
    band
        Names or codes of the bands, one a point; None for a single band.

    Raises
    ------
    DataError
        Naming the argument, what it was and what to give.
    """
    times = _days(time)
    mags = _magnitudes(mag, "mag")
    if mag_err is None:
        raise DataError("mag_err is None; give errors [mag], one a point or one for all, such as mag_err=0.02")
    errors = _magnitudes(mag_err, "mag_err")
    if errors.ndim == 0:
        errors = np.full(times.shape, float(errors))
    for name, values in (("time", times), ("mag", mags), ("mag_err", errors)):
        if values.ndim != 1:
            raise DataError(f"{name} has shape {values.shape}; give one number a point, in one dimension")
        if values.size != times.size:
            raise DataError(f"{name} has {values.size} points but time has {times.size}; give one number a point")
    bands = None if band is None else _bands(band, times.size)
    return LightCurveBatch(
        id=np.zeros(1, dtype=np.int64),
        offsets=np.array([0, times.size], dtype=np.int64),
        time=times,
        mag=mags,
        mag_err=errors,
        band=bands,
    )


def _days(time: Any) -> NDArray[np.float64]:
    """Return times as float64 days."""
    if hasattr(time, "jd"):
        time = time.jd
    elif hasattr(time, "unit") and hasattr(time, "to_value") and time.unit is not None:
        try:
            time = time.to_value("d")
        # astropy's UnitsError is a ValueError; it cannot be imported here.
        except ValueError as error:
            raise DataError(f"time has the unit '{time.unit}', which is none of time; give days") from error
    values = _numbers(time, "time", "days, such as HJD")
    if values.dtype.kind == "f" and values.dtype.itemsize < 8:
        raise DataError(
            f"time is {values.dtype.name}, whose steps are 0.25 d at HJD 2.46e6, so the periods are lost already;"
            " give float64 as it came from the file"
        )
    return values.astype(np.float64)


def _magnitudes(given: Any, name: str) -> NDArray[np.float64]:
    """Return magnitudes as float64."""
    unit = getattr(given, "unit", None)
    if unit is not None and not str(unit).startswith("mag"):
        raise DataError(f"{name} has the unit '{unit}'; give magnitudes, or the bare numbers as {name}.value")
    return _numbers(getattr(given, "value", given) if unit is not None else given, name, "magnitudes").astype(
        np.float64
    )


def _numbers(given: Any, name: str, what: str) -> NDArray[Any]:
    """Return an array of numbers, masked ones as NaN."""
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        given = np.ma.filled(given.astype(np.result_type(given.dtype, np.float32)), np.nan)
    try:
        values = np.asarray(given)
    except ValueError as error:
        raise DataError(f"{name} is not an array of numbers ({error}); give one number a point") from error
    if values.size == 0 and values.dtype.kind == "O":
        return np.zeros(0)
    if values.dtype.kind == "O":
        # pandas' columns with missing values, and lists with None.
        try:
            return np.array([np.nan if value is None else value for value in values.ravel()], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{name} holds something that is no number ({error}); give {what}") from error
    if values.dtype.kind not in "iuf":
        raise DataError(f"{name} is of type {values.dtype.name}; give {what}")
    return values


def _bands(band: Any, n_obs: int) -> NDArray[Any]:
    """Return names as text, or integer codes, one a point."""
    values = np.asarray(band)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "ascii")
    if values.ndim != 1 or values.size != n_obs:
        raise DataError(f"band has shape {values.shape} but time has {n_obs} points; give one band a point, or None")
    if values.dtype.kind == "O":
        if not all(isinstance(name, str) for name in values):
            raise DataError("band holds something that is no text; give names such as 'g', or whole numbers")
        values = values.astype(str)
    if values.dtype.kind not in "iuU" and n_obs:
        raise DataError(f"band is of type {values.dtype.name}; give names such as 'g', or whole numbers")
    return values if n_obs else np.zeros(0, dtype=np.int64)
