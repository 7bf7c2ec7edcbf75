"""Definition of the damped random walk: dense covariance matrices, and maxima found by SciPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.damped_random_walk import (
    COLUMNS,
    LONGEST,
    MARGIN,
    MIN_POINTS,
    SHORT_GAP,
    SHORTEST,
    STRONGEST,
    WEAKEST,
)

__all__ = ["bounds_of", "fit", "log_likelihood", "run"]

#: Values of ln tau, and of ln v at each, among which the neighbourhood of the maximum is sought.
N_TAU = 24
N_VARIANCES = 30

Floats = NDArray[np.float64]


def run(batch: LightCurveBatch, options: None = None) -> dict[str, Floats]:
    """Return each of `COLUMNS` as float64 (n_sources,); units in the package."""
    table = np.full((len(COLUMNS), len(batch)), np.nan)
    for i in range(len(batch)):
        points = slice(int(batch.offsets[i]), int(batch.offsets[i + 1]))
        t, m, e = batch.time[points], batch.mag[points].astype(float), batch.mag_err[points].astype(float)
        good = np.isfinite(t).all() and np.isfinite(m).all() and np.isfinite(e).all() and (e > 0).all()
        with np.errstate(over="ignore", under="ignore", divide="ignore"):
            good = good and np.isfinite(e**2).all() and np.isfinite(e**-2.0).all()
        if good and t.size >= MIN_POINTS and t[-1] > t[0] and (np.diff(t) >= 0).all():
            table[:, i] = fit(t, m, e)
    return dict(zip(COLUMNS, table, strict=True))


def log_likelihood(t: Floats, m: Floats, e: Floats, tau: float, sigma: float) -> float:
    """Return ln L of a walk with its best constant.

    Parameters
    ----------
    t, m, e
        Times [d], magnitudes and errors [mag], float64 (n_obs,).
    tau, sigma
        Time scale [d] and asymptotic rms [mag].
    """
    covariance = sigma**2 * np.exp(-np.abs(t[:, None] - t) / tau) + np.diag(e**2)
    lower = np.linalg.cholesky(covariance)
    y, ones = np.linalg.solve(lower, np.stack([m - m.mean(), np.ones_like(m)], axis=1)).T
    chi2 = y @ y - (y @ ones) ** 2 / (ones @ ones)
    return float(-0.5 * (chi2 + 2 * np.sum(np.log(np.diag(lower))) + m.size * np.log(2 * np.pi)))


def bounds_of(t: Floats, m: Floats) -> tuple[float, float, float, float]:
    """Return lowest and highest ln tau, then ln v: v = sigma^2 T / (T + 3 tau) with the baseline T."""
    gaps = np.sort(np.diff(t)[np.diff(t) > 0])
    spread = float(np.log(np.mean((m - m.mean()) ** 2)))
    return (
        float(np.log(SHORTEST * gaps[int(SHORT_GAP * gaps.size)])),
        float(np.log(LONGEST * (t[-1] - t[0]))),
        spread + float(np.log(WEAKEST / t.size)),
        spread + float(np.log(STRONGEST)),
    )


def fit(t: Floats, m: Floats, e: Floats) -> list[float]:
    """Return the values of `COLUMNS` of one light curve of good points.

    Parameters
    ----------
    t, m, e
        Times [d], ascending, magnitudes and errors [mag], float64 (n_obs,).
    """
    if m.min() == m.max():
        return [np.nan, 0.0, 0.0]
    baseline = t[-1] - t[0]
    x_low, x_high, y_low, y_high = bounds_of(t, m)

    def best_variance(x: float | None) -> tuple[float, float]:
        """Return the best ln v for ln tau, and its ln L; x None: for white noise."""
        long = 0.0 if x is None else np.log1p(3 * np.exp(x) / baseline)
        likelihood = _of_variance(t, m, e, None if x is None else float(np.exp(x)))
        return _maximum(lambda y: likelihood(np.exp(y + long)), y_low, y_high, N_VARIANCES)

    @np.vectorize
    def along_tau(x: float) -> float:
        return best_variance(x)[1]

    x, walk = _maximum(along_tau, x_low, x_high, N_TAU)
    y, white = best_variance(None)
    still = float(_of_variance(t, m, e, None)(np.zeros(1))[0])
    if walk > max(white, still) + MARGIN:
        sigma = np.exp(0.5 * best_variance(x)[0]) * np.sqrt(1 + 3 * np.exp(x) / baseline)
        return [float(np.exp(x)), float(sigma), walk - max(white, still)]
    return [0.0, float(np.exp(0.5 * y)), 0.0] if white > still + MARGIN else [np.nan, 0.0, 0.0]


def _of_variance(t: Floats, m: Floats, e: Floats, tau: float | None) -> Callable[[Floats], Floats]:
    """Return ln L as a function of sigma^2, in the coordinates in which the scaled covariance is diagonal.

    With D the errors squared and R the correlation, D^-1/2 (sigma^2 R + D) D^-1/2 = U (sigma^2 L + 1) U^T.
    """
    correlation = np.eye(t.size) if tau is None else np.exp(-np.abs(t[:, None] - t) / tau)
    if tau is None:
        scales, axes = e**-2.0, np.eye(t.size)
    else:
        scales, axes = np.linalg.eigh(correlation / np.outer(e, e))
    y, ones = axes.T @ ((m - m.mean()) / e), axes.T @ (1 / e)

    def of_variance(variance: Floats) -> Floats:
        total = np.multiply.outer(variance, np.maximum(scales, 0.0)) + 1.0
        chi2 = (y**2 / total).sum(-1) - (y * ones / total).sum(-1) ** 2 / (ones**2 / total).sum(-1)
        value: Floats = -0.5 * (chi2 + np.log(total).sum(-1) + np.log(2 * np.pi * e**2).sum())
        return value

    return of_variance


def _maximum(function: Callable[[Floats], Floats], low: float, high: float, n: int) -> tuple[float, float]:
    """Return the place and value of the largest of `n` values, improved between its neighbours; ties go low."""
    from scipy.optimize import minimize_scalar

    places = np.linspace(low, high, n)
    values = function(places)
    best = int(np.argmax(values > values.max() - MARGIN))
    between = (places[max(best - 1, 0)], places[min(best + 1, n - 1)])
    found = minimize_scalar(lambda place: -function(place), bounds=between, method="bounded", options={"xatol": 1e-5})
    if -found.fun > values[best]:
        return float(found.x), float(-found.fun)
    return float(places[best]), float(values[best])
