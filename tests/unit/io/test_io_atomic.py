"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from scope_ml.errors import OutputError
from scope_ml.io.atomic import atomic_path, check_writable, hidden_sibling


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_at_the_end_in_folders_that_are_made(tmp_path):
    final = tmp_path / "a" / "b" / "table.csv"
    with atomic_path(final) as temporary:
        assert temporary.parent == final.parent
        assert temporary.name.startswith(".")
        temporary.write_text("new")
        assert not final.exists()
    assert final.read_text() == "new"
    assert names(final.parent) == ["table.csv"]


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    final = tmp_path / "table.csv"
    final.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(final) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert final.read_text() == "old"
    assert names(tmp_path) == ["table.csv"]


def test_new_file_has_the_usual_permissions(tmp_path):
    final = tmp_path / "table.csv"
    with atomic_path(final) as temporary:
        temporary.write_text("x")
    plain = tmp_path / "plain"
    plain.write_text("x")
    assert final.stat().st_mode == plain.stat().st_mode


def test_folder_as_output_is_refused(tmp_path):
    with pytest.raises(OutputError, match="it is a folder; give the name of a file"), atomic_path(tmp_path):
        pass


def test_file_as_parent_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"cannot write .*file/out.csv"), atomic_path(tmp_path / "file" / "out.csv"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder_is_refused_before_the_work(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"), atomic_path(tmp_path / "out.csv"):
        raise AssertionError("the body must not run")


def test_full_disk_is_an_output_error_and_other_errors_pass(tmp_path):
    with pytest.raises(OutputError, match="No space left"), atomic_path(tmp_path / "out.csv"):
        raise OSError(errno.ENOSPC, "no space")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "out.csv"):
        raise FileNotFoundError(errno.ENOENT, "an input of the writer")
    assert names(tmp_path) == []


def test_unwritable_outputs_are_found_before_the_work(tmp_path):
    check_writable(tmp_path / "new" / "a.csv", tmp_path / "new" / "b.csv")
    assert names(tmp_path / "new") == []
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="file is a file, not a folder"):
        check_writable(tmp_path / "new" / "a.csv", tmp_path / "file" / "deep" / "b.csv")
    with pytest.raises(OutputError, match="new: it is a folder"):
        check_writable(tmp_path / "new")
    assert names(tmp_path) == ["file", "new"]


def test_leftovers_of_dead_processes_of_this_machine_go_and_no_others(tmp_path, monkeypatch):
    final = tmp_path / "table.csv"
    with monkeypatch.context() as context:
        context.setattr("os.getpid", lambda: 999_999_999)
        dead = hidden_sibling(final)
        context.setattr("socket.gethostname", lambda: "node-17.cluster.example")
        elsewhere = hidden_sibling(final)
    living = hidden_sibling(final)
    for path in (dead, elsewhere, living):
        path.write_text("half")
    check_writable(final)
    assert names(tmp_path) == sorted([elsewhere.name, living.name])
    assert Path(elsewhere).name.startswith(".table.csv.node_17_cluster_example.999999999-")
