"""What is opened for which groups and cleaning, what is refused, and lists of light curves near bright stars."""

from __future__ import annotations

import re
import threading
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from scope_ml.core.configuration import build, science_digest
from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import ConfigError, DataError, FormatError, MissingColumnError, ServiceError
from scope_ml.features.crossmatch import CrossMatch, crossmatch_columns
from scope_ml.features.surroundings import (
    CatalogsConfig,
    PrecomputedBrightStars,
    Survey,
    SurveyCollections,
    open_surroundings,
)
from scope_ml.io.tables import write_table
from scope_ml.services.waiting import WaitingPool
from scope_ml.taxonomy.classes import packaged_conf_dir


@pytest.fixture
def folder(tmp_path):
    """A folder of catalogues: Gaia with one bright star, AllWISE, alerts; no Pan-STARRS."""
    for name in ("Gaia_EDR3", "AllWISE"):
        columns = {spec.name.removeprefix(f"{name}__"): [1.0] for spec in crossmatch_columns((name,))}
        columns |= {"_id": ["7"], "ra": [10.0], "dec": [20.0], "phot_g_mean_mag": [8.0], "bp_rp": [1.0]}
        columns |= {"ph_qual": ["AAAA"]} if name == "AllWISE" else {}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    pq.write_table(pa.table({"candid": [1], "ra": [10.0], "dec": [20.0]}), tmp_path / "ZTF_alerts.parquet")
    return tmp_path


def opened(groups, folder=None, *, exclusion="off", names=("Gaia_EDR3", "AllWISE"), **catalogs):
    return open_surroundings(
        groups,
        catalogs=CatalogsConfig(path=None if folder is None else str(folder), **catalogs),
        survey=SurveyCollections(),
        crossmatch=CrossMatch(catalogs=names),
        bright_star_exclusion=exclusion,
    )


def test_nothing_is_opened_that_is_not_needed(folder):
    none = opened(("basic", "period"))
    assert (none.crossmatch, none.alerts, none.bright_stars, none.precomputed, none.digests) == (None,) * 4 + ({},)
    assert none.near_bright_star(pa.array([1]), np.array([10.0]), np.array([20.01])) is None
    (folder / "AllWISE.parquet").unlink()
    alerts = opened(("alerts",), folder)
    assert (alerts.crossmatch, alerts.bright_stars) == (None, None)
    assert set(alerts.digests) == {"ZTF_alerts"}
    assert alerts.alerts.columns(np.array([10.0]), np.array([20.0]))["n_ztf_alerts"].tolist() == [1]


def test_all_of_it(folder, tmp_path):
    all_of_it = opened(("alerts", "crossmatch"), folder, exclusion="catalog", cache=str(tmp_path / "cache"))
    assert list(all_of_it.digests) == ["Gaia_EDR3", "AllWISE", "ZTF_alerts"]
    place = np.array([10.0]), np.array([20.01])
    assert all_of_it.near_bright_star(pa.array([1]), *place).tolist() == [True]
    assert all_of_it.crossmatch.columns(np.array([10.0]), np.array([20.0]))["Gaia_EDR3___id"].to_pylist() == [7]
    assert len(list((tmp_path / "cache").iterdir())) == 2
    before = dict(all_of_it.digests)
    pq.write_table(pa.table({"candid": [2], "ra": [10.0], "dec": [20.0]}), folder / "ZTF_alerts.parquet")
    after = opened(("alerts", "crossmatch"), folder, exclusion="catalog").digests
    assert {name for name in before if before[name] != after[name]} == {"ZTF_alerts"}


@pytest.mark.parametrize(
    ("groups", "exclusion", "message"),
    [
        (
            ("crossmatch",),
            "off",
            "feature group 'crossmatch' needs catalogues; give their folder with catalogs.path=FOLDER",
        ),
        (("alerts", "crossmatch"), "off", "feature group 'alerts' and feature group 'crossmatch' need catalogues"),
        ((), "catalog", "cleaning.bright_star_exclusion=catalog needs catalogues"),
        ((), "precomputed", "catalogs.bright_stars=TABLE, such as OUT.dropped.parquet"),
    ],
)
def test_what_to_type_where_catalogues_are_lacking(groups, exclusion, message):
    with pytest.raises(ConfigError, match=message):
        opened(groups, exclusion=exclusion)


def test_a_catalogue_that_is_not_there_is_found_out_at_the_start(folder):
    with pytest.raises(FormatError, match=r"no catalogue 'PS1_DR1'; it holds: AllWISE, Gaia_EDR3, ZTF_alerts"):
        opened(("crossmatch",), folder, names=("AllWISE", "PS1_DR1"))


def test_without_catalogues_nobody_knows():
    place = np.array([10.0, np.nan]), np.array([20.0, 1.0])
    unknown = opened(("alerts", "crossmatch"), kind="none")
    alerts = unknown.alerts.columns(*place)
    # Not 0 alerts: nobody has counted them.
    assert {name: (str(column.type), column.to_pylist()) for name, column in alerts.items()} == {
        "n_ztf_alerts": ("int32", [None, None]),
        "mean_ztf_alert_braai": ("double", [None, None]),
    }
    matches = unknown.crossmatch.match(*place)
    specs = crossmatch_columns(("Gaia_EDR3", "AllWISE"))
    assert {name: str(column.type) for name, column in matches.columns.items()} == {s.name: s.dtype for s in specs}
    assert all(column.null_count == 2 for column in matches.columns.values())
    assert [matches.n_within[name].tolist() for name in ("Gaia_EDR3", "AllWISE")] == [[0, 0], [0, 0]]
    assert unknown.digests == {}
    assert unknown.warnings == ("catalogs=none: the columns of alerts and crossmatch have no values",)
    with unknown.asked_ahead(lambda item: place, WaitingPool) as ahead:
        assert list(ahead([1, 2])) == [1, 2]
    assert opened(("basic",), kind="none").warnings == ()
    with pytest.raises(
        ConfigError, match=r"bright_star_exclusion=catalog needs catalogues, and catalogs=none has none"
    ):
        opened((), kind="none", exclusion="catalog")
    with pytest.raises(ConfigError, match="this cannot ask Kowalski, give catalogs=folder"):
        opened(("alerts",), kind="kowalski")


def test_all_catalogues_are_asked_at_once_and_a_shard_ahead(memory_catalogs, folder, tmp_path):
    """Each request waits for three more: one after the other none would end."""
    together = threading.Barrier(4)

    class Far(memory_catalogs):
        connections, cache = 4, tmp_path / "cache"

        def cone_search(self, catalog, *args, **kwargs):
            together.wait(10.0)
            return super().cone_search(catalog, *args, **kwargs)

        def cones(self, catalog, ra, dec, **kwargs):
            raise AssertionError("far too many positions for circles")

    tables = {name: pq.read_table(folder / f"{name}.parquet") for name in ("Gaia_EDR3", "AllWISE", "ZTF_alerts")}
    source = Far(**tables)
    # A shard is a tile: 60 light curves in it.
    shards = [np.linspace(0.0, 0.1, 60) + 10.0 + 2.0 * k for k in range(2)]
    surroundings = open_surroundings(
        ("alerts", "crossmatch"),
        catalogs=CatalogsConfig(kind="kowalski"),
        survey=SurveyCollections(),
        crossmatch=CrossMatch(catalogs=("Gaia_EDR3", "AllWISE")),
        bright_star_exclusion="catalog",
        source=source,
    )
    assert surroundings.connections == 4
    begun, done = [], []

    def where(ra):
        begun.append(ra)
        return ra, np.full(60, 20.1)

    with surroundings.asked_ahead(where, WaitingPool) as ahead:
        for ra in ahead(iter(shards)):
            assert len(begun) == 2
            dec = np.full(60, 20.1)
            surroundings.near_bright_star(pa.array(range(60)), ra, dec)
            surroundings.crossmatch.match(ra, dec)
            done.append(surroundings.alerts.columns(ra, dec)["n_ztf_alerts"].size)
    assert done == [60, 60]
    assert Counter(name for name, *_ in source.asked) == {"Gaia_EDR3": 4, "AllWISE": 2, "ZTF_alerts": 2}
    assert len(list((tmp_path / "cache").rglob("tile-*.parquet"))) == 8


def test_what_failed_ahead_is_asked_again_and_told(memory_catalogs, folder):
    class Far(memory_catalogs):
        connections, cache = 2, None

        def cones(self, catalog, ra, dec, **kwargs):
            self.asked.append(len(ra))
            raise ServiceError("no answer")

    source = Far(ZTF_alerts=pq.read_table(folder / "ZTF_alerts.parquet"))
    surroundings = open_surroundings(
        ("alerts",),
        catalogs=CatalogsConfig(kind="kowalski"),
        survey=SurveyCollections(),
        crossmatch=CrossMatch(),
        source=source,
    )
    place = np.array([10.0]), np.array([20.0])
    with (
        surroundings.asked_ahead(lambda _: place, WaitingPool) as ahead,
        pytest.raises(ServiceError, match="1 positions: no answer"),
    ):
        for _ in ahead(range(3)):
            surroundings.alerts.columns(*place)
    assert source.asked == [1, 1]


def test_a_list_of_an_earlier_run(tmp_path):
    big = 2**60
    dropped = pa.table(
        {"id": [big, big + 1, big + 2], "reason": ["near_bright_star", "too_few_points", "near_bright_star"]}
    )
    write_table(dropped, tmp_path / "out.parquet.dropped.parquet", TableMetadata(kind="dropped_light_curves"))
    found = opened((), exclusion="precomputed", bright_stars=str(tmp_path / "out.parquet.dropped.parquet"))
    assert set(found.digests) == {"bright_stars"}
    assert len(found.precomputed) == 2
    ids = pa.chunked_array([[big + 1, big], [big + 2, 5]])
    nan = np.full(4, np.nan)
    assert found.near_bright_star(ids, nan, nan).tolist() == [False, True, True, False]
    assert found.precomputed.near_ids(pa.array([str(big), "x"])).tolist() == [True, False]
    assert found.precomputed.near_ids(pa.array([], pa.int64())).tolist() == []


def test_a_list_of_ones_own(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("id,note\n1152921504606846977,x\n7,y\n")
    assert PrecomputedBrightStars(path).near_ids(pa.array([2**60 + 1, 2**60, 7])).tolist() == [True, False, True]
    path.write_text("id,reason\n7,too_few_points\n")
    assert PrecomputedBrightStars(path).near_ids(pa.array([7])).tolist() == [False]
    path.write_text("star\n7\n")
    with pytest.raises(MissingColumnError, match=r"lacks the column\(s\) id"):
        PrecomputedBrightStars(path)
    path.write_text("id,note\n7,x\n1.152921504606847e+18,y\n")
    with pytest.raises(DataError, match=r"id '1.152921504606847e\+18' was written as a float"):
        PrecomputedBrightStars(path)
    write_table(pa.table({"id": [7.0]}), tmp_path / "mine.parquet", TableMetadata(kind="list"))
    with pytest.raises(DataError, match="ids must be whole numbers or text"):
        PrecomputedBrightStars(tmp_path / "mine.parquet")


@pytest.mark.parametrize(
    ("file", "schema", "expected"),
    [
        ("crossmatch/default.yaml", CrossMatch, CrossMatch()),
        ("survey/ztf.yaml", Survey, Survey()),
        ("catalogs/folder.yaml", CatalogsConfig, CatalogsConfig()),
        ("catalogs/kowalski.yaml", CatalogsConfig, CatalogsConfig(kind="kowalski")),
        ("catalogs/none.yaml", CatalogsConfig, CatalogsConfig(kind="none")),
    ],
)
def test_configuration_files_hold_the_defaults(file, schema, expected):
    assert build(schema, OmegaConf.to_container(OmegaConf.load(packaged_conf_dir() / file))) == expected


def test_where_catalogues_lie_changes_no_result():
    assert science_digest(CatalogsConfig(path="a", cache="b", bright_stars="c")) == science_digest(CatalogsConfig())
    assert science_digest(CrossMatch(radius_arcsec=3.0)) != science_digest(CrossMatch())
    with pytest.raises(ConfigError, match=r"crossmatch.catalogs\[0\]='2MASS' is not one of AllWISE"):
        build(CrossMatch, {"catalogs": ["2MASS"]}, "crossmatch")


def test_the_how_to_is_as_it_is(root, tmp_path, monkeypatch):
    page = (root / "docs" / "how-to" / "catalogues.md").read_text()
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(block, names)
    assert 0 < np.count_nonzero(names["near"]) < 500
    fields = {spec.name.partition("__")[2] for spec in crossmatch_columns()} - {"_id"}
    unsaid = {field for field in fields if f"`{field}`" not in page}
    # Those of other bands follow from the first and the last that are named.
    assert unsaid == {name for name in fields if name[:2] in ("w2", "w3") or name[0] in "rizy"}
