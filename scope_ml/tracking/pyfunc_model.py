"""A bundle as an MLflow model, without pickle: MLflow keeps the folder, and `pyfunc` knows how to load it.

Goes through MLflow's client step by step (make the model, write its folder, hand it over, finish it): MLflow's
one-call `log_model` would load the model once to look into it, and with it TensorFlow.
May import `records` and the floors below; used by `mlflow_runs`.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from importlib import metadata as package_metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_ml.core.provenance import code_version
from scope_ml.tracking.records import BUNDLE_FOLDER, LoggedModel, ModelRecord
from scope_ml.tracking.settings import local_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["LOADER_MODULE", "MODEL_TAG", "log_bundle", "logged_model"]

#: Module that MLflow calls to load a bundle.
LOADER_MODULE = "scope_ml.tracking.pyfunc"

#: Tag of a run that names the model it kept.
MODEL_TAG = "scope.model_id"

#: Packages that an algorithm needs where it is served, first found first (two names of the same package).
NEEDED = {"xgb": (("xgboost-cpu", "xgboost"),), "dnn": (("keras",), ("tensorflow-cpu", "tensorflow"))}
NEEDED_ALWAYS = (("numpy",), ("pyarrow",))


def log_bundle(client: MlflowClient, run_id: str, experiment_id: str, record: ModelRecord) -> LoggedModel:
    """Keep the bundle of `record` as a model of the run and return its id."""
    from mlflow import pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    model = client.create_logged_model(
        experiment_id, name=record.run_name, source_run_id=run_id, model_type="classifier", tags=record.tags()
    )
    described = Model(
        artifact_path=model.artifact_location, model_uuid=model.model_id, run_id=run_id, model_id=model.model_id
    )
    with tempfile.TemporaryDirectory(prefix="scope-ml-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bundle = Path(scratch) / BUNDLE_FOLDER
        shutil.copytree(record.folder, bundle)
        folder = Path(scratch) / "model"
        pyfunc.save_model(
            path=str(folder),
            mlflow_model=described,
            loader_module=LOADER_MODULE,
            data_path=str(bundle),
            pip_requirements=_requirements(record.algorithm),
            signature=_signature(record),
            input_example=_example(record),
        )
        client.log_model_artifacts(model.model_id, str(folder))
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.finalize_logged_model(model.model_id, "READY")
    # Last of all: a run with this tag has a whole model.
    client.set_tag(run_id, MODEL_TAG, model.model_id)
    return LoggedModel(model_id=model.model_id, run_id=run_id)


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


def _signature(record: ModelRecord) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    # A feature may be missing for a light curve: NaN, never a missing column.
    inputs = Schema([ColSpec("double", name) for name in record.features])
    return ModelSignature(inputs=inputs, outputs=Schema([ColSpec("float", "score")]))


def _example(record: ModelRecord) -> Any:
    import pandas as pd

    return pd.DataFrame({name: [0.0] for name in record.features})


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
