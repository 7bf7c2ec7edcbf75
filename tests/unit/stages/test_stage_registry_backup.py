"""A registry backed up, restored elsewhere, and cleaned: nothing that is needed is ever lost."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, FormatError, JobError, ModelError, ModelNotFoundError, OutputError
from scope_ml.stages.register import Register
from scope_ml.stages.register import run as run_register
from scope_ml.stages.registry import RegistryTask, run
from scope_ml.stages.train import Train
from scope_ml.stages.train import run as run_train
from scope_ml.tracking import backup as tracking_backup
from scope_ml.tracking import sweeping_out
from scope_ml.tracking.connection import connect
from scope_ml.tracking.database_copy import while_files_stay
from scope_ml.tracking.registry import Registry
from scope_ml.tracking.resolve import resolve_models
from scope_ml.tracking.settings import TrackingConfig, checked_uri

NAME = "scope-rrlyr-xgb"


@pytest.fixture(scope="module")
def original(train_values: Callable[..., Train], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of five versions of which the second is champion; version 4 is pinned by ``four.json``."""
    folder = tmp_path_factory.mktemp("original")
    tracking = {"uri": f"sqlite:///{folder}/mlflow.db", "experiment": "scope"}
    models = folder / "models"
    run_train(train_values("rrlyr", seeds=[1, 2, 3, 4, 5], output=str(models)), progress=NullProgress())
    for seed in range(1, 6):
        policy = "always" if seed == 2 else "never"
        lock = folder / f"{seed}.json"
        values = {"models": [str(models / f"seed_{seed}")], "output": str(lock), "tracking": tracking}
        run_register(build(Register, values | {"promotion": policy, "plots": False}), progress=NullProgress())
    version = next(one for one in Registry.open(TrackingConfig(**tracking)).versions(NAME) if one.version == 4)
    entry = {"name": NAME, "version": 4, "alias": "", "digest": version.digest, "tag": "rrlyr", "algorithm": "xgb"}
    (folder / "four.json").write_text(json.dumps([entry]))
    return folder


@pytest.fixture
def live(original: Path, tmp_path: Path) -> Path:
    """A copy of that registry, at a place of its own, by backup and restore."""
    act("backup", original, output=str(tmp_path / "start"))
    act("restore", tmp_path / "live", path=str(tmp_path / "start"))
    shutil.rmtree(tmp_path / "start")
    return tmp_path / "live"


def act(action: str, folder: Path, **values: Any) -> Report:
    given = {"action": action, "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"}}
    return run(build(RegistryTask, given | values), progress=NullProgress())


def versions(folder: Path) -> list[tuple[int, tuple[str, ...]]]:
    registry = Registry.open(TrackingConfig(uri=f"sqlite:///{folder}/mlflow.db"))
    found = registry.versions(NAME)
    assert all(registry.is_whole(version) for version in found)
    return [(version.version, version.aliases) for version in found]


def n_runs(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return int(database.execute("SELECT count(*) FROM runs").fetchone()[0])


@pytest.mark.parametrize("name", ["b", "b.zip"])
def test_a_backup_is_put_back_elsewhere(original: Path, tmp_path: Path, name: str) -> None:
    report = act("backup", original, output=str(tmp_path / name))
    assert (report.facts["versions"], report.facts["runs"], report.facts["of"]) == (5, 6, "database")
    assert act("restore", tmp_path / "live", path=str(tmp_path / name)).facts["versions"] == 5
    assert versions(tmp_path / "live") == versions(original)
    for path in (tmp_path / "live").rglob("*"):
        assert not path.name.startswith("."), "nothing of the restoring is left"
    with closing(sqlite3.connect(tmp_path / "live" / "mlflow.db")) as database:
        dump = "\n".join(database.iterdump())
    assert str(original) not in dump.replace(str(original / "models"), ""), "every place is the new one"
    # With the old place gone, models are found, and are the ones that were registered.
    hidden = original.with_name("hidden")
    original.rename(hidden)
    try:
        found = resolve_models("champion", TrackingConfig(uri=f"sqlite:///{tmp_path}/live/mlflow.db"))
        assert [(one.pin.version, one.folder.is_dir()) for one in found] == [(2, True)]
    finally:
        hidden.rename(original)


def test_nothing_is_written_over(original: Path, live: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").write_text("1")
    with pytest.raises(OutputError, match="give each backup a name of its own"):
        act("backup", original, output=str(tmp_path / "there"))
    act("backup", original, output=str(tmp_path / "b"))
    before = (live / "mlflow.db").read_bytes()
    with pytest.raises(OutputError, match="exists; a backup is put back beside nothing"):
        act("restore", live, path=str(tmp_path / "b"))
    assert (live / "mlflow.db").read_bytes() == before
    (live / "mlflow.db").unlink()
    with pytest.raises(OutputError, match="mlruns exists and is not empty"):
        act("restore", live, path=str(tmp_path / "b"))
    with pytest.raises(ConfigError, match="into a database file"):
        run(
            build(RegistryTask, {"action": "restore", "path": str(tmp_path / "b"), "tracking": {"uri": "http://h:1"}}),
            progress=NullProgress(),
        )


def test_damage_is_named_before_anything_is_restored(original: Path, tmp_path: Path) -> None:
    act("backup", original, output=str(tmp_path / "b"))
    victim = next((tmp_path / "b" / "artifacts").rglob("bundle.json"))
    content = victim.read_bytes()
    for damage, word in ((lambda: victim.write_bytes(content + b" "), "changed"), (victim.unlink, "missing")):
        damage()
        with pytest.raises(ModelError, match=rf"bundle\.json is {word}; nothing was restored"):
            act("restore", tmp_path / "live", path=str(tmp_path / "b"))
        assert not (tmp_path / "live" / "mlflow.db").exists()
    with pytest.raises(FormatError, match="is no backup"):
        act("restore", tmp_path / "live", path=str(tmp_path / "nothing"))
    with pytest.raises(ModelNotFoundError, match="there is no database"):
        act("backup", tmp_path / "nowhere", output=str(tmp_path / "c"))


def test_a_restoration_that_was_killed_goes_on(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    act("backup", original, output=str(tmp_path / "b"))
    count = iter(range(1000))

    class Killed(BaseException):
        pass

    def advance(_: int) -> None:
        if next(count) == 7:
            raise Killed

    with pytest.raises(Killed):
        tracking_backup.restore_database(tmp_path / "b", tmp_path / "live" / "mlflow.db", advance)
    assert not (tmp_path / "live" / "mlflow.db").exists()
    monkeypatch.undo()
    act("restore", tmp_path / "live", path=str(tmp_path / "b"))
    assert versions(tmp_path / "live") == versions(original)


def test_a_backup_while_runs_are_written_is_whole(live: Path, tmp_path: Path) -> None:
    stop, written = threading.Event(), []

    def write() -> None:
        with closing(sqlite3.connect(live / "mlflow.db", timeout=30)) as database:
            while not stop.is_set():
                database.execute(
                    "INSERT INTO experiment_tags (key, value, experiment_id) VALUES (?, 'x', 0)", (f"k{len(written)}",)
                )
                database.commit()
                written.append(1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while len(written) < 5:
            stop.wait(0.01)
        act("backup", live, output=str(tmp_path / "b"))
    finally:
        stop.set()
        writer.join()
    with closing(sqlite3.connect(tmp_path / "b" / "mlflow.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = database.execute("SELECT count(*) FROM experiment_tags WHERE key LIKE 'k%'").fetchone()[0]
    assert 5 <= kept <= len(written)


def test_cleaning_shows_first_and_keeps_what_is_needed(live: Path, original: Path) -> None:
    rules = {"clean": {"keep": 1, "older_than": 0}, "lock": [str(original / "four.json")]}
    shown = act("clean", live, **rules)
    assert "nothing was changed; add apply=true" in shown.facts["text"]
    assert "no lock file was given" not in shown.facts["text"]
    assert "no lock file was given" in act("clean", live, clean=rules["clean"]).facts["text"]
    to_remove = [(one["what"], one["name"]) for one in shown.facts["to_remove"]]
    assert ("version", NAME) in to_remove
    assert len(versions(live)) == 5, "nothing was changed"
    # 2 champion, 4 pinned, 5 newest.
    before = sum(path.stat().st_size for path in live.rglob("*") if path.is_file())
    report = act("clean", live, **rules, apply=True, by="Ann")
    assert versions(live) == [(5, ()), (4, ()), (2, ("champion",))]
    assert (report.n_in, report.n_out, sum(report.dropped.values())) == (shown.n_in, shown.n_in - 4, 4)
    assert n_runs(live) == 4, "three, and their parent"
    after = sum(path.stat().st_size for path in live.rglob("*") if path.is_file())
    assert before - after > 0.9 * report.facts["bytes"] > 0
    receipt = json.loads(next(live.glob("mlflow.db.cleaned-*.json")).read_text())
    assert (receipt["state"], receipt["by"], len(receipt["removed"])) == ("done", "Ann", 4)
    assert {len(one["told"].get("digest", "")) for one in receipt["removed"] if one["what"] == "version"} == {64}
    found = resolve_models("champion", TrackingConfig(uri=f"sqlite:///{live}/mlflow.db"))
    assert [one.pin.version for one in found] == [2]
    again = act("clean", live, **rules)
    assert again.facts["to_remove"] == []
    # What was removed can be registered again from its bundle.
    values = {"models": [str(original / "models" / "seed_1")], "tracking": {"uri": f"sqlite:///{live}/mlflow.db"}}
    made = build(Register, values | {"output": str(live / "lock.json"), "promotion": "never", "plots": False})
    run_register(made, progress=NullProgress())
    assert [number for number, _ in versions(live)] == [6, 5, 4, 2]


def test_cleaning_that_was_killed_is_completed(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    rules = {"clean": {"keep": 1, "older_than": 0}, "apply": True}
    monkeypatch.setattr(sweeping_out, "_removed_once", killed)
    with pytest.raises(Killed):
        act("clean", live, **rules)
    receipt = json.loads(next(live.glob("mlflow.db.cleaned-*.json")).read_text())
    assert receipt["state"] == "begun"
    monkeypatch.undo()
    act("clean", live, **rules, output=str(live / "second.json"))
    assert [number for number, _ in versions(live)] == [5, 2]
    assert n_runs(live) == 3, "two, and their parent"
    assert act("clean", live, **rules, output=str(live / "third.json")).facts["removed"] == []
    models = [path for path in (live / "mlruns" / "models").iterdir()]
    assert len(models) == 2, "their files are gone too"


def test_a_run_at_work_stays_and_a_dead_one_goes(live: Path) -> None:
    client = connect(checked_uri(f"sqlite:///{live}/mlflow.db"), "scope", create=False)
    tags = {"scope.kind": "model", "scope.key": "k", "scope.tag": "rrlyr", "scope.algorithm": "xgb"}
    host = os.uname().nodename
    for name, process in (("alive", f"{host}:{os.getpid()}"), ("dead", f"{host}:999999999"), ("far", "elsewhere:1")):
        client.client.create_run(
            client.experiment_id, start_time=1, run_name=name, tags=tags | {"scope.process": process}
        )
    removed = act("clean", live, clean={"keep": 1, "older_than": 0}).facts["to_remove"]
    names = {one["name"] for one in removed if one["what"] == "run"}
    assert "dead" in names
    assert names.isdisjoint({"alive", "far"})


def test_a_lock_file_that_cannot_be_read_stops_the_cleaning(live: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="does not exist"):
        act("clean", live, lock=str(tmp_path / "absent.json"), apply=True)
    with pytest.raises(ModelNotFoundError, match="there is no registry"):
        act("clean", tmp_path / "nowhere")
    assert len(versions(live)) == 5


#: Removes all that may go.
STRICT = {"clean": {"keep": 1, "older_than": 0}}


def client_of(folder: Path) -> Any:
    return connect(checked_uri(f"sqlite:///{folder}/mlflow.db"), "scope", create=False)


@pytest.mark.parametrize("by", ["its folder", "our version"])
def test_a_model_that_somebody_registered_under_another_name_keeps_its_run_and_files(live: Path, by: str) -> None:
    connection = client_of(live)
    theirs = connection.client.get_model_version(NAME, "1")
    connection.client.create_registered_model("production")
    with connection.as_default():
        # Neither the run nor the id of the model stands in such a version.
        folder = connection.client.get_logged_model(theirs.source.rpartition("/")[2]).artifact_location
        source = folder if by == "its folder" else f"models:/{NAME}/1"
        made = connection.client.create_model_version("production", source=source)
    act("clean", live, **STRICT, apply=True)
    assert versions(live) == [(5, ()), (2, ("champion",))]
    location = Path(connection.client.get_model_version_download_uri("production", made.version))
    assert (location / "MLmodel").is_file()
    assert connection.client.get_run(theirs.run_id).info.run_id == theirs.run_id


def test_models_without_a_run_go_if_they_are_ours_old_and_nobodys() -> None:
    def model(
        model_id: str, *, at: int = 1, run: str = "gone", tags: tuple[str, ...] = ("scope.bundle_digest",)
    ) -> Any:
        values = {
            "model_id": model_id,
            "source_run_id": run,
            "creation_timestamp": at,
            "tags": dict.fromkeys(tags, "x"),
        }
        return SimpleNamespace(**values)

    models = [
        *(model("old"), model("young", at=9), model("held", run="there"), model("used")),
        *(model("lone", run=""), model("theirs", tags=())),
    ]
    assert sweeping_out._orphans(models, {"there"}, {"used"}, 5) == ["old"]


def test_models_of_others_and_of_runs_that_begin_meanwhile_stay(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = client_of(live)
    lone = connection.client.create_logged_model(connection.experiment_id, name="lone")
    other = connection.client.create_experiment("other")
    foreign_run = connection.client.create_run(other, start_time=1)
    foreign = connection.client.create_logged_model(
        connection.experiment_id, name="theirs", source_run_id=foreign_run.info.run_id
    )
    begun: list[str] = []
    pages = sweeping_out._pages

    def begin(ask: Callable[[str | None], Any]) -> Any:
        """Let somebody train between one look at the registry and the next."""
        found = list(pages(ask))
        tags = {"scope.kind": "model", "scope.process": "elsewhere:1"}
        run_id = connection.client.create_run(connection.experiment_id, tags=tags).info.run_id
        of = {"source_run_id": run_id, "tags": {"scope.bundle_digest": run_id}}
        begun.append(connection.client.create_logged_model(connection.experiment_id, name="new", **of).model_id)
        return iter(found)

    monkeypatch.setattr(sweeping_out, "_pages", begin)
    act("clean", live, **STRICT, apply=True)
    monkeypatch.undo()
    assert versions(live) == [(5, ()), (2, ("champion",))]
    left = {model.model_id for model in connection.client.search_logged_models([connection.experiment_id])}
    assert {lone.model_id, foreign.model_id, *begun} <= left


def test_a_copy_of_the_database_takes_no_file_of_the_original(live: Path, tmp_path: Path) -> None:
    (tmp_path / "try").mkdir()
    shutil.copyfile(live / "mlflow.db", tmp_path / "try" / "mlflow.db")
    files = sorted(path for path in (live / "mlruns").rglob("*") if path.is_file())
    report = act("clean", tmp_path / "try", **STRICT, apply=True)
    assert sorted(path for path in (live / "mlruns").rglob("*") if path.is_file()) == files
    assert report.facts["bytes"] == 0
    assert "lie elsewhere than in" in report.facts["text"]
    # And a copy beside the original does not lose files unawares.
    shutil.copyfile(live / "mlflow.db", live / "mlflow.db.bak")
    with pytest.raises(ModelError, match=r"mlflow\.db\.bak is a copy of .*: nothing was removed"):
        act("clean", live, **STRICT, apply=True)
    assert len(versions(live)) == 5
    (live / "mlflow.db.bak").unlink()
    assert act("clean", live, **STRICT, apply=True).facts["bytes"] > 0


def test_a_backup_and_a_clean_up_do_not_meet(live: Path, tmp_path: Path) -> None:
    with while_files_stay(live / "mlflow.db"):
        act("backup", live, output=str(tmp_path / "b"))
        with pytest.raises(JobError, match="is under way"):
            act("clean", live, **STRICT, apply=True)
    with while_files_stay(live / "mlflow.db", removing=True), pytest.raises(JobError, match="is under way"):
        act("backup", live, output=str(tmp_path / "c"))
    assert len(versions(live)) == 5
    assert not (tmp_path / "c").exists()
