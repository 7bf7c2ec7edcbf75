"""The graph of classes: which class implies which, names and sets of classes, and labels closed upward.

The graph is a directed acyclic one: SCoPe's tree (nodes without a classifier left out) and the further
implications of the field, such as W UMa star -> EW light curve. A member of a class is a member of all its
ancestors; nothing follows downward. May import `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scope_ml.core.provenance import digest_json
from scope_ml.errors import ConfigError, suggest

if TYPE_CHECKING:
    from scope_ml.taxonomy.classes import ClassSpec

__all__ = ["Taxonomy"]


class Taxonomy:
    """The classes in their order, and what they imply.

    Parameters
    ----------
    classes
        Class per tag; their order is the order of `tags` and of the columns of every label array.

    Raises
    ------
    ConfigError
        For an unknown parent, a cycle, or a name that two classes share; the message names the class file.
    """

    def __init__(self, classes: Mapping[str, ClassSpec]) -> None:
        self.classes: Mapping[str, ClassSpec] = dict(classes)
        self.tags: tuple[str, ...] = tuple(classes)
        self._position = {tag: column for column, tag in enumerate(self.tags)}
        self._check_parents()
        self._ancestors = self._close()
        self._names = self._collect_names()

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.tags)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the tags."""
        return iter(self.tags)

    def __contains__(self, tag: object) -> bool:
        """Say whether `tag` is a class."""
        return tag in self._position

    def __getitem__(self, tag: str) -> ClassSpec:
        """Return a class by its tag; an unknown one is a `ConfigError` with a suggestion."""
        if tag not in self._position:
            raise self._unknown(tag)
        return self.classes[tag]

    def index(self, tag: str) -> int:
        """Return the column of `tag` in label arrays."""
        return self._position[self[tag].tag]

    def parents(self, tag: str) -> tuple[str, ...]:
        """Return all tags that `tag` implies (the closure, without itself), in the order of `tags`."""
        return self._select(self._ancestors[self.index(tag)])

    def children(self, tag: str) -> tuple[str, ...]:
        """Return the tags whose direct parent is `tag`."""
        self[tag]
        return tuple(name for name, spec in self.classes.items() if tag in spec.parents)

    def depth(self, tag: str) -> int:
        """Return the length of the longest way up from `tag`; 0 for a class without parents."""
        return max((1 + self.depth(parent) for parent in self[tag].parents), default=0)

    @property
    def sets(self) -> Mapping[str, tuple[str, ...]]:
        """Return the named sets of classes: ``all``, ``phenomenological``, ``ontological``."""
        kinds = ("phenomenological", "ontological")
        by_kind = {kind: tuple(tag for tag in self.tags if self.classes[tag].kind == kind) for kind in kinds}
        return {"all": self.tags, **by_kind}

    def expand(self, names: str | Iterable[str]) -> tuple[str, ...]:
        """Return the tags that `names` stand for: tags and names of `sets`, each tag once.

        Parameters
        ----------
        names
            One name, several separated by commas, or a sequence of names.

        Raises
        ------
        ConfigError
            For a name that is neither a tag nor a set.
        """
        given = names.split(",") if isinstance(names, str) else list(names)
        tags: list[str] = []
        for name in (item.strip() for item in given):
            tags += self.sets[name] if name in self.sets else (self[name].tag,)
        return tuple(dict.fromkeys(tags))

    def find(self, name: str) -> str | None:
        """Return the tag that `name` means: a tag, a label or an alias, whatever its case; None if no class has it."""
        return name if name in self._position else self._names.get(_fold(name))

    def suggestion(self, name: str) -> str:
        """Return ``"; did you mean ...?"`` for the class name closest to `name`, or an empty string."""
        known = [*self.tags, *(spec.label for spec in self.classes.values())]
        return suggest(name, known) or suggest(_fold(name), known)

    @cached_property
    def digest(self) -> str:
        """Hex digest of the tags and what they imply; the order of classes and their training do not count."""
        return digest_json({tag: sorted(spec.parents) for tag, spec in self.classes.items()})

    def close_upward(
        self, y: npt.NDArray[np.integer], known: npt.NDArray[np.bool_] | None = None
    ) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
        """Make the ancestors of every positive label positive and known.

        Parameters
        ----------
        y
            0/1 labels, shape (n, n_tags), columns in the order of `tags`.
        known
            Bool of the same shape, False where a label is not decided; None means all are known.

        Returns
        -------
        y, known
            New int8 and bool arrays of the same shape. Only a *known* positive speaks for its ancestors; where it
            meets an ancestor's 0, the positive wins ("0" in label tables means "not asserted"). A negative
            or unknown ancestor changes nothing below it.
        """
        values = np.asarray(y, dtype=np.int8)
        mask = np.ones(values.shape, dtype=bool) if known is None else np.asarray(known, dtype=bool)
        if values.ndim != 2 or values.shape[1] != len(self) or mask.shape != values.shape:
            raise ValueError(f"labels must have shape (n, {len(self)}), got {values.shape} and {mask.shape}")
        sure = ((values == 1) & mask).astype(np.float32)
        implied = (sure @ self._ancestors.astype(np.float32)) > 0
        return np.where(implied, np.int8(1), values), mask | implied

    def _select(self, mask: npt.NDArray[np.bool_]) -> tuple[str, ...]:
        return tuple(tag for tag, chosen in zip(self.tags, mask, strict=True) if chosen)

    def _unknown(self, name: str) -> ConfigError:
        choices = (*self.sets, *self.tags)
        found = self.find(name)
        hint = f"; did you mean '{found}'?" if found else suggest(name, choices)
        return ConfigError(
            f"class '{name}' is unknown (classes are the files of conf/class; sets: {', '.join(self.sets)}){hint}",
            key="class",
            choices=choices,
        )

    def _check_parents(self) -> None:
        for tag, spec in self.classes.items():
            for parent in spec.parents:
                if parent not in self._position:
                    hint = suggest(parent, self.tags)
                    raise ConfigError(f"class file {tag}.yaml: parent '{parent}' is not a class{hint}", key="parents")

    def _close(self) -> npt.NDArray[np.bool_]:
        """Return bool (n_tags, n_tags): row implies column, by following parents until nothing is added."""
        implies = np.zeros((len(self), len(self)), dtype=bool)
        for tag, spec in self.classes.items():
            implies[self._position[tag], [self._position[parent] for parent in spec.parents]] = True
        while True:
            further = implies | ((implies.astype(np.float32) @ implies.astype(np.float32)) > 0)
            if np.array_equal(further, implies):
                break
            implies = further
        circular = self._select(np.diagonal(implies))
        if circular:
            raise ConfigError(
                f"class file {circular[0]}.yaml: its parents lead back to itself (cycle of {', '.join(circular)})",
                key="parents",
            )
        return implies

    def _collect_names(self) -> dict[str, str]:
        names: dict[str, str] = {}
        for tag, spec in self.classes.items():
            for name in (tag, spec.label, *spec.aliases):
                owner = names.setdefault(_fold(name), tag)
                if owner != tag:
                    message = f"class file {tag}.yaml: the name '{name}' belongs to '{owner}' already"
                    raise ConfigError(message, key="aliases")
        return names


def _fold(name: str) -> str:
    """Return `name` as names are compared: without case, with single spaces, underscores and dashes as spaces."""
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())
