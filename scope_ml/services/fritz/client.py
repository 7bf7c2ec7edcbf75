"""The client of Fritz: who asks, how fast, what is asked again and what never.

Opens nothing and needs no token before the first request. Questions are repeated after faults that pass; a change only
where it has certainly not begun, and is an `UnsureError` where nobody knows. `Fritz` is what other rooms need of it;
tests fake that. May import core, errors, `services.http` and the rooms beside it; requests inside functions.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import urlsplit

from scope_ml.errors import (
    BackendUnavailableError,
    CredentialError,
    DataError,
    QueryTooLargeError,
    ServiceError,
)
from scope_ml.services.fritz.pace import Pace
from scope_ml.services.fritz.refusals import Asked, data_of, envelope_of, is_broken, is_refused_login
from scope_ml.services.fritz.settings import FritzConfig, token_of
from scope_ml.services.http import Clock, Policy, Reply, Request, seconds_asked, send
from scope_ml.services.http_text import one_line, shown

if TYPE_CHECKING:
    import requests

__all__ = ["Fritz", "FritzClient"]

#: What is asked first: any token that is known gets an answer.
GROUPS = "/api/groups"

#: Largest body that the service takes [bytes].
LARGEST_BODY = 100 * 1000 * 1000

#: Longest wait for a connection [s].
CONNECT_S = 10.0

#: Times the longest silence that a whole answer may take: a page of 500 sources comes slowly but steadily.
TOTAL_SILENCES = 5

#: The least whole number that 64 bits do not hold, and its negative.
TOO_BIG = 2**63

TOO_MANY = 429

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

_log = logging.getLogger(__name__)


class Fritz(Protocol):
    """Something that answers as a SkyPortal; threads may share it."""

    @property
    def page(self) -> int:
        """Return how many sources of one page are asked for."""
        ...

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Return the data of an answer; see `FritzClient.get`."""
        ...

    def change(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any],
        *,
        repeatable: bool = False,
        absent: tuple[int, ...] = ...,
    ) -> Any:
        """Return the data of the answer to a change; see `FritzClient.change`."""
        ...


class FritzClient:
    """Fritz, by the token of an environment variable; a context manager, shared by threads.

    Parameters
    ----------
    config
        Where and how to ask.
    clock
        Time and chance, for tests.
    environment
        Where the token is looked up; by default the process's own.

    Attributes
    ----------
    n_requests
        Requests that were sent, repetitions included.
    stop
        Whoever sets it ends waiting and asking again in all threads; a request that is under way goes on.
    """

    def __init__(
        self, config: FritzConfig, *, clock: Clock | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._config, self._environment = config, environment
        self._clock = clock or Clock()
        self.stop = threading.Event()
        self._lock, self._knowing = threading.Lock(), threading.Lock()
        self._pace = Pace(config.requests_per_second, config.burst, self._clock)
        self._free = threading.BoundedSemaphore(config.connections)
        self._policy = Policy(
            retries=config.retries,
            backoff_s=config.backoff_s,
            connect_s=min(CONNECT_S, config.timeout_s),
            read_s=config.timeout_s,
            total_s=TOTAL_SILENCES * config.timeout_s,
        )
        self._session: requests.Session | None = None
        self._token = ""
        self._is_known = False
        self._refused: CredentialError | None = None
        self.n_requests = 0

    def __repr__(self) -> str:
        return f"FritzClient({self._config.address})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End waiting and reading in all threads; nothing can be asked afterwards."""
        self.stop.set()
        with self._lock:
            if self._session is not None:
                self._session.close()

    @property
    def page(self) -> int:
        """Return how many sources of one page are asked for."""
        return self._config.page

    @property
    def connections(self) -> int:
        """Return how many requests may be under way at a time."""
        return self._config.connections

    @property
    def address(self) -> str:
        """Return the address of the site."""
        return self._config.address

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Return the data of an answer.

        Parameters
        ----------
        path
            ``/api/...``, as `paths.api_path` makes it.
        params
            The query; None is left out, lists are to be joined with commas by the caller.

        Raises
        ------
        CredentialError
            If there is no token, or the service does not know it.
        NotFoundError, NotAllowedError, QueryRefusedError
            As the service says.
        ReplyError
            If what comes is not of a SkyPortal.
        ServiceUnavailableError, ServiceTimeoutError
            If it does not answer, however often it was asked.
        """
        self._know()
        given = {name: _word(value) for name, value in (params or {}).items() if value is not None}
        reply = self._send("GET", path, params=given)
        if path == GROUPS:
            self._judge_login(reply)
        return self._data(reply, path, Asked(where=self._where(path), is_change=False, secrets=self._secrets))

    def change(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any],
        *,
        repeatable: bool = False,
        absent: tuple[int, ...] = (404,),
    ) -> Any:
        """Ask for a change and return the data of the answer.

        Parameters
        ----------
        method
            ``POST``, ``PUT``, ``PATCH`` or ``DELETE``.
        path
            ``/api/...``, as `paths.api_path` makes it.
        body
            Numbers and texts alone; sent as JSON.
        repeatable
            Whether the service makes the same change only once, however often it is asked for it. Else it is asked
            again only where it cannot have begun: no connection, or status 429.
        absent
            Statuses that mean that there is no such thing.

        Raises
        ------
        CredentialError, NotFoundError, NotAllowedError, QueryRefusedError
            As `get`; nothing was changed (of several things in one request, maybe some were).
        QueryTooLargeError
            If the body is more than the service takes; nothing was changed.
        DataError
            If the body holds a number that JSON or the service has none for; nothing was sent.
        ServiceUnavailableError, ServiceTimeoutError
            If it does not answer; nothing was changed.
        UnsureError
            If no answer came, or none that says what became of it: the change may have been made, now or in a moment.
        """
        data = _body(body)
        self._know()
        reply = self._send(method, path, data=data, is_change=True, safe=repeatable)
        return self._data(
            reply, path, Asked(where=self._where(path), is_change=True, absent=absent, secrets=self._secrets)
        )

    def _data(self, reply: Reply, path: str, asked: Asked) -> Any:
        if is_refused_login(reply) and path != GROUPS:
            # A right that is missing looks like a token that has just been taken away; who asks is asked again.
            self._judge_login(self._send("GET", GROUPS))
        return data_of(reply, asked)

    def _know(self) -> None:
        """Ask who asks, before the first request: a 401 there is the token's, a later one is a right's."""
        with self._knowing:
            if self._refused is not None:
                raise self._refused
            if self._is_known:
                return
            self._token = token_of(self._config, self._environment)
            address = urlsplit(self._config.address)
            if address.scheme == "http" and address.hostname not in LOOPBACK:
                _log.warning(
                    "the token goes to %s unencrypted; take https in service.fritz.url", shown(self._config.address)
                )
            reply = self._send("GET", GROUPS)
            self._judge_login(reply)
            data_of(reply, Asked(where=self._where(GROUPS), is_change=False, secrets=self._secrets))
            self._is_known = True

    def _judge_login(self, reply: Reply) -> None:
        if not is_refused_login(reply):
            return
        envelope = envelope_of(reply)
        words = envelope.get("message") if envelope is not None else None
        said = one_line(words if isinstance(words, str) else reply.body, self._secrets)
        name = self._config.token_env
        # Once is enough: a service may lock out who tries again and again.
        self._refused = CredentialError(
            f"{shown(self._config.address)} does not take the token in {name} ({said}); make one on your profile page there"
            f" and type export {name}=YOUR_TOKEN"
        )
        raise self._refused

    @property
    def _secrets(self) -> tuple[str, ...]:
        return (self._token,)

    def _where(self, path: str) -> str:
        return shown(self._config.address + path)

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        is_change: bool = False,
        safe: bool = True,
    ) -> Reply:
        headers = {"Authorization": f"token {self._token}"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        request = Request(
            url=self._config.address + path,
            method=method,
            params=params,
            data=data,
            headers=headers,
            safe_to_repeat=safe,
            is_change=is_change,
            follow_redirects=False,
            fault=self._fault if safe else None,
            secrets=self._secrets,
        )
        with self._free:
            return send(
                _Paced(self._opened(), self._pace, self._clock, self.stop, self._count),
                request,
                self._policy,
                clock=self._clock,
                stop=self.stop,
            )

    def _fault(self, reply: Reply) -> str | None:
        # Before it has ever answered well, a page in place of data means a wrong address, not a bad moment.
        if self._is_known and is_broken(reply):
            return f"status {reply.status} and no data of a SkyPortal, {one_line(reply.body, self._secrets)}"
        return None

    def _count(self) -> None:
        with self._lock:
            self.n_requests += 1

    def _opened(self) -> requests.Session:
        if self.stop.is_set():
            raise ServiceError("Fritz is not asked any more: the client was closed")
        with self._lock:
            if self._session is None:
                self._session = _new_session(self._config.connections)
            return self._session


class _Paced:
    """A session that keeps the pace, every try of `send` included."""

    def __init__(
        self, session: Any, pace: Pace, clock: Clock, stop: threading.Event, counted: Callable[[], None]
    ) -> None:
        self._session, self._pace, self._clock, self._stop, self._counted = session, pace, clock, stop, counted

    def request(self, method: str, url: str, **words: Any) -> Any:
        self._pace.take(self._stop)
        self._counted()
        response = self._session.request(method, url, **words)
        if response.status_code == TOO_MANY:
            self._pace.refused(seconds_asked(response.headers.get("Retry-After"), self._clock))
        else:
            self._pace.answered()
        return response


def _new_session(connections: int) -> requests.Session:
    try:
        import requests
        from requests.adapters import HTTPAdapter
    except ModuleNotFoundError as error:
        raise BackendUnavailableError("asking Fritz needs requests; type: pip install 'scope_ml[services]'") from error
    session = requests.Session()
    # Without a say of our own, requests replaces the token by what ~/.netrc has for the host.
    session.auth = _as_it_is
    session.headers.update({"User-Agent": "scope_ml", "Accept": "application/json"})
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=connections, max_retries=0))
    return session


def _as_it_is(request: Any) -> Any:
    return request


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def _body(body: Mapping[str, Any]) -> bytes:
    try:
        _check_numbers(body)
        data = json.dumps(body, allow_nan=False).encode()
    except ValueError as error:
        raise DataError(f"a number that Fritz cannot keep ({error}); correct the table") from None
    except TypeError as error:
        raise DataError(f"a value that JSON has not ({error}); give numbers and texts alone") from None
    if len(data) > LARGEST_BODY:
        raise QueryTooLargeError(f"a request of {len(data)} bytes is more than the {LARGEST_BODY} that Fritz takes")
    return data


def _check_numbers(value: Any) -> None:
    if isinstance(value, Mapping):
        for inner in value.values():
            _check_numbers(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check_numbers(inner)
    elif isinstance(value, int) and not -TOO_BIG <= value < TOO_BIG:
        raise ValueError("a whole number of more than 64 bits")
