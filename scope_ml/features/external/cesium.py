"""The features of the package cesium that SCoPe knows, under its names, computed by the package.

Left out is cesium's `skew`, the population's skewness: SCoPe never wrote it, since a basic statistic of that name, scaled
by errors, took its place. The functions are called from cesium's table, each once a light curve: its own driver builds a
task graph, which takes several times as long and gives the same values.

All columns are NaN for fewer than 4 points, a single time, times that fall and bad points; one that is not finite, such as
`max_slope` with a repeated time, is NaN. `cesium_failures` counts the features whose function gave up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.features.external.packages import finite, is_usable, require
from scope_ml.features.spec import FeatureSpec

__all__ = ["cesium_columns", "measure_cesium"]

CESIUM = "Naul et al. 2016, arXiv:1609.04504 (cesium 0.12)"
RICHARDS = "Richards et al. 2011, ApJ 733, 10"
BUTLER = "Butler & Bloom 2011, AJ 141, 93"

#: Minutes of the cumulative distribution of gaps.
MINUTES = (
    *(1, 10, 20, 30, 40, 50, 100, 500, 1000, 5000),
    *(10000, 50000, 100000, 500000, 1000000, 5000000, 10000000),
)

#: Pairs and ranks of the peaks of the histogram of separations.
RATIOS = ((1, 2), (1, 3), (2, 3), (1, 4), (2, 4), (3, 4))
RANKS = (1, 2, 3, 4)

#: What a function of the package raises where a light curve has no such feature.
GIVES_UP = (ValueError, ArithmeticError, LookupError, AssertionError, TypeError)


def _cadence() -> list[tuple[str, str, str, str]]:
    """Return name, unit, formula and reference of what depends on times and errors alone."""
    lines = [
        ("avg_err", "mag", "mean(e)", CESIUM),
        ("med_err", "mag", "median(e)", CESIUM),
        ("std_err", "mag", "standard deviation of e, ddof 0", CESIUM),
        ("total_time", "d", "T = max(t) - min(t)", CESIUM),
        ("avgt", "d", "mean(t)", CESIUM),
        ("cads_std", "d", "standard deviation of the gaps c = diff(t), ddof 0", CESIUM),
        ("cads_avg", "d", "mean(c)", CESIUM),
        ("cads_med", "d", "median(c)", CESIUM),
    ]
    lines += [
        (f"cad_probs_{minutes}", "", f"share of gaps below {minutes} min, equal ones half", CESIUM)
        for minutes in MINUTES
    ]
    ratio = "(c_k + c_{k+2}) / (c_{k+1} - c_k)"
    lines += [
        ("med_double_to_single_step", "", f"median of {ratio}", CESIUM),
        ("avg_double_to_single_step", "", f"mean of {ratio}", CESIUM),
        ("std_double_to_single_step", "", f"standard deviation of {ratio}, ddof 0", CESIUM),
        ("all_times_nhist_numpeaks", "", "local maxima of h, the histogram of all separations in 50 bins", CESIUM),
        ("all_times_nhist_peak_val", "1/d", "max(h), h scaled to mean 1/T", CESIUM),
    ]
    lines += [
        (f"all_times_nhist_peak_{i}_to_{j}", "", f"height of maximum {i} over that of {j}, 0 the highest", CESIUM)
        for i, j in RATIOS
    ]
    lines += [
        (f"all_times_nhist_peak{rank}_bin", "", f"bin of maximum {rank}, 0 the highest", CESIUM) for rank in RANKS
    ]
    return lines


def _general() -> list[tuple[str, str, str, str]]:
    """Return name, unit, formula and reference of what depends on magnitudes."""
    flux = "F = 10^(-0.4 m)"
    lines = [("mean", "mag", "mean(m)", CESIUM), ("amplitude", "mag", "(max(m) - min(m)) / 2", RICHARDS)]
    lines += [
        (
            f"flux_percentile_ratio_mid{width}",
            "",
            f"(percentile {50 + width / 2:g} - {50 - width / 2:g}) / (percentile 95 - 5) of {flux}",
            RICHARDS,
        )
        for width in (20, 35, 50, 65, 80)
    ]
    lines += [
        ("max_slope", "mag/d", "max(|dm/dt|) over consecutive pairs", RICHARDS),
        ("maximum", "mag", "max(m)", CESIUM),
        ("minimum", "mag", "min(m)", CESIUM),
        ("percent_amplitude", "", f"max(|F/median(F) - 1|), {flux}", RICHARDS),
        ("percent_beyond_1_std", "", "share of |m - wm| > weighted standard deviation", RICHARDS),
        ("percent_close_to_median", "", "share of |m - median| < (max - min) / 10", RICHARDS),
        ("percent_difference_flux_percentile", "", f"(percentile 95 - 5) / median of {flux}", RICHARDS),
        ("period_fast", "d", "best period of Lomb-Scargle between 2 T / N and T", "VanderPlas & Ivezic 2015 (gatspy)"),
        ("qso_log_chi2_qsonu", "", "ln(chi2 per degree of freedom) for the damped random walk of a quasar", BUTLER),
        ("qso_log_chi2nuNULL_chi2nu", "", "ln(that expected of no quasar / that for a quasar)", BUTLER),
        ("std", "mag", "standard deviation of m, ddof 0", CESIUM),
    ]
    return lines


def _specs() -> tuple[FeatureSpec, ...]:
    specs = tuple(
        FeatureSpec(name=name, group="cesium", unit=unit, formula=formula, reference=reference, sets=(), legacy=name)
        for name, unit, formula, reference in (*_cadence(), *_general())
    )
    failures = FeatureSpec(
        name="cesium_failures",
        group="cesium",
        unit="",
        formula="features whose function gave up",
        reference=CESIUM,
        sets=(),
    )
    return (*specs, failures)


SPECS = _specs()


def cesium_columns() -> tuple[FeatureSpec, ...]:
    """Return the specs of the group's columns in their order, without importing the package."""
    return SPECS


def measure_cesium(batch: LightCurveBatch) -> dict[str, NDArray[np.float64]]:
    """Measure the group `cesium`.

    Parameters
    ----------
    batch
        Light curves in order of time, `mag` and `mag_err` in mag.

    Returns
    -------
    dict
        Column of `cesium_columns` to float64 (n_sources,), NaN where undefined.

    Raises
    ------
    BackendUnavailableError
        If cesium is not installed.
    """
    graph: Mapping[str, tuple[Any, ...]] = require("cesium").dask_feature_graph
    values = {spec.name: np.full(len(batch), np.nan) for spec in SPECS}
    for i, light_curve in enumerate(batch):
        if not is_usable(light_curve):
            continue
        arrays = {
            "t": light_curve.time,
            "m": light_curve.mag.astype(np.float64),
            "e": light_curve.mag_err.astype(np.float64),
        }
        # Local to the thread, unlike the filters of warnings.
        with np.errstate(all="ignore"):
            found = _measure(graph, arrays)
        for name, value in found.items():
            values[name][i] = value
    return {name: finite(column) for name, column in values.items()}


def _measure(graph: Mapping[str, tuple[Any, ...]], arrays: dict[str, Any]) -> dict[str, float]:
    """Return the columns of one light curve by walking cesium's table: name -> (function, arguments)."""
    known: dict[str, Any] = dict(arrays)

    def compute(name: str) -> Any:
        if name not in known:
            function: Callable[..., Any] = graph[name][0]
            known[name] = function(*(compute(key) if isinstance(key, str) else key for key in graph[name][1:]))
        return known[name]

    found = _gap_shares(compute("cads"))
    failures = 0
    for spec in SPECS[:-1]:
        if spec.name in found:
            continue
        try:
            found[spec.name] = float(compute(spec.name))
        except GIVES_UP:
            failures += 1
    return found | {SPECS[-1].name: float(failures)}


def _gap_shares(gaps: NDArray[np.float64]) -> dict[str, float]:
    """Return `cad_probs_*` by one call of the function that cesium calls for each."""
    from scipy.stats import percentileofscore

    shares = percentileofscore(gaps, np.array(MINUTES, dtype=np.float64) / (24.0 * 60.0)) / 100.0
    return {f"cad_probs_{minutes}": float(share) for minutes, share in zip(MINUTES, shares, strict=True)}
