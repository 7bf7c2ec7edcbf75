"""What each kind of query means: checked, translated, answered from the database, as Kowalski's handler does.

Errors are raised as Python raises them; the server turns each into a reply with status 400 and its type and text.
May import what lies beside it.
"""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scope_ml.testing.kowalski.database import SYSTEM, Database, Found
from scope_ml.testing.kowalski.documents import as_text
from scope_ml.testing.kowalski.positions import angle_rad, named_positions, to_geojson

__all__ = ["ADMIN", "Answer", "Query", "answer", "read_query"]

#: The user who may see the protected collections.
ADMIN = "admin"

QUERY_TYPES = (
    "cone_search", "count_documents", "estimated_document_count", "find", "find_one", "aggregate", "info", "near", "drop", "skymap",
)  # fmt: skip

COMMANDS = ("catalog_names", "catalog_info", "index_info", "db_info")

FORBIDDEN_STAGES = {"$unionWith", "$out", "$merge"}

#: Arguments that each type of query takes; others are dropped without a word.
ARGUMENTS = {
    "find": ("skip", "hint", "limit", "sort"),
    "cone_search": ("skip", "hint", "limit", "sort"),
    "near": ("skip", "hint", "limit", "sort"),
    "aggregate": ("allowDiskUse",),
}

#: Longest that a query may take [ms].
MAX_TIME_MS = 300_000


class ValidationError(Exception):
    """A query whose content is refused, in the words of the model that checks it there."""

    def __init__(self, message: str) -> None:
        super().__init__(f"1 validation error for Query\n__root__\n  {message} (type=value_error)")


@dataclass(frozen=True, kw_only=True)
class Query:
    """A checked query."""

    query_type: str
    query: Mapping[str, Any]
    arguments: dict[str, Any]
    max_time_ms: int
    kwargs: dict[str, Any]

    @property
    def asked(self) -> list[Any]:
        """The ids or names of positions that it asks."""
        given = self.query.get("radec", (self.query.get("object_coordinates") or {}).get("radec"))
        if given is not None:
            return [str(one).replace(".", "_") for one in given] if isinstance(given, (list, dict)) else [given]
        condition = self.query.get("filter")
        wanted = condition.get("_id") if isinstance(condition, dict) else None
        if isinstance(wanted, dict):
            # A range of ids names none.
            named = wanted.get("$in", [])
            return named if isinstance(named, list) else []
        return [] if wanted is None else [wanted]

    @property
    def catalogs(self) -> list[str]:
        """The catalogues it asks."""
        several = self.query.get("catalogs")
        names = list(several) if isinstance(several, Mapping) else [self.query.get("catalog")]
        return [name.strip() for name in names if isinstance(name, str)]


@dataclass(kw_only=True)
class Answer:
    """What a query found: documents, documents around each position, or anything else as text; None is null."""

    found: Found | None = None
    cones: dict[str, dict[str, list[bytes]]] = field(default_factory=dict)
    text: bytes | None = None
    is_cones: bool = False

    def data(self) -> bytes | None:
        """Return the data as they stand in the reply."""
        if self.found is not None:
            return _list(self.found.texts)
        if self.is_cones:
            return _mapping(
                {
                    name: _mapping({one: _list(texts) for one, texts in cones.items()})
                    for name, cones in self.cones.items()
                }
            )
        return self.text


def _list(texts: Sequence[bytes]) -> bytes:
    return b"[" + b", ".join(texts) + b"]"


def _mapping(items: Mapping[str, bytes]) -> bytes:
    return b"{" + b", ".join(as_text(name) + b": " + text for name, text in items.items()) + b"}"


def read_query(body: Any, user: str) -> Query:
    """Check what a request asks.

    Raises
    ------
    Exception
        Whatever Kowalski raises for it.
    """
    if not isinstance(body, dict):
        raise TypeError(f"Query() argument after ** must be a mapping, not {type(body).__name__}")
    query_type, query, kwargs = body.get("query_type"), body.get("query"), body.get("kwargs", {})
    if query_type not in QUERY_TYPES:
        raise KeyError(f"query_type {query_type} not in {QUERY_TYPES!s}")
    if not isinstance(query, dict):
        raise AttributeError(f"'{type(query).__name__}' object has no attribute 'get'")  # noqa: TRY004 - as there
    if not isinstance(kwargs, dict):
        raise ValidationError("value is not a valid dict")
    names = [query["catalog"].strip()] if query.get("catalog") is not None else []
    if any(name in SYSTEM for name in [*names, *(query.get("catalogs") or ())]) and user != ADMIN:
        raise ValidationError("Protected collection")
    if query_type == "aggregate":
        query = {**query, "pipeline": _pipeline(query.get("pipeline"))}
    if query_type == "info" and query.get("command") not in COMMANDS:
        raise KeyError(f"command {query.get('command')} not in {COMMANDS!s}")
    max_time_ms = int(kwargs.get("max_time_ms", MAX_TIME_MS))
    if max_time_ms < 1:
        raise ValueError("max_time_ms must be int >= 1")
    arguments = {key: value for key, value in kwargs.items() if key in ARGUMENTS.get(query_type, ())}
    # The name of the user, whatever was given.
    arguments["comment"] = user
    return Query(query_type=query_type, query=query, arguments=arguments, max_time_ms=max_time_ms, kwargs=kwargs)


def _pipeline(given: Any) -> list[Any]:
    if not isinstance(given, (str, Sequence)):
        raise ValidationError("Unsupported pipeline specification")
    pipeline: list[Any] = literal_eval(given.strip()) if isinstance(given, str) else list(given)
    if len(pipeline) == 0:
        raise ValidationError("Pipeline must contain at least one stage")
    forbidden = {next(iter(stage)) for stage in pipeline} & FORBIDDEN_STAGES
    if forbidden:
        raise ValidationError(f"Pipeline uses forbidden stages: {forbidden!s}")
    return pipeline


def _filter(query: Mapping[str, Any]) -> dict[str, Any]:
    given = query.get("filter")
    if not isinstance(given, (str, Mapping)):
        raise ValidationError("Unsupported filter specification")
    return dict(literal_eval(given.strip()) if isinstance(given, str) else given)


def _projection(query: Mapping[str, Any]) -> dict[str, Any]:
    given = query.get("projection")
    if given is None:
        return {}
    if not isinstance(given, (str, Mapping)):
        raise ValidationError("Unsupported projection specification")
    return dict(literal_eval(given.strip()) if isinstance(given, str) else given)


def answer(query: Query, database: Database) -> Answer:
    """Ask the database.

    Raises
    ------
    Exception
        Whatever the query's content makes of it.
    """
    return HANDLERS[query.query_type](query, database)


def _find(query: Query, database: Database) -> Answer:
    condition, projection = _filter(query.query), _projection(query.query)
    found = database.find(
        query.query["catalog"], condition, projection, max_time_ms=query.max_time_ms, **query.arguments
    )
    return Answer(found=found)


def _find_one(query: Query, database: Database) -> Answer:
    found = database.find(query.query["catalog"], _filter(query.query), {}, max_time_ms=query.max_time_ms, limit=1)
    return Answer(text=found.texts[0] if found.texts else None)


def _count_documents(query: Query, database: Database) -> Answer:
    return Answer(text=as_text(database.count(query.query["catalog"], _filter(query.query), query.max_time_ms)))


def _estimated_document_count(query: Query, database: Database) -> Answer:
    return Answer(text=as_text(database.size(query.query["catalog"])))


def _aggregate(query: Query, database: Database) -> Answer:
    disk = bool(query.arguments.get("allowDiskUse", True))
    found = database.aggregate(query.query["catalog"], query.query["pipeline"], query.max_time_ms, disk=disk)
    return Answer(found=found)


def _info(query: Query, database: Database) -> Answer:
    command = query.query["command"]
    if command == "catalog_names":
        return Answer(text=as_text(database.names()))
    if command == "db_info":
        return Answer(text=as_text(database.statistics()))
    name = query.query["catalog"]
    return Answer(text=as_text(database.statistics(name) if command == "catalog_info" else database.indexes(name)))


def _cone_search(query: Query, database: Database) -> Answer:
    where = query.query["object_coordinates"]
    radius = angle_rad(where["cone_search_radius"], where["cone_search_unit"])

    def circle(place: tuple[float, float]) -> dict[str, Any]:
        return {"$geoWithin": {"$centerSphere": [list(place), radius]}}

    return _around(query, database, named_positions(where["radec"]), circle)


def _near(query: Query, database: Database) -> Answer:
    unit = query.query.get("distance_units", "rad")
    least = angle_rad(query.query.get("min_distance", 0), unit)
    most = angle_rad(query.query.get("max_distance", angle_rad(1.0, "arcmin")), unit)

    def ring(place: tuple[float, float]) -> dict[str, Any]:
        return {"$nearSphere": list(place), "$minDistance": least, "$maxDistance": most}

    return _around(query, database, named_positions(query.query["radec"]), ring)


def _around(
    query: Query,
    database: Database,
    positions: Sequence[tuple[str, Sequence[Any]]],
    shape: Callable[[tuple[float, float]], dict[str, Any]],
) -> Answer:
    places = [(name, shape(to_geojson(*pair))) for name, pair in positions]
    cones: dict[str, dict[str, list[bytes]]] = {}
    for given, asked in query.query["catalogs"].items():
        name = given.strip()
        condition = _filter(asked) if "filter" in asked else {}
        projection = _projection(asked)
        cones[name] = {}
        for one, place in places:
            found = database.around(
                name, place, condition, projection, max_time_ms=query.max_time_ms, **query.arguments
            )
            cones[name][one] = found.texts
    return Answer(cones=cones, is_cones=True)


def _not_here(query: Query, database: Database) -> Answer:
    raise NotImplementedError(f"query_type {query.query_type} is not answered by this test server")


HANDLERS: dict[str, Callable[[Query, Database], Answer]] = {
    "find": _find,
    "find_one": _find_one,
    "count_documents": _count_documents,
    "estimated_document_count": _estimated_document_count,
    "aggregate": _aggregate,
    "info": _info,
    "cone_search": _cone_search,
    "near": _near,
    "drop": _not_here,
    "skymap": _not_here,
}
