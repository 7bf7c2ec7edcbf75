"""Taxonomies of a Fritz: which there are, and which of them has our labels.

Numbers of taxonomies differ from instance to instance, so that a label's number is found on the target by name and
version, and a number that an old file gives is checked to hold its labels. Nothing here folds case.
May import `taxonomy`, `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scope_ml.core.configuration import option
from scope_ml.errors import ConfigError, suggest
from scope_ml.services.fritz.records import Taxonomy, rows_of
from scope_ml.taxonomy.fritz_mappers import FritzClass, Mapper

if TYPE_CHECKING:
    from scope_ml.services.fritz.client import Fritz

__all__ = [
    "Resolved",
    "TaxonomyChoice",
    "TaxonomyChoices",
    "find_taxonomy",
    "labels_of",
    "list_taxonomies",
    "resolve",
]

PATH = "/api/taxonomy"

#: How many labels and taxonomies an error shows.
MOST_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class TaxonomyChoice:
    """Which taxonomy of the target a tree's labels are of."""

    name: str | None = option(None, machine=True, doc="its name there; null: the latest that has all labels")
    version: str | None = option(None, machine=True, doc="its version; null: the latest of that name")


@dataclass(frozen=True, kw_only=True)
class TaxonomyChoices:
    """The choice for each tree; options of the doors that upload."""

    phenomenological: TaxonomyChoice = option(TaxonomyChoice(), machine=True, doc="shapes of light curves")
    ontological: TaxonomyChoice = option(TaxonomyChoice(), machine=True, doc="kinds of stars")


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Which taxonomy each label of a mapper is of, on this target.

    Attributes
    ----------
    ids
        Taxonomy id per label.
    taxonomies
        The taxonomies that were found, each once.
    """

    ids: Mapping[str, int]
    taxonomies: tuple[Taxonomy, ...]

    def __getitem__(self, label: str) -> int:
        """Return the taxonomy id of a label."""
        return self.ids[label]

    @property
    def lines(self) -> tuple[str, ...]:
        """Return one line a taxonomy, for plans: number, name, version and how many labels are of it."""
        return tuple(
            f"{_called(one)}: {sum(number == one.id for number in self.ids.values())} of {len(self.ids)} classes"
            for one in self.taxonomies
        )


def list_taxonomies(fritz: Fritz) -> tuple[Taxonomy, ...]:
    """Return the taxonomies that the token may see, by name and number (GET /api/taxonomy).

    Raises
    ------
    ServiceError
        As the client: no answer, no right, no JSON.
    """
    found = (Taxonomy.from_json(item) for item in rows_of(fritz.get(PATH), "taxonomies"))
    return tuple(sorted(found, key=lambda one: (one.name, one.id)))


def labels_of(hierarchy: Any) -> tuple[str, ...]:
    """Return the class names of a hierarchy from the top, each once; what is no node is passed over."""
    return tuple(dict.fromkeys(_walk(hierarchy)))


def resolve(taxonomies: Sequence[Taxonomy], mapper: Mapper, choices: TaxonomyChoices | None = None) -> Resolved:
    """Find for each label of a mapper the taxonomy of the target that has it.

    A name that is chosen for a label's tree comes first; else the number that an old file gives; else the one latest
    taxonomy that has all labels of that tree.

    Parameters
    ----------
    taxonomies
        What the target has (`list_taxonomies`).
    mapper
        Columns and labels; columns that are not uploaded do not count.
    choices
        Names and versions; None leaves them open.

    Raises
    ------
    ConfigError
        If no taxonomy, or more than one, has all labels; the message lists what the target has and what to type.
    """
    chosen = choices or TaxonomyChoices()
    by_tree: dict[tuple[str | None, int | None], list[FritzClass]] = {}
    for entry in mapper.usable:
        named = _choice(chosen, entry.tree).name is not None
        by_tree.setdefault((entry.tree, None if named else entry.taxonomy_id), []).append(entry)
    ids: dict[str, int] = {}
    used: dict[int, Taxonomy] = {}
    for (tree, number), entries in by_tree.items():
        labels = tuple(dict.fromkeys(str(entry.label) for entry in entries))
        if number is not None:
            found = _numbered(taxonomies, number, tree, labels, mapper)
        else:
            found = find_taxonomy(taxonomies, labels, _choice(chosen, tree), tree)
        used[found.id] = found
        for label in labels:
            if ids.setdefault(label, found.id) != found.id:
                raise ConfigError(
                    f"{mapper.name} gives '{label}' the taxonomies {ids[label]} and {found.id}; mend its ids",
                    key="mapper",
                )
    return Resolved(ids=ids, taxonomies=tuple(used.values()))


def find_taxonomy(
    taxonomies: Sequence[Taxonomy], labels: Sequence[str], choice: TaxonomyChoice, tree: str | None = None
) -> Taxonomy:
    """Return the one taxonomy that has all labels.

    Parameters
    ----------
    taxonomies
        What the target has.
    labels
        Names of classes, as they are written.
    choice
        Its name and version, as far as they are chosen.
    tree
        The tree, for messages: ``phenomenological`` or ``ontological``.

    Raises
    ------
    ConfigError
        If the name or version is not there, the taxonomy lacks a label, or none or several fit.
    """
    key = f"taxonomy.{tree or 'TREE'}"
    if choice.name is not None:
        found = _named(taxonomies, choice.name, choice.version, key)
        _check_labels(found, labels, key)
        return found
    pool = [one for one in taxonomies if one.version == choice.version] if choice.version else list(taxonomies)
    fit = [one for one in pool if set(labels) <= set(labels_of(one.hierarchy))]
    latest = [one for one in fit if one.is_latest] if choice.version is None else fit
    if len(latest) == 1:
        return latest[0]
    if latest:
        shown = ", ".join(_called(one) for one in latest[:MOST_SHOWN])
        raise ConfigError(
            f"{len(latest)} taxonomies of the service have all {len(labels)} {tree or ''} classes: {shown}; choose one"
            f" with {key}.name=NAME{_further_choice(latest, key)}".replace("  ", " "),
            key=f"{key}.name",
        )
    raise ConfigError(_none_fits(taxonomies, labels, tree, key, n_old=len(fit)), key=f"{key}.name")


def _choice(choices: TaxonomyChoices, tree: str | None) -> TaxonomyChoice:
    if tree == "phenomenological":
        return choices.phenomenological
    if tree == "ontological":
        return choices.ontological
    return TaxonomyChoice()


def _named(taxonomies: Sequence[Taxonomy], name: str, version: str | None, key: str) -> Taxonomy:
    same = [one for one in taxonomies if one.name == name]
    if not same:
        hint = suggest(name, {one.name for one in taxonomies})
        raise ConfigError(
            f"the service has no taxonomy '{name}'{hint}; it has {_listed(taxonomies)}; type {key}.name=NAME",
            key=f"{key}.name",
        )
    latest = [one for one in same if one.is_latest] or same
    fit = latest if version is None else [one for one in same if one.version == version]
    if len(fit) != 1:
        what = "no" if not fit else f"{len(fit)}"
        asked = f" of version {version}" if version is not None else ""
        raise ConfigError(
            f"the service has {what} taxonomies '{name}'{asked}: its versions are"
            f" {', '.join(sorted(one.version for one in same))}; type {key}.version=VERSION",
            key=f"{key}.version",
        )
    return fit[0]


def _numbered(
    taxonomies: Sequence[Taxonomy], number: int, tree: str | None, labels: Sequence[str], mapper: Mapper
) -> Taxonomy:
    """Return the taxonomy of a number that an old file gives, if it has the labels."""
    key = f"taxonomy.{tree or 'TREE'}"
    found = next((one for one in taxonomies if one.id == number), None)
    if found is None:
        raise ConfigError(
            f"{mapper.name} gives taxonomy id {number}, which the service does not have (ids differ from instance to"
            f" instance); it has {_listed(taxonomies)}; type {key}.name=NAME",
            key="mapper",
        )
    _check_labels(found, labels, key, f"; {mapper.name} gives that id")
    return found


def _check_labels(taxonomy: Taxonomy, labels: Sequence[str], key: str, why: str = "") -> None:
    known = labels_of(taxonomy.hierarchy)
    lacking = [label for label in labels if label not in known]
    if lacking:
        raise ConfigError(
            f"taxonomy {_called(taxonomy)} has not the class {_some(lacking)}{_near(lacking[0], known)}{why}; choose another"
            f" with {key}.name=NAME, or leave out these classes",
            key=f"{key}.name",
        )


def _none_fits(taxonomies: Sequence[Taxonomy], labels: Sequence[str], tree: str | None, key: str, *, n_old: int) -> str:
    if n_old:
        return (
            f"no latest taxonomy of the service has all {tree or ''} classes, but {n_old} earlier ones have; type"
            f" {key}.name=NAME {key}.version=VERSION: it has {_listed(taxonomies)}"
        ).replace("  ", " ")
    held = {one.id: [label for label in labels if label not in labels_of(one.hierarchy)] for one in taxonomies}
    nearest = min(taxonomies, key=lambda one: (len(held[one.id]), not one.is_latest, one.id), default=None)
    if nearest is None:
        return "the service has no taxonomy that this token may see; post one with post_taxonomy, or ask for its group"
    lacking = held[nearest.id]
    near = _near(lacking[0], labels_of(nearest.hierarchy))
    return (
        f"no taxonomy of the service has all {len(labels)} {tree or ''} classes: {_called(nearest)} comes nearest and lacks"
        f" {_some(lacking)}{near}; the service has {_listed(taxonomies)}; leave out these classes, or choose with"
        f" {key}.name=NAME"
    ).replace("  ", " ")


def _further_choice(fit: Sequence[Taxonomy], key: str) -> str:
    return f" {key}.version=VERSION" if len({one.name for one in fit}) < len(fit) else ""


def _called(taxonomy: Taxonomy) -> str:
    return f"{taxonomy.id} '{taxonomy.name}' {taxonomy.version}"


def _listed(taxonomies: Sequence[Taxonomy]) -> str:
    shown = [_called(one) + (" (latest)" if one.is_latest else "") for one in taxonomies[:MOST_SHOWN]]
    more = len(taxonomies) - len(shown)
    return (", ".join(shown) or "none") + (f" and {more} more" if more else "")


def _some(labels: Sequence[str]) -> str:
    shown = ", ".join(f"'{label}'" for label in labels[:MOST_SHOWN])
    more = len(labels) - MOST_SHOWN
    return shown + (f" and {more} more" if more > 0 else "")


def _near(label: str, known: Iterable[str]) -> str:
    names = list(known)
    same = next((name for name in names if name.casefold() == label.casefold()), None)
    return f" (it has '{same}': the case counts)" if same is not None else suggest(label, names)


def _walk(node: Any) -> Iterator[str]:
    """Yield the class names of a hierarchy, from the top."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            if isinstance(one.get("class"), str):
                yield one["class"]
            below = one.get("subclasses")
            waiting += list(reversed(below)) if isinstance(below, (list, tuple)) else []
