"""Looks through a registry for what `cleaning` may remove, and removes it: records by MLflow, then its own clean-up.

In a database file runs, models and their files are gone for good afterwards (MLflow's ``gc``) and the file is made
smaller. Files are removed from the folder ``mlruns`` beside it alone: a copy of a database names the files of the other.
On a server things are marked as deleted; its administrator runs ``mlflow gc``.
May import `registry`, `connection`, `cleaning`, `mlflow_runs` and below.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scope_ml.errors import ModelError
from scope_ml.tracking.cleaning import DAY_MS, CleaningPlan, CleaningRules, Found, RunFacts, VersionFacts, plan_cleaning
from scope_ml.tracking.connection import Connection, connect, mlflow_errors
from scope_ml.tracking.database_copy import copies_beside, while_files_stay
from scope_ml.tracking.mlflow_runs import PARENT_TAG, PROCESS_TAG, is_dead
from scope_ml.tracking.pyfunc_model import MODEL_TAG, artifact_store
from scope_ml.tracking.records import registered_name
from scope_ml.tracking.registry import Registry
from scope_ml.tracking.settings import artifact_root, between_processes, database_path, local_folder

__all__ = ["Housekeeping", "plan_housekeeping"]

#: Runs, models and versions asked for at a time.
PAGE = 1000

#: Stages that MLflow gave versions before there were aliases, and which still say that somebody uses one.
STAGES = frozenset({"Production", "Staging"})


@dataclass(frozen=True, kw_only=True)
class Housekeeping:
    """A plan and what it needs to be carried out."""

    plan: CleaningPlan
    uri: str
    experiment: str
    rules: CleaningRules
    models_of: dict[str, tuple[str, ...]]
    folders: dict[str, Path]
    n_elsewhere: int = 0

    def apply(self, told: Callable[[CleaningPlan], None], advance: Callable[[int], None]) -> tuple[CleaningPlan, str]:
        """Plan again while nobody else changes the registry, tell the plan, and carry it out.

        Returns
        -------
        CleaningPlan, str
            What was removed, and a note about space that could not be freed ("" if all was).

        Raises
        ------
        JobError
            If the registry is being backed up.
        ModelError
            If a copy of the database beside it names the same files.
        ServiceError
            If the registry does not answer.
        """
        database = database_path(self.uri)
        connection = connect(self.uri, self.experiment, create=False)
        with ExitStack() as stack:
            if database is not None:
                stack.enter_context(while_files_stay(database, removing=True))
            stack.enter_context(between_processes(self.uri))
            stack.enter_context(mlflow_errors(self.uri, "clean up"))
            fresh = _looked(connection, self.experiment, self.rules)
            if database is not None:
                _refuse_copies(database, fresh.plan)
            told(fresh.plan)
            for found in fresh.plan.removed:
                _mark(connection, found, fresh.models_of)
                advance(1)
            if database is None:
                note = "the server keeps what was marked as deleted; its administrator frees the space by mlflow gc"
            else:
                note = _gone_for_good(connection, fresh)
        return fresh.plan, note


def plan_housekeeping(uri: str, experiment: str, rules: CleaningRules) -> Housekeeping:
    """Return what can go; nothing is changed.

    Parameters
    ----------
    uri
        Checked address.
    experiment
        MLflow's experiment.
    rules
        What stays.

    Raises
    ------
    ServiceError
        If the registry does not answer.
    """
    connection = connect(uri, experiment, create=False)
    with mlflow_errors(uri, "look through runs and versions"):
        return _looked(connection, experiment, rules)


def _looked(connection: Connection, experiment: str, rules: CleaningRules) -> Housekeeping:
    from mlflow.entities import ViewType

    client = connection.client
    registry = Registry(connection)
    versions = [version for name in registry.names() for version in registry.versions(name)]
    raw = list(_pages(lambda token: client.search_model_versions("", max_results=PAGE, page_token=token)))
    ours = {(version.name, version.version) for version in versions}
    where = [connection.experiment_id] if connection.experiment_id is not None else []
    # Models before runs: a run that begins meanwhile must not leave a model without one.
    models = list(
        _pages(lambda token: client.search_logged_models(where, max_results=PAGE, page_token=token)) if where else ()
    )
    every = list(
        _pages(lambda token: client.search_runs(where, "", ViewType.ALL, max_results=PAGE, page_token=token))
        if where
        else ()
    )
    models_of: dict[str, tuple[str, ...]] = {}
    for model in models:
        models_of[model.source_run_id] = (*models_of.get(model.source_run_id, ()), model.model_id)
    run_of_model = {model.model_id: str(model.source_run_id or "") for model in models}
    facts: dict[tuple[str, int], VersionFacts] = {}
    used: set[str] = set()
    for one in raw:
        held = _models_of_version(client, one, run_of_model)
        used |= held
        facts[one.name, int(one.version)] = VersionFacts(
            created_ms=int(one.creation_timestamp),
            runs=frozenset({str(one.run_id or ""), *(run_of_model[model] for model in held)} - {""}),
            stage=one.current_stage if one.current_stage in STAGES else "",
        )
    now_ms = int(time.time() * 1000)
    plan = plan_cleaning(
        versions,
        [_facts(run) for run in every],
        rules,
        now_ms=now_ms,
        facts=facts,
        needed={run for key, known in facts.items() if key not in ours for run in known.runs},
        orphans=_orphans(models, {run.info.run_id for run in every}, used, now_ms - rules.older_than * DAY_MS),
    )
    folders, n_elsewhere = _own_folders(
        connection.uri,
        [
            *((run.info.run_id, str(run.info.artifact_uri)) for run in every),
            *((model.model_id, str(model.artifact_location)) for model in models),
        ],
        {key for found in plan.removed for key in (found.key, *models_of.get(found.key, ()))},
    )
    sized = tuple(replace(found, bytes=_size(found, models_of, folders)) for found in plan.removed)
    return Housekeeping(
        plan=replace(plan, removed=sized),
        uri=connection.uri,
        experiment=experiment,
        rules=rules,
        models_of=models_of,
        folders=folders,
        n_elsewhere=n_elsewhere,
    )


def _models_of_version(client: Any, version: Any, known: Iterable[str]) -> frozenset[str]:
    """Return the models whose files a version of any name needs; it may name one by id, by folder, or by another version."""
    words = {str(version.model_id or ""), *str(version.source or "").split("/")}
    if not words & set(known):
        location = client.get_model_version_download_uri(version.name, version.version)
        words |= set(str(location).split("/"))
    return frozenset(words & set(known))


def _orphans(models: Iterable[Any], runs: set[str], used: set[str], before_ms: float) -> list[str]:
    """Return the ids of models of ours that are old, whose run is gone, and that nobody uses."""
    return [
        model.model_id
        for model in models
        if model.source_run_id
        and model.source_run_id not in runs
        and model.model_id not in used
        and "scope.bundle_digest" in (model.tags or {})
        and int(model.creation_timestamp) < before_ms
    ]


def _own_folders(uri: str, places: Iterable[tuple[str, str]], going: set[str]) -> tuple[dict[str, Path], int]:
    """Return the folders of runs and models that are in ``mlruns`` beside the database, and how many that go have theirs elsewhere."""
    root = artifact_root(uri)
    own: dict[str, Path] = {}
    n_elsewhere = 0
    for key, place in places:
        folder = local_folder(place)
        if folder is not None and root is not None and folder.resolve().is_relative_to(Path(root).resolve()):
            own[key] = folder
        elif key in going and (folder is None or folder.is_dir()):
            n_elsewhere += 1
    return own, n_elsewhere


def _refuse_copies(database: Path, plan: CleaningPlan) -> None:
    runs = [found.key for found in plan.removed if found.what == "run"]
    copies = copies_beside(database, runs) if runs else ()
    if copies:
        raise ModelError(
            f"{copies[0]} is a copy of {database} and names the same files, which it would lose; move it away or remove"
            " it, then type the same command again: nothing was removed"
        )


def _facts(run: Any) -> RunFacts:
    tags = run.data.tags
    of = (
        registered_name(tags["scope.tag"], tags["scope.algorithm"])
        if {"scope.tag", "scope.algorithm"} <= set(tags)
        else ""
    )
    return RunFacts(
        run_id=run.info.run_id,
        name=run.info.run_name or run.info.run_id,
        of=of,
        is_ours="scope.kind" in tags,
        is_sweep=tags.get("scope.kind") == "sweep",
        is_deleted=run.info.lifecycle_stage == "deleted",
        is_running=run.info.status == "RUNNING" and not is_dead(tags.get(PROCESS_TAG, "")),
        parent=tags.get(PARENT_TAG, ""),
        digest=tags.get("scope.bundle_digest", ""),
        model_id=tags.get(MODEL_TAG, ""),
        at_ms=int(run.info.end_time or run.info.start_time or 0),
    )


def _pages(ask: Callable[[str | None], Any]) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = ask(token)
        yield from page
        token = page.token
        if not token:
            return


def _size(found: Found, models_of: dict[str, tuple[str, ...]], folders: dict[str, Path]) -> int:
    """Return the bytes of the files that go with a run or a model; a version has none of its own."""
    if found.what == "version":
        return 0
    places = [folders.get(key) for key in (found.key, *models_of.get(found.key, ()))]
    return sum(
        path.stat().st_size for place in places if place is not None for path in place.rglob("*") if path.is_file()
    )


def _mark(connection: Connection, found: Found, models_of: dict[str, tuple[str, ...]]) -> None:
    """Take a thing out of what MLflow shows; one that is marked already stays so."""
    from mlflow.exceptions import MlflowException

    client = connection.client
    try:
        if found.what == "version":
            client.delete_model_version(found.name, found.key)
            return
        if database_path(connection.uri) is None:
            # In a database file they are removed for good below; marked only, MLflow would not list them any more.
            for model_id in (found.key,) if found.what == "model" else models_of.get(found.key, ()):
                client.delete_logged_model(model_id)
        if found.what == "run":
            client.delete_run(found.key)
    except MlflowException as error:
        gone = error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE")
        if not gone:
            raise


def _gone_for_good(connection: Connection, looked: Housekeeping) -> str:
    """Remove what is marked, with its files, and give the space back; return a note, "" if all went well.

    As MLflow's ``gc`` does, which by itself would also take what others have marked: it is asked for single ids, but
    takes all deleted models with the runs that it is given, and all deleted experiments.
    """
    removed = looked.plan.removed
    runs = [found.key for found in removed if found.what == "run"]
    models = [model for run in runs for model in looked.models_of.get(run, ())]
    models += [found.key for found in removed if found.what == "model"]
    store: Any = connection.client._tracking_client.store
    if not hasattr(store, "_hard_delete_run") or not hasattr(store, "_hard_delete_logged_model"):
        return "this MLflow cannot remove for good what is marked as deleted; type mlflow gc"
    for model in models:
        _remove_files(connection, looked.folders.get(model), model)
        _removed_once(store._hard_delete_logged_model, model)
    for run in runs:
        _remove_files(connection, looked.folders.get(run), run)
        _removed_once(store._hard_delete_run, run)
    database = database_path(connection.uri)
    if database is None or not removed:
        return ""
    try:
        with closing(sqlite3.connect(database, timeout=10)) as plain:
            plain.execute("VACUUM")
    except sqlite3.OperationalError as error:
        return f"the database file keeps its size for now ({error}); clean again when nothing writes to it"
    if looked.n_elsewhere:
        return (
            f"the files of {looked.n_elsewhere} run(s) and model(s) lie elsewhere than in {artifact_root(connection.uri)}"
            " and were left alone: another registry may use them"
        )
    return ""


def _remove_files(connection: Connection, folder: Path | None, key: str) -> None:
    """Remove the files of a run or a model from a folder that bears its id; others are left alone."""
    if folder is None or key not in folder.parts or not folder.is_dir():
        return
    artifact_store(str(folder), connection.uri).delete_artifacts()
    # MLflow leaves the folder around the artifacts.
    if folder.parent.name == key:
        with suppress(OSError):
            folder.parent.rmdir()


def _removed_once(remove: Callable[[str], None], key: str) -> None:
    """Remove a record; one that an interrupted clean-up removed already is no error."""
    from mlflow.exceptions import MlflowException

    try:
        remove(key)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
