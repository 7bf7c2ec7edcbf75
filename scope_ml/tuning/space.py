"""The space that a study searches: one range for each setting, checked against the setting's own type and bounds.

A range that would try what the algorithm refuses is refused before the first trial. May import `core` and `errors`.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scope_ml.core.configuration import build, option
from scope_ml.errors import ConfigError, suggest

__all__ = ["SearchRange", "checked_space", "is_whole", "is_within"]

#: Share of a step by which a decimal number may miss it.
STEP_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class SearchRange:
    """What is tried of one setting: numbers from `low` to `high`, or one of `choices`."""

    low: float | None = option(None, doc="smallest value")
    high: float | None = option(None, doc="largest value")
    log: bool = option(False, doc="evenly over the logarithm")
    step: float | None = option(None, doc="distance between values; null: any", more_than=0.0)
    choices: tuple[Any, ...] = option((), doc="values to choose from instead")


def checked_space(config_type: type[Any], ranges: Mapping[str, SearchRange], where: str = "tune") -> None:
    """Check each range against the setting of `config_type` that it is for.

    Parameters
    ----------
    config_type
        Dataclass of the algorithm's settings, with ``DEFAULTS`` of those that a study may choose.
    ranges
        By name of the setting.
    where
        Dotted key of the ranges in the configuration, for messages.

    Raises
    ------
    ConfigError
        If there is no range, a setting is unknown or cannot be tuned, a range is no range, or one of its ends is not
        what the setting may be.
    """
    tunable = config_type.DEFAULTS
    if not ranges:
        raise ConfigError(
            f"{where} is empty: there is nothing to search; give {where}.<setting>.low= and .high=", key=where
        )
    for name, searched in ranges.items():
        key = f"{where}.{name}"
        if name not in tunable:
            raise ConfigError(
                f"{key} is no setting that can be tuned; these can: {', '.join(tunable)}{suggest(name, tunable)}",
                key=key,
                choices=tunable,
            )
        for value in _ends(searched, key, whole=is_whole(config_type, name)):
            _check(config_type, name, value, key)


def is_within(searched: SearchRange, value: Any) -> bool:
    """Return whether the study could try this value of the setting."""
    if searched.choices:
        return value in searched.choices
    if searched.low is None or searched.high is None or not searched.low <= value <= searched.high:
        return False
    return searched.step is None or _is_step(searched, value)


def is_whole(config_type: type[Any], name: str) -> bool:
    """Return whether the setting is a whole number."""
    hint = typing.get_type_hints(config_type)[name]
    return int in (hint, *typing.get_args(hint))


def _is_step(searched: SearchRange, value: float) -> bool:
    """Return whether `value` is a whole number of steps above the low end."""
    steps = (value - (searched.low or 0.0)) / (searched.step or 1.0)
    return abs(steps - round(steps)) < STEP_TOLERANCE


def _ends(searched: SearchRange, key: str, *, whole: bool) -> tuple[Any, ...]:
    """Return the values that must be allowed for the whole range to be."""
    if searched.choices:
        if searched.low is not None or searched.high is not None or searched.log or searched.step is not None:
            raise ConfigError(f"{key} has both choices and a range of numbers; give one of them", key=key)
        if any(value is None for value in searched.choices):
            raise ConfigError(f"{key}: null is no value to try; give those that are meant", key=key)
        if len(set(map(repr, searched.choices))) != len(searched.choices):
            raise ConfigError(f"{key}: choices={list(searched.choices)} names a value twice", key=key)
        return searched.choices
    if searched.low is None or searched.high is None:
        raise ConfigError(f"{key} needs low and high, or choices", key=key)
    if not searched.low < searched.high:
        raise ConfigError(f"{key}: low={searched.low:g} is not below high={searched.high:g}", key=key)
    if searched.log and searched.low <= 0:
        raise ConfigError(f"{key}: log=true needs low above 0, got {searched.low:g}", key=key)
    if searched.log and searched.step is not None:
        raise ConfigError(f"{key}: log=true and step do not go together; leave one out", key=key)
    if whole and searched.step is not None and searched.step != int(searched.step):
        raise ConfigError(f"{key}: step={searched.step:g} of a whole number must be one too", key=key)
    if searched.step is not None and not _is_step(searched, searched.high):
        n_steps = int((searched.high - searched.low) / searched.step)
        top = searched.low + n_steps * searched.step if n_steps else searched.low + searched.step
        raise ConfigError(
            f"{key}: high={searched.high:g} is not a whole number of steps of {searched.step:g} above"
            f" low={searched.low:g}; give high={top:g}",
            key=key,
        )
    return searched.low, searched.high


def _check(config_type: type[Any], name: str, value: Any, key: str) -> None:
    try:
        build(config_type, {name: value})
    except ConfigError as error:
        # `name=value is not ...`: the key becomes the range's.
        raise ConfigError(f"{key}: {error}", key=key) from error
