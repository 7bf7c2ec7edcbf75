"""One MLflow database for this folder's tests: making one takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scope_ml.tracking.records import ModelRecord
from scope_ml.tracking.settings import TrackingConfig


@pytest.fixture(scope="package")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> TrackingConfig:
    folder = tmp_path_factory.mktemp("tracking")
    return TrackingConfig(uri=f"sqlite:///{folder}/mlflow.db", experiment="tests")


@pytest.fixture(autouse=True)
def _no_run_is_attached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def make_record(tmp_path: Path) -> Callable[..., ModelRecord]:
    """Return a function that makes a folder which stands for a bundle, and its record."""

    def make(tag: str = "rrlyr", seed: int = 1, digest: str = "", **changes: Any) -> ModelRecord:
        folder = tmp_path / f"{tag}-{seed}-{digest}"
        folder.mkdir(exist_ok=True)
        (folder / "bundle.json").write_text("{}")
        values: dict[str, Any] = {
            "folder": folder,
            "tag": tag,
            "algorithm": "xgb",
            "seed": seed,
            "digest": digest or f"digest-{tag}-{seed}",
            "features": ("period_ls", "amplitude"),
            "threshold": 0.7,
            "validation": 0.8,
            "test": 0.7,
            "data_digest": "data",
            "split_digest": "split",
            "config_digest": "config",
            "key": f"key-{tag}-{seed}-{digest}",
        }
        return ModelRecord(**(values | changes))

    return make
