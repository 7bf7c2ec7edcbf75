"""Models out of the registry: served over HTTP, used in batch, moved between a file and a server, both ways."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress, NullRunLogger
from scope_ml.core.report import Report
from scope_ml.errors import ServiceError
from scope_ml.models.algorithms import configure
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.fit import ClassLabels, FitConfig, fit_bundle, training_set
from scope_ml.models.record import Provenance
from scope_ml.stages.register import Register
from scope_ml.stages.register import run as run_register
from scope_ml.stages.registry import RegistryTask, run
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir
from scope_ml.tracking.registry import Registry
from scope_ml.tracking.settings import TrackingConfig

#: Slow: MLflow's servers and commands take many seconds each to start.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NAMES = ("amplitude", "n_ztf_alerts", "skew")
MODEL = "models:/scope-rrlyr-xgb@champion"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelBundle, Path]:
    """A model of three features, one of them a count."""
    rng = np.random.default_rng(0)
    member = rng.random(300) < 0.3
    x = np.column_stack([rng.normal(size=300) + 2 * member, rng.integers(0, 9, 300), rng.normal(size=300)])
    part = rng.choice(3, 300, p=(0.6, 0.2, 0.2)).astype(np.int8)
    settings = configure({"name": "xgb", "n_rounds": 30})
    data = training_set(x, FeatureRecord(names=NAMES), settings.preparation, group=np.arange(300), part=part)
    labels = ClassLabels(
        spec=load_classes(packaged_conf_dir())["rrlyr"], y=member.astype(np.int8), known=np.ones(300, dtype=bool)
    )
    made = fit_bundle(
        data,
        labels,
        settings,
        config=FitConfig(n_resamples=20),
        seed=1,
        provenance=Provenance(data_digest="d", split_digest="s", config_digest="c"),
        log=NullRunLogger(),
    )
    folder = tmp_path_factory.mktemp("models") / "rrlyr"
    return made.save(folder), folder


@pytest.fixture(scope="module")
def registry(bundle: tuple[ModelBundle, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("registry")
    tracking = {"uri": f"sqlite:///{folder}/mlflow.db", "experiment": "served"}
    values = {"models": str(bundle[1]), "output": str(folder / "lock.json"), "tracking": tracking, "plots": False}
    run_register(build(Register, values), progress=NullProgress())
    return tracking


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Rows with missing values, a column of whole numbers and one that no model wants."""
    rng = np.random.default_rng(1)
    return pa.table(
        {
            "name": [f"star {number}" for number in range(20)],
            "skew": [None if number % 5 == 0 else float(value) for number, value in enumerate(rng.normal(size=20))],
            "n_ztf_alerts": rng.integers(0, 9, 20),
            "amplitude": rng.normal(size=20) + np.arange(20) / 10.0,
        }
    )


def environment(registry: dict[str, Any]) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"MLFLOW_TRACKING_URI": str(registry["uri"]), "PATH": path}


def expected(bundle: ModelBundle, rows: pa.Table) -> list[dict[str, Any]]:
    scores = bundle.predict(rows)
    return [{"score": pytest.approx(float(one)), "is_member": bool(one >= bundle.record.threshold)} for one in scores]


def test_a_server_answers_tables_and_says_what_is_wrong_with_others(
    bundle: tuple[ModelBundle, Path], registry: dict[str, Any], table: pa.Table, programs: Any, tmp_path: Path
) -> None:
    port = programs.free_port()
    words = [sys.executable, "-m", "mlflow", "models", "serve", "-m", MODEL, "--env-manager", "local"]
    log = tmp_path / "serve.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*words, "-h", "127.0.0.1", "-p", str(port)],
            env=environment(registry),
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"

    def post(content: Any) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{address}/invocations", json.dumps(content).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    try:
        programs.wait_for(f"{address}/ping", process, log)
        wanted = expected(bundle[0], table)
        assert len({row["is_member"] for row in wanted}) == 2
        split = {"columns": table.column_names, "data": [list(row.values()) for row in table.to_pylist()]}
        assert post({"dataframe_split": split}) == (200, {"predictions": wanted})
        assert post({"dataframe_records": table.to_pylist()}) == (200, {"predictions": wanted})
        # A column of nothing but nulls, and whole numbers throughout.
        bare = [{"skew": None, "n_ztf_alerts": 3, "amplitude": 2}]
        rows = pa.table({"skew": pa.array([None], pa.float64()), "n_ztf_alerts": [3], "amplitude": [2.0]})
        assert post({"dataframe_records": bare}) == (200, {"predictions": expected(bundle[0], rows)})
        status, answer = post({"dataframe_records": [{"skew": 1.0, "n_ztf_alerts": 1}]})
        assert status == 400
        assert "model rrlyr_xgb needs feature(s) that the table lacks: amplitude" in answer["message"]
        status, answer = post({"dataframe_records": [{"skew": "wide", "n_ztf_alerts": 1, "amplitude": 2.0}]})
        assert status == 400
        assert re.search(r"feature skew is a column of (large_)?string, not of numbers", answer["message"])
    finally:
        programs.stop(process)


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_file_is_scored_in_batch(
    bundle: tuple[ModelBundle, Path], registry: dict[str, Any], table: pa.Table, tmp_path: Path, kind: str
) -> None:
    given, answer = tmp_path / f"rows.{kind}", tmp_path / "scores.json"
    if kind == "csv":
        pacsv.write_csv(table, given)
    else:
        given.write_text(json.dumps({"dataframe_records": table.to_pylist()}))
    words = ["mlflow", "models", "predict", "-m", MODEL, "--env-manager", "local", "-i", str(given), "-t", kind]
    done = subprocess.run(
        [sys.executable, "-m", *words, "-o", str(answer)],
        env=environment(registry),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(answer.read_text()) == {"predictions": expected(bundle[0], table)}


def test_champions_move_to_a_server_and_back(
    registry: dict[str, Any], programs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def act(action: str, tracking: dict[str, Any], **values: Any) -> Report:
        return run(build(RegistryTask, {"action": action, "tracking": tracking, **values}), progress=NullProgress())

    def digests(tracking: dict[str, Any]) -> dict[str, str]:
        champions = Registry.open(TrackingConfig(**tracking)).with_alias("champion")
        return {version.name: version.digest for version in champions}

    act("export", registry, output=str(tmp_path / "first"))
    with programs.mlflow_server(f"sqlite:///{tmp_path}/server/mlflow.db", tmp_path / "server" / "artifacts") as address:
        server = {"uri": address, "experiment": "moved"}
        report = act("import", server, path=str(tmp_path / "first"), by="Ann")
        assert (report.facts["n_versions_new"], report.facts["n_runs_new"]) == (1, 1)
        again = act("import", server, path=str(tmp_path / "first"))
        assert (again.facts["n_versions_new"], again.facts["n_runs_new"]) == (0, 0)
        assert digests(server) == digests(registry)
        assert act("list", server).facts["rows"][0]["name"] == "scope-rrlyr-xgb"
        act("export", server, output=str(tmp_path / "second"))
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "scope-rrlyr-xgb").iterdir()}
        for name in ("first", "second")
    )
    assert first == second
    home = {"uri": f"sqlite:///{tmp_path}/home/mlflow.db", "experiment": "home"}
    act("import", home, path=str(tmp_path / "second"))
    assert digests(home) == digests(registry)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ServiceError, match="it does not answer") as caught:
        act("list", server)
    assert "\n" not in str(caught.value)
