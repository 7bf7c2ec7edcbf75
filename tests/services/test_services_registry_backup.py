"""A registry on a server: what a backup holds of it, and cleaning that marks only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.errors import ConfigError, FormatError
from scope_ml.stages.registry import RegistryTask, run
from scope_ml.tracking.mlflow_runs import MlflowTracker

#: Slow: a server takes many seconds to start.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_server_is_backed_up_and_cleaned_as_far_as_it_lets(programs: Any, tmp_path: Path) -> None:
    with programs.mlflow_server(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts") as address:
        tracking = {"uri": address, "experiment": "scope"}

        def act(action: str, **values: Any) -> Any:
            task = build(RegistryTask, {"action": action, "tracking": tracking} | values)
            return run(task, progress=NullProgress())

        tracker = MlflowTracker.open(address, "scope")
        for number in range(3):
            with tracker.run(f"run-{number}", f"key-{number}") as handle:
                handle.params({"number": number})
                handle.tags({"scope.tag": "rrlyr", "scope.algorithm": "xgb"})
        report = act("backup", output=str(tmp_path / "b"))
        assert (report.facts["of"], report.facts["runs"], report.facts["versions"]) == ("server", 3, 0)
        kept = [json.loads(line) for line in (tmp_path / "b" / "runs.jsonl").read_text().splitlines()]
        assert sorted(run["params"]["number"] for run in kept) == ["0", "1", "2"]
        assert "artifacts of runs" in report.facts["text"]
        database = {"uri": f"sqlite:///{tmp_path}/x/mlflow.db"}
        with pytest.raises(FormatError, match="is the backup of a server"):
            act("restore", path=str(tmp_path / "b"), tracking=database)
        rules = {"clean": {"keep": 1, "older_than": 0}, "apply": True}
        with pytest.raises(ConfigError, match=r"needs output=FILE\.json"):
            act("clean", **rules)
        cleaned = act("clean", **rules, output=str(tmp_path / "receipt.json"))
        assert sum(cleaned.dropped.values()) == 2
        assert "mlflow gc" in cleaned.facts["text"]
        assert act("backup", output=str(tmp_path / "c")).facts["runs"] == 1
