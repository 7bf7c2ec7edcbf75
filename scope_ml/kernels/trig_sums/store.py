"""Memory that is used again: a light curve needs some ten megabytes, and new pages cost a tenth of its search."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

__all__ = ["lend", "take_back"]

#: Bytes that a thread keeps for the light curves to come.
KEPT_BYTES = 1 << 25


class _Spare(threading.local):
    """Arrays of this thread that nobody uses, by shape."""

    def __init__(self) -> None:
        self.arrays: dict[tuple[int, ...], list[NDArray[np.float64]]] = {}
        self.n_bytes = 0


_SPARE = _Spare()


def lend(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return a float64 array of a shape, of any content."""
    spare = _SPARE.arrays.get(shape)
    if not spare:
        return np.empty(shape)
    found = spare.pop()
    _SPARE.n_bytes -= found.nbytes
    return found


def take_back(array: NDArray[np.float64]) -> None:
    """Keep an array for the next light curve; no view of it may be in use any more."""
    if array.nbytes and _SPARE.n_bytes + array.nbytes <= KEPT_BYTES:
        _SPARE.arrays.setdefault(array.shape, []).append(array)
        _SPARE.n_bytes += array.nbytes
