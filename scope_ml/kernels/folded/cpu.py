"""The folded shape in numba. May import the package, its rooms `curves` and `shape`, and `direct_power` and `usable`."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.direct_power import fill_power
from scope_ml.kernels.folded import (
    COLUMNS,
    ERROR_SHARE,
    FAST,
    HARMONICS,
    MIN_POINTS,
    N_DIPS,
    N_PHASES,
    N_SHAPE,
    OVERSAMPLING,
    RATIOS,
    SLOW,
    FoldedOptions,
)
from scope_ml.kernels.folded.curves import FLOATS, ROW, fit, make_normal
from scope_ml.kernels.folded.shape import describe, describe_binary, describe_phases, draw
from scope_ml.kernels.usable import READ, is_usable

__all__ = ["run"]

INTEGERS = types.Array(types.int64, 1, "C", readonly=True)
MATRIX = types.float64[:, ::1]
HALF, ONE, DOUBLE = HARMONICS
LOW = np.array([low for low, _ in RATIOS.values()])
HIGH = np.array([high for _, high in RATIOS.values()])
N_KINDS = len(RATIOS)

#: Places of the parts of a row.
RESIDUALS = COLUMNS.index("fold_explained")
PHASES = COLUMNS.index("fold_phase_0")
BINARY = COLUMNS.index("fold_binary_cycle")
SECOND = BINARY + 5 + N_DIPS + 4


def run(batch: LightCurveBatch, options: FoldedOptions) -> dict[str, NDArray[np.float64]]:
    """Return each of `COLUMNS` as float64 (n_sources,); units in the package."""
    table = np.full((len(COLUMNS), len(batch)), np.nan)
    _fill(
        batch.offsets,
        batch.time,
        batch.mag.astype(np.float64, copy=False),
        batch.mag_err.astype(np.float64, copy=False),
        np.ascontiguousarray(options.cycle, dtype=np.float64),
        table,
    )
    return dict(zip(COLUMNS, table, strict=True))


@njit(types.void(FLOATS, FLOATS, FLOATS, FLOATS, types.float64, ROW), nogil=True, cache=True, error_model="numpy")
def _residuals(
    t: NDArray[np.float64],
    y: NDArray[np.float64],
    residual: NDArray[np.float64],
    e: NDArray[np.float64],
    f: float,
    row: NDArray[np.float64],
) -> None:
    n = t.size
    mean, y_mean = residual.mean(), y.mean()
    second, third, fourth, spread = 0.0, 0.0, 0.0, 0.0
    phase = np.empty(n)
    for i in range(n):
        own = residual[i] - mean
        square = own * own
        second += square
        third += square * own
        fourth += square * square
        spread += (y[i] - y_mean) ** 2
        cycles = t[i] * f
        phase[i] = cycles - math.floor(cycles)
    second, third, fourth, spread = second / n, third / n, fourth / n, spread / n
    order = np.argsort(phase, kind="mergesort")
    by_phase, left, in_time = 0.0, 0.0, 0.0
    for i in range(1, n):
        a, b = order[i - 1], order[i]
        by_phase += (y[b] - y[a]) ** 2
        left += (residual[b] - residual[a]) ** 2
        in_time += (residual[i] - residual[i - 1]) ** 2
    row[0] = np.median(np.abs(residual) / e)
    row[1] = fourth / (second * second)
    row[2] = third / second**1.5
    row[3] = by_phase / (n - 1) / (2.0 * spread)
    row[4] = left / (n - 1) / (2.0 * second)
    row[5] = in_time / (n - 1) / (2.0 * second)


@njit(types.float64(FLOATS, FLOATS, FLOATS, types.float64, types.float64, MATRIX), nogil=True, cache=True)
def _highest(
    t: NDArray[np.float64],
    y: NDArray[np.float64],
    weight: NDArray[np.float64],
    low: float,
    high: float,
    work: NDArray[np.float64],
) -> float:
    step = OVERSAMPLING / t[-1]
    power = np.empty(int((high - low) / step) + 2)
    fill_power(t, y, weight, low, step, power, work)
    highest: float = power.max()
    return highest


@njit(
    types.void(FLOATS, FLOATS, FLOATS, types.float64, types.float64, MATRIX, ROW),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _second(
    t: NDArray[np.float64],
    left: NDArray[np.float64],
    weight: NDArray[np.float64],
    f: float,
    first: float,
    work: NDArray[np.float64],
    row: NDArray[np.float64],
) -> None:
    """Write the powers of second modes; `left` is changed."""
    if not FAST <= 1.0 / f <= SLOW:
        return
    left -= (weight * left).sum()
    for kind in range(N_KINDS):
        row[2 * kind] = t.size * _highest(t, left, weight, LOW[kind] * f, HIGH[kind] * f, work)
        row[2 * kind + 1] = t.size * _highest(t, left, weight, f / HIGH[kind], f / LOW[kind], work)
    best = 0.0
    for kind in range(N_KINDS):
        own, others = max(row[2 * kind], row[2 * kind + 1]), 0.0
        for other in range(N_KINDS):
            if other != kind:
                others = max(others, row[2 * other], row[2 * other + 1])
        row[2 * N_KINDS + kind] = own / others if others > 0.0 else math.nan
        best = max(best, own)
    row[3 * N_KINDS] = best / t.size
    row[3 * N_KINDS + 1] = math.sqrt(2.0 * best / t.size * (weight * left * left).sum()) / first


@njit(types.void(FLOATS, FLOATS, FLOATS, types.float64, MATRIX, ROW), nogil=True, cache=True, error_model="numpy")
def _measure(
    t: NDArray[np.float64],
    m: NDArray[np.float64],
    e: NDArray[np.float64],
    cycle: float,
    work: NDArray[np.float64],
    row: NDArray[np.float64],
) -> None:
    n, f = t.size, 1.0 / cycle
    scatter = ERROR_SHARE * m.std()
    weight = 1.0 / (e * e + scatter * scatter)
    weight /= weight.sum()
    y = m - (weight * m).sum()
    variance = (weight * y * y).sum()
    normal, solution, double = make_normal(), np.empty(2 * DOUBLE + 1), np.empty(2 * DOUBLE + 1)
    residual, left = np.empty(n), np.empty(n)
    noise_half = fit(t, y, weight, 2.0 * f, HALF, normal, solution, residual)
    noise = fit(t, y, weight, f, ONE, normal, solution, residual)
    noise_double = fit(t, y, weight, 0.5 * f, DOUBLE, normal, double, left)
    curve, curve_double = np.empty(N_PHASES), np.empty(N_PHASES)
    draw(solution[: 2 * ONE + 1], curve)
    draw(double, curve_double)
    row[0] = cycle
    even_over_odd = describe(solution[: 2 * ONE + 1], curve, row[1:])
    row[RESIDUALS] = 1.0 - noise / variance
    _residuals(t, y, residual, e, f, row[RESIDUALS + 1 :])
    gain = math.log10(noise / noise_double)
    row[RESIDUALS + 7] = math.log10(noise_half / noise)
    row[RESIDUALS + 8] = gain
    row[RESIDUALS + 9] = n * gain
    odd, squares = 0.0, 0.0
    for h in range(1, DOUBLE + 1):
        square = double[h] ** 2 + double[DOUBLE + h] ** 2
        squares += square
        odd += square if h % 2 == 1 else 0.0
    row[RESIDUALS + 10] = math.sqrt(odd / squares)
    describe_phases(curve, row[PHASES : PHASES + N_SHAPE])
    two = even_over_odd < 1.0
    row[BINARY] = 2.0 * cycle if two else cycle
    describe_binary(curve_double if two else curve, np.empty(2 * N_PHASES), row[BINARY + 1 :])
    _second(t, left, weight, f, math.hypot(solution[1], solution[1 + ONE]), work, row[SECOND:])


@njit(types.void(INTEGERS, READ, READ, READ, READ, MATRIX), nogil=True, cache=True)
def _fill(
    offsets: NDArray[np.int64],
    time: NDArray[np.float64],
    mag: NDArray[np.float64],
    mag_err: NDArray[np.float64],
    cycle: NDArray[np.float64],
    table: NDArray[np.float64],
) -> None:
    """Write each light curve's numbers into its column of `table` (n_columns, n_sources), which is NaN before."""
    longest = 1
    for i in range(offsets.size - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    work = np.empty((5, longest))
    for i in range(offsets.size - 1):
        points = slice(offsets[i], offsets[i + 1])
        if not (
            math.isfinite(cycle[i])
            and cycle[i] > 0.0
            and is_usable(time[points], mag[points], mag_err[points], MIN_POINTS)
        ):
            continue
        order = np.argsort(time[points], kind="mergesort")
        t, m, e = time[points][order], mag[points][order], mag_err[points][order]
        _measure(t - t[0], m, e, cycle[i], work, table[:, i])
