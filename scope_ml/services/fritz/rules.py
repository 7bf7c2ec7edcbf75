"""The rules by which sources are found on Fritz and changed: the same for all of a run. May import core and errors only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Rules"]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How sources are found and what may be done to them.

    Attributes
    ----------
    find
        ``obj_id``: by name, where one is wanted (else by position). ``cone``: by position.
    radius_arcsec
        How far from its position a source may be [arcsec].
    match_origin
        Origin of annotations that hold survey ids: of the sources in the radius the first with the wanted survey id is
        taken. None: only the position counts.
    prefix
        Beginning of the names of sources that are taken by position, and of those made; of several the latest made wins.
    new_sources
        Whether sources that are not there are made; if not, they are counted.
    save
        Whether sources are put into the wanted groups.
    source_origin
        Origin of sources that are made.
    replace
        Which other classifications go that one of the wanted groups sees: ``none``; ``origin``: ours of the origins that
        are wanted; ``all``: whoever's. Of a source for which no class is wanted none goes.
    same
        A classification is there if it has the class and taxonomy (``class``), and the origin too (``origin``).
    label_on_delete
        Whether deleting labels the source.
    """

    find: Literal["cone", "obj_id"] = "cone"
    radius_arcsec: float = 2.0
    match_origin: str | None = None
    prefix: str = "ZTFJ"
    new_sources: bool = True
    save: bool = True
    source_origin: str = "SCoPe"
    replace: Literal["none", "origin", "all"] = "none"
    same: Literal["class", "origin"] = "class"
    label_on_delete: bool = False

    def plain(self) -> dict[str, Any]:
        """Return them as JSON can say them."""
        return asdict(self)
