"""Options of the stage `infer`, and which of its three forms they ask for: a table, fields, or single light curves.

May import core, io, taxonomy, compute's settings and the rooms that say what each option may be.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scope_ml.compute.settings import ExecutorConfig
from scope_ml.core.configuration import option
from scope_ml.core.machine import Machine
from scope_ml.errors import ConfigError, suggest
from scope_ml.io.selection import LARGEST_FIELD
from scope_ml.io.tables import FORMATS
from scope_ml.models.algorithms import ALGORITHMS
from scope_ml.stages.catalogue_consistency import ConsistencyMode
from scope_ml.stages.catalogue_periods import CatalogueSource
from scope_ml.stages.inference_models import UnfitModels
from scope_ml.stages.number_ranges import Numbers, number_list
from scope_ml.tracking.settings import TrackingConfig

__all__ = ["ALL_FIELDS", "Infer"]

#: What stands for every field that there is.
ALL_FIELDS = "all"

#: Where features are looked for and scores go where fields are asked for and nothing else is said.
FEATURES, SCORES = "results/features", "results/scores"


@dataclass(frozen=True, kw_only=True)
class Infer:
    """Options of the stage."""

    features: str | None = option(
        None,
        machine=True,
        doc=f"feature table of generate_features; with field or ids also the folder of its field tables (null: {FEATURES})",
    )
    output: str | None = option(
        None,
        machine=True,
        doc=f"table to write: .parquet, .h5 or .csv; with field the folder of the scores (null: {SCORES})",
    )
    field: Numbers | None = option(
        None,
        machine=True,
        doc="fields whose quadrants are scored: 296, [296,297], 296-300 or all; null: the whole table",
    )
    ids: int | str | tuple[int | str, ...] | None = option(
        None, machine=True, doc="score these light curves only: ids, or a table or folder of ids"
    )
    source: CatalogueSource = option(CatalogueSource(), doc="light curves, to refine periods by class")
    models: str = option(
        "champion", machine=True, doc="champion, challenger, lock, a lock file, or a folder of bundles"
    )
    bundles: str | None = option(
        None, machine=True, doc="folder where pinned bundles are looked for before the registry"
    )
    classes: tuple[str, ...] = option((), doc="tags to score; empty: all that have a model")
    algorithms: tuple[str, ...] = option((), doc=f"algorithms to score with: {', '.join(ALGORITHMS)}; empty: all")
    unfit_models: UnfitModels = option(
        "refuse", doc="models that need features which the table lacks; skip: leave their columns out, and say so"
    )
    consistency: ConsistencyMode = option(
        "none", doc="scores that contradict the class tree: report counts them by row; cap, lift, nearest repair them"
    )
    conflict_margin: float = option(
        0.1,
        doc="how far a class may be above one that it implies before it counts as a conflict",
        at_least=0,
        at_most=1,
    )
    drift: bool = option(True, machine=True, doc="write OUTPUT.drift.json and .html: the rows beside the training set")
    flags: bool | None = option(
        None,
        machine=True,
        doc="write which features each light curve lacks, OUTPUT.missing.parquet; null: with field or ids only",
    )
    stale: Literal["refuse", "remake"] = option(
        "refuse", machine=True, doc="with field: tables that stand there, made with other models, options or code"
    )
    batch_rows: int = option(32_768, unit="rows", doc="rows worked on at once", at_least=1, machine=True)
    executor: ExecutorConfig = option(ExecutorConfig(), doc="with field: who scores the quadrants", machine=True)
    tracking: TrackingConfig = option(TrackingConfig(), doc="where the registry is")
    machine: Machine = option(Machine(), doc="threads")

    def __post_init__(self) -> None:
        """Check the names of algorithms, and that the form has what it needs; settle what follows from it.

        Raises
        ------
        ConfigError
            If not.
        """
        for name in self.algorithms:
            if name not in ALGORITHMS:
                raise ConfigError(
                    f"unknown algorithm {name!r} in 'algorithms'; known: {', '.join(ALGORITHMS)}{suggest(name, ALGORITHMS)}",
                    key="algorithms",
                    choices=ALGORITHMS,
                )
        many = self.field is not None or self.ids is not None
        self._settle("features", FEATURES if many else None, "feature table of generate_features")
        self._settle("output", SCORES if self.by_field else None, "table to write")
        if self.flags is None:
            object.__setattr__(self, "flags", many)
        if not self.by_field and self.executor.kind != "local":
            raise ConfigError(
                f"executor={self.executor.kind} scores quadrants; give field=... (or field=all), or executor=local",
                key="executor",
            )
        if self.by_field:
            _ = self.fields
            self._check_folder()
        elif self.ids is not None and not self.asked_ids:
            raise ConfigError("ids is empty; give ids=[ID,...] or ids=FILE", key="ids")

    def _settle(self, name: str, default: str | None, doc: str) -> None:
        given = getattr(self, name)
        if not given and default is None:
            others = "" if self.ids is not None else ", or field=296 for the tables of a field"
            raise ConfigError(f"'{name}' has no value ({doc}); give {name}=...{others}", key=name)
        object.__setattr__(self, name, given or default)

    def _check_folder(self) -> None:
        output = self.output_path
        if output.suffix.lower() in FORMATS or (output.exists() and not output.is_dir()):
            raise ConfigError(
                f"field={self.field} makes one table a quadrant, so output={output} cannot be a file; give a folder, such as"
                f" output={output.with_suffix('')}",
                key="output",
            )

    @property
    def by_field(self) -> bool:
        """Return whether quadrants of fields are scored, a table each."""
        return self.field is not None and self.ids is None

    @property
    def fields(self) -> tuple[int, ...] | None:
        """Return the fields that are asked for; None stands for all."""
        if self.field is None or self.field in (ALL_FIELDS, (ALL_FIELDS,)):
            return None
        return number_list(self.field, "field", range(LARGEST_FIELD + 1))

    @property
    def asked_ids(self) -> tuple[int | str, ...]:
        """Return the ids, or the one path of a file of ids, as they were typed."""
        if self.ids is None or self.ids == "":
            return ()
        return self.ids if isinstance(self.ids, tuple) else (self.ids,)

    @property
    def features_path(self) -> Path:
        """Return the feature table, or the folder of the field tables."""
        return Path(str(self.features))

    @property
    def output_path(self) -> Path:
        """Return the table of scores, or the folder of the fields'."""
        return Path(str(self.output))
