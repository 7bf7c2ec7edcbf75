"""Stage `fritz_annotate`: post, update and delete keys of annotations on Fritz, of one source or of a table.

A source has one annotation of each origin, a set of keys and values. ``post`` writes keys that are not there yet,
``update`` changes them where the origin is there, ``delete`` takes them away; the other keys stay in any case.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import pyarrow as pa

from scope_ml.core.configuration import option
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, DataError, EmptySelectionError, MissingColumnError
from scope_ml.io.tables import read_foreign_table, table_columns
from scope_ml.services.fritz.client import FritzClient
from scope_ml.services.fritz.directory import Directory
from scope_ml.services.fritz.rules import Rules
from scope_ml.services.fritz.wanted import AnnotationMode, Wanted, WantedAnnotation
from scope_ml.services.http import Clock
from scope_ml.services.settings import BrokerConfig
from scope_ml.stages.fritz_changes import ChangesOptions, run_changes
from scope_ml.stages.requested_sources import NAMES

__all__ = ["FritzAnnotate", "run"]

#: What each action does with a key.
MODES: dict[str, AnnotationMode] = {"post": "new", "update": "change", "delete": "drop"}

#: Where plans go that have no place of their own.
OUTPUTS = Path("outputs") / "fritz_annotate"

#: The largest whole number that is kept as it is.
LARGEST = 2**63


@dataclass(frozen=True, kw_only=True)
class FritzAnnotate(ChangesOptions):
    """Options of the stage."""

    action: Literal["post", "update", "delete"] = option(machine=True, doc="what to do: the first word of the command")
    obj_id: str | None = option(None, machine=True, doc="one source, by its name on Fritz")
    path: str | None = option(None, machine=True, doc="table with a column obj_id: .csv, .parquet or .h5")
    origin: str = option(machine=True, doc="origin of the annotation")
    key: str | None = option(None, machine=True, doc="key to write or take away")
    keys: tuple[str, ...] = option((), machine=True, doc="several keys, of a table its columns")
    value: Any = option(None, machine=True, doc="number, text or true/false; of a table the same for all rows")
    value_column: str | None = option(None, machine=True, doc="column of the values; null: the one named as the key")
    groups: int | str | tuple[int | str, ...] = option(
        (), machine=True, doc="post: groups that see new annotations, by id or name"
    )
    output: str = option(
        "auto", machine=True, doc="folder of plan, journal and receipt; auto: by source, origin and key"
    )
    service: BrokerConfig = option(BrokerConfig(), doc="where Fritz is and how it is asked", machine=True)

    def __post_init__(self) -> None:
        """Check what single options cannot.

        Raises
        ------
        ConfigError
            If sources, keys or values are not given, or twice.
        """
        if (self.obj_id is None) == (self.path is None):
            raise ConfigError("give either obj_id=NAME, or path=TABLE with a column obj_id", key="obj_id")
        if (self.key is None) == (not self.keys):
            raise ConfigError("give either key=NAME, or keys=[NAME,...]", key="key")
        if self.action == "post" and self.groups == ():
            raise ConfigError(
                "post needs groups that see a new annotation; give groups=[1535] or groups=[NAME]", key="groups"
            )
        self._check_value()
        # What the service would refuse is refused here.
        for key in self.all_keys:
            WantedAnnotation(origin=self.origin, key=key)

    def _check_value(self) -> None:
        if self.action == "delete":
            if self.value is not None or self.value_column is not None:
                raise ConfigError(
                    "delete takes a key away whatever its value; leave value and value_column out", key="value"
                )
            return
        if self.value_column is not None and (self.path is None or self.keys or self.value is not None):
            raise ConfigError(
                "value_column is a column of a table, for one key; leave out value and keys", key="value_column"
            )
        if self.value is not None and self.keys:
            raise ConfigError(
                "value is that of one key; give key=NAME, or keys=[...] alone for columns of the table", key="value"
            )
        if self.obj_id is not None and self.value is None:
            raise ConfigError(f"{self.action} of one source needs value=..., for one key", key="value")
        if self.value is not None:
            _checked(self.value, "value")

    @property
    def all_keys(self) -> tuple[str, ...]:
        """Return the keys."""
        return self.keys or (self.key or "",)

    @property
    def group_names(self) -> tuple[int | str, ...]:
        """Return the groups as they are given."""
        return self.groups if isinstance(self.groups, tuple) else (self.groups,)

    @property
    def folder(self) -> Path:
        """Return where plan, journal and receipt go: the same for the same annotations."""
        if self.output != "auto":
            return Path(self.output)
        what = self.obj_id if self.obj_id is not None else Path(self.path or "").stem
        name = "_".join((self.action, what, self.origin, *self.all_keys))
        return OUTPUTS / re.sub(r"[^A-Za-z0-9_.+-]+", "-", name)[:200]


def run(config: FritzAnnotate, *, progress: Progress, clock: Clock | None = None) -> Report:
    """Annotate, or say what it would take.

    Parameters
    ----------
    config
        Options.
    progress
        Told sources that are done.
    clock
        Time, for tests.

    Returns
    -------
    Report
        As `fritz_changes.run_changes`; further facts: ``no_value``, values that are missing in the table, by key.

    Raises
    ------
    ConfigError
        If there is no such group.
    SchemaError
        If the table cannot be read, or lacks columns.
    DataError
        If a name or value of the table is none, or a source has two rows.
    ServiceError
        If the service refuses or does not answer.
    OutputError
        If nothing can be written.
    """
    rows = _rows(config)
    with FritzClient(config.service.fritz, clock=clock) as fritz:
        directory = Directory(fritz)
        group_ids = tuple(group.id for group in directory.groups(config.group_names)) if config.group_names else ()
        report = run_changes(
            fritz,
            _Sources(config, rows, group_ids),
            Rules(find="obj_id", new_sources=False, save=False),
            options=replace(config, output=str(config.folder)),
            stage="fritz_annotate",
            progress=progress,
            facts={"no_value": rows.n_missing},
            clock=clock,
        )
    lacking = [f"{n} row(s) of {config.path} have no {key} and are left" for key, n in rows.n_missing.items() if n]
    return replace(report, warnings=(*lacking, *report.warnings))


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Names of sources and, for each key, their values; None: there is none."""

    names: Sequence[str]
    values: Mapping[str, Sequence[Any]]
    n_missing: dict[str, int]


class _Sources(Sequence[Wanted]):
    """What is wanted of each source, made when it is asked for."""

    def __init__(self, config: FritzAnnotate, rows: _Rows, group_ids: tuple[int, ...]) -> None:
        self._config, self._rows, self._group_ids = config, rows, group_ids

    def __len__(self) -> int:
        return len(self._rows.names)

    @overload
    def __getitem__(self, at: int) -> Wanted: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Wanted]: ...

    def __getitem__(self, at: int | slice) -> Wanted | Sequence[Wanted]:
        if isinstance(at, slice):
            return [self[number] for number in range(len(self))[at]]
        name, config = self._rows.names[at], self._config
        wanted = tuple(
            WantedAnnotation(origin=config.origin, key=key, value=values[at], mode=MODES[config.action])
            for key, values in self._rows.values.items()
            if config.action == "delete" or values[at] is not None
        )
        return Wanted(key=name, obj_id=name, group_ids=self._group_ids, annotations=wanted)


def _rows(config: FritzAnnotate) -> _Rows:
    if config.obj_id is not None:
        return _Rows(names=[config.obj_id], values={key: [config.value] for key in config.all_keys}, n_missing={})
    path = Path(config.path or "")
    columns = table_columns(path)
    name = next((one for one in ("obj_id", *NAMES) if one in columns), None)
    if name is None:
        raise MissingColumnError(str(path), ["obj_id"], columns)
    from_table = config.action != "delete" and config.value is None
    of_key = {key: config.value_column or key for key in config.all_keys} if from_table else {}
    missing = [column for column in of_key.values() if column not in columns]
    if missing:
        raise MissingColumnError(str(path), missing, columns)
    data = read_foreign_table(path, list(dict.fromkeys([name, *of_key.values()])))
    if not data.num_rows:
        raise EmptySelectionError(f"{path} has no rows; give one source a row")
    names = _names(data[name], name, path)
    if not from_table:
        return _Rows(names=names, values={key: [config.value] * len(names) for key in config.all_keys}, n_missing={})
    values = {key: _values(data[column], column, path) for key, column in of_key.items()}
    return _Rows(names=names, values=values, n_missing={key: column.count(None) for key, column in values.items()})


def _names(column: pa.ChunkedArray, name: str, path: Path) -> list[str]:
    names = [None if one is None else str(one).strip() for one in column.to_pylist()]
    seen: dict[str, int] = {}
    for row, one in enumerate(names, 1):
        if not one:
            raise DataError(f"{path}: column '{name}' is empty in row {row}; give the name of a source on Fritz")
        if one in seen:
            raise DataError(f"{path}: rows {seen[one]} and {row} are both of {one}; leave one out")
        seen[one] = row
    return [one for one in names if one]


def _values(column: pa.ChunkedArray, name: str, path: Path) -> list[Any]:
    """Return values as JSON can say them; a float32 as the shortest number that it stands for."""
    kind = column.type
    known = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_string,
        pa.types.is_large_string,
    )
    if not (any(test(kind) for test in known) or pa.types.is_null(kind)):
        raise DataError(f"{path}: column '{name}' is {kind}; a value is a number, a text, or true or false")
    values = column.to_pylist()
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        short = np.float32 if pa.types.is_float32(kind) else np.float16
        values = [one if one is None else float(str(short(one))) for one in values]
    return [
        one if one is None else _checked(one, f"{path}: column '{name}' in row {row}")
        for row, one in enumerate(values, 1)
    ]


def _checked(value: Any, where: str) -> Any:
    """Return a value that an annotation may have."""
    if not isinstance(value, (bool, int, float, str)):
        raise ConfigError(f"{where} is {value!r}; a value is a number, a text, or true or false", key="value")
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{where} is {value}, which is no number that Fritz can keep; leave it out")
    if isinstance(value, int) and not -LARGEST <= value < LARGEST:
        raise DataError(f"{where} is {value}, more than 64 bits hold; give it as a text, '\"{value}\"'")
    return value
