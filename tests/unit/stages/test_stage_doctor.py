from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from scope_ml.core.configuration import build
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import NullProgress
from scope_ml.errors import ConfigError
from scope_ml.stages import doctor_checks
from scope_ml.stages.doctor import Doctor, render, run
from scope_ml.stages.doctor_checks import (
    BENCHMARK_SETS,
    Check,
    check_configuration,
    check_credentials,
    check_data_folder,
    check_device,
    check_extras,
    credential_names,
)
from scope_ml.stages.doctor_registry import check_registry
from scope_ml.tracking.settings import TrackingConfig

SENTINEL = "s3ntinel-t0ken-value"


def registry_file(path: Path, aliases: list[str]) -> None:
    """Write the one table of MLflow's schema that is asked."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE registered_model_aliases (alias TEXT, version INTEGER, name TEXT)")
        connection.executemany(
            "INSERT INTO registered_model_aliases VALUES (?, 1, ?)",
            [(alias, f"m{i}") for i, alias in enumerate(aliases)],
        )
    connection.close()


@pytest.fixture
def server() -> Iterator[tuple[str, dict]]:
    """Answer like an MLflow server: two pages of models; ``seen`` keeps the headers, ``status`` refuses."""
    state: dict = {"seen": [], "status": 200}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state["seen"].append(dict(self.headers))
            self.send_response(state["status"])
            self.end_headers()
            first = {"registered_models": [{"aliases": [{"alias": "champion"}]}, {}], "next_page_token": "2"}
            last = {"registered_models": [{"aliases": [{"alias": "champion"}, {"alias": "challenger"}]}]}
            if state["status"] == 200:
                self.wfile.write(json.dumps(last if "page_token=2" in self.path else first).encode())

        def log_message(self, *_: object) -> None:
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}", state
    http.shutdown()
    http.server_close()
    thread.join()


def ask(uri: str, environment: dict[str, str] | None = None) -> Check:
    return check_registry(TrackingConfig(uri=uri), environment or {}, timeout_s=2.0)


def test_no_secret_appears_whatever_it_is_called(tmp_path, monkeypatch, server):
    uri, state = server
    for name in ("KOWALSKI_TOKEN", "FRITZ_TOKEN", "MLFLOW_TRACKING_TOKEN", "SOMETHING_ELSE"):
        monkeypatch.setenv(name, f" {SENTINEL} ")
    monkeypatch.chdir(tmp_path)
    report = run(Doctor(tracking=TrackingConfig(uri=uri)), progress=NullProgress())
    assert SENTINEL not in report.to_json()
    assert SENTINEL not in report.facts["text"]
    assert "KOWALSKI_TOKEN" in report.facts["text"]
    # The token was used, so that its absence above means something.
    assert SENTINEL in state["seen"][0]["Authorization"]


def test_report_of_this_machine_has_no_failure_and_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = run(build(Doctor, {"tracking": {"uri": "sqlite:///none.db"}}), progress=NullProgress())
    groups = {check["group"] for check in report.facts["checks"]}
    assert {"environment", "machine", "programs", "configuration", "registry", "credentials", "data"} <= groups
    assert report.facts["n_failed"] == 0
    assert list(tmp_path.iterdir()) == []
    json.loads(report.to_json())


def test_sqlite_registry_counts_champions_only(tmp_path):
    registry_file(tmp_path / "m.db", ["champion", "challenger", "champion"])
    check = ask(f"sqlite:///{tmp_path / 'm.db'}")
    assert check.level == "ok"
    assert "2 champions" in check.seen


@pytest.mark.parametrize("content", [b"", b"not a database at all, just text " * 40])
def test_a_file_that_is_no_registry_fails(tmp_path, content):
    (tmp_path / "m.db").write_bytes(content)
    check = ask(f"sqlite:///{tmp_path / 'm.db'}")
    assert check.level == "fail"
    assert "is not an MLflow database" in check.seen


def test_a_registry_not_yet_made_is_no_failure_and_is_not_made(tmp_path):
    assert ask(f"sqlite:///{tmp_path / 'sub' / 'm.db'}").level == "note"
    assert not (tmp_path / "sub").exists()


def test_server_pages_are_all_counted(server):
    check = ask(server[0] + "/")
    assert (check.level, check.seen) == ("ok", f"{server[0]}: 2 champions")


@pytest.mark.parametrize(("status", "hint"), [(401, "MLFLOW_TRACKING_USERNAME"), (500, "is http")])
def test_server_that_refuses(server, status, hint):
    server[1]["status"] = status
    check = ask(server[0], {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": SENTINEL})
    assert check.level == "fail"
    assert str(status) in check.seen
    assert hint in check.todo
    assert server[1]["seen"][0]["Authorization"].startswith("Basic ")


def test_server_that_is_not_there():
    check = ask("http://127.0.0.1:9")
    assert check.level == "fail"
    assert "does not answer" in check.seen


def test_address_with_a_password_fails_without_showing_it():
    check = ask(f"http://me:{SENTINEL}@127.0.0.1:9")
    assert check.level == "fail"
    assert SENTINEL not in check.seen + check.todo


def test_tracking_off_asks_nobody():
    assert check_registry(TrackingConfig(enabled=False, uri="http://127.0.0.1:9"), {}, timeout_s=1.0).level == "note"


def test_credentials_are_named_in_conf_service(tmp_path):
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "fritz.yaml").write_text("url: https://x\nauth: {token_env: MY_FRITZ}\nretries_env: 3\n")
    names = credential_names(tmp_path)
    assert names["MY_FRITZ"] == "fritz"
    assert "KOWALSKI_TOKEN" in names
    assert 3 not in names


@pytest.mark.parametrize(
    ("value", "level"),
    [("abc", "ok"), ("", "warn"), ("abc\n", "warn"), (None, "note")],
    ids=["set", "empty", "newline", "unset"],
)
def test_credential_states(value, level):
    environment = {} if value is None else {"A_TOKEN": value}
    (check,) = check_credentials({"A_TOKEN": "a service"}, environment)
    assert check.level == level
    assert "abc" not in check.seen + check.todo


def test_benchmark_data_layout(tmp_path):
    variable = "SCOPE_BENCHMARK_DATA"
    assert check_data_folder(variable, {}).level == "note"
    assert check_data_folder(variable, {variable: str(tmp_path / "none")}).level == "warn"
    for name, is_labelled in BENCHMARK_SETS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / ("lightcurves_0.parquet" if is_labelled else "bulk.parquet")).touch()
        if is_labelled:
            (tmp_path / name / "labels.parquet").touch()
    assert check_data_folder(variable, {variable: str(tmp_path)}).level == "ok"
    (tmp_path / "asas" / "labels.parquet").unlink()
    check = check_data_folder(variable, {variable: str(tmp_path)})
    assert (check.level, "asas/labels.parquet" in check.seen) == ("warn", True)


def test_gpu_is_needed_only_where_it_was_asked_for(monkeypatch):
    monkeypatch.setattr(doctor_checks, "_gpu_names", list)
    levels = {wanted: check_device(wanted)[-1].level for wanted in ("auto", "cpu", "gpu")}
    assert levels == {"auto": "note", "cpu": "note", "gpu": "fail"}
    monkeypatch.setattr(doctor_checks, "_gpu_names", lambda: ["NVIDIA H100"])
    monkeypatch.setattr(doctor_checks.util, "find_spec", lambda _: None)
    assert check_device("auto")[-1].level == "warn"
    assert "scope_ml[gpu]" in check_device("auto")[-1].todo


def test_missing_and_old_packages_are_named(monkeypatch):
    class Declared(dict):
        def get_all(self, key: str) -> list[str]:
            return {
                "Requires-Dist": [
                    "numpy>=1",
                    "pyarrow>=999",
                    "no-such-thing>=1; extra == 'far'",
                    "pyyaml; python_version < '3' and extra == 'far'",
                ],
                "Provides-Extra": ["far"],
            }[key]

    monkeypatch.setattr(doctor_checks.metadata, "metadata", lambda _: Declared())
    core, far = check_extras()
    assert core.level == "fail"
    assert "pyarrow" in core.seen
    assert "numpy" not in core.seen
    assert (far.level, far.seen) == ("note", "no-such-thing is missing")
    assert far.todo == "pip install 'scope_ml[far]'"


def test_broken_class_file_is_a_failure_that_names_it(tmp_path):
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "abc.yaml").write_text("tag: abc\nlabel: x\nkind: neither\n")
    (check,) = check_configuration(tmp_path)
    assert check.level == "fail"
    assert "abc.yaml" in check.seen


def test_text_is_aligned_and_says_what_to_type():
    checks = [
        Check(group="one", name="a", level="ok", seen="fine"),
        Check(group="one", name="longer", level="fail", seen="word " * 60, todo="type this"),
        Check(group="two", name="b", level="note", seen="not there"),
    ]
    text = render(checks)
    lines = text.splitlines()
    assert lines[0] == "one"
    assert lines[1].index("fine") == lines[2].index("word") == lines[3].index("word")
    assert max(map(len, lines)) <= 118
    assert "-> type this" in text
    assert lines[-1] == "1 ok, 1 not there and not needed, 1 failed"


def test_misspelt_option_is_one_line():
    with pytest.raises(ConfigError, match="unknown key 'timeouts'"):
        build(Doctor, {"timeouts": 3})
    assert build(Doctor, {"machine": {"device": "gpu"}}).machine == Machine(device="gpu")
