"""The registry of models: versions of ``scope-<tag>-<algorithm>``, their aliases, and who becomes champion.

Registering the same bundle twice changes nothing. Who becomes champion is written down before the alias moves, so that
a command that was killed in between is completed by typing it again.
May import `connection`, `promotion`, `records`, `registry_history` and below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scope_ml.errors import ModelNotFoundError, ServiceError
from scope_ml.tracking.connection import Connection, connect, mlflow_errors
from scope_ml.tracking.promotion import Decision, Policy, decide
from scope_ml.tracking.records import BUNDLE_FOLDER, LoggedModel, ModelRecord, ModelVersion
from scope_ml.tracking.registry_history import (
    HISTORY_TAG,
    REASON_TAG,
    How,
    extended,
    merged_history,
    who,
    write_history,
)
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
OURS = "name LIKE 'scope-%'"


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

    def names(self) -> tuple[str, ...]:
        """Return the names of our models, sorted."""
        with mlflow_errors(self._connection.uri, "list the models"):
            return tuple(sorted({str(found.name) for found in self._all_versions(OURS)}))

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Return the versions of one model, newest first; empty if there is no such model."""
        with mlflow_errors(self._connection.uri, f"list the versions of {name}"):
            aliases = self._aliases(name)
            return tuple(self._read(found, aliases) for found in self._all_versions(f"name = '{name}'"))

    def with_alias(self, alias: str) -> tuple[ModelVersion, ...]:
        """Return the version with `alias` of each of our models that has one, sorted by name."""
        found: list[ModelVersion] = []
        token = None
        with mlflow_errors(self._connection.uri, f"list the models with alias {alias}"):
            while True:
                page = self._client.search_registered_models(OURS, max_results=500, page_token=token)
                for model in page:
                    if alias in (model.aliases or {}):
                        version = self._client.get_model_version(model.name, str(model.aliases[alias]))
                        found.append(self._read(version, model.aliases))
                token = page.token
                if not token:
                    return tuple(sorted(found, key=lambda version: version.name))

    def register(
        self, record: ModelRecord, model: LoggedModel, policy: Policy, *, how: How = "register", by: str | None = None
    ) -> Registration:
        """Make `model`, which holds the bundle of `record`, a version of its name and decide about its alias.

        The same bundle is registered once; its alias is decided anew each time.
        """
        with between_processes(self._connection.uri), mlflow_errors(self._connection.uri, f"register {record.name}"):
            existing = self.versions(record.name)
            own = next((v for v in existing if v.digest == record.digest and self.is_whole(v)), None)
            champion = _champion(existing)
            # If its files are gone nobody can use it, and nobody is compared with it.
            rival = champion if champion is not None and self.is_whole(champion) else None
            decision = decide(record, rival, policy)
            number = own.version if own is not None else self._create(record, model)
            if decision.alias == "champion" and (own is None or "champion" not in own.aliases):
                self._crown(existing, record.name, number, how=how, by=by, why=decision.reason)
            elif decision.alias is not None:
                self._set_alias(record.name, number, decision, own)
            elif own is None:
                self._client.set_model_version_tag(record.name, str(number), REASON_TAG, decision.reason)
            after = next(v for v in self.versions(record.name) if v.version == number)
        return Registration(version=after, decision=decision, is_new=own is None)

    def promote(
        self,
        name: str,
        number: int,
        *,
        instead_of: int | None,
        how: How,
        by: str | None,
        why: str,
        numbers: Mapping[str, Any] | None = None,
    ) -> ModelVersion:
        """Make version `number` the champion of `name`, write down who did it and why, and return it.

        Parameters
        ----------
        instead_of
            The champion that the decision was made against.

        Raises
        ------
        ServiceError
            If there is another champion by now, or the registry cannot be written.
        """
        with between_processes(self._connection.uri), mlflow_errors(self._connection.uri, f"promote {name}"):
            existing = self.versions(name)
            champion = _champion(existing)
            now = champion.version if champion is not None else None
            if now != instead_of:
                raise ServiceError(
                    f"the champion of {name} is version {now} by now, no longer {instead_of};"
                    " type the same command again"
                )
            self._crown(existing, name, number, how=how, by=by, why=why, numbers=numbers)
            return next(v for v in self.versions(name) if v.version == number)

    def tag(self, version: ModelVersion, key: str, value: str) -> None:
        """Set one tag of a version."""
        with mlflow_errors(self._connection.uri, f"tag {version.name} version {version.version}"):
            self._client.set_model_version_tag(version.name, str(version.version), key, value)

    def tags(self, version: ModelVersion) -> dict[str, str]:
        """Return all tags of a version."""
        with mlflow_errors(self._connection.uri, f"read {version.name} version {version.version}"):
            return dict(self._client.get_model_version(version.name, str(version.version)).tags)

    def is_whole(self, version: ModelVersion) -> bool:
        """Say whether the files of a version are there; of a server's nothing is known."""
        local = local_folder(self._location(version))
        return local is None or (local / "data" / BUNDLE_FOLDER).is_dir()

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
            try:
                Path(fetched).rename(kept)
            except OSError:
                # Another process fetched it meanwhile.
                if not kept.is_dir():
                    raise
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
                description=f"{record.run_name}: validation AP {record.validation}, test AP {record.test}",
                await_creation_for=0,
            )
        return int(made.version)

    def _crown(
        self,
        existing: Sequence[ModelVersion],
        name: str,
        number: int,
        *,
        how: How,
        by: str | None,
        why: str,
        numbers: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down that a version becomes champion, then move the alias."""
        champion = _champion(existing)
        before = champion.version if champion is not None else None
        history = merged_history(version.history for version in existing)
        entry = extended(history, number, before, how=how, by=by or who(), why=why, **(numbers or {}))
        own = next((version for version in existing if version.version == number), None)
        kept = [one for one in (own.history if own is not None else ()) if one.number != entry.number]
        self._client.set_model_version_tag(name, str(number), HISTORY_TAG, write_history([*kept, entry]))
        self._client.set_model_version_tag(name, str(number), REASON_TAG, why)
        self._client.set_registered_model_alias(name, "champion", str(number))
        if own is not None and "challenger" in own.aliases:
            self._client.delete_registered_model_alias(name, "challenger")

    def _set_alias(self, name: str, number: int, decision: Decision, before: ModelVersion | None) -> None:
        """Set an alias that makes no new champion."""
        if before is None or before.reason != decision.reason:
            self._client.set_model_version_tag(name, str(number), REASON_TAG, decision.reason)
        held = before.aliases if before is not None else ()
        if decision.alias is not None and decision.alias not in held:
            self._client.set_registered_model_alias(name, decision.alias, str(number))

    def _all_versions(self, which: str) -> list[Any]:
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_model_versions(which, max_results=1000, page_token=token)
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
        made = found.creation_timestamp
        return ModelVersion.from_tags(found.name, int(found.version), held, found.tags, created_ms=made)

    def _location(self, version: ModelVersion) -> str:
        with mlflow_errors(self._connection.uri, f"find the files of {version.name} version {version.version}"):
            return str(self._client.get_model_version_download_uri(version.name, str(version.version)))


def _champion(versions: Sequence[ModelVersion]) -> ModelVersion | None:
    return next((version for version in versions if "champion" in version.aliases), None)
