"""Positions as queries give them: degrees or sexagesimal, one, many or named; angles in four units.

May import numpy only.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["UNITS", "angle_rad", "named_positions", "to_geojson"]

UNITS = ("arcsec", "arcmin", "deg", "rad")

SCALES = {"arcsec": np.pi / 180.0 / 3600.0, "arcmin": np.pi / 180.0 / 60.0, "deg": np.pi / 180.0, "rad": 1.0}

#: Hours or degrees, minutes, seconds, between colons or letters.
SEXAGESIMAL = re.compile(r"^\s*([+-]?)(\d+)[:hd](\d+)[:m](\d+(?:\.\d*)?)s?\s*$")


class UnitError(Exception):
    """A unit that is none; the service raises a plain Exception, and says so in its message."""


UnitError.__name__ = "Exception"


def angle_rad(angle: Any, unit: Any) -> float:
    """Return an angle in radians.

    Raises
    ------
    UnitError
        `unit` is none of `UNITS`.
    """
    value = float(angle)
    if unit not in UNITS:
        raise UnitError(f"Angular units not in {UNITS}")
    return float(value * SCALES[unit])


def named_positions(given: Any) -> list[tuple[str, Sequence[Any]]]:
    """Return the positions of a query and the names that the reply calls them by, dots replaced.

    Parameters
    ----------
    given
        A mapping of names to pairs, a list of pairs, or the text of one of them or of a single pair.
    """
    if isinstance(given, str):
        given = _evaluated(given.strip())
    if isinstance(given, Mapping):
        return [(str(name).replace(".", "_"), pair) for name, pair in given.items()]
    if isinstance(given, Sequence):
        return [(str(pair).replace(".", "_"), pair) for pair in given]
    raise ValueError("Unsupported object coordinate specs")


def _evaluated(text: str) -> Any:
    if text.startswith(("[", "(", "{")):
        return literal_eval(text)
    first, second = text.split()
    if "s" in text or ":" in text:
        return [(first, second)]
    return literal_eval(f"[({first}, {second})]")


def to_geojson(ra: Any, dec: Any) -> tuple[float, float]:
    """Return the longitude (right ascension - 180) and latitude of a position [deg]."""
    if isinstance(ra, str) and isinstance(dec, str):
        return 15.0 * _sexagesimal(ra) - 180.0, _sexagesimal(dec)
    return float(ra) - 180.0, float(dec)


def _sexagesimal(text: str) -> float:
    found = SEXAGESIMAL.match(text)
    if found is None:
        raise ValueError("Unrecognized string ra/dec format.")
    sign, whole, minutes, seconds = found.groups()
    value = int(whole) + int(minutes) / 60.0 + float(seconds) / 3600.0
    return -value if sign == "-" else value
