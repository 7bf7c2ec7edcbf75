"""Configuration is strict, and every refusal is one line that names the key."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest

from scope_ml.core.configuration import build, describe, option, science_digest, science_values, to_plain
from scope_ml.core.machine import Machine
from scope_ml.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Adam:
    learning_rate: float = option(3e-4, more_than=0, at_most=1)
    amsgrad: bool = option(True)


@dataclass(frozen=True, kw_only=True)
class Example:
    tag: str = option(key="class", doc="class to train")
    seed: int = option(42, at_least=0)
    seeds: tuple[int, ...] | None = option(None, at_least=0)
    method: Literal["ls", "ce"] = option("ls")
    limits: dict[str, float] = option({"a": 1.0})
    adam: Adam = option(Adam())
    output: str = option("out", machine=True)
    machine: Machine = option(Machine(), machine=True)


def test_values_arrive_typed() -> None:
    config = build(
        Example,
        {
            "class": "rrlyr",
            "seeds": [1, 2],
            "adam": {"learning_rate": 1},
            "limits": {"b": 2},
            "machine": {"workers": 2},
        },
    )
    assert config.tag == "rrlyr"
    assert config.seeds == (1, 2)
    assert config.adam == Adam(learning_rate=1.0)
    assert isinstance(config.adam.learning_rate, float)
    assert config.limits == {"b": 2.0}
    assert config.machine.n_workers == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "'class' has no value (class to train); give class=..."),
        ({"class": "???"}, "'class' has no value"),
        ({"class": "ea", "sed": 1}, "unknown key 'sed'; known here: .*did you mean 'seed'"),
        ({"class": "ea", "adam": {"lr": 1}}, "unknown key 'adam.lr'"),
        ({"class": "ea", "adam": {"amsgrad": 3e-4}}, "adam.amsgrad=0.0003 is not true or false"),
        ({"class": "ea", "adam": {"amsgrad": 1}}, "adam.amsgrad=1 is not true or false"),
        ({"class": "ea", "adam": {"learning_rate": 0}}, "adam.learning_rate=0.0 is not a number of more than 0"),
        ({"class": "ea", "adam": {"learning_rate": math.nan}}, "adam.learning_rate=nan is not a number"),
        ({"class": "ea", "adam": 3}, "adam: expected a group of keys, got 3"),
        ({"class": "ea", "seed": "abc"}, "seed='abc' is not a whole number of at least 0"),
        ({"class": "ea", "seed": 1.5}, "seed=1.5 is not a whole number"),
        ({"class": "ea", "seed": True}, "seed=True is not a whole number"),
        ({"class": "ea", "seed": None}, "seed=None is not a whole number"),
        ({"class": "ea", "seeds": "1,2"}, "seeds='1,2' is not a list"),
        ({"class": "ea", "seeds": [1, -2]}, r"seeds\[1\]=-2 is not a whole number of at least 0"),
        ({"class": "ea", "method": "lss"}, "method='lss' is not one of ls, ce; did you mean 'ls'"),
        ({"class": "ea", "limits": [1]}, "limits=.1. is not a group of keys"),
        ({"class": 3}, "class=3 is not a text"),
    ],
)
def test_refusals_are_one_line_with_the_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(").replace(")", r"\)")) as caught:
        build(Example, values)
    assert "\n" not in str(caught.value)
    assert caught.value.key


def test_only_science_counts_in_the_digest() -> None:
    config = build(Example, {"class": "ea"})
    assert science_digest(replace(config, output="elsewhere", machine=Machine(workers=7))) == science_digest(config)
    assert science_digest(replace(config, seed=1)) != science_digest(config)
    assert science_digest(replace(config, adam=Adam(amsgrad=False))) != science_digest(config)
    assert "output" not in science_values(config)
    assert build(Example, to_plain(config)) == config


def test_help_knows_every_option_by_its_dotted_key() -> None:
    options = {line.key: line for line in describe(Example)}
    assert options["class"].default == "required"
    assert options["seeds"].default == "null"
    assert options["adam.learning_rate"].allowed == "more than 0 and at most 1"
    assert options["method"].allowed == "ls|ce"
    assert options["machine.workers"].default == "0"
    assert "machine" not in options


@pytest.mark.parametrize("value", [2**63, -(2**63), 10**400, math.inf, math.nan])
def test_numbers_beyond_64_bits_are_refused(value: float) -> None:
    for values in ({"class": "a", "seed": value}, {"class": "a", "limits": {"a": value}}):
        with pytest.raises(ConfigError, match=r"is not a (whole )?number"):
            build(Example, values)


def test_what_is_required_may_not_be_empty() -> None:
    with pytest.raises(ConfigError, match=r"^'class' is empty; give class=\.\.\.$"):
        build(Example, {"class": ""})
    assert build(Example, {"class": "a", "output": ""}).output == ""
