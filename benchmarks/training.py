"""How long a sweep over classes and seeds takes, beside one process per model; the table in docs/benchmarks.md.

    python -m benchmarks.training --dataset results/dataset [--classes all] [--seeds 10] [--quick] [--dmdt] [--write]

Ours is the whole command ``python -m scope_ml.train -m ...`` with tracking in a database file. The old way
(`benchmarks.training_peer`) is timed on 3 classes x 2 seeds, between two runs of ours where there are two, and multiplied by
the number of models that ours trained: for all of them it would run for hours. Both run with compiled Python files in place.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.period_sources import machine
from scope_ml.core.configuration import to_plain
from scope_ml.datasets.assemble import DatasetConfig, load_dataset
from scope_ml.features.registry import feature_set
from scope_ml.models.algorithms import configure, settle
from scope_ml.stages.training_inputs import period_method
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir

ROOT = Path(__file__).resolve().parents[1]

PAGE, BEGIN, END = ROOT / "docs" / "benchmarks.md", "<!-- training:begin -->", "<!-- training:end -->"

#: Classes and seeds that the old way is timed on.
PEER_CLASSES, PEER_SEEDS = 3, 2

#: Fewest positives of a class in training that is worth naming for the old way.
LEAST = 30

GOAL = 10.0

HEADER = """\
| models | trained | ours [s] | ours, CPU [s] | a model, old way [s] | its CPU [s] | old way, all [s] | ratio | of CPU | goal 10 |
|---|--:|--:|--:|--:|--:|--:|--:|--:|---|
"""


@dataclass(frozen=True)
class Timed:
    """Wall-clock and CPU time [s] of a command."""

    wall: float
    cpu: float
    output: str


def run(command: list[str], folder: Path) -> Timed:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Timed(wall, cpu, done.stdout)


def ours(given: argparse.Namespace, algorithm: str, folder: Path, classes: str, seeds: int) -> tuple[Timed, int]:
    """Run our sweep and return its times and the number of models it made."""
    command = [sys.executable, "-m", "scope_ml.train", "-m", f"class={classes}", f"seed=range(1,{seeds + 1})"]
    command += [f"algorithm={algorithm}", f"dataset.path={given.dataset}", f"tracking.uri=sqlite:///{folder}/mlflow.db"]
    command += [f"algorithm.dmdt_branch={str(given.dmdt).lower()}"] if algorithm == "dnn" else []
    timed = run(command, folder)
    return timed, len(list((folder / "outputs").rglob("bundle.json")))


def old_way(given: argparse.Namespace, algorithm: str, folder: Path, tags: list[str]) -> list[Timed]:
    """Train some models one process each, one after the other."""
    taxonomy = load_classes(packaged_conf_dir())
    built, _ = load_dataset(DatasetConfig(path=str(given.dataset)), taxonomy)
    times = []
    for tag in tags:
        spec = taxonomy[tag]
        names = feature_set(spec.feature_set, period_method(built.facts), built.table.column_names)
        settings = to_plain(settle(configure({"name": algorithm}), spec))
        settings |= {"features": list(names), "balance": spec.balance}
        for seed in range(1, PEER_SEEDS + 1):
            command = [
                sys.executable,
                str(ROOT / "benchmarks" / "training_peer.py"),
                str(given.dataset),
                tag,
                algorithm,
            ]
            command += [str(seed), str(folder / f"{tag}-{seed}"), "--settings", json.dumps(settings)]
            command += ["--dmdt"] if given.dmdt and algorithm == "dnn" else []
            times.append(run(command, folder))
            print(f"  {tag} {algorithm} seed {seed}: {times[-1].wall:.1f} s {times[-1].output.strip()}", flush=True)
    return times


def peers_of(dataset: Path) -> list[str]:
    """Return a small, a middling and a large class."""
    taxonomy = load_classes(packaged_conf_dir())
    built, division = load_dataset(DatasetConfig(path=str(dataset)), taxonomy)
    training = division.part == 0
    counts: list[tuple[int, str]] = []
    for tag in taxonomy.tags:
        y, known = built.column(tag)
        counts.append((int(((y == 1) & known & training).sum()), tag))
    enough = sorted(pair for pair in counts if pair[0] >= LEAST)
    places = [len(enough) // 6, len(enough) // 2, 5 * len(enough) // 6]
    return [enough[place][1] for place in places][:PEER_CLASSES]


def line(given: argparse.Namespace, algorithm: str) -> str:
    """Time one algorithm both ways and return its line of the table."""
    name = algorithm + (", with dm-dt" if given.dmdt and algorithm == "dnn" else "")
    tags = given.peers.split(",") if given.peers else peers_of(given.dataset)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for part in ("warm", "peer", "ours"):
            (folder / part).mkdir()
        # Compiled code and Python files are made once for ever, not by every sweep.
        ours(given, algorithm, folder / "warm", tags[0], 1)
        times = old_way(given, algorithm, folder / "peer", tags)
        mine, n_models = ours(given, algorithm, folder / "ours", given.classes, given.seeds)
    wall, cpu = statistics.mean(timed.wall for timed in times), statistics.mean(timed.cpu for timed in times)
    ratio, of_cpu = wall * n_models / mine.wall, cpu * n_models / mine.cpu
    print(
        f"{name}: {n_models} models in {mine.wall:.0f} s; one process each {wall:.1f} s: ratio {ratio:.1f}", flush=True
    )
    cells = [name, str(n_models), f"{mine.wall:.0f}", f"{mine.cpu:.0f}", f"{wall:.1f}", f"{cpu:.1f}"]
    cells += [f"{wall * n_models:.0f}", f"{ratio:.1f}", f"{of_cpu:.1f}", "met" if ratio >= GOAL else "**not met**"]
    return f"| {' | '.join(cells)} |\n"


def text(given: argparse.Namespace, lines: list[str]) -> str:
    return (
        f"All classes of `class={given.classes}` with enough positives x {given.seeds} seeds, {machine()}. Ours: the whole"
        " command, from the shell to the last registered champion. The old way: one process per model, timed on"
        f" {PEER_CLASSES} classes x {PEER_SEEDS} seeds and multiplied by the number of models. On a machine that others use"
        f" too the ratio of CPU times says more: two workers need half of ours.\n\n{HEADER}{''.join(lines)}"
    )


def write(block: str) -> None:
    """Put the table between its markers."""
    page = PAGE.read_text()
    if BEGIN not in page:
        page += f"\n## Training sweeps\n\n{BEGIN}\n{END}\n"
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{block}{END}{rest.partition(END)[2]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True, help="folder of build_dataset")
    parser.add_argument("--classes", default="all", help="as class=... of the sweep")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--algorithms", default="xgb,dnn")
    parser.add_argument(
        "--peers", default="", help="classes for the old way; default: a small, a middling, a large one"
    )
    parser.add_argument("--dmdt", action="store_true", help="time networks with the dm-dt branch too")
    parser.add_argument("--quick", action="store_true", help="6 classes x 2 seeds: to see that it runs")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    given = parser.parse_args()
    given.dataset = given.dataset.resolve()
    if given.quick:
        given.classes, given.seeds = "rrlyr,ea,ew,lpv,e,dscu", 2
    with_dmdt, lines = given.dmdt, []
    for algorithm in given.algorithms.split(","):
        given.dmdt = False
        lines.append(line(given, algorithm))
        if with_dmdt and algorithm == "dnn":
            given.dmdt = True
            lines.append(line(given, algorithm))
    block = text(given, lines)
    print(block)
    if given.write:
        write(block)


if __name__ == "__main__":
    main()
