"""What our classes are called on Fritz (SkyPortal): one table, ``conf/fritz/names.yaml``, and the mappers made of it.

A mapper says which column of a table is which class of Fritz. Ours follow from the table of names and from the columns;
SCoPe's four JSON files are derived from the same table, and files like them can be read. Labels are compared as they are
written: ``Eclipsing`` (a binary star) and ``eclipsing`` (a light curve) are two classes.
May import `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from scope_ml.core.configuration import build, option
from scope_ml.errors import ConfigError, suggest
from scope_ml.taxonomy.classes import packaged_conf_dir
from scope_ml.taxonomy.fritz_mappers import FritzClass, Mapper
from scope_ml.taxonomy.graph import Taxonomy

__all__ = [
    "ALGORITHMS",
    "NONVAR",
    "FritzName",
    "FritzNames",
    "Tree",
    "TreeName",
    "load_names",
    "mapper_of",
    "old_mapper",
]

#: The two trees of classes on Fritz.
Tree = Literal["phenomenological", "ontological"]

#: Column of what is not variable: no class of ours (it is the complement of ``vnv``), but one of Fritz.
NONVAR = "nonvar"

#: Endings of columns of scores, ``<tag>_<algorithm>``.
ALGORITHMS = ("xgb", "dnn", "dnn_shared")


@dataclass(frozen=True, kw_only=True)
class FritzName:
    """How one class, or one further node of a tree, is called on Fritz."""

    label: str = option(doc="name on Fritz, as it is written there")
    tree: Tree = option(doc="phenomenological or ontological")
    under: str | None = option(None, doc="tag or node above it; null: its first parent of the same kind, else the root")
    description: str | None = option(None, doc="one line; classes have theirs in their files")


@dataclass(frozen=True, kw_only=True)
class TreeName:
    """Under which name and version one of our trees is posted."""

    name: str = option(doc="name of the taxonomy on Fritz")
    version: str = option(doc="raised whenever the tree changes")
    root: str = option(doc="class at the top of it")


@dataclass(frozen=True, kw_only=True)
class OldFile:
    """One of SCoPe's mapper files, as far as the names do not give it."""

    key: Literal["tag", "label"] = option(doc="what its columns are called by")
    suffix: str = option("", doc="ending of its columns")
    ids: dict[str, int] = option(doc="taxonomy id of each tree on the instance that it was written for")
    other_ids: dict[str, int] = option({}, doc="tags with another id than their tree's")
    without: tuple[str, ...] = option((), doc="tags that it does not have")
    not_uploaded: tuple[str, ...] = option((), doc="further columns, without a class on Fritz")


@dataclass(frozen=True, kw_only=True)
class _File:
    trees: dict[str, TreeName] = option({}, doc="name and version of each tree that we post")
    provenance: str | None = option(None, doc="where the trees come from")
    names: dict[str, FritzName | None] = option({}, doc="tag -> name on Fritz; null is not uploaded")
    nodes: dict[str, FritzName] = option({}, doc="places of a tree that are no class of ours")
    old_files: dict[str, OldFile] = option({}, doc="SCoPe's mapper files")


@dataclass(frozen=True, kw_only=True, eq=False)
class FritzNames:
    """The table of names for the classes of a `Taxonomy`.

    Attributes
    ----------
    taxonomy
        The classes.
    names
        Name per tag, in the order of the classes, and that of `NONVAR`; None for a class that is not uploaded.
    nodes
        Further nodes of the trees.
    trees
        Name, version and top per tree: ``phenomenological``, ``ontological``, ``all``.
    provenance
        Where the trees come from.
    old_files
        SCoPe's mapper files.
    """

    taxonomy: Taxonomy
    names: Mapping[str, FritzName | None]
    nodes: Mapping[str, FritzName]
    trees: Mapping[str, TreeName]
    provenance: str
    old_files: Mapping[str, OldFile]

    def __getitem__(self, tag: str) -> FritzName | None:
        """Return the name of a class, None if it is not uploaded; an unknown tag is a `ConfigError`."""
        if tag not in self.names:
            return self.names[self.taxonomy[tag].tag]
        return self.names[tag]

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """Return the tag (or `NONVAR`) of each label on Fritz."""
        return MappingProxyType({name.label: tag for tag, name in self.names.items() if name is not None})

    def word(self, column: str, algorithms: Collection[str] = ALGORITHMS) -> str | None:
        """Return the tag that a column is about: ``<tag>``, ``<tag>_<algorithm>``, the label or an alias; else None."""
        stems = [column, *(column.removesuffix(f"_{name}") for name in algorithms if column.endswith(f"_{name}"))]
        return next((self._words[stem] for stem in stems if stem in self._words), None)

    @cached_property
    def _words(self) -> Mapping[str, str]:
        """Tags, labels and aliases as they are written; a tag wins over another class's label."""
        found = {NONVAR: NONVAR, "non-variable": NONVAR}
        for tag, spec in self.taxonomy.classes.items():
            found.update(dict.fromkeys((spec.label, *spec.aliases), tag))
        return found | {tag: tag for tag in self.taxonomy}


def load_names(taxonomy: Taxonomy, *folders: Path) -> FritzNames:
    """Read the table of names that came with this package, and those of folders with classes of one's own.

    Parameters
    ----------
    taxonomy
        The classes; one that no table names is called by its label, in the tree of its kind.
    *folders
        Configuration folders (``class_folders`` of the doors); each may have a ``fritz/names.yaml`` whose entries are
        added or replace earlier ones.

    Raises
    ------
    ConfigError
        If a file cannot be read or has a wrong key, names a tag that is no class, puts a class under what is not there, or
        gives two classes one label; the message names the file or the tag.
    """
    paths = [Path(folder) / "fritz" / "names.yaml" for folder in (packaged_conf_dir(), *folders)]
    files = [(path, _read(path, _stamp(path))) for path in paths if path == paths[0] or path.is_file()]
    for path, file in files:
        for tag in file.names:
            if tag not in taxonomy and tag != NONVAR:
                raise ConfigError(f"{path}: names.{tag} is no class{suggest(tag, taxonomy.tags)}", key="names")
    given = {tag: name for _, file in files for tag, name in file.names.items()}
    names = {tag: given[tag] if tag in given else _by_itself(taxonomy, tag) for tag in taxonomy}
    found = FritzNames(
        taxonomy=taxonomy,
        names=MappingProxyType({**names, NONVAR: given.get(NONVAR)}),
        nodes=MappingProxyType({key: node for _, file in files for key, node in file.nodes.items()}),
        trees=MappingProxyType({key: tree for _, file in files for key, tree in file.trees.items()}),
        provenance=[file.provenance for _, file in files if file.provenance][-1],
        old_files=MappingProxyType({key: old for _, file in files for key, old in file.old_files.items()}),
    )
    _check(found)
    return found


def mapper_of(
    taxonomy: Taxonomy,
    columns: Iterable[str],
    *,
    names: FritzNames | None = None,
    algorithms: Collection[str] = ALGORITHMS,
) -> Mapper:
    """Return the mapper of a table with our columns; columns that are about no class are left out.

    Parameters
    ----------
    taxonomy
        The classes.
    columns
        The table's columns: ``<tag>``, ``<tag>_<algorithm>``, a class's label or alias.
    names
        Names on Fritz; None reads those that came with this package.
    algorithms
        Endings of columns of scores.

    Returns
    -------
    Mapper
        Without taxonomy ids, which differ from instance to instance; in the order of the columns.
    """
    known = load_names(taxonomy) if names is None else names
    pairs = ((column, known.word(column, algorithms)) for column in columns)
    found = tuple(_entry(known, column, tag, None) for column, tag in pairs if tag is not None)
    return Mapper(name="the table's columns", classes=found)


def old_mapper(name: str, names: FritzNames) -> Mapper:
    """Return one of SCoPe's mapper files, derived from the table of names, with the ids that it has.

    Parameters
    ----------
    name
        ``golden``, ``fritz``, ``DNN_AL`` or ``XGB_AL``.
    names
        Names on Fritz.

    Raises
    ------
    ConfigError
        If there is no such file.
    """
    if name not in names.old_files:
        known = ", ".join(names.old_files)
        raise ConfigError(
            f"no mapper is called '{name}'; there are {known}{suggest(name, names.old_files)}", key="mapper"
        )
    old = names.old_files[name]
    found = []
    for tag, on_fritz in names.names.items():
        if on_fritz is None or tag in old.without:
            continue
        label = on_fritz.label if tag == NONVAR else names.taxonomy[tag].label
        column = (tag if old.key == "tag" else label) + old.suffix
        found.append(_entry(names, column, tag, old.other_ids.get(tag, old.ids[on_fritz.tree])))
    found += [FritzClass(column=column) for column in old.not_uploaded]
    return Mapper(name=f"mapper '{name}'", classes=tuple(found))


def _entry(names: FritzNames, column: str, tag: str, taxonomy_id: int | None) -> FritzClass:
    name = names[tag]
    if name is None:
        return FritzClass(column=column, tag=tag)
    return FritzClass(column=column, tag=tag, label=name.label, tree=name.tree, taxonomy_id=taxonomy_id)


def _by_itself(taxonomy: Taxonomy, tag: str) -> FritzName:
    spec = taxonomy[tag]
    return FritzName(label=spec.label, tree=spec.kind)


def _check(names: FritzNames) -> None:
    """Refuse two classes of one label, and places that are not there or in another tree."""
    owners: dict[str, str] = {}
    entries = {**names.nodes, **{tag: name for tag, name in names.names.items() if name is not None}}
    for tag, name in entries.items():
        other = owners.setdefault(name.label, tag)
        if other != tag:
            raise ConfigError(
                f"'{other}' and '{tag}' are both called '{name.label}' on Fritz; give one of them another label in"
                " fritz/names.yaml",
                key="names",
            )
        if name.under is not None and (name.under not in entries or entries[name.under].tree != name.tree):
            raise ConfigError(
                f"fritz/names.yaml puts '{tag}' under '{name.under}', which is no class or node of the {name.tree}"
                f" tree{suggest(name.under, entries)}",
                key="under",
            )


def _stamp(path: Path) -> tuple[int, int]:
    """Return size and time of a file, which change when it does; zeros where there is none."""
    if not path.is_file():
        return 0, 0
    found = path.stat()
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=16)
def _read(path: Path, _stamp: tuple[int, int]) -> _File:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    try:
        values: Any = OmegaConf.to_container(OmegaConf.load(path))
        return build(_File, values)
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())}", key="names") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}", key=error.key, choices=error.choices) from error
