"""Lists of sources: stable pages, counted, whatever order and numbering the service has."""

from __future__ import annotations

import json
import random
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.errors import (
    ConfigError,
    QueryRefusedError,
    SchemaError,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from scope_ml.io.selection import Positions, Selection
from scope_ml.services.kowalski.census import QuadrantCensus
from scope_ml.services.kowalski.listing import SCHEMA, counted_listing, id_range, list_sources

CATALOG = "ZTF_sources_20240117"
QUADRANT = Selection(field=301, ccd=2, quad=3)


@pytest.fixture
def documents(quadrant_documents):
    places = [(301, 2, 3, 37), (301, 2, 4, 5), (301, 3, 1, 4), (302, 2, 3, 6)]
    found = [one for place in places for one in quadrant_documents(*place)]
    random.Random(1).shuffle(found)
    return found


def ids(documents, **place):
    return sorted(one["_id"] for one in documents if all(one[name] == value for name, value in place.items()))


@pytest.mark.parametrize("page", [1, 5, 36, 37, 38, 1000])
def test_pages_hold_every_source_once_in_order(memory_kowalski, documents, page):
    pages = []
    table = list_sources(memory_kowalski(documents), CATALOG, QUADRANT, page=page, told=pages.append)
    assert (sum(pages), max(pages)) == (37, min(page, 37))
    assert table.schema.equals(SCHEMA)
    assert table["id"].to_pylist() == ids(documents, field=301, ccd=2, quad=3)
    row = table.slice(0, 1).to_pylist()[0]
    assert (row["ra"], row["dec"], row["filter"], row["nobs"]) == (10.0, -5.0, 1, 50)


@pytest.mark.parametrize(
    ("selection", "place"),
    [
        (Selection(field=301), {"field": 301}),
        (Selection(field=301, ccd=2), {"field": 301, "ccd": 2}),
        (Selection(field=301, quad=3), {"field": 301, "quad": 3}),
        (Selection(ccd=2), {"ccd": 2}),
        (Selection(), {}),
    ],
    ids=str,
)
def test_parts_of_the_sky(memory_kowalski, documents, selection, place):
    table = list_sources(memory_kowalski(documents), CATALOG, selection, page=7)
    assert table["id"].to_pylist() == ids(documents, **place)


@settings(deadline=None, max_examples=60)
@given(
    skip=st.integers(0, 45), limit=st.none() | st.integers(1, 45), page=st.integers(1, 50), min_obs=st.integers(0, 95)
)
def test_skip_limit_and_min_obs_are_those_of_the_sorted_list(
    memory_kowalski, quadrant_documents, skip, limit, page, min_obs
):
    documents = quadrant_documents(301, 2, 3, 37)
    listing = counted_listing(
        memory_kowalski(documents), CATALOG, QUADRANT, min_obs=min_obs, skip=skip, limit=limit, page=page
    )
    wanted = sorted(one["_id"] for one in documents if one["nobs"] >= min_obs)[skip:][:limit]
    assert listing.sources["id"].to_pylist() == wanted
    assert (listing.counted, listing.missing) == (len(wanted), 0)


def test_tables_of_features_count_points_as_n(memory_kowalski, quadrant_documents):
    documents = quadrant_documents(301, 2, 3, 9)
    for one in documents:
        del one["nobs"]
    service = memory_kowalski(documents, catalog="ZTF_source_features_DR16")
    table = list_sources(service, "ZTF_source_features_DR16", QUADRANT, min_obs=55)
    assert table["nobs"].to_pylist() == [55, 56, 57, 58]


def test_ids_say_where_they_are_and_other_numberings_are_found_out(memory_kowalski, documents):
    service = memory_kowalski(documents)
    list_sources(service, CATALOG, QUADRANT)
    first = 10_301_060_000_000
    assert id_range(QUADRANT) == (first, first + 10**7)
    assert [query["query"]["filter"].get("_id") for query in service.queries] == [
        None,
        {"$gte": first, "$lt": first + 10**7},
    ]
    for number, one in enumerate(documents):
        one["_id"] = 2**53 + 1 + number
    service = memory_kowalski(documents)
    assert list_sources(service, CATALOG, QUADRANT, page=10)["id"].to_pylist() == ids(
        documents, field=301, ccd=2, quad=3
    )
    assert service.kinds() == {"count_documents": 2, "find": 5}


def test_an_empty_quadrant_is_counted_and_not_listed(memory_kowalski, documents):
    service = memory_kowalski(documents)
    table = list_sources(service, CATALOG, Selection(field=301, ccd=9, quad=1))
    assert (table.num_rows, table.schema.equals(SCHEMA), service.kinds()) == (0, True, {"count_documents": 1})


class Cut:
    """Leaves out every document beyond the first so many of each reply, for so many replies."""

    def __init__(self, service, n_kept, n_replies=10**6):
        self.service, self.n_kept, self.n_replies = service, n_kept, n_replies

    def ask(self, query, *, catalog):
        reply = json.loads(self.service.ask(query, catalog=catalog))
        if query["query_type"] == "find" and self.n_replies:
            self.n_replies -= 1
            reply["data"] = reply["data"][: self.n_kept]
        return json.dumps(reply).encode()


def test_a_short_list_is_made_again_and_then_reported(memory_kowalski, documents):
    n_all = len(ids(documents, field=301, ccd=2, quad=3))
    once = counted_listing(Cut(memory_kowalski(documents), 30, 1), CATALOG, QUADRANT)
    assert (once.sources.num_rows, once.missing) == (n_all, 0)
    always = counted_listing(Cut(memory_kowalski(documents), 30), CATALOG, QUADRANT)
    assert (always.sources.num_rows, always.counted, always.missing) == (30, n_all, n_all - 30)
    with pytest.raises(ServiceError, match="counts 37 sources in field 301 ccd 2 quad 3 but lists 30"):
        list_sources(Cut(memory_kowalski(documents), 30), CATALOG, QUADRANT)


def test_more_sources_than_counted_are_an_error(memory_kowalski, documents):
    service = memory_kowalski(documents)
    service._count_documents = lambda query, kwargs: 35
    with pytest.raises(ServiceError, match=r"lists 36 sources .* but counts 35"):
        list_sources(service, CATALOG, QUADRANT)


def late(_):
    raise ServiceTimeoutError("too slow")


@pytest.mark.parametrize(
    "bad",
    [
        late,
        lambda rows: "nothing",
        lambda rows: rows[:-3],
        lambda rows: rows[::-1],
        lambda rows: rows + rows[:2],
        lambda rows: [{**rows[0], "ccd": 16}, *rows[1:]],
    ],
)
def test_one_bad_reply_of_each_kind_changes_nothing(memory_kowalski, documents, bad):
    service = memory_kowalski(documents)
    find, count, left = service._find, service._count_documents, Counter(find=1, count=1)

    def shaky(query, kwargs):
        left["find"] -= 1
        return find(query, kwargs) if left["find"] < 0 else bad(find(query, kwargs))

    def counted(query, kwargs):
        left["count"] -= 1
        if left["count"] == 0:
            raise ServiceTimeoutError("too slow")
        return count(query, kwargs)

    service._find, service._count_documents = shaky, counted
    assert list_sources(service, CATALOG, QUADRANT)["id"].to_pylist() == ids(documents, field=301, ccd=2, quad=3)


@pytest.mark.parametrize(("longest", "too_long"), [(400, False), (249, True)])
def test_a_page_that_takes_too_long_is_halved(memory_kowalski, quadrant_documents, longest, too_long):
    def slow(query):
        if query["query_type"] == "find" and query["kwargs"]["limit"] > longest:
            raise ServiceTimeoutError("too slow")

    service = memory_kowalski(quadrant_documents(301, 2, 3, 900), fault=slow)
    if too_long:
        with pytest.raises(ServiceTimeoutError):
            list_sources(service, CATALOG, QUADRANT)
    else:
        assert list_sources(service, CATALOG, QUADRANT).num_rows == 900
    sizes = [query["kwargs"]["limit"] for query in service.queries if query["query_type"] == "find"]
    assert sizes == ([901, 450, 250, 250] if too_long else [901, 450, 250, 250, 250, 151])


def test_a_reply_that_is_not_sorted_is_refused(memory_kowalski, documents):
    service = memory_kowalski(documents)
    sorted_find = service._find
    service._find = lambda query, kwargs: sorted_find(query, {**kwargs, "sort": []})
    with pytest.raises(ServiceError, match="not sorted by id"):
        list_sources(service, CATALOG, QUADRANT)


@pytest.mark.parametrize("odd", ["507f191e810c19729de860ea", 1.0, None, True])
def test_ids_must_be_whole_numbers(memory_kowalski, odd):
    service = memory_kowalski([{"_id": odd, "field": 301}])
    service._find = lambda query, kwargs: [{"_id": odd}]
    with pytest.raises(SchemaError, match="no whole number"):
        list_sources(service, CATALOG, Selection(field=301))


def test_missing_facts_are_null(memory_kowalski):
    service = memory_kowalski([{"_id": 5, "field": 301, "nobs": float("nan")}])
    service._find = lambda query, kwargs: [{"_id": 5, "field": 301, "nobs": {"$numberDouble": "NaN"}}]
    row = list_sources(service, CATALOG, Selection(field=301)).to_pylist()[0]
    assert row == {"id": 5, "field": 301, **dict.fromkeys(("ra", "dec", "ccd", "quad", "filter", "nobs"))}


def test_what_cannot_be_listed(memory_kowalski):
    service = memory_kowalski([])
    with pytest.raises(ConfigError, match="2 ids"):
        list_sources(service, CATALOG, Selection(ids=pa.array([1, 2])))
    with pytest.raises(ConfigError, match="1 positions"):
        list_sources(service, CATALOG, Selection(positions=Positions([1.0], [2.0], 2.0)))
    for name, message in [("min_obs", "min_obs=-1"), ("skip", "skip=-1"), ("limit", "limit=-1")]:
        with pytest.raises(ConfigError, match=message):
            list_sources(service, CATALOG, QUADRANT, **{name: -1})
    with pytest.raises(ConfigError, match="page=0 is not allowed; it is at least 1"):
        list_sources(service, CATALOG, QUADRANT, page=0)
    assert service.queries == []


def test_an_error_of_the_service_is_passed_on(memory_kowalski, documents):
    def down(query):
        raise ServiceUnavailableError("kowalski does not answer")

    with pytest.raises(ServiceUnavailableError):
        list_sources(memory_kowalski(documents, fault=down), CATALOG, QUADRANT)


WANTED = {(2, 3): 37, (2, 4): 5, (3, 1): 4}


@pytest.mark.parametrize("groups", [True, False])
@pytest.mark.parametrize("count", [True, False])
@pytest.mark.parametrize("min_obs", [0, 54])
def test_the_census_of_a_field(memory_kowalski, documents, groups, count, min_obs):
    service = memory_kowalski(documents, groups=groups)
    census = QuadrantCensus(asks=service, catalog=CATALOG, min_obs=min_obs, count=count)
    wanted = {place: n - 4 if min_obs else n for place, n in WANTED.items()}
    expected = {place: n if count else None for place, n in wanted.items() if n}
    assert census.of_field(301) == expected
    assert census.of_field(999) == {}
    kinds = service.kinds()
    if groups and (count or not min_obs):
        assert kinds == {"aggregate": 2}
    else:
        # That groups are refused is found out once; an empty field is one question, and one source is enough.
        assert {query["kwargs"]["limit"] for query in service.queries if query["query_type"] == "find"} == {1}
        assert kinds["aggregate"] == int(not groups and (count or not min_obs))
        assert (kinds["count_documents"], kinds["find"]) == ((64, 2) if count else (0, 66))


def test_a_census_that_takes_too_long_asks_quadrant_by_quadrant(memory_kowalski, documents):
    def slow(query):
        if query["query_type"] == "aggregate":
            raise ServiceTimeoutError("too slow")

    service = memory_kowalski(documents, fault=slow)
    assert QuadrantCensus(asks=service, catalog=CATALOG).of_field(301) == WANTED
    assert service.kinds() == {"aggregate": 1, "find": 1, "count_documents": 64}


def test_sources_outside_of_the_quadrants_are_an_error(memory_kowalski, documents):
    documents[0]["ccd"] = None
    field = documents[0]["field"]
    with pytest.raises(ServiceError, match=r"whose ccd and quad are \(None"):
        QuadrantCensus(asks=memory_kowalski(documents), catalog=CATALOG).of_field(field)


def test_a_census_that_is_refused_altogether_stops(memory_kowalski, documents):
    def refuse(query):
        raise QueryRefusedError("no")

    with pytest.raises(QueryRefusedError):
        QuadrantCensus(asks=memory_kowalski(documents, fault=refuse), catalog=CATALOG).of_field(301)
