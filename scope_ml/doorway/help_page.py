"""The ``--help`` of a door, made from the typed configuration of its stage."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from scope_ml.core.configuration import OptionDoc, describe
from scope_ml.taxonomy.classes import packaged_conf_dir

if TYPE_CHECKING:
    from pathlib import Path

    from scope_ml.doorway.door import Door

__all__ = ["groups_of", "groups_to_choose", "help_text"]

#: Configuration groups that are no choice of the user's.
_NOT_SHOWN = frozenset({"hydra"})

#: Names longer than this many choices are summarised.
_MANY = 14


def groups_of(folder: Path, keys: set[str]) -> dict[str, list[str]]:
    """Return the configuration groups under `folder` among `keys`, with their choices."""
    groups = {}
    for group in sorted(path for path in folder.iterdir() if path.is_dir()):
        if group.name in keys and group.name not in _NOT_SHOWN:
            groups[group.name] = sorted(path.stem for path in group.glob("*.yaml"))
    return groups


def groups_to_choose(folder: Path, door: str) -> dict[str, str]:
    """Return the groups that the user has to choose (``???`` in the door's defaults list), each with one choice."""
    groups = [group for group, choice in _defaults(folder, door).items() if choice == "???"]
    return {group: min(path.stem for path in (folder / group).glob("*.yaml")) for group in groups}


def _defaults(folder: Path, door: str) -> dict[str, str]:
    """Return the groups of the door's defaults list with their choices."""
    from omegaconf import OmegaConf

    defaults = OmegaConf.to_container(OmegaConf.load(folder / f"{door}.yaml")).get("defaults", [])  # type: ignore[union-attr]
    pairs = [next(iter(item.items())) for item in defaults if isinstance(item, dict)]
    return {str(group).removeprefix("optional ").strip(): str(choice) for group, choice in pairs}


def help_text(door: Door, schema: type[Any], defaults: dict[str, Any], to_choose: frozenset[str]) -> str:
    """Return the help page: purpose, groups, options with units and defaults, an example that works.

    Groups in `to_choose` are shown as one required option each.
    """
    actions = f" {'|'.join(door.actions)}" if door.actions else ""
    lines = [door.doc.strip(), "", "Usage:", f"  python -m scope_ml.{door.name}{actions} [key=value ...]", ""]
    options = [
        OptionDoc(key=group, default="required", unit="", doc=f"a choice of the group {group}", allowed="")
        for group in sorted(to_choose)
    ]
    described = (option for option in describe(schema) if option.key.partition(".")[0] not in to_choose)
    options += [_with_default(option, defaults) for option in described]
    known = {option.key.partition(".")[0] for option in options} | _defaults(packaged_conf_dir(), door.name).keys()
    groups = groups_of(packaged_conf_dir(), known)
    if groups:
        lines.append("Groups (key=choice swaps the whole group):")
        for group, choices in groups.items():
            shown = ", ".join(choices[:_MANY]) + (f", ... ({len(choices)})" if len(choices) > _MANY else "")
            lines += textwrap.wrap(f"  {group:<15} {shown}", 110, subsequent_indent=" " * 18)
        lines.append("")
    lines.append("Options (default in brackets; 'required' must be given):")
    width = min(max(len(option.key) for option in options), 44)
    for option in options:
        unit = f" [{option.unit}]" if option.unit else ""
        allowed = f"; {option.allowed}" if option.allowed else ""
        text = f"  {option.key:<{width}}  {option.doc}{unit} [{option.default}{allowed}]"
        lines += textwrap.wrap(text, 118, subsequent_indent=" " * (width + 4))
    lines += ["", "Example:", *(f"  {line}" for line in door.example.strip().splitlines()), ""]
    lines.append("Hydra's own flags work too: -m (sweep), --cfg job (show the composed configuration), --hydra-help.")
    return "\n".join(lines)


def _with_default(option: OptionDoc, defaults: dict[str, Any]) -> OptionDoc:
    """Return `option` with the default that the configuration files compose."""
    node: Any = defaults
    for part in option.key.split("."):
        if not isinstance(node, dict) or part not in node:
            return option
        node = node[part]
    if node == "???":
        text = "required"
    elif node is None or isinstance(node, bool):
        text = {None: "null", True: "true", False: "false"}[node]
    else:
        text = str(node) if len(str(node)) < 60 else f"{str(node)[:56]} ..."
    return OptionDoc(key=option.key, default=text, unit=option.unit, doc=option.doc, allowed=option.allowed)
