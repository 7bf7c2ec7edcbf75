"""The server's program: ports on loopback, an event loop, an end.

May import aiohttp and what lies beside it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from typing import Any

from aiohttp import web

from scope_ml.testing.kowalski.control import make_control
from scope_ml.testing.kowalski.database import Database
from scope_ml.testing.kowalski.server import check_loopback
from scope_ml.testing.kowalski.service import Service, make_app

__all__ = ["serve_parent"]


def serve_parent() -> int:
    """Serve the process at the other end of standard input, until that ends."""
    settings = json.loads(_line())
    asyncio.run(_serve(settings))
    # Threads may still work on a query that nobody waits for.
    sys.stdout.flush()
    os._exit(0)


def _line() -> bytes:
    # Byte by byte: nothing of what follows may be taken into a buffer.
    said = b""
    while not said.endswith(b"\n"):
        one = os.read(0, 1)
        if not one:
            break
        said += one
    return said


async def _serve(settings: dict[str, Any]) -> None:
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    host = check_loopback(settings["host"])
    service = Service(database=Database(), secret=settings["secret"], users=settings["users"])
    runners: list[web.AppRunner] = []

    async def listen(app: web.Application, port: int = 0) -> int:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, host, port).start()
        return int(runner.addresses[0][1])

    try:
        port = await listen(make_app(service), settings["port"])
        control_port = await listen(make_control(service, settings["control"], listen))
        sys.stdout.write(json.dumps({"port": port, "control_port": control_port}) + "\n")
        sys.stdout.flush()
        threading.Thread(target=_wait_for_parent, args=(loop, end), daemon=True).start()
        await end.wait()
    finally:
        service.database.close()
        for runner in runners:
            await runner.cleanup()


def _wait_for_parent(loop: asyncio.AbstractEventLoop, end: asyncio.Event) -> None:
    # Not through sys.stdin: a thread that waits in it would break the interpreter's end.
    while os.read(0, 4096):
        pass
    loop.call_soon_threadsafe(end.set)
