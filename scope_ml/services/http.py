"""HTTP with the manners that every remote system needs: time limits, repetition with back-off, errors of one line.

`send` is the one function. It repeats what the caller says is safe to repeat, after a connection that breaks, a status
that passes (429, 500, 502, 503, 504) or a body that is not whole; it waits a random time that grows (full jitter), or as
long as ``Retry-After`` says. Any other status comes back as a `Reply` for the caller to judge. Errors name host and
path, never the query, the headers or who asks. May import `errors` and `http_text`; requests and urllib3 inside functions.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from scope_ml.errors import ServiceError, ServiceTimeoutError, ServiceUnavailableError, UnsureError
from scope_ml.services.http_text import LONGEST_ERROR_BODY, one_line, shown

__all__ = ["Clock", "Policy", "Reply", "Request", "seconds_asked", "send"]

#: Statuses that another try may not meet again.
PASSING_STATUS = frozenset({429, 500, 502, 503, 504})

#: The status of a request that is one too many; nothing has looked at it.
TOO_MANY = 429

#: The first status that is an error.
FIRST_ERROR = 400

#: Bytes taken from a connection at a time.
PIECE = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How long to wait for an answer, and how often to ask again.

    Attributes
    ----------
    retries
        Tries after the first.
    timeout_retries
        How many of them may follow an answer that did not come in time: a question that is too much for the service
        stays too much.
    backoff_s
        The n-th wait is a random time between 0 and ``backoff_s * 2**n`` [s].
    longest_s
        No wait is longer [s], whatever ``Retry-After`` says.
    connect_s, read_s
        Longest time to connect, and longest silence after that [s].
    total_s
        Longest time from the question to the last byte [s].
    """

    retries: int = 4
    timeout_retries: int = 1
    backoff_s: float = 1.0
    longest_s: float = 60.0
    connect_s: float = 10.0
    read_s: float = 60.0
    total_s: float = 300.0


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back.

    Attributes
    ----------
    status
        HTTP status.
    headers
        Header lines; names of any case.
    body
        The whole body, decompressed.
    n_tries
        How often was asked, 1 or more.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    n_tries: int = 1


@dataclass(frozen=True, kw_only=True, repr=False)
class Request:
    """One question.

    Attributes
    ----------
    url
        Address without user name or password.
    method
        ``GET``, ``POST``, ``HEAD``.
    params, json, data, headers
        As `requests` takes them.
    safe_to_repeat
        False: asked once, whatever happens.
    is_change
        Asks for a change. It is asked again, even if that is not safe, where it cannot have begun: no connection, or
        status 429, which is given before a request is looked at. Without an answer it is an `UnsureError`.
    follow_redirects
        False: a redirect comes back as it is.
    fault
        Says why a reply should be asked for again (None: it is good, whatever its status).
    secrets
        Texts that are taken out of what the service says before it is told on.
    """

    url: str
    method: str = "GET"
    params: Mapping[str, Any] | None = None
    json: Any = None
    data: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    safe_to_repeat: bool = True
    is_change: bool = False
    follow_redirects: bool = True
    fault: Callable[[Reply], str | None] | None = None
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Request({self.method} {shown(self.url)})"


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Time and chance, replaced in tests.

    Attributes
    ----------
    now
        Seconds of a clock that never goes back.
    today
        Seconds since 1970, for dates in ``Retry-After``.
    chance
        A random number in [0, 1).
    wait
        Waits so many seconds or until the event is set; returns whether it is.
    """

    now: Callable[[], float] = time.monotonic
    today: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait


class _PassingError(Exception):
    """A try that another may mend; `reason` is one line; what was asked for has certainly not `begun`, or may have."""

    def __init__(
        self, reason: str, *, retry_after: str | None = None, in_time: bool = True, begun: bool = True
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        self.in_time = in_time
        self.begun = begun


def send(
    session: Any,
    request: Request,
    policy: Policy,
    *,
    clock: Clock | None = None,
    stop: threading.Event | None = None,
    counted: Callable[[], None] | None = None,
) -> Reply:
    """Ask, and ask again where that may help.

    Parameters
    ----------
    session
        A ``requests.Session`` that does not repeat by itself.
    request, policy
        What to ask, and how patiently.
    clock
        Time and chance; by default the real ones.
    stop
        Set by another thread, it ends waiting and reading at once.
    counted
        Called before each try.

    Returns
    -------
    Reply
        Of any status but those that pass (429, 500, 502, 503, 504); those too if the request is not safe to repeat, but
        429 of a change.

    Raises
    ------
    ServiceTimeoutError
        If no whole answer came in time.
    ServiceUnavailableError
        If the service cannot be reached, or all tries met a passing fault.
    UnsureError
        Instead of these two, if a change may have been made by one of the tries.
    ServiceError
        If the address or certificate is refused by our side, or `stop` was set.
    """
    clock = clock or Clock()
    stop = stop or threading.Event()
    allowed = policy.retries if request.safe_to_repeat or request.is_change else 0
    timeouts = 0
    begun = False
    for attempt in range(allowed + 1):
        if stop.is_set():
            raise _stopped(request, begun)
        if counted is not None:
            counted()
        try:
            return _once(session, request, policy, clock, stop, attempt + 1)
        except _PassingError as error:
            timeouts += not error.in_time
            begun |= error.begun
            no_more = error.begun and not request.safe_to_repeat
            if no_more or attempt == allowed or timeouts > policy.timeout_retries:
                raise _given_up(request, error, attempt + 1, begun) from None
            if clock.wait(stop, _pause(error.retry_after, attempt, policy, clock)):
                raise _stopped(request, begun) from None
    raise AssertionError("unreachable")


def _once(session: Any, request: Request, policy: Policy, clock: Clock, stop: threading.Event, n_tries: int) -> Reply:
    import requests
    import urllib3.exceptions

    until = clock.now() + policy.total_s
    try:
        response = session.request(
            request.method,
            request.url,
            params=request.params,
            json=request.json,
            data=request.data,
            headers=dict(request.headers),
            timeout=(policy.connect_s, min(policy.read_s, policy.total_s)),
            allow_redirects=request.follow_redirects,
            stream=True,
        )
        with response:
            reply = _read(response, request, n_tries, lambda: _check(request, until, clock, stop))
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema):
        raise ServiceError(f"{shown(request.url)} is no address that can be asked; check it") from None
    except requests.exceptions.ConnectTimeout:
        raise _PassingError(f"no connection within {policy.connect_s:g} s", begun=False) from None
    except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError):
        raise _PassingError(f"silent for {policy.read_s:g} s", in_time=False) from None
    except requests.exceptions.TooManyRedirects:
        raise ServiceError(f"{shown(request.url)} redirects without end; check the address") from None
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ConnectionError) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise ServiceError(f"the certificate of {shown(request.url)} is not trusted; check the address") from None
        raise _PassingError(_cause(error), begun=not _is_unconnected(error)) from None
    too_many = reply.status == TOO_MANY
    if reply.status in PASSING_STATUS and (request.safe_to_repeat or (request.is_change and too_many)):
        raise _PassingError(
            f"status {reply.status}, {one_line(reply.body, request.secrets)}",
            retry_after=reply.headers.get("Retry-After"),
            begun=not too_many,
        )
    fault = request.fault(reply) if request.fault is not None else None
    if fault is not None:
        raise _PassingError(fault)
    return reply


def _read(response: Any, request: Request, n_tries: int, check: Callable[[], None]) -> Reply:
    """Read the body piece by piece, so that a service that sends one byte a minute is found out."""
    status = int(response.status_code)
    body = bytearray()
    for piece in _pieces(response, check):
        body += piece
        if status >= FIRST_ERROR and len(body) > LONGEST_ERROR_BODY:
            break
    return Reply(status=status, headers=response.headers, body=bytes(body), n_tries=n_tries)


def _pieces(response: Any, check: Callable[[], None]) -> Iterator[bytes]:
    # read1 returns what is there; read and iter_content would wait until a piece is full.
    while piece := response.raw.read1(PIECE, decode_content=True):
        check()
        yield piece


def _check(request: Request, until: float, clock: Clock, stop: threading.Event) -> None:
    if stop.is_set():
        raise _stopped(request, True)
    if clock.now() > until:
        raise _PassingError("the answer was not complete in time", in_time=False)


def _pause(retry_after: str | None, attempt: int, policy: Policy, clock: Clock) -> float:
    """Return how long to wait before the next try [s]."""
    longest = min(policy.longest_s, policy.backoff_s * 2.0**attempt)
    asked = seconds_asked(retry_after, clock)
    # What a service asks for is the least; jitter on top, so that not all that it turned away return together.
    return min(policy.longest_s, asked + clock.chance() * longest)


def seconds_asked(retry_after: str | None, clock: Clock) -> float:
    """Return the seconds of a ``Retry-After`` header, 0 where it says nothing that can be read."""
    text = (retry_after or "").strip()
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    try:
        date: datetime = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return 0.0
    return max(0.0, date.timestamp() - clock.today())


def _given_up(request: Request, error: _PassingError, n_tries: int, begun: bool) -> ServiceError:
    tries = f" after {n_tries} tries" if n_tries > 1 else ""
    words = f"no answer from {shown(request.url)}{tries}: {error.reason}"
    if request.is_change and begun:
        return UnsureError(f"{words}; the change may have been made")
    return ServiceUnavailableError(words) if error.in_time else ServiceTimeoutError(words)


def _stopped(request: Request, begun: bool) -> ServiceError:
    kind = UnsureError if request.is_change and begun else ServiceError
    return kind(f"{shown(request.url)} is not asked any more: the connection was closed")


def _is_unconnected(error: BaseException) -> bool:
    """Say whether there was never a connection: the host is not known or not reached, or the port refuses."""
    import urllib3.exceptions

    inner = [part for part in error.args if isinstance(part, BaseException)]
    reasons = [getattr(part, "reason", None) for part in inner]
    return any(isinstance(part, urllib3.exceptions.NewConnectionError) for part in (*inner, *reasons))


def _cause(error: BaseException) -> str:
    """Return what broke, in words that hold no address: those of `requests` quote the whole URL with its query."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror.lower()
        inner = [part for part in seen.args if isinstance(part, BaseException)]
        reason = getattr(seen, "reason", None)
        seen = inner[-1] if inner else reason if isinstance(reason, BaseException) else seen.__cause__
    known = {"IncompleteRead": "the answer broke off", "NameResolutionError": "the host's name is not known"}
    text = str(error)
    for sign, meaning in known.items():
        if sign in text or sign == type(error).__name__:
            return meaning
    if "closed connection" in text or "Connection aborted" in text:
        return "the connection was cut"
    return f"the connection failed ({type(error).__name__})"
