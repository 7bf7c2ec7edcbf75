"""The tables of `benchmarks.periods` on the CPU: what is compared with what, the goals, the clock."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import period_accuracy
from benchmarks.period_peers import PEERS, Call
from benchmarks.period_sources import Source, join, machine, simulate, versions
from scope_ml.compute.local import ThreadExecutor
from scope_ml.errors import BackendUnavailableError, ConfigError
from scope_ml.kernels import registry
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions

#: Epochs of the light curves for which there are goals.
GOAL_N_OBS = (50, 200, 1000)

#: A run that takes longer [s] is repeated three times only.
LONG = 4.0

#: Light curves, and epochs of each, by which two threads are compared with one.
THREADS_N_SOURCES, THREADS_N_OBS = 12, 200
THREADS_GOAL = (0.6, 0.52)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One of our searches beside one or several calls of other packages, whose times are added.

    Attributes
    ----------
    method, label
        Name of our kernel, and what the table calls it.
    peers
        Keys of `PEERS`; the first is compared for errors.
    must, aim
        Greatest ratios of our time to theirs, for `GOAL_N_OBS`; empty where there is no goal.
    options
        Of our search.
    """

    method: str
    label: str
    peers: tuple[str, ...]
    must: tuple[float, ...] = ()
    aim: tuple[float, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def goal(self, n_obs: int) -> tuple[float, float] | None:
        """Return must and aim for light curves of `n_obs` epochs."""
        if not self.must or n_obs not in GOAL_N_OBS:
            return None
        index = GOAL_N_OBS.index(n_obs)
        return self.must[index], self.aim[index]


NESTED_GOALS: dict[str, Any] = {"must": (0.20, 0.14, 0.23), "aim": (0.08, 0.05, 0.09)}

COMPARISONS: tuple[Comparison, ...] = (
    Comparison(method="ls", label="ls", peers=("nifty_ls",), must=(0.25, 0.5, 0.8), aim=(0.1, 0.2, 0.3)),
    Comparison(method="ls", label="ls", peers=("light_curve",)),
    Comparison(method="ce", label="ce", peers=("cuperiod_ce",), must=(0.10, 0.06, 0.08), aim=(0.03, 0.02, 0.04)),
    Comparison(method="aov", label="aov", peers=("nifty_ls",), must=(0.8, 1.3, 4.2), aim=(0.26, 0.43, 1.6)),
    Comparison(
        method="ls_ce_aov",
        label="ls_ce_aov, aov at candidates",
        peers=("nifty_ls", "cuperiod_ce"),
        options={"aov_everywhere": False},
        **NESTED_GOALS,
    ),
    Comparison(
        method="ls_ce_aov",
        label="ls_ce_aov, aov everywhere",
        peers=("nifty_ls", "cuperiod_ce"),
        options={"aov_everywhere": True},
        **NESTED_GOALS,
    ),
    Comparison(method="mhaov", label="mhaov, 1 harmonic", peers=("nifty_chi2_1",), options={"n_harmonics": 1}),
    Comparison(method="mhaov", label="mhaov, 3 harmonics", peers=("nifty_chi2_3",), options={"n_harmonics": 3}),
    Comparison(method="mhaov", label="mhaov, 1 harmonic", peers=("cuperiod_mhaov_1",), options={"n_harmonics": 1}),
)

HEADER = """\
| search | epochs | ours [ms] | beside | theirs [ms] | ratio | must | aim | same best | our error | their error |
|---|--:|--:|---|--:|--:|--:|--:|---|---|---|
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; times in seconds, or words where there is none."""

    comparison: Comparison
    n_obs: int
    ours: float | str
    theirs: float | str
    same_best: str = "-"
    our_error: str = "-"
    their_error: str = "-"

    def line(self) -> str:
        """Return the line in Markdown."""
        is_timed = isinstance(self.ours, float) and isinstance(self.theirs, float)
        ratio = self.ours / self.theirs if is_timed else None
        goal = self.comparison.goal(self.n_obs)
        cells = [self.comparison.label, str(self.n_obs), _milliseconds(self.ours)]
        cells += [" + ".join(PEERS[name].label for name in self.comparison.peers), _milliseconds(self.theirs)]
        cells.append("-" if ratio is None else f"{ratio:.3f}")
        for limit in goal or (None, None):
            met = "" if ratio is None or limit is None else (" met" if ratio <= limit else " **not met**")
            cells.append("" if limit is None else f"{limit:g}{met}")
        return f"| {' | '.join([*cells, self.same_best, self.our_error, self.their_error])} |\n"


def _milliseconds(seconds: float | str) -> str:
    return f"{1e3 * seconds:.1f}" if isinstance(seconds, float) else seconds


def comparisons(methods: list[str]) -> list[Comparison]:
    """Return what is to be compared for the kernels named; one without a peer stands beside nifty-ls for scale."""
    chosen = []
    for name in methods:
        known = [entry for entry in COMPARISONS if name in (entry.method, entry.label)]
        chosen += known or [Comparison(method=name, label=name, peers=("nifty_ls",))]
    return chosen


def cpu_time(call: Callable[[], Any]) -> float:
    """Return the CPU time [s] of one call, all threads of this process together."""
    start = time.process_time()
    call()
    return time.process_time() - start


def in_turn(calls: list[Callable[[], Any]], repeats: int) -> list[float]:
    """Return the median CPU time [s] of each call; they take turns, so that a busy spell meets all of them."""
    first = [cpu_time(call) for call in calls]
    rounds = min(repeats, 3) if max(first) > LONG else repeats
    gc.collect()
    gc.disable()
    try:
        times = [[cpu_time(call) for call in calls] for _ in range(rounds)]
    finally:
        gc.enable()
    return [float(value) for value in np.median(times, axis=0)]


def compare(comparison: Comparison, n_obs: int, max_frequency: float, repeats: int, *, is_accuracy_wanted: bool) -> Row:
    """Time one comparison, and measure errors where wanted; what is not there becomes words in the row."""
    source = simulate(n_obs, seed=1, max_frequency=max_frequency)
    theirs: list[Call] = []
    missing = ""
    for name in comparison.peers:
        try:
            call = PEERS[name].prepare(source)
            call()
        except ImportError:
            missing = f"not installed: {PEERS[name].install}"
            continue
        theirs.append(call)
    options = SearchOptions(n_peaks=5, **comparison.options)
    try:
        run = registry.load(comparison.method, "cpu")
    except (ConfigError, BackendUnavailableError):
        return Row(comparison=comparison, n_obs=n_obs, ours="not there yet", theirs=missing or "-")

    def ours() -> PeriodogramPeaks:
        found: PeriodogramPeaks = run(source.batch, source.grid, options)
        return found

    ours()
    times = in_turn([ours, *theirs], repeats)
    shares = [PEERS[name].share for name in comparison.peers]
    total = missing or float(sum(value / share for value, share in zip(times[1:], shares, strict=True)))
    row = {"comparison": comparison, "n_obs": n_obs, "ours": times[0], "theirs": total}
    if not missing and len(theirs) == 1:
        row["same_best"] = same_best(comparison, source, ours(), theirs[0])
    if is_accuracy_wanted:
        row |= errors(comparison, n_obs, max_frequency, options, is_peer_there=not missing)
    return Row(**row)


def errors(
    comparison: Comparison, n_obs: int, max_frequency: float, options: SearchOptions, *, is_peer_there: bool
) -> dict[str, str]:
    """Return our error and theirs over a nightly and a random cadence."""
    sources = [
        simulate(n_obs, seed=2, cadence=cadence, max_frequency=max_frequency) for cadence in ("nightly", "random")
    ]
    found = {"our_error": period_accuracy.our_error(comparison.method, sources, options)}
    name = comparison.peers[0]
    if is_peer_there and len(comparison.peers) == 1:
        found["their_error"] = period_accuracy.peer_error(comparison.method, name, PEERS[name], sources, options)
    return found


def same_best(comparison: Comparison, source: Source, ours: PeriodogramPeaks, call: Call) -> str:
    """Return whether our best frequency is theirs to a grid step, or as good by their own periodogram."""
    peer = PEERS[comparison.peers[0]]
    is_same_statistic = registry.spec(comparison.method).short in ("ls", "ce")
    if not (peer.is_periodogram and is_same_statistic):
        return "-"
    values = call()[peer.offset : peer.offset + source.n_frequencies]
    values = -values if peer.is_minimum else values
    best = int(np.argmax(values))
    position = (float(ours.frequency[0, 0]) - source.minimum) / source.step
    if abs(position - best) <= 1.0:
        return "yes"
    nearest = values[max(0, round(position) - 1) : round(position) + 2]
    return "tie" if nearest.size and values[best] - nearest.max() <= 1e-9 else "no"


def threads_table(methods: list[str], max_frequency: float, repeats: int) -> str:
    """Return the wall time of two threads over one for each method, smallest of interleaved runs, as Markdown."""
    sources = [
        simulate(THREADS_N_OBS, seed=10 + index, max_frequency=max_frequency) for index in range(THREADS_N_SOURCES)
    ]
    batch = join(sources)
    lines = [
        f"\n{THREADS_N_SOURCES} light curves of {THREADS_N_OBS} epochs, wall time, smallest of {repeats}:\n\n",
        "| search | 1 thread [s] | 2 threads [s] | ratio | must | aim |\n|---|--:|--:|--:|--:|--:|\n",
    ]
    for method in dict.fromkeys(methods):
        try:
            run = registry.load(method, "cpu")
        except (ConfigError, BackendUnavailableError):
            continue
        items = [(batch.slice(index, index + 1), sources[index].grid) for index in range(len(sources))]

        def search(item: tuple[Any, Any], run: Callable[..., Any] = run) -> PeriodogramPeaks:
            found: PeriodogramPeaks = run(*item, SearchOptions(n_peaks=5))
            return found

        walls: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(repeats):
            for workers, times in walls.items():
                start = time.perf_counter()
                list(ThreadExecutor(workers=workers).map(search, items))
                times.append(time.perf_counter() - start)
        one, two = min(walls[1]), min(walls[2])
        verdicts = [f"{goal:g}{' met' if two / one <= goal else ' **not met**'}" for goal in THREADS_GOAL]
        lines.append(f"| {method} | {one:.2f} | {two:.2f} | {two / one:.2f} | {' | '.join(verdicts)} |\n")
    return "".join(lines)


def tables(
    *, methods: list[str], n_obs: list[int], max_frequency: float, repeats: int, is_accuracy_wanted: bool
) -> str:
    """Return all tables of the CPU as Markdown.

    Parameters
    ----------
    methods
        Names of search kernels.
    n_obs
        Epochs of the light curves.
    max_frequency
        Upper end of the grid [1/d].
    repeats
        Runs of which the median counts.
    is_accuracy_wanted
        Whether errors are measured too.
    """
    n_frequencies = simulate(n_obs[0], seed=1, max_frequency=max_frequency).n_frequencies
    lines = [
        f"{machine()}; {versions()}.\n\n",
        f"One light curve over five years, {n_frequencies:,} frequencies to {max_frequency:g} cycles/d; CPU time of one"
        f" thread, median of {repeats} interleaved runs.\n\n",
        HEADER,
    ]
    for comparison in comparisons(methods):
        for n in n_obs:
            row = compare(comparison, n, max_frequency, repeats, is_accuracy_wanted=is_accuracy_wanted)
            lines.append(row.line())
            sys.stderr.write(lines[-1])
    partial = [peer for peer in PEERS.values() if peer.share < 1 and f"| {peer.label} |" in "".join(lines)]
    lines += [f"\n{peer.label}: timed on 1/{1 / peer.share:.0f} of the grid and multiplied.\n" for peer in partial]
    lines.append(threads_table(methods, max_frequency, repeats))
    if is_accuracy_wanted and "ls" in methods:
        lines.append(astropy_line(n_obs, max_frequency))
    return "".join(lines)


def astropy_line(n_obs: list[int], max_frequency: float) -> str:
    """Return how far our Lomb-Scargle power is from astropy's, as a sentence."""
    worst = []
    for n in n_obs:
        sources = [
            simulate(n, seed=2, cadence=cadence, max_frequency=max_frequency) for cadence in ("nightly", "random")
        ]
        try:
            worst.append(period_accuracy.astropy_error(sources, SearchOptions(n_peaks=5)))
        except ImportError:
            return "\nastropy is not installed: pip install astropy\n"
    epochs = " / ".join(str(n) for n in n_obs)
    return f"\nLargest difference of the `ls` power from astropy's slow method, {epochs} epochs: {' / '.join(worst)}.\n"
