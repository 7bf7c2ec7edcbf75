"""Circles of Kowalski against the same catalogues in files: same rows, whatever the place, the size and the faults."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.core.protocols import BulkCatalogSource
from scope_ml.core.sphere import separation_arcsec
from scope_ml.errors import ConfigError, DataError, MissingColumnError, ServiceError, ServiceTimeoutError
from scope_ml.features import circles
from scope_ml.features.sky import CatalogTiles, Query
from scope_ml.features.surroundings import CatalogsConfig
from scope_ml.io.catalogs import ParquetCatalogs
from scope_ml.services.kowalski import catalogs as room
from scope_ml.services.kowalski.catalogs import KowalskiCatalogs, open_catalogs
from scope_ml.services.kowalski.circles import covering
from scope_ml.services.kowalski.settings import KowalskiConfig

CONFIG = KowalskiConfig(query_limit=50, retries=0, backoff_s=0.0, cache=None)

PLACES = [(12.0, 89.999), (200.0, -90.0), (0.0, 0.0), (359.9999, 55.0), (284.6, 5.5), (100.0, -89.5)]


class FakeKowalski:
    """Answers queries for circles as the service does; `fault` may change the documents or raise."""

    def __init__(self, **tables):
        self.documents = {name: table.to_pylist() for name, table in tables.items()}
        self.places = {}
        self.too_wide = 0.0
        self.queries = []
        self.fault = lambda query, found: found
        self._lock = threading.Lock()

    def version(self, catalog):
        return f"{len(self.documents[catalog]):064x}"

    def ask(self, query, *, catalog):
        with self._lock:
            self.queries.append(query)
        assert query["query_type"] == "cone_search"
        assert len(json.dumps(query)) < 2**20
        asked = query["query"]["object_coordinates"]
        assert asked["cone_search_unit"] == "arcsec"
        ((name, wanted),) = query["query"]["catalogs"].items()
        assert name == catalog
        documents = self.documents[name]
        if name not in self.places:
            points = [one["coordinates"]["radec_geojson"]["coordinates"] for one in documents]
            self.places[name] = np.array(points).T
        ra, dec = self.places[name]
        ra = ra + 180.0
        found = {}
        for place, (centre_ra, centre_dec) in asked["radec"].items():
            assert 0.0 <= centre_ra <= 360.0
            inside = separation_arcsec(ra, dec, centre_ra, centre_dec) <= asked["cone_search_radius"] + self.too_wide
            for column, bound in wanted["filter"].items():
                values = np.array([one.get(column, np.nan) for one in documents])
                inside &= values < bound["$lt"]
            rows = np.random.default_rng(len(self.queries)).permutation(np.flatnonzero(inside))
            found[place.replace(".", "_")] = [documents[k] for k in rows[: query["kwargs"]["limit"]]]
        found = self.fault(query, found)
        return json.dumps({"status": "success", "message": "", "data": {name: found}}).replace("NaN", NAN).encode()


NAN = '{"$numberDouble": "NaN"}'


def document(k, ra, dec, *, flat=True, **values):
    one = {"_id": k, **values, "coordinates": {"radec_geojson": {"type": "Point", "coordinates": [ra - 180.0, dec]}}}
    return one | ({"ra": ra, "dec": dec} if flat else {})


@pytest.fixture(scope="module")
def stars():
    """Stars around the poles, the seam of right ascension and elsewhere."""
    rng = np.random.default_rng(1)
    centres = np.array(PLACES)[rng.integers(0, len(PLACES), 1500)]
    dec = centres[:, 1] + rng.uniform(-0.02, 0.02, 1500)
    dec = np.where(np.abs(dec) > 90, np.sign(dec) * 180 - dec, dec)
    wide = np.minimum(180.0, 0.02 / np.maximum(np.cos(np.radians(dec)), 1e-9))
    ra = (centres[:, 0] + rng.uniform(-1, 1, 1500) * wide) % 360.0
    return pa.table({"_id": [str(2**62 + k) for k in range(1500)], "ra": ra, "dec": dec, "g": rng.uniform(5, 20, 1500)})


@pytest.fixture
def kowalski(stars):
    fake = FakeKowalski()
    fake.documents["Gaia_EDR3"] = [document(one["_id"], one["ra"], one["dec"], g=one["g"]) for one in stars.to_pylist()]
    return fake


@pytest.fixture(scope="module")
def folder(stars, tmp_path_factory):
    path = tmp_path_factory.mktemp("catalogues")
    pq.write_table(stars, path / "Gaia_EDR3.parquet")
    return ParquetCatalogs(path)


def by_id(table):
    return table.sort_by("_id").to_pydict()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("radius", [0.5, 30.0, 120.0])
def test_a_circle_is_that_of_the_files(kowalski, folder, place, radius):
    source = KowalskiCatalogs(kowalski, CONFIG)
    assert isinstance(source, BulkCatalogSource)
    kowalski.too_wide = 10.0
    found = source.cone_search("Gaia_EDR3", *place, radius_arcsec=radius, columns=("_id", "g"))
    expected = folder.cone_search("Gaia_EDR3", *place, radius_arcsec=radius, columns=("_id", "g"))
    if not expected.num_rows:
        # Maybe nothing says what type a column has; whoever asks knows.
        found = found.cast(expected.schema)
    assert found.equals(expected.sort_by("_id"))
    bright = source.cone_search("Gaia_EDR3", *place, radius_arcsec=radius, columns=("_id", "g"), below={"g": 10.0})
    assert bright.cast(expected.schema).equals(found.filter(pa.array(found["g"].to_numpy() < 10.0)))
    assert kowalski.queries[-1]["query"]["catalogs"]["Gaia_EDR3"]["filter"] == {"g": {"$lt": 10.0}}


def test_the_rim_belongs_to_a_circle(kowalski, folder, stars):
    """A circle through a star, computed as we do: the service may see it outside by rounding, we may not lose it."""
    source = KowalskiCatalogs(kowalski, CONFIG)
    ra, dec = stars["ra"].to_numpy(), stars["dec"].to_numpy()
    for k in range(0, 300, 10):
        place = float(ra[k]) + 0.001, float(np.clip(dec[k] + 0.002, -90, 90))
        radius = float(separation_arcsec(*place, ra[k], dec[k]))
        found = source.cone_search("Gaia_EDR3", *place, radius_arcsec=radius, columns=("_id",))
        assert stars["_id"][k] in found["_id"].chunk(0)
        expected = folder.cone_search("Gaia_EDR3", *place, radius_arcsec=radius, columns=("_id",))
        assert by_id(found) == by_id(expected)


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 60),
    radius=st.floats(0.1, 100.0),
    limit=st.sampled_from([1, 7, 50, 1000]),
    too_wide=st.sampled_from([0.0, 5.0]),
)
def test_many_circles_are_the_circles_one_by_one(stars, folder, seed, n, radius, limit, too_wide):
    fake = FakeKowalski()
    fake.too_wide = too_wide
    fake.documents["Gaia_EDR3"] = [document(one["_id"], one["ra"], one["dec"], g=one["g"]) for one in stars.to_pylist()]
    rng = np.random.default_rng(seed)
    # Some places twice, some outside of [0, 360).
    row = rng.integers(0, 1500, n)
    ra = stars["ra"].to_numpy()[row] + rng.choice([0.0, -360.0, 1e-4], n)
    dec = np.clip(stars["dec"].to_numpy()[row] + rng.choice([0.0, 1e-3], n), -90, 90)
    source = KowalskiCatalogs(fake, replace(CONFIG, query_limit=limit))
    found = source.cones("Gaia_EDR3", ra, dec, radius_arcsec=radius, columns=("_id", "g"))
    assert found.column_names == ["ra", "dec", "position", "_id", "g"]
    assert len(fake.queries) == -(-n // limit)
    assert found["position"].type == pa.int64()
    assert np.all(np.diff(found["position"].to_numpy()) >= 0)
    for k in range(n):
        mine = found.filter(pa.array(found["position"].to_numpy() == k)).drop_columns(["position"])
        one = folder.cone_search("Gaia_EDR3", ra[k], dec[k], radius_arcsec=radius, columns=("_id", "g"))
        assert mine.to_pydict() == one.sort_by("_id").to_pydict()


@settings(max_examples=200, deadline=None)
@given(
    ra=st.floats(0, 360),
    dec=st.one_of(st.sampled_from([90.0, -90.0, 89.9999, 0.0]), st.floats(-90, 90)),
    radius=st.floats(0.01, 10.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_smaller_circles_cover_a_large_one(ra, dec, radius, seed):
    rng = np.random.default_rng(seed)
    # Places in the circle, many of them on its rim.
    away, angle = np.radians(radius * np.sqrt(rng.uniform(0, 1, 400))), rng.uniform(0, 2 * np.pi, 400)
    away[::4] = np.radians(radius)
    sin_dec, cos_dec = np.sin(np.radians(dec)), np.cos(np.radians(dec))
    north = np.cos(angle) * np.sin(away)
    x, y = np.cos(away) * cos_dec - north * sin_dec, np.sin(angle) * np.sin(away)
    z = np.cos(away) * sin_dec + north * cos_dec
    place_ra, place_dec = ra + np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))
    centre_ra, centre_dec, smaller = covering(ra, dec, radius * 3600)
    apart = separation_arcsec(place_ra[:, None], place_dec[:, None], centre_ra[None], centre_dec[None])
    assert apart.min(axis=1).max() <= smaller
    assert len(centre_ra) == 7
    assert smaller < 0.52 * radius * 3600


def slow_above(arcsec):
    def fault(query, found):
        if query["query"]["object_coordinates"]["cone_search_radius"] > arcsec:
            raise ServiceTimeoutError("no answer within 300 s")
        return found

    return fault


def test_a_circle_that_takes_too_long_is_asked_in_pieces(kowalski, folder):
    source = KowalskiCatalogs(kowalski, CONFIG)
    for place in PLACES:
        kowalski.fault = lambda query, found: found
        expected = source.cone_search("Gaia_EDR3", *place, radius_arcsec=100.0, columns=("_id", "g"))
        kowalski.queries.clear()
        kowalski.fault = slow_above(30.0)
        found = source.cone_search("Gaia_EDR3", *place, radius_arcsec=100.0, columns=("_id", "g"))
        assert found.equals(expected)
        assert len(kowalski.queries) == 1 + 7 + 49
    kowalski.queries.clear()
    kowalski.fault = slow_above(1.0)
    with pytest.raises(
        ServiceTimeoutError, match=r"the 6\.\d arcsec around ra=.* in smaller pieces: no answer within 300 s"
    ):
        source.cone_search("Gaia_EDR3", *PLACES[0], radius_arcsec=100.0, columns=("_id",))
    assert len(kowalski.queries) == 5


def test_a_circle_that_holds_too_much_is_asked_in_pieces(kowalski, folder, monkeypatch):
    source = KowalskiCatalogs(kowalski, CONFIG)
    place = PLACES[4]
    expected = source.cone_search("Gaia_EDR3", *place, radius_arcsec=100.0, columns=("_id", "g"))
    assert expected.num_rows > 100
    monkeypatch.setattr(room, "MOST_DOCUMENTS", 40)
    found = source.cone_search("Gaia_EDR3", *place, radius_arcsec=100.0, columns=("_id", "g"))
    assert found.equals(expected)
    places = np.array([[10.0, 10.0], place, [20.0, 20.0], place])
    many = source.cones("Gaia_EDR3", *places.T, radius_arcsec=100.0, columns=("_id", "g"))
    assert many["position"].to_pylist() == [1] * expected.num_rows + [3] * expected.num_rows
    assert many.slice(0, expected.num_rows).drop_columns(["position"]).equals(expected)


def test_circles_that_time_out_are_asked_in_smaller_numbers(kowalski, folder, stars):
    def fault(query, found):
        if len(found) > 8:
            raise ServiceTimeoutError("no answer within 300 s")
        return found

    source = KowalskiCatalogs(kowalski, CONFIG)
    ra, dec = stars["ra"].to_numpy()[:120], stars["dec"].to_numpy()[:120]
    expected = source.cones("Gaia_EDR3", ra, dec, radius_arcsec=20.0, columns=("_id", "g"))
    kowalski.fault = fault
    assert source.cones("Gaia_EDR3", ra, dec, radius_arcsec=20.0, columns=("_id", "g")).equals(expected)


def test_circles_that_are_left_out_or_not_asked_for(kowalski, stars):
    ra, dec = stars["ra"].to_numpy()[:60], stars["dec"].to_numpy()[:60]
    source = KowalskiCatalogs(kowalski, CONFIG)
    expected = source.cones("Gaia_EDR3", ra, dec, radius_arcsec=20.0, columns=("_id", "g"))

    def short(query, found):
        found["not asked"] = next(iter(found.values()))
        if len(kowalski.queries) % 2:
            found.popitem()
            found.pop(next(iter(found)))
        return found

    kowalski.fault = short
    assert source.cones("Gaia_EDR3", ra, dec, radius_arcsec=20.0, columns=("_id", "g")).equals(expected)
    assert source.cone_search("Gaia_EDR3", ra[0], dec[0], radius_arcsec=20.0, columns=("_id", "g")).num_rows

    def never(query, found):
        places = query["query"]["object_coordinates"]["radec"]
        return {name: documents for name, documents in found.items() if places[name][0] != ra[7]}

    kowalski.fault = never
    with pytest.raises(ServiceError, match=r"1 of 60 circles .* ra="):
        source.cones("Gaia_EDR3", ra, dec, radius_arcsec=20.0, columns=("_id", "g"))
    with pytest.raises(ServiceError, match="answers without the circle"):
        source.cone_search("Gaia_EDR3", ra[7], dec[7], radius_arcsec=20.0, columns=("_id", "g"))


def test_documents_as_they_are(kowalski):
    """Alerts have their place in the candidate; a catalogue may have it in the GeoJSON point alone; values may be absent."""
    kowalski.documents["ZTF_alerts"] = [
        {
            **document({"$oid": f"{k:024x}"}, 150.0 + k / 3600, 2.0, flat=False),
            "candid": 2**60 + k,
            "candidate": {"ra": 150.0 + k / 3600 + 1e-7, "dec": 2.0},
            **({"classifications": {"braai": value}} if value is not None else {}),
        }
        for k, value in enumerate([0.5, None, float("nan"), 1])
    ]
    kowalski.documents["PS1_DR1"] = [document(2**60 + 1, 0.0, 2.0, flat=False, flag=52)]
    source = KowalskiCatalogs(kowalski, CONFIG)
    alerts = source.cone_search(
        "ZTF_alerts", 150.0, 2.0, radius_arcsec=10.0, columns=("candid",), optional=("classifications.braai", "nothing")
    )
    assert alerts.column_names == ["ra", "dec", "candid", "classifications.braai", "nothing"]
    assert alerts["candid"].to_pylist() == [2**60 + k for k in range(4)]
    assert alerts["ra"].to_pylist() == [150.0 + k / 3600 + 1e-7 for k in range(4)]
    scores = alerts["classifications.braai"].to_pylist()
    assert scores[:2] + scores[3:] == [0.5, None, 1.0]
    assert scores[2] != scores[2]
    assert alerts["nothing"].to_pylist() == [None] * 4
    star = source.cone_search("PS1_DR1", 359.9999, 2.0, radius_arcsec=1.0, columns=("_id", "flag"))
    assert star.to_pydict() == {"ra": [0.0], "dec": [2.0], "_id": [2**60 + 1], "flag": [52]}
    none = source.cone_search("PS1_DR1", 100.0, 2.0, radius_arcsec=1.0, columns=("_id", "flag"))
    assert (none.num_rows, none.column_names) == (0, ["ra", "dec", "_id", "flag"])
    assert source.cones("PS1_DR1", [], [], radius_arcsec=1.0, columns=("_id",)).num_rows == 0
    kowalski.fault = lambda query, found: {name: [{"_id": 7}] for name in found}
    with pytest.raises(DataError, match=r"catalogue 'PS1_DR1': document 7 has no place on the sky"):
        source.cone_search("PS1_DR1", 0.0, 2.0, radius_arcsec=1.0, columns=("_id",))


def test_a_column_that_no_document_has(kowalski, monkeypatch):
    monkeypatch.setattr(room, "ENOUGH_DOCUMENTS", 300)
    source = KowalskiCatalogs(kowalski, CONFIG)
    for place in PLACES:
        source.cone_search("Gaia_EDR3", *place, radius_arcsec=120.0, columns=("_id",))
    few = source.cone_search("Gaia_EDR3", *PLACES[4], radius_arcsec=30.0, columns=("_id", "g_mag"), optional=("h",))
    assert set(few["g_mag"].to_pylist()) == {None}
    with pytest.raises(
        MissingColumnError, match=r"'Gaia_EDR3' of Kowalski, \d+ documents .* lacks the column\(s\) g_mag"
    ):
        for place in PLACES:
            source.cone_search("Gaia_EDR3", *place, radius_arcsec=120.0, columns=("_id", "g_mag"), optional=("h",))
    for place in PLACES:
        source.cone_search("Gaia_EDR3", *place, radius_arcsec=120.0, columns=("_id", "g"), optional=("h",))


@pytest.mark.parametrize("data", [None, [], {}, {"Gaia_EDR3": None}, {"Gaia_EDR3": {"circle": None}}, {"AllWISE": {}}])
def test_a_reply_that_is_none(kowalski, data):
    kowalski.ask = lambda query, *, catalog: json.dumps({"status": "success", "data": data}).encode()
    source = KowalskiCatalogs(kowalski, CONFIG)
    with pytest.raises(ServiceError):
        source.cone_search("Gaia_EDR3", 1.0, 2.0, radius_arcsec=30.0, columns=("_id",))
    with pytest.raises(ServiceError):
        source.cones("Gaia_EDR3", [1.0], [2.0], radius_arcsec=30.0, columns=("_id",))


def test_opening(kowalski, folder, tmp_path):
    service = replace(CONFIG, cache=str(tmp_path), connections=3)
    source = open_catalogs(CatalogsConfig(kind="kowalski"), kowalski, service)
    assert isinstance(source, KowalskiCatalogs)
    assert (source.connections, source.cache) == (3, tmp_path / "catalogs")
    assert KowalskiCatalogs(kowalski, CONFIG).cache is None
    assert open_catalogs(CatalogsConfig(kind="none", path="x"), kowalski, service) is None
    assert open_catalogs(CatalogsConfig()) is None
    assert open_catalogs(CatalogsConfig(path=str(folder.path))).path == folder.path
    with pytest.raises(ConfigError, match=r"catalogs\.path=x is a folder, but catalogs\.kind=kowalski"):
        open_catalogs(CatalogsConfig(kind="kowalski", path="x"), kowalski, service)
    with pytest.raises(ConfigError, match="catalogs=kowalski is not possible here"):
        open_catalogs(CatalogsConfig(kind="kowalski"))
    assert kowalski.queries == []


def test_neighbours_by_tiles_and_by_circles_are_those_of_the_files(kowalski, folder, stars, tmp_path, monkeypatch):
    monkeypatch.setattr(circles, "FEW", 12)
    rng = np.random.default_rng(5)
    row = rng.integers(0, 1500, 200)
    ra, dec = stars["ra"].to_numpy()[row] + 1e-4, np.clip(stars["dec"].to_numpy()[row] + 1e-4, -90, 90)
    ra, dec = np.append(ra, rng.uniform(0, 360, 60)), np.append(dec, rng.uniform(-90, 90, 60))
    query = Query(catalog="Gaia_EDR3", columns=("g",), margin_arcsec=60.0)
    expected = CatalogTiles(folder, query).within(ra, dec, 60.0)
    for n_queries in (re.compile("[1-9]"), re.compile("0$")):
        kowalski.queries.clear()
        found = CatalogTiles(KowalskiCatalogs(kowalski, CONFIG), query, cache=tmp_path).within(ra, dec, 60.0)
        assert found.position.tolist() == expected.position.tolist()
        assert found.separation.tolist() == expected.separation.tolist()
        assert found.rows.equals(expected.rows)
        assert n_queries.match(str(len(kowalski.queries)))
    names = {path.name.partition("-")[0] for path in tmp_path.rglob("*.parquet")}
    assert names == {"tile", "circles"}
