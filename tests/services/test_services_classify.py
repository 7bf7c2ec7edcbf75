"""A star from a service to scores: the same as from files, nothing asked twice, what did not come is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import TableMetadata
from scope_ml.core.report import Report
from scope_ml.features.period_search import PeriodSearch
from scope_ml.features.registry import FEATURES, GROUPS, feature_columns, feature_digest
from scope_ml.io.lightcurves import open_light_curves
from scope_ml.io.tables import read_table, write_table
from scope_ml.stages.classify import Classify, run
from scope_ml.stages.train import Train
from scope_ml.stages.train import run as run_train
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir
from scope_ml.testing.irsa import IrsaServer
from scope_ml.testing.irsa_light_curves import Epochs
from scope_ml.testing.kowalski import KowalskiServer

SEARCH = PeriodSearch(method="ls", max_frequency=3.0, samples_per_peak=2)

#: What the model is trained on: what light curves and catalogues give.
COLUMNS = [
    name
    for name in feature_columns(["basic", "period", "fourier", "alerts", "crossmatch"], "ls")
    if "___" not in name and not name.endswith(("ph_qual", "qualityFlag"))
]

N_TRAINING = 200


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model of rrlyr that looks at a light curve, at Gaia and at alerts."""
    folder = tmp_path_factory.mktemp("models")
    random = np.random.default_rng(0)
    member = (np.arange(N_TRAINING) < N_TRAINING // 4).astype(np.int8)
    ids = np.arange(N_TRAINING) + 1
    columns = {name: random.normal(size=N_TRAINING) + member for name in COLUMNS}
    facts = {"features": COLUMNS, "feature_digest": feature_digest(COLUMNS), "period_search": SEARCH.binding}
    table = pa.table({"id": ids, "source_id": ids, **columns})
    write_table(table, folder / "features.parquet", TableMetadata(kind="features", facts=facts))
    write_table(pa.table({"id": ids, "rrlyr": member}), folder / "labels.parquet", TableMetadata(kind="labels"))
    values = {
        "class": load_classes(packaged_conf_dir())["rrlyr"],
        "algorithm": {"name": "xgb", "n_rounds": 10, "max_depth": 3},
        "dataset": {"features": str(folder / "features.parquet"), "labels": str(folder / "labels.parquet")},
        "fit": {"n_resamples": 20, "permutation_importance": False},
        "tracking": {"enabled": False},
        "plots": False,
        "machine": {"workers": 1},
        "output": str(folder / "rrlyr" / "xgb"),
    }
    run_train(build(Train, values), progress=NullProgress())
    return folder


@pytest.fixture(scope="module")
def survey(kowalski_tables: dict[str, pa.Table], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the survey that the services hold, as files."""
    folder = tmp_path_factory.mktemp("survey")
    for name, table in kowalski_tables.items():
        (folder / name).mkdir()
        pq.write_table(table, folder / name / "part.parquet")
    return folder


@pytest.fixture(scope="module")
def places(kowalski_tables: dict[str, pa.Table], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a file with the places of three stars, and of one that is not there."""
    rows = kowalski_tables["ZTF_sources"].select(["source_id", "ra", "dec"]).to_pylist()
    stars = list({row["source_id"]: (row["ra"], row["dec"]) for row in rows}.values())[:3]
    path = tmp_path_factory.mktemp("stars") / "stars.csv"
    lines = [f"obj_{number}.5,{ra!r},{dec!r}" for number, (ra, dec) in enumerate(stars)]
    path.write_text("\n".join(["name,ra,dec", *lines, "gone,12.5,-89.5", ""]))
    return str(path)


@pytest.fixture
def classify(models: Path, places: str, tmp_path: Path) -> Callable[..., Report]:
    def call(output: str, **changes: Any) -> Report:
        values: dict[str, Any] = {
            "path": places,
            "models": str(models),
            "also": [],
            "page_stars": 1,
            "output": str(tmp_path / output),
            "tracking": {"enabled": False},
            "machine": {"workers": 1},
        }
        return run(build(Classify, values | changes), progress=NullProgress())

    return call


def assert_same(folder: Path, other: Path) -> None:
    """Check that two runs say the same; services send magnitudes in other digits than files have them."""
    mine, theirs = (read_table(one / "scores.csv").data for one in (folder, other))
    exact = ["name", "id", "band", "n_obs", "n_obs_raw", "period_class", "in_doubt"]
    assert mine.select(exact).equals(theirs.select(exact))
    for name in ("period", "rrlyr_xgb"):
        np.testing.assert_allclose(mine[name].to_numpy(), theirs[name].to_numpy(), rtol=1e-6, err_msg=name)
    lost = ["name", "id", "band", "n_obs", "n_obs_raw"]
    mine, theirs = (read_table(one / "unscored.csv", columns=lost).data for one in (folder, other))
    assert mine.equals(theirs)


def test_stars_from_kowalski_are_scored_as_from_files_and_asked_for_once(
    classify: Callable[..., Report], kowalski: KowalskiServer, survey: Path, tmp_path: Path
) -> None:
    services = {"kowalski": {"instances": kowalski.instances, "cache": str(tmp_path / "cache")}}
    options = {
        "source": {"kind": "kowalski", "path": None},
        "service": services,
        "survey": {"collections": {"sources": kowalski.sources}},
    }
    from_files = classify("files", source={"kind": "survey", "path": str(survey)})
    report = classify("kowalski", **options)
    assert_same(tmp_path / "kowalski", tmp_path / "files")
    assert (report.n_in, report.n_out, report.dropped) == (from_files.n_in, from_files.n_out, from_files.dropped)
    assert report.facts["catalogs"] == "kowalski"
    assert report.facts["stars_not_found"] == from_files.facts["stars_not_found"] == 1
    assert not any(said["in_doubt"] for said in report.facts["models"].values())
    features = read_table(tmp_path / "kowalski" / "features.parquet").data
    assert features["Gaia_EDR3__parallax"].null_count < features.num_rows
    began = kowalski.n_requests
    again = classify("kowalski", **options)
    assert kowalski.requests_since(began) == []
    assert again.facts["stars_scored"] == report.facts["stars_scored"] > 0
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if kowalski.token.encode() in path.read_bytes()]


@pytest.fixture(scope="module")
def irsa(survey: Path) -> Iterator[IrsaServer]:
    """Return an archive that holds the survey."""
    with IrsaServer(epochs=Epochs(open_light_curves(survey / "ZTF_sources").chunks())) as server:
        yield server


def test_a_public_star_needs_no_account(
    classify: Callable[..., Report], irsa: IrsaServer, survey: Path, tmp_path: Path
) -> None:
    services = {"irsa": {"light_curves": irsa.light_curves, "cache": str(tmp_path / "cache")}}
    options = {"source": {"kind": "irsa_stars", "path": None}, "service": services}
    report = classify("irsa", **options)
    from_files = classify("files", source={"kind": "survey", "path": str(survey)}, catalogs={"kind": "none"})
    assert report.facts["catalogs"] == "none"
    assert_same(tmp_path / "irsa", tmp_path / "files")
    assert report.facts["stars_scored"] == from_files.facts["stars_scored"]
    assert [row["name"] for row in read_table(tmp_path / "irsa" / "unscored.csv").data.to_pylist()][-1] == "gone"
    n_catalogue = sum(GROUPS[FEATURES[name].group].from_catalogs for name in COLUMNS if name in FEATURES)
    assert 0 < report.facts["models"]["rrlyr_xgb"]["n_unknown"] <= n_catalogue
    assert report.facts["models"]["rrlyr_xgb"]["in_doubt"]
    assert any(line.startswith("there is no catalogue") for line in report.warnings)
    asked = len(irsa.asked)
    classify("irsa", **options)
    assert len(irsa.asked) == asked > 0
