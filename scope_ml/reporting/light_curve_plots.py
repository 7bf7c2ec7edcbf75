"""Plots of one star for a page that takes PNG: its light curves against time, or folded at a period.

The figures look as those of SCoPe's uploads: 6 x 4 inches, g a green dot, r a red diamond, i a gold square, bright up, time as
MJD - 58000 and phase 0 at MJD 58000. They are matplotlib `Figure`s, never pyplot's global one; matplotlib is imported inside
functions. May import core, errors and numpy.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scope_ml.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["EPOCH_MJD", "BandPoints", "folded_png", "light_curve_figure", "time_series_png"]

Floats = npt.NDArray[np.float64]

#: Fonts are shared by all figures, and are not made for several threads.
_DRAWING = threading.Lock()

#: Where the time axis begins, and phase 0 [MJD].
EPOCH_MJD = 58_000.0

INCHES = (6.0, 4.0)
DOTS_PER_INCH = 200

#: Band -> colour and marker; other bands are grey crosses.
STYLES: Mapping[str, tuple[str, str]] = {"g": ("green", "o"), "r": ("red", "d"), "i": ("gold", "s")}
OTHER = ("dimgrey", "x")

#: Room above and below the points, as a share of what they span, at least and at most so much [mag].
MARGIN, LEAST, MOST = 0.12, 0.1, 1.0

#: Longest title.
N_LETTERS = 78

#: More points than these are drawn smaller.
MANY = 400


@dataclass(frozen=True, kw_only=True)
class BandPoints:
    """Points of one band.

    Attributes
    ----------
    band
        Such as ``g``.
    mjd
        Modified Julian dates [d], float64 (n,).
    mag, mag_err
        [mag], (n,).
    """

    band: str
    mjd: Floats
    mag: npt.NDArray[np.floating]
    mag_err: npt.NDArray[np.floating]


def time_series_png(points: Sequence[BandPoints], title: str) -> bytes:
    """Return the plot against time; the same points give the same bytes.

    Raises
    ------
    DataError
        If there are no points.
    """
    return _png(points, title, None)


def folded_png(points: Sequence[BandPoints], title: str, period: float) -> bytes:
    """Return the plot against phase, two cycles of it.

    Raises
    ------
    DataError
        If there are no points, or `period` [d] is not positive.
    """
    return _png(points, title, period)


def light_curve_figure(points: Sequence[BandPoints], title: str, period: float | None = None) -> Figure:
    """Return the figure of one star, folded where there is a `period` [d].

    Raises
    ------
    DataError
        If there are no points, or `period` is not positive.
    """
    from matplotlib.figure import Figure

    filled = [one for one in points if len(one.mjd)]
    if not filled:
        raise DataError(f"{title}: there are no points to draw")
    if period is not None and not (np.isfinite(period) and period > 0):
        raise DataError(f"{title}: a period of {period} d cannot be folded at; periods are more than 0 d")
    figure = Figure(figsize=INCHES, layout="constrained")
    axes = figure.add_subplot()
    size = 3.0 if sum(len(one.mjd) for one in filled) <= MANY else 2.0
    for one in filled:
        _draw(axes, one, period, size)
    mags = np.concatenate([one.mag.astype(np.float64) for one in filled])
    margin = float(np.clip(MARGIN * np.ptp(mags), LEAST, MOST))
    # Bright up.
    axes.set_ylim(float(mags.max()) + margin, float(mags.min()) - margin)
    if period is not None:
        axes.set_xlim(0.0, 2.0)
    axes.set_xlabel(f"MJD - {EPOCH_MJD:.0f} [d]" if period is None else f"phase, P = {period:.6g} d")
    axes.set_ylabel("magnitude")
    axes.set_title(shorten(title, N_LETTERS, placeholder=" ..."), fontsize=9)
    axes.tick_params(direction="in", top=True, right=True)
    # Beside the points, not on them.
    figure.legend(fontsize=8, loc="outside lower center", ncols=len(filled), frameon=False, handletextpad=0.3)
    return figure


def _draw(axes: Axes, points: BandPoints, period: float | None, size: float) -> None:
    colour, marker = STYLES.get(points.band, OTHER)
    x, mag, error = points.mjd - EPOCH_MJD, points.mag, points.mag_err
    if period is not None:
        phase = np.mod(x / period, 1.0)
        x, mag, error = np.concatenate([phase, phase + 1.0]), np.tile(mag, 2), np.tile(error, 2)
    axes.errorbar(
        x,
        mag,
        error,
        color=colour,
        marker=marker,
        markersize=size,
        linestyle="none",
        elinewidth=0.5,
        ecolor=(*_rgb(colour), 0.35),
        label=f"{points.band} ({len(points.mjd)})",
    )


def _rgb(colour: str) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(colour)


def _png(points: Sequence[BandPoints], title: str, period: float | None) -> bytes:
    buffer = io.BytesIO()
    with _DRAWING:
        figure = light_curve_figure(points, title, period)
        # Without the name of the software: the same plot is the same file next year.
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
