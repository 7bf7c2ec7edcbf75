"""Who becomes champion, and the words for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scope_ml.tracking.promotion import Policy, best_seed, decide
from scope_ml.tracking.records import ModelRecord, ModelVersion


def record(**changes: Any) -> ModelRecord:
    values: dict[str, Any] = {
        "folder": Path("bundle"),
        "tag": "rrlyr",
        "algorithm": "xgb",
        "seed": 1,
        "digest": "new",
        "features": ("period",),
        "threshold": 0.7,
        "validation": 0.8,
        "test": 0.7,
        "data_digest": "data",
        "split_digest": "split",
        "config_digest": "config",
        "key": "key",
    }
    return ModelRecord(**(values | changes))


def champion(**changes: Any) -> ModelVersion:
    tags = record(digest="old", validation=0.75).tags() | {"scope.promotion": "first champion, validation AP 0.7500"}
    tags |= {f"scope.{name}": value for name, value in changes.items()}
    return ModelVersion.from_tags("scope-rrlyr-xgb", 3, ("champion",), tags)


def test_a_version_is_read_back_from_its_tags() -> None:
    version = champion()
    assert (version.tag, version.algorithm, version.seed, version.digest) == ("rrlyr", "xgb", 1, "old")
    assert (version.validation, version.test) == (0.75, 0.7)


def test_an_undefined_score_is_none_again() -> None:
    tags = record(validation=None, test=float("nan")).tags()
    version = ModelVersion.from_tags("scope-rrlyr-xgb", 1, (), tags)
    assert version.validation is None
    assert version.test is None


def test_the_best_seed_is_chosen_on_validation_not_on_test() -> None:
    records = [record(seed=1, validation=0.8, test=0.9), record(seed=2, validation=0.81, test=0.1)]
    assert best_seed(records).seed == 2


def test_equal_seeds_go_to_the_lowest_and_undefined_scores_lose() -> None:
    records = [record(seed=3), record(seed=2), record(seed=1, validation=None)]
    assert best_seed(records).seed == 2


@pytest.mark.parametrize(
    ("policy", "validation", "changes", "alias", "words"),
    [
        ("compare", 0.8, {}, "champion", "0.8000 beats version 3 with 0.7500"),
        ("compare", 0.75, {}, "challenger", "does not beat"),
        ("compare", None, {}, "challenger", "undefined does not beat"),
        ("compare", 0.9, {"split_digest": "other"}, "challenger", "another split"),
        ("compare", 0.8, {"data_digest": "other"}, "champion", "beats"),
        ("compare", 0.1, {"validation_average_precision": "undefined"}, "champion", "beats"),
        ("pipeline", 0.1, {"split_digest": "other"}, "champion", "on another split"),
        ("pipeline", 0.1, {"data_digest": "other"}, "champion", "from other data"),
        ("pipeline", 0.1, {}, "champion", "after 0.7500 on the same split"),
        ("always", 0.1, {}, "champion", "as asked"),
        ("never", 0.9, {}, None, "without promotion"),
    ],
)
def test_the_decision_beside_a_champion(
    policy: Policy, validation: float | None, changes: dict[str, str], alias: str | None, words: str
) -> None:
    decision = decide(record(validation=validation), champion(**changes), policy)
    assert decision.alias == alias
    assert words in decision.reason


def test_without_a_champion_the_first_becomes_one_and_keeps_its_reason() -> None:
    decision = decide(record(), None, "compare")
    assert decision.alias == "champion"
    assert "first champion" in decision.reason
    again = decide(record(digest="old"), champion(), "pipeline")
    assert (again.alias, again.reason) == ("champion", "first champion, validation AP 0.7500")
