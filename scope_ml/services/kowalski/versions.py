"""Which version of a catalogue the service has: a digest of its name and size, remembered between runs.

`<cache>/versions.json` keeps sizes, so that a second run asks nothing, not even for log-in; `refresh` asks again. Another size
is another version and another folder of the cache. May import io, core, errors and `replies`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from scope_ml.core.provenance import digest_json
from scope_ml.errors import OutputError, ReplyError
from scope_ml.io.atomic import atomic_path
from scope_ml.services.kowalski.replies import data_of

__all__ = ["Versions", "catalog_folder", "version_of"]

#: The file in the cache.
FILE = "versions.json"

#: Version of the file.
FORMAT = 1

Ask = Callable[..., bytes]


def version_of(catalog: str, count: int) -> str:
    """Return the version of a catalogue of `count` documents, a SHA-256 hex digest."""
    return digest_json({"catalog": catalog, "estimated_document_count": count})


def catalog_folder(cache: Path | str, catalog: str, version: str) -> Path:
    """Return the folder of the cache that holds what this version of a catalogue answered."""
    return Path(cache) / f"{quote(catalog, safe='')}-{version[:12]}"


class Versions:
    """Versions of catalogues, asked once and remembered; threads may share it.

    Parameters
    ----------
    ask
        `client.Asks.ask`.
    cache
        Folder of the file; None remembers for the life of this object only.
    refresh
        Whether to ask even for what the file says.
    """

    def __init__(self, ask: Ask, cache: Path | None, *, refresh: bool = False) -> None:
        self._ask = ask
        self._file = None if cache is None else Path(cache) / FILE
        self._refresh = refresh
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()

    def version(self, catalog: str) -> str:
        """Return the version of a catalogue.

        Raises
        ------
        ConfigError
            If the service has no such catalogue.
        ServiceError
            If it does not answer.
        OutputError
            If the cache cannot be written.
        """
        with self._lock:
            if catalog not in self._known:
                count = None if self._refresh else self._kept(catalog)
                if count is None:
                    count = self._count(catalog)
                    self._keep(catalog, count)
                self._known[catalog] = version_of(catalog, count)
            return self._known[catalog]

    def _count(self, catalog: str) -> int:
        query = {"query_type": "estimated_document_count", "query": {"catalog": catalog}}
        count = data_of(self._ask(query, catalog=catalog))
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ReplyError(f"Kowalski says that catalogue '{catalog}' has {count!r:.50} documents; that is no number")
        return count

    def _kept(self, catalog: str) -> int | None:
        entry = self._entries().get(catalog)
        count = entry.get("count") if isinstance(entry, Mapping) else None
        return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None

    def _entries(self) -> dict[str, Any]:
        """Return what the file says; a file that is broken says nothing and is written anew."""
        try:
            content = json.loads(self._file.read_text()) if self._file is not None else {}
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        except OSError as error:
            raise OutputError(
                f"cannot read {self._file}: {error.strerror}; choose another service.kowalski.cache"
            ) from error
        entries = content.get("catalogs") if isinstance(content, dict) and content.get("format") == FORMAT else None
        return entries if isinstance(entries, dict) else {}

    def _keep(self, catalog: str, count: int) -> None:
        if self._file is None:
            return
        # Read again: another process may have written in between. What both write at once is asked again, no more.
        asked = datetime.now(UTC).isoformat(timespec="seconds")
        entries = self._entries() | {catalog: {"count": count, "version": version_of(catalog, count), "asked": asked}}
        try:
            with atomic_path(self._file) as temporary:
                temporary.write_text(json.dumps({"format": FORMAT, "catalogs": entries}, indent=1, sort_keys=True))
        except OutputError as error:
            raise OutputError(
                f"{str(error).partition('; ')[0]}; give another folder with service.kowalski.cache=FOLDER, or null to keep"
                " nothing"
            ) from error
