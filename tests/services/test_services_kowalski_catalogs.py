"""Catalogues of Kowalski's test server, through penquins: the same columns as from files, and asked no more than needed."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.configuration import build
from scope_ml.errors import ConfigError, CredentialError, ServiceUnavailableError
from scope_ml.features import circles
from scope_ml.features.crossmatch import CATALOGS, CrossMatch
from scope_ml.features.sky import CatalogTiles, Query
from scope_ml.features.surroundings import CatalogsConfig, SurveyCollections, open_surroundings
from scope_ml.io.catalogs import ParquetCatalogs
from scope_ml.services.kowalski.catalogs import KowalskiCatalogs, open_catalogs
from scope_ml.services.kowalski.client import KowalskiClient
from scope_ml.services.kowalski.settings import KowalskiConfig
from scope_ml.services.waiting import WaitingPool
from scope_ml.testing.kowalski.seeding import coordinates, documents_of

#: Catalogues that a run looks up: three of stars, alerts, and Gaia once more for bright ones.
N_LOOKED_UP = 5


#: A collection of our own in which one of Gaia's stars is bright: there are none among so few.
BRIGHT = "Gaia_bright"


@pytest.fixture(scope="module")
def bright(kowalski_tables, kowalski_server):
    """Gaia's table with one bright star, which is in the server too."""
    gaia = kowalski_tables["Gaia_EDR3"]
    changed = {"phot_g_mean_mag": 8.0, "bp_rp": 1.0}
    for name, value in changed.items():
        column = gaia[name].to_numpy().copy()
        column[5] = value
        gaia = gaia.set_column(gaia.column_names.index(name), name, pa.array(column, from_pandas=True))
    tables = {"ZTF_sources": kowalski_tables["ZTF_sources"].slice(0, 0), "Gaia_EDR3": gaia}
    kowalski_server.insert(BRIGHT, dict(documents_of(tables))["Gaia_EDR3"])
    yield gaia
    kowalski_server.remove(BRIGHT)


@pytest.fixture(scope="module")
def folder(kowalski_tables, bright, tmp_path_factory):
    path = tmp_path_factory.mktemp("catalogues")
    for name in (*CATALOGS, "ZTF_alerts"):
        pq.write_table(kowalski_tables[name], path / f"{name}.parquet")
    pq.write_table(bright, path / f"{BRIGHT}.parquet")
    return path


@pytest.fixture(scope="module")
def places(kowalski_tables, bright):
    """Of all light curves, some moved into the halo of a bright star, and one that is no place."""
    sources = kowalski_tables["ZTF_sources"]
    ra, dec = sources["ra"].to_numpy().copy(), sources["dec"].to_numpy().copy()
    ra[:3], dec[:3] = bright["ra"][5].as_py(), bright["dec"][5].as_py() + np.array([0.0, 0.001, 0.01])
    ra[3] = np.nan
    return ra, dec


@pytest.fixture
def service(kowalski):
    return build(KowalskiConfig, {"instances": kowalski.instances, "cache": None, "retries": 2, "backoff_s": 0.01})


def opened(source=None, path=None):
    return open_surroundings(
        ("alerts", "crossmatch"),
        catalogs=CatalogsConfig(
            path=None if path is None else str(path), kind="folder" if source is None else "kowalski"
        ),
        survey=SurveyCollections(gaia=BRIGHT),
        crossmatch=CrossMatch(),
        bright_star_exclusion="catalog",
        source=source,
    )


def columns(surroundings, ra, dec):
    found = {"near": surroundings.near_bright_star(pa.array(np.arange(len(ra))), ra, dec)}
    found |= surroundings.crossmatch.columns(ra, dec) | surroundings.alerts.columns(ra, dec)
    return pa.table(found)


@pytest.fixture(scope="module")
def expected(folder, places):
    table = columns(opened(path=folder), *places)
    assert table["near"].to_pylist()[:3] == [False, True, True]
    for name in ("Gaia_EDR3___id", "AllWISE___id", "PS1_DR1___id"):
        assert 0 < table[name].null_count < table.num_rows
    assert np.count_nonzero(table["n_ztf_alerts"].to_numpy()) > 20
    # Beyond what a float holds exactly.
    assert max(one for one in table["Gaia_EDR3___id"].to_pylist() if one) > 2**53
    return table


def same(found, expected):
    """Equal in every bit, but NaN."""
    assert found.schema.equals(expected.schema)
    for name in expected.column_names:
        assert found[name].equals(expected[name]) or str(found[name].to_pylist()) == str(expected[name].to_pylist()), (
            name
        )


@pytest.mark.parametrize("few", [0, 50])
def test_columns_are_those_from_files_and_the_second_run_asks_nothing(
    kowalski, service, places, expected, tmp_path, monkeypatch, few
):
    monkeypatch.setattr(circles, "FEW", few)
    if not few:
        # A tile each: some of them will do.
        places, expected = tuple(one[:45] for one in places), expected.slice(0, 45)
    service = replace(service, cache=str(tmp_path))
    began = kowalski.n_requests
    with KowalskiClient(service) as client:
        source = open_catalogs(CatalogsConfig(kind="kowalski"), client, service)
        assert kowalski.n_requests == began
        surroundings = opened(source)
        with surroundings.asked_ahead(lambda place: place, WaitingPool) as ahead:
            for place in ahead([places]):
                same(columns(surroundings, *place), expected)
    asked = [one for one in kowalski.requests_since(began) if one["query_type"] == "cone_search"]
    assert {one["status"] for one in asked} == {200}
    if few:
        assert len(asked) == N_LOOKED_UP
    else:
        assert len(asked) > 5 * N_LOOKED_UP
        assert {one["n_ids"] for one in asked} == {1}
    began = kowalski.n_requests
    with KowalskiClient(service) as client:
        same(columns(opened(KowalskiCatalogs(client, service)), *places), expected)
    assert kowalski.requests_since(began) == []
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert kowalski.token.encode() not in written


@pytest.fixture
def edges(kowalski, tmp_path):
    """A catalogue around the poles and the seam, in a collection with a dot and in files."""
    rng = np.random.default_rng(2)
    centres = np.array([[12.0, 89.9999], [200.0, -90.0], [0.0, 0.0], [359.99999, 55.0], [180.0, 10.0]])
    centre = centres[rng.integers(0, 5, 400)]
    dec = centre[:, 1] + rng.uniform(-1, 1, 400) * 0.005
    dec = np.where(np.abs(dec) > 90, np.sign(dec) * 180 - dec, dec)
    wide = np.minimum(180.0, 0.005 / np.maximum(np.cos(np.radians(dec)), 1e-9))
    ra = (centre[:, 0] + rng.uniform(-1, 1, 400) * wide) % 360
    ra[:3] = 0.0, 360.0, 180.0
    ids = [str(2**62 + k) for k in range(400)]
    name = "my.stars_2.0"
    kowalski.insert(
        name,
        [
            {"_id": key, "ra": float(x), "dec": float(y), "coordinates": coordinates(float(x), float(y))}
            for key, x, y in zip(ids, ra, dec, strict=True)
        ],
    )
    pq.write_table(pa.table({"_id": ids, "ra": ra, "dec": dec}), tmp_path / f"{name}.parquet")
    yield name, ParquetCatalogs(tmp_path), ra, dec
    kowalski.remove(name)


@pytest.mark.parametrize("shortcuts", [True, pytest.param(False, marks=pytest.mark.slow(reason="the store is slow"))])
def test_poles_and_the_seam(kowalski, service, edges, monkeypatch, shortcuts):
    name, files, ra, dec = edges
    kowalski.set(shortcuts=shortcuts)
    rng = np.random.default_rng(3)
    n = 120 if shortcuts else 20
    row = rng.integers(0, 400, n)
    around = ra[row] + rng.choice([0.0, 0.001, -360.0], n), np.clip(dec[row] + rng.choice([0.0, 0.001], n), -90, 90)
    query = Query(catalog=name, margin_arcsec=30.0, ids="text")
    try:
        with KowalskiClient(service) as client:
            source = KowalskiCatalogs(client, service)
            expected = CatalogTiles(files, query).within(*around, 30.0)
            assert expected.position.size > n
            for few in (0, 9, 50):
                monkeypatch.setattr(circles, "FEW", few)
                found = CatalogTiles(source, query).within(*around, 30.0)
                assert found.position.tolist() == expected.position.tolist()
                assert found.separation.tolist() == expected.separation.tolist()
                assert found.rows.equals(expected.rows)
    finally:
        kowalski.set(shortcuts=True)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503, "times": 3},
        {"kind": "status", "status": 429, "retry_after": "0", "times": 3},
        {"kind": "cut", "times": 3},
        {"kind": "cut_json", "times": 2},
        {"kind": "reset_after", "times": 3},
        {"kind": "html", "status": 502, "times": 2},
        {"kind": "timeout", "min_ids": 30},
        {"kind": "delay", "seconds": 0.05},
    ],
    ids=lambda fault: f"{fault['kind']}-{fault.get('status', '')}",
)
def test_faults_that_pass(kowalski, service, places, expected, fault):
    kowalski.faults.add(query_type="cone_search", **fault)
    with KowalskiClient(service) as client:
        surroundings = opened(KowalskiCatalogs(client, service))
        with surroundings.asked_ahead(lambda place: place, WaitingPool) as ahead:
            for place in ahead([places]):
                same(columns(surroundings, *place), expected)


def test_a_tile_that_takes_too_long_is_asked_in_pieces(kowalski, service, places, expected, monkeypatch):
    monkeypatch.setattr(circles, "FEW", 0)
    kowalski.faults.add(kind="timeout", query_type="cone_search", times=4)
    ra, dec = (one[:20] for one in places)
    began = kowalski.n_requests
    with KowalskiClient(service) as client:
        found = columns(opened(KowalskiCatalogs(client, service)), ra, dec)
    same(found, expected.slice(0, 20))
    assert [one["fault"] for one in kowalski.requests_since(began)].count("timeout") == 4


def test_no_answer_is_an_error_never_a_null(kowalski, service, places, tmp_path):
    kowalski.faults.add(kind="status", status=503, catalog="AllWISE", query_type="cone_search")
    service = replace(service, cache=str(tmp_path), retries=0)
    with KowalskiClient(service) as client:
        surroundings = opened(KowalskiCatalogs(client, service))
        surroundings.near_bright_star(pa.array(np.arange(4)), *(one[4:8] for one in places))
        with pytest.raises(
            ServiceUnavailableError, match=r"catalogue 'AllWISE', 2 arcsec around \d positions: .*status 503"
        ):
            surroundings.crossmatch.columns(*(one[4:8] for one in places))
        # Once it is well again it is asked for what failed, and for nothing that it answered.
        kowalski.faults.clear()
        began = kowalski.n_requests
        surroundings.near_bright_star(pa.array(np.arange(4)), *(one[4:8] for one in places))
        surroundings.crossmatch.columns(*(one[4:8] for one in places))
        assert {one["catalogs"][0] for one in kowalski.requests_since(began)} <= {*CATALOGS}
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_wrong_token_and_an_unknown_catalogue(kowalski, service, monkeypatch):
    with KowalskiClient(service) as client:
        source = KowalskiCatalogs(client, service)
        with pytest.raises(ConfigError, match=r"no catalogue 'Gaia_EDR4'"):
            source.digest("Gaia_EDR4")
        with pytest.raises(ConfigError, match=r"no catalogue 'Gaia_EDR4'"):
            source.cones("Gaia_EDR4", [1.0], [2.0], radius_arcsec=2.0, columns=("_id",))
        kowalski.insert("nothing_there", [])
        assert len(source.digest("Gaia_EDR3")) == 64
    monkeypatch.setenv(kowalski.variable, kowalski.make_token(secret="of somebody else"))
    with KowalskiClient(service) as client, pytest.raises(CredentialError, match=kowalski.variable):
        KowalskiCatalogs(client, service).digest("Gaia_EDR3")


def test_catalogues_are_asked_at_the_same_time(kowalski, service, places):
    """With 50 ms a reply, five requests of a shard far apart take as long as two, not as five."""
    kowalski.set(delay_s=0.05)
    try:
        with KowalskiClient(service) as client:
            surroundings = opened(KowalskiCatalogs(client, service))
            busiest = 0
            busy, lock, ask = 0, threading.Lock(), client.ask

            def counted(*args, **kwargs):
                nonlocal busy, busiest
                with lock:
                    busy += 1
                    busiest = max(busy, busiest)
                try:
                    return ask(*args, **kwargs)
                finally:
                    with lock:
                        busy -= 1

            client.ask = counted
            with surroundings.asked_ahead(lambda place: place, WaitingPool) as ahead:
                for place in ahead([places]):
                    columns(surroundings, *place)
            assert busiest == service.connections
    finally:
        kowalski.set(delay_s=0.0)


def test_a_service_that_ends_does_not_hang(kowalski, service, places):
    kowalski.faults.add(kind="hang", query_type="cone_search")
    service = replace(service, timeout_s=0.2, retries=0)
    with KowalskiClient(service) as client:
        surroundings = opened(KowalskiCatalogs(client, service))
        few = tuple(one[4:6] for one in places)
        with (
            surroundings.asked_ahead(lambda place: place, WaitingPool) as ahead,
            pytest.raises(ServiceUnavailableError),
        ):
            for place in ahead([few, few]):
                columns(surroundings, *place)
