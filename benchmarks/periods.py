"""How fast and how right the period searches are, beside other packages on the same light curves in the same run.

    python -m benchmarks.periods [--n 50,200,1000] [--max-frequency 48] [--methods ls,ce,aov] [--write]
    python -m benchmarks.periods --device gpu

Other packages come with ``pip install 'scope_ml[benchmarks]'``; a missing one is a line that says so. On the CPU every
program has one thread and CPU time is counted, ours and theirs in turn, medians. Ours is everything a user gets (grid,
periodogram, peaks, refinement), theirs the fastest public call that gives the periodogram alone.
``--device gpu`` times batches of light curves on the GPU by the clock, best peaks back on the host.
``--write`` puts the tables into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from scope_ml.errors import ConfigError, OutputError, ScopeError

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"

#: Libraries that would start threads of their own read these when they are imported.
THREAD_VARIABLES = (
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
)

CPU_METHODS = "ls,ce,aov,ls_ce_aov,mhaov"
GPU_METHODS = "ls,ce,aov"


def arguments(words: list[str]) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.periods", description=__doc__.partition("\n")[0])
    parser.add_argument("--n", default="", help="epochs of the light curves (cpu: 50,200,1000; gpu: 300,1000)")
    parser.add_argument("--max-frequency", type=float, default=48.0, help="upper end of the grid [1/d] (cpu)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median counts")
    parser.add_argument("--methods", default="", help=f"cpu: {CPU_METHODS}; gpu: {GPU_METHODS}; or any search kernel")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--batch", type=int, default=64, help="light curves per call (gpu)")
    parser.add_argument("--frequencies", type=int, default=200_000, help="length of the grid (gpu)")
    parser.add_argument("--no-accuracy", action="store_true", help="leave out the comparison with float64 definitions")
    parser.add_argument("--write", action="store_true", help=f"put the tables into docs/{PAGE.name}")
    found = parser.parse_args(words)
    defaults = ("50,200,1000", CPU_METHODS) if found.device == "cpu" else ("300,1000", GPU_METHODS)
    found.n = [int(word) for word in (found.n or defaults[0]).split(",")]
    found.methods = (found.methods or defaults[1]).split(",")
    if found.repeats < 1 or min(found.n) < 4:
        raise ConfigError("--repeats must be 1 or more and --n 4 or more")
    return found


def report(asked: argparse.Namespace) -> str:
    """Run what was asked and return it as Markdown."""
    from benchmarks import period_gpu, period_table

    if asked.device == "gpu":
        return period_gpu.tables(
            methods=asked.methods,
            n_obs=asked.n,
            n_sources=asked.batch,
            n_frequencies=asked.frequencies,
            repeats=asked.repeats,
        )
    return period_table.tables(
        methods=asked.methods,
        n_obs=asked.n,
        max_frequency=asked.max_frequency,
        repeats=asked.repeats,
        is_accuracy_wanted=not asked.no_accuracy,
    )


def write(text: str, name: str, page: Path = PAGE) -> None:
    """Put the tables between the page's markers of this name.

    Raises
    ------
    OutputError
        If the page has no such markers.
    """
    section = re.compile(rf"(<!-- {name}:begin -->\n).*(<!-- {name}:end -->)", re.DOTALL)
    before = page.read_text(encoding="utf-8")
    if not section.search(before):
        raise OutputError(f"{page.name} has no line '<!-- {name}:begin -->' with an end; put both where the tables go")
    page.write_text(section.sub(lambda found: f"{found[1]}{text}\n{found[2]}", before), encoding="utf-8")


def main(words: list[str] | None = None) -> int:
    """Print the tables; return 2 where they cannot be made."""
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    try:
        asked = arguments(sys.argv[1:] if words is None else words)
        text = report(asked)
        print(text)
        if asked.write:
            write(text, "periods" if asked.device == "cpu" else f"periods-{asked.device}")
    except ScopeError as error:
        sys.stderr.write(f"periods: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
