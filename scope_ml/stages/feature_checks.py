"""What `generate_features` finds out before the work: where everything goes, that nothing is written over, what is measured.

May import the rooms of this stage, features, io and what lies below.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scope_ml.core.provenance import code_version
from scope_ml.errors import ConfigError, FormatError
from scope_ml.features.extract import Extraction, searches
from scope_ml.io.run_log import RunLog
from scope_ml.io.tables import table_format
from scope_ml.kernels.registry import resolve_device
from scope_ml.stages.feature_log import FeatureLog
from scope_ml.stages.feature_outputs import beside, check_format
from scope_ml.stages.feature_targets import Targets, resolve_targets

if TYPE_CHECKING:
    from scope_ml.stages.generate_features import GenerateFeatures

__all__ = [
    "check_columns",
    "checked_targets",
    "device_of",
    "empty_text",
    "extraction_of",
    "feature_log",
    "log_path",
]


def checked_targets(config: GenerateFeatures, output: Path) -> Targets:
    """Return the tables to make, none of which would be written over what the run reads.

    Raises
    ------
    ScopeError
        If that is so, or the target cannot be used.
    """
    targets = resolve_targets(config.target, output)
    if not targets.many:
        # A name that no table can have, such as that of a folder, is refused before anything is made of it.
        table_format(output)
    _keep_apart(config, targets, log_path(config, output, many=targets.many))
    if config.previous is not None and not Path(config.previous).exists():
        raise FormatError(
            f"previous={config.previous} does not exist; give the feature table, or the folder of tables, of an earlier run"
        )
    return targets


def check_columns(config: GenerateFeatures, targets: Targets) -> None:
    """Find out before the work whether what is to be written can hold the columns.

    Raises
    ------
    ScopeError
        If it cannot, or the device is not there.
    """
    extraction = extraction_of(config)
    # Tables of a folder end alike.
    for target in targets[:1]:
        check_format(target.output, extraction)


def feature_log(config: GenerateFeatures, path: Path | None, **facts: object) -> FeatureLog:
    """Return the run log in the file `path`, which begins with `facts`.

    Raises
    ------
    ScopeError
        If the device is not there.
    """
    known = {
        "stage": "generate_features",
        "version": code_version(),
        "target": config.target.kind,
        "output": config.output,
        "device": device_of(config),
        "workers": config.machine.n_workers,
    }
    return FeatureLog(log=RunLog(path), facts=known | facts)


def log_path(config: GenerateFeatures, output: Path, *, many: bool) -> Path | None:
    """Return where a run says how it goes; None where nothing is kept."""
    if config.machine.dry_run:
        return None
    if config.run_log is not None:
        return Path(config.run_log)
    return output / "run.log.jsonl" if many else output.with_name(f"{output.name}.log.jsonl")


def _keep_apart(config: GenerateFeatures, targets: Targets, log: Path | None) -> None:
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
    if log is not None and log.resolve() in apart:
        raise ConfigError(f"run_log={log} is another file of this run; give a name of its own", key="run_log")


def device_of(config: GenerateFeatures) -> str:
    """Return the device that is there, as the configuration asks for it.

    Raises
    ------
    BackendUnavailableError
        If it is not there.
    """
    return resolve_device(config.machine.device, searches(config.features, config.period_search))


def empty_text(config: GenerateFeatures) -> str | None:
    """Return what to say of a source without light curves; None where that is an answer."""
    if config.target.kind != "all":
        return None
    wanted = f" in band {', '.join(config.source.bands)}" if config.source.bands else ""
    return f"{config.source.path} holds no light curves{wanted}; check source.path and band"


def extraction_of(config: GenerateFeatures) -> Extraction:
    """Return what is measured.

    Raises
    ------
    ScopeError
        If the device is not there, or groups lack one that they need.
    """
    return Extraction(
        choice=config.features,
        search=config.period_search,
        device=device_of(config),
        crossmatch=config.crossmatch,
        names=config.names,
    )
