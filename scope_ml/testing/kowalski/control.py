"""The back door: how a test fills the server, makes it misbehave and reads what it was asked.

It listens on a port of its own, on loopback, and wants a secret that only the program which started the server knows.
May import aiohttp and what lies beside it.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from scope_ml.testing.kowalski.documents import as_text, split
from scope_ml.testing.kowalski.faults import Fault
from scope_ml.testing.kowalski.prepared import split_texts
from scope_ml.testing.kowalski.seeding import indexes_of
from scope_ml.testing.kowalski.service import Service, make_app

__all__ = ["make_control"]

#: Largest piece of documents at a time [bytes].
MOST_BYTES = 1 << 30

Listen = Callable[[web.Application], Awaitable[int]]


def make_control(service: Service, secret: str, listen: Listen) -> web.Application:
    """Return the application; `listen` opens one more port for an instance and returns it."""
    orders = _Orders(service, listen)

    @web.middleware
    async def guard(request: web.Request, handler: Any) -> web.StreamResponse:
        if not hmac.compare_digest(request.headers.get("X-Control", "").encode(), secret.encode()):
            raise web.HTTPForbidden()
        given = await handler(request)
        return web.Response(body=as_text(given), content_type="application/json")

    app = web.Application(client_max_size=MOST_BYTES, middlewares=[guard])
    app.router.add_post("/insert/{name}", orders.insert)
    app.router.add_post("/texts/{name}", orders.insert_texts)
    app.router.add_post("/order/{order}", orders.order)
    return app


class _Orders:
    def __init__(self, service: Service, listen: Listen) -> None:
        self._service = service
        self._listen = listen

    async def insert(self, request: web.Request) -> Any:
        """Add documents that come as BSON, one after the other."""
        name, database = request.match_info["name"], self._service.database
        count = database.insert_raw(name, split(await request.read()))
        if not database.collections[name].indexes:
            database.index(name, indexes_of(name))
        return count

    async def insert_texts(self, request: web.Request) -> Any:
        """Add documents that come as text."""
        return self._service.database.insert_texts(request.match_info["name"], split_texts(await request.read()))

    async def order(self, request: web.Request) -> Any:
        """Do what the last part of the address says."""
        given = await request.json()
        return await getattr(self, f"do_{request.match_info['order']}")(given)

    async def do_fault(self, given: dict[str, Any]) -> None:
        self._service.faults.add(Fault.from_json(given))

    async def do_behave(self, given: dict[str, Any]) -> None:
        self._service.faults.clear()

    async def do_requests(self, given: dict[str, Any]) -> Any:
        return [record.to_json() for record in self._service.records[given["since"] :]]

    async def do_count(self, given: dict[str, Any]) -> int:
        return len(self._service.records)

    async def do_collections(self, given: dict[str, Any]) -> dict[str, int]:
        return {name: len(one) for name, one in self._service.database.collections.items()}

    async def do_ids(self, given: dict[str, Any]) -> list[Any]:
        collection = self._service.database.collections.get(given["name"])
        return [] if collection is None else collection.ids

    async def do_remove(self, given: dict[str, Any]) -> int:
        return self._service.database.remove(given["name"], given["ids"])

    async def do_settings(self, given: dict[str, Any]) -> None:
        if "shortcuts" in given:
            self._service.database.shortcuts = bool(given["shortcuts"])
        if "delay_s" in given:
            self._service.delay_s = float(given["delay_s"])

    async def do_instance(self, given: dict[str, Any]) -> int:
        return await self._listen(make_app(self._service, given["catalogs"]))
