"""What is counted over light curves of feature tables; counts of several tables add up.

May import the rooms of this stage, and nothing of io.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scope_ml.stages.feature_reuse import FINISHED, KEPT, reuse_facts

__all__ = ["TableCounts"]

#: What is counted of a service's answers.
OF_SERVICES = ("ids_answered", "ids_open", "points_not_allowed")

#: Ids that a warning names.
N_NAMED = 3

#: Ways to have no period that nobody wonders at.
AS_WISHED = frozenset({"ok", "not_searched"})


@dataclass(kw_only=True)
class TableCounts:
    """What was counted over light curves; counts of several tables add up.

    Attributes
    ----------
    n_in, n_out, points_in
        Light curves read and written, points read.
    dropped, points_dropped, status
        Light curves and points dropped by reason, and how the period search of the written rows ended.
    ids_repeated
        Ids that stand in more than one row of a table.
    ids_asked, ids_answered, ids_open
        Ids that a service was asked for, those of which it sent the light curve, and what may come yet; None where no
        service is asked.
    reuse
        Light curves whose features were taken over from an earlier table (``kept``), whose table was ``finished``, or why
        they were computed.
    points_not_allowed
        Points that a service sent of programmes that it was not to.
    ids_missing, ids_missing_first
        Ids that were not answered by reason, and the first of them.
    """

    n_in: int = 0
    n_out: int = 0
    points_in: int = 0
    ids_repeated: int = 0
    ids_asked: int | None = None
    ids_answered: int = 0
    ids_open: int = 0
    points_not_allowed: int = 0
    ids_missing_first: list[int] = field(default_factory=list)
    ids_missing: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    points_dropped: Counter[str] = field(default_factory=Counter)
    status: Counter[str] = field(default_factory=Counter)
    reuse: Counter[str] = field(default_factory=Counter)

    def add(self, other: Mapping[str, Any]) -> None:
        """Add the counts that `other` has by name."""
        for name in ("n_in", "n_out", "points_in", "ids_repeated", *OF_SERVICES):
            setattr(self, name, getattr(self, name) + other.get(name, 0))
        for name in ("dropped", "points_dropped", "status", "ids_missing"):
            getattr(self, name).update(other.get(name, {}))
        self.reuse.update(
            {KEPT: other.get("n_kept", 0), FINISHED: other.get("n_finished_before", 0), **other.get("computed", {})}
        )
        if (asked := other.get("ids_asked")) is not None:
            self.ids_asked = (self.ids_asked or 0) + asked
        self.ids_missing_first = [*self.ids_missing_first, *other.get("ids_missing_first", ())][:N_NAMED]

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the report of a table has beside rows in, out and dropped."""
        facts = {
            "points_in": self.points_in,
            "points_dropped": dict(sorted(self.points_dropped.items())),
            "status": dict(sorted(self.status.items())),
            "ids_repeated": self.ids_repeated,
            **reuse_facts(self.reuse),
        }
        if self.ids_asked is None:
            return facts
        return facts | {
            "ids_asked": self.ids_asked,
            **{name: getattr(self, name) for name in OF_SERVICES},
            "ids_missing": dict(sorted(self.ids_missing.items())),
            "ids_missing_first": self.ids_missing_first,
        }

    def warnings(self) -> list[str]:
        """Return what to wonder at, one line each."""
        lines = []
        if self.n_in and not self.n_out:
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(self.dropped.items()))
            lines.append(f"no light curve was kept ({reasons}); the table has no rows, see cleaning.min_n_obs")
        without = {status: count for status, count in sorted(self.status.items()) if status not in AS_WISHED}
        if without:
            listed = ", ".join(f"{status} {count}" for status, count in without.items())
            lines.append(f"{sum(without.values())} light curves have features but no period ({listed})")
        if self.ids_repeated:
            lines.append(
                f"{self.ids_repeated} ids stand in more than one row; give files without repeated light curves"
            )
        if self.ids_missing:
            lines.append(self._missing())
        return lines

    def _missing(self) -> str:
        """Say which ids did not come, and what to type."""
        n_missing = sum(self.ids_missing.values())
        reasons = "; ".join(f"{count}: {reason}" for reason, count in self.ids_missing.most_common(N_NAMED))
        others = ", ..." if n_missing > len(self.ids_missing_first) else ""
        first = ", ".join(map(str, self.ids_missing_first)) + others
        again = "; type the same command again to ask for them" if self.ids_open else ""
        return f"{n_missing} of {self.ids_asked} ids have no light curve ({first}): {reasons}{again}"
