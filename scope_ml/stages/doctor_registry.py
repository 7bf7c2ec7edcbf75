"""The doctor's question to the registry: does it answer, and how many champions has it? Without importing MLflow.

MLflow takes seconds to import; a database file is asked by sqlite3 (read-only) and a server by two short GETs.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from scope_ml.errors import ConfigError
from scope_ml.stages.doctor_checks import Check
from scope_ml.tracking.settings import TrackingConfig, checked_uri, database_path, redact

__all__ = ["check_registry"]

CHAMPION = "champion"
FIRST_MODEL = "dvc repro, or python -m scope_ml.train class=rrlyr dataset.features=... dataset.labels=..."

#: Refusals that better credentials would mend.
UNAUTHORISED = frozenset({401, 403})


def check_registry(tracking: TrackingConfig, environment: Mapping[str, str], *, timeout_s: float) -> Check:
    """Return whether runs can be recorded and how many champions there are.

    Parameters
    ----------
    tracking
        The tracking group of the configuration.
    environment
        Where MLFLOW_TRACKING_USERNAME and the like stand; sent to the server, never shown.
    timeout_s
        Patience with a server [s].
    """
    if not tracking.enabled:
        return _check("note", "off: nothing is recorded", "tracking=local records runs and models")
    try:
        uri = checked_uri(tracking.uri)
    except ConfigError as error:
        return _check("fail", str(error))
    path = database_path(uri)
    if path is not None:
        return _ask_file(path, timeout_s)
    if uri.startswith(("http://", "https://")):
        return _ask_server(uri.rstrip("/"), environment, timeout_s)
    return _check("note", f"{redact(uri)} (a database server is not asked here)", "mlflow ui --backend-store-uri ...")


def _ask_file(path: Path, timeout_s: float) -> Check:
    if not path.exists():
        if not os.access(_existing(path.parent), os.W_OK):
            return _check("fail", f"{path.parent} cannot be written", "choose another tracking.uri=sqlite:///FILE")
        return _check("note", f"{path} does not exist yet", f"made by the first model: {FIRST_MODEL}")
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=timeout_s)
        try:
            query = "SELECT COUNT(*) FROM registered_model_aliases WHERE alias = ?"
            (n_champions,) = connection.execute(query, (CHAMPION,)).fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return _check(
            "fail", f"{path} is not an MLflow database ({error})", "choose another tracking.uri=sqlite:///FILE"
        )
    if not os.access(path, os.W_OK):
        return _check("warn", f"{path}: {n_champions} champions, read-only for you", f"chmod u+w {path}")
    return _champions(str(path), n_champions)


def _ask_server(uri: str, environment: Mapping[str, str], timeout_s: float) -> Check:
    shown = redact(uri)
    n_champions, token = 0, ""
    try:
        while True:
            query = f"{uri}/api/2.0/mlflow/registered-models/search?max_results=1000"
            query += f"&page_token={quote(token)}" if token else ""
            request = Request(query, headers=_authorisation(environment))
            with urlopen(request, timeout=timeout_s) as answer:
                page = json.loads(answer.read())
            for model in page.get("registered_models", []):
                n_champions += sum(alias.get("alias") == CHAMPION for alias in model.get("aliases", []))
            token = page.get("next_page_token", "")
            if not token:
                return _champions(shown, n_champions)
    except HTTPError as error:
        todo = "export MLFLOW_TRACKING_USERNAME=... MLFLOW_TRACKING_PASSWORD=..." if error.code in UNAUTHORISED else ""
        return _check("fail", f"{shown} answers {error.code} {error.reason}", todo or f"is {shown} an MLflow server?")
    except (URLError, TimeoutError, ConnectionError) as error:
        reason = redact(str(getattr(error, "reason", error)))
        return _check("fail", f"{shown} does not answer ({reason})", "start it (mlflow server), or add tracking=off")
    except (ValueError, AttributeError):
        return _check("fail", f"{shown} answers, but not as MLflow does", "check tracking.uri")


def _champions(where: str, n_champions: int) -> Check:
    if not n_champions:
        return _check("note", f"{where}: no champion yet", f"made by the first model: {FIRST_MODEL}")
    return _check("ok", f"{where}: {n_champions} champion{'s' * (n_champions != 1)}")


def _check(level: str, seen: str, todo: str = "") -> Check:
    return Check(group="registry", name="mlflow", level=level, seen=seen, todo=todo)  # type: ignore[arg-type]


def _existing(folder: Path) -> Path:
    """Return `folder` or its closest parent that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _authorisation(environment: Mapping[str, str]) -> dict[str, str]:
    token = environment.get("MLFLOW_TRACKING_TOKEN")
    if token:
        return {"Authorization": f"Bearer {token}"}
    user, password = environment.get("MLFLOW_TRACKING_USERNAME"), environment.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    return {}
