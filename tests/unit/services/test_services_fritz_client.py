"""Fritz's client where what answers is not a SkyPortal, or not in its right mind. Against a server of this machine."""

from __future__ import annotations

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from scope_ml.errors import (
    CredentialError,
    DataError,
    NotAllowedError,
    QueryTooLargeError,
    ReplyError,
    ServiceError,
    UnsureError,
)
from scope_ml.services.fritz import client as room
from scope_ml.services.fritz.client import FritzClient
from scope_ml.services.fritz.settings import FritzConfig
from scope_ml.services.http import Clock

TOKEN = "sentinel-7f3a"
KNOWN = (200, {}, json.dumps({"status": "success", "data": {}}))


class Handler(BaseHTTPRequestHandler):
    """Answers with the next of the server's `answers`: status, headers, body; after them as a SkyPortal."""

    protocol_version = "HTTP/1.1"

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, dict(self.headers), body))
        status, headers, text = self.server.answers.pop(0) if self.server.answers else KNOWN
        data = text.replace("ECHO", self.headers.get("Authorization", "")).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

    def log_message(self, *words):
        """Say nothing."""


@pytest.fixture(scope="module")
def running():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()


@pytest.fixture
def server(running):
    running.answers, running.asked = [], []
    return running


@pytest.fixture
def fritz(server):
    with FritzClient(config(server), environment={"FRITZ_TOKEN": TOKEN}) as fritz:
        yield fritz


def config(server, **values):
    return FritzConfig(
        **{"url": server.url, "requests_per_second": 1e4, "burst": 1000, "backoff_s": 0.001, "retries": 3} | values
    )


def page(title="Log in"):
    return f"<!DOCTYPE html><html><head><title>{title}</title></head><body>ECHO</body></html>"


WRONG = [
    (302, {"Location": "https://login.invalid/?next=ECHO"}, ""),
    (301, {"Location": "/elsewhere"}, page("Moved")),
    (200, {"Content-Type": "text/html"}, page()),
    (200, {}, page("ECHO")),
    (200, {}, "[]"),
    (200, {}, '{"sources": []}'),
    (200, {}, '{"status": "success"}'),
    (200, {}, '{"status": "error", "message": "ECHO"}'),
    (404, {}, page("404 Not Found")),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda one: f"{one[0]} {one[2][:12]}")
def test_a_first_answer_of_something_else_is_one_line_and_asked_once(server, fritz, wrong, caplog):
    caplog.set_level(logging.DEBUG)
    for ask in (lambda: fritz.get("/api/sources"), lambda: fritz.change("POST", "/api/sources", {})):
        server.answers, server.asked = [wrong], []
        with pytest.raises(ReplyError, match=r"is service\.fritz\.url right\?$") as caught:
            ask()
        assert [one[:2] for one in server.asked] == [("GET", "/api/groups")]
        assert "\n" not in str(caught.value)
        assert TOKEN not in str(caught.value) + caplog.text


@pytest.mark.parametrize("wrong", WRONG, ids=lambda one: f"{one[0]} {one[2][:12]}")
def test_the_same_for_a_change_is_unsure_and_asked_once(server, fritz, wrong):
    fritz.get("/api/taxonomy")
    server.answers, server.asked = [wrong], []
    with pytest.raises(UnsureError, match="may have been made") as caught:
        fritz.change("POST", "/api/classification", {})
    assert len(server.asked) == 1
    assert TOKEN not in str(caught.value)


def test_a_page_in_place_of_data_in_the_middle_passes(server, fritz):
    fritz.get("/api/taxonomy")
    server.answers = [(200, {}, page("Provisioning")), (405, {}, page("405")), (200, {}, '{"status": "succ'), KNOWN]
    assert fritz.get("/api/taxonomy") == {}
    server.answers = [(200, {}, page("ECHO"))] * 4
    with pytest.raises(ServiceError, match=r"after 4 tries: status 200 and no data of a SkyPortal, token \.\.\.$"):
        fritz.get("/api/taxonomy")


def test_no_redirect_is_followed(server, fritz):
    fritz.get("/api/taxonomy")
    server.answers, server.asked = [(307, {"Location": f"{server.url}/api/other"}, "")], []
    with pytest.raises(ReplyError, match="status 307"):
        fritz.get("/api/sources")
    assert len(server.asked) == 1


def test_what_is_sent(server, fritz, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))
    fritz.get(
        "/api/sources/ZTFJ1+2.5", {"group_ids": "4,3", "includeLabellers": True, "radius": 1 / 3600, "name": None}
    )
    fritz.change("DELETE", "/api/classification/3", {"label": False, "é": 0.1})
    _, get, delete = server.asked
    assert get[1] == "/api/sources/ZTFJ1+2.5?group_ids=4%2C3&includeLabellers=true&radius=0.0002777777777777778"
    assert {one[2]["Authorization"] for one in server.asked} == {f"token {TOKEN}"}
    assert (delete[0], delete[2]["Content-Type"]) == ("DELETE", "application/json")
    assert json.loads(delete[3]) == {"label": False, "é": 0.1}
    assert get[3] == b""
    assert TOKEN not in repr(fritz)


def test_nothing_is_sent_of_a_body_that_the_service_cannot_keep(server, fritz, monkeypatch):
    for wrong in ({"a": np.nan}, {"a": np.int64(3)}, {"a": (1, 2**64)}, {"a": {1, 2}}):
        with pytest.raises(DataError):
            fritz.change("POST", "/api/sources", wrong)
    monkeypatch.setattr(room, "LARGEST_BODY", 100)
    with pytest.raises(QueryTooLargeError, match="more than the 100"):
        fritz.change("POST", "/api/sources", {"a": "x" * 100})
    assert server.asked == []


def test_a_401_in_the_middle_is_a_right_or_the_token(server, fritz):
    no = (401, {}, json.dumps({"status": "error", "message": "HTTP 401: Unauthorized ECHO", "data": {}}))
    fritz.get("/api/taxonomy")
    server.answers, server.asked = [no, KNOWN], []
    with pytest.raises(NotAllowedError, match=r"HTTP 401: Unauthorized token \.\.\.$"):
        fritz.get("/api/sources")
    assert [one[1] for one in server.asked] == ["/api/sources", "/api/groups"]
    server.answers = [no, no]
    with pytest.raises(CredentialError, match=r"token in FRITZ_TOKEN \(HTTP 401: Unauthorized token \.\.\.\)"):
        fritz.change("POST", "/api/sources", {})


def test_a_service_that_is_asked_too_fast_says_when_to_come_back(server):
    waited, now = [], [0.0]

    def wait(stop, seconds):
        waited.append(seconds)
        now[0] += seconds
        return stop.is_set()

    clock = Clock(now=lambda: now[0], chance=lambda: 0.0, wait=wait)
    with FritzClient(
        config(server, requests_per_second=10.0, burst=5), clock=clock, environment={"FRITZ_TOKEN": TOKEN}
    ) as fritz:
        fritz.get("/api/taxonomy")
        server.answers = [(429, {"Retry-After": "3"}, page("429 Too Many Requests"))]
        fritz.change("POST", "/api/sources", {})
        # The pause of this request, then what the slower pace still asks for.
        assert waited == pytest.approx([3.0, 0.2])
        waited.clear()
        fritz.get("/api/taxonomy")
        assert waited == pytest.approx([1 / (5.0 * 1.05)])


def test_an_unencrypted_way_is_warned_of_once(server, caplog, monkeypatch):
    monkeypatch.setattr(room, "LOOPBACK", frozenset())
    with FritzClient(config(server), environment={"FRITZ_TOKEN": TOKEN}) as fritz:
        fritz.get("/api/taxonomy")
        fritz.get("/api/taxonomy")
    assert caplog.text.count("goes to http://127.0.0.1") == 1
    assert TOKEN not in caplog.text


def test_no_more_requests_at_a_time_than_connections(server, monkeypatch):
    busy, most, lock = [0], [0], threading.Lock()
    original = Handler.handle_any

    def counted(self):
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        threading.Event().wait(0.01)
        with lock:
            busy[0] -= 1
        original(self)

    monkeypatch.setattr(Handler, "do_GET", counted)
    with FritzClient(config(server, connections=2), environment={"FRITZ_TOKEN": TOKEN}) as fritz:
        threads = [threading.Thread(target=fritz.get, args=("/api/taxonomy",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert most[0] == 2
    assert len(server.asked) == fritz.n_requests == 9
