"""The only door to MLflow: a quiet import, a client whose database exists, and MLflow's errors as one line of ours.

MLflow is imported inside functions, takes seconds, and is never touched with ``tracking=off``.
May import `settings` and the floors below.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scope_ml.errors import BackendUnavailableError, ScopeError, ServiceError
from scope_ml.tracking.settings import artifact_root, between_processes, database_path, redact

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["Connection", "connect", "mlflow_errors"]

#: What MLflow would do by itself at import or while logging: report usage over the network, look for uv
#: projects, draw bars, print addresses, look into the process's environment.
QUIET_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
}

#: A server that is not there is reported after seconds, not after MLflow's many minutes of repetitions.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}


#: Longest piece of a message of MLflow's in one of ours.
REASON_LENGTH = 200

#: What a message of MLflow's that holds this means.
KNOWN_REASONS = {
    "Max retries exceeded": "it does not answer",
    "database is locked": "another process keeps the database locked; try again when it has ended",
    "readonly database": "the database is read-only for you",
    "unable to open database": "the database cannot be opened by you",
}

#: Loggers that would tell a user what one line of ours says better.
NOISY_LOGGERS = {
    "mlflow": logging.ERROR,
    "mlflow.store.db.utils": logging.CRITICAL,
    "alembic": logging.WARNING,
    "urllib3.connectionpool": logging.ERROR,
}


class Connection:
    """A client of one MLflow address and the experiment in it.

    Attributes
    ----------
    uri
        The checked address.
    client
        MLflow's own client of runs and registry.
    experiment_id
        Id of the experiment, None if it does not exist yet and was not to be made.
    """

    def __init__(self, uri: str, client: MlflowClient, experiment_id: str | None) -> None:
        self.uri = uri
        self.client = client
        self.experiment_id = experiment_id

    def __repr__(self) -> str:
        """Return the address without anything secret."""
        return f"Connection({redact(self.uri)!r})"

    @contextmanager
    def as_default(self) -> Iterator[None]:
        """Make this address MLflow's default of the process for a moment: parts of the registry read only that."""
        import mlflow

        before = os.environ.get("MLFLOW_TRACKING_URI")
        mlflow.set_tracking_uri(self.uri)
        try:
            yield
        finally:
            # None takes MLflow's environment variable away again.
            mlflow.set_tracking_uri(before)


def connect(uri: str, experiment: str, *, create: bool = True) -> Connection:
    """Return a client of a checked address; its database and experiment are made first if `create`.

    Raises
    ------
    BackendUnavailableError
        If MLflow is not installed.
    OutputError
        If the database cannot be made.
    ServiceError
        If the database or server does not answer.
    """
    client_class = _import_client()
    with mlflow_errors(uri, "open"), between_processes(uri), warnings.catch_warnings():
        # Deprecations that MLflow meets in SQLAlchemy are nothing that our users can mend.
        warnings.simplefilter("ignore")
        client = client_class(tracking_uri=uri, registry_uri=uri)
        # Both stores make or check their tables at the first question.
        found = client.get_experiment_by_name(experiment)
        client.search_registered_models(max_results=1)
        if found is None and create:
            made = client.create_experiment(experiment, artifact_location=artifact_root(uri))
            # MLflow's page opens on language models unless it is told what an experiment is about.
            client.set_experiment_tag(made, "mlflow.experimentKind", "custom_model_development")
            return Connection(uri, client, made)
        if found is not None and found.lifecycle_stage == "deleted" and create:
            client.restore_experiment(found.experiment_id)
    return Connection(uri, client, found.experiment_id if found is not None else None)


def _import_client() -> Any:
    for variable, value in (QUIET_ENVIRONMENT | PATIENCE).items():
        os.environ.setdefault(variable, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mlflow import MlflowClient
    except ImportError as error:
        raise BackendUnavailableError(
            f"recording runs needs MLflow, which is not installed ({error});"
            " type pip install 'scope_ml[tracking]', or add tracking=off"
        ) from error
    for name, level in NOISY_LOGGERS.items():
        logging.getLogger(name).setLevel(level)
    return MlflowClient


@contextmanager
def mlflow_errors(uri: str, doing: str) -> Iterator[None]:
    """Turn the errors of MLflow, its database and its transport into one `ServiceError` without credentials."""
    try:
        yield
    except ScopeError:
        raise
    except _foreign_errors() as error:
        reason = _reason(error)
        where = "the database file" if database_path(uri) is not None else "the server"
        message = f"MLflow at {redact(uri)} could not {doing}: {reason}; check {where}, or add tracking=off"
        # The cause could quote the address whole, so that it is not chained where that holds credentials.
        raise ServiceError(message) from (error if redact(uri) == uri else None)


def _reason(error: BaseException) -> str:
    """Return an error of MLflow's in one short line."""
    text = " ".join(redact(str(error)).split()).removeprefix("INTERNAL_ERROR: ")
    for sign, meaning in KNOWN_REASONS.items():
        if sign in text:
            return meaning
    # The statement that failed is nothing that a user typed.
    text = text.partition(" [SQL:")[0]
    return text[:REASON_LENGTH] + ("..." if len(text) > REASON_LENGTH else "")


def _foreign_errors() -> tuple[type[BaseException], ...]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    found: list[Any] = [MlflowException, SQLAlchemyError, sqlite3.Error, OSError]
    return tuple(found)
