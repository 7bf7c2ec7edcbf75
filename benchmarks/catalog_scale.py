"""What a catalogue costs: time and memory from 10^4 to 10^7 simulated light curves, as a table, JSON and a plot.

    python benchmarks/catalog_scale.py OUTPUT_FOLDER [10000 100000 1000000 10000000] [--workers 2]

Tables of scores are written as ``infer field=...`` writes them (a quadrant each, 52 classes by two algorithms, with the
spread of the seeds: 208 columns of scores), then ``python -m scope_ml.catalog`` is run on them as a user runs it. Memory is the
largest sum of the resident memory of all of its processes, looked at every tenth of a second; pages that they share
count once for each (RSS) or in shares (PSS). A catalogue of a hundred light curves is made first: what it costs is the start,
which is taken off the others where the cost of a light curve is told. Inputs and catalogue are removed after each size unless
``--keep`` is given.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from scope_ml.core.provenance import TableMetadata
from scope_ml.io.tables import write_table
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir

#: Light curves of the catalogue whose cost is that of the start.
N_START = 100

#: Light curves of a quadrant, and its side [deg]; neighbours overlap a little, as fields do.
OF_QUADRANT, SIDE, STEP = 30_000, 0.85, 0.84

#: Quadrants of a field, and of a row of fields on the sky.
OF_FIELD, IN_ROW = 64, 24

BANDS = np.array(["g", "r", "i"])


def quadrant(number: int, n: int, models: list[str]) -> pa.Table:
    """Return the scores of a quadrant: two to four light curves a star, most with an id of Gaia."""
    rng = np.random.default_rng(number)
    counts = rng.integers(1, 5, n)
    star = np.repeat(np.arange(n), counts)[:n]
    row, column = divmod(number, IN_ROW)
    dec = -25.0 + STEP * row + SIDE * rng.random(n)
    ra = np.mod(350.0 + (STEP * column + SIDE * rng.random(n)) / np.cos(np.radians(-25.0 + STEP * row)), 360.0)
    band = np.arange(n) - np.concatenate([[0], np.cumsum(counts)])[star]
    has_id = rng.random(n) < 0.85
    columns = {
        "id": 10_000_000_000_000 + number * 1_000_000 + np.arange(n),
        "band": pa.array(BANDS[band % 3]),
        "ra": ra[star] + rng.normal(0, 3e-5, n),
        "dec": dec[star] + rng.normal(0, 3e-5, n),
        "field": pa.array(np.full(n, 296 + number // OF_FIELD), pa.int32()),
        "ccd": pa.array(np.full(n, number % OF_FIELD // 4 + 1), pa.int16()),
        "quad": pa.array(np.full(n, number % 4 + 1), pa.int16()),
        "filter": pa.array(band % 3 + 1, pa.int16()),
        "Gaia_EDR3___id": pa.array(10**18 + number * 10**6 + star, mask=~has_id[star]),
        "AllWISE___id": pa.array(10**17 + number * 10**6 + star, mask=(star % 3 > 0)),
        "period": 10 ** rng.uniform(-1.5, 2, n)[star],
        "period_significance": rng.random(n) * 20,
        "n_obs": pa.array(rng.integers(50, 900, n), pa.int32()),
        "median": rng.uniform(14, 20, n),
        "wstd": rng.uniform(0.01, 0.3, n),
        "chi2red": rng.uniform(0.5, 30, n),
    }
    columns["ra"] = np.mod(columns["ra"], 360.0)
    for name in models:
        columns[name] = rng.random(n, dtype=np.float32) ** 4
        columns[f"{name}_spread"] = rng.random(n, dtype=np.float32) * np.float32(0.1)
    return pa.table(columns)


def write_scores(folder: Path, n: int) -> int:
    """Write the tables of `n` light curves; return their bytes."""
    tags = load_classes(packaged_conf_dir()).tags
    models = [f"{tag}_{algorithm}" for tag in tags for algorithm in ("xgb", "dnn")]
    facts = {"models": {name: f"{k:064x}" for k, name in enumerate(models)}, "thresholds": dict.fromkeys(models, 0.7)}
    total = 0
    for number, low in enumerate(range(0, n, OF_QUADRANT)):
        table = quadrant(number, min(OF_QUADRANT, n - low), models)
        field, ccd, quad = 296 + number // OF_FIELD, number % OF_FIELD // 4 + 1, number % 4 + 1
        path = folder / f"field_{field:06d}" / f"ccd_{ccd:02d}_quad_{quad}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(table, path, TableMetadata(kind="predictions", facts=facts))
        total += path.stat().st_size
    return total


class Watch:
    """Looks at the memory of a process and its children until it is told to stop."""

    def __init__(self, pid: int) -> None:
        self.rss = self.pss = self.n_processes = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End looking."""
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.1):
            rss = pss = 0
            pids = family(self._pid)
            for pid in pids:
                try:
                    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                except OSError:
                    continue
                said = {line.split()[0]: int(line.split()[1]) << 10 for line in lines[1:] if len(line.split()) > 1}
                rss, pss = rss + said.get("Rss:", 0), pss + said.get("Pss:", 0)
            self.n_processes = max(self.n_processes, len(pids))
            self.rss, self.pss = max(self.rss, rss), max(self.pss, pss)


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for one in found:
        try:
            children = Path(f"/proc/{one}/task/{one}/children").read_text().split()
        except OSError:
            continue
        found += map(int, children)
    return found


def measure(folder: Path, n: int, workers: int, *, keep: bool) -> dict[str, float]:
    """Return what the catalogue of `n` light curves costs."""
    scores, output = folder / f"scores_{n}", folder / f"catalogue_{n}"
    began = time.monotonic()
    n_bytes = write_scores(scores, n)
    print(f"{n}: {n_bytes / 1e9:.2f} GB of scores in {time.monotonic() - began:.0f} s", flush=True)
    command = [sys.executable, "-m", "scope_ml.catalog", f"predictions={scores}", f"output={output}", "pages=false"]
    command += [f"machine.workers={workers}", f"hydra.run.dir={folder / 'hydra'}"]
    began = time.monotonic()
    with (folder / f"run_{n}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        watch = Watch(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    watch.stop()
    if status:
        sys.exit((folder / f"run_{n}.log").read_text())
    record = json.loads((output / "catalog.json").read_text())
    found = {
        "n_light_curves": n,
        "n_stars": record["n_rows"],
        "n_partitions": record["facts"]["n_partitions"],
        "n_cut": record["facts"]["n_cut"],
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_rss_gib": round(watch.rss / 2**30, 3),
        "peak_pss_gib": round(watch.pss / 2**30, 3),
        "input_gb": round(n_bytes / 1e9, 3),
        "catalogue_gb": round(sum(path.stat().st_size for path in output.rglob("*") if path.is_file()) / 1e9, 3),
        "workers": workers,
    }
    print(json.dumps(found), flush=True)
    if not keep:
        shutil.rmtree(scores)
        shutil.rmtree(output)
    return found


def tell(folder: Path, start: dict[str, float], rows: list[dict[str, float]]) -> None:
    """Write the numbers as JSON and a table, and the plot; `start` is the catalogue of `N_START` light curves."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    (folder / "catalogue_scale.json").write_text(json.dumps([start, *rows], indent=2) + "\n")
    each = [1e6 * (row["cpu_seconds"] - start["cpu_seconds"]) / (row["n_light_curves"] - N_START) for row in rows]
    lines = [
        "| light curves | stars | partitions | time [s] | CPU [s] | CPU of each beyond the start [µs]"
        " | memory, PSS [GiB] | memory, RSS [GiB] | scores [GB] |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {row['n_light_curves']:,} | {row['n_stars']:,} | {row['n_partitions']} | {row['seconds']:.1f} |"
            f" {row['cpu_seconds']:.1f} | {cost:.1f} | {row['peak_pss_gib']:.2f} | {row['peak_rss_gib']:.2f} | {row['input_gb']:.2f} |"
            for row, cost in zip(rows, each, strict=True)
        ),
    ]
    (folder / "catalogue_scale.md").write_text("\n".join(lines) + "\n")
    n = [row["n_light_curves"] for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.semilogx(n, each, "o-", color="#1f5fa8")
    title = f"the start: {start['cpu_seconds']:.1f} s"
    left.set(xlabel="light curves", ylabel="CPU time of each [µs]", ylim=(0, 1.5 * max(each)), title=title)
    right.semilogx(n, [row["peak_pss_gib"] for row in rows], "o-", color="#1f5fa8", label="PSS")
    right.semilogx(n, [row["peak_rss_gib"] for row in rows], "s--", color="#8a8a8a", label="RSS")
    right.axhline(8, color="#b3402a", lw=1, label="8 GiB")
    right.set(xlabel="light curves", ylabel="largest memory [GiB]", ylim=(0, 8.5))
    right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(folder / "catalogue_scale.png", dpi=130)


def main() -> None:
    """Measure the sizes of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sizes", type=int, nargs="*", default=[10**4, 10**5, 10**6, 10**7])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    start = measure(given.folder, N_START, given.workers, keep=False)
    rows = []
    for n in given.sizes:
        rows.append(measure(given.folder, n, given.workers, keep=given.keep))
        tell(given.folder, start, rows)


if __name__ == "__main__":
    main()
