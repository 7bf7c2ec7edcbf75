"""Definition of the trigonometric sums: a direct sum over the points for each frequency, float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["sums"]


def sums(
    time: NDArray[np.float64], strengths: NDArray[np.float64], frequency: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Return ``sum_i strengths[r, i] exp(2 pi i f_k time_i)``, complex128 (n_sums, n_frequencies).

    Parameters
    ----------
    time
        Float64 (n_obs,) [d].
    strengths
        Float64 (n_sums, n_obs).
    frequency
        Float64 (n_frequencies,) [1/d].
    """
    phase = np.outer(time, frequency)
    result: NDArray[np.complex128] = strengths @ np.exp(2j * np.pi * (phase - np.rint(phase)))
    return result
