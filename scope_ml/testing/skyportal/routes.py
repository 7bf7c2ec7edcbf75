"""Which function answers which address, and the right that it asks for.

Addresses are compared as they came, before ``%2B`` becomes ``+``: the parts of a source, such as its annotations, have an address
for ids of plain signs alone (SkyPortal, `app_server.py`). May import what lies beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from scope_ml.testing.skyportal import classifications, directory, photometry, remarks, sources
from scope_ml.testing.skyportal.calls import Handler
from scope_ml.testing.skyportal.listing import list_sources

__all__ = ["Route", "find_route"]

#: What an id of a source may be in the address of one of its parts.
PLAIN_ID = r"[0-9A-Za-z\-_.+]+"


@dataclass(frozen=True, kw_only=True)
class Route:
    """An address and what each method does there, with the right it needs ("" for none)."""

    pattern: re.Pattern[str]
    methods: dict[str, tuple[str, Handler]]
    is_open: bool = False


def _route(address: str, *, is_open: bool = False, **methods: tuple[str, Handler]) -> Route:
    found = f"/api/{address}".replace("sources/{obj_id}/", f"sources/(?P<obj_id>{PLAIN_ID})/")
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", found))
    return Route(pattern=pattern, methods={name.upper(): one for name, one in methods.items()}, is_open=is_open)


ROUTES = (
    _route("sysinfo", is_open=True, get=("", directory.get_sysinfo)),
    _route("sources", get=("", list_sources), post=("Upload data", sources.post_source)),
    _route("sources/{obj_id}", get=("", sources.get_source)),
    _route("source_groups", post=("Upload data", sources.save_to_groups)),
    _route(
        "photometry",
        put=("Upload data", photometry.put_photometry),
        post=("Upload data", photometry.post_photometry),
    ),
    _route("sources/{obj_id}/photometry", get=("", photometry.get_photometry)),
    _route(
        "classification",
        get=("", classifications.get_classifications),
        post=("Classify", classifications.post_classification),
    ),
    _route(
        "classification/{classification_id}",
        get=("", classifications.get_classification),
        delete=("Classify", classifications.delete_classification),
    ),
    _route(
        "sources/{obj_id}/classifications",
        get=("", classifications.get_classifications_of),
        delete=("", classifications.delete_classifications_of),
    ),
    _route(
        "classification/votes/{classification_id}",
        post=("", classifications.post_vote),
        delete=("", classifications.delete_vote),
    ),
    _route(
        "sources/{obj_id}/annotations",
        get=("", remarks.get_annotations),
        post=("Annotate", remarks.post_annotation),
    ),
    _route(
        "sources/{obj_id}/annotations/{annotation_id}",
        get=("", remarks.get_annotation),
        put=("Annotate", remarks.put_annotation),
        delete=("Annotate", remarks.delete_annotation),
    ),
    _route("sources/{obj_id}/comments", get=("", remarks.get_comments), post=("Comment", remarks.post_comment)),
    _route("sources/{obj_id}/labels", post=("", sources.label), delete=("", sources.unlabel)),
    _route("instrument", get=("", directory.get_instruments)),
    _route("groups", get=("", directory.get_groups)),
    _route("taxonomy", get=("", directory.get_taxonomies), post=("Post taxonomy", directory.post_taxonomy)),
    _route("taxonomy/{taxonomy_id}", get=("", directory.get_taxonomy)),
    _route("gcn_event", get=("", directory.list_events)),
    _route("gcn_event/{dateobs}", get=("", directory.get_event)),
    # The old upload of disagreements posted there; it answers nothing any more.
    _route("archive"),
)


def find_route(path: str) -> tuple[Route, dict[str, str]] | None:
    """Return what answers a path as it came, with its named parts decoded, or None."""
    for route in ROUTES:
        found = route.pattern.fullmatch(path)
        if found is not None:
            return route, {name: unquote(part) for name, part in found.groupdict().items()}
    return None
