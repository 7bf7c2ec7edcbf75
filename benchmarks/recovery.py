"""How many real stars of known period get that period, by class and method.

    SCOPE_BENCHMARK_DATA=... python -m benchmarks.recovery [SET ...] [--methods ls,mhaov,pdm,ls_ce_aov,best]
                                                           [--limit N] [--workers 2] [--markdown FILE]

Sets: s82_g (RR Lyrae stars of Stripe 82, g alone), s82_ugriz (their five bands together), crts_sss (Catalina southern
periodic variables). All epochs with finite values are used; no method knows class or period. A period is exact within
1 %; "half" and "double" are within 1 % of half and twice the true one. "class known" is the same result after a second
look by `refine_period` with the class. Every star is in one of exact, half, double, other, none; the counts add up.
"""

from __future__ import annotations

import argparse
import os
import sys
import time as clock
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import scope_ml
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError, ScopeError
from scope_ml.kernels.refinement import refine_periods

VARIABLE = "SCOPE_BENCHMARK_DATA"
METHODS = "ls,mhaov,pdm,ls_ce_aov,best"

#: Largest relative difference of a right period.
TOLERANCE = 0.01

OUTCOMES = ("exact", "half", "double", "other", "none")


@dataclass(frozen=True, kw_only=True)
class Set:
    """Stars of known period.

    Attributes
    ----------
    folder
        Folder in the benchmark data.
    tags
        Class that `refine_period` is told, by the class as the origin names it; the classes that are scored.
    min_frequency, max_frequency
        The grid [1/d]; None for two cycles in the baseline.
    band
        The band to take; None for all together.
    """

    folder: str
    tags: dict[str, str]
    max_frequency: float
    min_frequency: float | None = None
    band: str | None = None


#: Stars are searched up to 24 cycles/d in crts_sss: what its delta Scuti stars need, twice over for most.
SETS = {
    "s82_g": Set(
        folder="s82_rrlyrae", tags={"RRab": "rrab", "RRc": "rrc"}, min_frequency=0.2, max_frequency=6.0, band="g"
    ),
    "s82_ugriz": Set(folder="s82_rrlyrae", tags={"RRab": "rrab", "RRc": "rrc"}, min_frequency=0.2, max_frequency=6.0),
    "crts_sss": Set(
        folder="crts_sss",
        tags={
            "RRab": "rrab",
            "RRc": "rrc",
            "RRd": "rrd",
            "Blazhko": "rrblz",
            "Delta_Scuti": "dscu",
            "ACEP": "puls",
            "Cep-II": "ceph2",
            "LPV": "lpv",
            "EA": "ea",
            "Eclipsing_contact_or_semidetached": "ew",
            "Rotational": "rscvn",
        },
        max_frequency=24.0,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Stars:
    """Light curves of a set with what is known of them, in the same order."""

    batch: LightCurveBatch
    native_class: NDArray[np.str_]
    period: NDArray[np.float64]


def arguments(words: list[str]) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__.partition("\n")[0])
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)}; all of them by default")
    parser.add_argument("--methods", default=METHODS, help=f"by default {METHODS}")
    parser.add_argument("--limit", type=int, default=0, help="stars of each class, chosen at random; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="of the choice")
    parser.add_argument("--samples-per-peak", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1, help="threads; 0 for one per core")
    parser.add_argument("--markdown", type=Path, help="file for the tables, beside standard output")
    found = parser.parse_args(words)
    found.sets = found.sets or list(SETS)
    unknown = [name for name in found.sets if name not in SETS]
    if unknown:
        raise ConfigError(f"there is no set '{unknown[0]}'; known are {', '.join(SETS)}")
    found.methods = found.methods.split(",")
    return found


def data_folder() -> Path:
    """Return the folder of the benchmark data."""
    folder = os.environ.get(VARIABLE, "")
    if not folder or not Path(folder).is_dir():
        raise ConfigError(f"{VARIABLE} is '{folder}', no folder; set it to the folder of the real data sets")
    return Path(folder)


def read_stars(chosen: Set, folder: Path, *, limit: int = 0, seed: int = 0) -> Stars:
    """Read the stars of a set that have a class to be scored, at most `limit` of each class."""
    labels = pq.read_table(folder / chosen.folder / "labels.parquet", columns=["id", "native_class", "period"])
    random = np.random.default_rng(seed)
    native = np.array(labels["native_class"].to_pylist())
    kept: list[int] = []
    for name in chosen.tags:
        members = np.flatnonzero(native == name)
        kept += random.permutation(members)[: limit or None].tolist()
    labels = labels.take(pa.array(sorted(kept)))
    paths = sorted((folder / chosen.folder).glob("lightcurves*.parquet"))
    curves = pa.concat_tables([pq.read_table(path) for path in paths])
    place = {name: row for row, name in enumerate(curves["id"].to_pylist())}
    curves = curves.take(pa.array([place[name] for name in labels["id"].to_pylist()]))
    batch = LightCurveBatch.from_arrow(curves, band="band", flags=None)
    good = np.isfinite(batch.time) & np.isfinite(batch.mag) & np.isfinite(batch.mag_err) & (batch.mag_err > 0)
    if chosen.band is not None:
        good &= batch.band == chosen.band
    return Stars(
        batch=batch.select(good),
        native_class=np.array(labels["native_class"].to_pylist()),
        period=labels["period"].to_numpy(),
    )


def outcomes(found: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.str_]:
    """Return one of `OUTCOMES` for each period."""
    result = np.where(np.isfinite(found), "other", "none").astype("U6")
    for name, factor in (("half", 0.5), ("double", 2.0), ("exact", 1.0)):
        result[np.abs(found / (factor * true) - 1.0) < TOLERANCE] = name
    return result


def search(stars: Stars, chosen: Set, method: str, asked: argparse.Namespace) -> NDArray[np.float64]:
    """Return the best period [d] of each star by the public search."""

    def show(done: int, total: int) -> None:
        sys.stderr.write(f"\r  {method}: {done} of {total}")
        sys.stderr.flush()

    begin = clock.process_time()
    table = scope_ml.search_periods(
        stars.batch,
        method,
        n_peaks=1,
        workers=asked.workers,
        progress=show,
        min_frequency=chosen.min_frequency,
        max_frequency=chosen.max_frequency,
        samples_per_peak=asked.samples_per_peak,
        exclude_terrestrial=False,
    )
    spent = (clock.process_time() - begin) / max(len(stars.batch), 1)
    sys.stderr.write(f", {1e3 * spent:.0f} ms of CPU time a star\n")
    period: NDArray[np.float64] = table["period"].to_numpy()
    return period


def rows(stars: Stars, chosen: Set, method: str, period: NDArray[np.float64]) -> Iterator[list[str]]:
    """Give the rows of the table, one a class."""
    tags = [chosen.tags[name] for name in stars.native_class]
    refined = np.array([item.period for item in refine_periods(stars.batch, period, tags)])
    alone, known = outcomes(period, stars.period), outcomes(refined, stars.period)
    for name in chosen.tags:
        members = stars.native_class == name
        n = int(members.sum())
        if n == 0:
            continue
        counts = [int((alone[members] == outcome).sum()) for outcome in OUTCOMES]
        if sum(counts) != n:
            raise ScopeError(f"{n} stars of class {name} have {sum(counts)} outcomes; report this as a fault")
        shares = [100.0 * counts[0] / n, 100.0 * sum(counts[:3]) / n, 100.0 * (known[members] == "exact").sum() / n]
        yield [name, method, str(n), *map(str, counts), *(f"{share:.1f}" for share in shares)]


HEADER = ["class", "method", "stars", *OUTCOMES, "exact %", "up to 2 %", "class known: exact %"]


def as_markdown(title: str, lines: list[list[str]]) -> str:
    """Return a table with aligned columns."""
    widths = [max(len(line[column]) for line in [HEADER, *lines]) for column in range(len(HEADER))]
    padded = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        for line in [HEADER, ["-" * width for width in widths], *lines]
    ]
    return "\n".join([f"## {title}", "", *(f"| {' | '.join(line)} |" for line in padded), ""])


def main(words: list[str]) -> int:
    """Run the program; return its exit code."""
    try:
        asked = arguments(words)
        folder = data_folder()
        text = []
        for name in asked.sets:
            chosen = SETS[name]
            stars = read_stars(chosen, folder, limit=asked.limit, seed=asked.seed)
            sys.stderr.write(f"{name}: {len(stars.batch)} stars\n")
            periods = {method: search(stars, chosen, method, asked) for method in asked.methods}
            lines = [line for method in asked.methods for line in rows(stars, chosen, method, periods[method])]
            lines.sort(key=lambda line: list(chosen.tags).index(line[0]))
            text.append(as_markdown(f"{name}: {len(stars.batch)} stars, to {chosen.max_frequency:g} cycles/d", lines))
            print(text[-1], flush=True)
        if asked.markdown is not None:
            asked.markdown.write_text("\n".join(text), encoding="utf-8")
    except ScopeError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
