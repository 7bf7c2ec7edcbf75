"""The HTTP side: what nginx does in front (rate, size, its pages), records of requests, and misbehaviour on request.

May import aiohttp, `testing.connections` and what lies beside it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any

from aiohttp import web

from scope_ml.testing.connections import cut_short, end_connection, proxy_page
from scope_ml.testing.skyportal.answers import Asked, answer, envelope, token_of
from scope_ml.testing.skyportal.faults import Fault, FaultPlan
from scope_ml.testing.skyportal.population import populate
from scope_ml.testing.skyportal.portal import Portal

__all__ = ["BODY_LIMIT", "RequestRecord", "Service", "make_app"]

#: Largest body of a request [bytes], as nginx has it.
BODY_LIMIT = 100 << 20

#: What stands in a record instead of a token.
HIDDEN = "***"

#: Faults after which no reply was given.
BROKEN = ("hang", "reset", "cut")


@dataclass(kw_only=True)
class RequestRecord:
    """One request: what it asked, of whom, the status (0 if the connection was broken) and whether it was carried out.

    Attributes
    ----------
    carried_out
        "yes", "no", or "later" while it still is to be.
    """

    number: int
    method: str
    path: str
    query: dict[str, str]
    user: str
    status: int = 0
    fault: str = ""
    carried_out: str = "no"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


@dataclass(kw_only=True)
class Service:
    """What the server knows.

    Attributes
    ----------
    tokens
        Of the users it begins with; `reset` makes all others unknown.
    rate, burst
        Requests a second of one token, and how many more at once; no limit if `rate` is 0.
    """

    tokens: Mapping[str, str]
    portal: Portal = field(default_factory=Portal)
    faults: FaultPlan = field(default_factory=FaultPlan)
    records: list[RequestRecord] = field(default_factory=list)
    rate: float = 0.0
    burst: int = 10
    body_limit: int = BODY_LIMIT
    later: set[asyncio.Task[None]] = field(default_factory=set)
    excesses: dict[str, tuple[float, float]] = field(default_factory=dict)

    def reset(self) -> None:
        """Begin anew: the state that `population` makes, no faults, no limit of the rate; records stay."""
        for task in self.later:
            task.cancel()
        self.portal = Portal()
        populate(self.portal, self.tokens)
        self.faults.clear()
        self.rate, self.burst, self.body_limit = 0.0, 10, BODY_LIMIT
        self.excesses.clear()

    def user(self, authorization: str | None) -> str:
        """Return the name of the user whose token a header gives, or ""."""
        token = self.portal.tokens.get(token_of(authorization) or "")
        return "" if token is None else self.portal.users[token.user_id].username

    def is_too_fast(self, authorization: str | None) -> bool:
        """Return whether nginx refuses this request: a leaking bucket for each header, without delay."""
        if not self.rate:
            return False
        key, now = authorization or "", time.monotonic()
        before, excess = self.excesses.get(key, (now, -1.0))
        excess = max(0.0, excess - (now - before) * self.rate + 1.0)
        if excess > self.burst:
            return True
        self.excesses[key] = (now, excess)
        return False

    def without_tokens(self, text: str) -> str:
        """Return a text in which no token that is known stands."""
        for token in self.portal.tokens:
            text = text.replace(token, HIDDEN)
        return text


def make_app(service: Service) -> web.Application:
    """Return the application."""
    app = web.Application(client_max_size=BODY_LIMIT * 2)

    async def handle(request: web.Request) -> web.StreamResponse:
        return await _handle(service, request)

    app.router.add_route("*", "/{path:.*}", handle)
    return app


async def _handle(service: Service, request: web.Request) -> web.StreamResponse:
    authorization = request.headers.get("Authorization")
    record = RequestRecord(
        number=len(service.records),
        method=request.method,
        path=service.without_tokens(request.path),
        query={key: service.without_tokens(request.query.getall(key)[-1]) for key in request.query},
        user=service.user(authorization),
    )
    service.records.append(record)
    if service.is_too_fast(authorization):
        return _page(429, record)
    if (request.content_length or 0) > service.body_limit:
        return _page(413, record)
    asked = Asked(
        method=request.method,
        path=request.raw_path.partition("?")[0],
        query={key: request.query.getall(key) for key in request.query},
        authorization=authorization,
        raw=await request.read(),
    )
    if not asked.path.startswith("/api/"):
        return _page(200, record)
    fault = service.faults.choose(asked.method, request.path)
    if fault is None:
        return _work(service, asked, record)
    record.fault = fault.kind
    return await _misbehave(service, request, asked, record, fault)


def _work(service: Service, asked: Asked, record: RequestRecord, most_items: int | None = None) -> web.Response:
    record.status, body = answer(service.portal, asked, most_items=most_items)
    record.carried_out = "yes"
    return web.Response(status=record.status, body=body, content_type="application/json", charset="utf-8")


async def _misbehave(
    service: Service, request: web.Request, asked: Asked, record: RequestRecord, fault: Fault
) -> web.StreamResponse:
    if fault.kind in ("lost_right", "lost_token"):
        _lose(service.portal, asked, fault)
        return _work(service, asked, record)
    if fault.kind == "delay":
        await asyncio.sleep(fault.seconds)
        return _work(service, asked, record)
    right = b""
    if fault.stored == "before" or fault.kind == "cut":
        right = bytes(_work(service, asked, record, fault.n_items).body or b"")  # type: ignore[arg-type]
    elif fault.stored == "later":
        record.carried_out = "later"
        task = asyncio.create_task(_work_later(service, asked, record, fault))
        service.later.add(task)
        task.add_done_callback(service.later.discard)
    record.status = 0 if fault.kind in BROKEN else 200 if fault.kind == "not_json" else fault.status
    return await _stop_short(request, fault, right)


async def _work_later(service: Service, asked: Asked, record: RequestRecord, fault: Fault) -> None:
    await asyncio.sleep(fault.later_s)
    status = record.status
    _work(service, asked, record, fault.n_items)
    record.status = status


def _lose(portal: Portal, asked: Asked, fault: Fault) -> None:
    token = token_of(asked.authorization) or ""
    if token in portal.tokens:
        if fault.kind == "lost_token":
            del portal.tokens[token]
        else:
            portal.tokens[token].rights.discard(fault.right)


async def _stop_short(request: web.Request, fault: Fault, right: bytes) -> web.StreamResponse:
    """Answer with an error, a page, part of the `right` body, or not at all."""
    headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
    if fault.kind == "error":
        body = envelope(fault.message)
        return web.Response(status=fault.status, body=body, content_type="application/json", headers=headers)
    if fault.kind in ("html", "not_json"):
        status = fault.status if fault.kind == "html" else 200
        page = proxy_page(f"{status} {HTTPStatus(status).phrase}")
        return web.Response(status=status, text=page, content_type="text/html", headers=headers)
    if fault.kind == "cut":
        return await cut_short(request, right)
    if fault.kind == "hang":
        await asyncio.sleep(fault.seconds)
    end_connection(request, reset=True)
    return web.Response(status=500)


def _page(status: int, record: RequestRecord) -> web.Response:
    record.status = status
    return web.Response(
        status=status, text=proxy_page(f"{status} {HTTPStatus(status).phrase}"), content_type="text/html"
    )
