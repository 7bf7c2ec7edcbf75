"""The Fourier fit in numba: by normal equations, or by orthogonal terms where those would lose digits.

May import the package and its rooms `normal`, `orthogonal` and `sums`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.fourier import COLUMNS, MAX_HARMONICS, N_SOLUTION, N_TERMS, FourierOptions
from scope_ml.kernels.fourier.normal import fit_normal, make_workspace
from scope_ml.kernels.fourier.orthogonal import fit_orthogonal
from scope_ml.kernels.fourier.sums import FLOATS, ROW

__all__ = ["run"]

INTEGERS = types.Array(types.int64, 1, "C", readonly=True)


def run(batch: LightCurveBatch, options: FourierOptions) -> dict[str, NDArray[np.float64]]:
    """Return each of `COLUMNS` as float64 (n_sources,); units in the package."""
    table = np.full((len(COLUMNS), len(batch)), np.nan)
    _fill(
        batch.offsets,
        batch.time,
        batch.mag.astype(np.float64, copy=False),
        batch.mag_err.astype(np.float64, copy=False),
        np.ascontiguousarray(options.period, dtype=np.float64),
        table,
    )
    return dict(zip(COLUMNS, table, strict=True))


@njit(types.void(ROW, types.int64, types.int64, types.float64[:]), nogil=True, cache=True, error_model="numpy")
def _summarise(solution: NDArray[np.float64], order: int, n_obs: int, row: NDArray[np.float64]) -> None:
    """Write the values of `COLUMNS`, NaN before; the definition is `fourier.summarise`."""
    chi2_0, chi2 = solution[N_TERMS], solution[N_TERMS + 1]
    row[0] = (chi2_0 - chi2) / chi2_0 if order > 0 and chi2_0 > 0.0 else 0.0
    row[1] = chi2 + math.log(n_obs) * (2 + 2 * order)
    row[2] = solution[0]
    row[3] = solution[1]
    row[4] = 0.0
    first_amplitude = 0.0
    first_phase = 0.0
    for n in range(1, order + 1):
        a, b = solution[2 * n], solution[2 * n + 1]
        amplitude, phase = math.sqrt(a * a + b * b), math.atan2(a, b)
        if n == 1:
            first_amplitude, first_phase = amplitude, phase
            row[4] = amplitude
            row[5] = phase
        else:
            if first_amplitude > 0.0:
                row[2 + 2 * n] = amplitude / first_amplitude
            turns = (phase / n - first_phase) * n / (2.0 * math.pi)
            row[3 + 2 * n] = turns - math.floor(turns)
    for n in range(max(order, 1) + 1, MAX_HARMONICS + 1):
        row[2 + 2 * n] = 0.0


@njit(types.void(INTEGERS, FLOATS, FLOATS, FLOATS, FLOATS, types.float64[:, ::1]), nogil=True, cache=True)
def _fill(
    offsets: NDArray[np.int64],
    time: NDArray[np.float64],
    mag: NDArray[np.float64],
    mag_err: NDArray[np.float64],
    period: NDArray[np.float64],
    table: NDArray[np.float64],
) -> None:
    """Write the fit of each light curve into its column of `table` (n_columns, n_sources), which is NaN before."""
    longest = 0
    for i in range(offsets.size - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    work, solution = make_workspace(longest), np.empty(N_SOLUTION)
    for i in range(offsets.size - 1):
        first, last = offsets[i], offsets[i + 1]
        if last - first < 3 or not (math.isfinite(period[i]) and period[i] > 0.0):
            continue
        t, m, e = time[first:last], mag[first:last], mag_err[first:last]
        order = fit_normal(t, m, e, period[i], work, solution)
        if order < 0:
            order = fit_orthogonal(t, m, e, period[i], solution)
        if order >= 0:
            _summarise(solution, order, last - first, table[:, i])
