"""Sums of magnitudes by phase bin, at many trial frequencies: what aov, pdm, fpw and bls are made of.

`table` adds the points of a light curve to tables of bins, one a frequency, `pairs` to one table for two frequencies;
`plain` makes of them the sum of squares between bins, all points of equal weight, `weighted` the sums of weights and of
weighted magnitudes by bin.
"""

from __future__ import annotations

from scope_ml.errors import ConfigError

__all__ = ["MAX_BINS", "check_bins"]

#: Most bins of a cycle that the phase accumulators take; see `phase_bins`.
MAX_BINS = 64


def check_bins(key: str, n_bins: int) -> int:
    """Return a number of phase bins that can be used; `key` is the option's name.

    Raises
    ------
    ConfigError
        If it is not between 2 and `MAX_BINS`.
    """
    if not 2 <= n_bins <= MAX_BINS:
        raise ConfigError(f"{key} is {n_bins}; set it to a number of phase bins from 2 to {MAX_BINS}", key=key)
    return n_bins
