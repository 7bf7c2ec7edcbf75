"""Rooms of Kowalski's test server that need no server: documents as text, places, tokens, prepared text, drawn features."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pytest
from bson import Int64, ObjectId, encode, json_util
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.testing.kowalski.documents import as_text, split
from scope_ml.testing.kowalski.feature_seeding import FEATURES, drawn_features
from scope_ml.testing.kowalski.prepared import pack_texts, split_texts
from scope_ml.testing.kowalski.seeding import coordinates, indexes_of, sexagesimal
from scope_ml.testing.kowalski.tokens import InvalidTokenError, read_token, sign_token

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(),
    st.binary(),
    st.just(Int64(2**53 + 1)),
    st.just(ObjectId("0123456789abcdef01234567")),
    st.datetimes(datetime(1970, 1, 2), datetime(9999, 1, 1)).map(lambda when: when.replace(microsecond=0, tzinfo=UTC)),
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), VALUES))
def test_text_is_what_bson_writes(document: dict[str, object]) -> None:
    assert as_text(document) == json_util.dumps(document).encode()


@given(st.lists(st.integers(0, 2**62), max_size=5))
def test_documents_one_after_the_other_are_split(keys: list[int]) -> None:
    raws = [encode({"_id": key, "text": "x" * (key % 300)}) for key in keys]
    assert list(split(b"".join(raws))) == raws


@given(st.dictionaries(st.integers(0, 2**62), st.binary(max_size=20)))
def test_prepared_text_is_packed_and_split(texts: dict[int, bytes]) -> None:
    assert split_texts(pack_texts(texts)) == texts


@given(st.floats(0, 360, exclude_max=True), st.floats(-90, 90))
def test_sexagesimal_text_is_the_place(ra: float, dec: float) -> None:
    hours, degrees = sexagesimal(ra, dec)
    for text, value, digits in ((hours, ra / 15, 4), (degrees.lstrip("-"), abs(dec), 3)):
        whole, minutes, seconds = text.split(":")
        assert int(minutes) < 60
        assert float(seconds) < 60
        assert len(seconds) == 3 + digits
        assert int(whole) + int(minutes) / 60 + float(seconds) / 3600 == pytest.approx(value, abs=10**-digits / 3600)
    assert degrees.startswith("-") == (dec < 0)
    assert coordinates(ra, dec)["radec_geojson"]["coordinates"] == [ra - 180.0, dec]


def test_tokens_are_of_one_secret() -> None:
    token = sign_token({"user_id": "a"}, "secret")
    assert read_token(token, "secret") == {"user_id": "a"}
    header, payload, signature = token.split(".")
    forged = sign_token({"user_id": "admin"}, "x").split(".")[1]
    for other in (
        f"{header}.{forged}.{signature}",
        f"{header}.{payload}.",
        f"{header}.{payload}",
        token + "x",
        "\u00fc",
    ):
        with pytest.raises(InvalidTokenError):
            read_token(other, "secret")


def test_drawn_features_depend_on_the_id_alone_and_have_gaps() -> None:
    place = {"ra": 1.0, "dec": 2.0, "nobs": 50, "field": 296, "ccd": 1, "quad": 2, "filter": 1}
    sources = [{"_id": 10296001000000 + number, **place} for number in range(70)]
    made = drawn_features(sources)
    assert json.dumps(drawn_features(sources[40:41])) == json.dumps([made[40]])
    assert any(math.isnan(one["stetson_k"]) for one in made)
    assert {one["dmdt"] is None for one in made} == {True, False}
    assert {one["Gaia_EDR3___id"] is None for one in made} == {True, False}
    assert {one["mean_ztf_alert_braai"] is None for one in made} == {True, False}
    assert len({frozenset(one) for one in made}) == 1


def test_indexes_go_by_the_beginning_of_the_name() -> None:
    assert indexes_of("ZTF_sources_20240117")[1] == [("field", 1), ("ccd", 1), ("quad", 1)]
    assert indexes_of(FEATURES)[1] == [("period", -1), ("significance", -1)]
    assert len(indexes_of("Gaia_EDR3")) == 1
