"""Documents as the server keeps and sends them: BSON in memory, relaxed extended JSON in replies.

A document's text is made once a projection and kept. `matches` and `project` answer the plain filters and
projections that survey queries consist of; what they do not know raises `NotPlainError`, and the Mongo-compatible store
is asked instead. May import `bson` and errors only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bson import decode, encode, json_util
from bson.raw_bson import RawBSONDocument

__all__ = [
    "NotPlainError",
    "as_text",
    "head_of",
    "matches",
    "pack",
    "paths",
    "project",
    "projected",
    "sort_key",
    "split",
    "unpack",
]

Document = Mapping[str, Any]

#: What Mongo calls numbers; booleans are another type there.
NUMBERS = (int, float)

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": lambda a, b: a > b,
    "$gte": lambda a, b: a >= b,
    "$lt": lambda a, b: a < b,
    "$lte": lambda a, b: a <= b,
}


class NotPlainError(Exception):
    """A filter, projection or order that is left to the store."""


def pack(document: Document) -> bytes:
    """Return a document as BSON."""
    raw: bytes = encode(dict(document))
    return raw


def unpack(raw: bytes) -> dict[str, Any]:
    """Return a document from BSON."""
    document: dict[str, Any] = decode(raw)
    return document


def split(raws: bytes) -> Iterator[bytes]:
    """Return the documents of BSON that stand one after the other; each begins with its length."""
    start = 0
    while start < len(raws):
        stop = start + int.from_bytes(raws[start : start + 4], "little")
        yield raws[start:stop]
        start = stop


def as_raw(raw: bytes) -> RawBSONDocument:
    """Return a document that a driver sends without looking into it."""
    return RawBSONDocument(raw)


def as_text(value: Any) -> bytes:
    """Return `value` as ``bson.json_util.dumps`` writes it, in relaxed extended JSON, but quickly."""
    try:
        return json.dumps(value, allow_nan=False, default=json_util.default).encode()
    except ValueError:
        return json.dumps(_finite(value), default=json_util.default).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"$numberDouble": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    return value


def head_of(document: Document) -> dict[str, Any]:
    """Return a document without its lists of documents: what filters mostly look at, and small."""
    return {key: value for key, value in document.items() if not _is_points(value)}


def _is_points(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def paths(condition: Mapping[str, Any]) -> set[str]:
    """Return the top-level fields that a plain filter looks at."""
    found: set[str] = set()
    for path, wanted in condition.items():
        if path == "$and":
            found.update(*(paths(part) for part in _parts(wanted)))
        elif path.startswith("$"):
            raise NotPlainError(path)
        else:
            found.add(path.partition(".")[0])
    return found


def matches(document: Document, condition: Mapping[str, Any]) -> bool:
    """Return whether `document` satisfies a plain filter, by Mongo's rules.

    Each condition on a list of points may be satisfied by another point.

    Raises
    ------
    NotPlainError
        An operator or a type of value is not known here.
    """
    for path, wanted in condition.items():
        if path == "$and":
            if not all(matches(document, part) for part in _parts(wanted)):
                return False
        elif path.startswith("$"):
            raise NotPlainError(path)
        else:
            values = _values(document, path.split("."))
            operators = wanted if _is_operators(wanted) else {"$eq": wanted}
            if not all(_holds(values, operator, operand) for operator, operand in operators.items()):
                return False
    return True


def _parts(wanted: Any) -> Sequence[Mapping[str, Any]]:
    if not isinstance(wanted, list) or not wanted or not all(isinstance(part, Mapping) for part in wanted):
        raise NotPlainError("$and")
    return wanted


def _is_operators(wanted: Any) -> bool:
    if not isinstance(wanted, Mapping):
        return False
    if not wanted or not all(key.startswith("$") for key in wanted):
        raise NotPlainError("a document as a value")
    return True


def _values(value: Any, path: Sequence[str]) -> list[Any]:
    """Return what stands at `path`: one value, or those of each element of lists on the way; none if it is missing."""
    if not path:
        return [*value, value] if isinstance(value, list) else [value]
    if isinstance(value, Mapping):
        return _values(value[path[0]], path[1:]) if path[0] in value else []
    if isinstance(value, list):
        if path[0].isdigit():
            raise NotPlainError("an index into a list")
        return [found for item in value if isinstance(item, Mapping) for found in _values(item, path)]
    return []


def _holds(values: list[Any], operator: str, operand: Any) -> bool:
    if operator == "$exists":
        return bool(values) == bool(operand)
    if operator == "$in":
        if not isinstance(operand, list):
            raise NotPlainError("$in without a list")
        return any(_holds(values, "$eq", item) for item in operand)
    if isinstance(operand, bool) or not isinstance(operand, (*NUMBERS, str)):
        raise NotPlainError(f"a value of type {type(operand).__name__}")
    if isinstance(operand, float) and math.isnan(operand):
        raise NotPlainError("NaN")
    kind = str if isinstance(operand, str) else NUMBERS
    alike = [value for value in values if isinstance(value, kind) and not isinstance(value, bool)]
    if operator == "$eq":
        return operand in alike
    if operator not in COMPARE:
        raise NotPlainError(operator)
    return any(COMPARE[operator](value, operand) for value in alike)


def projected(projection: Mapping[str, Any]) -> tuple[bool, list[list[str]], bool]:
    """Return whether a plain projection includes (or excludes), its paths, and whether ``_id`` is sent."""
    flags = {key: value for key, value in projection.items() if key != "_id"}
    values = [*flags.values(), projection.get("_id", 1)]
    if not all(isinstance(value, (bool, int, float)) for value in values) or any("$" in key for key in flags):
        raise NotPlainError("an expression in a projection")
    wanted = {bool(value) for value in flags.values()}
    if len(wanted) > 1:
        raise NotPlainError("inclusion and exclusion together")
    names = sorted(flags)
    if any(after.startswith(f"{before}.") for before in names for after in names):
        raise NotPlainError("a path inside another")
    with_id = bool(projection.get("_id", 1))
    # Only {_id: 1} includes nothing else, only {_id: 0} excludes nothing else.
    include = wanted.pop() if wanted else with_id
    return include, [key.split(".") for key in flags], with_id


def project(document: Document, projection: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of `document` that a plain projection asks for, fields in the document's order.

    Raises
    ------
    NotPlainError
        It is not plain.
    """
    if not projection:
        return dict(document)
    include, branches, with_id = projected(projection)
    tree: dict[str, Any] = {}
    for branch in branches:
        node = tree
        for step in branch[:-1]:
            node = node.setdefault(step, {})
        node[branch[-1]] = None
    found: dict[str, Any] = {}
    if with_id and "_id" in document:
        found["_id"] = document["_id"]
    rest = {key: value for key, value in document.items() if key != "_id"}
    return found | (_included(rest, tree) if include else _excluded(rest, tree))


def _included(value: Mapping[str, Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        if key not in tree:
            continue
        branch = tree[key]
        if branch is None:
            found[key] = item
        elif isinstance(item, Mapping):
            found[key] = _included(item, branch)
        elif isinstance(item, list):
            found[key] = [_included(one, branch) for one in item if isinstance(one, Mapping)]
    return found


def _excluded(value: Mapping[str, Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        if key not in tree:
            found[key] = item
            continue
        branch = tree[key]
        if branch is None:
            continue
        if isinstance(item, Mapping):
            found[key] = _excluded(item, branch)
        elif isinstance(item, list):
            found[key] = [_excluded(one, branch) if isinstance(one, Mapping) else one for one in item]
        else:
            found[key] = item
    return found


def sort_key(value: Any) -> tuple[int, Any]:
    """Return a key that orders values as Mongo does: missing, numbers (NaN first), strings."""
    if value is None:
        return (0, 0)
    if isinstance(value, bool) or not isinstance(value, (*NUMBERS, str)):
        raise NotPlainError("an order of other values")
    if isinstance(value, str):
        return (3, value)
    return (1, 0) if isinstance(value, float) and math.isnan(value) else (2, value)
