"""A server on this machine that answers as IRSA does: the tree of bulk files, and the service for single stars.

    python -m scope_ml.testing.irsa FOLDER_OR_SURVEY

Bulk files lie under ``/data/ZTF/lc/lc_drNN``, the service is ``/cgi-bin/ZTF/nph_light_curves``. It listens on 127.0.0.1
only, and misbehaves on request (`Fault`). What it does follows IRSA's documentation and its users' programs; the real
archive was not asked. May import what lies in `testing`, io, core and errors.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from aiohttp import web

from scope_ml.errors import ConfigError
from scope_ml.testing.irsa_bulk import BulkTree, Damage
from scope_ml.testing.irsa_light_curves import Epochs, PublicLightCurves, read_epochs

__all__ = ["LIGHT_CURVES_PATH", "Fault", "IrsaServer", "main"]

LIGHT_CURVES_PATH = "/cgi-bin/ZTF/nph_light_curves"

LOOPBACK = ("127.0.0.1", "::1")

#: Longest that the server may take to begin or to stop [s].
PATIENCE_S = 30.0

#: What proxies and failing services send instead of data.
PAGE = b"<!DOCTYPE html>\n<html><head><title>Log in to the network</title></head><body>Please log in.</body></html>\n"

FaultKind = Literal["status", "html", "cut", "no_range", "wrong_range", "stale_range", "slow", "reset", "redirect"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(kw_only=True)
class Fault:
    """One way to misbehave, for the next `times` requests whose path and query contain `where`.

    Attributes
    ----------
    kind
        ``status``: answer `status` (with ``Retry-After: retry_after``); ``html``: a web page with status 200; ``cut``: the
        connection closes after `n_bytes` of the body; ``no_range``: the whole file whatever range is asked;
        ``wrong_range``: another range than asked; ``stale_range``: the range asked although the file has changed; ``slow``:
        `seconds` of silence first; ``reset``: no answer; ``redirect``: to `location`.
    method
        Of the request; all if "".
    """

    kind: FaultKind
    where: str = ""
    method: str = "GET"
    times: int = 1
    status: int = 503
    retry_after: str | None = None
    n_bytes: int = 0
    seconds: float = 0.0
    location: str = ""

    def hits(self, request: web.Request) -> bool:
        """Return whether this request is to go wrong."""
        return self.times > 0 and self.where in request.path_qs and self.method in ("", request.method)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request that came in."""

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)


class IrsaServer:
    """The server, in a thread of its own; a context manager.

    Parameters
    ----------
    bulk
        A folder with bulk files anywhere below, or None.
    epochs
        What the service for single stars knows, or None.
    nested, checksums
        Whether fields lie in folders of 1000, and whether the release has a list of checksums.
    host, port
        Loopback only; port 0 takes a free one.

    Raises
    ------
    ConfigError
        If `host` is not loopback.
    """

    def __init__(
        self,
        *,
        bulk: Path | None = None,
        epochs: Epochs | None = None,
        nested: bool = True,
        checksums: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        if host not in LOOPBACK:
            raise ConfigError(f"host={host}: this server is for tests and listens on loopback only; give 127.0.0.1")
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.bulk = BulkTree(bulk, nested=nested, checksums=checksums)
        self._service = PublicLightCurves(epochs)
        self._host, self._port = host, port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="irsa-server", daemon=True)
        self._ready = threading.Event()
        self._runner: web.AppRunner | None = None
        self._failed: OSError | None = None

    @property
    def address(self) -> str:
        """Scheme, host and port."""
        return f"http://{self._host}:{self._port}"

    @property
    def light_curves(self) -> str:
        """Address of the service for single stars."""
        return self.address + LIGHT_CURVES_PATH

    def release(self, number: int) -> str:
        """Return the address of a data release's bulk files."""
        return f"{self.address}/data/ZTF/lc/lc_dr{number}"

    def paths(self, method: str = "") -> list[str]:
        """Return the paths (with queries) that were asked for by a method, or by any."""
        return [one.path for one in self.asked if method in ("", one.method)]

    def forget(self) -> None:
        """Forget faults and what was asked."""
        self.faults.clear()
        self.asked.clear()

    def start(self) -> Self:
        """Listen.

        Raises
        ------
        OSError
            If the port is taken.
        """
        self._thread.start()
        if not self._ready.wait(PATIENCE_S):
            raise TimeoutError("the test server did not begin to listen")
        if self._failed is not None:
            raise self._failed
        return self

    def stop(self) -> None:
        """Stop listening; what is under way is cut."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE_S)

    def wait(self) -> None:
        """Serve until interrupted."""
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._begin())
            self._ready.set()
            self._loop.run_forever()
        except OSError as error:
            self._failed = error
        finally:
            self._ready.set()
            if self._runner is not None:
                self._loop.run_until_complete(self._runner.cleanup())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _begin(self) -> None:
        app = web.Application(middlewares=[self._guarded])
        app.router.add_get(LIGHT_CURVES_PATH, self._service.answer)
        app.router.add_get("/data/ZTF/lc/{path:.*}", self.bulk.answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self._port = int(self._runner.addresses[0][1])

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.remote not in LOOPBACK:
            raise web.HTTPForbidden(text="loopback only")
        self.asked.append(Asked(method=request.method, path=request.path_qs, headers=dict(request.headers)))
        fault = next((one for one in self.faults if one.hits(request)), None)
        if fault is None:
            return await handler(request)
        fault.times -= 1
        return await _misbehave(fault, request, handler)


async def _misbehave(fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
    if fault.kind == "status":
        headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
        return web.Response(status=fault.status, body=PAGE, content_type="text/html", headers=headers)
    if fault.kind == "html":
        return web.Response(body=PAGE, content_type="text/html")
    if fault.kind == "redirect":
        return web.Response(status=302, headers={"Location": fault.location})
    if fault.kind == "reset":
        assert request.transport is not None
        request.transport.abort()
        return web.Response()
    if fault.kind == "slow":
        await asyncio.sleep(fault.seconds)
        return await handler(request)
    request["damage"] = Damage(kind=fault.kind, n_bytes=fault.n_bytes)
    return await handler(request)


def main(words: list[str] | None = None) -> int:
    """Serve a folder of bulk files, or an embedded survey, until interrupted; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m scope_ml.testing.irsa", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("folder", type=Path, help="bulk files, such as a mirror, or a survey made by simulate")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--flat", action="store_true", help="without folders of 1000 fields, as early releases")
    parser.add_argument("--no-checksums", action="store_true", help="without the list of checksums")
    given = parser.parse_args(words)
    if not given.folder.is_dir():
        parser.error(f"{given.folder} is no folder")
    server = IrsaServer(
        bulk=given.folder,
        epochs=read_epochs(given.folder),
        nested=not given.flat,
        checksums=not given.no_checksums,
        port=given.port,
    )
    with ExitStack() as stack:
        try:
            stack.enter_context(server)
        except OSError as error:
            sys.stderr.write(
                f"cannot listen on port {given.port} of 127.0.0.1 ({error.strerror}); give another --port\n"
            )
            return 2
        for number in server.bulk.releases:
            sys.stdout.write(f"source=irsa source.path={server.release(number)}\n")
        sys.stdout.write(f"source=irsa_stars service.irsa.light_curves={server.light_curves}\n")
        sys.stdout.flush()
        try:
            server.wait()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
