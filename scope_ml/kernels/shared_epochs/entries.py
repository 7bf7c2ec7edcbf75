"""Which exposures fall into which phase bin, for all light curves of a group at once."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["BLOCK", "fill_entries"]

#: Frequencies folded at a time: the lists of 100 exposures take 400 KiB.
BLOCK = 256


@njit(
    "void(f8[::1], f8[::1], f8, f8, i8, i4[:, ::1], f4[:, ::1], i8[:, ::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
    boundscheck=False,
)
def fill_entries(
    epoch: NDArray[np.float64],
    reach: NDArray[np.float64],
    start: float,
    step: float,
    n_bins: int,
    order: NDArray[np.int32],
    threshold: NDArray[np.float32],
    bounds: NDArray[np.int64],
) -> None:
    """Write the exposures in order of phase bin for the frequencies ``start + k * step``.

    Bin b of frequency k holds the entries ``bounds[k, 3 b]`` to ``bounds[k, 3 b + 3]``: first exposures of which all
    sources lie in the bin, from ``bounds[k, 3 b + 1]`` those whose sources with a deviation of at least `threshold` do,
    from ``bounds[k, 3 b + 2]`` those whose other sources do. The spread of an exposure is below a bin.

    Parameters
    ----------
    epoch, reach
        Of a `groups.Group`, float64 (n_epochs,).
    start, step
        Frequencies in cycles per baseline.
    n_bins
        Bins of a cycle.
    order, threshold
        Exposures and thresholds, (n_frequencies, 2 * n_epochs).
    bounds
        (n_frequencies, 3 * n_bins + 1).
    """
    n_epochs = epoch.size
    key = np.empty(2 * n_epochs, dtype=np.int64)
    edge = np.empty(2 * n_epochs, dtype=np.float32)
    exposure = np.empty(2 * n_epochs, dtype=np.int32)
    place = np.empty(3 * n_bins + 1, dtype=np.int64)
    position = np.empty(n_epochs)
    for k in range(order.shape[0]):
        cycles = start + k * step
        scale = n_bins * cycles
        place[:] = 0
        n = 0
        # A loop of its own, since it becomes vector instructions.
        for i in range(n_epochs):
            phase = cycles * epoch[i]
            position[i] = (phase - math.floor(phase)) * n_bins
        for i in range(n_epochs):
            own = min(int(position[i]), n_bins - 1)
            above = position[i] - own
            near = scale * reach[i]
            if above >= near and 1.0 - above > near:
                key[n] = 3 * own
                exposure[n] = i
                place[3 * own + 1] += 1
                n += 1
                continue
            lower, upper = (own - 1 if own > 0 else n_bins - 1, own)
            distance = -above
            if above >= near:
                lower, upper = (own, own + 1 if own + 1 < n_bins else 0)
                distance = 1.0 - above
            key[n] = 3 * upper + 1
            key[n + 1] = 3 * lower + 2
            place[3 * upper + 2] += 1
            place[3 * lower + 3] += 1
            for j in range(n, n + 2):
                exposure[j] = i
                edge[j] = np.float32(distance / scale)
            n += 2
        for b in range(3 * n_bins):
            place[b + 1] += place[b]
            bounds[k, b] = place[b]
        bounds[k, 3 * n_bins] = place[3 * n_bins]
        for j in range(n):
            at = place[key[j]]
            place[key[j]] += 1
            order[k, at] = exposure[j]
            threshold[k, at] = edge[j]
