"""The catalogues behind the server: what is plain is answered from memory, all else by the Mongo-compatible store.

Why two roads: the store is right but takes 20 to 70 microseconds a document of the collection for any query, a thousand times what
the real service takes. A test asks both the same questions. A collection goes to the store with the first query that
needs it there. `collstats` and `dbstats`, which the store lacks or takes seconds for, are answered here.
May import what lies beside it.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from scope_ml.testing.kowalski.collection import Collection
from scope_ml.testing.kowalski.documents import NotPlainError, as_raw, as_text
from scope_ml.testing.kowalski.prepared import Prepared
from scope_ml.testing.kowalski.secantus import Secantus

__all__ = ["GEOJSON", "SYSTEM", "Database", "Found"]

GEOJSON = "coordinates.radec_geojson"

#: Collections of Kowalski's own, which only its administrator may see.
SYSTEM = ("users", "filters", "queries")

T = TypeVar("T")

#: Name of the database.
NAME = "kowalski"

#: Arguments of a query that memory knows.
PLAIN_ARGUMENTS = {"skip", "limit", "sort", "comment"}


@dataclass(frozen=True, kw_only=True)
class Found:
    """Documents of an answer, as text, and what is their ``_id`` (None where it was not sent)."""

    ids: list[Any]
    texts: list[bytes]


class Database:
    """Collections by name."""

    def __init__(self) -> None:
        self.collections: dict[str, Collection] = {}
        #: Whether plain queries are answered from memory.
        self.shortcuts = True
        self._stores: list[Secantus] = []
        self._lock = threading.RLock()

    def part(self, names: Iterable[str]) -> Database:
        """Return the database as an instance with only some of the catalogues sees it."""
        seen = copy.copy(self)
        seen.collections = {name: self.collections[name] for name in names if name in self.collections}
        return seen

    def insert(self, name: str, documents: Iterable[Mapping[str, Any]]) -> int:
        """Add documents to a collection, new if need be."""
        return self.collections.setdefault(name, Collection()).insert(documents)

    def insert_raw(self, name: str, raws: Iterable[bytes]) -> int:
        """Add documents that are BSON already."""
        return self.collections.setdefault(name, Collection()).insert_raw(raws)

    def insert_texts(self, name: str, texts: Mapping[int, bytes]) -> int:
        """Add documents whose text in replies is made already."""
        collection = self.collections.setdefault(name, Prepared())
        if not isinstance(collection, Prepared):
            raise TypeError(f"{name} holds documents, and cannot hold prepared text too")
        return collection.insert_texts(texts)

    def index(self, name: str, indexes: Sequence[Sequence[tuple[str, Any]]]) -> None:
        """Say which indexes a collection has."""
        collection = self.collections.setdefault(name, Collection())
        collection.indexes = [list(index) for index in indexes]
        self._unload(name)

    def remove(self, name: str, ids: Iterable[Any] | None = None) -> int:
        """Take documents of a collection away; without `ids` the collection itself."""
        if ids is None:
            count = len(self.collections.pop(name, ()))
        else:
            count = self.collections[name].remove(ids) if name in self.collections else 0
        self._unload(name)
        return count

    def find(self, name: str, condition: Mapping[str, Any], projection: Mapping[str, Any], **arguments: Any) -> Found:
        """Return the documents that `condition` chooses."""
        return self._first(
            lambda: self._memory_find(name, condition, projection, None, arguments),
            lambda: self._stored_find(name, condition, projection, arguments),
        )

    def around(
        self,
        name: str,
        place: Mapping[str, Any],
        condition: Mapping[str, Any],
        projection: Mapping[str, Any],
        **arguments: Any,
    ) -> Found:
        """Return the documents of a circle or ring; `place` is the condition on `GEOJSON` that says it."""
        return self._first(
            lambda: self._memory_find(name, condition, projection, place, arguments),
            lambda: self._stored_around(name, place, condition, projection, arguments),
        )

    def count(self, name: str, condition: Mapping[str, Any], max_time_ms: int) -> int:
        """Return how many documents `condition` chooses."""
        return self._first(
            lambda: len(self.collections.get(name, Collection()).select(condition)),
            lambda: int(self._stored(name).count_documents(dict(condition), maxTimeMS=max_time_ms)),
        )

    def size(self, name: str) -> int:
        """Return how many documents there are."""
        return len(self.collections.get(name, ()))

    def aggregate(self, name: str, pipeline: list[Any], max_time_ms: int, *, disk: bool) -> Found:
        """Return what a pipeline makes of a collection."""
        cursor = self._stored(name).aggregate(pipeline, allowDiskUse=disk, maxTimeMS=max_time_ms)
        return _found(list(cursor))

    def names(self) -> list[str]:
        """Return the catalogues, in reverse alphabetical order."""
        return sorted((name for name in self.collections if name not in SYSTEM), reverse=True)

    def indexes(self, name: str) -> dict[str, Any]:
        """Return the indexes of a collection as pymongo describes them."""
        if name not in self.collections:
            return {}
        found: dict[str, Any] = {"_id_": {"v": 2, "key": [["_id", 1]]}}
        for index in self.collections[name].indexes:
            sphere = {"2dsphereIndexVersion": 3} if any(kind == "2dsphere" for _, kind in index) else {}
            found["_".join(f"{field}_{kind}" for field, kind in index)] = {
                "v": 2,
                "key": [list(pair) for pair in index],
                **sphere,
            }
        return found

    def statistics(self, name: str | None = None) -> dict[str, Any]:
        """Return what ``collstats`` says of a collection, or ``dbstats`` of all."""
        chosen = [self.collections[name]] if name in self.collections else []
        if name is None:
            chosen = list(self.collections.values())
        count, size = sum(map(len, chosen)), sum(one.n_bytes for one in chosen)
        n_indexes = sum(1 + len(one.indexes) for one in chosen)
        average = {"avgObjSize": size // count} if count else {}
        if name is None:
            whole = {"db": NAME, "collections": len(chosen), "objects": count, "dataSize": size, "indexes": n_indexes}
            return whole | average | {"ok": 1.0}
        return {"ns": f"{NAME}.{name}", "size": size, "count": count, **average, "nindexes": n_indexes, "ok": 1.0}

    def close(self) -> None:
        """End the store."""
        with self._lock:
            while self._stores:
                self._stores.pop().stop()

    def _first(self, memory: Callable[[], T], stored: Callable[[], T]) -> T:
        if self.shortcuts:
            try:
                return memory()
            except NotPlainError:
                pass
        return stored()

    def _memory_find(
        self,
        name: str,
        condition: Mapping[str, Any],
        projection: Mapping[str, Any],
        place: Mapping[str, Any] | None,
        arguments: Mapping[str, Any],
    ) -> Found:
        given = {key: value for key, value in arguments.items() if key != "max_time_ms"}
        if not given.keys() <= PLAIN_ARGUMENTS:
            raise NotPlainError("hint")
        skip, limit, sort = given.get("skip", 0), given.get("limit", 0), given.get("sort")
        if not all(type(value) is int and value >= 0 for value in (skip, limit)):
            raise NotPlainError("skip or limit")
        collection = self.collections.get(name)
        if collection is None:
            return Found(ids=[], texts=[])
        among = None if place is None else _inside(collection, place)
        chosen = collection.select(condition, among)
        if sort is not None:
            if not isinstance(sort, list) or not all(isinstance(one, list) and len(one) == 2 for one in sort):
                raise NotPlainError("sort")
            chosen = collection.order(chosen, sort)
        chosen = chosen[skip : skip + limit if limit else None]
        return Found(ids=chosen, texts=collection.texts(chosen, projection))

    def _stored_find(
        self, name: str, condition: Mapping[str, Any], projection: Mapping[str, Any], arguments: Mapping[str, Any]
    ) -> Found:
        cursor = self._stored(name).find(dict(condition), *([dict(projection)] if projection else []), **arguments)
        return _found(list(cursor))

    def _stored_around(
        self,
        name: str,
        place: Mapping[str, Any],
        condition: Mapping[str, Any],
        projection: Mapping[str, Any],
        arguments: Mapping[str, Any],
    ) -> Found:
        where = {GEOJSON: dict(place), **condition}
        collection = self.collections.get(name)
        if collection is None or "$nearSphere" not in place or arguments.get("sort"):
            return self._stored_find(name, where, projection, arguments)
        # The store finds what is near but leaves it unordered, so the order is made here.
        rest = {key: value for key, value in arguments.items() if key not in ("skip", "limit")}
        near = set(self._stored_find(name, where, {"_id": 1}, rest).ids)
        ordered = [key for key in _inside(collection, place) if key in near]
        skip, limit = int(arguments.get("skip", 0)), int(arguments.get("limit", 0))
        chosen = ordered[skip : skip + limit if limit else None]
        texts = [self._stored_find(name, {"_id": key}, projection, {}).texts[0] for key in chosen]
        return Found(ids=chosen, texts=texts)

    def _stored(self, name: str) -> Any:
        """Return the collection of the store, with all that memory holds."""
        with self._lock:
            if not self._stores:
                self._stores.append(Secantus())
            stored = self._stores[0].client[NAME][name]
            collection = self.collections.get(name)
            if collection is not None and collection.unstored:
                waiting, collection.unstored = collection.unstored, {}
                stored.delete_many({"_id": {"$in": list(waiting)}})
                stored.insert_many([as_raw(raw) for raw in waiting.values()], ordered=False)
                for index in collection.indexes:
                    stored.create_index([tuple(pair) for pair in index])
            return stored

    def _unload(self, name: str) -> None:
        with self._lock:
            for store in self._stores:
                store.client[NAME].drop_collection(name)
            collection = self.collections.get(name)
            if collection is not None:
                collection.unstored = {key: collection.raw(key) for key in collection.ids}


def _inside(collection: Collection, place: Mapping[str, Any]) -> list[Any]:
    if "$geoWithin" in place:
        (longitude, latitude), radius = place["$geoWithin"]["$centerSphere"]
        return collection.around(longitude, latitude, 0.0, radius, ordered=False)
    longitude, latitude = place["$nearSphere"]
    return collection.around(longitude, latitude, place["$minDistance"], place["$maxDistance"], ordered=True)


def _found(documents: list[Mapping[str, Any]]) -> Found:
    return Found(ids=[one.get("_id") for one in documents], texts=[as_text(one) for one in documents])
