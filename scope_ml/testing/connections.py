"""How connections and replies go wrong in front of a service: pages of a proxy, ends in the middle.

May import aiohttp.
"""

from __future__ import annotations

import socket
import struct

from aiohttp import web

__all__ = ["cut_short", "end_connection", "proxy_page"]

PAGE = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


def proxy_page(title: str) -> str:
    """Return what a proxy in front of a service says."""
    return PAGE.format(title)


async def cut_short(request: web.Request, body: bytes) -> web.StreamResponse:
    """Answer with half of `body`, and end the connection."""
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    end_connection(request, reset=False)
    return response


def end_connection(request: web.Request, *, reset: bool) -> None:
    """End the connection of a request; with `reset` the other side sees one."""
    transport = request.transport
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    found = transport.get_extra_info("socket")
    if found is not None:
        # Without waiting for what was sent: the other side sees a reset.
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
