"""Stage `classify`: stars by coordinates or ids, from light curves to scores and a page, in one command and one folder.

The stages `generate_features` and `infer` do the work, on the light curves as they came; what they need to be told, such as
the period search, is read from the models. In the folder::

    asked.parquet         the stars, each with a name
    sources.parquet       their light curves as fetched
    features.parquet      and what stands beside it; predictions.parquet likewise
    scores.csv            one row a light curve that was scored
    unscored.csv          one row a light curve that was not, or a star of which there is none, with the reason
    page.html             light curves, periods and classes of the first stars
    report.json           counts, written last
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scope_ml.core.configuration import option, science_digest
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import LightCurveSource, Progress
from scope_ml.core.report import Report
from scope_ml.features.cleaning import Cleaning
from scope_ml.features.spec import Method
from scope_ml.features.surroundings import CatalogsConfig, Survey
from scope_ml.io.atomic import atomic_path, check_writable
from scope_ml.io.lightcurve_writer import light_curve_writer
from scope_ml.io.output_lock import output_lock
from scope_ml.io.selection import Selection
from scope_ml.models.algorithms import ALGORITHMS
from scope_ml.services.account import Account
from scope_ml.services.settings import ServicesConfig
from scope_ml.stages import generate_features, infer
from scope_ml.stages.catalogue_periods import CatalogueSource
from scope_ml.stages.classify_choice import ChosenModels, chosen_models
from scope_ml.stages.classify_page import write_star_page
from scope_ml.stages.classify_request import Asked, ask, folder_name, write_asked
from scope_ml.stages.classify_tables import Outcome, join_outcome
from scope_ml.stages.classify_views import Views, points_of, text_table
from scope_ml.stages.feature_outputs import beside
from scope_ml.stages.feature_run import ROWS
from scope_ml.stages.feature_sources import SourceConfig, check_source, light_curves_of, open_client, open_source
from scope_ml.stages.feature_targets import TargetConfig
from scope_ml.stages.requested_sources import Request
from scope_ml.tracking.settings import TrackingConfig

__all__ = ["Classify", "Files", "run"]

#: Where results go if nobody says.
OUTPUTS = Path("outputs") / "classify"

#: Stars whose results are shown on the terminal.
N_TOLD = 20


@dataclass(frozen=True, kw_only=True)
class Classify(Asked):
    """Options of the stage."""

    radius_arcsec: float = option(
        2.0, unit="arcsec", doc="how far from the position a light curve may be", more_than=0, machine=True
    )
    source: SourceConfig = option(doc="where light curves come from")
    catalogs: CatalogsConfig = option(
        CatalogsConfig(), doc="catalogues; without catalogs.path those of source=survey or kowalski, else none"
    )
    service: ServicesConfig = option(ServicesConfig(), doc="remote services")
    survey: Survey = option(Survey(), doc="what the survey calls its collections")
    cleaning: Cleaning = option(Cleaning(), doc="which points and light curves are measured")
    models: str = option(
        "champion", machine=True, doc="champion, challenger, lock, a lock file, or a folder of bundles"
    )
    bundles: str | None = option(
        None, machine=True, doc="folder where pinned bundles are looked for before the registry"
    )
    classes: tuple[str, ...] = option((), doc="tags to score; empty: all that have a model")
    algorithms: tuple[str, ...] = option((), doc=f"algorithms to score with: {', '.join(ALGORITHMS)}; empty: all")
    also: tuple[Method, ...] = option(
        ("ls", "ce", "aov"), doc="period searches shown beside that of the models; they change no score"
    )
    min_known: float = option(
        0.8,
        doc="scores of a model are in doubt if less of what it looks at is known, weighed by importance",
        at_least=0,
        at_most=1,
    )
    page_stars: int = option(50, unit="stars", doc="first stars shown on the page", at_least=0, machine=True)
    output: str | None = option(
        None, machine=True, doc=f"folder to write; null: {OUTPUTS}/NAME, of the star or the file"
    )
    tracking: TrackingConfig = option(TrackingConfig(), doc="where the registry is")
    machine: Machine = option(Machine(), doc="how to run", machine=True)


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files of a folder of results."""

    folder: Path

    def __getitem__(self, name: str) -> Path:
        return self.folder / name

    @property
    def outputs(self) -> dict[str, str]:
        """Return what people look at, by name."""
        names = {"scores": "scores.csv", "unscored": "unscored.csv", "page": "page.html", "report": "report.json"}
        return {name: str(self[file]) for name, file in names.items()}


def run(config: Classify, *, progress: Progress) -> Report:
    """Classify the stars.

    Returns
    -------
    Report
        `n_in` light curves found, `n_out` scored, `dropped` by reason; in `facts` the stars: asked = repeated + scored +
        dropped + not found.

    Raises
    ------
    ConfigError
        If it is not said which stars, or two models need different features.
    ModelNotFoundError
        If there are no models.
    ScopeError
        If a source, a service or the output fails.
    """
    request = ask(config, radius_arcsec=config.radius_arcsec)
    check_source(config.source)
    models = chosen_models(
        models=config.models,
        bundles=config.bundles,
        classes=config.classes,
        algorithms=config.algorithms,
        tracking=config.tracking,
        catalogs=config.catalogs,
        source=config.source,
        also=config.also,
        min_known=config.min_known,
    )
    if config.machine.dry_run:
        with TemporaryDirectory(prefix="scope-dry-run-") as temporary:
            report = _classify(config, request, models, Files(folder=Path(temporary)), progress)
        return replace(report, outputs={}, warnings=(*report.warnings, "dry run: nothing was kept"))
    folder = Path(config.output) if config.output else OUTPUTS / folder_name(config, request)
    return _classify(config, request, models, Files(folder=folder), progress)


def _classify(config: Classify, request: Request, models: ChosenModels, files: Files, progress: Progress) -> Report:
    began = time.monotonic()
    with output_lock(files[".lock"], files.folder):
        check_writable(*(Path(path) for path in files.outputs.values()))
        # It says that all else is whole: a report of an earlier run must not stand beside tables of this one.
        files["report.json"].unlink(missing_ok=True)
        write_asked(request, files["asked.parquet"])
        account = _fetch(config, request, files["sources.parquet"], progress)
        measured = generate_features.run(_features(config, models, files), progress=progress)
        scored = infer.run(
            _infer(config, request, models, files), progress=progress, chosen=[model.chosen for model in models.models]
        )
        outcome = join_outcome(
            request,
            light_curves=files["sources.parquet"],
            features=files["features.parquet"],
            dropped=beside(files["features.parquet"])["dropped"],
            predictions=files["predictions.parquet"],
            periods=models.needs.period_columns,
            in_doubt=models.in_doubt,
            missing=None if account is None else account.table,
            min_n_obs=config.cleaning.min_n_obs,
        )
        outcome.write(files["scores.csv"], files["unscored.csv"])
        text = _show(config, request, models, outcome, files)
        report = Report(
            stage="classify",
            n_in=measured.n_in,
            n_out=scored.n_out,
            dropped=measured.dropped,
            warnings=_warnings(request, models, outcome, account, scored),
            facts=_facts(request, models, outcome, account, measured, scored),
        )
        with atomic_path(files["report.json"]) as temporary:
            temporary.write_text(report.record() + "\n", encoding="utf-8")
    progress.finish()
    facts = {**report.facts, "text": text} if text else report.facts
    return replace(report, seconds=time.monotonic() - began, outputs=files.outputs, facts=facts)


def _fetch(config: Classify, request: Request, path: Path, progress: Progress) -> Account | None:
    """Write the light curves of the stars as they come, and return what a service says of the others.

    Raises
    ------
    ScopeError
        If they cannot be had, or not be written.
    """
    with open_client(config.service, needed=config.source.kind == "kowalski") as client:
        opener = light_curves_of(
            config.source,
            collection=config.survey.collections.sources,
            client=client,
            services=config.service,
            progress=progress,
        )
        source = opener(request.selection)
        progress.start("fetching light curves")
        with light_curve_writer(path) as writer:
            n_chunks = 0
            for n_chunks, chunk in enumerate(source.chunks(), start=1):  # noqa: B007 - counted
                writer.write(chunk.batch, chunk.rows)
                progress.advance(len(chunk.batch))
            if not n_chunks:
                none: list[Any] = []
                writer.write(LightCurveBatch.from_lists(none, none, none, none), ROWS.empty_table())
        account = getattr(source, "account", None)
        progress.finish()
        return None if account is None else account()


def _features(config: Classify, models: ChosenModels, files: Files) -> generate_features.GenerateFeatures:
    needs = models.needs
    return generate_features.GenerateFeatures(
        source=SourceConfig(kind="parquet", path=str(files["sources.parquet"]), layout="scope"),
        target=TargetConfig(kind="source_ids", path=str(files["asked.parquet"]), radius_arcsec=config.radius_arcsec),
        catalogs=models.catalogs,
        service=config.service,
        survey=config.survey,
        output=str(files["features.parquet"]),
        cleaning=config.cleaning,
        period_search=needs.search,
        features=needs.features,
        names=needs.names,
        machine=replace(config.machine, dry_run=False),
    )


@dataclass(frozen=True, kw_only=True)
class _Fetched(CatalogueSource):
    """The light curves as fetched, looked at as `generate_features` looked at them, so that they count as the same."""

    selection: Selection = field(default_factory=Selection)

    def open(self, selection: Selection | None = None) -> LightCurveSource | None:
        """Return the light curves, or None where periods are not refined."""
        return None if self.path is None else open_source(self, selection=selection or self.selection)


def _infer(config: Classify, request: Request, models: ChosenModels, files: Files) -> infer.Infer:
    # SCoPe's tables have no column by which light curves are found again.
    refined = models.needs.names == "ours" and models.needs.search.method != "none"
    path = str(files["sources.parquet"]) if refined else None
    return infer.Infer(
        features=str(files["features.parquet"]),
        output=str(files["predictions.parquet"]),
        source=_Fetched(kind="parquet", path=path, layout="scope", selection=request.selection),
        models=config.models,
        bundles=config.bundles,
        classes=config.classes,
        algorithms=config.algorithms,
        # A handful of stars asked for by name is no sample to compare with a training set.
        drift=False,
        tracking=config.tracking,
        machine=replace(config.machine, dry_run=False),
    )


def _show(config: Classify, request: Request, models: ChosenModels, outcome: Outcome, files: Files) -> str:
    """Write the page, and return what is shown on the terminal."""
    n_stars = request.sources.num_rows
    drawn = range(min(config.page_stars, n_stars))
    needs = models.needs
    views = Views(
        outcome=outcome,
        request=request,
        models=models.models,
        in_doubt=frozenset(models.in_doubt),
        periods=needs.period_columns if needs.search.method != "none" else {},
        catalogues_known=models.catalogs.kind != "none",
        points=points_of(files["sources.parquet"], request, drawn),
    )
    write_star_page(
        files["page.html"],
        views.of(drawn),
        outcome=outcome,
        models=models.models,
        shares=models.shares,
        in_doubt=models.in_doubt,
        notes=models.notes(),
        provenance=(("source", config.source.kind), ("configuration", science_digest(config)[:16])),
    )
    told = range(min(N_TOLD, n_stars))
    return text_table(views.of(told), n_stars - len(told))


def _warnings(
    request: Request, models: ChosenModels, outcome: Outcome, account: Account | None, scored: Report
) -> tuple[str, ...]:
    lines: list[str] = []
    if request.n_duplicates:
        lines.append(f"{request.n_duplicates} of {request.n_asked} stars are repeated and count once")
    lines += models.notes()
    without = outcome.stars["dropped"] + outcome.stars["not_found"]
    if outcome.unscored.num_rows:
        reasons = ", ".join(f"{reason} {count}" for reason, count in outcome.reasons.items())
        lines.append(
            f"{outcome.unscored.num_rows} rows of unscored.csv say what has no score ({reasons}); {without} of"
            f" {request.sources.num_rows} stars have none at all"
        )
    if account is not None:
        lines += account.warnings
    return (*lines, *(line for line in scored.warnings if scored.n_out))


def _facts(
    request: Request,
    models: ChosenModels,
    outcome: Outcome,
    account: Account | None,
    measured: Report,
    scored: Report,
) -> dict[str, Any]:
    """Return what the report tells beside light curves in, out and dropped."""
    pins = {model.name: model.chosen.pin for model in models.models}
    told: Sequence[str] = ("periods", "period_factors", "n_models")
    return {
        "stars_asked": request.n_asked,
        "stars_repeated": request.n_duplicates,
        **{f"stars_{what}": count for what, count in outcome.stars.items()},
        "unscored": dict(outcome.reasons),
        "catalogs": models.catalogs.kind,
        "models": {
            name: {
                "version": pins[name].version,
                "n_features": share.n_features,
                "n_unknown": share.n_unknown,
                "known_share": round(share.share, 4),
                "in_doubt": name in models.in_doubt,
            }
            for name, share in models.shares.items()
        },
        "groups": list(models.needs.features.groups),
        "period_search": models.needs.search.binding,
        "names": models.needs.names,
        "status": measured.facts["status"],
        "points_in": measured.facts["points_in"],
        "points_dropped": measured.facts["points_dropped"],
        **{name: scored.facts[name] for name in told if name in scored.facts},
        **({} if account is None else account.facts),
    }
