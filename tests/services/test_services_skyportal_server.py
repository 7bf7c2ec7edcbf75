"""SkyPortal's contract: what was observed of a real one, asked of the test server through plain `requests`.

None of our own client is used, so that the server cannot agree with it by accident. With ``SCOPE_SKYPORTAL_URL`` set the
same tests ask a real SkyPortal instead (docs/how-to/try-fritz.md): they create sources under a prefix only, take their
classifications and annotations away and unsave them; what needs users, rights or times of ours is skipped there.
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from scope_ml.testing.skyportal import SkyPortalServer

REAL = os.environ.get("SCOPE_SKYPORTAL_URL")

NEEDS_OURS = "needs users, rights, times or limits of the test server, and a real SkyPortal is asked"

#: Between two requests to a real service [s]: it takes 5 a second.
PACE_S = 0.21

ARCSEC = 1.0 / 3600.0


@dataclass(kw_only=True)
class Site:
    """Who is asked, and what was made there."""

    url: str
    token: str = field(repr=False)
    group: int
    instrument: str
    prefix: str
    ours: SkyPortalServer | None
    session: requests.Session = field(default_factory=requests.Session, repr=False)
    made: list[str] = field(default_factory=list)

    def call(self, method: str, path: str, *, query: Any = None, body: Any = None, **more: Any) -> requests.Response:
        if self.ours is None:
            time.sleep(PACE_S)
        headers = more.pop("headers", {"Authorization": f"token {self.token}"})
        return self.session.request(
            method, self.url + path, params=query, json=body, headers=headers, timeout=60, **more
        )

    def data(self, method: str, path: str, **given: Any) -> Any:
        reply = self.call(method, path, **given)
        assert reply.status_code == 200, reply.text
        assert reply.json()["status"] == "success"
        return reply.json()["data"]

    def refusal(self, method: str, path: str, **given: Any) -> tuple[int, str]:
        reply = self.call(method, path, **given)
        said = reply.json()
        assert said["status"] == "error"
        assert said["data"] == {}
        return reply.status_code, said["message"]

    def new_id(self) -> str:
        self.made.append(f"{self.prefix}{len(self.made)}")
        return self.made[-1]

    def source(self, ra: float | None = None, dec: float | None = None, groups: list[int] | None = None) -> str:
        place = {
            "ra": random.uniform(0, 360) if ra is None else ra,
            "dec": random.uniform(-80, 80) if dec is None else dec,
        }
        body = {"id": self.new_id(), **place, "group_ids": [self.group] if groups is None else groups}
        return self.data("POST", "/api/sources", body=body)["id"]

    def classify(self, obj_id: str, **more: Any) -> int:
        return self.data("POST", "/api/classification", body=self.item(obj_id, **more))["classification_id"]

    def item(self, obj_id: str, **more: Any) -> dict[str, Any]:
        taxonomy, names = self.tree()
        body = {"obj_id": obj_id, "classification": names[0], "taxonomy_id": taxonomy, "group_ids": [self.group]}
        return body | more

    def tree(self) -> tuple[int, list[str]]:
        """A taxonomy of the site and classes of it."""
        found = next(one for one in self.data("GET", "/api/taxonomy") if one["isLatest"])
        return found["id"], [name for name in _names(found["hierarchy"]) if name.isalpha()]

    def classes(self, obj_id: str) -> list[dict[str, Any]]:
        return self.data("GET", f"/api/sources/{obj_id}/classifications")

    def one(self, obj_id: str, **query: Any) -> dict[str, Any]:
        return self.data("GET", f"/api/sources/{obj_id}", query=query)

    def listed(self, **query: Any) -> list[str]:
        return [one["id"] for one in self.data("GET", "/api/sources", query=query)["sources"]]

    def photometry(self, obj_id: str, n: int = 2, **more: Any) -> dict[str, Any]:
        found = self.data("GET", "/api/instrument", query={"name": self.instrument})
        body = {
            "obj_id": obj_id,
            "instrument_id": found[0]["id"],
            "mjd": [59000.5 + number for number in range(n)],
            "mag": [18.0 + 0.01 * number for number in range(n)],
            "magerr": [0.1] * n,
            "limiting_mag": 23.9,
            "magsys": "ab",
            "filter": "ztfr",
            "group_ids": [self.group],
        }
        return body | more

    def clean(self) -> None:
        for obj_id in self.made:
            if self.call("GET", f"/api/sources/{obj_id}").status_code != 200:
                continue
            self.call("DELETE", f"/api/sources/{obj_id}/classifications", body={"label": False})
            for one in self.data("GET", f"/api/sources/{obj_id}/annotations"):
                self.call("DELETE", f"/api/sources/{obj_id}/annotations/{one['id']}")
            saved = [group["id"] for group in self.one(obj_id)["groups"]]
            if saved:
                self.data("POST", "/api/source_groups", body={"objId": obj_id, "unsaveGroupIds": saved})


def _names(node: dict[str, Any]) -> Iterator[str]:
    yield node["class"]
    for below in node.get("subclasses", []):
        yield from _names(below)


@pytest.fixture(scope="session")
def run_part() -> str:
    return f"{random.SystemRandom().randrange(16**8):08x}_"


@pytest.fixture
def site(request: pytest.FixtureRequest, run_part: str) -> Iterator[Site]:
    """Who is asked; what a test made is taken away at its end."""
    part = run_part + re.sub(r"\W+", "_", request.node.name).removeprefix("test_")[:60] + "_"
    prefix = os.environ.get("SCOPE_SKYPORTAL_PREFIX", "scope_ml_test_") + part
    if REAL is not None:
        found = Site(
            url=REAL.rstrip("/"),
            token=os.environ["SCOPE_SKYPORTAL_TOKEN"],
            group=int(os.environ["SCOPE_SKYPORTAL_GROUP"]),
            instrument=os.environ.get("SCOPE_SKYPORTAL_INSTRUMENT", "ZTF"),
            prefix=prefix,
            ours=None,
        )
    else:
        server: SkyPortalServer = request.getfixturevalue("skyportal")
        found = Site(
            url=server.url,
            token=server.token,
            group=server.groups[server.group],
            instrument=server.instrument,
            prefix=prefix,
            ours=server,
        )
    with found.session:
        yield found
        if found.ours is None:
            found.clean()


@pytest.fixture
def ours(site: Site) -> SkyPortalServer:
    """Our server, where a test needs more than a token may do."""
    if site.ours is None:
        pytest.skip(NEEDS_OURS)
    return site.ours


def as_user(server: SkyPortalServer, user: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"token {server.tokens[user]}"}}


# ---- 1. Transport


@pytest.mark.parametrize("written", ["Bearer {}", "Token {}", "{}", "token{}", ""])
def test_another_authorization_is_a_401_with_malformed_credentials(site: Site, written: str) -> None:
    headers = {"Authorization": written.format(site.token)} if written else {}
    status, message = site.refusal("GET", "/api/groups", headers=headers)
    assert status == 401
    assert message.startswith("HTTP 401: Unauthorized (Credentials malformed; ")


def test_an_unknown_token_is_a_401(site: Site) -> None:
    headers = {"Authorization": "token 00000000-0000-4000-8000-000000000000"}
    assert site.refusal("GET", "/api/groups", headers=headers) == (401, "HTTP 401: Unauthorized")


def test_sysinfo_needs_no_token(site: Site) -> None:
    assert site.data("GET", "/api/sysinfo", headers={}) != {}


def test_success_envelope_has_no_message(site: Site) -> None:
    obj_id = site.source()
    said = site.call("GET", f"/api/sources/{obj_id}").json()
    assert said.keys() == {"status", "data", "version"}
    said = site.call("DELETE", f"/api/sources/{obj_id}/classifications", body={}).json()
    assert said.keys() == {"status", "data", "version"}
    assert said["data"] == {}, "an empty object when there is nothing to return"


def test_error_envelope_has_an_empty_object_never_null(site: Site) -> None:
    reply = site.call("GET", f"/api/sources/{site.new_id()}")
    assert reply.json().keys() == {"status", "message", "data", "version"}
    assert reply.json()["data"] == {}
    assert isinstance(reply.json()["message"], str)


def test_json_is_pretty_printed(site: Site) -> None:
    reply = site.call("GET", "/api/groups")
    assert reply.headers["Content-Type"].startswith("application/json")
    assert reply.text.startswith('{\n  "')


def test_wrong_method_is_a_405_in_the_envelope(site: Site) -> None:
    assert site.refusal("PUT", "/api/groups", body={})[0] == 405
    assert site.refusal("DELETE", "/api/sources", body={})[0] == 405


def test_archive_is_gone_with_a_405(site: Site) -> None:
    assert site.refusal("POST", "/api/archive", body={})[0] == 405


def test_unknown_path_under_api_is_a_400(site: Site) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert site.refusal(method, "/api/no_such_thing", body={}) == (400, "Invalid API endpoint")


def test_addresses_are_compared_before_they_are_decoded(site: Site) -> None:
    """Of `+` alone, since parts of a source have an address only for ids of plain signs."""
    obj_id = site.new_id() + "+1.5"
    site.made[-1] = obj_id
    site.data("POST", "/api/sources", body={"id": obj_id, "ra": 1.0, "dec": 2.0, "group_ids": [site.group]})
    encoded = obj_id.replace("+", "%2B")
    for written in (obj_id, encoded):
        assert site.data("GET", f"/api/sources/{written}")["id"] == obj_id
    for part in ("classifications", "annotations", "comments", "photometry"):
        assert site.data("GET", f"/api/sources/{obj_id}/{part}") == []
        for written in (encoded, "a%20b", "a:b", "a%2Fb"):
            assert site.refusal("GET", f"/api/sources/{written}/{part}") == (400, "Invalid API endpoint")
    assert site.refusal("GET", "/api/sources/a%2Fb") == (404, "Source not found")


@pytest.mark.parametrize("raw", [b"{", b"[1, 2]", b"nonsense"])
def test_body_that_is_no_json_object_is_a_500(site: Site, raw: bytes) -> None:
    assert site.refusal("POST", "/api/classification", data=raw)[0] == 500


def test_group_ids_that_are_no_numbers_are_a_500(site: Site) -> None:
    assert site.refusal("GET", "/api/sources", query={"group_ids": "x"})[0] == 500


def test_timestamps_are_naive_utc_with_microseconds(site: Site) -> None:
    before = datetime.now(UTC).replace(tzinfo=None)
    text = site.one(site.source())["created_at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?", text)
    assert abs((datetime.fromisoformat(text) - before).total_seconds()) < 60


def test_the_fraction_is_omitted_when_microseconds_are_0(site: Site, ours: SkyPortalServer) -> None:
    ours.set_clock("2026-11-22T10:05:40", step_s=0.0)
    assert site.one(site.source())["created_at"] == "2026-11-22T10:05:40"
    ours.set_clock("2026-11-22T10:05:40.778369", step_s=0.0)
    assert site.one(site.source())["created_at"] == "2026-11-22T10:05:40.778369"


@pytest.mark.parametrize("raw", ["true", "True", "yes", "t", "1", "YES"])
def test_truths_of_a_query(site: Site, raw: str) -> None:
    assert "labellers" in site.one(site.source(), includeLabellers=raw)


@pytest.mark.parametrize("raw", ["false", "no", "0", "2", "y", ""])
def test_all_else_is_not_true(site: Site, raw: str) -> None:
    assert "labellers" not in site.one(site.source(), includeLabellers=raw)


def test_missing_right_is_a_401_before_anything_else(site: Site, ours: SkyPortalServer) -> None:
    obj_id = site.source()
    needs = {
        "Upload data": [
            ("POST", "/api/sources"),
            ("POST", "/api/source_groups"),
            ("PUT", "/api/photometry"),
            ("POST", "/api/photometry"),
        ],
        "Classify": [("POST", "/api/classification"), ("DELETE", "/api/classification/1")],
        "Annotate": [
            ("POST", f"/api/sources/{obj_id}/annotations"),
            ("PUT", f"/api/sources/{obj_id}/annotations/1"),
            ("DELETE", f"/api/sources/{obj_id}/annotations/1"),
        ],
        "Comment": [("POST", f"/api/sources/{obj_id}/comments")],
        "Post taxonomy": [("POST", "/api/taxonomy")],
    }
    for right, calls in needs.items():
        ours.add("rights", user="scope", rights=[one for one in needs if one != right])
        for method, path in calls:
            assert site.refusal(method, path, body={}) == (401, "HTTP 401: Unauthorized"), (method, path)
            assert site.refusal(method, path, data=b"{")[0] == 401, "the body is not looked at"
        others = [call for one, some in needs.items() if one != right for call in some]
        assert 401 not in [site.refusal(method, path, body={})[0] for method, path in others]
    ours.add("rights", user="scope", rights=[])
    site.data("DELETE", f"/api/sources/{obj_id}/classifications", body={})
    site.data("POST", f"/api/sources/{obj_id}/labels", body={"groupIds": [site.group]})


def test_an_administrator_needs_no_rights(site: Site, ours: SkyPortalServer) -> None:
    ours.add("rights", user="admin", rights=[])
    body = {"id": site.new_id(), "ra": 1.0, "dec": 2.0, "group_ids": [ours.groups["Closed"]]}
    assert site.data("POST", "/api/sources", body=body, **as_user(ours, "admin"))["saved_to_groups"]


def test_an_expired_user_is_a_403(site: Site, ours: SkyPortalServer) -> None:
    token = ours.add("user", username="gone", is_expired=True)["token"]
    assert site.refusal("GET", "/api/groups", headers={"Authorization": f"token {token}"})[0] == 403


# ---- 2. Lists of sources


def test_of_a_repeated_key_the_last_value_counts(site: Site, ours: SkyPortalServer) -> None:
    other = ours.groups["Follow-up"]
    here, there = site.source(), site.source(groups=[other])
    assert site.listed(group_ids=[site.group, other]) == [there]
    assert site.listed(group_ids=[other, site.group]) == [here]


def test_groups_joined_by_commas_are_one_or_the_other(site: Site, ours: SkyPortalServer) -> None:
    other = ours.groups["Follow-up"]
    here, there = site.source(), site.source(groups=[other])
    assert set(site.listed(group_ids=f"{site.group},{other}")) == {here, there}
    reply = site.data("GET", "/api/sources", query={"group_ids": f"{site.group},{other}"})
    assert "group_id" not in reply
    assert site.data("GET", "/api/sources", query={"group_ids": other})["group_id"] == other


def test_pages_of_sources(site: Site) -> None:
    ids = [site.source() for _ in range(5)]
    query = {"group_ids": site.group, "sourceID": site.prefix, "numPerPage": 2}
    pages = [site.data("GET", "/api/sources", query=query | {"pageNumber": number}) for number in (1, 2, 3)]
    assert [one["id"] for page in pages for one in page["sources"]] == ids[::-1], "latest saved first"
    assert [len(page["sources"]) for page in pages] == [2, 2, 1]
    assert [(page["totalMatches"], page["pageNumber"], page["numPerPage"]) for page in pages] == [
        (5, number, 2) for number in (1, 2, 3)
    ]


def test_a_page_past_the_end_is_empty_with_the_true_total(site: Site) -> None:
    site.source()
    page = site.data("GET", "/api/sources", query={"sourceID": site.prefix, "pageNumber": 9})
    assert (page["sources"], page["totalMatches"]) == ([], 1)


def test_pages_default_to_100_and_are_capped_at_500(site: Site, ours: SkyPortalServer) -> None:
    ours.add_many("source", [{"obj_id": f"S{number}", "ra": 1.0, "dec": 2.0} for number in range(501)])
    for asked, length in (({}, 100), ({"numPerPage": 500}, 500), ({"numPerPage": 9999}, 500)):
        page = site.data("GET", "/api/sources", query=asked)
        assert (len(page["sources"]), page["numPerPage"], page["totalMatches"]) == (length, length, 501)


@pytest.mark.parametrize("query", [{"pageNumber": 0}, {"pageNumber": "x"}, {"numPerPage": 0}, {"pageNumber": -1}])
def test_wrong_pages_are_a_400(site: Site, query: dict[str, Any]) -> None:
    assert site.refusal("GET", "/api/sources", query=query)[0] == 400


def test_cone_in_decimal_degrees(site: Site) -> None:
    ra, dec = random.uniform(10, 350), 60.0 + random.uniform(0, 5)
    near, off, far = site.source(ra, dec), site.source(ra + 3 * ARCSEC, dec), site.source(ra, dec + 3 * ARCSEC)
    assert set(site.listed(ra=ra, dec=dec, radius=0.5 * ARCSEC)) & set(site.made) == {near}
    # 3 arcsec of right ascension are half as much on the sky at 60 degrees.
    assert set(site.listed(ra=ra, dec=dec, radius=2 * ARCSEC)) & set(site.made) == {near, off}
    assert set(site.listed(ra=ra, dec=dec, radius=4 * ARCSEC)) & set(site.made) == {near, off, far}


def test_cone_across_0h_and_at_the_pole(site: Site) -> None:
    dec = random.uniform(-10, 10)
    ids = {site.source(0.2 * ARCSEC, dec), site.source(360.0 - 0.2 * ARCSEC, dec)}
    assert set(site.listed(ra=0.0, dec=dec, radius=ARCSEC)) & set(site.made) == ids
    poles = {site.source(10.0, 90.0 - 0.3 * ARCSEC), site.source(190.0, 90.0 - 0.3 * ARCSEC)}
    assert set(site.listed(ra=100.0, dec=90.0, radius=ARCSEC)) & set(site.made) == poles


@pytest.mark.parametrize("missing", ["ra", "dec", "radius"])
def test_a_cone_wants_all_three(site: Site, missing: str) -> None:
    query = {"ra": 1.0, "dec": 2.0, "radius": 0.1}
    del query[missing]
    assert site.refusal("GET", "/api/sources", query=query)[0] == 400


def test_only_active_saves_count(site: Site) -> None:
    obj_id = site.source()
    site.data("POST", "/api/source_groups", body={"objId": obj_id, "unsaveGroupIds": [site.group]})
    assert site.listed(sourceID=site.prefix) == []
    assert site.one(obj_id)["groups"] == []


def test_sources_of_other_groups_are_not_listed(site: Site, ours: SkyPortalServer) -> None:
    ours.add("source", obj_id="theirs", ra=10.0, dec=20.0, groups=["Closed"])
    assert site.listed(ra=10.0, dec=20.0, radius=1.0) == []
    assert site.one("theirs")["groups"] == []
    query = {"ra": 10.0, "dec": 20.0, "radius": 1.0}
    found = site.data("GET", "/api/sources", query=query, **as_user(ours, "stranger"))
    assert [one["id"] for one in found["sources"]] == ["theirs"]


def test_filters_of_the_list(site: Site, ours: SkyPortalServer) -> None:
    ours.add("source", obj_id="old", ra=1.0, dec=2.0, created_at="2020-01-01T00:00:00")
    ours.add("source", obj_id="new", ra=3.0, dec=2.0, created_at="2026-01-01T00:00:00")
    ours.add("classification", obj_id="old", classification="RRab")
    ours.add("classification", obj_id="new", classification="EA", label=False)
    assert site.listed(savedAfter="2021-01-01") == ["new"]
    assert site.listed(savedBefore="2021-01-01T00:00:00Z") == ["old"]
    assert site.listed(hasBeenLabelled="true") == ["old"]
    assert site.listed(classifications="Sitewide Taxonomy: RRab,Sitewide Taxonomy: EA") == ["old"]
    assert site.listed(sortBy="id") == ["new", "old"]
    assert site.listed(sortBy="ra", sortOrder="desc") == ["new", "old"]
    assert site.listed() == ["new", "old"]


# ---- 2. One source


def test_unknown_source_is_a_404(site: Site) -> None:
    assert site.refusal("GET", f"/api/sources/{site.new_id()}") == (404, "Source not found")


def test_keys_of_a_source(site: Site) -> None:
    obj_id = site.source(10.5, -20.25)
    site.classify(obj_id, probability=0.5, origin="SCoPe")
    body = {"origin": "period_origin", "data": {"period": 0.5}, "group_ids": [site.group]}
    site.data("POST", f"/api/sources/{obj_id}/annotations", body=body)
    listed = site.data("GET", "/api/sources", query={"sourceID": obj_id})["sources"][0]
    for found in (site.one(obj_id), listed):
        assert (found["id"], found["ra"], found["dec"]) == (obj_id, 10.5, -20.25)
        assert "labellers" not in found
        group = next(one for one in found["groups"] if one["id"] == site.group)
        assert group.keys() >= {"id", "name", "active", "requested", "saved_at", "saved_by"}
        one = found["classifications"][0]
        assert one.keys() >= {
            *("id", "classification", "probability", "taxonomy_id", "origin", "ml", "author_id", "author_name"),
            *("obj_id", "created_at", "modified", "groups", "votes"),
        }
        assert [vote.keys() >= {"id", "voter_id", "vote", "classification_id"} for vote in one["votes"]] == [True]
        assert found["annotations"][0]["data"] == {"period": 0.5}
    assert "edits" in site.one(obj_id)["classifications"][0]
    assert "edits" in site.classes(obj_id)[0]
    assert "edits" not in listed["classifications"][0]


def test_labellers_are_users_of_one_source_and_rows_in_a_list(site: Site) -> None:
    obj_id = site.source()
    site.data("POST", f"/api/sources/{obj_id}/labels", body={"groupIds": [site.group]})
    user = site.one(obj_id, includeLabellers=True)["labellers"]
    assert [one.keys() >= {"id", "username"} for one in user] == [True]
    query = {"sourceID": obj_id, "includeLabellers": True}
    row = site.data("GET", "/api/sources", query=query)["sources"][0]["labellers"]
    assert [one.keys() >= {"id", "obj_id", "labeller_id", "group_id", "created_at", "modified"} for one in row] == [
        True
    ]
    assert (row[0]["labeller_id"], row[0]["obj_id"], row[0]["group_id"]) == (user[0]["id"], obj_id, site.group)
    site.data("DELETE", f"/api/sources/{obj_id}/labels", body={"groupIds": [site.group]})
    assert site.one(obj_id, includeLabellers=True)["labellers"] == []


# ---- 2. Posting sources and saving them


def test_posting_a_source_again_is_ok(site: Site) -> None:
    obj_id = site.source(10.0, 20.0)
    first = site.one(obj_id)
    for more in ({"ra": 10.0, "dec": 20.0}, {"ra": 99.0, "dec": 1.0}, {}):
        body = {"id": obj_id, "group_ids": [site.group], **more}
        assert site.data("POST", "/api/sources", body=body)["id"] == obj_id
    assert site.one(obj_id)["groups"] == first["groups"]
    assert (site.one(obj_id)["ra"], site.one(obj_id)["dec"]) == (10.0, 20.0)


@pytest.mark.parametrize(
    "change",
    [{"id": "a b"}, {"id": "a/b"}, {"id": "a?"}, {"ra": None}, {"dec": None}, {"group_ids": [10**8]}, {"id": 3}],
)
def test_what_a_source_may_not_be(site: Site, change: dict[str, Any]) -> None:
    body = {"id": site.new_id(), "ra": 1.0, "dec": 2.0, "group_ids": [site.group]} | change
    status, message = site.refusal("POST", "/api/sources", body=body)
    assert status == 400
    assert message.startswith("Failed to post source: ")


def test_a_source_of_all_allowed_characters(site: Site) -> None:
    obj_id = site.new_id() + "aZ09_-;:+."
    site.made[-1] = obj_id
    body = {"id": obj_id, "ra": 1.0, "dec": 2.0, "group_ids": [site.group]}
    assert site.data("POST", "/api/sources", body=body)["id"] == obj_id
    assert site.one(obj_id)["id"] == obj_id


def test_groups_of_others_are_left_out_without_a_word(site: Site, ours: SkyPortalServer) -> None:
    body = {"id": site.new_id(), "ra": 1.0, "dec": 2.0, "group_ids": [site.group, ours.groups["Closed"]]}
    assert site.data("POST", "/api/sources", body=body)["saved_to_groups"] == [site.group]


def test_source_groups_save_and_unsave(site: Site, ours: SkyPortalServer) -> None:
    other, closed = ours.groups["Follow-up"], ours.groups["Closed"]
    obj_id = site.source()
    change = {"objId": obj_id, "inviteGroupIds": [other, closed], "unsaveGroupIds": [site.group]}
    assert site.data("POST", "/api/source_groups", body=change) == {}
    state = ours.state()["sources"][obj_id]
    assert (state["groups"], state["requested"]) == (["Follow-up"], ["Closed"])


def test_source_groups_refuse_the_whole_call(site: Site) -> None:
    obj_id = site.source()
    path, body = "/api/source_groups", {"objId": obj_id, "inviteGroupIds": [site.group]}
    assert site.refusal("POST", path, body=body) == (400, f"Source already saved to group w/ ID {site.group}")
    unknown = site.new_id()
    assert site.refusal("POST", path, body=body | {"objId": unknown}) == (404, f"Obj {unknown} not found")
    empty = {"objId": obj_id, "inviteGroupIds": [], "unsaveGroupIds": []}
    assert site.refusal("POST", path, body=empty)[0] == 400
    assert site.refusal("POST", path, body=body | {"other": 1})[0] == 400


def test_nothing_is_saved_when_one_group_has_it(site: Site, ours: SkyPortalServer) -> None:
    obj_id = site.source()
    body = {"objId": obj_id, "inviteGroupIds": [ours.groups["Follow-up"], site.group]}
    assert site.refusal("POST", "/api/source_groups", body=body)[0] == 400
    assert ours.state()["sources"][obj_id]["groups"] == ["Variables"]


# ---- 2. Classifications


def test_a_classification_comes_back_as_posted(site: Site) -> None:
    obj_id = site.source()
    number = site.classify(obj_id, probability=0.25, origin="SCoPe", ml=True, vote=False, label=False)
    (one,) = site.classes(obj_id)
    wanted = site.item(obj_id)
    assert (
        one.items()
        >= {
            "id": number,
            "obj_id": obj_id,
            "classification": wanted["classification"],
            "taxonomy_id": wanted["taxonomy_id"],
            "probability": 0.25,
            "origin": "SCoPe",
            "ml": True,
            "votes": [],
        }.items()
    )
    assert [group["id"] for group in one["groups"]] == [site.group]
    assert site.one(obj_id, includeLabellers=True)["labellers"] == []
    assert site.data("GET", f"/api/classification/{number}")["id"] == number


def test_defaults_of_a_classification(site: Site) -> None:
    obj_id = site.source()
    body = site.item(obj_id)
    del body["group_ids"]
    site.data("POST", "/api/classification", body=body)
    (one,) = site.classes(obj_id)
    assert (one["probability"], one["origin"], one["ml"]) == (None, None, False)
    assert [vote["vote"] for vote in one["votes"]] == [1], "a vote of the poster"
    assert len(site.one(obj_id, includeLabellers=True)["labellers"]) == 1, "a label of the poster"
    assert len(one["groups"]) == 1, "the public group"
    if site.ours is not None:
        assert one["groups"][0]["name"] == "Sitewide Group"


@pytest.mark.parametrize("value", [True, 1, 0, None, "false"])
def test_anything_but_false_is_a_vote_and_a_label(site: Site, value: Any) -> None:
    obj_id = site.source()
    site.classify(obj_id, vote=value, label=value)
    assert [vote["vote"] for vote in site.classes(obj_id)[0]["votes"]] == [1]
    assert len(site.one(obj_id, includeLabellers=True)["labellers"]) == 1


def test_one_label_a_group(site: Site, ours: SkyPortalServer) -> None:
    obj_id = site.source()
    groups = [site.group, ours.groups["Follow-up"]]
    numbers = []
    for _ in range(2):
        site.classify(obj_id, group_ids=groups)
        numbers.append([one["id"] for one in ours.state(raw=True)["sources"][obj_id]["labels"]])
    assert numbers[0] == numbers[1]
    assert ours.state()["sources"][obj_id]["labels"] == [["scope", "Follow-up"], ["scope", "Variables"]]


@pytest.mark.parametrize(
    ("given", "stored"),
    [(True, True), ("True", True), ("t", True), ("true", True), (False, False), ("False", False), ("f", False)],
)
def test_ml_is_a_truth_or_a_word(site: Site, given: Any, stored: bool) -> None:
    obj_id = site.source()
    site.classify(obj_id, ml=given)
    assert site.classes(obj_id)[0]["ml"] is stored


def test_order_of_checks_of_a_classification(site: Site) -> None:
    obj_id = site.source()
    faults = {
        "obj_id": (site.new_id(), "Cannot find object"),
        "ml": ("maybe", "ml must be one of"),
        "taxonomy_id": (10**8, "Cannot find a taxonomy"),
        "classification": ("No Such Class", "not in the allowed classes"),
        "probability": (1.5, "outside the allowable range"),
        "group_ids": ([10**8], "Cannot find one or more groups"),
    }
    wrong = {name: value for name, (value, _) in faults.items()}
    for name, (_, said) in faults.items():
        status, message = site.refusal("POST", "/api/classification", body=site.item(obj_id) | wrong)
        assert status == 400
        assert message.startswith("Error posting classification: ")
        assert said in message
        del wrong[name]
    assert site.classes(obj_id) == []


@pytest.mark.parametrize("probability", [-0.001, 1.001, 100])
def test_a_probability_lies_between_0_and_1(site: Site, probability: float) -> None:
    obj_id = site.source()
    assert site.refusal("POST", "/api/classification", body=site.item(obj_id, probability=probability))[0] == 400
    for good in (0, 1, 0.5, None):
        site.classify(obj_id, probability=good)


def test_class_names_are_case_sensitive(site: Site) -> None:
    obj_id = site.source()
    name = site.tree()[1][0]
    assert site.refusal("POST", "/api/classification", body=site.item(obj_id, classification=name.swapcase()))[0] == 400


@pytest.mark.parametrize("missing", ["obj_id", "classification", "taxonomy_id"])
def test_what_a_classification_needs(site: Site, missing: str) -> None:
    body = site.item(site.source())
    del body[missing]
    status, message = site.refusal("POST", "/api/classification", body=body)
    assert status == 400
    assert missing in message


def test_a_group_named_twice_is_one(site: Site) -> None:
    obj_id = site.source()
    site.classify(obj_id, group_ids=[site.group, site.group])
    assert [group["id"] for group in site.classes(obj_id)[0]["groups"]] == [site.group]


def test_a_group_of_others_is_refused(site: Site, ours: SkyPortalServer) -> None:
    body = site.item(site.source(), group_ids=[site.group, ours.groups["Closed"]])
    status, message = site.refusal("POST", "/api/classification", body=body)
    assert status == 400
    assert "Cannot find one or more groups with IDs" in message


def test_a_batch_gives_ids_in_order(site: Site) -> None:
    obj_id = site.source()
    names = site.tree()[1][:3]
    items = [site.item(obj_id, classification=name) for name in names]
    ids = site.data("POST", "/api/classification", body={"classifications": items})["classification_ids"]
    assert {one["id"]: one["classification"] for one in site.classes(obj_id)} == dict(zip(ids, names, strict=True))


def test_a_batch_aborts_at_the_first_failure_and_keeps_what_came_before(site: Site) -> None:
    obj_id = site.source()
    names = site.tree()[1][:3]
    items = [site.item(obj_id, classification=name) for name in (names[0], "No Such Class", names[2])]
    reply = site.call("POST", "/api/classification", body={"classifications": items})
    assert reply.status_code == 400
    assert reply.json()["data"] == {}, "no ids are returned"
    assert [one["classification"] for one in site.classes(obj_id)] == [names[0]]


def test_the_same_class_can_be_posted_many_times(site: Site) -> None:
    obj_id = site.source()
    ids = [site.classify(obj_id, probability=0.5) for _ in range(3)]
    assert len(set(ids)) == 3
    assert len(site.classes(obj_id)) == 3


def test_an_unknown_source_has_no_classifications(site: Site) -> None:
    assert site.classes(site.new_id()) == []


def test_list_of_classifications(site: Site) -> None:
    obj_id = site.source()
    number = site.classify(obj_id)
    when = next(one["created_at"] for one in site.classes(obj_id))
    query = {"startDate": when, "numPerPage": 500, "includeTaxonomy": True}
    found = site.data("GET", "/api/classification", query=query)
    assert found.keys() == {"classifications", "totalMatches"}
    mine = next(one for one in found["classifications"] if one["id"] == number)
    assert mine["taxonomy"]["id"] == mine["taxonomy_id"]
    assert found["totalMatches"] >= 1


def test_deleting_one_classification(site: Site) -> None:
    obj_id = site.source()
    first, second = (site.classify(obj_id, vote=False, label=False) for _ in range(2))
    assert site.data("DELETE", f"/api/classification/{first}", body={"label": False}) == {}
    assert [one["id"] for one in site.classes(obj_id)] == [second]
    assert site.one(obj_id, includeLabellers=True)["labellers"] == []
    again = (400, f"Cannot find a classification with ID: {first}.")
    assert site.refusal("DELETE", f"/api/classification/{first}", body={}) == again
    site.data("DELETE", f"/api/classification/{second}")
    assert len(site.one(obj_id, includeLabellers=True)["labellers"]) == 1, "a label of the deleter, unless false"


def test_deleting_all_classifications_of_a_source(site: Site) -> None:
    obj_id = site.source()
    path = f"/api/sources/{obj_id}/classifications"
    for _ in range(2):
        site.classify(obj_id, vote=False, label=False)
    assert site.data("DELETE", path, body={"label": False}) == {}
    assert site.classes(obj_id) == []
    assert site.one(obj_id, includeLabellers=True)["labellers"] == []
    assert site.data("DELETE", path, body={}) == {}, "200 even if there are none"


def test_only_own_classifications_are_deleted_unless_by_an_administrator(site: Site, ours: SkyPortalServer) -> None:
    obj_id = site.source()
    site.classify(obj_id)
    theirs = ours.add("classification", obj_id=obj_id, classification="RRc")
    assert site.refusal("DELETE", f"/api/classification/{theirs}", body={})[0] == 400
    assert site.data("DELETE", f"/api/sources/{obj_id}/classifications", body={}) == {}
    assert [one["id"] for one in site.classes(obj_id)] == [theirs]
    site.data("DELETE", f"/api/classification/{theirs}", body={}, **as_user(ours, "admin"))
    assert site.classes(obj_id) == []


def test_classifications_of_other_groups_are_not_seen(site: Site, ours: SkyPortalServer) -> None:
    obj_id = site.source()
    number = ours.add("classification", obj_id=obj_id, classification="RRc", user="stranger", groups=["Closed"])
    assert site.classes(obj_id) == []
    assert site.one(obj_id)["classifications"] == []
    assert site.refusal("GET", f"/api/classification/{number}")[0] == 400


def test_one_vote_a_user_and_the_last_counts(site: Site) -> None:
    obj_id = site.source()
    number = site.classify(obj_id, vote=False, label=False)
    path = f"/api/classification/votes/{number}"
    for vote in (1, -1):
        assert site.data("POST", path, body={"vote": vote}) == {}
        assert [one["vote"] for one in site.classes(obj_id)[0]["votes"]] == [vote]
    assert len(site.one(obj_id, includeLabellers=True)["labellers"]) == 1, "a vote adds a label"
    assert site.data("DELETE", path) == {}
    assert site.classes(obj_id)[0]["votes"] == []
    assert site.refusal("DELETE", path)[0] == 400
    assert site.refusal("POST", path, body={})[0] == 400
    assert site.refusal("POST", "/api/classification/votes/999999999", body={"vote": 1})[0] == 400


def test_votes_of_several_users(site: Site, ours: SkyPortalServer) -> None:
    obj_id = site.source()
    number = ours.add("classification", obj_id=obj_id, classification="RRc", votes={"astronomer": 1, "scope": -1})
    ours.add("vote", classification_id=number, user="admin", vote=1)
    votes = site.classes(obj_id)[0]["votes"]
    assert {vote["voter_id"]: vote["vote"] for vote in votes} == {
        ours.users["astronomer"]: 1,
        ours.users["scope"]: -1,
        ours.users["admin"]: 1,
    }


# ---- 2. Annotations


def test_annotations_are_posted_read_replaced_and_deleted(site: Site) -> None:
    obj_id = site.source()
    path = f"/api/sources/{obj_id}/annotations"
    body = {"origin": "test_origin", "data": {"a": 1, "b": "two"}, "group_ids": [site.group], "unknown": 1}
    number = site.data("POST", path, body=body)["annotation_id"]
    (one,) = site.data("GET", path)
    assert one.keys() >= {"id", "obj_id", "origin", "data", "author_id", "groups", "created_at", "modified"}
    assert (one["id"], one["origin"], one["data"]) == (number, "test_origin", {"a": 1, "b": "two"})
    assert [group["id"] for group in one["groups"]] == [site.group]
    assert site.data("PUT", f"{path}/{number}", body={"data": {"c": 3}}) == {}
    assert site.data("GET", f"{path}/{number}")["data"] == {"c": 3}, "the whole dict is replaced"
    assert site.data("DELETE", f"{path}/{number}") == {}
    assert site.refusal("DELETE", f"{path}/{number}")[0] == 403
    assert site.refusal("GET", f"{path}/{number}")[0] == 403
    assert site.refusal("PUT", f"{path}/{number}", body={"data": {"d": 1}})[0] == 403
    assert site.data("GET", path) == []


def test_annotations_default_to_all_groups_of_the_user(site: Site) -> None:
    obj_id = site.source()
    path = f"/api/sources/{obj_id}/annotations"
    site.data("POST", path, body={"origin": "test_origin", "data": {"a": 1}})
    groups = site.data("GET", "/api/groups", query={"includeSingleUserGroups": True})["user_accessible_groups"]
    found = {group["id"] for group in site.data("GET", path)[0]["groups"]}
    assert found == {group["id"] for group in groups}


def test_an_origin_is_there_once(site: Site) -> None:
    obj_id = site.source()
    path, body = f"/api/sources/{obj_id}/annotations", {"origin": "test_origin", "data": {"a": 1}}
    site.data("POST", path, body=body)
    status, message = site.refusal("POST", path, body=body)
    assert status == 400
    assert message.startswith("Annotation already exists: ")
    site.data("POST", path, body=body | {"origin": "test_origin_2"})


@pytest.mark.parametrize("change", [{"origin": " x"}, {"origin": ""}, {"data": None}, {"data": [1]}, {"data": "x"}])
def test_what_an_annotation_may_not_be(site: Site, change: dict[str, Any]) -> None:
    body = {"origin": "test_origin", "data": {"a": 1}} | change
    assert site.refusal("POST", f"/api/sources/{site.source()}/annotations", body=body)[0] == 400


def test_annotations_of_an_unknown_source(site: Site) -> None:
    unknown = site.new_id()
    path = f"/api/sources/{unknown}/annotations"
    assert site.data("GET", path) == []
    body = {"origin": "test_origin", "data": {"a": 1}}
    assert site.refusal("POST", path, body=body) == (404, f"Obj {unknown} not found")


def test_an_annotation_of_another_source_is_a_400(site: Site) -> None:
    one, other = site.source(), site.source()
    body = {"origin": "test_origin", "data": {"a": 1}, "group_ids": [site.group]}
    number = site.data("POST", f"/api/sources/{one}/annotations", body=body)["annotation_id"]
    for method in ("PUT", "DELETE", "GET"):
        assert site.refusal(method, f"/api/sources/{other}/annotations/{number}", body={"data": {"b": 1}})[0] == 400
    assert site.data("GET", f"/api/sources/{one}/annotations")[0]["data"] == {"a": 1}


def test_annotations_of_others_cannot_be_changed(site: Site, ours: SkyPortalServer) -> None:
    obj_id = site.source()
    number = ours.add("annotation", obj_id=obj_id, origin="theirs", data={"a": 1})
    path = f"/api/sources/{obj_id}/annotations/{number}"
    assert site.data("GET", path)["data"] == {"a": 1}
    assert site.refusal("PUT", path, body={"data": {"b": 1}})[0] == 403
    assert site.refusal("DELETE", path)[0] == 403
    hidden = ours.add("annotation", obj_id=obj_id, origin="hidden", data={"a": 1}, user="stranger", groups=["Closed"])
    assert site.refusal("GET", f"/api/sources/{obj_id}/annotations/{hidden}")[0] == 403


# ---- 2. Comments


def test_comments_with_an_attachment(site: Site) -> None:
    obj_id = site.source()
    path = f"/api/sources/{obj_id}/comments"
    picture = base64.b64encode(b"\x89PNG\r\n").decode()
    body = {"text": "a plot", "attachment": {"body": picture, "name": "plot.png"}, "group_ids": [site.group]}
    number = site.data("POST", path, body=body)["comment_id"]
    (one,) = site.data("GET", path)
    assert one.keys() >= {
        "id",
        "text",
        "obj_id",
        "author_id",
        "author",
        "bot",
        "attachment_name",
        "channel",
        "created_at",
    }
    assert (one["id"], one["text"], one["attachment_name"], one["bot"]) == (number, "a plot", "plot.png", True)
    assert site.data("POST", path, body=body)["comment_id"] == number, "an exact repeat"


def test_comments_default_to_the_public_group(site: Site, ours: SkyPortalServer) -> None:
    obj_id = site.source()
    site.data("POST", f"/api/sources/{obj_id}/comments", body={"text": "hello"})
    assert ours.state()["sources"][obj_id]["comments"][0]["groups"] == ["Sitewide Group"]


def test_the_same_comment_is_there_once(site: Site) -> None:
    obj_id = site.source()
    path, body = f"/api/sources/{obj_id}/comments", {"text": "hello", "group_ids": [site.group]}
    number = site.data("POST", path, body=body)["comment_id"]
    said = site.call("POST", path, body=body).json()
    assert said["data"]["comment_id"] == number
    assert "Same comment already exists." in json.dumps(said)
    assert site.data("POST", path, body=body | {"text": "Hello"})["comment_id"] != number
    assert len(site.data("GET", path)) == 2


def test_what_a_comment_may_not_be(site: Site) -> None:
    path = f"/api/sources/{site.source()}/comments"
    for attachment in ("text", {"body": "AAAA"}, {"name": "a.png"}):
        body = {"text": "x", "attachment": attachment}
        assert site.refusal("POST", path, body=body) == (400, "Malformed comment attachment")
    assert site.refusal("POST", f"/api/sources/{site.new_id()}/comments", body={"text": "x"})[0] == 400


# ---- 2. Groups, instruments, taxonomies


def test_groups(site: Site) -> None:
    found = site.data("GET", "/api/groups")
    assert found.keys() >= {"user_groups", "user_accessible_groups", "all_groups"}
    mine = next(one for one in found["user_groups"] if one["id"] == site.group)
    assert mine.keys() >= {"id", "name", "single_user_group"}
    assert not any(one["single_user_group"] for one in found["user_groups"])
    found = site.data("GET", "/api/groups", query={"includeSingleUserGroups": "true"})
    assert sum(one["single_user_group"] for one in found["user_groups"]) == 1
    assert [one["id"] for one in site.data("GET", "/api/groups", query={"name": mine["name"]})] == [site.group]


def test_groups_of_others_are_not_accessible(site: Site, ours: SkyPortalServer) -> None:
    found = site.data("GET", "/api/groups")
    names = {key: {one["name"] for one in some} for key, some in found.items()}
    assert names["user_groups"] == names["user_accessible_groups"] == {"Sitewide Group", "Variables", "Follow-up"}
    assert names["all_groups"] == names["user_groups"] | {"Closed"}
    names = {one["name"] for one in site.data("GET", "/api/groups", **as_user(ours, "admin"))["user_accessible_groups"]}
    assert "Closed" in names


def test_instruments_by_name(site: Site) -> None:
    (one,) = site.data("GET", "/api/instrument", query={"name": site.instrument})
    assert one["name"] == site.instrument
    assert one.keys() >= {"id", "name", "filters"}
    assert site.data("GET", "/api/instrument", query={"name": "No Such Instrument"}) == []
    assert one["id"] in [other["id"] for other in site.data("GET", "/api/instrument")]


def test_taxonomies(site: Site) -> None:
    found = site.data("GET", "/api/taxonomy")
    assert found
    for one in found:
        assert one.keys() >= {"id", "name", "version", "provenance", "hierarchy", "isLatest", "groups"}
    assert site.data("GET", f"/api/taxonomy/{found[0]['id']}")["name"] == found[0]["name"]
    assert site.refusal("GET", "/api/taxonomy/99999999")[0] == 400


NODE = {"class": "Top", "subclasses": [{"class": "a"}, {"class": "b", "tags": ["x"], "other names": ["c"]}]}
TAXONOMY = {"name": "Test Tree", "version": "1.0.0", "hierarchy": NODE}


def test_posting_a_taxonomy(site: Site, ours: SkyPortalServer) -> None:
    first = site.data("POST", "/api/taxonomy", body=TAXONOMY | {"provenance": "here"})["taxonomy_id"]
    one = site.data("GET", f"/api/taxonomy/{first}")
    assert (one["hierarchy"], one["isLatest"], one["provenance"]) == (NODE, True, "here")
    assert [group["name"] for group in one["groups"]] == ["Sitewide Group"], "the public group alone by default"
    second = site.data("POST", "/api/taxonomy", body=TAXONOMY | {"version": "1.1.0"})["taxonomy_id"]
    latest = {one["id"]: one["isLatest"] for one in site.data("GET", "/api/taxonomy")}
    assert (latest[first], latest[second]) == (False, True)
    old = site.data("POST", "/api/taxonomy", body=TAXONOMY | {"version": "0.9", "isLatest": False})["taxonomy_id"]
    latest = {one["id"]: one["isLatest"] for one in site.data("GET", "/api/taxonomy")}
    assert (latest[second], latest[old]) == (True, False)
    site.classify(site.source(), taxonomy_id=first, classification="b")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Sitewide Taxonomy", "version": "0.1.7"},
        {"hierarchy": {"subclasses": []}},
        {"hierarchy": {"class": "a", "colour": "red"}},
        {"hierarchy": {"class": "a", "subclasses": [{"class": 3}]}},
        {"hierarchy": [{"class": "a"}]},
        {"hierarchy": None},
        {"name": None},
        {"version": None},
        {"group_ids": [10**8]},
        {"classes": []},
    ],
)
def test_what_a_taxonomy_may_not_be(site: Site, ours: SkyPortalServer, change: dict[str, Any]) -> None:
    before = ours.state()
    assert site.refusal("POST", "/api/taxonomy", body=TAXONOMY | change)[0] == 400
    assert ours.state() == before


def test_taxonomies_of_other_groups_cannot_be_used(site: Site, ours: SkyPortalServer) -> None:
    number = ours.add("taxonomy", name="Theirs", version="1", tree=NODE, groups=["Closed"])
    assert number not in [one["id"] for one in site.data("GET", "/api/taxonomy")]
    body = site.item(site.source(), taxonomy_id=number, classification="a")
    assert "Cannot find a taxonomy" in site.refusal("POST", "/api/classification", body=body)[1]


# ---- 3. Photometry


def test_photometry_comes_back(site: Site) -> None:
    obj_id = site.source()
    ids = site.data("PUT", "/api/photometry", body=site.photometry(obj_id, 3, ra=1.0, dec=2.0))
    assert ids.keys() == {"ids"}
    found = site.data("GET", f"/api/sources/{obj_id}/photometry")
    assert [one["mjd"] for one in sorted(found, key=lambda one: ids["ids"].index(one["id"]))] == [
        59000.5,
        59001.5,
        59002.5,
    ]
    one = found[0]
    assert one.keys() >= {
        *("id", "obj_id", "mjd", "mag", "magerr", "limiting_mag", "magsys", "filter", "ra", "dec", "instrument_id"),
        *("instrument_name", "snr", "origin", "altdata", "groups", "created_at"),
    }
    assert (one["origin"], one["instrument_name"], one["magsys"]) == ("None", site.instrument, "ab")
    assert one["snr"] == pytest.approx(2.5 / 2.302585 / 0.1, rel=1e-3)
    assert site.group in [group["id"] for group in one["groups"]]
    both = site.data("GET", f"/api/sources/{obj_id}/photometry", query={"format": "both"})[0]
    assert both.keys() >= {"mag", "flux", "fluxerr", "zp"}
    assert "mag" not in site.data("GET", f"/api/sources/{obj_id}/photometry", query={"format": "flux"})[0]


def test_put_photometry_is_idempotent(site: Site) -> None:
    obj_id = site.source()
    body = site.photometry(obj_id, 3)
    first = site.data("PUT", "/api/photometry", body=body)["ids"]
    assert site.data("PUT", "/api/photometry", body=body)["ids"] == first
    turned = body | {"mjd": body["mjd"][::-1], "mag": body["mag"][::-1]}
    assert site.data("PUT", "/api/photometry", body=turned)["ids"] == first[::-1], "in the order of the rows"
    assert len(site.data("GET", f"/api/sources/{obj_id}/photometry")) == 3


def test_the_filter_is_no_part_of_the_key(site: Site) -> None:
    obj_id = site.source()
    first = site.data("PUT", "/api/photometry", body=site.photometry(obj_id))["ids"]
    assert site.data("PUT", "/api/photometry", body=site.photometry(obj_id, filter="ztfg"))["ids"] == first
    other = site.data("PUT", "/api/photometry", body=site.photometry(obj_id, origin="elsewhere"))["ids"]
    assert set(other).isdisjoint(first), "the origin is"
    assert [one["filter"] for one in site.data("GET", f"/api/sources/{obj_id}/photometry")] == ["ztfr"] * 4


def test_a_repeat_attaches_new_groups(site: Site, ours: SkyPortalServer) -> None:
    obj_id = site.source()
    site.data("PUT", "/api/photometry", body=site.photometry(obj_id, 1))
    site.data("PUT", "/api/photometry", body=site.photometry(obj_id, 1, group_ids=[ours.groups["Follow-up"]]))
    site.data("PUT", "/api/photometry", body=site.photometry(obj_id, 1, group_ids="all"))
    (point,) = ours.state()["sources"][obj_id]["photometry"]
    assert point["groups"] == ["Follow-up", "Sitewide Group", "Variables", "scope"], "and the poster's own group"


def test_posting_the_same_photometry_is_a_400(site: Site) -> None:
    obj_id = site.source()
    body = site.photometry(obj_id)
    site.data("PUT", "/api/photometry", body=body)
    status, message = site.refusal("POST", "/api/photometry", body=body)
    assert status == 400
    assert "Traceback" in message


def test_at_most_10000_rows(site: Site) -> None:
    obj_id = site.source()
    assert site.refusal("PUT", "/api/photometry", body=site.photometry(obj_id, 10_001))[0] == 400
    assert site.data("GET", f"/api/sources/{obj_id}/photometry") == []
    if site.ours is not None:
        assert len(site.data("PUT", "/api/photometry", body=site.photometry(obj_id, 10_000))["ids"]) == 10_000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"obj_id": "no_such_object"}, "Invalid object ID: no_such_object"),
        ({"instrument_id": 10**8}, "Invalid instrument ID: 100000000"),
        ({"filter": "bessellb"}, r"Filter\(s\) \{.*bessellb.*\} is not allowed"),
        ({"mag": [18.0]}, "Unable to coerce passed JSON to a series of packets"),
        ({"mjd": [], "mag": [], "magerr": []}, "Unable to coerce passed JSON to a series of packets"),
        ({"group_ids": [10**8]}, ""),
    ],
)
def test_what_photometry_may_not_be(site: Site, change: dict[str, Any], said: str) -> None:
    obj_id = site.source()
    status, message = site.refusal("PUT", "/api/photometry", body=site.photometry(obj_id) | change)
    assert status == 400
    assert re.match(said, message)
    assert site.data("GET", f"/api/sources/{obj_id}/photometry") == []


# ---- Localizations and events


LONG = {"startDate": "2023-05-01", "endDate": "2023-06-01", "localizationDateobs": "2023-05-02T03:04:05"}


@pytest.fixture
def skies(ours: SkyPortalServer) -> SkyPortalServer:
    """Sources within and around two localizations of one event; dates of detections in May 2023."""
    ours.add(
        "event",
        dateobs="2023-05-02T03:04:05",
        localizations=[("first", [(100.0, 0.0, 5.0, 0.5), (100.0, 0.0, 20.0, 0.9)])],
    )
    ours.add("event", dateobs="2023-05-02T03:04:05", localizations=[("second", [(200.0, 0.0, 5.0, 0.9)])])
    for name, ra, detections in (
        ("inner", 101.0, [60070.0]),
        ("outer", 110.0, [60070.0]),
        ("outside", 130.0, [60070.0]),
        ("before", 100.0, [60000.0, 60070.0]),
        ("after", 100.0, [60070.0, 60200.0]),
        ("unseen", 100.0, []),
        ("second", 200.0, [60070.0]),
    ):
        ours.add("source", obj_id=name, ra=ra, dec=0.0, detections=detections)
    return ours


def test_sources_in_a_localization(site: Site, skies: SkyPortalServer) -> None:
    assert site.listed(**LONG) == ["second"], "the newest localization of that time"
    assert set(site.listed(**LONG, localizationName="first")) == {"inner", "outer"}
    assert site.listed(**LONG, localizationName="first", localizationCumprob=0.5) == ["inner"]
    found = site.listed(**LONG, localizationName="first", requireDetections="false")
    assert set(found) == {"inner", "outer", "before", "after", "unseen"}


def test_dates_alone_ask_for_detections(site: Site, skies: SkyPortalServer) -> None:
    found = site.listed(startDate="2023-05-01", endDate="2023-06-01")
    assert set(found) == {"inner", "outer", "outside", "second"}


def test_unknown_localization_is_a_400(site: Site) -> None:
    query = LONG | {"localizationDateobs": "1999-05-02T03:04:05"}
    assert site.refusal("GET", "/api/sources", query=query) == (
        400,
        "Cannot retrieve sources: Invalid localization query parameters (Localization 1999-05-02 03:04:05 not found)",
    )


@pytest.mark.parametrize(
    "change", [{"startDate": None}, {"endDate": None}, {"endDate": "2023-04-01"}, {"endDate": "2033-07-08"}]
)
def test_a_localization_wants_dates_in_order_and_not_too_far_apart(
    site: Site, skies: SkyPortalServer, change: dict[str, Any]
) -> None:
    assert site.refusal("GET", "/api/sources", query=LONG | change)[0] == 400
    site.listed(**(LONG | {"endDate": "2033-07-07"}))  # 3720 days


def test_events(site: Site, skies: SkyPortalServer) -> None:
    skies.add("event", dateobs="2024-01-01T00:00:00", tags=["GRB"])
    found = site.data("GET", "/api/gcn_event")
    assert found["totalMatches"] == 2
    assert [one["dateobs"] for one in found["events"]] == ["2024-01-01T00:00:00", "2023-05-02T03:04:05"]
    assert [one["localization_name"] for one in found["events"][1]["localizations"]] == ["second", "first"]
    page = site.data("GET", "/api/gcn_event", query={"numPerPage": 1, "pageNumber": 2})
    assert ([one["dateobs"] for one in page["events"]], page["totalMatches"]) == (["2023-05-02T03:04:05"], 2)
    late = site.data("GET", "/api/gcn_event", query={"startDate": "2023-06-01"})
    early = site.data("GET", "/api/gcn_event", query={"endDate": "2023-06-01"})
    part = site.data("GET", "/api/gcn_event", query={"partialdateobs": "2023-05-02T03"})
    assert [len(one["events"]) for one in (late, early, part)] == [1, 1, 1]
    assert late["events"][0]["tags"] == ["GRB"]
    assert site.data("GET", "/api/gcn_event/2024-01-01T00:00:00")["dateobs"] == "2024-01-01T00:00:00"
    assert site.refusal("GET", "/api/gcn_event/2024-01-02T00:00:00") == (404, "GCN event not found")
