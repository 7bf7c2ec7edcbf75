"""Light curves from a service that is faked in memory: all of them, in one order, each id answered or named."""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.sphere import separation_arcsec
from scope_ml.errors import (
    ConfigError,
    CredentialError,
    DataError,
    OutputError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from scope_ml.io import atomic
from scope_ml.io.selection import Positions, Selection
from scope_ml.io.tables import read_table, write_table
from scope_ml.services.account import Account, Missing
from scope_ml.services.kowalski.light_curves import KowalskiLightCurves
from scope_ml.services.kowalski.settings import KowalskiConfig

CATALOG = "ZTF_sources_20240117"
QUADRANT = Selection(field=296, ccd=1, quad=1)
FIRST = 10_296_000_000_000
ARCSEC = 1 / 3600


def document(number, field=296):
    """One light curve: its band by its number, its points of three programmes."""
    band = 1 + number % 3
    random = np.random.default_rng(number)
    n = int(random.integers(0, 12))
    data = [
        {"hjd": 2459000.0 + at, "mag": 15.0 + number / 100, "magerr": 0.02, "catflags": 0, "programid": 1 + at % 3}
        for at in range(n)
    ]
    place = {"ra": (359.99 + 0.001 * number) % 360.0, "dec": 10.0}
    facts = {"field": field, "ccd": 1, "quad": 1, "filter": band, "nobs": n}
    return {"_id": FIRST + 1_000_000 * band + number, **place, **facts, "data": data}


def matches(value, wanted):
    if not isinstance(wanted, dict):
        return value == wanted
    tests = {
        "$in": lambda a, b: a in b,
        "$gt": lambda a, b: a > b,
        "$gte": lambda a, b: a >= b,
        "$lt": lambda a, b: a < b,
    }
    return all(tests[name](value, bound) for name, bound in wanted.items())


class Service:
    """What answers, what it was asked, and how it goes wrong: `fault(ids)` may raise, or return what to leave out."""

    def __init__(self, n=40, fault=None, size=1):
        self.documents = [document(number) for number in range(n)]
        self.fault, self.size = fault, size
        self.asked, self.lock = [], threading.Lock()

    @property
    def ids(self):
        return sorted(one["_id"] for one in self.documents)

    def version(self, catalog):
        return f"{catalog}{self.size}".encode().hex()

    def ask(self, query, *, catalog):
        assert catalog == CATALOG
        with self.lock:
            self.asked.append(query)
        return json.dumps({"status": "success", "message": "", "data": self.answer(query)}).encode()

    def answer(self, query):
        kind, asked, kwargs = query["query_type"], query["query"], query.get("kwargs", {})
        if kind == "cone_search":
            return {CATALOG: {name: self.near(*place, asked) for name, place in self.places(asked).items()}}
        found = [one for one in self.documents if all(matches(one[key], want) for key, want in asked["filter"].items())]
        if kind == "count_documents":
            return len(found)
        ids = asked["filter"].get("_id", {}).get("$in")
        if ids is None:
            found = sorted(found, key=lambda one: one["_id"])
            return [{key: one[key] for key in one if key != "data"} for one in found[: kwargs["limit"]]]
        left_out = (self.fault(ids) if self.fault else None) or ()
        # In no order, as the service has it.
        return [one for one in sorted(found, key=lambda one: -one["filter"]) if one["_id"] not in left_out]

    def places(self, asked):
        places = asked["object_coordinates"]["radec"]
        if self.fault is not None:
            self.fault(places)
        return places

    def near(self, ra, dec, asked):
        radius = asked["object_coordinates"]["cone_search_radius"]
        wanted = asked["catalogs"][CATALOG]["filter"]
        there = [one for one in self.documents if separation_arcsec(one["ra"], one["dec"], ra, dec) <= radius]
        kept = [one for one in there if all(matches(one[key], want) for key, want in wanted.items())]
        return [{key: one[key] for key in one if key != "data"} for one in kept]

    def ids_asked(self):
        """Return how often each id was asked for."""
        filters = [query["query"]["filter"] for query in self.asked if query["query_type"] == "find"]
        return Counter(one for asked in filters for one in asked.get("_id", {}).get("$in", ()))


@pytest.fixture
def config(tmp_path):
    return KowalskiConfig(cache=str(tmp_path / "cache"), query_limit=7, connections=2)


def opened(service, config, selection=QUADRANT, **given):
    return KowalskiLightCurves(service, CATALOG, selection, config=config, **given)


def read(source):
    """Return what came, comparable: for each chunk the ids, and all points."""
    chunks = list(source.chunks())
    return [(one.rows.to_pylist(), one.batch.time.tolist(), one.batch.mag.tolist()) for one in chunks]


def ids_of(source):
    return [one for chunk in source.chunks() for one in chunk.batch.id.tolist()]


def block_files(tmp_path):
    return sorted((tmp_path / "cache").rglob("block-*.parquet"))


def test_a_quadrant_comes_whole_and_in_order(config):
    service = Service()
    source = opened(service, config)
    assert source.n_rows == 40
    chunks = list(source.chunks())
    assert [len(chunk.batch) for chunk in chunks] == [7, 7, 7, 7, 7, 5]
    assert [one for chunk in chunks for one in chunk.batch.id.tolist()] == service.ids
    by_id = {one["_id"]: one for one in service.documents}
    for chunk in chunks:
        for at, row in enumerate(chunk.rows.to_pylist()):
            expected = by_id[row["id"]]
            assert chunk.batch[at].time.tolist() == [point["hjd"] for point in expected["data"]]
            assert (row["ra"], row["field"], row["band"]) == (expected["ra"], 296, "gri"[expected["filter"] - 1])
    account = source.account()
    assert (account.asked, account.answered, account.missing) == (40, 40, ())
    assert source.unanswered.num_rows == 0


def test_a_second_run_asks_nothing(config, monkeypatch):
    first = read(opened(Service(), config))
    again = Service()
    source = opened(again, config)
    assert read(source) == first
    assert again.asked == []
    assert source.account().warnings == ()
    assert source.digest == opened(Service(), config).digest
    # Nothing is written either: the cache may be on a disk that one may only read.
    monkeypatch.setattr(atomic, "_reserved", None)
    assert read(opened(again, config)) == first


def test_without_a_cache_all_is_asked_again(config, tmp_path):
    config = KowalskiConfig(cache=None, query_limit=7)
    service = Service()
    first = read(opened(service, config))
    assert not list(tmp_path.iterdir())
    n_asked = len(service.asked)
    assert read(opened(service, config)) == first
    assert len(service.asked) == 2 * n_asked


def test_other_sizes_of_queries_use_what_is_kept(config):
    first = ids_of(opened(Service(), config))
    again = Service()
    assert ids_of(opened(again, KowalskiConfig(cache=config.cache, query_limit=3))) == first
    assert again.asked == []


def test_queries_are_cut_by_points(tmp_path):
    service = Service()
    ids_of(opened(service, KowalskiConfig(cache=None, query_points=20)))
    nobs = {one["_id"]: one["nobs"] for one in service.documents}
    asked = [query["query"]["filter"]["_id"]["$in"] for query in service.asked if "$in" in str(query)]
    assert len(asked) > 5
    assert all(sum(nobs[one] for one in ids) <= 20 for ids in asked)


def test_bands_are_chosen_before_anything_is_asked_for(config):
    service = Service()
    source = opened(service, config, bands=("r",))
    assert {row["band"] for chunk in source.chunks() for row in chunk.rows.to_pylist()} == {"r"}
    assert set(service.ids_asked()) == {one["_id"] for one in service.documents if one["filter"] == 2}
    assert source.digest != opened(service, config).digest
    with pytest.raises(ConfigError, match="band z is none of Kowalski's; it has g, r, i"):
        opened(service, config, bands=("z",))


def test_all_of_kowalski_is_refused(config):
    with pytest.raises(ConfigError, match="too many light curves"):
        opened(Service(), config, Selection())


def test_points_of_other_programmes_are_neither_yielded_nor_kept(tmp_path):
    config = KowalskiConfig(cache=str(tmp_path / "cache"), programids=(1, 2), query_limit=7)
    for _ in range(2):
        source = opened(Service(), config)
        chunks = list(source.chunks())
        assert set(np.concatenate([chunk.batch.programid for chunk in chunks]).tolist()) == {1, 2}
        expected = sum(point["programid"] == 3 for one in Service().documents for point in one["data"])
        assert source.account().facts["points_not_allowed"] == expected > 20
    stored = [pa.parquet.read_table(path)["programid"].to_pylist() for path in block_files(tmp_path)]
    assert {one for block in stored for curve in block for one in curve} == {1, 2}
    assert source.digest != opened(Service(), KowalskiConfig(cache=None)).digest


def down_for(*unlucky):
    """Any query that has one of these in it gets no answer."""

    def fault(keys):
        if {*unlucky} & {*keys}:
            raise ServiceTimeoutError("no answer in 300 s")

    return fault


def test_what_the_service_does_not_answer_is_named_and_asked_again(config):
    lost = Service().ids[9]
    service = Service(fault=down_for(lost))
    source = opened(service, config)
    chunks = list(source.chunks())
    assert [one for chunk in chunks for one in chunk.batch.id.tolist()] == [one for one in service.ids if one != lost]
    (row,) = source.unanswered.to_pylist()
    assert row["id"] == lost
    assert row["reason"].startswith("service: ")
    assert row["dec"] == 10.0
    assert source.account().facts == {
        "ids_asked": 40,
        "ids_answered": 39,
        "ids_missing": {row["reason"]: 1},
        "ids_missing_first": [lost],
        "ids_open": 1,
        "points_not_allowed": 0,
    }
    # The next run asks for this one alone, in its block, and what it yields is as if nothing had gone wrong.
    better = Service()
    source = opened(better, config)
    assert read(source) == read(opened(Service(), KowalskiConfig(cache=None, query_limit=7)))
    assert better.ids_asked() == {lost: 1}
    assert (source.account().answered, source.account().warnings) == (40, ())
    assert read(opened(service, config)) == read(source)


def by_ids(service):
    """These light curves, named: whether the catalogue has them it has not said."""
    return Selection(ids=pa.array(service.ids))


def test_what_is_not_there_is_remembered(config):
    gone = [Service().ids[at] for at in (3, 4, 20)]
    service = Service(fault=lambda _: gone)
    source = opened(service, config, by_ids(service))
    assert ids_of(source) == [one for one in service.ids if one not in gone]
    assert source.account().facts["ids_missing"] == {f"not in {CATALOG}": 3}
    assert source.account().facts["ids_open"] == 0
    again = Service()
    source = opened(again, config, by_ids(service))
    assert ids_of(source) == [one for one in service.ids if one not in gone]
    assert again.asked == []
    assert source.unanswered["id"].to_pylist() == gone


@pytest.mark.parametrize("place", [QUADRANT, Selection(positions=Positions(np.array([0.0]), np.array([10.0]), 200.0))])
def test_what_the_catalogue_has_listed_is_never_taken_to_be_not_there(config, place):
    gone = [Service().ids[at] for at in (3, 4, 20)]
    source = opened(Service(fault=lambda _: gone), config, place)
    assert len(ids_of(source)) == 37
    assert [(one.reason.startswith("service: "), one.again) for one in source.account().missing] == 3 * [(True, True)]
    again = Service()
    assert ids_of(opened(again, config, place)) == again.ids
    assert again.ids_asked() == dict.fromkeys(gone, 1)


def test_what_was_not_there_is_asked_for_again_when_refreshed(config):
    gone = [Service().ids[at] for at in (3, 4, 20)]
    refreshed, wanted = replace(config, refresh=True), by_ids(Service())
    ids_of(opened(Service(fault=lambda _: gone), config, wanted))
    one_less = Service(fault=lambda _: gone[1:])
    assert len(ids_of(opened(one_less, refreshed, wanted))) == 38
    assert set(one_less.ids_asked()) == set(gone)
    assert len(ids_of(opened(Service(fault=lambda _: gone), config, wanted))) == 38
    # One that then has no answer is not remembered as gone any more.
    source = opened(Service(fault=down_for(gone[1])), refreshed, wanted)
    assert len(ids_of(source)) == 39
    assert source.account().facts["ids_open"] == 1
    last = Service()
    assert ids_of(opened(last, config, wanted)) == last.ids
    assert last.ids_asked() == {gone[1]: 1}


def test_a_block_that_another_run_has_replaced_meanwhile_is_asked_for_again(config):
    whole = read(opened(Service(), KowalskiConfig(cache=None, query_limit=7)))
    lost = Service().ids[30]
    ids_of(opened(Service(fault=down_for(lost)), config))
    source = opened(Service(), config)
    chunks = source.chunks()
    first = next(chunks)
    # The other one has asked for all, and its last block lacks the light curve that this run believes to be there.
    other = opened(Service(fault=down_for(Service().ids[29], lost)), replace(config, cache=f"{config.cache}-2"))
    ids_of(other)
    other._cache.path(4).replace(source._cache.path(4))
    rest = list(chunks)
    assert [(one.rows.to_pylist(), one.batch.time.tolist(), one.batch.mag.tolist()) for one in (first, *rest)] == whole
    account = source.account()
    assert (account.asked, account.answered, account.missing) == (40, 40, ())


def test_short_and_failing_replies_change_nothing_in_the_end(config):
    seen, lock = Counter(), threading.Lock()

    def shaky(ids):
        with lock:
            seen[tuple(ids)] += 1
            first = seen[tuple(ids)] == 1
        if first and len(ids) > 2:
            if ids[0] % 2:
                raise ServiceUnavailableError("503")
            return ids[1:3]
        return None

    source = opened(Service(fault=shaky), config)
    assert read(source) == read(opened(Service(), KowalskiConfig(cache=None, query_limit=7)))
    assert source.account().missing == ()


@pytest.mark.parametrize("spoil", ["cut", "removed", "emptied", "swapped"])
def test_a_broken_block_is_asked_for_again(config, tmp_path, spoil):
    first = read(opened(Service(), config))
    one, two = block_files(tmp_path)[1:3]
    if spoil == "cut":
        one.write_bytes(one.read_bytes()[:-100])
    elif spoil == "removed":
        one.unlink()
    elif spoil == "emptied":
        one.write_bytes(b"")
    else:
        two.replace(one)
    again = Service()
    source = opened(again, config)
    assert read(source) == first
    expected = {*Service().ids[7:14], *(Service().ids[14:21] if spoil == "swapped" else ())}
    assert again.ids_asked() == dict.fromkeys(expected, 1)
    warnings = source.account().warnings
    assert len(warnings) == (spoil != "removed")
    assert all("block-00001.parquet" in line for line in warnings)
    third = Service()
    assert read(opened(third, config)) == first
    assert third.asked == []


def test_a_block_whose_numbers_were_changed_is_asked_for_again(config, tmp_path):
    """Its ids are all there, so that only the look at the content tells."""
    first = read(opened(Service(), config))
    path = block_files(tmp_path)[0]
    kept = read_table(path)
    table = kept.data.set_column(kept.data.column_names.index("ra"), "ra", pa.array([1.0] * kept.data.num_rows))
    write_table(table, path, kept.metadata)
    again = Service()
    source = opened(again, config)
    assert read(source) == first
    assert set(again.ids_asked()) == set(Service().ids[:7])
    assert "does not hold what its record says" in source.account().warnings[0]


def test_another_version_of_the_catalogue_is_another_cache(config):
    first = opened(Service(), config)
    ids_of(first)
    grown = Service(n=43, size=2)
    source = opened(grown, config)
    assert len(ids_of(source)) == 43
    assert source.digest != first.digest


def test_an_outage_stops_and_what_came_stays(config):
    came = Service().ids[:7]

    def outage(ids):
        if not {*ids} <= {*came}:
            raise ServiceUnavailableError("503")

    source = opened(Service(fault=outage), config)
    with pytest.raises(ServiceUnavailableError, match="gives no answers any more"):
        list(source.chunks())
    again = Service()
    assert len(ids_of(opened(again, config))) == 40
    assert not {*again.ids_asked()} & {*came}


def test_refused_credentials_stop_at_once(config):
    def refused(_):
        raise CredentialError("KOWALSKI_INSTANCE_TOKEN has expired")

    with pytest.raises(CredentialError, match="expired"):
        list(opened(Service(fault=refused), config).chunks())


def test_only_a_few_blocks_are_asked_ahead(config):
    service = Service()
    chunks = opened(service, config).chunks()
    next(chunks)
    chunks.close()
    # Two connections and two answers that wait.
    assert len(service.ids_asked()) <= 5 * 7
    assert "kowalski" not in " ".join(thread.name for thread in threading.enumerate() if not thread.daemon)


def test_ids_are_asked_for_exactly(config):
    service = Service()
    wanted = [service.ids[at] for at in (30, 2, 2, 11)]
    selection = Selection(ids=pa.array([str(one) for one in wanted] + ["ZTF18abc", str(2**64)]))
    source = opened(service, config, selection, bands=("g",))
    assert ids_of(source) == sorted({one for one in wanted if one // 1_000_000 % 10 == 1}) != sorted({*wanted})
    assert source.account().asked == 3
    missing = opened(service, config, Selection(ids=pa.array([2**62 + 1, wanted[0]])))
    assert ids_of(missing) == [wanted[0]]
    assert missing.unanswered.to_pylist() == [{"id": 2**62 + 1, "ra": None, "dec": None, "reason": f"not in {CATALOG}"}]
    shuffled = Selection(ids=pa.array([wanted[0], 2**62 + 1]))
    assert opened(service, config, shuffled).digest == missing.digest


def positions(*places, radius=2.0):
    ra, dec = zip(*places, strict=True)
    return Selection(positions=Positions(np.array(ra), np.array(dec), radius))


def test_positions_find_all_that_lies_there(config):
    service = Service()
    near = positions((360.0, 10.0), (0.005, 10.0 + 2.005 * ARCSEC), (0.011, 10.0 - 1.9 * ARCSEC), (200.0, -89.0))
    source = opened(service, config, near)
    # 360 deg is 0; what is 2.005 arcsec away is not within 2, though the service was asked for a little more.
    expected = [one["_id"] for one in service.documents if round(one["ra"], 4) in (0.0, 0.011)]
    assert ids_of(source) == sorted(expected)
    assert source.account().facts["positions_asked"] == 4
    assert source.account().facts["positions_missing"] == {}
    names = [
        name
        for query in service.asked
        if query["query_type"] == "cone_search"
        for name in service.places(query["query"])
    ]
    assert len(names) == 4
    assert not any("." in name for name in names)
    assert all(ra < 360.0 for ra, _ in service.places(service.asked[0]["query"]).values())
    again = Service()
    turned = positions((200.0, -89.0), (0.011, 10.0 - 1.9 * ARCSEC), (360.0, 10.0), (0.005, 10.0 + 2.005 * ARCSEC))
    assert ids_of(opened(again, config, turned)) == sorted(expected)
    assert again.asked == []


def test_positions_without_an_answer_are_named_and_asked_again(config):
    places = [(round(359.99 + 0.001 * at, 4) % 360.0, 10.0) for at in range(20)]
    complete = ids_of(opened(Service(), KowalskiConfig(cache=None), positions(*places)))
    lost = "p11"
    service = Service(fault=down_for(lost))
    source = opened(service, config, positions(*places))
    assert len(ids_of(source)) == 19
    (row,) = source.unanswered.to_pylist()
    assert row["id"] is None
    assert (row["ra"], row["dec"]) in places
    assert source.account().facts["positions_missing"] == {row["reason"]: 1}
    assert source.account().facts["ids_open"] == 1
    again = Service()
    source = opened(again, config, positions(*reversed(places)))
    assert ids_of(source) == complete
    assert [query["query_type"] for query in again.asked] == ["cone_search", "find"]
    assert list(again.places(again.asked[0]["query"]).values()) == [[row["ra"], row["dec"]]]
    assert sum(again.ids_asked().values()) == 1
    assert source.account().warnings == ()


def test_an_empty_quadrant_is_no_error(config):
    source = opened(Service(), config, Selection(field=999))
    assert ids_of(source) == []
    assert source.account().facts["ids_asked"] == 0
    again = Service()
    assert ids_of(opened(again, config, Selection(field=999))) == []
    assert again.asked == []


def test_a_cache_that_cannot_be_written_is_found_out_before_anything_is_asked(tmp_path):
    (tmp_path / "cache").write_text("a file")
    service = Service()
    with pytest.raises(OutputError, match=r"service\.kowalski\.cache=FOLDER"):
        list(opened(service, KowalskiConfig(cache=str(tmp_path / "cache"))).chunks())
    assert service.asked == []


def test_two_runs_fill_one_cache(config, tmp_path):
    together = threading.Barrier(2)
    first = read(opened(Service(), KowalskiConfig(cache=None, query_limit=7)))
    results = []

    def run():
        together.wait()
        results.append(read(opened(Service(), config)))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [first, first]
    again = Service()
    assert read(opened(again, config)) == first
    assert again.asked == []


def test_an_account_that_does_not_add_up_is_refused():
    one = Missing(id=1, reason="x", again=False)
    assert Account(asked=2, answered=1, missing=(one,)).facts["ids_missing"] == {"x": 1}
    with pytest.raises(DataError, match="ids were lost"):
        Account(asked=2, answered=2, missing=(one,))
