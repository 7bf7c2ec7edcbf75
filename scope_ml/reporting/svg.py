"""The few pieces of SVG that the charts are made of: scales, ticks and compact paths. Knows no chart and no colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scope_ml.reporting.view import Float64Array

__all__ = ["Scale", "dots", "nice_ticks", "number", "polygon", "polyline", "tick_label", "whiskers"]

#: Steps between ticks are one of these times a power of ten.
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Scale:
    """A linear map from data in [low, high] to pixels in [start, stop]; start may be the larger one."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, values: Float64Array | float) -> Float64Array:
        """Return pixels of `values`, clipped to the ends of the scale."""
        width = self.high - self.low or 1.0
        share = np.clip((np.asarray(values, dtype=np.float64) - self.low) / width, 0.0, 1.0)
        return np.asarray(self.start + share * (self.stop - self.start), dtype=np.float64)

    def at(self, value: float) -> str:
        """Return the pixel of one value as SVG text."""
        return number(float(self(value)))


def number(value: float) -> str:
    """Return `value` rounded to a tenth of a pixel, as short as it gets."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def nice_ticks(low: float, high: float, n_at_most: int = 5) -> tuple[float, ...]:
    """Return at most `n_at_most` round values in [low, high], evenly spaced."""
    if not (np.isfinite(low) and np.isfinite(high)) or high <= low:
        return ()
    rough = (high - low) / max(n_at_most - 1, 1)
    power = 10.0 ** np.floor(np.log10(rough))
    for step in (step * power for step in STEPS):
        first = np.ceil(low / step - 1e-9)
        last = np.floor(high / step + 1e-9)
        if last - first + 1 <= n_at_most:
            return tuple(float(index * step) for index in np.arange(first, last + 1))
    return ()


def tick_label(value: float, ticks: tuple[float, ...]) -> str:
    """Return `value` with as many digits as the spacing of `ticks` needs."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    digits = next((digits for digits in range(12) if abs(round(step, digits) - step) < 1e-6 * abs(step)), 12)
    return f"{value:,.{digits}f}".replace(",", "\N{THIN SPACE}").replace("-", "\N{MINUS SIGN}")


def polyline(x: Float64Array, y: Float64Array) -> str:
    """Return the path through the points (pixels)."""
    return "M" + "L".join(f"{number(a)} {number(b)}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def polygon(x: Float64Array, low: Float64Array, high: Float64Array) -> str:
    """Return the closed path of a band between `low` and `high` (pixels)."""
    return polyline(np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]])) + "Z"


def dots(x: Float64Array, y: Float64Array) -> str:
    """Return a path of zero-length strokes: round line caps make them dots, at a dozen bytes each."""
    return "".join(f"M{number(a)} {number(b)}h0" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def whiskers(x: Float64Array, low: Float64Array, high: Float64Array) -> str:
    """Return a path of vertical strokes between `low` and `high` (pixels)."""
    columns = zip(x.tolist(), low.tolist(), high.tolist(), strict=True)
    return "".join(f"M{number(a)} {number(b)}V{number(c)}" for a, b, c in columns)
