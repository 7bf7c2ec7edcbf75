"""The lock file: sorted, read back, left alone when nothing changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scope_ml.errors import FormatError
from scope_ml.tracking.lock import LockEntry, read_lock, write_lock


def entry(tag: str, version: int | None = 1) -> LockEntry:
    return LockEntry(
        name=f"scope-{tag}-xgb", version=version, alias="champion", digest="d" * 64, tag=tag, algorithm="xgb"
    )


def test_entries_are_sorted_and_come_back(tmp_path: Path) -> None:
    path = tmp_path / "models.lock.json"
    assert write_lock(path, [entry("vnv", None), entry("ea")])
    assert [item["name"] for item in json.loads(path.read_text())] == ["scope-ea-xgb", "scope-vnv-xgb"]
    assert read_lock(path) == (entry("ea"), entry("vnv", None))


def test_the_same_entries_leave_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "models.lock.json"
    write_lock(path, [entry("ea"), entry("vnv")])
    before = path.stat().st_mtime_ns
    assert not write_lock(path, [entry("vnv"), entry("ea")])
    assert path.stat().st_mtime_ns == before
    assert write_lock(path, [entry("vnv"), entry("ea", 2)])


def test_a_missing_file_says_how_to_write_it(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"python -m scope_ml\.register"):
        read_lock(tmp_path / "models.lock.json")


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"name": "x"}]', '{"a": 1}'])
def test_another_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models.lock.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"is not a models\.lock\.json") as caught:
        read_lock(path)
    assert "\n" not in str(caught.value)
