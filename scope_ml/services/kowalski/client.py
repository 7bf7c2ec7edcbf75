"""The client of Kowalski: which instance has which catalogue, who is asked, how many at a time.

Opens nothing and needs no credentials before the first question. `Asks` is what other rooms need of it; tests fake that.
May import core, errors, `services.http` and the rooms beside it.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from scope_ml.errors import (
    ConfigError,
    CredentialError,
    QueryTooLargeError,
    ReplyError,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
    suggest,
)
from scope_ml.services.http import Clock, Policy
from scope_ml.services.kowalski.connection import Connection, Manners, new_penquins
from scope_ml.services.kowalski.settings import KowalskiConfig, credentials
from scope_ml.services.kowalski.versions import Versions

__all__ = ["Asks", "KowalskiClient"]

#: Largest body that the service takes [bytes].
LARGEST_QUERY = 1 << 20

#: Longest wait for a connection [s].
CONNECT_S = 10.0

#: Catalogues that a message names.
N_NAMED = 3

_log = logging.getLogger(__name__)


@runtime_checkable
class Asks(Protocol):
    """Something that answers Kowalski's queries; threads may share it."""

    def ask(self, query: Mapping[str, Any], *, catalog: str | None) -> bytes:
        """Return the body of the reply to one query; `replies` reads it.

        Parameters
        ----------
        query
            ``query_type``, ``query`` and maybe ``kwargs``, as the service takes them.
        catalog
            The catalogue that is asked; None for queries that concern none.

        Raises
        ------
        ConfigError
            If there is no such catalogue.
        CredentialError, QueryRefusedError
            If the token or the query is refused; asking again changes nothing.
        ServiceTimeoutError, QueryTooLargeError
            If a smaller query may be answered.
        ServiceUnavailableError
            If the service does not answer at the moment.
        """
        ...

    def version(self, catalog: str) -> str:
        """Return the hex digest of a catalogue's name and size; see `versions`."""
        ...


class KowalskiClient:
    """Kowalski by all instances whose credentials are there; a context manager, shared by threads.

    Parameters
    ----------
    config
        Where and how to ask.
    clock
        Time and chance, for tests.
    environment
        Where tokens are looked up; by default the process's own.

    Attributes
    ----------
    n_requests
        Requests that were sent, log-in and repetitions included.
    """

    def __init__(
        self, config: KowalskiConfig, *, clock: Clock | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._config = config
        self._environment = os.environ if environment is None else environment
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._manners = Manners(
            policy=Policy(
                retries=config.retries,
                backoff_s=config.backoff_s,
                connect_s=min(CONNECT_S, config.timeout_s),
                read_s=config.timeout_s,
                total_s=2 * config.timeout_s,
            ),
            connections=config.connections,
            clock=clock or Clock(),
            stop=self._stop,
            counted=self._count,
        )
        self._free = threading.BoundedSemaphore(config.connections)
        self._opening = threading.Lock()
        self._connections: tuple[Connection, ...] = ()
        self._down: dict[str, str] = {}
        self._refused: CredentialError | None = None
        cache = None if config.cache is None else Path(config.cache)
        self._versions = Versions(self.ask, cache, refresh=config.refresh)
        self.n_requests = 0

    def __repr__(self) -> str:
        return f"KowalskiClient({', '.join(self._config.instances)})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End waiting and reading in all threads and close the connections; nothing can be asked afterwards."""
        self._stop.set()
        for connection in self._connections:
            connection.close()

    def version(self, catalog: str) -> str:
        """Return the version of a catalogue, from the cache where that knows it.

        Raises
        ------
        ConfigError
            If there is no such catalogue.
        ServiceError
            If the service does not answer, or refuses the credentials.
        OutputError
            If the cache cannot be written.
        """
        return self._versions.version(catalog)

    def catalogs(self) -> dict[str, tuple[str, ...]]:
        """Return the names of the catalogues of each instance that answers; logs in.

        Raises
        ------
        ServiceError
            As `ask`.
        """
        return {one.name: tuple(sorted(one.catalogs)) for one in self._opened()}

    def ask(self, query: Mapping[str, Any], *, catalog: str | None) -> bytes:
        """Return the body of the reply to one query; see `Asks.ask`.

        The least busy instance that has the catalogue is asked; where it does not answer, the next. The time that the service
        may take is added to the query unless it is there.
        """
        kwargs = {"max_time_ms": self._config.max_time_ms, **query.get("kwargs", {})}
        body = json.dumps({**query, "kwargs": kwargs}, allow_nan=False).encode()
        if len(body) > LARGEST_QUERY:
            raise QueryTooLargeError(
                f"a query of {len(body)} bytes is more than the {LARGEST_QUERY} that Kowalski takes; make"
                " service.kowalski.query_limit smaller"
            )
        left = list(self._having(catalog))
        while True:
            with self._free, self._least_busy(left) as connection:
                left.remove(connection)
                try:
                    reply = connection.query(body)
                except (ServiceUnavailableError, ServiceTimeoutError) as error:
                    connection.failed = True
                    if not left or isinstance(error, ServiceTimeoutError):
                        raise
                else:
                    connection.failed = False
                    return reply

    @contextmanager
    def _least_busy(self, connections: list[Connection]) -> Iterator[Connection]:
        with self._lock:
            chosen = min(connections, key=lambda one: (one.failed, one.n_busy))
            chosen.n_busy += 1
        try:
            yield chosen
        finally:
            with self._lock:
                chosen.n_busy -= 1

    def _having(self, catalog: str | None) -> tuple[Connection, ...]:
        opened = self._opened()
        having = tuple(one for one in opened if catalog is None or catalog in one.catalogs)
        if having:
            return having
        names = ", ".join(one.name for one in opened)
        if self._down:
            silent = "; ".join(f"{name}: {reason}" for name, reason in self._down.items())
            raise ServiceUnavailableError(
                f"catalogue '{catalog}' is not in Kowalski's {names}; maybe it is in an instance that does not answer"
                f" ({silent})"
            )
        known = set[str]().union(*(one.catalogs for one in opened))
        near = _near(str(catalog), known)
        hint = f"; it has {', '.join(near)}" if near else suggest(str(catalog), known)
        raise ConfigError(
            f"Kowalski ({names}) has no catalogue '{catalog}' among its {len(known)}{hint}", choices=sorted(known)
        )

    def _opened(self) -> tuple[Connection, ...]:
        """Log in at the first question; later questions find it done."""
        if self._stop.is_set():
            raise ServiceError("Kowalski is not asked any more: the client was closed")
        with self._opening:
            if self._refused is not None:
                raise self._refused
            if not self._connections:
                try:
                    self._connections = tuple(self._open())
                except CredentialError as error:
                    # Once is enough: a service may lock out who tries again and again.
                    self._refused = error
                    raise
            return self._connections

    def _open(self) -> list[Connection]:
        usable = credentials(self._config, self._environment)
        client = new_penquins()
        opened: list[Connection] = []
        self._down = {}
        for name, instance in usable.items():
            try:
                opened.append(Connection(name, instance, self._manners, client=client, environment=self._environment))
            except (ServiceUnavailableError, ServiceTimeoutError, ReplyError) as error:
                self._down[name] = str(error)
            except ServiceError:
                # A token that is not taken is the user's to mend, whichever instance it is for.
                for one in opened:
                    one.close()
                raise
        if not opened:
            raise ServiceUnavailableError(f"no instance of Kowalski answers: {'; '.join(self._down.values())}")
        for name, reason in self._down.items():
            _log.warning("Kowalski's instance %s is left out: %s", name, reason)
        return opened

    def _count(self) -> None:
        with self._lock:
            self.n_requests += 1


def _near(catalog: str, known: Iterable[str]) -> list[str]:
    """Return the names that begin as `catalog` does, the latest first: releases of one catalogue end in their date."""
    stem = catalog.lower().rstrip("_0123456789")
    return sorted((name for name in known if stem and name.lower().startswith(stem)), reverse=True)[:N_NAMED]
