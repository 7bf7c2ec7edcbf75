"""The crew of a sweep: worker processes that die, and what becomes of their work; the workers here are a few lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from scope_ml.errors import JobError
from scope_ml.models.algorithms import configure
from scope_ml.models.fit import FitConfig
from scope_ml.models.record import Provenance
from scope_ml.stages import sweep_workers
from scope_ml.stages.sweep_units import Order, Outcome, Unit
from scope_ml.stages.sweep_workers import Workers, open_workers
from scope_ml.taxonomy.classes import ClassSpec

#: Answers each unit; dies of seed 13, always, and of seed 7 where others are in the unit; notes who works when.
STUB = """
import json, os, signal, sys
from multiprocessing.connection import Connection
pipe = Connection(int(sys.argv[2]))
pipe.send_bytes(b"ready")
while True:
    unit = json.loads(pipe.recv_bytes())
    seeds = [order["seed"] for order in unit["orders"]]
    with open(sys.argv[3] + "/log", "a") as stream:
        stream.write(f"{unit['device']} {unit['is_alone']} {seeds}\\n")
    if 13 in seeds or (7 in seeds and len(seeds) > 1):
        os.kill(os.getpid(), signal.SIGKILL)
    made = [{"number": o["number"], "state": "made", "reason": "", "began": 1, "ended": 2, "log": []} for o in unit["orders"]]
    pipe.send_bytes(json.dumps(made).encode())
"""


def unit(*seeds: int, **changes: object) -> Unit:
    """A unit of models whose number is their seed."""
    spec = ClassSpec(tag="ea", label="EA", kind="phenomenological")
    made = Provenance(code_version="1", git_commit="1", code_digest="1")
    orders = tuple(
        Order(number=s, spec=spec, settings=configure({"name": "xgb"}), provenance=made, folder=Path("x"), seed=s)
        for s in seeds
    )
    return Unit(prepared="p", fit=FitConfig(), orders=orders, **changes)  # type: ignore[arg-type]


def work_off(workers: Workers) -> dict[int, Outcome]:
    found = {}
    while not workers.is_idle:
        for outcome in workers.outcomes():
            assert outcome.number not in found, "each model has one outcome"
            found[outcome.number] = outcome
    return found


@pytest.fixture(autouse=True)
def _stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_workers, "PROGRAM", STUB)


def test_a_unit_whose_worker_died_is_tried_model_by_model_and_alone(tmp_path: Path) -> None:
    with open_workers(tmp_path, 2) as workers:
        for one in (unit(1, 2), unit(6, 7), unit(12, 13), unit(3), unit(4)):
            workers.submit(one)
        found = work_off(workers)
    assert {seed: outcome.state for seed, outcome in found.items()} == {
        **dict.fromkeys((1, 2, 3, 4, 6, 7, 12), "made"), 13: "lost"
    }  # fmt: skip
    assert "SIGKILL; the memory may have run out, twice" in found[13].reason
    log = (tmp_path / "log").read_text().splitlines()
    # Second tries come last, one model each.
    assert sorted(log[-4:]) == [f"cpu True [{seed}]" for seed in (12, 13, 6, 7)]
    assert all(line.startswith("cpu False") for line in log[:-4])


def test_joint_models_are_not_divided(tmp_path: Path) -> None:
    with open_workers(tmp_path, 2) as workers:
        workers.submit(unit(12, 13, is_joint=True))
        found = work_off(workers)
    assert {outcome.state for outcome in found.values()} == {"lost"}
    assert (tmp_path / "log").read_text().splitlines() == ["cpu False [12, 13]", "cpu True [12, 13]"]


def test_what_is_long_comes_first(tmp_path: Path) -> None:
    with open_workers(tmp_path, 1) as workers:
        for cost, seed in ((1.0, 1), (3.0, 2), (2.0, 3)):
            workers.submit(unit(seed, cost=cost))
        work_off(workers)
    # The first is given away as soon as it is there.
    assert [line[-2] for line in (tmp_path / "log").read_text().splitlines()] == ["1", "2", "3"]


def test_all_processes_end_with_the_block(tmp_path: Path) -> None:
    with open_workers(tmp_path, 2) as workers:
        workers.submit(unit(1))
        processes = [worker.process for worker in workers._workers]
    assert all(process.returncode is not None for process in processes)


def test_workers_that_cannot_start_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_workers, "PROGRAM", "raise SystemExit('no such module')")
    with open_workers(tmp_path, 2) as workers, pytest.raises(JobError, match=r"could not start: .*no such module"):
        workers.submit(unit(1))
        work_off(workers)
