"""What faults do to a reply: broken connections and wrong statuses (`stop_short`), wrong content (`spoil`).

May import aiohttp, `testing.connections` and what lies beside it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from random import Random
from typing import Any

from aiohttp import web

from scope_ml.testing.connections import cut_short, end_connection, proxy_page
from scope_ml.testing.kowalski.database import Database, Found
from scope_ml.testing.kowalski.documents import as_text
from scope_ml.testing.kowalski.faults import Fault
from scope_ml.testing.kowalski.queries import Answer, Query

__all__ = ["spoil", "stop_short"]

TIMEOUT = (
    "ExecutionTimeout: Executor error during find command :: caused by :: operation exceeded time limit, full error: "
    "{'ok': 0.0, 'errmsg': 'operation exceeded time limit', 'code': 50, 'codeName': 'MaxTimeMSExpired'}"
)

MAGNITUDE = re.compile(rb'"mag": -?[0-9.eE+-]+')

#: Where `foreign` documents come from: one that no catalogue has.
STRANGER = 10_999_639_999_999


async def stop_short(request: web.Request, fault: Fault, body: bytes) -> web.StreamResponse:
    """Answer with an error, with part of `body`, or not at all."""
    if fault.kind in ("status", "html"):
        headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
        if fault.kind == "status":
            text = as_text({"status": "error", "message": fault.message})
            return web.Response(status=fault.status, body=text, content_type="application/json", headers=headers)
        page = proxy_page(f"{fault.status} {fault.message}")
        return web.Response(status=fault.status, text=page, content_type="text/html", headers=headers)
    if fault.kind in ("timeout", "expired"):
        message = TIMEOUT if fault.kind == "timeout" else "token has expired"
        return web.json_response({"status": "error", "message": message}, status=400)
    if fault.kind == "cut_json":
        return web.Response(body=body[: max(len(body) * 2 // 3, 1)], content_type="application/json")
    if fault.kind == "cut":
        return await cut_short(request, body)
    if fault.kind in ("hang", "delay"):
        await asyncio.sleep(fault.seconds)
    end_connection(request, reset=True)
    return web.Response(status=500)


def spoil(found: Answer, query: Query, fault: Fault, rng: Random, database: Database) -> Answer:
    """Return an answer with documents missing, twice, of others, or with values that are no numbers."""
    change = CHANGES[fault.kind]
    if found.found is not None:
        return Answer(found=change(found.found, fault, rng))
    if not found.is_cones:
        return found
    cones = {}
    for name, by_position in found.cones.items():
        cones[name] = {
            one: change(Found(ids=[one] * len(texts), texts=list(texts)), fault, rng).texts
            for one, texts in by_position.items()
        }
        if fault.kind == "missing":
            # Positions, not documents: a position without documents is a right answer.
            kept = change(Found(ids=list(by_position), texts=[b""] * len(by_position)), fault, rng).ids
            cones[name] = {one: by_position[one] for one in kept}
        elif fault.kind == "foreign":
            cones[name]["nobody_asked"] = [_stranger()]
    return Answer(cones=cones, is_cones=True)


def _stranger() -> bytes:
    return as_text({"_id": STRANGER, "filter": 1, "data": []})


def _missing(found: Found, fault: Fault, rng: Random) -> Found:
    if fault.ids:
        kept = [row for row, key in enumerate(found.ids) if key not in fault.ids]
    else:
        n_gone = max(1, round(fault.share * len(found.ids))) if found.ids else 0
        gone = set(rng.sample(range(len(found.ids)), n_gone))
        kept = [row for row in range(len(found.ids)) if row not in gone]
    return _rows(found, kept)


def _duplicate(found: Found, fault: Fault, rng: Random) -> Found:
    n_twice = max(1, round(fault.share * len(found.ids))) if found.ids else 0
    rows = [*range(len(found.ids)), *rng.sample(range(len(found.ids)), n_twice)]
    rng.shuffle(rows)
    return _rows(found, rows)


def _foreign(found: Found, fault: Fault, rng: Random) -> Found:
    return Found(ids=[*found.ids, STRANGER], texts=[*found.texts, _stranger()])


def _nan(found: Found, fault: Fault, rng: Random) -> Found:
    value = b'"mag": {"$numberDouble": "NaN"}'
    return Found(ids=found.ids, texts=[MAGNITUDE.sub(value, text, count=1) for text in found.texts])


def _empty(found: Found, fault: Fault, rng: Random) -> Found:
    return Found(ids=[], texts=[])


def _rows(found: Found, rows: list[int]) -> Found:
    return Found(ids=[found.ids[row] for row in rows], texts=[found.texts[row] for row in rows])


CHANGES: dict[str, Callable[[Found, Fault, Random], Any]] = {
    "missing": _missing,
    "duplicate": _duplicate,
    "foreign": _foreign,
    "nan": _nan,
    "empty": _empty,
}
