"""A bundle as an MLflow model, without pickle: MLflow keeps the folder, and `pyfunc` knows how to load it.

Goes through MLflow's client step by step (make the model, write its folder, hand it over, finish it): MLflow's
one-call `log_model` would load the model once to look into it, and with it TensorFlow.
May import `records` and the floors below; used by `mlflow_runs`.
"""

from __future__ import annotations

import copy
import math
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata as package_metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_ml.core.provenance import code_version
from scope_ml.models.inputs import DMDT_SHAPE
from scope_ml.tracking.pyfunc import OUTPUTS
from scope_ml.tracking.records import BUNDLE_FOLDER, LoggedModel, ModelRecord
from scope_ml.tracking.settings import local_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["LOADER_MODULE", "MODEL_TAG", "artifact_store", "log_bundle", "logged_model"]

#: Module that MLflow calls to load a bundle.
LOADER_MODULE = "scope_ml.tracking.pyfunc"

#: Tag of a run that names the model it kept.
MODEL_TAG = "scope.model_id"

#: Packages that an algorithm needs where it is served, first found first (two names of the same package).
NEEDED = {
    "xgb": (("xgboost-cpu", "xgboost"),),
    "dnn": (("numba",), ("h5py",)),
    "dnn_shared": (("numba",), ("h5py",)),
}
NEEDED_ALWAYS = (("numpy",), ("pyarrow",))

#: Name of MLflow's description of a model.
MODEL_FILE = "MLmodel"


def artifact_store(address: str, uri: str) -> Any:
    """Return MLflow's store of artifacts at an address: a folder, a server, a bucket."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(address, tracking_uri=uri)


def log_bundle(client: MlflowClient, run_id: str, experiment_id: str, record: ModelRecord) -> LoggedModel:
    """Keep the bundle of `record` as a model of the run and return its id."""
    from mlflow.entities import LoggedModelOutput

    model = client.create_logged_model(
        experiment_id, name=record.run_name, source_run_id=run_id, model_type="classifier", tags=record.tags()
    )
    with tempfile.TemporaryDirectory(prefix="scope-ml-") as scratch:
        folder = Path(scratch) / "model"
        _write_model(record, folder, model, run_id)
        artifact_store(model.artifact_location, client.tracking_uri).log_artifacts(str(folder))
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.finalize_logged_model(model.model_id, "READY")
    return LoggedModel(model_id=model.model_id, run_id=run_id)


def _write_model(record: ModelRecord, folder: Path, model: Any, run_id: str) -> None:
    """Write the folder of an MLflow model: what all models of these features have, the bundle, and who it is."""
    kind = _Kind(record.algorithm, record.features, has_images=record.images, has_spread=record.seed is None)
    template = _template(kind)
    folder.mkdir()
    for name, content in template.files.items():
        (folder / name).write_bytes(content)
    bundle = folder / "data" / BUNDLE_FOLDER
    shutil.copytree(record.folder, bundle)
    described = copy.copy(template.described)
    described.artifact_path = model.artifact_location
    described.model_uuid = described.model_id = model.model_id
    described.run_id = run_id
    described.utc_time_created = str(datetime.now(UTC).replace(tzinfo=None))
    described.model_size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    described.save(str(folder / MODEL_FILE))


@dataclass(frozen=True)
class _Kind:
    """What decides how MLflow describes a model: algorithm, inputs, outputs."""

    algorithm: str
    features: tuple[str, ...]
    has_images: bool
    has_spread: bool


@dataclass(frozen=True)
class _Template:
    """What models of a kind have in common: MLflow's description, and its files beside the bundle."""

    described: Any
    files: dict[str, bytes]


@cache
def _template(kind: _Kind) -> _Template:
    """Let MLflow write a model once: its signature, its example and its environments take it a tenth of a second."""
    from mlflow import pyfunc
    from mlflow.models import Model

    described = Model()
    with tempfile.TemporaryDirectory(prefix="scope-ml-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (bundle := Path(scratch) / BUNDLE_FOLDER).mkdir()
        folder = Path(scratch) / "model"
        pyfunc.save_model(
            path=str(folder),
            mlflow_model=described,
            loader_module=LOADER_MODULE,
            data_path=str(bundle),
            pip_requirements=_requirements(kind.algorithm),
            signature=_signature(kind),
            input_example=_example(kind),
        )
        files = {
            path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != MODEL_FILE
        }
    return _Template(described, files)


def logged_model(client: MlflowClient, run: Any) -> LoggedModel | None:
    """Return the whole model that a run of MLflow's kept, or None if it kept none or its files are gone."""
    from mlflow.exceptions import MlflowException

    model_id = run.data.tags.get(MODEL_TAG)
    if model_id is None:
        return None
    try:
        location = client.get_logged_model(model_id).artifact_location
    except MlflowException:
        return None
    folder = local_folder(location)
    if folder is not None and not (folder / "MLmodel").is_file():
        return None
    return LoggedModel(model_id=model_id, run_id=run.info.run_id)


def _signature(kind: _Kind) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    # MLflow would take no whole number for a double, nor a column of nulls, and refuses a missing column with a list of
    # all others: the bundle itself checks its table, and says more.
    columns = [*kind.features, *(("dmdt",) if kind.has_images else ())]
    inputs = Schema([ColSpec(AnyType(), name, required=False) for name in columns])
    outputs = [ColSpec(type_, name) for name, type_ in OUTPUTS.items() if name != "spread" or kind.has_spread]
    return ModelSignature(inputs=inputs, outputs=Schema(outputs))


def _example(kind: _Kind) -> Any:
    import pandas as pd

    columns: dict[str, Any] = {name: [0.0] for name in kind.features}
    return pd.DataFrame(columns | ({"dmdt": [[0.0] * math.prod(DMDT_SHAPE)]} if kind.has_images else {}))


def _requirements(algorithm: str) -> list[str]:
    found = [f"scope_ml=={code_version()}"]
    for names in (*NEEDED_ALWAYS, *NEEDED.get(algorithm, ())):
        for name in names:
            try:
                found.append(f"{name}=={package_metadata.version(name)}")
            except package_metadata.PackageNotFoundError:
                continue
            break
    return found
