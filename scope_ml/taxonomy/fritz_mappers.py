"""Mappers: which column of a table is which class of Fritz, and SCoPe's JSON form of them.

The form is ``{column: {"fritz_label": label, "taxonomy_id": id}}``; the label ``None`` with the id -1 means a column that is
not uploaded. May import `errors`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from scope_ml.errors import ConfigError, suggest

if TYPE_CHECKING:
    from scope_ml.taxonomy.fritz_names import FritzNames

__all__ = ["FritzClass", "Mapper", "read_mapper"]

#: Label and id of a column that is not uploaded, in SCoPe's files.
NOT_UPLOADED, NO_ID = "None", -1


@dataclass(frozen=True, kw_only=True)
class FritzClass:
    """One column and its class on Fritz.

    Attributes
    ----------
    column
        Name of the column.
    tag
        Our class; None where it is none of ours.
    label
        Name on Fritz, as it is written there; None for a column that is not uploaded.
    tree
        ``phenomenological`` or ``ontological``; None where that is not known.
    taxonomy_id
        Number of the taxonomy as an old file has it, None where it is found by name on the target.
    """

    column: str
    tag: str | None = None
    label: str | None = None
    tree: str | None = None
    taxonomy_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class Mapper:
    """Columns and their classes on Fritz, in order.

    Attributes
    ----------
    name
        What it is called in messages.
    classes
        One entry a column.
    """

    name: str
    classes: tuple[FritzClass, ...]

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self.classes)

    def __iter__(self) -> Iterator[FritzClass]:
        """Iterate over the columns."""
        return iter(self.classes)

    def __contains__(self, column: object) -> bool:
        """Say whether there is such a column."""
        return column in self._by_column

    def __getitem__(self, column: str) -> FritzClass:
        """Return the entry of a column; an unknown one is a `ConfigError` with near names."""
        if column not in self._by_column:
            known = ", ".join(self.columns) or "none"
            raise ConfigError(
                f"{self.name} has no class column '{column}'; it has {known}{suggest(column, self.columns)}",
                key="classification",
                choices=self.columns,
            )
        return self._by_column[column]

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns, those that are not uploaded among them."""
        return tuple(self._by_column)

    @property
    def usable(self) -> tuple[FritzClass, ...]:
        """Return the entries that have a class on Fritz."""
        return tuple(entry for entry in self.classes if entry.label is not None)

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels on Fritz, each once."""
        return tuple(dict.fromkeys(entry.label for entry in self.classes if entry.label is not None))

    @cached_property
    def inverse(self) -> Mapping[str, FritzClass]:
        """Return the entry of each label, as it is written on Fritz.

        Raises
        ------
        ConfigError
            If two columns have one label, as the scores of two algorithms.
        """
        found: dict[str, FritzClass] = {}
        for entry in self.usable:
            other = found.setdefault(str(entry.label), entry)
            if other is not entry:
                raise ConfigError(
                    f"{self.name}: the columns '{other.column}' and '{entry.column}' are both '{entry.label}' on Fritz;"
                    " choose the columns of one of them",
                    key="classification",
                )
        return MappingProxyType(found)

    def only(self, columns: Iterable[str]) -> Mapper:
        """Return the mapper of some columns, in their order, each once; an unknown one is a `ConfigError`."""
        return dataclasses.replace(self, classes=tuple(self[column] for column in dict.fromkeys(columns)))

    def without_ids(self) -> Mapper:
        """Return the mapper without taxonomy ids, so that they are found by name on the target."""
        return dataclasses.replace(
            self, classes=tuple(dataclasses.replace(entry, taxonomy_id=None) for entry in self.classes)
        )

    def to_json(self) -> str:
        """Return the mapper in SCoPe's form; one without ids is a `ConfigError`."""
        values = {}
        for entry in self.classes:
            if entry.label is not None and entry.taxonomy_id is None:
                raise ConfigError(f"{self.name}: '{entry.column}' has no taxonomy id; find the ids on a target first")
            used = (entry.label, entry.taxonomy_id) if entry.label is not None else (NOT_UPLOADED, NO_ID)
            values[entry.column] = dict(zip(("fritz_label", "taxonomy_id"), used, strict=True))
        return json.dumps(values, indent=4, ensure_ascii=False) + "\n"

    @cached_property
    def _by_column(self) -> Mapping[str, FritzClass]:
        return MappingProxyType({entry.column: entry for entry in self.classes})


def read_mapper(path: Path, *, names: FritzNames | None = None, columns: Collection[str] | None = None) -> Mapper:
    """Read a mapper file of SCoPe's form.

    Parameters
    ----------
    path
        JSON file.
    names
        Names on Fritz: tag and tree of each label come from them.
    columns
        Columns of the table that it is for; the mapper's columns must be among them. None does not check.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not of that form, has a column twice, or names a column that the table has not.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_each_once)
    except (OSError, ValueError) as error:
        raise ConfigError(f"mapper {path} cannot be read: {' '.join(str(error).split())}", key="mapper") from error
    if not isinstance(values, dict) or not values:
        raise ConfigError(
            f"mapper {path}: expected {{column: {{fritz_label, taxonomy_id}}}}, got {values!r}", key="mapper"
        )
    classes = tuple(_entry(path, column, value, names) for column, value in values.items())
    lacking = [entry.column for entry in classes if columns is not None and entry.column not in columns]
    if lacking:
        shown = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
        raise ConfigError(
            f"the table has no column {shown} of mapper {path}{suggest(lacking[0], columns or ())}", key="mapper"
        )
    return Mapper(name=f"mapper {path}", classes=classes)


def _entry(path: Path, column: str, value: Any, names: FritzNames | None) -> FritzClass:
    is_fit = isinstance(value, dict) and set(value) == {"fritz_label", "taxonomy_id"}
    label, number = (value["fritz_label"], value["taxonomy_id"]) if is_fit else (None, None)
    if not isinstance(label, str) or not label or not isinstance(number, int) or isinstance(number, bool):
        raise ConfigError(
            f'mapper {path}: \'{column}\' must be {{"fritz_label": text, "taxonomy_id": number}}, got {value!r}',
            key="mapper",
        )
    if label == NOT_UPLOADED:
        return FritzClass(column=column)
    if number < 0:
        raise ConfigError(f"mapper {path}: '{column}' has the taxonomy id {number}, which is none", key="mapper")
    tag = names.labels.get(label) if names is not None else None
    name = names[tag] if names is not None and tag is not None else None
    return FritzClass(column=column, tag=tag, label=label, tree=name.tree if name else None, taxonomy_id=number)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"'{twice}' is there twice")
    return found
