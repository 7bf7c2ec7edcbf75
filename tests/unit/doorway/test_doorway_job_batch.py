"""A sweep's jobs: composed as Hydra composes each, handed to the door at once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from scope_ml.core.report import Report
from scope_ml.doorway.door import Door
from scope_ml.doorway.job_batch import compose_jobs
from scope_ml.stages.train import Train
from scope_ml.taxonomy.classes import packaged_conf_dir


@pytest.fixture(autouse=True)
def _logging_is_left_as_it_was() -> Iterator[None]:
    """Hydra sets up the loggers of the process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers, root.level = handlers, level
    HydraConfig.instance().cfg = None


def composed(jobs: list[list[str]]) -> tuple[list[Any], int]:
    """Return the jobs, and how many of them Hydra composed."""
    with initialize_config_dir(str(packaged_conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("train", ["class=rrlyr"], run_mode=RunMode.MULTIRUN)
        number = 0
        load = loader.load_sweep_config

        def counted(*given: Any) -> Any:
            nonlocal number
            number += 1
            return load(*given)

        loader.load_sweep_config = counted
        return compose_jobs(loader, config, jobs), number


def test_jobs_that_differ_in_the_seed_are_composed_once_and_are_the_same() -> None:
    jobs = [
        [f"class={tag}", f"algorithm={name}", "output=o/${seed}", f"seed={seed}"]
        for tag, name in (("rrlyr", "xgb"), ("ea", "dnn"))
        for seed in (3, 1, "'7'")
    ]
    found, n_composed = composed(jobs)
    for place in (1, 5):
        assert found[place] == composed([jobs[place]])[0][0]
    assert n_composed == 2
    assert [job["output"] for job in found] == ["o/3", "o/1", "o/7"] * 2
    assert [job["seed"] for job in found] == [3, 1, "7"] * 2
    assert [job["class"]["tag"] for job in found] == ["rrlyr"] * 3 + ["ea"] * 3


def test_what_hydra_alone_knows_is_asked_of_it_for_each_job() -> None:
    found, n_composed = composed([["class=ea", "output=o/${hydra:job.num}", f"seed={seed}"] for seed in (1, 2)])
    assert n_composed == 2
    assert [job["output"] for job in found] == ["o/0", "o/1"]


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Door, list[list[Train]]]]:
    """A door like that of `train`, whose stage only notes what it was given."""
    given: list[list[Train]] = []

    def sweep(configs: list[Train], *, progress: Any) -> Report:
        given.append(list(configs))
        return Report(stage="train", n_in=1, n_out=0, dropped={"failed": 1}, facts={"n_failed": 1})

    def run(config: Train, *, progress: Any) -> Report:
        return sweep([config], progress=progress)

    module = ModuleType("stage_of_the_test")
    module.__dict__.update({"Train": Train, "run": run, "sweep": sweep})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    stage = f"{module.__name__}:Train"
    yield Door(name="train", stage=stage, doc="", example="", sweep=f"{module.__name__}:sweep"), given


def test_all_jobs_come_at_once_or_one_by_one_as_asked(door: tuple[Door, list[list[Train]]], tmp_path: Path) -> None:
    opened, given = door
    words = ["-m", "class=rrblz,ea", "seed=range(1,3)", "dataset.path=x"]
    assert opened.open(words) == 1
    (jobs,) = given
    assert [(job.class_spec.tag, job.seed) for job in jobs] == [("rrblz", 1), ("rrblz", 2), ("ea", 1), ("ea", 2)]
    assert len({job.sweep for job in jobs}) == 1
    assert str(jobs[0].sweep).startswith("train-")
    # One folder for the sweep, not one for each job.
    assert len(list((tmp_path / "outputs").rglob("*"))) <= 5
    given.clear()
    assert opened.open(["-m", "class=ea", "seed=1,2", "dataset.path=x", "hydra/launcher=basic"]) == 1
    assert [[job.seed for job in one] for one in given] == [[1], [2]]


def test_one_wrong_job_stops_all_before_the_first(
    door: tuple[Door, list[list[Train]]], capsys: pytest.CaptureFixture[str]
) -> None:
    opened, given = door
    assert opened.open(["-m", "class=rrlyr,eaa", "seed=1,2", "dataset.path=x"]) == 2
    assert "did you mean 'ea'" in capsys.readouterr().err
    assert opened.open(["-m", "class=rrlyr", "seed=1,-2", "dataset.path=x"]) == 2
    assert "seed=-2 is not a whole number of at least 0" in capsys.readouterr().err
    assert given == []
