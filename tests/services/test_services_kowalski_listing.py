"""Lists of sources and of quadrants from a server: complete whatever goes wrong on the way, or named as not."""

from __future__ import annotations

import json

import pyarrow.compute as pc
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.errors import ConfigError, CredentialError
from scope_ml.io.tables import read_foreign_table, read_table
from scope_ml.stages.check_quads import CheckQuads
from scope_ml.stages.check_quads import run as check_quads
from scope_ml.stages.feature_targets import TargetConfig, resolve_targets
from scope_ml.stages.get_quad_ids import GetQuadIds
from scope_ml.stages.get_quad_ids import run as get_quad_ids
from scope_ml.stages.requested_sources import read_request


@pytest.fixture(scope="module")
def sources(kowalski_tables):
    """The light curves that the server has, by id."""
    table = kowalski_tables["ZTF_sources"].select(["id", "ra", "dec", "field", "ccd", "quad", "filter", "nobs"])
    return table.sort_by("id")


@pytest.fixture(scope="module")
def quadrants(sources):
    """(field, ccd, quad) -> light curves, sorted."""
    groups = sources.group_by(["field", "ccd", "quad"]).aggregate([([], "count_all")]).to_pylist()
    return dict(sorted(((group["field"], group["ccd"], group["quad"]), group["count_all"]) for group in groups))


@pytest.fixture
def asked(kowalski, tmp_path):
    """Runs a stage against the server."""

    def run(schema, stage, **options):
        service = {"instances": kowalski.instances, "backoff_s": 0.01, "cache": str(tmp_path / "cache")}
        values = {"source": {"kind": "kowalski", "path": None}, "service": {"kowalski": service}, "min_obs": 0}
        return stage(build(schema, {**values, "output": str(tmp_path / "o"), **options}), progress=NullProgress())

    return run


def wanted(sources, field, ccd, quad):
    rows = zip(*(sources[name].to_pylist() for name in ("id", "field", "ccd", "quad")), strict=True)
    return [one for one, *place in rows if place == [field, ccd, quad]]


def test_the_sources_of_quadrants(asked, kowalski, sources, quadrants, tmp_path):
    (field, ccd, quad), n = max(quadrants.items(), key=lambda item: item[1])
    report = asked(GetQuadIds, get_quad_ids, field=field, ccd=ccd, page=7)
    assert (report.n_out, report.dropped, report.facts["n_failed"]) == (n, {}, 0)
    path = tmp_path / "o" / f"field_{field:06d}" / f"ccd_{ccd:02d}_quad_{quad}.parquet"
    held = read_table(path).data
    there = sources.filter(pc.is_in(sources["id"], held["id"]))
    assert held["id"].to_pylist() == wanted(sources, field, ccd, quad)
    for name in ("ra", "dec", "filter", "nobs"):
        assert held[name].to_pylist() == there[name].to_pylist()
    assert read_request(path, radius_arcsec=2.0).selection.ids.to_pylist() == held["id"].to_pylist()
    # What is finished is not asked again, not even for the catalogue's version.
    before = kowalski.n_requests
    assert asked(GetQuadIds, get_quad_ids, field=field, ccd=ccd).facts["n_files_finished_before"] == 4
    assert kowalski.n_requests == before


def test_a_whole_field_through_everything_that_goes_wrong(asked, kowalski, sources, quadrants, tmp_path):
    field, ccd, quad = next(iter(quadrants))
    ids = wanted(sources, field, ccd, quad)
    kowalski.faults.add(kind="status", status=503, times=2, query_type="find")
    kowalski.faults.add(kind="cut", times=1, query_type="find")
    kowalski.faults.add(kind="reset", times=1, query_type="count_documents")
    kowalski.faults.add(kind="missing", ids=(ids[1],), times=1, query_type="find")
    report = asked(GetQuadIds, get_quad_ids, field=field, whole_field=True, layout="scope", format="csv", page=5)
    assert (report.n_in, report.n_out, report.facts["n_failed"]) == (len(ids), len(ids), 0)
    lines = (tmp_path / "o" / "ids" / f"field_{field}" / f"field_{field}.csv").read_text().split()
    assert [int(line) for line in lines] == ids


def test_a_source_that_is_counted_and_never_listed_is_reported(asked, kowalski, sources, quadrants, tmp_path):
    field, ccd, quad = next(iter(quadrants))
    ids = wanted(sources, field, ccd, quad)
    kowalski.faults.add(kind="missing", ids=(ids[1],), query_type="find")
    report = asked(GetQuadIds, get_quad_ids, field=field, ccd=ccd, quad=quad)
    assert (report.n_in, report.n_out, report.dropped) == (len(ids), len(ids) - 1, {"not_listed": 1})
    assert report.facts["n_failed"] == 1
    kowalski.faults.clear()
    assert asked(GetQuadIds, get_quad_ids, field=field, ccd=ccd, quad=quad).n_out == len(ids)


@pytest.mark.parametrize("groups", [True, False])
def test_the_quadrants_of_fields(asked, kowalski, quadrants, tmp_path, groups):
    field = next(iter(quadrants))[0]
    expected = [(*place, n) for place, n in quadrants.items() if place[0] == field]
    if not groups:
        kowalski.faults.add(kind="status", status=400, message="ValueError: no groups", query_type="aggregate")
    report = asked(CheckQuads, check_quads, field=f"{field},1999")
    table = read_foreign_table(tmp_path / "o" / "quadrants.parquet")
    assert [tuple(row.values()) for row in table.to_pylist()] == expected
    assert (report.facts["n_quadrants"], report.facts["n_failed"]) == (len(expected), 0)
    targets = resolve_targets(
        TargetConfig(kind="quadrant_list", path=str(tmp_path / "o" / "slurm.dat")), tmp_path / "t"
    )
    assert [(one.field, one.ccd, one.quad) for one in targets] == [row[:3] for row in expected]


def test_features_and_what_is_not_there(asked, kowalski, quadrants, tmp_path):
    field, ccd, quad = next(iter(quadrants))
    report = asked(
        GetQuadIds, get_quad_ids, catalog="ZTF_source_features_DR16", field=field, ccd=ccd, quad=quad, min_obs=1
    )
    assert report.n_out == quadrants[field, ccd, quad]
    assert (
        asked(GetQuadIds, get_quad_ids, field=1999)
        .warnings[0]
        .startswith("ZTF_sources_20240117 has no sources in field 1999")
    )
    with pytest.raises(ConfigError, match="ZTF_sources_20240117"):
        asked(GetQuadIds, get_quad_ids, catalog="ZTF_sources", field=field)


def test_a_wrong_token_stops_and_no_token_is_written(asked, kowalski, quadrants, tmp_path, monkeypatch):
    field = next(iter(quadrants))[0]
    asked(GetQuadIds, get_quad_ids, field=field, ccd=1)
    asked(CheckQuads, check_quads, field=field, output=str(tmp_path / "q"))
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    assert not any(kowalski.token.encode() in one for one in written)
    assert json.loads((tmp_path / "o" / f"field_{field:06d}" / "meta.json").read_text())["field"] == field
    monkeypatch.setenv(kowalski.variable, "not-a-token")
    with pytest.raises(CredentialError) as caught:
        asked(GetQuadIds, get_quad_ids, field=field, ccd=2, quad=1)
    assert kowalski.variable in str(caught.value)
    assert "not-a-token" not in str(caught.value)
