"""SkyPortal's test server itself: how it misbehaves, what tests put into it and read, that tokens stay secret, that it ends."""

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

import pytest
import requests

from scope_ml.errors import BackendUnavailableError, ConfigError
from scope_ml.testing.skyportal import SkyPortalServer

OBJ = "ZTFJ1"


def ask(
    server: SkyPortalServer, method: str, path: str, body: Any = None, *, token: str | None = None, timeout: float = 30
) -> requests.Response:
    headers = {"Authorization": f"token {token or server.token}"}
    return requests.request(method, server.url + path, json=body, headers=headers, timeout=timeout)


def item(server: SkyPortalServer, name: str = "RRab", **more: Any) -> dict[str, Any]:
    number = server.taxonomies["Sitewide Taxonomy"]
    return {"obj_id": OBJ, "classification": name, "taxonomy_id": number, "group_ids": [6]} | more


def post(server: SkyPortalServer, timeout: float = 30, **more: Any) -> requests.Response:
    return ask(server, "POST", "/api/classification", item(server, **more), timeout=timeout)


def stored(server: SkyPortalServer) -> list[str]:
    return [one["classification"] for one in server.state()["sources"][OBJ]["classifications"]]


@pytest.fixture
def server(skyportal: SkyPortalServer) -> SkyPortalServer:
    """The server with one source."""
    skyportal.add("source", obj_id=OBJ, ra=10.0, dec=20.0)
    return skyportal


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "131.215.1.1", "fritz.science", ""])
def test_it_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(ConfigError, match="listens on loopback only"):
        SkyPortalServer(host=host)


def test_nobody_reaches_it_by_another_address(skyportal: SkyPortalServer) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("192.0.2.1", 9))  # sends nothing: says which address of ours would be used
        ours = one.getsockname()[0]
    if ours.startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((ours, skyportal.port), timeout=5)


def test_the_back_door_wants_its_secret(skyportal: SkyPortalServer) -> None:
    for headers in ({}, {"X-Control": "guess"}, {"X-Control": skyportal.token}):
        connection = http.client.HTTPConnection(skyportal.host, skyportal._control_port, timeout=10)
        connection.request("POST", "/orders", b'[["count", {}]]', headers | {"Content-Type": "application/json"})
        assert connection.getresponse().status == 403
        connection.close()


# ---- Faults


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_pages_of_nginx(server: SkyPortalServer, status: int) -> None:
    server.faults.add(kind="html", status=status, retry_after="2", times=1)
    reply = post(server)
    assert (reply.status_code, reply.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert reply.text.startswith("<html>")
    assert reply.headers["Retry-After"] == "2"
    assert stored(server) == []
    assert post(server).status_code == 200


def test_an_error_in_the_envelope(server: SkyPortalServer) -> None:
    server.faults.add(kind="error", times=1)
    server.faults.add(kind="error", status=503, message="Database is away", times=1)
    replies = [post(server) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [500, 503, 200]
    assert replies[1].json() == {"status": "error", "message": "Database is away", "data": {}, "version": "1.4.0"}
    assert len(stored(server)) == 1


def test_a_page_with_status_200(server: SkyPortalServer) -> None:
    server.faults.add(kind="not_json", times=1)
    reply = post(server)
    assert reply.status_code == 200
    with pytest.raises(ValueError, match="Expecting value"):
        reply.json()
    assert stored(server) == []


@pytest.mark.parametrize(("kind", "n_stored"), [("never", 0), ("before", 1)])
def test_a_reset_before_or_after_storing(server: SkyPortalServer, kind: str, n_stored: int) -> None:
    server.faults.add(kind="reset", stored=kind, times=1)
    with pytest.raises(requests.exceptions.ConnectionError):
        post(server)
    assert len(stored(server)) == n_stored


def test_a_cut_body_comes_after_storing(server: SkyPortalServer) -> None:
    server.faults.add(kind="cut", times=1)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        post(server)
    assert len(stored(server)) == 1


@pytest.mark.parametrize(("kind", "n_stored"), [("never", 0), ("before", 1)])
def test_a_hang_with_and_without_storing(server: SkyPortalServer, kind: str, n_stored: int) -> None:
    server.faults.add(kind="hang", stored=kind, times=1)
    with pytest.raises(requests.exceptions.ReadTimeout):
        post(server, timeout=0.1)
    assert len(stored(server)) == n_stored


def test_a_delay_is_answered(server: SkyPortalServer) -> None:
    server.faults.add(kind="delay", seconds=0.05, times=1)
    began = time.monotonic()
    assert post(server).status_code == 200
    assert time.monotonic() - began >= 0.05


def test_stored_and_answered_with_a_504(server: SkyPortalServer) -> None:
    server.faults.add(kind="html", status=504, stored="before", times=1)
    assert post(server).status_code == 504
    assert len(stored(server)) == 1


def test_stored_later_than_the_reply(server: SkyPortalServer) -> None:
    server.faults.add(kind="html", status=504, stored="later", later_s=0.1, times=1)
    began = server.n_requests
    assert post(server).status_code == 504
    assert stored(server) == []
    assert server.requests_since(began)[0]["carried_out"] == "later"
    assert server.settle() == 1
    assert len(stored(server)) == 1
    assert server.settle() == 0
    (record,) = server.requests_since(began)
    assert (record["status"], record["carried_out"]) == (504, "yes")


def test_what_was_put_off_does_not_reach_the_next_test(server: SkyPortalServer) -> None:
    server.faults.add(kind="reset", stored="later", later_s=0.05, times=1)
    with pytest.raises(requests.exceptions.ConnectionError):
        post(server)
    server.reset()
    server.add("source", obj_id=OBJ, ra=10.0, dec=20.0)
    server.settle()
    time.sleep(0.1)
    assert stored(server) == []


@pytest.mark.parametrize("kind", ["reset", "html"])
def test_a_part_of_a_batch(server: SkyPortalServer, kind: str) -> None:
    server.faults.add(kind=kind, status=504, stored="before", n_items=2, times=1)
    body = {"classifications": [item(server, name) for name in ("RRab", "RRc", "RRd")]}
    try:
        assert ask(server, "POST", "/api/classification", body).status_code == 504
    except requests.exceptions.ConnectionError:
        assert kind == "reset"
    assert stored(server) == ["RRab", "RRc"]


def test_a_right_is_lost_in_the_middle(server: SkyPortalServer) -> None:
    server.faults.add(kind="lost_right", right="Classify", after=1, times=1)
    assert [post(server).status_code for _ in range(3)] == [200, 401, 401]
    assert ask(server, "POST", f"/api/sources/{OBJ}/annotations", {"origin": "a", "data": {"b": 1}}).status_code == 200
    server.add("rights", user="scope", rights=["Classify"])
    assert post(server).status_code == 200


def test_a_token_is_lost_in_the_middle(server: SkyPortalServer) -> None:
    server.faults.add(kind="lost_token", after=1, times=1)
    assert [post(server).status_code for _ in range(3)] == [200, 401, 401]
    assert ask(server, "GET", "/api/groups").status_code == 401
    assert ask(server, "GET", "/api/groups", token=server.tokens["astronomer"]).status_code == 200
    server.reset()
    assert ask(server, "GET", "/api/groups").status_code == 200


def test_which_requests_a_fault_hits(server: SkyPortalServer) -> None:
    def statuses(n: int) -> list[int]:
        return [post(server).status_code for _ in range(n)]

    server.faults.add(kind="error", status=503, after=1, times=2)
    assert statuses(5) == [200, 503, 503, 200, 200]
    server.faults.clear()
    server.faults.add(kind="error", method="GET")
    server.faults.add(kind="error", path="annotations$")
    assert statuses(1) == [200]
    assert ask(server, "GET", "/api/groups").status_code == 500
    assert ask(server, "POST", f"/api/sources/{OBJ}/annotations", {}).status_code == 500
    server.faults.clear()
    server.faults.add(kind="error", probability=0.5, seed=3)
    first = statuses(20)
    assert 4 < first.count(500) < 16
    server.faults.clear()
    server.faults.add(kind="error", probability=0.5, seed=3)
    assert statuses(20) == first


def test_the_rate_is_limited_when_asked(server: SkyPortalServer) -> None:
    assert [ask(server, "GET", "/api/sysinfo").status_code for _ in range(13)] == [200] * 13
    server.set_limits(rate=0.5, burst=10)
    replies = [ask(server, "GET", "/api/sysinfo") for _ in range(13)]
    assert [reply.status_code for reply in replies] == [200] * 11 + [429] * 2, "a burst of 10 beside the first"
    assert replies[-1].text.startswith("<html>")
    other = ask(server, "GET", "/api/sysinfo", token=server.tokens["astronomer"])
    assert other.status_code == 200, "counted for each Authorization header"
    server.set_limits(rate=50.0, burst=1)
    statuses = []
    for _ in range(4):
        statuses.append(ask(server, "GET", "/api/sysinfo").status_code)
        time.sleep(0.03)
    assert statuses == [200] * 4


def test_a_large_body_is_refused_with_a_page(server: SkyPortalServer) -> None:
    server.set_limits(body=1000)
    reply = post(server, origin="x" * 1000)
    assert (reply.status_code, reply.text[:6]) == (413, "<html>")
    assert post(server).status_code == 200
    assert len(stored(server)) == 1


# ---- What tests put in and read


def test_reset_begins_anew(server: SkyPortalServer) -> None:
    empty = {**server.state(), "sources": {}}
    post(server)
    token = server.add("user", username="new", groups=["Variables"])["token"]
    server.add("taxonomy", name="T", version="1", tree={"class": "a"})
    server.add("rights", user="scope", rights=[])
    server.set_limits(rate=0.1, burst=0, body=10)
    server.faults.add(kind="error")
    server.reset()
    assert server.state() == empty
    assert "new" not in server.users
    assert ask(server, "GET", "/api/groups", token=token).status_code == 401
    assert post(server).json()["message"].startswith("Error posting classification: Cannot find object")
    server.add("source", obj_id=OBJ, ra=10.0, dec=20.0)
    assert post(server).json()["data"] == {"classification_id": 1}


def test_the_clock_can_be_set(server: SkyPortalServer) -> None:
    server.set_clock("2026-01-01T00:00:00", step_s=0.5)
    for _ in range(3):
        post(server, vote=False, label=False)
    raw = server.state(raw=True)["sources"][OBJ]["classifications"]
    assert [one["created_at"] for one in raw] == [
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00.500000",
        "2026-01-01T00:00:01",
    ]


def test_states_compare_without_order_ids_and_times(server: SkyPortalServer) -> None:
    def fill(names: list[str], *, probability: float) -> dict[str, Any]:
        server.reset()
        server.add("source", obj_id=OBJ, ra=10.0, dec=20.0)
        for name in names:
            assert post(server, name=name, probability=probability).status_code == 200
        server.add("annotation", obj_id=OBJ, origin="a", data={"b": 1})
        server.add("comment", obj_id=OBJ, text="hello")
        server.add("photometry", obj_id=OBJ, mjd=[59000.0])
        return server.state()

    first = fill(["RRab", "Eclipsing"], probability=0.5)
    assert fill(["Eclipsing", "RRab"], probability=0.5) == first
    assert fill(["Eclipsing", "RRab", "Eclipsing"], probability=0.5) != first
    assert fill(["Eclipsing", "RRab"], probability=0.6) != first
    one = first["sources"][OBJ]
    assert one["comments"][0]["text"] == "hello"
    assert one["annotations"] == {"a": {"data": {"b": 1}, "author": "astronomer", "groups": ["Variables"]}}
    assert one["classifications"][0]["classification"] == "Eclipsing"
    assert one["classifications"][0]["votes"] == {"scope": 1}
    assert one["photometry"][0]["filter"] == "ztfr"
    assert not [key for key in keys(first) if key == "id" or key.endswith(("_id", "_at", "modified"))]


def keys(value: Any) -> list[str]:
    """Keys at any depth."""
    if isinstance(value, list):
        return [key for one in value for key in keys(one)]
    return [key for name, one in value.items() for key in (name, *keys(one))] if isinstance(value, dict) else []


def test_what_others_did_is_added(server: SkyPortalServer) -> None:
    server.add("instrument", name="Other", filters=["bessellb"])
    group = server.add("group", name="More", users=["scope"])
    assert server.groups["More"] == group
    assert "Other" in server.instruments
    numbers = server.add_many("classification", [{"obj_id": OBJ, "classification": name} for name in ("RRab", "EA")])
    server.add("classification", obj_id=OBJ, classification="EA", taxonomy=8, created_at="2020-01-01T00:00:00")
    server.add("vote", classification_id=numbers[0], user="admin", vote=-1)
    assert sorted(stored(server)) == ["EA", "EA", "RRab"]
    with pytest.raises(RuntimeError, match="no user nobody"):
        server.add("token", user="nobody")
    with pytest.raises(RuntimeError, match="Cannot find object"):
        server.add("classification", obj_id="nothing", classification="RRab")
    with pytest.raises(RuntimeError, match="no taxonomy"):
        server.add("classification", obj_id=OBJ, classification="No Such Class")


def test_requests_are_written_down(server: SkyPortalServer) -> None:
    began = server.n_requests
    ask(server, "GET", f"/api/sources/{OBJ}?includeLabellers=true")
    ask(server, "GET", "/api/groups", token="wrong")
    post(server, name="No Such Class")
    server.faults.add(kind="reset", times=1)
    with pytest.raises(requests.exceptions.ConnectionError):
        post(server)
    kept = ("number", "method", "path", "query", "user", "status", "fault", "carried_out")
    assert [tuple(one[key] for key in kept) for one in server.requests_since(began)] == [
        (began, "GET", f"/api/sources/{OBJ}", {"includeLabellers": "true"}, "scope", 200, "", "yes"),
        (began + 1, "GET", "/api/groups", {}, "", 401, "", "yes"),
        (began + 2, "POST", "/api/classification", {}, "scope", 400, "", "yes"),
        (began + 3, "POST", "/api/classification", {}, "scope", 0, "reset", "no"),
    ]


def test_no_token_stands_in_records_states_or_words(server: SkyPortalServer) -> None:
    given = server.add("token", user="astronomer")
    tokens = [*server.tokens.values(), given, server._control]
    ask(server, "GET", f"/api/sources/{server.token}?sourceID={server.token}&a={given}")
    ask(server, "GET", "/api/sources", token=given)
    ask(server, "POST", "/api/sources", {"id": "x"})
    said = [
        json.dumps(server.requests),
        json.dumps(server.state()),
        json.dumps(server.state(raw=True)),
        json.dumps(server.config),
        repr(server),
        json.dumps([server.users, server.groups]),
        ask(server, "GET", "/api/groups?includeSingleUserGroups=true").text,
        ask(server, "GET", "/api/sources", token="wrong").text,
        Path(f"/proc/{server.pid}/cmdline").read_text() if Path("/proc").exists() else "",
    ]
    for token in tokens:
        assert not any(token in text for text in said)
    assert "***" in said[0], "it was sent, and hidden"


CHILD = """
import os, sys, requests
url = sys.argv[1]
reply = requests.get(url + "/api/groups", headers={"Authorization": "token " + os.environ["FRITZ_TOKEN"]}, timeout=10)
print(reply.status_code)
"""


def test_programs_that_a_test_starts_can_use_it(skyportal: SkyPortalServer) -> None:
    words = [sys.executable, "-c", CHILD, skyportal.config["url"]]
    assert subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout == "200\n"


# ---- Its end


PARENT = """
import time
from scope_ml.testing.skyportal import SkyPortalServer
server = SkyPortalServer()
print(server.pid, flush=True)
time.sleep(600)
"""


def gone(pid: int) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_it_ends_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    assert gone(pid)


@pytest.mark.slow(reason="two more programs begin one after the other")
def test_a_person_can_start_it(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "scope_ml.testing.skyportal", "--token-file", str(tmp_path / "token")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(9)]
        token = (tmp_path / "token").read_text()
        assert (tmp_path / "token").stat().st_mode & 0o077 == 0
        assert token not in "".join(lines)
        command = next(line for line in lines if line.startswith("curl "))
        found = subprocess.run(
            ["bash", "-c", command],
            env=os.environ | {"FRITZ_TOKEN": token},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert json.loads(found.stdout)["status"] == "success"
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 0
    done = subprocess.run([*words[:3], "--host", "0.0.0.0"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_port_that_is_taken_is_one_line(skyportal: SkyPortalServer, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BackendUnavailableError, match=f"did not begin on 127.0.0.1:{skyportal.port}"):
        SkyPortalServer(port=skyportal.port)
    (line,) = capfd.readouterr().err.splitlines()
    assert "address already in use" in line
