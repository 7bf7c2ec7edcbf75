"""Which quadrants have sources: the table, SCoPe's two files, what is known stays known."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.protocols import NullProgress
from scope_ml.errors import ConfigError, FormatError, OutputError, QueryRefusedError, ServiceUnavailableError
from scope_ml.io.lightcurves import write_light_curves
from scope_ml.io.tables import read_table
from scope_ml.stages import source_lists
from scope_ml.stages.check_quads import CheckQuads, run
from scope_ml.stages.feature_targets import TargetConfig, resolve_targets
from scope_ml.stages.get_quad_ids import GetQuadIds
from scope_ml.stages.get_quad_ids import run as get_quad_ids
from scope_ml.stages.quadrant_list import read_quadrants

#: (field, ccd, quad) -> sources.
PLACES = {(301, 10, 1): 12, (301, 2, 1): 7, (301, 2, 2): 3, (7, 1, 1): 4}
ROWS = [(7, 1, 1, 4), (301, 2, 1, 7), (301, 2, 2, 3), (301, 10, 1, 12)]


@pytest.fixture
def service(memory_kowalski, quadrant_documents, monkeypatch):
    service = memory_kowalski([one for place, n in PLACES.items() for one in quadrant_documents(*place, n)])
    monkeypatch.setattr(source_lists, "KowalskiClient", lambda config: service)
    return service


def checked(folder, progress=None, **options):
    values = {"source": {"kind": "kowalski", "path": None}, "field": "0-10,300-301", "output": str(folder)}
    return run(build(CheckQuads, {**values, **options}), progress=progress or NullProgress())


def rows(path):
    return [tuple(row.values()) for row in read_table(path, kind="quadrants").data.to_pylist()]


def test_the_table_and_the_files_of_scope(service, tmp_path):
    report = checked(tmp_path)
    assert rows(tmp_path / "quadrants.parquet") == ROWS
    assert json.loads((tmp_path / "catalog_completeness.json").read_text()) == {
        "7": {"1": {"1": 4}},
        "301": {"2": {"1": 7, "2": 3}, "10": {"1": 12}},
    }
    assert (tmp_path / "slurm.dat").read_text() == "0 7 1 1\n1 301 2 1\n2 301 2 2\n3 301 10 1\n"
    assert report.facts["text"] == "4 quadrants of 2 fields have sources, 26 sources; 11 fields have none"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "catalog_completeness.json",
        "quadrants.parquet",
        "slurm.dat",
    ]
    # One question a field.
    assert service.kinds() == {"aggregate": 13}


@pytest.mark.parametrize("count", [True, False])
def test_the_lists_are_read_back_as_a_target(service, tmp_path, count):
    checked(tmp_path, count=count)
    for name in ("slurm.dat", "quadrants.parquet"):
        targets = resolve_targets(TargetConfig(kind="quadrant_list", path=str(tmp_path / name)), tmp_path / "o")
        assert [(one.field, one.ccd, one.quad) for one in targets] == [row[:3] for row in ROWS]
    config = TargetConfig(kind="quadrant_list", path=str(tmp_path / "slurm.dat"), index=2)
    assert str(resolve_targets(config, tmp_path / "o")[0].selection) == "field 301 ccd 2 quad 2"
    assert list(read_quadrants(tmp_path / "slurm.dat").quadrants) == [0, 1, 2, 3]


@pytest.mark.parametrize("form", ["hdf5", "csv"])
def test_formats(service, tmp_path, form):
    checked(tmp_path, format=form)
    (path,) = [path for path in tmp_path.glob("quadrants.*") if path.suffix != ".json"]
    assert rows(path) == ROWS


def test_not_counted(service, tmp_path):
    report = checked(tmp_path, count=False)
    assert rows(tmp_path / "quadrants.parquet") == [(*row[:3], None) for row in ROWS]
    assert json.loads((tmp_path / "catalog_completeness.json").read_text()) == {
        "7": {"1": [1]},
        "301": {"2": [1, 2], "10": [1]},
    }
    assert report.facts["n_sources"] is None


def test_enough_observations(service, tmp_path):
    checked(tmp_path, min_obs=54)
    assert rows(tmp_path / "quadrants.parquet") == [(301, 2, 1, 3), (301, 10, 1, 8)]


def test_a_killed_run_goes_on_where_it_was(service, tmp_path):
    def fault(query):
        if query["query"]["pipeline"][0]["$match"]["field"] == 300:
            raise KeyboardInterrupt

    service.fault = fault
    with pytest.raises(KeyboardInterrupt):
        checked(tmp_path)
    assert not (tmp_path / "slurm.dat").exists()
    service.fault = lambda query: None
    service.queries.clear()

    class Told(NullProgress):
        seen = []

        def start(self, what, total=None):
            self.seen.append((what, total))

        def advance(self, amount=1):
            self.seen.append(amount)

    # Other fields than before: those that are known are not asked again.
    report = checked(tmp_path, Told(), field="5-10,300-302")
    assert sorted(query["query"]["pipeline"][0]["$match"]["field"] for query in service.queries) == [300, 301, 302]
    assert report.facts["n_fields_known_before"] == 6
    assert Told.seen == [("checking fields of ZTF_sources_20240117", 9), 6, 1, 1, 1]
    assert rows(tmp_path / "quadrants.parquet") == ROWS
    assert not list(tmp_path.glob("*.parts"))


def test_what_is_finished_is_not_asked_again(service, tmp_path):
    first = checked(tmp_path)
    (tmp_path / "slurm.dat").unlink()
    service.queries.clear()
    second = checked(tmp_path)
    assert service.queries == []
    assert second.facts == {**first.facts, "n_fields_known_before": 13}
    assert len((tmp_path / "slurm.dat").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    "change",
    [{"refresh": True}, {"min_obs": 1}, {"count": False}, {"edition": "2"}, {"field": "0-11,300-301"}],
    ids=str,
)
def test_what_was_made_with_something_else_is_asked_again(service, tmp_path, change):
    checked(tmp_path)
    service.queries.clear()
    service.edition = change.get("edition", "1")
    checked(tmp_path, **{name: value for name, value in change.items() if name != "edition"})
    assert service.kinds() == {"aggregate": 14 if "field" in change else 13}


def test_refresh_asks_again_for_fields_of_a_run_that_was_stopped(service, tmp_path):
    def fault(query):
        if query["query"]["pipeline"][0]["$match"]["field"] == 301:
            raise ServiceUnavailableError("kowalski does not answer")

    service.fault = fault
    checked(tmp_path)
    service.fault = lambda query: None
    service.queries.clear()
    checked(tmp_path, refresh=True)
    assert service.kinds() == {"aggregate": 13}


def test_a_field_that_fails_is_named_and_no_list_is_written(service, tmp_path):
    def fault(query):
        if query["query"]["pipeline"][0]["$match"]["field"] == 301:
            raise ServiceUnavailableError("kowalski does not answer")

    service.fault = fault
    report = checked(tmp_path)
    assert report.facts["failed"] == ["field 301: kowalski does not answer"]
    assert (report.facts["n_failed"], report.outputs) == (1, {})
    assert report.warnings == (
        "failed: field 301: kowalski does not answer",
        "1 of 13 fields failed; nothing was written, type the same command again",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["quadrants.parquet.parts"]
    service.fault = lambda query: None
    service.queries.clear()
    checked(tmp_path)
    assert service.kinds() == {"aggregate": 1}
    assert rows(tmp_path / "quadrants.parquet") == ROWS


def test_a_service_that_is_down_stops_the_run(service, tmp_path):
    def fault(query):
        raise ServiceUnavailableError("kowalski does not answer")

    service.fault = fault
    with pytest.raises(ServiceUnavailableError, match="8 pieces of work in a row"):
        checked(tmp_path, field="0-1999")
    assert len(service.queries) <= 20
    service.fault = lambda query: (_ for _ in ()).throw(QueryRefusedError("no"))
    with pytest.raises(QueryRefusedError):
        checked(tmp_path)


def test_nothing_anywhere_is_said_and_no_error(service, tmp_path):
    report = checked(tmp_path, field="400-402", min_obs=5)
    assert report.warnings == (
        "ZTF_sources_20240117 has no sources with 5 observations or more in any of the 3 fields; the lists are empty",
    )
    assert report.facts["n_failed"] == 0
    assert (tmp_path / "slurm.dat").read_text() == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "slurm.dat"}, "output=slurm.dat is a file, but there are several"),
        ({"field": "0-9999999"}, "does not exist; it is 0 to 999999"),
        ({"min_obs": -1}, "min_obs=-1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_input_is_one_line_before_anything_is_asked(service, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        checked(tmp_path, **options)
    assert service.queries == []


def test_an_output_that_cannot_be_written_is_found_before_anything_is_asked(service, tmp_path):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "slurm.dat").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        checked(tmp_path / "o")
    assert service.queries == []


@pytest.fixture
def files(tmp_path):
    """Light curves that lie here: quadrants as `PLACES`, of 30 points each and one of 10, the largest id first."""
    places = [place for place, n in PLACES.items() for _ in range(n)]
    n_points = [30] * (len(places) - 1) + [10]
    batch = LightCurveBatch.from_lists(
        np.arange(len(places))[::-1] + 2**53 + 1,
        [np.arange(n) + 2459000.0 for n in n_points],
        [np.full(n, 15.0) for n in n_points],
        [np.full(n, 0.1) for n in n_points],
    )
    facts = {name: [place[at] for place in places] for at, name in enumerate(("field", "ccd", "quad"))}
    columns = {"id": batch.id, "source_id": batch.id, "band": ["g"] * len(places)}
    others = {"ra": [1.0] * len(places), "dec": [2.0] * len(places), "filter": [1] * len(places)}
    path = tmp_path / "light_curves.parquet"
    write_light_curves(batch, pa.table({**columns, **others, **facts}), path)
    return {"kind": "parquet", "path": str(path)}


def sources_of(files, folder, **options):
    values = {"source": files, "field": "7,301", "ccd": "1,2,10", "output": str(folder), "min_obs": 30}
    return get_quad_ids(build(GetQuadIds, {**values, **options}), progress=NullProgress())


def test_light_curves_that_lie_here(files, tmp_path):
    checked(tmp_path / "quads", source=files, min_obs=30)
    assert rows(tmp_path / "quads" / "quadrants.parquet") == [(7, 1, 1, 3), *ROWS[1:]]
    report = sources_of(files, tmp_path / "ids")
    assert (report.n_out, report.facts["n_files"], report.facts["n_files_without_sources"]) == (25, 24, 20)
    data = read_table(tmp_path / "ids" / "field_000007" / "ccd_01_quad_1.parquet").data
    assert data["id"].to_pylist() == [2**53 + 1 + 1 + i for i in range(3)]
    assert data["nobs"].to_pylist() == [30] * 3
    assert sources_of(files, tmp_path / "ids").facts["n_files_finished_before"] == 24


def test_other_light_curves_are_listed_again(files, tmp_path):
    sources_of(files, tmp_path / "ids", field=7, ccd=1, quad=1)
    again = sources_of(files | {"band": "g"}, tmp_path / "ids", field=7, ccd=1, quad=1)
    assert (again.facts["n_files_finished_before"], again.n_out) == (0, 3)
    again = sources_of(files | {"band": "r"}, tmp_path / "ids", field=7, ccd=1, quad=1)
    assert again.n_out == 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"kind": "parquet", "path": "nowhere"}, "nowhere does not exist; give source.path="),
        ({"kind": "survey", "path": None}, "source=survey needs light curves; give source.path="),
        ({"kind": "irsa_stars", "path": None}, "light curves are read from files here"),
        ({"kind": "kowalski", "path": "p"}, "source.path=p says where files are, but source=kowalski reads none"),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_sources_that_cannot_be_listed(tmp_path, source, message):
    with pytest.raises((ConfigError, FormatError), match=message):
        checked(tmp_path, source=source)
