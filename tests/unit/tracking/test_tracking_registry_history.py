"""Who was champion when: what is written down, and where a rollback leads, after interruptions too."""

from __future__ import annotations

import getpass
import json
import subprocess

import pytest

from scope_ml.tracking import registry_history
from scope_ml.tracking.registry_history import (
    LONGEST,
    How,
    Promotion,
    champion_before,
    extended,
    iso_time,
    merged_history,
    read_history,
    who,
    write_history,
)


def entry(number: int, version: int, before: int | None, how: How = "promote") -> Promotion:
    return Promotion(number=number, version=version, before=before, how=how, when=iso_time(0), by="Ann", why="better")


def chain(*steps: tuple[How, int]) -> tuple[Promotion, ...]:
    """The entries of steps that all took effect."""
    found: list[Promotion] = []
    for how, version in steps:
        found.append(entry(len(found) + 1, version, found[-1].version if found else None, how))
    return tuple(found)


def test_entries_come_back_and_the_oldest_go_when_there_are_too_many() -> None:
    entries = chain(("register", 1), ("promote", 2))
    assert read_history(write_history(entries)) == entries
    many = [entry(number, number, number - 1) for number in range(1, 2000)]
    text = write_history(many)
    assert len(text) <= LONGEST
    assert read_history(text)[-1] == many[-1]
    assert len(read_history(text)) > 500


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"number": 1}]', "null"])
def test_a_foreign_tag_has_no_entries(text: str) -> None:
    assert read_history(text) == ()


def test_rollbacks_undo_one_promotion_after_the_other() -> None:
    steps: list[tuple[How, int]] = [("register", 1), ("promote", 2), ("promote", 3)]
    assert champion_before(chain(*steps), 3, [1, 2, 3]) == 2
    steps.append(("rollback", 2))
    assert champion_before(chain(*steps), 2, [1, 2, 3]) == 1
    steps.append(("rollback", 1))
    assert champion_before(chain(*steps), 1, [1, 2, 3]) is None
    steps.append(("promote", 3))
    assert champion_before(chain(*steps), 3, [1, 2, 3]) == 1


def test_a_version_that_was_champion_twice_is_left_twice() -> None:
    history = chain(("register", 1), ("promote", 2), ("promote", 1), ("promote", 3), ("rollback", 1))
    assert champion_before(history, 1, [1, 2, 3]) == 2


def test_versions_whose_files_are_gone_are_passed_over() -> None:
    history = chain(("register", 1), ("promote", 2), ("promote", 3))
    assert champion_before(history, 3, [1, 3]) == 1
    assert champion_before(history, 3, [3]) is None


def test_a_champion_that_nobody_wrote_down_is_known_from_the_next_one() -> None:
    assert champion_before((entry(1, 5, 4),), 5, [4, 5]) == 4
    assert champion_before((), 5, [4, 5]) is None
    # The alias was moved by other means, from 2 to 7.
    assert champion_before(chain(("register", 1), ("promote", 2)), 7, [1, 2, 7]) == 2


def test_a_step_that_was_interrupted_before_the_alias_moved_does_not_count() -> None:
    pending = (*chain(("register", 1), ("promote", 2)), entry(3, 3, 2))
    assert champion_before(pending, 2, [1, 2, 3]) == 1
    # Typed again, it takes the place of the first attempt; another step comes after it.
    assert extended(pending, 3, 2, how="promote", by="Bob", why="again").number == 3
    assert extended(pending, 1, 2, how="rollback", by="Bob", why="no").number == 4
    followed = (*pending, entry(4, 4, 2))
    assert champion_before(followed, 4, [1, 2, 3, 4]) == 2
    # An interrupted rollback leads to the same version again.
    half = (*chain(("register", 1), ("promote", 2)), entry(3, 1, 2, "rollback"))
    assert champion_before(half, 2, [1, 2]) == 1
    assert extended(half, 1, 2, how="rollback", by="Bob", why="again").number == 3


def test_an_entry_says_who_when_why_and_on_what_numbers() -> None:
    history = chain(("register", 1))
    made = extended(history, 2, 1, how="promote", by="Bob", why="fewer blends", f1=0.5)
    assert (made.number, made.version, made.before, made.by, made.why) == (2, 2, 1, "Bob", "fewer blends")
    assert made.numbers == {"f1": 0.5}
    assert made.when.endswith("Z")
    assert json.loads(write_history([made]))[0]["how"] == "promote"
    assert merged_history([[made], history]) == (*history, made)


def test_who_is_git_s_user_else_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(text: str) -> None:
        done = subprocess.CompletedProcess([], 0, text, "")
        monkeypatch.setattr(registry_history.subprocess, "run", lambda *_, **__: done)

    answers("Ann Cannon\n")
    assert who() == "Ann Cannon"
    answers("")
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    assert who() == "ann"

    def nameless() -> str:
        raise KeyError("no such user")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert who() == "unknown"
