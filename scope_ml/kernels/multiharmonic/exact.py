"""Power of a multi-harmonic fit at single frequencies, from the points: orthogonal terms, nothing lost to cancellation."""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.kernels.multiharmonic import SINGULAR
from scope_ml.kernels.trig_sums.phasor import fill_phasors, phases
from scope_ml.kernels.trig_sums.points import POINTS, Points

__all__ = ["fill_few", "power_at", "workspace_rows"]

#: What the compiler may do to sums over points: change their order, never ignore NaN.
SUMMED = {"contract", "reassoc"}


@njit("i8(i8)", nogil=True, cache=True)
def workspace_rows(n_harmonics: int) -> int:
    """Return the rows of the workspace of `power_at`: the terms, and phase, cosine and sine."""
    return 2 * n_harmonics + 3


@njit(types.void(POINTS, types.float64[::1]), nogil=True, cache=True, fastmath=SUMMED)
def _centre(points: Points, term: NDArray[np.float64]) -> None:
    """Subtract from a term (n_obs,) its weighted mean in each band."""
    for band in range(points.bounds.size - 1):
        begin, end = points.bounds[band], points.bounds[band + 1]
        total = mean = 0.0
        for i in range(begin, end):
            total += points.weight[i]
            mean += points.weight[i] * term[i]
        mean /= total
        for i in range(begin, end):
            term[i] -= mean


@njit(
    types.float64(types.float64[::1], types.float64[::1], types.float64[::1]), nogil=True, cache=True, fastmath=SUMMED
)
def _product(weight: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the weighted inner product of two terms."""
    total = 0.0
    for i in range(weight.size):
        total += weight[i] * first[i] * second[i]
    return total


@njit(types.float64(POINTS, types.float64[:, ::1], types.int64), nogil=True, cache=True, fastmath=SUMMED)
def _take_term(points: Points, terms: NDArray[np.float64], n_kept: int) -> float:
    """Make term number `n_kept` orthonormal to those before it and return the power it adds, or -1 if singular."""
    term = terms[n_kept]
    # Twice, which leaves the terms orthogonal to rounding (Giraud et al. 2005).
    for _ in range(2):
        _centre(points, term)
        for other in range(n_kept):
            shared = _product(points.weight, term, terms[other])
            for i in range(term.size):
                term[i] -= shared * terms[other, i]
    norm = _product(points.weight, term, term)
    if not norm > SINGULAR:
        return -1.0
    amplitude = 0.0
    scale = 1.0 / np.sqrt(norm)
    for i in range(term.size):
        term[i] *= scale
        amplitude += points.weighted[i] * term[i]
    return amplitude * amplitude


@njit(types.float64(types.float64, POINTS, types.float64[:, ::1]), nogil=True, cache=True, fastmath={"contract"})
def power_at(frequency: float, points: Points, work: NDArray[np.float64]) -> float:
    """Return the power at one frequency [1/d]; `work` is float64 (`workspace_rows`, n_obs)."""
    n_terms = work.shape[0] - 3
    phase, cosine, sine = work[n_terms], work[n_terms + 1], work[n_terms + 2]
    phases(frequency, points.time, phase)
    power = 0.0
    n_kept = 0
    for j in range(1, n_terms // 2 + 1):
        angle = work[n_kept]
        for i in range(phase.size):
            turned = j * phase[i]
            angle[i] = turned - np.rint(turned)
        fill_phasors(angle, cosine, sine)
        for part in range(2):
            term = work[n_kept]
            source = cosine if part == 0 else sine
            for i in range(phase.size):
                term[i] = source[i]
            added = _take_term(points, work[:n_terms], n_kept)
            if added >= 0.0:
                power += added
                n_kept += 1
    return min(power, 1.0)


@njit(
    types.void(types.float64[::1], POINTS, types.int64, types.float64[::1]),
    nogil=True,
    cache=True,
)
def fill_few(frequency: NDArray[np.float64], points: Points, n_harmonics: int, out: NDArray[np.float64]) -> None:
    """Write the power at each frequency [1/d] into `out`, float64 (n,)."""
    work = np.empty((workspace_rows(n_harmonics), points.time.size))
    for k in range(frequency.size):
        out[k] = power_at(frequency[k], points, work)
