"""From the quadrants of a field to its scores, by the doors: measured, scored by two processes, gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from scope_ml.io.tables import read_table
from scope_ml.tracking.lock import read_lock

SMALL = ["period_search=smoke", "machine.workers=2"]

#: The one quadrant of this field of the simulated survey that has light curves.
QUADRANT = "field_000296/ccd_01_quad_1.parquet"


def opened(door: str, *words: str) -> int:
    """Return the exit code of a command."""
    return int(import_module(f"scope_ml.{door}").DOOR.open([*words, "hydra.run.dir=outputs"]))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a survey, the features of a field and a model of all of it."""
    folder = tmp_path_factory.mktemp("fields")
    source = ["source=survey", f"source.path={folder}/survey"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert opened("simulate", "n_sources=80", "seed=3", "output=survey") == 0
        target = ["target=field", "target.field=296", "output=results/features", "executor.processes=1"]
        assert opened("generate_features", *source, *target, *SMALL) == 0
        assert opened("generate_features", *source, "output=all.parquet", *SMALL) == 0
        words = [
            "class=vnv",
            "algorithm=xgb",
            "algorithm.n_rounds=5",
            "dataset.path=null",
            "dataset.features=all.parquet",
        ]
        words += ["dataset.labels=survey/labels.parquet", "fit.n_resamples=10", "fit.permutation_importance=false"]
        assert opened("train", *words, "tracking=off", "plots=false", "output=models/vnv/xgb") == 0
    return folder


@pytest.fixture
def infer(work: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.chdir(work)
    return lambda *words: opened("infer", "models=models", "tracking=off", *words)


def test_a_field_is_scored_from_its_quadrants(
    infer: Callable[..., int], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert infer("field=296", "executor=local", "executor.processes=2") == 0
    folder = work / "results" / "scores" / "field_000296"
    features = read_table(work / "results" / "features" / QUADRANT).data
    assert features.num_rows > 10
    dataset = ds.dataset(folder, format="parquet")
    assert len(dataset.files) == 64
    scores = dataset.to_table()
    for name in ("id", "n_obs", "field"):
        assert scores[name].to_pylist() == features[name].to_pylist()
    meta = json.loads((folder / "_meta.json").read_text())
    (pin,) = read_lock(folder / "_models.lock.json")
    assert [one["digest"] for one in meta["models"]] == [pin.digest]
    assert (meta["n_quadrants"], meta["n_light_curves"]) == (64, features.num_rows)
    assert meta["quadrants_without_features"] == []
    assert infer(f"features=results/features/{QUADRANT}", "output=alone.parquet") == 0
    assert (work / "alone.parquet").read_bytes() == (work / "results" / "scores" / QUADRANT).read_bytes()
    capsys.readouterr()
    assert infer("field=296", "consistency=cap") == 1
    assert "64 of 64 quadrants failed" in capsys.readouterr().err


def test_mistakes_are_one_line(infer: Callable[..., int], work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert infer("field=297") == 2
    assert capsys.readouterr().err == "infer: error: results/features has no features of field 297; it has 296\n"
    assert infer("field=296", "output=scores.parquet") == 2
    assert "give a folder, such as output=scores\n" in capsys.readouterr().err
    assert infer("features=all.parquet") == 2
    assert "'output' has no value" in capsys.readouterr().err
