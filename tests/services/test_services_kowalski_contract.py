"""Kowalski's contract: what is known of the real service, asked of the test server through the real penquins client.

None of our own client is used, so that the server cannot agree with it by accident; `requests` asks what penquins hides.
Every question is put twice, once answered from the server's memory and once from its store. With ``SCOPE_KOWALSKI_URL`` set the
same tests ask a real Kowalski instead (docs/how-to/try-kowalski.md); those that need content or faults of ours are
skipped there.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from bson import ObjectId
from penquins import Kowalski

from scope_ml.testing.kowalski import KowalskiServer
from scope_ml.testing.kowalski.seeding import light_curve_documents, point_documents

#: Few and short light curves, at known places, for questions that the slow store answers too.
SMALL = "ZTF_sources_20990101"
ODD = "odd_values"
PLACES = "places"

N_SMALL, N_POINTS = 24, 6

REAL = os.environ.get("SCOPE_KOWALSKI_URL")

NEEDS_OURS = "needs content or faults of the test server, and a real Kowalski is asked"


@dataclass(kw_only=True)
class Site:
    """Who is asked."""

    url: str
    token: str = field(repr=False)
    username: str | None
    password: str | None = field(repr=False)
    sources: str
    features: str
    classifications: str
    ours: KowalskiServer | None

    def client(self, **changes: Any) -> Kowalski:
        where = urlsplit(self.url)
        values = {"protocol": where.scheme, "host": where.hostname, "port": where.port or 443, "token": self.token}
        return Kowalski(**(values | {"timeout": 60, "max_retries": 0} | changes))

    def post(self, body: Any, path: str = "/api/queries", **headers: str) -> requests.Response:
        return requests.post(self.url + path, json=body, headers={"Authorization": self.token} | headers, timeout=60)

    def ask(self, query_type: str, query: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self.post({"query_type": query_type, "query": query, "kwargs": kwargs}).json()

    def data(self, query_type: str, query: dict[str, Any], **kwargs: Any) -> Any:
        reply = self.ask(query_type, query, **kwargs)
        assert reply["status"] == "success", reply
        return reply["data"]

    def some(self, n: int, **condition: Any) -> list[dict[str, Any]]:
        """A few light curves, without points."""
        query = {"catalog": self.sources, "filter": condition, "projection": {"data": 0}}
        return self.data("find", query, limit=n)


def _content(server: KowalskiServer, tables: dict[str, Any]) -> None:
    documents = light_curve_documents(tables["ZTF_sources"].slice(0, N_SMALL))
    server.insert(SMALL, [document | {"data": document["data"][:N_POINTS]} for document in documents])
    odd = {
        "_id": ObjectId("0123456789abcdef01234567"),
        "nan": math.nan,
        "up": math.inf,
        "down": -math.inf,
        "whole": 3,
        "big": 2**53 + 1,
        "small": 1.5e-300,
        "when": datetime(2024, 1, 17, tzinfo=UTC),
        "raw": b"\x00\x01",
        "nothing": None,
        "yes": True,
    }
    server.insert(ODD, [odd])
    point = [{"hjd": 2458000.5, "mag": 18.0, "magerr": 0.1, "programid": 1, "catflags": 0}]
    arcsec = 1.0 / 3600.0
    ra = [0.0001 * arcsec, 360.0 - 0.5 * arcsec, 10.0, 190.0, 100.0, 100.0, 100.0, 100.0, 255.9]
    dec = [10.0, 10.0, 90.0, 90.0 - arcsec, -90.0, 20.0 + 3 * arcsec, 20.0 + arcsec, 20.0, 12.5]
    server.insert(PLACES, point_documents(list(range(1, 10)), ra, dec, point))
    server.insert("users", [{"_id": "somebody", "password": "hash"}])


@pytest.fixture(scope="session")
def contract_server(kowalski_server: KowalskiServer, kowalski_tables: dict[str, Any]) -> Iterator[KowalskiServer]:
    _content(kowalski_server, kowalski_tables)
    yield kowalski_server
    for name in (SMALL, ODD, PLACES, "users"):
        kowalski_server.remove(name)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "site" in metafunc.fixturenames:
        both = REAL is None and "one_site" not in metafunc.fixturenames
        metafunc.parametrize("site", ["memory", "store"] if both else ["memory"], indirect=True)


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Who is asked; our server answers from memory and then from its store."""
    if REAL is not None:
        environment = os.environ
        yield Site(
            url=REAL.rstrip("/"),
            token=environment[environment.get("SCOPE_KOWALSKI_TOKEN_ENV", "KOWALSKI_INSTANCE_TOKEN")],
            username=environment.get("SCOPE_KOWALSKI_USERNAME"),
            password=environment.get(environment.get("SCOPE_KOWALSKI_PASSWORD_ENV", "KOWALSKI_PASSWORD")),
            sources=environment.get("SCOPE_KOWALSKI_SOURCES", "ZTF_sources_20240117"),
            features=environment.get("SCOPE_KOWALSKI_FEATURES", "ZTF_source_features_DR16"),
            classifications=environment.get("SCOPE_KOWALSKI_CLASSIFICATIONS", "ZTF_source_classifications_DR16"),
            ours=None,
        )
        return
    server = request.getfixturevalue("contract_server")
    server.faults.clear()
    server.set(shortcuts=request.param == "memory")
    yield Site(
        url=server.url,
        token=server.token,
        username=server.username,
        password=server.password,
        sources=SMALL,
        features="ZTF_source_features_DR16",
        classifications="ZTF_source_classifications_DR16",
        ours=server,
    )
    server.faults.clear()
    server.set(shortcuts=True)


@pytest.fixture
def one_site(site: Site) -> Site:
    """For questions that the database has no part in: put once."""
    return site


@pytest.fixture
def ours(one_site: Site) -> KowalskiServer:
    """Our server, where a test needs its faults."""
    if one_site.ours is None:
        pytest.skip(NEEDS_OURS)
    return one_site.ours


@pytest.fixture
def seeded(site: Site) -> Site:
    """Our server, on both roads, where a test needs what it is filled with."""
    if site.ours is None:
        pytest.skip(NEEDS_OURS)
    return site


# ---- 1. HTTP: log-in, tokens, errors


def test_log_in_gives_a_token_that_is_taken(one_site: Site) -> None:
    if one_site.password is None:
        pytest.skip("no username and password of the real Kowalski are given")
    given = {"username": one_site.username, "password": one_site.password, "penquins.__version__": "2.4.2"}
    reply = one_site.post(given, "/api/auth")
    assert (reply.status_code, reply.json()["status"]) == (200, "success")
    header, payload, _ = (base64.urlsafe_b64decode(part + "==") for part in reply.json()["token"].split("."))
    assert json.loads(header)["alg"] == "HS256"
    assert {"user_id", "created_at"} <= json.loads(payload).keys()
    assert "exp" not in json.loads(payload)
    assert one_site.client(token=reply.json()["token"]).ping()
    assert one_site.client(token=None, username=one_site.username, password=one_site.password).ping()


@pytest.mark.parametrize(
    ("given", "message"), [({"password": "x"}, "missing username"), ({"username": "somebody"}, "missing password")]
)
def test_log_in_without_a_field_is_a_400(one_site: Site, given: dict[str, str], message: str) -> None:
    reply = one_site.post(given, "/api/auth")
    assert (reply.status_code, reply.json()) == (400, {"status": "error", "message": message})


def test_log_in_of_another_penquins_is_a_400(one_site: Site) -> None:
    reply = one_site.post({"username": "a", "password": "b", "penquins.__version__": "1.0.0"}, "/api/auth")
    assert reply.status_code == 400
    assert "penquins" in reply.json()["message"]


def test_wrong_credentials_are_a_401_without_reason(one_site: Site) -> None:
    reply = one_site.post({"username": "nobody", "password": "wrong"}, "/api/auth")
    assert (reply.status_code, reply.json()) == (401, {"status": "error", "message": "Unauthorized"})
    with pytest.raises(ValueError, match=r"Failed to add instance default: .*Unauthorized"):
        one_site.client(token=None, username="nobody", password="wrong")


def test_header_may_say_bearer(one_site: Site) -> None:
    for value in (one_site.token, f"Bearer {one_site.token}", f"bearer {one_site.token}"):
        reply = requests.get(one_site.url + "/", headers={"Authorization": value}, timeout=60)
        assert (reply.status_code, reply.json()) == (200, {"status": "success", "message": "greetings from Kowalski!"})


@pytest.mark.parametrize("path", ["/", "/api/queries"])
def test_missing_token_is_a_401_without_reason(one_site: Site, path: str) -> None:
    method = "GET" if path == "/" else "POST"
    reply = requests.request(method, one_site.url + path, json={}, timeout=60)
    assert (reply.status_code, reply.json()) == (401, {"status": "error", "message": "Unauthorized"})


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "e30.e30.e30", "Bearer nonsense"])
def test_invalid_token_is_a_400(one_site: Site, token: str) -> None:
    query = {"query_type": "info", "query": {"command": "catalog_names"}}
    reply = one_site.post(query, Authorization=token)
    assert (reply.status_code, reply.json()) == (400, {"status": "error", "message": "token is invalid"})


def test_token_of_another_server_is_invalid(one_site: Site, ours: KowalskiServer) -> None:
    reply = one_site.post({}, Authorization=ours.make_token(secret="another"))
    assert (reply.status_code, reply.json()["message"]) == (400, "token is invalid")


def test_expired_token_is_a_400(one_site: Site, ours: KowalskiServer) -> None:
    reply = one_site.post({}, Authorization=ours.make_token(ends=time.time() - 1))
    assert (reply.status_code, reply.json()) == (400, {"status": "error", "message": "token has expired"})
    assert one_site.client(token=ours.make_token(ends=time.time() + 60)).ping()


def test_unknown_path_is_a_404(one_site: Site) -> None:
    reply = requests.get(one_site.url + "/api/nothing", headers={"Authorization": one_site.token}, timeout=60)
    assert (reply.status_code, reply.json()) == (404, {"status": "error", "message": "Not Found"})


def test_bad_json_is_a_400(one_site: Site) -> None:
    reply = requests.post(
        one_site.url + "/api/queries", data="{not json", headers={"Authorization": one_site.token}, timeout=60
    )
    assert reply.status_code == 400
    assert reply.json()["message"].startswith("JSONDecodeError: ")


def test_body_beyond_one_mebibyte_is_refused(one_site: Site) -> None:
    def ask(n_ids: int) -> requests.Response:
        query = {"catalog": one_site.sources, "filter": {"_id": {"$in": list(range(10**13, 10**13 + n_ids))}}}
        return one_site.post({"query_type": "count_documents", "query": query})

    assert ask(60_000).status_code == 200
    assert ask(80_000).status_code == 413


# ---- 1. errors of queries


@pytest.mark.parametrize(
    ("query_type", "query", "message"),
    [
        ("nothing", {"catalog": "x"}, "KeyError: .*query_type nothing not in .*cone_search"),
        ("info", {"command": "nothing"}, "KeyError: .*command nothing not in .*catalog_names"),
        ("find", {"catalog": "x"}, ".*Unsupported filter specification"),
        ("find", {"catalog": "x", "filter": 3}, ".*Unsupported filter specification"),
        ("find", {"catalog": "x", "filter": {}, "projection": 3}, ".*Unsupported projection specification"),
        ("find", {"catalog": "users", "filter": {}}, ".*Protected collection"),
        ("cone_search", {"object_coordinates": {}, "catalogs": {"filters": {}}}, ".*Protected collection"),
        ("aggregate", {"catalog": "x", "pipeline": []}, ".*Pipeline must contain at least one stage"),
        ("aggregate", {"catalog": "x", "pipeline": [{"$out": "y"}]}, ".*Pipeline uses forbidden stages: .*out"),
        ("aggregate", {"catalog": "x", "pipeline": [{"$unionWith": "y"}]}, ".*forbidden stages"),
        ("aggregate", {"catalog": "x", "pipeline": 3}, ".*Unsupported pipeline specification"),
        (
            "cone_search",
            {
                "object_coordinates": {"radec": [[1, 2]], "cone_search_radius": 1, "cone_search_unit": "parsec"},
                "catalogs": {"x": {}},
            },
            "Exception: Angular units not in ",
        ),
        (
            "near",
            {"radec": [[1, 2]], "distance_units": "hour", "catalogs": {"x": {}}},
            "Exception: Angular units not in ",
        ),
    ],
)
def test_bad_query_is_a_400_that_says_the_type_of_error(
    one_site: Site, query_type: str, query: dict[str, Any], message: str
) -> None:
    reply = one_site.post({"query_type": query_type, "query": query})
    said = reply.json()
    assert (reply.status_code, said["status"]) == (400, "error")
    assert re.match(message, said["message"], re.DOTALL), said["message"]


def test_unknown_operator_is_a_mongo_error(site: Site) -> None:
    said = site.ask("find", {"catalog": site.sources, "filter": {"_id": {"$nothing": 1}}})
    assert said["status"] == "error"
    assert said["message"].startswith("OperationFailure: unknown operator: $nothing")


def test_time_limit_is_at_least_a_millisecond(site: Site) -> None:
    query = {"catalog": site.sources, "filter": {"_id": 1}}
    said = site.ask("find", query, max_time_ms=0)
    assert (said["status"], said["message"]) == ("error", "ValueError: max_time_ms must be int >= 1")
    assert site.data("find", query, max_time_ms=10_000) == []


def test_unknown_arguments_are_dropped(site: Site) -> None:
    query = {"catalog": site.sources, "filter": {}, "projection": {"_id": 1}}
    assert len(site.data("find", query, limit=2, nothing=3, comment="mine", save=False)) == 2


# ---- 1. codec


def test_documents_come_as_relaxed_extended_json(seeded: Site) -> None:
    reply = seeded.post({"query_type": "find", "query": {"catalog": ODD, "filter": {}}})
    assert reply.headers["Content-Type"].startswith("application/json")
    assert reply.text.startswith('{"status": "success", "message": "Successfully executed query", "data": [{"_id": ')
    assert reply.json()["data"] == [
        {
            "_id": {"$oid": "0123456789abcdef01234567"},
            "nan": {"$numberDouble": "NaN"},
            "up": {"$numberDouble": "Infinity"},
            "down": {"$numberDouble": "-Infinity"},
            "whole": 3,
            "big": 9007199254740993,
            "small": 1.5e-300,
            "when": {"$date": "2024-01-17T00:00:00Z"},
            "raw": {"$binary": {"base64": "AAE=", "subType": "00"}},
            "nothing": None,
            "yes": True,
        }
    ]
    client = seeded.client()
    found = client.query({"query_type": "find", "query": {"catalog": ODD, "filter": {}}})["default"]["data"][0]
    assert math.isnan(found["nan"])
    assert (found["big"], found["raw"]) == (2**53 + 1, b"\x00\x01")


# ---- 1. kinds of query


def test_find(site: Site) -> None:
    some = site.some(5)
    ids = [one["_id"] for one in some]
    query = {"catalog": site.sources, "filter": {"_id": {"$in": ids}}, "projection": {"_id": 1, "data.hjd": 1}}
    found = site.client().query({"query_type": "find", "query": query})["default"]
    assert found["message"] == "Successfully executed query"
    assert sorted(one["_id"] for one in found["data"]) == sorted(ids)
    assert all(one.keys() == {"_id", "data"} for one in found["data"])
    assert all(point.keys() == {"hjd"} for one in found["data"] for point in one["data"])


def test_find_takes_literal_text(site: Site) -> None:
    key = site.some(1)[0]["_id"]
    query = {
        "catalog": site.sources,
        "filter": f" {{'_id': {{'$in': [{key}]}}}} ",
        "projection": "{'_id': 1, 'field': 1}",
    }
    found = site.data("find", query)
    assert [one.keys() for one in found] == [{"_id", "field"}]
    assert found[0]["_id"] == key


def test_find_sorts_skips_and_limits(site: Site) -> None:
    ids = [one["_id"] for one in site.some(6)]
    query = {"catalog": site.sources, "filter": {"_id": {"$in": ids}}, "projection": {"_id": 1}}
    found = site.data("find", query, sort=[["_id", -1]], skip=1, limit=3)
    assert [one["_id"] for one in found] == sorted(ids, reverse=True)[1:4]


def test_find_by_points_gives_whole_documents(seeded: Site) -> None:
    first = seeded.data("find", {"catalog": seeded.sources, "filter": {}}, limit=1)[0]
    times = [point["hjd"] for point in first["data"]]
    early = {"_id": first["_id"], "data.hjd": {"$gt": 0.0, "$lte": min(times)}, "data.programid": {"$in": [1, 2, 3]}}
    assert seeded.data("find", {"catalog": seeded.sources, "filter": early}) == [first]
    # Each bound may hold for another point.
    around = {"_id": first["_id"], "data.hjd": {"$gt": max(times) - 1e-9, "$lte": min(times)}}
    assert seeded.data("find", {"catalog": seeded.sources, "filter": around}) == [first]
    never = {"_id": first["_id"], "data.hjd": {"$lt": min(times)}}
    assert seeded.data("find", {"catalog": seeded.sources, "filter": never}) == []


def test_find_one_ignores_the_projection_and_has_no_data_without_match(site: Site) -> None:
    key = site.some(1)[0]["_id"]
    query = {"catalog": site.sources, "filter": {"_id": key}, "projection": {"_id": 1}}
    found = site.data("find_one", query, limit=7)
    assert found["_id"] == key
    assert {"field", "ccd", "quad", "coordinates"} <= found.keys()
    nobody = site.ask("find_one", {"catalog": site.sources, "filter": {"_id": -1}})
    assert nobody == {"status": "success", "message": "Successfully executed query"}


def test_counts(site: Site) -> None:
    ids = [one["_id"] for one in site.some(4)]
    query = {"catalog": site.sources, "filter": {"_id": {"$in": ids}}}
    assert site.data("count_documents", query, limit=1) == 4
    assert site.data("estimated_document_count", {"catalog": site.sources}) >= 4
    assert site.data("count_documents", {"catalog": site.sources, "filter": {"_id": -1}}) == 0


def test_aggregate(site: Site) -> None:
    ids = [one["_id"] for one in site.some(4)]
    pipeline = [{"$match": {"_id": {"$in": ids}}}, {"$group": {"_id": None, "n": {"$sum": 1}}}]
    for given in (pipeline, str(pipeline)):
        query = {"catalog": site.sources, "pipeline": given}
        assert site.data("aggregate", query, allowDiskUse=False) == [{"_id": None, "n": 4}]


def test_info(one_site: Site) -> None:
    names = one_site.data("info", {"command": "catalog_names"})
    assert one_site.sources in names
    assert names == sorted(names, reverse=True)
    assert not {"users", "filters", "queries"} & set(names)
    statistics = one_site.data("info", {"command": "catalog_info", "catalog": one_site.sources})
    assert statistics["count"] > 0
    assert statistics["ok"] == 1
    indexes = one_site.data("info", {"command": "index_info", "catalog": one_site.sources})
    fields = [[field for field, _ in index["key"]] for index in indexes.values()]
    assert ["coordinates.radec_geojson", "_id"] in fields
    assert ["field", "ccd", "quad"] in fields
    assert one_site.data("info", {"command": "db_info"})["collections"] >= len(names)


def test_unknown_collection_is_empty(site: Site) -> None:
    assert site.data("find", {"catalog": "no_such_catalogue", "filter": {}}) == []
    assert site.data("count_documents", {"catalog": "no_such_catalogue", "filter": {}}) == 0
    where = {"radec": {"a": [1, 2]}, "cone_search_radius": 1, "cone_search_unit": "arcsec"}
    query = {"object_coordinates": where, "catalogs": {"no_such_catalogue": {}}}
    assert site.data("cone_search", query) == {"no_such_catalogue": {"a": []}}


# ---- 1. around places


def _cones(site: Site, radec: Any, radius: float, unit: str = "arcsec", catalog: str = PLACES, **kwargs: Any) -> Any:
    where = {"radec": radec, "cone_search_radius": radius, "cone_search_unit": unit}
    query = {"object_coordinates": where, "catalogs": {catalog: {"filter": {}, "projection": {"_id": 1}}}}
    return site.data("cone_search", query, **kwargs)[catalog]


def _ids(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[int]]:
    return {name: sorted(one["_id"] for one in documents) for name, documents in found.items()}


def test_cones_of_a_source_hold_it(site: Site) -> None:
    some = site.some(2)
    where = {"radec": {"first": [some[0]["ra"], some[0]["dec"]], "far": [some[0]["ra"], -89.9]}}
    where |= {"cone_search_radius": 2, "cone_search_unit": "arcsec"}
    query = {"object_coordinates": where, "catalogs": {site.sources: {"projection": {"_id": 1}}}}
    found = site.data("cone_search", query)
    assert found.keys() == {site.sources}
    assert some[0]["_id"] in [one["_id"] for one in found[site.sources]["first"]]
    assert found[site.sources]["far"] == []


def test_names_of_positions(seeded: Site) -> None:
    assert _ids(_cones(seeded, {"a.b": [255.9, 12.5], "c_d": [255.9, 12.5]}, 1)) == {"a_b": [9], "c_d": [9]}
    assert _ids(_cones(seeded, [[255.9, 12.5], [1, 2]], 1)) == {"[255_9, 12_5]": [9], "[1, 2]": []}
    assert _ids(_cones(seeded, "255.9 12.5", 1)) == {"(255_9, 12_5)": [9]}
    assert _ids(_cones(seeded, "[(255.9, 12.5)]", 1)) == {"(255_9, 12_5)": [9]}
    assert _ids(_cones(seeded, "{'x.y': [255.9, 12.5]}", 1)) == {"x_y": [9]}


@pytest.mark.parametrize(
    "pair", [["17:03:36.0", "12:30:00.0"], ["17h03m36.0s", "12d30m00.0s"], ["17:03:36", "+12:30:00"]]
)
def test_sexagesimal_positions(seeded: Site, pair: list[str]) -> None:
    assert _ids(_cones(seeded, {"a": pair}, 1)) == {"a": [9]}
    assert list(_ids(_cones(seeded, " ".join(pair), 1)).values()) == [[9]]


@pytest.mark.parametrize(
    ("radius", "unit"), [(3.5, "arcsec"), (3.5 / 60, "arcmin"), (3.5 / 3600, "deg"), (1.7e-5, "rad")]
)
def test_units_of_angles(seeded: Site, radius: float, unit: str) -> None:
    assert _ids(_cones(seeded, {"a": [100, 20]}, radius, unit)) == {"a": [6, 7, 8]}
    query = {"radec": {"a": [100, 20]}, "max_distance": radius, "distance_units": unit, "catalogs": {PLACES: {}}}
    assert len(seeded.data("near", query)[PLACES]["a"]) == 3


def test_no_seam_at_zero_and_none_at_the_poles(seeded: Site) -> None:
    found = _cones(seeded, {"zero": [0, 10], "turn": [360, 10], "north": [77, 90], "south": [3, -90]}, 2)
    assert _ids(found) == {"zero": [1, 2], "turn": [1, 2], "north": [3, 4], "south": [5]}


def test_near_is_ordered_by_distance_and_limited_by_position(seeded: Site) -> None:
    radec = {"a": [100, 20], "b": [100, 20 + 3 / 3600]}
    query: dict[str, Any] = {"radec": radec, "max_distance": 10, "distance_units": "arcsec"}
    query["catalogs"] = {PLACES: {"projection": {"_id": 1}}}
    found = seeded.data("near", query)[PLACES]
    assert {name: [one["_id"] for one in documents] for name, documents in found.items()} == {
        "a": [8, 7, 6],
        "b": [6, 7, 8],
    }
    found = seeded.data("near", query, limit=1)[PLACES]
    assert {name: [one["_id"] for one in documents] for name, documents in found.items()} == {"a": [8], "b": [6]}
    ring = seeded.data("near", query | {"min_distance": 2})[PLACES]
    assert [one["_id"] for one in ring["a"]] == [6]
    assert len(seeded.data("near", {"radec": radec, "catalogs": {PLACES: {}}})[PLACES]["a"]) == 3, (
        "1 arcmin if not said"
    )


def test_limit_of_cones_counts_by_position_and_catalogue(seeded: Site) -> None:
    found = _cones(seeded, {"a": [100, 20], "b": [0, 10]}, 10, limit=1)
    assert {name: len(documents) for name, documents in found.items()} == {"a": 1, "b": 1}
    where = {"radec": {"a": [100, 20]}, "cone_search_radius": 10, "cone_search_unit": "arcsec"}
    query = {"object_coordinates": where, "catalogs": {PLACES: {"filter": "{'_id': 7}"}, "Gaia_EDR3": {}}}
    found = seeded.data("cone_search", query, filter_first=True)
    assert found.keys() == {PLACES, "Gaia_EDR3"}
    assert _ids(found[PLACES]) == {"a": [7]}


# ---- 2. penquins


def _find(key: int, catalog: str) -> dict[str, Any]:
    return {"query_type": "find", "query": {"catalog": catalog, "filter": {"_id": key}, "projection": {"_id": 1}}}


def test_wrong_token_raises_nothing(one_site: Site) -> None:
    client = one_site.client(token="nonsense")
    assert not client.ping()
    assert client.get_catalogs() == []
    with pytest.raises(ValueError, match="not available"):
        client.query(_find(1, one_site.sources))


def test_no_credentials_raise(one_site: Site) -> None:
    with pytest.raises(ValueError, match="Failed to add instance default: Missing credentials"):
        one_site.client(token=None)


def test_one_instance_is_called_default(one_site: Site) -> None:
    with one_site.client() as client:
        assert list(client.query(_find(-1, one_site.sources))) == ["default"]
        with pytest.raises(ValueError, match="query or queries"):
            client.query()
        with pytest.raises(ValueError, match="not both"):
            client.query(query={}, queries=[])
        assert client.api("get", "/")["message"] == "greetings from Kowalski!"


def test_batch_loses_the_order_and_says_nothing_of_the_query(ours: KowalskiServer, one_site: Site) -> None:
    ids = [one["_id"] for one in one_site.some(12)]
    ours.faults.add(kind="delay", seconds=0.05, times=11, after=1, seed=1)
    ours.faults.add(kind="delay", seconds=0.3, times=1)
    replies = one_site.client().query(
        queries=[_find(key, one_site.sources) for key in ids], use_batch_query=True, max_n_threads=12
    )
    found = [reply["data"][0]["_id"] for reply in replies["default"]]
    assert sorted(found) == sorted(ids)
    assert found != ids
    assert all(reply.keys() == {"status", "message", "data"} for reply in replies["default"])


def test_without_batch_only_the_last_reply_is_left(one_site: Site) -> None:
    ids = [one["_id"] for one in one_site.some(3)]
    replies = one_site.client().query(queries=[_find(key, one_site.sources) for key in ids])
    assert [one["_id"] for one in replies["default"]["data"]] == [ids[-1]]


@pytest.fixture
def two(ours: KowalskiServer, one_site: Site) -> Kowalski:
    """A client of two instances: one has everything, the other only the places."""
    where = {"protocol": "http", "host": ours.host, "token": ours.token}
    instances = {"all": {"port": ours.port, **where}, "some": {"port": ours.add_instance([PLACES]), **where}}
    return Kowalski(instances=instances, timeout=60, max_retries=0)


def test_several_instances(two: Kowalski, one_site: Site) -> None:
    assert two.get_catalogs(name="some") == [PLACES]
    key = one_site.some(1)[0]["_id"]
    assert [list(two.query(_find(key, one_site.sources))) for _ in range(3)] == [["all"]] * 3
    replies = two.query(queries=[_find(1, PLACES)] * 4, use_batch_query=True)
    assert {name: len(some) for name, some in replies.items()} == {"all": 2, "some": 2}
    replies = two.query(queries=[_find(key, one_site.sources)], use_batch_query=True)
    assert {name: len(some) for name, some in replies.items()} == {"all": 1, "some": 0}
    with pytest.raises(ValueError, match="not available in the specified instance"):
        two.query(_find(key, one_site.sources), name="some")
    with pytest.raises(ValueError, match="not available in any instance"):
        two.query(_find(key, "no_such_catalogue"))
    with pytest.raises(ValueError, match="specify instance name"):
        two.ping()
    assert two.ping(name="some")


def test_a_batch_of_one_query_breaks_with_an_instance_that_gets_none(two: Kowalski, one_site: Site) -> None:
    with pytest.raises(AttributeError):
        two.query(query=_find(1, one_site.sources), use_batch_query=True)


def test_several_catalogues_are_split_by_instance(two: Kowalski, one_site: Site) -> None:
    where = {"radec": {"a": [100, 20]}, "cone_search_radius": 10, "cone_search_unit": "arcsec"}
    query = {"object_coordinates": where, "catalogs": {one_site.sources: {}, PLACES: {"projection": {"_id": 1}}}}
    replies = two.query({"query_type": "cone_search", "query": query})
    assert {name: list(reply["data"]) for name, reply in replies.items()} == {
        "all": [one_site.sources],
        "some": [PLACES],
    }


def test_the_same_instance_twice_raises(ours: KowalskiServer) -> None:
    where = {"protocol": "http", "host": ours.host, "port": ours.port, "token": ours.token}
    with pytest.raises(ValueError, match="duplicate"):
        Kowalski(instances={"one": dict(where), "two": dict(where)}, timeout=60)


@pytest.mark.parametrize("status", [405, 429, 500, 502, 503, 504])
def test_what_penquins_repeats(ours: KowalskiServer, one_site: Site, status: int) -> None:
    client = one_site.client(max_retries=3, backoff_factor=0)
    began = ours.n_requests
    ours.faults.add(kind="html", status=status, message="no", times=3)
    assert client.query(_find(-1, one_site.sources))["default"]["data"] == []
    assert [one["status"] for one in ours.requests_since(began)] == [status] * 3 + [200]
    ours.faults.clear()
    ours.faults.add(kind="html", status=status, message="no")
    with pytest.raises(requests.exceptions.RetryError):
        client.query(_find(-1, one_site.sources))


@pytest.mark.parametrize("status", [400, 401])
def test_what_penquins_does_not_repeat(ours: KowalskiServer, one_site: Site, status: int) -> None:
    client = one_site.client(max_retries=3, backoff_factor=0)
    began = ours.n_requests
    ours.faults.add(kind="status", status=status, message="no")
    assert client.query(_find(-1, one_site.sources)) == {"default": {"status": "error", "message": "no"}}
    assert [one["status"] for one in ours.requests_since(began)] == [status]


def test_a_reply_that_is_no_json_raises(ours: KowalskiServer, one_site: Site) -> None:
    client = one_site.client()
    ours.faults.add(kind="html", status=200, message="hello", times=1)
    with pytest.raises(ValueError, match="Expecting value"):
        client.query(_find(-1, one_site.sources))


# ---- 3. content


def test_longitude_is_right_ascension_minus_180(site: Site) -> None:
    for one in site.some(4):
        place = one["coordinates"]
        assert place["radec_geojson"]["type"] == "Point"
        assert place["radec_geojson"]["coordinates"] == pytest.approx([one["ra"] - 180, one["dec"]], abs=1e-9)
        hours, degrees = place["radec_str"]
        hour, minute, second = map(float, hours.split(":"))
        assert 15 * (hour + minute / 60 + second / 3600) == pytest.approx(one["ra"], abs=1e-3)
        assert abs(float(degrees.split(":")[0])) == int(abs(one["dec"]))


def test_documents_of_light_curves(one_site: Site) -> None:
    key = one_site.some(1)[0]["_id"]
    one = one_site.data("find", {"catalog": one_site.sources, "filter": {"_id": key}})[0]
    whole = ("matchid", "filter", "field", "ccd", "quad", "rc", "nobs")
    real = ("ra", "dec", "meanmag", "vonneumannratio", "refchi", "refmag", "refmagerr", "refsharp", "iqr")
    assert one.keys() >= {"_id", "coordinates", "data", *whole, *real}
    assert all(isinstance(one[name], int) for name in ("_id", *whole))
    assert all(isinstance(one[name], float) for name in real)
    assert one["_id"] == 10**13 + one["field"] * 10**9 + one["rc"] * 10**7 + one["filter"] * 10**6 + one["matchid"]
    assert (one["ccd"], one["quad"]) == (one["rc"] // 4 + 1, one["rc"] % 4 + 1)
    assert 10**16 <= one["data"][0]["uexpid"] < 10**17
    first = 10**16 + one["field"] * 10**12 + one["rc"] * 10**10 + one["filter"] * 10**9
    assert all(point["uexpid"] == first + point["expid"] for point in one["data"])
    times = [point["hjd"] for point in one["data"]]
    assert times == sorted(times)
    assert 2.4e6 < times[0] < 2.6e6
    point = one["data"][0]
    assert point.keys() == {
        *("hjd", "mag", "magerr", "expid", "programid", "catflags", "ra", "dec", "chi", "sharp", "uexpid")
    }
    assert all(isinstance(point[name], int) for name in ("expid", "programid", "catflags", "uexpid"))


def test_documents_of_features(one_site: Site) -> None:
    found = one_site.data("find", {"catalog": one_site.features, "filter": {}}, limit=20)
    names = {"_id", "ra", "dec", "field", "ccd", "quad", "n", "median", "period", "significance", "f1_relphi4", "dmdt"}
    assert all(one.keys() >= names | {"AllWISE___id", "Gaia_EDR3___id", "PS1_DR1___id"} for one in found)
    images = [one["dmdt"] for one in found if one["dmdt"] is not None]
    assert all(len(image) == 26 and len(image[0]) == 26 for image in images)


def test_documents_of_classifications(one_site: Site) -> None:
    for one in one_site.data("find", {"catalog": one_site.classifications, "filter": {}}, limit=5):
        scores = {name: value for name, value in one.items() if name != "_id"}
        assert all(name.endswith(("_xgb", "_dnn")) and 0 <= value <= 1 for name, value in scores.items())
        assert "coordinates" not in one


def test_documents_of_the_other_catalogues(one_site: Site) -> None:
    star = one_site.data("find", {"catalog": "Gaia_EDR3", "filter": {}}, limit=20)
    assert all(isinstance(one["_id"], str) and int(one["_id"]) >= 0 for one in star)
    assert all(value is not None for one in star for value in one.values())
    alert = one_site.data("find_one", {"catalog": "ZTF_alerts", "filter": {}})
    assert alert["_id"].keys() == {"$oid"}
    assert {"objectId", "candid", "candidate", "classifications", "coordinates"} <= alert.keys()
    assert {"jd", "fid", "ra", "dec", "magpsf", "sigmapsf", "rb", "drb", "pid", "programid"} <= alert[
        "candidate"
    ].keys()
    wise = one_site.data("find_one", {"catalog": "AllWISE", "filter": {}})
    assert {"w1mpro", "w4sigmpro", "ph_qual"} <= wise.keys()
    stars = one_site.data("find_one", {"catalog": "PS1_DR1", "filter": {}})
    assert {"gMeanPSFMag", "yMeanPSFMagErr", "qualityFlag"} <= stars.keys()
