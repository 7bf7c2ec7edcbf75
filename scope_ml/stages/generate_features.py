"""The stage `generate_features`: light curves -> cleaned -> periods and features -> one row a light curve.

Shards of light curves are measured on threads and kept as part files, so that a killed run goes on where it was and
ends with the same table. Every light curve that was read is in OUT or, with its reason, in OUT.dropped.parquet.
Measuring is in `feature_run`, what is written in `feature_outputs`, one table after the other in `feature_tables`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from scope_ml.compute.settings import ExecutorConfig
from scope_ml.core.configuration import option, science_digest, science_values
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import Input, TableMetadata, code_digest, code_version, digest_json
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, ScopeError
from scope_ml.features.cleaning import Cleaning
from scope_ml.features.crossmatch import CrossMatch
from scope_ml.features.external import package_versions
from scope_ml.features.extract import Extraction, FeatureChoice, PeriodSearch
from scope_ml.features.registry import feature_digest
from scope_ml.features.surroundings import CatalogsConfig, Surroundings, Survey, open_surroundings
from scope_ml.services.kowalski.catalogs import open_catalogs
from scope_ml.services.kowalski.client import KowalskiClient
from scope_ml.services.settings import ServicesConfig
from scope_ml.stages.distributed_run import run_distributed
from scope_ml.stages.feature_checks import (
    check_columns,
    checked_targets,
    empty_text,
    extraction_of,
    feature_log,
    log_path,
)
from scope_ml.stages.feature_log import FeatureLog
from scope_ml.stages.feature_reuse import PreviousRelease
from scope_ml.stages.feature_run import Measuring
from scope_ml.stages.feature_sources import SourceConfig, check_source, light_curves_of, open_client, open_source
from scope_ml.stages.feature_tables import FeatureTables
from scope_ml.stages.feature_targets import MANY, TargetConfig, Targets
from scope_ml.stages.irsa_sources import announce

__all__ = [
    "GenerateFeatures",
    "SourceConfig",
    "is_distributed",
    "open_source",
    "open_tables",
    "run",
]

#: Version of what a part file holds; parts of another version are made again.
PARTS_VERSION = 2

#: Packages and rooms that decide what stands in a feature table; what was made by other code is made again. How tables are
#: shared out, reported, fetched or kept from two writers at once is not among it: 74,000 quadrants hang on this list.
CODE = (
    *("kernels", "features"),
    *("core/identifiers.py", "core/lightcurve*.py", "core/sexagesimal.py", "core/sphere.py"),
    *(
        f"io/{name}.py"
        for name in ("catalogs", "hats", "hats_columns", "hats_lsdb", "irsa_tree", "layouts", "lightcurves")
    ),
    *(f"io/{name}.py" for name in ("parquet_files", "parts", "row_filter", "scope_*", "selection", "tables")),
    *(f"services/irsa/{name}.py" for name in ("replies", "star_files", "stars", "votable")),
    *(f"services/kowalski/{name}.py" for name in ("answers", "asking", "cache", "catalogs", "circles", "light_curves")),
    *(f"services/kowalski/{name}.py" for name in ("mending", "plans", "replies")),
    *(f"stages/feature_{name}.py" for name in ("checks", "outputs", "reuse", "run", "sources", "tables")),
    *(f"stages/{name}.py" for name in ("generate_features", "irsa_sources", "requested_sources")),
)

#: Sources that ask a service: their work stays in one process here, which opens it once.
ASK_SERVICES = ("kowalski", "irsa_stars")


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
    stale: Literal["refuse", "remake"] = option(
        "refuse",
        doc="tables of a folder that were made with other options, code or catalogues: refuse, or make them again",
        machine=True,
    )
    previous: str | None = option(
        None,
        doc="table, or folder of tables, of an earlier release: light curves that have not changed take their features over",
        machine=True,
    )
    slices: int = option(
        0,
        doc="one table with executor=slurm or dask: pieces that are made apart; 0: one for 5000 light curves",
        at_least=0,
        machine=True,
    )
    executor: ExecutorConfig = option(ExecutorConfig(), doc="who makes the tables of a folder", machine=True)
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
    if is_distributed(config):
        return run_distributed("generate_features", config, progress=progress)
    if not config.machine.dry_run:
        return _logged(config, Path(config.output), progress)
    with TemporaryDirectory(prefix="scope-dry-run-") as folder:
        report = _logged(config, Path(folder) / Path(config.output).name, progress)
    return replace(report, outputs={}, warnings=(*report.warnings, "dry run: nothing was kept"))


def is_distributed(config: GenerateFeatures) -> bool:
    """Return whether the tables are made by several processes, here or elsewhere."""
    executor, kind = config.executor, config.target.kind
    if executor.kind != "local":
        return True
    # A table by itself is as fast on threads; only who asks for slices is given them.
    shared = config.target.index is None if kind in MANY else config.slices > 1
    return shared and executor.processes != 1 and config.source.kind not in ASK_SERVICES


def _logged(config: GenerateFeatures, output: Path, progress: Progress) -> Report:
    targets = checked_targets(config, output)
    log = feature_log(config, log_path(config, output, many=targets.many), n_tables=len(targets))
    try:
        report = _generate(config, targets, output, log, progress)
    except ScopeError as error:
        log.failed({}, error)
        raise
    log.end(report)
    return replace(report, warnings=(*targets.warnings, *report.warnings))


def _generate(config: GenerateFeatures, targets: Targets, output: Path, log: FeatureLog, progress: Progress) -> Report:
    check_columns(config, targets)
    if targets.many or config.source.kind in ASK_SERVICES:
        check_source(config.source, everything=config.target.kind == "all")
    with open_tables(config, log, progress) as tables:
        if targets.many:
            announce(tables.open, [target.selection for target in targets])
            report = tables.make_all(targets.targets, output)
        else:
            report = tables.make(targets[0], empty=empty_text(config))
        return replace(report, warnings=(*report.warnings, *tables.warnings))


@contextmanager
def open_tables(config: GenerateFeatures, log: FeatureLog, progress: Progress) -> Iterator[FeatureTables]:
    """Open what tables are made with: catalogues, a service if one is asked.

    Raises
    ------
    ScopeError
        If it cannot be opened, or the device is not there.
    """
    extraction, catalogs = extraction_of(config), _catalogs(config)
    with open_client(config.service, needed="kowalski" in (config.source.kind, catalogs.kind)) as client:
        surroundings = _surroundings(config, catalogs, extraction, client)
        yield _tables(config, extraction, surroundings, client, (log, progress))


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
        previous=PreviousRelease(
            path=None if config.previous is None else Path(config.previous),
            measured_with=_measured_with(config, key),
        ),
        stale_again=config.stale == "remake",
    )


def _measured_with(config: GenerateFeatures, key: Mapping[str, Any]) -> str:
    """Return the digest of what decides the features of a light curve by itself, catalogues and neighbours apart."""
    cleaning = {name: value for name, value in asdict(config.cleaning).items() if not name.startswith("bright_star")}
    own = {name: key[name] for name in ("version", "code", "device", "features", "packages")}
    groups = {name: science_values(getattr(config, name)) for name in ("period_search", "features", "names")}
    return digest_json([own, groups, cleaning])
