"""Sweeps: many classes and seeds at once, what is kept, what fails and stops nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scope_ml.core.configuration import to_plain
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.errors import BackendUnavailableError, ConfigError, FormatError, ModelError, ServiceError
from scope_ml.models.bundle import ModelBundle, bundle_digest
from scope_ml.models.record import read_record
from scope_ml.stages import sweep_recording, sweep_report, sweep_units, sweep_workers, train_sweep
from scope_ml.stages.sweep_division import units
from scope_ml.stages.sweep_plan import plan
from scope_ml.stages.sweep_units import Order, Outcome, Unit
from scope_ml.stages.train import Train, run
from scope_ml.stages.train_sweep import run_sweep
from scope_ml.stages.training_inputs import TrainingLibrary
from scope_ml.tracking.records import LoggedModel, ModelRecord
from scope_ml.tracking.tracker import NullRun, NullTracker

MakeTrain = Callable[..., Train]


@pytest.fixture
def jobs(train_values: MakeTrain, tmp_path: Path) -> Callable[..., list[Train]]:
    """Return a function that makes the jobs of a sweep, as ``-m class=... seed=...`` does, into a folder of the test's."""

    def make(tags: str = "rrlyr,pnp", seeds: tuple[int, ...] = (1, 2), **changes: Any) -> list[Train]:
        return [
            train_values(tag, seed=seed, **({"output": str(tmp_path / "models" / tag)} | changes))
            for tag in tags.split(",")
            for seed in seeds
        ]

    return make


def sweep(configs: list[Train]) -> Report:
    return run_sweep(configs, progress=NullProgress())


def digests(folder: Path) -> dict[str, str]:
    return {str(path.parent.relative_to(folder)): bundle_digest(path.parent) for path in folder.rglob("bundle.json")}


def counts(report: Report) -> tuple[int, ...]:
    facts = report.facts
    found = facts["n_trained"], facts["n_kept"], facts["n_skipped"], report.dropped.get("failed", 0)
    assert report.n_in == sum(found)
    return found


class Counted(NullProgress):
    def __init__(self) -> None:
        self.total, self.done = 0, 0

    def start(self, what: str, total: int | None = None) -> None:
        self.total = total or 0

    def advance(self, amount: int = 1) -> None:
        self.done += amount


def test_a_sweep_makes_what_single_trainings_make(jobs: Callable[..., list[Train]], tmp_path: Path) -> None:
    progress = Counted()
    report = run_sweep(jobs("rrlyr,ea,pnp"), progress=progress)
    assert counts(report) == (4, 0, 2, 0)
    assert (progress.total, progress.done) == (6, 6)
    assert [item["tag"] for item in report.facts["skipped"]] == ["ea"]
    assert "rrlyr xgb seed" in report.facts["text"]
    swept = digests(tmp_path / "models")
    assert sorted(swept) == ["pnp/seed_1", "pnp/seed_2", "rrlyr/seed_1", "rrlyr/seed_2"]
    for config in jobs("rrlyr,pnp", output=str(tmp_path / "alone")):
        run(config, progress=NullProgress())
        name = f"{config.class_spec.tag}/seed_{config.seed}"
        assert bundle_digest(tmp_path / "alone" / f"seed_{config.seed}") == swept[name]
    assert json.loads((tmp_path / "models/rrlyr/metrics.json").read_text())["n_seeds"] == 2
    assert "too few" in json.loads((tmp_path / "models/ea/metrics.json").read_text())["skipped"]
    # Nothing is trained twice; what is missing is.
    (tmp_path / "models/pnp/seed_2/model.ubj").unlink()
    again = sweep(jobs("rrlyr,ea,pnp"))
    assert counts(again) == (1, 3, 2, 0)
    assert digests(tmp_path / "models") == swept


def test_one_that_fails_stops_no_other_and_is_named(
    jobs: Callable[..., list[Train]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fit = sweep_units.fit_bundles

    def sometimes(data: Any, requests: Any, **given: Any) -> Any:
        found = fit(data, requests, **given)
        bad = [request.labels.spec.tag == "pnp" and request.seed == 2 for request in requests]
        return [ModelError("the loss is not a number") if one else good for one, good in zip(bad, found, strict=True)]

    monkeypatch.setattr(sweep_units, "fit_bundles", sometimes)
    report = sweep(jobs())
    assert counts(report) == (3, 0, 0, 1)
    assert report.facts["n_failed"] == 1
    (failed,) = report.facts["failed"]
    assert failed == {
        "model": "pnp-xgb-seed2", "tag": "pnp", "algorithm": "xgb", "seed": 2, "reason": "the loss is not a number"
    }  # fmt: skip
    assert "failed: pnp-xgb-seed2: the loss is not a number" in report.warnings
    assert json.loads((tmp_path / "models/pnp/report.json").read_text())["dropped"] == {"failed": 1}
    monkeypatch.setattr(sweep_units, "fit_bundles", fit)
    assert counts(sweep(jobs())) == (1, 3, 0, 0)


def test_out_of_memory_is_named(jobs: Callable[..., list[Train]], monkeypatch: pytest.MonkeyPatch) -> None:
    save = ModelBundle.save

    def full(self: ModelBundle, folder: Path) -> ModelBundle:
        if self.record.seed == 2:
            raise MemoryError("no room for 3 GB")
        return save(self, folder)

    monkeypatch.setattr(ModelBundle, "save", full)
    report = sweep(jobs("rrlyr"))
    assert counts(report) == (1, 0, 0, 1)
    assert "out of memory" in report.facts["failed"][0]["reason"]


class Broken(NullTracker):
    """A tracker whose runs of some models fail, the first few times or always."""

    def __init__(self, fails: Callable[[str], bool]) -> None:
        self.fails = fails
        self.registered: list[str] = []
        self.logged_runs: list[str] = []
        self.status = ""

    @contextmanager
    def run(self, name: str, key: str, *, began: int | None = None) -> Iterator[Any]:
        if self.fails(name):
            raise ServiceError("the database is locked")
        self.logged_runs.append(name)
        yield Run()

    def registry(self) -> Any:
        return self

    def register(self, record: ModelRecord, model: LoggedModel, policy: str) -> Any:
        self.registered.append(record.name)
        raise ServiceError("the registry is down")

    def close(self, status: str = "FINISHED") -> None:
        self.status = status


class Run(NullRun):
    def model(self, record: ModelRecord) -> LoggedModel:
        return LoggedModel(model_id=record.digest, run_id="run")


@pytest.mark.parametrize("is_forever", [False, True])
def test_a_database_that_is_down_fails_models_by_name_and_trains_on(
    jobs: Callable[..., list[Train]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_forever: bool
) -> None:
    asked: list[str] = []

    def fails(name: str) -> bool:
        asked.append(name)
        return is_forever or len(asked) <= 3

    tracker = Broken(fails)
    monkeypatch.setattr(sweep_recording, "open_tracker", lambda config: tracker)
    report = sweep(jobs(seeds=(1, 2, 3), tracking={"uri": "sqlite:///no.db"}))
    assert len(digests(tmp_path / "models")) == 6
    named = [line["model"] for line in report.facts["failed"]]
    assert tracker.status == "FINISHED"
    if is_forever:
        # After three in a row it is left in peace, and asked three times more at the end.
        assert len(asked) == 6
        assert counts(report) == (0, 0, 0, 6)
        assert {"rrlyr-xgb-seed1", "pnp-xgb-seed3"} < set(named)
        assert all("the database is locked" in line["reason"] for line in report.facts["failed"])
        assert tracker.registered == []
    else:
        assert counts(report) == (6, 0, 0, 0)
        assert tracker.registered == ["scope-rrlyr-xgb", "scope-pnp-xgb"]
        assert named == ["registering rrlyr-xgb", "registering pnp-xgb"]
        assert report.facts["n_failed"] == 2


def test_an_interrupted_sweep_ends_its_parent_run(
    jobs: Callable[..., list[Train]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Broken(lambda name: False)
    monkeypatch.setattr(sweep_recording, "open_tracker", lambda config: tracker)

    def interrupted(*given: Any, **further: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep_units, "fit_bundles", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(jobs(tracking={"uri": "sqlite:///no.db"}))
    assert tracker.status == "KILLED"


def test_seeds_together_are_one_more_model(jobs: Callable[..., list[Train]], tmp_path: Path) -> None:
    report = sweep(jobs("rrlyr,ea", ensemble=True))
    assert counts(report) == (3, 0, 3, 0)
    known = read_record(tmp_path / "models/rrlyr/ensemble")
    assert (known.seed, known.members) == (None, (1, 2))
    assert json.loads((tmp_path / "models/rrlyr/metrics.json").read_text())["ensemble"]["n_members"] == 2
    progress = Counted()
    again = run_sweep(jobs("rrlyr,ea", ensemble=True), progress=progress)
    assert counts(again) == (0, 3, 3, 0)
    assert (progress.total, progress.done) == (6, 6)
    more = sweep(jobs("rrlyr", seeds=(1, 2, 3), ensemble=True))
    assert counts(more) == (2, 2, 0, 0)
    assert read_record(tmp_path / "models/rrlyr/ensemble").members == (1, 2, 3)


class Keeping(Broken):
    """A tracker whose registry takes everything."""

    def register(self, record: ModelRecord, model: LoggedModel, policy: str) -> Any:
        self.registered.append(f"{record.run_name} {policy}")
        version = SimpleNamespace(name=record.run_name, version=len(self.registered))
        return SimpleNamespace(version=version, decision=SimpleNamespace(alias="champion", reason="so"), is_new=True)


@pytest.mark.parametrize(
    ("place", "registered", "said"),
    [
        (0, ["rrlyr-xgb-seed1 compare", "rrlyr-xgb-ensemble never"], "rrlyr xgb seed 1"),
        (-1, ["rrlyr-xgb-ensemble compare"], "rrlyr xgb ensemble of 2"),
    ],
)
def test_an_ensemble_has_a_version_and_the_line_tells_of_what_was_registered(
    jobs: Callable[..., list[Train]], monkeypatch: pytest.MonkeyPatch, place: int, registered: list[str], said: str
) -> None:
    tracker = Keeping(lambda name: False)
    monkeypatch.setattr(sweep_recording, "open_tracker", lambda config: tracker)
    for room in (sweep_recording, sweep_report):
        monkeypatch.setattr(room, "best_seed", lambda records: records[place])
    report = sweep(jobs("rrlyr", ensemble=True, tracking={"uri": "sqlite:///no.db"}))
    assert tracker.registered == registered
    assert report.facts["text"].startswith(said)
    assert registered[0].split()[0] in report.facts["text"]


def test_swept_settings_have_folders_of_their_own(jobs: Callable[..., list[Train]], tmp_path: Path) -> None:
    shallow = {"name": "xgb", "n_rounds": 5, "max_depth": 2}
    both = [*jobs("rrlyr", (1,)), *jobs("rrlyr", (1,), algorithm=shallow)]
    assert counts(sweep(both)) == (2, 0, 0, 0)
    folders = sorted(digests(tmp_path / "models/rrlyr"))
    assert len(folders) == 2
    assert {read_record(tmp_path / "models/rrlyr" / folder).algorithm.max_depth for folder in folders} == {2, 3}
    # One output for two classes: each has its own in it.
    sweep(jobs("rrlyr,pnp", (1,), output=str(tmp_path / "one")))
    assert sorted(digests(tmp_path / "one")) == ["pnp/xgb/seed_1", "rrlyr/xgb/seed_1"]


def test_a_training_starts_from_a_model_and_says_so(jobs: Callable[..., list[Train]], tmp_path: Path) -> None:
    sweep(jobs("rrlyr,pnp", (1,)))
    first = str(tmp_path / "models" / "{tag}" / "seed_1")
    onward = jobs("rrlyr,pnp", (1,), output=str(tmp_path / "onward"), init_from=first)
    assert counts(sweep(onward)) == (2, 0, 0, 0)
    old, new = (read_record(path) for path in (tmp_path / "models/rrlyr/seed_1", tmp_path / "onward/rrlyr/xgb/seed_1"))
    assert new.provenance.config_digest != old.provenance.config_digest
    assert new.model_facts["started_from"] == bundle_digest(tmp_path / "models/rrlyr/seed_1")
    assert new.model_facts["n_trees"] > old.model_facts["n_trees"]
    assert counts(sweep(onward)) == (0, 2, 0, 0)
    # A start that is not there fails its own class alone; where no class has one, the command is wrong.
    some = jobs("rrlyr", (1,), init_from=first, output=str(tmp_path / "x"))
    report = sweep([*some, *jobs("pnp", (1,), init_from=str(tmp_path / "nothing"))])
    assert counts(report) == (1, 0, 0, 1)
    assert "nothing holds no model bundle" in report.facts["failed"][0]["reason"]
    with pytest.raises(ModelError, match="nothing holds no model bundle"):
        sweep(jobs("rrlyr", (1,), init_from=str(tmp_path / "nothing")))
    for wrong in ("models:/nothing", "{class}/x"):
        with pytest.raises(ConfigError, match="init_from="):
            sweep(jobs("rrlyr", (1,), init_from=wrong))


def test_a_start_that_this_very_training_made_is_not_trained_on(
    jobs: Callable[..., list[Train]], tmp_path: Path
) -> None:
    sweep(jobs("rrlyr", (1,)))
    # What an alias does: it is another model once the training has registered its own.
    alias = tmp_path / "champion"
    alias.symlink_to(tmp_path / "models/rrlyr/seed_1")
    onward = jobs("rrlyr", (1, 2), output=str(tmp_path / "onward"), init_from=str(alias), ensemble=True)
    assert counts(sweep(onward)) == (3, 0, 0, 0)
    made = digests(tmp_path / "onward")
    for champion in ("seed_2", "ensemble"):
        alias.unlink()
        alias.symlink_to(tmp_path / "onward" / champion)
        assert counts(sweep(onward)) == (0, 3, 0, 0)
    assert digests(tmp_path / "onward") == made
    # A model that somebody else made since is trained on.
    alias.unlink()
    alias.symlink_to(bundle_of_another := tmp_path / "models/rrlyr/seed_3")
    sweep(jobs("rrlyr", (3,)))
    assert counts(sweep(onward)) == (3, 0, 0, 0)
    started_from = read_record(tmp_path / "onward/seed_1").model_facts["started_from"]
    assert started_from == bundle_digest(bundle_of_another)


def test_a_start_elsewhere_is_refused_without_its_address(jobs: Callable[..., list[Train]]) -> None:
    with pytest.raises(ConfigError, match="init_from is the address") as error:
        sweep(jobs("rrlyr", (1,), init_from="https://ann:hunter2@mlflow.example.org/model"))
    assert "hunter2" not in str(error.value)


def test_jobs_that_would_make_the_same_models_make_them_once(jobs: Callable[..., list[Train]]) -> None:
    own = jobs("rrlyr", (1, 2))
    (group,) = planned([*own, *jobs("rrlyr", (2, 3), feature_set={"name": own[0].class_spec.feature_set})])
    assert [(model.seed, model.folder.name) for model in group.everything] == [
        (1, "seed_1"), (2, "seed_2"), (3, "seed_3")
    ]  # fmt: skip


def test_a_device_that_is_not_there_fails_each_model_once(
    jobs: Callable[..., list[Train]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(data: Any, requests: Any, **given: Any) -> Any:
        raise BackendUnavailableError("no GPU was found here; set machine.device=cpu")

    monkeypatch.setattr(sweep_units, "fit_bundles", nothing)
    report = sweep(jobs("rrlyr,pnp"))
    assert counts(report) == (0, 0, 0, 4)
    assert {line["reason"] for line in report.facts["failed"]} == {"no GPU was found here; set machine.device=cpu"}
    with pytest.raises(BackendUnavailableError, match="no GPU"):
        run(jobs("rrlyr", (1,))[0], progress=NullProgress())


def test_classes_trained_together_depend_on_what_all_of_them_are(jobs: Callable[..., list[Train]]) -> None:
    shared = {"algorithm": {"name": "dnn_shared"}, "feature_set": {"name": "ontological"}}
    first, other = jobs("rrlyr,pnp", (1,), **shared)
    changed = replace(other, class_spec=replace(other.class_spec, balance=1.0))
    assert planned([first, other])[0].provenance != planned([first, changed])[0].provenance


def test_what_stops_all_is_one_line_and_leaves_nothing(jobs: Callable[..., list[Train]], tmp_path: Path) -> None:
    nowhere = jobs(dataset={"features": "missing.parquet", "labels": "missing.parquet"})
    with pytest.raises(FormatError, match=r"missing\.parquet"):
        sweep(nowhere)
    assert not (tmp_path / "models").exists()
    with pytest.raises(ConfigError, match="did you mean 'max_depth'"):
        sweep([*jobs("rrlyr"), *jobs("pnp", algorithm={"name": "xgb", "max_dept": 3})])
    assert not (tmp_path / "models").exists()
    with pytest.raises(ConfigError, match="nothing to train"):
        sweep([])
    other = jobs("pnp", tracking={"enabled": False, "experiment": "other"})
    with pytest.raises(ConfigError, match="one place"):
        sweep([*jobs("rrlyr"), *other])


def test_a_dry_run_keeps_nothing(jobs: Callable[..., list[Train]], tmp_path: Path) -> None:
    report = sweep(jobs(machine={"workers": 1, "dry_run": True}))
    assert counts(report) == (4, 0, 0, 0)
    assert "dry run" in report.warnings[-1]
    assert not (tmp_path / "models").exists()


def planned(configs: list[Train]) -> list[Any]:
    return plan(configs, TrainingLibrary(), writable=lambda folder: None)


def test_units_are_what_is_trained_in_one_go(jobs: Callable[..., list[Train]]) -> None:
    trees = planned(jobs("rrlyr,pnp", (1, 2, 3, 4)))
    assert [len(unit.orders) for unit in units(trees, n_workers=2, device="cpu")] == [4, 4]
    assert [len(unit.orders) for unit in units(trees, n_workers=8, device="gpu")] == [1] * 8
    same = {"feature_set": {"name": "ontological"}}
    networks = planned(jobs("rrlyr,pnp", (1, 2, 3), algorithm={"name": "dnn"}, **same))
    assert [len(unit.orders) for unit in units(networks, n_workers=2, device="cpu")] == [1] * 6
    assert [len(u.orders) for u in units(networks, n_workers=1, n_threads=2, device="cpu")] == [2, 1, 2, 1]
    batches = units(networks, n_workers=2, device="gpu")
    assert [(len(batch.orders), batch.device, batch.is_joint) for batch in batches] == [(3, "gpu", False)] * 2
    shared = planned(jobs("rrlyr,ea,pnp", (1, 2), algorithm={"name": "dnn_shared"}, **same))
    joint = units(shared, n_workers=2, device="cpu")
    assert [[order.spec.tag for order in unit.orders] for unit in joint] == [["rrlyr", "pnp"]] * 2
    assert all(unit.is_joint and unit.divided() == [Unit(**(vars(unit) | {"is_alone": True}))] for unit in joint)
    alone = planned(jobs("rrlyr", (1, 2), algorithm={"name": "dnn_shared"}, **same))
    assert alone[0].provenance.config_digest != shared[0].provenance.config_digest


def test_a_unit_comes_back_from_json_as_it_was(jobs: Callable[..., list[Train]]) -> None:
    (unit,) = units(planned(jobs("rrlyr")), n_workers=1, device="cpu")
    assert Unit.from_json(unit.to_json()) == unit
    assert isinstance(unit.orders[0], Order)
    outcome = Outcome(number=3, state="failed", reason="why", began=1, ended=2, log=(({"loss": 0.5}, 0, 7),))
    assert Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome


#: A worker that is killed whenever it is to train seed 2 of pnp, as one that runs out of memory is.
DYING = (
    "import json, os, signal, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from scope_ml.stages import sweep_units;"
    "fit = sweep_units.fit_bundles;"
    "bad = lambda rs: any((r.labels.spec.tag, r.seed) == ('pnp', 2) for r in rs);"
    "sweep_units.fit_bundles = lambda d, rs, **k: os.kill(os.getpid(), signal.SIGKILL) if bad(rs) else fit(d, rs, **k);"
    "from scope_ml.stages.sweep_worker import main; main(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))"
)


@pytest.mark.slow  # four processes that import everything; the crew itself is tested in test_stage_sweep_workers
def test_a_worker_that_dies_costs_one_model(
    jobs: Callable[..., list[Train]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configs = jobs(seeds=(1, 2, 3), machine={"workers": 2})
    monkeypatch.setattr(sweep_workers, "PROGRAM", DYING)
    report = sweep(configs)
    assert counts(report) == (5, 0, 0, 1)
    (failed,) = report.facts["failed"]
    assert failed["model"] == "pnp-xgb-seed2"
    assert "ended by SIGKILL" in failed["reason"]
    assert failed["reason"].endswith("twice")
    monkeypatch.setattr(train_sweep, "WORTH_WORKERS", 100)
    assert counts(sweep(configs)) == (1, 5, 0, 0)
    # Workers and this process make the same bundles.
    here = jobs(seeds=(1,), output=str(tmp_path / "here"))
    sweep(here)
    assert digests(tmp_path / "here")["pnp/xgb/seed_1"] == digests(tmp_path / "models")["pnp/seed_1"]


@pytest.mark.slow  # starts the command twice, with MLflow and workers
def test_a_killed_sweep_goes_on_where_it_was(
    training_tables: tuple[Path, Path], jobs: Callable[..., list[Train]], tmp_path: Path
) -> None:
    import subprocess
    import sys
    import time

    database = f"sqlite:///{tmp_path}/mlflow.db"
    configs = jobs(
        seeds=tuple(range(12)),
        machine={"workers": 2},
        tracking={"uri": database},
        algorithm={"name": "xgb", "n_rounds": 60},
    )
    program = (
        "import json, sys\n"
        "from scope_ml.core.configuration import build\n"
        "from scope_ml.core.protocols import NullProgress\n"
        "from scope_ml.stages.train_sweep import Train, run_sweep\n"
        "run_sweep([build(Train, one) for one in json.loads(sys.argv[1])], progress=NullProgress())\n"
    )
    command = [sys.executable, "-c", program, json.dumps([to_plain(config) for config in configs])]
    process = subprocess.Popen(command)
    end = time.monotonic() + 120
    while not digests(tmp_path) and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    whole = digests(tmp_path)
    assert whole
    report = sweep(configs)
    assert report.n_out == 24
    assert report.facts["n_kept"] >= len(whole)
    assert {name: digests(tmp_path)[name] for name in whole} == whole
    assert not list(tmp_path.rglob(".*tmp"))
    assert len(report.facts["registered"]) == 2
