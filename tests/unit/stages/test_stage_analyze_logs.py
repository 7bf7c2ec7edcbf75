from __future__ import annotations

import json

import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.errors import ConfigError, EmptySelectionError, FormatError, OutputError
from scope_ml.io.run_log import RunLog, read_run_log
from scope_ml.stages.analyze_logs import AnalyzeLogs, run


def write_log(path, *, ended=True, quadrants=(1, 2)):
    log = RunLog(path)
    log.event("start", output="out/features", n_total=None)
    for quad in quadrants:
        place = {"field": 1, "ccd": 2, "quad": quad}
        seconds = {"seconds": 2.0, "cpu_seconds": 1.5, "seconds_by_group": {"basic": 1.5}}
        log.event("shard", index=0, n_in=10, n_out=9, resumed=False, **seconds, **place)
        log.event("quadrant", n_in=10, n_out=9, seconds=2.5, output="x", resumed=False, **place)
    if ended:
        log.event("end", n_in=20, n_out=18, seconds=5.0)
    return log


def analyze(logs, output, **options):
    return run(build(AnalyzeLogs, {"logs": logs, "output": str(output), **options}), progress=NullProgress())


def test_folders_patterns_and_files_are_read_once_each(tmp_path):
    first = write_log(tmp_path / "a" / "run.log.jsonl")
    write_log(tmp_path / "a" / "deep" / "f.parquet.log.jsonl", ended=False, quadrants=(1,))
    (tmp_path / "a" / "other.json").write_text("{}")
    given = [str(tmp_path / "a"), str(tmp_path / "*" / "run.log.jsonl"), str(tmp_path / "a" / "run.log.jsonl")]
    report = analyze(given, tmp_path / "out" / "runtimes.png")
    assert (report.facts["n_logs"], report.facts["n_runs"], report.facts["n_tables"]) == (2, 2, 3)
    assert report.facts["n_measured"] == 30
    assert report.facts["seconds_per_light_curve"] == pytest.approx(0.25)
    assert "3 tables of 2 runs: 3 finished" in report.facts["text"]
    assert "basic  100.0 %" in report.facts["text"]
    numbers = json.loads((tmp_path / "out" / "runtimes.png.json").read_text())
    assert numbers["total"]["n_in"] == 30
    record = numbers["runs"][f"{first.run}/field 1 ccd 2 quad 1"]
    assert (record["n_in"], record["n_out"], record["seconds"]) == (10, 9, 2.5)
    assert record["seconds_per_light_curve"] == pytest.approx(0.25)
    assert (tmp_path / "out" / "runtimes.png").read_bytes().startswith(b"\x89PNG")


def test_a_log_that_is_still_written_is_read_as_far_as_it_goes(tmp_path):
    path = tmp_path / "run.log.jsonl"
    write_log(path, ended=False)
    log = RunLog(path)
    log.event("start", output="other")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:50])
    report = analyze(str(path), tmp_path / "r.svg")
    assert (report.facts["n_finished"], report.facts["n_unfinished"]) == (2, 1)
    assert report.warnings[0].startswith("unfinished tables: 1; ")


@pytest.mark.parametrize(
    "fields",
    [
        {"time": 3},
        {"time": "noon"},
        {"seconds": None, "event": "shard"},
        {"n_in": "x", "event": "shard"},
        {"event": "failed", "where": 7},
        {"event": "shard", "seconds_by_group": 1},
    ],
)
def test_events_of_another_program_are_one_line(tmp_path, fields):
    path = tmp_path / "run.log.jsonl"
    event = {"time": "2026-01-31T12:00:00+00:00", "event": "start", "run": "other", **fields}
    path.write_text(json.dumps(event) + "\n")
    with pytest.raises(
        FormatError, match="the run 'other' in the logs has an event that generate_features did not write"
    ):
        analyze(str(path), tmp_path / "r.png")
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_log_that_tells_of_a_failure_is_no_failure_of_reading_it(tmp_path):
    log = write_log(tmp_path / "run.log.jsonl", ended=False, quadrants=(1,))
    log.event("failed", where={"field": 1, "ccd": 2, "quad": 2}, error="cut")
    report = analyze(str(log.path), tmp_path / "r.png")
    # The door makes exit code 1 of n_failed.
    assert report.facts["n_tables_failed"] == 1
    assert "n_failed" not in report.facts
    assert report.warnings[0].startswith("failed tables: 1; ")


def test_since_leaves_out_what_is_older(tmp_path):
    path = tmp_path / "run.log.jsonl"
    write_log(path)
    day = read_run_log(path)[0]["time"][:10]
    assert analyze(str(path), tmp_path / "r.png", since=day).facts["n_tables"] == 2
    with pytest.raises(EmptySelectionError, match="1 run logs tell of no run since 2999-01-01"):
        analyze(str(path), tmp_path / "later.png", since="2999-01-01")
    assert not (tmp_path / "later.png").exists()


@pytest.mark.parametrize(
    ("logs", "options", "error", "message"),
    [
        ("missing", {}, FormatError, "cannot read the run log"),
        (".", {}, EmptySelectionError, r"logs=\. holds no run log"),
        ("*.nothing", {}, EmptySelectionError, "holds no run log"),
        ("other.txt", {}, FormatError, r"other\.txt is no run log"),
        ([], {}, ConfigError, "names no run log"),
        ("x", {"since": "yesterday"}, ConfigError, "since=yesterday is no day; write it as YYYY-MM-DD"),
        ("x", {"output": "runtimes.txt"}, ConfigError, r"output=runtimes\.txt is no plot"),
        ("run.jsonl", {"output": "other.txt/r.png"}, OutputError, "cannot write"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, monkeypatch, logs, options, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.txt").write_text("not a log\n")
    write_log(tmp_path / "run.jsonl")
    with pytest.raises(error, match=message) as caught:
        analyze(logs, **{"output": "r.png", **options})
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.txt", "run.jsonl"]
