"""The tree of bulk files of the test server: ranges, entity tags, listings, checksums, and damage on request.

Files are served under the names and folders that IRSA would give them, wherever they lie. May import io, core and errors.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from aiohttp import web

from scope_ml.io.irsa_tree import parse_name

__all__ = ["BulkTree", "Damage"]

#: Bytes sent at a time.
BLOCK_BYTES = 1 << 16

RANGE = re.compile(r"bytes=(\d+)-(\d*)")

#: What the list of checksums is called: since release 6, and before.
CHECKSUMS = "checksum.md5"
EARLY_CHECKSUMS = "checksums.md5"


@dataclass(frozen=True, kw_only=True)
class Damage:
    """What is wrong with one answer; see `irsa.Fault`."""

    kind: str
    n_bytes: int = 0


class BulkTree:
    """The bulk files of a folder as a tree of releases."""

    def __init__(self, folder: Path | None, *, nested: bool, checksums: bool) -> None:
        self._files: dict[str, Path] = {}
        self._checksums = checksums
        #: Mixed into the entity tags; another text is another version of each file.
        self.version = ""
        releases = set()
        for path in sorted(folder.rglob("ztf_*.parquet")) if folder is not None else ():
            name = parse_name(path.name)
            if name is None or any(part.startswith(".") for part in path.relative_to(folder or path).parts):
                continue
            thousand = f"{name.field // 1000}/" if nested else ""
            self._files[f"lc_dr{name.release}/{thousand}field{name.field:06d}/{path.name}"] = path
            releases.add(name.release)
        self.releases = sorted(releases)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a GET or HEAD of a file or a folder."""
        path = request.match_info["path"].strip("/")
        file = self._files.get(path)
        if file is not None:
            return await self._send(request, file.read_bytes(), file.stat().st_mtime)
        release, _, name = path.partition("/")
        below = [one for one in self._files if one.startswith(f"{path}/")]
        if self._checksums and name == self._list_name(release):
            return await self._send(request, self._list(release), 0.0)
        if not below:
            raise web.HTTPNotFound(
                text="<html><head><title>404 Not Found</title></head></html>", content_type="text/html"
            )
        names = sorted({one.removeprefix(f"{path}/").partition("/")[0] for one in below})
        links = "".join(f'<li><a href="{one}">{one}</a></li>' for one in names)
        page = f"<html><head><title>Index of /{path}</title></head><body><ul>{links}</ul></body></html>"
        return web.Response(text=page, content_type="text/html")

    def _list_name(self, release: str) -> str:
        number = release.removeprefix("lc_dr")
        return EARLY_CHECKSUMS if number.isdigit() and int(number) < 6 else CHECKSUMS

    def _list(self, release: str) -> bytes:
        lines = [
            f"{hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()}  ./{path.removeprefix(release + '/')}\n"
            for path, file in self._files.items()
            if path.startswith(f"{release}/")
        ]
        return "".join(lines).encode()

    async def _send(self, request: web.Request, body: bytes, changed: float) -> web.StreamResponse:
        damage = request.get("damage") or Damage(kind="")
        tag = f'"{hashlib.md5(body + self.version.encode(), usedforsecurity=False).hexdigest()[:16]}"'
        headers = {"ETag": tag, "Last-Modified": formatdate(changed, usegmt=True), "Accept-Ranges": "bytes"}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        start, status = 0, 200
        asked = RANGE.fullmatch(request.headers.get("Range", ""))
        same = request.headers.get("If-Range", tag) in (tag, headers["Last-Modified"]) or damage.kind == "stale_range"
        if asked and same and damage.kind != "no_range":
            start = int(asked[1])
            if start >= len(body):
                return web.Response(status=416, headers={**headers, "Content-Range": f"bytes */{len(body)}"})
            start = max(0, start - 7) if damage.kind == "wrong_range" else start
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        response = web.StreamResponse(status=status, headers=headers)
        response.content_type = "application/octet-stream"
        response.content_length = len(body) - start
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        piece = memoryview(body)[start:]
        if damage.kind == "cut":
            await response.write(bytes(piece[: damage.n_bytes]))
            assert request.transport is not None
            request.transport.close()
            return response
        for begin in range(0, len(piece), BLOCK_BYTES):
            await response.write(bytes(piece[begin : begin + BLOCK_BYTES]))
        await response.write_eof()
        return response
