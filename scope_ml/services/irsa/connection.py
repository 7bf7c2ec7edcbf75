"""Requests to IRSA: nobody's credentials, few redirects, and web pages that come in place of data.

What is small is asked with `services.http`; bulk files are taken as they come (`download`). May import errors,
`services.http` and what lies beside; requests only inside functions.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urljoin, urlsplit

from scope_ml.errors import (
    BackendUnavailableError,
    ConfigError,
    QueryRefusedError,
    ServiceError,
    ServiceUnavailableError,
)
from scope_ml.services.http import Policy, Reply, Request, send
from scope_ml.services.http_text import checked_address, one_line, shown
from scope_ml.services.irsa.replies import html_title
from scope_ml.services.irsa.settings import IrsaConfig

if TYPE_CHECKING:
    import requests

__all__ = ["NOT_FOUND", "OK", "Connection", "NotNowError", "check_address"]

#: Redirects that are followed for one request.
MAX_REDIRECTS = 5

REDIRECTS = frozenset({301, 302, 303, 307, 308})

#: Statuses that may be another one the next time.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

OK = 200
NOT_FOUND = 404

#: Longest wait for a connection, as against an answer [s].
CONNECT_S = 30.0

#: Longest pause before a repetition, whatever the service says [s].
LONGEST_PAUSE_S = 300.0

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class NotNowError(ServiceUnavailableError):
    """A download failed in a way that may pass.

    Attributes
    ----------
    after_s
        When to come back, if the service says so [s].
    """

    def __init__(self, message: str, *, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


def check_address(url: str, key: str) -> str:
    """Return the address `url` of option `key` without a slash at its end.

    Raises
    ------
    ConfigError
        If it is not https (http on this machine), or holds a user, password or query.
    """
    url = checked_address(url, key)
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise ConfigError(f"{key}={url} is not https; give one such as https://irsa.ipac.caltech.edu/...", key=key)
    return url


class Connection:
    """Asks IRSA, anonymously; threads may share it. A context manager.

    Parameters
    ----------
    config
        How patiently, and how many at a time.
    on_close
        Told how many requests were sent, when this is closed.
    """

    def __init__(self, config: IrsaConfig, *, on_close: Callable[[int], None] | None = None) -> None:
        self._config, self._on_close = config, on_close
        self._policy = Policy(
            retries=config.retries,
            backoff_s=config.backoff_s,
            longest_s=LONGEST_PAUSE_S,
            connect_s=min(CONNECT_S, config.timeout_s),
            read_s=config.timeout_s,
            total_s=2 * config.timeout_s,
        )
        self._session: requests.Session | None = None
        self._lock = threading.Lock()
        self.stopped = threading.Event()
        self.n_requests = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stop(self) -> None:
        """End pauses and reading; nothing is asked any more."""
        self.stopped.set()

    def close(self) -> None:
        """Close what is open."""
        self.stop()
        if self._on_close is not None:
            self._on_close(self.n_requests)
        if self._session is not None:
            self._session.close()

    def ask(self, url: str, *, method: str = "GET", whole: Callable[[Reply], str | None] | None = None) -> Reply:
        """Return an answer of any status that neither passes nor leads elsewhere, whole; asked again where that may help.

        Parameters
        ----------
        url, method
            What to ask.
        whole
            Says of a reply of status 200 why it is none; besides, no web page is one.

        Raises
        ------
        ServiceTimeoutError, ServiceUnavailableError
            If there is no such answer, however often it was asked.
        ServiceError
            If it leads elsewhere than to https.
        """

        def fault(reply: Reply) -> str | None:
            if reply.status != OK:
                return None
            title = html_title(reply.body)
            if title is not None or (method == "HEAD" and _is_page(reply.headers)):
                return f"a web page ('{title or 'unseen'}') instead of data"
            return None if whole is None else whole(reply)

        here = url
        for _ in range(MAX_REDIRECTS + 1):
            request = Request(url=here, method=method, follow_redirects=False, fault=fault)
            reply = send(self._opened(), request, self._policy, stop=self.stopped, counted=self._count)
            if reply.status not in REDIRECTS:
                return reply
            here = _followed(url, here, reply.headers)
        raise ServiceError(f"{shown(url)} is redirected more than {MAX_REDIRECTS} times; check the address")

    def stream(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Return one answer whose body is not read yet, of status 200 to 299, 404 or 416; asked once.

        Raises
        ------
        NotNowError
            If there is none, or one of a service in trouble.
        QueryRefusedError
            If the service refuses.
        ServiceError
            If it leads elsewhere than to https.
        """
        import requests

        here = url
        for _ in range(MAX_REDIRECTS + 1):
            self._count()
            try:
                response = self._opened().get(
                    here,
                    headers=dict(headers),
                    timeout=(self._policy.connect_s, self._policy.read_s),
                    allow_redirects=False,
                    stream=True,
                )
            except requests.RequestException as error:
                raise NotNowError(f"no answer ({type(error).__name__})") from error
            if response.status_code not in REDIRECTS:
                return _usable(response)
            response.close()
            here = _followed(url, here, response.headers)
        raise ServiceError(f"{shown(url)} is redirected more than {MAX_REDIRECTS} times; check the address")

    def pause(self, error: Exception, n_failures: int) -> None:
        """Wait before a repetition: a random time that grows, or as long as the service says."""
        longest = min(self._config.backoff_s * 2.0**n_failures, LONGEST_PAUSE_S)
        after_s = min(getattr(error, "after_s", 0.0), LONGEST_PAUSE_S)
        self.stopped.wait(after_s + random.uniform(0.0, longest))

    def _count(self) -> None:
        with self._lock:
            self.n_requests += 1

    def _opened(self) -> requests.Session:
        with self._lock:
            if self._session is None:
                try:
                    import requests
                    from requests.adapters import HTTPAdapter
                except ModuleNotFoundError as error:
                    raise BackendUnavailableError(
                        "asking IRSA needs requests; type: pip install 'scope_ml[services]'"
                    ) from error
                self._session = requests.Session()
                # Without a say of our own, requests sends what ~/.netrc has for a host.
                self._session.auth = _anonymous
                # Compressed on the way, a body has another length and other ranges than the file.
                self._session.headers.update({"User-Agent": "scope_ml", "Accept-Encoding": "identity"})
                for scheme in ("https://", "http://"):
                    adapter = HTTPAdapter(pool_maxsize=self._config.connections, max_retries=0)
                    self._session.mount(scheme, adapter)
            return self._session


def _usable(response: requests.Response) -> requests.Response:
    status = int(response.status_code)
    if 200 <= status < 300 or status in (NOT_FOUND, 416):
        return response
    with response:
        words = f"status {status}, {one_line(next(response.iter_content(4096), b''))}"
        told = response.headers.get("retry-after", "")
    if status in PASSING:
        raise NotNowError(words, after_s=float(told) if told.isdigit() and len(told) < 10 else 0.0)
    raise QueryRefusedError(f"it is refused ({words}); check source.path")


def _is_page(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").startswith("text/html")


def _followed(asked: str, here: str, headers: Mapping[str, str]) -> str:
    """Return where to go on."""
    target = urljoin(here, headers.get("location", ""))
    parts, before = urlsplit(target), urlsplit(here)
    if "@" in parts.netloc:
        raise ServiceError(f"{shown(asked)} leads to an address with a password, which is not followed")
    same = (parts.scheme, parts.netloc) == (before.scheme, before.netloc)
    if parts.scheme != "https" and not same:
        raise ServiceError(f"{shown(asked)} leads to {shown(target)}, which is not https; check the address")
    return target


def _anonymous(request: Any) -> Any:
    return request
