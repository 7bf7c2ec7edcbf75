"""One line an event, whoever writes; what was cut is left out."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest

from scope_ml.errors import FormatError, OutputError
from scope_ml.io.run_log import RunLog, read_run_log


def test_events_are_read_back_in_order(tmp_path):
    log = RunLog(tmp_path / "a" / "run.log.jsonl")
    log.event("start", n_total=None, output=tmp_path / "x")
    log.event("shard", index=np.int64(3), seconds=np.float64(0.5), seconds_by_group={"basic": float("nan")})
    log.event("end", counts=(1, 2))
    start, shard, end = read_run_log(tmp_path / "a" / "run.log.jsonl")
    assert (start["event"], start["n_total"], start["output"]) == ("start", None, str(tmp_path / "x"))
    assert (shard["index"], shard["seconds"], shard["seconds_by_group"]) == (3, 0.5, {"basic": None})
    assert end["counts"] == [1, 2]
    assert {start["run"], shard["run"], end["run"]} == {log.run}
    age = datetime.now(UTC) - datetime.fromisoformat(end["time"])
    assert 0 <= age.total_seconds() < 100


def test_no_path_forgets():
    RunLog(None).event("start", anything=object())


def test_threads_and_processes_do_not_cut_each_other(tmp_path, root):
    path = tmp_path / "run.log.jsonl"
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from scope_ml.io.run_log import RunLog
        log = RunLog(Path(sys.argv[1]))
        for index in range(200):
            log.event("shard", index=index, text="x" * 500)
        """
    )
    others = [subprocess.Popen([sys.executable, "-c", program, str(path)], cwd=root) for _ in range(2)]
    log = RunLog(path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda index: log.event("shard", index=index, text="y" * 500), range(200)))
    assert [other.wait() for other in others] == [0, 0]
    events = read_run_log(path)
    assert len(events) == len(path.read_bytes().splitlines()) == 600
    runs = {event["run"] for event in events}
    assert len(runs) == 3
    for run in runs:
        assert sorted(event["index"] for event in events if event["run"] == run) == list(range(200))


def test_a_cut_line_is_left_out_and_the_next_run_begins_a_new_one(tmp_path):
    path = tmp_path / "run.log.jsonl"
    RunLog(path).event("start")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-7])
    assert [event["event"] for event in read_run_log(path)] == ["start"]
    RunLog(path).event("end")
    assert [event["event"] for event in read_run_log(path)] == ["start", "end"]
    path.write_bytes(whole[:12])
    assert read_run_log(path) == []
    path.write_bytes(b"")
    assert read_run_log(path) == []


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00", b"id,ra\n1,2\n", json.dumps([1]).encode()])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(FormatError, match="is no run log"):
        read_run_log(tmp_path / "x")
    with pytest.raises(OutputError, match="would be added to a file that is none"):
        RunLog(tmp_path / "x").event("start")
    assert (tmp_path / "x").read_bytes() == content


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(FormatError, match="No such file"):
        read_run_log(tmp_path / "missing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot write the run log"):
        RunLog(tmp_path / "file" / "log").event("start")
