"""Stage `catalog`: tables of scores of fields to one catalogue, one row a star, as a HATS folder that lsdb opens.

The work is shared out over the sky, so that memory does not grow with it (decision 0010): see `catalog_build`. In the folder
stand ``dataset/`` (one Parquet file a partition), what HATS keeps beside it, ``partitions.json`` (counts, keys and digests of
partitions), ``catalog.json`` (models, inputs, counts), ``fields.json``, ``stars.csv`` (stars that are sure of a class) and the pages.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from scope_ml.core.configuration import option, science_digest
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.datasets.assemble import as_paths
from scope_ml.errors import ConfigError, FormatError
from scope_ml.io.output_lock import output_lock
from scope_ml.models.algorithms import ALGORITHMS
from scope_ml.selection.star_columns import StarOptions, StarRules, star_columns
from scope_ml.selection.stars import StarKey, id_columns
from scope_ml.stages.catalog_build import FIELDS_NAMED, Built, build_catalogue
from scope_ml.stages.catalog_inputs import Inputs, Models, find_inputs, wanted_fields
from scope_ml.stages.catalog_kept import PARTITIONS, Standing, read_standing
from scope_ml.stages.catalog_known import known_catalogue
from scope_ml.stages.catalog_outputs import CsvOptions, check_csv, check_output, swap, write_beside
from scope_ml.stages.catalog_pages import PageOptions, check_gallery, write_changes, write_release_page
from scope_ml.stages.catalog_partitions import catalogue_schema
from scope_ml.stages.catalog_plan import Plan, input_digests
from scope_ml.stages.catalog_versions import model_versions
from scope_ml.stages.catalog_views import StarSearch
from scope_ml.stages.catalog_workers import open_crew
from scope_ml.stages.feature_sources import SourceConfig
from scope_ml.stages.number_ranges import Numbers
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["Catalog", "GallerySource", "run"]

#: Light curves for which another process is worth its start.
ROWS_OF_A_PROCESS = 50_000

#: A margin must show a star and all that may decide on it: so many radii.
RADII_OF_MARGIN = 6

PAGE = "catalogue.html"


@dataclass(frozen=True, kw_only=True)
class GallerySource(SourceConfig):
    """The source group where light curves are shown on a page; without `path` there are none."""

    path: str | None = option(None, doc="light curves of the stars, for the gallery of the page", machine=True)


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Options of the stage."""

    predictions: str | tuple[str, ...] = option(
        machine=True, doc="tables of scores, or folders with such at any depth, as infer makes them for fields"
    )
    output: str = option(machine=True, doc="folder of the catalogue, which is replaced when the new one is whole")
    fields: Numbers = option((), doc="fields, such as 296, [296,297] or 296-300; empty or all: all there are")
    by: StarKey = option(
        "auto",
        doc="which light curves are one star; auto: survey_id where there are ids of Gaia, AllWISE, PS1, else position",
    )
    stars: StarOptions = option(StarOptions(), doc="how light curves become stars, and these rows")
    split_arcsec: float = option(
        10.0, unit="arcsec", doc="light curves of one id with gaps wider than this are several stars", more_than=0
    )
    margin_arcsec: float = option(
        20.0, unit="arcsec", doc="how far a partition sees beyond its edge", more_than=0, at_most=3600
    )
    partition_rows: int = option(100_000, unit="light curves", doc="of a partition at most", at_least=1)
    models: Models = option("one", doc="tables of different models or thresholds: one refuses them, any mixes them")
    previous: str | None = option(
        None, machine=True, doc="older catalogue: what is still the same is kept, and a page says what changed"
    )
    csv: CsvOptions = option(CsvOptions(), doc="which stars stand in stars.csv")
    pages: bool = option(True, machine=True, doc="write the page of the catalogue, and that of the changes")
    page: PageOptions = option(PageOptions(), doc="what the pages show")
    source: GallerySource = option(GallerySource(), doc="light curves for the gallery of the page")
    class_folders: str | tuple[str, ...] = option(
        (), machine=True, doc="configuration folders whose class/<tag>.yaml add classes of your own"
    )
    machine: Machine = option(Machine(), doc="workers: processes; dry_run keeps nothing")

    def __post_init__(self) -> None:
        """Check what belongs together.

        Raises
        ------
        ConfigError
            If a partition could not see a star whole that lies across its edge.
        """
        least = max(RADII_OF_MARGIN * self.stars.radius_arcsec, self.split_arcsec)
        if self.margin_arcsec < least:
            raise ConfigError(
                f"margin_arcsec={self.margin_arcsec:g} is too narrow to see stars whole: with stars.radius_arcsec="
                f"{self.stars.radius_arcsec:g} and split_arcsec={self.split_arcsec:g} it is at least {least:g}",
                key="margin_arcsec",
            )


def run(config: Catalog, *, progress: Progress) -> Report:
    """Make the catalogue.

    Parameters
    ----------
    config
        Options.
    progress
        Told what is done.

    Raises
    ------
    ConfigError, EmptySelectionError
        If there is no table, none of a field, or options contradict one another.
    SchemaError, DataError
        If tables cannot be read, are of different models, or hold a light curve twice with different values.
    BackendUnavailableError
        If hats is not installed.
    OutputError, JobError
        If the output cannot be written, or is being written by another process.
    """
    began = time.monotonic()
    output = Path(config.output)
    check_output(output)
    if config.pages:
        check_gallery(config.source)
    taxonomy = load_classes(packaged_conf_dir(), *as_paths(config.class_folders))
    inputs = find_inputs(as_paths(config.predictions), wanted_fields(config.fields), taxonomy, config.models)
    rules = StarRules(
        taxonomy=taxonomy, algorithms=tuple(ALGORITHMS), thresholds=inputs.thresholds, options=config.stars
    )
    check_csv(config.csv, catalogue_schema(inputs.schema, rules))
    versions, doubts = model_versions(inputs)
    standing, unread = _standing(config, output)
    with ExitStack() as stack:
        if config.machine.dry_run:
            work = Path(mkdtemp(prefix="scope-catalog-"))
            stack.callback(shutil.rmtree, work, ignore_errors=True)
        else:
            work = output.with_name(f".{output.name}.work")
            stack.enter_context(output_lock(output.with_name(f".{output.name}.lock"), output))
        plan = _plan(config, inputs, rules, work, progress)
        n_workers = max(1, min(config.machine.n_workers, inputs.n_rows // ROWS_OF_A_PROCESS))
        with open_crew(n_workers) as crew:
            built = build_catalogue(plan, standing, crew, progress)
        progress.start("what stands beside the partitions")
        told = write_beside(plan, built, _name(output), config.csv, versions)
        progress.finish()
        outputs: dict[str, str] = {}
        warnings: tuple[str, ...] = ()
        if not config.machine.dry_run:
            made, warnings = _pages(config, plan, built, taxonomy, progress) if config.pages else ({}, ())
            swap(plan.catalogue, output)
            shutil.rmtree(work, ignore_errors=True)
            outputs = {"catalogue": str(output)} | {name: str(output / file) for name, file in made.items()}
    return Report(
        stage="catalog",
        n_in=built.n_read,
        n_out=told["n_light_curves"],
        dropped=built.dropped,
        seconds=time.monotonic() - began,
        warnings=(*inputs.warnings, *doubts, *unread, *_warnings(built, told, inputs.fields), *warnings),
        outputs=outputs,
        facts=_facts(inputs, plan, built, told),
    )


def _standing(config: Catalog, output: Path) -> tuple[tuple[Standing, ...], tuple[str, ...]]:
    """Return the catalogues whose partitions may be kept, and what is to be wondered at."""
    found = [] if config.previous is None else [read_standing(Path(config.previous))]
    if not (output / PARTITIONS).exists():
        return tuple(found), ()
    try:
        return (*found, read_standing(output)), ()
    except FormatError as error:
        # It is about to be replaced.
        return tuple(found), (f"nothing was kept of the catalogue that stood there: {error}",)


def _plan(config: Catalog, inputs: Inputs, rules: StarRules, work: Path, progress: Progress) -> Plan:
    by = config.by
    names = inputs.schema.names
    if by == "auto":
        by = "survey_id" if id_columns(names) else "position"
    needed = {"source_id": ("source_id",), "obj_id": ("obj_id",)}.get(by, ())
    if [name for name in needed if name not in names] or (by == "survey_id" and not id_columns(names)):
        raise ConfigError(f"by={by}: the tables have no such ids; by=position needs none", key="by")
    return Plan(
        inputs=inputs,
        digests=input_digests(inputs.files, progress),
        search=StarSearch(by=by, radius_arcsec=config.stars.radius_arcsec, split_arcsec=config.split_arcsec),
        rules=rules,
        # Light curves of pages change no row; fields are seen in the tables that are read, so that more of them leave
        # what they do not touch as it is.
        science=science_digest(replace(config, by=by, fields=(), source=GallerySource())),
        partition_rows=config.partition_rows,
        margin_arcsec=config.margin_arcsec,
        work=work,
    )


def _name(output: Path) -> str:
    """Return what HATS calls the catalogue: its folder's name without what is special in file names."""
    return re.sub(r"[^\w.-]+", "_", output.resolve().name) or "catalogue"


def _pages(
    config: Catalog, plan: Plan, built: Built, taxonomy: Taxonomy, progress: Progress
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Write the pages into the new catalogue; return their names, and what is to be wondered at."""
    names: dict[str, str] = {}
    doubts: tuple[str, ...] = ()
    if config.previous is not None:
        changes = write_changes(
            known_catalogue(Path(config.previous), taxonomy),
            known_catalogue(plan.catalogue, taxonomy),
            plan.catalogue,
            taxonomy=taxonomy,
            proven={"partitions kept": built.n_kept, "partitions made": built.n_made},
            options=config.page,
            progress=progress,
        )
        doubts = changes.warnings
        names = {f"changes_{name}" if name != "changes" else name: path.name for name, path in changes.outputs.items()}
    # The page names what stands beside the partitions, and so comes last.
    known = known_catalogue(plan.catalogue, taxonomy)
    known = replace(known, facts=replace(known.facts, columns=star_columns(plan.inputs.schema, plan.rules)))
    page = write_release_page(
        known,
        plan.catalogue / PAGE,
        taxonomy=taxonomy,
        light_curves=config.source if config.source.path is not None else None,
        options=config.page,
        progress=progress,
    )
    return {"page": PAGE, **names}, (*doubts, *page.warnings)


def _facts(inputs: Inputs, plan: Plan, built: Built, told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "n_tables": len(inputs.files),
        "n_fields": len(told["fields"]),
        "stars_by": plan.search.by,
        **{key: value for key, value in told.items() if key not in ("fields", "n_light_curves")},
        "n_partitions_kept": built.n_kept,
        "n_partitions_resumed": built.n_resumed,
    }


def _warnings(built: Built, told: Mapping[str, Any], fields: tuple[int, ...] | None) -> tuple[str, ...]:
    found = []
    absent = [field for field in fields or () if field not in told["fields"]]
    if absent:
        named = ", ".join(map(str, absent[:FIELDS_NAMED])) + (", ..." if len(absent) > FIELDS_NAMED else "")
        found.append(
            f"there is no light curve of {len(absent)} of the {len(fields or ())} fields that were asked for: {named}"
        )
    if built.dropped.get("twice"):
        found.append(f"{built.dropped['twice']} light curves stand twice with the same values, and count once")
    if told.get("n_crowded"):
        found.append(
            f"{told['n_crowded']} stars hold two light curves of one field, band, CCD and quadrant: two stars within the radius"
            " (column 'crowded')"
        )
    if told.get("n_cut"):
        found.append(
            f"{told['n_cut']} stars lie across edges of partitions and are longer than the margin: each side keeps its light"
            " curves; margin_arcsec=... sees further"
        )
    if not told["n_stars"]:
        found.append("there is no light curve with a place; the catalogue is empty")
    return tuple(found)
