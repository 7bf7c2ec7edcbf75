"""Definition of the basic statistics: the formulae in NumPy and SciPy, one light curve at a time."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.statistics import COLUMNS, PERCENTILE_RANGES

__all__ = ["run", "statistics_of"]


def run(batch: LightCurveBatch, options: None = None) -> dict[str, NDArray[np.float64]]:
    """Return each of `COLUMNS` as float64 (n_sources,); [mag] or dimensionless, see the package."""
    columns = {name: np.full(len(batch), np.nan) for name in COLUMNS}
    for i in range(len(batch)):
        points = slice(int(batch.offsets[i]), int(batch.offsets[i + 1]))
        values = statistics_of(
            batch.time[points], batch.mag[points].astype(np.float64), batch.mag_err[points].astype(np.float64)
        )
        for name, value in values.items():
            columns[name][i] = value
    return columns


def statistics_of(t: NDArray[np.float64], m: NDArray[np.float64], e: NDArray[np.float64]) -> dict[str, float]:
    """Return the statistics of one light curve that are defined; those left out are NaN.

    Parameters
    ----------
    t, m, e
        Times [d], ascending, magnitudes and errors [mag], float64 (n_obs,).
    """
    n = m.size
    values: dict[str, float] = {"n": float(n)}
    if n == 0 or not (np.isfinite(t).all() and np.isfinite(m).all() and np.isfinite(e).all() and (e > 0).all()):
        return values
    w = e**-2.0
    wm = m[0] if m.max() == m.min() else m[0] + np.sum(w * (m - m[0])) / np.sum(w)
    median = np.median(m)
    values |= {"median": median, "wmean": wm, "wstd": np.sqrt(np.sum(w * (m - wm) ** 2) / np.sum(w))}
    values["median_abs_dev"] = np.median(np.abs(m - median))
    for name, low, high in PERCENTILE_RANGES:
        values[name] = np.percentile(m, high) - np.percentile(m, low)
    a, b = np.max(m - e), np.min(m + e)
    if a + b != 0:
        values["norm_peak_to_peak_amp"] = (a - b) / (a + b)
    if wm != 0:
        values["norm_excess_var"] = np.sum((m - wm) ** 2 - e**2) / (n * wm**2)
    if n >= 2:
        values |= _of_residuals(t, m, e, wm) | _normality(m / e)
    return values


def _of_residuals(
    t: NDArray[np.float64], m: NDArray[np.float64], e: NDArray[np.float64], wm: float
) -> dict[str, float]:
    """Return the statistics of residuals and of consecutive pairs; n >= 2."""
    n = m.size
    scaled = (m - wm) / e
    values: dict[str, float] = {
        "chi2red": np.sum(scaled**2) / (n - 1),
        "roms": np.sum(np.abs(m - np.median(m)) / e) / (n - 1),
    }
    if n >= 3:
        values["skew"] = n / ((n - 1) * (n - 2)) * np.sum(scaled**3)
    if n >= 4:
        values["smallkurt"] = n * (n + 1) / ((n - 1) * (n - 2) * (n - 3)) * np.sum(scaled**4)
        values["smallkurt"] -= 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))
    dt, dm = np.diff(t), np.diff(m)
    apart = dt != 0
    variance = np.sum(e**-2.0 * (m - wm) ** 2) / np.sum(e**-2.0)
    if apart.any() and variance > 0:
        inverse = dt[apart] ** -2.0
        ratio = np.sum(inverse * dm[apart] ** 2) / (np.sum(inverse) * variance)
        if ratio > 0:
            values["inv_vonneumannratio"] = 1.0 / ratio
    d = np.sqrt(n / (n - 1)) * scaled
    pairs = d[:-1] * d[1:]
    values |= {"welch_i": np.sum(pairs), "stetson_j": np.sum(np.sign(pairs) * np.sqrt(np.abs(pairs)))}
    if np.any(d != 0):
        values["stetson_k"] = np.sum(np.abs(d)) / n / np.sqrt(np.sum(d**2) / n)
    return values


def _normality(x: NDArray[np.float64]) -> dict[str, float]:
    """Return Anderson-Darling's A^2 (mean and scatter estimated) and Shapiro-Wilk's W of x; n >= 2."""
    from scipy.special import log_ndtr
    from scipy.stats import shapiro

    n = x.size
    ordered = np.sort(x)
    if ordered[0] == ordered[-1]:
        return {}
    z = (ordered - ordered.mean()) / ordered.std(ddof=1)
    rank = np.arange(1, n + 1)
    values: dict[str, float] = {"ad": -n - np.sum((2 * rank - 1) * (log_ndtr(z) + log_ndtr(-z[::-1]))) / n}
    if n >= 3:
        with warnings.catch_warnings():
            # SciPy warns that the p-value, which we do not use, may be off for N > 5000.
            warnings.simplefilter("ignore", UserWarning)
            values["sw"] = float(shapiro(x).statistic)
    return values
