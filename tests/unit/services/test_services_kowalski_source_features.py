"""Columns of a collection of features, its documents as rows, and which filter an id of ZTF holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scope_ml.errors import MissingColumnError, ReplyError, SchemaError
from scope_ml.services.kowalski.features import (
    WITHOUT_IMAGE,
    FeatureColumns,
    FeatureDecoder,
    data_release,
    feature_columns,
    feature_query,
    filter_of,
)

CATALOG = "ZTF_source_features_DR16"
ID = 10245362000017


class OneReply:
    """A service whose every answer is the same documents."""

    def __init__(self, *documents: Mapping[str, Any]) -> None:
        self.documents = documents

    def ask(self, query: Mapping[str, Any], *, catalog: str | None) -> bytes:
        wanted = query["query"]["filter"]
        return body(*(one for one in self.documents if all(name in one for name in wanted)))

    def version(self, catalog: str) -> str:
        return "0"


def body(*documents: Any) -> bytes:
    return json.dumps({"status": "success", "data": documents}).encode()


def decoder(*documents: Mapping[str, Any], **options: Any) -> FeatureDecoder:
    return FeatureDecoder(feature_columns(OneReply(*documents), CATALOG, **options))


def test_columns_without_a_suffix_are_features_too() -> None:
    columns = feature_columns(
        OneReply({"_id": ID, "period": 0.5, "f1_amp": 1.0, "created": "2024", "log": [1], "wstd": 1, "mag": 2.5}),
        CATALOG,
    )
    assert columns.features == ("period", "f1_amp", "wstd")
    assert columns.schema.field("period").metadata == {b"unit": b"d"}
    assert columns.schema.names == ["_id", "filter", "period", "f1_amp", "wstd", "id", "band"]
    asked = feature_query(CATALOG, [ID], columns)["query"]
    assert asked == {
        "catalog": CATALOG,
        "filter": {"_id": {"$in": [ID]}},
        "projection": dict.fromkeys(columns.fields, 1),
    }


def test_other_columns_get_the_type_of_their_values() -> None:
    documents = {"_id": ID, "created": "2024", "x": 1, "other_id": 2**60 + 1, "empty": None}
    columns = feature_columns(OneReply(documents), CATALOG, ["created", "x", "other_id", "empty", "_id", "x"])
    types = {field.name: str(field.type) for field in columns.schema}
    assert [types[name] for name in ("created", "x", "other_id", "empty")] == ["string", "double", "int64", "double"]
    rows = FeatureDecoder(columns).decode(
        body(documents, {"_id": 5, "x": float("inf"), "other_id": {"$numberDouble": "NaN"}})
    )[1]
    assert rows["other_id"].to_pylist() == [2**60 + 1, None]
    assert rows["x"].to_pylist() == [1.0, float("inf")]
    with pytest.raises(MissingColumnError, match="never"):
        feature_columns(OneReply(documents), CATALOG, ["never"])


def test_positions_come_from_the_point_where_the_document_has_no_other() -> None:
    document = {"_id": ID, "median": 1.0, "coordinates": {"radec_geojson": {"coordinates": [-170.0, 5.0]}}}
    rows = decoder(document).decode(body(document, {"_id": 6}))[1]
    assert rows.select(["ra", "dec"]).to_pylist() == [{"ra": 10.0, "dec": 5.0}, {"ra": None, "dec": None}]
    with_both = decoder({**document, "ra": 1.0, "dec": 2.0})
    assert "coordinates" not in with_both.decode(body())[1].column_names
    assert with_both.decode(body({**document, "ra": 1.0, "dec": 2.0}))[1]["ra"].to_pylist() == [1.0]


def test_rows_of_several_replies_are_picked_in_any_order() -> None:
    image = np.arange(676.0)
    documents = [
        {"_id": number, "median": float(number), "dmdt": (image + number).reshape(26, 26).tolist()}
        for number in range(5)
    ]
    documents[3]["dmdt"] = None
    one = decoder(*documents, images=True)
    parts = [one.decode(body(*documents[:2])), one.decode(body(*documents[2:]))]
    assert [keys for keys, _ in parts] == [[0, 1], [2, 3, 4]]
    picked = one.pick([table for _, table in parts], [(1, 2), (0, 0), (1, 1), (0, 1)])
    assert picked["_id"].to_pylist() == [4, 0, 3, 1]
    assert picked[WITHOUT_IMAGE].to_pylist() == [False, False, True, False]
    found = np.asarray(picked["dmdt"].combine_chunks().flatten()).reshape(4, 676)
    np.testing.assert_array_equal(found, [image + 4, image, np.zeros(676), image + 1])
    assert one.pick([], []).num_rows == 0
    assert one.decode(b'{"status": "success"}')[0] == []


def test_replies_that_are_none_are_refused() -> None:
    one = decoder({"_id": ID, "median": 1.0, "dmdt": [[0.0] * 26] * 26}, images=True)
    for bad, error in (
        (body(1), ReplyError),
        (b'{"status": "success", "data": {"a": 1}}', ReplyError),
        (body({"median": 1.0}), SchemaError),
        (body({"_id": "text"}), SchemaError),
        (body({"_id": 1.5}), SchemaError),
        (body({"_id": 1, "median": [1.0]}), SchemaError),
        (body({"_id": 1, "dmdt": [[1.0]]}), SchemaError),
        (body({"_id": 1, "dmdt": "x"}), SchemaError),
    ):
        with pytest.raises(error):
            one.decode(bad)


@given(
    field=st.integers(0, 1999),
    rc=st.integers(0, 63),
    number=st.sampled_from([1, 2, 3]),
    matchid=st.integers(0, 999_999),
)
def test_ids_of_ztf_hold_their_filter(field: int, rc: int, number: int, matchid: int) -> None:
    key = 10**13 + field * 10**9 + rc * 10**7 + number * 10**6 + matchid
    assert filter_of(key, field) == filter_of(key, None) == number
    assert filter_of(key, field + 1) is None
    assert filter_of(key - 10**13, None) is None
    assert filter_of(key - number * 10**6, field) is None


def test_the_data_release_is_the_end_of_the_name() -> None:
    assert data_release(CATALOG) == "DR16"
    assert data_release("features") == "features"
    assert isinstance(FeatureColumns(fields=("_id",), schema=pa.schema([])).features, tuple)
