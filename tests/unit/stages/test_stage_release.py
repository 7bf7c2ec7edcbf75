"""A data release: the same bytes each time, whole or not there, without secrets, and back into a registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import dataset

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import TableMetadata
from scope_ml.core.report import Report
from scope_ml.datasets.assemble import load_built
from scope_ml.errors import ConfigError, DataError, EmptySelectionError, FormatError, ModelError, OutputError
from scope_ml.io.checksums import relative_files, sum_of
from scope_ml.io.tables import read_table, write_table
from scope_ml.models.bundle import bundle_digest
from scope_ml.stages import release_pack
from scope_ml.stages.build_dataset import BuildDataset
from scope_ml.stages.build_dataset import run as run_build
from scope_ml.stages.infer import Infer
from scope_ml.stages.infer import run as run_infer
from scope_ml.stages.registry import RegistryTask
from scope_ml.stages.registry import run as run_registry
from scope_ml.stages.release import Release, run
from scope_ml.stages.train import Train
from scope_ml.tracking.lock import LockEntry, write_lock
from scope_ml.tracking.resolve import resolve_models
from scope_ml.tracking.settings import TrackingConfig

PUBLICATION = {"title": "A catalogue", "creators": [{"name": "The team", "organization": True}], "version": "v1.0.0"}

#: What no release may hold.
SENTINEL = "sesame-4711-open"


def scores(n_rows: int, field: int, models: dict[str, str]) -> tuple[pa.Table, TableMetadata]:
    rng = np.random.default_rng(n_rows)
    table = pa.table(
        {
            "id": np.arange(n_rows, dtype=np.int64) + 2**60 + field,
            "field": pa.array([field] * n_rows, pa.int32()),
            **{column: rng.random(n_rows).astype(np.float32) for column in models},
        }
    )
    return table, TableMetadata(kind="predictions", facts={"models": models})


@pytest.fixture(scope="module")
def made(train_values: Callable[..., Train], models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options that name inputs of each kind: two models, two fields, a data set, a catalogue."""
    folder = tmp_path_factory.mktemp("made")
    digests = {}
    entries = []
    for tag in ("rrlyr", "pnp"):
        (bundle,) = (models / tag / "xgb").glob("seed_*")
        digest = digests[f"{tag}_xgb"] = bundle_digest(bundle)
        name = f"scope-{tag}-xgb"
        entries.append(LockEntry(name=name, version=3, alias="champion", digest=digest, tag=tag, algorithm="xgb"))
    write_lock(folder / "lock.json", entries)
    for place, (field, n_rows) in enumerate(((296, 5), (296, 0), (297, 150))):
        table, record = scores(n_rows, field, digests)
        target = folder / "scores" / f"field_{field:06d}" / f"ccd_01_quad_{place + 1}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_table(table, target, record)
    (folder / "scores" / "field_000296" / "_meta.json").write_text("{}")
    (folder / "scores" / "run.log.jsonl").write_text("{}")
    config = train_values("rrlyr").dataset
    values = {"features": config.features, "labels": config.labels, "output": str(folder / "dataset")}
    run_build(build(BuildDataset, values), progress=NullProgress())
    catalogue = folder / "catalogue"
    pixel = catalogue / "dataset" / "Norder=0" / "Dir=0" / "Npix=4.parquet"
    write_table(pa.table({"ra": [1.0]}), pixel, TableMetadata(kind="catalogue"))
    (catalogue / "hats.properties").write_text("obs_collection=scope\nhats_nrows=7\n")
    for name in ("partition_info.csv", "stars.csv", "catalogue.html", "changes.json", "notes.txt"):
        (catalogue / name).write_text(name)
    (catalogue / "catalog.json").write_text("{}")
    (catalogue / "fields.json").write_text("[296, 297]")
    return {
        "predictions": [str(folder / "scores")],
        "models": str(folder / "lock.json"),
        "bundles": str(models),
        "training_set": str(folder / "dataset"),
        "catalogue": str(catalogue),
    }


def act(action: str, **values: Any) -> Report:
    given = {"action": action, "publication": PUBLICATION, "tracking": {"enabled": False}}
    return run(build(Release, given | values), progress=NullProgress())


@pytest.fixture(scope="module")
def release(made: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("release") / "release"
    act("pack", output=str(output), **made)
    return output


@pytest.fixture
def copy(release: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(release, tmp_path / "copy"))


def test_the_layout_is_that_of_the_published_releases(release: Path, made: dict[str, Any]) -> None:
    assert sorted(path.name for path in release.iterdir()) == sorted(
        [
            *("README.md", "SHA256SUMS", "datacite.json", "manifest.json"),
            *("field_296_5rows.csv", "fields.json", "predictions_xgb_2_fields.zip", "training_set.parquet"),
            *(
                "trained_xgb_models.zip",
                "models.lock.json",
                "catalogue_hats.zip",
                "stars.csv",
                "catalogue.html",
                "changes.json",
            ),
        ]
    )
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=release, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    manifest = json.loads((release / "manifest.json").read_text())
    counts = {entry["name"]: (entry["n_records"], entry["unit"]) for entry in manifest["files"] if entry["unit"]}
    assert counts == {
        "predictions_xgb_2_fields.zip": (155, "light curves"),
        "field_296_5rows.csv": (5, "light curves"),
        "trained_xgb_models.zip": (2, "models"),
        "training_set.parquet": (240, "light curves"),
        "catalogue_hats.zip": (7, "stars"),
    }
    assert manifest["fields"] == [296, 297]
    assert [one["version"] for one in manifest["models"]] == [3, 3]
    with zipfile.ZipFile(release / "predictions_xgb_2_fields.zip") as archive:
        names = [*(f"field_000296/{name}" for name in ("ccd_01_quad_1.parquet", "ccd_01_quad_2.parquet"))]
        assert archive.namelist() == ["field_000296/_meta.json", *names, "field_000297/ccd_01_quad_3.parquet"], (
            "no logs"
        )
    with zipfile.ZipFile(release / "catalogue_hats.zip") as archive:
        inside = ["catalog.json", "dataset/Norder=0/Dir=0/Npix=4.parquet", "fields.json", "hats.properties"]
        assert archive.namelist() == [*inside, "partition_info.csv"]
    assert str(Path(made["catalogue"]).parent) not in "".join(
        path.read_text() for path in release.iterdir() if path.suffix in (".json", ".md", ".csv")
    ), "no path of this machine"


def test_the_same_inputs_give_the_same_bytes(made: dict[str, Any], release: Path, tmp_path: Path) -> None:
    act("pack", output=str(tmp_path / "again"), **made)
    before = {name: sum_of(path) for name, path in relative_files(release).items()}
    assert {name: sum_of(path) for name, path in relative_files(tmp_path / "again").items()} == before
    report = act("pack", output=str(tmp_path / "again"), **made)
    assert (report.facts["written"], "stood there already" in report.facts["text"]) == (False, True)
    assert [path.name for path in tmp_path.iterdir()] == ["again"], "nothing hidden is left"
    changed = act("pack", output=str(tmp_path / "again"), **{**made, "n_example_rows": 2})
    assert changed.facts["written"]
    assert (tmp_path / "again" / "field_296_2rows.csv").read_text().count("\n") == 3
    assert not (tmp_path / "again" / "field_296_5rows.csv").exists()
    assert "trained_xgb_models.zip" in changed.facts["kept"]


def test_a_packing_that_was_killed_goes_on(
    made: dict[str, Any], release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    output = tmp_path / "r"
    with monkeypatch.context() as patched:
        patched.setattr(release_pack, "readme", killed)
        with pytest.raises(Killed):
            act("pack", output=str(output), **made)
    assert not output.exists()
    torn = tmp_path / ".r.pack" / "files" / "trained_xgb_models.zip"
    torn.write_bytes(torn.read_bytes()[:-1])
    with monkeypatch.context() as patched:
        patched.setattr(release_pack, "swap_in", killed)
        with pytest.raises(Killed):
            act("pack", output=str(output), **made)
    report = act("pack", output=str(output), **made)
    assert "predictions_xgb_2_fields.zip" in report.facts["kept"]
    assert {n: sum_of(p) for n, p in relative_files(output).items()} == {
        n: sum_of(p) for n, p in relative_files(release).items()
    }


def test_a_file_that_changes_while_it_is_packed_is_noticed(
    made: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text("one")
    real = release_pack.Workshop.make

    def late(self: Any, part: Any, progress: Any) -> Any:
        if part.kind == "page":
            page.write_text("two")
        return real(self, part, progress)

    monkeypatch.setattr(release_pack.Workshop, "make", late)
    with pytest.raises(DataError, match=r"page\.html changed while it was packed"):
        act("pack", output=str(tmp_path / "r"), web_page=str(page))
    assert not (tmp_path / "r").exists()
    monkeypatch.undo()
    act("pack", output=str(tmp_path / "r"), web_page=str(page))
    assert (tmp_path / "r" / "page.html").read_text() == "two"


def test_unpacked_scores_are_one_dataset(made: dict[str, Any], tmp_path: Path) -> None:
    table, record = scores(7, 296, {"rrlyr_xgb": "0" * 64})
    write_table(table, tmp_path / "p.parquet", record)
    shutil.copy(made["models"], tmp_path / "p.parquet.models.lock.json")
    for place, (given, n_rows) in enumerate((([str(tmp_path / "p.parquet")], 7), (made["predictions"], 155))):
        release, output = tmp_path / f"r{place}", tmp_path / f"u{place}"
        act("pack", output=str(release), predictions=given)
        act("unpack", path=str(release), output=str(output), parts=["predictions"])
        (folder,) = output.iterdir()
        assert dataset.dataset(folder).count_rows() == n_rows
    assert (tmp_path / "u0" / "predictions_xgb_1_fields" / "_p.parquet.models.lock.json").is_file()


def test_other_folders_are_not_written_over(made: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match="is there and is no data release"):
        act("pack", output=str(tmp_path / "mine"), **made)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.tex"]
    report = act("pack", output=str(tmp_path / "r"), **made, machine={"dry_run": True})
    assert "nothing was written" in report.facts["text"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(EmptySelectionError, match="there is nothing to pack"):
        act("pack", output=str(tmp_path / "r"))


def test_an_example_is_called_by_the_field_of_its_rows(tmp_path: Path) -> None:
    for name, field in (("a", 300), ("b", 200)):
        write_table(scores(2, field, {})[0], tmp_path / f"{name}.parquet", scores(2, field, {})[1])
    act("pack", output=str(tmp_path / "r"), predictions=[str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")])
    (example,) = (tmp_path / "r").glob("*rows.csv")
    assert example.name == "field_300_2rows.csv"
    assert [line.split(",")[1] for line in example.read_text().splitlines()] == ['"field"', "300", "300"]


def test_csv_is_the_form_of_the_published_files(made: dict[str, Any], tmp_path: Path) -> None:
    act("pack", output=str(tmp_path / "r"), predictions=made["predictions"], predictions_format="csv")
    act("unpack", path=str(tmp_path / "r"), output=str(tmp_path / "u"), parts=["predictions"])
    read = read_table(
        tmp_path / "u" / "predictions_xgb_2_fields" / "field_000297" / "ccd_01_quad_3.csv", kind="predictions"
    )
    given = read_table(Path(made["predictions"][0]) / "field_000297" / "ccd_01_quad_3.parquet")
    assert read.data.equals(given.data)


@pytest.mark.parametrize(
    "place",
    [
        "scores/field_000296/_meta.json",
        "catalogue/catalogue.html",
        "catalogue/stars.csv",
        "scores/field_000296/x.parquet",
    ],
)
def test_a_secret_is_never_packed(
    made: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    root = Path(shutil.copytree(Path(made["catalogue"]).parent, tmp_path / "made"))
    inputs = {**made, "predictions": [str(root / "scores")], "catalogue": str(root / "catalogue")}
    monkeypatch.setenv("KOWALSKI_TOKEN", SENTINEL)
    if place.endswith(".parquet"):
        table, record = scores(
            3, 296, dict(read_table(root / "scores/field_000296/ccd_01_quad_1.parquet").metadata.facts["models"])
        )
        facts = {**record.facts, "note": SENTINEL}
        write_table(table, root / place, TableMetadata(kind="predictions", facts=facts))
    else:
        (root / place).write_text(f"x {SENTINEL} y")
    with pytest.raises(DataError, match=rf"{Path(place).name} holds the value of KOWALSKI_TOKEN") as caught:
        act("pack", output=str(tmp_path / "r"), **inputs)
    assert SENTINEL not in str(caught.value)
    assert not (tmp_path / "r").exists()
    for text in (
        '"uri": "postgresql://ann:sesame99@db:5432/mlflow"',
        "-----BEGIN RSA PRIVATE KEY-----",
        '"Authorization": "token 0123456789abcdef"',
        'password: "sesame9911"',
    ):
        if not place.endswith(".parquet"):
            (root / place).write_text(text)
            with pytest.raises(
                DataError, match=rf"{Path(place).name} holds (an address|a private key|an auth|a token)"
            ):
                act("pack", output=str(tmp_path / "r"), **inputs)


def test_services_and_environment_stay_outside(
    made: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FRITZ_TOKEN", "KOWALSKI_TOKEN", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, f"{SENTINEL}-{name}")
    act("pack", output=str(tmp_path / "r"), **made)
    act("unpack", path=str(tmp_path / "r"), output=str(tmp_path / "u"))
    for path in [*relative_files(tmp_path / "r").values(), *relative_files(tmp_path / "u").values()]:
        content = path.read_bytes()
        assert SENTINEL.encode() not in content, path
        assert os.fsencode(str(Path(made["models"]).parent)) not in content, path


def test_verify_names_what_is_wrong(copy: Path) -> None:
    assert act("verify", path=str(copy)).facts["n_failed"] == 0
    (copy / "stars.csv").unlink()
    (copy / "training_set.parquet").write_bytes(b"torn")
    (copy / "added.txt").write_text("x")
    report = act("verify", path=str(copy))
    assert report.facts["wrong"] == {"stars.csv": "missing", "training_set.parquet": "changed"}
    assert report.facts["extra"] == ["added.txt"]
    assert (report.n_in, report.n_out, report.facts["n_failed"]) == (12, 10, 2)
    with pytest.raises(FormatError, match=r"is (missing|changed); fetch it again: nothing was unpacked"):
        act("unpack", path=str(copy), output=str(copy.parent / "u"))
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text + " ")
    with pytest.raises(FormatError, match="is not the one that SHA256SUMS lists"):
        act("verify", path=str(copy))
    (copy / "manifest.json").write_text(text.replace('"name": "stars.csv"', '"name": "../stars.csv"'))
    with pytest.raises(FormatError, match="path outside its folder"):
        act("verify", path=str(copy))
    with pytest.raises(FormatError, match="is no data release"):
        act("verify", path=str(copy.parent))


def test_unpacked_parts_are_ready_for_use(release: Path, made: dict[str, Any], tmp_path: Path) -> None:
    act("unpack", path=str(release), output=str(tmp_path / "u"), parts=["catalogue", "training_set.parquet"])
    assert sorted(path.name for path in (tmp_path / "u").iterdir()) == ["catalogue_hats", "training_set.parquet"]
    ours, split = load_built(Path(made["training_set"]))
    theirs, same = load_built(tmp_path / "u" / "training_set.parquet")
    assert (theirs.digest, same.digest) == (ours.digest, split.digest)
    with pytest.raises(ConfigError, match=r"no file and no kind of file 'catalog'; did you mean 'catalogue'"):
        act("unpack", path=str(release), output=str(tmp_path / "v"), parts=["catalog"])
    with pytest.raises(OutputError, match="something is there"):
        act("unpack", path=str(release), output=str(tmp_path / "u"))


def test_scores_of_other_models_are_refused(made: dict[str, Any], tmp_path: Path) -> None:
    table, record = scores(3, 296, {"rrlyr_xgb": "0" * 64})
    write_table(table, tmp_path / "p.parquet", record)
    with pytest.raises(ConfigError, match="rrlyr_xgb were made by the bundle 000000000000, to be packed is"):
        act("pack", output=str(tmp_path / "r"), **{**made, "predictions": [str(tmp_path / "p.parquet")]})
    with pytest.raises(ConfigError, match="one set of models"):
        act("pack", output=str(tmp_path / "r"), predictions=[*made["predictions"], str(tmp_path / "p.parquet")])
    with pytest.raises(FormatError, match="holds no HATS catalogue"):
        act("pack", output=str(tmp_path / "r"), catalogue=made["training_set"])
    with pytest.raises(FormatError, match="holds no scores"):
        act("pack", output=str(tmp_path / "r"), predictions=[made["training_set"]])
    with pytest.raises(ConfigError, match=r"publication\.creators names nobody"):
        act("pack", output=str(tmp_path / "r"), **made, publication={"title": "x"})
    with pytest.raises(ConfigError, match="release unpack needs output=FOLDER"):
        act("unpack", path="x")


@pytest.mark.parametrize("what", ["release", "zip"])
def test_the_registry_takes_the_models_back(
    release: Path, made: dict[str, Any], tmp_path: Path, empty_database: Path, what: str
) -> None:
    database = Path(shutil.copyfile(empty_database, tmp_path / "mlflow.db"))
    tracking = {"uri": f"sqlite:///{database}", "experiment": "scope"}
    path = release if what == "release" else release / "trained_xgb_models.zip"
    task = build(RegistryTask, {"action": "import", "path": str(path), "tracking": tracking})
    assert run_registry(task, progress=NullProgress()).facts["n_versions_new"] == 2
    given = {
        pin.pin.digest
        for pin in resolve_models(made["models"], TrackingConfig(enabled=False), bundles=Path(made["bundles"]))
    }
    found = resolve_models("champion", TrackingConfig(**tracking))
    assert {one.pin.digest for one in found} == given
    assert run_registry(task, progress=NullProgress()).facts["n_versions_new"] == 0


@pytest.fixture(scope="module")
def empty_database(database: str) -> Path:
    from scope_ml.tracking.connection import connect
    from scope_ml.tracking.settings import checked_uri

    connect(checked_uri(database), "other")
    return Path(database.removeprefix("sqlite:///"))


def test_models_that_were_changed_on_the_way_are_refused(copy: Path, tmp_path: Path) -> None:
    tracking = {"uri": f"sqlite:///{tmp_path}/mlflow.db"}
    archive = copy / "trained_xgb_models.zip"
    with zipfile.ZipFile(archive) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    contents["scope-rrlyr-xgb/model.ubj"] += b"\0"
    with zipfile.ZipFile(archive, "w") as new:
        for name, content in contents.items():
            new.writestr(name, content)
    for path, message in ((copy, "is changed; fetch it again"), (archive, "was changed since it was exported")):
        task = build(RegistryTask, {"action": "import", "path": str(path), "tracking": tracking})
        with pytest.raises((FormatError, ModelError), match=message):
            run_registry(task, progress=NullProgress())
    assert not (tmp_path / "mlflow.db").exists(), "nothing was imported"


@pytest.fixture
def address(release: Path) -> Iterator[str]:
    """The address of a server on this machine that has the release."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(release))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def dvc(*words: str, cwd: Path) -> None:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "true", "DVC_SITE_CACHE_DIR": str(cwd / ".site")}
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_dvc_fetches_from_a_folder_is_whole(release: Path, tmp_path: Path) -> None:
    dvc("get-url", str(release), "release", cwd=tmp_path)
    report = act("verify", path=str(tmp_path / "release"))
    assert (report.facts["n_failed"], report.facts["extra"], report.n_out) == (0, [], 12)


@pytest.fixture
def fetched(release: Path, address: str, tmp_path: Path) -> dict[str, Path]:
    """What DVC fetched: the release from a folder, its models from a server."""
    dvc("get-url", str(release), "release", cwd=tmp_path)
    dvc("get-url", f"{address}/trained_xgb_models.zip", "models.zip", cwd=tmp_path)
    return {"folder": tmp_path / "release", "server": tmp_path / "models.zip"}


@pytest.mark.slow
def test_what_dvc_fetches_scores_the_same(
    fetched: dict[str, Path],
    made: dict[str, Any],
    training_tables: tuple[Path, Path],
    empty_database: Path,
    tmp_path: Path,
) -> None:
    features = str(training_tables[0])
    off = {"features": features, "tracking": {"enabled": False}, "drift": False}
    before = {"models": made["models"], "bundles": made["bundles"], "output": str(tmp_path / "before.parquet")}
    run_infer(build(Infer, off | before), progress=NullProgress())
    expected = read_table(tmp_path / "before.parquet").data
    for place, path in fetched.items():
        database = tmp_path / place / "mlflow.db"
        database.parent.mkdir(exist_ok=True)
        shutil.copyfile(empty_database, database)
        tracking = {"uri": f"sqlite:///{database}", "experiment": "scope"}
        task = build(RegistryTask, {"action": "import", "path": str(path), "tracking": tracking})
        run_registry(task, progress=NullProgress())
        output = tmp_path / f"{place}.parquet"
        values = {"features": features, "models": "champion", "tracking": tracking, "output": str(output)}
        run_infer(build(Infer, values | {"drift": False}), progress=NullProgress())
        assert read_table(output).data.equals(expected)
