"""What is looked at before a request is sent, and after a change is answered. May import errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from scope_ml.errors import DataError, UnsureError

__all__ = ["check_position", "checked_obj_id", "group_list", "new_id"]

#: Ids of sources that the service takes for a new one (SkyPortal, `handlers/api/source.py`).
_OBJ_ID = re.compile(r"[A-Za-z0-9_\-;:+.]+")


def checked_obj_id(obj_id: str) -> str:
    """Return `obj_id` if the service takes it for a new source.

    Raises
    ------
    DataError
        If it does not.
    """
    if not _OBJ_ID.fullmatch(obj_id) or obj_id in (".", ".."):
        raise DataError(f"{obj_id!r} cannot be the id of a source on Fritz: letters, digits and _-;:+. alone are taken")
    return obj_id


def check_position(ra: float, dec: float) -> None:
    """Check that there is such a position.

    Raises
    ------
    DataError
        If `ra` is not in [0, 360) or `dec` not in [-90, 90] [deg].
    """
    if not (0.0 <= ra < 360.0 and -90.0 <= dec <= 90.0):
        raise DataError(
            f"ra={ra!r}, dec={dec!r} is no position: ra is from 0 to less than 360 deg, dec from -90 to 90 deg"
        )


def group_list(group_ids: Sequence[int]) -> list[int]:
    """Return group ids for a request.

    Raises
    ------
    DataError
        If there is none: the service would take groups of its own choice.
    """
    if not group_ids:
        raise DataError("no group is given, and Fritz would choose one; give at least one group")
    return [int(one) for one in dict.fromkeys(group_ids)]


def new_id(data: Any, key: str) -> int:
    """Return the id of what was just made.

    Raises
    ------
    UnsureError
        If there is none in the answer: it was made, but nobody knows which it is.
    """
    found = data.get(key) if isinstance(data, Mapping) else None
    if not isinstance(found, int) or isinstance(found, bool):
        raise UnsureError(f"Fritz says that it was done, but gives no {key}; look before asking again")
    return found
