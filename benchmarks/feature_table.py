"""The table of `benchmarks.features` for kernels: what is compared with what, the goals, the clock.

Other packages are called here to be timed and are no part of scope_ml; light-curve is under the GPL.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.feature_peers import extractor
from benchmarks.period_sources import join, machine, simulate, versions
from benchmarks.period_table import GOAL_N_OBS, in_turn
from scope_ml.core.lightcurve import LightCurve, LightCurveBatch
from scope_ml.kernels.dmdt import DM_EDGES, DT_EDGES, DmDtOptions
from scope_ml.kernels.dmdt.cpu import counts
from scope_ml.kernels.fourier import FourierOptions
from scope_ml.kernels.registry import load

#: Points of one timed call, so that light curves of any length make one of some milliseconds; cesium gets fewer.
N_POINTS = 25_600
FEW = 8

#: Works on one light curve; what it returns is looked at only where results are compared.
Call = Callable[[LightCurve], Any]

#: Those of cesium's features that are nearest to our statistics; median and mean are in nearly all of them.
CESIUM_16 = (
    *("amplitude", "anderson_darling", "median", "median_absolute_deviation", "percent_amplitude"),
    *("flux_percentile_ratio_mid20", "flux_percentile_ratio_mid35", "flux_percentile_ratio_mid50"),
    *("flux_percentile_ratio_mid65", "flux_percentile_ratio_mid80", "skew", "stetson_j", "stetson_k"),
    *("shapiro_wilk", "weighted_average", "weighted_std_dev"),
)


def native_19() -> Call:
    """Return the call of light-curve's 19 native features."""
    extract = extractor()
    return lambda one: extract(one.time, one.mag, one.mag_err, sorted=True, check=False)


def light_curve_dmdt() -> Any:
    """Return light-curve's DmDt with our edges, taken as they are."""
    from light_curve import DmDt

    return DmDt(np.array(DT_EDGES), np.array(DM_EDGES), dt_type="asis", dm_type="asis", norm=[], n_jobs=1)


def dmdt_points() -> Call:
    """Return the call of light-curve's DmDt for one light curve."""
    image = light_curve_dmdt()
    return lambda one: image.points(one.time, one.mag, sorted=True)


def cesium_16() -> Call:
    """Return the call of cesium without its scheduler of threads."""
    from cesium.featurize import featurize_time_series
    from dask.local import get_sync

    def call(one: LightCurve) -> Any:
        with warnings.catch_warnings():
            # SciPy tells cesium in every call of a change to come.
            warnings.simplefilter("ignore", FutureWarning)
            return featurize_time_series(
                one.time, one.mag, one.mag_err, features_to_use=list(CESIUM_16), scheduler=get_sync
            )

    return call


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One of our kernels beside a call of another package.

    Attributes
    ----------
    kernel, label
        Name of our kernel, and what the table calls it.
    peer, peer_label, install
        Prepares their call (ImportError where the package is missing), what the table calls it, what to type for it.
    must, aim
        Greatest ratios of our time to theirs, for `GOAL_N_OBS`; empty where there is no goal.
    is_slow
        Whether theirs is timed on `FEW` light curves.
    """

    kernel: str
    label: str
    peer: Callable[[], Call]
    peer_label: str
    install: str = "pip install light-curve"
    must: tuple[float, ...] = ()
    aim: tuple[float, ...] = ()
    is_slow: bool = False

    def verdicts(self, n_obs: int, ratio: float | None) -> list[str]:
        """Return the cells of must and aim for light curves of `n_obs` epochs."""
        if not self.must or n_obs not in GOAL_N_OBS:
            return ["", ""]
        limits = [goal[GOAL_N_OBS.index(n_obs)] for goal in (self.must, self.aim)]
        if ratio is None:
            return [f"{limit:g}" for limit in limits]
        return [f"{limit:g}{' met' if ratio <= limit else ' **not met**'}" for limit in limits]


COMPARISONS: tuple[Comparison, ...] = (
    Comparison(
        kernel="statistics",
        label="22 basic statistics",
        peer=native_19,
        peer_label="light-curve, 19 native features",
        must=(0.8, 0.8, 0.8),
        aim=(0.4, 0.4, 0.4),
    ),
    Comparison(
        kernel="statistics",
        label="22 basic statistics",
        peer=cesium_16,
        peer_label="cesium, 16 features",
        install="pip install 'scope_ml[cesium]'",
        is_slow=True,
    ),
    Comparison(
        kernel="fourier",
        label="Fourier, 0 to 5 harmonics",
        peer=native_19,
        peer_label="light-curve, 19 native features",
        must=(1.0, 1.2, 1.7),
        aim=(0.35, 0.4, 0.6),
    ),
    Comparison(
        kernel="dmdt",
        label="dm-dt 26 x 26",
        peer=dmdt_points,
        peer_label="light-curve DmDt.points",
        must=(0.75, 0.27, 0.2),
        aim=(0.4, 0.1, 0.08),
    ),
)

HEADER = """\
| kernel | epochs | ours [us] | beside | theirs [us] | ratio | must | aim | same |
|---|--:|--:|---|--:|--:|--:|--:|---|
"""


def batch_of(n_obs: int, n_points: int = N_POINTS) -> LightCurveBatch:
    """Return seeded light curves of about `n_obs` epochs, as many as make `n_points`, at least `FEW`.

    Lengths differ by up to a tenth either way: what could be shared by light curves of one length is not, mostly.
    """
    rng = np.random.default_rng(n_obs)
    sizes = np.rint(n_obs * rng.uniform(0.9, 1.1, max(FEW, n_points // n_obs))).astype(int)
    return join([simulate(int(size), seed=seed) for seed, size in enumerate(sizes)])


def ours(kernel: str, batch: LightCurveBatch) -> Callable[[], Any]:
    """Return the call of our kernel on the whole batch."""
    run = load(kernel, "cpu")
    periods = np.random.default_rng(0).uniform(0.2, 1.0, len(batch))
    options = {"fourier": FourierOptions(period=periods), "dmdt": DmDtOptions()}.get(kernel)
    return lambda: run(batch, options)


def line(comparison: Comparison, n_obs: int, batch: LightCurveBatch, repeats: int) -> str:
    """Time one comparison on light curves of about `n_obs` epochs; return its line in Markdown."""
    run = ours(comparison.kernel, batch)
    try:
        call = comparison.peer()
    except ImportError:
        run()
        cells = [f"{1e6 * in_turn([run], repeats)[0] / len(batch):.1f}", comparison.peer_label]
        cells += [f"not installed: {comparison.install}", "-", *comparison.verdicts(n_obs, None), "-"]
        return f"| {comparison.label} | {n_obs} | {' | '.join(cells)} |\n"
    curves = list(batch)[: FEW if comparison.is_slow else None]
    times = in_turn([run, lambda: [call(one) for one in curves]], repeats)
    mine, theirs = times[0] / len(batch), times[1] / len(curves)
    ratio = mine / theirs
    cells = [f"{1e6 * mine:.1f}", comparison.peer_label, f"{1e6 * theirs:.1f}", f"{ratio:.3f}"]
    cells += [*comparison.verdicts(n_obs, ratio), same(comparison, batch, call)]
    return f"| {comparison.label} | {n_obs} | {' | '.join(cells)} |\n"


def same(comparison: Comparison, batch: LightCurveBatch, call: Call) -> str:
    """Return whether both count the same pairs; other comparisons are of different quantities."""
    if comparison.kernel != "dmdt":
        return "-"
    found = counts(batch, DmDtOptions())
    return "yes" if all(np.array_equal(call(one).T, image) for one, image in zip(batch, found, strict=True)) else "no"


def many_line(batches: dict[int, LightCurveBatch], repeats: int) -> str:
    """Return, as a sentence, what light-curve takes for many light curves in one call of `DmDt.points_many`."""
    try:
        image = light_curve_dmdt()
    except ImportError:
        return ""
    words = []
    for batch in batches.values():
        curves = [(one.time, one.mag) for one in batch]
        taken = in_turn([lambda curves=curves: image.points_many(curves, sorted=True)], repeats)[0]  # type: ignore[misc]
        words.append(f"{1e6 * taken / len(batch):.0f}")
    epochs = " / ".join(map(str, batches))
    return f"\nlight-curve's `DmDt.points_many` takes {' / '.join(words)} us of CPU time a light curve ({epochs} epochs).\n"


def tables(*, kernels: list[str], n_obs: list[int], repeats: int, n_points: int = N_POINTS) -> str:
    """Return the table as Markdown.

    Parameters
    ----------
    kernels
        Names of kernels.
    n_obs
        Epochs of the light curves.
    repeats
        Runs of which the median counts.
    n_points
        Points of one timed call.
    """
    batches = {n: batch_of(n, n_points) for n in n_obs}
    lines = [
        f"{machine()}; {versions()}.\n\n",
        f"CPU time of one thread for one light curve over five years, epochs to a tenth, median of {repeats} interleaved runs; ours in"
        " batches, theirs one call a light curve.\n\n",
        HEADER,
    ]
    for comparison in COMPARISONS:
        if comparison.kernel in kernels:
            for n, batch in batches.items():
                lines.append(line(comparison, n, batch, repeats))
                sys.stderr.write(lines[-1])
    if "dmdt" in kernels:
        lines.append(many_line(batches, repeats))
    return "".join(lines)
