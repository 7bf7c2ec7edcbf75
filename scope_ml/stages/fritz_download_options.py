"""Options of the stage `fritz_download`, and where its tables go. May import services (settings), io, core and errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scope_ml.core.configuration import option
from scope_ml.core.machine import Machine
from scope_ml.errors import ConfigError
from scope_ml.io.tables import FORMATS
from scope_ml.services.settings import AllServicesConfig
from scope_ml.stages.feature_imputation import NONE
from scope_ml.stages.training_set_update import TrainingUpdate

__all__ = ["KOWALSKI", "FritzDownload", "Outputs", "changes_of", "check_apart"]

#: The word of `features` for the survey's own.
KOWALSKI = "kowalski"


@dataclass(frozen=True, kw_only=True)
class FritzDownload:
    """Options of the stage."""

    output: str = option(
        machine=True, doc="table of sources, .parquet, .h5 or .csv, others beside it; or a folder of tables"
    )
    groups: int | str | tuple[int | str, ...] = option((), doc="all sources of these groups, by id or name")
    file: str | None = option(None, machine=True, doc="or those of a table with obj_id, or with ra and dec")
    start: int = option(0, doc="first page of groups (from 1) or first row of a file (from 0)", at_least=0)
    radius_arcsec: float = option(
        2.0,
        unit="arcsec",
        doc="farthest source of a position, and farthest light curve of a source",
        more_than=0,
        at_most=60,
    )
    names: Literal["tags", "legacy"] = option("tags", doc="legacy: the columns of SCoPe's tables")
    mapper: str | None = option(
        None,
        doc="columns of classes: golden, fritz or a JSON file of SCoPe's; null: our tags, with names=legacy golden",
    )
    features: str | None = option(
        None, machine=True, doc="feature table, or kowalski: the sources' light curves with their features"
    )
    catalog: str = option("ZTF_source_features_DR16", doc="collection of features=kowalski")
    dmdt: bool = option(False, doc="with features=kowalski: dm-dt images too")
    impute: str = option(
        NONE, machine=True, doc="none; a bundle's folder or a training table: fill missing features as they say"
    )
    update_training_set: bool = option(False, doc="put the votes into a new training set")
    min_net_votes: int = option(1, doc="votes for minus votes against that make a member of a class", at_least=0)
    training: TrainingUpdate = option(TrainingUpdate(), doc="which training set, and how votes go into it")
    class_folders: str | tuple[str, ...] = option(
        (), machine=True, doc="configuration folders whose class/<tag>.yaml add classes of your own"
    )
    service: AllServicesConfig = option(AllServicesConfig(), doc="how Fritz and Kowalski are asked", machine=True)
    machine: Machine = option(Machine(), doc="dry_run asks for everything and writes nothing")

    def __post_init__(self) -> None:
        """Check what single options cannot.

        Raises
        ------
        ConfigError
            If it is not said which sources, or options contradict one another.
        """
        if bool(self.asked_groups) == (self.file is not None):
            what = "both are given" if self.file else "neither is given"
            raise ConfigError(
                f"sources are those of groups or of a file, and {what}; type groups=[1544] (ids or names) or file=FILE",
                key="groups",
            )
        if self.impute != NONE and self.features is None:
            raise ConfigError("impute fills features; give features=FEATURES or features=kowalski", key="impute")

    @property
    def asked_groups(self) -> tuple[int | str, ...]:
        """Return the groups as a tuple."""
        return self.groups if isinstance(self.groups, tuple) else (self.groups,)


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Where which table is written: `output` is the table of sources, or a folder."""

    output: Path

    @property
    def is_table(self) -> bool:
        """Return whether it is a table."""
        return self.output.suffix.lower() in FORMATS

    def of(self, what: str) -> Path:
        """Return the path of a table."""
        if not self.is_table:
            return self.output / f"{what}.parquet"
        return (
            self.output
            if what == "sources"
            else self.output.with_name(f"{self.output.stem}.{what}{self.output.suffix}")
        )

    @property
    def kept(self) -> Path:
        """Return the folder of answers that are not in a table yet."""
        sources = self.of("sources")
        return sources.with_name(f"{sources.name}.parts")


def changes_of(training_set: Path) -> Path:
    """Return where the changes of a new training set are listed."""
    return training_set.with_name(f"{training_set.name}.changes{training_set.suffix}")


def check_apart(config: FritzDownload, training_set: Path | None) -> None:
    """Check that no table that is read is written over, and no table that is written by another of the same run.

    Raises
    ------
    ConfigError
        If one is.
    """
    has_features, is_kowalski = config.features is not None, config.features == KOWALSKI
    made = {"sources", "classifications", "periods", "votes"}
    made |= ({"not_found"} if config.file else set()) | ({"merged"} if has_features else set())
    made |= {"features"} if is_kowalski else set()
    outputs = Outputs(output=Path(config.output))
    written = {outputs.of(what).resolve(): what for what in made}
    new = () if training_set is None else (training_set, changes_of(training_set))
    for path in new:
        if path.resolve() in written:
            raise ConfigError(
                f"{path} is this run's table of {written[path.resolve()]} too; give training.output=FILE elsewhere",
                key="training.output",
            )
    read = {"file": config.file, "features": None if is_kowalski else config.features}
    read |= {"training.path": config.training.path, "impute": None if config.impute == NONE else config.impute}
    for name, given in read.items():
        if given is not None and Path(given).resolve() in {*written, *(path.resolve() for path in new)}:
            raise ConfigError(f"{name}={given} would be written over by this run; give another output", key="output")
