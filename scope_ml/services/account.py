"""What a service was asked for and what became of it: every id was answered, or is listed with a reason.

May import core and errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from scope_ml.errors import DataError

__all__ = ["MISSING_SCHEMA", "Account", "Missing"]

#: Columns of a list of what did not come.
MISSING_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("ra", pa.float64(), metadata={b"unit": b"deg"}),
        pa.field("dec", pa.float64(), metadata={b"unit": b"deg"}),
        pa.field("reason", pa.string()),
    ]
)

#: Ids that a message names.
N_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Missing:
    """One id, or one position, without an answer or with the answer that there is nothing.

    Attributes
    ----------
    id
        Of the light curve; None where it is a position of which it is not known what lies there.
    ra, dec
        Where it is [deg], None where not known.
    reason
        Why it did not come, one line.
    again
        Whether asking once more may help, since the service has not said that there is no such thing.
    """

    id: int | None
    ra: float | None = None
    dec: float | None = None
    reason: str
    again: bool


@dataclass(frozen=True, kw_only=True)
class Account:
    """Ids asked for = ids answered + ids missing, and the same for positions.

    Attributes
    ----------
    asked, answered
        Ids.
    points_not_allowed
        Points that came and were left out, since their observing programme is not allowed.
    positions_asked
        Positions at which light curves were looked for; None where ids were known from the start.
    missing
        Ids and positions that did not come, in the order in which they were asked for.
    warnings
        What was wondered at on the way, one line each.

    Raises
    ------
    DataError
        If the counts do not add up: ids were lost, which is a bug worth a loud stop.
    """

    asked: int
    answered: int
    points_not_allowed: int = 0
    positions_asked: int | None = None
    missing: tuple[Missing, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        n_missing = sum(one.id is not None for one in self.missing)
        if self.asked != self.answered + n_missing:
            raise DataError(
                f"{self.asked} ids were asked for, but {self.answered} answered and {n_missing} missing; ids were lost"
            )

    @property
    def table(self) -> pa.Table:
        """Return what is missing, columns as `MISSING_SCHEMA`."""
        names = MISSING_SCHEMA.names
        return pa.table({name: [getattr(one, name) for one in self.missing] for name in names}, schema=MISSING_SCHEMA)

    @property
    def facts(self) -> dict[str, Any]:
        """Return the counts as a report has them: how many, by reason, the first, and how many may come yet."""
        ids = [one for one in self.missing if one.id is not None]
        facts: dict[str, Any] = {
            "ids_asked": self.asked,
            "ids_answered": self.answered,
            "ids_missing": _by_reason(ids),
            "ids_missing_first": [one.id for one in ids[:N_NAMED]],
            "ids_open": sum(one.again for one in self.missing),
            "points_not_allowed": self.points_not_allowed,
        }
        if self.positions_asked is not None:
            places = _by_reason(one for one in self.missing if one.id is None)
            facts |= {"positions_asked": self.positions_asked, "positions_missing": places}
        return facts


def _by_reason(missing: Iterable[Missing]) -> Mapping[str, int]:
    return dict(sorted(Counter(one.reason for one in missing).items()))
