"""The damped random walk in numba: a lattice of the filter's trials, then stencils of them that climb."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.damped_random_walk import (
    COLUMNS,
    CORRELATED,
    FIRST_STEP,
    FLAT,
    LAST_STEP,
    LONGEST,
    MARGIN,
    MAX_ROUNDS,
    MIN_POINTS,
    N_VARIANCES,
    SHORT_GAP,
    SHORTEST,
    SHRINK,
    STENCIL,
    STRONGEST,
    TAU_RATIO,
    WEAKEST,
)
from scope_ml.kernels.damped_random_walk.filter import (
    FLOATS,
    LANES,
    POINTS,
    VECTOR,
    filter_walks,
    prepare,
    white_noise,
    white_noise_slope,
)

__all__ = ["log_likelihood", "run"]

INTEGERS = types.Array(types.int64, 1, "C", readonly=True)

#: Overstepping of a bound in ln tau or ln v that is rounding.
EDGE = 1e-9

#: Bisections of the derivative for white noise.
BISECTIONS = 24


def run(batch: LightCurveBatch, options: None = None) -> dict[str, NDArray[np.float64]]:
    """Return each of `COLUMNS` as float64 (n_sources,); units in the package."""
    table = np.full((len(COLUMNS), len(batch)), np.nan)
    _fill(
        batch.offsets,
        batch.time,
        batch.mag.astype(np.float64, copy=False),
        batch.mag_err.astype(np.float64, copy=False),
        table,
    )
    return dict(zip(COLUMNS, table, strict=True))


def log_likelihood(
    t: NDArray[np.float64],
    m: NDArray[np.float64],
    e: NDArray[np.float64],
    tau: NDArray[np.float64],
    sigma: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return ln L of trials, float64 (n_trials,), with the best constant for each.

    Parameters
    ----------
    t, m, e
        Times [d], ascending, magnitudes and errors [mag], float64 (n_obs,).
    tau, sigma
        Time scales [d] and asymptotic rms [mag] of the trials, float64 (n_trials,).
    """
    width = -(-tau.size // LANES) * LANES
    rate, variance, logs = np.zeros(width), np.zeros((1, width)), np.empty((1, width))
    rate[: tau.size] = 1.0 / tau
    variance[0, : tau.size] = sigma**2
    filter_walks(*prepare(t, m, e), rate, variance, logs)
    return logs[0, : tau.size]


@njit(types.UniTuple(types.float64, 2)(POINTS, types.float64, VECTOR), nogil=True, cache=True)
def _best_white_noise(points: NDArray[np.float64], common: float, bounds: NDArray[np.float64]) -> tuple[float, float]:
    """Return the variance of the best white noise besides the errors, and its ln L; 0 if none is better."""
    step = (bounds[3] - bounds[2]) / (N_VARIANCES - 1)
    best = -np.inf
    at = 0
    for k in range(N_VARIANCES):
        value = white_noise(points, common, math.exp(bounds[2] + k * step))
        if value > best:
            best, at = value, k
    low, high = bounds[2] + max(at - 1, 0) * step, bounds[2] + min(at + 1, N_VARIANCES - 1) * step
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        if white_noise_slope(points, math.exp(middle)) > 0.0:
            low = middle
        else:
            high = middle
    variance = math.exp(0.5 * (low + high))
    best = white_noise(points, common, variance)
    still = white_noise(points, common, 0.0)
    if best > still + MARGIN:
        return variance, best
    return 0.0, still


@njit(types.void(POINTS, types.float64, types.int64, VECTOR, VECTOR, POINTS), nogil=True, cache=True)
def _profile(
    points: NDArray[np.float64],
    common: float,
    block: int,
    bounds: NDArray[np.float64],
    x: NDArray[np.float64],
    best: NDArray[np.float64],
) -> None:
    """Write the best ln v of each ln tau `x` (n_tau,), and its ln L, into `best` (2, n_tau)."""
    rate = np.exp(-x)
    variance = np.empty((N_VARIANCES, x.size))
    logs = np.empty_like(variance)
    step = (bounds[3] - bounds[2]) / (N_VARIANCES - 1)
    best[0] = bounds[2] + 0.5 * (N_VARIANCES - 1) * step
    for level in range(2):
        if level > 0:
            # Now between the neighbours of the best.
            step *= 2.0 / (N_VARIANCES + 1)
        first = best[0] - 0.5 * (N_VARIANCES - 1) * step
        for j in range(N_VARIANCES):
            variance[j] = np.exp(first + j * step) * (1.0 + 3.0 / (rate * bounds[4]))
        filter_walks(points, common, block, rate, variance, logs)
        for k in range(x.size):
            at = 0
            for j in range(N_VARIANCES):
                if logs[j, k] > logs[at, k] + MARGIN:
                    at = j
            best[0, k], best[1, k] = first[k] + at * step, logs[at, k]
            if level > 0 and 0 < at < N_VARIANCES - 1:
                rise = 0.5 * (logs[at + 1, k] - logs[at - 1, k])
                bend = logs[at + 1, k] + logs[at - 1, k] - 2.0 * logs[at, k]
                if bend < -MARGIN:
                    best[0, k] -= rise / bend * step
                    best[1, k] -= 0.5 * rise * rise / bend


@njit(types.UniTuple(types.float64, 4)(types.float64[:, :], types.float64, types.float64), nogil=True, cache=True)
def _top(f: NDArray[np.float64], step_x: float, step_y: float) -> tuple[float, float, float, float]:
    """Return where in steps, and how much higher than the middle, the top of a parabola through 3 by 3 values lies.

    Rows of `f` differ in ln v, columns in ln tau. In a direction that is level or ends at a bound the place is the
    middle's; it is one step away at most.
    """
    middle = f[1, 1]
    along, across = 0.5 * (f[1, 2] - f[1, 0]), 0.5 * (f[2, 1] - f[0, 1])
    bend, tilt = f[1, 0] + f[1, 2] - 2.0 * middle, f[0, 1] + f[2, 1] - 2.0 * middle
    cross = 0.25 * (f[0, 0] + f[2, 2] - f[0, 2] - f[2, 0])
    if not (math.isfinite(bend) and bend < -FLAT * step_x**2):
        along, bend, cross = 0.0, -1.0, 0.0
    if not (math.isfinite(tilt) and tilt < -FLAT * step_y**2):
        across, tilt, cross = 0.0, -1.0, 0.0
    determinant = bend * tilt - cross * cross
    if not (math.isfinite(cross) and determinant > CORRELATED * bend * tilt):
        cross, determinant = 0.0, bend * tilt
    x = min(max((cross * across - tilt * along) / determinant, -1.0), 1.0)
    y = min(max((cross * along - bend * across) / determinant, -1.0), 1.0)
    gain = along * x + across * y + 0.5 * (bend * x * x + tilt * y * y) + cross * x * y
    return x, y, gain, -cross / tilt


@njit(types.void(POINTS, types.float64, types.int64, VECTOR, types.float64, VECTOR), nogil=True, cache=True)
def _climb(
    points: NDArray[np.float64],
    common: float,
    block: int,
    bounds: NDArray[np.float64],
    shear: float,
    at: NDArray[np.float64],
) -> None:
    """Move `at`, which is ln tau, ln v, ln L and the first two steps, to the maximum nearby.

    The stencil leans by `shear`, the change of the best ln v with ln tau, so that it lies along the ridge.
    """
    rate = np.empty(STENCIL)
    variance = np.zeros((1, -(-(STENCIL * STENCIL) // LANES) * LANES))
    logs = np.empty_like(variance)
    half = STENCIL // 2
    is_inside = np.empty((STENCIL, STENCIL), np.bool_)
    for _ in range(MAX_ROUNDS):
        for i in range(STENCIL):
            x = at[0] + (i - half) * at[3]
            rate[i] = math.exp(-x)
            for j in range(STENCIL):
                y = at[1] + (i - half) * at[3] * shear + (j - half) * at[4]
                variance[0, j * STENCIL + i] = math.exp(y) * (1.0 + 3.0 / (rate[i] * bounds[4]))
                is_inside[j, i] = bounds[0] - EDGE < x < bounds[1] + EDGE and bounds[2] - EDGE < y < bounds[3] + EDGE
        filter_walks(points, common, block, rate, variance, logs)
        f = logs[0, : STENCIL * STENCIL].reshape(STENCIL, STENCIL)
        i = j = half
        for k in range(STENCIL * STENCIL):
            if not is_inside[k // STENCIL, k % STENCIL]:
                f[k // STENCIL, k % STENCIL] = -np.inf
            elif f[k // STENCIL, k % STENCIL] > max(f[half, half] + MARGIN, f[j, i]):
                j, i = k // STENCIL, k % STENCIL
        x, y, at[2] = float(i - half), float(j - half), f[j, i]
        if not (0 < i < STENCIL - 1 and 0 < j < STENCIL - 1):
            at[0], at[1] = at[0] + x * at[3], at[1] + x * at[3] * shear + y * at[4]
            continue
        dx, dy, gain, lean = _top(f[j - 1 : j + 2, i - 1 : i + 2], at[3], at[4])
        x, y, at[2] = x + dx, y + dy, at[2] + gain
        at[0], at[1] = at[0] + x * at[3], at[1] + x * at[3] * shear + y * at[4]
        shear += lean * at[4] / at[3]
        if abs(dx) < 1.0 and abs(dy) < 1.0:
            if at[3] < LAST_STEP:
                break
            at[3], at[4] = SHRINK * at[3], SHRINK * at[4]


@njit(types.void(POINTS, types.float64, types.int64, VECTOR, VECTOR), nogil=True, cache=True)
def _best_walk(
    points: NDArray[np.float64], common: float, block: int, bounds: NDArray[np.float64], at: NDArray[np.float64]
) -> None:
    """Write ln tau, ln v and ln L of the best walk into `at`, whose last two elements are work space."""
    width = bounds[1] - bounds[0]
    n_tau = LANES * math.ceil((width / math.log(TAU_RATIO) + 1.0) / LANES)
    step = width / (n_tau - 1)
    x = bounds[0] + step * np.arange(n_tau)
    ridge = np.empty((2, n_tau))
    _profile(points, common, block, bounds, x, ridge)
    best = 0
    for k in range(n_tau):
        if ridge[1, k] > ridge[1, best] + MARGIN:
            best = k
    low, high = max(best - 1, 0), min(best + 1, n_tau - 1)
    shear = (ridge[0, high] - ridge[0, low]) / (x[high] - x[low])
    at[0], at[1] = x[best], min(max(ridge[0, best], bounds[2]), bounds[3])
    at[3], at[4] = 0.5 * step, FIRST_STEP
    _climb(points, common, block, bounds, min(max(shear, -1.0), 1.0), at)


@njit(types.boolean(FLOATS, FLOATS, FLOATS), nogil=True, cache=True)
def _is_usable(t: NDArray[np.float64], m: NDArray[np.float64], e: NDArray[np.float64]) -> bool:
    """Return whether there are enough good points in order, not all at one time."""
    for i in range(t.size):
        if not (math.isfinite(t[i]) and math.isfinite(m[i]) and math.isfinite(e[i]) and e[i] > 0.0):
            return False
        square = e[i] * e[i]
        if not (square > 0.0 and math.isfinite(square) and math.isfinite(1.0 / square)):
            return False
        if i > 0 and t[i] < t[i - 1]:
            return False
    return t.size >= MIN_POINTS and t[-1] > t[0]


@njit(types.void(FLOATS, FLOATS, FLOATS, types.float64[:]), nogil=True, cache=True)
def _fit(t: NDArray[np.float64], m: NDArray[np.float64], e: NDArray[np.float64], row: NDArray[np.float64]) -> None:
    """Write the values of `COLUMNS` of one light curve into `row`, which is NaN before."""
    if not _is_usable(t, m, e):
        return
    if m.min() == m.max():
        row[1] = row[2] = 0.0
        return
    points, common, block = prepare(t, m, e)
    baseline = t[-1] - t[0]
    gaps = np.sort(points[0][points[0] > 0.0])
    shortest = SHORTEST * gaps[int(SHORT_GAP * gaps.size)]
    spread = math.log(np.mean(points[1] ** 2))
    bounds = np.array(
        [
            math.log(shortest),
            math.log(LONGEST * baseline),
            spread + math.log(WEAKEST / t.size),
            spread + math.log(STRONGEST),
            baseline,
        ]
    )
    variance, white = _best_white_noise(points, common, bounds)
    at = np.empty(5)
    _best_walk(points, common, block, bounds, at)
    if not (math.isfinite(at[2]) and math.isfinite(white)):
        return
    if at[2] > white + MARGIN:
        row[0] = math.exp(min(max(at[0], bounds[0]), bounds[1]))
        row[1] = math.sqrt(math.exp(at[1]) * (1.0 + 3.0 * row[0] / baseline))
        row[2] = at[2] - white
    else:
        row[0] = 0.0 if variance > 0.0 else np.nan
        row[1] = math.sqrt(variance)
        row[2] = 0.0


@njit(types.void(INTEGERS, FLOATS, FLOATS, FLOATS, POINTS), nogil=True, cache=True)
def _fill(
    offsets: NDArray[np.int64],
    time: NDArray[np.float64],
    mag: NDArray[np.float64],
    mag_err: NDArray[np.float64],
    table: NDArray[np.float64],
) -> None:
    """Write the walk of each light curve into its column of `table` (n_columns, n_sources)."""
    for i in range(offsets.size - 1):
        first, last = offsets[i], offsets[i + 1]
        _fit(time[first:last], mag[first:last], mag_err[first:last], table[:, i])
