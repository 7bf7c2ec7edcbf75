"""One light curve as an SVG panel: folded at its period (two cycles) or against time, bright up.

Points are thinned to `MAX_POINTS` so that a page of 52 classes stays small; the second cycle is the first, drawn again.
"""

from __future__ import annotations

from html import escape
from typing import Literal

import numpy as np

from scope_ml.reporting.svg import Scale, dots, nice_ticks, number, tick_label, whiskers
from scope_ml.reporting.view import ExampleView, Float64Array

__all__ = ["MAX_POINTS", "fold", "light_curve_panel", "magnitude_limits", "thin"]

#: Points drawn per light curve and cycle; more only make the page heavier, not the shape clearer.
MAX_POINTS = 300

#: Phase bins in which the brightest or faintest one is looked for.
ZERO_BINS = 25

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 334, 8, 168


def fold(
    time: Float64Array, mag: Float64Array, period: float, phase_zero: Literal["bright", "faint"] = "bright"
) -> Float64Array:
    """Return the phase in [0, 1) of each epoch, with the brightest or the faintest bin at phase 0.

    Parameters
    ----------
    time, mag
        Shape (n_obs,), float64 [d], [mag].
    period
        Period [d], positive.
    phase_zero
        What to put at phase 0: maximum light (pulsators) or minimum light (eclipses).
    """
    phase = np.mod((time - time[0]) / period, 1.0)
    bins = np.minimum((phase * ZERO_BINS).astype(np.int64), ZERO_BINS - 1)
    medians = np.array(
        [np.median(mag[bins == index]) if np.any(bins == index) else np.nan for index in range(ZERO_BINS)]
    )
    index = np.nanargmin(medians) if phase_zero == "bright" else np.nanargmax(medians)
    shifted = np.mod(phase - (float(index) + 0.5) / ZERO_BINS, 1.0)
    return np.where(shifted >= 1.0, 0.0, shifted)


def thin(n_obs: int, n_at_most: int = MAX_POINTS) -> np.ndarray:
    """Return at most `n_at_most` indices into `n_obs` points, evenly spread in order, the same ones every time."""
    if n_obs <= n_at_most:
        return np.arange(n_obs)
    return np.unique(np.linspace(0, n_obs - 1, n_at_most).round().astype(np.int64))


def magnitude_limits(mag: Float64Array) -> tuple[float, float]:
    """Return (faint, bright) limits [mag] that show all points, or 99 % of them where a few lie far off."""
    low, high = (float(value) for value in np.quantile(mag, [0.005, 0.995]))
    spread = max(high - low, 0.02)
    bright, faint = float(np.min(mag)), float(np.max(mag))
    bright = low - 0.15 * spread if bright < low - 0.75 * spread else bright
    faint = high + 0.15 * spread if faint > high + 0.75 * spread else faint
    margin = 0.08 * max(faint - bright, 0.05)
    return faint + margin, bright - margin


def light_curve_panel(
    example: ExampleView, key: str, *, phase_zero: Literal["bright", "faint"] = "bright", units: bool = False
) -> str:
    """Return the SVG of one light curve.

    Parameters
    ----------
    example
        The light curve; folded where its period is finite and positive, else shown against time.
    key
        Name that is unique on the page (the second cycle refers to the first by it).
    phase_zero
        What to put at phase 0.
    units
        Write beside the axes what they are; where one panel stands alone.
    """
    if not len(example.time):
        return '<p class="empty">no epochs left to draw</p>'
    keep = thin(len(example.time))
    time, mag, mag_err = example.time[keep], example.mag[keep], example.mag_err[keep]
    faint, bright = magnitude_limits(mag)
    y = Scale(bright, faint, TOP, BOTTOM)
    is_folded = bool(np.isfinite(example.period) and example.period > 0)
    if is_folded:
        x = Scale(0.0, 2.0, LEFT, RIGHT)
        across = fold(time, mag, example.period, phase_zero)
        axis = _phase_axis(x)
        what = f"folded at {example.period:.6g} d"
    else:
        offset = float(np.floor(time.min() / 1000.0) * 1000.0)
        margin = 0.02 * max(float(np.ptp(time)), 1.0)
        x = Scale(float(time.min()) - offset - margin, float(time.max()) - offset + margin, LEFT, RIGHT)
        across = time - offset
        axis = _time_axis(x, offset)
        what = "against time"
    points = _points(x(across), y(mag), y(mag - mag_err), y(mag + mag_err), key)
    repeat = f'<use href="#{key}" x="{number((RIGHT - LEFT) / 2)}"/>' if is_folded else ""
    # Under the time axis stands its zero point.
    height = HEIGHT if is_folded and not units else HEIGHT + 12
    names = _axis_names(is_folded) if units else ""
    beyond = int(np.count_nonzero((mag < bright) | (mag > faint)))
    note = f", {beyond} points beyond the frame" if beyond else ""
    title = escape(f"Light curve {example.id} {example.band} {what}, {len(example.time)} epochs{note}")
    return (
        f'<svg class="lc band-{escape(_band_class(example.band))}" viewBox="0 0 {WIDTH} {height}" role="img">'
        f"<title>{title}</title>{_magnitude_axis(y)}{axis}{names}{points}{repeat}</svg>"
    )


def _points(x: Float64Array, y: Float64Array, low: Float64Array, high: Float64Array, key: str) -> str:
    return f'<g id="{key}"><path class="err" d="{whiskers(x, low, high)}"/><path class="pt" d="{dots(x, y)}"/></g>'


def _magnitude_axis(y: Scale) -> str:
    ticks = nice_ticks(y.low, y.high, 5)
    lines = "".join(f'<path class="grid" d="M{LEFT} {y.at(tick)}H{RIGHT}"/>' for tick in ticks)
    labels = "".join(
        f'<text x="{LEFT - 6}" y="{number(float(y(tick)) + 3.5)}" text-anchor="end">{tick_label(tick, ticks)}</text>'
        for tick in ticks
    )
    return lines + labels


def _axis_names(is_folded: bool) -> str:
    """Return what the axes are; that of time says it with its zero point."""
    middle = number((TOP + BOTTOM) / 2)
    mag = f'<text class="unit" x="8" y="{middle}" text-anchor="middle" transform="rotate(-90 8 {middle})">mag</text>'
    if not is_folded:
        return mag
    return mag + f'<text class="unit" x="{RIGHT}" y="{HEIGHT + 8}" text-anchor="end">phase</text>'


def _phase_axis(x: Scale) -> str:
    texts = "".join(
        f'<text x="{x.at(tick)}" y="{BOTTOM + 15}" text-anchor="middle">{tick:g}</text>'
        for tick in (0.0, 0.5, 1.0, 1.5, 2.0)
    )
    return (
        f'<path class="cycle" d="M{x.at(1.0)} {TOP}V{BOTTOM}"/><path class="axis" d="M{LEFT} {BOTTOM}H{RIGHT}"/>{texts}'
    )


def _time_axis(x: Scale, offset: float) -> str:
    ticks = nice_ticks(x.low, x.high, 5)
    texts = "".join(
        f'<text x="{x.at(tick)}" y="{BOTTOM + 15}" text-anchor="middle">{tick_label(tick, ticks)}</text>'
        for tick in ticks
    )
    unit = (
        f'<text class="unit" x="{RIGHT}" y="{HEIGHT + 8}" text-anchor="end">HJD \N{MINUS SIGN} {offset:.0f} [d]</text>'
    )
    return f'<path class="axis" d="M{LEFT} {BOTTOM}H{RIGHT}"/>{texts}{unit}'


def _band_class(band: str) -> str:
    """Return the style of a band: ZTF's and Sloan's letters have a colour, other bands share one."""
    return {"g": "g", "r": "r", "R": "r", "i": "i", "I": "i", "V": "g"}.get(band, "other")
