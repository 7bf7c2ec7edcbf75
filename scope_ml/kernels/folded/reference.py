"""Definition of the folded shape, in plain NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.folded import (
    COLUMNS,
    ERROR_SHARE,
    FAST,
    HARMONICS,
    LEAST_NOISE,
    MIN_POINTS,
    N_DIPS,
    N_PHASES,
    N_SHAPE,
    OVERSAMPLING,
    RATIOS,
    SLOW,
    FoldedOptions,
)

__all__ = ["run"]

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]


def run(batch: LightCurveBatch, options: FoldedOptions) -> dict[str, Floats]:
    """Return each of `COLUMNS` as float64 (n_sources,); units in the package."""
    table = np.full((len(COLUMNS), len(batch)), np.nan)
    for i in range(len(batch)):
        points = slice(int(batch.offsets[i]), int(batch.offsets[i + 1]))
        t, m, e = batch.time[points], batch.mag[points].astype(float), batch.mag_err[points].astype(float)
        cycle = float(options.cycle[i])
        good = np.isfinite(t).all() and np.isfinite(m).all() and np.isfinite(e).all() and (e > 0).all()
        if good and t.size >= MIN_POINTS and np.ptp(t) > 0 and np.ptp(m) > 0 and np.isfinite(cycle) and cycle > 0:
            order = np.argsort(t, kind="stable")
            table[:, i] = _measure((t - t.min())[order], m[order], e[order], cycle)
    return dict(zip(COLUMNS, table, strict=True))


def _measure(t: Floats, m: Floats, e: Floats, cycle: float) -> list[float]:
    weight = 1.0 / (e**2 + (ERROR_SHARE * float(m.std())) ** 2)
    weight /= weight.sum()
    y: Floats = m - weight @ m
    variance = float(weight @ y**2)
    f = 1.0 / cycle
    _, _, noise_half = _fit(t, y, weight, 2 * f, HARMONICS[0])
    amplitude, residual, noise = _fit(t, y, weight, f, HARMONICS[1])
    double, left, noise_double = _fit(t, y, weight, f / 2, HARMONICS[2])
    gain = np.log10(noise / noise_double)
    odd = np.sum(np.abs(double[::2]) ** 2) / np.sum(np.abs(double) ** 2)
    shape, even_over_odd = _shape(amplitude)
    values = [cycle, *shape, 1.0 - noise / variance, *_residuals(t, y, residual, e, f)]
    values += [np.log10(noise_half / noise), gain, t.size * gain, np.sqrt(odd), *_phases(amplitude)]
    binary = _curve(double) if even_over_odd < 1 else _curve(amplitude)
    values += [2 * cycle if even_over_odd < 1 else cycle, *_binary(binary)]
    values += _second(t, left, weight, f, float(np.abs(amplitude[0])))
    return [float(value) for value in values]


def _fit(t: Floats, y: Floats, weight: Floats, f: float, n_harmonics: int) -> tuple[Complex, Floats, float]:
    """Return complex amplitudes, residuals and the variance of the noise."""
    h = np.arange(1, n_harmonics + 1)
    angle = 2 * np.pi * np.outer(np.mod(t * f, 1.0), h)
    design = np.concatenate([np.ones((t.size, 1)), np.cos(angle), np.sin(angle)], axis=1)
    normal, right = design.T @ (design * weight[:, None]), design.T @ (weight * y)
    variance = float(weight @ y**2)
    noise, solution = 0.5 * variance, np.asarray(right, dtype=np.float64)
    for _ in range(3):
        prior = np.concatenate([[0.0], h**3, h**3]) * noise / (t.size * variance)
        solution = np.asarray(np.linalg.solve(normal + np.diag(prior), right), dtype=np.float64)
        noise = max(float(weight @ (y - design @ solution) ** 2), LEAST_NOISE * variance)
    return solution[1 : n_harmonics + 1] - 1j * solution[n_harmonics + 1 :], y - design @ solution, noise


def _curve(amplitude: Complex) -> Floats:
    phase = np.arange(N_PHASES) / N_PHASES
    turn = np.exp(2j * np.pi * np.outer(phase, np.arange(1, amplitude.size + 1)))
    curve: Floats = (turn @ amplitude).real
    return curve


def _shape(amplitude: Complex) -> tuple[list[float], float]:
    size, angle = np.abs(amplitude), np.angle(amplitude)
    values = [float(size[h] / size[0]) for h in range(1, 5)]
    for h in (2, 3, 4):
        turned = angle[h - 1] - h * angle[0]
        values += [float(np.cos(turned)), float(np.sin(turned))]
    odd, even = float(np.sum(size[::2] ** 2)), float(np.sum(size[1::2] ** 2))
    curve = _curve(amplitude)
    span = float(np.ptp(curve))
    number = np.arange(1, amplitude.size + 1)
    around = amplitude * np.exp(2j * np.pi * np.outer(np.arange(N_PHASES) / N_PHASES, number))
    values += [
        np.sqrt(even / odd),
        float(np.mean(curve > 0.5 * (curve.max() + curve.min()))),
        float(np.min(np.sum(around.imag**2, axis=1)) / (odd + even)),
        float((curve.argmin() - curve.argmax()) % N_PHASES) / N_PHASES,
        float(np.max(np.abs(curve - np.roll(curve, -1)))) * N_PHASES / span,
    ]
    return [span, *values], float(np.sqrt(even / odd))


def _residuals(t: Floats, y: Floats, residual: Floats, e: Floats, f: float) -> list[float]:
    own = residual - residual.mean()
    spread = float(np.mean(own**2))
    by_phase = np.argsort(np.mod(t * f, 1.0), kind="stable")
    return [
        float(np.median(np.abs(residual) / e)),
        float(np.mean(own**4) / spread**2),
        float(np.mean(own**3) / spread**1.5),
        float(np.mean(np.diff(y[by_phase]) ** 2) / (2 * y.var())),
        float(np.mean(np.diff(residual[by_phase]) ** 2) / (2 * spread)),
        float(np.mean(np.diff(residual) ** 2) / (2 * spread)),
    ]


def _phases(amplitude: Complex) -> list[float]:
    curve = _curve(amplitude)
    turned = (np.roll(curve, -int(curve.argmin())) - curve.min()) / np.ptp(curve)
    return [float(turned[k * N_PHASES // N_SHAPE]) for k in range(N_SHAPE)]


def _binary(curve: Floats) -> list[float]:
    quarter = N_PHASES // 4
    turned = np.roll(curve, -int(curve.argmax()))
    bright = float(np.sort(curve)[: N_PHASES // 8].mean())
    span = float(np.ptp(curve))
    second = quarter + int(turned[quarter : 3 * quarter + 1].argmax())
    relative = (turned - curve.min()) / span
    folded = 0.5 * (relative + np.roll(relative[::-1], 1))
    half_way = 0.5 * (folded[0] + (bright - curve.min()) / span)
    width = next((k for k in range(quarter) if folded[k] <= half_way), quarter)
    return [
        float(turned[0] - bright),
        float((turned[second] - bright) / (turned[0] - bright)),
        abs(second / N_PHASES - 0.5),
        float(abs(turned[:second].min() - turned[second:].min())) / span,
        *(float(folded[k * N_PHASES // 24]) for k in range(N_DIPS)),
        width / N_PHASES,
        float(np.mean(relative > 0.5)),
        float(np.mean(relative < 0.2)),
        float(np.mean(relative < 0.1)),
    ]


def _second(t: Floats, left: Floats, weight: Floats, f: float, first: float) -> list[float]:
    if not FAST <= 1.0 / f <= SLOW:
        return [np.nan] * (3 * len(RATIOS) + 2)
    y = left - weight @ left
    highest = [
        [t.size * _highest(t, y, weight, low * f, high * f), t.size * _highest(t, y, weight, f / high, f / low)]
        for low, high in RATIOS.values()
    ]
    of_kind = [max(sides) for sides in highest]
    values = [value for sides in highest for value in sides]
    for kind, own in enumerate(of_kind):
        others = max(other for number, other in enumerate(of_kind) if number != kind)
        values.append(own / others if others > 0 else np.nan)
    power = max(of_kind) / t.size
    return [*values, power, float(np.sqrt(2 * power * (weight @ y**2))) / first]


def _highest(t: Floats, y: Floats, weight: Floats, low: float, high: float) -> float:
    """Return the highest share of the variance of `y` that a sinusoid with a free mean explains."""
    step = OVERSAMPLING / float(t[-1])
    angle = 2 * np.pi * np.outer(low + step * np.arange(int((high - low) / step) + 2), t)
    cosine, sine = np.cos(angle), np.sin(angle)
    cosine -= (cosine @ weight)[:, None]
    sine -= (sine @ weight)[:, None]
    cc, ss, cs = (cosine**2) @ weight, (sine**2) @ weight, (cosine * sine) @ weight
    yc, ys = cosine @ (weight * y), sine @ (weight * y)
    determinant = cc * ss - cs**2
    known = determinant > 1e-9
    power = (ss * yc**2 + cc * ys**2 - 2 * cs * yc * ys)[known] / determinant[known]
    return float(power.max(initial=0.0) / (weight @ y**2))
