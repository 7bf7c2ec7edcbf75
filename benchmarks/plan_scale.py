"""How long a plan of all of ZTF's quadrants takes: to write, show, submit and track; the queue is a stand-in for Slurm's.

    python benchmarks/plan_scale.py 74000 [folder]

Prints a Markdown table, one row a command, for 1,000 shards and for as many as are asked for.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scope_ml.compute.ledger import BEGUN, DONE, FAILED
from scope_ml.compute.plan import Shard, WorkPlan, open_plan, read_plan
from scope_ml.compute.settings import ClusterConfig, ExecutorConfig
from scope_ml.compute.slurm_submission import submit
from scope_ml.compute.slurm_tracking import track
from scope_ml.stages.slurm_status import status_of
from scope_ml.testing.slurm import FakeSlurm

#: Of the shards, how many are done, failed and lost when the run is tracked.
DONE_SHARE, FAILED_SHARE, LOST_SHARE = 0.6, 0.02, 0.01

#: Light curves of a quadrant: 2.1 billion in 74,000.
N_SOURCES = 28_000


def made_plan(folder: Path, n: int) -> WorkPlan:
    quadrants = ((296 + i // 64, 1 + i % 64 // 4, 1 + i % 4) for i in range(n))
    shards = tuple(
        Shard(
            key=f"field_{field:06d}/ccd_{ccd:02d}_quad_{quad}",
            title=f"field {field} ccd {ccd} quad {quad}",
            n_sources=N_SOURCES,
            payload={"field": field, "ccd": ccd, "quad": quad},
        )
        for field, ccd, quad in quadrants
    )
    return WorkPlan(folder=folder, door="generate_features", config={}, identity={"config": "x"}, shards=shards)


def written_ledger(plan: WorkPlan) -> None:
    """Write what tasks would have, without waiting for the disk each time as they do."""
    n = len(plan)
    n_done, n_failed, n_lost = (int(n * share) for share in (DONE_SHARE, FAILED_SHARE, LOST_SHARE))
    counts = {"n_in": N_SOURCES, "n_out": N_SOURCES, "dropped": {}, "facts": {}, "n_finished": 1}
    done = {"stage": "generate_features", **counts, "seconds": 9.0, "seconds_of_task": 9.0, "time": 1.0}
    for index, shard in enumerate(plan.shards[: n_done + n_failed + n_lost]):
        begun = {"host": "n", "pid": 1, "job": f"{100 + index // 1000}_{index % 1000}", "time": 1.0, "n_attempts": 1}
        noted = {BEGUN: begun}
        if index < n_done:
            noted[DONE] = done
        elif index < n_done + n_failed:
            noted[FAILED] = {"error": f"quadrant {index} is broken", "kind": "DataError", "time": 1.0}
        for what, values in noted.items():
            path = plan.folder / what / f"{shard.key}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measured(folder: Path, n: int) -> dict[str, float]:
    slurm = FakeSlurm(folder / "slurm")
    os.environ["PATH"] = slurm.path
    executor = ExecutorConfig(kind="slurm", cluster=ClusterConfig(max_array_size=1000))
    plan = made_plan(folder / "features.run", n)
    seconds = {"write the plan": timed(lambda: open_plan(plan)), "read it": timed(lambda: read_plan(plan.folder))}
    seconds["show"] = timed(lambda: submit(plan, executor, really=False))
    seconds["submit"] = timed(lambda: submit(plan, executor))
    seconds["status, all waiting"] = timed(lambda: status_of(plan, executor))
    written_ledger(plan)
    n_over = int(n * (DONE_SHARE + FAILED_SHARE + LOST_SHARE))
    gone = {f"{100 + index // 1000}_{index % 1000}": "" for index in range(n_over)}
    slurm.states(gone)
    seconds["status, 60 % done, 3 % failed or lost"] = timed(lambda: print(status_of(plan, executor).text()))
    counts = track(plan, why=False).counts()
    assert sum(counts.values()) == n
    assert counts["lost"] == int(n * LOST_SHARE)
    assert counts["running"] == 0
    seconds["resubmit"] = timed(lambda: submit(plan, executor))
    return seconds


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 74_000
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as top:
        columns = {size: measured(Path(top) / str(size), size) for size in sorted({min(1000, n), n})}
    print("\n| | " + " | ".join(f"{size:,} shards" for size in columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for name in next(iter(columns.values())):
        print(f"| {name} | " + " | ".join(f"{rows[name]:.2f} s" for rows in columns.values()) + " |")


if __name__ == "__main__":
    main()
