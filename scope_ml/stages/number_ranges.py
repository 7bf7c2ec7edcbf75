"""Whole numbers as people type them: ``3``, ``[1,2]``, ``1-4``, ``[1-4,7]``. May import core and errors only."""

from __future__ import annotations

import re
from collections.abc import Sequence

from scope_ml.errors import ConfigError

__all__ = ["Numbers", "number_list"]

#: What a field of a configuration may be.
Numbers = int | str | tuple[int | str, ...]

#: Text that stands for numbers: one, or the first and the last of a range.
RANGE = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", re.ASCII)


def number_list(given: Numbers, key: str, allowed: range) -> tuple[int, ...]:
    """Return the numbers that were typed, sorted, each once.

    Parameters
    ----------
    given
        A number, a range with both ends such as ``"1-4"``, several of them with commas, or a list of these.
    key
        Name of the option, for messages.
    allowed
        The numbers that there are.

    Raises
    ------
    ConfigError
        If it is no number, none at all, a range that goes backwards, or there is no such number.
    """
    words = given if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    parts = [part for word in words for part in (word.split(",") if isinstance(word, str) else (word,))]
    numbers: set[int] = set()
    for part in parts:
        first, last = _ends(part, key, allowed)
        if first > last:
            raise ConfigError(f"{key}={part}: the range goes backwards; type {key}={last}-{first}", key=key)
        # The ends are looked at before the range is made, which may be as long as somebody can type.
        for end in (first, last):
            if end not in allowed:
                raise ConfigError(f"{key}={part}: {key} {end} does not exist; it is {_span(allowed)}", key=key)
        numbers.update(range(first, last + 1))
    if not numbers:
        raise ConfigError(f"{key} is an empty list; give numbers of {_span(allowed)}", key=key)
    return tuple(sorted(numbers))


def _ends(part: int | str, key: str, allowed: range) -> tuple[int, int]:
    if isinstance(part, int):
        return part, part
    match = RANGE.fullmatch(part)
    if match is None:
        raise ConfigError(
            f"{key}={part!r} is not a whole number or a range; it is {_span(allowed)}, such as {key}={allowed[0]} or"
            f" {key}={allowed[0]}-{allowed[-1]}",
            key=key,
        )
    return int(match[1]), int(match[2] or match[1])


def _span(allowed: range) -> str:
    return f"{allowed[0]} to {allowed[-1]}"
