"""A look into a registry's database file without MLflow, for the question "is there anything to do?".

Opening a registry through MLflow takes five to ten seconds, this takes milliseconds. It only ever answers what
saves work: where a table or column is not as expected, it answers None, and the caller asks MLflow.
May import `settings` and `records`.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from scope_ml.tracking.records import BUNDLE_FOLDER, ModelVersion
from scope_ml.tracking.settings import database_path

__all__ = ["Glance", "glance"]

#: Tag of a finished run that holds a bundle.
RUNS = """
    SELECT tags.value FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid
    WHERE tags.key = 'scope.bundle_digest' AND runs.status = 'FINISHED' AND runs.lifecycle_stage = 'active'
"""
VERSIONS = "SELECT name, version, storage_location, creation_time FROM model_versions WHERE status = 'READY'"
TAGS = "SELECT name, version, key, value FROM model_version_tags WHERE key LIKE 'scope.%'"
ALIASES = "SELECT name, version, alias FROM registered_model_aliases"


class Glance:
    """What a registry's database said at one moment.

    Attributes
    ----------
    logged
        Digests of the bundles that finished runs hold.
    """

    def __init__(
        self, logged: frozenset[str], versions: dict[str, list[ModelVersion]], folders: dict[tuple[str, int], Path]
    ) -> None:
        self.logged = logged
        self._versions = versions
        self._folders = folders

    def names(self) -> tuple[str, ...]:
        """Return the names of our models that have a version whose files are there, sorted."""
        return tuple(sorted(name for name in self._versions if name.startswith("scope-")))

    def bundle_folder(self, version: ModelVersion, cache: Path) -> Path:
        """Return the folder with the bundle of a version; `cache` is for registries on a server."""
        del cache
        return self._folders[version.name, version.version]

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Return the versions of one model whose files are there, newest first."""
        return tuple(sorted(self._versions.get(name, ()), key=lambda version: -version.version))


def glance(uri: str) -> Glance | None:
    """Look into the registry at a checked address; None if it has no database file or another one than expected."""
    path = database_path(uri)
    if path is None or not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as database:
            logged = frozenset(value for (value,) in database.execute(RUNS))
            versions, tags, aliases = (database.execute(query).fetchall() for query in (VERSIONS, TAGS, ALIASES))
    except sqlite3.Error:
        return None
    tags_of: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for name, version, key, value in tags:
        tags_of[name, version][key] = value
    aliases_of: dict[tuple[str, int], list[str]] = defaultdict(list)
    for name, version, alias in aliases:
        aliases_of[name, version].append(alias)
    found: dict[str, list[ModelVersion]] = defaultdict(list)
    folders: dict[tuple[str, int], Path] = {}
    for name, version, location, created in versions:
        folder = Path(location or "", "data", BUNDLE_FOLDER)
        if location and folder.is_dir():
            held, known = tuple(sorted(aliases_of[name, version])), tags_of[name, version]
            found[name].append(ModelVersion.from_tags(name, version, held, known, created_ms=created))
            folders[name, version] = folder
    return Glance(logged, dict(found), folders)
