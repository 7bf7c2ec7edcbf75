"""Registering bundles: champions, the lock file, doing nothing twice, coming back from a deleted database."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.errors import ModelError, ModelNotFoundError, OutputError
from scope_ml.models.bundle import bundle_digest
from scope_ml.stages import register as stage
from scope_ml.stages.register import Register, run
from scope_ml.stages.train import Train
from scope_ml.stages.train import run as run_train
from scope_ml.tracking.lock import read_lock
from scope_ml.tracking.registry import Registry
from scope_ml.tracking.settings import TrackingConfig


@pytest.fixture(scope="module")
def trained(train_values: Callable[..., Train], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the bundles of two classes, two seeds each, and a class that was skipped."""
    folder = tmp_path_factory.mktemp("trained")
    for tag in ("rrlyr", "pnp", "ea"):
        run_train(train_values(tag, seeds=[1, 2], output=str(folder / tag / "xgb")), progress=NullProgress())
    return folder


@pytest.fixture
def models(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of it."""
    return Path(shutil.copytree(trained, tmp_path / "models"))


def register(models: Path, tracking: dict[str, Any], **changes: Any) -> Report:
    values = {
        "models": str(models),
        "output": str(models.parent / "models.lock.json"),
        "tracking": tracking,
        "plots": False,
    }
    return run(build(Register, values | changes), progress=NullProgress())


def test_best_seeds_become_champions_and_the_second_time_mlflow_is_not_asked(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = {"uri": f"sqlite:///{tmp_path}/mlflow.db"}
    report = register(models, tracking)
    assert (report.facts["n_versions_new"], report.facts["n_runs_new"]) == (2, 4)
    pins = read_lock(tmp_path / "models.lock.json")
    assert [(pin.name, pin.version, pin.alias) for pin in pins] == [
        ("scope-pnp-xgb", 1, "champion"),
        ("scope-rrlyr-xgb", 1, "champion"),
    ]
    for pin in pins:
        numbers = json.loads((models / pin.tag / "xgb" / "metrics.json").read_text())
        assert pin.digest == bundle_digest(models / pin.tag / "xgb" / f"seed_{numbers['best_seed']}")
    written = (tmp_path / "models.lock.json").read_bytes()

    def fail(*_: object) -> None:
        raise AssertionError("MLflow was opened though nothing is to be done")

    with monkeypatch.context() as patched:
        patched.setattr(stage, "open_tracker", fail)
        again = register(models, tracking)
        assert (again.facts["n_versions_new"], again.facts["n_runs_new"]) == (0, 0)
        (tmp_path / "models.lock.json").unlink()
        assert register(models, tracking).facts["lock_written"]
    assert (tmp_path / "models.lock.json").read_bytes() == written

    # A database that was deleted comes back from the bundles (here: a new one, MLflow keeps the old file open).
    back = register(models, {"uri": f"sqlite:///{tmp_path}/new/mlflow.db"})
    assert (back.facts["n_versions_new"], back.facts["n_runs_new"]) == (2, 4)
    assert (tmp_path / "models.lock.json").read_bytes() == written


def test_a_worse_model_challenges_by_hand_and_replaces_in_the_pipeline(
    models: Path, train_config: Callable[..., Train], tracking: dict[str, Any], tmp_path: Path
) -> None:
    shutil.rmtree(models / "pnp")
    register(models, tracking)
    before = read_lock(tmp_path / "models.lock.json")
    worse = tmp_path / "worse" / "rrlyr"
    weak = {"name": "xgb", "n_rounds": 1, "max_depth": 1}
    run_train(train_config(seed=9, output=str(worse), algorithm=weak), progress=NullProgress())
    report = register(worse, tracking, promotion="compare", output=str(tmp_path / "models.lock.json"))
    assert "challenger" in report.warnings[0]
    assert "does not beat" in report.warnings[0]
    assert read_lock(tmp_path / "models.lock.json") == before
    replaced = register(worse, tracking)
    assert replaced.warnings == ()
    (pin,) = read_lock(worse.parent / "models.lock.json")
    assert pin.digest == bundle_digest(worse / "seed_9")
    versions = {
        version.digest: version for version in Registry.open(TrackingConfig(**tracking)).versions("scope-rrlyr-xgb")
    }
    assert versions[pin.digest].aliases == ("champion",)
    assert "the pipeline's best seed, replaces version" in versions[pin.digest].reason


def test_without_tracking_the_lock_pins_the_bundles(models: Path, tmp_path: Path) -> None:
    register(models, {"enabled": False})
    pins = read_lock(tmp_path / "models.lock.json")
    assert [(pin.name, pin.version) for pin in pins] == [("scope-pnp-xgb", None), ("scope-rrlyr-xgb", None)]


def test_a_dry_run_says_what_it_would_do(models: Path, tmp_path: Path) -> None:
    tracking = {"uri": f"sqlite:///{tmp_path}/mlflow.db"}
    report = register(models, tracking, machine={"dry_run": True})
    assert "2 model(s) to register or compare, 4 run(s) to make" in report.facts["text"]
    assert not (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / "models.lock.json").exists()


def test_bad_input_is_one_line(models: Path, tmp_path: Path) -> None:
    off = {"enabled": False}
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFoundError, match="holds no model bundle"):
        register(tmp_path / "empty", off)
    with pytest.raises(ModelNotFoundError, match=r"type python -m scope_ml\.train"):
        register(tmp_path / "missing", off)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"models\.lock\.json"):
        register(models, off, output=str(tmp_path / "file" / "models.lock.json"))
    shutil.copytree(models / "rrlyr" / "xgb" / "seed_1", models / "copy")
    register(models, off)
    (models / "copy" / "model.ubj").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"model\.ubj was changed or damaged"):
        register(models, off)
