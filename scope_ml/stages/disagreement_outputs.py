"""What `fritz_disagreements` writes: the stars that disagree, the numbers, and the page about both.

May import reporting, `disagreement_scores`, selection, io, core and errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.provenance import TableMetadata
from scope_ml.io.atomic import atomic_path
from scope_ml.io.tables import write_table
from scope_ml.reporting.disagreement_page import Disagreements, ListedStar, disagreement_page
from scope_ml.selection.disagreement import ClassDisagreement, Limits
from scope_ml.stages.disagreement_scores import PairedStars
from scope_ml.stages.known_tables import LeftOut

__all__ = ["FoundDisagreements", "OutputFiles", "write_outputs"]

#: Stars that the page lists.
N_LISTED = 200


@dataclass(frozen=True)
class OutputFiles:
    """Where everything stands in the output folder."""

    folder: Path

    @property
    def table(self) -> Path:
        """Return the table of the stars."""
        return self.folder / "disagreements.parquet"

    @property
    def statistics(self) -> Path:
        """Return the numbers."""
        return self.folder / "statistics.json"

    @property
    def page(self) -> Path:
        """Return the page."""
        return self.folder / "disagreements.html"

    @property
    def all(self) -> tuple[Path, ...]:
        """Return all of them."""
        return self.table, self.statistics, self.page

    @property
    def named(self) -> dict[str, str]:
        """Return them by name, for the report."""
        return {"disagreements": str(self.table), "statistics": str(self.statistics), "page": str(self.page)}


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundDisagreements:
    """The stars that disagree.

    Attributes
    ----------
    stars
        All stars.
    limits
        When two scores disagree.
    sides
        int8 (n_stars, n_tags).
    chosen
        Rows of `stars.table`, the widest apart first.
    classes
        How the scores of each class go together.
    known
        Stars that are left out.
    dropped
        Stars that were not chosen, by reason.
    """

    stars: PairedStars
    limits: Limits
    sides: npt.NDArray[np.int8]
    chosen: npt.NDArray[np.int64]
    classes: tuple[ClassDisagreement, ...]
    known: LeftOut
    dropped: Mapping[str, int]

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the report and the statistics say."""
        rows = self.stars.rows
        one_way, other_way = rows.names
        return {
            "names": list(rows.names),
            "high": self.limits.high,
            "low": self.limits.low,
            "n_light_curves": rows.rows.data.num_rows,
            "n_light_curves_left": dict(zip(rows.names, rows.n_left, strict=True)),
            "stars_by": self.stars.stars.by,
            "known_by": dict(self.known.by),
            "n_disagreeing": {
                one.tag: {one_way: one.n_first_only, other_way: one.n_second_only} for one in self.classes
            },
            "rank_correlation": {one.tag: one.correlation for one in self.classes},
        }


def write_outputs(
    found: FoundDisagreements, files: OutputFiles, *, config_digest: str, facts: Mapping[str, Any]
) -> None:
    """Write the table, the statistics and the page.

    Raises
    ------
    OutputError
        If one cannot be written.
    """
    rows = found.stars.rows
    record = TableMetadata(
        kind="disagreements",
        config_digest=config_digest,
        inputs=(*rows.rows.inputs, *found.known.inputs),
        facts={"names": list(rows.names), "origin": facts["origin"]},
    )
    write_table(_listed(found), files.table, record)
    statistics = {
        **facts,
        "n_stars": len(found.stars.stars),
        "n_chosen": len(found.chosen),
        "dropped": dict(found.dropped),
        "classes": {one.tag: one.to_json() for one in found.classes},
    }
    with atomic_path(files.statistics) as temporary:
        text = json.dumps(statistics, indent=2, sort_keys=True, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    with atomic_path(files.page) as temporary:
        temporary.write_text(disagreement_page(_page(found)), encoding="utf-8")


def _listed(found: FoundDisagreements) -> pa.Table:
    """Return the table of the stars that disagree, the widest apart first."""
    rows = found.stars.rows
    table = found.stars.table.take(pa.array(found.chosen))
    on = [";".join(tag for tag, side in zip(rows.tags, of, strict=True) if side) for of in found.sides[found.chosen]]
    table = table.append_column("disagrees_on", pa.array(on, pa.string()))
    for k, tag in enumerate(rows.tags):
        for name, scores in zip(rows.names, (found.stars.first, found.stars.second), strict=True):
            values = scores[found.chosen, k].astype(np.float32)
            table = table.append_column(f"{tag}_{name}", pa.array(values, mask=np.isnan(values)))
    return table


def _page(found: FoundDisagreements) -> Disagreements:
    rows = found.stars.rows
    shown = found.chosen[:N_LISTED]
    table = found.stars.table.take(pa.array(shown))
    periods = table["period"].to_pylist() if "period" in table.column_names else [None] * len(shown)
    stars = tuple(
        ListedStar(
            name=name or "",
            ra=ra,
            dec=dec,
            period=period,
            scores={
                tag: (float(found.stars.first[star, k]), float(found.stars.second[star, k]))
                for k, tag in enumerate(rows.tags)
                if found.sides[star, k]
            },
        )
        for star, name, ra, dec, period in zip(
            shown.tolist(),
            table["obj_id"].to_pylist(),
            table["ra"].to_pylist(),
            table["dec"].to_pylist(),
            periods,
            strict=True,
        )
    )
    return Disagreements(
        names=rows.names,
        high=found.limits.high,
        low=found.limits.low,
        classes=found.classes,
        stars=stars,
        n_stars=len(found.stars.stars),
        n_chosen=len(found.chosen),
        dropped=found.dropped,
    )
