"""Files of sources: what was really listed, in both layouts; what fails is named, what is finished stays."""

from __future__ import annotations

import json
import os
import random

import h5py
import numpy as np
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.errors import (
    ConfigError,
    CredentialError,
    FormatError,
    JobError,
    OutputError,
    ServiceUnavailableError,
)
from scope_ml.io.output_lock import output_lock
from scope_ml.io.tables import read_table
from scope_ml.stages import source_files, source_lists
from scope_ml.stages.get_quad_ids import GetQuadIds, run
from scope_ml.stages.number_ranges import number_list
from scope_ml.stages.requested_sources import read_request

#: (field, ccd, quad) -> sources; ccd 1 quad 2 and all of field 303 are empty.
PLACES = {(301, 1, 1): 12, (301, 2, 1): 7, (301, 2, 2): 3, (302, 1, 1): 4}


@pytest.fixture
def service(memory_kowalski, quadrant_documents, monkeypatch):
    documents = [one for place, n in PLACES.items() for one in quadrant_documents(*place, n)]
    random.Random(2).shuffle(documents)
    service = memory_kowalski(documents)
    monkeypatch.setattr(source_lists, "KowalskiClient", lambda config: service)
    return service


def listed(folder, **options):
    values = {
        "source": {"kind": "kowalski", "path": None},
        "field": 301,
        "ccd": "1-2",
        "quad": "1-2",
        "output": str(folder),
        "page": 5,
    }
    return run(build(GetQuadIds, {**values, **options}), progress=NullProgress())


def ids(service, **place):
    rows = [one for one in service.documents if all(one[name] == value for name, value in place.items())]
    return sorted(one["_id"] for one in rows)


def test_one_table_a_quadrant_and_what_was_written(service, tmp_path):
    report = listed(tmp_path)
    assert (report.n_in, report.n_out, report.dropped, report.warnings) == (22, 22, {}, ())
    assert (report.facts["n_files"], report.facts["n_files_without_sources"], report.facts["n_failed"]) == (4, 1, 0)
    folder = tmp_path / "field_000301"
    names = [f"ccd_{ccd:02d}_quad_{quad}.parquet" for ccd in (1, 2) for quad in (1, 2)]
    assert sorted(path.name for path in folder.iterdir()) == [*names, "meta.json"]
    table = read_table(folder / names[0], kind="sources")
    assert table.data["id"].to_pylist() == ids(service, field=301, ccd=1, quad=1)
    assert table.metadata.facts["counted"] == 12
    assert {column.name: column.unit for column in table.metadata.columns}["ra"] == "deg"
    meta = json.loads((folder / "meta.json").read_text())
    assert {name: meta[name] for name in ("catalog", "minobs", "field", "ccd_range", "quad_range", "total")} == {
        "catalog": "ZTF_sources_20240117",
        "minobs": 20,
        "field": 301,
        "ccd_range": [1, 2],
        "quad_range": [1, 2],
        "total": 22,
    }
    assert meta["ccd"] == {"1": {"quad": {"1": 12, "2": 0}}, "2": {"quad": {"1": 7, "2": 3}}}


def test_a_quadrant_has_the_same_file_alone_and_among_others(service, tmp_path):
    listed(tmp_path / "all", field="301-302", ccd="1-3")
    listed(tmp_path / "one", ccd=2, quad=1, page=1000)
    name = "field_000301/ccd_02_quad_1.parquet"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "all" / name).read_bytes()


@pytest.mark.parametrize("form", ["parquet", "hdf5", "csv"])
def test_the_files_name_sources_for_generate_features(service, tmp_path, form):
    listed(tmp_path, format=form, ccd=1, quad=1)
    (path,) = [path for path in (tmp_path / "field_000301").glob("ccd_01_quad_1.*") if path.suffix != ".json"]
    request = read_request(path, radius_arcsec=2.0)
    assert request.selection.ids.to_pylist() == ids(service, field=301, ccd=1, quad=1)


def test_files_of_scope(service, tmp_path):
    listed(tmp_path, layout="scope", ccd=1, quad=1)
    folder = tmp_path / "ids" / "field_301"
    assert sorted(path.name for path in folder.iterdir()) == [
        "data_ccd_01_quad_1.h5",
        "data_ccd_1_quad_1_field_301.csv",
        "meta.json",
    ]
    wanted = ids(service, field=301, ccd=1, quad=1)
    with h5py.File(folder / "data_ccd_01_quad_1.h5") as file:
        assert list(file) == ["dataset_ccd_1_quad_1_field_301"]
        held = file["dataset_ccd_1_quad_1_field_301"][()]
    assert (held.dtype, held.tolist()) == (np.int64, wanted)
    text = (folder / "data_ccd_1_quad_1_field_301.csv").read_text()
    assert text == "".join(f"{one}\n" for one in wanted)
    listed(tmp_path, layout="scope", format="hdf5", whole_field=True)
    with h5py.File(folder / "field_301.h5") as file:
        held = file["dataset_field_301"][()]
    assert (held.dtype, held.tolist()) == (np.int64, ids(service, field=301))


def test_whole_field(service, tmp_path):
    report = listed(tmp_path, whole_field=True, skip=5, limit=10, field="301-302")
    table = read_table(tmp_path / "field_000301" / "field_000301.parquet").data
    assert table["id"].to_pylist() == ids(service, field=301)[5:15]
    assert read_table(tmp_path / "field_000302" / "field_000302.parquet").data.num_rows == 0
    assert (report.n_in, report.n_out) == (10, 10)
    meta = json.loads((tmp_path / "field_000301" / "meta.json").read_text())
    assert meta["ccd"] == {"1": {"quad": {"1": 7, "2": 0}}, "2": {"quad": {"1": 3, "2": 0}}}
    assert meta["total"] == 10
    report = listed(tmp_path, skip=5, limit=10, field=301)
    meta = json.loads((tmp_path / "field_000301" / "meta.json").read_text())
    assert meta["total"] == report.n_out != 10


def test_what_is_finished_is_not_asked_again(service, tmp_path):
    first = listed(tmp_path, ccd=1)
    service.queries.clear()
    assert listed(tmp_path, ccd=1).record() == first.record().replace('_before": 0', '_before": 2')
    assert service.queries == []
    listed(tmp_path)
    assert {query["query"]["filter"]["ccd"] for query in service.queries} == {2}
    meta = json.loads((tmp_path / "field_000301" / "meta.json").read_text())
    assert meta["total"] == 22
    service.queries.clear()
    report = listed(tmp_path, refresh=True)
    assert service.kinds()["count_documents"] == 4
    assert report.warnings == ()


def test_another_version_is_made_again_and_said(service, tmp_path, quadrant_documents):
    listed(tmp_path)
    service.edition = "2"
    service.documents += [dict(quadrant_documents(301, 1, 2, 1)[0])]
    report = listed(tmp_path, ccd=1)
    assert report.n_out == 13
    assert report.warnings[0].startswith(
        "2 files had been made with other options or data and were made again: field 301 ccd 1"
    )
    assert "2 files of other options or data stay beside them" in report.warnings[1]
    meta = json.loads((tmp_path / "field_000301" / "meta.json").read_text())
    assert (meta["total"], meta["ccd"]) == (13, {"1": {"quad": {"1": 12, "2": 1}}})
    assert len(meta["files"]) == 4


def test_files_that_were_changed_or_are_gone_are_made_again(service, tmp_path):
    listed(tmp_path)
    folder = tmp_path / "field_000301"
    (folder / "ccd_01_quad_1.parquet").unlink()
    with (folder / "ccd_02_quad_1.parquet").open("ab") as file:
        file.write(b"x")
    report = listed(tmp_path)
    assert report.facts["n_files_finished_before"] == 2
    assert "1 files had been made" in report.warnings[0]
    assert read_table(folder / "ccd_01_quad_1.parquet").data.num_rows == 12


def test_a_quadrant_that_fails_is_named_and_the_others_go_on(service, tmp_path):
    def fault(query):
        if query["query"]["filter"].get("ccd") == 2 and query["query"]["filter"]["quad"] == 1:
            raise ServiceUnavailableError("kowalski does not answer")

    service.fault = fault
    report = listed(tmp_path)
    assert report.facts["failed"] == ["field 301 ccd 2 quad 1: kowalski does not answer"]
    assert (report.facts["n_failed"], report.n_in, report.n_out) == (1, 15, 15)
    assert "1 of 4 files are not complete; type the same command again" in report.warnings[-1]
    assert not (tmp_path / "field_000301" / "ccd_02_quad_1.parquet").exists()
    whole = listed(tmp_path / "whole", whole_field=True)
    assert whole.facts["failed"] == ["field 301: 1 of its quadrants: kowalski does not answer"]
    assert (whole.n_in, whole.n_out) == (0, 0)
    service.fault = lambda query: None
    service.queries.clear()
    report = listed(tmp_path)
    assert (report.n_out, report.facts["n_files_finished_before"], report.facts["n_failed"]) == (22, 3, 0)
    assert {query["query"]["filter"]["ccd"] for query in service.queries} == {2}


def test_sources_that_are_counted_but_not_listed(service, tmp_path):
    find = service._find
    service._find = lambda query, kwargs: [one for one in find(query, kwargs) if one["_id"] % 10]
    report = listed(tmp_path, ccd=1, quad=1, page=1000)
    n_short = sum(one % 10 == 0 for one in ids(service, field=301, ccd=1, quad=1))
    assert n_short
    assert (report.n_in, report.n_out, report.dropped) == (12, 12 - n_short, {"not_listed": n_short})
    assert report.facts["n_failed"] == 1
    assert f"{n_short} of 12 sources are counted but not listed" in report.facts["failed"][0]
    service._find = find
    assert listed(tmp_path, ccd=1, quad=1).n_out == 12


def test_what_would_fail_every_quadrant_stops(service, tmp_path):
    def fault(query):
        raise CredentialError("export KOWALSKI_INSTANCE_TOKEN=...")

    service.fault = fault
    with pytest.raises(CredentialError):
        listed(tmp_path)


def test_a_service_that_is_down_stops_the_run(service, tmp_path):
    def fault(query):
        raise ServiceUnavailableError("kowalski does not answer")

    service.fault = fault
    with pytest.raises(
        ServiceUnavailableError, match="8 pieces of work in a row had no answer, the last: kowalski does not"
    ):
        listed(tmp_path, ccd="1-16", quad="1-4")
    # Those on their way are let go; the other 48 quadrants are not tried.
    assert len(service.queries) <= 20


def test_many_failures_that_are_not_in_a_row_do_not_stop_the_run(service, tmp_path):
    def fault(query):
        if query["query"]["filter"]["quad"] != 4:
            raise ServiceUnavailableError("kowalski does not answer")

    service.fault = fault
    report = listed(tmp_path, ccd="1-16", quad="1-4")
    assert (report.facts["n_failed"], report.facts["n_files"]) == (48, 16)


def test_a_file_that_is_being_written_does_not_pass_for_finished(service, tmp_path, monkeypatch):
    listed(tmp_path, ccd=1, quad=1)

    def killed(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(source_files.FolderLayout, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            listed(tmp_path, ccd=1, quad=1, refresh=True)
    service.queries.clear()
    assert listed(tmp_path, ccd=1, quad=1).facts["n_files_finished_before"] == 0
    assert service.queries


@pytest.mark.parametrize("change", [{"min_obs": 55}, {"skip": 1}, {"limit": 3}], ids=str)
def test_other_options_make_a_file_again(service, tmp_path, change):
    listed(tmp_path, ccd=1, quad=1)
    wanted = {"min_obs": 7, "skip": 11, "limit": 3}[next(iter(change))]
    assert listed(tmp_path, ccd=1, quad=1, **change).n_out == wanted


def test_nothing_there_is_said_and_no_error(service, tmp_path):
    report = listed(tmp_path, field=303)
    assert (report.n_in, report.n_out, report.facts["n_failed"]) == (0, 0, 0)
    assert report.warnings == (
        "ZTF_sources_20240117 has no sources with 20 observations or more in field 303 ccd 1 quad 1 and 3 others",
    )


def test_progress_counts_quadrants(service, tmp_path):
    class Told(NullProgress):
        seen = []

        def start(self, what, total=None):
            self.seen.append((what, total))

        def advance(self, amount=1):
            self.seen.append(amount)

    run(
        build(
            GetQuadIds, {"source": {"kind": "kowalski", "path": None}, "field": 301, "ccd": 1, "output": str(tmp_path)}
        ),
        progress=Told(),
    )
    assert Told.seen == [("listing sources of ZTF_sources_20240117", 4), 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ccd": 17}, "ccd=17: ccd 17 does not exist; it is 1 to 16"),
        ({"quad": [1, 5]}, "quad=5: quad 5 does not exist; it is 1 to 4"),
        ({"quad": "0-2"}, "quad 0 does not exist"),
        ({"ccd": "4-2"}, "type ccd=2-4"),
        ({"ccd": "one"}, "ccd='one' is not a whole number or a range"),
        ({"ccd": []}, "ccd is an empty list"),
        ({"field": -3}, "field -3 does not exist"),
        ({"field": "1-2-3"}, "is not a whole number or a range"),
        ({"min_obs": -1}, "min_obs=-1 is not a whole number of at least 0"),
        ({"limit": 0}, "limit=0"),
        ({"layout": "scope", "format": "parquet"}, "layout=scope has no Parquet files"),
        ({"output": "o.parquet"}, "output=o.parquet is a file"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_input_is_one_line_before_anything_is_asked(service, tmp_path, options, message):
    with pytest.raises(ConfigError) as caught:
        listed(tmp_path, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert service.queries == []


def test_an_output_that_cannot_be_written_is_found_before_anything_is_asked(service, tmp_path):
    (tmp_path / "field_000301").write_text("in the way")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        listed(tmp_path)
    assert service.queries == []


def test_a_field_is_written_by_one_run_at_a_time(service, tmp_path):
    folder = tmp_path / "field_000301"
    with output_lock(folder, folder), pytest.raises(JobError, match=f"is being written by process {os.getpid()}"):
        listed(tmp_path)
    assert listed(tmp_path, field=302).n_out == 4
    assert not list(tmp_path.rglob("lock"))


def test_a_broken_meta_file_is_named(service, tmp_path):
    listed(tmp_path)
    path = tmp_path / "field_000301" / "meta.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(FormatError, match=r"meta.json cannot be read .* remove it"):
        listed(tmp_path)


def test_a_meta_file_of_scope_is_taken_over(service, tmp_path):
    folder = tmp_path / "ids" / "field_301"
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"catalog": "c", "minobs": 20, "ccd": {}, "total": 5}))
    assert listed(tmp_path, layout="scope").n_out == 22
    assert json.loads((folder / "meta.json").read_text())["total"] == 22


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        (3, (3,)),
        ("3", (3,)),
        ("1-4", (1, 2, 3, 4)),
        ([4, "1-2", 2], (1, 2, 4)),
        ("1,3 - 4", (1, 3, 4)),
        ("16-16", (16,)),
    ],
    ids=str,
)
def test_numbers_as_people_type_them(given, numbers):
    assert number_list(given, "ccd", range(1, 17)) == numbers
