"""Whether a light curve can be measured at all, for compiled code. Imports numpy and numba."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

__all__ = ["READ", "is_usable"]

#: A column of a batch, which is read-only.
READ = types.Array(types.float64, 1, "C", readonly=True)


@njit(types.boolean(READ, READ, READ, types.int64), nogil=True, cache=True)
def is_usable(t: NDArray[np.float64], m: NDArray[np.float64], e: NDArray[np.float64], min_points: int) -> bool:
    """Return whether there are so many points, all numbers with positive errors, at two times and of two magnitudes."""
    if t.size < min_points:
        return False
    for i in range(t.size):
        if not (math.isfinite(t[i]) and math.isfinite(m[i]) and math.isfinite(e[i]) and e[i] > 0.0):
            return False
    return bool(t.max() > t.min() and m.max() > m.min())
