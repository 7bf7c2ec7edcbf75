"""`make benchmark`: run the same stages on real labelled light curves and write what comes out into docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from omegaconf import OmegaConf

from scope_ml.core.provenance import digest_file

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "benchmark"
PAGE = ROOT / "docs" / "benchmarks.md"

#: The parts of the page that this program writes, each from a file of the results.
SECTIONS = ("quality", "benchmark")


def main() -> int:
    """Run the pipeline and return its exit code."""
    folder = os.environ.get("SCOPE_BENCHMARK_DATA", "")
    if not folder:
        sys.stderr.write(
            "benchmark: set SCOPE_BENCHMARK_DATA to the folder of labelled light curves (see docs/benchmarks.md)\n"
        )
        return 2
    parameters = OmegaConf.load(Path(__file__).with_name("params.yaml"))
    sets = [*parameters.training_sets, *parameters.scored_sets]
    missing = [name for name in sets if not (Path(folder) / name).is_dir()]
    if missing:
        sys.stderr.write(f"benchmark: {folder} lacks the set(s) {', '.join(missing)}; is SCOPE_BENCHMARK_DATA right?\n")
        return 2
    for name in sets:
        _write_digests(name, Path(folder) / name)
    # The stages call `python`: it is this one, activated or not.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "SCOPE_BENCHMARK_DATA": str(Path(folder).resolve()), "PATH": path}
    command = [sys.executable, "-m", "dvc", "repro", "pipelines/benchmark/dvc.yaml", *sys.argv[1:]]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    if done.returncode == 0:
        for name in SECTIONS:
            _write_section(name, (RESULTS / f"{name}.md").read_text(encoding="utf-8"))
        sys.stdout.write(f"Done; the tables stand in {PAGE.relative_to(ROOT)}\n")
    return done.returncode


def _write_section(name: str, text: str) -> None:
    """Put a table between the page's markers of its name."""
    section = re.compile(rf"(<!-- {name}:begin -->\n).*(<!-- {name}:end -->)", re.DOTALL)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(section.sub(lambda found: found[1] + text + found[2], page), encoding="utf-8")


def _write_digests(name: str, folder: Path) -> None:
    """Write what DVC watches in the place of the data, only if it changed."""
    text = json.dumps({path.name: digest_file(path) for path in sorted(folder.glob("*.parquet"))}, indent=1) + "\n"
    target = RESULTS / "data" / f"{name}.json"
    if not target.exists() or target.read_text() != text:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


if __name__ == "__main__":
    raise SystemExit(main())
