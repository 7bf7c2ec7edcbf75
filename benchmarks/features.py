"""How fast features are: kernels beside other packages in the same run, and the whole stage on a light-curve file.

    python -m benchmarks.features [--n 50,200,1000] [--kernels statistics,fourier,dmdt] [--write]
    python -m benchmarks.features --survey FOLDER [--limit 250] [--write] [-- period_search=none ...]
    python -m benchmarks.features --field FILE [--limit 250] [--write] [-- feature_groups=all ...]

Kernels: every program has one thread and CPU time is counted, ours and theirs in turn, medians. Ours is a batch of light
curves in one call, as the stage measures them; theirs the fastest public call, once a light curve.
The stage (FOLDER of `scope_ml.simulate`, or any FILE of light curves): processes of one thread each, with --limit light
curves and four times as many, then two at a time; words after ``--`` are options of generate_features. Where the time goes
is read from its run log. ``--write`` puts the tables into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.periods import PAGE, THREAD_VARIABLES, write
from scope_ml.errors import ConfigError, ScopeError

KERNELS = "statistics,fourier,dmdt"

#: Light curves of the smaller of the two runs of the stage.
LIMIT = 250


def arguments(words: list[str]) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__.partition("\n")[0])
    parser.add_argument("--n", default="50,200,1000", help="epochs of the light curves")
    parser.add_argument("--kernels", default=KERNELS, help=f"of {KERNELS}")
    parser.add_argument("--repeats", type=int, default=9, help="runs of which the median counts")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--survey", type=Path, help="time the stage on this embedded survey")
    where.add_argument("--field", type=Path, help="time the stage on this file or folder of light curves")
    parser.add_argument("--limit", type=int, default=LIMIT, help="light curves of the smaller run of the stage")
    parser.add_argument("--write", action="store_true", help=f"put the tables into docs/{PAGE.name}")
    parser.add_argument("options", nargs="*", help="options of generate_features, after --")
    found = parser.parse_args(words)
    found.n = [int(word) for word in found.n.split(",")]
    found.kernels = found.kernels.split(",")
    unknown = [name for name in found.kernels if name not in KERNELS.split(",")]
    if unknown:
        raise ConfigError(f"--kernels {','.join(unknown)}: nothing to time it beside; choose of {KERNELS}")
    if found.repeats < 1 or found.limit < 1 or min(found.n) < 4:
        raise ConfigError("--repeats and --limit must be 1 or more and --n 4 or more")
    return found


def report(asked: argparse.Namespace) -> tuple[str, str]:
    """Run what was asked; return the name of its place on the page, and the tables as Markdown."""
    if asked.survey or asked.field:
        from benchmarks import feature_stage

        name = "survey" if asked.survey else "field"
        text = feature_stage.tables(
            name=name, path=asked.survey or asked.field, limit=asked.limit, options=asked.options
        )
        return f"features-{name}", text
    from benchmarks import feature_table

    return "features", feature_table.tables(kernels=asked.kernels, n_obs=asked.n, repeats=asked.repeats)


def main(words: list[str] | None = None) -> int:
    """Print the tables; return 2 where they cannot be made."""
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    try:
        asked = arguments(sys.argv[1:] if words is None else words)
        place, text = report(asked)
        print(text)
        if asked.write:
            write(text, place)
    except ScopeError as error:
        sys.stderr.write(f"features: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
