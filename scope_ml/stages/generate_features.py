"""The stage `generate_features`: light curves -> cleaned -> periods and features -> one row a light curve.

Shards of light curves are measured on threads and kept as part files, so that a killed run goes on where it was and
ends with the same table. Every light curve that was read is in OUT or, with its reason, in OUT.dropped.parquet.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from scope_ml.compute.local import ThreadExecutor
from scope_ml.core.configuration import option, science_digest, science_values
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import LightCurveSource, Progress
from scope_ml.core.provenance import Input, TableMetadata, code_digest, code_version, digest_json
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, EmptySelectionError, ScopeError
from scope_ml.features.cleaning import Cleaned, Cleaning, CleaningStatus, clean
from scope_ml.features.extract import Extraction, FeatureChoice, PeriodSearch, extract_features, searches
from scope_ml.features.registry import feature_digest
from scope_ml.features.shards import Shard, shards
from scope_ml.io.atomic import atomic_path, check_writable
from scope_ml.io.lightcurves import LayoutName, open_light_curves
from scope_ml.io.parts import Parts
from scope_ml.io.tables import table_format
from scope_ml.kernels.registry import resolve_device

__all__ = ["GenerateFeatures", "SourceConfig", "open_source", "run"]

#: Folder of an embedded survey that holds its light curves.
SURVEY_FOLDER = "ZTF_sources"

#: What stands beside the feature table, and how its file ends.
BESIDE = {"dropped": ".parquet", "report": ".json"}

#: Version of what a part file holds; parts of another version are made again.
PARTS_VERSION = 1

#: Packages that decide what stands in a part; parts that were made by other code are made again.
CODE = ("core", "io", "kernels", "features")

#: Facts of the report that tell how this run went, and not what came out; they stay out of the written report.
RUN_FACTS = ("n_shards", "n_shards_resumed")


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """The source group of the configuration: where light curves come from."""

    kind: Literal["parquet", "survey"] = option(
        "parquet", doc="parquet: a file or folder of light curves; survey: a folder made by simulate", machine=True
    )
    path: str = option(doc="file or folder of light curves", machine=True)
    layout: LayoutName = option("auto", doc="layout of the files; auto looks at their columns", machine=True)
    band: str | tuple[str, ...] | None = option(None, doc="bands to take, such as g or [g,r]; null takes all")

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands to take; none means all."""
        given = self.band.split(",") if isinstance(self.band, str) else self.band or ()
        return tuple(part.strip() for part in given if part.strip())


@dataclass(frozen=True, kw_only=True)
class GenerateFeatures:
    """Options of the stage."""

    source: SourceConfig = option(doc="the light curves")
    output: str = option(doc="feature table to write: .parquet, .h5 or .csv", machine=True)
    band: str | tuple[str, ...] | None = option(None, doc="short for source.band")
    cleaning: Cleaning = option(Cleaning(), doc="which points and light curves are measured")
    period_search: PeriodSearch = option(PeriodSearch(), doc="how periods are found")
    features: FeatureChoice = option(FeatureChoice(), doc="what is measured")
    names: Literal["ours", "legacy"] = option(
        "ours", doc="legacy: columns of SCoPe 0.9.5, such as period_ELS_ECE_EAOV and raw Fourier coefficients"
    )
    limit: int | None = option(None, unit="light curves", doc="take the first of the source only", at_least=1)
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
        period search of the written rows ended, in `facts`.

    Raises
    ------
    ScopeError
        If the source cannot be read, the output not written, or the device is not there.
    """
    if not config.machine.dry_run:
        return _generate(config, Path(config.output), progress)
    with TemporaryDirectory(prefix="scope-dry-run-") as folder:
        report = _generate(config, Path(folder) / Path(config.output).name, progress)
    return replace(report, outputs={}, warnings=(*report.warnings, "dry run: nothing was kept"))


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What every shard needs."""

    cleaning: Cleaning
    extraction: Extraction
    kept: Parts
    dropped: Parts


def _generate(config: GenerateFeatures, output: Path, progress: Progress) -> Report:
    started = time.perf_counter()
    table_format(output)
    device = resolve_device(config.machine.device, searches(config.features, config.period_search))
    extraction = Extraction(choice=config.features, search=config.period_search, device=device, names=config.names)
    source = open_source(config.source)
    check_writable(output, *_beside(output).values())
    key = _parts_key(config, source, extraction)
    folder = output.with_name(f"{output.name}.parts")
    job = _Job(
        cleaning=config.cleaning,
        extraction=extraction,
        kept=Parts(folder / "kept", key),
        dropped=Parts(folder / "dropped", key),
    )
    try:
        n_shards, n_resumed = _measure_all(config, source, job, progress)
    except ScopeError:
        if not job.dropped.indices():
            _discard(job, folder)
        raise
    counts = _add_up(job, n_shards)
    if not counts["n_in"]:
        _discard(job, folder)
        wanted = f" in band {', '.join(config.source.bands)}" if config.source.bands else ""
        raise EmptySelectionError(f"{config.source.path} holds no light curves{wanted}; check source.path and band")
    outputs = _merge(config, source, job, output, counts)
    report = _report(counts, outputs, seconds=time.perf_counter() - started, n_resumed=n_resumed)
    with atomic_path(Path(outputs["report"])) as temporary:
        temporary.write_text(report.record(without=RUN_FACTS) + "\n", encoding="utf-8")
    _discard(job, folder)
    return report


def open_source(config: SourceConfig) -> LightCurveSource:
    """Return the light curves that a source group names; `path` is given.

    Raises
    ------
    ScopeError
        If there are none.
    """
    path = Path(config.path)
    if config.kind == "survey":
        path = path / SURVEY_FOLDER
    return open_light_curves(path, layout=config.layout, bands=config.bands)


def _parts_key(config: GenerateFeatures, source: LightCurveSource, extraction: Extraction) -> str:
    """Return the digest of all that decides what stands in which part."""
    return digest_json(
        {
            "version": PARTS_VERSION,
            "code": [code_version(), code_digest(*CODE)],
            "config": science_values(config),
            "source": source.digest,
            "layout": config.source.layout,
            "features": feature_digest(extraction.columns),
            "device": extraction.device,
            "shard": config.machine.max_batch_sources,
        }
    )


def _measure_all(config: GenerateFeatures, source: LightCurveSource, job: _Job, progress: Progress) -> tuple[int, int]:
    """Measure the shards that are not done; return how many shards there are and how many were done before."""
    n_shards = n_resumed = 0

    def undone() -> Iterator[Shard]:
        nonlocal n_shards, n_resumed
        for shard in shards(source, size=config.machine.max_batch_sources, limit=config.limit):
            n_shards += 1
            if job.kept.done(shard.index) and job.dropped.done(shard.index):
                n_resumed += 1
                progress.advance(len(shard.batch))
            else:
                yield shard

    # A file may hold several light curves a row, or bands that are not wanted: then their number is not known before.
    known = not config.source.bands and all(layout.name != "dataset" for layout in getattr(source, "layouts", ()))
    total = source.n_rows if known else None
    progress.start("measuring light curves", min(total, config.limit) if total and config.limit else total)
    for n_sources in ThreadExecutor(workers=config.machine.n_workers).map(lambda one: _measure(one, job), undone()):
        progress.advance(n_sources)
    progress.finish()
    return n_shards, n_resumed


def _measure(shard: Shard, job: _Job) -> int:
    """Clean and measure one shard, write its two parts, return how many light curves it had."""
    cleaned = clean(shard.batch, job.cleaning)
    kept = np.flatnonzero(cleaned.status == CleaningStatus.OK)
    dropped = np.flatnonzero(cleaned.status != CleaningStatus.OK)
    table = extract_features(
        cleaned.batch.take(kept),
        shard.rows.take(pa.array(kept)),
        job.extraction,
        n_obs_raw=shard.batch.n_obs[kept],
    )
    facts = {
        "n_in": len(shard.batch),
        "dropped": dict(Counter(CleaningStatus(code).label for code in cleaned.status[dropped])),
        "points_in": shard.batch.n_points,
        "points_dropped": dict(cleaned.points_dropped),
        "status": dict(Counter(table["status"].to_pylist())),
    }
    job.dropped.write(
        shard.index,
        _dropped_table(shard, cleaned, dropped),
        TableMetadata(kind="dropped_light_curves", facts=facts),
    )
    job.kept.write(shard.index, table, TableMetadata(kind="features"))
    return len(shard.batch)


def _dropped_table(shard: Shard, cleaned: Cleaned, dropped: np.ndarray[Any, Any]) -> pa.Table:
    """Return one row a dropped light curve: id, source_id, band, reason, points after and before cleaning."""
    rows = shard.rows.select(["id", "source_id", "band"]).take(pa.array(dropped))
    reasons = [CleaningStatus(code).label for code in cleaned.status[dropped]]
    columns = {
        "reason": pa.array(reasons, pa.string()),
        "n_obs": pa.array(cleaned.batch.n_obs[dropped].astype(np.int32)),
        "n_obs_raw": pa.array(shard.batch.n_obs[dropped].astype(np.int32)),
    }
    for name, values in columns.items():
        rows = rows.append_column(name, values)
    return rows


def _add_up(job: _Job, n_shards: int) -> dict[str, Any]:
    """Return the counts of all shards, whether measured now or before an interruption."""
    numbers: Counter[str] = Counter()
    by_reason: dict[str, Counter[str]] = {"dropped": Counter(), "points_dropped": Counter(), "status": Counter()}
    for index in range(n_shards):
        facts = job.dropped.metadata(index).facts
        numbers.update({name: facts[name] for name in ("n_in", "points_in")})
        for name, counter in by_reason.items():
            counter.update(facts[name])
    return {
        "n_in": numbers["n_in"],
        "points_in": numbers["points_in"],
        "n_shards": n_shards,
        **{name: dict(sorted(counter.items())) for name, counter in by_reason.items()},
    }


def _merge(
    config: GenerateFeatures, source: LightCurveSource, job: _Job, output: Path, counts: dict[str, Any]
) -> dict[str, str]:
    """Write the two tables from their parts; return the names and paths of all outputs."""
    columns = job.extraction.columns
    facts = {
        "features": list(columns),
        "feature_digest": feature_digest(columns),
        "names": config.names,
        "period_search": config.period_search.binding,
        "cleaning": asdict(config.cleaning),
        "device": job.extraction.device,
        **{name: counts[name] for name in ("dropped", "points_in", "points_dropped", "status")},
    }
    metadata = TableMetadata(
        kind="features",
        config_digest=science_digest(config),
        inputs=(Input(name="light_curves", digest=source.digest, n_rows=counts["n_in"]),),
        facts=facts,
    )
    beside = _beside(output)
    # The feature table comes last: where it stands, the list of what it lacks stands beside it.
    job.dropped.merge(
        beside["dropped"],
        replace(metadata, kind="dropped_light_curves", facts={"dropped": counts["dropped"]}),
        n_parts=counts["n_shards"],
    )
    counts["n_out"] = job.kept.merge(output, metadata, n_parts=counts["n_shards"])
    return {"features": str(output), **{name: str(path) for name, path in beside.items()}}


def _beside(output: Path) -> dict[str, Path]:
    """Return the names and paths of what stands beside the feature table."""
    return {name: output.with_name(f"{output.name}.{name}{end}") for name, end in BESIDE.items()}


def _report(counts: Mapping[str, Any], outputs: Mapping[str, str], *, seconds: float, n_resumed: int) -> Report:
    warnings = []
    if counts["n_out"] == 0:
        reasons = ", ".join(f"{reason} {count}" for reason, count in counts["dropped"].items())
        warnings.append(f"no light curve was kept ({reasons}); the table has no rows, see cleaning.min_n_obs")
    without = {status: count for status, count in counts["status"].items() if status != "ok"}
    if without:
        listed = ", ".join(f"{status} {count}" for status, count in without.items())
        warnings.append(f"{sum(without.values())} light curves have features but no period ({listed})")
    return Report(
        stage="generate_features",
        n_in=counts["n_in"],
        n_out=counts["n_out"],
        dropped=counts["dropped"],
        seconds=seconds,
        warnings=tuple(warnings),
        outputs=outputs,
        facts={
            **{name: counts[name] for name in ("points_in", "points_dropped", "status", "n_shards")},
            "n_shards_resumed": n_resumed,
        },
    )


def _discard(job: _Job, folder: Path) -> None:
    job.kept.discard()
    job.dropped.discard()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
