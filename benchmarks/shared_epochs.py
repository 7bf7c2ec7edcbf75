"""What it saves to search the light curves of one quadrant together, and whether the result is the same.

    python -m benchmarks.shared_epochs [--sources 512] [--epochs 89] [--max-frequency 48] [--write]

A simulated quadrant: shared exposures, a point missing here and there, and each star with its own HJD, up to 5 s from
the others'. With SCOPE_BENCHMARK_DATA set, also the real quadrant in its folder `ztf_field250`, whose single-precision
times are good for the clock only. CPU time of one thread; the method's usual kernel runs on a sample of the light curves.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from scope_ml.core.lightcurve import LightCurveBatch

#: Light curves on which the usual kernel is timed, and the definition evaluated.
N_SAMPLE = 16
N_CHECKED = 2_000
BASELINE = 1826.25
#: Least number of good points of a real light curve.
LEAST_POINTS = 50

HEADER = """\
| quadrant | search | light curves | epochs | searched together | together [ms] | one by one [ms] | ratio | beyond tolerance \
| same best |
|---|---|--:|--:|--:|--:|--:|--:|---|---|
"""


@dataclass(frozen=True, kw_only=True)
class Quadrant:
    """Light curves and what to call them; `is_exact` where times are good enough to check results."""

    label: str
    batch: LightCurveBatch
    is_exact: bool


def simulated(n_sources: int, n_epochs: int) -> Quadrant:
    """Return a quadrant as `period_sources` simulates stars, at shared exposures."""
    from benchmarks.period_sources import START, nightly_times

    rng = np.random.default_rng((5, n_sources, n_epochs))
    exposure = nightly_times(n_epochs, rng, BASELINE)
    season = 2.0 * np.pi * exposure / 365.25
    direction = np.stack((np.cos(season), np.sin(season)))
    times, mags, mag_errs = [], [], []
    for place in rng.uniform(-3.7, 3.7, (n_sources, 2)) / 86_400.0:
        phase = 2.0 * np.pi * exposure / rng.uniform(0.2, 1.0) + rng.uniform(0.0, 2.0 * np.pi)
        mag_err = rng.uniform(0.01, 0.05, n_epochs)
        mag = 16.0 + 0.3 * np.cos(phase) + 0.12 * np.cos(2.0 * phase + 0.7) + mag_err * rng.standard_normal(n_epochs)
        here = rng.random(n_epochs) < 0.93
        times.append((START + exposure + place @ direction)[here])
        mags.append(mag[here])
        mag_errs.append(mag_err[here])
    return Quadrant(
        label="simulated", batch=LightCurveBatch.from_lists(np.arange(n_sources), times, mags, mag_errs), is_exact=True
    )


def real(folder: Path) -> Quadrant:
    """Return the light curves of the real quadrant with 50 good points or more."""
    from scope_ml.io.lightcurves import open_light_curves

    batch = LightCurveBatch.concatenate([chunk.batch for chunk in open_light_curves(folder).chunks()])
    good = batch.select(np.asarray(batch.flags) == 0)
    chosen = good.take(np.flatnonzero(good.n_obs >= LEAST_POINTS))
    return Quadrant(label=folder.name, batch=chosen, is_exact=False)


def cpu_time(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU time [s] of a call and its result."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def line(quadrant: Quadrant, max_frequency: float) -> str:
    """Return the line of one quadrant."""
    from benchmarks.period_accuracy import BIN_METHODS
    from benchmarks.period_sources import LONGER, SAMPLES_PER_PEAK
    from scope_ml.kernels import registry
    from scope_ml.kernels.curve import make_curve
    from scope_ml.kernels.grid import make_grid
    from scope_ml.kernels.peaks import SearchOptions
    from scope_ml.kernels.shared_epochs import cpu

    method, batch, options = "aov", quadrant.batch, SearchOptions(n_peaks=5)
    grid = make_grid(batch, max_frequency=max_frequency, samples_per_peak=SAMPLES_PER_PEAK)
    # Off the grid on which the last point lies on the edges of bins; see `period_sources.LONGER`.
    grid = replace(grid, minimum=grid.minimum / LONGER, step=grid.step / LONGER)
    rng = np.random.default_rng(0)
    sample = np.sort(rng.choice(len(batch), size=min(N_SAMPLE, len(batch)), replace=False))
    alone, alone_grid = batch.take(sample), cpu.take_grids(grid, sample)
    kernel = registry.load(method, "cpu")
    kernel(alone.slice(0, 1), cpu.take_grids(grid, sample[:1]), options)
    cpu.run(batch, replace(grid, n_frequencies=np.minimum(grid.n_frequencies, 1000)), options)

    half = sample.size // 2
    before, first = cpu_time(lambda: kernel(alone.slice(0, half), cpu.take_grids(grid, sample[:half]), options))
    together, found = cpu_time(lambda: cpu.run(batch, grid, options))
    after, last = cpu_time(lambda: kernel(alone.slice(half), cpu.take_grids(grid, sample[half:]), options))
    frequency = np.concatenate((first.frequency, last.frequency))[:, 0]
    same = np.abs(found.frequency[sample, 0] - frequency) <= 0.1 * alone_grid.step
    ours, theirs = together / len(batch), (before + after) / sample.size

    beyond = "-"
    if quadrant.is_exact:
        limit, is_relative = BIN_METHODS[method]
        module = import_module(registry.spec(method).targets["reference"].partition(":")[0])
        few = np.concatenate((sample, np.setdiff1d(np.arange(len(batch)), sample)[: 64 - sample.size]))
        spectra = cpu.run(batch.take(few), cpu.take_grids(grid, few), replace(options, return_spectrum=True)).spectra
        wrong = checked = 0
        for j in range(sample.size):
            at = rng.choice(spectra[j].frequency.size, size=min(N_CHECKED, spectra[j].frequency.size), replace=False)
            right = module.statistic(make_curve(alone, j), spectra[j].frequency[at], options)
            error = np.abs(spectra[j].statistic[at] - right) / (np.abs(right) if is_relative else 1.0)
            wrong, checked = wrong + int(np.sum(error > limit)), checked + at.size
        beyond = f"{wrong} of {checked:,}"
    n_shared = cpu.count_shared(batch, grid, options)
    cells = [quadrant.label, method, str(len(batch)), f"{batch.n_obs.mean():.0f}", str(n_shared)]
    cells += [
        f"{1e3 * ours:.1f}",
        f"{1e3 * theirs:.1f}",
        f"{ours / theirs:.2f}",
        beyond,
        f"{same.sum()} of {same.size}",
    ]
    return f"| {' | '.join(cells)} |\n"


def main(words: list[str] | None = None) -> int:
    """Print the table."""
    from benchmarks.periods import THREAD_VARIABLES, write

    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shared_epochs", description=__doc__.partition("\n")[0])
    parser.add_argument("--sources", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=89)
    parser.add_argument("--max-frequency", type=float, default=48.0)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    asked = parser.parse_args(sys.argv[1:] if words is None else words)
    from benchmarks.period_sources import machine, versions

    quadrants = [simulated(asked.sources, asked.epochs)]
    folder = Path(os.environ.get("SCOPE_BENCHMARK_DATA", "")) / "ztf_field250"
    if "SCOPE_BENCHMARK_DATA" in os.environ and folder.is_dir():
        quadrants.append(real(folder))
    lines = [f"{machine()}; {versions()}.\n\n{HEADER}"]
    print(lines[0], end="")
    for quadrant in quadrants:
        lines.append(line(quadrant, asked.max_frequency))
        print(lines[-1], end="", flush=True)
    if asked.write:
        write("".join(lines), "shared-epochs")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
