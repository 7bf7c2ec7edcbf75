"""Comparing folders of bundles: page, table, JSON; bundles that are broken, twice there, or not there."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, ModelNotFoundError, OutputError
from scope_ml.models.algorithms import configure
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.intervals import evaluate
from scope_ml.models.preparation import Preparation, PreparationConfig
from scope_ml.models.record import BundleRecord, Provenance, write_record
from scope_ml.stages.compare import Compare, run, write_comparison
from scope_ml.taxonomy.graph import Taxonomy


def write_bundle(folder: Path, taxonomy: Taxonomy, tag: str, seed: int, split: str = "s") -> None:
    """Write the record of a model, and a file where the model would be: nothing may load it."""
    rng = np.random.default_rng(seed)
    y = (np.arange(60) < 15).astype(int)
    score = np.clip(0.4 * y + rng.uniform(0, 0.6, 60), 0, 1)
    metrics = {part: evaluate(y, score, np.arange(60), threshold=0.5, n_resamples=10) for part in ("val", "test")}
    record = BundleRecord(
        spec=taxonomy[tag],
        algorithm=configure({"name": "xgb"}),
        features=FeatureRecord(names=("skew",)),
        preparation=Preparation.fit(np.ones((3, 1)), ("skew",), PreparationConfig(impute="zero")),
        threshold=0.5,
        seed=seed,
        metrics=metrics,
        provenance=Provenance(split_digest=split),
    )
    folder.mkdir(parents=True)
    (folder / "model.ubj").write_bytes(b"not a model")
    write_record(record, folder, ["model.ubj"])


@pytest.fixture
def models(tmp_path: Path, taxonomy: Taxonomy) -> Path:
    """Return a folder with two seeds of rrlyr, one of ea, and reports of classes that are not there."""
    folder = tmp_path / "models"
    for tag, seed in (("rrlyr", 1), ("rrlyr", 2), ("ea", 1)):
        write_bundle(folder / tag / "xgb" / f"seed_{seed}", taxonomy, tag, seed)
    facts: dict[str, Any] = {"skipped": [{"tag": "o", "algorithm": "xgb", "reason": "0 positive stars"}]}
    facts["failed"] = [{"tag": "f", "algorithm": "dnn", "seed": 3, "reason": "the loss is not a number"}]
    for name in ("o/xgb", "."):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "report.json").write_text(json.dumps({"facts": facts}))
    return folder


@pytest.fixture
def compare(models: Path, tmp_path: Path) -> Callable[..., Report]:
    def call(**changes: Any) -> Report:
        values = {"models": str(models), "output": str(tmp_path / "out" / "comparison.html")}
        return run(build(Compare, values | changes), progress=NullProgress())

    return call


def test_page_table_and_numbers_hold_the_same_models(compare: Callable[..., Report], tmp_path: Path) -> None:
    report = compare(title="Two classes")
    assert report.facts == {"n_classes": 2, "n_models": 3, "n_skipped": 2}
    assert report.warnings == ()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "comparison.csv",
        "comparison.html",
        "comparison.json",
    ]
    with (tmp_path / "out" / "comparison.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["class"], row["model"]) for row in rows] == [
        ("ea", "seed 1"),
        ("rrlyr", "seed 1"),
        ("rrlyr", "seed 2"),
    ]
    plain = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert {one["tag"] for one in plain["classes"]} == {"ea", "rrlyr"}
    found = [model for one in plain["classes"] for model in one["algorithms"]["xgb"]["models"]]
    assert [str(model["f1"]) for model in found] == [row["f1"] for row in rows]
    assert {tuple(one.values()) for one in plain["skipped"]} == {
        ("o", "xgb", "0 positive stars"),
        ("f", "dnn, seed 3", "the loss is not a number"),
    }
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "Two classes" in page
    assert "the loss is not a number" in page


def test_the_same_models_give_the_same_bytes(compare: Callable[..., Report], models: Path, tmp_path: Path) -> None:
    compare()
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    # A folder and one inside it: every bundle counts once.
    compare(models=[str(models), str(models / "rrlyr")])
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first


def test_a_broken_bundle_is_named_and_the_others_are_compared(compare: Callable[..., Report], models: Path) -> None:
    (models / "ea" / "xgb" / "seed_1" / "curves.json").write_text("{")
    hidden = models / ".ea.123-abc.tmp"
    hidden.mkdir()
    (hidden / "bundle.json").write_text("{")
    report = compare()
    assert report.facts == {"n_classes": 1, "n_models": 2, "n_skipped": 3}


def test_other_splits_are_said(compare: Callable[..., Report], models: Path, taxonomy: Taxonomy) -> None:
    write_bundle(models / "agn" / "xgb" / "seed_1", taxonomy, "agn", 1, split="another")
    (line,) = compare().warnings
    assert "2 different splits" in line


def test_skipped_classes_alone_are_a_page_and_nothing_at_all_is_an_error(
    compare: Callable[..., Report], models: Path, tmp_path: Path
) -> None:
    report = compare(models=str(models / "o"))
    assert report.facts == {"n_classes": 0, "n_models": 0, "n_skipped": 2}
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "absent"):
        with pytest.raises(ModelNotFoundError, match=f"no model bundle in .*{folder} or below; give models=FOLDER"):
            compare(models=str(tmp_path / folder))
    with pytest.raises(ConfigError, match=r"ends in \.html"):
        compare(output="comparison.pdf")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another"):
        compare(output=str(tmp_path / "file" / "comparison.html"))


def test_no_model_is_loaded(models: Path, tmp_path: Path) -> None:
    heavy = {"xgboost", "tensorflow", "keras", "mlflow", "matplotlib"}
    before = heavy & set(sys.modules)
    comparison = write_comparison([models], tmp_path / "page.html")
    assert len(comparison.rows) == 3
    assert heavy & set(sys.modules) == before
