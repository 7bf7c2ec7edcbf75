"""Keys asked = keys answered + keys named, whatever a service does; and what is answered is right."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.errors import (
    CredentialError,
    DataError,
    QueryRefusedError,
    QueryTooLargeError,
    ReplyError,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from scope_ml.services.kowalski.asking import NO_ANSWER, Answer, ByKey, Tally, ask_in_pieces, pieces_of
from scope_ml.services.kowalski.replies import data_of

CATALOG = "ZTF_sources_1"

ERRORS = {
    "unavailable": ServiceUnavailableError("status 503"),
    "timeout": ServiceTimeoutError("silent for 300 s"),
    "reply": ReplyError("cut off"),
}


class FakeKowalski:
    """Has documents of some keys; `fault(number, keys)` names what goes wrong with a query."""

    def __init__(self, known, fault=lambda number, keys: ""):
        self.known = set(known)
        self.fault = fault
        self.queries = []
        self._lock = threading.Lock()

    def version(self, catalog):
        return catalog

    def ask(self, query, *, catalog):
        assert catalog == CATALOG
        keys = query["keys"]
        with self._lock:
            number = len(self.queries)
            self.queries.append(keys)
        fault = self.fault(number, keys)
        if isinstance(fault, Exception):
            raise fault
        if fault in ERRORS:
            raise ERRORS[fault]
        found = [] if fault == "empty" else [key for key in reversed(keys) if key in self.known]
        if fault == "short":
            found = found[::2]
        if fault == "foreign":
            found = [*found, -5, *found[:1]]
        body = json.dumps({"status": "success", "data": [{"_id": key, "value": 7 * key} for key in found]}).encode()
        return body[:-4] if fault == "cut" else body


def by_id(body):
    return ((document["_id"], document["value"]) for document in data_of(body))


def run(asks, pieces, **options):
    return list(
        ask_in_pieces(asks, pieces, lambda keys: {"keys": list(keys)}, ByKey(by_id), catalog=CATALOG, **options)
    )


def checked(answers, pieces, known):
    """What every run must fulfil."""
    tally = Tally()
    assert [answer.index for answer in answers] == list(range(len(pieces)))
    for answer, piece in zip(answers, pieces, strict=True):
        assert answer.keys == tuple(piece)
        assert set(answer.found) | set(answer.missing) == set(piece)
        assert len(answer.found) + len(answer.missing) == len(piece)
        assert answer.found == tuple(key for key in piece if key in answer.values)
        assert answer.values == {key: 7 * key for key in answer.found}
        assert list(answer.values) == list(answer.found)
        assert set(answer.found) <= known
        tally.add(answer)
    assert tally.asked == sum(map(len, pieces)) == tally.answered + tally.missing.total()
    return tally


def test_a_clean_run_asks_each_piece_once():
    keys = list(range(100))
    asks = FakeKowalski(keys)
    pieces = list(pieces_of(keys, most=7))
    tally = checked(run(asks, pieces), pieces, set(keys))
    assert tally == Tally(asked=100, answered=100, n_queries=15)
    assert sorted(map(tuple, asks.queries)) == sorted(pieces)


def test_no_pieces_and_an_empty_piece():
    asks = FakeKowalski([1])
    assert run(asks, []) == []
    (answer,) = run(asks, [()])
    assert (answer.keys, answer.found, dict(answer.missing)) == ((), (), {})
    assert asks.queries == []


def test_keys_that_are_not_there_are_named_after_answers_that_agree():
    known = set(range(100)) - {3, 50, 99}
    asks = FakeKowalski(known)
    (answer,) = run(asks, [tuple(range(100))])
    assert answer.missing == dict.fromkeys((3, 50, 99), f"not in {CATALOG}")
    assert asks.queries[1:] == [[3, 50, 99], [3, 50, 99]]
    (answer,) = run(asks, [(3, 4)], not_found="gone")
    assert answer.missing == {3: "gone"}


def test_a_piece_of_which_nothing_is_there_takes_few_queries():
    asks = FakeKowalski([])
    (answer,) = run(asks, [tuple(range(1000))])
    assert set(answer.missing.values()) == {f"not in {CATALOG}"}
    assert len(asks.queries) == 1 + 2 + 40 + 40


@pytest.mark.parametrize("limit", [1, 3, 24, 25, 100, 400])
def test_large_queries_that_are_answered_with_nothing(limit):
    keys = tuple(range(500))
    asks = FakeKowalski(keys, lambda number, asked: "empty" if len(asked) > limit else "")
    answers = run(asks, [keys])
    checked(answers, [keys], set(keys))
    # Below what is asked for at a time in the end, such a service cannot be told from one without the keys.
    assert len(answers[0].found) == (500 if limit >= 25 else 0)


@pytest.mark.parametrize("error", sorted(ERRORS))
def test_keys_that_the_service_stumbles_over_are_found_and_named(error):
    poison = {17, 18, 333}
    asks = FakeKowalski(range(500), lambda number, keys: error if poison & set(keys) else "")
    (answer,) = run(asks, [tuple(range(500))])
    assert set(answer.missing) == poison
    assert set(answer.missing.values()) == {f"{NO_ANSWER}{ERRORS[error]}"}
    assert len(asks.queries) < 70


def test_queries_that_are_too_much_are_asked_in_parts():
    for error in (ServiceTimeoutError("slow"), QueryTooLargeError("large")):
        asks = FakeKowalski(range(500), lambda number, keys, error=error: error if len(keys) > 40 else "")
        (answer,) = run(asks, [tuple(range(500))])
        assert answer.missing == {}
        # Silence has a key asked alone now and then, which is cheap.
        assert len([keys for keys in asks.queries if len(keys) > 1]) <= 34
        assert len(asks.queries) <= 40
    with pytest.raises(QueryTooLargeError):
        run(FakeKowalski([], lambda number, keys: QueryTooLargeError("large")), [(1, 2)])


def test_foreign_and_double_documents_are_left_out_and_counted():
    asks = FakeKowalski(range(10), lambda number, keys: "foreign")
    (answer,) = run(asks, [tuple(range(5))])
    assert answer.values == {key: 7 * key for key in range(5)}
    assert (answer.n_foreign, answer.n_queries) == (2, 1)


@pytest.mark.parametrize("error", [CredentialError("expired"), QueryRefusedError("bad filter")])
@pytest.mark.parametrize("connections", [1, 4])
def test_what_nobody_need_try_again_stops_the_run_with_that_error(error, connections):
    asks = FakeKowalski(range(400), lambda number, keys: error if number >= 9 else "")
    with pytest.raises(type(error), match=str(error)):
        run(asks, list(pieces_of(range(400), most=4)), connections=connections)
    assert len(asks.queries) < 9 + 2 * connections


@pytest.mark.parametrize("connections", [1, 4])
def test_an_outage_stops_the_run_after_few_questions(connections):
    asks = FakeKowalski(range(10_000), lambda number, keys: "unavailable" if number >= 5 else "")
    answers = []
    with pytest.raises(ServiceUnavailableError, match="no answers any more"):
        for answer in ask_in_pieces(
            asks,
            pieces_of(range(10_000), most=100),
            lambda keys: {"keys": list(keys)},
            ByKey(by_id),
            catalog=CATALOG,
            connections=connections,
        ):
            answers.append(answer)  # noqa: PERF402 - those before the error count
    assert [answer.index for answer in answers][:4] == [0, 1, 2, 3]
    assert len(asks.queries) < 5 + 16 * (3 + connections)


@pytest.mark.parametrize(("connections", "most"), [(1, 24), (4, 36)])
def test_a_service_that_says_nothing_is_given_up_early(connections, most):
    asks = FakeKowalski(range(10_000), lambda number, keys: "timeout" if number >= 3 else "")
    with pytest.raises(ServiceUnavailableError, match="no answers any more"):
        run(asks, pieces_of(range(10_000), most=100), connections=connections)
    assert len(asks.queries) <= most


def test_pieces_without_an_answer_here_and_there_are_no_outage():
    asks = FakeKowalski(range(24), lambda number, keys: "" if keys[0] % 3 == 2 else "unavailable")
    answers = run(asks, [(key,) for key in range(24)], connections=1)
    assert sum(len(answer.missing) for answer in answers) == 16


def test_pieces_that_end_with_the_run_tell_why_it_ended():
    refused = threading.Event()

    def fault(number, keys):
        if keys[0] == 1:
            refused.set()
            return CredentialError("expired")
        refused.wait(5)
        time.sleep(0.05)
        return "unavailable"

    with pytest.raises(CredentialError, match="expired"):
        run(FakeKowalski([], fault), [(0,), (1,)], connections=2)


def test_an_outage_of_a_short_run_is_an_error_too():
    asks = FakeKowalski([1], lambda number, keys: "unavailable")
    with pytest.raises(ServiceUnavailableError, match="status 503"):
        run(asks, [(1,)])
    assert len(asks.queries) == 2


def test_an_outage_in_the_middle_of_a_piece_names_the_rest():
    asks = FakeKowalski(range(1000), lambda number, keys: "" if number == 3 else "unavailable")
    (answer,) = run(asks, [tuple(range(1000))])
    assert len(answer.found) == 500
    assert all(reason.startswith(NO_ANSWER) for reason in answer.missing.values())
    assert len(asks.queries) < 30


def test_pieces_are_taken_as_they_are_needed_and_answers_come_in_order():
    taken = []

    def pieces():
        for number in range(50):
            taken.append(number)
            yield (number,)

    def fault(number, keys):
        time.sleep(0.002 if keys[0] % 4 == 0 else 0.0)
        return ""

    answers = ask_in_pieces(
        FakeKowalski(range(50), fault),
        pieces(),
        lambda keys: {"keys": list(keys)},
        ByKey(by_id),
        catalog=CATALOG,
        connections=4,
        ahead=3,
    )
    for number, answer in enumerate(answers):
        assert answer.found == (number,)
        assert len(taken) <= number + 7


def test_closing_ends_the_questions():
    going, before = threading.Event(), set(threading.enumerate())
    asks = FakeKowalski(range(100), lambda number, keys: "" if number < 2 else going.wait(5) and "")
    answers = ask_in_pieces(
        asks, pieces_of(range(100), most=2), lambda keys: {"keys": list(keys)}, ByKey(by_id), catalog=CATALOG
    )
    next(answers)
    answers.close()
    n_queries = len(asks.queries)
    assert n_queries <= 7
    going.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()
    assert len(asks.queries) <= n_queries + 1


def test_threads_never_keep_the_process_alive():
    seen = []
    asks = FakeKowalski([1], lambda number, keys: seen.append(threading.current_thread().daemon) or "")
    run(asks, [(1,)])
    assert seen == [True]


def test_a_key_twice_in_a_piece_is_an_error():
    with pytest.raises(DataError, match="key 4 is asked for twice"):
        run(FakeKowalski([4]), [(4, 5, 4)])


def test_a_fault_of_ours_is_raised_and_not_waited_for():
    def broken(body):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(ask_in_pieces(FakeKowalski([1]), [(1,)], lambda keys: {"keys": [1]}, ByKey(broken), catalog=CATALOG))


def test_keys_that_are_lost_are_never_passed_on():
    whole = dict(index=0, keys=(1, 2), values={})
    Answer(**whole, found=(1,), missing={2: "gone"})
    for found, missing in (((1,), {}), ((1, 2), {2: "gone"}), ((1,), {3: "gone"}), ((1, 1), {})):
        with pytest.raises(DataError, match="keys were lost"):
            Answer(**whole, found=found, missing=missing)


@given(st.lists(st.integers(0, 20), max_size=60), st.integers(1, 10), st.none() | st.integers(1, 40))
def test_pieces_hold_all_keys_in_order(weights, most, most_weight):
    keys = list(range(len(weights)))
    pieces = list(pieces_of(keys, most=most, weights=weights, most_weight=most_weight))
    assert [key for piece in pieces for key in piece] == keys
    for piece in pieces:
        assert 1 <= len(piece) <= most
        assert most_weight is None or len(piece) == 1 or sum(weights[key] for key in piece) <= most_weight
    for piece, after in pairwise(pieces):
        weight = sum(weights[key] for key in (*piece, after[0]))
        assert len(piece) == most or (most_weight is not None and weight > most_weight)


faults = st.sampled_from(["", "", "", "unavailable", "timeout", "reply", "cut", "empty", "short", "foreign"])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 99), max_size=40, unique=True), max_size=6),
    st.sets(st.integers(0, 99)),
    st.lists(faults, max_size=120),
    faults,
    st.integers(1, 4),
)
def test_whatever_happens_nothing_is_lost(pieces, known, script, afterwards, connections):
    asks = FakeKowalski(known, lambda number, keys: script[number] if number < len(script) else afterwards)
    try:
        answers = run(asks, pieces, connections=connections)
    except ServiceUnavailableError:
        return
    checked(answers, pieces, known)


#: Never enough in a row for a key to be believed missing, or for a query to be given up.
passing = st.sampled_from(["unavailable", "timeout", "cut", "empty", "short", "foreign"])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 99), max_size=90, unique=True), max_size=5),
    st.sets(st.integers(0, 99), min_size=20),
    st.lists(passing, max_size=60),
    st.integers(1, 4),
)
def test_faults_that_end_change_no_value(pieces, known, script, connections):
    """Each key meets at most one fault, and one more while it is alone: the others are answered."""
    met = Counter()
    lock = threading.Lock()

    def fault(number, keys):
        with lock:
            if not script or any(met[key] for key in keys) or len(keys) == 1:
                return ""
            met.update(keys)
            return script.pop()

    clean = run(FakeKowalski(known), pieces)
    met.clear()
    asks = FakeKowalski(known, fault)
    answers = run(asks, pieces, connections=connections)
    tally = checked(answers, pieces, known)
    assert [answer.values for answer in answers] == [answer.values for answer in clean]
    assert set(tally.missing) <= {f"not in {CATALOG}"}


def test_errors_of_a_service_are_the_runs_own():
    assert issubclass(ServiceUnavailableError, ServiceError)
    assert not issubclass(QueryTooLargeError, ServiceTimeoutError)
