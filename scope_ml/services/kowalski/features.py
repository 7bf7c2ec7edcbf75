"""Features that the survey has measured already: a collection of one document a light curve, as table after table.

What a collection calls its columns is asked of its own documents; columns of SCoPe's tables get their types, others
those of their values. A value that a document does not have is null, NaN stays NaN. May import features, io, core,
errors and the rooms of this package.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from scope_ml.errors import ConfigError, EmptySelectionError, MissingColumnError, ReplyError, SchemaError
from scope_ml.features.legacy import SUFFIX, legacy_spec
from scope_ml.features.registry import column_spec
from scope_ml.features.spec import FeatureSpec
from scope_ml.services.kowalski.listing import FIRST_ID, IDS_OF_A_FIELD
from scope_ml.services.kowalski.replies import data_of, sky_position

if TYPE_CHECKING:
    from scope_ml.services.kowalski.client import Asks

__all__ = [
    "IMAGE",
    "WITHOUT_IMAGE",
    "FeatureColumns",
    "FeatureDecoder",
    "data_release",
    "feature_columns",
    "feature_query",
]

#: Fields of a document that say which light curve it is, in SCoPe's order; `filter` is in the id where the document lacks it.
IDENTITY: Mapping[str, pa.DataType] = {
    "_id": pa.int64(),
    "ra": pa.float64(),
    "dec": pa.float64(),
    "field": pa.int64(),
    "ccd": pa.int64(),
    "quad": pa.int64(),
    "filter": pa.int64(),
}

#: Field of the dm-dt image, and its pixels.
IMAGE, PIXELS = "dmdt", 26 * 26

#: Column that says of which rows the service had no image.
WITHOUT_IMAGE = "without_image"

#: Where a document's position is, if not in `ra` and `dec`.
COORDINATES = "coordinates"

#: Fields that repeat others, or are no numbers of a light curve.
NOT_TAKEN = frozenset({COORDINATES, IMAGE, *IDENTITY})

#: Documents that are looked at to learn which fields there are, from each end of the collection.
SAMPLE = 25

#: ZTF's bands by number.
BANDS = {1: "g", 2: "r", 3: "i"}

#: Ids between two filters of a quadrant.
IDS_OF_A_FILTER = 10**6

Document = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureColumns:
    """What is asked of documents and what comes of it.

    Attributes
    ----------
    fields
        Fields of the documents.
    schema
        Columns of the table, units in the fields: SCoPe's identity, the features, maybe ``dmdt`` (lists of 676 numbers),
        then `id` and `band` as other tables have them.
    """

    fields: tuple[str, ...]
    schema: pa.Schema

    @property
    def features(self) -> tuple[str, ...]:
        """Return the columns that are features."""
        return tuple(name for name in self.fields if name not in NOT_TAKEN)


def feature_columns(asks: Asks, catalog: str, wanted: Sequence[str] = (), *, images: bool = False) -> FeatureColumns:
    """Return the columns of a collection's features.

    Parameters
    ----------
    asks
        The service.
    catalog
        Collection of features, such as ``ZTF_source_features_DR16``.
    wanted
        Features by the collection's names; none: all that SCoPe's tables have and the collection has.
    images
        Whether dm-dt images are wanted too.

    Raises
    ------
    EmptySelectionError
        If the collection has no documents.
    MissingColumnError
        If no document has one of `wanted`; the message names those that are most like it.
    ConfigError
        If one of them holds lists or documents; if none are named, and the collection has no features.
    ServiceError
        If the service does not answer.
    """
    documents = [*_find(asks, catalog, {}, order=1), *_find(asks, catalog, {}, order=-1)]
    if not documents:
        raise EmptySelectionError(f"{catalog} has no documents; give catalog=... with another collection of features")
    # Of the first documents the order, which is that of the collection.
    names = list(dict.fromkeys(name for document in documents for name in document))
    if wanted:
        asked = [name for name in dict.fromkeys(wanted) if name not in IDENTITY]
        images = images or IMAGE in asked
        chosen = [name for name in asked if name != IMAGE]
        absent = [name for name in chosen if name not in names]
        found = {name: _find(asks, catalog, {name: {"$exists": True}}, order=1, limit=1) for name in absent}
        never = [name for name in absent if not found[name]]
        if never:
            raise MissingColumnError(catalog, never, [name for name in names if name not in NOT_TAKEN])
        documents += [document for few in found.values() for document in few]
    else:
        chosen = [name for name in names if name not in NOT_TAKEN and _spec(name) is not None]
        if not chosen:
            raise ConfigError(
                f"{catalog} has none of the features of SCoPe's tables; give catalog=ZTF_source_features_DR16, or"
                " columns=[...] with names of its own",
                key="catalog",
            )
    if images and not any(document.get(IMAGE) for document in documents):
        images = bool(_find(asks, catalog, {IMAGE: {"$ne": None}}, order=1, limit=1))
        if not images:
            raise MissingColumnError(catalog, [IMAGE], names)
    has_position = {"ra", "dec"} <= set(names)
    made = {"filter", *(("ra", "dec") if COORDINATES in names else ())}
    identity = [name for name in IDENTITY if name in names or name in made]
    fields = [pa.field(name, IDENTITY[name], metadata=_unit_of(name)) for name in identity]
    fields += [_field(name, documents) for name in chosen]
    fields += [pa.field(IMAGE, pa.list_(pa.float64(), PIXELS))] if images else []
    fields += [pa.field("id", pa.int64()), pa.field("band", pa.string())]
    asked_for = [name for name in identity if name in names]
    asked_for += [COORDINATES] if COORDINATES in names and not has_position else []
    asked_for += [*chosen, *([IMAGE] if images else [])]
    return FeatureColumns(fields=tuple(asked_for), schema=pa.schema(fields))


def feature_query(catalog: str, ids: Iterable[int], columns: FeatureColumns) -> dict[str, Any]:
    """Return the query for the documents of some ids."""
    return {
        "query_type": "find",
        "query": {
            "catalog": catalog,
            "filter": {"_id": {"$in": list(ids)}},
            "projection": dict.fromkeys(columns.fields, 1),
        },
    }


class FeatureDecoder:
    """Reads replies to `feature_query` as tables of `columns.schema`, and a column `WITHOUT_IMAGE` if there are images.

    An image that a document does not have is zeros, as SCoPe takes it.
    """

    def __init__(self, columns: FeatureColumns) -> None:
        self._columns = columns
        images = [pa.field(WITHOUT_IMAGE, pa.bool_())] if IMAGE in columns.fields else []
        self.schema = pa.schema([*columns.schema, *images])

    def decode(self, body: bytes) -> tuple[list[int], pa.Table]:
        """Return the ids of the documents of a reply, and the documents as rows.

        Raises
        ------
        ReplyError
            If it is no such reply.
        SchemaError
            If an id is no whole number, or a value does not fit its column.
        """
        documents = _documents(body)
        keys = [document.get("_id") for document in documents]
        whole = [key for key in keys if type(key) is int]
        if len(whole) < len(keys):
            odd = next(key for key in keys if type(key) is not int)
            raise SchemaError(f"the service sent a document with the id {str(odd)[:40]!r}, which is no whole number")
        return whole, self._rows(documents)

    def pick(self, parts: Sequence[pa.Table], places: Sequence[tuple[int, int]]) -> pa.Table:
        """Return rows of several replies as one table: for each place (number of the reply, of its row) one."""
        if not places:
            return self.schema.empty_table()
        first = np.cumsum([0, *(part.num_rows for part in parts)])
        return pa.concat_tables(parts).take(pa.array([first[part] + row for part, row in places], pa.int64()))

    def _rows(self, documents: Sequence[Document]) -> pa.Table:
        columns = self._columns
        arrays = {
            field.name: _column([document.get(field.name) for document in documents], field)
            for field in columns.schema
            if field.name in columns.fields and field.name != IMAGE
        }
        if IMAGE in columns.fields:
            arrays[IMAGE] = _images(documents)
            arrays[WITHOUT_IMAGE] = pa.array([document.get(IMAGE) is None for document in documents], pa.bool_())
        arrays["id"] = arrays["_id"]
        if COORDINATES in columns.fields:
            places = [sky_position(document) or (None, None) for document in documents]
            for at, name in enumerate(("ra", "dec")):
                arrays[name] = pa.array([place[at] for place in places], pa.float64())
        if "filter" not in columns.fields:
            field_of = arrays["field"].to_pylist() if "field" in arrays else [None] * len(documents)
            pairs = zip(arrays["_id"].to_pylist(), field_of, strict=True)
            arrays["filter"] = pa.array([filter_of(key, number) for key, number in pairs], pa.int64())
        arrays["band"] = pa.array([BANDS.get(number) for number in arrays["filter"].to_pylist()], pa.string())
        return pa.table([arrays[name] for name in self.schema.names], schema=self.schema)


def filter_of(key: int, field: int | None) -> int | None:
    """Return the filter (1 g, 2 r, 3 i) that an id of ZTF holds; None if it is not numbered so, or of another field."""
    if key < FIRST_ID or (field is not None and (key - FIRST_ID) // IDS_OF_A_FIELD != field):
        return None
    number = key // IDS_OF_A_FILTER % 10
    return number if number in BANDS else None


def data_release(catalog: str) -> str:
    """Return the data release of a collection: what follows the last underscore of its name."""
    return catalog.rpartition("_")[2]


def _find(
    asks: Asks, catalog: str, wanted: Mapping[str, Any], *, order: int, limit: int = SAMPLE
) -> list[dict[str, Any]]:
    query = {
        "query_type": "find",
        "query": {"catalog": catalog, "filter": dict(wanted), "projection": {}},
        "kwargs": {"limit": limit, "sort": [["_id", order]]},
    }
    return _documents(asks.ask(query, catalog=catalog))


def _documents(body: bytes) -> list[dict[str, Any]]:
    found = data_of(body) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ReplyError("a reply of Kowalski does not hold a list of documents")
    return found


def _spec(name: str) -> FeatureSpec | None:
    """Return what a column of SCoPe's tables holds; None if they have no such column."""
    try:
        return column_spec(name)
    except ConfigError:
        # Periodic features without suffix, as some collections have them.
        return legacy_spec(f"{name}_{SUFFIX['ls']}")


def _unit_of(name: str) -> dict[bytes, bytes] | None:
    return {b"unit": b"deg"} if name in ("ra", "dec") else None


def _field(name: str, documents: Sequence[Document]) -> pa.Field:
    spec = _spec(name)
    if spec is not None and not spec.dtype.endswith("[]"):
        return pa.field(
            name, pa.type_for_alias(spec.dtype), metadata={b"unit": spec.unit.encode()} if spec.unit else None
        )
    values = [value for document in documents if (value := document.get(name)) is not None]
    if any(isinstance(value, (dict, list)) for value in values):
        raise ConfigError(
            f"column '{name}' holds lists or documents, which are no feature; leave it out", key="columns"
        )
    if any(isinstance(value, str) for value in values):
        return pa.field(name, pa.string())
    if values and all(type(value) is int for value in values) and name.endswith("_id"):
        return pa.field(name, pa.int64())
    return pa.field(name, pa.float64())


def _column(values: list[Any], field: pa.Field) -> pa.Array:
    if pa.types.is_string(field.type):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    if pa.types.is_integer(field.type):
        values = [_whole(value) for value in values]
    try:
        return pa.array(values, field.type, from_pandas=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise SchemaError(
            f"column '{field.name}' of the service holds what is no {field.type} ({' '.join(str(error).split())[:120]})"
        ) from error


def _whole(value: Any) -> Any:
    """Return a whole number exactly, also from text as Gaia's ids are kept; NaN is null."""
    if isinstance(value, str) and value.strip().lstrip("-").isdigit():
        return int(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _images(documents: Sequence[Document]) -> pa.Array:
    images = np.zeros((len(documents), PIXELS))
    for row, document in enumerate(documents):
        value = document.get(IMAGE)
        if value is None:
            continue
        try:
            images[row] = np.asarray(value, dtype=np.float64).reshape(PIXELS)
        except (ValueError, TypeError) as error:
            raise SchemaError(f"the dm-dt image of {document.get('_id')} is not of 26 x 26 numbers") from error
    return pa.FixedSizeListArray.from_arrays(pa.array(images.ravel()), PIXELS)
