"""The back door: how a test fills the server, makes it misbehave and reads what it was asked.

It listens on a port of its own, on loopback, and wants a secret that only the program which started the server knows.
May import aiohttp and what lies beside it.
"""

from __future__ import annotations

import asyncio
import hmac
from datetime import timedelta
from typing import Any

from aiohttp import web

from scope_ml.testing.skyportal import snapshot
from scope_ml.testing.skyportal.faults import Fault
from scope_ml.testing.skyportal.listing import parse_time
from scope_ml.testing.skyportal.portal import RefusedError
from scope_ml.testing.skyportal.scenery import Scenery
from scope_ml.testing.skyportal.service import Service

__all__ = ["make_control"]

#: Largest order [bytes].
MOST_BYTES = 1 << 30


def make_control(service: Service, secret: str) -> web.Application:
    """Return the application."""
    orders = _Orders(service)

    async def take(request: web.Request) -> web.StreamResponse:
        if not hmac.compare_digest(request.headers.get("X-Control", "").encode(), secret.encode()):
            raise web.HTTPForbidden
        given = await request.json()
        try:
            found = [await orders.obey(order, values) for order, values in given]
        except (RefusedError, KeyError, TypeError, ValueError) as error:
            raise web.HTTPConflict(text=f"{type(error).__name__}: {error}") from error
        return web.json_response(found)

    app = web.Application(client_max_size=MOST_BYTES)
    app.router.add_post("/orders", take)
    return app


class _Orders:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def obey(self, order: str, values: dict[str, Any]) -> Any:
        """Do what `order` says: one of the methods below, or ``add_...`` of `scenery`."""
        if order.startswith("add_"):
            return getattr(Scenery(self._service.portal), order.removeprefix("add_"))(**values)
        found = getattr(self, f"do_{order}")(**values)
        return await found if asyncio.iscoroutine(found) else found

    def do_reset(self) -> None:
        self._service.reset()

    def do_fault(self, **fields: Any) -> None:
        self._service.faults.add(Fault.from_json(fields))

    def do_behave(self) -> None:
        self._service.faults.clear()

    def do_requests(self, since: int) -> list[dict[str, Any]]:
        return [record.to_json() for record in self._service.records[since:]]

    def do_count(self) -> int:
        return len(self._service.records)

    def do_state(self, *, raw: bool) -> dict[str, Any]:
        make = snapshot.raw if raw else snapshot.comparable
        return make(self._service.portal)

    async def do_settle(self) -> int:
        """Wait until nothing that was put off is left to be done."""
        found = list(self._service.later)
        if found:
            await asyncio.wait(found)
        return len(found)

    def do_clock(self, now: str | None, step_s: float) -> None:
        self._service.portal.now = None if now is None else parse_time(now)
        self._service.portal.step = timedelta(seconds=step_s)

    def do_limit(self, rate: float, burst: int, body: int | None) -> None:
        self._service.rate, self._service.burst = rate, burst
        self._service.excesses.clear()
        if body is not None:
            self._service.body_limit = body

    def do_names(self) -> dict[str, dict[str, int]]:
        portal = self._service.portal
        return {
            "users": {one.username: one.id for one in portal.users.values()},
            "groups": {one.name: one.id for one in portal.groups.values()},
            "instruments": {one.name: one.id for one in portal.instruments.values()},
            "taxonomies": {one.name: one.id for one in portal.taxonomies.values() if one.is_latest},
        }
