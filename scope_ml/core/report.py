"""What a stage says when it is done: counts in, out and dropped by reason, which add up."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from scope_ml.errors import DataError

__all__ = ["Report"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The small, JSON-able report of one run of a stage.

    Attributes
    ----------
    stage
        Name of the stage.
    n_in, n_out
        Rows read and written (None where the stage does not count rows).
    dropped
        Rows not written, by reason.
    seconds
        Wall-clock duration [s].
    warnings
        One line each.
    outputs
        Name and path of what was written.
    facts
        Further small values.

    Raises
    ------
    DataError
        If the counts do not add up: rows were lost, which is a bug worth a loud stop.
    """

    stage: str
    n_in: int | None = None
    n_out: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that every row is accounted for."""
        if self.n_in is None or self.n_out is None:
            return
        if self.n_in != self.n_out + sum(self.dropped.values()):
            raise DataError(
                f"{self.stage}: {self.n_in} rows in, but {self.n_out} out and {sum(self.dropped.values())} dropped;"
                " rows were lost"
            )

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return the report as JSON."""
        return json.dumps(asdict(self), indent=indent, sort_keys=True, allow_nan=False)

    def record(self, *, without: Collection[str] = ()) -> str:
        """Return as JSON what equal runs share, to be kept with their outputs.

        That is all but the duration, the paths of the outputs and the facts `without`, which tell how this run went.
        """
        lasting = {name: value for name, value in asdict(self).items() if name not in ("seconds", "outputs")}
        lasting["facts"] = {name: value for name, value in self.facts.items() if name not in without}
        return json.dumps(lasting, indent=2, sort_keys=True, allow_nan=False)

    def summary(self) -> str:
        """Return one line: stage, key=value pairs."""
        parts = [self.stage]
        if self.n_in is not None:
            parts.append(f"in={self.n_in}")
        if self.n_out is not None:
            parts.append(f"out={self.n_out}")
        parts += [f"dropped_{reason}={count}" for reason, count in sorted(self.dropped.items()) if count]
        parts.append(f"seconds={self.seconds:.1f}")
        return " ".join(parts)
