"""Folders that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from scope_ml.errors import OutputError
from scope_ml.io.atomic import hidden_sibling
from scope_ml.io.folder_swap import new_folder, swap_in


def test_a_new_folder_appears_at_the_end(tmp_path: Path) -> None:
    with new_folder(tmp_path / "deep" / "out") as made:
        (made / "x").write_text("1")
        assert not (tmp_path / "deep" / "out").exists()
    assert (tmp_path / "deep" / "out" / "x").read_text() == "1"
    with pytest.raises(OutputError, match="something is there"), new_folder(tmp_path / "deep" / "out"):
        pytest.fail("it was opened")


def test_nothing_is_left_of_one_that_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), new_folder(tmp_path / "out") as made:
        (made / "x").write_text("1")
        raise ValueError("no")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="choose another output"), new_folder(tmp_path / "out") as made:
        (made / "absent").read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    swap_in(tmp_path / "new", tmp_path / "old")
    assert [path.name for path in tmp_path.rglob("*")] == ["old", "new"]
    with pytest.raises(OutputError, match="cannot write"):
        swap_in(tmp_path / "absent", tmp_path / "old")
    assert (tmp_path / "old" / "new").read_text() == "new", "what stood there stays"


def test_what_a_killed_swap_left_goes_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        context.setattr("os.getpid", lambda: 999_999_999)
        left = hidden_sibling(tmp_path / "final", ".old")
    for folder in (left, tmp_path / "new"):
        folder.mkdir()
    swap_in(tmp_path / "new", tmp_path / "final")
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
