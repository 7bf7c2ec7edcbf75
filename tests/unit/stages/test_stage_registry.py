"""The registry's door: what it shows, who may become champion, and models on their way to another registry."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, FormatError, ModelError, ModelNotFoundError, OutputError, ServiceError
from scope_ml.models.bundle import ModelBundle
from scope_ml.stages import registry_transfer
from scope_ml.stages.register import Register
from scope_ml.stages.register import run as run_register
from scope_ml.stages.registry import RegistryTask, run
from scope_ml.stages.train import Train
from scope_ml.stages.train import run as run_train
from scope_ml.tracking import registry as tracking_registry
from scope_ml.tracking.connection import connect
from scope_ml.tracking.lock import read_lock
from scope_ml.tracking.registry import Registry
from scope_ml.tracking.registry_history import ELSEWHERE_TAG
from scope_ml.tracking.resolve import resolve_models
from scope_ml.tracking.settings import TrackingConfig, checked_uri, database_path

RRLYR, PNP = "scope-rrlyr-xgb", "scope-pnp-xgb"


@pytest.fixture(scope="module")
def trained(train_values: Callable[..., Train], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles of two classes, three of them good and one of a single weak tree."""
    folder = tmp_path_factory.mktemp("trained")
    for tag in ("rrlyr", "pnp"):
        run_train(train_values(tag, seeds=[1, 2], output=str(folder / tag)), progress=NullProgress())
        weak = {"name": "xgb", "n_rounds": 1, "max_depth": 1, "colsample_bytree": 0.02}
        run_train(
            train_values(tag, seed=3, algorithm=weak, output=str(folder / f"weak-{tag}")), progress=NullProgress()
        )
    return folder


@pytest.fixture(scope="module")
def empty(database: str) -> Path:
    """A database of MLflow's without anything in it: a copy costs nothing, making one takes seconds."""
    connect(checked_uri(database), "registry")
    made = Path(database.removeprefix("sqlite:///"))
    return Path(shutil.copyfile(made, made.with_name("empty.db")))


@pytest.fixture(scope="module")
def registry(trained: Path, database: str, empty: Path) -> dict[str, Any]:
    """A registry in which the weak model of each class is champion and the others are versions 2 and 3."""
    assert empty.is_file()
    tracking = {"uri": database, "experiment": "registry"}
    for folder, policy in (("weak-{}/seed_3", "pipeline"), ("{}/seed_1", "never"), ("{}/seed_2", "never")):
        models = [str(trained / folder.format(tag)) for tag in ("rrlyr", "pnp")]
        values = {"models": models, "output": str(trained / "models.lock.json"), "tracking": tracking}
        run_register(build(Register, values | {"promotion": policy, "plots": False}), progress=NullProgress())
    return tracking


@pytest.fixture(scope="module")
def stars(training_tables: tuple[Path, Path]) -> dict[str, Any]:
    features, labels = training_tables
    return {"features": str(features), "labels": str(labels)}


@pytest.fixture
def do(registry: dict[str, Any]) -> Callable[..., Report]:
    """Return a function that carries out one action."""

    def act(action: str, **values: Any) -> Report:
        given = {"action": action, "tracking": registry, "n_resamples": 200, "machine": {"workers": 1}}
        return run(build(RegistryTask, given | values), progress=NullProgress())

    return act


def champion(registry: dict[str, Any], name: str) -> int:
    found = Registry.open(TrackingConfig(**registry)).with_alias("champion")
    return next(version.version for version in found if version.name == name)


def history(registry: dict[str, Any], name: str) -> list[tuple[int, str, str]]:
    versions = Registry.open(TrackingConfig(**registry)).versions(name)
    entries = sorted((entry for version in versions for entry in version.history), key=lambda entry: entry.number)
    return [(entry.version, entry.how, entry.why) for entry in entries]


def test_the_list_says_what_there_is_without_mlflow(do: Callable[..., Report], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_registry, "connect", lambda *_, **__: pytest.fail("MLflow was opened to read a file"))
    rows = do("list").facts["rows"]
    assert [(row["name"], row["version"], row["aliases"], row["class"], row["algorithm"]) for row in rows] == [
        (PNP, 1, ["champion"], "pnp", "xgb"),
        (RRLYR, 1, ["champion"], "rrlyr", "xgb"),
    ]
    assert rows[1]["made_of"] == "seed 3"
    assert rows[1]["test_low"] < rows[1]["test"] < rows[1]["test_high"]
    assert rows[1]["date"].endswith("Z")
    assert "first champion" in rows[1]["reason"]
    only = do("list", classes=["rrlyr"], format="json")
    assert [row["name"] for row in json.loads(only.facts["text"])] == [RRLYR]
    table = list(csv.DictReader(io.StringIO(do("list", algorithms=["xgb"], format="csv").facts["text"])))
    assert [(row["name"], row["aliases"]) for row in table] == [(PNP, "champion"), (RRLYR, "champion")]
    with pytest.raises(ModelNotFoundError, match=r"no model of classes=\[agn\]; it has scope-pnp-xgb, scope-rrlyr-xgb"):
        do("list", classes=["agn"])


def test_show_says_all_of_one_version(do: Callable[..., Report], trained: Path) -> None:
    report = do("show", name=RRLYR, version=2, format="json")
    found = json.loads(report.facts["text"])
    bundle = json.loads((trained / "rrlyr" / "seed_1" / "bundle.json").read_text())
    assert [row["version"] for row in found["versions"]] == [3, 2, 1]
    assert (found["version"], found["made_of"], found["threshold"]) == (2, "seed 1", bundle["threshold"])
    assert found["n_features"] == len(bundle["features"]["names"])
    assert found["digests"]["split"] == bundle["provenance"]["split_digest"]
    assert found["test"]["f1"] == bundle["metrics"]["test"]["estimates"]["f1"]
    page = do("show", name=PNP).facts["text"]
    assert "version 1: periodic, seed 3" in page
    assert "by register of" in page
    with pytest.raises(ModelNotFoundError, match=f"no model scope-rrlry-xgb; did you mean '{RRLYR}'"):
        do("show", name="scope-rrlry-xgb")
    with pytest.raises(ModelNotFoundError, match=r"no version 9 whose files are there; it has 3, 2, 1 \(champion\)"):
        do("show", name=RRLYR, version=9)


@pytest.mark.parametrize(
    ("action", "values", "message"),
    [
        ("promote", {"name": RRLYR}, "registry promote needs version=NUMBER"),
        ("rollback", {}, "registry rollback needs name=scope-"),
        ("export", {}, "registry export needs output=FOLDER"),
        ("import", {}, "registry import needs path=FOLDER"),
        ("show", {"name": RRLYR, "format": "csv"}, "format=csv is for registry list"),
    ],
)
def test_what_an_action_lacks_is_named(
    do: Callable[..., Report], action: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        do(action, **values)


def test_models_are_compared_on_the_same_stars(do: Callable[..., Report], stars: dict[str, Any], trained: Path) -> None:
    paired = do("compare", name=RRLYR, version=2, dataset=stars)
    numbers = paired.facts["numbers"]
    assert (numbers["basis"], numbers["n_stars"], numbers["n_light_curves"]) == ("test", 48, 48)
    bundles = [
        json.loads((trained / name / "bundle.json").read_text()) for name in ("rrlyr/seed_1", "weak-rrlyr/seed_3")
    ]
    precision = [one["metrics"]["test"]["estimates"]["average_precision"]["value"] for one in bundles]
    assert numbers["average_precision"]["first"] == pytest.approx(precision[0], abs=1e-6)
    assert numbers["average_precision"]["second"] == pytest.approx(precision[1], abs=1e-6)
    assert paired.facts["is_win"]
    recorded = do("compare", name=RRLYR, version=2)
    assert recorded.facts["numbers"]["basis"] == "recorded"
    assert "unpaired" in recorded.facts["text"]
    folder = do("compare", version=str(trained / "rrlyr" / "seed_2"), dataset=stars)
    assert folder.facts["candidate"].startswith("rrlyr-xgb-seed2 in ")
    assert folder.facts["against"] == f"{RRLYR} version 1 (champion)"
    with pytest.raises(ConfigError, match="is a model of pnp"):
        do("compare", name=RRLYR, version=str(trained / "pnp" / "seed_2"), dataset=stars)


def test_other_splits_and_data_are_refused_or_said(
    do: Callable[..., Report], stars: dict[str, Any], train_values: Callable[..., Train], tmp_path: Path
) -> None:
    split = {"test_size": 0.3, "val_size": 0.15, "seed": 42}
    run_train(train_values("rrlyr", seed=1, split=split, output=str(tmp_path / "other")), progress=NullProgress())
    other = str(tmp_path / "other" / "seed_1")
    with pytest.raises(ModelError, match="were tested on different splits"):
        do("compare", name=RRLYR, version=other)
    with pytest.raises(ModelError, match="divided in another way"):
        do("compare", name=RRLYR, version=other, dataset=stars)
    # The same light curves with fewer labels: neither was made from this data set, as far as digests say.
    lines = ["id,rrlyr", *(f"{number + 7},{int(number < 48)}" for number in range(200))]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    report = do("compare", name=RRLYR, version=other, dataset=stars | {"labels": str(tmp_path / "labels.csv")})
    assert report.facts["numbers"]["basis"] == "unseen"
    assert report.facts["numbers"]["n_light_curves"] == 200
    assert "not checked by digests" in report.warnings[0]


def test_what_was_trained_elsewhere_or_nobody_knows_where_does_not_win(
    do: Callable[..., Report],
    stars: dict[str, Any],
    trained: Path,
    train_values: Callable[..., Train],
    tmp_path: Path,
) -> None:
    (tmp_path / "labels.csv").write_text(
        "\n".join(["id,rrlyr", *(f"{n + 7},{int(n < 48)}" for n in range(220))]) + "\n"
    )
    dataset = stars | {"labels": str(tmp_path / "labels.csv")}
    run_train(train_values("rrlyr", seed=1, dataset=dataset, output=str(tmp_path / "else")), progress=NullProgress())
    with pytest.raises(ModelError, match=r"from another .* whose training stars may be in this test part"):
        do("compare", name=RRLYR, version=str(tmp_path / "else" / "seed_1"), dataset=stars)
    bundle = ModelBundle.load(trained / "rrlyr" / "seed_1")
    nowhere = replace(bundle.record.provenance, data_digest="", split_digest="")
    replace(bundle, record=replace(bundle.record, provenance=nowhere)).save(tmp_path / "unknown")
    report = do("compare", name=RRLYR, version=str(tmp_path / "unknown"), against=1, dataset=stars)
    assert report.facts["numbers"]["basis"] == "test"
    assert report.facts["numbers"]["average_precision"]["low"] > 0
    assert not report.facts["is_win"]
    assert "was trained on is not known" in report.facts["verdict"]


@pytest.mark.parametrize(("promote", "policy"), [(None, "compare"), (True, "always"), (False, "never")])
def test_what_becomes_of_imported_models(promote: bool | None, policy: str) -> None:
    assert registry_transfer.import_policy(promote) == policy


def test_promotion_needs_a_win_or_a_reason_and_rollback_finds_the_way_back(
    do: Callable[..., Report], registry: dict[str, Any], stars: dict[str, Any]
) -> None:
    dry = do("promote", name=RRLYR, version=2, dataset=stars, machine={"dry_run": True, "workers": 1})
    assert "dry run: nothing was changed" in dry.facts["text"]
    assert champion(registry, RRLYR) == 1
    won = do("promote", name=RRLYR, version=2, dataset=stars, by="Ann")
    assert champion(registry, RRLYR) == 2
    assert won.facts["numbers"]["average_precision"]["low"] > 0
    entry = Registry.open(TrackingConfig(**registry)).versions(RRLYR)[1].history[-1]
    assert (entry.by, entry.before, entry.how) == ("Ann", 1, "promote")
    assert entry.numbers == won.facts["numbers"]
    assert "nothing was changed" in do("promote", name=RRLYR, version=2).facts["text"]
    with pytest.raises(
        ModelError, match=r"does not win against version 2.*give reason=\.\.\. to promote it all the same"
    ):
        do("promote", name=RRLYR, version=1, dataset=stars)
    assert champion(registry, RRLYR) == 2
    do("promote", name=RRLYR, version=3, reason="half the size", dataset=stars)
    assert champion(registry, RRLYR) == 3
    assert do("rollback", name=RRLYR, reason="blends").facts["champion"] == 2
    assert do("rollback", name=RRLYR).facts["champion"] == 1
    with pytest.raises(ModelNotFoundError, match=r"before version 1; other versions: 2, 3: type .* promote name="):
        do("rollback", name=RRLYR)
    assert history(registry, RRLYR)[1:] == [
        (2, "promote", won.facts["why"]),
        (3, "promote", "half the size"),
        (2, "rollback", "blends"),
        (1, "rollback", "rolled back from version 2"),
    ]
    # What is scored with follows the alias.
    found = resolve_models("champion", TrackingConfig(**registry), classes=["rrlyr"])
    assert [model.pin.version for model in found] == [1]


def test_a_promotion_that_was_killed_is_completed_by_typing_it_again(
    do: Callable[..., Report], registry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Registry.open(TrackingConfig(**registry))

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(type(opened._client), "set_registered_model_alias", killed)
        with pytest.raises(Killed):
            do("promote", name=PNP, version=2, reason="first try")
    assert champion(registry, PNP) == 1
    assert history(registry, PNP)[-1] == (2, "promote", "first try")
    # Until then there is nothing to roll back to, and nothing was lost.
    with pytest.raises(ModelNotFoundError):
        do("rollback", name=PNP)
    do("promote", name=PNP, version=2, reason="second try")
    assert champion(registry, PNP) == 2
    assert [step[1:] for step in history(registry, PNP)][1:] == [("promote", "second try")]
    with pytest.raises(ServiceError, match="the champion of scope-pnp-xgb is version 2 by now, no longer 1"):
        opened.promote(PNP, 3, instead_of=1, how="promote", by="Ann", why="late")
    assert do("rollback", name=PNP).facts["champion"] == 1


def test_models_move_to_another_registry_once_and_whole(
    do: Callable[..., Report], registry: dict[str, Any], empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "champions"
    assert do("export", output=str(folder)).facts["written"]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert not do("export", output=str(folder)).facts["written"]
    manifest = (folder / "manifest.json").read_text()
    assert str(tmp_path) not in manifest
    assert "sqlite" not in manifest
    (tmp_path / "there").mkdir()
    shutil.copyfile(empty, tmp_path / "there" / "mlflow.db")
    there = {"uri": f"sqlite:///{tmp_path}/there/mlflow.db", "experiment": "there"}
    other = {"action": "import", "path": str(folder), "tracking": there}
    # It is interrupted after the first model, and goes on.
    real = registry_transfer._import_one
    done: list[str] = []

    def once(tracker: Any, model: Any, *args: Any, **values: Any) -> Any:
        if done:
            raise ServiceError("the server went away")
        done.append(model.record.name)
        return real(tracker, model, *args, **values)

    with monkeypatch.context() as patched:
        patched.setattr(registry_transfer, "_import_one", once)
        with pytest.raises(ServiceError):
            run(build(RegistryTask, other), progress=NullProgress())
    first = run(build(RegistryTask, other), progress=NullProgress())
    assert (first.facts["n_versions_new"], first.facts["n_runs_new"]) == (1, 1)
    again = run(build(RegistryTask, other), progress=NullProgress())
    assert (again.facts["n_versions_new"], again.facts["n_runs_new"]) == (0, 0)
    here = {model.pin.name: model.pin.digest for model in resolve_models("champion", TrackingConfig(**registry))}
    moved = Registry.open(TrackingConfig(**there))
    assert {version.name: version.digest for version in moved.with_alias("champion")} == here
    version = moved.versions(RRLYR)[0]
    assert [entry.how for entry in version.history] == ["import"]
    assert [step["how"] for step in json.loads(moved.tags(version)[ELSEWHERE_TAG])][:1] == ["register"]
    # Without promotion nothing is taken from those that are champions.
    run(build(RegistryTask, other | {"promote": False}), progress=NullProgress())
    assert [version.reason for version in moved.versions(RRLYR)] == [version.reason]
    assert len(moved.with_alias("champion")) == 2
    task = {"action": "promote", "name": RRLYR, "version": 1, "reason": "x", "tracking": there}
    assert "champion already" in run(build(RegistryTask, task), progress=NullProgress()).facts["text"]
    assert {path: path.read_bytes() for path in before} == before


def test_a_tampered_export_is_refused_before_anything_is_registered(
    do: Callable[..., Report], registry: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "champions"
    do("export", output=str(folder), classes=["pnp"])
    nowhere = {"action": "import", "tracking": {"uri": f"sqlite:///{tmp_path}/none/mlflow.db"}}

    def refused(message: str, kind: type[Exception] = ModelError) -> None:
        with pytest.raises(kind, match=message):
            run(build(RegistryTask, nowhere | {"path": str(tmp_path / "bad")}), progress=NullProgress())
        assert not (tmp_path / "none").exists()
        shutil.rmtree(tmp_path / "bad")

    def copied() -> Path:
        return Path(shutil.copytree(folder, tmp_path / "bad"))

    with (copied() / PNP / "importance.json").open("a") as stream:
        stream.write(" ")
    refused(r"importance\.json was changed since it was exported")
    (copied() / PNP / "model.ubj").unlink()
    refused(r"model\.ubj is missing")
    (copied() / PNP / "extra.pkl").write_bytes(b"")
    refused(r"extra\.pkl is not in manifest\.json")
    manifest = copied() / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"name": "{PNP}"', '"name": "../models"'))
    refused("names a path outside its folder")
    manifest = copied() / "manifest.json"
    plain = json.loads(manifest.read_text())
    plain["models"][0]["digest"] = "0" * 64
    manifest.write_text(json.dumps(plain))
    refused(r"but manifest\.json says scope-pnp-xgb 000000000000")
    (copied() / "manifest.json").write_text("{}")
    refused("is no manifest of exported models", FormatError)
    with pytest.raises(OutputError, match="something else is there"):
        do("export", output=str(tmp_path))
    with pytest.raises(ModelNotFoundError, match="no model has the alias staging"):
        do("export", output=str(tmp_path / "x"), alias="staging")


def test_a_lock_file_is_checked_against_the_registry(do: Callable[..., Report], trained: Path, tmp_path: Path) -> None:
    lock = trained / "models.lock.json"
    assert do("list", lock=str(lock)).facts["n_failed"] == 0
    plain = json.loads(lock.read_text())
    plain[0]["digest"] = "0" * 64
    (tmp_path / "lock.json").write_text(json.dumps(plain))
    report = do("list", lock=str(tmp_path / "lock.json"))
    assert report.facts["n_failed"] == 1
    assert "missing: no version has this bundle" in report.facts["text"]
    assert len(read_lock(lock)) == len(plain)


def test_a_registry_that_is_not_there_or_locked_is_one_line(
    do: Callable[..., Report],
    registry: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    missing = {"action": "list", "tracking": {"uri": f"sqlite:///{tmp_path}/none.db"}}
    with pytest.raises(ModelNotFoundError, match="there is no registry at"):
        run(build(RegistryTask, missing), progress=NullProgress())
    opened = Registry.open(TrackingConfig(**registry))

    def locked(*_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(type(opened._client), "set_model_version_tag", locked)
        with pytest.raises(ServiceError, match="another process keeps the database locked; try again") as caught:
            do("promote", name=PNP, version=3, reason="now")
    assert "\n" not in str(caught.value)
    # The database itself refuses a write: MLflow's page of traceback is not shown.
    path = database_path(checked_uri(registry["uri"]))
    with closing(sqlite3.connect(str(path))) as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON model_version_tags BEGIN INSERT INTO nowhere VALUES (1); END"
        )
        database.commit()
        capfd.readouterr()
        with pytest.raises(ServiceError, match=r"no such table: main\.nowhere; check the database file"):
            do("promote", name=PNP, version=3, reason="now")
        assert capfd.readouterr().err == ""
        database.execute("DROP TRIGGER refuse")
        database.commit()
    assert champion(registry, PNP) == 1
    assert "now" not in {step[2] for step in history(registry, PNP)}
