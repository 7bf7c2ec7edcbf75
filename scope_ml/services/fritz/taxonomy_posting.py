"""Posting a taxonomy, once: a service keeps one of each name and version, and what is there is not posted again.

May import `taxonomy`, `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scope_ml.errors import ConfigError, ReplyError, UnsureError
from scope_ml.services.fritz.taxonomies import PATH, labels_of, list_taxonomies

if TYPE_CHECKING:
    from scope_ml.services.fritz.client import Fritz
    from scope_ml.services.fritz.records import Taxonomy

__all__ = ["post_taxonomy", "posted_already"]


def post_taxonomy(
    fritz: Fritz,
    *,
    name: str,
    version: str,
    provenance: str,
    hierarchy: Mapping[str, Any],
    group_ids: Sequence[int],
    is_latest: bool = True,
) -> tuple[int, bool]:
    """Post a taxonomy unless it is there already; after a lost answer it is looked for and not posted twice.

    Parameters
    ----------
    fritz
        The service.
    name, version
        What it is found by; a service keeps one taxonomy of each name and version.
    provenance
        Where it comes from.
    hierarchy
        Its tree in the tdtax form, `taxonomy.hierarchy.check_hierarchy` has passed it.
    group_ids
        Who may see it; empty: the service stores it for its public group alone.
    is_latest
        Whether it takes the place of earlier versions of its name.

    Returns
    -------
    id, is_new
        Its number, and whether this call posted it.

    Raises
    ------
    ConfigError
        If the same name and version is there with another tree.
    NotAllowedError
        If the token has not the right "Post taxonomy".
    ServiceError
        As the client.
    """
    found = posted_already(list_taxonomies(fritz), name=name, version=version, hierarchy=hierarchy)
    if found is not None:
        return found.id, False
    body = {
        "name": name,
        "version": version,
        "provenance": provenance,
        "hierarchy": dict(hierarchy),
        "isLatest": is_latest,
        **({"group_ids": list(group_ids)} if group_ids else {}),
    }
    try:
        answer = fritz.change("POST", PATH, body)
    except UnsureError:
        # Name and version are unique on the service: what is there now is what was asked for, or nothing is.
        found = posted_already(list_taxonomies(fritz), name=name, version=version, hierarchy=hierarchy)
        if found is None:
            raise
        return found.id, True
    number = answer.get("taxonomy_id") if isinstance(answer, Mapping) else None
    if not isinstance(number, int):
        raise ReplyError(f"Fritz took the taxonomy '{name}' and gave no number; type post_taxonomy list to see it")
    return number, True


def posted_already(
    taxonomies: Iterable[Taxonomy], *, name: str, version: str, hierarchy: Mapping[str, Any]
) -> Taxonomy | None:
    """Return the taxonomy of that name and version if it has the same tree, None if there is none.

    Raises
    ------
    ConfigError
        If it is there with another tree; the first difference is told.
    """
    same = [one for one in taxonomies if one.name == name and one.version == version]
    if not same:
        return None
    if same[0].hierarchy != hierarchy:
        ours, theirs = set(labels_of(hierarchy)), set(labels_of(same[0].hierarchy))
        words = [f"new: {', '.join(sorted(ours - theirs))}"] if ours - theirs else []
        words += [f"gone: {', '.join(sorted(theirs - ours))}"] if theirs - ours else []
        difference = "; ".join(words) or "the same classes in other places or with other descriptions"
        raise ConfigError(
            f"the service has the taxonomy '{name}' version {version} with another tree ({difference}); raise the version:"
            " version=...",
            key="version",
        )
    return same[0]
