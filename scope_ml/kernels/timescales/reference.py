"""Definition of the time scales and of the distribution of magnitudes, in plain NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.timescales import (
    BANDS,
    COLUMNS,
    ERROR_SHARE,
    FASTEST,
    FEWEST_PAIRS,
    LAGS,
    MIN_POINTS,
    MIN_SLOW_BASELINE,
    MIN_SLOW_POINTS,
    N_SLOW,
    SEASON,
    SEASON_POINTS,
    SLOW_STEP,
)

__all__ = ["run"]

Floats = NDArray[np.float64]


def run(batch: LightCurveBatch, options: None = None) -> dict[str, Floats]:
    """Return each of `COLUMNS` as float64 (n_sources,); units in the package."""
    table = np.full((len(COLUMNS), len(batch)), np.nan)
    for i in range(len(batch)):
        points = slice(int(batch.offsets[i]), int(batch.offsets[i + 1]))
        t, m, e = batch.time[points], batch.mag[points].astype(float), batch.mag_err[points].astype(float)
        good = np.isfinite(t).all() and np.isfinite(m).all() and np.isfinite(e).all() and (e > 0).all()
        if good and t.size >= MIN_POINTS and np.ptp(t) > 0 and np.ptp(m) > 0:
            order = np.argsort(t, kind="stable")
            t, m, e = (t - t.min())[order], m[order], e[order]
            table[:, i] = [*_distribution(m, e), *_slow(t, m, e), *_lags(t, m), *_seasons(t, m)]
    return dict(zip(COLUMNS, table, strict=True))


def _distribution(m: Floats, e: Floats) -> list[float]:
    scatter, mean, median = m.std(), m.mean(), float(np.median(m))
    p = {q: float(np.percentile(m, q)) for q in (2, 5, 10, 25, 40, 60, 75, 90, 95, 98)}
    ninety = p[95] - p[5]
    ranges = {2: p[98] - p[2], 5: ninety, 25: p[75] - p[25]}
    values = [np.mean((m - mean) ** 3) / scatter**3, np.mean((m - mean) ** 4) / scatter**4 - 3.0]
    values += [_ratio(p[100 - q] + p[q] - 2 * median, ranges[q]) for q in (2, 5, 25)]
    values += [_ratio(p[100 - q] - p[q], ninety) for q in (40, 25, 10)]
    values += [
        _ratio(float(np.ptp(m)), ninety),
        np.mean(np.abs(m - mean) > scatter),
        np.mean(np.diff(m) ** 2) / scatter**2,
        np.ptp(np.cumsum(m - mean)) / (m.size * scatter),
        _ratio(float(np.median(e)), 1.4826 * float(np.median(np.abs(m - median)))),
    ]
    return [float(value) for value in values]


def _ratio(value: float, over: float) -> float:
    return value / over if over > 0 else float("nan")


def _slow(t: Floats, m: Floats, e: Floats) -> list[float]:
    n_values = 3 * N_SLOW + 4 + len(BANDS)
    baseline = float(t[-1])
    if t.size < MIN_SLOW_POINTS or baseline < MIN_SLOW_BASELINE:
        return [np.nan] * n_values
    weight = 1.0 / (e**2 + (ERROR_SHARE * m.std()) ** 2)
    weight /= weight.sum()
    y = m - weight @ m
    step = SLOW_STEP / baseline
    frequency = 1.0 / baseline + step * np.arange(int((FASTEST - 1.0 / baseline) / step) + 1)
    angle = 2 * np.pi * np.outer(frequency, t)
    cosine, sine = np.cos(angle), np.sin(angle)
    cosine -= (cosine @ weight)[:, None]
    sine -= (sine @ weight)[:, None]
    cc, ss, cs = (cosine**2) @ weight, (sine**2) @ weight, (cosine * sine) @ weight
    determinant = np.where(cc * ss - cs**2 > 1e-9, cc * ss - cs**2, np.inf)
    variance = float(weight @ y**2)
    left, values, shares, bands = y, [], [], []
    for k in range(N_SLOW):
        yc, ys = cosine @ (weight * left), sine @ (weight * left)
        a, b = (ss * yc - cs * ys) / determinant, (cc * ys - cs * yc) / determinant
        power = (a * yc + b * ys) / float(weight @ left**2)
        best = int(np.argmax(power))
        before = float(weight @ left**2)
        left = left - a[best] * cosine[best] - b[best] * sine[best]
        shares.append(power[best] * before / variance)
        values += [1.0 / frequency[best], power[best], shares[-1]]
        if k == 0:
            for place, band in enumerate(BANDS):
                longest = 2.0 * band if place < len(BANDS) - 1 else np.inf
                within = (frequency <= 1.0 / band) & (frequency > 1.0 / longest)
                bands.append(power[within].max() if within.any() else np.nan)
    periods = np.log10(values[::3])
    values += [
        float(weight @ left**2) / variance,
        np.mean(np.diff(left) ** 2) / (2 * left.var()),
        values[3] / values[0],
        float(np.dot(periods, shares) / np.sum(shares)),
    ]
    return [float(value) for value in (*values, *bands)]


def _lags(t: Floats, m: Floats) -> list[float]:
    first, second = np.triu_indices(t.size, 1)
    lag = np.digitize(t[second] - t[first], LAGS)
    square = (m[second] - m[first]) ** 2 / (2 * m.var())
    chosen = [square[lag == k] for k in range(LAGS.size + 1)]
    return [float(values.mean()) if values.size >= FEWEST_PAIRS else float("nan") for values in chosen]


def _seasons(t: Floats, m: Floats) -> list[float]:
    season = np.floor(t / SEASON).astype(int)
    parts = [m[season == k] for k in np.unique(season)]
    parts = [part for part in parts if part.size >= SEASON_POINTS]
    if len(parts) < 3:
        return [np.nan, np.nan]
    scatters = np.array([part.std() for part in parts])
    return [
        float(np.std([part.mean() for part in parts]) / m.std()),
        _ratio(float(scatters.std()), float(scatters.mean())),
    ]
