"""Downloads from a server: nothing lost, nothing twice, whatever happens meanwhile; every miss with its reason."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, CredentialError, EmptySelectionError, SchemaError, ServiceUnavailableError
from scope_ml.io.tables import read_table
from scope_ml.stages.fritz_download import FritzDownload, run
from scope_ml.taxonomy.classes import load_classes

#: Reading all classes takes longer than what is tested here.
CLASSES = cache(load_classes)


@pytest.fixture(autouse=True)
def classes_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scope_ml.stages.fritz_download.load_classes", CLASSES)


def download(skyportal: Any, output: Path, **options: Any) -> Report:
    fritz = {**skyportal.config, "page": 3, "retries": 0, **options.pop("fritz", {})}
    kowalski = {"cache": None, **options.pop("kowalski", {})}
    values = {"output": str(output), "service": {"fritz": fritz, "kowalski": kowalski}, **options}
    return run(build(FritzDownload, values), progress=NullProgress())


def rows(path: Path) -> list[dict[str, Any]]:
    return read_table(path).data.to_pylist()


def fill(skyportal: Any, n: int, group: str = "Variables", first: int = 0) -> list[str]:
    names = [f"ZTFJ{number:03d}" for number in range(first, first + n)]
    skyportal.add_many(
        "source",
        [
            {"obj_id": name, "ra": 10.0 + 0.1 * place, "dec": 60.0, "groups": [group]}
            for place, name in enumerate(names)
        ],
    )
    return names


def test_several_groups_come_as_one_and_labellers_are_users(skyportal: Any, tmp_path: Path) -> None:
    mine, others = fill(skyportal, 4), fill(skyportal, 4, "Follow-up", 10)
    skyportal.add(
        "classification", obj_id=mine[1], classification="RRab", probability=0.0, votes={"astronomer": 1, "scope": 1}
    )
    skyportal.add("classification", obj_id=mine[1], classification="RRc")
    skyportal.add("classification", obj_id=others[0], classification="eclipsing", probability=0.5)
    skyportal.add("classification", obj_id=others[0], classification="Supernova")
    skyportal.add("annotation", obj_id=mine[1], origin="old", data={"period": 0.6, "periods": 3})
    skyportal.add("annotation", obj_id=mine[1], origin="new", data={"period": 0.3})
    began = skyportal.n_requests
    report = download(skyportal, tmp_path / "f", groups=("Variables", skyportal.groups["Follow-up"], "Variables"))
    pages = [one for one in skyportal.requests_since(began) if one["path"].endswith("/sources")]
    assert len(pages) == 3
    assert (report.n_in, report.n_out, report.facts["groups"]) == (8, 8, {"Variables": 4, "Follow-up": 4})
    assert report.facts["unknown_classes"] == {"Supernova": 1}
    found = {row["obj_id"]: row for row in rows(tmp_path / "f" / "sources.parquet")}
    assert set(found) == {*mine, *others}
    users = skyportal.users
    assert set(found[mine[1]]["labellers"].split(";")) == {str(users["astronomer"]), str(users["scope"])}
    voted = found[mine[1]]
    assert (voted["rrab"], voted["rrab_votes"]) == (0.0, 2), "a probability of 0 is one"
    assert (voted["rrc"], voted["rrc_votes"]) == (None, 0), "none given"
    assert (voted["rrd"], voted["rrd_votes"]) == (None, None), "not classified so"
    assert (voted["period"], voted["period_origin"]) == (0.3, "new")
    assert [row["period"] for row in rows(tmp_path / "f" / "periods.parquet")] == [0.6, 0.3]
    one = found[others[0]]
    assert (one["e"], one["bis"]) == (0.5, None), "names that differ by case are two classes"
    assert len(rows(tmp_path / "f" / "classifications.parquet")) == 4
    assert not list(tmp_path.rglob("*.parts"))


def test_scope_columns(skyportal: Any, tmp_path: Path) -> None:
    names = fill(skyportal, 2)
    skyportal.add("classification", obj_id=names[0], classification="RRab", probability=0.25, votes={"scope": -1})
    skyportal.add("classification", obj_id=names[0], classification="variable", votes={"scope": 1})
    skyportal.add("annotation", obj_id=names[0], origin="a", data={"period": 0.5})
    skyportal.add("annotation", obj_id=names[0], origin="b", data={"period": 1.5})
    download(skyportal, tmp_path / "s.csv", groups="Variables", names="legacy")
    found = {row["obj_id"]: row for row in csv.DictReader((tmp_path / "s.csv").read_text().splitlines())}
    one, other = found[names[0]], found[names[1]]
    assert list(one)[:9] == (
        ["obj_id", "ra", "dec", "classification", "probability", "period_origin", "period", "labellers", "sum_votes"]
    )
    pairs = list(
        zip(one["classification"].split(";"), one["probability"].split(";"), one["sum_votes"].split(";"), strict=True)
    )
    assert sorted(pairs) == [("RRab", "0.25", "-1"), ("variable", "", "1")]
    assert (one["period_origin"], one["period"]) == ("a;b", "0.5;1.5")
    assert (float(one["RR Lyrae ab"]), one["variable"], float(one["RR Lyrae"])) == (0.25, "", 0.0)
    assert [other[name] for name in ("classification", "labellers", "sum_votes")] == ["", "", ""]
    assert "nice" not in one


def test_rows_of_a_file_are_found_or_named(skyportal: Any, tmp_path: Path) -> None:
    names = fill(skyportal, 4)
    skyportal.add("source", obj_id="ZTFJ9", ra=10.1 + 1.5 / 3600, dec=60.0)
    skyportal.add("classification", obj_id=names[1], classification="RRab", votes={"scope": 1})
    lines = ["obj_id,ra,dec,mine", f"{names[0]},,,a", ",10.1,60.00001,b", "nobody,10.2,60,c", "nobody,,,d", ",,,e"]
    lines += [",10.1,95,f", f"{names[0]},,,g", ",200,60,h", ",13:20:00,+60:00:00,i"]
    lines += ["nobody,10.1,95,j"]
    (tmp_path / "stars.csv").write_text("\n".join(lines) + "\n")
    report = download(skyportal, tmp_path / "f.h5", file=str(tmp_path / "stars.csv"))
    found = rows(tmp_path / "f.h5")
    assert [(row["obj_id"], row["mine"]) for row in found] == [(names[0], "a"), (names[1], "b"), (names[2], "c")]
    assert str(skyportal.users["scope"]) in found[1]["labellers"].split(";"), "also where the position found it"
    missed = {row["row"]: row["reason"] for row in rows(tmp_path / "f.not_found.h5")}
    assert missed == {
        4: "not_found",
        5: "no_name_and_no_position",
        6: "no_place_on_the_sky",
        7: "repeated",
        8: "not_found",
        9: "not_found",
        10: "not_found",
    }
    detail = rows(tmp_path / "f.not_found.h5")[-1]["detail"]
    assert ("no source nobody" in detail, "declination" in detail) == (True, True)
    assert report.n_in == 10 == report.n_out + sum(report.dropped.values())
    (tmp_path / "none.csv").write_text("star,magnitude\na,1\n")
    with pytest.raises(SchemaError, match=r"neither names .* nor positions"):
        download(skyportal, tmp_path / "g.h5", file=str(tmp_path / "none.csv"))
    with pytest.raises(EmptySelectionError, match="start=10"):
        download(skyportal, tmp_path / "g.h5", file=str(tmp_path / "stars.csv"), start=10)


def test_a_stopped_download_goes_on_and_sources_that_move_are_neither_lost_nor_doubled(
    skyportal: Any, tmp_path: Path
) -> None:
    names = fill(skyportal, 11)
    skyportal.faults.add(kind="html", status=503, path="sources", after=2)
    with pytest.raises(ServiceUnavailableError):
        download(skyportal, tmp_path / "f", groups="Variables")
    assert not (tmp_path / "f" / "sources.parquet").exists()
    skyportal.faults.clear()
    began = skyportal.n_requests
    assert download(skyportal, tmp_path / "g", groups="Variables").n_out == 11
    whole = skyportal.n_requests - began
    began = skyportal.n_requests
    report = download(skyportal, tmp_path / "f", groups="Variables")
    assert skyportal.n_requests - began == whole - 2
    found = [row["obj_id"] for row in rows(tmp_path / "f" / "sources.parquet")]
    assert sorted(found) == names
    assert (report.n_in, report.facts["n_lacking"]) == (11, 0)
    # One that is saved meanwhile comes first and moves all others by one.
    skyportal.faults.add(kind="html", status=503, path="sources", after=2)
    with pytest.raises(ServiceUnavailableError):
        download(skyportal, tmp_path / "h", groups="Variables")
    skyportal.faults.clear()
    new = fill(skyportal, 2, first=50)
    report = download(skyportal, tmp_path / "h", groups="Variables")
    found = [row["obj_id"] for row in rows(tmp_path / "h" / "sources.parquet")]
    assert sorted(found) == [*names, *new]
    assert (report.n_in, report.n_out, report.facts["n_lacking"]) == (13, 13, 0)


def test_rows_that_were_answered_are_not_asked_again(
    skyportal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scope_ml.stages.fritz_fetch.BLOCK_ROWS", 2)
    names = fill(skyportal, 7)
    (tmp_path / "stars.csv").write_text("obj_id\n" + "\n".join(names) + "\n")
    skyportal.faults.add(kind="html", status=503, path="sources", after=4)
    with pytest.raises(ServiceUnavailableError):
        download(skyportal, tmp_path / "f.csv", file=str(tmp_path / "stars.csv"), fritz={"connections": 1})
    skyportal.faults.clear()
    began = skyportal.n_requests
    report = download(skyportal, tmp_path / "f.csv", file=str(tmp_path / "stars.csv"))
    asked = [one["path"] for one in skyportal.requests_since(began) if "/sources/" in one["path"]]
    assert sorted(path.rpartition("/")[2] for path in asked) == names[4:]
    assert report.n_out == 7


def test_wrong_groups_and_tokens_are_told_and_empty_groups_are_no_error(
    skyportal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="did you mean 'Variables'"):
        download(skyportal, tmp_path / "f", groups="Variable")
    with pytest.raises(ConfigError, match=r"not in the group Closed|no group 'Closed'"):
        download(skyportal, tmp_path / "f", groups=("Variables", "Closed"))
    report = download(skyportal, tmp_path / "f", groups="Follow-up")
    assert report.n_out == 0
    assert any("no source is saved to Follow-up" in line for line in report.warnings)
    assert rows(tmp_path / "f" / "sources.parquet") == []
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if skyportal.token.encode() in path.read_bytes()]
    monkeypatch.setenv(skyportal.variable, "00000000-0000-0000-0000-00000000dead")
    with pytest.raises(CredentialError) as caught:
        download(skyportal, tmp_path / "g", groups="Variables")
    assert "dead" not in str(caught.value)


def test_start_leaves_pages_out(skyportal: Any, tmp_path: Path) -> None:
    fill(skyportal, 8)
    assert download(skyportal, tmp_path / "f", groups="Variables", start=1).n_out == 8
    assert download(skyportal, tmp_path / "f", groups="Variables", start=3).n_out == 2
    (warning,) = download(skyportal, tmp_path / "f", groups="Variables", start=9).warnings
    assert "on page 9 or later" in warning


def test_features_of_kowalski_and_light_curves_of_the_nearest_source(
    skyportal: Any, kowalski: Any, tmp_path: Path
) -> None:
    fields = {"median": 15.0, "period_ELS_ECE_EAOV": 0.5, "field": 301, "ccd": 1, "quad": 1}
    name = "fritz_download_features"
    # Far north a degree of right ascension is short: 3 of the source's arcsec lie within 2 on the sky.
    places = {
        1: (10.0, 80.0),
        2: (10.0 + 3.0 / 3600, 80.0),
        3: (10.0 + 9.0 / 3600, 80.0),
        4: (0.0001, 10.0),
        5: (20.0, 0.0),
    }
    documents = [
        {
            "_id": key,
            "ra": ra,
            "dec": dec,
            **fields,
            "coordinates": {"radec_geojson": {"type": "Point", "coordinates": [ra - 180.0, dec]}},
        }
        for key, (ra, dec) in places.items()
    ]
    kowalski.insert(name, documents)
    skyportal.add("source", obj_id="A_1.5", ra=10.0, dec=80.0)
    skyportal.add("source", obj_id="B.2_x", ra=10.0 + 6.0 / 3600, dec=80.0)
    skyportal.add("source", obj_id="C", ra=359.9999, dec=10.0)
    skyportal.add("source", obj_id="D", ra=50.0, dec=10.0)
    skyportal.add("classification", obj_id="A_1.5", classification="RRab", probability=0.7)
    options = {
        "groups": "Variables",
        "features": "kowalski",
        "catalog": name,
        "kowalski": {"instances": kowalski.instances, "cache": None},
    }
    try:
        report = download(skyportal, tmp_path / "f", **options)
        found = {row["id"]: row for row in rows(tmp_path / "f" / "merged.parquet")}
        assert {key: row["obj_id"] for key, row in found.items()} == {1: "A_1.5", 2: "A_1.5", 3: "B.2_x", 4: "C"}
        assert (found[2]["ra"], found[2]["rrab"], found[2]["median"]) == (10.0, 0.7, 15.0)
        assert (report.facts["n_contested"], report.facts["n_without_features"]) == (3, 1)
        began = kowalski.n_requests
        report = download(skyportal, tmp_path / "f", **options, names="legacy")
        finds = [one for one in kowalski.requests_since(began) if one.get("query_type") == "find"]
        assert len(finds) <= 2, "the features are there already"
        merged = read_table(tmp_path / "f" / "merged.parquet", kind="features").data
        assert merged.column_names[-1] == "ztf_id"
        assert sorted(zip(merged["ztf_id"].to_pylist(), merged["RR Lyrae ab"].to_pylist(), strict=True)) == [
            (1, 0.7),
            (2, 0.7),
            (3, 0.0),
            (4, 0.0),
        ]
    finally:
        kowalski.remove(name)
