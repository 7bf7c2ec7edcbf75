"""The server as a test or a notebook holds it: started as a program of its own, filled, told to misbehave, ended.

The program listens on loopback only, on free ports, and ends with the process that started it, also if that is killed.
May import `bson`, `testing.programs` and what lies beside it.
"""

from __future__ import annotations

import http.client
import json
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from scope_ml.testing.kowalski.documents import pack
from scope_ml.testing.kowalski.faults import Fault
from scope_ml.testing.kowalski.feature_seeding import (
    CLASSIFICATIONS,
    FEATURES,
    classification_documents,
    drawn_features,
    table_features,
)
from scope_ml.testing.kowalski.prepared import pack_texts
from scope_ml.testing.kowalski.seeding import SOURCES, documents_of
from scope_ml.testing.kowalski.tokens import sign_token
from scope_ml.testing.programs import Program, check_loopback

__all__ = ["Faults", "KowalskiServer"]

#: Documents sent at a time.
PIECE = 2000

#: Text sent at a time [bytes].
PIECE_BYTES = 1 << 26


class Faults:
    """What goes wrong on a server: ``server.faults.add(kind="status", status=503, times=2)``."""

    def __init__(self, server: KowalskiServer) -> None:
        self._server = server

    def add(self, fault: Fault | None = None, **values: Any) -> None:
        """Put a fault in force: a `Fault`, or its fields."""
        chosen = Fault(**values) if fault is None else fault
        self._server.order("fault", **chosen.to_json())

    def clear(self) -> None:
        """Behave again."""
        self._server.order("behave")


class KowalskiServer:
    """A running server.

    Parameters
    ----------
    host, port
        Address on loopback; port 0 is a free one.
    variable
        Name of the environment variable that is to hold the token, for `instances`.

    Attributes
    ----------
    host, port, url
        Where it listens.
    token
        A token that it takes; `make_token` makes others.
    username, password
        Who may log in.
    sources
        Name of the catalogue of light curves that `seed` fills.

    Raises
    ------
    ConfigError
        `host` is not on loopback.
    BackendUnavailableError
        The program does not begin.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, variable: str = "KOWALSKI_TEST_TOKEN") -> None:
        self.host = check_loopback(host)
        self.variable = variable
        self.sources = SOURCES
        self.username, self.password = "scope", secrets.token_urlsafe(12)
        self._secret, self._control = secrets.token_hex(32), secrets.token_hex(32)
        self._lock = threading.Lock()
        self.token = self.make_token()
        self.faults = Faults(self)
        settings = {
            "host": self.host,
            "port": port,
            "secret": self._secret,
            "control": self._control,
            "users": {self.username: self.password},
        }
        self._program = Program("scope_ml.testing.kowalski", settings)
        begun = self._program.begun
        self.port, self._control_port = int(begun["port"]), int(begun["control_port"])

    @property
    def url(self) -> str:
        """Base address."""
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """Number of the server's process."""
        return self._program.pid

    @property
    def instances(self) -> dict[str, dict[str, Any]]:
        """What ``service.kowalski.instances`` says to use it; the token goes into the environment variable `variable`."""
        return {"test": self.instance_settings(self.port)}

    def instance_settings(self, port: int) -> dict[str, Any]:
        """Return the settings of one instance."""
        return {"protocol": "http", "host": self.host, "port": port, "token_env": self.variable}

    def add_instance(self, catalogs: Sequence[str]) -> int:
        """Open one more port, where only `catalogs` are, and return it."""
        return int(self.order("instance", catalogs=list(catalogs)))

    def make_token(self, user: str | None = None, *, ends: float | None = None, secret: str | None = None) -> str:
        """Return a token, of `user`, that ends at `ends` [Unix seconds], or one that somebody else signed."""
        payload: dict[str, Any] = {
            "user_id": self.username if user is None else user,
            "created_at": "2026-01-01T00:00:00",
        }
        return sign_token(payload if ends is None else payload | {"exp": ends}, secret or self._secret)

    def seed(
        self, tables: Mapping[str, pa.Table], *, max_sources: int | None = None, features: pa.Table | None = None
    ) -> None:
        """Fill it with the tables of a survey, with features of its light curves (drawn if not given) and scores."""
        for name, documents in documents_of(tables, sources=self.sources, max_sources=max_sources):
            self.insert(name, documents)
            if name == self.sources:
                self.insert(FEATURES, drawn_features(documents) if features is None else table_features(features))
                self.insert(
                    CLASSIFICATIONS, classification_documents(one["_id"] for one in documents[: len(documents) // 2])
                )

    def insert(self, collection: str, documents: Iterable[Mapping[str, Any]]) -> int:
        """Add documents, each with an ``_id``, to a collection, new if need be; one that is there is replaced."""
        count = 0
        for piece in _pieces(documents):
            count += int(self._ask(f"/insert/{collection}", b"".join(map(pack, piece))))
        return count

    def remove(self, collection: str, ids: Sequence[Any] | None = None) -> int:
        """Take documents away; without `ids` the whole collection."""
        return int(self.order("remove", name=collection, ids=None if ids is None else list(ids)))

    def insert_texts(self, collection: str, texts: Mapping[int, bytes]) -> int:
        """Add documents as they are to stand in replies, to a collection that has only such: see `prepared`."""
        count, piece, size = 0, {}, 0
        for key, text in texts.items():
            piece[key] = text
            size += len(text)
            if size > PIECE_BYTES:
                count += int(self._ask(f"/texts/{collection}", pack_texts(piece)))
                piece, size = {}, 0
        return count + int(self._ask(f"/texts/{collection}", pack_texts(piece)))

    def set(self, *, shortcuts: bool | None = None, delay_s: float | None = None) -> None:
        """Answer plain queries from memory or all from the store; add a delay to each reply."""
        given = {"shortcuts": shortcuts, "delay_s": delay_s}
        self.order("settings", **{name: value for name, value in given.items() if value is not None})

    @property
    def collections(self) -> dict[str, int]:
        """Number of documents by collection."""
        found: dict[str, int] = self.order("collections")
        return found

    def ids(self, collection: str) -> list[Any]:
        """Return the ``_id`` of all documents of a collection, as inserted."""
        found: list[Any] = self.order("ids", name=collection)
        return found

    @property
    def n_requests(self) -> int:
        """How many requests it answered so far, log-in and ping too."""
        return int(self.order("count"))

    def requests_since(self, number: int) -> list[dict[str, Any]]:
        """Return the records of requests from `number` on: see `service.RequestRecord`."""
        found: list[dict[str, Any]] = self.order("requests", since=number)
        return found

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Records of all requests."""
        return self.requests_since(0)

    def order(self, order: str, **values: Any) -> Any:
        """Tell the server to do something: see `control`."""
        return self._ask(f"/order/{order}", json.dumps(values).encode())

    def _ask(self, path: str, body: bytes) -> Any:
        from bson import json_util

        with self._lock:
            connection = http.client.HTTPConnection(self.host, self._control_port, timeout=600)
            try:
                connection.request("POST", path, body, {"X-Control": self._control, "Content-Type": "application/json"})
                reply = connection.getresponse()
                text = reply.read()
            finally:
                connection.close()
        if reply.status != 200:
            raise RuntimeError(f"the test server refused {path}: {reply.status} {text.decode(errors='replace')}")
        return json_util.loads(text)

    def close(self) -> None:
        """End it."""
        self._program.close()

    def __enter__(self) -> Self:
        """Return the server."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.close()


def _pieces(documents: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    piece: list[Mapping[str, Any]] = []
    for document in documents:
        piece.append(document)
        if len(piece) == PIECE:
            yield piece
            piece = []
    if piece:
        yield piece
