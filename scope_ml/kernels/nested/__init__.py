"""Nested search: Lomb-Scargle and conditional entropy propose periods, analysis of variance decides among them.

SCoPe's ``ELS_ECE_EAOV`` (Coughlin et al. 2021, MNRAS 505, 2954) with its faults left behind: candidates are distinct
peaks, not neighbouring points of one peak; each is refined off the grid; the significance is that of analysis of
variance, on the same scale as every other method's, not the raw statistic.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scope_ml.kernels.grid import FrequencyGrid

__all__ = ["COMPONENTS", "SAMPLE", "merge_candidates", "sample_frequencies"]

#: The searches that the nested one is made of.
COMPONENTS = ("ls", "ce", "aov")

#: Frequencies at which analysis of variance is computed to know its mean and scatter, where it is not computed on the
#: whole grid.
SAMPLE = 8192


def merge_candidates(ls: NDArray[np.float64], ce: NDArray[np.float64], separation: float) -> NDArray[np.float64]:
    """Return the distinct candidates of both searches [1/d], float64 (n,): those of `ls`, then those of `ce` alone.

    Parameters
    ----------
    ls, ce
        Refined frequencies [1/d] of the peaks of each, best first, float64 (n,).
    separation
        Candidates closer than this [1/d] are one; that of `ls`, whose peak is smooth, is kept.
    """
    alone = np.array([bool(np.all(np.abs(ls - frequency) >= separation)) for frequency in ce], dtype=np.bool_)
    return np.concatenate((ls, ce[alone]))


def sample_frequencies(grid: FrequencyGrid, index: int) -> tuple[float, float, int]:
    """Return first frequency, spacing [1/d] and number of at most `SAMPLE` points spread over the grid of `index`."""
    stride = max(1, int(grid.n_frequencies[index]) // SAMPLE)
    count = (int(grid.n_frequencies[index]) - 1) // stride + 1
    return float(grid.minimum[index]), stride * float(grid.step[index]), count
