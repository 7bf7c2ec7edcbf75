"""The HTTP side: log-in, ping and queries as Kowalski answers them, and misbehaviour on request.

Statuses and texts follow the real service, also where they surprise: an invalid token is a 400, missing credentials are
a 401 whose text the error middleware replaced, a result that is null has no ``data``. May import aiohttp and what lies
beside it.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from aiohttp import web

from scope_ml.testing.kowalski.database import Database
from scope_ml.testing.kowalski.faults import FaultPlan
from scope_ml.testing.kowalski.misbehaviour import spoil, stop_short
from scope_ml.testing.kowalski.queries import Answer, Query, answer, read_query
from scope_ml.testing.kowalski.tokens import ExpiredTokenError, InvalidTokenError, read_token, sign_token

__all__ = ["BODY_LIMIT", "PENQUINS", "RequestRecord", "Service", "make_app"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Largest body of a request [bytes].
BODY_LIMIT = 1 << 20

#: Versions of penquins that may log in.
PENQUINS = tuple(
    f"2.{minor}.{patch}" for minor, last in ((0, 2), (1, 1), (2, 0), (3, 3), (4, 2)) for patch in range(last + 1)
)

USER = "kowalski.user"
QUERY = "kowalski.query"
FAULT = "kowalski.fault"


@dataclass(frozen=True, kw_only=True)
class RequestRecord:
    """One request that was answered: what it asked, of whom, and the status (0 if the connection was broken)."""

    number: int
    method: str
    path: str
    query_type: str
    catalogs: tuple[str, ...]
    n_ids: int
    status: int
    fault: str
    user: str
    query: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


@dataclass(kw_only=True)
class Service:
    """What all instances of a server share.

    Attributes
    ----------
    secret
        Signs the tokens.
    users
        Passwords by name.
    delay_s
        Added to each reply of a query [s].
    """

    database: Database
    secret: str
    users: dict[str, str]
    faults: FaultPlan = field(default_factory=FaultPlan)
    records: list[RequestRecord] = field(default_factory=list)
    delay_s: float = 0.0
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8))

    def token(self, user: str) -> str:
        """Return a token without an end."""
        created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        return sign_token({"user_id": user, "created_at": created}, self.secret)


def make_app(service: Service, catalogs: Collection[str] | None = None) -> web.Application:
    """Return an instance, with all catalogues or only some."""
    app = web.Application(
        client_max_size=BODY_LIMIT, middlewares=[_recording(service), _errors, _authentication(service)]
    )
    doors = _Doors(service, catalogs)
    app.router.add_get("/", doors.ping)
    app.router.add_post("/api/auth", doors.log_in)
    app.router.add_post("/api/queries", doors.query)
    return app


def _reply(status: int, said: str, message: str, **more: Any) -> web.Response:
    return web.json_response({"status": said, "message": message, **more}, status=status)


def _recording(service: Service) -> Any:
    @web.middleware
    async def record(request: web.Request, handler: Handler) -> web.StreamResponse:
        status = 0
        try:
            response = await handler(request)
        except web.HTTPException as error:
            status = error.status
            raise
        else:
            # A connection that was broken on purpose has no status.
            status = 0 if request.get(FAULT) in ("hang", "reset", "reset_after", "cut") else response.status
            return response
        finally:
            query: Query | None = request.get(QUERY)
            service.records.append(
                RequestRecord(
                    number=len(service.records),
                    method=request.method,
                    path=request.path,
                    query_type="" if query is None else query.query_type,
                    catalogs=() if query is None else tuple(query.catalogs),
                    n_ids=0 if query is None else len(query.asked),
                    status=status,
                    fault=request.get(FAULT, ""),
                    user=request.get(USER) or "",
                    query=None if query is None else {"query": dict(query.query), "kwargs": query.kwargs},
                )
            )

    return record


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as error:
        if error.status != 404:
            raise
        return _reply(404, "error", error.reason)
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception as error:  # noqa: BLE001 - the service answers whatever went wrong as a 400
        return _reply(400, "error", f"{type(error).__name__}: {error}")
    if response.status in (200, 400, 409) or request.get(FAULT):
        return response
    return _reply(response.status, "error", response.reason or "")


def _authentication(service: Service) -> Any:
    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[USER] = None
        token = request.headers.get("Authorization")
        if token:
            if "bearer" in token.lower():
                token = token.split()[1]
            try:
                request[USER] = read_token(token, service.secret)["user_id"]
            except InvalidTokenError:
                return _reply(400, "error", "token is invalid")
            except ExpiredTokenError:
                return _reply(400, "error", "token has expired")
        return await handler(request)

    return authenticate


class _Doors:
    """What answers each address."""

    def __init__(self, service: Service, catalogs: Collection[str] | None) -> None:
        self._service = service
        self._catalogs = catalogs

    @property
    def _database(self) -> Database:
        whole = self._service.database
        return whole if self._catalogs is None else whole.part(self._catalogs)

    async def ping(self, request: web.Request) -> web.StreamResponse:
        if request[USER] is None:
            return _reply(401, "error", "auth required")
        chosen = self._service.faults.choose("/", "", (), ())
        if chosen is not None:
            request[FAULT] = chosen[0].kind
            return await stop_short(request, chosen[0], b"{}")
        return _reply(200, "success", "greetings from Kowalski!")

    async def log_in(self, request: web.Request) -> web.StreamResponse:
        given = await _form(request)
        name, password = given.get("username"), given.get("password")
        if not name or not isinstance(name, str):
            return _reply(400, "error", "missing username")
        if not password or not isinstance(password, str):
            return _reply(400, "error", "missing password")
        version = given.get("penquins.__version__")
        if version is not None and version not in PENQUINS:
            return _reply(
                400, "error", f"unsupported version of penquins: {version}. Supported versions: {list(PENQUINS)}"
            )
        known = self._service.users.get(name, secrets.token_hex())
        if not hmac.compare_digest(known.encode(), password.encode()):
            return _reply(401, "error", "wrong credentials")
        return web.json_response({"status": "success", "token": self._service.token(name)})

    async def query(self, request: web.Request) -> web.StreamResponse:
        if request[USER] is None:
            return _reply(401, "error", "auth required")
        query = read_query(json.loads(await request.text()), request[USER])
        request[QUERY] = query
        chosen = self._service.faults.choose("/api/queries", query.query_type, query.catalogs, query.asked)
        fault, rng = chosen if chosen is not None else (None, None)
        if fault is not None:
            request[FAULT] = fault.kind
            if fault.kind in ("status", "html", "hang", "reset", "timeout", "expired"):
                return await stop_short(request, fault, b"")
        found: Answer = await asyncio.get_running_loop().run_in_executor(
            self._service.threads, answer, query, self._database
        )
        if self._service.delay_s:
            await asyncio.sleep(self._service.delay_s)
        if fault is None or rng is None:
            return _success(found)
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds * rng.random())
            return _success(found)
        if fault.kind in ("cut", "cut_json", "reset_after"):
            return await stop_short(request, fault, _body(found))
        return _success(spoil(found, query, fault, rng, self._database))


async def _form(request: web.Request) -> dict[str, Any]:
    given = await request.json()
    if not isinstance(given, dict):
        raise AttributeError(f"'{type(given).__name__}' object has no attribute 'get'")  # noqa: TRY004 - as there
    return given


def _body(found: Answer) -> bytes:
    data = found.data()
    start = b'{"status": "success", "message": "Successfully executed query"'
    return start + (b"" if data is None else b', "data": ' + data) + b"}"


def _success(found: Answer) -> web.Response:
    return web.Response(body=_body(found), content_type="application/json", charset="utf-8")
