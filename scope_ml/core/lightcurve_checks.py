"""The invariants of a light-curve batch, vectorised; each raises a one-line `DataError`. Imports `errors` only."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from scope_ml.errors import DataError

__all__ = ["check_ids", "check_lengths", "check_offsets", "check_points"]

Array: TypeAlias = npt.NDArray[Any]


def check_lengths(ids: Array, expected: Array, found: Array, expected_name: str, found_name: str) -> None:
    """Check that two per-point columns have lists of equal length, shape (n,) each.

    Raises
    ------
    DataError
        Naming the first light curve whose lists differ.
    """
    if len(expected) != len(found) or len(ids) != len(found):
        raise DataError(f"{len(ids)} ids, {len(expected)} lists of '{expected_name}', {len(found)} of '{found_name}'")
    wrong = np.flatnonzero(expected != found)
    if len(wrong):
        row = wrong[0]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise DataError(
            f"light curve {ids[row]}{more}: '{expected_name}' has {expected[row]} points but '{found_name}' has"
            f" {found[row]}; the lists of a row must have one length"
        )


def check_ids(ids: Array) -> None:
    """Check that identifiers, shape (n,), are int64 or strings."""
    strings = ids.dtype.kind == "U" or (ids.dtype == object and all(isinstance(name, str) for name in ids))
    if not strings and ids.dtype != np.int64:
        raise DataError(f"light-curve ids are {ids.dtype}; they must be int64 or strings, kept exactly as given")


def check_points(
    *, time: Array, mag: Array, mag_err: Array, band: Array | None, flags: Array | None, programid: Array | None
) -> None:
    """Check the dtypes of the per-point columns, and that each has as many points as `time`, shape (N,)."""
    if time.dtype == np.float32:
        raise DataError("time is float32, whose step is 0.25 d at HJD 2.46e6; give float64 [d, HJD]")
    if time.dtype != np.float64:
        raise DataError(f"time is {time.dtype}; it must be float64 [d, HJD]")
    for name, values in (("mag", mag), ("mag_err", mag_err)):
        if values.dtype not in (np.float64, np.float32):
            raise DataError(f"{name} is {values.dtype}; it must be float64 or float32 [mag]")
    if mag.dtype != mag_err.dtype:
        raise DataError(f"mag is {mag.dtype} but mag_err is {mag_err.dtype}; give both in one precision")
    if flags is not None and flags.dtype.kind not in "iu":
        raise DataError(f"flags are {flags.dtype}; they must be integers (catflags)")
    if programid is not None and programid.dtype.kind not in "iu":
        raise DataError(f"programid is {programid.dtype}; it must be integers")
    if band is not None and band.dtype.kind not in "iuUO":
        raise DataError(f"band is {band.dtype}; it must be strings or integer codes per point")
    others = {"mag": mag, "mag_err": mag_err, "band": band, "flags": flags, "programid": programid}
    for name, column in others.items():
        if column is not None and len(column) != len(time):
            raise DataError(f"{name} has {len(column)} points but time has {len(time)}")


def check_offsets(offsets: Array, *, n_sources: int, n_points: int) -> None:
    """Check that `offsets`, shape (n_sources + 1,), int64, partition the points."""
    if offsets.dtype != np.int64:
        raise DataError(f"offsets are {offsets.dtype}; they must be int64")
    if len(offsets) != n_sources + 1:
        raise DataError(f"{n_sources} ids need {n_sources + 1} offsets, not {len(offsets)}")
    if offsets[0] != 0 or offsets[-1] != n_points or np.any(np.diff(offsets) < 0):
        raise DataError(
            f"offsets must rise from 0 to the {n_points} points; they go from {offsets[0]} to {offsets[-1]}"
        )
