"""`make repro` from light curves to report on a tiny survey; what is not stale is not run again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scope_ml.io.tables import read_table
from scope_ml.models.bundle import bundle_digest
from scope_ml.models.record import read_record
from scope_ml.tracking.lock import read_lock

TINY = """
survey: {n_sources: 240, seed: 1}
period_search: {max_frequency: 3, samples_per_peak: 3}
classes: [vnv, e]
algorithms: [xgb]
seeds: "1,2"
"""


def run(folder: Path, *words: str) -> str:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
    }
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def repro(folder: Path) -> list[str]:
    """Run the pipeline and return the stages that ran."""
    lines = run(folder, sys.executable, "pipelines/repro.py").splitlines()
    return [line.split("'")[1] for line in lines if line.startswith("Running stage")]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("scope_ml", "conf", "pipelines"):
        # Kernels that numba has compiled come along: their cache is valid while times and sizes of the sources are.
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("*.pyc"))
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(root / name, folder / name)
    (folder / ".dvc").mkdir()
    shutil.copy(root / ".dvc" / "config", folder / ".dvc" / "config")
    (folder / "conf" / "pipeline.yaml").write_text(TINY)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


@pytest.mark.timeout(600)
def test_pipeline_runs_to_the_report_and_then_rests(checkout: Path) -> None:
    ran = [
        "survey",
        "features",
        "dataset",
        "train@vnv-xgb",
        "train@e-xgb",
        "evaluate",
        "register",
        "infer",
        "catalogue",
    ]
    assert sorted(repro(checkout)) == sorted([*ran, "report"])
    assert (checkout / "results" / "catalogue" / "catalogue.html").is_file()
    page = (checkout / "results" / "report.html").read_text()
    assert "<svg" in page
    assert "http" not in page.partition("<body")[2].replace("http://www.w3.org", "")
    assert (checkout / "mlflow.db").is_file()
    shown = json.loads(run(checkout, sys.executable, "-m", "dvc", "metrics", "show", "--json"))
    metrics = {Path(path).stem: entry["data"] for path, entry in shown[""]["data"].items()}
    assert sorted(metrics) == ["e_xgb", "vnv_xgb"]
    assert 0.05 < metrics["e_xgb"]["average_precision"] <= 1

    # Nothing is stale; the registry is looked at each time.
    assert repro(checkout) == ["register"]

    # A deleted database is rebuilt from the bundles, nothing is trained again.
    (checkout / "mlflow.db").unlink()
    assert repro(checkout) == ["register"]
    assert (checkout / "mlflow.db").is_file()

    # Editing one class file trains that class alone, and what is scored with is what was trained.
    before = {pin.name: pin.digest for pin in read_lock(checkout / "results" / "models.lock.json")}
    path = checkout / "conf" / "class" / "e.yaml"
    path.write_text(path.read_text().replace("threshold: 0.7", "threshold: 0.6"))
    trained = [stage for stage in repro(checkout) if stage.startswith("train")]
    assert trained == ["train@e-xgb"]
    after = {pin.name: pin.digest for pin in read_lock(checkout / "results" / "models.lock.json")}
    assert after["scope-vnv-xgb"] == before["scope-vnv-xgb"]
    thresholds = {
        bundle_digest(folder.parent): read_record(folder.parent).threshold
        for folder in (checkout / "results" / "models" / "e").rglob("bundle.json")
    }
    assert thresholds[after["scope-e-xgb"]] == 0.6

    # A class that is taken out of the pipeline is no longer scored.
    (checkout / "conf" / "pipeline.yaml").write_text(TINY.replace("[vnv, e]", "[vnv]"))
    assert not [stage for stage in repro(checkout) if stage.startswith("train")]
    scores = read_table(checkout / "results" / "predictions" / "predictions.parquet").data
    assert [name for name in scores.column_names if name.endswith("_xgb")] == ["vnv_xgb"]
