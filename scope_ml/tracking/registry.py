"""The registry of models: versions of ``scope-<tag>-<algorithm>``, their aliases, and who becomes champion.

Registering the same bundle twice changes nothing. May import `connection`, `promotion`, `records` and below.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scope_ml.errors import ModelNotFoundError
from scope_ml.tracking.connection import Connection, connect, mlflow_errors
from scope_ml.tracking.promotion import Decision, Policy, decide
from scope_ml.tracking.records import BUNDLE_FOLDER, LoggedModel, ModelRecord, ModelVersion
from scope_ml.tracking.settings import (
    TrackingConfig,
    between_processes,
    checked_uri,
    database_path,
    local_folder,
    redact,
)

__all__ = ["Registration", "Registry"]

#: Names of ours; other models may live in the same registry.
PREFIX = "scope-"

#: Tag of a version with the reason for its alias.
REASON_TAG = "scope.promotion"


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What registering did: the version as it stands now, the decision, whether the version is new."""

    version: ModelVersion
    decision: Decision
    is_new: bool


class Registry:
    """The models of one MLflow address."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._client = connection.client

    @classmethod
    def open(cls, config: TrackingConfig) -> Registry:
        """Open an existing registry to read; nothing is made.

        Raises
        ------
        ModelNotFoundError
            If there is no database at the address, or tracking is off.
        ServiceError
            If the server does not answer.
        """
        if not config.enabled:
            raise ModelNotFoundError(
                "there is no registry with tracking=off; leave it out, or give models=FOLDER with bundles in it"
            )
        uri = checked_uri(config.uri)
        database = database_path(uri)
        if database is not None and not database.is_file():
            raise ModelNotFoundError(
                f"there is no registry at {uri}; type python -m scope_ml.train class=... to make one,"
                " or give tracking.uri=..."
            )
        return cls(connect(uri, config.experiment, create=False))

    @property
    def uri(self) -> str:
        """Return the address without anything secret."""
        return redact(self._connection.uri)

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Return the versions of one model, newest first; empty if there is no such model."""
        with mlflow_errors(self._connection.uri, f"list the versions of {name}"):
            return tuple(self._read(found, self._aliases(name)) for found in self._all_versions(name))

    def with_alias(self, alias: str) -> tuple[ModelVersion, ...]:
        """Return the version with `alias` of each of our models that has one, sorted by name."""
        found: list[ModelVersion] = []
        token = None
        ours = f"name LIKE '{PREFIX}%'"
        with mlflow_errors(self._connection.uri, f"list the models with alias {alias}"):
            while True:
                page = self._client.search_registered_models(ours, max_results=500, page_token=token)
                for model in page:
                    if alias in (model.aliases or {}):
                        version = self._client.get_model_version(model.name, str(model.aliases[alias]))
                        found.append(self._read(version, model.aliases))
                token = page.token
                if not token:
                    return tuple(sorted(found, key=lambda version: version.name))

    def register(self, record: ModelRecord, model: LoggedModel, policy: Policy) -> Registration:
        """Make `model`, which holds the bundle of `record`, a version of its name and decide about its alias.

        The same bundle is registered once; its alias is decided anew each time.
        """
        with between_processes(self._connection.uri), mlflow_errors(self._connection.uri, f"register {record.name}"):
            existing = self.versions(record.name)
            own = next((v for v in existing if v.digest == record.digest and self._is_whole(v)), None)
            champion = next((v for v in existing if "champion" in v.aliases), None)
            if champion is not None and not self._is_whole(champion):
                # Its files are gone: nobody can use it, and nobody is compared with it.
                champion = None
            decision = decide(record, champion, policy)
            number = own.version if own is not None else self._create(record, model)
            self._set_alias(record.name, number, decision, own)
            after = next(v for v in self.versions(record.name) if v.version == number)
        return Registration(version=after, decision=decision, is_new=own is None)

    def bundle_folder(self, version: ModelVersion, cache: Path) -> Path:
        """Return a local folder with the bundle of a version; one on a server is downloaded into `cache` once.

        Raises
        ------
        ModelNotFoundError
            If the files of the version are gone.
        """
        location = self._location(version)
        local = local_folder(location)
        if local is not None:
            folder = local / "data" / BUNDLE_FOLDER
            if not folder.is_dir():
                raise ModelNotFoundError(
                    f"the files of {version.name} version {version.version} are gone from {folder};"
                    " type python -m scope_ml.register models=FOLDER to put its bundle back, or train it again"
                )
            return folder
        return self._download(version, location, cache)

    def _download(self, version: ModelVersion, location: str, cache: Path) -> Path:
        import tempfile

        from mlflow.artifacts import download_artifacts

        kept = cache / (version.digest or f"{version.name}-{version.version}")
        if kept.is_dir():
            return kept
        cache.mkdir(parents=True, exist_ok=True)
        with (
            mlflow_errors(self._connection.uri, f"send {version.name} version {version.version}"),
            tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as scratch,
            self._connection.as_default(),
        ):
            fetched = download_artifacts(artifact_uri=f"{location}/data/{BUNDLE_FOLDER}", dst_path=scratch)
            Path(fetched).rename(kept)
        return kept

    def _create(self, record: ModelRecord, model: LoggedModel) -> int:
        from mlflow.exceptions import MlflowException

        try:
            tags = {"scope.tag": record.tag, "scope.algorithm": record.algorithm}
            self._client.create_registered_model(record.name, tags=tags)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        with self._connection.as_default():
            made = self._client.create_model_version(
                record.name,
                source=f"models:/{model.model_id}",
                run_id=model.run_id,
                model_id=model.model_id,
                tags=record.tags(),
                description=f"seed {record.seed}, validation AP {record.validation}, test AP {record.test}",
                await_creation_for=0,
            )
        return int(made.version)

    def _set_alias(self, name: str, number: int, decision: Decision, before: ModelVersion | None) -> None:
        if before is None or before.reason != decision.reason:
            self._client.set_model_version_tag(name, str(number), REASON_TAG, decision.reason)
        held = before.aliases if before is not None else ()
        if decision.alias is not None and decision.alias not in held:
            self._client.set_registered_model_alias(name, decision.alias, str(number))
        if decision.alias == "champion" and "challenger" in held:
            self._client.delete_registered_model_alias(name, "challenger")

    def _all_versions(self, name: str) -> list[Any]:
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_model_versions(f"name = '{name}'", max_results=1000, page_token=token)
            found += page
            token = page.token
            if not token:
                return sorted(found, key=lambda version: -int(version.version))

    def _aliases(self, name: str) -> dict[str, Any]:
        from mlflow.exceptions import MlflowException

        try:
            return dict(self._client.get_registered_model(name).aliases or {})
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}

    def _read(self, found: Any, aliases: dict[str, Any]) -> ModelVersion:
        held = tuple(sorted(alias for alias, version in aliases.items() if str(version) == str(found.version)))
        return ModelVersion.from_tags(found.name, int(found.version), held, found.tags)

    def _location(self, version: ModelVersion) -> str:
        with mlflow_errors(self._connection.uri, f"find the files of {version.name} version {version.version}"):
            return str(self._client.get_model_version_download_uri(version.name, str(version.version)))

    def _is_whole(self, version: ModelVersion) -> bool:
        local = local_folder(self._location(version))
        return local is None or (local / "data" / BUNDLE_FOLDER).is_dir()
