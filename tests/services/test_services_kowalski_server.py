"""Kowalski's test server itself: what it is filled with, how it misbehaves, that nobody else reaches it and that it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests
from bson import json_util

from scope_ml.errors import BackendUnavailableError, ConfigError
from scope_ml.testing.kowalski import Fault, KowalskiServer
from scope_ml.testing.kowalski.seeding import point_documents

POINT = [{"hjd": 2458000.5, "mag": 18.25, "magerr": 0.1, "programid": 1, "catflags": 0}]


@pytest.fixture
def ids(kowalski: KowalskiServer):
    """Twenty light curves of a collection of our own, beyond what a float holds."""
    keys = [2**53 + 1 + number for number in range(20)]
    kowalski.insert("mine", point_documents(keys, [10.0 + n for n in range(20)], [20.0] * 20, POINT))
    yield keys
    kowalski.remove("mine")


def find(server: KowalskiServer, ids: list[int], **kwargs: Any) -> requests.Response:
    query = {"catalog": "mine", "filter": {"_id": {"$in": ids}}}
    return post(server, {"query_type": "find", "query": query, "kwargs": kwargs})


def post(server: KowalskiServer, body: dict[str, Any], timeout: float = 30) -> requests.Response:
    return requests.post(
        server.url + "/api/queries", json=body, headers={"Authorization": server.token}, timeout=timeout
    )


def found(reply: requests.Response) -> list[int]:
    return [one["_id"] for one in reply.json()["data"]]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "131.215.1.1", "192.168.0.1", "kowalski.caltech.edu", ""])
def test_it_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(ConfigError, match="listens on loopback only"):
        KowalskiServer(host=host)


def test_a_port_that_is_taken_is_one_line(kowalski: KowalskiServer, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BackendUnavailableError, match=f"did not begin on 127.0.0.1:{kowalski.port}"):
        KowalskiServer(port=kowalski.port)
    (line,) = capfd.readouterr().err.splitlines()
    assert "address already in use" in line


def test_nobody_reaches_it_by_another_address(kowalski: KowalskiServer) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("192.0.2.1", 9))  # sends nothing: says which address of ours would be used
        ours = one.getsockname()[0]
    if ours.startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((ours, kowalski.port), timeout=5)


def test_the_back_door_wants_its_secret(kowalski: KowalskiServer) -> None:
    for headers in ({}, {"X-Control": "guess"}, {"X-Control": kowalski.token}):
        connection = http.client.HTTPConnection(kowalski.host, kowalski._control_port, timeout=10)
        connection.request("POST", "/order/count", b"{}", headers | {"Content-Type": "application/json"})
        assert connection.getresponse().status == 403
        connection.close()


def test_status_and_header(kowalski: KowalskiServer, ids: list[int]) -> None:
    kowalski.faults.add(kind="html", status=429, message="Too Many Requests", retry_after="2", times=1)
    kowalski.faults.add(kind="status", status=401, message="Unauthorized", times=1)
    kowalski.faults.add(kind="expired", times=1)
    kowalski.faults.add(kind="timeout", times=1)
    replies = [find(kowalski, ids) for _ in range(5)]
    assert [reply.status_code for reply in replies] == [429, 401, 400, 400, 200]
    assert replies[0].headers["Retry-After"] == "2"
    assert replies[0].text.startswith("<html>")
    assert replies[1].json() == {"status": "error", "message": "Unauthorized"}
    assert replies[2].json()["message"] == "token has expired"
    assert replies[3].json()["message"].startswith("ExecutionTimeout: ")
    assert found(replies[4]) == ids


def test_broken_connections(kowalski: KowalskiServer, ids: list[int]) -> None:
    kinds = ("reset", "reset_after", "cut", "hang")
    for kind in kinds:
        kowalski.faults.add(kind=kind, times=1, seconds=0.05)
    began = kowalski.n_requests
    errors = []
    for _ in kinds:
        with pytest.raises(requests.RequestException) as error:
            find(kowalski, ids)
        errors.append(type(error.value))
    assert errors[2] is requests.exceptions.ChunkedEncodingError, "a body shorter than it says"
    assert {errors[0], errors[1], errors[3]} == {requests.exceptions.ConnectionError}
    kowalski.faults.add(kind="hang", times=1)
    with pytest.raises(requests.exceptions.ReadTimeout):
        post(kowalski, {"query_type": "count_documents", "query": {"catalog": "mine", "filter": {}}}, timeout=0.2)
    assert found(find(kowalski, ids)) == ids
    records = [one for one in kowalski.requests_since(began) if one["fault"] != "hang"]
    assert [(one["fault"], one["status"]) for one in records] == [
        *(("reset", 0), ("reset_after", 0), ("cut", 0)), ("", 200)
    ]  # fmt: skip


def test_wrong_content(kowalski: KowalskiServer, ids: list[int]) -> None:
    kowalski.faults.add(kind="missing", ids=(ids[3],), times=1)
    kowalski.faults.add(kind="missing", share=0.25, times=1)
    kowalski.faults.add(kind="duplicate", share=0.25, times=1)
    kowalski.faults.add(kind="foreign", times=1)
    kowalski.faults.add(kind="empty", min_ids=20, times=1)
    kowalski.faults.add(kind="cut_json", times=1)
    kowalski.faults.add(kind="nan", times=1)
    assert found(find(kowalski, ids)) == [*ids[:3], *ids[4:]]
    assert len(found(find(kowalski, ids))) == 15
    twice = found(find(kowalski, ids))
    assert (len(twice), set(twice)) == (25, set(ids))
    assert set(found(find(kowalski, ids))) > set(ids)
    # Fewer ids than the fault wants: the next one in line hits.
    cut = find(kowalski, ids[:10])
    assert cut.status_code == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        cut.json()
    assert find(kowalski, ids).json()["data"] == []
    point = find(kowalski, ids[:1]).json()["data"][0]["data"][0]
    assert point == POINT[0] | {"mag": {"$numberDouble": "NaN"}}


def test_faults_of_cones(kowalski: KowalskiServer, ids: list[int]) -> None:
    where = {
        "radec": {f"s{n}": [10.0 + n, 20.0] for n in range(4)},
        "cone_search_radius": 1,
        "cone_search_unit": "arcsec",
    }
    body = {"query_type": "cone_search", "query": {"object_coordinates": where, "catalogs": {"mine": {}}}}
    kowalski.faults.add(kind="missing", ids=("s2",), times=1)
    kowalski.faults.add(kind="foreign", times=1)
    kowalski.faults.add(kind="empty", times=1)
    replies = [post(kowalski, body).json()["data"]["mine"] for _ in range(4)]
    assert list(replies[0]) == ["s0", "s1", "s3"]
    assert set(replies[1]) == {"s0", "s1", "s2", "s3", "nobody_asked"}
    assert replies[2] == {f"s{n}": [] for n in range(4)}
    assert [len(found) for found in replies[3].values()] == [1, 1, 1, 1]


def test_which_requests_a_fault_hits(kowalski: KowalskiServer, ids: list[int]) -> None:
    kowalski.faults.add(kind="status", status=503, after=1, times=2)
    assert [find(kowalski, ids).status_code for _ in range(5)] == [200, 503, 503, 200, 200]
    kowalski.faults.clear()
    kowalski.faults.add(kind="status", query_type="count_documents")
    kowalski.faults.add(kind="status", catalog="another")
    kowalski.faults.add(kind="status", ids=(ids[0],))
    assert find(kowalski, ids[1:]).status_code == 200
    assert find(kowalski, ids).status_code == 500
    assert post(kowalski, {"query_type": "info", "query": {"command": "catalog_names"}}).status_code == 200
    kowalski.faults.clear()
    kowalski.faults.add(kind="status", probability=0.5, seed=3)
    first = [find(kowalski, ids).status_code for _ in range(20)]
    assert 4 < first.count(500) < 16
    kowalski.faults.clear()
    kowalski.faults.add(kind="status", probability=0.5, seed=3)
    assert [find(kowalski, ids).status_code for _ in range(20)] == first
    kowalski.faults.clear()
    kowalski.faults.add(kind="status", path="/", times=1)
    answers = [requests.get(kowalski.url, headers={"Authorization": kowalski.token}, timeout=10) for _ in range(2)]
    assert [reply.status_code for reply in answers] == [500, 200]
    with pytest.raises(ConfigError, match="not known"):
        Fault(kind="nothing")


def test_requests_are_written_down(kowalski: KowalskiServer, ids: list[int]) -> None:
    began = kowalski.n_requests
    find(kowalski, ids, limit=3)
    (record,) = kowalski.requests_since(began)
    assert record["number"] == began
    assert (record["path"], record["query_type"], record["catalogs"]) == ("/api/queries", "find", ["mine"])
    assert (record["n_ids"], record["status"], record["user"]) == (20, 200, "scope")
    assert record["query"]["kwargs"] == {"limit": 3}
    assert kowalski.token not in json_util.dumps(record)


def test_prepared_text_is_sent_as_it_is(kowalski: KowalskiServer) -> None:
    texts = {key: f'{{"_id": {key}, "data": []}}'.encode() for key in (2**53 + 3, 2**53 + 1)}
    assert kowalski.insert_texts("ready", texts) == 2
    query = {"catalog": "ready", "filter": {"_id": {"$in": [2**53 + 3, 2**53 + 1, 5]}, "data.hjd": {"$lte": 1}}}
    began = time.monotonic()
    kowalski.set(delay_s=0.1)
    reply = post(kowalski, {"query_type": "find", "query": query})
    kowalski.set(delay_s=0.0)
    kowalski.remove("ready")
    assert reply.text.endswith(f'"data": [{{"_id": {2**53 + 1}, "data": []}}, {{"_id": {2**53 + 3}, "data": []}}]}}')
    assert time.monotonic() - began >= 0.1


FILTERS = (
    {},
    {"_id": 4}, {"_id": {"$in": [4, 2, 77]}}, {"_id": {"$gte": 3}}, {"_id": {"$in": []}},
    {"number": 1.0}, {"number": {"$gt": 0, "$lt": 3}}, {"number": {"$in": [1, "b"]}}, {"text": "b"}, {"text": {"$gte": "a"}},
    {"list": 2}, {"list": {"$gt": 2}}, {"list.0": 1}, {"inner.value": {"$lte": 5}}, {"inner": {"value": 5}},
    {"points.t": {"$gt": 0, "$lt": 2}}, {"points.t": {"$gte": 7}}, {"points.t": {"$in": [3]}, "number": {"$exists": True}},
    {"missing": {"$exists": False}}, {"number": None}, {"$and": [{"number": 1}, {"text": "a"}]}, {"number": {"$ne": 1}},
    {"$or": [{"number": 2}, {"text": "b"}]}, {"number": {"$not": {"$gt": 1}}}, {"points": {"$size": 2}}, {"yes": True},
)  # fmt: skip

PROJECTIONS = (
    {}, {"_id": 1}, {"_id": 0}, {"number": 1}, {"number": 1, "_id": 0}, {"number": 0}, {"points.t": 1}, {"points.t": 0},
    {"inner.value": 1, "list": 1}, {"text": 0, "_id": 0}, {"inner.nothing": 1}, {"points": {"$slice": 1}},
)  # fmt: skip

DOCUMENTS: tuple[dict[str, Any], ...] = (
    {
        "_id": 1,
        "number": 1,
        "text": "a",
        "list": [1, 2, 3],
        "inner": {"value": 5, "other": 6},
        "points": [{"t": 0}, {"t": 3}],
    },
    {"_id": 2, "number": 2.5, "text": "b", "list": [], "inner": {"value": 7}, "points": [{"t": 1, "u": 2}]},
    {"_id": 3, "number": None, "points": [], "yes": True},
    {"_id": 4, "number": float("nan"), "text": "c", "list": [{"t": 1}, 4], "inner": [{"value": 1}, {"value": 9}]},
    {"_id": 5, "number": "b", "points": [{"t": 7}, {"v": 1}], "missing": 0},
)


def test_memory_and_store_agree(kowalski: KowalskiServer) -> None:
    kowalski.insert("both", DOCUMENTS)
    bodies = [{"catalog": "both", "filter": wanted} for wanted in FILTERS]
    bodies += [{"catalog": "both", "filter": {}, "projection": projection} for projection in PROJECTIONS]
    said: dict[bool, list[Any]] = {}
    for shortcuts in (True, False):
        kowalski.set(shortcuts=shortcuts)
        said[shortcuts] = []
        for body in bodies:
            sorted_too = body["filter"] in ({}, {"text": {"$gte": "a"}}) and "projection" not in body
            for kwargs in ({}, {"sort": [["number", -1], ["_id", 1]], "skip": 1, "limit": 3})[: 1 + sorted_too]:
                given = post(kowalski, {"query_type": "find", "query": body, "kwargs": kwargs}).json()
                if not kwargs:
                    given["data"].sort(key=str)
                said[shortcuts].append((body, kwargs, given))
    kowalski.set(shortcuts=True)
    kowalski.remove("both")
    for memory, stored in zip(said[True], said[False], strict=True):
        assert memory == stored


def test_rows_of_the_survey_are_its_documents(kowalski: KowalskiServer, kowalski_tables: dict[str, Any]) -> None:
    table = kowalski_tables["ZTF_sources"]
    counts = kowalski.collections
    assert counts[kowalski.sources] == table.num_rows
    assert kowalski.ids(kowalski.sources) == table["id"].to_pylist()
    assert all(
        counts[name] == kowalski_tables[name].num_rows for name in ("ZTF_alerts", "Gaia_EDR3", "AllWISE", "PS1_DR1")
    )
    body = {"query_type": "find", "query": {"catalog": kowalski.sources, "filter": {"_id": table["id"][7].as_py()}}}
    (one,) = post(kowalski, body).json()["data"]
    row = table.slice(7, 1).to_pylist()[0]
    assert [point["hjd"] for point in one["data"]] == row["hjd"]
    assert [point["mag"] for point in one["data"]] == pytest.approx(row["mag"], abs=6e-6)
    assert [point["programid"] for point in one["data"]] == row["programid"]
    assert {name: one[name] for name in ("ra", "dec", "nobs", "field")} == {
        k: row[k] for k in ("ra", "dec", "nobs", "field")
    }


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pids: list[int]) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if not any(map(alive, pids)):
            return True
        time.sleep(0.02)
    return False


PARENT = """
import sys, time
from scope_ml.testing.kowalski import KowalskiServer
server = KowalskiServer()
server.insert("c", [{"_id": 1}])
server.set(shortcuts=False)
import requests
body = {"query_type": "count_documents", "query": {"catalog": "c", "filter": {}}}
assert requests.post(server.url + "/api/queries", json=body, headers={"Authorization": server.token}).json()["data"] == 1
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_it_ends_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        children = [int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split()]
        # The query runs on a thread, which is the store's parent.
        for task in Path(f"/proc/{server}/task").iterdir():
            children += [int(pid) for pid in (task / "children").read_text().split()]
        assert children, "the store runs"
        parent.send_signal(signal.SIGKILL)
    assert gone([server, *children])


@pytest.mark.slow(reason="four programs begin one after the other")
def test_a_person_can_start_it(kowalski_tables: dict[str, Any], tmp_path: Path) -> None:
    for name in ("ZTF_sources", "Gaia_EDR3"):
        (tmp_path / name).mkdir()
        pq.write_table(kowalski_tables[name].slice(0, 12), tmp_path / name / "part-00000.parquet")
    words = [sys.executable, "-m", "scope_ml.testing.kowalski", str(tmp_path), "--max-sources", "9"]
    token_file = tmp_path / "token"
    with subprocess.Popen([*words, "--token-file", str(token_file)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(10)]
        assert '"ZTF_sources_20240117": 9' in lines[0]
        assert token_file.read_text() not in "".join(lines)
        assert token_file.stat().st_mode & 0o077 == 0
        url = lines[0].split("listens on ")[1].split(",")[0]
        reply = requests.get(url, headers={"Authorization": token_file.read_text()}, timeout=10)
        assert reply.status_code == 200
        assert "service.kowalski.instances" in "".join(lines)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 0
    done = subprocess.run(
        [*words[:3], str(tmp_path / "nothing")], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert json.dumps("scope simulate").strip('"') in done.stderr
