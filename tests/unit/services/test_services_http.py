"""Requests that end: in time, after few tries, with one line that holds no secret. Against sockets of this machine."""

from __future__ import annotations

import gzip
import socket
import socketserver
import struct
import threading
from email.utils import formatdate

import pytest
import requests

from scope_ml.errors import (
    ConfigError,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
    UnsureError,
)
from scope_ml.services.http import Clock, Policy, Reply, Request, send
from scope_ml.services.http_text import checked_address, one_line, shown

SECRET = "sentinel-7f3a"
NOW = 1_700_000_000.0


class Script(socketserver.ThreadingTCPServer):
    """Answers each connection with the next of `answers`: bytes, pieces with pauses between, or None for a reset."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.heads = [], []
        self.ended = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """Clients that hang up are what is tested."""


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        head = b"".join(iter(self.rfile.readline, b"\r\n"))
        self.server.heads.append(head.decode())
        answer = self.server.answers.pop(0) if self.server.answers else response(b"ok")
        if answer is None:
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        for part in [answer] if isinstance(answer, bytes) else answer:
            if isinstance(part, bytes):
                self.wfile.write(part)
            else:
                self.server.ended.wait(part)


def response(body, status=200, *headers):
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@pytest.fixture(scope="module")
def running():
    with Script() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.ended.set()
        server.shutdown()


@pytest.fixture
def server(running):
    running.answers.clear()
    running.heads.clear()
    return running


@pytest.fixture
def session():
    with requests.Session() as session:
        session.trust_env = False
        yield session


class Pauses:
    """A clock whose pauses take no time."""

    def __init__(self, chance=0.5):
        self.waited = []
        self.clock = Clock(today=lambda: NOW, chance=lambda: chance, wait=self.wait)

    def wait(self, event, seconds):
        self.waited.append(seconds)
        return event.is_set()


@pytest.fixture
def ask(server, session):
    def ask(policy=None, *, pauses=None, stop=None, path="/a/b", **request):
        pauses = pauses or Pauses()
        request = Request(url=f"{server.url}{path}", **request)
        return send(session, request, policy or Policy(retries=2), clock=pauses.clock, stop=stop)

    return ask


def test_an_answer_comes_back_whole(ask, server):
    server.answers[:] = [response(gzip.compress(b"text"), 200, "Content-Encoding: gzip", "X-Name: v")]
    reply = ask(headers={"Authorization": SECRET}, params={"q": "1"})
    assert (reply.status, reply.body, reply.headers["x-name"], reply.n_tries) == (200, b"text", "v", 1)
    assert "GET /a/b?q=1 " in server.heads[0]
    assert SECRET in server.heads[0]


@pytest.mark.parametrize("status", [204, 301, 400, 401, 404, 413])
def test_other_statuses_are_the_callers_matter(ask, server, status):
    server.answers[:] = [response(b"words", status, "Location: /elsewhere")]
    reply = ask(follow_redirects=False)
    assert reply.status == status
    assert len(server.heads) == 1


FAULTS = {
    "429": response(b"slow down", 429),
    "500": response(b"<html><head><title>500 Oops</title></head><body>x</body></html>", 500),
    "502": response(b"", 502),
    "503": response(b"", 503),
    "504": response(b"", 504),
    "reset": None,
    "closed": b"",
    "cut": response(b"0123456789")[:-3],
    "cut chunk": b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nabc",
    "not gzip": response(b"nothing packed", 200, "Content-Encoding: gzip"),
    "no http": b"\x15\x03\x01\x00\x02\x02\x46",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_passes_is_asked_again(ask, server, fault):
    pauses = Pauses()
    server.answers[:] = [FAULTS[fault], FAULTS[fault], response(b"at last")]
    reply = ask(pauses=pauses)
    assert (reply.body, reply.n_tries) == (b"at last", 3)
    assert pauses.waited == [0.5, 1.0]


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_pass_is_one_line(ask, server, fault):
    server.answers[:] = [FAULTS[fault]] * 3
    with pytest.raises(ServiceUnavailableError) as caught:
        ask(headers={"Authorization": SECRET}, path=f"/a/b?token={SECRET}")
    text = str(caught.value)
    assert f"{server.url}/a/b after 3 tries: " in text
    assert SECRET not in text
    assert SECRET not in repr(caught.value.__cause__)
    assert caught.value.__suppress_context__
    assert "\n" not in text
    assert len(text) < 320
    assert "<" not in text
    assert len(server.heads) == 3


@pytest.mark.parametrize("fault", ["500", "reset"])
def test_what_is_not_safe_is_asked_once(ask, server, fault):
    server.answers[:] = [FAULTS[fault]]
    if fault == "500":
        assert ask(safe_to_repeat=False).status == 500
    else:
        with pytest.raises(ServiceUnavailableError, match="no answer from"):
            ask(safe_to_repeat=False)
    assert len(server.heads) == 1


def test_nobody_there(session):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pauses = Pauses()
    with pytest.raises(ServiceUnavailableError, match="after 3 tries: connection refused"):
        send(session, Request(url=f"http://127.0.0.1:{port}/x"), Policy(retries=2), clock=pauses.clock)
    with pytest.raises(ServiceUnavailableError, match="name"):
        send(session, Request(url="http://no-such-host.invalid/x"), Policy(retries=0), clock=pauses.clock)
    with pytest.raises(ServiceError, match="no address"):
        send(session, Request(url="gopher://127.0.0.1/x"), Policy(retries=2), clock=pauses.clock)


@pytest.mark.parametrize(
    ("said", "waited"),
    [
        ("7", [7.5, 8.0]),
        (formatdate(NOW + 20, usegmt=True), [20.5, 21.0]),
        (formatdate(NOW - 20, usegmt=True), [0.5, 1.0]),
        ("86400", [60.0, 60.0]),
        ("soon", [0.5, 1.0]),
        ("-5", [0.5, 1.0]),
        ("1" * 400, [0.5, 1.0]),
    ],
)
def test_retry_after(ask, server, said, waited):
    pauses = Pauses()
    server.answers[:] = [response(b"", 429, f"Retry-After: {said}")] * 2
    assert ask(pauses=pauses).status == 200
    assert pauses.waited == waited


@pytest.mark.parametrize(("chance", "waited"), [(0.0, [0.0] * 5), (0.999, [1.998, 3.996, 7.992, 9.99, 9.99])])
def test_pauses_grow_by_chance_up_to_a_limit(ask, server, chance, waited):
    pauses = Pauses(chance)
    server.answers[:] = [FAULTS["503"]] * 5
    ask(Policy(retries=5, backoff_s=2.0, longest_s=10.0), pauses=pauses)
    assert pauses.waited == pytest.approx(waited)


def test_silence_is_asked_again_only_once(ask, server):
    server.answers[:] = [[60.0], [60.0], [60.0]]
    with pytest.raises(ServiceTimeoutError, match=r"after 2 tries: silent for 0\.05 s"):
        ask(Policy(retries=4, read_s=0.05))
    assert len(server.heads) == 2


def test_a_body_that_drips_is_given_up(ask, server):
    head = b"HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\n"
    server.answers[:] = [[head, *([b"x", 0.02] * 500)]]
    with pytest.raises(ServiceTimeoutError, match="not complete in time"):
        ask(Policy(retries=0, read_s=5.0, total_s=0.1))


def test_a_reply_that_the_caller_finds_wanting(ask, server):
    server.answers[:] = [response(b"half"), response(b"whole")]

    def fault(reply):
        return None if reply.body == b"whole" else "it broke off"

    assert ask(fault=fault).body == b"whole"
    server.answers[:] = [response(b"half")] * 3
    with pytest.raises(ServiceUnavailableError, match="it broke off"):
        ask(fault=fault)


def test_pauses_and_reading_end_when_told(ask, server):
    stop = threading.Event()
    stop.set()
    with pytest.raises(ServiceError, match="not asked any more"):
        ask(stop=stop)
    assert server.heads == []
    stop.clear()

    class Stopping(Pauses):
        def wait(self, event, seconds):
            event.set()
            return super().wait(event, seconds)

    server.answers[:] = [FAULTS["503"]]
    with pytest.raises(ServiceError, match="not asked any more"):
        ask(stop=stop, pauses=Stopping())
    assert len(server.heads) == 1


def test_the_real_clock_waits_no_longer_than_told():
    event = threading.Event()
    assert Clock().wait(event, 0.001) is False
    event.set()
    assert Clock().wait(event, 3600.0) is True


def test_a_change_is_asked_for_again_only_where_it_cannot_have_begun(ask, server):
    change = {"method": "POST", "data": b"{}", "safe_to_repeat": False, "is_change": True}
    server.answers[:] = [FAULTS["429"], FAULTS["429"], response(b"done")]
    pauses = Pauses(chance=0.0)
    assert ask(pauses=pauses, **change).n_tries == 3
    server.answers[:] = [response(b"", 429, "Retry-After: 7")] * 3
    with pytest.raises(ServiceUnavailableError, match="after 3 tries: status 429"):
        ask(pauses=pauses, **change)
    assert pauses.waited == [0.0, 0.0, 7.0, 7.0]
    for status in (500, 502, 503, 504):
        server.answers[:] = [response(b"words", status)]
        assert ask(**change).status == status
    for broken in (None, response(b"words")[:-2]):
        server.heads.clear()
        server.answers[:] = [FAULTS["429"], broken]
        with pytest.raises(UnsureError, match=r"after 2 tries: .*; the change may have been made"):
            ask(**change)
        assert len(server.heads) == 2
    server.answers[:] = [[0.5]]
    with pytest.raises(UnsureError, match=r"silent for 0\.1 s; the change may"):
        ask(Policy(read_s=0.1), **change)


def test_a_change_that_never_reached_the_service_was_not_made(session):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}/x", "http://no-such-host.invalid/x"):
        for repeat in (False, True):
            pauses = Pauses()
            request = Request(url=url, method="POST", safe_to_repeat=repeat, is_change=True)
            with pytest.raises(ServiceUnavailableError, match="after 3 tries"):
                send(session, request, Policy(retries=2), clock=pauses.clock)
            assert len(pauses.waited) == 2


def test_a_change_that_may_be_repeated_is_unsure_if_any_try_was(ask, server):
    server.answers[:] = [None, FAULTS["429"], FAULTS["429"]]
    with pytest.raises(UnsureError, match="after 3 tries: status 429"):
        ask(method="PUT", is_change=True)
    server.answers[:] = [FAULTS["503"], None, response(b"done")]
    assert ask(method="PUT", is_change=True).n_tries == 3


def test_a_change_that_is_stopped_midway_is_unsure(ask, server):
    stop = threading.Event()
    server.answers[:] = [[b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\na", 0.2, b"b", 0.2]]
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(UnsureError, match="not asked any more"):
        ask(stop=stop, method="POST", safe_to_repeat=False, is_change=True)
    with pytest.raises(ServiceError, match="not asked any more") as caught:
        ask(stop=stop, method="POST", safe_to_repeat=False, is_change=True)
    assert not isinstance(caught.value, UnsureError)


def test_secrets_that_the_service_repeats_are_not_told_on(ask, server):
    server.answers[:] = [response(f"you sent {SECRET}".encode(), 503)] * 3
    with pytest.raises(ServiceUnavailableError, match=r"you sent \.\.\."):
        ask(headers={"Authorization": SECRET}, secrets=(SECRET, ""))


def test_foreign_texts_become_one_line():
    page = b"<!DOCTYPE html>\n<html><head><title>\n 502 Bad\nGateway </title><style>b{}</style></head><body>x</body></html>"
    assert one_line(page) == "502 Bad Gateway"
    assert one_line(b"<p>a\x1b[31m</p><script>evil()</script>b\r\nc") == "a?[31m b c"
    assert one_line(b"") == one_line("<br>") == "an empty body"
    assert one_line("x" * 900) == "x" * 200 + "..."
    assert one_line(b"no: a  <b>&secret here", ("a  <b>&secret",)) == "no: ... here"
    assert one_line(b"\xff\xfe") == "\ufffd\ufffd"


def test_addresses():
    assert shown(f"https://user:{SECRET}@host:1/a?token={SECRET}#x") == "https://host:1/a"
    assert checked_address("https://host:8000/a/", "k") == "https://host:8000/a"
    for wrong in ("host/a", "ftp://host", "https://", "https://host:99999", "https://ho st", ""):
        with pytest.raises(ConfigError, match="k is not an address"):
            checked_address(wrong, "k")
    for wrong in (
        f"https://{SECRET}@host",
        f"https://u:{SECRET}@host/a",
        f"https://host/?t={SECRET}",
        f"https://h/#{SECRET}",
    ):
        with pytest.raises(ConfigError, match="would be written into logs") as caught:
            checked_address(wrong, "k")
        assert SECRET not in str(caught.value)


def test_nothing_of_a_request_is_shown():
    request = Request(url=f"https://u:{SECRET}@h/a?t={SECRET}", headers={"A": SECRET}, json={"a": SECRET})
    assert repr(request) == "Request(GET https://h/a)"
    assert Reply(status=200, headers={}, body=b"").n_tries == 1
