"""The 22 basic statistics of SCoPe, exact to its formulae, in float64.

With N points of magnitude m and error e, w = 1/e^2, wm = sum(w m)/sum(w), d = sqrt(N/(N-1)) (m - wm)/e:
`skew`, `smallkurt`, `welch_i`, `stetson_j` and `stetson_k` are scaled by the *errors*, and `ad` and `sw` test the
ratio m/e, not a residual; their names promise something else, but models and the published catalogue follow these.

A statistic that is undefined is NaN, never infinite:

=====================  ==========================================================
n, (all others)        0 points: n = 0 and all others NaN
median, wmean, wstd,   1 point or more
median_abs_dev, iqr,
i60r ... i90r
norm_peak_to_peak_amp  1 point; NaN where max(m-e) + min(m+e) = 0
norm_excess_var        1 point; NaN where wm = 0
chi2red, roms,         2 points
welch_i, stetson_j
stetson_k              2 points; NaN where all m = wm
inv_vonneumannratio    2 distinct times; NaN where wstd = 0; pairs at equal times are left out
skew                   3 points
smallkurt              4 points
ad                     2 points; NaN where all m/e are equal
sw                     3 points; NaN where all m/e are equal; AS R94 was calibrated for N <= 5000
=====================  ==========================================================

Where all magnitudes are equal, wm is that magnitude exactly and the sums of residuals are exactly 0. A light curve
with a value that is not finite or an error that is not positive has its n and NaN for the rest. Points must be
sorted by time: `inv_vonneumannratio`, `welch_i` and `stetson_j` take them in the order given.
"""

from __future__ import annotations

__all__ = ["COLUMNS", "PERCENTILE_RANGES"]

#: Columns in SCoPe's order.
COLUMNS: tuple[str, ...] = (
    "n",
    "median",
    "wmean",
    "chi2red",
    "roms",
    "wstd",
    "norm_peak_to_peak_amp",
    "norm_excess_var",
    "median_abs_dev",
    "iqr",
    "i60r",
    "i70r",
    "i80r",
    "i90r",
    "skew",
    "smallkurt",
    "inv_vonneumannratio",
    "welch_i",
    "stetson_j",
    "stetson_k",
    "ad",
    "sw",
)

#: Percentile ranges: column, lower and upper percentile (linear interpolation, numpy's default).
PERCENTILE_RANGES: tuple[tuple[str, float, float], ...] = (
    ("iqr", 25.0, 75.0),
    ("i60r", 20.0, 80.0),
    ("i70r", 15.0, 85.0),
    ("i80r", 10.0, 90.0),
    ("i90r", 5.0, 95.0),
)
