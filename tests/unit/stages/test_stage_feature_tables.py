"""Targets of one table and of many: what is finished stays, what fails is recorded, what is killed goes on."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from quadrant_curves import LIST, light_curves, write_quadrants

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.errors import (
    ConfigError,
    FormatError,
    JobError,
    MissingColumnError,
    OutputError,
    SchemaError,
    ServiceError,
)
from scope_ml.features.crossmatch import crossmatch_columns
from scope_ml.io import run_log
from scope_ml.io.lightcurves import Chunk
from scope_ml.io.output_lock import output_lock
from scope_ml.io.run_log import read_run_log
from scope_ml.io.tables import read_table
from scope_ml.stages import feature_sources, feature_tables, generate_features
from scope_ml.stages.generate_features import GenerateFeatures, run

#: (ccd, quad) -> light curves; of those of the second, two are too short.
QUADRANTS = {(1, 1): 7, (1, 2): 5, (2, 3): 4}
N_ALL = sum(QUADRANTS.values())


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_quadrants(QUADRANTS, tmp_path_factory.mktemp("light_curves") / "curves.parquet")


@pytest.fixture
def quadrants(tmp_path):
    (tmp_path / "list.txt").write_text(LIST)
    return {"kind": "quadrant_list", "path": str(tmp_path / "list.txt")}


def values_for(source, output, target=None, *, shard=3, groups=("basic", "period", "colour"), **options):
    return {
        "source": {"path": str(source)} if not isinstance(source, dict) else source,
        "output": str(output),
        "target": target or {},
        "cleaning": {"min_n_obs": 30, "min_cadence_minutes": 0},
        "period_search": {"method": "ls", "max_frequency": 1.0, "samples_per_peak": 3},
        "features": {"groups": list(groups)},
        "machine": {"workers": 1, "device": "cpu", "max_batch_sources": shard},
        **options,
    }


def generate(*given, progress=None, **options):
    return run(build(GenerateFeatures, values_for(*given, **options)), progress=progress or NullProgress())


def outputs(folder):
    """The bytes of all that counts as result."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith(".log.jsonl"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def rows_of(path):
    return str(read_table(path).data.to_pylist())


def table(folder, ccd, quad):
    return folder / "field_000250" / f"ccd_{ccd:02d}_quad_{quad}.parquet"


def test_each_quadrant_has_its_table_and_the_report_adds_up(source, tmp_path, quadrants):
    folder = tmp_path / "features"
    report = generate(source, folder, quadrants)
    assert (report.n_in, report.n_out, dict(report.dropped)) == (N_ALL, N_ALL - 2, {"too_few_points": 2})
    assert report.facts["n_quadrants"] == 4
    assert report.facts["n_quadrants_without_light_curves"] == 1
    assert (report.facts["n_failed"], report.facts["failed"]) == (0, [])
    assert report.facts["points_in"] == light_curves(N_ALL).n_points
    assert sum(report.facts["points_dropped"].values()) == 0
    assert report.outputs == {"features": str(folder)}
    names = [f"ccd_0{ccd}_quad_{quad}.parquet" for ccd, quad in ((1, 1), (1, 2), (2, 3), (4, 4))]
    ends = ("", ".dropped.parquet", ".light_curves.parquet", ".report.json")
    assert sorted(outputs(folder)) == sorted(f"field_000250/{name}{end}" for name in names for end in ends)
    for (ccd, quad), n_light_curves in {**QUADRANTS, (4, 4): 0}.items():
        one = read_table(table(folder, ccd, quad), kind="features")
        dropped = read_table(folder / "field_000250" / f"{table(folder, ccd, quad).name}.dropped.parquet").data
        assert one.data.num_rows + dropped.num_rows == n_light_curves
        assert set(zip(one.data["ccd"].to_pylist(), one.data["quad"].to_pylist(), strict=True)) <= {(ccd, quad)}
        assert one.metadata.facts["target"] == {"kind": "quadrant", "field": 250, "ccd": ccd, "quad": quad}
        assert one.metadata.inputs[0].n_rows == n_light_curves
        written = json.loads((folder / "field_000250" / f"{one_name(ccd, quad)}.report.json").read_text())
        assert written["n_in"] == n_light_curves
    empty, full = read_table(table(folder, 4, 4)), read_table(table(folder, 1, 1))
    assert empty.data.schema.equals(full.data.schema, check_metadata=True)
    assert empty.metadata.facts["features"] == full.metadata.facts["features"]


def one_name(ccd, quad):
    return f"ccd_{ccd:02d}_quad_{quad}.parquet"


def test_a_quadrant_alone_has_the_same_rows_and_may_be_empty(source, tmp_path, quadrants):
    generate(source, tmp_path / "features", quadrants)
    target = {"kind": "quadrant", "field": 250, "ccd": 1, "quad": 2}
    report = generate(source, tmp_path / "one.parquet", target)
    assert (report.n_in, report.n_out) == (5, 3)
    assert rows_of(tmp_path / "one.parquet") == rows_of(table(tmp_path / "features", 1, 2))
    report = generate(source, tmp_path / "none.parquet", {**target, "ccd": 9})
    assert (report.n_in, report.n_out) == (0, 0)
    assert report.warnings == ("the source holds no light curves of field 250 ccd 9 quad 2",)
    assert read_table(tmp_path / "none.parquet").data.num_rows == 0


def test_a_run_does_not_write_over_what_it_reads(source, tmp_path):
    before = source.read_bytes()
    with pytest.raises(ConfigError, match=r"would be written over, which source\.path names"):
        generate(source, source)
    assert source.read_bytes() == before
    wanted = tmp_path / "wanted.csv"
    wanted.write_text(f"ztf_id\n{2**53 + 1}\n")
    with pytest.raises(ConfigError, match=r"would be written over, which target\.path names"):
        generate(source, wanted, {"kind": "source_ids", "path": str(wanted)}, groups=("basic", "period"))
    output = tmp_path / "f.parquet"
    for log in (output, source, tmp_path / "f.parquet.report.json"):
        with pytest.raises(ConfigError, match="is another file of this run"):
            generate(source, output, run_log=str(log))
    assert [path.name for path in tmp_path.iterdir()] == ["wanted.csv"]


@pytest.mark.parametrize("output", [".", "/", "f.txt"])
def test_a_name_that_no_table_can_have_is_refused(source, output):
    with pytest.raises(FormatError, match="has the suffix"):
        generate(source, output)


def test_finished_quadrants_are_not_made_again(source, tmp_path, quadrants, monkeypatch):
    folder = tmp_path / "features"
    generate(source, folder, {**quadrants, "index": 3})
    assert not table(folder, 1, 1).exists()
    before = table(folder, 2, 3).stat().st_mtime_ns
    report = generate(source, folder, quadrants)
    assert report.facts["n_quadrants_finished_before"] == 1
    assert (report.n_in, report.n_out) == (N_ALL, N_ALL - 2)
    assert table(folder, 2, 3).stat().st_mtime_ns == before
    first = outputs(folder)

    def never(*_, **__):
        raise AssertionError("measured again")

    monkeypatch.setattr(feature_tables, "measure_table", never)
    # Other shards make the same table.
    again = generate(source, folder, quadrants, shard=50)
    assert again.facts["n_quadrants_finished_before"] == 4
    assert (again.n_in, again.n_out, again.dropped) == (report.n_in, report.n_out, report.dropped)
    assert again.facts["points_in"] == report.facts["points_in"]
    assert outputs(folder) == first


def test_quadrants_of_other_options_are_refused_and_broken_ones_made_again(source, tmp_path, quadrants):
    folder = tmp_path / "features"
    generate(source, folder, quadrants, limit=2)
    before = outputs(folder)
    expected = tmp_path / "expected"
    generate(source, expected, quadrants)
    refused = generate(source, folder, quadrants)
    assert (refused.facts["n_failed"], refused.n_in) == (4, 0)
    old, new = (read_table(table(one, 1, 1)).metadata.facts["made_with"]["all"][:12] for one in (folder, expected))
    assert refused.facts["failed"][0] == (
        f"field 250 ccd 1 quad 1: {table(folder, 1, 1)} is stale: made with other options ({old}, now {new});"
        " give another output, or type stale=remake to make it again"
    )
    assert outputs(folder) == before
    report = generate(source, folder, quadrants, stale="remake")
    assert (report.facts["n_quadrants_finished_before"], report.facts["n_failed"]) == (0, 0)
    assert any(line.startswith("4 quadrants had been made with other options") for line in report.warnings)
    assert outputs(folder) == outputs(expected)
    table(folder, 1, 1).write_bytes(b"PAR1")
    (folder / "field_000250" / f"{one_name(1, 2)}.report.json").write_text("{")
    (folder / "field_000250" / f"{one_name(2, 3)}.dropped.parquet").unlink()
    assert generate(source, folder, quadrants).facts["n_quadrants_finished_before"] == 1
    assert outputs(folder) == outputs(expected)


def irsa(folder, ccd, quad, *, cut=False):
    path = folder / "field000250" / f"ztf_000250_zg_c{ccd:02d}_q{quad}_dr5.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    n, n_obs = 3, 40
    random = np.random.default_rng(ccd)
    hmjd = [np.sort(random.uniform(58000, 58100, n_obs)) for _ in range(n)]
    lists = {
        "hmjd": hmjd,
        "mag": [random.normal(16, 0.1, n_obs).astype(np.float32) for _ in range(n)],
        "magerr": [np.full(n_obs, 0.05, np.float32)] * n,
        "catflags": [np.zeros(n_obs, np.uint16)] * n,
    }
    scalars = {
        "objectid": np.arange(n, dtype=np.int64) + 1000 * ccd,
        "filterid": np.ones(n, np.int8),
        "fieldid": np.full(n, 250, np.int16),
        "rcid": np.full(n, 4 * (ccd - 1) + quad - 1, np.int8),
        "objra": np.full(n, 10.0, np.float32),
        "objdec": np.full(n, 4.0, np.float32),
    }
    pq.write_table(pa.table({**scalars, **{name: list(values) for name, values in lists.items()}}), path)
    if cut:
        path.write_bytes(path.read_bytes()[:-200])


def test_a_quadrant_that_fails_is_recorded_and_the_others_go_on(tmp_path, quadrants):
    for ccd, quad in ((1, 1), (1, 2), (4, 4), (2, 3)):
        irsa(tmp_path / "irsa", ccd, quad, cut=(ccd, quad) == (1, 2))
    folder = tmp_path / "features"
    source = {"kind": "irsa", "path": str(tmp_path / "irsa"), "layout": "irsa"}
    report = generate(source, folder, quadrants)
    assert (report.n_in, report.facts["n_quadrants"], report.facts["n_failed"]) == (9, 3, 1)
    assert report.facts["failed"][0].startswith("field 250 ccd 1 quad 2: ")
    assert "ztf_000250_zg_c01_q2_dr5.parquet" in report.facts["failed"][0]
    assert report.warnings[-1] == "1 of 4 quadrants failed; mend it and type the same command again"
    assert not table(folder, 1, 2).exists()
    assert not list(folder.rglob("*.parts"))
    (failed,) = (event for event in read_run_log(folder / "run.log.jsonl") if event["event"] == "failed")
    assert failed["where"] == {"field": 250, "ccd": 1, "quad": 2}
    # Where nothing else is left, the quadrant that is empty is named, not the one that failed.
    (tmp_path / "list.txt").write_text("250 1 2\n250 9 1\n")
    report = generate(source, tmp_path / "others", quadrants)
    assert report.warnings[0] == "the source holds no light curves of field 250 ccd 9 quad 1"
    (tmp_path / "list.txt").write_text(LIST)
    irsa(tmp_path / "irsa", 1, 2)
    report = generate(source, folder, quadrants)
    assert (report.n_in, report.facts["n_failed"], report.facts["n_quadrants_finished_before"]) == (12, 0, 3)
    assert table(folder, 1, 2).exists()


def test_a_bad_schema_source_or_option_stops_at_once(source, tmp_path, quadrants):
    pq.write_table(pa.table({"id": [1], "hjd": [[1.0]], "mag": [[1.0]]}), tmp_path / "columns.parquet")
    with pytest.raises(MissingColumnError, match="magerr"):
        generate(tmp_path / "columns.parquet", tmp_path / "a", quadrants)
    with pytest.raises(FormatError, match=r"missing\.parquet does not exist"):
        generate(tmp_path / "missing.parquet", tmp_path / "b", quadrants)
    with pytest.raises(ConfigError, match="output="):
        generate(source, tmp_path / "c.parquet", quadrants)
    with pytest.raises(ConfigError, match=r"catalogs\.path=FOLDER"):
        generate(source, tmp_path / "d", quadrants, groups=("basic", "crossmatch"))
    with pytest.raises(SchemaError, match=r"'dmdt' is .*\.csv files cannot hold"):
        generate(source, tmp_path / "e.csv", groups=("dmdt",))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "a") == ["columns.parquet", "list.txt"]


def test_sources_asked_for_are_found_or_listed(source, tmp_path):
    ids = light_curves(N_ALL).id
    asked = pa.table({"ztf_id": [ids[0], ids[8], 77, ids[3], ids[0]], "fritz_name": ["a", "b", "c", "d", "a"]})
    pq.write_table(asked, tmp_path / "asked.parquet")
    target = {"kind": "source_ids", "path": str(tmp_path / "asked.parquet")}
    report = generate(source, tmp_path / "f.parquet", target, shard=2)
    assert (report.n_in, report.n_out) == (3, 2)
    counts = {name: report.facts[f"sources_{name}"] for name in ("asked", "repeated", "found", "not_found")}
    assert counts == {"asked": 5, "repeated": 1, "found": 3, "not_found": 1}
    assert "1 of 4 sources have no light curve in the source, see f.parquet.not_found.parquet" in report.warnings
    assert dict(
        zip(*read_table(tmp_path / "f.parquet").data.select(["id", "fritz_name"]).to_pydict().values(), strict=True)
    ) == {
        ids[0]: "a",
        ids[3]: "d",
    }
    missing = read_table(tmp_path / "f.parquet.not_found.parquet", kind="sources_not_found")
    assert missing.data.to_pylist() == [{"id": 77, "name": "c", "reason": "no light curve in the source"}]
    limited = generate(source, tmp_path / "l.parquet", target, limit=1)
    assert limited.facts["sources_not_found"] == 3
    assert limited.warnings[-2] == "with limit=1 sources further on count as not found"
    assert report.outputs["not_found"] == str(tmp_path / "f.parquet.not_found.parquet")


def test_repeated_light_curves_are_counted(source, tmp_path):
    (tmp_path / "twice").mkdir()
    for name in ("a", "b"):
        (tmp_path / "twice" / f"{name}.parquet").write_bytes(source.read_bytes())
    report = generate(tmp_path / "twice", tmp_path / "f.parquet")
    assert report.n_out == 2 * (N_ALL - 2)
    assert report.facts["ids_repeated"] == N_ALL - 2
    assert any(line.startswith(f"{N_ALL - 2} ids stand in more than one row") for line in report.warnings)
    assert generate(source, tmp_path / "g.parquet").facts["ids_repeated"] == 0


@pytest.mark.parametrize("name", ["f.parquet", "f.csv"])
def test_colours_are_of_the_star_wherever_its_light_curves_are(source, tmp_path, name):
    generate(source, tmp_path / name, shard=3)
    rows = read_table(tmp_path / name).data.to_pylist()
    medians = {(row["source_id"], row["band"]): row["median"] for row in rows}
    stars = [star for star, band in medians if band == "g"]
    assert len(stars) == N_ALL // 2 - 1, "one star has lost both of its light curves"
    for row in rows:
        star = row["source_id"]
        assert row["colour_g_r"] == medians[star, "g"] - medians[star, "r"]
    assert len({row["colour_g_r"] for row in rows}) == len(stars)


def test_the_run_log_tells_where_the_time_went(source, tmp_path, quadrants):
    folder = tmp_path / "features"
    report = generate(source, folder, quadrants)
    events = read_run_log(folder / "run.log.jsonl")
    assert [event["event"] for event in events if event["event"] != "shard"] == ["start", *["quadrant"] * 4, "end"]
    start, end = events[0], events[-1]
    assert (start["stage"], start["target"], start["n_tables"]) == ("generate_features", "quadrant_list", 4)
    assert (start["device"], start["workers"]) == ("cpu", 1)
    shards = [event for event in events if event["event"] == "shard"]
    assert [event["index"] for event in shards if (event["ccd"], event["quad"]) == (1, 1)] == [0, 1, 2]
    assert sum(event["n_in"] for event in shards) == end["n_in"] == report.n_in
    assert sum(event["n_out"] for event in shards) == end["n_out"] == report.n_out
    assert end["dropped"] == report.dropped
    for event in shards:
        assert {"cleaning", "writing", "basic", "period", "search_ls", "colour", "other"} <= event[
            "seconds_by_group"
        ].keys()
        assert sum(event["seconds_by_group"].values()) == pytest.approx(event["cpu_seconds"], abs=1e-3)
        assert 0 < event["cpu_seconds"] <= event["seconds"] + 0.01
    assert sum(event["seconds"] for event in shards) <= end["seconds"] == pytest.approx(report.seconds, abs=1e-3)
    assert 50 < end["peak_rss_mb"] < 50_000
    text = (folder / "run.log.jsonl").read_text()
    assert os.environ["PATH"] not in text
    generate(source, folder, quadrants)
    again = [event for event in read_run_log(folder / "run.log.jsonl") if event["run"] != start["run"]]
    assert [event["event"] for event in again] == ["start", *["quadrant"] * 4, "end"]
    assert all(event["resumed"] for event in again[1:-1])


def test_run_log_stands_beside_a_table_or_where_it_is_asked_for(source, tmp_path):
    generate(source, tmp_path / "f.parquet")
    assert read_run_log(tmp_path / "f.parquet.log.jsonl")[0]["n_total"] == N_ALL
    generate(source, tmp_path / "g.parquet", run_log=str(tmp_path / "logs" / "g.jsonl"))
    assert not (tmp_path / "g.parquet.log.jsonl").exists()
    assert read_run_log(tmp_path / "logs" / "g.jsonl")[-1]["event"] == "end"
    values = values_for(source, tmp_path / "dry" / "h.parquet", run_log=str(tmp_path / "dry.jsonl"))
    values["machine"]["dry_run"] = True
    assert run(build(GenerateFeatures, values), progress=NullProgress()).n_in == N_ALL
    assert not (tmp_path / "dry").exists()
    assert not (tmp_path / "dry.jsonl").exists()


def test_dry_run_of_many_tables_leaves_nothing(source, tmp_path, quadrants):
    values = values_for(source, tmp_path / "features", quadrants)
    values["machine"]["dry_run"] = True
    report = run(build(GenerateFeatures, values), progress=NullProgress())
    assert (report.n_in, report.outputs) == (N_ALL, {})
    assert [path.name for path in tmp_path.iterdir()] == ["list.txt"]


def test_the_progress_says_which_quadrant(source, tmp_path, quadrants):
    told = []

    class Told(NullProgress):
        def start(self, what, total=None):
            told.append((what, total))

    generate(source, tmp_path / "features", quadrants, progress=Told())
    assert told[1] == ("measuring field 250 ccd 1 quad 2 (2 of 4)", 5)


def test_the_second_process_ends_with_one_line(source, tmp_path, quadrants):
    with output_lock(tmp_path / "f.parquet.parts", tmp_path / "f.parquet"):
        with pytest.raises(JobError, match=rf"f\.parquet is being written by process {os.getpid()} on"):
            generate(source, tmp_path / "f.parquet")
        assert not (tmp_path / "f.parquet").exists()
    busy = table(tmp_path / "features", 1, 2)
    with output_lock(busy.with_name(f"{busy.name}.parts"), busy):
        report = generate(source, tmp_path / "features", quadrants)
    assert report.facts["n_failed"] == 1
    assert "is being written by process" in report.facts["failed"][0]
    assert generate(source, tmp_path / "f.parquet").n_in == N_ALL


def test_a_full_disk_is_one_line_and_the_parts_stay(source, tmp_path):
    generate(source, tmp_path / "a" / "f.parquet", shard=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Room for each part, but not for the table of all.
    room = (tmp_path / "a" / "f.parquet").stat().st_size - 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*f\.parquet: File too large") as caught:
            generate(source, tmp_path / "b" / "f.parquet", shard=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "b" / "f.parquet").exists()
    assert read_run_log(tmp_path / "b" / "f.parquet.log.jsonl")[-1]["event"] == "failed"
    report = generate(source, tmp_path / "b" / "f.parquet", shard=1)
    assert report.facts["n_shards_resumed"] == N_ALL
    assert outputs(tmp_path / "a") == outputs(tmp_path / "b")


def test_a_disk_that_is_full_for_the_log_stops_with_one_line(source, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run_log.os, "write", full)
    with pytest.raises(OutputError, match=r"cannot write the run log .*: No space left on device"):
        generate(source, tmp_path / "f.parquet")


#: Kills itself when the table of the second quadrant is all but written, or with half a shard of the last one.
PROGRAM = """
import json, os, signal, sys
from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.io.parquet_files import ParquetTableWriter
from scope_ml.io.parts import Parts
from scope_ml.stages import generate_features
from scope_ml.stages.generate_features import GenerateFeatures, run

# The sources may be edited while this runs; parts of other code would not count.
generate_features.code_digest = lambda *packages: "code"

def dying(method, n_calls):
    calls = []
    def called(*given):
        calls.append(method(*given))
        if len(calls) == n_calls:
            os.kill(os.getpid(), signal.SIGKILL)
    return called

if sys.argv[1] == "merge":
    ParquetTableWriter.close = dying(ParquetTableWriter.close, 5)
else:
    Parts.write = dying(Parts.write, 7)
run(build(GenerateFeatures, json.loads(sys.argv[2])), progress=NullProgress())
"""


def test_a_run_that_is_killed_twice_goes_on_to_the_same_bytes(source, tmp_path, quadrants, root, monkeypatch):
    monkeypatch.setattr(generate_features, "code_digest", lambda *_: "code")
    generate(source, tmp_path / "whole", quadrants)
    folder = tmp_path / "killed"
    values = json.dumps(values_for(source, folder, quadrants))
    for point, finished in (("merge", [True, False, False, False]), ("shards", [True, True, True, False])):
        done = subprocess.run([sys.executable, "-c", PROGRAM, point, values], cwd=root, check=False)
        assert done.returncode == -signal.SIGKILL
        assert [table(folder, *place).exists() for place in ((1, 1), (1, 2), (4, 4), (2, 3))] == finished
    report = generate(source, folder, quadrants)
    assert (report.n_in, report.n_out) == (N_ALL, N_ALL - 2)
    assert report.facts["n_quadrants_finished_before"] == 3
    assert outputs(folder) == outputs(tmp_path / "whole")
    events = read_run_log(folder / "run.log.jsonl")
    resumed = [(event["quad"], event["index"]) for event in events if event["event"] == "shard" and event["resumed"]]
    assert resumed == [(2, 0), (2, 1), (3, 0)]
    assert [event["event"] for event in events].count("start") == 3
    assert [event["event"] for event in events].count("end") == 1


def test_a_run_killed_in_its_last_moment_leaves_no_parts(source, tmp_path, quadrants, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(feature_tables.TableParts, "discard", stop)
        with pytest.raises(KeyboardInterrupt):
            generate(source, tmp_path / "features", quadrants)
    assert list((tmp_path / "features").rglob("*.parts"))
    assert generate(source, tmp_path / "features", quadrants).facts["n_quadrants_finished_before"] == 1
    assert not list((tmp_path / "features").rglob("*.parts"))


def test_a_report_of_other_options_never_stands_beside_a_new_table(source, tmp_path, quadrants, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    # The same light curves are kept, with fewer points.
    dense, sparse = ({"min_n_obs": 1, "min_cadence_minutes": minutes} for minutes in (0, 100))
    folder = tmp_path / "features"
    before = generate(source, folder, quadrants, cleaning=dense)
    with monkeypatch.context() as patch:
        patch.setattr(feature_tables, "write_report", stop)
        with pytest.raises(KeyboardInterrupt):
            generate(source, folder, quadrants, cleaning=sparse, stale="remake")
    resumed = generate(source, folder, quadrants, cleaning=sparse, stale="remake")
    fresh = generate(source, tmp_path / "fresh", quadrants, cleaning=sparse)
    assert resumed.facts["points_dropped"] == fresh.facts["points_dropped"]
    assert fresh.facts["points_dropped"]["high_cadence"] > 0
    assert fresh.n_out == before.n_out
    assert outputs(folder) == outputs(tmp_path / "fresh")


def test_some_catalogues_only(source, tmp_path):
    place = {"ra": [10.0, 10.05], "dec": [4.0, 4.0]}
    fields = {spec.name.split("__")[1]: [1.5, 2.5] for spec in crossmatch_columns(("Gaia_EDR3",))[1:]}
    (tmp_path / "catalogues").mkdir()
    pq.write_table(pa.table({"_id": [7, 8], **place, **fields}), tmp_path / "catalogues" / "Gaia_EDR3.parquet")
    generate(
        source,
        tmp_path / "a.parquet",
        groups=("basic", "crossmatch"),
        crossmatch={"catalogs": ["Gaia_EDR3"]},
        catalogs={"path": str(tmp_path / "catalogues")},
    )
    found = read_table(tmp_path / "a.parquet").data
    assert not [name for name in found.column_names if name.startswith("AllWISE")]
    assert dict(zip(found["ra"].to_pylist(), found["Gaia_EDR3___id"].to_pylist(), strict=True))[10.05] == 8


class Forgetful:
    """A source that says it is the same, lacks some light curves and may break off after some."""

    def __init__(self, source, lacking=(), break_after=None):
        self.source, self.lacking, self.break_after = source, lacking, break_after
        self.digest, self.n_rows = "the same", N_ALL

    def chunks(self):
        for chunk in self.source.chunks():
            there = [at for at in range(len(chunk.batch)) if chunk.batch.id[at] not in self.lacking]
            for at in there[: self.break_after]:
                yield Chunk(batch=chunk.batch.take([at]), rows=chunk.rows.slice(at, 1))
            if self.break_after is not None:
                raise ServiceError("down")


def test_parts_of_other_light_curves_are_not_taken_for_done(source, tmp_path, monkeypatch):
    opened = feature_sources.open_source
    ids = light_curves(N_ALL).id
    expected = generate(source, tmp_path / "direct.parquet")
    assert expected.n_in == N_ALL

    def run_with(**how):
        monkeypatch.setattr(
            feature_sources, "open_source", lambda *given, **named: Forgetful(opened(*given, **named), **how)
        )
        return generate(source, tmp_path / "f.parquet")

    with pytest.raises(ServiceError):
        run_with(lacking=[ids[1]], break_after=7)
    assert (tmp_path / "f.parquet.parts").is_dir()
    report = run_with()
    # Every shard of the first run began with another light curve, but for the first, which had another second one.
    assert (report.n_in, report.facts["n_shards_resumed"]) == (N_ALL, 0)
    assert rows_of(tmp_path / "f.parquet") == rows_of(tmp_path / "direct.parquet")
    with pytest.raises(ServiceError):
        run_with(break_after=7)
    report = run_with(lacking=[ids[7]])
    assert (report.n_in, report.facts["n_shards_resumed"]) == (N_ALL - 1, 2)
    assert ids[7] not in read_table(tmp_path / "f.parquet").data["id"].to_pylist()
