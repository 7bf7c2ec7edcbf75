"""The server's program: ports on loopback, an event loop, an end.

May import aiohttp, `testing.programs` and what lies beside it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from functools import partial
from typing import Any

from aiohttp import web

from scope_ml.testing.kowalski.control import make_control
from scope_ml.testing.kowalski.database import Database
from scope_ml.testing.kowalski.service import Service, make_app
from scope_ml.testing.programs import check_loopback, first_line, wait_for_parent

__all__ = ["serve_parent"]


def serve_parent() -> int:
    """Serve the process at the other end of standard input, until that ends."""
    settings = json.loads(first_line())
    try:
        asyncio.run(_serve(settings))
    except OSError as error:
        # A port that is taken, most of all.
        sys.stderr.write(f"{error}\n")
        return 1
    # Threads may still work on a query that nobody waits for.
    sys.stdout.flush()
    os._exit(0)


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
        end_soon = partial(loop.call_soon_threadsafe, end.set)
        threading.Thread(target=wait_for_parent, args=(end_soon,), daemon=True).start()
        await end.wait()
    finally:
        service.database.close()
        for runner in runners:
            await runner.cleanup()
