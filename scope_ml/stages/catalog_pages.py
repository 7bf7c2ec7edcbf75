"""The pages of a catalogue: what a data release is, and what changed in it since an older one.

They are read from the catalogue's files in passes over its partitions, so that memory does not grow with it. May import
reporting, selection, taxonomy, `io`, core and errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from scope_ml.core.protocols import Progress
from scope_ml.io.atomic import atomic_path
from scope_ml.io.selection import Selection
from scope_ml.reporting.release_counts import ReleaseCounts, count_patch, count_stars
from scope_ml.reporting.release_gallery import best_curves, certain_stars, example_of, wanted_ids
from scope_ml.reporting.release_page import ReleaseExample, ReleasePage, render_release_page
from scope_ml.reporting.release_view import CatalogueFacts, CatalogueModel, FieldCounts, KnownCatalogue
from scope_ml.selection.catalogue_parts import StarCatalogue, open_star_catalogue
from scope_ml.stages.catalog_changes import ChangesWritten, write_changes
from scope_ml.stages.catalog_page_options import NEEDED, PageOptions, class_labels, score_algorithms
from scope_ml.stages.feature_sources import SourceConfig, open_source
from scope_ml.taxonomy.graph import Taxonomy

__all__ = [
    "CatalogueFacts",
    "CatalogueModel",
    "ChangesWritten",
    "FieldCounts",
    "KnownCatalogue",
    "PageOptions",
    "PageWritten",
    "check_gallery",
    "write_changes",
    "write_release_page",
]

#: Classes below these are folded at their period; eclipses have their minimum at phase 0.
PERIODIC, ECLIPSING = "pnp", "e"

#: Above this a page is slow to open and to send.
LARGE_PAGE_BYTES = 8_000_000


@dataclass(frozen=True, kw_only=True)
class PageWritten:
    """What was written: bytes, stars read, light curves shown; one warning a line."""

    n_bytes: int
    n_stars: int
    n_examples: int
    warnings: tuple[str, ...] = ()


def check_gallery(light_curves: SourceConfig) -> None:
    """Find out before the work that the light curves of the gallery cannot be read; nothing is asked for where there are none.

    Raises
    ------
    ConfigError
        If they are in no files.
    ScopeError
        If there are no such files, or they hold no light curves.
    """
    in_files = light_curves.kind not in ("kowalski", "irsa_stars")
    if light_curves.path is not None or not in_files:
        open_source(light_curves)


def write_release_page(
    catalogue: KnownCatalogue,
    page: Path,
    *,
    taxonomy: Taxonomy,
    light_curves: SourceConfig | None = None,
    options: PageOptions | None = None,
    progress: Progress,
) -> PageWritten:
    """Write the page of a data release.

    Parameters
    ----------
    catalogue
        HATS folder with rows of `selection.star_rows`, and what else is known of it. Its path is shown nowhere.
    page
        HTML file to write.
    taxonomy
        Classes and their labels.
    light_curves
        Where the light curves of the gallery are; None or one without `path` leaves the gallery out.
    options
        What is shown.
    progress
        Told the partitions that were read.

    Raises
    ------
    FormatError, SchemaError
        If the folder is no catalogue of ours.
    OutputError
        If the page cannot be written.
    """
    options = options or PageOptions()
    opened = open_star_catalogue(catalogue.path, needed=NEEDED)
    columns = opened.scores(taxonomy.tags, score_algorithms(catalogue.facts))
    n_surest = options.n_examples if light_curves is not None and light_curves.path is not None else 0
    counts = count_stars(opened, columns, catalogue.facts, n_surest, progress)
    examples, why = _examples(opened, counts, taxonomy, light_curves, n_surest, progress)
    view = ReleasePage(
        title=options.title,
        subtitle=options.subtitle,
        facts=catalogue.facts,
        counts=counts,
        labels=class_labels(taxonomy, [one.tag for one in columns]),
        schema=tuple((column.name, str(column.type), _unit(column)) for column in opened.schema),
        patch=count_patch(opened, counts.sky),
        examples=examples,
        without_light_curves=why,
        cite=options.cite,
        doi=options.doi,
    )
    text = render_release_page(view).encode("utf-8")
    with atomic_path(page) as partial:
        partial.write_bytes(text)
    warnings = [why] if why and n_surest else []
    if len(text) > LARGE_PAGE_BYTES:
        warnings.append(
            f"{page} has {len(text) / 1e6:.0f} MB; page.n_examples={options.n_examples // 2} makes it smaller"
        )
    return PageWritten(
        n_bytes=len(text),
        n_stars=counts.n_stars,
        n_examples=sum(len(shown) for shown in examples.values()),
        warnings=tuple(warnings),
    )


def _examples(
    catalogue: StarCatalogue,
    counts: ReleaseCounts,
    taxonomy: Taxonomy,
    light_curves: SourceConfig | None,
    n_surest: int,
    progress: Progress,
) -> tuple[dict[str, tuple[ReleaseExample, ...]], str]:
    """Return the stars that are shown by class, or why there are none."""
    if light_curves is None or not n_surest:
        return {}, ""
    stars = certain_stars(catalogue, counts.classes)
    ids = wanted_ids(star for of_class in stars.values() for star in of_class)
    if ids is None:
        return {}, "No star reaches the threshold of a class."
    progress.start("reading light curves")
    curves = best_curves(open_source(light_curves, selection=Selection(ids=ids)), ids, progress)
    progress.finish()
    shown = {}
    for tag, of_class in stars.items():
        above = {tag, *taxonomy.parents(tag)} if tag in taxonomy else {tag}
        views = [(star, example_of(star, curves, is_periodic=PERIODIC in above)) for star in of_class]
        shown[tag] = tuple(
            ReleaseExample(
                view=view,
                name=str(star.row.get("name") or star.row.get("survey_id") or view.id),
                score=star.score,
                n_light_curves=int(star.row.get("n_light_curves") or 0),
                phase_zero="faint" if ECLIPSING in above else "bright",
            )
            for star, view in views
            if view is not None
        )
    found = {tag: views for tag, views in shown.items() if views}
    return found, "" if found else "None of the light curves of the surest stars are in the source of light curves."


def _unit(column: pa.Field) -> str:
    metadata: Mapping[bytes, bytes] = column.metadata or {}
    return metadata.get(b"unit", b"").decode()
