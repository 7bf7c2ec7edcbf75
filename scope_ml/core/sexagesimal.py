"""Positions as people write them: hours, minutes and seconds read as degrees, and names made of coordinates.

May import `errors` only.
"""

from __future__ import annotations

import math
import re
from typing import Literal

from scope_ml.errors import DataError

__all__ = ["Axis", "degrees", "iau_name"]

Axis = Literal["ra", "dec"]

#: Three numbers with colons or spaces between them: ``19:52:00.6``, ``+29 52 16.8``.
SEXAGESIMAL = re.compile(r"([+-]?)(\d{1,3})[:\s]+(\d{1,2})[:\s]+(\d{1,2}(?:\.\d*)?)")

#: Largest value of each, what it is in words, and examples.
LIMITS: dict[Axis, tuple[float, float, str, str]] = {
    "ra": (0.0, 360.0, "a right ascension in [0, 360) deg or 0 to 24 h", "298.0025 or 19:52:00.6"),
    "dec": (-90.0, 90.0, "a declination in [-90, 90] deg", "29.87147 or +29:52:17.3"),
}

HOUR = 15.0


def degrees(given: float | str, axis: Axis) -> float:
    """Return a coordinate [deg] that was given as a number, or as text in decimal degrees or sexagesimal.

    Parameters
    ----------
    given
        A number [deg], or a text: ``"298.0025"`` [deg], ``"19:52:00.6"`` or ``"19 52 00.6"``: hours, minutes and seconds
        of time for right ascension; degrees, minutes and seconds of arc for declination. Minutes and seconds are below 60.
    axis
        ``"ra"`` or ``"dec"``.

    Raises
    ------
    DataError
        If it is none of these, or no place on the sky; the message says what to write.
    """
    value = _value(given, axis)
    low, high, what, example = LIMITS[axis]
    # 360 deg is where 0 is; 24 h is written by nobody but rounding.
    if value is None or not low <= value <= high:
        raise DataError(f"{axis}={given} is not {what}; write it as {example}")
    return 0.0 if axis == "ra" and value == high else value


def _value(given: float | str, axis: Axis) -> float | None:
    if not isinstance(given, str):
        return float(given)
    text = given.strip().replace("\N{MINUS SIGN}", "-")
    parts = SEXAGESIMAL.fullmatch(text)
    if parts is None:
        try:
            return float(text)
        except ValueError:
            return None
    sign, whole, minutes, seconds = parts.groups()
    if int(minutes) >= 60 or float(seconds) >= 60 or (axis == "ra" and sign == "-"):
        return None
    # The sign counts for all three: -00:30:00 is below zero.
    value = (int(whole) + int(minutes) / 60 + float(seconds) / 3600) * (HOUR if axis == "ra" else 1.0)
    return -value if sign == "-" else value


def iau_name(ra: float, dec: float, prefix: str = "ZTFJ") -> str:
    """Return the name of a place, such as ``ZTFJ170337.70+123413.0``, as SCoPe makes it for a star without one.

    Seconds are rounded, to 0.01 s in right ascension and 0.1 arcsec in declination, and carried where they reach 60, which
    SCoPe leaves standing.

    Parameters
    ----------
    ra, dec
        [deg].

    Raises
    ------
    DataError
        If that is no place on the sky.
    """
    ra, dec = degrees(ra, "ra"), degrees(dec, "dec")
    hundredths = round(ra / HOUR * 360_000) % (24 * 360_000)
    tenths = round(abs(dec) * 36_000)
    h, m, s = hundredths // 360_000, hundredths // 6000 % 60, hundredths % 6000
    d, am, a_s = tenths // 36_000, tenths // 600 % 60, tenths % 600
    sign = "-" if math.copysign(1.0, dec) < 0 and dec != 0 else "+"
    return f"{prefix}{h:02d}{m:02d}{s // 100:02d}.{s % 100:02d}{sign}{d:02d}{am:02d}{a_s // 10:02d}.{a_s % 10}"
