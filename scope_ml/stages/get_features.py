"""Stage `get_features`: features that the survey has measured already, as tables with SCoPe's columns.

For the ids of a file or folder, or the light curves of quadrants that the collection itself lists. Every id that is asked
for is in OUT or, with its reason, in OUT.not_found.parquet. How a table is downloaded is in `feature_downloads`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.configuration import option, science_digest
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, DataError
from scope_ml.io.tables import table_format
from scope_ml.services.kowalski.client import Asks, KowalskiClient
from scope_ml.services.kowalski.features import IMAGE, feature_columns
from scope_ml.services.kowalski.listing import list_sources
from scope_ml.services.settings import ServicesConfig
from scope_ml.stages.feature_downloads import NO_ANSWER, FeatureCounts, FeatureDownload, not_found_path
from scope_ml.stages.feature_imputation import NONE, imputer
from scope_ml.stages.feature_targets import Target, TargetConfig, Targets, resolve_targets

__all__ = ["GetFeatures", "run"]

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class GetFeatures:
    """Options of the stage."""

    target: TargetConfig = option(TargetConfig(), doc="which light curves: of a file, a quadrant, a field, quadrants")
    output: str = option(
        machine=True, doc="feature table to write: .parquet, .h5 or .csv; a folder for target=field and quadrant_list"
    )
    catalog: str = option("ZTF_source_features_DR16", doc="collection of features")
    columns: tuple[str, ...] = option((), doc="features by the collection's names; empty: all that SCoPe's tables have")
    dmdt: bool = option(False, doc="dm-dt images too (26 x 26 numbers a light curve), for networks")
    min_obs: int = option(0, unit="observations", doc="of quadrants: leave out light curves with fewer", at_least=0)
    start: int = option(0, unit="ids", doc="first id to take of each target, counted from 0", at_least=0)
    end: int | None = option(None, unit="ids", doc="first id not to take; null: all", at_least=1)
    max_sources: int | None = option(
        None,
        unit="light curves",
        doc="most in a file: more go to OUT_iter_0, OUT_iter_1, ...; null: one file",
        at_least=1,
    )
    impute: str = option(
        NONE, machine=True, doc="none; a bundle's folder or a training table: fill missing values as they say"
    )
    service: ServicesConfig = option(ServicesConfig(), doc="how Kowalski is asked", machine=True)
    machine: Machine = option(Machine(), doc="dry_run asks for everything and writes nothing")

    def __post_init__(self) -> None:
        """Check what single options cannot.

        Raises
        ------
        ConfigError
            If no light curves are named, or `end` is not behind `start`.
        """
        if self.target.kind == "all":
            raise ConfigError(
                "target=all would be a whole collection; give target=source_ids target.path=FILE, or target=quadrant"
                " target.field=250 target.ccd=1 target.quad=1 (target=field, target=quadrant_list)",
                key="target",
            )
        if self.end is not None and self.end <= self.start:
            raise ConfigError(f"end={self.end} is not behind start={self.start}; nothing would be taken", key="end")


def run(config: GetFeatures, *, progress: Progress, asks: Asks | None = None) -> Report:
    """Download features.

    Parameters
    ----------
    config
        Options.
    progress
        Told the ids that are done.
    asks
        The service; None: Kowalski, as `config` says.

    Raises
    ------
    ConfigError
        If the service has no such collection, or options contradict one another.
    MissingColumnError
        If no document of the collection has one of `columns`.
    ServiceError
        If the service cannot be asked, or is down; what came is kept for the next run.
    ScopeError
        If the ids or what is to impute cannot be read, or the output cannot be written.
    """
    began = time.monotonic()
    output = Path(config.output)
    with ExitStack() as stack:
        targets = resolve_targets(config.target, output)
        if not targets.many:
            table_format(output)
        if config.machine.dry_run:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="scope-get-features-")))
            targets = resolve_targets(config.target, folder / output.name)
        settings = config.service.kowalski
        service = stack.enter_context(KowalskiClient(settings)) if asks is None else asks
        counts, written, warnings = _download(config, targets, service, progress)
    progress.finish()
    missing = counts.missing
    if missing.get(NO_ANSWER):
        warnings.append(
            f"{missing[NO_ANSWER]} ids were not answered by the service; type the same command again to ask for them alone"
        )
    outputs = {} if config.machine.dry_run else {"features": config.output}
    if outputs and len(written) == 1:
        outputs = {"features": str(written[0]), "not_found": str(not_found_path(written[0]))}
    return Report(
        stage="get_features",
        n_in=counts.asked,
        n_out=counts.rows,
        dropped=dict(sorted(missing.items())),
        seconds=time.monotonic() - began,
        warnings=(*targets.warnings, *warnings),
        outputs=outputs,
        facts={"catalog": config.catalog, "n_tables": len(written), **counts.facts},
    )


def _download(
    config: GetFeatures, targets: Targets, asks: Asks, progress: Progress
) -> tuple[FeatureCounts, list[Path], list[str]]:
    """Make all tables; return what was counted over them, their paths, and what to warn of."""
    asked_for = [(target, _ids_of_request(target)) for target in targets if target.request is not None]
    columns = feature_columns(asks, config.catalog, config.columns, images=config.dmdt)
    download = FeatureDownload(
        asks=asks,
        settings=config.service.kowalski,
        catalog=config.catalog,
        version=asks.version(config.catalog),
        columns=columns,
        imputer=imputer(config.impute, columns.schema),
        config_digest=science_digest(config),
    )
    # Before the first of many questions.
    for target in targets:
        download.check(target.output)
    counts = FeatureCounts()
    written: list[Path] = []
    without: list[str] = []
    left: list[Path] = []
    listed = ((target, _listed(config, target, asks)) for target in targets if target.request is None)
    for target, all_ids in (*asked_for, *listed) if asked_for else listed:
        ids = all_ids[config.start : config.end]
        if not len(ids):
            without.append(target.name)
        progress.start(f"features of {target.name}", len(ids))
        for path, part in _files(target.output, ids, config.max_sources):
            of_table = download.finished(path, part)
            if of_table is None:
                of_table = download.make(path, part, progress)
            counts.add(of_table)
            written.append(path)
        left += _left_over(target.output, set(written))
    warnings = [f"{config.catalog} has no light curves in {_some(without)}"] if without else []
    if left:
        warnings.append(
            f"{len(left)} files of an earlier run with another max_sources, or of more ids, stay beside the new ones, such as"
            f" {left[0]}; they hold some of the same light curves, remove them"
        )
    if counts.images_missing and IMAGE in columns.fields:
        warnings.append(
            f"{counts.images_missing} light curves have no dm-dt image; theirs are zeros, as SCoPe takes them"
        )
    return counts, written, warnings


def _ids_of_request(target: Target) -> Ids:
    """Return the distinct ids of a file, in its order."""
    assert target.request is not None
    sources = target.request.sources
    if "id" not in sources.column_names:
        raise ConfigError(
            f"{target.name}: the file has positions alone, but features are kept by id; give ids, such as get_quad_ids"
            " lists, or classify stars by position with python -m scope_ml.classify",
            key="target.path",
        )
    try:
        ids = sources["id"].cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise DataError(f"ids of the survey are whole numbers below 2**63 ({error})") from error
    # Text may spell one number in two ways.
    _, first = np.unique(ids, return_index=True)
    return np.asarray(ids[np.sort(first)], dtype=np.int64)


def _listed(config: GetFeatures, target: Target, asks: Asks) -> Ids:
    rows = list_sources(asks, config.catalog, target.selection, min_obs=config.min_obs)
    return np.asarray(rows["id"].to_numpy(), dtype=np.int64)


def _files(output: Path, ids: Ids, most: int | None) -> Iterator[tuple[Path, Ids]]:
    """Yield the files of one target and the ids of each; at least one file."""
    if most is None:
        yield output, ids
        return
    for number, start in enumerate(range(0, max(len(ids), 1), most)):
        yield output.with_name(f"{output.stem}_iter_{number}{output.suffix}"), ids[start : start + most]


def _left_over(output: Path, written: set[Path]) -> list[Path]:
    """Return the files of a target that another run wrote and this one did not."""
    numbered = re.compile(rf"{re.escape(output.stem)}(_iter_\d+)?{re.escape(output.suffix)}")
    beside = sorted(path for path in output.parent.iterdir() if numbered.fullmatch(path.name))
    return [path for path in beside if path not in written]


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
