"""Features of the package light-curve (Malanchev 2021, ascl:2107.001), by their names there, computed by its compiled code.

A column is ``lc_`` and the package's own name of the value, such as ``lc_stetson_K``: the prefix keeps them apart from
ours (its `skew` is not scaled by errors, its `anderson_darling_normal` is of magnitudes) and says where any later column
comes from. Features with their default parameters only; periodograms and fits by hand-tuned algorithms are left out.

All columns are NaN for fewer than 4 points, a single time, times that fall and bad points, and where the package finds a
feature undefined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError, suggest
from scope_ml.features.external.packages import finite, is_usable, require
from scope_ml.features.spec import FeatureSpec

__all__ = ["DEFAULT", "PREFIX", "check_names", "light_curve_columns", "light_curve_spec", "measure_light_curve"]

PREFIX = "lc_"
PACKAGE = "Malanchev 2021, ascl:2107.001 (light-curve 0.13)"

#: Feature -> its values: name, unit and formula. Those that are also among our basic statistics, and those that describe
#: the survey rather than the star, are not in it.
TABLE: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "Amplitude": (("amplitude", "mag", "(max(m) - min(m)) / 2"),),
    "AndersonDarlingNormal": (("anderson_darling_normal", "", "(1 + 4/N - 25/N^2) A^2 of m"),),
    "BeyondNStd": (("beyond_1_std", "", "share of |m - mean| > standard deviation, ddof 1"),),
    "Cusum": (("cusum", "", "range of the cumulative sum of (m - mean) / (N s)"),),
    "Eta": (("eta", "", "sum(dm^2) / ((N - 1) s^2), s the standard deviation, ddof 1"),),
    "EtaE": (("eta_e", "", "T^2 sum((dm/dt)^2) / ((N - 1)^3 s^2)"),),
    "ExcessVariance": (("excess_variance", "", "(s^2 - mean(e^2)) / mean(m)^2"),),
    "Kurtosis": (("kurtosis", "", "excess kurtosis of m, corrected for N"),),
    "LinearFit": (
        ("linear_fit_slope", "mag/d", "slope of the weighted line"),
        ("linear_fit_slope_sigma", "mag/d", "its error"),
        ("linear_fit_reduced_chi2", "", "chi2 / (N - 2) of the weighted line"),
    ),
    "LinearTrend": (
        ("linear_trend", "mag/d", "slope of the line without weights"),
        ("linear_trend_sigma", "mag/d", "its error from the scatter about it"),
        ("linear_trend_noise", "mag", "scatter about the line, N - 2"),
    ),
    "MagnitudePercentageRatio": (
        ("magnitude_percentage_ratio_40_5", "", "(percentile 60 - 40) / (percentile 95 - 5) of m"),
    ),
    "MaximumSlope": (("maximum_slope", "mag/d", "max(|dm/dt|) over consecutive pairs"),),
    "Mean": (("mean", "mag", "mean(m)"),),
    "MeanVariance": (("mean_variance", "", "s / mean(m)"),),
    "MedianBufferRangePercentage": (
        ("median_buffer_range_percentage_10", "", "share of |m - median| < (max - min) / 20"),
    ),
    "OtsuSplit": (
        ("otsu_mean_diff", "mag", "difference of the means of the two parts of Otsu's split"),
        ("otsu_std_lower", "mag", "standard deviation of the bright part"),
        ("otsu_std_upper", "mag", "standard deviation of the faint part"),
        ("otsu_lower_to_all_ratio", "", "share of the bright part"),
    ),
    "PercentAmplitude": (("percent_amplitude", "mag", "max(|m - median|)"),),
    "PercentDifferenceMagnitudePercentile": (
        ("percent_difference_magnitude_percentile_5", "", "(percentile 95 - 5) / median of m"),
    ),
    "Skew": (("skew", "", "skewness of m, corrected for N"),),
    "StandardDeviation": (("standard_deviation", "mag", "s: standard deviation of m, ddof 1"),),
}

#: The features that are measured unless others are named.
DEFAULT: tuple[str, ...] = tuple(TABLE)

#: Of the package's features, those that light curves of one band and default parameters do not suffice for, and a slow one
#: that our period searches replace.
EXCLUDED = frozenset({"Extractor", "JSONDeserializedFeature", "Periodogram", "DmDt", "Bins", "Bootstrap"})


def light_curve_spec(column: str) -> FeatureSpec | None:
    """Return the spec of a column such as ``lc_skew``, without the package; None if it has not the prefix.

    A value that is not of `DEFAULT` has no unit here and its name as formula.
    """
    if not column.startswith(PREFIX):
        return None
    name = column.removeprefix(PREFIX)
    known = {value: (unit, formula) for values in TABLE.values() for value, unit, formula in values}
    unit, formula = known.get(name, ("", f"'{name}' of the package light-curve"))
    return FeatureSpec(name=column, group="light_curve", unit=unit, formula=formula, reference=PACKAGE, sets=())


def check_names(names: Sequence[str]) -> None:
    """Check that the package has each feature.

    Raises
    ------
    ConfigError
        If no feature is named, one twice, or one that the package does not have or that is not offered.
    BackendUnavailableError
        If the package is needed to know and not installed.
    """
    if not names:
        raise ConfigError("features.light_curve names no feature; leave it out for the default ones")
    if len(set(names)) < len(names):
        raise ConfigError(f"features.light_curve names a feature twice: {', '.join(names)}")
    if set(names) <= set(TABLE):
        return
    offered = _offered(require("light_curve"))
    for name in names:
        if name not in offered:
            raise ConfigError(
                f"light-curve has no feature '{name}' that is offered here; there are {', '.join(offered)}"
                f"{suggest(name, offered)}",
                choices=offered,
            )


def light_curve_columns(names: Sequence[str] = DEFAULT) -> tuple[FeatureSpec, ...]:
    """Return the specs of the columns of some features, in order; for those of `DEFAULT` without the package.

    Raises
    ------
    ConfigError, BackendUnavailableError
        See `check_names`.
    """
    check_names(names)
    values: list[str] = []
    for name in names:
        values += [value for value, *_ in TABLE[name]] if name in TABLE else _offered(require("light_curve"))[name]
    specs = (light_curve_spec(PREFIX + value) for value in values)
    return tuple(spec for spec in specs if spec is not None)


def measure_light_curve(batch: LightCurveBatch, names: Sequence[str] = DEFAULT) -> dict[str, NDArray[np.float64]]:
    """Measure the group `light_curve`.

    Parameters
    ----------
    batch
        Light curves in order of time, `mag` and `mag_err` in mag.
    names
        Features by the names of their classes in the package.

    Returns
    -------
    dict
        Column of `light_curve_columns` to float64 (n_sources,), NaN where undefined.

    Raises
    ------
    ConfigError, BackendUnavailableError
        See `check_names`.
    """
    check_names(names)
    package = require("light_curve")
    extractor: Any = package.Extractor(*(getattr(package, name)() for name in names))
    columns = [PREFIX + value for value in extractor.names]
    table = np.full((len(batch), len(columns)), np.nan)
    light_curves = list(batch)
    usable = [i for i, light_curve in enumerate(light_curves) if is_usable(light_curve)]
    if usable:
        points = [
            # From the first point, lest the squares of times lose the digits of a day in 2.4 million.
            (
                light_curves[i].time - light_curves[i].time[0],
                light_curves[i].mag.astype(np.float64),
                light_curves[i].mag_err.astype(np.float64),
            )
            for i in usable
        ]
        # One thread: shards have theirs.
        table[usable] = extractor.many(points, fill_value=np.nan, sorted=True, check=False, n_jobs=1)
    return {column: finite(table[:, k]) for k, column in enumerate(columns)}


def _offered(package: ModuleType) -> dict[str, list[str]]:
    """Return the package's features that can be made without parameters, and the names of their values."""
    offered: dict[str, list[str]] = {}
    for name, kind in vars(package).items():
        if isinstance(kind, type) and not name.startswith("_") and name not in EXCLUDED:
            try:
                offered[name] = list(kind().names)
            except TypeError:
                # It needs parameters, such as bands or an algorithm.
                continue
    return offered
