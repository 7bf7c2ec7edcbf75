"""What may go from a registry, by rules alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scope_ml.tracking.cleaning import DAY_MS, CleaningPlan, CleaningRules, RunFacts, VersionFacts, plan_cleaning
from scope_ml.tracking.records import ModelVersion
from scope_ml.tracking.registry_history import Promotion

NAME, NOW = "scope-rrlyr-xgb", 1000 * DAY_MS


def version(number: int, *aliases: str, history: tuple[Promotion, ...] = ()) -> ModelVersion:
    tags = {"scope.bundle_digest": f"digest-{number}", "scope.tag": "rrlyr", "scope.algorithm": "xgb"}
    made = ModelVersion.from_tags(NAME, number, aliases, tags)
    return ModelVersion(**{**vars(made), "history": history})


def run(number: int, *, age: float = 100, **changes: Any) -> RunFacts:
    values = {"run_id": f"run-{number}", "name": f"n{number}", "of": NAME, "digest": f"digest-{number}"}
    return RunFacts(**(values | {"at_ms": int(NOW - age * DAY_MS)} | changes))


def promoted(number: int, version: int, before: int | None, how: Any = "promote") -> Promotion:
    return Promotion(number=number, version=version, before=before, how=how, when="", by="", why="")


def planned(
    versions: list[ModelVersion],
    runs: list[RunFacts],
    *,
    age: float = 100,
    orphans: tuple[str, ...] = (),
    needed: tuple[str, ...] = (),
    stages: dict[int, str] | None = None,
    **rules: Any,
) -> CleaningPlan:
    made = CleaningRules(**({"keep": 1, "older_than": 30} | rules))
    facts = {
        (one.name, one.version): VersionFacts(
            created_ms=int(NOW - age * DAY_MS),
            runs=frozenset({f"run-{one.version}"}),
            stage=(stages or {}).get(one.version, ""),
        )
        for one in versions
    }
    return plan_cleaning(versions, runs, made, now_ms=NOW, facts=facts, orphans=orphans, needed=needed)


def gone(plan: CleaningPlan, what: str = "version") -> list[str]:
    return sorted(found.key for found in plan.removed if found.what == what)


def test_versions_with_an_alias_or_a_pin_stay() -> None:
    versions = [version(1, "champion"), version(2, "mine"), version(3), version(4), version(5)]
    plan = planned(versions, [], pinned=frozenset({"digest-3"}))
    assert gone(plan) == ["4"], "5 is the newest"
    assert plan.kept == {
        "versions: among the newest 1": 1,
        "versions: champion": 1,
        "versions: mine": 1,
        "versions: pinned by a lock file": 1,
    }
    assert plan.n_looked_at == len(versions)


def test_what_is_young_stays_however_much_there_is() -> None:
    versions = [version(number) for number in range(1, 6)]
    runs = [run(number, age=10) for number in range(1, 6)]
    assert planned(versions, runs, age=10).removed == ()
    assert gone(planned(versions, runs, age=31)) == ["1", "2", "3", "4"]
    assert gone(planned(versions, runs, age=31, keep=4)) == ["1"]


def test_where_a_rollback_leads_stays() -> None:
    history = (promoted(1, 1, None), promoted(2, 2, 1), promoted(3, 4, 2))
    versions = [version(1), version(2), version(3), version(4, "champion", history=history), version(5)]
    plan = planned(versions, [])
    assert gone(plan) == ["1", "3"]
    assert plan.kept["versions: a rollback leads to it"] == 1


def test_runs_of_what_stays_stay_with_their_parents() -> None:
    versions = [version(1, "champion"), version(2), version(3)]
    runs = [
        run(1, parent="sweep-a"),
        run(2, parent="sweep-b"),
        run(3, parent="sweep-b", age=90),
        run(4, parent="sweep-c", digest="pinned"),
        run(5, is_running=True),
        run(6, is_ours=False, of="", digest=""),
        run(7, is_deleted=True, digest=""),
        run(8, is_deleted=True, digest="", age=2),
        *(
            run(0, run_id=name, is_sweep=True, of="", digest="")
            for name in ("sweep-a", "sweep-b", "sweep-c", "sweep-d")
        ),
        run(0, run_id="sweep-e", is_sweep=True, of="", digest="", age=1),
    ]
    plan = planned(versions, runs, pinned=frozenset({"pinned"}), orphans=("m-1",))
    assert gone(plan, "run") == ["run-2", "run-7", "sweep-d"]
    assert gone(plan, "model") == ["m-1"]
    assert {found.key: found.why for found in plan.removed}["run-7"] == "deleted in MLflow"
    assert plan.n_looked_at == len(versions) + len(runs) + 1
    order = [found.key for found in plan.removed if found.what == "run"]
    assert order.index("run-2") < order.index("sweep-d"), "children before parents"


def test_a_removed_version_does_not_take_the_run_of_a_pinned_bundle() -> None:
    twice = ModelVersion(**{**vars(version(1)), "digest": "digest-2"})
    plan = planned([twice, version(2, "champion")], [run(1, digest="digest-2"), run(2)], keep=1)
    assert gone(plan, "version") == ["1"]
    assert gone(plan, "run") == []


def test_a_stage_of_older_times_is_as_good_as_an_alias() -> None:
    plan = planned([version(1), version(2), version(3)], [run(1)], stages={1: "Production"})
    assert gone(plan) == ["2"]
    assert plan.kept["versions: Production"] == 1
    assert gone(plan, "run") == []


def test_runs_that_others_need_stay_and_so_do_their_parents() -> None:
    runs = [
        run(1, parent="middle"),
        run(0, run_id="middle", is_sweep=True, of="", digest="", parent="sweep", age=200),
        run(0, run_id="sweep", is_sweep=True, of="", digest="", age=300),
        *(run(number, digest=f"digest-{number}", age=50) for number in (2, 3)),
    ]
    assert gone(planned([], runs), "run") == ["middle", "run-1", "run-3", "sweep"]
    plan = planned([], runs, needed=("run-1",))
    assert gone(plan, "run") == ["run-3"], "2 is the newest"
    assert plan.n_looked_at == len(runs)


def test_what_others_made_stays_even_where_it_was_marked_as_deleted() -> None:
    strange = run(1, is_ours=False, is_deleted=True, of="", digest="")
    assert planned([], [strange]).removed == ()


def test_a_run_that_failed_takes_the_place_of_none_that_holds_a_model() -> None:
    runs = [run(1, age=99), run(2, age=80, digest=""), run(3, age=70, digest=""), run(4, age=120)]
    assert gone(planned([], runs), "run") == ["run-4"], "1 is the newest with a model"


def test_what_is_lost_with_a_version_is_told() -> None:
    first, later = (promoted(1, 1, None),), (promoted(2, 2, 1), promoted(3, 3, 2))
    (found,) = planned([version(1, history=first), version(2), version(3, "champion", history=later)], []).removed
    assert found.told["digest"] == "digest-1"
    assert [entry["version"] for entry in found.told["history"]] == [1]


@given(
    n_versions=st.integers(0, 12),
    champion=st.integers(1, 12),
    keep=st.integers(1, 5),
    ages=st.lists(st.floats(0, 200), min_size=12, max_size=12),
    older_than=st.floats(0, 100),
)
def test_counts_add_up_and_the_champion_never_goes(
    n_versions: int, champion: int, keep: int, ages: list[float], older_than: float
) -> None:
    versions = [version(n, *(["champion"] if n == champion else [])) for n in range(1, n_versions + 1)]
    runs = [run(n, age=ages[n - 1]) for n in range(1, n_versions + 1)]
    plan = planned(versions, runs, keep=keep, older_than=older_than)
    assert plan.n_looked_at == 2 * n_versions
    assert str(champion) not in gone(plan)
    assert f"run-{champion}" not in gone(plan, "run")
    stay = {str(one.version) for one in versions} - set(gone(plan))
    assert {f"run-{number}" for number in stay}.isdisjoint(gone(plan, "run")), "a version keeps its run"
    assert len(stay) >= min(keep, n_versions)


@pytest.mark.parametrize("keep", [1, 3])
def test_a_second_look_finds_nothing_more(keep: int) -> None:
    versions = [version(number) for number in range(1, 9)]
    runs = [run(number, age=100 - number) for number in range(1, 9)]
    first = planned(versions, runs, keep=keep)
    left = [one for one in versions if str(one.version) not in gone(first)]
    runs_left = [one for one in runs if one.run_id not in gone(first, "run")]
    assert planned(left, runs_left, keep=keep).removed == ()
