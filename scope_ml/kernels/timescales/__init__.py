"""On which time scales a light curve changes, and how its magnitudes are distributed; no period is needed.

The distribution does not use errors but for one column: `skew`, `smallkurt` and the like of the basic statistics are
those of SCoPe, scaled by errors, and tell surveys apart as much as stars. s is the standard deviation, W_i the weights
~ 1 / (e_i^2 + (0.15 s)^2) of sum 1, y the magnitudes less their mean so weighted, V = sum(W y^2).

**Slow variation.** The sinusoid of highest Lomb-Scargle power between one cycle a baseline and 0.1 cycles/d (steps of a
quarter of 1 / baseline) is taken out, three times (Roberts, Lehar & Dreher 1987, AJ 93, 968, with the power in the place
of the beam). Periods of a day and its fractions, where slow stars have their aliases, are never among them.

=================================  ===============================================================================
dist_skewness, dist_kurtosis       moments of m, no error scaling: m3 / s^3 and m4 / s^4 - 3
dist_skew_2, _5, _25               (p + (100 - p) - 2 median) / ((100 - p) - p) of the percentiles p = 2, 5, 25
dist_mid_20, _50, _80              range of the middle 20, 50, 80 % over that of the middle 90 %
dist_range                         whole range over that of the middle 90 %
dist_beyond                        share of points more than s from the mean
dist_eta, dist_cusum               sum of squares of consecutive differences over s^2 (per pair); range of the cumulative
                                   sum of (m - mean) over n s
dist_errors                        median error over 1.4826 median(|m - median|)
slow_period_1, _2, _3              periods [d] of the sinusoids, in the order in which they are taken out
slow_power_1, _2, _3               power of each in what was left before it
slow_share_1, _2, _3               the share of V that each takes
slow_left, slow_eta                share of V that is left, and sum of squares of consecutive differences of what is left
                                   over twice its variance
slow_ratio, slow_centre            slow_period_2 / slow_period_1; mean of log10 of the periods, by share
slow_band_10 ... slow_band_1280    highest power, before anything is taken out, at periods from so many days to twice that
lag_0 ... lag_13                   mean square difference of pairs over 2 s^2, by separation; edges 0.05, 0.5, 1.5, 3.5,
                                   7.5, 15, 30, ..., 960, 2000 d; NaN for fewer than 10 pairs
season_mean, season_scatter        scatter of the means of stretches of 120 d over s, and of their scatters over the mean
                                   of these; of stretches with 5 points, NaN for fewer than three
=================================  ===============================================================================

`slow_*` are NaN for fewer than 20 points and baselines below 40 d, and of a band where the grid has no frequency in it;
everything is for fewer than 10 points, a single time, equal magnitudes, and values that are not finite or errors not
positive.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "BANDS",
    "COLUMNS",
    "ERROR_SHARE",
    "FASTEST",
    "FEWEST_PAIRS",
    "LAGS",
    "MIN_POINTS",
    "MIN_SLOW_BASELINE",
    "MIN_SLOW_POINTS",
    "N_SLOW",
    "SEASON",
    "SEASON_POINTS",
    "SLOW_STEP",
]

MIN_POINTS = 10
ERROR_SHARE = 0.15

#: Slow variation: how many sinusoids, highest frequency [1/d], step in 1 / baseline, and what it takes.
N_SLOW = 3
FASTEST = 0.1
SLOW_STEP = 0.25
MIN_SLOW_POINTS = 20
MIN_SLOW_BASELINE = 40.0

#: Shortest periods of the bands [d]; the last has no upper end.
BANDS = (10, 20, 40, 80, 160, 320, 640, 1280)

#: Edges of the separations of pairs [d].
LAGS = np.array([0.05, 0.5, 1.5, 3.5, 7.5, 15.0, 30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 2000.0])
FEWEST_PAIRS = 10

#: Length of a stretch [d] and the fewest points in it.
SEASON = 120.0
SEASON_POINTS = 5

COLUMNS: tuple[str, ...] = (
    "dist_skewness",
    "dist_kurtosis",
    "dist_skew_2",
    "dist_skew_5",
    "dist_skew_25",
    "dist_mid_20",
    "dist_mid_50",
    "dist_mid_80",
    "dist_range",
    "dist_beyond",
    "dist_eta",
    "dist_cusum",
    "dist_errors",
    *(f"slow_{what}_{k}" for k in range(1, N_SLOW + 1) for what in ("period", "power", "share")),
    "slow_left",
    "slow_eta",
    "slow_ratio",
    "slow_centre",
    *(f"slow_band_{band}" for band in BANDS),
    *(f"lag_{k}" for k in range(LAGS.size + 1)),
    "season_mean",
    "season_scatter",
)
