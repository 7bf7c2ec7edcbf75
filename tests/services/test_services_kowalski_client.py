"""Our client through penquins against a Kowalski that misbehaves: every key answered or named, and the same table."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from scope_ml.core.configuration import build
from scope_ml.errors import (
    ConfigError,
    CredentialError,
    QueryRefusedError,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from scope_ml.services.http import Clock
from scope_ml.services.kowalski.asking import NO_ANSWER, ByKey, Tally, ask_in_pieces, pieces_of
from scope_ml.services.kowalski.client import KowalskiClient
from scope_ml.services.kowalski.replies import data_of, light_curves
from scope_ml.services.kowalski.settings import KowalskiConfig

CATALOG = "soak_sources_20240117"
FIRST_ID = 10_245_090_000_000
N_ALWAYS, N_SOAK, N_POINTS = 1_000, 20_000, 6

#: Pauses take no time, so that a test of faults does not wait for them.
QUICK = Clock(wait=lambda event, seconds: event.is_set())

#: One in ten requests meets one of these.
FAULTS = (
    dict(kind="status", status=503),
    dict(kind="status", status=429, retry_after="1"),
    dict(kind="html", status=500),
    dict(kind="reset"),
    dict(kind="reset_after"),
    dict(kind="cut"),
    dict(kind="cut_json"),
    dict(kind="timeout"),
    dict(kind="hang", seconds=5.0),
    dict(kind="delay", seconds=0.02),
    dict(kind="missing", share=0.3),
    dict(kind="empty"),
    dict(kind="duplicate"),
    dict(kind="foreign"),
)


def documents(n):
    for number in range(n):
        points = [
            {
                "hjd": 2458000.0 + number + 0.25 * at,
                "mag": round(15 + number % 977 / 100, 5),
                "magerr": 0.01,
                "catflags": int(at == 2),
                "programid": 1 + at % 3,
            }
            for at in range(N_POINTS)
        ]
        yield {
            "_id": FIRST_ID + number,
            "ra": 10.0,
            "dec": 5.0,
            "filter": 1 + number % 3,
            "nobs": N_POINTS,
            "data": points,
        }


@pytest.fixture(scope="module")
def filled(kowalski_server):
    kowalski_server.insert(CATALOG, documents(N_ALWAYS))
    yield kowalski_server
    kowalski_server.remove(CATALOG)


@pytest.fixture
def make_client(kowalski, filled):
    made = []

    def make(*, clock=QUICK, instances=None, **changed):
        values = dict(instances=instances or kowalski.instances, cache=None, retries=3, timeout_s=60.0) | changed
        made.append(KowalskiClient(build(KowalskiConfig, values), clock=clock))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(make_client):
    client = make_client()
    client.catalogs()
    return client


def find(ids):
    return {"query_type": "find", "query": {"catalog": CATALOG, "filter": {"_id": {"$in": list(ids)}}}}


def curves_of(body):
    """Id and the points of each light curve, as bytes: equal only if exactly equal."""
    batch = light_curves(body, programids=(1, 3)).chunk.batch
    for curve in batch:
        points = (curve.time, curve.mag, curve.mag_err, curve.flags, curve.programid)
        yield curve.id, b"".join(values.tobytes() for values in points)


def run(asks, ids, *, piece=20, connections=4):
    pieces = list(pieces_of(ids, most=piece))
    answers = list(ask_in_pieces(asks, pieces, find, ByKey(curves_of), catalog=CATALOG, connections=connections))
    tally = Tally()
    for answer in answers:
        tally.add(answer)
    assert [answer.keys for answer in answers] == pieces
    assert tally.asked == len(ids)
    found = {key: points for answer in answers for key, points in answer.values.items()}
    return found, {key: why for answer in answers for key, why in answer.missing.items()}


def test_penquins_opens_the_session_and_the_token_is_checked_at_once(make_client, kowalski):
    client = make_client()
    began = kowalski.n_requests
    assert CATALOG in client.catalogs()["test"]
    asked = kowalski.requests_since(began)
    assert len(asked) == client.n_requests == 2


def test_light_curves_come_as_they_are_stored(client):
    found, missing = run(client, [FIRST_ID + 7, FIRST_ID + 3])
    assert missing == {}
    time_, flags = (np.frombuffer(found[FIRST_ID + 7])[:4], np.frombuffer(found[FIRST_ID + 7], np.int64)[12:])
    assert time_.tolist() == [2458007.0, 2458007.5, 2458007.75, 2458008.25]
    assert flags.tolist() == [0, 1, 0, 0, 1, 3, 1, 3]


@pytest.mark.parametrize(
    "fault",
    [fault for fault in FAULTS if fault["kind"] not in ("hang", "timeout")],
    ids=lambda fault: f"{fault['kind']}{fault.get('status', '')}",
)
def test_a_fault_that_passes_changes_nothing(client, kowalski, fault):
    ids = range(FIRST_ID, FIRST_ID + 60)
    clean, _ = run(client, ids)
    kowalski.faults.add(times=2, **fault)
    found, missing = run(client, ids)
    assert missing == {}
    assert found == clean
    assert list(found) == list(clean)


def test_nan_arrives_as_nan(client, kowalski):
    kowalski.faults.add(kind="nan", times=1)
    batch = light_curves(client.ask(find([FIRST_ID, FIRST_ID + 1]), catalog=CATALOG), programids=(1, 2, 3)).chunk.batch
    assert [int(np.isnan(curve.mag).sum()) for curve in batch] == [1, 1]


def test_replies_that_overtake_each_other_go_to_their_keys(client, kowalski):
    kowalski.faults.add(kind="delay", seconds=0.03)
    ids = range(FIRST_ID, FIRST_ID + 200)
    found, missing = run(client, ids, piece=10)
    assert missing == {}
    assert list(found) == list(ids)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_does_not_pass_is_one_line(client, kowalski, status):
    kowalski.faults.add(kind="html", status=status)
    began = kowalski.n_requests
    with pytest.raises(ServiceUnavailableError, match=f"after 4 tries: status {status}, {status}") as caught:
        client.ask(find([FIRST_ID]), catalog=CATALOG)
    assert kowalski.token not in str(caught.value)
    assert len(kowalski.requests_since(began)) == 4


def test_retry_after_is_waited_for(make_client, kowalski):
    waited = []
    client = make_client(
        clock=replace(QUICK, wait=lambda event, seconds: waited.append(seconds) or False, chance=lambda: 0.5)
    )
    client.catalogs()
    kowalski.faults.add(kind="status", status=429, retry_after="7", times=1)
    client.ask(find([FIRST_ID]), catalog=CATALOG)
    assert waited == [7.5]


def test_silence_ends_in_time(make_client, kowalski):
    client = make_client(timeout_s=0.3, retries=3)
    client.catalogs()
    kowalski.faults.add(kind="hang", seconds=30.0)
    began = time.monotonic()
    with pytest.raises(ServiceTimeoutError, match=r"after 2 tries: silent for 0\.3 s"):
        client.ask(find([FIRST_ID]), catalog=CATALOG)
    assert time.monotonic() - began < 10


def test_a_query_that_takes_too_long_is_asked_in_parts(client, kowalski):
    kowalski.faults.add(kind="timeout", min_ids=6)
    began = kowalski.n_requests
    found, missing = run(client, range(FIRST_ID, FIRST_ID + 20))
    assert (len(found), missing) == (20, {})
    # The database's own time-out is no fault that passes: no repetition. After two of them one id is asked for alone.
    assert len(kowalski.requests_since(began)) == 1 + 2 + 4 + 1


def test_large_queries_that_are_answered_with_nothing(client, kowalski):
    kowalski.faults.add(kind="empty", min_ids=101)
    found, missing = run(client, range(FIRST_ID, FIRST_ID + 600), piece=300)
    assert (len(found), missing) == (600, {})


def test_ids_that_are_not_there_and_documents_that_never_come(client, kowalski):
    unknown = [FIRST_ID - 1, 2**62 + 1]
    hidden = FIRST_ID + 11
    kowalski.faults.add(kind="missing", ids=(hidden,))
    found, missing = run(client, [*range(FIRST_ID, FIRST_ID + 30), *unknown])
    assert missing == dict.fromkeys([hidden, *unknown], f"not in {CATALOG}")
    assert len(found) == 29


def test_a_service_that_goes_down_ends_the_run_and_not_the_patience(make_client, kowalski):
    client = make_client(retries=1)
    client.catalogs()
    kowalski.faults.add(kind="status", status=503, after=5)
    began = kowalski.n_requests
    with pytest.raises(ServiceUnavailableError, match="no answers any more"):
        run(client, range(FIRST_ID, FIRST_ID + 1000), piece=20)
    assert len(kowalski.requests_since(began)) < 300


def test_a_wrong_token(make_client, kowalski, monkeypatch):
    for token in (kowalski.make_token(secret="of somebody else" * 3), "no token at all".replace(" ", "-")):
        monkeypatch.setenv(kowalski.variable, token)
        began = kowalski.n_requests
        with pytest.raises(CredentialError, match=f"instance test .*{kowalski.variable}") as caught:
            make_client().ask(find([FIRST_ID]), catalog=CATALOG)
        assert token not in str(caught.value)
        assert len(kowalski.requests_since(began)) == 1


def test_a_token_that_has_expired_or_expires_in_the_middle(make_client, kowalski, monkeypatch):
    monkeypatch.setenv(kowalski.variable, kowalski.make_token(ends=1_500_000_000.0))
    with pytest.raises(CredentialError, match=f"the token in {kowalski.variable} has expired"):
        make_client().catalogs()
    monkeypatch.setenv(kowalski.variable, kowalski.token)
    client = make_client()
    client.catalogs()
    kowalski.faults.add(kind="expired", after=3)
    with pytest.raises(CredentialError, match="has expired"):
        run(client, range(FIRST_ID, FIRST_ID + 400))


def test_a_password_of_netrc(make_client, kowalski, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    netrc = tmp_path / ".netrc"
    instances = {"test": {"protocol": "http", "host": kowalski.host, "port": kowalski.port, "username": "any"}}
    netrc.write_text(f"machine {kowalski.host} login {kowalski.username} password {kowalski.password}\n")
    netrc.chmod(0o600)
    assert CATALOG in make_client(instances=instances).catalogs()["test"]
    netrc.write_text(f"machine {kowalski.host} login {kowalski.username} password {kowalski.password}-not\n")
    with pytest.raises(CredentialError, match=r"~/\.netrc") as caught:
        make_client(instances=instances).catalogs()
    assert kowalski.password not in str(caught.value)


def test_an_unknown_catalogue_and_a_bad_query(client):
    with pytest.raises(ConfigError, match=f"it has {CATALOG}"):
        client.ask(find([1]), catalog="soak_sources")
    with pytest.raises(QueryRefusedError, match="refuses a query: "):
        client.ask(
            {"query_type": "find", "query": {"catalog": CATALOG, "filter": {"_id": {"$wrong": 1}}}}, catalog=CATALOG
        )


def test_two_instances_share_what_both_have(make_client, kowalski):
    port = kowalski.add_instance(["ZTF_alerts"])
    instances = kowalski.instances | {"other": kowalski.instance_settings(port)}
    client = make_client(instances=instances)
    assert set(client.catalogs()) == {"test", "other"}
    assert client.catalogs()["other"] == ("ZTF_alerts",)
    assert data_of(client.ask(find([FIRST_ID]), catalog=CATALOG))[0]["_id"] == FIRST_ID
    count = {"query_type": "count_documents", "query": {"catalog": "ZTF_alerts", "filter": {}}}
    assert data_of(client.ask(count, catalog="ZTF_alerts")) == kowalski.collections["ZTF_alerts"]


def test_the_version_is_that_of_the_size(make_client, kowalski, tmp_path):
    first = make_client(cache=str(tmp_path)).version(CATALOG)
    began = kowalski.n_requests
    assert make_client(cache=str(tmp_path)).version(CATALOG) == first
    assert kowalski.requests_since(began) == []
    kowalski.insert(CATALOG, [{"_id": 1, "data": []}])
    try:
        assert make_client(cache=str(tmp_path)).version(CATALOG) == first
        assert make_client(cache=str(tmp_path), refresh=True).version(CATALOG) != first
    finally:
        kowalski.remove(CATALOG, [1])


def test_closing_wakes_who_waits(make_client, kowalski):
    client = make_client(clock=None, backoff_s=600.0)
    client.catalogs()
    kowalski.faults.add(kind="status", status=503)
    caught = []

    def ask():
        with pytest.raises(ServiceError, match="not asked any more") as error:
            client.ask(find([FIRST_ID]), catalog=CATALOG)
        caught.append(error)

    began = kowalski.n_requests
    thread = threading.Thread(target=ask)
    thread.start()
    while not kowalski.requests_since(began):
        pass
    client.close()
    thread.join(20)
    assert len(caught) == 1


def soak(make_client, kowalski, n, *, piece):
    ids = range(FIRST_ID, FIRST_ID + n)
    unknown = [FIRST_ID + 10**6 + number for number in range(3)]
    clean, gone = run(make_client(), [*ids, *unknown], piece=piece)
    assert set(gone) == set(unknown)
    for number, fault in enumerate(FAULTS):
        kowalski.faults.add(probability=0.1 / len(FAULTS), seed=number, **fault)
    client = make_client(timeout_s=0.5, retries=4)
    found, missing = run(client, [*ids, *unknown], piece=piece)
    assert set(found) | set(missing) == {*ids, *unknown}
    assert not [why for why in missing.values() if why.startswith(NO_ANSWER)]
    assert found == clean
    assert list(found) == list(clean)
    return client.n_requests


def test_one_in_ten_requests_fails_and_the_table_is_the_same(make_client, kowalski):
    assert soak(make_client, kowalski, N_ALWAYS, piece=14) > 75


@pytest.mark.slow(reason="twenty thousand light curves, and hundreds of faults with their time-outs")
def test_one_in_ten_requests_fails_of_many(make_client, kowalski):
    more = (one for one in documents(N_SOAK) if one["_id"] >= FIRST_ID + N_ALWAYS)
    kowalski.insert(CATALOG, more)
    try:
        assert soak(make_client, kowalski, N_SOAK, piece=20) > 1100
    finally:
        kowalski.remove(CATALOG, list(range(FIRST_ID + N_ALWAYS, FIRST_ID + N_SOAK)))
