"""The figure of a periodogram: the statistic over frequency with its peaks, and the folded light curve.

matplotlib is imported when a figure is asked for. May import `kernels`, `core` and `errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import BackendUnavailableError, ConfigError
from scope_ml.kernels.peaks import Spectrum
from scope_ml.kernels.registry import spec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scope_ml.notebook.periodogram import Periodogram

__all__ = ["envelope", "plot_periodogram"]

#: Colour of the well-known bands, near what the eye would see and apart in lightness; others take `OTHERS` in turn.
COLOURS = {"u": "#7048c8", "g": "#2f9e62", "r": "#d1495b", "i": "#c98a1b", "z": "#7a4b33", "y": "#4d4d4d"}
OTHERS = ("#2b6cb0", "#e07b39", "#3aa6a0", "#b0559e", "#8c8c00", "#111111")
MARKERS = ("o", "s", "D", "^", "v", "P")

INK, SOFT, MARK = "#1c3d5a", "#8a97a3", "#d1495b"

#: What the vertical axis is called, by method.
STATISTICS = {
    "ls": "power",
    "ce": "conditional entropy [nat]",
    "aov": "AOV F",
    "mhaov": "multi-harmonic F",
    "pdm": "PDM theta",
    "bls": "BLS power",
    "fpw": "FPW signal",
    "ls_ce_aov": "AOV F",
    "best": "log evidence",
}

#: Room that the number of a peak takes, as fractions of the axes.
LABEL_WIDTH, LABEL_HEIGHT = 0.015, 0.09

#: Columns into which a long periodogram is gathered for drawing: more than any screen has.
COLUMNS = 3000


def envelope(spectrum: Spectrum, n_columns: int = COLUMNS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return frequency and statistic that draw as the whole periodogram does: least and largest value per column.

    Parameters
    ----------
    spectrum
        Periodogram; of at most ``2 * n_columns`` frequencies it comes back as it is.
    n_columns
        Columns to gather it into.
    """
    n = spectrum.frequency.size
    if n <= 2 * n_columns:
        return spectrum.frequency, spectrum.statistic
    starts = np.linspace(0, n, n_columns, endpoint=False).astype(np.int64)
    low = np.minimum.reduceat(spectrum.statistic, starts)
    high = np.maximum.reduceat(spectrum.statistic, starts)
    return np.repeat(spectrum.frequency[starts], 2), np.stack((low, high), axis=1).ravel()


def plot_periodogram(result: Periodogram, period: float | None = None) -> Figure:
    """Return the figure; see `Periodogram.plot`."""
    if period is not None and not (np.isfinite(period) and period > 0):
        raise ConfigError(f"period={period} is no period to fold with; give a number of days above 0", key="period")
    figure = _figure()
    folded_with = float(result.period[0]) if period is None else float(period)
    upper, lower = figure.subplots(2, 1, height_ratios=(1.0, 1.15))
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors="#333333", labelsize=9)
    _draw_spectrum(upper, result, None if period is None else 1.0 / folded_with)
    _draw_points(lower, result.batch, folded_with)
    return figure


def _figure() -> Figure:
    """Return an empty figure that is shown once, in a notebook as in a window.

    Raises
    ------
    BackendUnavailableError
        If matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        import matplotlib.pyplot as plt
        from matplotlib.figure import Figure as Unmanaged
    except ImportError as error:
        raise BackendUnavailableError(
            f"plots need matplotlib, which is not installed ({error}); install it with: pip install matplotlib"
        ) from error
    # A notebook shows the figures that pyplot keeps and, once more, the one that a cell returns.
    make = Unmanaged if "inline" in mpl.get_backend() else plt.figure
    figure: Figure = make(figsize=(8.0, 6.4), layout="constrained")
    return figure


def _draw_spectrum(axes: Axes, result: Periodogram, marked: float | None) -> None:
    """Draw the periodogram, its peaks and the frequency of a fold with another period."""
    axes.set_title(_headline(result), fontsize=11, loc="left")
    if result.status != "ok":
        axes.text(0.5, 0.5, result.reason, ha="center", va="center", wrap=True, transform=axes.transAxes, color=SOFT)
        axes.set_axis_off()
        return
    axes.set_xlabel("frequency [1/d]")
    axes.set_ylabel(STATISTICS.get(result.method, "statistic"))
    found = np.isfinite(result.frequency)
    spectrum = result.with_spectrum().spectrum
    if spectrum is not None:
        frequency, statistic = envelope(spectrum)
        axes.plot(frequency, statistic, color=INK, linewidth=0.7)
        axes.set_xlim(spectrum.frequency[0], spectrum.frequency[-1])
    if found.any():
        _draw_peaks(axes, result, found)
    if marked is not None:
        axes.axvline(marked, color=MARK, linewidth=1.0, alpha=0.55, zorder=0)
    for low, high in result.search.excluded:
        axes.axvspan(low, high, color=SOFT, alpha=0.25, linewidth=0)


def _draw_peaks(axes: Axes, result: Periodogram, found: NDArray[np.bool_]) -> None:
    """Mark and number the peaks at their tips, a minimum from below; of those that would overlap the best one."""
    frequency, statistic = result.frequency[found], result.statistic[found]
    is_maximum = spec(result.method).best == "max"
    low, high = axes.get_ylim()
    low, high = min(low, float(statistic.min())), max(high, float(statistic.max()))
    room = 0.1 * (high - low)
    axes.set_ylim(low - (0.0 if is_maximum else room), high + (room if is_maximum else 0.0))
    offset = 5 if is_maximum else -5
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for rank, (x, y) in enumerate(zip(frequency, statistic, strict=True), start=1):
        beside = np.abs(frequency[: rank - 1] - x) < LABEL_WIDTH * (right - left)
        if np.any(beside & (np.abs(statistic[: rank - 1] - y) < LABEL_HEIGHT * (top - bottom))):
            continue
        style: dict[str, Any] = {"color": MARK if rank == 1 else INK, "fontsize": 8, "ha": "center"}
        axes.annotate(
            f"{rank}",
            (x, y),
            xytext=(0, offset),
            textcoords="offset points",
            va="bottom" if is_maximum else "top",
            **style,
        )
        axes.plot([x], [y], marker="v" if is_maximum else "^", color=style["color"], markersize=4, linestyle="none")


def _headline(result: Periodogram) -> str:
    if result.status != "ok":
        return f"{result.method}: no period ({result.status.replace('_', ' ')})"
    return f"{result.method}: P = {result.period[0]:.7g} d, significance {result.significance[0]:.1f}"


def _draw_points(axes: Axes, batch: LightCurveBatch, period: float) -> None:
    """Draw the light curve over two cycles of phase, or over time where there is no period."""
    time, mag, mag_err = batch.time, batch.mag, batch.mag_err
    usable = np.isfinite(time) & np.isfinite(mag)
    start = float(time[usable].min()) if usable.any() else 0.0
    folds = bool(np.isfinite(period))
    elapsed = time - start
    x = elapsed / period % 1.0 if folds else elapsed
    names = np.zeros(time.size, dtype=np.int64) if batch.band is None else batch.band
    bands = _in_order(np.unique(names[usable]))
    for index, band in enumerate(bands):
        chosen = usable & (names == band)
        errors = np.where(np.isfinite(mag_err[chosen]) & (mag_err[chosen] > 0), mag_err[chosen], 0.0)
        at, values = x[chosen], mag[chosen]
        if folds:
            at, values, errors = np.concatenate((at, at + 1.0)), np.tile(values, 2), np.tile(errors, 2)
        axes.errorbar(
            at,
            values,
            yerr=errors,
            fmt=MARKERS[index % len(MARKERS)] if len(bands) > 1 else "o",
            color=_colour(band, index) if batch.band is not None else INK,
            markersize=3.2,
            elinewidth=0.6,
            alpha=0.8,
            linewidth=0,
            label=str(band),
        )
    axes.invert_yaxis()
    axes.set_ylabel("magnitude")
    if folds:
        axes.set_xlim(0.0, 2.0)
        axes.set_xlabel(f"phase, P = {period:.7g} d, from {start:.5f}")
        axes.axvline(1.0, color=SOFT, linewidth=0.7, linestyle=":")
    else:
        axes.set_xlabel(f"days since {start:.5f}")
    if batch.band is not None and len(bands):
        axes.legend(title="band", fontsize=9, title_fontsize=9, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def _in_order(bands: NDArray[Any]) -> list[Any]:
    """Return bands from blue to red where their names tell, the others after them."""
    known = list(COLOURS)
    return sorted(bands.tolist(), key=lambda band: (_place(band, known), str(band)))


def _place(band: Any, known: list[str]) -> int:
    short = str(band).removeprefix("z") or "z"
    return known.index(short) if short in known else len(known)


def _colour(band: Any, index: int) -> str:
    short = str(band).removeprefix("z") or "z"
    return COLOURS.get(short, OTHERS[index % len(OTHERS)])
