"""Light curves, grids and the machine in words, for `benchmarks.periods`. Everything is seeded."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.grid import FrequencyGrid, make_grid

#: Five years [d], as in the goals; with 10 samples a peak and 48 cycles/d: 876,580 frequencies.
BASELINE = 1826.25
SAMPLES_PER_PEAK = 10
START = 2_458_000.5

#: Grids for accuracy come from a baseline this much longer. On a grid from the light curve's own baseline the last
#: point lies on a bin edge at every 20th of a cycle, where rounding decides and two right programs differ.
LONGER = 1.0137

#: Packages whose versions are printed.
PACKAGES = (
    "numpy",
    "numba",
    "scipy",
    "nifty-ls",
    "finufft",
    "cuperiod",
    "light-curve",
    "astropy",
    "cupy-cuda12x",
    "cupy-cuda13x",
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One light curve and the grid on which it is searched.

    Attributes
    ----------
    time, mag, mag_err
        Points, time counted from the first one [d], [mag], [mag], float64 (n_obs,).
    max_frequency
        Upper end of the grid [1/d].
    """

    time: NDArray[np.float64]
    mag: NDArray[np.float64]
    mag_err: NDArray[np.float64]
    max_frequency: float

    @cached_property
    def batch(self) -> LightCurveBatch:
        """The light curve as our kernels take it, at HJD."""
        return LightCurveBatch.from_lists([1], [self.time + START], [self.mag], [self.mag_err])

    @cached_property
    def grid(self) -> FrequencyGrid:
        """The light curve's own grid."""
        return make_grid(self.batch, max_frequency=self.max_frequency, samples_per_peak=SAMPLES_PER_PEAK)

    @property
    def minimum(self) -> float:
        """Lowest frequency [1/d]."""
        return float(self.grid.minimum[0])

    @property
    def step(self) -> float:
        """Spacing of frequencies [1/d]."""
        return float(self.grid.step[0])

    @property
    def n_frequencies(self) -> int:
        """Length of the grid."""
        return int(self.grid.n_frequencies[0])

    @cached_property
    def frequency(self) -> NDArray[np.float64]:
        """The whole grid [1/d]; only peers need it."""
        return self.grid.frequencies(0)


def nightly_times(n_obs: int, rng: np.random.Generator, baseline: float = BASELINE) -> NDArray[np.float64]:
    """Return times [d] from 0 to `baseline` as a ground-based survey takes them: nights, seasons of 220 days."""
    nights = np.arange(1, int(baseline))
    nights = nights[nights % 365.25 < 220]
    times = rng.choice(nights, size=n_obs, replace=n_obs > nights.size) + rng.uniform(0.1, 0.45, n_obs)
    times = np.sort(times)
    times[0], times[-1] = 0.0, baseline
    return times


def random_times(n_obs: int, rng: np.random.Generator, baseline: float = BASELINE) -> NDArray[np.float64]:
    """Return times [d] from 0 to `baseline`, uniform and independent."""
    times = np.sort(rng.uniform(0.0, baseline, n_obs))
    times[0], times[-1] = 0.0, baseline
    return times


def simulate(n_obs: int, *, seed: int, cadence: str = "nightly", max_frequency: float = 48.0) -> Source:
    """Return a pulsator with two harmonics, 0.3 mag, period 0.2 to 1 d, errors of 0.01 to 0.05 mag."""
    rng = np.random.default_rng((seed, n_obs))
    times = {"nightly": nightly_times, "random": random_times}[cadence](n_obs, rng)
    phase = 2.0 * np.pi * times / rng.uniform(0.2, 1.0) + rng.uniform(0.0, 2.0 * np.pi)
    mag_err = rng.uniform(0.01, 0.05, n_obs)
    mag = 16.0 + 0.3 * np.cos(phase) + 0.12 * np.cos(2.0 * phase + 0.7) + mag_err * rng.standard_normal(n_obs)
    return Source(time=times, mag=mag, mag_err=mag_err, max_frequency=max_frequency)


def join(sources: list[Source]) -> LightCurveBatch:
    """Return one batch of all light curves."""
    return LightCurveBatch.concatenate([source.batch for source in sources])


def longer_grid(source: Source) -> FrequencyGrid:
    """Return the grid for accuracy: as the light curve's own, from a baseline `LONGER` times longer."""
    grid = source.grid
    return FrequencyGrid(
        minimum=grid.minimum / LONGER,
        step=grid.step / LONGER,
        n_frequencies=np.floor(grid.n_frequencies * LONGER).astype(np.int64),
        status=grid.status,
        samples_per_peak=grid.samples_per_peak,
    )


def machine() -> str:
    """Return processor, vector instructions and how busy the machine is, in words."""
    name, flags = platform.processor() or platform.machine(), ""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        lines = dict(
            line.split(":", 1) for line in information.read_text().partition("\n\n")[0].splitlines() if ":" in line
        )
        facts = {key.strip(): value.strip() for key, value in lines.items()}
        name = facts.get("model name", name)
        if "cpu family" in facts:
            name += f" (family {facts['cpu family']}, model {facts.get('model', '?')})"
        known = facts.get("flags", facts.get("Features", "")).split()
        flags = " and ".join(
            label for flag, label in (("avx2", "AVX2"), ("avx512bw", "AVX-512"), ("asimd", "NEON")) if flag in known
        )
    compiled = os.environ.get("NUMBA_CPU_NAME", "")
    words = [
        name,
        f"{os.cpu_count()} cores",
        f"with {flags}" if flags else "",
        f"code for {compiled}" if compiled else "",
    ]
    return f"{', '.join(word for word in words if word)}, load {os.getloadavg()[0]:.1f} at the start"


def versions() -> str:
    """Return the versions of Python and of every package that took part."""
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
