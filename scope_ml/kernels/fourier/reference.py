"""Definition of the Fourier fit: one least-squares solution per order with `numpy.linalg.lstsq`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.fourier import COLUMNS, MAX_HARMONICS, SINGULAR, FourierOptions, phase_of, summarise

__all__ = ["fit", "run"]


def run(batch: LightCurveBatch, options: FourierOptions) -> dict[str, NDArray[np.float64]]:
    """Return each of `COLUMNS` as float64 (n_sources,); units in the package."""
    table = np.full((len(COLUMNS), len(batch)), np.nan)
    for i in range(len(batch)):
        points = slice(int(batch.offsets[i]), int(batch.offsets[i + 1]))
        t, m, e = batch.time[points], batch.mag[points].astype(float), batch.mag_err[points].astype(float)
        period = float(options.period[i])
        good = np.isfinite(t).all() and np.isfinite(m).all() and np.isfinite(e).all() and (e > 0).all()
        if good and t.size >= 3 and np.unique(t).size >= 2 and np.isfinite(period) and period > 0:
            table[:, i] = fit(t, m, e, period)
    return dict(zip(COLUMNS, table, strict=True))


def fit(t: NDArray[np.float64], m: NDArray[np.float64], e: NDArray[np.float64], period: float) -> list[float]:
    """Return the values of `COLUMNS` of one light curve with at least 3 points at 2 times.

    Parameters
    ----------
    t, m, e
        Times [d], magnitudes and errors [mag], float64 (n_obs,).
    period
        Period [d].
    """
    elapsed = t - t.min()
    angle = 2 * np.pi * phase_of(t, period)
    baseline = elapsed.max()
    terms = [np.ones_like(t), elapsed / baseline]
    for n in range(1, MAX_HARMONICS + 1):
        terms += [np.cos(n * angle), np.sin(n * angle)]
    design = np.stack(terms, axis=1) / e[:, None]
    solutions, chi2 = [], []
    for order in range(MAX_HARMONICS + 1):
        columns = design[:, : 2 + 2 * order]
        if t.size <= columns.shape[1] or _is_singular(columns):
            break
        # The magnitudes are counted from their median, so that chi2 keeps its digits.
        solution, *_ = np.linalg.lstsq(columns, (m - np.median(m)) / e, rcond=None)
        chi2.append(float(np.sum(((m - np.median(m)) / e - columns @ solution) ** 2)))
        solution[0] += np.median(m)
        solution[1] /= baseline
        solutions.append(solution)
    bic = [value + np.log(t.size) * (2 + 2 * order) for order, value in enumerate(chi2)]
    best = int(np.argmin(bic))
    return summarise(np.asarray(solutions[best], dtype=np.float64), np.array(chi2, dtype=np.float64), best, t.size)


def _is_singular(columns: NDArray[np.float64]) -> bool:
    """Return whether a column is a combination of those before it."""
    left = np.abs(np.diag(np.linalg.qr(columns, mode="r")))
    return bool(np.any(left < SINGULAR * np.linalg.norm(columns, axis=0)))
