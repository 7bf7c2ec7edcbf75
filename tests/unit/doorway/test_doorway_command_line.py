"""What of a command line is settled before Hydra reads it."""

from __future__ import annotations

import pytest

from scope_ml.doorway.command_line import (
    beside_overrides,
    expand_class_sets,
    extra_conf_dir,
    refuse_secrets,
    sweep_flag_first,
    with_action,
)
from scope_ml.errors import ConfigError


def test_class_sets_become_tags() -> None:
    words = expand_class_sets(["-m", "class=ontological,vnv", "seed=1"])
    tags = words[1].removeprefix("class=").split(",")
    assert len(tags) == 31
    assert {"rrlyr", "vnv"} <= set(tags)
    assert words[0::2] == ["-m", "seed=1"]
    assert len(expand_class_sets(["class=all", "--multirun"])[0].split(",")) == 52


def test_single_class_and_globs_are_left_to_hydra() -> None:
    for words in (["class=rrlyr"], ["-m", "class=rrlyr,ea"], ["-m", "class=glob(rr*)"], ["seed=1"]):
        assert expand_class_sets(words) == words


def test_class_set_without_sweep_says_what_to_add() -> None:
    with pytest.raises(ConfigError, match="add -m to train them all"):
        expand_class_sets(["class=all"])


@pytest.mark.parametrize(
    "word",
    [
        "tracking.uri=https://user:sentinel@host/x",
        "tracking.uri=postgresql://a:sentinel@b",
        "tracking.uri=https://sentinel@b",
        "tracking.uri=https://b?password=sentinel",
    ],
)
def test_passwords_are_refused_by_the_key_alone(word: str) -> None:
    with pytest.raises(ConfigError, match=r"tracking\.uri holds a user name") as caught:
        refuse_secrets(["seed=1", word])
    assert "sentinel" not in str(caught.value)
    refuse_secrets(["tracking.uri=sqlite:///mlflow.db", "tracking.uri=https://host:5000"])


def test_extra_folder_is_found_in_both_spellings() -> None:
    assert extra_conf_dir(["--config-dir", "mine"]).name == "mine"
    assert extra_conf_dir(["--config-dir=mine"]).name == "mine"
    assert extra_conf_dir(["seed=1"]) is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-m", "class=e", "seed=1"], ["-m", "new=1", "class=e", "seed=1"]),
        (["class=e", "seed=1", "-m"], ["new=1", "class=e", "seed=1", "-m"]),
        (["--config-dir", "mine", "~split"], ["--config-dir", "mine", "new=1", "~split"]),
        (["--cfg", "job"], ["--cfg", "job", "new=1"]),
        ([], ["new=1"]),
    ],
)
def test_added_overrides_stand_beside_the_others(words: list[str], expected: list[str]) -> None:
    assert beside_overrides(words, ["new=1"]) == expected


def test_a_sweep_flag_may_stand_anywhere() -> None:
    assert sweep_flag_first(["class=e", "-m", "seed=1,2"]) == ["-m", "class=e", "seed=1,2"]
    assert sweep_flag_first(["--config-dir", "mine", "class=e"]) == ["--config-dir", "mine", "class=e"]


def test_a_leading_action_becomes_an_override() -> None:
    actions = ("list", "show")
    assert with_action(["list", "name=x"], actions) == ["action=list", "name=x"]
    assert with_action(["action=show"], actions) == ["action=show"]
    assert with_action(["list"], ()) == ["list"]
    with pytest.raises(ConfigError, match="'lst' is none; did you mean 'list'"):
        with_action(["lst"], actions)
    for words in ([], ["name=x"]):
        with pytest.raises(ConfigError, match="none is given; give one of list, show"):
            with_action(words, actions)
