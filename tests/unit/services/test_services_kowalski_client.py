"""The client against a service of a few scripted answers: what each means, who is asked, and that no secret is told on."""

from __future__ import annotations

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from scope_ml.errors import (
    ConfigError,
    CredentialError,
    QueryRefusedError,
    QueryTooLargeError,
    ReplyError,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from scope_ml.services.http import Clock
from scope_ml.services.kowalski.client import Asks, KowalskiClient
from scope_ml.services.kowalski.replies import data_of
from scope_ml.services.kowalski.settings import KowalskiConfig, KowalskiInstance

SECRET = "sentinel-7f3a"
CATALOGS = ["ZTF_sources_20240117", "ZTF_sources_20230309", "ZTF_alerts", "Gaia_EDR3"]
FIND = {"query_type": "find", "query": {"catalog": "ZTF_alerts", "filter": {}}}
QUICK = Clock(wait=lambda event, seconds: event.is_set())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.asked.append((self.path, sent, self.headers.get("Authorization")))
            is_names = sent.get("query", {}).get("command") == "catalog_names"
            script = server.at_login if is_names or self.path == "/api/auth" else server.script
            answer = script.pop(0) if script else None
        if answer is None:
            data = server.catalogs if is_names else [{"_id": 1}]
            answer = 200, {"status": "success", "message": "", "data": data}
            if self.path == "/api/auth":
                answer = 200, {"status": "success", "token": SECRET}
        status, content = answer
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if 300 <= status < 400:
            self.send_header("Location", "/api/queries")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Say nothing."""


class Service(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, catalogs):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.catalogs, self.script, self.at_login, self.asked = list(catalogs), [], [], []
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def instance(self, **changed):
        values = {"token_env": "TOKEN"} | changed
        return KowalskiInstance(protocol="http", host="127.0.0.1", port=self.server_address[1], **values)

    def queries(self):
        return [sent for path, sent, _ in self.asked if sent.get("query", {}).get("command") != "catalog_names"]


@pytest.fixture
def make_service():
    made = []

    def make(catalogs=CATALOGS):
        made.append(Service(catalogs))
        return made[-1]

    yield make
    for service in made:
        service.shutdown()
        service.server_close()


@pytest.fixture
def service(make_service):
    return make_service()


@pytest.fixture
def make_client():
    made = []

    def make(*services, **changed):
        instances = {
            f"k{n}": one if isinstance(one, KowalskiInstance) else one.instance() for n, one in enumerate(services)
        }
        values = dict(instances=instances, cache=None, retries=2, backoff_s=0.0, timeout_s=5.0) | changed
        made.append(KowalskiClient(KowalskiConfig(**values), clock=QUICK, environment={"TOKEN": f" {SECRET}\n"}))
        return made[-1]

    yield make
    for client in made:
        client.close()


def gone():
    """An instance where nobody listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_address[1]
    return KowalskiInstance(protocol="http", host="127.0.0.1", port=port, token_env="TOKEN")


def test_nothing_is_asked_before_the_first_question(service, make_client):
    client = make_client(service)
    assert isinstance(client, Asks)
    assert SECRET not in repr(client)
    assert (client.n_requests, service.asked) == (0, [])
    assert data_of(client.ask(FIND, catalog="ZTF_alerts")) == [{"_id": 1}]
    assert service.queries() == [FIND | {"kwargs": {"max_time_ms": 300_000}}]
    assert {token for _, _, token in service.asked} == {SECRET}
    n_before = client.n_requests
    assert n_before == len(service.asked)
    client.ask(FIND | {"kwargs": {"max_time_ms": 5, "limit": 1}}, catalog="ZTF_alerts")
    assert service.queries()[-1]["kwargs"] == {"max_time_ms": 5, "limit": 1}
    assert client.n_requests == n_before + 1
    assert client.catalogs() == {"k0": tuple(sorted(CATALOGS))}


def test_no_credentials_stop_before_any_request(service):
    client = KowalskiClient(KowalskiConfig(instances={"k": service.instance()}), environment={})
    with client, pytest.raises(CredentialError, match="export TOKEN="):
        client.ask(FIND, catalog="ZTF_alerts")
    assert service.asked == []


@pytest.mark.parametrize("token", ["two words\nX-Evil: 1", "\u00fcber", "a\x00b"])
def test_a_variable_that_holds_no_token_is_not_sent(service, token):
    config = KowalskiConfig(instances={"k": service.instance()}, cache=None)
    client = KowalskiClient(config, environment={"TOKEN": token})
    with client, pytest.raises(CredentialError, match="TOKEN does not hold a token") as caught:
        client.ask(FIND, catalog="ZTF_alerts")
    assert token not in str(caught.value)
    assert service.asked == []


BAD_TOKENS = {
    "401": (401, {"status": "error", "message": "Unauthorized"}),
    "invalid": (400, {"status": "error", "message": "token is invalid"}),
    "expired": (400, {"status": "error", "message": "token has expired"}),
}


@pytest.mark.parametrize("answer", BAD_TOKENS)
def test_a_wrong_token_is_found_out_at_once(service, make_client, answer):
    client = make_client(service)
    service.at_login = [BAD_TOKENS[answer]]
    for _ in range(2):
        with pytest.raises(CredentialError, match=r"instance k0 .* the token in TOKEN .*export TOKEN=") as caught:
            client.ask(FIND, catalog="ZTF_alerts")
        assert SECRET not in str(caught.value)
    assert ("expired" in str(caught.value)) == (answer == "expired")
    assert len(service.asked) == 1


def test_one_wrong_token_of_two_is_found_out_too(make_service, make_client):
    one, two = make_service(), make_service()
    two.at_login = [BAD_TOKENS["401"]]
    with pytest.raises(CredentialError, match=r"instance k1 .*or unset it to leave the instance out"):
        make_client(one, two).ask(FIND, catalog="ZTF_alerts")
    assert one.queries() == two.queries() == []


@pytest.mark.parametrize("answer", BAD_TOKENS)
def test_a_token_that_ends_in_the_middle(service, make_client, answer):
    client = make_client(service)
    service.script = [None, BAD_TOKENS[answer]]
    client.ask(FIND, catalog="ZTF_alerts")
    with pytest.raises(CredentialError, match=r"k0 .*TOKEN"):
        client.ask(FIND, catalog="ZTF_alerts")
    assert len(service.queries()) == 2


EXECUTION_TIMEOUT = "ExecutionTimeout: Executor error :: operation exceeded time limit, 'codeName': 'MaxTimeMSExpired'"
MEANINGS = [
    (400, "TypeError: bad filter", QueryRefusedError, "refuses a query: TypeError: bad filter"),
    (400, f"ValueError: {SECRET} is wrong", QueryRefusedError, r"ValueError: \.\.\. is wrong"),
    (400, EXECUTION_TIMEOUT, ServiceTimeoutError, "max_time_ms larger"),
    (400, "HTTPRequestEntityTooLarge: 413", QueryTooLargeError, "query_limit smaller"),
    (413, "Request Entity Too Large", QueryTooLargeError, "query_limit smaller"),
    (403, "Forbidden", QueryRefusedError, "refuses a query: Forbidden"),
    (404, "Not Found", QueryRefusedError, "status 404 .*check its protocol, host and port"),
    (301, "Moved", QueryRefusedError, "status 301"),
]


@pytest.mark.parametrize(("status", "message", "kind", "words"), MEANINGS)
def test_what_other_answers_mean(service, make_client, status, message, kind, words):
    client = make_client(service)
    service.script = [(status, {"status": "error", "message": message})]
    with pytest.raises(kind, match=words) as caught:
        client.ask(FIND, catalog="ZTF_alerts")
    assert type(caught.value) is kind
    assert SECRET not in str(caught.value)
    assert len(service.queries()) == 1


PASSING = {
    "503": (503, {"status": "error", "message": "Service Unavailable"}),
    "html": (502, b"<html><title>502 Bad Gateway</title></html>"),
    "html as 200": (200, b"<html><title>please log in</title></html>"),
    "cut": (200, b'{"status": "success", "data": [1, 2'),
    "empty": (200, b""),
    "database": (400, {"status": "error", "message": "AutoReconnect: connection closed"}),
    "echo": (500, f"your token {SECRET}".encode()),
    "echo as 200": (200, f"<html>your token {SECRET}</html>".encode()),
}


@pytest.mark.parametrize("answer", PASSING)
def test_what_passes_is_asked_again(service, make_client, answer):
    client = make_client(service)
    service.script = [PASSING[answer]] * 2
    assert data_of(client.ask(FIND, catalog="ZTF_alerts")) == [{"_id": 1}]
    service.script = [PASSING[answer]] * 3
    with pytest.raises(ServiceUnavailableError, match="after 3 tries") as caught:
        client.ask(FIND, catalog="ZTF_alerts")
    assert SECRET not in str(caught.value)
    assert len(service.queries()) == 6


def test_a_line_may_end_after_the_answer(service, make_client):
    client = make_client(service)
    service.script = [(200, b'\r\n{"status": "success", "data": [{"_id": 2}]}\r\n')]
    assert data_of(client.ask(FIND, catalog="ZTF_alerts")) == [{"_id": 2}]


def test_a_service_that_stumbles_at_login(service, make_client):
    client = make_client(service)
    service.at_login = [PASSING["503"], PASSING["cut"], None, PASSING["503"], PASSING["html as 200"]]
    client.ask(FIND, catalog="ZTF_alerts")
    client = make_client(service)
    service.at_login = [PASSING["echo"]] * 9
    with pytest.raises(ServiceUnavailableError, match="no instance of Kowalski answers") as caught:
        client.ask(FIND, catalog="ZTF_alerts")
    assert SECRET not in str(caught.value)
    service.at_login = []
    client.ask(FIND, catalog="ZTF_alerts")


def test_a_query_larger_than_the_service_takes_is_not_sent(service, make_client):
    client = make_client(service)
    ids = list(range(10**13, 10**13 + 70_000))
    with pytest.raises(QueryTooLargeError, match="query_limit"):
        client.ask(
            {"query_type": "find", "query": {"catalog": "ZTF_alerts", "filter": {"_id": {"$in": ids}}}}, catalog=None
        )
    assert service.asked == []


def test_an_unknown_catalogue_is_one_line_with_what_comes_near(service, make_client):
    client = make_client(service)
    with pytest.raises(ConfigError, match=r"it has ZTF_sources_20240117, ZTF_sources_20230309$") as caught:
        client.ask(FIND, catalog="ZTF_sources")
    assert "ZTF_alerts" in caught.value.choices
    with pytest.raises(ConfigError, match=r"it has ZTF_sources_20240117, ZTF_sources_20230309$"):
        client.ask(FIND, catalog="ztf_sources_20990101")
    with pytest.raises(ConfigError, match="did you mean 'Gaia_EDR3'"):
        client.ask(FIND, catalog="Gaja_EDR3")
    with pytest.raises(ConfigError, match="no catalogue '' among its 4"):
        client.ask(FIND, catalog="")
    assert service.queries() == []


def test_each_catalogue_is_asked_where_it_is(make_service, make_client):
    one, two = make_service(["a", "both"]), make_service(["b", "both"])
    client = make_client(one, two)
    for _ in range(3):
        client.ask(FIND, catalog="a")
        client.ask(FIND, catalog="b")
    assert (len(one.queries()), len(two.queries())) == (3, 3)


def test_the_least_busy_instance_is_asked(make_service, make_client):
    one, two = make_service(["both"]), make_service(["both"])
    client = make_client(one, two, connections=2)
    client.catalogs()
    both = list(client._connections)
    with client._least_busy(both) as first, client._least_busy(both) as second:
        assert {first.name, second.name} == {"k0", "k1"}
    assert [one.n_busy for one in client._connections] == [0, 0]


def test_an_instance_that_goes_down_is_replaced_by_another(make_service, make_client):
    one, two = make_service(["both"]), make_service(["both"])
    client = make_client(one, two)
    one.script = [PASSING["503"]] * 3
    client.ask(FIND, catalog="both")
    assert (len(one.queries()), len(two.queries())) == (3, 1)
    client.ask(FIND, catalog="both")
    assert (len(one.queries()), len(two.queries())) == (3, 2)
    two.script = [PASSING["503"]] * 3
    client.ask(FIND, catalog="both")
    assert len(one.queries()) == 4
    one.script, two.script = [PASSING["503"]] * 3, [PASSING["503"]] * 3
    with pytest.raises(ServiceUnavailableError):
        client.ask(FIND, catalog="both")


def test_an_instance_that_is_down_at_the_start_is_left_out_with_a_warning(service, make_client, caplog):
    client = make_client(gone(), service)
    with caplog.at_level(logging.WARNING):
        client.ask(FIND, catalog="ZTF_alerts")
    assert "instance k0 is left out" in caplog.text
    assert SECRET not in caplog.text
    with pytest.raises(ServiceUnavailableError, match=r"'elsewhere' is not in Kowalski's k1; .*k0: no answer"):
        client.ask(FIND, catalog="elsewhere")
    with pytest.raises(ServiceUnavailableError, match="no instance of Kowalski answers: no answer from http://127"):
        make_client(gone()).ask(FIND, catalog="ZTF_alerts")


def test_a_closed_client_asks_nothing(service, make_client):
    client = make_client(service)
    client.ask(FIND, catalog="ZTF_alerts")
    client.close()
    with pytest.raises(ServiceError, match="closed"):
        client.ask(FIND, catalog="ZTF_alerts")
    assert len(service.queries()) == 1


def test_versions_are_asked_once_and_without_login_from_the_cache(service, make_client, tmp_path):
    service.script = [(200, {"status": "success", "data": 17})]
    first = make_client(service, cache=str(tmp_path))
    version = first.version("ZTF_alerts")
    n_asked = len(service.asked)
    assert make_client(service, cache=str(tmp_path)).version("ZTF_alerts") == version
    with KowalskiClient(KowalskiConfig(cache=str(tmp_path)), environment={}) as nobody:
        assert nobody.version("ZTF_alerts") == version
    assert len(service.asked) == n_asked
    with pytest.raises(ConfigError):
        first.version("ZTF_alert")
    assert SECRET not in (tmp_path / "versions.json").read_text()


@pytest.fixture
def netrc_file(tmp_path, monkeypatch):
    def write(text):
        (tmp_path / ".netrc").write_text(text)
        (tmp_path / ".netrc").chmod(0o600)

    monkeypatch.setenv("HOME", str(tmp_path))
    return write


def test_a_user_name_takes_the_password_of_netrc(service, make_client, netrc_file, capfd):
    netrc_file(f"machine 127.0.0.1 login someone password {SECRET}-pw\n")
    client = make_client(service.instance(username="other", token_env=None))
    client.ask(FIND, catalog="ZTF_alerts")
    path, form, authorization = service.asked[0]
    assert path == "/api/auth"
    assert (form["username"], form["password"]) == ("someone", f"{SECRET}-pw")
    assert set(form) == {"username", "password", "penquins.__version__"}
    assert authorization is None
    assert {token for _, _, token in service.asked[1:]} == {SECRET}
    assert not client.n_requests - len(service.asked)
    assert SECRET not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((401, {"status": "error", "message": "Unauthorized"}), CredentialError, "login and password of ~/.netrc"),
        ((400, {"status": "error", "message": f"{SECRET}-pw is missing"}), QueryRefusedError, r"\.\.\. is missing"),
        ((200, {"status": "error", "message": f"no {SECRET}-pw"}), ServiceUnavailableError, "gives no token"),
        ((200, b"{broken}"), ServiceUnavailableError, "gives no token"),
    ],
)
def test_a_login_that_fails_tells_no_password(service, make_client, netrc_file, capfd, answer, kind, words):
    netrc_file(f"machine 127.0.0.1 login someone password {SECRET}-pw\n")
    service.at_login = [answer]
    with pytest.raises(kind, match=words) as caught:
        make_client(service.instance(username="someone", token_env=None)).ask(FIND, catalog="ZTF_alerts")
    assert SECRET not in str(caught.value)
    assert SECRET not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("machine elsewhere login a password b", r"no password for 127\.0\.0\.1"),
        (f"machine 127.0.0.1 login a passwort {SECRET}", "cannot be read"),
        (None, r"there is no ~/\.netrc"),
    ],
)
def test_a_netrc_without_the_password(service, make_client, netrc_file, content, words):
    if content is not None:
        netrc_file(content)
    with pytest.raises(CredentialError, match=words) as caught:
        make_client(service.instance(username="a", token_env=None)).ask(FIND, catalog="ZTF_alerts")
    assert SECRET not in str(caught.value)
    assert service.asked == []


def test_penquins_words_are_not_passed_on(service, make_client, monkeypatch):
    import penquins

    def refuse(self, name, place, **options):
        raise ValueError(f"Failed to add instance {name}: {place}")

    monkeypatch.setattr(penquins.Kowalski, "add", refuse)
    with pytest.raises(ServiceUnavailableError, match="penquins could not open http://127") as caught:
        make_client(service).ask(FIND, catalog="ZTF_alerts")
    assert SECRET not in str(caught.value)
    assert issubclass(ReplyError, ServiceError)
