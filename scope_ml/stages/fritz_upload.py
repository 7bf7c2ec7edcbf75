"""Stage `fritz_upload`: scores or labels of a table as classifications on Fritz, with light curves, ids, periods and plots.

The table says what each source should have; `fritz_changes` looks at Fritz, shows the plan and, with ``apply=true``, carries
it out. What is wrong with the table, the groups, the taxonomies or the token is found before anything is posted, all of it
at once. Rooms: `upload_table` (the table), `upload_problems` (what is wrong with it), `upload_classes` (its columns),
`upload_photometry` (light curves), `upload_wanted` (what is wanted of a source), `upload_names` (the table with names).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from scope_ml.core.configuration import option
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, EmptySelectionError
from scope_ml.features.surroundings import Survey
from scope_ml.selection.stars import StarKey
from scope_ml.services.fritz.client import FritzClient
from scope_ml.services.fritz.directory import Directory
from scope_ml.services.fritz.rules import Rules
from scope_ml.services.fritz.taxonomies import Resolved, TaxonomyChoices, resolve
from scope_ml.services.http import Clock
from scope_ml.services.settings import AllServicesConfig
from scope_ml.stages.fritz_changes import ChangesOptions, FindOptions, run_changes
from scope_ml.stages.upload_classes import chosen_mapper, model_facts
from scope_ml.stages.upload_names import NamesOptions, write_names
from scope_ml.stages.upload_photometry import StarPoints, UploadSource, fetch_points
from scope_ml.stages.upload_problems import Problems
from scope_ml.stages.upload_table import InputTable, StarsMode, TableRules, UploadRows, open_input, upload_rows
from scope_ml.stages.upload_wanted import (
    PlotOptions,
    Posted,
    PostedPhotometry,
    SurveyIds,
    Target,
    WantedSources,
    classes_of,
)
from scope_ml.taxonomy.fritz_mappers import Mapper

__all__ = ["FritzUpload", "RowsOptions", "UploadFind", "run"]

STAGE = "fritz_upload"


@dataclass(frozen=True, kw_only=True)
class RowsOptions:
    """Which rows are uploaded, and what they are."""

    start: int = option(0, doc="first source to upload, counted from 0", at_least=0, machine=True)
    stop: int | None = option(None, doc="first source not to upload; null: all", at_least=1, machine=True)
    stars: StarsMode = option(
        "auto",
        doc="rows: a row is a source; mean, max, median: rows are light curves, joined to stars with their scores so;"
        " auto: mean for tables of infer, else rows",
        machine=True,
    )
    stars_by: StarKey = option("auto", doc="what makes light curves one star", machine=True)
    combine: str = option(
        "mean", doc="of several columns of one class: mean, max, or one algorithm: xgb, dnn, ...", machine=True
    )
    period: str | None = option("period", doc="column of periods [d], posted once; null: none", machine=True)

    def __post_init__(self) -> None:
        """Check that something is left.

        Raises
        ------
        ConfigError
            If `stop` is not behind `start`.
        """
        if self.stop is not None and self.stop <= self.start:
            raise ConfigError(
                f"rows.stop={self.stop} is not behind rows.start={self.start}; nothing would be uploaded",
                key="rows.stop",
            )


@dataclass(frozen=True, kw_only=True)
class UploadFind(FindOptions):
    """How sources are found on Fritz, by survey ids too."""

    match_ids: bool = option(
        False, doc="a source in the radius with the row's survey id (annotation survey_id.origin) wins", machine=True
    )


@dataclass(frozen=True, kw_only=True)
class FritzUpload(ChangesOptions):
    """Options of the stage."""

    table: str = option(machine=True, doc="scores or labels: .parquet, .h5 or .csv; or a table of infer")
    groups: int | str | tuple[int | str, ...] = option(machine=True, doc="groups on Fritz, by id or name")
    classifications: str | tuple[str, ...] = option(
        (), machine=True, doc="read: all columns of the mapper; or columns or tags, [vnv,rrlyr]; empty: none"
    )
    mapper: str | None = option(
        None, machine=True, doc="golden, fritz, DNN_AL, XGB_AL or a JSON file; null: the columns that are our classes"
    )
    taxonomy: TaxonomyChoices = option(
        TaxonomyChoices(), machine=True, doc="which taxonomies of Fritz have the classes"
    )
    class_folders: str | tuple[str, ...] = option(
        (), machine=True, doc="configuration folders whose class/<tag>.yaml add classes of your own"
    )
    rows: RowsOptions = option(RowsOptions(), doc="which rows, and what they are")
    p_threshold: float = option(
        0.0, doc="post classes with at least this; 0: those above 0", at_least=0, at_most=1, machine=True
    )
    unclassified: Literal["skip", "save"] = option(
        "skip", doc="sources without a class to post: leave out, or upload without", machine=True
    )
    posted: Posted = option(Posted(), doc="what is said of each classification")
    replace_classifications: Literal["none", "origin", "all"] = option(
        "none",
        doc="delete other classifications in the groups: origin: yours of this origin; all: everybody's",
        machine=True,
    )
    find: UploadFind = option(UploadFind(), doc="how sources are found")
    comment: str | None = option(None, machine=True, doc="comment for each source; {obj_id} stands for its name")
    survey_id: SurveyIds = option(SurveyIds(), doc="the annotation with the survey's id")
    photometry: PostedPhotometry = option(PostedPhotometry(), doc="points of the light curves")
    source: UploadSource = option(UploadSource(), doc="where light curves come from")
    survey: Survey = option(Survey(), doc="what the survey calls its collections", machine=True)
    plots: PlotOptions = option(PlotOptions(), doc="plots of the light curves as comments")
    obj_ids: NamesOptions = option(NamesOptions(), doc="the table with the names of the sources on Fritz")
    service: AllServicesConfig = option(AllServicesConfig(), doc="remote services", machine=True)

    def __post_init__(self) -> None:
        """Check what single options cannot.

        Raises
        ------
        ConfigError
            If there is no group, or plots are wanted without light curves.
        """
        if self.group_names == ():
            raise ConfigError("groups=[] names no group; give groups=[1535] or groups=[NAME]", key="groups")
        if self.plots.kind != "none" and not self.source.there:
            raise ConfigError(
                f"plots.kind={self.plots.kind} needs light curves; give source.path=FILE_OR_FOLDER, or source=kowalski",
                key="plots.kind",
            )

    @property
    def group_names(self) -> tuple[int | str, ...]:
        """Return the groups as they are given."""
        return self.groups if isinstance(self.groups, tuple) else (self.groups,)


def run(config: FritzUpload, *, progress: Progress, clock: Clock | None = None) -> Report:
    """Upload the table, or say what it would take.

    Parameters
    ----------
    config
        Options.
    progress
        Told light curves that are read and sources that are done.
    clock
        Time, for tests.

    Returns
    -------
    Report
        As `fritz_changes.run_changes`; further facts: ``rows`` of the table, ``sources`` (uploaded or left out), what was
        ``left_out`` by reason, ``taxonomies``, ``models`` of the scores, ``points``.

    Raises
    ------
    ScopeError
        If options, table, light curves, groups, taxonomies, rights or the service are not what they should be; several
        things that are wrong come as one error with a line each, before anything is posted.
    """
    began = time.monotonic()
    problems = Problems()
    table = open_input(Path(config.table))
    mapper, rows = _read(config, table, problems)
    with problems.collected():
        config.source.check()
    with FritzClient(config.service.fritz, clock=clock) as fritz:
        target, resolved = _target(config, fritz, mapper, problems)
        problems.refuse()
        assert rows is not None and target is not None
        uploaded = _uploaded(config, rows)
        points = _points(config, uploaded, progress)
        sources = _sources(config, uploaded, points, target)
        report = run_changes(
            fritz,
            [sources.wanted(source) for source in range(len(uploaded))],
            _rules(config),
            options=config,
            stage=STAGE,
            progress=progress,
            facts={
                "rows": table.data.num_rows,
                "sources": len(rows),
                "left_out": {"no class to post": len(rows) - len(uploaded)},
                **_facts(table, points, mapper, resolved),
            },
            clock=clock,
        )
    warnings = report.warnings
    if len(uploaded) < len(rows):
        n_left = len(rows) - len(uploaded)
        warnings += (
            f"{n_left} of {len(rows)} sources have no class to post and are left out; unclassified=save uploads them",
        )
    outputs = dict(report.outputs)
    if config.obj_ids.write and config.apply:
        outputs["obj_ids"] = str(write_names(table, uploaded, config.obj_ids, Path(config.output)))
    return replace(report, seconds=time.monotonic() - began, outputs=outputs, warnings=warnings)


def _read(config: FritzUpload, table: InputTable, problems: Problems) -> tuple[Mapper, UploadRows | None]:
    """Return which columns are classes, and the sources; None where something is wrong with them."""
    mapper = Mapper(name="no mapper", classes=())
    with problems.collected():
        mapper = chosen_mapper(
            config.classifications, config.mapper, config.class_folders, table.data.column_names, str(table.path)
        )
    rules = TableRules(
        stars=config.rows.stars,
        stars_by=config.rows.stars_by,
        combine=config.rows.combine,
        period=config.rows.period,
        start=config.rows.start,
        stop=config.rows.stop,
        radius_arcsec=config.find.radius_arcsec,
        use_obj_id=config.find.use_existing_obj_id,
        need_survey_id=config.survey_id.post or config.find.match_ids,
    )
    rows = None
    with problems.collected():
        rows = upload_rows(table, mapper.classes, rules, problems)
    return mapper, rows


def _target(
    config: FritzUpload, fritz: FritzClient, mapper: Mapper, problems: Problems
) -> tuple[Target | None, Resolved | None]:
    """Find groups, taxonomies and the instrument on Fritz; what is not there is a problem."""
    directory = Directory(fritz)
    group_ids: list[int] = []
    resolved = instrument_id = None
    # A service that does not answer is one problem, what it has not is one each.
    with problems.collected():
        for given in config.group_names:
            with problems.collected(ConfigError):
                group_ids.append(directory.group(given).id)
        if mapper.usable:
            with problems.collected(ConfigError):
                resolved = resolve(directory.taxonomies, mapper, config.taxonomy)
        if config.source.there and config.photometry.send:
            with problems.collected(ConfigError):
                instrument_id = directory.instrument(config.photometry.instrument).id
    if problems.found:
        return None, resolved
    target = Target(
        group_ids=tuple(dict.fromkeys(group_ids)),
        taxonomy_ids={} if resolved is None else resolved.ids,
        instrument_id=instrument_id,
    )
    return target, resolved


def _uploaded(config: FritzUpload, rows: UploadRows) -> UploadRows:
    """Return the sources that are uploaded: those with a class to post, or all."""
    if config.unclassified == "save" or not rows.scores:
        return rows
    chosen = [source for source in range(len(rows)) if classes_of(rows, source, config.p_threshold)]
    if not chosen:
        raise EmptySelectionError(
            f"no source of {config.table} has a class to post (p_threshold={config.p_threshold:g}); lower it, or give"
            " unclassified=save"
        )
    return rows.only(chosen)


def _points(config: FritzUpload, rows: UploadRows, progress: Progress) -> StarPoints | None:
    """Read the light curves, if they are for anything."""
    if not config.source.there or not (
        config.photometry.send or config.plots.kind != "none" or config.photometry.needed
    ):
        return None
    return fetch_points(
        config.source,
        rows.ra,
        rows.dec,
        radius_arcsec=config.find.radius_arcsec,
        survey=config.survey,
        services=config.service,
        progress=progress,
    )


def _sources(config: FritzUpload, rows: UploadRows, points: StarPoints | None, target: Target) -> WantedSources:
    folder = Path(config.plots.folder) if config.plots.folder else Path(config.output) / "plots"
    return WantedSources(
        rows=rows,
        points=points,
        target=target,
        p_threshold=config.p_threshold,
        posted=config.posted,
        photometry=config.photometry,
        survey_ids=config.survey_id,
        plots=config.plots,
        comment=config.comment,
        radius_arcsec=config.find.radius_arcsec,
        plot_folder=folder,
    )


def _rules(config: FritzUpload) -> Rules:
    return Rules(
        find="obj_id" if config.find.use_existing_obj_id else "cone",
        radius_arcsec=config.find.radius_arcsec,
        match_origin=config.survey_id.origin if config.find.match_ids else None,
        replace=config.replace_classifications,
        label_on_delete=config.posted.label,
    )


def _facts(table: InputTable, points: StarPoints | None, mapper: Mapper, resolved: Resolved | None) -> dict[str, Any]:
    """Return what the report and the receipt say of classes, models and light curves."""
    facts: dict[str, Any] = {
        "classes": {one.column: one.label for one in mapper.usable},
        "taxonomies": [] if resolved is None else list(resolved.lines),
        **model_facts(table, mapper),
    }
    if points is not None:
        facts["points"] = {
            "sources_with_points": int((points.offsets[1:] > points.offsets[:-1]).sum()),
            "points": len(points.mjd),
            "light_curves": int(points.n_light_curves.sum()),
            "dropped": dict(points.dropped),
        }
    return facts
