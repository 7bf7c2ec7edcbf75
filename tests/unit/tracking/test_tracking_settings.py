"""Addresses: what is accepted, what is made of it, what never shows a credential."""

from __future__ import annotations

from pathlib import Path

import pytest

from scope_ml.errors import ConfigError, OutputError, ScopeError
from scope_ml.tracking.settings import (
    TrackingConfig,
    artifact_root,
    between_processes,
    checked_uri,
    database_path,
    local_folder,
    redact,
)
from scope_ml.tracking.tracker import open_tracker

SENTINEL = "s3ntinel-token"


def test_a_relative_database_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    uri = checked_uri("sqlite:///mlflow.db")
    assert database_path(uri) == tmp_path.resolve() / "mlflow.db"
    assert artifact_root(uri) == str(tmp_path.resolve() / "mlruns")
    assert checked_uri(uri) == uri


def test_a_server_keeps_its_own_artifacts() -> None:
    uri = checked_uri("http://127.0.0.1:5000")
    assert uri == "http://127.0.0.1:5000"
    assert database_path(uri) is None
    assert artifact_root(uri) is None


@pytest.mark.parametrize(
    ("uri", "hint"),
    [
        ("mlflow.db", "sqlite:///mlflow.db"),
        ("sqlite://mlflow.db", "three slashes"),
        ("sqlite:///", "names no database file"),
        ("file:///tmp/mlruns", "sqlite:///FILE"),
        ("ftp://host/x", "http://HOST:PORT"),
    ],
)
def test_other_addresses_are_refused_with_what_to_type(uri: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        checked_uri(uri)


@pytest.mark.parametrize(
    "uri",
    [
        f"http://me:{SENTINEL}@host:5000",
        f"https://{SENTINEL}@host/mlflow",
        f"http://host/mlflow?token={SENTINEL}",
        f"postgresql+psycopg2://me:{SENTINEL}@host/db",
        f"me:{SENTINEL}@host:5000",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(ScopeError) as caught:
        open_tracker(TrackingConfig(uri=uri))
    chain = [caught.value, caught.value.__cause__, caught.value.__context__]
    assert all(SENTINEL not in str(error) for error in chain)


@pytest.mark.parametrize(
    ("location", "folder"),
    [
        ("/data/mlruns/1/models/m-1/artifacts", Path("/data/mlruns/1/models/m-1/artifacts")),
        ("file:///data/mlruns", Path("/data/mlruns")),
        ("mlflow-artifacts:/1/models/m-1/artifacts", None),
        ("s3://bucket/models", None),
    ],
)
def test_artifacts_are_local_or_in_a_store(location: str, folder: Path | None) -> None:
    assert local_folder(location) == folder


def test_redaction_keeps_the_host_and_paths_with_an_at_sign() -> None:
    assert redact(f"GET http://u:{SENTINEL}@host:5000/api?t={SENTINEL} failed") == "GET http://host:5000/api failed"
    assert redact("sqlite:////home/me@site/mlflow.db") == "sqlite:////home/me@site/mlflow.db"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    uri = checked_uri(f"sqlite:///{tmp_path}/file/mlflow.db")
    with pytest.raises(OutputError, match=r"choose another tracking\.uri"), between_processes(uri):
        pass


@pytest.mark.parametrize(("name", "message"), [("folder", "names the folder"), ("notes.txt", "no SQLite database")])
def test_what_is_no_database_is_left_alone(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(OutputError, match=message), between_processes(f"sqlite:///{tmp_path / name}"):
        pass
    assert (tmp_path / "notes.txt").read_text() == "x"
