"""The plot of `analyze_logs`: how long tables took, how many light curves a second, what the time was spent for.

The figure is a matplotlib `Figure`, never pyplot's global one; matplotlib is imported inside functions. Colours are those
of the report page (`templates/report.css`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scope_ml.io.atomic import atomic_path
from scope_ml.reporting.runtimes import RunTime

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "runtimes_figure", "save_runtimes", "shares"]

#: Endings of the plot, and what matplotlib calls them and what it would write into them of its own accord.
FORMATS: Mapping[str, dict[str, Any]] = {
    ".png": {"format": "png", "metadata": {"Software": None}},
    ".pdf": {"format": "pdf", "metadata": {"CreationDate": None, "Creator": None, "Producer": None}},
    ".svg": {"format": "svg", "metadata": {"Date": None, "Creator": None}},
}

DOTS_PER_INCH = 150

PAPER, INK, SOFT, FAINT, LINE = "#fbfaf7", "#1d2230", "#5d6474", "#8d93a1", "#e4e1d9"

#: State of a table -> colour and place in the stack.
STATES = {"finished": "#1f6fb2", "unfinished": "#c9b27a", "failed": "#b23a48"}

#: Colours of the groups, the largest first; the rest is grey.
GROUPS = ("#1f6fb2", "#c8541b", "#2a7d4f", "#6a4fa3", "#a8741a", "#b23a48", "#3a97a0", "#7a4b33")
REST = "#b9bcc6"

#: Groups below this share of the CPU time are shown as one.
SMALL_SHARE = 0.015

#: Units as they stand behind a number.
SHORT = {"seconds": "s", "minutes": "min", "hours": "h"}

#: A range of runtimes wider than this factor is shown on a logarithmic axis.
WIDE = 30.0


def save_runtimes(times: Sequence[RunTime], totals: Mapping[str, Any], path: Path) -> None:
    """Draw and save the plot; the same numbers give the same bytes.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    from matplotlib import rc_context

    figure = runtimes_figure(times, totals)
    options = FORMATS[path.suffix.lower()]
    with atomic_path(path) as temporary, rc_context({"svg.hashsalt": "scope", "svg.fonttype": "none"}):
        figure.savefig(temporary, dpi=DOTS_PER_INCH, facecolor=PAPER, **options)


def runtimes_figure(times: Sequence[RunTime], totals: Mapping[str, Any]) -> Figure:
    """Return the figure: runtimes, rates, and shares of the CPU time.

    Parameters
    ----------
    times
        One record a table, at least one.
    totals
        What `runtimes.total` makes of them.
    """
    from matplotlib.figure import Figure

    groups = shares(totals["seconds_by_group"])
    figure = Figure(figsize=(10.0, 6.0), facecolor=PAPER)
    figure.text(0.065, 0.935, "Where the time went", fontsize=18, fontfamily="serif", color=INK)
    figure.text(0.065, 0.892, _headline(totals), fontsize=10, color=SOFT)
    runtime = figure.add_axes((0.065, 0.445, 0.40, 0.36))
    rate = figure.add_axes((0.575, 0.445, 0.36, 0.36))
    share = figure.add_axes((0.065, 0.2, 0.87, 0.08))
    _draw_runtimes(runtime, times)
    _draw_rates(rate, times, totals)
    _draw_shares(share, groups, totals)
    return figure


def shares(seconds_by_group: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return groups and their shares of the CPU time, the largest first; small ones together, last."""
    spent = sum(seconds_by_group.values())
    if not spent > 0:
        return []
    ranked = sorted(((name, value / spent) for name, value in seconds_by_group.items()), key=lambda pair: -pair[1])
    shown = [pair for pair in ranked if pair[0] != "other" and pair[1] >= SMALL_SHARE][: len(GROUPS)]
    rest = [pair for pair in ranked if pair not in shown]
    if len(rest) == 1:
        return [*shown, *rest]
    return [*shown, (f"{len(rest)} more", sum(part for _, part in rest))] if rest else shown


def _headline(totals: Mapping[str, Any]) -> str:
    parts = [
        f"{totals['n_measured']:,} light curves".replace(",", "\N{NARROW NO-BREAK SPACE}"),
        f"{totals['n_tables']} tables of {totals['n_runs']} runs",
        f"{_hours(totals['seconds'])} of wall time, {_hours(totals['cpu_seconds'])} of CPU time",
    ]
    parts += [f"{totals[f'n_{state}']} {state}" for state in ("failed", "unfinished") if totals[f"n_{state}"]]
    return "  \N{MIDDLE DOT}  ".join(parts)


def _draw_runtimes(axes: Axes, times: Sequence[RunTime]) -> None:
    from matplotlib.ticker import MaxNLocator

    seconds = np.array([max(one.seconds, 1e-3) for one in times])
    wide = seconds.max() > WIDE * seconds.min()
    unit, name = _unit(float(np.median(seconds)))
    values = seconds / unit
    n_bins = int(np.clip(np.ceil(2 * len(values) ** (1 / 3)), 4, 40))
    low, high = values.min(), values.max()
    if high <= low:
        low, high = 0.9 * low, 1.1 * high
    edges = np.geomspace(low, high, n_bins + 1) if wide else np.linspace(low, high, n_bins + 1)
    drawn = [state for state in STATES if any(one.state == state for one in times)]
    stacks = [values[[one.state == state for one in times]] for state in drawn]
    axes.hist(stacks, bins=edges.tolist(), stacked=True, color=[STATES[state] for state in drawn], rwidth=0.92)
    if wide:
        _logarithmic(axes)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _frame(axes, "Runtime", f"{name} per table", "tables")
    axes.grid(axis="y", color=LINE, lw=0.8)
    if drawn != ["finished"]:
        handles = [_patch(STATES[state], state) for state in drawn]
        axes.legend(handles=handles, frameon=False, fontsize=9, labelcolor=SOFT)


def _draw_rates(axes: Axes, times: Sequence[RunTime], totals: Mapping[str, Any]) -> None:
    from matplotlib.ticker import MaxNLocator

    known = [one for one in times if one.light_curves_per_second]
    size = np.array([one.n_measured for one in known], dtype=float)
    rate = np.array([one.light_curves_per_second for one in known], dtype=float)
    _frame(axes, "Rate", "light curves in the table", "light curves a second")
    axes.grid(color=LINE, lw=0.8)
    if not known:
        axes.text(0.5, 0.5, "nothing was measured", transform=axes.transAxes, ha="center", color=FAINT)
        return
    for state, colour in STATES.items():
        chosen = np.array([one.state == state for one in known])
        axes.plot(size[chosen], rate[chosen], "o", ms=5, mfc=colour, mec=PAPER, mew=0.6, alpha=0.85)
    if size.max() > WIDE * size.min():
        _logarithmic(axes)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_ylim(0.0, 1.25 * rate.max())
    overall = totals["light_curves_per_second"]
    axes.axhline(overall, color=INK, lw=1.0, ls=(0, (4, 3)))
    axes.set_title(
        f"\N{EN DASH} \N{EN DASH}  {overall:.3g} a second overall", loc="right", fontsize=9, color=INK, pad=10
    )


def _draw_shares(axes: Axes, groups: Sequence[tuple[str, float]], totals: Mapping[str, Any]) -> None:
    """Draw one bar of all CPU time, and below it a list of its parts in columns."""
    _frame(axes, "CPU time, and milliseconds of it a light curve", "", "")
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if not groups:
        axes.text(0.0, 0.5, "nothing was measured", va="center", color=FAINT)
        return
    n_rows, per_curve = 3, totals["cpu_seconds"] / max(totals["n_measured"], 1)
    left = 0.0
    for index, (name, part) in enumerate(groups):
        colour = GROUPS[index] if index < len(GROUPS) and not _is_rest(name, index, groups) else REST
        axes.barh(0.5, part, left=left, height=1.0, color=colour, edgecolor=PAPER, lw=1.5)
        if part > 0.06:
            middle = left + part / 2
            axes.text(middle, 0.5, f"{100 * part:.0f} %", ha="center", va="center", color="white", fontsize=10)
        left += part
        column, row = divmod(index, n_rows)
        x, y = 0.335 * column, -0.55 - 0.52 * row
        axes.plot([x + 0.006], [y], "s", ms=7, color=colour, clip_on=False)
        axes.text(x + 0.022, y, name, va="center", fontsize=10, color=INK)
        axes.text(x + 0.22, y, f"{100 * part:.1f} %", va="center", ha="right", fontsize=9, color=SOFT)
        axes.text(x + 0.30, y, f"{1000 * part * per_curve:.3g} ms", va="center", ha="right", fontsize=9, color=SOFT)


def _is_rest(name: str, index: int, groups: Sequence[tuple[str, float]]) -> bool:
    return index == len(groups) - 1 and (name == "other" or name.endswith(" more"))


def _logarithmic(axes: Axes) -> None:
    """Make the horizontal axis logarithmic, with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _frame(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    axes.set_facecolor(PAPER)
    axes.set_title(title, loc="left", fontsize=12, fontfamily="serif", color=INK, pad=10)
    axes.set_xlabel(x_label, fontsize=10, color=SOFT)
    axes.set_ylabel(y_label, fontsize=10, color=SOFT)
    axes.tick_params(colors=SOFT, labelsize=9, length=3, color=FAINT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.set_axisbelow(True)


def _patch(colour: str, label: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=colour, label=label)


def _unit(seconds: float) -> tuple[float, str]:
    """Return the unit in which a typical runtime reads well: how many seconds it has, and its name."""
    if seconds < 200:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 7200 else (3600.0, "hours")


def _hours(seconds: float) -> str:
    unit, name = _unit(seconds)
    return f"{seconds / unit:.3g} {SHORT[name]}"
