"""Hydra's errors become one line that says what to type."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from scope_ml.doorway.command_line import refuse_flags
from scope_ml.doorway.hydra_errors import hydra_error
from scope_ml.errors import ConfigError
from scope_ml.taxonomy.classes import packaged_conf_dir

KNOWN = ("limit", "output", "source.path", "hidden.key")


def said(*words: str, door: str = "generate_features") -> str:
    with initialize_config_dir(str(packaged_conf_dir()), version_base="1.3"):
        try:
            compose(door, overrides=list(words))
        except (HydraException, OmegaConfBaseException) as error:
            return str(hydra_error(error, KNOWN))
    raise AssertionError(f"{words} were taken")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("limi=1", "unknown key 'limi'; did you mean 'limit'?; --help lists the keys"),
        ("zzz=1", "unknown key 'zzz'; --help lists the keys"),
        ("hidden.key=1", "'hidden.key' stands in no configuration file; give it with a plus: +hidden.key=..."),
        ("limit", "'limit' is not of the form key=value"),
        (
            "output=a=b",
            """output=a=b cannot be read; a value with , = ( { [ or : needs quotes within quotes: "output='a=b'\"""",
        ),
        (
            "source=parket",
            "Could not find 'source/parket'; did you mean 'parquet'?; choices of source: hats, irsa, irsa_stars, kowalski, parquet, survey",
        ),
    ],
)
def test_one_line_says_what_to_type(word: str, message: str) -> None:
    assert said(word) == message


def test_a_comma_asks_for_a_sweep() -> None:
    message = said("band=g,r")
    assert "add -m to run each" in message
    assert "\"band='g,r'\"" in message
    assert "\n" not in message


def test_a_missing_choice_is_one_line() -> None:
    message = said(door="train")
    assert "You must specify 'class'" in message
    assert "\n" not in message


def test_flags_that_hydra_does_not_know() -> None:
    refuse_flags(["-m", "class=e", "--cfg", "job"])
    with pytest.raises(ConfigError, match=r"^unrecognized arguments: --seed=1; options are key=value without dashes"):
        refuse_flags(["class=e", "--seed=1"])
