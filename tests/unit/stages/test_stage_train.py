"""Training: bundles, resume, skipped classes, runs, registration."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scope_ml.core.protocols import NullProgress
from scope_ml.errors import ConfigError, FeatureMismatchError, FormatError, OutputError, ScopeError
from scope_ml.models.bundle import bundle_digest
from scope_ml.models.record import read_record
from scope_ml.stages import sweep_units
from scope_ml.stages.train import Train, run
from scope_ml.tracking.mlflow_runs import MlflowTracker
from scope_ml.tracking.settings import TrackingConfig
from scope_ml.tracking.tracker import open_tracker

MakeTrain = Callable[..., Train]


def train(config: Train) -> Any:
    return run(config, progress=NullProgress())


def digests(folder: Path) -> dict[str, str]:
    return {path.name: bundle_digest(path) for path in sorted(folder.glob("seed_*"))}


def test_seeds_become_bundles_with_numbers_and_curves(train_config: MakeTrain) -> None:
    config = train_config(seeds=[3, 1])
    report = train(config)
    assert sorted(digests(config.folder)) == ["seed_1", "seed_3"]
    assert (report.n_in, report.n_out, report.facts["n_kept"]) == (2, 2, 0)
    numbers = json.loads((config.folder / "metrics.json").read_text())
    assert numbers["best_seed"] in (1, 3)
    assert numbers["n_seeds"] == 2
    best = read_record(config.folder / f"seed_{numbers['best_seed']}")
    other = read_record(config.folder / f"seed_{4 - numbers['best_seed']}")
    value = best.metrics["val"].value("average_precision")
    assert value is not None
    assert value >= (other.metrics["val"].value("average_precision") or 0.0)
    assert value > 0.5
    assert numbers["test"]["average_precision"] == pytest.approx(
        best.metrics["test"].value("average_precision"), abs=1e-6
    )
    lines = (config.folder / "pr.csv").read_text().splitlines()
    assert lines[0] == "recall,precision"
    assert len(lines) > 2
    assert (config.folder / "roc.csv").read_text().startswith("fpr,tpr")
    assert json.loads((config.folder / "report.json").read_text())["facts"]["best_seed"] == numbers["best_seed"]


def test_what_is_there_is_kept_and_what_changed_is_trained_again(train_config: MakeTrain) -> None:
    config = train_config(seeds=[1, 2])
    train(config)
    first = digests(config.folder)
    assert train(config).facts["n_kept"] == 2
    assert digests(config.folder) == first
    (config.folder / "seed_1" / "model.ubj").write_bytes(b"damaged")
    assert train(config).facts["n_kept"] == 1
    assert digests(config.folder) == first
    changed = train_config(seeds=[1, 2], algorithm={"name": "xgb", "n_rounds": 12, "max_depth": 2})
    assert train(changed).facts["n_kept"] == 0
    assert digests(config.folder) != first
    assert train(train_config(seeds=[1, 2], retrain=True)).facts["n_kept"] == 0
    assert digests(config.folder) == first


def test_a_list_of_seeds_leaves_no_other_and_one_seed_leaves_all(train_config: MakeTrain) -> None:
    train(train_config(seeds=[1, 2]))
    config = train_config(seed=5)
    train(config)
    assert sorted(digests(config.folder)) == ["seed_1", "seed_2", "seed_5"]
    train(train_config(seeds=[2, 5]))
    assert sorted(digests(config.folder)) == ["seed_2", "seed_5"]


def test_a_killed_training_goes_on_and_ends_with_the_same(train_config: MakeTrain, tmp_path: Path) -> None:
    undisturbed = train_config(seeds=[1, 2], output=str(tmp_path / "undisturbed"))
    train(undisturbed)
    program = (
        "import os, signal, sys, json\n"
        "from scope_ml.core.configuration import build\n"
        "from scope_ml.core.protocols import NullProgress\n"
        "from scope_ml.models.bundle import ModelBundle\n"
        "from scope_ml.stages.train import Train, run\n"
        "save = ModelBundle.save\n"
        "def killed(self, folder):\n"
        "    if folder.name == 'seed_2':\n"
        "        self.model.save(folder.parent)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return save(self, folder)\n"
        "ModelBundle.save = killed\n"
        "run(build(Train, json.loads(sys.argv[1])), progress=NullProgress())\n"
    )
    from scope_ml.core.configuration import to_plain

    config = train_config(seeds=[1, 2])
    done = subprocess.run([sys.executable, "-c", program, json.dumps(to_plain(config))], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert sorted(digests(config.folder)) == ["seed_1"]
    assert not (config.folder / "metrics.json").exists()
    assert train(config).facts["n_kept"] == 1
    assert digests(config.folder) == digests(undisturbed.folder)
    assert (config.folder / "metrics.json").read_text() == (undisturbed.folder / "metrics.json").read_text()


def test_a_class_with_too_few_positives_is_reported_and_skipped(
    train_config: MakeTrain, tracking: dict[str, Any]
) -> None:
    config = train_config("ea", tracking=tracking)
    report = train(config)
    assert report.n_out == 0
    assert report.dropped == {"too_few_stars": 1}
    assert "ea has too few positive stars" in report.warnings[0]
    assert "too few" in json.loads((config.folder / "metrics.json").read_text())["skipped"]
    (item,) = json.loads((config.folder / "report.json").read_text())["facts"]["skipped"]
    assert (item["tag"], item["algorithm"]) == ("ea", "xgb")
    assert (config.folder / "pr.csv").read_text().splitlines() == ["recall,precision"]
    assert digests(config.folder) == {}
    tracker = open_tracker(TrackingConfig(**tracking))
    assert isinstance(tracker, MlflowTracker)
    assert list(tracker.connection.client.search_runs([str(tracker.connection.experiment_id)])) == []


def test_one_run_a_seed_under_a_parent_with_plots_and_a_registered_champion(
    train_config: MakeTrain, tracking: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3ntinel-password")
    config = train_config(seeds=[1, 2], tracking=tracking, sweep="my sweep", plots=True)
    report = train(config)
    registered = report.facts["registered"]
    assert registered["name"] == "scope-rrlyr-xgb"
    assert registered["alias"] == "champion"
    tracker = open_tracker(TrackingConfig(**tracking))
    assert isinstance(tracker, MlflowTracker)
    client, experiment = tracker.connection.client, str(tracker.connection.experiment_id)
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert sorted(runs) == ["my sweep", "rrlyr-xgb-seed1", "rrlyr-xgb-seed2"]
    child = runs["rrlyr-xgb-seed1"]
    assert child.data.tags["mlflow.parentRunId"] == runs["my sweep"].info.run_id
    known = read_record(config.folder / "seed_1")
    assert child.data.metrics["test_average_precision"] == known.metrics["test"].value("average_precision")
    assert child.data.metrics["val_average_precision"] > 0.5
    assert child.data.params["algorithm.max_depth"] == "3"
    assert child.data.params["class.tag"] == "rrlyr"
    assert child.data.params["split.test_size"] == "0.2"
    assert child.data.tags["scope.data_digest"] == known.provenance.data_digest
    assert child.data.tags["scope.config_digest"] == known.provenance.config_digest
    names = {one.path for one in client.list_artifacts(child.info.run_id, "plots")}
    assert names == {"plots/pr.svg", "plots/roc.svg", "plots/confusion.svg"}
    # What says where and how is no parameter, and no secret of the environment is kept anywhere.
    assert not any(name.startswith(("tracking", "machine", "output")) for name in child.data.params)
    folder = Path(tracking["uri"].removeprefix("sqlite:///")).parent
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert len(kept) > 10
    assert not [path for path in kept if b"s3ntinel-password" in path.read_bytes()]
    # Nothing is trained, told or registered twice.
    again = train(config)
    assert again.facts["n_kept"] == 2
    assert not again.facts["registered"]["is_new"]
    assert again.facts["registered"]["version"] == registered["version"]
    assert len(client.search_runs([experiment])) == 3


def test_a_kept_bundle_without_a_run_gets_one(train_config: MakeTrain, tracking: dict[str, Any]) -> None:
    train(train_config(seed=4))
    report = train(train_config(seed=4, tracking=tracking, register=False))
    assert report.facts["n_kept"] == 1
    assert report.facts["registered"] is None
    tracker = open_tracker(TrackingConfig(**tracking))
    assert isinstance(tracker, MlflowTracker)
    (found,) = tracker.connection.client.search_runs(
        [str(tracker.connection.experiment_id)], "tags.`scope.kind` = 'model'"
    )
    assert found.data.metrics["test_average_precision"] > 0.3


def test_mlflow_loads_the_champion_and_scores_as_the_bundle_does(
    train_config: MakeTrain,
    tracking: dict[str, Any],
    training_tables: tuple[Path, Path],
) -> None:
    import numpy as np

    from scope_ml.io.tables import read_table
    from scope_ml.models.bundle import ModelBundle

    config = train_config("pnp", tracking=tracking)
    train(config)
    tracker = open_tracker(TrackingConfig(**tracking))
    assert isinstance(tracker, MlflowTracker)
    import mlflow

    with tracker.connection.as_default():
        loaded = mlflow.pyfunc.load_model("models:/scope-pnp-xgb@champion")
    table = read_table(training_tables[0]).data
    expected = ModelBundle.load(config.folder / "seed_42").predict(table)
    np.testing.assert_array_equal(loaded.predict(table.to_pandas())["score"], expected)


def test_a_dry_run_keeps_nothing(train_config: MakeTrain, tmp_path: Path) -> None:
    report = train(
        train_config(machine={"workers": 1, "dry_run": True}, tracking={"uri": f"sqlite:///{tmp_path}/x.db"})
    )
    assert report.n_out == 1
    assert not (tmp_path / "models").exists()
    assert not (tmp_path / "x.db").exists()


def test_bad_input_is_one_line_before_anything_is_trained(
    train_config: MakeTrain, training_tables: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_units, "fit_bundles", None)
    labels = str(training_tables[1])
    (tmp_path / "file").write_text("")
    for changes, error, words in (
        ({"dataset": {"features": "missing.parquet", "labels": labels}}, FormatError, r"missing\.parquet"),
        ({"dataset": {"features": labels, "labels": labels}}, Exception, "'features' table is needed"),
        ({"output": str(tmp_path / "file" / "models")}, OutputError, "choose another output"),
        ({"feature_set": {"name": "everything"}}, ConfigError, "feature set 'everything'"),
        ({"algorithm": {"name": "xgbb"}}, ConfigError, "did you mean 'xgb'"),
        ({"algorithm": {"name": "xgb", "max_dept": 3}}, ConfigError, "did you mean 'max_depth'"),
    ):
        with pytest.raises(error, match=words) as caught:
            train(train_config(**changes))
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="twice"):
        train_config(seeds=[1, 1])


def test_a_table_without_the_features_is_refused(
    train_config: MakeTrain, training_tables: tuple[Path, Path], tmp_path: Path
) -> None:
    from scope_ml.io.tables import read_table, write_table

    table = read_table(training_tables[0])
    write_table(table.data.drop_columns(["skew", "period_ls"]), tmp_path / "less.parquet", table.metadata)
    with pytest.raises(FeatureMismatchError, match=r"lacks 2 column.*period_ls, skew") as caught:
        train(train_config(dataset={"features": str(tmp_path / "less.parquet"), "labels": str(training_tables[1])}))
    assert caught.value.missing == ("period_ls", "skew")


def test_a_failed_training_leaves_no_empty_folder(train_config: Callable[..., Train], tmp_path: Path) -> None:
    config = train_config(output=str(tmp_path / "new" / "models"), dataset={"path": str(tmp_path / "nothing")})
    with pytest.raises(ScopeError, match="nothing"):
        run(config, progress=NullProgress())
    assert not (tmp_path / "new").exists()


def test_a_dry_run_names_no_path(train_config: Callable[..., Train], tmp_path: Path) -> None:
    report = run(train_config(output=str(tmp_path / "new"), machine={"dry_run": True}), progress=NullProgress())
    assert report.outputs == {}
    assert "dry run" in report.warnings[-1]
    assert not (tmp_path / "new").exists()
