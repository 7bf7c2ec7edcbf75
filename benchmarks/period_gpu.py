"""The table of `benchmarks.periods --device gpu`: batches of light curves by the clock, best peaks back on the host."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from benchmarks.period_sources import BASELINE, SAMPLES_PER_PEAK, join, machine, simulate, versions
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels import registry
from scope_ml.kernels.grid import MIN_CYCLES, FrequencyGrid, make_grid
from scope_ml.kernels.peaks import SearchOptions

#: Point x frequency per second that must be reached on an H100, by method and epochs; twice 1e12 is the aim of each.
MUST: dict[str, dict[int, float]] = {
    "ls": {300: 1e12, 1000: 1e12},
    "ce": {300: 7e11, 1000: 1e12},
    "aov": {300: 7e11, 1000: 1e12},
}
AIM = 2e12

#: Seconds of calls before those that count.
WARM_UP = 1.0
#: Light curves on which the GPU is compared with the CPU.
N_COMPARED = 8

HEADER = """\
| search | epochs | light curves/s | point x frequency/s | must | aim | CPU, 1 thread | over CPU | same best | statistic differs by |
|---|--:|--:|--:|--:|--:|--:|--:|---|--:|
"""


def device_name() -> str:
    """Return the GPU in words."""
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    driver = cupy.cuda.runtime.driverGetVersion()
    return f"{properties['name'].decode()}, CUDA driver {driver // 1000}.{driver % 1000 // 10}"


def problem(n_obs: int, n_sources: int, n_frequencies: int) -> tuple[LightCurveBatch, FrequencyGrid]:
    """Return light curves of `n_obs` epochs and their grids of `n_frequencies`."""
    # Half a step below the first frequency that is left out, so that rounding cannot add one.
    end = (MIN_CYCLES + (n_frequencies - 0.5) / SAMPLES_PER_PEAK) / BASELINE
    batch = join([simulate(n_obs, seed=100 + index, max_frequency=end) for index in range(n_sources)])
    return batch, make_grid(batch, max_frequency=end, samples_per_peak=SAMPLES_PER_PEAK)


def first(grid: FrequencyGrid, count: int) -> FrequencyGrid:
    """Return the grids of the first light curves."""
    columns = {name: getattr(grid, name)[:count] for name in ("minimum", "step", "n_frequencies", "status")}
    return replace(grid, **columns)


def line(method: str, n_obs: int, n_sources: int, n_frequencies: int, repeats: int) -> str:
    """Return one line of the table."""
    batch, grid = problem(n_obs, n_sources, n_frequencies)
    options = SearchOptions(n_peaks=5)
    on_gpu, on_cpu = registry.load(method, "gpu"), registry.load(method, "cpu")
    # The first call compiles; the clocks of a device that was idle take a while to rise.
    found = on_gpu(batch, grid, options)
    ready = time.perf_counter() + WARM_UP
    while time.perf_counter() < ready:
        on_gpu(batch, grid, options)
    walls = []
    for _ in range(repeats):
        start = time.perf_counter()
        on_gpu(batch, grid, options)
        walls.append(time.perf_counter() - start)
    wall = float(np.median(walls))
    few, few_grid = batch.slice(0, N_COMPARED), first(grid, N_COMPARED)
    on_cpu(few, few_grid, options)
    start_cpu = time.process_time()
    expected = on_cpu(few, few_grid, options)
    cpu_per_source = (time.process_time() - start_cpu) / len(few)

    work = float(n_obs) * n_frequencies
    rate, cpu_rate = work * n_sources / wall, work / cpu_per_source
    step = few_grid.step
    same = np.abs(found.frequency[:N_COMPARED, 0] - expected.frequency[:, 0]) <= 0.1 * step
    difference = np.abs(found.statistic[:N_COMPARED, 0] - expected.statistic[:, 0])
    must = MUST.get(registry.spec(method).short, {}).get(n_obs)
    cells = [method, str(n_obs), f"{n_sources / wall:,.0f}", f"{rate:.2e}"]
    cells += [
        "" if goal is None else f"{goal:.0e}{' met' if rate >= goal else ' **not met**'}"
        for goal in (must, AIM if must else None)
    ]
    cells += [f"{cpu_rate:.1e}", f"{rate / cpu_rate:.0f}", f"{same.sum()} of {same.size}", f"{difference.max():.0e}"]
    return f"| {' | '.join(cells)} |\n"


def tables(*, methods: list[str], n_obs: list[int], n_sources: int, n_frequencies: int, repeats: int) -> str:
    """Return the table of the GPU as Markdown.

    Raises
    ------
    BackendUnavailableError
        If there is no GPU, no CuPy, or no kernel of a method for it.
    """
    registry.resolve_device("gpu", tuple(methods))
    lines = [
        f"{device_name()}; {machine()}; {versions()}.\n\n",
        f"{n_sources} light curves a call over five years, {n_frequencies:,} frequencies each, 20 phase bins; wall time"
        f" with all transfers and the best 5 peaks back on the host, median of {repeats}.\n\n",
        HEADER,
    ]
    lines += [line(method, n, n_sources, n_frequencies, repeats) for method in methods for n in n_obs]
    return "".join(lines)
