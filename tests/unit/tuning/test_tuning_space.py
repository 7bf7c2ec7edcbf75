"""Search spaces: what cannot be searched is refused before the first trial, in one line that says what to type."""

from __future__ import annotations

from typing import Any

import pytest

from scope_ml.core.configuration import build
from scope_ml.errors import ConfigError
from scope_ml.models.dnn import DnnConfig
from scope_ml.models.xgb import XgbConfig
from scope_ml.tuning.space import SearchRange, checked_space, is_whole, is_within


def space(**ranges: dict[str, Any]) -> dict[str, SearchRange]:
    return {name: build(SearchRange, values) for name, values in ranges.items()}


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        ({}, "tune is empty"),
        ({"max_dept": {"low": 2, "high": 3}}, "did you mean 'max_depth'"),
        ({"n_rounds": {"low": 2, "high": 3}}, "no setting that can be tuned"),
        ({"max_depth": {"low": 2}}, "needs low and high, or choices"),
        ({"max_depth": {"low": 3, "high": 3}}, "low=3 is not below high=3"),
        ({"max_depth": {"low": 0, "high": 3}}, "at least 1"),
        ({"max_depth": {"low": 2.5, "high": 4}}, "whole number"),
        ({"max_depth": {"low": 2, "high": 4, "step": 0.5}}, "step=0.5 of a whole number"),
        ({"max_depth": {"low": 2, "high": 10, "step": 3}}, "give high=8"),
        ({"max_depth": {"low": 2, "high": 10, "choices": [3]}}, "both choices and a range"),
        ({"max_depth": {"choices": [3, None]}}, "null is no value to try"),
        ({"max_depth": {"choices": [3, 4, 3]}}, "names a value twice"),
        ({"max_depth": {"choices": [3, 400]}}, "at most 64"),
        ({"subsample": {"low": 0.5, "high": 1.5}}, "at most 1"),
        ({"gamma": {"low": 0, "high": 1, "log": True}}, "log=true needs low above 0"),
        ({"reg_lambda": {"low": 1, "high": 3, "log": True, "step": 1}}, "do not go together"),
    ],
)
def test_what_cannot_be_searched_is_refused(ranges: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        checked_space(XgbConfig, space(**ranges))


def test_whole_steps_and_choices_are_taken() -> None:
    checked_space(
        XgbConfig, space(max_depth={"low": 2, "high": 8, "step": 3}, subsample={"low": 0.4, "high": 1.0, "step": 0.1})
    )
    checked_space(DnnConfig, space(amsgrad={"choices": [False, True]}, batch_size={"choices": [32, 64]}))
    assert is_whole(XgbConfig, "max_depth")
    assert not is_whole(XgbConfig, "subsample")


def test_a_value_is_within_a_range_only_if_the_study_could_try_it() -> None:
    steps = build(SearchRange, {"low": 2, "high": 8, "step": 3})
    assert [value for value in range(1, 10) if is_within(steps, value)] == [2, 5, 8]
    assert is_within(build(SearchRange, {"choices": [3, 4]}), 4)
    assert not is_within(build(SearchRange, {"choices": [3, 4]}), 5)
    assert not is_within(build(SearchRange, {"low": 0.1, "high": 1}), 0.05)
