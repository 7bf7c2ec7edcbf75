"""What the server begins with: users, groups, instruments, taxonomies, and no source. May import what lies beside it.

====================  =======================================================================================
user                  groups
====================  =======================================================================================
``scope``             "Sitewide Group", "Variables", "Follow-up"; its token may do all that our commands need
``astronomer``        "Sitewide Group", "Variables"; votes and classifies
``stranger``          "Sitewide Group", "Closed", where ``scope`` is not
``admin``             "Sitewide Group"; sees and may do everything
====================  =======================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from scope_ml.testing.skyportal.portal import PUBLIC_GROUP, RIGHTS, Portal
from scope_ml.testing.skyportal.tables import Group, Instrument, Taxonomy, Token, User
from scope_ml.testing.skyportal.trees import ASTROPHYSICAL, PHENOMENOLOGICAL, class_names

__all__ = ["GROUPS", "TAXONOMIES", "USERS", "add_group", "add_taxonomy", "add_user", "populate"]

USERS = ("scope", "astronomer", "stranger", "admin")

GROUPS = {"Variables": ("scope", "astronomer"), "Follow-up": ("scope",), "Closed": ("stranger",)}

#: Name, version, tree, whether it is the latest of its name; the ids are this server's own.
TAXONOMIES: tuple[tuple[int, str, str, dict[str, Any], bool], ...] = (
    (3, "Sitewide Taxonomy", "0.1.6", ASTROPHYSICAL, False),
    (5, "Sitewide Taxonomy", "0.1.7", ASTROPHYSICAL, True),
    (8, "Scope Phenomenological Taxonomy", "1.0.0", PHENOMENOLOGICAL, True),
)

INSTRUMENTS = (
    (2, "SEDM", ("sdssg", "sdssr", "sdssi")),
    (4, "ZTF", ("ztfg", "ztfr", "ztfi")),
)

#: When all this was made.
BEGAN = datetime(2026, 1, 1, 12, 0, 0, 250000)


def populate(portal: Portal, tokens: Mapping[str, str]) -> None:
    """Fill an empty portal; `tokens` are those of `USERS`."""
    add_group(portal, PUBLIC_GROUP, (), created_at=BEGAN)
    for name in USERS:
        user = add_user(portal, name, is_admin=name == "admin", created_at=BEGAN)
        portal.tokens[tokens[name]] = Token(user_id=user.id, rights=set(RIGHTS))
    numbers = {one.username: one.id for one in portal.users.values()}
    for name, members in GROUPS.items():
        add_group(portal, name, [numbers[one] for one in members], created_at=BEGAN)
    for number, name, filters in INSTRUMENTS:
        portal.skip("instrument", number)
        portal.instruments[number] = Instrument(id=number, name=name, filters=filters, created_at=BEGAN)
    for number, name, version, tree, is_latest in TAXONOMIES:
        portal.skip("taxonomy", number - 1)
        add_taxonomy(portal, name, version, tree, is_latest=is_latest, created_at=BEGAN)


def add_user(
    portal: Portal,
    username: str,
    *,
    is_admin: bool = False,
    is_expired: bool = False,
    created_at: datetime | None = None,
) -> User:
    """Add a user with their single-user group; all are in the public group."""
    when = created_at or portal.time()
    user = User(id=portal.number("user"), username=username, is_admin=is_admin, is_expired=is_expired, created_at=when)
    portal.users[user.id] = user
    portal.groups[portal.public_group_id()].user_ids.add(user.id)
    add_group(portal, username, [user.id], single_user=True, created_at=when)
    return user


def add_group(
    portal: Portal,
    name: str,
    user_ids: Iterable[int],
    *,
    single_user: bool = False,
    created_at: datetime | None = None,
) -> Group:
    """Add a group."""
    group = Group(
        id=portal.number("group"),
        name=name,
        single_user=single_user,
        user_ids=set(user_ids),
        created_at=created_at or portal.time(),
    )
    portal.groups[group.id] = group
    return group


def add_taxonomy(
    portal: Portal,
    name: str,
    version: str,
    tree: dict[str, Any],
    *,
    is_latest: bool = True,
    group_ids: Iterable[int] | None = None,
    created_at: datetime | None = None,
) -> Taxonomy:
    """Add a taxonomy, whatever others there are."""
    number = portal.number("taxonomy")
    found = Taxonomy(
        id=number,
        name=name,
        version=version,
        provenance=None,
        hierarchy=tree,
        is_latest=is_latest,
        group_ids=tuple(group_ids) if group_ids is not None else (portal.public_group_id(),),
        classes=frozenset(class_names(tree)),
        created_at=created_at or portal.time(),
    )
    portal.taxonomies[number] = found
    return found
