"""Sweeps shared out by class and algorithm: the same bundles as one machine makes, recorded once, failures named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scope_ml.compute.ledger import Ledger
from scope_ml.compute.settings import ExecutorConfig
from scope_ml.core.configuration import to_plain
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, FormatError, ModelError
from scope_ml.models.bundle import bundle_digest
from scope_ml.stages import sweep_units, train
from scope_ml.stages.distributed_run import collect_run, run_distributed
from scope_ml.stages.distributed_training import TRAINING
from scope_ml.stages.train import Train
from scope_ml.stages.train_sweep import run_sweep
from scope_ml.tracking.resolve import open_view
from scope_ml.tracking.settings import TrackingConfig

Jobs = Callable[..., tuple[Train, ...]]


@pytest.fixture
def jobs(train_values: Callable[..., Train], tmp_path: Path) -> Jobs:
    """Return a function that makes the jobs of a sweep into one folder, as ``-m output=FOLDER`` does."""

    def make(tags: str = "rrlyr,pnp", seeds: tuple[int, ...] = (1, 2), **changes: Any) -> tuple[Train, ...]:
        values = {"output": str(tmp_path / "shared")} | changes
        return tuple(train_values(tag, seed=seed, **values) for tag in tags.split(",") for seed in seeds)

    return make


def shared_out(configs: tuple[Train, ...]) -> Report:
    """Do the shards in this process: what `executor=slurm` and `executor=dask` do elsewhere."""
    return run_distributed("train", configs, progress=NullProgress())


def digests(folder: Path) -> dict[str, str]:
    return {str(path.parent.relative_to(folder)): bundle_digest(path.parent) for path in folder.rglob("bundle.json")}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_shards_make_what_the_sweep_makes(jobs: Jobs, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"tags": "rrlyr,ea,pnp", "ensemble": True}
    alone = run_sweep(jobs(output=str(tmp_path / "alone"), **asked), progress=NullProgress())
    report = shared_out(jobs(**asked))
    assert files(tmp_path / "shared") == files(tmp_path / "alone")
    assert (report.n_in, report.n_out, report.dropped) == (alone.n_in, alone.n_out, alone.dropped)
    assert report.facts["skipped"] == alone.facts["skipped"]
    assert report.facts["n_kept"] == alone.facts["n_trained"] == 6
    assert report.facts["text"] == alone.facts["text"]
    states = Ledger(tmp_path / "shared.run").states(
        [shard.key for shard in TRAINING.shards(jobs(**asked))[0]]
    )  # a class with too few stars is no work
    assert [state.state for state in states.values()] == ["done", "done"]


def test_a_model_that_fails_is_named_as_the_sweep_names_it(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fit: Any = vars(sweep_units)["fit_bundles"]

    def sometimes(data: Any, requests: Any, **given: Any) -> Any:
        found = fit(data, requests, **given)
        bad = [request.labels.spec.tag == "pnp" and request.seed == 2 for request in requests]
        return [ModelError("the loss is; no number") if one else good for one, good in zip(bad, found, strict=True)]

    monkeypatch.setattr(sweep_units, "fit_bundles", sometimes)
    report = shared_out(jobs())
    assert (report.n_out, report.facts["n_failed"]) == (3, 1)
    assert report.facts["failed"] == [
        {"model": "pnp-xgb-seed2", "tag": "pnp", "algorithm": "xgb", "seed": 2, "reason": "the loss is; no number"}
    ]
    monkeypatch.setattr(sweep_units, "fit_bundles", fit)
    before = digests(tmp_path / "shared")
    again = shared_out(jobs())
    assert (again.n_out, again.facts["n_failed"]) == (4, 0)
    assert before.items() <= digests(tmp_path / "shared").items()


def test_collecting_trains_nothing_and_says_what_is_not_there(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shared_out(jobs())
    shards = TRAINING.shards(jobs())[0]
    ledger = Ledger(tmp_path / "shared.run")
    (tmp_path / "shared/pnp/xgb/seed_1/bundle.json").unlink()
    ledger.forget(next(shard.key for shard in shards if shard.key.startswith("pnp/")))

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was trained")

    monkeypatch.setattr(sweep_units, "fit_bundles", never)
    report = collect_run(tmp_path / "shared.run", progress=NullProgress())
    assert (report.n_in, report.n_out) == (4, 3)
    assert [line["reason"] for line in report.facts["failed"]] == ["nobody has trained it yet"]
    again = collect_run(tmp_path / "shared.run", progress=NullProgress())
    assert again.facts == report.facts


def test_what_was_trained_again_on_purpose_is_there(jobs: Jobs) -> None:
    shared_out(jobs("rrlyr", (1,)))
    report = shared_out(jobs("rrlyr", (1,), retrain=True))
    assert (report.n_out, report.facts["n_failed"]) == (1, 0)


def test_all_is_recorded_and_registered_once(jobs: Jobs, tracking: dict[str, Any], tmp_path: Path) -> None:
    configs = jobs("rrlyr", tracking=tracking)
    first = shared_out(configs)
    assert [one["version"] for one in first.facts["registered"]] == [1]
    collect_run(tmp_path / "shared.run", progress=NullProgress())
    view = open_view(TrackingConfig(**tracking))
    assert len(view.versions("scope-rrlyr-xgb")) == 1


def test_further_classes_and_seeds_join_a_run_and_other_settings_are_other_shards(jobs: Jobs) -> None:
    def keys(**changes: Any) -> set[str]:
        return {shard.key for shard in TRAINING.shards(jobs(**({"output": None} | changes)))[0]}

    first = keys()
    assert {key.partition("/")[0] for key in first} == {"rrlyr", "pnp"}
    assert keys(tags="rrlyr") < first
    assert not keys(seeds=(1, 2, 3)) & first
    assert not keys(fit={"n_resamples": 21, "permutation_importance": False}) & first
    assert keys(plots=True) == first
    assert TRAINING.shards(jobs())[0][0].n_sources == 2


def test_the_jobs_go_through_a_plan(jobs: Jobs) -> None:
    configs = jobs(seeds=(3, 1, 2))
    values = json.loads(json.dumps(TRAINING.to_values(configs)))
    assert len(values["jobs"]) == 2
    assert [to_plain(one) for one in TRAINING.from_values(values)] == [to_plain(one) for one in configs]


def test_the_state_lies_beside_the_models(jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert TRAINING.output(jobs()) == tmp_path / "shared"
    one = jobs("rrlyr", output=None) + jobs("pnp", output=None)
    assert TRAINING.output(one) == tmp_path / "outputs/models"
    apart = (*jobs("rrlyr", output="a"), *jobs("pnp", output="b"))
    assert TRAINING.output(apart) == Path("outputs/models")


def test_jobs_of_several_executors_are_refused(jobs: Jobs) -> None:
    configs = jobs(executor={"kind": "slurm"})
    mixed = (configs[0], replace(configs[1], executor=ExecutorConfig()))
    with pytest.raises(ConfigError, match="one executor"):
        run_sweep(mixed, progress=NullProgress())


def test_one_training_is_shared_out_too_and_a_dry_run_shows_the_plan(jobs: Jobs, tmp_path: Path) -> None:
    config = jobs("rrlyr", (1,), executor={"kind": "slurm"}, machine={"workers": 1, "dry_run": True})[0]
    report = train.run(config, progress=NullProgress())
    assert "plan of train: 1 shards (rrlyr xgb (1))" in report.facts["text"]
    assert "Slurm, 1 tasks at a time" in report.facts["text"]
    assert not (tmp_path / "shared").exists()
    assert not (tmp_path / "shared.run").exists()


def test_data_that_cannot_be_read_is_one_error(jobs: Jobs) -> None:
    configs = jobs(dataset={"features": "nowhere.parquet", "labels": "nowhere.parquet"})
    with pytest.raises(FormatError, match=r"nowhere\.parquet"):
        shared_out(configs)
