"""The journal: on disk before anything happens, whole whatever was cut off, and the receipt that it adds up to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scope_ml.errors import ConfigError, DataError, OutputError
from scope_ml.services.fritz import journal as journal_room
from scope_ml.services.fritz.journal import Journal, entries_of
from scope_ml.services.fritz.receipt import receipt_rows, runs_of


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_room.os, "fsync", lambda _: None)


def opened(folder: Path, write: Callable[[int, bytes], None] | None = None) -> Journal:
    return Journal(folder / "journal.jsonl", now=lambda: 1000.0, write=write)


def items(*whats: str) -> list[dict[str, str]]:
    return [{"what": what, "detail": f"of {what}"} for what in whats]


def filled(folder: Path) -> None:
    """A run that was cut off: one batch done, one without an answer, one of which nothing is known."""
    with opened(folder) as journal:
        journal.begin("d", stage="upload", where="here")
        n = journal.intend("a", "ZTFJ1", "classify", items("Mira", "LPV"), known=[7])
        journal.outcome(n, "done", [8, 9])
        n = journal.intend("b", "ZTFJ2", "classify", items("Mira"), known=[3])
        journal.outcome(n, "unsure", message="no answer")
        journal.intend("c", "ZTFJ3", "comment", items("seen"))


def test_what_is_open_is_known_again(tmp_path: Path) -> None:
    filled(tmp_path)
    with opened(tmp_path) as journal:
        assert journal.is_unfinished("d")
        assert set(journal.open_keys()) == {"b", "c"}
        assert [(one.kind, one.items, one.is_foreign) for one in journal.opened("c")] == [("comment", ("seen",), True)]
        assert journal.asked("b") == {"Mira": ((3,), 1)}
        assert journal.name_of("a") == "ZTFJ1"
        journal.begin("d", stage="upload", where="here")
        n = journal.opened("b")[0].n
        journal.outcome(n, "found", [None], stored=[False])
        assert journal.opened("b") == ()
        journal.intend("b", "ZTFJ2", "classify", items("Mira"), known=[3])
        assert journal.asked("b") == {"Mira": ((3,), 2)}
        assert journal.run == 2


def test_other_things_have_to_wait_for_the_end(tmp_path: Path) -> None:
    filled(tmp_path)
    with opened(tmp_path) as journal, pytest.raises(ConfigError, match="cut off in the middle"):
        journal.is_unfinished("other")
    with opened(tmp_path) as journal:
        journal.begin("d", stage="upload", where="here")
        journal.end()
    with opened(tmp_path) as journal:
        assert not journal.is_unfinished("other")
        assert journal.has_begun("d")
        journal.begin("other", stage="upload", where="here")
        assert journal.open_keys() == ()
        assert journal.name_of("a") is None


@pytest.mark.parametrize("cut", [1, 2, 30, 79])
def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path, cut: int) -> None:
    filled(tmp_path)
    path = tmp_path / "journal.jsonl"
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    path.write_bytes(whole[:-cut])
    assert cut < len(last)
    with opened(tmp_path) as journal:
        assert journal.open_keys() == ("b",)
        journal.begin("d", stage="upload", where="here")
        journal.end()
    kinds = [entry["entry"] for entry in entries_of(path)]
    assert kinds == ["begin", "intent", "outcome", "intent", "outcome", "begin", "end"]
    assert path.read_bytes().startswith(whole[: -len(last)])


def test_a_line_that_is_broken_in_the_middle_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1][:20] + b"\n", *lines[2:]]))
    with pytest.raises(DataError, match=r"broken in line 2.*give another output"):
        opened(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        '{"entry": "outcome", "at": 1}',
        '{"entry": "intent", "at": 1, "n": "x", "key": "a", "obj_id": "b", "kind": "classify", "items": [], "known": []}',
        '{"entry": "begin", "at": 1, "digest": "d", "stage": "s", "continues": "no"}',
        '{"entry": "end"}',
        '{"entry": "other", "at": 1}',
        '{"entry": []}',
        "[1]",
    ],
)
def test_a_line_that_says_nothing_is_broken(tmp_path: Path, line: str) -> None:
    filled(tmp_path)
    path = tmp_path / "journal.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join((first, f"{line}\n", *others)))
    with pytest.raises(DataError, match="broken in line 2"):
        opened(tmp_path)


def test_an_intent_is_on_the_disk_before_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    write, fsync = journal_room.os.write, journal_room.os.fsync
    monkeypatch.setattr(journal_room.os, "write", lambda at, line: done.append("write") or write(at, line))
    monkeypatch.setattr(journal_room.os, "fsync", lambda at: done.append("fsync") or fsync(at))
    with opened(tmp_path) as journal:
        journal.begin("d", stage="upload", where="here")
        # A new file has to stand in its folder too.
        assert done == ["fsync", "fsync", "write", "fsync"]
        done.clear()
        journal.intend("a", "ZTFJ1", "save", items("groups"))
        assert done == ["write", "fsync"]
        journal.outcome(1, "done")
        assert done == ["write", "fsync", "write"], "after a power cut it is found by looking"


def test_what_cannot_be_written_stops_all(tmp_path: Path) -> None:
    n = 0

    def full(_: int, line: bytes) -> None:
        nonlocal n
        n += 1
        if n > 1:
            raise OSError(28, "No space left on device")

    with opened(tmp_path, full) as journal:
        journal.begin("d", stage="upload", where="here")
        for _ in range(2):
            with pytest.raises(OutputError, match="No space left on device"):
                journal.intend("a", "ZTFJ1", "save", items("groups"))
        assert n == 2, "nothing is tried after that"
        assert journal.open_keys() == ()


def rows(folder: Path) -> list[tuple[Any, ...]]:
    path = folder / "journal.jsonl"
    found = receipt_rows(path, runs_of(path))
    return [(row.job, row.key, row.kind, row.what, row.remote_ids, row.status, row.message) for row in found]


def test_a_closed_journal_is_not_written(tmp_path: Path) -> None:
    filled(tmp_path)
    before = (tmp_path / "journal.jsonl").read_bytes()
    with opened(tmp_path) as journal:
        pass
    with pytest.raises(OutputError, match="closed"):
        journal.outcome(2, "unsure", message="no answer")
    assert (tmp_path / "journal.jsonl").read_bytes() == before


def test_the_receipt_tells_what_was_done_in_all_runs(tmp_path: Path) -> None:
    filled(tmp_path)
    with opened(tmp_path) as journal:
        journal.begin("d", stage="upload", where="here")
        journal.outcome(journal.opened("b")[0].n, "found", [4], stored=[True])
        journal.outcome(journal.opened("c")[0].n, "found", [None], stored=[False])
        n = journal.intend("c", "ZTFJ3", "comment", items("seen"))
        journal.outcome(n, "refused", message="no")
        journal.note("c", "ZTFJ3", "comment", "seen", status="failed", message="no")
        n = journal.intend("c", "ZTFJ3", "photometry", items("points"))
        journal.outcome(n, "done", [11, 12, 13])
        journal.note("a", "ZTFJ1", "classify", "LPV", status="lost", message="is not there at the end")
        journal.end()
    expected = [
        (1, "a", "classify", "Mira", (8,), "done", ""),
        (1, "a", "classify", "LPV", (9,), "lost", "is not there at the end"),
        (1, "b", "classify", "Mira", (4,), "done", "found by looking"),
        (1, "c", "comment", "seen", (), "failed", "no"),
        (1, "c", "photometry", "points", (11, 12, 13), "done", ""),
    ]
    assert rows(tmp_path) == expected
    runs = runs_of(tmp_path / "journal.jsonl")
    assert (runs.job, runs.last, runs.done) == (1, {1: 2}, {1: 4})


def test_what_is_done_again_is_not_lost(tmp_path: Path) -> None:
    filled(tmp_path)
    with opened(tmp_path) as journal:
        journal.note("a", "ZTFJ1", "classify", "LPV", status="lost", message="gone")
        journal.begin("d", stage="upload", where="here")
        journal.outcome(journal.intend("a", "ZTFJ1", "classify", items("LPV")), "done", [10])
    assert [row[4:6] for row in rows(tmp_path) if row[3] == "LPV"] == [((9,), "lost"), ((10,), "done")]


def test_what_failed_in_a_run_that_was_cut_off_is_planned_anew(tmp_path: Path) -> None:
    filled(tmp_path)
    with opened(tmp_path) as journal:
        journal.begin("d", stage="upload", where="here")
        journal.note("c", "ZTFJ3", "comment", "seen", status="failed", message="no")
    assert ("c", "comment") in [row[1:3] for row in rows(tmp_path)]
    with opened(tmp_path) as journal:
        journal.begin("d", stage="upload", where="here")
    assert ("c", "comment") not in [row[1:3] for row in rows(tmp_path)]


def test_of_a_batch_that_was_refused_the_first_are_ours(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.begin("d", stage="upload", where="here")
        n = journal.intend("a", "ZTFJ1", "classify", items("Mira", "Nonsense"))
        journal.outcome(n, "partly", message="no such class")
        assert [one.is_answered for one in journal.opened("a")] == [True]
        journal.outcome(n, "found", [5, None], stored=[True, False])
        assert journal.asked("a") == {}, "there was an answer"
    assert rows(tmp_path) == [(1, "a", "classify", "Mira", (5,), "done", "found by looking")]


def test_lines_say_nothing_but_what_they_must(tmp_path: Path) -> None:
    filled(tmp_path)
    known = {"entry", "at", "digest", "stage", "where", "continues", "n", "key", "obj_id", "kind", "items", "known"}
    known |= {"result", "ids", "message"}
    for line in (tmp_path / "journal.jsonl").read_text().splitlines():
        assert set(json.loads(line)) <= known
