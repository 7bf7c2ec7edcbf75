"""Plan, apply, receipt against a SkyPortal: every change once, wherever the work is cut off and whatever gets lost.

Most tests ask the test server's own functions in this process (`Near`), so that the work can be cut off at every single
point; some go over HTTP with the faults of the server.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.errors import (
    ConfigError,
    DataError,
    NotAllowedError,
    OutputError,
    ScopeError,
    ServiceError,
    ServiceUnavailableError,
    UnsureError,
)
from scope_ml.services.fritz import acting
from scope_ml.services.fritz import journal as journal_room
from scope_ml.services.fritz.client import FritzClient
from scope_ml.services.fritz.comments import Attachment
from scope_ml.services.fritz.photometry import NewPhotometry
from scope_ml.services.fritz.rules import Rules
from scope_ml.services.fritz.settings import FritzConfig
from scope_ml.services.fritz.wanted import Wanted, WantedAnnotation, WantedClass, WantedComment
from scope_ml.services.http import Clock, Reply
from scope_ml.stages.fritz_changes import ChangesOptions, run_changes
from scope_ml.testing.skyportal.answers import Asked, answer
from scope_ml.testing.skyportal.population import USERS, populate
from scope_ml.testing.skyportal.portal import Portal
from scope_ml.testing.skyportal.scenery import Scenery
from scope_ml.testing.skyportal.server import SkyPortalServer
from scope_ml.testing.skyportal.snapshot import comparable

TREE, VARIABLES, FOLLOW_UP, ZTF = 5, 6, 7, 4

#: How long a change without an answer may take to come about, in the tests' own time [s].
SETTLE_S = 30.0

START = 1_800_000_000.0


class Killed(BaseException):
    """The process is no more."""


class Time:
    """A clock that moves when somebody waits, and a little whenever it is read."""

    def __init__(self) -> None:
        self.now = START
        self.waited = 0.0

    def today(self) -> float:
        self.now += 0.001
        return self.now

    def wait(self, event: Any, seconds: float) -> bool:
        self.now += seconds
        self.waited += seconds
        return bool(event.is_set())

    @property
    def clock(self) -> Clock:
        return Clock(now=self.today, today=self.today, chance=lambda: 0.5, wait=self.wait)


@dataclass
class World:
    """A SkyPortal in this process, its time, and what goes wrong at which request that changes something.

    Attributes
    ----------
    fate
        By the number of the change, from 0: ``before`` and ``after`` (no answer; nothing, or all, was stored), ``part``
        (the first of a batch was), ``late`` (it will be), the same with ``kill-`` (the process dies instead).
    """

    portal: Portal = field(default_factory=Portal)
    time: Time = field(default_factory=Time)
    fate: dict[int, str] = field(default_factory=dict)
    late_s: float = 0.8 * SETTLE_S
    changes: list[str] = field(default_factory=list)
    is_down: bool = False
    late: list[tuple[float, Asked]] = field(default_factory=list)
    on_change: Callable[[int], None] = lambda _: None

    def __post_init__(self) -> None:
        populate(self.portal, {name: f"token-of-{name}" for name in USERS})
        self.scenery = Scenery(self.portal)

    def state(self) -> dict[str, Any]:
        self.store_late(float("inf"))
        return comparable(self.portal)["sources"]

    def store_late(self, now: float) -> None:
        due = [asked for at, asked in self.late if at <= now]
        self.late = [(at, asked) for at, asked in self.late if at > now]
        for asked in due:
            answer(self.portal, asked)


class Near(FritzClient):
    """The client, without the network."""

    def __init__(self, world: World) -> None:
        super().__init__(
            FritzConfig(url="http://127.0.0.1:1", connections=1),
            clock=world.time.clock,
            environment={"FRITZ_TOKEN": "token-of-scope"},
        )
        self.world = world

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        is_change: bool = False,
        safe: bool = True,
    ) -> Reply:
        self._count()
        world = self.world
        world.store_late(world.time.today())
        asked = Asked(
            method=method,
            path=path,
            query={name: [value] for name, value in (params or {}).items()},
            authorization=f"token {self._token}",
            raw=data or b"",
        )
        is_probe = re.search(r"are.tried", path + asked.raw.decode()) is not None
        if not is_change or is_probe:
            if world.is_down:
                raise ServiceUnavailableError("no answer from the service")
            return self._answer(asked)
        number = len(world.changes)
        world.changes.append(f"{method} {path}")
        world.on_change(number)
        fate = world.fate.get(number, "")
        how = fate.removeprefix("kill-")
        reply = None
        if how in ("", "after"):
            reply = self._answer(asked)
        elif how == "part":
            answer(world.portal, asked, most_items=1) if path == "/api/classification" else None
        elif how == "late":
            world.late.append((world.time.now + world.late_s, asked))
        if fate.startswith("kill-"):
            raise Killed
        if fate:
            raise UnsureError("no answer")
        assert reply is not None
        return reply

    def _answer(self, asked: Asked) -> Reply:
        status, body = answer(self.world.portal, asked)
        return Reply(status=status, headers={}, body=body)


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in this process, what was written stays, on disk or not."""
    monkeypatch.setattr(journal_room.os, "fsync", lambda _: None)


def points(n: int = 2) -> NewPhotometry:
    return NewPhotometry(
        obj_id="unknown yet",
        instrument_id=ZTF,
        mjd=[58000.5 + one for one in range(n)],
        mag=[18.0 + 0.1 * one for one in range(n)],
        magerr=[0.1] * n,
        filter=["ztfg" if one % 2 else "ztfr" for one in range(n)],
        limiting_mag=23.9,
        group_ids=(VARIABLES,),
    )


def classes(*names: str, **values: Any) -> tuple[WantedClass, ...]:
    return tuple(
        WantedClass(classification=name, taxonomy_id=TREE, probability=0.5 + 0.1 * number, **values)
        for number, name in enumerate(names)
    )


def everything() -> list[Wanted]:
    """One source that is there with much of it, one that is not."""
    return [
        Wanted(
            key="old",
            ra=10.0,
            dec=20.0,
            group_ids=(VARIABLES, FOLLOW_UP),
            classifications=classes("RRab", "RR Lyrae", "Pulsating"),
            annotations=(
                WantedAnnotation(origin="SCoPe_xmatch", key="survey_id", value="Gaia 7", mode="add"),
                WantedAnnotation(origin="uploadedperiod", key="period", value=0.5, mode="once"),
                WantedAnnotation(origin="notes", key="old", mode="drop"),
            ),
            comments=(WantedComment(text="seen", attachment=lambda _: Attachment(name="a.png", body=b"1")),),
            photometry=points,
        ),
        Wanted(
            key="new",
            ra=200.0,
            dec=-30.0,
            group_ids=(VARIABLES,),
            classifications=classes("Mira", "LPV"),
            annotations=(WantedAnnotation(origin="uploadedperiod", key="period", value=300.0, mode="once"),),
            comments=(WantedComment(text="folded curve of {obj_id}"),),
            photometry=points,
        ),
    ]


def furnished() -> World:
    world = World()
    add = world.scenery
    add.source("ZTFJ1", 10.0, 20.0)
    add.source("other", 10.0001, 20.0)
    add.classification("ZTFJ1", "RRab", taxonomy=TREE, probability=0.3, user="scope", origin="eye")
    add.classification("ZTFJ1", "Eclipsing", taxonomy=TREE, probability=0.3, user="scope", origin="SCoPe")
    add.annotation("ZTFJ1", "SCoPe_xmatch", {"survey_id": "Gaia 1"}, user="scope")
    add.annotation("ZTFJ1", "notes", {"old": 1, "kept": 2}, user="scope")
    return world


def run(world: World, wanted: list[Wanted], folder: Path, *, apply: bool = True, **values: Any) -> Report:
    rules = values.pop("rules", Rules())
    options = ChangesOptions(output=str(folder), apply=apply, settle_s=SETTLE_S, **values)
    with Near(world) as fritz:
        return run_changes(
            fritz, wanted, rules, options=options, stage="test", progress=NullProgress(), clock=world.time.clock
        )


def receipt(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "receipt.parquet").to_pylist()


def done(folder: Path) -> Counter[tuple[str, str, str]]:
    """The steps that a receipt says were done."""
    return Counter((row["key"], row["kind"], row["what"]) for row in receipt(folder) if row["status"] == "done")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    found = {}
    for replace in ("none", "all"):
        world = furnished()
        report = run(world, everything(), folder / replace, rules=Rules(replace=replace))
        found[replace] = (world.state(), done(folder / replace), world.changes, report)
    return found


Undisturbed = dict[str, tuple[dict[str, Any], "Counter[tuple[str, str, str]]", list[str], Report]]


def test_all_that_is_wanted_is_there_and_no_more(undisturbed: Undisturbed) -> None:
    state, steps, changes, report = undisturbed["none"]
    old, new = state["ZTFJ1"], state["ZTFJ132000.00-300000.0"]
    assert old["groups"] == ["Follow-up", "Variables"]
    assert sorted((one["classification"], *one["groups"]) for one in old["classifications"]) == [
        ("Eclipsing", "Variables"),
        ("Pulsating", "Follow-up", "Variables"),
        ("RR Lyrae", "Follow-up", "Variables"),
        ("RRab", "Follow-up"),
        ("RRab", "Variables"),
    ]
    assert old["annotations"]["SCoPe_xmatch"]["data"] == {"survey_id": "Gaia 1", "survey_id_2": "Gaia 7"}
    assert old["annotations"]["notes"]["data"] == {"kept": 2}
    assert old["annotations"]["uploadedperiod"]["data"] == {"period": 0.5}
    assert [(one["text"], one["attachment"]) for one in old["comments"]] == [("seen", "a.png")]
    assert len(old["photometry"]) == len(new["photometry"]) == 2
    assert [one["text"] for one in new["comments"]] == ["folded curve of ZTFJ132000.00-300000.0"]
    assert state["other"]["classifications"] == []
    assert sum(steps.values()) == report.facts["receipt"]["done"] == 15
    assert report.facts["n_failed"] == 0
    assert len(changes) == 12, "one request for all classes of a source"
    # Votes and labels stand in the requests: the service would have made both.
    assert all(
        one["votes"] == {}
        for source in (old, new)
        for one in source["classifications"]
        if one["origin"] == "SCoPe" and one["classification"] != "Eclipsing"
    )


FATES = tuple(f"{killed}{fate}" for fate in ("before", "after", "part", "late") for killed in ("", "kill-"))


def check_fate(fate: Mapping[int, str], replace: Any, undisturbed: Undisturbed, folder: Path) -> None:
    """Let requests go wrong, start again until all is done, and compare with the undisturbed end."""
    state, steps, _, _ = undisturbed[replace]
    world, rules = furnished(), Rules(replace=replace)
    world.fate = dict(fate)
    for _ in range(len(fate) + 1):
        try:
            report = run(world, everything(), folder, rules=rules)
            break
        except Killed:
            continue
    assert world.state() == state, fate
    assert done(folder) == steps, fate
    assert report.facts["n_failed"] == 0, fate
    began = len(world.changes)
    again = run(world, everything(), folder, rules=rules)
    assert len(world.changes) == began, fate
    assert not again.facts["applied"], fate
    assert done(folder) == steps, fate


@pytest.mark.parametrize("replace", ["none", "all"])
def test_a_change_without_an_answer_is_made_once(replace: Any, undisturbed: Undisturbed, tmp_path: Path) -> None:
    n_changes = len(undisturbed[replace][2])
    for number in range(replace == "all", n_changes, 3):
        # Some of the requests, with every way to fail in turn.
        fate = FATES[(3 * number + number // 8) % len(FATES)]
        check_fate({number: fate}, replace, undisturbed, tmp_path / str(number))


@pytest.mark.slow  # 26 requests x 8 ways to fail, two or three runs each: half a minute
@pytest.mark.parametrize("replace", ["none", "all"])
@pytest.mark.parametrize("fate", FATES)
def test_any_change_may_fail_in_any_way(fate: str, replace: Any, undisturbed: Undisturbed, tmp_path: Path) -> None:
    for number in range(len(undisturbed[replace][2])):
        check_fate({number: fate}, replace, undisturbed, tmp_path / str(number))


@pytest.mark.slow  # 60 times four faults: a quarter of a minute
@pytest.mark.parametrize("replace", ["none", "all"])
def test_many_faults_in_a_row(replace: Any, undisturbed: Undisturbed, tmp_path: Path) -> None:
    n_changes = len(undisturbed[replace][2])
    for seed in range(60):
        chance = random.Random(seed)
        numbers = chance.sample(range(n_changes + 6), 4)
        fate = {number: chance.choice(FATES) for number in numbers}
        check_fate(fate, replace, undisturbed, tmp_path / str(seed))


def check_lines(how: str, numbers: range, undisturbed: Undisturbed, folder: Path, patch: pytest.MonkeyPatch) -> int:
    """Kill at lines of the journal, start again, and compare with the undisturbed end; return how many lines there are."""
    state, steps, _, _ = undisturbed["none"]
    written = journal_room._written
    for number in numbers:
        count = 0

        def write(descriptor: int, line: bytes, at: int = number) -> None:
            nonlocal count
            count += 1
            if count - 1 != at:
                written(descriptor, line)
                return
            if how != "before":
                written(descriptor, line if how == "after" else line[: len(line) // 2])
            raise Killed

        world = furnished()
        patch.setattr(journal_room, "_written", write)
        try:
            run(world, everything(), folder / str(number))
        except Killed:
            pass
        else:
            return number
        patch.setattr(journal_room, "_written", written)
        report = run(world, everything(), folder / str(number))
        assert world.state() == state, number
        assert done(folder / str(number)) == steps, number
        assert report.facts["n_failed"] == 0
    return numbers.stop


def test_killed_within_a_line_of_the_journal(
    undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_lines("torn", range(1, 26, 8), undisturbed, tmp_path, monkeypatch)


@pytest.mark.slow  # 26 lines x 3 ways to be killed, two runs each: ten seconds
@pytest.mark.parametrize("how", ["before", "torn", "after"])
def test_killed_at_any_line_of_the_journal(
    how: str, undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_lines = check_lines(how, range(100), undisturbed, tmp_path, monkeypatch)
    assert n_lines == 26, "begin, intent and outcome of each request, end"


def test_a_plan_changes_nothing(tmp_path: Path) -> None:
    world = furnished()
    before = comparable(world.portal)
    report = run(world, everything(), tmp_path, apply=False)
    assert comparable(world.portal) == before
    assert world.changes == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json", "plan.parquet"]
    assert report.facts["plan"] == {
        "save": 1,
        "create": 1,
        "photometry": 2,
        "annotate": 4,
        "comment": 2,
        "classify": 5,
        "left": 1,
    }
    assert json.loads((tmp_path / "plan.json").read_text())["n_steps"] == 15
    assert "RRab stands there with 0.3 of scope, not 0.5" in report.facts["text"]
    rows = pq.read_table(tmp_path / "plan.parquet").to_pylist()
    assert {(row["key"], row["obj_id"]) for row in rows} == {("old", "ZTFJ1"), ("new", "ZTFJ132000.00-300000.0")}


def one(key: str = "one", **values: Any) -> Wanted:
    given: dict[str, Any] = {"ra": 10.0, "dec": 20.0, "group_ids": (VARIABLES,)}
    return Wanted(key=key, **(given | values))


def named(world: World, obj_id: str = "ZTFJ1") -> list[tuple[str, float | None, str, list[str]]]:
    found = world.state()[obj_id]["classifications"]
    return [(row["classification"], row["probability"], row["author"], row["groups"]) for row in found]


def test_a_bad_class_is_named_and_the_others_are_posted(tmp_path: Path) -> None:
    world = furnished()
    wanted = [one(classifications=classes("Mira", "Nonsense", "LPV", "Rubbish", "RR Lyrae")), everything()[1]]
    report = run(world, wanted, tmp_path)
    assert {row[0] for row in named(world)} >= {"Mira", "LPV", "RR Lyrae"}
    assert report.facts["n_failed"] == 1
    failed = [row for row in receipt(tmp_path) if row["status"] == "failed"]
    assert [row["what"].split()[0] for row in failed] == ["Nonsense", "Rubbish"]
    assert "Nonsense" in failed[0]["message"]
    assert report.facts["receipt"] == {"done": 3 + 6, "failed": 2}
    assert "Nonsense" in report.warnings[0]
    again = run(world, wanted, tmp_path)
    assert again.facts["receipt"] == {"failed": 2}
    assert len(named(world)) == 2 + 3


def test_what_would_be_replaced_stays_if_its_place_is_not_taken(tmp_path: Path) -> None:
    world = furnished()
    before = named(world)
    run(world, [one(classifications=classes("Nonsense"))], tmp_path, rules=Rules(replace="all"))
    assert named(world) == before
    assert Counter(row["status"] for row in receipt(tmp_path)) == {"failed": 3}


@pytest.mark.parametrize("replace", ["origin", "all"])
def test_replacing(replace: Any, tmp_path: Path) -> None:
    world = furnished()
    add = world.scenery
    add.classification("ZTFJ1", "Mira", taxonomy=TREE, probability=0.5, user="scope", origin="SCoPe", ml=True)
    add.classification("ZTFJ1", "Mira", taxonomy=TREE, probability=0.4, user="scope", origin="SCoPe", ml=True)
    add.classification("ZTFJ1", "LPV", taxonomy=TREE, user="astronomer", origin="SCoPe")
    add.classification("ZTFJ1", "Semiregular", taxonomy=TREE, user="scope", origin="SCoPe", groups=("Follow-up",))
    report = run(world, [one(classifications=classes("Mira"))], tmp_path, rules=Rules(replace=replace))
    left = {row[0] for row in named(world)}
    assert left == {"Mira", "LPV", "Semiregular"} | ({"RRab"} if replace == "origin" else set())
    assert [row[1] for row in named(world) if row[0] == "Mira"] == [0.5], "just as wanted already"
    if replace == "all":
        # The service does not let others' go, and says that there are none.
        assert report.facts["deleted_of"] == {"astronomer": 1, "scope": 3}
        assert report.facts["receipt"] == {"done": 3, "failed": 1}
    else:
        assert report.facts["deleted_of"] == {"scope": 2}
        assert report.facts["n_failed"] == 0


def test_the_same_class_of_somebody_else_is_left_and_not_repeated(tmp_path: Path) -> None:
    world = furnished()

    def somebody(number: int) -> None:
        if number == 0:
            world.scenery.classification("ZTFJ1", "Mira", taxonomy=TREE, user="astronomer", origin="eye")

    world.on_change = somebody
    # Stored by nobody, and there is no answer: what is there when it is looked at again is not ours.
    world.fate = {0: "before"}
    report = run(world, [one(classifications=classes("Mira", "LPV"))], tmp_path)
    assert Counter(row[0] for row in named(world))["Mira"] == 1
    assert report.facts["n_failed"] == 0
    told = {row["what"].split()[0]: (row["remote_ids"], row["message"]) for row in receipt(tmp_path)}
    assert told["Mira"] == ([], "there, but not as ours")
    assert len(told["LPV"][0]) == 1


def test_what_is_done_between_plan_and_apply_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = furnished()
    wanted = [
        one(classifications=classes("Mira"), group_ids=(VARIABLES, FOLLOW_UP)),
        one("two", ra=200.0, dec=-30.0, classifications=classes("LPV")),
    ]

    def between(number: int) -> None:
        if number == 0:
            world.scenery.source("ZTFJmade", 200.0001, -30.0, user="scope")
            world.scenery.classification("ZTFJmade", "LPV", taxonomy=TREE, user="astronomer")

    world.on_change = between
    report = run(world, wanted, tmp_path)
    assert "ZTFJ132000.00-300000.0" not in world.state(), "the source that has appeared is taken"
    assert [row[0] for row in named(world, "ZTFJmade")] == ["LPV"]
    assert report.facts["receipt"] == {"done": 2, "already": 2}
    assert report.facts["n_failed"] == 0


def test_groups_that_others_save_to_in_between(tmp_path: Path) -> None:
    world = furnished()
    world.scenery.group("Third", ["scope"])
    third = next(group.id for group in world.portal.groups.values() if group.name == "Third")

    def between(number: int) -> None:
        if number == 0:
            world.scenery.source("ZTFJ1", 10.0, 20.0, groups=("Follow-up",))

    world.on_change = between
    report = run(world, [one(group_ids=(VARIABLES, FOLLOW_UP, third))], tmp_path)
    assert world.state()["ZTFJ1"]["groups"] == ["Follow-up", "Third", "Variables"]
    assert report.facts["receipt"] == {"done": 1}, "all three refused together, then the one that was missing"


def test_an_annotation_that_appears_in_between_keeps_its_keys(tmp_path: Path) -> None:
    world = furnished()

    def between(number: int) -> None:
        if number == 0:
            world.scenery.annotation("ZTFJ1", "mine", {"theirs": 1}, user="scope")

    world.on_change = between
    annotation = WantedAnnotation(origin="mine", key="period", value=0.5)
    report = run(world, [one(annotations=(annotation,))], tmp_path)
    assert world.state()["ZTFJ1"]["annotations"]["mine"]["data"] == {"theirs": 1, "period": 0.5}
    assert report.facts["receipt"] == {"done": 1}


def test_what_would_have_been_changed_and_went_away_in_between_is_not_there_already(tmp_path: Path) -> None:
    world = furnished()
    world.scenery.source("ZTFJ2", 200.0, -30.0)

    def between(number: int) -> None:
        if number == 0:
            mine = next(iter(world.portal.objs["ZTFJ1"].annotations.values()))
            assert mine.origin == "SCoPe_xmatch"
            del world.portal.objs["ZTFJ1"].annotations[mine.id]
            del world.portal.objs["ZTFJ2"]

    world.on_change = between
    wanted = [
        one("first", ra=250.0, classifications=classes("Mira")),
        one(annotations=(WantedAnnotation(origin="SCoPe_xmatch", key="survey_id", value=2, mode="change"),)),
        one("gone", ra=200.0, dec=-30.0, classifications=classes("LPV"), not_made="it may not"),
    ]
    report = run(world, wanted, tmp_path)
    assert report.facts["receipt"] == {"done": 2, "failed": 2}
    assert [(row["key"], row["message"]) for row in receipt(tmp_path) if row["status"] == "failed"] == [
        ("one", "has no annotation of SCoPe_xmatch"),
        ("gone", "is not on Fritz, and is not made: it may not"),
    ]
    assert report.facts["n_failed"] == 2


def test_ctrl_c_ends_asking_in_all_threads(tmp_path: Path) -> None:
    world = furnished()

    def pressed(_: int) -> None:
        raise KeyboardInterrupt

    world.on_change = pressed
    with Near(world) as fritz:
        options = ChangesOptions(output=str(tmp_path), apply=True)
        with pytest.raises(KeyboardInterrupt):
            run_changes(fritz, everything(), Rules(), options=options, stage="test", progress=NullProgress())
        assert fritz.stop.is_set()


def test_a_client_that_was_stopped_says_nothing_of_sources(tmp_path: Path) -> None:
    world = furnished()

    class Stopped(Near):
        def _send(self, method: str, path: str, **values: Any) -> Reply:
            if len(world.changes) == 1 and method == "GET":
                self.stop.set()
                raise ServiceError("is not asked any more")
            return super()._send(method, path, **values)

    with Stopped(world) as fritz, pytest.raises(ScopeError):
        options = ChangesOptions(output=str(tmp_path), apply=True)
        run_changes(fritz, everything()[1:], Rules(), options=options, stage="test", progress=NullProgress())
    assert '"note"' not in (tmp_path / "journal.jsonl").read_text()
    assert run(world, everything()[1:], tmp_path).facts["n_failed"] == 0


def test_names_that_no_source_can_have_are_refused_before_anything_is_posted(tmp_path: Path) -> None:
    world = furnished()
    names = ("a b", "Zé", "a?b", "good-1_;:+.x")
    wanted = [one(name, ra=100.0 + n, obj_id=name, classifications=classes("Mira")) for n, name in enumerate(names)]
    plan = run(world, wanted, tmp_path, apply=False, rules=Rules(find="obj_id")).facts["plan"]
    assert plan == {"refused": 3, "create": 1, "classify": 1}
    text = run(world, wanted[:2], tmp_path, apply=False, rules=Rules(find="obj_id")).facts["text"]
    assert text.endswith("nothing was changed: 2 source(s) are refused, nothing else is to do")


def test_the_same_source_for_two_rows_is_refused(tmp_path: Path) -> None:
    world = furnished()
    wanted = [
        one("a", classifications=classes("Mira")),
        one("b", ra=10.0001, classifications=classes("LPV")),
        one("c", ra=300.0, classifications=classes("Mira")),
        one("d", ra=300.0002, classifications=classes("LPV")),
        one("e", ra=250.0, classifications=classes("LPV")),
    ]
    report = run(world, wanted, tmp_path)
    assert report.facts["plan"]["refused"] == report.facts["n_failed"] == 4
    assert {row[0] for row in named(world)} == {"RRab", "Eclipsing"}
    assert len(world.state()) == 3, "e was made"
    reasons = {row["key"]: row["reason"] for row in pq.read_table(tmp_path / "plan.parquet").to_pylist()}
    assert "same source, ZTFJ1, as b" in reasons["a"]
    assert "within radius_arcsec of that of d" in reasons["c"]
    with pytest.raises(DataError, match="two sources are called a"):
        run(world, [wanted[0], wanted[0]], tmp_path)


def test_a_name_that_another_star_has_is_refused(tmp_path: Path) -> None:
    world = furnished()
    world.scenery.source("ZTFJ132000.00-300000.0", 200.01, -30.0)
    report = run(world, [everything()[1]], tmp_path)
    assert world.changes == []
    assert "belongs to a source 31.2 arcsec away" in report.warnings[0]


def test_a_source_that_was_taken_out_of_all_groups_is_found_by_its_name(tmp_path: Path) -> None:
    world = furnished()
    world.scenery.source("ZTFJ132000.00-300000.0", 200.0, -30.0)
    world.scenery.classification("ZTFJ132000.00-300000.0", "Mira", taxonomy=TREE, user="scope", origin="SCoPe")
    for save in world.portal.objs["ZTFJ132000.00-300000.0"].saves.values():
        save.active = False
    report = run(world, [everything()[1]], tmp_path)
    assert Counter(row[0] for row in named(world, "ZTFJ132000.00-300000.0")) == {"Mira": 1, "LPV": 1}
    assert report.facts["plan"]["save"] == 1
    assert report.facts["n_failed"] == 0


def test_a_survey_id_wins_over_the_latest(tmp_path: Path) -> None:
    world = furnished()
    world.scenery.source("ZTFJlate", 10.0, 20.0, created_at="2100-01-01T00:00:00")
    world.scenery.annotation("ZTFJ1", "Gaia", {"survey_id_2": 7}, user="scope")
    wanted = [one(classifications=classes("Mira"), survey_id="7")]
    report = run(world, wanted, tmp_path / "a", apply=False, rules=Rules(match_origin="Gaia"))
    assert "ZTFJ1 " in report.facts["text"]
    report = run(world, wanted, tmp_path / "b", apply=False)
    assert "ZTFJlate" in report.facts["text"]


def test_unfinished_things_of_another_kind_are_refused(tmp_path: Path) -> None:
    world = furnished()
    world.fate = {3: "kill-after"}
    with pytest.raises(Killed):
        run(world, everything(), tmp_path)
    other = [one(classifications=classes("Semiregular"))]
    with pytest.raises(ConfigError, match=r"cut off in the middle .test.; type that command again"):
        run(world, other, tmp_path)
    run(world, everything(), tmp_path)
    report = run(world, other, tmp_path)
    assert report.facts["receipt"] == {"done": 1}
    assert Counter(row["job"] for row in receipt(tmp_path)) == {1: 15, 2: 1}, "the receipt tells all that was ever done"


def test_a_full_disk_stops_before_the_next_change(
    tmp_path: Path, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = journal_room._written
    n_lines = 0

    def full(descriptor: int, line: bytes) -> None:
        nonlocal n_lines
        n_lines += 1
        if n_lines > 6:
            os.write(descriptor, line[:5])
            raise OSError(28, "No space left on device")
        written(descriptor, line)

    monkeypatch.setattr(journal_room, "_written", full)
    world = furnished()
    with pytest.raises(OutputError, match="No space left on device; make room and type the same command again"):
        run(world, everything(), tmp_path)
    assert len(world.changes) == 3
    monkeypatch.setattr(journal_room, "_written", written)
    run(world, everything(), tmp_path)
    assert world.state() == undisturbed["none"][0]
    assert done(tmp_path) == undisturbed["none"][1]


def test_a_lost_right_stops_and_what_is_done_is_kept(tmp_path: Path, undisturbed: Undisturbed) -> None:
    world = furnished()

    def lose(number: int) -> None:
        if number == 5:
            world.scenery.rights("scope", ["Upload data", "Annotate", "Comment"])

    world.on_change = lose
    with pytest.raises(NotAllowedError, match=r"lacks the right.*Classify.*same command again to go on"):
        run(world, everything(), tmp_path)
    assert json.loads((tmp_path / "receipt.json").read_text())["is_finished"] is False
    with pytest.raises(NotAllowedError, match="Classify"):
        run(world, everything(), tmp_path)
    assert any("Classify" in one for one in run(world, everything(), tmp_path, apply=False).warnings)
    world.on_change = lambda _: None
    world.scenery.rights("scope", ["Upload data", "Classify", "Annotate", "Comment"])
    run(world, everything(), tmp_path)
    assert world.state() == undisturbed["none"][0]
    assert done(tmp_path) == undisturbed["none"][1]


def test_an_outage_stops_and_what_is_done_is_kept(tmp_path: Path, undisturbed: Undisturbed) -> None:
    world = furnished()
    wanted = [*everything(), *(one(f"far {n}", ra=30.0 + n, classifications=classes("Mira")) for n in range(6))]
    reference = furnished()
    run(reference, wanted, tmp_path / "reference")

    def fall(number: int) -> None:
        world.is_down = number >= 6
        if world.is_down:
            raise ServiceUnavailableError("no answer from the service")

    world.on_change = fall
    with pytest.raises(ServiceUnavailableError, match=r"steps are done and in .*receipt.parquet"):
        run(world, wanted, tmp_path / "a")
    world.is_down = False
    world.on_change = lambda _: None
    report = run(world, wanted, tmp_path / "a")
    assert world.state() == reference.state()
    assert done(tmp_path / "a") == done(tmp_path / "reference")
    assert report.facts["n_failed"] == 0


def test_a_service_that_never_answers_changes_is_left(tmp_path: Path) -> None:
    world = furnished()
    world.fate = dict.fromkeys(range(1000), "before")
    report = run(world, [one(classifications=classes("Mira", "LPV"))], tmp_path)
    assert report.facts["n_failed"] == 1
    assert report.facts["receipt"] == {"failed": 2}
    assert len(world.changes) == 6, "three tries for each class"
    many = [one(f"{n}", ra=30.0 + n, classifications=classes("Mira")) for n in range(30)]
    with pytest.raises(UnsureError, match=r"no answer.*same command again"):
        run(world, many, tmp_path / "many")


def test_a_change_that_comes_after_all_is_found_at_the_end(tmp_path: Path) -> None:
    world = furnished()
    world.fate, world.late_s = {0: "late"}, 2.0 * SETTLE_S

    def arrive(number: int) -> None:
        # After the same was asked for again, and before the look at the end.
        world.time.now += 2.0 * SETTLE_S if number == 1 else 0.0

    world.on_change = arrive
    report = run(world, [one(classifications=classes("Mira", "LPV"))], tmp_path)
    assert Counter(row[0] for row in named(world)) == {"Mira": 1, "LPV": 1, "RRab": 1, "Eclipsing": 1}
    copies = [row["detail"].split(":")[0] for row in receipt(tmp_path) if row["kind"] == "delete"]
    assert copies == ["second copy", "second copy"]
    assert report.facts["receipt"] == {"done": 4}


def test_a_change_that_comes_after_the_end_is_taken_away_by_the_same_command(tmp_path: Path) -> None:
    world = furnished()
    wanted = [one(classifications=classes("Mira", "LPV"))]
    world.fate, world.late_s = {0: "late"}, 1e6
    run(world, wanted, tmp_path)
    world.store_late(float("inf"))
    assert Counter(row[0] for row in named(world))["Mira"] == 2
    run(world, wanted, tmp_path)
    assert Counter(row[0] for row in named(world)) == {"Mira": 1, "LPV": 1, "RRab": 1, "Eclipsing": 1}
    assert not run(world, wanted, tmp_path).facts["applied"]


def test_an_answer_that_was_lost_is_found_without_waiting(tmp_path: Path) -> None:
    world = furnished()
    world.fate = {0: "after"}
    run(world, [one(classifications=classes("Mira"))], tmp_path)
    assert world.time.waited == 0.0
    assert [row["message"] for row in receipt(tmp_path)] == ["found by looking"]


def test_the_last_change_of_a_killed_run_is_in_the_receipt(tmp_path: Path) -> None:
    world, wanted = furnished(), [one(classifications=classes("Mira"))]
    world.fate = {0: "kill-after"}
    with pytest.raises(Killed):
        run(world, wanted, tmp_path)
    report = run(world, wanted, tmp_path)
    assert report.facts["plan"] == {"nothing": 1}
    assert [(row["kind"], row["status"], len(row["remote_ids"])) for row in receipt(tmp_path)] == [
        ("classify", "done", 1)
    ]


@pytest.mark.parametrize(("later_s", "waits"), [(0.0, True), (45.0, True), (1e5, False), (-1e6, True)])
def test_a_killed_run_is_given_time(later_s: float, waits: bool, tmp_path: Path) -> None:
    world, wanted = furnished(), [one(classifications=classes("Mira"))]
    world.fate = {0: "kill-before"}
    with pytest.raises(Killed):
        run(world, wanted, tmp_path)
    # A date of the journal can only shorten the wait: clocks are set back too.
    world.time.now += later_s
    run(world, wanted, tmp_path)
    assert len(world.changes) == 2
    assert world.time.waited == pytest.approx(SETTLE_S if waits else 0.0, abs=1.0)


def test_what_was_under_way_when_the_process_was_killed_is_not_asked_for_again(tmp_path: Path) -> None:
    world, wanted = furnished(), [one(classifications=classes("Mira"))]
    world.fate = {0: "kill-late"}
    with pytest.raises(Killed):
        run(world, wanted, tmp_path)
    run(world, wanted, tmp_path)
    assert len(world.changes) == 1
    assert sum(row[0] == "Mira" for row in named(world)) == 1


def test_what_is_replaced_is_what_the_plan_says(tmp_path: Path) -> None:
    world = furnished()

    def between(number: int) -> None:
        if number == 0:
            world.scenery.classification("ZTFJ1", "LPV", taxonomy=TREE, user="scope", origin="eye")

    world.on_change = between
    # The first request gets no answer, so that the source is planned anew.
    world.fate = {0: "before"}
    run(world, [one(classifications=classes("Mira"))], tmp_path, rules=Rules(replace="all"))
    assert {row[0] for row in named(world)} == {"Mira", "LPV"}


@pytest.mark.parametrize("fate", ["kill-after", "kill-late"])
def test_a_source_that_was_begun_is_gone_on_with(fate: str, tmp_path: Path) -> None:
    world = furnished()
    world.fate = {0: fate}
    with pytest.raises(Killed):
        run(world, [everything()[1]], tmp_path)
    world.scenery.source("ZTFJlater", 200.0001, -30.0, created_at="2100-01-01T00:00:00")
    run(world, [everything()[1]], tmp_path)
    assert named(world, "ZTFJlater") == []
    assert {row[0] for row in named(world, "ZTFJ132000.00-300000.0")} == {"Mira", "LPV"}


def test_rights_that_are_missing_are_named_before_anything_is_posted(tmp_path: Path) -> None:
    world = furnished()
    world.scenery.rights("scope", ["Upload data", "Annotate"])
    with pytest.raises(NotAllowedError, match="Classify, Comment"):
        run(world, everything(), tmp_path)
    assert world.changes == []
    assert not (tmp_path / "receipt.parquet").exists()
    # Rights that are not needed are not asked for.
    run(world, [one(annotations=(WantedAnnotation(origin="a", key="b", value=1),))], tmp_path)


@pytest.mark.parametrize(("data", "status"), [({"old": 1, "kept": 2, "theirs": 3}, "done"), ({"mine": 7}, "failed")])
def test_an_annotation_is_read_right_before_it_is_written(
    data: Any, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, read = furnished(), acting.annotations_of

    def changed_meanwhile(fritz: Any, obj_id: str) -> Any:
        notes = next(one for one in world.portal.objs["ZTFJ1"].annotations.values() if one.origin == "notes")
        notes.data = data
        return read(fritz, obj_id)

    monkeypatch.setattr(acting, "annotations_of", changed_meanwhile)
    run(world, [one(annotations=(WantedAnnotation(origin="notes", key="mine", value=1, mode="new"),))], tmp_path)
    after = world.state()["ZTFJ1"]["annotations"]["notes"]["data"]
    assert after == (data | {"mine": 1} if status == "done" else data)
    (row,) = receipt(tmp_path)
    assert row["status"] == status
    assert ("somebody else changed it" in row["message"]) == (status == "done")


def test_copies_that_others_left_are_not_ours_to_delete(tmp_path: Path) -> None:
    world = furnished()
    for _ in range(2):
        world.scenery.classification(
            "ZTFJ1", "Mira", taxonomy=TREE, probability=0.5, user="scope", origin="SCoPe", ml=True
        )
    world.fate = {0: "after"}
    run(world, [one(classifications=classes("Mira", "LPV"))], tmp_path)
    assert Counter(row[0] for row in named(world))["Mira"] == 2


def test_photometry_that_cannot_be_made_fails_its_source_alone(tmp_path: Path) -> None:
    def broken() -> NewPhotometry:
        raise DataError("no light curve")

    world = furnished()
    wanted = [one("bad", ra=77.0, classifications=classes("Mira"), photometry=broken), everything()[1]]
    report = run(world, wanted, tmp_path)
    assert len(world.state()) == 3
    assert report.facts["n_failed"] == 1
    assert {row["message"] for row in receipt(tmp_path) if row["key"] == "bad"} == {"no light curve"}


def test_points_that_are_there_are_not_put_again(tmp_path: Path) -> None:
    world = furnished()
    run(world, [one(photometry=points)], tmp_path)
    assert not run(world, [one(photometry=points)], tmp_path).facts["applied"]
    report = run(world, [one(photometry=lambda: points(3))], tmp_path)
    assert report.facts["receipt"] == {"done": 1}
    assert len(world.state()["ZTFJ1"]["photometry"]) == 3


def test_one_look_tells_most_of_a_source(tmp_path: Path) -> None:
    world = furnished()
    for number in range(20):
        world.scenery.source(f"ZTFJx{number}", 100.0 + number, 5.0)
    wanted = [one(f"{n}", ra=100.0 + n, dec=5.0, classifications=classes("Mira", "LPV")) for n in range(20)]
    report = run(world, wanted, tmp_path)
    n_requests = report.facts["n_requests"]
    # The first request asks who asks; rights are one probe.
    assert n_requests == {"plan": 21, "apply": 40, "check": 20}
    report = run(world, wanted, tmp_path)
    assert report.facts["n_requests"] == {"plan": 21}


def test_no_token_stands_in_any_file(tmp_path: Path) -> None:
    world = furnished()
    world.fate = {2: "before"}
    run(world, everything(), tmp_path)
    for path in tmp_path.iterdir():
        assert b"token-of-scope" not in path.read_bytes(), path


def many(server: SkyPortalServer, n: int) -> list[Wanted]:
    """Sources of which every second is there, with all kinds of things wanted."""
    group, tree = server.groups["Variables"], server.taxonomies["Sitewide Taxonomy"]
    server.add_many("source", [{"obj_id": f"ZTFJx{at}", "ra": 10.0 + at, "dec": 5.0} for at in range(0, n, 2)])
    return [
        Wanted(
            key=f"row {at}",
            ra=10.0 + at,
            dec=5.0,
            group_ids=(group,),
            classifications=tuple(
                WantedClass(classification=name, taxonomy_id=tree, probability=0.5) for name in ("Mira", "LPV", "RRab")
            ),
            annotations=(WantedAnnotation(origin="uploadedperiod", key="period", value=float(at)),),
            comments=(WantedComment(text="seen"),),
            photometry=points,
        )
        for at in range(n)
    ]


def over_http(server: SkyPortalServer, wanted: list[Wanted], folder: Path) -> Report:
    config = build(FritzConfig, {**server.config, "timeout_s": 0.3, "retries": 8, "connections": 2})
    options = ChangesOptions(output=str(folder), apply=True, settle_s=0.4)
    with FritzClient(config) as fritz:
        return run_changes(fritz, wanted, Rules(), options=options, stage="test", progress=NullProgress())


FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "reset", "method": "POST", "stored": "never"},
    {"kind": "reset", "method": "POST", "stored": "before"},
    {"kind": "html", "status": 504, "method": "POST", "stored": "later", "later_s": 0.3},
    {"kind": "html", "status": 504, "method": "POST", "stored": "before"},
    {"kind": "html", "status": 429},
    {"kind": "html", "status": 503, "method": "GET"},
    {"kind": "error", "status": 500, "method": "POST", "path": "classification", "stored": "before", "n_items": 2},
    {"kind": "error", "status": 500, "method": "PUT"},
    {"kind": "cut", "method": "POST"},
    {"kind": "cut", "method": "GET"},
    {"kind": "not_json", "method": "POST", "stored": "before"},
    {"kind": "hang", "seconds": 0.5, "method": "POST", "stored": "before", "times": 1},
)


def test_a_misbehaving_service_over_http(skyportal: SkyPortalServer, tmp_path: Path) -> None:
    wanted = many(skyportal, 6)
    over_http(skyportal, wanted, tmp_path / "reference")
    state, steps = skyportal.state()["sources"], done(tmp_path / "reference")
    skyportal.reset()
    wanted = many(skyportal, 6)
    for number, fault in enumerate(FAULTS):
        skyportal.faults.add(**{"times": 2, "after": 3 + number % 4, "probability": 0.5, "seed": number, **fault})
    began = skyportal.n_requests
    report = over_http(skyportal, wanted, tmp_path / "faults")
    skyportal.faults.clear()
    assert len({request["fault"] for request in skyportal.requests_since(began)}) >= 6, "it does misbehave"
    skyportal.settle()
    assert report.facts["n_failed"] == 0, report.warnings
    assert skyportal.state()["sources"] == state
    assert done(tmp_path / "faults") == steps
    began = skyportal.n_requests
    assert not over_http(skyportal, wanted, tmp_path / "faults").facts["applied"]
    assert {request["method"] for request in skyportal.requests_since(began)} == {"GET"}
