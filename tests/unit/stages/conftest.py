"""A small training set whose class rrlyr can be learnt, and configurations of the training stages on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import TableMetadata
from scope_ml.features.registry import GROUPS, feature_columns, feature_digest
from scope_ml.io.tables import write_table
from scope_ml.stages.train import Train
from scope_ml.stages.train import run as run_train
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir
from scope_ml.taxonomy.graph import Taxonomy

N_STARS = 240

#: Trees that are grown in a moment.
XGB = {"name": "xgb", "n_rounds": 12, "max_depth": 3}


#: Columns that models need.
COLUMNS = feature_columns([name for name, group in GROUPS.items() if group.models_need], "ls")


def feature_table(n_rows: int = N_STARS, seed: int = 0) -> pa.Table:
    """Return features of which `skew` and `period_ls` tell the first fifth of the rows from the others."""
    rng = np.random.default_rng(seed)
    member = np.arange(n_rows) < n_rows // 5
    columns: dict[str, Any] = {
        "id": np.arange(n_rows, dtype=np.int64) + 2**53 + 1,
        "source_id": np.arange(n_rows, dtype=np.int64) + 7,
        "band": ["r"] * n_rows,
        "ra": rng.uniform(0, 360, n_rows),
        "dec": rng.uniform(-30, 80, n_rows),
        "field": pa.array([245] * n_rows, pa.int32()),
    }
    for name in COLUMNS:
        columns[name] = rng.normal(size=n_rows)
    columns["skew"] = rng.normal(size=n_rows) + 1.5 * member
    columns["period_ls"] = np.where(member, rng.uniform(0.3, 0.9, n_rows), rng.uniform(0.1, 300, n_rows))
    return pa.table(columns)


def features_record(**facts: Any) -> TableMetadata:
    """Return the record that `generate_features` gives a table."""
    known = {"features": list(COLUMNS), "feature_digest": feature_digest(COLUMNS), "period_search": {"method": "ls"}}
    return TableMetadata(kind="features", facts=known | facts)


@pytest.fixture(scope="session")
def training_tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the paths of a feature table and of a label table."""
    folder = tmp_path_factory.mktemp("training")
    table = feature_table()
    write_table(table, folder / "features.parquet", features_record())
    member = (np.arange(N_STARS) < N_STARS // 5).astype(np.int8)
    rare = (np.arange(N_STARS) < 3).astype(np.int8)
    labels = pa.table({"id": table["source_id"], "rrlyr": member, "pnp": member, "ea": rare})
    write_table(labels, folder / "labels.parquet", TableMetadata(kind="labels"))
    return folder / "features.parquet", folder / "labels.parquet"


@pytest.fixture(scope="session")
def taxonomy() -> Taxonomy:
    """Return the classes of the project."""
    return load_classes(packaged_conf_dir())


@pytest.fixture(scope="session")
def train_values(training_tables: tuple[Path, Path], taxonomy: Taxonomy) -> Callable[..., Train]:
    """Return a function that builds the configuration of `train`, quick and without tracking unless told otherwise."""
    features, labels = training_tables

    def make(tag: str, **changes: Any) -> Train:
        values: dict[str, Any] = {
            "class": taxonomy[tag],
            "algorithm": XGB,
            "dataset": {"features": str(features), "labels": str(labels)},
            "fit": {"n_resamples": 20, "permutation_importance": False},
            "tracking": {"enabled": False},
            "plots": False,
            "machine": {"workers": 1},
        }
        return build(Train, values | changes)

    return make


@pytest.fixture(scope="session")
def models(train_values: Callable[..., Train], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one bundle of rrlyr and one of pnp, `<tag>/xgb`; nobody may change it."""
    folder = tmp_path_factory.mktemp("models")
    for tag in ("rrlyr", "pnp"):
        run_train(train_values(tag, output=str(folder / tag / "xgb")), progress=NullProgress())
    return folder


@pytest.fixture
def train_config(train_values: Callable[..., Train], tmp_path: Path) -> Callable[..., Train]:
    """Return `train_values` with an output folder of the test's own."""

    def make(tag: str = "rrlyr", **changes: Any) -> Train:
        return train_values(tag, **({"output": str(tmp_path / "models" / tag / "xgb")} | changes))

    return make


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of one MLflow database for the tests of these stages: making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"


@pytest.fixture
def tracking(database: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the tracking group with an experiment of its own."""
    return {"uri": database, "experiment": request.node.name}
