"""Box least squares (Kovacs, Zucker & Mazeh 2002, A&A 391, 369): the best box in phase, a dip or a brightening.

    p = max s^2 / (r (1 - r)) / sigma^2

over all runs of consecutive phase bins, of 50, whose length lies between `q_min` and `q_max` of the cycle, from every
start, around the end of the cycle too; r is the sum of the weights (1 / mag_err^2, normalised to one) in the run, s that
of the weighted magnitudes less their mean, sigma^2 the weighted variance. So p is the share of the weighted variance
that the box explains, in [0, 1]: Kovacs' signal residue squared, SCoPe's power, over the variance. Larger is better.
As in SCoPe it does not ask for the sign of the box; whether a star fades or brightens shows in its folded light curve.

A box has four parameters (level, depth, start, length), hence the fewest points. The best of 1,250 overlapping boxes has
no known distribution under noise, so no false-alarm probability is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scope_ml.errors import ConfigError
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.peaks import SearchOptions
from scope_ml.kernels.search import Method, Statistic

__all__ = ["MIN_N_OBS", "box_lengths", "method"]

#: One more than a box has parameters.
MIN_N_OBS = 5
#: Sinusoids by which the frequency of a peak is refined: a box is sharper than a pulsation.
N_HARMONICS = 8


def box_lengths(options: SearchOptions) -> tuple[int, int]:
    """Return the shortest and the longest box in bins: outward from `q_min` and `q_max`, 1 to n_box_bins - 1.

    Raises
    ------
    ConfigError
        If no box lies between them.
    """
    n_bins = options.n_box_bins
    shortest = max(1, math.floor(options.q_min * n_bins))
    longest = min(n_bins - 1, math.ceil(options.q_max * n_bins))
    if not 0.0 <= options.q_min <= options.q_max or shortest > longest:
        raise ConfigError(
            f"boxes from q_min={options.q_min:g} to q_max={options.q_max:g} of the cycle do not exist;"
            " set 0 <= q_min <= q_max < 1",
            key="q_min",
        )
    return shortest, longest


def method(prepare: Callable[[Curve, SearchOptions], Statistic]) -> Method:
    """Return what the driver needs of an implementation of this search."""
    return Method(prepare=prepare, min_n_obs=MIN_N_OBS, n_harmonics=N_HARMONICS)
