"""One collection in memory: documents as BSON, what filters look at, replies' text once made, places on the sky.

May import `core` and what lies beside it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from scope_ml.core.sphere import unit_vectors
from scope_ml.testing.kowalski.documents import (
    NotPlainError,
    as_text,
    head_of,
    matches,
    pack,
    paths,
    project,
    sort_key,
    unpack,
)

__all__ = ["Collection", "named_ids"]

#: Most text that a collection keeps of its replies [bytes]; then it starts anew.
KEEP_BYTES = 1 << 30

#: Most filters of which it keeps which documents match.
KEEP_FILTERS = 8


class Collection:
    """Documents of one catalogue.

    Parameters
    ----------
    indexes
        Fields of each index after that of ``_id``, as pymongo writes them.
    """

    def __init__(self, indexes: Sequence[Sequence[tuple[str, Any]]] = ()) -> None:
        self.indexes = [list(index) for index in indexes]
        #: What the store does not have yet.
        self.unstored: dict[Any, bytes] = {}
        self._raw: dict[Any, bytes] = {}
        self._head: dict[Any, dict[str, Any]] = {}
        self._lock = threading.RLock()
        self._forget()

    def _forget(self) -> None:
        self._texts: dict[str, dict[Any, bytes]] = {}
        self._kept = 0
        self._hits: dict[str, dict[Any, bool]] = {}
        self._sky: tuple[list[Any], npt.NDArray[np.float64]] | None = None

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._raw)

    @property
    def n_bytes(self) -> int:
        """Size of all documents [bytes]."""
        return sum(map(len, self._raw.values()))

    @property
    def ids(self) -> list[Any]:
        """All ``_id``, as inserted."""
        return list(self._raw)

    def insert(self, documents: Iterable[Mapping[str, Any]]) -> int:
        """Add documents, each with an ``_id``; one that is there is replaced. Return how many."""
        return self.insert_raw(map(pack, documents))

    def insert_raw(self, raws: Iterable[bytes]) -> int:
        """Add documents that are BSON already."""
        count = 0
        with self._lock:
            for raw in raws:
                document = unpack(raw)
                key = document["_id"]
                self._raw[key] = self.unstored[key] = raw
                self._head[key] = head_of(document)
                count += 1
            self._forget()
        return count

    def remove(self, ids: Iterable[Any]) -> int:
        """Take documents away; return how many there were."""
        with self._lock:
            gone = [key for key in ids if self._raw.pop(key, None) is not None]
            for key in gone:
                del self._head[key]
                self.unstored.pop(key, None)
            self._forget()
        return len(gone)

    def document(self, key: Any) -> dict[str, Any]:
        """Return one document."""
        return unpack(self._raw[key])

    def raw(self, key: Any) -> bytes:
        """Return one document as BSON."""
        return self._raw[key]

    def select(self, condition: Mapping[str, Any], among: Iterable[Any] | None = None) -> list[Any]:
        """Return the ids that a plain filter chooses: by ``_id`` if it names ids, else as inserted.

        Raises
        ------
        NotPlainError
            The filter is for the store.
        """
        chosen = list(self._raw) if among is None else list(among)
        rest = dict(condition)
        named = named_ids(rest.get("_id"))
        if named is not None:
            del rest["_id"]
            wanted = {key for key in named if key in self._raw}
            chosen = sorted(wanted, key=sort_key) if among is None else [key for key in chosen if key in wanted]
        if not rest:
            return chosen
        fields = paths(rest)
        with self._lock:
            known = self._known(rest)
            for key in chosen:
                if key not in known:
                    head = self._head[key]
                    known[key] = matches(head if self._suffices(key, fields) else self.document(key), rest)
        return [key for key in chosen if known[key]]

    def _known(self, condition: Mapping[str, Any]) -> dict[Any, bool]:
        name = json.dumps(condition, sort_keys=True, default=str)
        if name not in self._hits and len(self._hits) >= KEEP_FILTERS:
            self._hits.clear()
        return self._hits.setdefault(name, {})

    def _suffices(self, key: Any, fields: set[str]) -> bool:
        # A field that is not in the head is missing in the document, or a list of points.
        return fields <= self._head[key].keys()

    def order(self, ids: Sequence[Any], sort: Sequence[Sequence[Any]]) -> list[Any]:
        """Return ids in the order of `sort`, pairs of a field and 1 or -1.

        Raises
        ------
        NotPlainError
            The order is for the store.
        """
        ordered = list(ids)
        for field, direction in reversed(list(sort)):
            if field.startswith("$") or direction not in (1, -1):
                raise NotPlainError("sort")
            ordered.sort(key=lambda key: self._sort_value(key, field), reverse=direction == -1)
        return ordered

    def _sort_value(self, key: Any, field: str) -> tuple[int, Any]:
        value: Any = self._head[key]
        for step in field.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        if isinstance(value, (list, Mapping)):
            raise NotPlainError("sort")
        return sort_key(value)

    def texts(self, ids: Iterable[Any], projection: Mapping[str, Any]) -> list[bytes]:
        """Return the projected documents as they stand in a reply."""
        name = json.dumps(projection)
        with self._lock:
            if self._kept > KEEP_BYTES:
                self._texts.clear()
                self._kept = 0
            known = self._texts.setdefault(name, {})
            found = []
            for key in ids:
                text = known.get(key)
                if text is None:
                    text = known[key] = as_text(project(self.document(key), projection))
                    self._kept += len(text)
                found.append(text)
        return found

    def around(self, longitude: float, latitude: float, least: float, most: float, *, ordered: bool) -> list[Any]:
        """Return the ids of documents `least` to `most` [rad] from a point [deg], the nearest first if `ordered`."""
        ids, places = self._places()
        if not ids:
            return []
        centre = unit_vectors(np.array(longitude), np.array(latitude))
        chord = np.sqrt(((places - centre) ** 2).sum(axis=1))
        apart = 2.0 * np.arcsin(np.minimum(0.5 * chord, 1.0))
        inside = np.flatnonzero((apart >= least) & (apart <= most))
        if ordered:
            inside = inside[np.argsort(apart[inside], kind="stable")]
        return [ids[row] for row in inside.tolist()]

    def _places(self) -> tuple[list[Any], npt.NDArray[np.float64]]:
        with self._lock:
            if self._sky is None:
                found = {}
                for key, head in self._head.items():
                    point = head.get("coordinates", {}).get("radec_geojson", {}).get("coordinates")
                    if point is not None:
                        found[key] = point
                points = np.array(list(found.values()), dtype=np.float64).reshape(-1, 2)
                self._sky = list(found), unit_vectors(points[:, 0], points[:, 1])
            return self._sky


def named_ids(wanted: Any) -> list[Any] | None:
    """Return the ids that a condition on ``_id`` names, or None if it does not name any."""
    if isinstance(wanted, (int, str)) and not isinstance(wanted, bool):
        return [wanted]
    if isinstance(wanted, Mapping) and len(wanted) == 1:
        operator, operand = next(iter(wanted.items()))
        named = {"$in": operand, "$eq": [operand]}.get(operator)
        if isinstance(named, list) and all(isinstance(key, (int, str)) and not isinstance(key, bool) for key in named):
            return named
    return None
