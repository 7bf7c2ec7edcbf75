"""What is shown of a plan, and what is found out before anybody is asked."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from scope_ml.core.protocols import NullProgress
from scope_ml.errors import DataError, EmptySelectionError, JobError
from scope_ml.io.output_lock import output_lock
from scope_ml.services.fritz.client import FritzClient
from scope_ml.services.fritz.rules import Rules
from scope_ml.services.fritz.settings import FritzConfig
from scope_ml.services.fritz.wanted import Wanted
from scope_ml.stages.fritz_changes import ChangesOptions, run_changes
from scope_ml.stages.fritz_plans import LEFT, NOTHING, REFUSED, PlanRow, PlanTable
from scope_ml.stages.fritz_receipts import plan_text, write_json


def row(kind: str, **values: Any) -> PlanRow:
    return PlanRow(**({"source": 0, "key": "row 1", "obj_id": "ZTFJ1", "kind": kind} | values))


def test_a_plan_is_shown_by_action_with_its_first_rows() -> None:
    plan = PlanTable(
        path=Path("plan.parquet"),
        counts=Counter({"classify": 1200, "delete": 3, NOTHING: 5, LEFT: 1, REFUSED: 2}),
        authors=Counter({"scope": 2, "astronomer": 1}),
        n_sources=250,
        n_changed=242,
        first=[
            row("classify", what="Mira (taxonomy 5, SCoPe)", detail="0.9 for groups 6"),
            row(REFUSED, key="row 2", reason="is not on Fritz\nat all" + "x" * 100),
        ],
    )
    assert plan.n_steps == 1203
    lines = plan_text(plan, "https://fritz.science").splitlines()
    assert lines[0] == "plan for 250 source(s) on https://fritz.science: 1203 step(s) on 242"
    assert [line.split()[-1] for line in lines[2:7]] == ["1200", "3", "5", "1", "2"]
    assert "classifications that go: 1 of astronomer, 2 of scope" in lines
    assert lines[-2].split("  ")[-1] == "0.9 for groups 6"
    assert "is not on Fritz at all" in lines[-1]
    assert lines[-1].endswith("xxx...")


def changes(wanted: list[Wanted], folder: Path) -> None:
    # Nobody listens there.
    with FritzClient(FritzConfig(url="http://127.0.0.1:1", retries=0), environment={"FRITZ_TOKEN": "t"}) as fritz:
        options = ChangesOptions(output=str(folder))
        run_changes(fritz, wanted, Rules(), options=options, stage="test", progress=NullProgress())


def test_what_is_found_out_before_anybody_is_asked(tmp_path: Path) -> None:
    one = Wanted(key="a", obj_id="ZTFJ1")
    with pytest.raises(EmptySelectionError, match="no source to change"):
        changes([], tmp_path)
    with pytest.raises(DataError, match="two sources are called a"):
        changes([one, one], tmp_path)
    with output_lock(tmp_path, tmp_path), pytest.raises(JobError, match="is being written by process"):
        changes([one], tmp_path)


def test_counts_are_written_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "plan.json", {"counts": {"classify": 2}})
    assert json.loads((tmp_path / "plan.json").read_text()) == {"counts": {"classify": 2}}
