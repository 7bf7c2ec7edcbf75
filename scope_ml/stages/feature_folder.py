"""What is said of a folder of feature tables: its report, which adds up over the tables, whoever made them.

A table's own report says by ``facts["became"]`` what was done for it; `FolderReport` counts and names. May import core
and errors, and the rooms of this stage.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from scope_ml.core.report import Report
from scope_ml.stages.feature_counts import TableCounts
from scope_ml.stages.feature_reuse import reuse_lines, reuse_text

__all__ = ["BECAME", "NAMED_FAILURES", "Became", "FolderReport"]

#: What was done for a table: made for the first time (or after a broken one), found finished, or made again since the
#: light curves are others, since it was stale, or since a service had not sent all of it.
Became = Literal["made", "kept", "changed", "stale", "unanswered"]

#: Fact of a table's report that says which.
BECAME = "became"

#: Why tables were made again, as a warning says it.
AGAIN: Mapping[str, str] = {
    "changed": "had other light curves than now",
    "stale": "had been made with other options or code",
    "unanswered": "lacked light curves that the service had not sent",
}

#: Failures, or names, that a report lists one by one.
NAMED_FAILURES = 10


@dataclass(kw_only=True)
class FolderReport:
    """Adds up the reports of the tables of a folder.

    Attributes
    ----------
    n_targets
        Tables that there are to be.
    """

    n_targets: int
    failed: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    became: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in get_args(Became)})
    counts: TableCounts = field(default_factory=TableCounts)
    warnings: dict[str, None] = field(default_factory=dict)

    def add(self, name: str, report: Report | Mapping[str, Any]) -> None:
        """Add the report of a table, also as JSON gives it back."""
        values = vars(report) if isinstance(report, Report) else report
        facts = values["facts"]
        if not values["n_in"]:
            self.empty.append(name)
        self.counts.add({**facts, **{one: values[one] for one in ("n_in", "n_out", "dropped")}})
        self.became[facts[BECAME]].append(name)

    def fail(self, name: str, error: object) -> None:
        """Add a table that could not be made."""
        self.failed.append(f"{name}: {error}")

    def warn(self, lines: Iterable[str]) -> None:
        """Add warnings, each of which is told once."""
        self.warnings |= dict.fromkeys(lines)

    def report(self, folder: Path, *, seconds: float) -> Report:
        """Return the report of all tables."""
        counts = self.counts
        facts: dict[str, Any] = {
            **counts.facts,
            "n_quadrants": self.n_targets - len(self.failed),
            "n_quadrants_finished_before": len(self.became["kept"]),
            "n_quadrants_without_light_curves": len(self.empty),
            "n_failed": len(self.failed),
            "failed": list(self.failed),
        }
        text = reuse_text(counts.reuse)
        if text is not None:
            facts["text"] = text
        return Report(
            stage="generate_features",
            n_in=counts.n_in,
            n_out=counts.n_out,
            dropped=dict(sorted(counts.dropped.items())),
            seconds=seconds,
            warnings=(*counts.warnings(), *reuse_lines(counts.reuse), *self._lines(), *self.warnings),
            outputs={"features": str(folder)},
            facts=json.loads(json.dumps(facts)),
        )

    def _lines(self) -> list[str]:
        """Return the warnings about quadrants, one line each."""
        lines = []
        if self.empty and len(self.empty) == self.n_targets - len(self.failed):
            others = f" and {len(self.empty) - 1} others" if len(self.empty) > 1 else ""
            lines.append(f"the source holds no light curves of {self.empty[0]}{others}")
        for why, what in AGAIN.items():
            if names := self.became[why]:
                lines.append(f"{len(names)} quadrants {what} and were made again: {_first(names)}")
        if self.failed:
            lines += [f"failed: {line}" for line in self.failed[:NAMED_FAILURES]]
            lines.append(
                f"{len(self.failed)} of {self.n_targets} quadrants failed; mend it and type the same command again"
            )
        return lines


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED_FAILURES]) + (", ..." if len(names) > NAMED_FAILURES else "")
