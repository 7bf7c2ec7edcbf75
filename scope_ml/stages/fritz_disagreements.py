"""Stage `fritz_disagreements`: stars of which two algorithms, or two versions of the models, say the opposite.

They are listed (``disagreements.parquet``), counted (``statistics.json``) and drawn (``disagreements.html``), those of the
training set left out. With `groups` they are taken to Fritz as well: `fritz_changes` looks, shows the plan and, with
``apply=true``, saves the sources to the groups, with points if light curves are given, and an annotation with both scores.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scope_ml.core.configuration import option, science_digest
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.datasets.assemble import as_paths
from scope_ml.errors import ConfigError
from scope_ml.features.surroundings import Survey
from scope_ml.io.atomic import check_writable
from scope_ml.selection.disagreement import Limits, compare, sides
from scope_ml.selection.stars import StarKey
from scope_ml.services.fritz.client import FritzClient
from scope_ml.services.fritz.rules import Rules
from scope_ml.services.http import Clock
from scope_ml.services.settings import AllServicesConfig
from scope_ml.stages.disagreement_outputs import FoundDisagreements, OutputFiles, write_outputs
from scope_ml.stages.disagreement_scores import CombinePairs, PairRules, pair_rows, pair_stars
from scope_ml.stages.disagreement_wanted import (
    GAIA,
    Annotated,
    checked_origin,
    default_origin,
    find_target,
    upload_rows_of,
    uploadable,
    wanted_sources,
)
from scope_ml.stages.fritz_changes import ChangesOptions, FindOptions, run_changes
from scope_ml.stages.known_tables import left_out
from scope_ml.stages.score_tables import read_scores, with_catalogue_columns
from scope_ml.stages.upload_photometry import StarPoints, UploadSource, fetch_points
from scope_ml.stages.upload_table import UploadRows
from scope_ml.stages.upload_wanted import PostedPhotometry, Target
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir

__all__ = ["FritzDisagreements", "PairOptions", "PairedStarsOptions", "run"]

STAGE = "fritz_disagreements"


@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """Which two scores are compared."""

    first: str | None = option(
        None, doc="algorithm; null: dnn, or all of them joined where there is a second set of tables (against)"
    )
    second: str | None = option(None, doc="algorithm; null: xgb, or the same as first where there is a second set")
    names: tuple[str, ...] = option((), doc="what the two are called; empty: their algorithms")


@dataclass(frozen=True, kw_only=True)
class PairedStarsOptions:
    """How light curves become stars."""

    by: StarKey = option("auto", doc="which light curves are one star, as select_sample takes it")
    radius_arcsec: float = option(
        1.5, unit="arcsec", doc="light curves without an id are one star, and known ones the same, within", at_least=0
    )
    combine: CombinePairs = option(
        "mean",
        doc="scores of several light curves: mean, max, median; widest: of the one on which they are furthest apart",
    )


@dataclass(frozen=True, kw_only=True)
class FritzDisagreements(ChangesOptions):
    """Options of the stage."""

    predictions: str | tuple[str, ...] = option(
        machine=True, doc="tables of scores: of infer, or one of SCoPe's for each algorithm"
    )
    against: str | tuple[str, ...] = option(
        (), machine=True, doc="tables of the same light curves by other models; empty: two algorithms of predictions"
    )
    pair: PairOptions = option(PairOptions(), doc="which two scores are compared")
    classes: tuple[str, ...] = option(
        ("vnv",), doc="tags, or all, phenomenological, ontological: those with both scores"
    )
    high: float = option(0.95, doc="scores disagree where one is above this", at_least=0, at_most=1)
    low: float = option(0.1, doc="and the other at most this", at_least=0, at_most=1)
    stars: PairedStarsOptions = option(PairedStarsOptions(), doc="how light curves become stars")
    features: str | None = option(None, machine=True, doc="feature table with ids of catalogues and Gaia's magnitudes")
    exclude: str | tuple[str, ...] = option(
        (), machine=True, doc="tables of stars to leave out with all their light curves, such as the training set"
    )
    limit: int | None = option(None, unit="stars", doc="at most so many, those furthest apart; null: all", at_least=1)
    groups: int | str | tuple[int | str, ...] | None = option(
        None, machine=True, doc="groups on Fritz, by id or name; null: nothing is uploaded"
    )
    origin: str | None = option(None, machine=True, doc="of the annotation; null: ML_dnn_xgb_ and digits of the models")
    find: FindOptions = option(FindOptions(), doc="how sources are found")
    source: UploadSource = option(UploadSource(), doc="where light curves come from")
    photometry: PostedPhotometry = option(PostedPhotometry(), doc="points of the light curves")
    survey: Survey = option(Survey(), doc="what the survey calls its collections", machine=True)
    class_folders: str | tuple[str, ...] = option(
        (), machine=True, doc="configuration folders whose class/<tag>.yaml add classes of your own"
    )
    service: AllServicesConfig = option(AllServicesConfig(), doc="remote services", machine=True)

    def __post_init__(self) -> None:
        """Check what single options cannot.

        Raises
        ------
        ConfigError
            If thresholds are crossed, an origin is none, or ``apply=true`` has no group to apply to.
        """
        Limits(high=self.high, low=self.low)
        if self.origin is not None:
            checked_origin(self.origin)
        if self.apply and not self.group_names:
            raise ConfigError("apply=true needs groups on Fritz; give groups=[1535] or groups=[NAME]", key="groups")
        if not self.classes:
            raise ConfigError("classes=[] names no class; give classes=[vnv], or classes=[all]", key="classes")

    @property
    def group_names(self) -> tuple[int | str, ...]:
        """Return the groups as they are given."""
        if self.groups is None:
            return ()
        return self.groups if isinstance(self.groups, tuple) else (self.groups,)


def run(config: FritzDisagreements, *, progress: Progress, clock: Clock | None = None) -> Report:
    """Find, count and draw stars whose scores disagree, and take them to Fritz if groups are given.

    Parameters
    ----------
    config
        Options.
    progress
        Told what is done.
    clock
        Time, for tests.

    Returns
    -------
    Report
        Stars in, and out those that disagree. With groups the facts of `fritz_changes.run_changes` too.

    Raises
    ------
    ScopeError
        If options, tables, groups, rights or the service are not what they should be; before anything is posted.
    """
    began = time.monotonic()
    files = OutputFiles(Path(config.output))
    check_writable(*files.all)
    config.source.check()
    found = _find(config)
    origin = config.origin or checked_origin(default_origin(found.stars.rows.names, found.stars.rows.version))
    facts = {"origin": origin, **found.facts}
    write_outputs(found, files, config_digest=science_digest(config), facts=facts)
    report = Report(
        stage=STAGE,
        n_in=len(found.stars.stars),
        n_out=len(found.chosen),
        dropped=found.dropped,
        warnings=found.known.warnings,
        outputs=files.named,
        facts=facts,
    )
    if config.group_names and len(found.chosen):
        annotated = Annotated(stars=found.stars, chosen=found.chosen, sides=found.sides, origin=origin)
        changes = _upload(config, annotated, progress, clock)
        report = replace(
            report,
            warnings=(*report.warnings, *changes.warnings),
            outputs={**files.named, **changes.outputs},
            facts={**facts, **changes.facts},
        )
    return replace(report, seconds=time.monotonic() - began)


def _find(config: FritzDisagreements) -> FoundDisagreements:
    taxonomy = load_classes(packaged_conf_dir(), *as_paths(config.class_folders))
    paths, against = as_paths(config.predictions), as_paths(config.against)
    table = read_scores(paths, taxonomy)
    if config.features is not None:
        table = with_catalogue_columns(table, Path(config.features), tuple(GAIA.values()))
    rules = PairRules(
        first=config.pair.first,
        second=config.pair.second,
        names=config.pair.names,
        classes=config.classes,
        where=", ".join(str(path) for path in (*paths, *against)),
    )
    rows = pair_rows(table, read_scores(against, taxonomy) if against else None, taxonomy, rules)
    stars = pair_stars(
        rows,
        by=config.stars.by,
        radius_arcsec=config.stars.radius_arcsec,
        combine=config.stars.combine,
        further=tuple(GAIA.values()),
    )
    limits = Limits(high=config.high, low=config.low)
    known = left_out(rows.rows.data, stars.stars, as_paths(config.exclude), config.stars.radius_arcsec)
    side = np.stack([sides(stars.first[:, k], stars.second[:, k], limits) for k in range(len(rows.tags))], axis=1)
    differ = (side != 0).any(axis=1)
    with np.errstate(invalid="ignore"):
        apart = np.where(side != 0, np.abs(stars.first - stars.second), -1.0).max(axis=1, initial=-1.0)
    candidates = np.flatnonzero(differ & ~known.known)
    # Stable: of equally wide ones the first star.
    chosen = candidates[np.argsort(-apart[candidates], kind="stable")][: config.limit]
    compared = (np.isfinite(stars.first) & np.isfinite(stars.second)).any(axis=1)
    free = ~known.known
    dropped = {
        "known": int(known.known.sum()),
        "not_compared": int((~compared & free).sum()),
        "agree": int((compared & ~differ & free).sum()),
        "over_limit": len(candidates) - len(chosen),
    }
    classes = tuple(
        compare(tag, stars.first[free, k], stars.second[free, k], limits) for k, tag in enumerate(rows.tags)
    )
    return FoundDisagreements(
        stars=stars,
        limits=limits,
        sides=side,
        chosen=chosen.astype(np.int64),
        classes=classes,
        known=known,
        dropped=dropped,
    )


def _upload(config: FritzDisagreements, annotated: Annotated, progress: Progress, clock: Clock | None) -> Report:
    named = config.find.use_existing_obj_id
    annotated, warnings = uploadable(annotated, radius_arcsec=config.find.radius_arcsec, named=named)
    rows = upload_rows_of(annotated, named=named)
    sends = config.source.there and config.photometry.send
    with FritzClient(config.service.fritz, clock=clock) as fritz:
        target: Target = find_target(fritz, config.group_names, config.photometry.instrument if sends else None)
        points = _points(config, rows, progress)
        wanted = wanted_sources(annotated, rows, points, target, config.photometry, config.find.radius_arcsec)
        rules = Rules(find="obj_id" if named else "cone", radius_arcsec=config.find.radius_arcsec)
        report = run_changes(fritz, wanted, rules, options=config, stage=STAGE, progress=progress, clock=clock)
    return replace(report, warnings=(*warnings, *report.warnings))


def _points(config: FritzDisagreements, rows: UploadRows, progress: Progress) -> StarPoints | None:
    if not config.source.there or not (config.photometry.send or config.photometry.needed):
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
