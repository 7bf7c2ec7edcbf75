"""Keyword arguments of the notebook functions as a checked `PeriodSearch`. May import `features`, `core` and `errors`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from scope_ml.core.configuration import build
from scope_ml.errors import ConfigError, suggest
from scope_ml.features.period_search import PeriodSearch

__all__ = ["search_settings"]

#: Options of the pipeline that say nothing about a single search.
PIPELINE = ("also", "scale_min_period", "n_agreement_peaks")

KNOWN = tuple(field.name for field in fields(PeriodSearch) if field.name not in PIPELINE)


def search_settings(given: Mapping[str, Any]) -> PeriodSearch:
    """Return the search that keyword arguments ask for; they have the names of ``period_search.*`` on the command line.

    Raises
    ------
    ConfigError
        For an unknown name, a wrong type, a value out of bounds, or the method that searches nothing.
    """
    for name in given:
        if name not in KNOWN:
            raise ConfigError(
                f"there is no option '{name}'; known are {', '.join(KNOWN)}{suggest(name, KNOWN)}",
                key=name,
                choices=KNOWN,
            )
    if given.get("method") == "none":
        raise ConfigError("method='none' searches nothing; give a method such as 'best' or 'ls'", key="method")
    return build(PeriodSearch, {name: _plain(value) for name, value in given.items()})


def _plain(value: Any) -> Any:
    """Return numpy's numbers and arrays as Python's."""
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
