"""The stage `generate_features`: light curves -> cleaned -> periods and features -> one row a light curve.

Shards of light curves are measured on threads and kept as part files, so that a killed run goes on where it was and
ends with the same table. Every light curve that was read is in OUT or, with its reason, in OUT.dropped.parquet.
Measuring is in `feature_run`, what is written in `feature_outputs`, one table after the other in `feature_tables`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from scope_ml.core.configuration import option, science_digest, science_values
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import Input, TableMetadata, code_digest, code_version
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, ScopeError
from scope_ml.features.cleaning import Cleaning
from scope_ml.features.crossmatch import CrossMatch
from scope_ml.features.external import package_versions
from scope_ml.features.extract import Extraction, FeatureChoice, PeriodSearch, searches
from scope_ml.features.registry import feature_digest
from scope_ml.features.surroundings import CatalogsConfig, Surroundings, Survey, open_surroundings
from scope_ml.io.run_log import RunLog
from scope_ml.io.tables import table_format
from scope_ml.kernels.registry import resolve_device
from scope_ml.services.kowalski.catalogs import open_catalogs
from scope_ml.services.kowalski.client import KowalskiClient
from scope_ml.services.settings import ServicesConfig
from scope_ml.stages.feature_log import FeatureLog
from scope_ml.stages.feature_outputs import beside, check_format
from scope_ml.stages.feature_run import Measuring
from scope_ml.stages.feature_sources import SourceConfig, check_source, light_curves_of, open_client, open_source
from scope_ml.stages.feature_tables import FeatureTables
from scope_ml.stages.feature_targets import TargetConfig, Targets, resolve_targets
from scope_ml.stages.irsa_sources import announce

__all__ = ["GenerateFeatures", "SourceConfig", "open_source", "run"]

#: Version of what a part file holds; parts of another version are made again.
PARTS_VERSION = 2

#: Packages that decide what stands in a part; parts that were made by other code are made again.
CODE = ("core", "io", "kernels", "features", "services", "stages")


@dataclass(frozen=True, kw_only=True)
class GenerateFeatures:
    """Options of the stage."""

    source: SourceConfig = option(doc="the light curves")
    target: TargetConfig = option(TargetConfig(), doc="which light curves are measured", machine=True)
    catalogs: CatalogsConfig = option(CatalogsConfig(), doc="catalogues", machine=True)
    service: ServicesConfig = option(ServicesConfig(), doc="remote services", machine=True)
    survey: Survey = option(Survey(), doc="what the survey calls its collections")
    crossmatch: CrossMatch = option(CrossMatch(), doc="which catalogues are matched")
    output: str = option(
        doc="feature table to write: .parquet, .h5 or .csv; a folder for target=field and quadrant_list", machine=True
    )
    band: str | tuple[str, ...] | None = option(None, doc="short for source.band")
    cleaning: Cleaning = option(Cleaning(), doc="which points and light curves are measured")
    period_search: PeriodSearch = option(PeriodSearch(), doc="how periods are found")
    features: FeatureChoice = option(FeatureChoice(), doc="what is measured")
    names: Literal["ours", "legacy"] = option(
        "ours", doc="legacy: columns of SCoPe 0.9.5, such as period_ELS_ECE_EAOV and raw Fourier coefficients"
    )
    limit: int | None = option(None, unit="light curves", doc="take the first of each table only", at_least=1)
    run_log: str | None = option(
        None, doc="file for JSON lines on how the run goes; null: beside the output", machine=True
    )
    machine: Machine = option(Machine(), doc="how to run", machine=True)

    def __post_init__(self) -> None:
        """Settle `band` and `period_search.scale_min_period`.

        Raises
        ------
        ConfigError
            If `band` and `source.band` contradict each other, or no cadence gives the shortest period.
        """
        search = self.period_search.scaled(self.cleaning.min_cadence_minutes)
        object.__setattr__(self, "period_search", search)
        if self.band is None:
            return
        if self.source.band not in (None, self.band):
            raise ConfigError(f"band={self.band} contradicts source.band={self.source.band}; give one", key="band")
        object.__setattr__(self, "source", replace(self.source, band=self.band))
        object.__setattr__(self, "band", None)


def run(config: GenerateFeatures, *, progress: Progress) -> Report:
    """Generate features.

    Returns
    -------
    Report
        `n_in` light curves read, `n_out` rows written, `dropped` by reason; points dropped by reason, and how the
        period search of the written rows ended, in `facts`. For a target of many quadrants all adds up, and
        ``facts["n_failed"]`` counts those that could not be made.

    Raises
    ------
    ScopeError
        If the source cannot be read, the output not written, or the device is not there.
    """
    if not config.machine.dry_run:
        return _logged(config, Path(config.output), progress)
    with TemporaryDirectory(prefix="scope-dry-run-") as folder:
        report = _logged(config, Path(folder) / Path(config.output).name, progress)
    return replace(report, outputs={}, warnings=(*report.warnings, "dry run: nothing was kept"))


def _logged(config: GenerateFeatures, output: Path, progress: Progress) -> Report:
    targets = resolve_targets(config.target, output)
    if not targets.many:
        # A name that no table can have, such as that of a folder, is refused before anything is made of it.
        table_format(output)
    log_path = _log_path(config, output, many=targets.many)
    _keep_apart(config, targets, log_path)
    device = resolve_device(config.machine.device, searches(config.features, config.period_search))
    facts = {
        "stage": "generate_features",
        "version": code_version(),
        "target": config.target.kind,
        "output": output,
        "n_tables": len(targets),
        "device": device,
        "workers": config.machine.n_workers,
    }
    log = FeatureLog(log=RunLog(log_path), facts=facts)
    try:
        report = _generate(config, targets, device, log, progress)
    except ScopeError as error:
        log.failed({}, error)
        raise
    log.end(report)
    return replace(report, warnings=(*targets.warnings, *report.warnings))


def _log_path(config: GenerateFeatures, output: Path, *, many: bool) -> Path | None:
    if config.machine.dry_run:
        return None
    if config.run_log is not None:
        return Path(config.run_log)
    return output / "run.log.jsonl" if many else output.with_name(f"{output.name}.log.jsonl")


def _keep_apart(config: GenerateFeatures, targets: Targets, log_path: Path | None) -> None:
    """Refuse to write over what the run reads, or the log over a table.

    Raises
    ------
    ConfigError
        Naming the option of the file.
    """
    read = {
        "source.path": config.source.path,
        "target.path": config.target.path,
        "catalogs.bright_stars": config.catalogs.bright_stars,
    }
    taken = {Path(path).resolve(): option for option, path in read.items() if path}
    written = [path for one in targets for path in (one.output, *beside(one.output, one.request).values())]
    for path in written:
        if (option := taken.get(path.resolve())) is not None:
            raise ConfigError(f"{path} would be written over, which {option} names; give another output", key="output")
    apart = {*taken, *(path.resolve() for path in written)}
    if log_path is not None and log_path.resolve() in apart:
        raise ConfigError(f"run_log={log_path} is another file of this run; give a name of its own", key="run_log")


def _generate(config: GenerateFeatures, targets: Targets, device: str, log: FeatureLog, progress: Progress) -> Report:
    extraction = Extraction(
        choice=config.features,
        search=config.period_search,
        device=device,
        crossmatch=config.crossmatch,
        names=config.names,
    )
    for target in targets:
        check_format(target.output, extraction)
    if targets.many or config.source.kind in ("kowalski", "irsa_stars"):
        check_source(config.source, everything=config.target.kind == "all")
    catalogs = _catalogs(config)
    with open_client(config.service, needed="kowalski" in (config.source.kind, catalogs.kind)) as client:
        surroundings = _surroundings(config, catalogs, extraction, client)
        tables = _tables(config, extraction, surroundings, client, (log, progress))
        if targets.many:
            announce(tables.open, [target.selection for target in targets])
            report = tables.make_all(targets.targets, Path(log.facts["output"]))
        else:
            wanted = f" in band {', '.join(config.source.bands)}" if config.source.bands else ""
            empty = f"{config.source.path} holds no light curves{wanted}; check source.path and band"
            report = tables.make(targets[0], empty=empty if config.target.kind == "all" else None)
    return replace(report, warnings=(*report.warnings, *surroundings.warnings))


def _catalogs(config: GenerateFeatures) -> CatalogsConfig:
    """Return where catalogues are: where nothing is said, beside the light curves."""
    catalogs = config.catalogs
    if catalogs.kind != "folder" or catalogs.path is not None:
        return catalogs
    if config.source.kind == "kowalski":
        return replace(catalogs, kind="kowalski")
    return replace(catalogs, path=config.source.path) if config.source.kind == "survey" else catalogs


def _surroundings(
    config: GenerateFeatures, catalogs: CatalogsConfig, extraction: Extraction, client: KowalskiClient | None
) -> Surroundings:
    return open_surroundings(
        extraction.groups,
        catalogs=catalogs,
        survey=config.survey.collections,
        crossmatch=config.crossmatch,
        bright_star_exclusion=config.cleaning.bright_star_exclusion,
        bright_star_radius_arcsec=config.cleaning.bright_star_radius_arcsec,
        source=None if client is None else open_catalogs(catalogs, client, config.service.kowalski),
    )


def _tables(
    config: GenerateFeatures,
    extraction: Extraction,
    surroundings: Surroundings,
    client: KowalskiClient | None,
    told: tuple[FeatureLog, Progress],
) -> FeatureTables:
    """Return what makes the tables of this configuration."""
    log, progress = told
    measuring = Measuring(
        cleaning=config.cleaning,
        extraction=extraction,
        surroundings=surroundings,
        shard_size=config.machine.max_batch_sources,
        workers=config.machine.n_workers,
        limit=config.limit,
        log=log,
        progress=progress,
    )
    key = {
        "version": PARTS_VERSION,
        "code": [code_version(), code_digest(*CODE)],
        "config": science_values(config),
        "layout": config.source.layout,
        "features": feature_digest(extraction.columns),
        "device": extraction.device,
        "catalogs": dict(surroundings.digests),
        "packages": package_versions(extraction.groups),
    }
    facts = {
        "features": list(extraction.columns),
        "feature_digest": feature_digest(extraction.columns),
        "groups": list(extraction.groups),
        "names": config.names,
        "period_search": config.period_search.binding,
        "cleaning": asdict(config.cleaning),
        "collections": asdict(config.survey.collections),
        "catalogs": sorted(surroundings.digests),
        "device": extraction.device,
    }
    if config.period_search.method == "none":
        facts["note"] = "periods were not searched: every period is 1 d"
    inputs = tuple(Input(name=name, digest=digest) for name, digest in sorted(surroundings.digests.items()))
    metadata = TableMetadata(kind="features", config_digest=science_digest(config), inputs=inputs, facts=facts)
    return FeatureTables(
        open=light_curves_of(
            config.source,
            collection=config.survey.collections.sources,
            client=client,
            services=config.service,
            progress=progress,
        ),
        measuring=measuring,
        key=key,
        metadata=metadata,
        colour_radius=config.features.colour_radius_arcsec if "colour" in extraction.groups else None,
    )
