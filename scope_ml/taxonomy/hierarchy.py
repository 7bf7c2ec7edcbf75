"""Trees of classes in the form that SkyPortal keeps them (tdtax): ours, made of the class graph, and those of files.

A node is ``{class, comments, tags, links, "other names", subclasses}``, of which only ``class`` is needed; in a file,
``{ref: FILE}`` stands for what that file holds. Our graph gives some classes several parents, a tree one place: that of
SCoPe's tree, which is the first parent of the same kind but where ``conf/fritz/names.yaml`` says otherwise.
May import `core` and `errors`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from scope_ml.core.provenance import digest_json
from scope_ml.errors import ConfigError, suggest
from scope_ml.taxonomy.classes import packaged_conf_dir
from scope_ml.taxonomy.fritz_names import FritzName, FritzNames

__all__ = [
    "Which",
    "check_hierarchy",
    "class_hierarchy",
    "hierarchy_digest",
    "read_descriptions",
    "read_hierarchy",
    "repeated_classes",
    "walk",
]

#: Our trees.
Which = Literal["phenomenological", "ontological", "all"]

#: Keys of a node, as tdtax 0.1.7 has them.
TEXTS, LISTS = ("class", "comments"), ("tags", "links", "other names")
KEYS = (*TEXTS, *LISTS, "subclasses")

#: Deeper trees are a mistake, and would fill the stack of whoever reads them.
DEEPEST = 40


def class_hierarchy(names: FritzNames, which: Which, descriptions: Mapping[str, str]) -> dict[str, Any]:
    """Return our classes as a tree.

    Parameters
    ----------
    names
        Names on Fritz and places; a class that is not uploaded is left out and those below it move up.
    which
        ``phenomenological``, ``ontological``, or ``all``, which has both below one top.
    descriptions
        One line a tag (`read_descriptions`), the ``comments`` of its node.

    Raises
    ------
    ConfigError
        If places lead back to themselves.

    Returns
    -------
    dict
        The top node. ``class`` is the name on Fritz; ``other names`` are our label and aliases as far as they differ, ``tags``
        is our tag. Places without a class of ours have no tag.
    """
    if which == "all":
        below = [class_hierarchy(names, "phenomenological", descriptions)]
        below.append(class_hierarchy(names, "ontological", descriptions))
        return {"class": names.trees["all"].root, "subclasses": below}
    entries = {**names.nodes, **{tag: name for tag, name in names.names.items() if name is not None}}
    above: dict[str | None, list[str]] = {}
    for key, name in entries.items():
        if name.tree == which:
            above.setdefault(place_of(names, key), []).append(key)
    top = {"class": names.trees[which].root}
    _hang(top, None, above, lambda key: _node(names, key, entries[key], descriptions))
    reached = {node["class"] for _, node in walk(top)}
    lost = [key for key, name in entries.items() if name.tree == which and name.label not in reached]
    if lost:
        raise ConfigError(f"fritz/names.yaml: places that lead back to itself: {', '.join(lost)}", key="under")
    return top


def place_of(names: FritzNames, key: str) -> str | None:
    """Return the tag or node right above a tag or node in its tree; None at the top."""
    entry = names.nodes.get(key) or names[key]
    if entry is not None and entry.under is not None:
        above: str | None = entry.under
    elif key in names.taxonomy:
        spec = names.taxonomy[key]
        tree = spec.kind if entry is None else entry.tree
        above = next((tag for tag in spec.parents if _tree_of(names, tag) == tree), None)
    else:
        above = None
    if above is None or above in names.nodes or names[above] is not None:
        return above
    return place_of(names, above)


def read_descriptions(*folders: Path) -> dict[str, str]:
    """Return what each class is, in one line: the first line of its file, where that is a comment.

    Parameters
    ----------
    *folders
        Configuration folders with classes of one's own, after those that came with this package.
    """
    found = {}
    for folder in (packaged_conf_dir(), *folders):
        for path in sorted((Path(folder) / "class").glob("*.yaml")):
            first = path.read_text(encoding="utf-8").partition("\n")[0]
            if first.startswith("#") and first.lstrip("# ").strip():
                found[path.stem] = first.lstrip("# ").strip()
    return found


def read_hierarchy(path: Path) -> dict[str, Any]:
    """Read a tree from a YAML or JSON file in the tdtax form; references are resolved beside the file that has them.

    Raises
    ------
    ConfigError
        If a file cannot be read, refers to one that is not there or back to itself, or a node is not of the form.
    """
    tree = _resolved(_loaded(path), path, (path.resolve(),))
    check_hierarchy(tree, where=str(path))
    return dict(tree)


def check_hierarchy(tree: Any, *, where: str) -> None:
    """Check each node of a tree.

    Parameters
    ----------
    tree
        The top node.
    where
        What is checked, for the message.

    Raises
    ------
    ConfigError
        For the first node that is not of the form; the message names it by the way from the top.
    """
    for way, node in walk(tree):
        problem = _problem(node)
        if problem:
            raise ConfigError(f"{where}: {' > '.join(way) or 'the top'}: {problem}", key="taxonomy")
        if len(way) > DEEPEST:
            raise ConfigError(f"{where}: {' > '.join(way[:4])} > ...: more than {DEEPEST} levels", key="taxonomy")


def walk(tree: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield ``(way, node)`` of each node from the top; the way is made of class names, and of places where there is none."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((_title(tree, "top"),), tree)]
    while waiting:
        way, node = waiting.pop()
        yield way, node
        below = node.get("subclasses") if isinstance(node, Mapping) else None
        if isinstance(below, list) and len(way) <= DEEPEST:
            several = [((*way, _title(one, f"subclass {k + 1}")), one) for k, one in enumerate(below)]
            waiting += reversed(several)


def repeated_classes(tree: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the class names that stand in several places; the service allows it, a voter cannot tell them apart."""
    titles = [node["class"] for _, node in walk(tree)]
    return tuple(dict.fromkeys(title for title in titles if titles.count(title) > 1))


def hierarchy_digest(tree: Mapping[str, Any]) -> str:
    """Return a hex digest of a tree: its names, places, descriptions and the order of subclasses."""
    return digest_json(tree)


def _hang(top: dict[str, Any], key: str | None, above: Mapping[str | None, list[str]], node_of: Any) -> None:
    """Put the nodes below `key` into `top`, and theirs into them."""
    below = []
    for child in above.get(key, []):
        node = node_of(child)
        _hang(node, child, above, node_of)
        below.append(node)
    if below:
        top["subclasses"] = below


def _node(names: FritzNames, key: str, entry: FritzName, descriptions: Mapping[str, str]) -> dict[str, Any]:
    node: dict[str, Any] = {"class": entry.label}
    text = entry.description or descriptions.get(key)
    if text:
        node["comments"] = text
    if key in names.nodes:
        return node
    node["tags"] = [key]
    spec = names.taxonomy.classes.get(key)
    other = [name for name in dict.fromkeys((spec.label, *spec.aliases)) if name != entry.label] if spec else []
    if other:
        node["other names"] = other
    return node


def _tree_of(names: FritzNames, tag: str) -> str:
    entry = names[tag]
    return names.taxonomy[tag].kind if entry is None else entry.tree


def _title(node: Any, otherwise: str) -> str:
    title = node.get("class") if isinstance(node, Mapping) else None
    return title if isinstance(title, str) and title else otherwise


def _problem(node: Any) -> str | None:
    """Say what is wrong with one node, None if nothing is."""
    if not isinstance(node, Mapping):
        return f"a node must be keys and values with 'class' among them, got {_shown(node)}"
    unknown = [str(key) for key in node if key not in KEYS]
    if unknown:
        return f"unknown key '{unknown[0]}'; a node may have {', '.join(KEYS)}{suggest(unknown[0], KEYS)}"
    for key in TEXTS:
        value = node.get(key)
        if (key in node or key == "class") and not (isinstance(value, str) and value.strip()):
            seen = _shown(value) if key in node else "none"
            return f"'{key}' must be text, got {seen}" + ("; put it in quotes" if key in node else "")
    for key in LISTS:
        value = node.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return f"'{key}' must be a list of texts, got {_shown(value)}"
        if len(set(value)) < len(value):
            return f"'{key}' has an entry twice: {_shown(value)}"
    if not isinstance(node.get("subclasses", []), list):
        return f"'subclasses' must be a list of nodes, got {_shown(node['subclasses'])}"
    return None


def _resolved(node: Any, path: Path, files: tuple[Path, ...]) -> Any:
    """Return `node` with each ``{ref: FILE}`` below it replaced by that file's tree."""
    if not isinstance(node, Mapping):
        return node
    if "ref" in node:
        if set(node) != {"ref"} or not isinstance(node["ref"], str):
            raise ConfigError(f"{path}: a reference is {{ref: FILE}} alone, got {_shown(dict(node))}", key="taxonomy")
        other = path.parent / node["ref"]
        if other.resolve() in files:
            raise ConfigError(f"{path}: the reference to {node['ref']} leads back to itself", key="taxonomy")
        if not other.is_file():
            raise ConfigError(f"{path}: there is no file {other} that it refers to", key="taxonomy")
        return _resolved(_loaded(other), other, (*files, other.resolve()))
    below = node.get("subclasses")
    if not isinstance(below, list):
        return dict(node)
    return {**node, "subclasses": [_resolved(one, path, files) for one in below]}


def _loaded(path: Path) -> Any:
    import yaml  # type: ignore[import-untyped]

    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"taxonomy {path} cannot be read: {' '.join(str(error).split())}", key="taxonomy") from error


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
