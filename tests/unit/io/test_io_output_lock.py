"""Two processes never write one output; a dead one is no obstacle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from scope_ml.errors import JobError, OutputError
from scope_ml.io.output_lock import output_lock

HOLDER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from scope_ml.io.output_lock import output_lock
    with output_lock(Path(sys.argv[1]), Path("features.parquet")):
        print("held", flush=True)
        sys.stdin.read()
    """
)


@pytest.fixture
def holder(tmp_path, root):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "out.parts")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_process_is_told_who_is_first(tmp_path, holder):
    with (
        pytest.raises(JobError, match=rf"features.parquet is being written by process {holder.pid} on \S+; wait"),
        output_lock(tmp_path / "out.parts", tmp_path / "features.parquet"),
    ):
        pytest.fail("two hold it")
    holder.communicate("")
    assert not (tmp_path / "out.parts").exists()
    with output_lock(tmp_path / "out.parts", tmp_path / "features.parquet"):
        assert (tmp_path / "out.parts" / "lock").read_text().startswith(f"process {os.getpid()} on ")
    assert not (tmp_path / "out.parts").exists()


def test_a_dead_process_is_no_obstacle(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "out.parts" / "lock").exists()
    with output_lock(tmp_path / "out.parts", tmp_path / "features.parquet"):
        (tmp_path / "out.parts" / "kept").mkdir()
    assert [path.name for path in (tmp_path / "out.parts").iterdir()] == ["kept"]


def test_a_lock_that_was_removed_while_waiting_is_not_held(tmp_path, monkeypatch):
    from scope_ml.io import output_lock as room

    locked = room._locked
    taken = []

    def removed_once(descriptor, output, wait):
        taken.append(descriptor)
        if len(taken) == 1:
            (tmp_path / "p" / "lock").unlink()
        return locked(descriptor, output, wait)

    monkeypatch.setattr(room, "_locked", removed_once)
    with output_lock(tmp_path / "p", tmp_path / "x"):
        assert len(taken) == 2
        assert (tmp_path / "p" / "lock").is_file()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(OutputError, match=r"cannot write .*x\.parquet"),
        output_lock(tmp_path / "file" / "p", tmp_path / "x.parquet"),
    ):
        pass


def test_a_folder_that_is_refused_as_not_found_is_not_tried_for_ever(tmp_path, monkeypatch):
    # As in /proc, and where the working folder has been removed.
    def refused(*_, **__):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("pathlib.Path.mkdir", refused)
    with (
        pytest.raises(OutputError, match=r"cannot write .*x\.parquet: No such file"),
        output_lock(tmp_path / "p", tmp_path / "x.parquet"),
    ):
        pass
