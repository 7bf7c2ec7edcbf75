"""Hydra's errors in one line and in our words: what was typed, what is wrong with it, what to type."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from scope_ml.errors import ConfigError, suggest

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["hydra_error", "resolved"]

#: Hydra's messages, by what they are about.
_NOT_THERE = re.compile(r"Could not override '(?P<key>[^']+)'")
_COMMA = re.compile(r"Ambiguous value for argument '(?P<word>.*?)'\s*\n", re.DOTALL)

#: Lines of Hydra's messages that help nobody who types a command.
_NOISE = ("Set the environment variable HYDRA_FULL_ERROR", "Config search path", "provider=", "full_key", "object_type")


def hydra_error(error: Exception, known: Sequence[str]) -> ConfigError:
    """Return what Hydra or OmegaConf raised as our error.

    Parameters
    ----------
    error
        An error of composing or of reading the command line.
    known
        Dotted keys of the stage's options.
    """
    from hydra.errors import MissingConfigException, OverrideParseException

    text = str(error)
    if isinstance(error, OverrideParseException):
        return ConfigError(_unreadable(error.override), key=error.override.partition("=")[0])
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        return _no_choice(error.missing_cfg_file, error.options)
    if comma := _COMMA.search(text):
        return _several(comma["word"])
    if not_there := _NOT_THERE.search(text):
        return _unknown(not_there["key"], known)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return ConfigError(" ".join(line for line in lines if not line.startswith(_NOISE)))


def _unreadable(word: str) -> str:
    key, equals, value = word.partition("=")
    if not equals:
        return f"'{word}' is not of the form key=value"
    quoted = f"{key}='{value}'"
    return f'{word} cannot be read; a value with , = ( {{ [ or : needs quotes within quotes: "{quoted}"'


def _no_choice(missing: str, options: Sequence[str]) -> ConfigError:
    group, _, choice = missing.rpartition("/")
    return ConfigError(
        f"Could not find '{missing}'{suggest(choice, options)}; choices of {group}: {', '.join(sorted(options))}",
        key=group,
        choices=options,
    )


def _several(word: str) -> ConfigError:
    key, _, value = word.partition("=")
    return ConfigError(
        f"{word} has a comma, which means a sweep: add -m to run each; one value with a comma is \"{key}='{value}'\","
        f' a list, where the key takes one, "{key}=[{value}]"',
        key=key,
    )


def _unknown(key: str, known: Sequence[str]) -> ConfigError:
    if key in known:
        return ConfigError(f"'{key}' stands in no configuration file; give it with a plus: +{key}=...", key=key)
    return ConfigError(f"unknown key '{key}'{suggest(key, known)}; --help lists the keys", key=key, choices=known)


def resolved(composed: DictConfig) -> Mapping[str, Any]:
    """Return plain values; raised from inside a job, Hydra would add a line of its own to OmegaConf's error."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return cast("Mapping[str, Any]", OmegaConf.to_container(composed, resolve=True))
    except OmegaConfBaseException as error:
        raise hydra_error(error, ()) from error
