"""What stands on Fritz of a source that is wanted: found by name or by position, with all that a plan needs to know.

Looking changes nothing. One request tells groups, classifications and annotations; comments and photometry cost one each
and are asked for only where some are wanted. May import core, errors and the rooms beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from scope_ml.core.sexagesimal import iau_name
from scope_ml.core.sphere import separation_arcsec
from scope_ml.errors import ConfigError
from scope_ml.services.fritz.client import Fritz
from scope_ml.services.fritz.comments import comments_of
from scope_ml.services.fritz.photometry import NewPhotometry, photometry_of
from scope_ml.services.fritz.points import missing_points
from scope_ml.services.fritz.records import Comment, Source, rows_of
from scope_ml.services.fritz.rules import Rules
from scope_ml.services.fritz.sources import find_source, sources_near
from scope_ml.services.fritz.wanted import Wanted

__all__ = ["NOT_THERE", "Seen", "look", "own_name"]

#: Why a source is left where none is to be made.
NOT_THERE = "is not on Fritz"

#: Before any time that a source was made.
LONG_AGO = datetime.min

#: Names that the service takes for a new source.
NEW_NAME = re.compile(r"[A-Za-z0-9_\-;:+.]+")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen of one source.

    Attributes
    ----------
    obj_id
        Its name, or the one it will get.
    source
        The source; None: it is not there.
    refused
        Why nothing may be done to it; "": it may.
    comments
        Its comments, where some are wanted.
    photometry
        The wanted points that are missing, or all that are wanted where the source is not there; None: none.
    point_ids
        Ids of the wanted points that are there.
    photometry_unknown
        Whether points are wanted that were not made yet.
    """

    obj_id: str
    source: Source | None
    refused: str = ""
    comments: tuple[Comment, ...] = ()
    photometry: NewPhotometry | None = None
    point_ids: tuple[int, ...] = ()
    photometry_unknown: bool = False


def look(fritz: Fritz, wanted: Wanted, rules: Rules, *, known_as: str | None = None, for_plan: bool = False) -> Seen:
    """Look at one source.

    Parameters
    ----------
    known_as
        Name under which it was found or made before; then no other is taken.
    for_plan
        The photometry of sources that are to be made is not made yet.

    Raises
    ------
    ScopeError
        If the service does not answer, or the wanted photometry cannot be made.
    """
    name = known_as or (wanted.obj_id if rules.find == "obj_id" else None)
    source = find_source(fritz, name) if name is not None else _near(fritz, wanted, rules)
    if source is None and known_as is None and name is None:
        name, source, refused = _by_our_name(fritz, wanted, rules)
        if refused:
            return Seen(obj_id=name, source=None, refused=refused)
    if source is None:
        assert name is not None
        return _not_there(wanted, rules, name, for_plan=for_plan)
    points = wanted.photometry() if wanted.photometry is not None else None
    point_ids: tuple[int, ...] = ()
    if points is not None:
        points, point_ids = missing_points(points, photometry_of(fritz, source.id), wanted.group_ids)
    return Seen(
        obj_id=source.id,
        source=source,
        comments=tuple(comments_of(fritz, source.id)) if wanted.comments else (),
        photometry=points,
        point_ids=point_ids,
    )


def own_name(fritz: Fritz) -> str:
    """Return the name of the token's user, as `is_by` compares it: that of the group that is theirs alone.

    Raises
    ------
    ConfigError
        If the service does not show one.
    ServiceError
        If it does not answer.
    """
    data = fritz.get("/api/groups", {"includeSingleUserGroups": True})
    groups = rows_of(data.get("user_groups") if isinstance(data, dict) else None, "groups")
    own = [str(group.get("name") or "") for group in groups if group.get("single_user_group")]
    if len(own) != 1:
        raise ConfigError(
            "Fritz does not tell whose the token is, so it cannot be said which classifications are ours; give replace=none,"
            " or replace=all for everybody's in the groups",
            key="replace",
        )
    return slug(own[0])


def slug(name: str) -> str:
    """Return a user's name as the service writes it into the name of their own group."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _not_there(wanted: Wanted, rules: Rules, name: str, *, for_plan: bool) -> Seen:
    if not rules.new_sources:
        return Seen(obj_id=name, source=None, refused=NOT_THERE)
    if wanted.not_made:
        # That there is nothing to do is for the plan to say.
        return Seen(obj_id=name, source=None)
    if wanted.ra is None or wanted.dec is None:
        return Seen(obj_id=name, source=None, refused=f"{NOT_THERE}, and has no position to be made at")
    if not wanted.group_ids:
        return Seen(obj_id=name, source=None, refused=f"{NOT_THERE}, and has no group to be made in")
    if NEW_NAME.fullmatch(name) is None:
        reason = f"{NOT_THERE}, and Fritz makes no source of this name: letters, digits and _-;:+. alone are taken"
        return Seen(obj_id=name, source=None, refused=reason)
    if wanted.photometry is None or for_plan:
        return Seen(obj_id=name, source=None, photometry_unknown=wanted.photometry is not None)
    return Seen(obj_id=name, source=None, photometry=wanted.photometry())


def _near(fritz: Fritz, wanted: Wanted, rules: Rules) -> Source | None:
    """Return the source at a position: the one with the survey id, else the one made last under our prefix."""
    assert wanted.ra is not None and wanted.dec is not None
    found = sources_near(fritz, wanted.ra, wanted.dec, radius_arcsec=rules.radius_arcsec)
    matched = [one for one in found if _has_survey_id(one, wanted, rules)]
    ours = matched or [one for one in found if one.id.startswith(rules.prefix)]
    return max(ours, key=lambda one: (one.created_at or LONG_AGO, one.id), default=None)


def _has_survey_id(source: Source, wanted: Wanted, rules: Rules) -> bool:
    if rules.match_origin is None or wanted.survey_id is None:
        return False
    values = [value for one in source.annotations if one.origin == rules.match_origin for value in one.data.values()]
    return str(wanted.survey_id) in map(str, values)


def _by_our_name(fritz: Fritz, wanted: Wanted, rules: Rules) -> tuple[str, Source | None, str]:
    """Return the name that a source will be made with, who has it already, and why that may not be.

    Another star may have the name: names tell places to a tenth of an arcsecond, and stars move. Who was taken out of all
    groups is not among the neighbours, but has its name still.
    """
    assert wanted.ra is not None and wanted.dec is not None
    name = wanted.obj_id or iau_name(wanted.ra, wanted.dec, rules.prefix)
    there = find_source(fritz, name)
    if there is None:
        return name, None, ""
    apart = distance_arcsec(there, wanted)
    if wanted.obj_id is None and apart > rules.radius_arcsec:
        reason = f"the name {name} belongs to a source {apart:.1f} arcsec away (radius_arcsec={rules.radius_arcsec:g})"
        return name, None, reason
    return name, there, ""


def distance_arcsec(source: Source, wanted: Wanted) -> float:
    """Return how far a source is from its wanted position [arcsec], 0 where none is given."""
    if wanted.ra is None or wanted.dec is None:
        return 0.0
    return float(separation_arcsec(source.ra, source.dec, wanted.ra, wanted.dec))
