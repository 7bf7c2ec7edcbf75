"""What changed between two catalogues: a page, the same as JSON, and a table of the stars that changed.

Both are read side by side along the sky, so that memory does not grow with them. May import reporting, selection, taxonomy,
`io`, core and errors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import DataError
from scope_ml.io.atomic import atomic_path, check_writable
from scope_ml.io.parquet_files import ParquetTableWriter
from scope_ml.reporting.changes_page import ChangesPage, ModelChange, model_changes, render_changes_page
from scope_ml.reporting.release_counts import CLASSES, FIELDS
from scope_ml.reporting.release_view import KnownCatalogue
from scope_ml.selection.catalogue_change_rows import CHANGE_COLUMNS, CHANGE_SCHEMA, change_rows
from scope_ml.selection.catalogue_changes import Side, compare_catalogues
from scope_ml.selection.catalogue_parts import open_star_catalogue
from scope_ml.selection.catalogue_tallies import ChangeLimits, ChangeTally, judged
from scope_ml.stages.catalog_page_options import NEEDED, PageOptions, class_labels, score_algorithms
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["ChangesWritten", "write_changes"]

#: What is written, and how its name ends.
OUTPUTS: Final[Mapping[str, str]] = {"page": "html", "changes": "json", "stars": "parquet"}


@dataclass(frozen=True, kw_only=True)
class ChangesWritten:
    """What was written: ``changes.html``, ``changes.json`` and ``changes.parquet`` by name, and the counts of the JSON.

    `counts` holds n_stars_before, n_stars, same, changed, new, gone, merged, split, regrouped.
    """

    outputs: Mapping[str, Path]
    counts: Mapping[str, int]
    warnings: tuple[str, ...] = ()


def write_changes(
    previous: KnownCatalogue,
    catalogue: KnownCatalogue,
    folder: Path,
    *,
    taxonomy: Taxonomy,
    proven: Mapping[str, int] | None = None,
    options: PageOptions | None = None,
    progress: Progress,
) -> ChangesWritten:
    """Compare two catalogues, and write ``changes.html``, ``changes.json`` and ``changes.parquet`` into `folder`.

    Parameters
    ----------
    previous, catalogue
        The older and the newer one; their models and fields are compared as well.
    folder
        Where to write; it may be the newer catalogue's own folder.
    taxonomy
        Classes and their labels.
    proven
        What was kept and proven by digests, and what was made anew: words -> number, such as
        ``{"partitions kept": 40, "partitions made": 2, "light curves kept": 51200}``.
    options
        What counts as a change, how much is shown.
    progress
        Told the partitions that were read.

    Raises
    ------
    FormatError, SchemaError
        If a folder is no catalogue of ours.
    OutputError
        If a file cannot be written.
    """
    options = options or PageOptions()
    limits = ChangeLimits(score=options.score_change, period=options.period_change, n_largest=options.n_largest)
    sides = _sides(previous, catalogue, taxonomy)
    tally = ChangeTally(tags=sides[0].tags, limits=limits)
    outputs = {name: folder / f"changes.{ending}" for name, ending in OUTPUTS.items()}
    check_writable(*outputs.values())
    n_rows = 0
    with atomic_path(outputs["stars"]) as partial, closing(_Rows(partial)) as table:
        for piece in compare_catalogues(*sides, progress):
            verdict = judged(piece, limits)
            tally.add(piece, verdict)
            table.write(change_rows(piece, verdict))
        n_rows = table.finish()
    if not tally.adds_up:
        raise DataError(f"{catalogue.path}: stars or classes were lost between {previous.path} and it; this is a bug")
    models = model_changes(previous.facts.models, catalogue.facts.models)
    page = ChangesPage(
        title=options.title,
        subtitle=options.subtitle,
        tally=tally,
        labels=class_labels(taxonomy, tally.tags),
        n_models=len(catalogue.facts.models),
        models=models,
        proven=proven or {},
        provenance=_both(previous.facts.provenance, catalogue.facts.provenance),
    )
    record = {
        **tally.to_json(),
        "limits": vars(limits),
        "models_changed": [_model_change(one) for one in models],
        "proven": dict(proven or {}),
        "n_rows_of_changed_stars": n_rows,
    }
    with atomic_path(outputs["changes"]) as partial:
        partial.write_text(json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    with atomic_path(outputs["page"]) as partial:
        partial.write_text(render_changes_page(page), encoding="utf-8")
    return ChangesWritten(outputs=outputs, counts=tally.counts(), warnings=_doubts(tally))


class _Rows:
    """The table of changed stars, written stretch by stretch."""

    def __init__(self, path: Path) -> None:
        self._writer = ParquetTableWriter(path, CHANGE_SCHEMA, gather=True)
        self._record: str | None = None

    def write(self, rows: pa.Table) -> None:
        """Append rows."""
        self._writer.write(rows)

    def finish(self) -> int:
        """Say that all rows have come, and return how many."""
        n_rows = self._writer.n_rows
        record = TableMetadata(kind="catalogue_changes", columns=CHANGE_COLUMNS, n_rows=n_rows)
        self._record = record.to_json()
        return n_rows

    def close(self) -> None:
        """Close the file; without `finish` it is being given up."""
        self._writer.close(self._record)


def _sides(previous: KnownCatalogue, catalogue: KnownCatalogue, taxonomy: Taxonomy) -> tuple[Side, Side]:
    """Return both catalogues, and the columns that both have."""
    opened = [open_star_catalogue(one.path, needed=(*NEEDED, "ids")) for one in (previous, catalogue)]
    algorithms = tuple(dict.fromkeys([*score_algorithms(previous.facts), *score_algorithms(catalogue.facts)]))
    found = [{columns.tag: columns for columns in one.scores(taxonomy.tags, algorithms)} for one in opened]
    tags = tuple(tag for tag in taxonomy.tags if tag in found[0] or tag in found[1])

    def shared(name: str) -> str:
        return name if all(one.has(name) for one in opened) else ""

    # Lists of classes of one side say nothing beside thresholds of the other.
    common = {"classes": shared(CLASSES), "period": shared("period"), "fields": shared(FIELDS)}
    old, new = (
        Side(
            catalogue=one,
            name="name",
            ids="ids",
            tags=tags,
            scores=tuple(columns.get(tag) for tag in tags),
            thresholds=tuple(known.facts.threshold(tag) for tag in tags),
            **common,
        )
        for one, columns, known in zip(opened, found, (previous, catalogue), strict=True)
    )
    return old, new


def _both(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return what both catalogues come from, differences told."""
    rows = {}
    for what in dict.fromkeys([*now, *before]):
        old, new = before.get(what, "none"), now.get(what, "none")
        rows[what] = new if old == new else f"{old} -> {new}"
    return rows


def _model_change(change: ModelChange) -> dict[str, Any]:
    sides = {}
    for name, model in (("before", change.before), ("now", change.now)):
        values = None if model is None else {**vars(model)}
        if values is not None and not math.isfinite(values["threshold"]):
            values["threshold"] = None
        sides[name] = values
    return {"tag": change.tag, "algorithm": change.algorithm, **sides}


def _doubts(tally: ChangeTally) -> tuple[str, ...]:
    before = tally.stars_before.total()
    if before and not tally.n_shared and tally.stars_now.total():
        return ("the two catalogues share no light curve; is the older one of the same survey?",)
    return ()
