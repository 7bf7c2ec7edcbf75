"""Versions, aliases and what is found again, in a real MLflow database."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scope_ml.errors import ModelNotFoundError
from scope_ml.tracking.glance import glance
from scope_ml.tracking.mlflow_runs import MlflowTracker
from scope_ml.tracking.promotion import Policy
from scope_ml.tracking.records import ModelRecord, ModelVersion
from scope_ml.tracking.registry import Registration, Registry
from scope_ml.tracking.settings import TrackingConfig, checked_uri
from scope_ml.tracking.tracker import open_tracker

MakeRecord = Callable[..., ModelRecord]


@pytest.fixture(scope="module")
def tracker(tracking: TrackingConfig) -> MlflowTracker:
    opened = open_tracker(tracking)
    assert isinstance(opened, MlflowTracker)
    return opened


@pytest.fixture(scope="module")
def registry(tracker: MlflowTracker) -> Registry:
    return Registry(tracker.connection)


def register(tracker: MlflowTracker, record: ModelRecord, policy: Policy = "compare") -> Registration:
    model = tracker.logged(record)
    if model is None:
        with tracker.run(record.run_name, record.key) as run:
            model = run.model(record)
    assert model is not None
    return Registry(tracker.connection).register(record, model, policy)


def test_the_first_is_champion_a_better_one_replaces_it_and_a_worse_one_challenges(
    tracker: MlflowTracker, registry: Registry, make_record: MakeRecord
) -> None:
    first = register(tracker, make_record("mir", 1, validation=0.7))
    assert (first.version.version, first.version.aliases, first.is_new) == (1, ("champion",), True)
    worse = register(tracker, make_record("mir", 2, validation=0.6))
    assert worse.version.aliases == ("challenger",)
    assert "does not beat version 1" in worse.version.reason
    better = register(tracker, make_record("mir", 3, validation=0.8))
    assert better.version.aliases == ("champion",)
    now = {version.version: version for version in registry.versions("scope-mir-xgb")}
    assert [now[number].aliases for number in (1, 2, 3)] == [(), ("challenger",), ("champion",)]
    assert (now[3].seed, now[3].validation, now[3].split_digest) == (3, 0.8, "split")


def test_the_same_bundle_is_registered_once(
    tracker: MlflowTracker, registry: Registry, make_record: MakeRecord
) -> None:
    record = make_record("lpv")
    first = register(tracker, record)
    again = register(tracker, record, "pipeline")
    assert not again.is_new
    assert again.version == first.version
    assert len(registry.versions("scope-lpv-xgb")) == 1


def test_a_challenger_that_becomes_champion_is_no_challenger_any_more(
    tracker: MlflowTracker, make_record: MakeRecord
) -> None:
    register(tracker, make_record("srv", 1))
    other = make_record("srv", 2, split_digest="other")
    assert register(tracker, other).version.aliases == ("challenger",)
    assert register(tracker, other, "pipeline").version.aliases == ("champion",)


def test_the_bundle_of_a_version_is_on_disk_and_its_loss_is_told(
    tracker: MlflowTracker, registry: Registry, make_record: MakeRecord, tmp_path: Path
) -> None:
    record = make_record("yso", validation=0.9)
    version = register(tracker, record).version
    folder = registry.bundle_folder(version, tmp_path)
    assert (folder / "bundle.json").read_text() == "{}"
    shutil.rmtree(folder)
    with pytest.raises(ModelNotFoundError, match=r"python -m scope_ml\.register"):
        registry.bundle_folder(version, tmp_path)
    # A champion without files stands in nobody's way, and the same bundle can be registered again.
    again = register(tracker, make_record("yso", validation=0.9))
    assert again.is_new
    assert again.version.aliases == ("champion",)


def test_aliases_are_listed_for_our_models_only(
    tracker: MlflowTracker, registry: Registry, make_record: MakeRecord
) -> None:
    version = register(tracker, make_record("agn")).version
    tracker.connection.client.create_registered_model("somebody-elses")
    found = {model.name: model for model in registry.with_alias("champion")}
    assert found["scope-agn-xgb"] == version
    assert all(name.startswith("scope-") for name in found)
    assert registry.with_alias("nobody") == ()
    assert registry.versions("scope-none-xgb") == ()


def test_a_glance_sees_what_the_registry_says(
    tracker: MlflowTracker, registry: Registry, make_record: MakeRecord, tracking: TrackingConfig, tmp_path: Path
) -> None:
    record = make_record("cv")
    version = register(tracker, record).version
    seen = glance(checked_uri(tracking.uri))
    assert seen is not None
    assert seen.versions("scope-cv-xgb") == registry.versions("scope-cv-xgb") == (version,)
    assert record.digest in seen.logged
    shutil.rmtree(registry.bundle_folder(version, tmp_path))
    seen = glance(checked_uri(tracking.uri))
    assert seen is not None
    assert seen.versions("scope-cv-xgb") == ()


def test_a_glance_at_anything_else_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database")
    assert glance(checked_uri(f"sqlite:///{tmp_path}/text.db")) is None
    assert glance(checked_uri(f"sqlite:///{tmp_path}/missing.db")) is None
    assert glance("http://127.0.0.1:9") is None
    assert not (tmp_path / "missing.db").exists()


def test_a_registry_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    config = TrackingConfig(uri=f"sqlite:///{tmp_path}/typo.db")
    with pytest.raises(ModelNotFoundError, match=r"typo\.db; type python -m scope_ml\.train"):
        Registry.open(config)
    assert not (tmp_path / "typo.db").exists()
    with pytest.raises(ModelNotFoundError, match="tracking=off"):
        Registry.open(TrackingConfig(enabled=False))


def test_versions_read_the_same_from_tags_and_registry(
    tracker: MlflowTracker, registry: Registry, make_record: MakeRecord
) -> None:
    record = make_record("ceph", 7, validation=None, test=0.25)
    version = register(tracker, record).version
    assert version == ModelVersion.from_tags(
        "scope-ceph-xgb", 1, ("champion",), record.tags() | {"scope.promotion": version.reason}
    )
    assert "undefined" in version.reason


def test_two_processes_may_register_the_same_name_at_once(tracking: TrackingConfig, tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from scope_ml.tracking.records import ModelRecord\n"
        "from scope_ml.tracking.registry import Registry\n"
        "from scope_ml.tracking.settings import TrackingConfig\n"
        "from scope_ml.tracking.tracker import open_tracker\n"
        "uri, folder, seed = sys.argv[1:]\n"
        "tracker = open_tracker(TrackingConfig(uri=uri, experiment='tests'))\n"
        "record = ModelRecord(folder=pathlib.Path(folder), tag='bis', algorithm='xgb', seed=int(seed), digest='d' + seed,"
        " features=('a',), threshold=0.7, validation=0.1 * int(seed), test=0.5, data_digest='data',"
        " split_digest='split', config_digest='config', key='bis' + seed)\n"
        "with tracker.run(record.run_name, record.key) as run:\n"
        "    model = run.model(record)\n"
        "Registry(tracker.connection).register(record, model, 'compare')\n"
    )
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text("{}")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, tracking.uri, str(tmp_path / "bundle"), seed],
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    versions = Registry.open(tracking).versions("scope-bis-xgb")
    assert {version.digest for version in versions} == {"d1", "d2"}
    assert next(version for version in versions if "champion" in version.aliases).digest == "d2"
