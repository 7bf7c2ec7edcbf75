"""Tables of stars that are to be left out, such as the training set, compared with the stars of scores.

Used by the stages `select_sample` and `fritz_disagreements`. May import selection, io, core and errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.provenance import Input, digest_file
from scope_ml.io.tables import read_foreign_table, table_columns
from scope_ml.selection.known_stars import known_stars
from scope_ml.selection.stars import Stars

__all__ = ["LeftOut", "left_out"]

#: Where a star is.
PLACE = ("ra", "dec")


@dataclass(frozen=True, kw_only=True, eq=False)
class LeftOut:
    """The stars that some tables know.

    Attributes
    ----------
    known
        bool (n_stars,).
    by
        Stars by what they were found by first: ``id``, ``name``, ``survey_id``, ``position``; they add up to the known ones.
    inputs
        The tables, for the record.
    warnings
        One line for each table that knows none of the stars.
    """

    known: npt.NDArray[np.bool_]
    by: Mapping[str, int]
    inputs: tuple[Input, ...]
    warnings: tuple[str, ...]


def left_out(rows: pa.Table, stars: Stars, paths: Sequence[Path], radius_arcsec: float) -> LeftOut:
    """Return which stars are in tables: those of which any light curve is, by id, name, survey id or place.

    Parameters
    ----------
    rows, stars
        Light curves, and which of them are one star.
    paths
        The tables.
    radius_arcsec
        How near a place has to be [arcsec]; 0: places do not count.

    Raises
    ------
    SchemaError, DataError
        If a table cannot be read, has nothing to compare stars by, or ids that are not exact.
    """
    known = np.zeros(len(stars), dtype=bool)
    by: dict[str, int] = {}
    inputs: list[Input] = []
    warnings: list[str] = []
    for path in paths:
        names = [name for name in table_columns(path) if name.endswith("id") or name in PLACE]
        table = read_foreign_table(path, names) if names else read_foreign_table(path)
        found = known_stars(rows, stars, table, radius_arcsec=radius_arcsec, where=str(path), but=known)
        for name, count in found.by.items():
            by[name] = by.get(name, 0) + count
        known |= found.known
        inputs.append(Input(name="known", digest=digest_file(path), n_rows=table.num_rows))
        if not found.known.any():
            warnings.append(
                f"none of the {table.num_rows} rows of {path} is among the stars; nothing was left out for it"
            )
    return LeftOut(known=known, by=by, inputs=tuple(inputs), warnings=tuple(warnings))
