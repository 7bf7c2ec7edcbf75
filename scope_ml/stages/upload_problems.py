"""What is wrong with the table that `fritz_upload` reads, collected so that all of it can be mended at once.

Rows are named as people count them, from 1. May import `core`, taxonomy and errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.sphere import on_sky
from scope_ml.errors import DataError, ScopeError
from scope_ml.taxonomy.fritz_mappers import FritzClass

__all__ = ["Problems", "check_places", "check_scores", "named_rows"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

#: Rows that an error names.
N_SHOWN = 5


@dataclass(kw_only=True)
class Problems:
    """What is wrong, collected so that all of it can be mended at once."""

    found: list[ScopeError] = field(default_factory=list)

    def add(self, error: ScopeError) -> None:
        """Put one down."""
        self.found.append(error)

    @contextmanager
    def collected(self, kind: type[ScopeError] = ScopeError) -> Iterator[None]:
        """Collect what a block finds wrong, if it is an error of this kind, and go on behind it."""
        try:
            yield
        except kind as error:
            self.add(error)

    def refuse(self) -> None:
        """Raise what was found: one error as it is, several as one with a line each."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            lines = "".join(f"\n  - {error}" for error in self.found)
            raise DataError(f"{len(self.found)} things are wrong, nothing was posted:{lines}") from self.found[0]


def check_places(ra: Floats, dec: Floats, taken: Rows, problems: Problems) -> None:
    """Find rows, of those `taken`, that are in no place [deg]."""
    with np.errstate(invalid="ignore"):
        wrong = taken[~(on_sky(ra, dec) & (ra >= 0))[taken]]
    if len(wrong):
        first = int(wrong[0])
        problems.add(
            DataError(
                f"positions must be ra in [0, 360] and dec in [-90, 90] deg; {named_rows(wrong)}: the first has ra={ra[first]}"
                f" dec={dec[first]}; correct or remove them"
            )
        )


def check_scores(
    columns: Mapping[str, pa.Array], classes: Sequence[FritzClass], taken: Rows, problems: Problems
) -> None:
    """Find rows, of those `taken`, whose probabilities are missing or not in [0, 1]."""
    for name in dict.fromkeys(one.column for one in classes):
        values = columns[name].to_numpy()[taken]
        missing = taken[np.isnan(values)]
        with np.errstate(invalid="ignore"):
            beyond = taken[(values < 0) | (values > 1)]
        if len(missing):
            problems.add(
                DataError(
                    f"column '{name}' has no probability in {named_rows(missing)}; give 0 where a class is not meant"
                )
            )
        if len(beyond):
            value = columns[name][int(beyond[0])].as_py()
            problems.add(
                DataError(
                    f"column '{name}' must hold probabilities in [0, 1]; {named_rows(beyond)}: the first has {value}"
                )
            )


def named_rows(rows: Rows) -> str:
    """Return some rows in words, counted from 1."""
    shown = ", ".join(str(row + 1) for row in rows[:N_SHOWN].tolist())
    more = f", ... ({len(rows)} rows)" if len(rows) > N_SHOWN else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{more}"
