"""What light-curve offers that comes nearest to our basic statistics, to be timed beside them.

19 of our 22 statistics have a counterpart in light-curve 0.13 (welch_i, stetson_j and sw have none). All 19 are native
(compiled): features that light-curve computes in Python would make a whole extractor ten times slower.
light-curve is under the GPL; it is no part of scope_ml and is only called here, to be timed.
"""

from __future__ import annotations

from typing import Any

__all__ = ["NATIVE_19", "extractor"]

#: Our column, the light-curve feature that resembles it, its arguments.
NATIVE_19: tuple[tuple[str, str, dict[str, float]], ...] = (
    ("n", "ObservationCount", {}),
    ("median", "Median", {}),
    ("wmean", "WeightedMean", {}),
    ("chi2red", "ReducedChi2", {}),
    ("roms", "Roms", {}),
    ("wstd", "StandardDeviation", {}),
    ("norm_peak_to_peak_amp", "Amplitude", {}),
    ("norm_excess_var", "ExcessVariance", {}),
    ("median_abs_dev", "MedianAbsoluteDeviation", {}),
    ("iqr", "InterPercentileRange", {"quantile": 0.25}),
    ("i60r", "InterPercentileRange", {"quantile": 0.20}),
    ("i70r", "InterPercentileRange", {"quantile": 0.15}),
    ("i80r", "InterPercentileRange", {"quantile": 0.10}),
    ("i90r", "InterPercentileRange", {"quantile": 0.05}),
    ("skew", "Skew", {}),
    ("smallkurt", "Kurtosis", {}),
    ("inv_vonneumannratio", "EtaE", {}),
    ("stetson_k", "StetsonK", {}),
    ("ad", "AndersonDarlingNormal", {}),
)


def extractor() -> Any:
    """Return one light-curve Extractor of `NATIVE_19`; its fastest call is ``(t, m, e, sorted=True, check=False)``.

    Raises
    ------
    ImportError
        If light-curve is not installed.
    """
    import light_curve

    return light_curve.Extractor(*(getattr(light_curve, name)(**given) for _, name, given in NATIVE_19))
