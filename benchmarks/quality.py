"""How good classifications of real stars are: our features beside a peer's, by the same models on the same folds.

    python -m benchmarks.quality [--parts native,tags,surveys] [--features results/benchmark/features] [--write]

`SCOPE_BENCHMARK_DATA` names the folder of the labelled sets. The features are those that `make benchmark` measured; the
peer's (52 of the package light-curve) are measured here and kept. ``--write`` puts the tables into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path

from benchmarks.periods import PAGE, write
from scope_ml.errors import ConfigError, ScopeError

PARTS = "native,tags,surveys"
RESULTS = Path("results/benchmark")


def arguments(words: list[str]) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", default=PARTS, help=f"of {PARTS}")
    parser.add_argument("--features", type=Path, default=RESULTS / "features", help="folder of the feature tables")
    parser.add_argument("--cache", type=Path, default=RESULTS / "peer", help="where the peer's features are kept")
    parser.add_argument("--threads", type=int, default=2, help="models that are trained at the same time")
    parser.add_argument("--output", type=Path, help="write the tables into this file")
    parser.add_argument("--write", action="store_true", help=f"put the tables into docs/{PAGE.name}")
    found = parser.parse_args(words)
    found.parts = found.parts.split(",")
    unknown = [name for name in found.parts if name not in PARTS.split(",")]
    if unknown:
        raise ConfigError(f"--parts {','.join(unknown)}: there is no such part; choose of {PARTS}")
    if found.threads < 1:
        raise ConfigError("--threads must be 1 or more")
    return found


def report(asked: argparse.Namespace, data: Path) -> str:
    """Return the tables as Markdown."""
    from benchmarks import quality_native, quality_surveys, quality_tags
    from benchmarks.quality_data import load_stars
    from scope_ml.taxonomy.classes import packaged_conf_dir

    stars = load_stars(asked.features, data, asked.cache, packaged_conf_dir())
    lines = [f"{len(stars.dataset)} light curves of {stars.dataset.n_stars} stars; {len(stars.ours.names)} features of ours,"
             f" {len(stars.peer.names)} of the peer.", ""]  # fmt: skip
    if "native" in asked.parts:
        lines += quality_native.table(stars)
    if "tags" in asked.parts:
        lines += quality_tags.table(stars, n_threads=asked.threads)
    if "surveys" in asked.parts:
        lines += quality_surveys.table(stars, n_threads=asked.threads)
    return "\n".join(lines)


def main(words: list[str] | None = None) -> int:
    """Print the tables; return 2 for an error that the user can mend."""
    try:
        asked = arguments(sys.argv[1:] if words is None else words)
        folder = os.environ.get("SCOPE_BENCHMARK_DATA", "")
        if not folder:
            raise ConfigError(
                "set SCOPE_BENCHMARK_DATA to the folder of labelled light curves (see docs/benchmarks.md)"
            )
        with warnings.catch_warnings():
            # Logistic regression says so where its last digits are not settled.
            warnings.filterwarnings("ignore", message=".*converge", category=UserWarning)
            text = report(asked, Path(folder))
        sys.stdout.write(text + "\n")
        if asked.output is not None:
            asked.output.parent.mkdir(parents=True, exist_ok=True)
            asked.output.write_text(text + "\n", encoding="utf-8")
        if asked.write:
            write(text, "quality")
    except ScopeError as error:
        sys.stderr.write(f"benchmarks.quality: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
