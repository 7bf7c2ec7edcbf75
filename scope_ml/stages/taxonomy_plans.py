"""What would be posted as a taxonomy, and how a plan of it reads; for the stage `post_taxonomy`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scope_ml.core.provenance import code_version
from scope_ml.services.fritz.records import Taxonomy
from scope_ml.taxonomy.hierarchy import hierarchy_digest, repeated_classes, walk

__all__ = ["Planned", "plan_of", "sentence", "warnings_of"]

#: Characters of a digest that are shown.
SHOWN_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What would be posted."""

    name: str
    version: str
    provenance: str
    tree: dict[str, Any]
    is_latest: bool

    @property
    def digest(self) -> str:
        """Return the digest of the tree."""
        return hierarchy_digest(self.tree)


def plan_of(planned: Planned, found: Taxonomy | None, group_ids: tuple[int, ...]) -> dict[str, Any]:
    """Return the plan as it is written: what would be done, under which name and version, and the whole tree."""
    return {
        "action": "post" if found is None else "nothing",
        "name": planned.name,
        "version": planned.version,
        "provenance": planned.provenance,
        "is_latest": planned.is_latest,
        "group_ids": list(group_ids),
        "n_classes": sum(1 for _ in walk(planned.tree)),
        "digest": planned.digest,
        "taxonomy_id": None if found is None else found.id,
        "code_version": code_version(),
        "hierarchy": planned.tree,
    }


def warnings_of(planned: Planned, found: Taxonomy | None, group_ids: tuple[int, ...]) -> tuple[str, ...]:
    """Return what to beware of: who may use it, and names that stand in several places."""
    lines = []
    if found is None and not group_ids:
        lines.append(
            "no groups: the service keeps the taxonomy for its public group alone; give groups=[...] for others"
        )
    if found is not None and not set(group_ids) <= set(found.group_ids):
        lacking = ", ".join(str(one) for one in group_ids if one not in found.group_ids)
        lines.append(
            f"taxonomy {found.id} is there, but not for the groups {lacking}; who may use it is changed on Fritz"
        )
    twice = repeated_classes(planned.tree)
    if twice:
        lines.append(f"{len(twice)} class name(s) stand in several places: {', '.join(twice[:5])}")
    return tuple(lines)


def sentence(planned: Planned, found: Taxonomy | None, group_ids: tuple[int, ...], called: str) -> str:
    """Return the plan in one sentence; `called` are the groups as they were given."""
    what = f"'{planned.name}' {planned.version}, digest {planned.digest[:SHOWN_DIGITS]}"
    if found is not None:
        return f"taxonomy {found.id} is just this: {what}; nothing to do"
    who = f"{len(group_ids)} group(s) ({called})" if group_ids else "the service's public group"
    latest = "the latest of its name" if planned.is_latest else "not the latest of its name"
    n_classes = sum(1 for _ in walk(planned.tree))
    return f"to post: {what}, {n_classes} classes under '{planned.tree['class']}', for {who}, as {latest}"
